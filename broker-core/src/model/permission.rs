//! Permissions: what a user may configure, write and read in a virtual host.
//!
//! Each is a regular expression that the name of an exchange or queue must contain a match of (RabbitMQ's rule: to
//! match whole names the expression must say `^` and `$`). An empty expression matches nothing. The default
//! exchange is checked under the name `amq.default`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::error::{ChannelCode, ChannelError};
use crate::model::exchange::DEFAULT_EXCHANGE;
use crate::model::pattern::Pattern;
use crate::model::vhost::{Resource, ResourceKind};

/// The name under which the default exchange is checked.
const DEFAULT_EXCHANGE_ALIAS: &str = "amq.default";

/// The permissions of a user in a virtual host, as the catalog stores them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermissionDefinition {
    /// The user.
    pub user: String,
    /// The virtual host.
    pub vhost: String,
    /// What may be declared and deleted.
    pub configure: String,
    /// What may be published to and bound (as destination).
    pub write: String,
    /// What may be consumed, purged and bound (as source).
    pub read: String,
}

impl PermissionDefinition {
    /// Everything is allowed.
    #[must_use]
    pub fn full(user: &str, vhost: &str) -> Self {
        let all = || ".*".to_owned();
        Self { user: user.to_owned(), vhost: vhost.to_owned(), configure: all(), write: all(), read: all() }
    }

    /// The first of the three that is not a regular expression, with the reason. Such a one matches nothing.
    pub fn check(&self) -> Result<(), (Access, String)> {
        for (access, pattern) in
            [(Access::Configure, &self.configure), (Access::Write, &self.write), (Access::Read, &self.read)]
        {
            Pattern::new(pattern).map_err(|error| (access, error.to_string()))?;
        }
        Ok(())
    }
}

/// The topic permissions of a user in a virtual host, for one exchange (RabbitMQ extension): regular expressions that the routing
/// key must contain a match of, beyond what [`PermissionDefinition`] asks. `{username}`, `{vhost}` and `{client_id}` stand for
/// those of the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicPermissionDefinition {
    /// The user.
    pub user: String,
    /// The virtual host.
    pub vhost: String,
    /// The topic exchange.
    pub exchange: String,
    /// Keys that may be published with.
    pub write: String,
    /// Keys that may be bound with.
    pub read: String,
}

/// What somebody wants to do with a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Declare or delete it.
    Configure,
    /// Put messages into it.
    Write,
    /// Take messages out of it.
    Read,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configure => "configure",
            Self::Write => "write",
            Self::Read => "read",
        })
    }
}

/// The permissions of all users in all virtual hosts.
#[derive(Debug, Default)]
pub struct Permissions {
    /// By virtual host and user.
    by_vhost: FxHashMap<Arc<str>, FxHashMap<Arc<str>, Permission>>,
    /// By virtual host, user and exchange.
    topics: BTreeMap<(String, String, String), TopicPermission>,
}

#[derive(Debug)]
struct TopicPermission {
    definition: TopicPermissionDefinition,
    write: Lazy,
    read: Lazy,
}

/// The definition with its expressions, compiled when they are needed first.
#[derive(Debug)]
struct Permission {
    definition: PermissionDefinition,
    configure: Lazy,
    write: Lazy,
    read: Lazy,
}

/// An expression, compiled when it is needed first; none if it is empty or malformed, which matches nothing.
#[derive(Debug, Default)]
struct Lazy(OnceLock<Option<Pattern>>);

impl Lazy {
    fn is_match(&self, pattern: &str, name: &str) -> bool {
        let compiled = self.0.get_or_init(|| match pattern {
            "" => None,
            _ => Pattern::new(pattern).ok(),
        });
        compiled.as_ref().is_some_and(|pattern| pattern.is_match(name))
    }
}

impl Permission {
    fn allows(&self, access: Access, name: &str) -> bool {
        match access {
            Access::Configure => self.configure.is_match(&self.definition.configure, name),
            Access::Write => self.write.is_match(&self.definition.write, name),
            Access::Read => self.read.is_match(&self.definition.read, name),
        }
    }
}

impl Permissions {
    /// Sets or replaces the permissions of a user in a virtual host.
    pub fn set(&mut self, definition: PermissionDefinition) {
        let user = definition.user.as_str().into();
        let users = self.by_vhost.entry(definition.vhost.as_str().into()).or_default();
        let [configure, write, read] = Default::default();
        users.insert(user, Permission { definition, configure, write, read });
    }

    /// Removes the permissions of a user in a virtual host; true if there were any.
    pub fn remove(&mut self, user: &str, vhost: &str) -> bool {
        self.by_vhost.get_mut(vhost).is_some_and(|users| users.remove(user).is_some())
    }

    /// Removes all permissions of a user, in every virtual host.
    pub fn remove_user(&mut self, user: &str) {
        for users in self.by_vhost.values_mut() {
            users.remove(user);
        }
        self.topics.retain(|_, topic| topic.definition.user != user);
    }

    /// Removes all permissions in a virtual host.
    pub fn remove_vhost(&mut self, vhost: &str) {
        self.by_vhost.remove(vhost);
        self.topics.retain(|_, topic| topic.definition.vhost != vhost);
    }

    /// The permissions of a user in a virtual host. None: the user may not open it.
    #[must_use]
    pub fn get(&self, user: &str, vhost: &str) -> Option<&PermissionDefinition> {
        Some(&self.by_vhost.get(vhost)?.get(user)?.definition)
    }

    /// Sets or replaces topic permissions.
    pub fn set_topic(&mut self, definition: TopicPermissionDefinition) {
        let TopicPermissionDefinition { vhost, user, exchange, .. } = definition.clone();
        let [write, read] = Default::default();
        self.topics.insert((vhost, user, exchange), TopicPermission { definition, write, read });
    }

    /// Removes the topic permissions of a user for an exchange.
    pub fn remove_topic(&mut self, user: &str, vhost: &str, exchange: &str) {
        self.topics.remove(&(vhost.to_owned(), user.to_owned(), exchange.to_owned()));
    }

    /// The topic permissions of a user for an exchange.
    #[must_use]
    pub fn topic(&self, user: &str, vhost: &str, exchange: &str) -> Option<&TopicPermissionDefinition> {
        Some(&self.topics.get(&(vhost.to_owned(), user.to_owned(), exchange.to_owned()))?.definition)
    }

    /// All topic permissions.
    pub fn topics(&self) -> impl Iterator<Item = &TopicPermissionDefinition> {
        self.topics.values().map(|topic| &topic.definition)
    }

    /// True if there are topic permissions at all.
    #[must_use]
    pub fn has_topics(&self) -> bool {
        !self.topics.is_empty()
    }

    /// 403 if there are topic permissions for the user at the exchange, and they do not have the routing key. `{username}` and
    /// `{vhost}` in them stand for the names.
    pub fn check_topic(
        &self,
        user: &str,
        vhost: &str,
        access: Access,
        exchange: &str,
        routing_key: &str,
    ) -> Result<(), ChannelError> {
        let Some(topic) = self.topics.get(&(vhost.to_owned(), user.to_owned(), exchange.to_owned())) else {
            return Ok(());
        };
        let (pattern, lazy) = match access {
            Access::Read => (&topic.definition.read, &topic.read),
            Access::Write | Access::Configure => (&topic.definition.write, &topic.write),
        };
        let expanded;
        let pattern = match pattern.contains('{') {
            false => pattern,
            true => {
                expanded = pattern.replace("{username}", user).replace("{vhost}", vhost);
                &expanded
            }
        };
        // User and virtual host are those of the definition, so the expanded expression is always the same.
        if lazy.is_match(pattern, routing_key) {
            return Ok(());
        }
        Err(ChannelCode::AccessRefused.error(format!(
            "{access} access to topic '{routing_key}' in exchange '{exchange}' in vhost '{vhost}' refused for user '{user}'"
        )))
    }

    /// All permissions, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &PermissionDefinition> {
        self.by_vhost.values().flat_map(FxHashMap::values).map(|permission| &permission.definition)
    }

    /// 403 if the user may not do that.
    pub fn check(&self, user: &str, access: Access, resource: Resource<'_>) -> Result<(), ChannelError> {
        let mut resource = resource;
        if resource.kind == ResourceKind::Exchange && resource.name == DEFAULT_EXCHANGE {
            resource.name = DEFAULT_EXCHANGE_ALIAS;
        }
        let permission = self.by_vhost.get(resource.vhost).and_then(|users| users.get(user));
        if permission.is_some_and(|permission| permission.allows(access, resource.name)) {
            return Ok(());
        }
        Err(ChannelCode::AccessRefused.error(format!("{access} access to {resource} refused for user '{user}'")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permissions(configure: &str, write: &str, read: &str) -> Permissions {
        let mut permissions = Permissions::default();
        permissions.set(PermissionDefinition {
            user: "u".into(),
            vhost: "/".into(),
            configure: configure.into(),
            write: write.into(),
            read: read.into(),
        });
        permissions
    }

    fn queue(name: &str) -> Resource<'_> {
        Resource::queue("/", name)
    }

    #[test]
    fn expressions_match_parts_of_names() {
        let permissions = permissions("^a", "b", "^c$");
        assert_eq!(permissions.check("u", Access::Configure, queue("abc")), Ok(()));
        assert!(permissions.check("u", Access::Configure, queue("ba")).is_err());
        assert_eq!(permissions.check("u", Access::Write, queue("abc")), Ok(()));
        assert_eq!(permissions.check("u", Access::Read, queue("c")), Ok(()));
        assert!(permissions.check("u", Access::Read, queue("abc")).is_err());
    }

    #[test]
    fn refusals_name_what_and_who() {
        let permissions = permissions("", "", ".*");
        assert_eq!(
            permissions.check("u", Access::Configure, queue("q")).unwrap_err().to_string(),
            "ACCESS_REFUSED - configure access to queue 'q' in vhost '/' refused for user 'u'"
        );
        assert_eq!(
            permissions.check("u", Access::Write, Resource::exchange("/", "")).unwrap_err().to_string(),
            "ACCESS_REFUSED - write access to exchange 'amq.default' in vhost '/' refused for user 'u'"
        );
        assert_eq!(permissions.check("u", Access::Read, queue("q")), Ok(()));
    }

    #[test]
    fn empty_and_malformed_expressions_match_nothing() {
        for pattern in ["", "(", "a{99999}{99999}"] {
            let permissions = permissions(pattern, ".*", ".*");
            assert!(permissions.check("u", Access::Configure, queue("q")).is_err(), "{pattern:?}");
        }
        let mut definition = PermissionDefinition::full("u", "/");
        assert_eq!(definition.check(), Ok(()));
        definition.write = "(".into();
        assert_eq!(definition.check().unwrap_err().0, Access::Write);
    }

    #[test]
    fn the_default_exchange_is_checked_as_amq_default() {
        let permissions = permissions("", "^amq\\.default$", "");
        assert_eq!(permissions.check("u", Access::Write, Resource::exchange("/", "")), Ok(()));
    }

    #[test]
    fn strangers_and_other_virtual_hosts_have_no_permissions() {
        let mut permissions = permissions(".*", ".*", ".*");
        assert!(permissions.check("other", Access::Read, queue("q")).is_err());
        assert!(permissions.check("u", Access::Read, Resource::queue("other", "q")).is_err());
        assert!(permissions.get("u", "other").is_none());
        assert!(permissions.remove("u", "/"));
        assert!(!permissions.remove("u", "/"));
        assert!(permissions.check("u", Access::Read, queue("q")).is_err());
        permissions.set(PermissionDefinition::full("u", "/"));
        permissions.remove_user("u");
        assert_eq!(permissions.iter().count(), 0);
        permissions.set(PermissionDefinition::full("u", "/"));
        permissions.remove_vhost("/");
        assert_eq!(permissions.iter().count(), 0);
    }

    #[test]
    fn replacing_takes_effect_at_once() {
        let mut permissions = permissions(".*", "", "");
        assert_eq!(permissions.check("u", Access::Configure, queue("q")), Ok(()));
        permissions.set(PermissionDefinition { configure: String::new(), ..PermissionDefinition::full("u", "/") });
        assert!(permissions.check("u", Access::Configure, queue("q")).is_err());
        assert_eq!(permissions.check("u", Access::Write, queue("q")), Ok(()));
    }
}

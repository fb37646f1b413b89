//! Who may come in: user name and password, virtual host.

use std::sync::Arc;

use super::Shard;
use super::topology::{Change, Topology};
use crate::admin::Definition;
use crate::error::{ConnectionCode, ConnectionError};
use crate::model::permission::PermissionDefinition;
use crate::model::queue::settings::QueueType;
use crate::model::user::UserDefinition;
use crate::model::vhost::{DEFAULT_VHOST, VhostDefinition};
use crate::secret::Secret;

/// The user of a new data directory, and its password. It may connect from loopback addresses only.
pub(super) const DEFAULT_USER: &str = "guest";

impl Shard {
    /// Checks a user name and password. Returns the user's name as it is shared by all that refer to it; `None` if there is no
    /// such user or the password is wrong.
    #[must_use]
    pub fn authenticate(&self, username: &str, password: &[u8]) -> Option<Arc<str>> {
        let (name, user) = self.topology.user(username)?;
        user.verify_password(password).then(|| Arc::clone(name))
    }

    /// The name of a user that something else than a password has shown to be there (a client certificate), as it is shared.
    #[must_use]
    pub fn user(&self, username: &str) -> Option<Arc<str>> {
        self.topology.user(username).map(|(name, _)| Arc::clone(name))
    }

    /// Connections that may be open in the virtual host, and those that the user may have open; none is no limit.
    #[must_use]
    pub fn connection_limits(&self, user: &str, vhost: &str) -> (Option<u64>, Option<u64>) {
        let of_vhost = self.topology.vhost(vhost).and_then(|(_, vhost)| vhost.limits.max_connections);
        (of_vhost, self.topology.user_limits(user).and_then(|limits| limits.max_connections))
    }

    /// Channels that the user may have open in all connections; none is no limit.
    #[must_use]
    pub fn channel_limit(&self, user: &str) -> Option<u64> {
        self.topology.user_limits(user)?.max_channels
    }

    /// Opens a virtual host for a connection (`connection.open`). Returns its name as it is shared.
    ///
    /// # Errors
    /// 530 if it does not exist or the user has no permission in it.
    pub fn open_vhost(&self, user: &Arc<str>, vhost: &str) -> Result<Arc<str>, ConnectionError> {
        let Some((name, _)) = self.topology.vhost(vhost) else {
            return Err(ConnectionCode::NotAllowed.error(format!("vhost {vhost} not found")));
        };
        if self.topology.permissions().get(user, vhost).is_none() {
            let text = format!("access to vhost '{vhost}' refused for user '{user}'");
            return Err(ConnectionCode::NotAllowed.error(text));
        }
        Ok(Arc::clone(name))
    }
}

/// What a new data directory starts with, and what holds for queues that do not say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// A new data directory gets the virtual host and the user; otherwise somebody else defines what there is.
    pub seed: bool,
    /// The virtual host.
    pub vhost: String,
    /// The user.
    pub user: String,
    /// The user's password.
    pub password: Secret,
    /// The user's tags.
    pub tags: Vec<String>,
    /// What the user may configure, write to and read from in the virtual host: regular expressions.
    pub permissions: [String; 3],
    /// The type of queues that are declared without one, in virtual hosts that have no default of their own.
    pub queue_type: QueueType,
    /// How long a delivery may stay unacknowledged, in milliseconds; `None` forever.
    pub consumer_timeout_ms: Option<u64>,
}

impl Default for Defaults {
    /// RabbitMQ's: the virtual host `/` and the user guest, who may do everything there.
    fn default() -> Self {
        Self {
            seed: true,
            vhost: DEFAULT_VHOST.to_owned(),
            user: DEFAULT_USER.to_owned(),
            password: DEFAULT_USER.into(),
            tags: vec!["administrator".to_owned()],
            permissions: [".*", ".*", ".*"].map(str::to_owned),
            queue_type: QueueType::Classic,
            consumer_timeout_ms: Some(30 * 60 * 1000),
        }
    }
}

/// The changes that make a new data directory.
pub(super) fn first_changes(defaults: &Defaults, salt: [u8; 4]) -> [Change; 3] {
    let tags: Vec<&str> = defaults.tags.iter().map(String::as_str).collect();
    let user = UserDefinition::with_password(&defaults.user, defaults.password.expose(), salt, &tags);
    let [configure, write, read] = defaults.permissions.clone();
    let mut vhost = VhostDefinition::new(&defaults.vhost);
    vhost.description = "Default virtual host".to_owned();
    [
        Change::Put(Definition::Vhost(vhost)),
        Change::Put(Definition::User(user)),
        Change::Put(Definition::Permission(PermissionDefinition {
            user: defaults.user.clone(),
            vhost: defaults.vhost.clone(),
            configure,
            write,
            read,
        })),
    ]
}

/// True for a topology in which nobody could connect.
pub(super) fn is_new(topology: &Topology) -> bool {
    topology.user_count() == 0 && topology.vhost_count() == 0
}

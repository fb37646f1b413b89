//! Virtual hosts, and the names of things in them as error texts spell them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{ChannelCode, ChannelError};

/// The virtual host that exists from the start.
pub const DEFAULT_VHOST: &str = "/";

/// A virtual host, as the catalog stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VhostDefinition {
    /// Its name; at most 255 bytes.
    pub name: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// For people and tools.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Type of a queue that is declared without `x-queue-type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_queue_type: Option<String>,
}

impl VhostDefinition {
    /// A virtual host without description and tags.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), description: String::new(), tags: Vec::new(), default_queue_type: None }
    }
}

/// What a [`Resource`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResourceKind {
    /// An exchange.
    Exchange,
    /// A queue.
    Queue,
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exchange => "exchange",
            Self::Queue => "queue",
        })
    }
}

/// An exchange or a queue as RabbitMQ's error texts name it: `queue 'q' in vhost '/'`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource<'a> {
    /// Exchange or queue.
    pub kind: ResourceKind,
    /// Its name.
    pub name: &'a str,
    /// Its virtual host.
    pub vhost: &'a str,
}

impl<'a> Resource<'a> {
    /// An exchange.
    #[must_use]
    pub const fn exchange(vhost: &'a str, name: &'a str) -> Self {
        Self { kind: ResourceKind::Exchange, name, vhost }
    }

    /// A queue.
    #[must_use]
    pub const fn queue(vhost: &'a str, name: &'a str) -> Self {
        Self { kind: ResourceKind::Queue, name, vhost }
    }

    /// 404: it does not exist.
    #[must_use]
    pub fn not_found(self) -> ChannelError {
        ChannelCode::NotFound.error(format!("no {self}"))
    }
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} '{}' in vhost '{}'", self.kind, self.name, self.vhost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_named_as_in_rabbitmq() {
        assert_eq!(Resource::queue("/", "q").not_found().to_string(), "NOT_FOUND - no queue 'q' in vhost '/'");
        assert_eq!(Resource::exchange("v", "x").to_string(), "exchange 'x' in vhost 'v'");
    }

    #[test]
    fn definition_needs_only_a_name() {
        let vhost: VhostDefinition = serde_json::from_str(r#"{"name":"v"}"#).unwrap();
        assert_eq!(vhost, VhostDefinition::new("v"));
    }
}

//! Limits that an administrator sets for a virtual host or a user. None is no limit, and so is a negative number in
//! definitions (RabbitMQ).

use serde::{Deserialize, Serialize};

/// The limits of a virtual host, as the catalog stores them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VhostLimits {
    /// The virtual host.
    pub vhost: String,
    /// Connections that may be open in it. Beyond it `connection.open` fails with 530.
    #[serde(rename = "max-connections", default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u64>,
    /// Queues that may be in it. Beyond it `queue.declare` fails with 406.
    #[serde(rename = "max-queues", default, skip_serializing_if = "Option::is_none")]
    pub max_queues: Option<u64>,
}

/// A limit of a virtual host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VhostLimit {
    /// See [`VhostLimits::max_connections`].
    MaxConnections,
    /// See [`VhostLimits::max_queues`].
    MaxQueues,
}

/// The limits of a user, as the catalog stores them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserLimits {
    /// The user.
    pub user: String,
    /// Connections that the user may have open. Beyond it `connection.open` fails with 530.
    #[serde(rename = "max-connections", default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u64>,
    /// Channels that the user may have open in all connections. Beyond it `channel.open` closes the connection with 530.
    #[serde(rename = "max-channels", default, skip_serializing_if = "Option::is_none")]
    pub max_channels: Option<u64>,
}

/// A limit of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UserLimit {
    /// See [`UserLimits::max_connections`].
    MaxConnections,
    /// See [`UserLimits::max_channels`].
    MaxChannels,
}

impl VhostLimits {
    /// No limits.
    #[must_use]
    pub fn none(vhost: &str) -> Self {
        Self { vhost: vhost.to_owned(), ..Self::default() }
    }

    /// Sets or clears one.
    pub fn set(&mut self, limit: VhostLimit, value: Option<u64>) {
        match limit {
            VhostLimit::MaxConnections => self.max_connections = value,
            VhostLimit::MaxQueues => self.max_queues = value,
        }
    }

    /// True if nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.max_connections.is_none() && self.max_queues.is_none()
    }
}

impl UserLimits {
    /// No limits.
    #[must_use]
    pub fn none(user: &str) -> Self {
        Self { user: user.to_owned(), ..Self::default() }
    }

    /// Sets or clears one.
    pub fn set(&mut self, limit: UserLimit, value: Option<u64>) {
        match limit {
            UserLimit::MaxConnections => self.max_connections = value,
            UserLimit::MaxChannels => self.max_channels = value,
        }
    }

    /// True if nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.max_connections.is_none() && self.max_channels.is_none()
    }
}

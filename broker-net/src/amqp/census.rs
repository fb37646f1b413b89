//! How many connections and channels there are on all shards, by virtual host and user, for the limits that are not of
//! one connection alone.
//!
//! It is the only state that shards share. It is touched when a connection or channel opens or closes, never for a
//! message.

use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use broker_core::error::{ConnectionCode, ConnectionError};
use rustc_hash::FxHashMap;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Census {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: u64,
    channels: u64,
    vhosts: FxHashMap<Arc<str>, u64>,
    users: FxHashMap<Arc<str>, UserCounts>,
}

#[derive(Clone, Copy, Debug, Default)]
struct UserCounts {
    connections: u64,
    channels: u64,
}

/// Most connections, each absent if there is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ConnectionLimits {
    pub(crate) node: Option<u64>,
    pub(crate) vhost: Option<u64>,
    pub(crate) user: Option<u64>,
}

/// Most channels, each absent if there is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ChannelLimits {
    pub(crate) node: Option<u64>,
    pub(crate) user: Option<u64>,
}

impl Census {
    /// Counts a connection, unless it would be one too many: then 530.
    pub(crate) fn open_connection(
        &self,
        user: &Arc<str>,
        vhost: &Arc<str>,
        limits: ConnectionLimits,
    ) -> Result<(), ConnectionError> {
        let mut counts = self.counts();
        let refuse = |text: String| Err(ConnectionCode::NotAllowed.error(text));
        if let Some(limit) = reached(counts.connections, limits.node) {
            return refuse(format!("connection refused: node connection limit ({limit}) is reached"));
        }
        let in_vhost = counts.vhosts.get(vhost).copied().unwrap_or_default();
        if let Some(limit) = reached(in_vhost, limits.vhost) {
            return refuse(format!(
                "access to vhost '{vhost}' refused for user '{user}': connection limit ({limit}) is reached"
            ));
        }
        let of_user = counts.users.get(user).map_or(0, |user| user.connections);
        if let Some(limit) = reached(of_user, limits.user) {
            return refuse(format!(
                "connection refused for user '{user}': user connection limit ({limit}) is reached"
            ));
        }
        counts.connections += 1;
        *counts.vhosts.entry(Arc::clone(vhost)).or_default() += 1;
        counts.users.entry(Arc::clone(user)).or_default().connections += 1;
        Ok(())
    }

    /// A counted connection is gone; its channels must be gone before.
    pub(crate) fn close_connection(&self, user: &Arc<str>, vhost: &Arc<str>) {
        let mut counts = self.counts();
        counts.connections = counts.connections.saturating_sub(1);
        if let Entry::Occupied(mut entry) = counts.vhosts.entry(Arc::clone(vhost)) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
        if let Entry::Occupied(mut entry) = counts.users.entry(Arc::clone(user)) {
            entry.get_mut().connections -= 1;
            if entry.get().connections == 0 {
                entry.remove();
            }
        }
    }

    /// Counts a channel, unless it would be one too many: then 530. `node` is the broker's name.
    pub(crate) fn open_channel(
        &self,
        user: &Arc<str>,
        limits: ChannelLimits,
        node: &str,
    ) -> Result<(), ConnectionError> {
        let mut counts = self.counts();
        let channels = counts.channels;
        let of_user = counts.users.get_mut(user);
        if let Some(limit) = reached(of_user.as_ref().map_or(0, |user| user.channels), limits.user) {
            return Err(ConnectionCode::NotAllowed.error(format!(
                "number of channels opened for user '{user}' has reached the maximum allowed user limit of ({limit})"
            )));
        }
        if let Some(limit) = reached(channels, limits.node) {
            return Err(ConnectionCode::NotAllowed.error(format!(
                "number of channels opened on node '{node}' has reached the maximum allowed limit of {limit}"
            )));
        }
        if let Some(user) = of_user {
            user.channels += 1;
        }
        counts.channels += 1;
        Ok(())
    }

    /// A counted channel is gone.
    pub(crate) fn close_channel(&self, user: &Arc<str>) {
        let mut counts = self.counts();
        counts.channels = counts.channels.saturating_sub(1);
        if let Some(user) = counts.users.get_mut(user) {
            user.channels = user.channels.saturating_sub(1);
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Nobody panics while it is locked; numbers would still be numbers.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn reached(count: u64, limit: Option<u64>) -> Option<u64> {
    limit.filter(|limit| count >= *limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Arc<str> {
        Arc::from(text)
    }

    #[test]
    fn limits_refuse_the_one_too_many_with_rabbitmqs_texts() {
        let census = Census::default();
        let (user, vhost) = (name("guest"), name("/"));
        let open = |limits| census.open_connection(&user, &vhost, limits).map_err(|error| error.explanation);
        open(ConnectionLimits { node: Some(1), vhost: Some(1), user: Some(1) }).unwrap();
        for (limits, text) in [
            (
                ConnectionLimits { node: Some(1), ..Default::default() },
                "connection refused: node connection limit (1) is reached",
            ),
            (
                ConnectionLimits { vhost: Some(0), ..Default::default() },
                "access to vhost '/' refused for user 'guest': connection limit (0) is reached",
            ),
            (
                ConnectionLimits { user: Some(1), ..Default::default() },
                "connection refused for user 'guest': user connection limit (1) is reached",
            ),
        ] {
            assert_eq!(open(limits).unwrap_err(), text);
        }
        census.close_connection(&user, &vhost);
        open(ConnectionLimits { node: Some(1), vhost: Some(1), user: Some(1) }).unwrap();
    }

    #[test]
    fn channels_are_limited_by_user_and_node() {
        let census = Census::default();
        let (user, vhost) = (name("u"), name("/"));
        census.open_connection(&user, &vhost, ConnectionLimits::default()).unwrap();
        let open = |limits| census.open_channel(&user, limits, "ringmq@here").map_err(|error| error.explanation);
        open(ChannelLimits { node: Some(1), user: Some(1) }).unwrap();
        assert_eq!(
            open(ChannelLimits { node: None, user: Some(1) }).unwrap_err(),
            "number of channels opened for user 'u' has reached the maximum allowed user limit of (1)"
        );
        assert_eq!(
            open(ChannelLimits { node: Some(1), user: None }).unwrap_err(),
            "number of channels opened on node 'ringmq@here' has reached the maximum allowed limit of 1"
        );
        census.close_channel(&user);
        open(ChannelLimits { node: Some(1), user: Some(1) }).unwrap();
    }
}

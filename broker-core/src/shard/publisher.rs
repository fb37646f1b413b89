//! What a publishing channel remembers so that the usual publish looks nothing up.

use rustc_hash::FxHashMap;

use crate::error::ChannelError;
use crate::ids::{PartitionId, QueueId, ShardId};

/// Routing keys of one exchange that are remembered; beyond it all are forgotten and learnt anew.
const MAX_REMEMBERED_KEYS: usize = 4096;

/// A queue that a message goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The queue.
    pub queue: QueueId,
    /// Its partition.
    pub partition: PartitionId,
    /// The shard that runs the partition.
    pub shard: ShardId,
    /// Persistent messages go to the durable log.
    pub durable: bool,
    /// All messages do: it is a quorum queue or a stream.
    pub always_durable: bool,
    /// It is a stream: `slot` is its place in the table of streams.
    pub stream: bool,
    /// Its place in the table of queues, if it is on this shard.
    pub slot: u32,
}

impl Target {
    /// A message goes to the durable log for this queue.
    #[inline]
    pub(super) fn is_logged(&self, persistent: bool) -> bool {
        (persistent && self.durable) || self.always_durable
    }
}

/// The queues a message goes to, ascending by shard and partition.
pub(super) type Targets = Box<[Target]>;

/// What a publishing channel remembers between publishes: that it may write to the last exchange, and
/// where that exchange sent the last routing keys. Valid for one version of the topology.
#[derive(Debug, Default)]
pub struct Publisher {
    version: u64,
    exchange: String,
    /// Verdict of the permission check, made once per exchange and version.
    verdict: Option<Result<(), ChannelError>>,
    /// Where the exchange's counters are; nowhere if it does not exist.
    counted_at: u32,
    by_key: FxHashMap<Box<str>, u32>,
    routes: Vec<(Box<str>, Targets)>,
    last: usize,
    /// Where the replies to the channel's requests go, while it consumes them.
    reply_name: Option<Box<str>>,
}

impl Publisher {
    /// Forgets what is not about this exchange and topology version. Returns what is known of the permission.
    pub(super) fn enter(&mut self, version: u64, exchange: &str) -> Option<&Result<(), ChannelError>> {
        if self.version != version || self.exchange != exchange {
            self.version = version;
            self.exchange.clear();
            self.exchange.push_str(exchange);
            self.verdict = None;
            self.counted_at = u32::MAX;
            self.forget_routes();
        }
        self.verdict.as_ref()
    }

    /// Sets the reply name that requests get (direct reply-to), or says that the channel consumes no replies any more.
    pub fn set_reply_name(&mut self, reply_name: Option<Box<str>>) {
        self.reply_name = reply_name;
    }

    /// See [`Self::set_reply_name`].
    pub(super) fn reply_name(&self) -> Option<&str> {
        self.reply_name.as_deref()
    }

    /// Notes where the counters of the exchange are.
    pub(super) fn set_counted_at(&mut self, place: u32) {
        self.counted_at = place;
    }

    /// See [`Self::set_counted_at`].
    pub(super) fn counted_at(&self) -> u32 {
        self.counted_at
    }

    /// Notes whether the channel may write to the exchange.
    pub(super) fn set_verdict(&mut self, verdict: Result<(), ChannelError>) {
        self.verdict = Some(verdict);
    }

    /// Goes to what is remembered of a routing key; false if that is nothing.
    pub(super) fn seek(&mut self, routing_key: &str) -> bool {
        if self.routes.get(self.last).is_some_and(|(key, _)| **key == *routing_key) {
            return true;
        }
        match self.by_key.get(routing_key) {
            Some(index) => {
                self.last = *index as usize;
                true
            }
            None => false,
        }
    }

    /// Remembers the targets of a routing key, and goes there.
    pub(super) fn remember(&mut self, routing_key: &str, targets: Targets) {
        if self.routes.len() >= MAX_REMEMBERED_KEYS {
            self.forget_routes();
        }
        self.last = self.routes.len();
        let index = u32::try_from(self.last).expect("bounded by MAX_REMEMBERED_KEYS");
        self.by_key.insert(routing_key.into(), index);
        self.routes.push((routing_key.into(), targets));
    }

    /// The targets of the routing key that was last sought with success, or remembered.
    pub(super) fn targets(&self) -> &Targets {
        &self.routes[self.last].1
    }

    fn forget_routes(&mut self) {
        self.by_key.clear();
        self.routes.clear();
        self.last = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_forgotten_with_the_exchange_and_the_version() {
        let mut publisher = Publisher::default();
        publisher.enter(1, "x");
        publisher.set_verdict(Ok(()));
        publisher.remember("a", Targets::default());
        publisher.remember("b", Targets::default());
        assert!(publisher.enter(1, "x").is_some());
        assert!(publisher.seek("a") && publisher.seek("b") && !publisher.seek("c"));
        assert!(publisher.enter(1, "y").is_none());
        assert!(!publisher.seek("a"));
        publisher.remember("a", Targets::default());
        assert!(publisher.enter(2, "y").is_none());
        assert!(!publisher.seek("a"));
    }

    #[test]
    fn memory_of_routes_is_bounded() {
        let mut publisher = Publisher::default();
        publisher.enter(1, "x");
        for key in 0..3 * MAX_REMEMBERED_KEYS {
            publisher.remember(&key.to_string(), Targets::default());
            assert!(publisher.routes.len() <= MAX_REMEMBERED_KEYS);
        }
    }
}

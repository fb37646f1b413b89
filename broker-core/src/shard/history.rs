//! Exchanges that keep their newest messages for queues that are bound later, on the shard of their partition.
//!
//! All messages of such an exchange pass through that shard, so that what a new binding is given and what comes after it are all that there
//! is, each once. Only where a part of the history has to be read from disk first may a newer message come before it.

use std::collections::VecDeque;
use std::sync::Arc;

use broker_store::{Entry, LogKind, QueueId, SegmentId, Seq};
use rustc_hash::FxHashMap;

use super::Shard;
use super::internal::Origin;
use super::publish::{Accepted, Confirm, Routed};
use crate::ids::PartitionId;
use crate::model::binding::BindingDefinition;
use crate::model::exchange::history::{History, Kept, is_kept};
use crate::model::message::{Message, Traits};
use crate::model::properties::Properties;
use crate::model::queue::Read;
use crate::model::vhost::ResourceKind;
use crate::session::Sessions;

/// The histories of this shard's exchanges, and the bindings that are still to be given some of it.
#[derive(Debug, Default)]
pub(super) struct Histories {
    by_store: FxHashMap<QueueId, Hosted>,
    replays: VecDeque<Replay>,
}

#[derive(Debug)]
struct Hosted {
    history: History,
    partition: PartitionId,
}

/// A new binding, and what it is to be given.
#[derive(Debug)]
struct Replay {
    store: QueueId,
    vhost: Arc<str>,
    kind: ResourceKind,
    name: String,
    next: Seq,
    last: Seq,
}

impl Histories {
    /// Takes in the history of an exchange.
    pub(super) fn host(&mut self, store: QueueId, partition: PartitionId, history: History) {
        self.by_store.insert(store, Hosted { history, partition });
    }

    /// True if the store is that of an exchange with a history here.
    pub(super) fn has(&self, store: QueueId) -> bool {
        self.by_store.contains_key(&store)
    }

    /// True if a binding is still to be given something.
    pub(super) fn has_replays(&self) -> bool {
        !self.replays.is_empty()
    }

    /// Takes in what recovery found of a history.
    pub(super) fn recovered(&mut self, lane: QueueId, next_seq: Seq, entries: &[Entry]) {
        if let Some(hosted) = self.by_store.get_mut(&lane.base()) {
            hosted.history.recovered(next_seq, entries);
        }
    }

    pub(super) fn relocate(&mut self, lane: QueueId, kind: LogKind, segment: SegmentId, moved: &[Entry]) {
        if let Some(hosted) = self.by_store.get_mut(&lane.base()) {
            hosted.history.relocate(kind, segment, moved);
        }
    }
}

impl Shard {
    /// The exchange is gone: so is its history.
    pub(super) fn drop_history(&mut self, store: QueueId) {
        if let Some(mut hosted) = self.histories.by_store.remove(&store)
            && let Some(partition) = self.partitions.get_mut(&hosted.partition)
        {
            hosted.history.drop_messages(&mut partition.logs);
        }
    }

    /// Keeps a message that an exchange of this shard passes on, if it has a history. What the log does not take is not kept.
    pub(super) fn keep_in_history(
        &mut self,
        store: QueueId,
        message: Message<'_>,
        traits: Traits,
        properties: &Properties<'_>,
    ) {
        let (Some(hosted), Some(row)) = (self.histories.by_store.get_mut(&store), self.topology.store(store))
        else {
            return;
        };
        let Some(partition) = self.partitions.get_mut(&hosted.partition).filter(|_| is_kept(properties)) else {
            return;
        };
        let log = if traits.persistent && row.durable { LogKind::Durable } else { LogKind::Volatile };
        let (lane, seq) = hosted.history.take_seq();
        let lengths = message.lengths();
        if let Ok(record) = partition.logs.of(log).append(&[(lane, seq)], &message.parts(&lengths)) {
            hosted.history.push(&mut partition.logs, Kept { seq, position: record.position, log });
        }
    }

    /// Publishes a message from an exchange of this shard that has a history.
    pub(super) fn pass_on(
        &mut self,
        sessions: &mut impl Sessions,
        store: QueueId,
        message: Message<'_>,
        traits: Traits,
        reply: Confirm,
    ) -> Accepted {
        let Some(row) = self.topology.store(store) else {
            return Accepted::Now;
        };
        let (vhost, exchange) = (Arc::clone(&row.vhost), Arc::clone(&row.exchange));
        let origin = Origin::PassedOn(reply);
        let published = self.publish_from(sessions, (&vhost, &exchange), message, traits, origin);
        match (published.pending_confirms, published.refused) {
            (1.., _) => Accepted::WhenDurable,
            (0, true) => Accepted::Refused,
            (0, false) => Accepted::Now,
        }
    }

    /// A binding is new: if its source has a history here, it is given that.
    pub(super) fn begin_replay(
        &mut self,
        sessions: &mut impl Sessions,
        vhost: &Arc<str>,
        binding: &BindingDefinition,
    ) {
        let source = self.topology.find_exchange(vhost, &binding.source);
        let Some(store) = source.and_then(|(_, definition)| definition.store).map(QueueId) else {
            return;
        };
        let newest = self.histories.by_store.get(&store).and_then(|hosted| hosted.history.newest());
        let Some(last) = newest else { return };
        self.histories.replays.push_back(Replay {
            store,
            vhost: Arc::clone(vhost),
            kind: binding.destination_kind,
            name: binding.destination.clone(),
            next: Seq(0),
            last,
        });
        self.continue_replays(sessions);
    }

    /// Gives new bindings some more of the histories.
    pub(super) fn continue_replays(&mut self, sessions: &mut impl Sessions) {
        while let Some(mut replay) = self.histories.replays.pop_front() {
            if self.internal.is_full() || self.congested() || !self.replay_one(sessions, &mut replay) {
                self.histories.replays.push_front(replay);
                return;
            }
            if replay.next <= replay.last {
                self.histories.replays.push_front(replay);
            }
        }
    }

    /// Publishes the next message of a replay. False if it is not in memory.
    fn replay_one(&mut self, sessions: &mut impl Sessions, replay: &mut Replay) -> bool {
        let hosted = self.histories.by_store.get(&replay.store);
        let found = hosted.and_then(|hosted| Some((hosted.history.first_from(replay.next)?, hosted.partition)));
        let Some((kept, partition)) = found.filter(|(kept, _)| kept.seq <= replay.last) else {
            replay.next = Seq(replay.last.0 + 1);
            return true;
        };
        let logs = &mut self.partitions.get_mut(&partition).expect("a hosted store's partition is here").logs;
        let mut stored = std::mem::take(&mut self.scratch_message);
        stored.clear();
        match logs.read_at(kept.log, kept.position) {
            Read::Message(message) => {
                message.parts(&message.lengths()).iter().for_each(|part| stored.extend_from_slice(part));
            }
            Read::Elsewhere => {
                logs.of(kept.log).page_in(kept.position);
                self.scratch_message = stored;
                return false;
            }
            Read::Lost => {}
        }
        replay.next = Seq(kept.seq.0 + 1);
        if let Some(message) = Message::from_stored(&stored) {
            self.replay_message(sessions, replay, message);
        }
        self.scratch_message = stored;
        true
    }

    fn replay_message(&mut self, sessions: &mut impl Sessions, replay: &Replay, message: Message<'_>) {
        let properties = Properties::parse(message.properties).unwrap_or_default();
        let message = Message { stamp: message.stamp.held_until(self.now_ms), ..message };
        let routed = match replay.kind {
            ResourceKind::Queue => {
                let queue = self.topology.find_queue(&replay.vhost, &replay.name).map(|(queue, _)| queue);
                let target = queue.and_then(|queue| self.target(queue));
                Routed { targets: target.into_iter().collect(), ..Routed::default() }
            }
            ResourceKind::Exchange => {
                self.route(&replay.vhost, &replay.name, &[message.routing_key], &properties).unwrap_or_default()
            }
        };
        self.publish_internally(sessions, &routed, message, Traits::of(&properties), Origin::Nothing);
    }
}

//! Exchanges that hold messages back, on the shard of their partition: into the log, and out when they are due.
//!
//! A message is acked in the log when its queues have it, so a crash in between releases it a second time: at least once.

use std::sync::Arc;

use broker_store::{Entry, LogKind, QueueId, RecoveredQueue, SegmentId, Seq};
use rustc_hash::FxHashMap;

use super::Shard;
use super::internal::Origin;
use super::mailbox::Op;
use super::publish::{Accepted, Confirm, Routed};
use super::topology::{Applied, Change};
use crate::ids::PartitionId;
use crate::model::exchange::ExchangeDefinition;
use crate::model::exchange::delay::{self, Delays, Waiting};
use crate::model::headers::{BCC, sender_selected, without};
use crate::model::message::{Message, Traits};
use crate::model::properties::Properties;
use crate::model::queue::{Pump, Read};
use crate::model::routing::Routable;
use crate::session::{Published, Sessions};

/// Messages that are released before the loop goes on.
const RELEASES_PER_TURN: usize = 1024;

/// Milliseconds after which a message that was refused is released again.
const RETRY_MS: u64 = 1000;

/// What the exchanges of this shard's partitions hold back.
#[derive(Debug, Default)]
pub(super) struct HeldBack {
    stores: FxHashMap<QueueId, Hosted>,
    /// When there is something to do next, in milliseconds since the Unix epoch.
    next_wake_ms: Option<u64>,
    /// Nothing is released any more.
    stopped: bool,
}

#[derive(Debug)]
struct Hosted {
    machine: Delays,
    partition: PartitionId,
}

impl HeldBack {
    /// Takes in the store of an exchange.
    pub(super) fn host(&mut self, partition: PartitionId, machine: Delays) {
        self.wake_at(machine.next_wake_ms());
        self.stores.insert(machine.store(), Hosted { machine, partition });
    }

    /// Messages held back.
    pub(super) fn message_count(&self) -> u64 {
        self.stores.values().map(|hosted| hosted.machine.len()).sum()
    }

    /// When [`Shard::release_due`] has something to do.
    pub(super) fn next_wake_ms(&self) -> Option<u64> {
        self.next_wake_ms
    }

    pub(super) fn segment_sealed(&mut self, partition: PartitionId, kind: LogKind, segment: SegmentId) {
        for hosted in self.stores.values_mut().filter(|hosted| hosted.partition == partition) {
            hosted.machine.segment_sealed(kind, segment);
        }
    }

    pub(super) fn relocate(&mut self, lane: QueueId, kind: LogKind, segment: SegmentId, moved: &[Entry]) {
        if let Some(hosted) = self.stores.get_mut(&lane.base()) {
            hosted.machine.relocate(lane, kind, segment, moved);
        }
    }

    /// Releases nothing any more.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    /// True if nothing is released any more.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// What an exchange of this shard holds back, and the partition that has it.
    pub(super) fn hosted_mut(&mut self, store: QueueId) -> Option<(&mut Delays, PartitionId)> {
        self.stores.get_mut(&store).map(|hosted| (&mut hosted.machine, hosted.partition))
    }

    fn wake_at(&mut self, at_ms: Option<u64>) {
        self.next_wake_ms = self.next_wake_ms.into_iter().chain(at_ms).min();
    }
}

impl Shard {
    /// Gives a message to the exchanges that hold it back, and to the queues that it has beside.
    pub(super) fn hold_back(
        &mut self,
        sessions: &mut impl Sessions,
        routed: &Routed,
        message: Message<'_>,
        traits: Traits,
        confirm: Confirm,
    ) -> Published {
        let mut published = self.hand_out(sessions, &routed.targets, message, traits, confirm);
        published.routed = true;
        for store in &routed.held_back {
            let Some(row) = self.topology.store(*store) else {
                continue;
            };
            let shard = self.placement.shard_of(self.placement.partition_of(&row.vhost, &row.exchange));
            if shard != self.id {
                let batch = self.peers.batch(shard);
                let queues = batch.queues(std::iter::once(*store));
                let message = batch.message(message);
                let confirm = confirm.map(|(_, channel, seq)| (channel, seq));
                batch.push(Op::Publish { queues, message, traits, confirm });
                published.pending_confirms += u32::from(confirm.is_some());
                continue;
            }
            match self.admit(sessions, *store, message, traits, confirm) {
                Accepted::Now => {}
                Accepted::WhenDurable => published.pending_confirms += u32::from(confirm.is_some()),
                Accepted::Refused | Accepted::Overflow => published.refused = true,
            }
        }
        published
    }

    /// Stores a message until it is due. One that comes too late for its exchange is gone like the exchange.
    pub(super) fn store_delayed(
        &mut self,
        store: QueueId,
        message: Message<'_>,
        traits: Traits,
        confirm: Confirm,
    ) -> Accepted {
        let (Some(hosted), Some(row)) = (self.held_back.stores.get_mut(&store), self.topology.store(store)) else {
            return Accepted::Now;
        };
        let partition = self.partitions.get_mut(&hosted.partition).expect("a hosted store's partition is here");
        let due_ms = Properties::parse(message.properties)
            .ok()
            .and_then(|properties| delay::due_at(&properties, message.stamp.published_ms()))
            .unwrap_or(self.now_ms);
        let kind = if traits.persistent && row.durable { LogKind::Durable } else { LogKind::Volatile };
        let (lane, seq) = hosted.machine.take_seq(due_ms, self.now_ms);
        let lengths = message.lengths();
        let Ok(record) = partition.logs.of(kind).append(&[(lane, seq)], &message.parts(&lengths)) else {
            return Accepted::Refused;
        };
        hosted.machine.push(due_ms, self.now_ms, Waiting { lane, seq, position: record.position, log: kind });
        let next = hosted.machine.next_wake_ms();
        self.held_back.wake_at(next);
        if kind == LogKind::Volatile {
            return Accepted::Now;
        }
        if let Some((shard, channel, seq)) = confirm {
            partition.confirms.wait(record.lsn, shard, channel, seq);
        }
        Accepted::WhenDurable
    }

    /// Messages that this shard holds back for an exchange (`messages_delayed`); on all other shards it is 0.
    #[must_use]
    pub fn messages_delayed(&self, vhost: &str, exchange: &str) -> u64 {
        let store = self.topology.find_exchange(vhost, exchange).and_then(|(_, exchange)| exchange.store);
        store.and_then(|store| self.held_back.stores.get(&QueueId(store))).map_or(0, |hosted| hosted.machine.len())
    }

    /// True if the number is that of an exchange's store on this shard.
    pub(super) fn is_store(&self, store: QueueId) -> bool {
        self.held_back.stores.contains_key(&store)
    }

    /// Takes in what recovery found under the number of a store.
    pub(super) fn recovered_lane(&mut self, lane: RecoveredQueue) {
        if let Some(hosted) = self.held_back.stores.get_mut(&lane.queue.base()) {
            hosted.machine.recovered(lane.queue, lane.next_seq, lane.runs, self.now_ms);
            let next = hosted.machine.next_wake_ms();
            self.held_back.wake_at(next);
        }
    }

    /// Applies to the stores of this shard what a change of the topology did to their exchanges.
    pub(super) fn apply_to_stores(&mut self, change: &Change, applied: &Applied) {
        match change {
            Change::ExchangeDeclared { vhost, definition } => self.host_store(vhost, definition),
            Change::ExchangeStored { vhost, .. } => {
                if let Some(definition) = &applied.redefined_exchange {
                    self.host_store(vhost, definition);
                }
            }
            _ => {}
        }
        for store in applied.removed.exchanges.iter().filter_map(|exchange| exchange.store) {
            self.drop_cache(QueueId(store));
            self.drop_history(QueueId(store));
            if let Some(mut hosted) = self.held_back.stores.remove(&QueueId(store)) {
                let partition =
                    self.partitions.get_mut(&hosted.partition).expect("a hosted store's partition is here");
                hosted.machine.drop_messages(&mut partition.logs);
            }
        }
    }

    fn host_store(&mut self, vhost: &str, definition: &ExchangeDefinition) {
        let partition = self.placement.partition_of(vhost, &definition.name);
        let Some(store) = definition.store.map(QueueId) else { return };
        if self.placement.shard_of(partition) == self.id && !self.is_store(store) {
            self.held_back.host(partition, Delays::new(store));
            if let Some(cache) = definition.cache(store) {
                self.caches.host(partition, cache);
            }
            if let Some(history) = definition.history(store) {
                self.histories.host(store, partition, history);
            }
        }
    }

    /// Releases the messages whose time has come.
    pub(super) fn release_due(&mut self, sessions: &mut impl Sessions) {
        if self.held_back.stopped || self.held_back.next_wake_ms.is_none_or(|at| at > self.now_ms) {
            return;
        }
        let stores: Vec<QueueId> = self.held_back.stores.keys().copied().collect();
        let mut left = RELEASES_PER_TURN;
        for store in stores {
            while left > 0 && !self.internal.is_full() && !self.congested() && self.release_one(sessions, store) {
                left -= 1;
            }
        }
        let next = self.held_back.stores.values().filter_map(|hosted| hosted.machine.next_wake_ms()).min();
        self.held_back.next_wake_ms = next;
    }

    /// Releases the first message of a store if it is due and in memory. Returns whether there may be another.
    fn release_one(&mut self, sessions: &mut impl Sessions, store: QueueId) -> bool {
        let (Some(hosted), Some(row)) = (self.held_back.stores.get_mut(&store), self.topology.store(store)) else {
            return false;
        };
        let logs =
            &mut self.partitions.get_mut(&hosted.partition).expect("a hosted store's partition is here").logs;
        // What could not be opened yet may be due before what is open: it is waited for.
        if hosted.machine.open(logs, self.now_ms) != Pump::Idle {
            return false;
        }
        let Some(waiting) = hosted.machine.due(self.now_ms) else {
            return false;
        };
        let (vhost, exchange) = (Arc::clone(&row.vhost), Arc::clone(&row.exchange));
        let mut stored = std::mem::take(&mut self.scratch_message);
        stored.clear();
        match logs.read_at(waiting.log, waiting.position) {
            Read::Message(message) => {
                let lengths = message.lengths();
                message.parts(&lengths).iter().for_each(|part| stored.extend_from_slice(part));
            }
            Read::Elsewhere => {
                logs.of(waiting.log).page_in(waiting.position);
                self.scratch_message = stored;
                return false;
            }
            Read::Lost => {}
        }
        hosted.machine.release();
        if let Some(message) = Message::from_stored(&stored) {
            self.publish_released(
                sessions,
                (&vhost, &exchange),
                message,
                Origin::HeldBack { store, seq: waiting.seq },
            );
        } else {
            self.released_arrived(store, waiting.seq, true);
        }
        self.scratch_message = stored;
        true
    }

    /// Publishes a message that was held back, as if it came now.
    fn publish_released(
        &mut self,
        sessions: &mut impl Sessions,
        from: (&str, &str),
        message: Message<'_>,
        origin: Origin,
    ) {
        let rewritten = delay::released(&message);
        let properties = rewritten.as_deref().unwrap_or(message.properties);
        let message = Message { stamp: message.stamp.held_until(self.now_ms), properties, ..message };
        let traits = Traits::of(&Properties::parse(properties).unwrap_or_default());
        let published = self.publish_from(sessions, from, message, traits, origin);
        if published.pending_confirms == 0 {
            self.origin_done(sessions, origin, !published.refused);
        }
    }

    /// Publishes a message from an exchange of this shard that has held it back or taken it. [`Self::origin_done`] follows if
    /// confirms are pending.
    pub(super) fn publish_from(
        &mut self,
        sessions: &mut impl Sessions,
        (vhost, exchange): (&str, &str),
        message: Message<'_>,
        traits: Traits,
        origin: Origin,
    ) -> Published {
        let properties = Properties::parse(message.properties).unwrap_or_default();
        let selected =
            properties.headers.and_then(|headers| sender_selected(headers).ok().flatten()).unwrap_or_default();
        let mut routing_keys = vec![message.routing_key];
        if !message.stamp.is_rerouted() {
            routing_keys.extend(selected.routing_keys);
        }
        let published_ms = self.now_ms;
        let routable =
            Routable { routing_keys: &routing_keys, properties: &properties, published_ms, admitted: true };
        let routed = self.route_message(vhost, exchange, &routable).unwrap_or_default();
        let stripped = properties
            .headers
            .filter(|_| selected.has_bcc)
            .map(|headers| without(message.properties, headers, BCC));
        let message = Message { properties: stripped.as_deref().unwrap_or(message.properties), ..message };
        let store = self.topology.find_exchange(vhost, exchange).and_then(|(_, exchange)| exchange.store);
        if let Some(store) = store.map(QueueId).filter(|store| self.histories.has(*store)) {
            self.keep_in_history(store, message, traits, &properties);
        }
        self.publish_for(sessions, &routed, message, traits, origin)
    }

    /// The queues of a released message have it, or one has refused it.
    pub(super) fn released_arrived(&mut self, store: QueueId, seq: Seq, accepted: bool) {
        let Some(hosted) = self.held_back.stores.get_mut(&store) else {
            return;
        };
        let partition = self.partitions.get_mut(&hosted.partition).expect("a hosted store's partition is here");
        if accepted {
            hosted.machine.arrived(&mut partition.logs, seq);
        } else {
            hosted.machine.put_back(seq, self.now_ms + RETRY_MS);
            let next = hosted.machine.next_wake_ms();
            self.held_back.wake_at(next);
        }
    }
}

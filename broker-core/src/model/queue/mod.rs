//! A queue: its ready messages, its unacknowledged ones, its consumers.
//!
//! The machine decides who gets what; deliveries leave through an [`Outlet`], bytes are in the [`Logs`] of
//! the queue's partition. Its calls say what they left undone as [`Pump`].

pub mod backlog;
mod bytes;
pub mod consumer;
mod deliver;
mod get;
mod lane;
mod logs;
mod moving;
mod retry;
pub mod settings;
mod special;
mod storage;
mod tend;
pub mod unacked;

use broker_store::{LogKind, QueueId, Seq};

use self::backlog::Entry;
pub use self::bytes::Bytes;
use self::consumer::{Activity, ChannelAddress, Consumer, ConsumerSlot, Consumers};
pub use self::get::{Get, Got};
use self::lane::Lane;
pub use self::logs::Logs;
pub(crate) use self::logs::Read;
pub use self::moving::{MoveToken, TakeOut};
use self::retry::Return;
use self::special::Special;
pub use self::special::{DeadToken, DeathReason};
pub use self::tend::DeadMessage;
use self::unacked::{Held, Unacked};
use crate::ids::{ConsumerRef, DeliveryToken, QueueRef, ShardId};
use crate::session::{Delivery, Settlement};

/// Where messages go that leave a queue.
pub trait Outlet {
    /// Delivers to a consumer whose channel is on `shard`: to a session here or into the batch for another.
    fn deliver(&mut self, shard: ShardId, delivery: Delivery<'_>);

    /// True while dead letters are taken.
    fn takes_dead(&self) -> bool;

    /// Takes a dead letter. [`Queue::buried`] or [`Queue::not_buried`] follows.
    fn dead_letter(&mut self, dead: DeadMessage<'_>);
}

/// What a queue waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Pump {
    /// Nothing: there is no message or no consumer that could take one.
    Idle,
    /// Its next turn: it has done as much as is good for the others.
    Again,
    /// Pages of a log: to be pumped again when the log has paged something in.
    PageIn(LogKind),
}

impl Pump {
    /// What a queue waits for that waits for both.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::PageIn(kind), _) | (_, Self::PageIn(kind)) => Self::PageIn(kind),
            (Self::Again, _) | (_, Self::Again) => Self::Again,
            (Self::Idle, Self::Idle) => Self::Idle,
        }
    }
}

/// One queue.
#[derive(Debug)]
pub struct Queue {
    at: QueueRef,
    /// The messages of a plain queue; the lowest priority of others.
    lane: Lane,
    unacked: Unacked,
    bytes: Bytes,
    consumers: Consumers,
    had_consumers: bool,
    /// A message that expires may be ready.
    may_expire: bool,
    /// Absent in a plain queue.
    special: Option<Box<Special>>,
}

impl Queue {
    /// An empty queue.
    #[must_use]
    pub fn new(at: QueueRef) -> Self {
        Self {
            at,
            lane: Lane::new(at.queue),
            unacked: Unacked::default(),
            bytes: Bytes::default(),
            consumers: Consumers::default(),
            had_consumers: false,
            may_expire: false,
            special: None,
        }
    }

    /// Ready messages.
    #[must_use]
    pub fn message_count(&self) -> u64 {
        self.lane.ready.len() + self.special.as_ref().map_or(0, |special| special.lanes_len())
    }

    /// Bytes of the bodies in the queue.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.bytes
    }

    fn is_empty(&self) -> bool {
        self.lane.ready.is_empty() && self.special.as_ref().is_none_or(|special| special.lanes_len() == 0)
    }

    /// When the oldest ready message was published, in milliseconds since the Unix epoch, as far as it can be told without reading
    /// from disk. Messages that came back and wait for their time are not looked at.
    #[must_use]
    pub fn oldest_ms(&self, logs: &Logs) -> Option<u64> {
        let lanes = self.special.iter().flat_map(|special| &special.lanes);
        lanes.chain([&self.lane]).filter_map(|lane| lane.oldest_ms(logs)).min()
    }

    /// Unacknowledged messages.
    #[must_use]
    pub fn unacked_count(&self) -> usize {
        self.unacked.len()
    }

    /// Consumers.
    #[must_use]
    pub fn consumer_count(&self) -> usize {
        self.consumers.len()
    }

    /// The consumers themselves, in no order.
    pub fn consumers(&self) -> impl Iterator<Item = &Consumer> {
        self.consumers.iter()
    }

    /// The consumers and what each is to the queue now, in no order.
    pub fn activities(&self) -> impl Iterator<Item = (&Consumer, Activity)> {
        self.consumers.activities()
    }

    /// True if a new consumer cannot be: an exclusive one is on the queue, or it wants to be one and is not alone, or cannot be
    /// one because there is a single active consumer (which quorum queues do not mind).
    #[must_use]
    pub fn refuses_consumer(&self, exclusive: bool) -> bool {
        let quorum = self.settings().is_some_and(|settings| settings.quorum);
        let single_active = self.consumers.is_single_active() && !quorum;
        self.consumers.has_exclusive() || exclusive && (!self.consumers.is_empty() || single_active)
    }

    /// Has one consumer at a time get messages. To be said before the first one comes.
    pub fn set_single_active(&mut self, single_active: bool) {
        let quorum = self.settings().is_some_and(|settings| settings.quorum);
        self.consumers.set_single_active(single_active, quorum);
    }

    /// Has the queue deliver nothing to consumers, or (false) go on; then it is to be pumped.
    pub fn set_paused(&mut self, paused: bool) {
        self.consumers.set_paused(paused);
    }

    /// True if the queue delivers nothing to consumers.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.consumers.is_paused()
    }

    /// True once the queue has lost its last consumer: what `auto_delete` waits for.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.had_consumers && self.consumers.is_empty()
    }

    /// The lane and number of the next message; to be given to the log with the record that is then [`push`](Self::push)ed.
    pub fn take_number(&mut self, priority: u8) -> (QueueId, Seq) {
        let lane = match &mut self.special {
            Some(special) if priority > 0 && special.settings.max_priority > 0 => {
                let level = priority.min(special.settings.max_priority);
                special.lane(self.at.queue, level)
            }
            _ => &mut self.lane,
        };
        (lane.id, lane.take_seq())
    }

    /// Settles messages that a channel holds; tokens that it does not hold are passed over.
    pub fn settle(
        &mut self,
        logs: &mut Logs,
        address: ChannelAddress,
        tokens: &[DeliveryToken],
        settlement: Settlement,
    ) {
        for &token in tokens {
            let Some(held) = self.unacked.take(token, address) else {
                continue;
            };
            if let Some((slot, id)) = held.holder.consumer {
                self.consumers.settled(slot, address, id);
            }
            self.bytes.settled(held.entry);
            match settlement {
                Settlement::Ack => self.ack(logs, held.entry),
                Settlement::Reject => self.bury(logs, held.entry, DeathReason::Rejected),
                Settlement::Requeue => self.come_back(logs, held.entry, Return::Released),
                Settlement::RequeueFailed => self.come_back(logs, held.entry, Return::Failed),
            }
        }
    }

    /// Adds a consumer. Deliveries start with the next [`pump`](Self::pump).
    pub fn add_consumer(&mut self, consumer: Consumer) -> ConsumerSlot {
        self.had_consumers = true;
        self.consumers.add(consumer)
    }

    /// Removes a consumer; what it holds stays with its channel (`basic.cancel`). Returns whether it was there.
    pub fn remove_consumer(&mut self, address: ChannelAddress, consumer: ConsumerRef) -> bool {
        self.touch();
        self.consumers.remove(consumer.slot, address, consumer.consumer).is_some()
    }

    /// Takes all consumers away: the queue is going.
    pub fn take_consumers(&mut self) -> Vec<Consumer> {
        self.consumers.take()
    }

    /// A channel is gone: so are its consumers, and what it held is ready again.
    pub fn remove_channel(&mut self, logs: &mut Logs, address: ChannelAddress) {
        self.touch();
        self.consumers.remove_channel(address);
        for entry in self.unacked.take_channel(address) {
            self.bytes.settled(entry);
            self.come_back(logs, entry, Return::Failed);
        }
    }

    /// A consumer's connection has written `bytes` of its deliveries. Returns true if the queue is to be pumped.
    pub fn return_window(&mut self, address: ChannelAddress, consumer: ConsumerRef, bytes: u32) -> bool {
        self.consumers.return_window(consumer.slot, address, consumer.consumer, bytes)
    }

    /// A consumer's channel has room for `more` messages more than it said before, fewer if that is negative. Returns true if the queue
    /// is to be pumped.
    pub fn add_room(&mut self, address: ChannelAddress, consumer: ConsumerRef, more: i64) -> bool {
        self.consumers.add_room(consumer.slot, address, consumer.consumer, more)
    }

    /// The lane of a priority.
    fn lane_mut(&mut self, level: u8) -> &mut Lane {
        match &mut self.special {
            Some(special) if level > 0 => special.lane(self.at.queue, level),
            _ => &mut self.lane,
        }
    }

    /// A lane by its place: priorities first, by descending priority, then the queue's own.
    fn lane_at(&mut self, at: usize) -> &mut Lane {
        match self.special.as_mut().and_then(|special| special.lanes.get_mut(at)) {
            Some(lane) => lane,
            None => &mut self.lane,
        }
    }

    /// The message that is to be delivered next, loaded from its run if need be.
    fn load_head(&mut self, logs: &mut Logs) -> Result<Option<Entry>, LogKind> {
        if let Some(special) = &mut self.special {
            if let Some(entry) = special.retry.as_ref().and_then(|retry| retry.head()) {
                return Ok(Some(entry));
            }
            for lane in &mut special.lanes {
                if let Some(entry) = lane.load_head(logs)? {
                    return Ok(Some(entry));
                }
            }
        }
        self.lane.load_head(logs)
    }

    /// Takes out the entry at the head of its lane.
    fn pop(&mut self, entry: Entry) {
        if !self.retry_mut().is_some_and(|retry| retry.pop(entry)) {
            self.lane_mut(entry.lane).ready.pop(entry);
        }
        self.bytes.went(entry);
        if self.is_empty() {
            // Runs may turn out to have had fewer messages than they said.
            self.bytes.none_ready();
        }
    }

    /// The message leaves its log.
    fn ack(&mut self, logs: &mut Logs, entry: Entry) {
        if let Some(retry) = self.retry_mut() {
            retry.forget(entry);
        }
        logs.of(entry.log()).ack(self.at.queue.in_lane(entry.lane.into()), entry.seq, entry.position);
    }

    fn hold(&mut self, held: Held) -> DeliveryToken {
        self.bytes.held(held.entry);
        self.unacked.insert(held)
    }

    /// Gives up the entry at the head of the backlog, whose record is damaged.
    fn lose(&mut self, logs: &mut Logs, entry: Entry) {
        self.pop(entry);
        self.ack(logs, entry);
    }

    /// A message is ready again, at its place.
    fn requeue(&mut self, entry: Entry) {
        self.lane_mut(entry.lane).ready.insert(entry.again());
        self.bytes.came(entry);
    }
}

#[cfg(test)]
mod tests;

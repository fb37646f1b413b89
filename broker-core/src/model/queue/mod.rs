//! A queue: its ready messages, its unacknowledged ones, its consumers.
//!
//! The machine decides who gets what; deliveries leave through an [`Outlet`], bytes are in the [`Logs`] of
//! the queue's partition. Its calls say what they left undone as [`Pump`].

pub mod backlog;
mod bytes;
pub mod consumer;
mod lane;
mod logs;
mod moving;
mod retry;
pub mod settings;
mod special;
mod tend;
pub mod unacked;

use broker_store::{LogKind, Position, QueueId, RecoveredQueue, SegmentId, Seq};

use self::backlog::Entry;
pub use self::bytes::Bytes;
use self::consumer::{Activity, ChannelAddress, Consumer, ConsumerSlot, Consumers};
use self::lane::Lane;
pub use self::logs::Logs;
pub(crate) use self::logs::Read;
pub use self::moving::{MoveToken, TakeOut};
use self::retry::Return;
use self::special::Special;
pub use self::special::{DeadToken, DeathReason};
pub use self::tend::DeadMessage;
use self::tend::page_in;
use self::unacked::{Held, Holder, Unacked};
use crate::ids::{ConsumerRef, DeliveryToken, QueueRef, ShardId};
use crate::model::message::Message;
use crate::session::{Delivery, Settlement};

/// A queue that is read from asks the log for what follows each time it has gone this far, in bytes.
const READ_AHEAD_BYTES: u32 = 256 * 1024;

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

/// A message taken by `basic.get`.
#[derive(Debug)]
pub struct Got<'a> {
    /// To settle it with; absent for `no_ack`.
    pub token: Option<DeliveryToken>,
    /// It was delivered before.
    pub redelivered: bool,
    /// Ready messages left behind.
    pub message_count: u64,
    /// The message.
    pub message: Message<'a>,
}

/// How `basic.get` went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Get {
    /// The queue has no ready message.
    Empty,
    /// Its oldest message is not in memory: to be asked again when the log has paged something in.
    PageIn(LogKind),
    /// The message was shown to the caller's closure.
    Done,
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

    /// A queue as its lanes were recovered from the durable log at `now_ms`.
    #[must_use]
    pub fn recovered(at: QueueRef, lanes: Vec<RecoveredQueue>, now_ms: u64) -> Self {
        let mut queue = Self::new(at);
        for found in lanes {
            for &(seq, attempt) in &found.attempts {
                let retry = queue.special.get_or_insert_default().retry.get_or_insert_default();
                retry.recovered(lane::level_of(found.queue), seq.0, attempt.count);
            }
            queue.bytes.recovered(found.body_bytes);
            let lane = Lane::recovered(found, now_ms);
            match lane.level() {
                0 => queue.lane = lane,
                level => *queue.special.get_or_insert_default().lane(at.queue, level) = lane,
            }
        }
        // Nobody knows of recovered messages whether they expire until they are read.
        queue.may_expire = !queue.is_empty();
        queue
    }

    /// Takes in a message that recovery found to wait until `ready_ms` before it is delivered again; it is in no run of its lane.
    pub fn recovered_waiting(&mut self, lane: QueueId, found: &broker_store::Entry, ready_ms: u64) {
        let level = lane::level_of(lane);
        let entry = Entry::new(found.seq, found.position, found.body, LogKind::Durable, level).again();
        self.special.get_or_insert_default().retry.get_or_insert_default().wait_until(ready_ms, entry);
        self.may_expire = true;
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

    /// Hands a message that is in no log to a `no_ack` consumer, if nothing is before it and one can take it now.
    /// Returns whether that happened.
    pub fn pass_through(&mut self, out: &mut impl Outlet, message: Message<'_>) -> bool {
        if !self.is_empty() {
            return false;
        }
        match self.consumers.next() {
            Some((_, consumer)) if consumer.no_ack => {
                out.deliver(consumer.address.shard, delivery_to(consumer, self.at, None, false, message));
                self.consumers.took(message.window_bytes());
                true
            }
            _ => false,
        }
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

    /// Takes in a message that is stored at `position`, and gives it out at once if its turn has come. `expires` says that it has
    /// an expiration of its own. Returns true if the queue is to be pumped.
    pub fn push(
        &mut self,
        out: &mut impl Outlet,
        logs: &mut Logs,
        ((lane, seq), log, position): ((QueueId, Seq), LogKind, Position),
        message: Message<'_>,
        expires: bool,
    ) -> bool {
        let body = u32::try_from(message.body.len()).unwrap_or(u32::MAX);
        let entry = Entry::new(seq, position, body, log, lane::level_of(lane));
        if expires {
            self.may_expire = true;
            self.special.get_or_insert_default();
        }
        if self.consumers.any_active() && self.is_empty() {
            let settled = self.give(out, entry, message);
            self.after_delivery(logs, entry, settled);
        } else {
            let lane = self.lane_mut(entry.lane);
            if lane.ready.is_empty() {
                lane.since_ms = message.stamp.published_ms();
            }
            lane.ready.push_back(entry);
            self.bytes.came(entry);
        }
        self.special.is_some()
    }

    /// Delivers while there are messages and consumers that can take them.
    pub fn pump(&mut self, out: &mut impl Outlet, logs: &mut Logs, now_ms: u64) -> Pump {
        if self.special.is_some() {
            self.end_waits(logs, now_ms);
        }
        let pump = self.deliver(out, logs, now_ms);
        if self.special.is_some() { self.tend(out, logs, now_ms, pump) } else { pump }
    }

    fn deliver(&mut self, out: &mut impl Outlet, logs: &mut Logs, now_ms: u64) -> Pump {
        let mut ahead = None;
        while self.consumers.any_active() {
            let entry = match self.load_head(logs) {
                Ok(Some(entry)) => entry,
                Ok(None) => return Pump::Idle,
                Err(kind) => return Pump::PageIn(kind),
            };
            let message = match logs.read(&entry) {
                Read::Message(message) => message,
                Read::Elsewhere => return page_in(logs, entry),
                Read::Lost => {
                    self.lose(logs, entry);
                    continue;
                }
            };
            if self.may_expire && self.expiry_ms(&message).is_some_and(|expiry| expiry <= now_ms) {
                // Dropping is done in slices.
                self.special.get_or_insert_default();
                match self.drop_expired(logs, now_ms) {
                    Pump::Idle => continue,
                    pump => return pump,
                }
            }
            let block = (entry.position.segment, entry.position.offset / READ_AHEAD_BYTES);
            let crossed = ahead.replace(block) != Some(block);
            self.pop(entry);
            self.lane_mut(entry.lane).since_ms = message.stamp.published_ms();
            let settled = self.give(out, entry, message);
            if crossed {
                // While the record is there: once it is acked its segment may be gone.
                logs.of(entry.log()).page_in(entry.position);
            }
            self.after_delivery(logs, entry, settled);
        }
        Pump::Idle
    }

    /// Takes the oldest ready message for `basic.get` and shows it to `reply`. Prefetch does not count.
    pub fn get(
        &mut self,
        logs: &mut Logs,
        address: ChannelAddress,
        no_ack: bool,
        now_ms: u64,
        reply: impl FnOnce(Got<'_>),
    ) -> Get {
        self.touch();
        loop {
            let entry = match self.load_head(logs) {
                Ok(Some(entry)) => entry,
                Ok(None) => return Get::Empty,
                Err(kind) => return Get::PageIn(kind),
            };
            let message = match logs.read(&entry) {
                Read::Message(message) => message,
                Read::Elsewhere => {
                    logs.of(entry.log()).page_in(entry.position);
                    return Get::PageIn(entry.log());
                }
                Read::Lost => {
                    self.lose(logs, entry);
                    continue;
                }
            };
            if self.may_expire && self.expiry_ms(&message).is_some_and(|expiry| expiry <= now_ms) {
                self.pop(entry);
                self.bury(logs, entry, DeathReason::Expired);
                continue;
            }
            self.pop(entry);
            let message = if self.may_expire {
                // What expired behind it is not counted (RabbitMQ). What is left undone is done when the queue is pumped.
                let _ = self.drop_expired(logs, now_ms);
                match logs.read(&entry) {
                    Read::Message(message) => message,
                    Read::Elsewhere | Read::Lost => {
                        self.come_back(logs, entry, Return::Released);
                        logs.of(entry.log()).page_in(entry.position);
                        return Get::PageIn(entry.log());
                    }
                }
            } else {
                message
            };
            self.lane_mut(entry.lane).since_ms = message.stamp.published_ms();
            let holder = Holder { address, consumer: None };
            let token = (!no_ack).then(|| self.hold(Held { entry, holder }));
            let counted = self.counted_properties(entry, message.properties);
            let message = match &counted {
                Some(properties) => Message { properties, ..message },
                None => message,
            };
            reply(Got { token, redelivered: entry.redelivered(), message_count: self.message_count(), message });
            self.after_delivery(logs, entry, no_ack);
            return Get::Done;
        }
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

    /// Drops all ready messages (`queue.purge`). Returns how many there were.
    pub fn purge(&mut self, logs: &mut Logs) -> u64 {
        let mut count = self.lane.purge(logs) + self.purge_returned(logs);
        if let Some(special) = &mut self.special {
            count += special.lanes.iter_mut().map(|lane| lane.purge(logs)).sum::<u64>();
        }
        self.bytes.none_ready();
        count
    }

    /// The queue is deleted: all its messages, ready or not, leave the logs.
    pub fn drop_messages(&mut self, logs: &mut Logs) {
        self.purge(logs);
        for held in self.unacked.take_all() {
            self.ack(logs, held);
        }
        if let Some(mut special) = self.special.take() {
            let dead = special.dead.drain(..).chain(special.leaving.drain());
            dead.for_each(|dead| self.ack(logs, dead.entry));
            special.moving.drain().for_each(|moving| self.ack(logs, moving));
            special.lanes.iter().for_each(|lane| logs.durable.drop_queue(lane.id));
        }
        logs.durable.drop_queue(self.at.queue);
    }

    /// A segment of a log is sealed: what need not be in memory is left to its index.
    pub fn segment_sealed(&mut self, log: LogKind, segment: SegmentId) {
        self.lane.segment_sealed(log, segment);
        if let Some(special) = &mut self.special {
            special.lanes.iter_mut().for_each(|lane| lane.segment_sealed(log, segment));
        }
    }

    /// Records of a rewritten segment have moved; `moved` has every live message of this lane of the queue in it, ascending.
    pub fn relocate(&mut self, log: LogKind, segment: SegmentId, lane: QueueId, moved: &[broker_store::Entry]) {
        let level = lane::level_of(lane);
        self.lane_mut(level).ready.relocate((log, level), segment, moved);
        let special = self.special.iter_mut().flat_map(|special| {
            let leaving = special.leaving.iter_mut().map(|(_, dead)| dead);
            let returned = special.retry.iter_mut().flat_map(|retry| retry.entries_mut());
            let moving = special.moving.iter_mut().map(|(_, moving)| moving);
            special.dead.iter_mut().chain(leaving).map(|dead| &mut dead.entry).chain(returned).chain(moving)
        });
        for entry in self.unacked.entries_mut().chain(special) {
            if (entry.log(), entry.lane) == (log, level)
                && entry.position.segment == segment
                && let Ok(at) = moved.binary_search_by_key(&entry.seq, |moved| moved.seq)
            {
                entry.move_to(&moved[at]);
            }
        }
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

    /// Gives an entry that is not in the backlog (any more) to the consumer whose turn it is. Returns whether
    /// that settled it.
    fn give(&mut self, out: &mut impl Outlet, entry: Entry, message: Message<'_>) -> bool {
        let (slot, consumer) = self.consumers.next().expect("the caller saw an active consumer");
        let no_ack = consumer.no_ack;
        let token = (!no_ack).then(|| {
            let holder = Holder { address: consumer.address, consumer: Some((slot, consumer.id)) };
            self.bytes.held(entry);
            self.unacked.insert(Held { entry, holder })
        });
        let counted = match entry.redelivered() {
            true => self.counted_properties(entry, message.properties),
            false => None,
        };
        let message = match &counted {
            Some(properties) => Message { properties, ..message },
            None => message,
        };
        out.deliver(consumer.address.shard, delivery_to(consumer, self.at, token, entry.redelivered(), message));
        self.consumers.took(message.window_bytes());
        no_ack
    }

    fn after_delivery(&mut self, logs: &mut Logs, entry: Entry, settled: bool) {
        let first = self.lane_mut(entry.lane).note_delivered(entry.seq);
        if first && !settled && entry.log() == LogKind::Durable {
            logs.durable.delivered(self.at.queue.in_lane(entry.lane.into()), entry.seq);
        }
        if settled {
            self.ack(logs, entry);
        }
    }

    /// A message is ready again, at its place.
    fn requeue(&mut self, entry: Entry) {
        self.lane_mut(entry.lane).ready.insert(entry.again());
        self.bytes.came(entry);
    }
}

fn delivery_to<'a>(
    consumer: &Consumer,
    queue: QueueRef,
    token: Option<DeliveryToken>,
    redelivered: bool,
    message: Message<'a>,
) -> Delivery<'a> {
    Delivery { channel: consumer.address.channel, consumer: consumer.id, queue, token, redelivered, message }
}

#[cfg(test)]
mod tests;

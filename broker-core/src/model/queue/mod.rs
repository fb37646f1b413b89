//! A queue: its ready messages, its unacknowledged ones, its consumers.
//!
//! The machine decides who gets what; deliveries leave through an [`Outlet`], bytes are in the [`Logs`] of
//! the queue's partition. Its calls say what they left undone as [`Pump`].

pub mod backlog;
pub mod consumer;
pub mod settings;
pub mod unacked;

use broker_store::{Load, Log, LogKind, Position, Run, SegmentId, Seq};

use self::backlog::{Backlog, Entry, Head, LOAD_ENTRIES};
use self::consumer::{Activity, ChannelAddress, Consumer, ConsumerSlot, Consumers};
use self::unacked::{Held, Holder, Unacked};
use crate::ids::{ConsumerRef, DeliveryToken, QueueRef, ShardId};
use crate::model::message::Message;
use crate::session::{Delivery, Settlement};

/// A queue that is read from asks the log for what follows each time it has gone this far, in bytes.
const READ_AHEAD_BYTES: u32 = 256 * 1024;

/// The two logs of a partition.
#[derive(Debug)]
pub struct Logs {
    /// Persistent messages of durable queues.
    pub durable: Log,
    /// Everything else; lost at a restart.
    pub volatile: Log,
}

impl Logs {
    /// The log of this kind.
    pub fn of(&mut self, kind: LogKind) -> &mut Log {
        match kind {
            LogKind::Durable => &mut self.durable,
            LogKind::Volatile => &mut self.volatile,
        }
    }

    /// The message that an entry stands for.
    fn read(&self, entry: &Entry) -> Read<'_> {
        let log = match entry.log {
            LogKind::Durable => &self.durable,
            LogKind::Volatile => &self.volatile,
        };
        match log.read(entry.position) {
            Ok(Some(payload)) => Message::from_stored(payload).map_or(Read::Lost, Read::Message),
            Ok(None) => Read::Elsewhere,
            Err(_) => Read::Lost,
        }
    }
}

/// What there is of a message.
enum Read<'a> {
    /// Its bytes.
    Message(Message<'a>),
    /// Its bytes are on disk only.
    Elsewhere,
    /// Its bytes are damaged: the log has reported it.
    Lost,
}

/// Where deliveries go: to a session on this shard or into the batch for another.
pub trait Outlet {
    /// Delivers to a consumer whose channel is on `shard`.
    fn deliver(&mut self, shard: ShardId, delivery: Delivery<'_>);
}

/// What a queue waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Pump {
    /// Nothing: there is no message or no consumer that could take one.
    Idle,
    /// Pages of a log: to be pumped again when the log has paged something in.
    PageIn(LogKind),
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
    next_seq: u64,
    /// Every message up to here has been delivered at least once.
    delivered: Seq,
    ready: Backlog,
    unacked: Unacked,
    consumers: Consumers,
    had_consumers: bool,
}

impl Queue {
    /// An empty queue.
    #[must_use]
    pub fn new(at: QueueRef) -> Self {
        Self {
            at,
            next_seq: 1,
            delivered: Seq(0),
            ready: Backlog::default(),
            unacked: Unacked::default(),
            consumers: Consumers::default(),
            had_consumers: false,
        }
    }

    /// A queue as it was recovered from the durable log.
    #[must_use]
    pub fn recovered(at: QueueRef, next_seq: Seq, delivered: Seq, runs: Vec<Run>) -> Self {
        let mut queue = Self { next_seq: next_seq.0, delivered, ..Self::new(at) };
        runs.into_iter().for_each(|run| queue.ready.push_run(LogKind::Durable, run));
        queue
    }

    /// Ready messages.
    #[must_use]
    pub fn message_count(&self) -> u64 {
        self.ready.len()
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
    /// one because there is a single active consumer.
    #[must_use]
    pub fn refuses_consumer(&self, exclusive: bool) -> bool {
        self.consumers.has_exclusive()
            || exclusive && (!self.consumers.is_empty() || self.consumers.is_single_active())
    }

    /// Has one consumer at a time get messages. To be said before the first one comes.
    pub fn set_single_active(&mut self, single_active: bool) {
        self.consumers.set_single_active(single_active);
    }

    /// True once the queue has lost its last consumer: what `auto_delete` waits for.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.had_consumers && self.consumers.is_empty()
    }

    /// Hands a message that is in no log to a `no_ack` consumer, if nothing is before it and one can take it now.
    /// Returns whether that happened.
    pub fn pass_through(&mut self, out: &mut impl Outlet, message: Message<'_>) -> bool {
        if !self.ready.is_empty() {
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

    /// The number of the next message; to be given to the log with the record that is then [`push`](Self::push)ed.
    pub fn take_seq(&mut self) -> Seq {
        let seq = Seq(self.next_seq);
        self.next_seq += 1;
        seq
    }

    /// Takes in a message that is stored at `position`, and gives it out at once if its turn has come.
    pub fn push(
        &mut self,
        out: &mut impl Outlet,
        logs: &mut Logs,
        (seq, log, position): (Seq, LogKind, Position),
        message: Message<'_>,
    ) {
        let entry = Entry { seq, position, log, redelivered: false };
        if self.ready.is_empty() && self.consumers.any_active() {
            let settled = self.give(out, entry, message);
            self.after_delivery(logs, entry, settled);
        } else {
            self.ready.push_back(entry);
        }
    }

    /// Delivers while there are messages and consumers that can take them.
    pub fn pump(&mut self, out: &mut impl Outlet, logs: &mut Logs) -> Pump {
        let mut ahead = None;
        while self.consumers.any_active() {
            let entry = match self.load_head(logs) {
                Ok(Some(entry)) => entry,
                Ok(None) => return Pump::Idle,
                Err(kind) => return Pump::PageIn(kind),
            };
            let message = match logs.read(&entry) {
                Read::Message(message) => message,
                Read::Elsewhere => {
                    logs.of(entry.log).page_in(entry.position);
                    return Pump::PageIn(entry.log);
                }
                Read::Lost => {
                    self.lose(logs, entry);
                    continue;
                }
            };
            let block = (entry.position.segment, entry.position.offset / READ_AHEAD_BYTES);
            let crossed = ahead.replace(block) != Some(block);
            self.ready.pop(entry);
            let settled = self.give(out, entry, message);
            if crossed {
                // While the record is there: once it is acked its segment may be gone.
                logs.of(entry.log).page_in(entry.position);
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
        reply: impl FnOnce(Got<'_>),
    ) -> Get {
        loop {
            let entry = match self.load_head(logs) {
                Ok(Some(entry)) => entry,
                Ok(None) => return Get::Empty,
                Err(kind) => return Get::PageIn(kind),
            };
            let message = match logs.read(&entry) {
                Read::Message(message) => message,
                Read::Elsewhere => {
                    logs.of(entry.log).page_in(entry.position);
                    return Get::PageIn(entry.log);
                }
                Read::Lost => {
                    self.lose(logs, entry);
                    continue;
                }
            };
            self.ready.pop(entry);
            let holder = Holder { address, consumer: None };
            let token = (!no_ack).then(|| self.unacked.insert(Held { entry, holder }));
            reply(Got { token, redelivered: entry.redelivered, message_count: self.ready.len(), message });
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
            match settlement {
                Settlement::Ack | Settlement::Reject => {
                    logs.of(held.entry.log).ack(self.at.queue, held.entry.seq, held.entry.position);
                }
                Settlement::Requeue => self.requeue(held.entry),
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
        self.consumers.remove(consumer.slot, address, consumer.consumer).is_some()
    }

    /// Takes all consumers away: the queue is going.
    pub fn take_consumers(&mut self) -> Vec<Consumer> {
        self.consumers.take()
    }

    /// A channel is gone: so are its consumers, and what it held is ready again.
    pub fn remove_channel(&mut self, address: ChannelAddress) {
        self.consumers.remove_channel(address);
        for entry in self.unacked.take_channel(address) {
            self.requeue(entry);
        }
    }

    /// A consumer's connection has written `bytes` of its deliveries. Returns true if the queue is to be pumped.
    pub fn return_window(&mut self, address: ChannelAddress, consumer: ConsumerRef, bytes: u32) -> bool {
        self.consumers.return_window(consumer.slot, address, consumer.consumer, bytes)
    }

    /// Drops all ready messages (`queue.purge`). Returns how many there were.
    pub fn purge(&mut self, logs: &mut Logs) -> u64 {
        let count = self.ready.len();
        let queue = self.at.queue;
        let mut entries = Vec::new();
        let mut runs = Vec::new();
        self.ready.take_all(|entry| entries.push(entry), |kind, run| runs.push((kind, run)));
        for entry in entries {
            logs.of(entry.log).ack(queue, entry.seq, entry.position);
        }
        for (kind, run) in runs {
            logs.of(kind).discard(queue, &run);
        }
        count
    }

    /// The queue is deleted: all its messages, ready or not, leave the logs.
    pub fn drop_messages(&mut self, logs: &mut Logs) {
        self.purge(logs);
        for held in self.unacked.take_all() {
            logs.of(held.log).ack(self.at.queue, held.seq, held.position);
        }
        logs.durable.drop_queue(self.at.queue);
    }

    /// A segment of a log is sealed: what need not be in memory is left to its index.
    pub fn segment_sealed(&mut self, log: LogKind, segment: SegmentId) {
        self.ready.collapse(log, segment, self.delivered);
    }

    /// Records of a rewritten segment have moved; `moved` has every live message of this queue in it, ascending.
    pub fn relocate(&mut self, log: LogKind, segment: SegmentId, moved: &[broker_store::Entry]) {
        self.ready.relocate(log, segment, moved);
        for entry in self.unacked.entries_mut() {
            if entry.log == log
                && entry.position.segment == segment
                && let Ok(at) = moved.binary_search_by_key(&entry.seq, |moved| moved.seq)
            {
                entry.position = moved[at].position;
            }
        }
    }

    /// The oldest entry, loaded from its run if need be.
    fn load_head(&mut self, logs: &mut Logs) -> Result<Option<Entry>, LogKind> {
        loop {
            match self.ready.head() {
                Head::Empty => return Ok(None),
                Head::Entry(entry) => return Ok(Some(entry)),
                Head::Run(kind, run) => {
                    let mut found = Vec::new();
                    match logs.of(kind).load(self.at.queue, &run, run.first, LOAD_ENTRIES, &mut found) {
                        Load::NeedsPageIn => return Err(kind),
                        Load::Loaded => self.take_loaded(kind, &run, &found),
                    }
                }
            }
        }
    }

    fn take_loaded(&mut self, log: LogKind, run: &Run, found: &[broker_store::Entry]) {
        let delivered = self.delivered;
        let entries = found.iter().map(|entry| Entry {
            seq: entry.seq,
            position: entry.position,
            log,
            redelivered: entry.seq <= delivered,
        });
        let through = match found.last() {
            Some(last) if found.len() == LOAD_ENTRIES => last.seq,
            _ => run.last,
        };
        self.ready.loaded(log, entries.collect(), through);
    }

    /// Gives up the entry at the head of the backlog, whose record is damaged.
    fn lose(&mut self, logs: &mut Logs, entry: Entry) {
        self.ready.pop(entry);
        logs.of(entry.log).ack(self.at.queue, entry.seq, entry.position);
    }

    /// Gives an entry that is not in the backlog (any more) to the consumer whose turn it is. Returns whether
    /// that settled it.
    fn give(&mut self, out: &mut impl Outlet, entry: Entry, message: Message<'_>) -> bool {
        let (slot, consumer) = self.consumers.next().expect("the caller saw an active consumer");
        let no_ack = consumer.no_ack;
        let token = (!no_ack).then(|| {
            let holder = Holder { address: consumer.address, consumer: Some((slot, consumer.id)) };
            self.unacked.insert(Held { entry, holder })
        });
        out.deliver(consumer.address.shard, delivery_to(consumer, self.at, token, entry.redelivered, message));
        self.consumers.took(message.window_bytes());
        no_ack
    }

    fn after_delivery(&mut self, logs: &mut Logs, entry: Entry, settled: bool) {
        if entry.seq > self.delivered {
            self.delivered = entry.seq;
            if !settled && entry.log == LogKind::Durable {
                logs.durable.delivered(self.at.queue, entry.seq);
            }
        }
        if settled {
            logs.of(entry.log).ack(self.at.queue, entry.seq, entry.position);
        }
    }

    fn requeue(&mut self, entry: Entry) {
        self.ready.insert(Entry { redelivered: true, ..entry });
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

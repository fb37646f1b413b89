//! A stream: a queue whose messages stay, to be read by any number of consumers, each where it likes (RabbitMQ's queue type
//! `stream`, over AMQP 0-9-1).
//!
//! A stream is an append-only part of its partition's durable log. A consumer is a cursor: a number and a few entries ahead. Its
//! acknowledgements give it credit and change nothing in the stream. **Invariant.** A message is delivered once it is on disk,
//! not before: an offset that a consumer has seen never stands for another message.

pub mod extents;
pub mod filter;
pub mod header;
pub mod offset;
mod reader;
pub mod retention;
pub mod seek;

use std::collections::VecDeque;

use broker_store::{Entry, Load, Lsn, Position, Run, SegmentId};
use slab::Slab;

use self::extents::Extents;
use self::offset::{OffsetSpec, seq_of};
use self::reader::{Place, Reader, Source, Stop};
use self::retention::Retention;
use crate::ids::{ConsumerRef, ConsumerSlot, DeliveryToken, QueueRef, Seq};
use crate::model::queue::consumer::ChannelAddress;
use crate::model::queue::{Logs, Outlet};

pub use self::reader::StreamConsumer;

/// Turns of readers in one call of [`Stream::pump`]; a consumer whose filter matches little could otherwise hold up its shard.
const PUMP_TURNS: usize = 256;

/// Bits of a delivery token that tell the readers of one slot apart.
const GENERATION_BITS: u32 = 8;

/// What a stream waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Pump {
    /// Nothing: every reader has read everything or has no credit.
    Idle,
    /// Pages of the durable log: to be pumped again when the log has paged something in.
    PageIn,
    /// Its next turn: there is more to read.
    Turn,
}

/// One stream.
#[derive(Debug)]
pub struct Stream {
    at: QueueRef,
    next_seq: u64,
    /// The newest message that is on disk.
    committed: Seq,
    /// Messages that are not, each the newest of its LSN.
    uncommitted: VecDeque<(Lsn, Seq)>,
    extents: Extents,
    retention: Retention,
    /// Deliveries since the stream was made or the broker started.
    delivered: u64,
    readers: Slab<Reader>,
    /// Readers that have credit and something to read.
    ring: VecDeque<usize>,
    /// Readers that have credit and have read everything.
    at_end: Vec<usize>,
    generation: u8,
    properties: Vec<u8>,
}

impl Stream {
    /// An empty stream.
    #[must_use]
    pub fn new(at: QueueRef) -> Self {
        Self::recovered(at, Seq(1), Vec::new())
    }

    /// A stream as it was recovered from the durable log.
    #[must_use]
    pub fn recovered(at: QueueRef, next_seq: Seq, runs: Vec<Run>) -> Self {
        Self {
            at,
            next_seq: next_seq.0,
            committed: Seq(next_seq.0 - 1),
            uncommitted: VecDeque::new(),
            extents: Extents::recovered(runs),
            retention: Retention::default(),
            delivered: 0,
            readers: Slab::new(),
            ring: VecDeque::new(),
            at_end: Vec::new(),
            generation: 0,
            properties: Vec::new(),
        }
    }

    /// Messages in the stream.
    #[must_use]
    pub fn message_count(&self) -> u64 {
        self.extents.len()
    }

    /// Deliveries that were not settled.
    #[must_use]
    pub fn unacked_count(&self) -> u64 {
        self.readers.iter().map(|(_, reader)| u64::from(reader.unacked())).sum()
    }

    /// Deliveries since the stream was made or the broker started.
    #[must_use]
    pub fn delivered_count(&self) -> u64 {
        self.delivered
    }

    /// Consumers.
    #[must_use]
    pub fn consumer_count(&self) -> usize {
        self.readers.len()
    }

    /// The consumers themselves, in no order.
    pub fn consumers(&self) -> impl Iterator<Item = &StreamConsumer> {
        self.readers.iter().map(|(_, reader)| &reader.consumer)
    }

    /// What the stream keeps.
    #[must_use]
    pub fn retention(&self) -> &Retention {
        &self.retention
    }

    /// What the stream keeps, to be changed.
    pub fn retention_mut(&mut self) -> &mut Retention {
        &mut self.retention
    }

    /// The number of the next message; to be given to the log with the record that is then [`push`](Self::push)ed.
    pub fn take_seq(&mut self) -> Seq {
        let seq = Seq(self.next_seq);
        self.next_seq += 1;
        seq
    }

    /// Takes in a message that is stored at `position` and on disk when the log says so of `lsn`. Returns true if the stream is
    /// to be pumped when the log has synced something, which it was not before.
    pub fn push(&mut self, seq: Seq, position: Position, lsn: Lsn) -> bool {
        // What a stream keeps is measured in records.
        self.extents.push(Entry { seq, position, body: 0 });
        self.uncommitted.push_back((lsn, seq));
        self.uncommitted.len() == 1
    }

    /// True while messages wait for the disk.
    #[must_use]
    pub fn has_uncommitted(&self) -> bool {
        !self.uncommitted.is_empty()
    }

    /// Adds a consumer. Deliveries start with the next [`pump`](Self::pump).
    pub fn add_consumer(&mut self, consumer: StreamConsumer, offset: OffsetSpec, now_ms: u64) -> ConsumerSlot {
        let place = match offset {
            OffsetSpec::First => Place::At(Seq(1)),
            OffsetSpec::Last => Place::At(self.committed.max(Seq(1))),
            OffsetSpec::Next => Place::At(Seq(self.next_seq)),
            OffsetSpec::Offset(offset) => Place::At(seq_of(offset)),
            OffsetSpec::Timestamp(time_ms) => reader::seek(time_ms, &self.extents, self.committed),
            OffsetSpec::Ago(ms) => reader::seek(now_ms.saturating_sub(ms), &self.extents, self.committed),
        };
        let slot = self.readers.vacant_key();
        let number = u32::try_from(slot).ok().filter(|slot| slot.leading_zeros() >= GENERATION_BITS);
        let number = number.expect("fewer than 2^24 consumers fit in memory");
        self.generation = self.generation.wrapping_add(1);
        let token = DeliveryToken(number << GENERATION_BITS | u32::from(self.generation));
        self.readers.insert(Reader::new(consumer, place, token));
        self.activate(slot);
        ConsumerSlot(number)
    }

    /// Removes a consumer. Returns whether it was there.
    pub fn remove_consumer(&mut self, address: ChannelAddress, consumer: ConsumerRef) -> bool {
        let found = self.find(address, consumer);
        if let Some(slot) = found {
            self.remove(slot);
        }
        found.is_some()
    }

    /// A channel is gone, and its consumers with it.
    pub fn remove_channel(&mut self, address: ChannelAddress) {
        let gone = |(slot, reader): (usize, &Reader)| (reader.consumer.address == address).then_some(slot);
        let slots: Vec<usize> = self.readers.iter().filter_map(gone).collect();
        slots.into_iter().for_each(|slot| self.remove(slot));
    }

    /// Takes all consumers away: the stream is going.
    pub fn take_consumers(&mut self) -> Vec<StreamConsumer> {
        self.ring.clear();
        self.at_end.clear();
        self.readers.drain().map(|reader| reader.consumer).collect()
    }

    /// Deliveries were settled, in whatever way: their consumers may have as many more. Returns true if the stream is to be pumped.
    pub fn settle(&mut self, address: ChannelAddress, tokens: &[DeliveryToken]) -> bool {
        let mut active = false;
        for &token in tokens {
            let slot = (token.0 >> GENERATION_BITS) as usize;
            if let Some(reader) = self.readers.get_mut(slot).filter(|reader| reader.holds(token, address)) {
                reader.settled();
                active |= self.activate(slot);
            }
        }
        active
    }

    /// A consumer's connection has written `bytes` of its deliveries. Returns true if the stream is to be pumped.
    pub fn return_window(&mut self, address: ChannelAddress, consumer: ConsumerRef, bytes: u32) -> bool {
        let Some(slot) = self.find(address, consumer) else {
            return false;
        };
        self.readers[slot].return_window(bytes);
        self.activate(slot)
    }

    /// Delivers what is on disk to the consumers that can take it, each in turn, and removes what is not to be kept.
    pub fn pump(&mut self, out: &mut impl Outlet, logs: &mut Logs) -> Pump {
        let log = &mut logs.durable;
        self.commit(log.durable());
        let end = Seq(self.next_seq);
        let mut waits = self.retention.apply(&mut self.extents, log, self.at.queue, end) == Load::NeedsPageIn;
        let (at, committed) = (self.at, self.committed);
        let mut source = Source {
            at,
            extents: &self.extents,
            log,
            committed,
            properties: &mut self.properties,
            delivered: &mut self.delivered,
        };
        let mut stalled = VecDeque::new();
        for _ in 0..PUMP_TURNS {
            let Some(slot) = self.ring.pop_front() else {
                break;
            };
            let reader = &mut self.readers[slot];
            match reader.read(out, &mut source) {
                Stop::TurnOver => self.ring.push_back(slot),
                Stop::NeedsPageIn => stalled.push_back(slot),
                Stop::AtEnd => self.at_end.push(slot),
                Stop::Blocked => reader.listed = false,
            }
        }
        let more = !self.ring.is_empty();
        waits |= !stalled.is_empty();
        self.ring.append(&mut stalled);
        match (more, waits) {
            (true, _) => Pump::Turn,
            (false, true) => Pump::PageIn,
            (false, false) => Pump::Idle,
        }
    }

    /// The stream is deleted: its messages leave the log.
    pub fn drop_messages(&mut self, logs: &mut Logs) {
        self.extents.clear(&mut logs.durable, self.at.queue);
        logs.durable.drop_queue(self.at.queue);
    }

    /// A segment of the durable log is sealed: what need not be in memory is left to its index.
    pub fn segment_sealed(&mut self, segment: SegmentId) {
        self.extents.segment_sealed(segment);
    }

    /// Records of a rewritten segment have moved; `moved` has every message of this stream in it, ascending.
    pub fn relocate(&mut self, segment: SegmentId, moved: &[Entry]) {
        self.extents.relocate(segment, moved);
        self.readers.iter_mut().for_each(|(_, reader)| reader.forget_loaded());
    }

    /// Everything up to `durable` is on disk.
    fn commit(&mut self, durable: Lsn) {
        let before = self.committed;
        while let Some(&(_, seq)) = self.uncommitted.front().filter(|(lsn, _)| *lsn <= durable) {
            self.uncommitted.pop_front();
            self.committed = seq;
        }
        if self.committed > before {
            self.ring.extend(self.at_end.drain(..));
        }
    }

    /// Lists a reader that has credit, if it is not. Returns true if it was not.
    fn activate(&mut self, slot: usize) -> bool {
        let reader = &mut self.readers[slot];
        if reader.listed || !reader.can_take() {
            return false;
        }
        reader.listed = true;
        self.ring.push_back(slot);
        true
    }

    fn remove(&mut self, slot: usize) {
        self.readers.remove(slot);
        self.ring.retain(|other| *other != slot);
        self.at_end.retain(|other| *other != slot);
    }

    /// The slot, if this consumer still has it.
    fn find(&self, address: ChannelAddress, consumer: ConsumerRef) -> Option<usize> {
        let slot = consumer.slot.0 as usize;
        let found = &self.readers.get(slot)?.consumer;
        (found.id == consumer.consumer && found.address == address).then_some(slot)
    }
}

#[cfg(test)]
mod tests;

//! The consumers of a queue: who may be given a message now, in turn.
//!
//! A consumer is *active* while it has window and prefetch left. The active ones of one priority stand in a ring; the first takes
//! a message and goes to the end, so that they share fairly (RabbitMQ's round robin). One that has used up its window or
//! prefetch leaves the ring until it gets some back, so blocked consumers cost nothing per message. A ring is served while every
//! ring of a higher `x-priority` is empty.
//!
//! A channel whose `basic.qos` with `global` limits all its consumers together says how many messages more it has *room* for; its
//! consumers leave the ring when that is used up, so that what the channel could not deliver stays in the queue.
//!
//! With a single active consumer (`x-single-active-consumer`) only one consumer, the first that came, may stand in a ring;
//! when it goes, the next takes over: the highest priority first, then the first that came. In a quorum queue it also steps back for a newly
//! come consumer of higher priority: it gets no more messages, and the other one takes over when all that it holds is settled.

use std::sync::Arc;

use amq_protocol::types::FieldTable;
use slab::Slab;

use crate::ids::{ChannelKey, ConsumerId, ShardId};
use crate::limits::{CONSUMER_WINDOW_BYTES, UNLIMITED_ROOM};

pub use crate::ids::ConsumerSlot;

/// No slot: where a list ends.
const NONE: u32 = u32::MAX;

/// A channel on whichever shard has its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChannelAddress {
    /// The shard of the socket.
    pub shard: ShardId,
    /// The channel there.
    pub channel: ChannelKey,
}

/// A consumer as `basic.consume` set it up.
#[derive(Clone, Debug)]
pub struct Consumer {
    /// Where its deliveries go.
    pub address: ChannelAddress,
    /// Its number on the channel.
    pub id: ConsumerId,
    /// Its tag, for listings.
    pub consumer_tag: Arc<str>,
    /// Deliveries count as acknowledged.
    pub no_ack: bool,
    /// No other consumer may be on the queue.
    pub exclusive: bool,
    /// Unacknowledged messages it may hold; 0 is no limit.
    pub prefetch_count: u16,
    /// `x-priority`, 0 without one: it is served while every consumer with a higher one is blocked.
    pub priority: i64,
    /// How long a delivery may stay unacknowledged, in milliseconds, where the queue said so when it came; for listings.
    pub timeout_ms: Option<u64>,
    /// The arguments of `basic.consume`, for listings; absent if there were none.
    pub arguments: Option<Arc<FieldTable>>,
}

/// What a consumer is to its queue now (RabbitMQ's `activity_status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It gets messages, as its window and prefetch allow.
    Up,
    /// It is the single active consumer.
    SingleActive,
    /// Another one is the single active consumer.
    Waiting,
}

impl Activity {
    /// RabbitMQ's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::SingleActive => "single_active",
            Self::Waiting => "waiting",
        }
    }
}

#[derive(Debug)]
struct Slot {
    consumer: Consumer,
    unacked: u32,
    /// Bytes of window left. May go below zero by one message.
    window: i64,
    /// Messages that its channel has room for. May be below zero, if room was taken back while messages were on their way.
    room: i64,
    /// Numbers the consumers in the order in which they came.
    arrival: u64,
    /// Neighbours in the ring, while it stands in one.
    previous: u32,
    next: u32,
    in_ring: bool,
}

impl Slot {
    fn can_take(&self) -> bool {
        let prefetch = u32::from(self.consumer.prefetch_count);
        self.window > 0 && self.room > 0 && (self.consumer.no_ack || prefetch == 0 || self.unacked < prefetch)
    }
}

/// The active consumers of one priority: a circular list through [`Slot::next`].
#[derive(Clone, Copy, Debug)]
struct Ring {
    priority: i64,
    front: u32,
}

/// The consumers of one queue.
#[derive(Debug, Default)]
pub struct Consumers {
    slots: Slab<Slot>,
    /// Not empty ones only, the highest priority first.
    rings: Vec<Ring>,
    arrivals: u64,
    exclusive: u32,
    single_active: Option<Single>,
    /// None stands in a ring, whatever it could take.
    paused: bool,
}

/// The single active consumer.
#[derive(Clone, Copy, Debug, Default)]
struct Single {
    active: Option<ConsumerSlot>,
    /// It steps back for a consumer of higher priority (quorum queues).
    steps_back: bool,
    /// It is stepping back: it gets nothing, and holds messages still.
    leaving: bool,
}

impl Consumers {
    /// Has one consumer at a time get messages (`x-single-active-consumer`). `steps_back` says whether it makes way for one of higher
    /// priority. To be said before the first consumer comes.
    pub fn set_single_active(&mut self, single_active: bool, steps_back: bool) {
        self.single_active = single_active.then(|| Single { steps_back, ..Single::default() });
    }

    /// True if only one consumer at a time gets messages.
    #[must_use]
    pub fn is_single_active(&self) -> bool {
        self.single_active.is_some()
    }

    /// Has no consumer get messages, or (false) all that can take some.
    pub fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
        if paused {
            self.rings.clear();
            self.slots.iter_mut().for_each(|(_, slot)| slot.in_ring = false);
            return;
        }
        let mut all: Vec<_> = self.slots.iter().map(|(key, slot)| (slot.arrival, slot_of(key))).collect();
        all.sort_unstable_by_key(|(arrival, _)| *arrival);
        for (_, at) in all {
            self.activate(at);
        }
    }

    /// True if no consumer gets messages.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Number of consumers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True if the queue has no consumer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// True if a consumer could take a message now.
    #[inline]
    #[must_use]
    pub fn any_active(&self) -> bool {
        !self.rings.is_empty()
    }

    /// True if a consumer is exclusive.
    #[must_use]
    pub fn has_exclusive(&self) -> bool {
        self.exclusive > 0
    }

    /// All consumers, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Consumer> {
        self.slots.iter().map(|(_, slot)| &slot.consumer)
    }

    /// All consumers and what each is to the queue, in no order.
    pub fn activities(&self) -> impl Iterator<Item = (&Consumer, Activity)> {
        self.slots.iter().map(|(key, slot)| {
            let activity = match self.single_active {
                None => Activity::Up,
                Some(single) if single.active == Some(slot_of(key)) => Activity::SingleActive,
                Some(_) => Activity::Waiting,
            };
            (&slot.consumer, activity)
        })
    }

    /// Adds a consumer with a full window.
    pub fn add(&mut self, consumer: Consumer) -> ConsumerSlot {
        self.arrivals += 1;
        self.exclusive += u32::from(consumer.exclusive);
        let at = slot_of(self.slots.insert(Slot {
            consumer,
            unacked: 0,
            window: i64::from(CONSUMER_WINDOW_BYTES),
            room: UNLIMITED_ROOM,
            arrival: self.arrivals,
            previous: NONE,
            next: NONE,
            in_ring: false,
        }));
        if let Some(single) = &mut self.single_active {
            single.active.get_or_insert(at);
        }
        self.activate(at);
        self.make_way();
        at
    }

    /// Removes a consumer. Messages it holds stay with its channel.
    pub fn remove(&mut self, at: ConsumerSlot, address: ChannelAddress, id: ConsumerId) -> Option<Consumer> {
        self.find(at, address, id)?;
        let removed = self.take_out(at);
        self.succeed();
        self.make_way();
        Some(removed)
    }

    /// Removes the consumers of a channel. Returns how many there were.
    pub fn remove_channel(&mut self, address: ChannelAddress) -> usize {
        let mine: Vec<ConsumerSlot> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.consumer.address == address)
            .map(|(key, _)| slot_of(key))
            .collect();
        for at in &mine {
            self.take_out(*at);
        }
        self.succeed();
        self.make_way();
        mine.len()
    }

    /// Removes all consumers.
    pub fn take(&mut self) -> Vec<Consumer> {
        self.rings.clear();
        self.exclusive = 0;
        let fresh = |single: Single| Single { steps_back: single.steps_back, ..Single::default() };
        self.single_active = self.single_active.map(fresh);
        self.slots.drain().map(|slot| slot.consumer).collect()
    }

    /// The consumer whose turn it is.
    #[inline]
    #[must_use]
    pub fn next(&self) -> Option<(ConsumerSlot, &Consumer)> {
        let front = self.rings.first()?.front;
        Some((ConsumerSlot(front), &self.slots[front as usize].consumer))
    }

    /// The consumer whose turn it is has been given a message that takes `window_bytes`.
    #[inline]
    pub fn took(&mut self, window_bytes: u32) {
        let Some(ring) = self.rings.first_mut() else { return };
        let slot = &mut self.slots[ring.front as usize];
        slot.window -= i64::from(window_bytes);
        slot.room -= 1;
        if !slot.consumer.no_ack {
            slot.unacked += 1;
        }
        if slot.can_take() {
            ring.front = slot.next;
        } else {
            let front = ConsumerSlot(ring.front);
            self.deactivate(front);
        }
    }

    /// A message that the consumer held has been settled. Returns true if it may take one now and could not before.
    pub fn settled(&mut self, at: ConsumerSlot, address: ChannelAddress, id: ConsumerId) -> bool {
        let Some(slot) = self.find(at, address, id) else {
            return false;
        };
        slot.unacked = slot.unacked.saturating_sub(1);
        if self.single_active.is_some_and(|single| single.leaving) {
            return self.make_way();
        }
        self.activate(at)
    }

    /// The consumer's connection has written `bytes` of its deliveries. Returns true if it may take a message now and could
    /// not before.
    pub fn return_window(
        &mut self,
        at: ConsumerSlot,
        address: ChannelAddress,
        id: ConsumerId,
        bytes: u32,
    ) -> bool {
        let Some(slot) = self.find(at, address, id) else {
            return false;
        };
        slot.window += i64::from(bytes);
        self.activate(at)
    }

    /// The consumer's channel has room for `more` messages more than it said before, fewer if that is negative. Returns true if the
    /// consumer may take a message now and could not before.
    pub fn add_room(&mut self, at: ConsumerSlot, address: ChannelAddress, id: ConsumerId, more: i64) -> bool {
        let Some(slot) = self.find(at, address, id) else {
            return false;
        };
        slot.room = slot.room.saturating_add(more);
        if slot.can_take() {
            return self.activate(at);
        }
        self.deactivate(at);
        false
    }

    /// The slot, if this consumer still has it.
    fn find(&mut self, at: ConsumerSlot, address: ChannelAddress, id: ConsumerId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(key_of(at))?;
        (slot.consumer.id == id && slot.consumer.address == address).then_some(slot)
    }

    fn take_out(&mut self, at: ConsumerSlot) -> Consumer {
        self.deactivate(at);
        let slot = self.slots.remove(key_of(at));
        self.exclusive -= u32::from(slot.consumer.exclusive);
        if let Some(single) = &mut self.single_active
            && single.active == Some(at)
        {
            (single.active, single.leaving) = (None, false);
        }
        slot.consumer
    }

    /// Has the single active consumer step back if one of higher priority waits; it goes on if none does any more. Returns true if one can
    /// take a message now that could not before.
    fn make_way(&mut self) -> bool {
        let Some(Single { active: Some(active), steps_back: true, leaving }) = self.single_active else {
            return false;
        };
        let slot = &self.slots[key_of(active)];
        let (priority, holds) = (slot.consumer.priority, slot.unacked > 0);
        let outranked = self.slots.iter().any(|(_, other)| other.consumer.priority > priority);
        if !outranked {
            self.single_active = Some(Single { active: Some(active), steps_back: true, leaving: false });
            return leaving && self.activate(active);
        }
        self.deactivate(active);
        let active = holds.then_some(active);
        self.single_active = Some(Single { active, steps_back: true, leaving: holds });
        if holds {
            return false;
        }
        self.succeed();
        !self.rings.is_empty()
    }

    /// Finds the next single active consumer if there is none.
    fn succeed(&mut self) {
        let Some(single) = self.single_active.filter(|single| single.active.is_none()) else {
            return;
        };
        let order = |slot: &Slot| (std::cmp::Reverse(slot.consumer.priority), slot.arrival);
        let next = self.slots.iter().min_by_key(|(_, slot)| order(slot)).map(|(key, _)| slot_of(key));
        if let Some(next) = next {
            self.single_active = Some(Single { active: Some(next), leaving: false, ..single });
            self.activate(next);
        }
    }

    /// Puts a consumer at the end of its ring if it can take a message and is not there yet.
    fn activate(&mut self, at: ConsumerSlot) -> bool {
        let slot = &self.slots[key_of(at)];
        let waits = self.single_active.is_some_and(|single| single.leaving || single.active != Some(at));
        if slot.in_ring || waits || self.paused || !slot.can_take() {
            return false;
        }
        let priority = slot.consumer.priority;
        match self.rings.binary_search_by(|ring| priority.cmp(&ring.priority)) {
            Ok(index) => {
                let front = self.rings[index].front;
                let back = self.slots[front as usize].previous;
                self.link(back, at.0);
                self.link(at.0, front);
            }
            Err(index) => {
                self.rings.insert(index, Ring { priority, front: at.0 });
                self.link(at.0, at.0);
            }
        }
        self.slots[key_of(at)].in_ring = true;
        true
    }

    /// Takes a consumer out of its ring, if it stands in one.
    fn deactivate(&mut self, at: ConsumerSlot) {
        let slot = &mut self.slots[key_of(at)];
        if !std::mem::take(&mut slot.in_ring) {
            return;
        }
        let (previous, next, priority) = (slot.previous, slot.next, slot.consumer.priority);
        let Ok(index) = self.rings.binary_search_by(|ring| priority.cmp(&ring.priority)) else {
            return;
        };
        if next == at.0 {
            self.rings.remove(index);
            return;
        }
        self.link(previous, next);
        let ring = &mut self.rings[index];
        if ring.front == at.0 {
            ring.front = next;
        }
    }

    fn link(&mut self, previous: u32, next: u32) {
        self.slots[previous as usize].next = next;
        self.slots[next as usize].previous = previous;
    }
}

fn key_of(slot: ConsumerSlot) -> usize {
    slot.0 as usize
}

fn slot_of(key: usize) -> ConsumerSlot {
    ConsumerSlot(u32::try_from(key).expect("fewer than 2^32 consumers fit in memory"))
}

#[cfg(test)]
mod tests;

//! The consumers of a queue: who may be given a message now, in turn.
//!
//! A consumer is *active* while it has window and prefetch left. The active ones stand in a ring; the first takes a message
//! and goes to the end, so that they share fairly (RabbitMQ's round robin). One that has used up its window or prefetch leaves the
//! ring until it gets some back, so blocked consumers cost nothing per message.

use std::collections::VecDeque;
use std::sync::Arc;

use slab::Slab;

use crate::ids::{ChannelKey, ConsumerId, ShardId};
use crate::limits::CONSUMER_WINDOW_BYTES;

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
}

#[derive(Debug)]
struct Slot {
    consumer: Consumer,
    unacked: u32,
    /// Bytes of window left. May go below zero by one message.
    window: i64,
    in_ring: bool,
}

impl Slot {
    fn can_take(&self) -> bool {
        let prefetch = u32::from(self.consumer.prefetch_count);
        self.window > 0 && (self.consumer.no_ack || prefetch == 0 || self.unacked < prefetch)
    }
}

/// Index of a consumer in its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerSlot(u32);

/// The consumers of one queue.
#[derive(Debug, Default)]
pub struct Consumers {
    slots: Slab<Slot>,
    ring: VecDeque<ConsumerSlot>,
}

impl Consumers {
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
    #[must_use]
    pub fn any_active(&self) -> bool {
        !self.ring.is_empty()
    }

    /// True if a consumer is exclusive.
    #[must_use]
    pub fn has_exclusive(&self) -> bool {
        self.slots.iter().any(|(_, slot)| slot.consumer.exclusive)
    }

    /// All consumers, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Consumer> {
        self.slots.iter().map(|(_, slot)| &slot.consumer)
    }

    /// Adds a consumer with a full window.
    pub fn add(&mut self, consumer: Consumer) {
        let key = self.slots.insert(Slot {
            consumer,
            unacked: 0,
            window: i64::from(CONSUMER_WINDOW_BYTES),
            in_ring: false,
        });
        self.activate(slot_of(key));
    }

    /// Removes a consumer. Messages it holds stay with its channel.
    pub fn remove(&mut self, address: ChannelAddress, id: ConsumerId) -> Option<Consumer> {
        let slot = self.find(address, id)?;
        self.ring.retain(|other| *other != slot);
        Some(self.slots.remove(key_of(slot)).consumer)
    }

    /// Removes the consumers of a channel. Returns how many there were.
    pub fn remove_channel(&mut self, address: ChannelAddress) -> usize {
        let before = self.slots.len();
        self.slots.retain(|_, slot| slot.consumer.address != address);
        let slots = &self.slots;
        self.ring.retain(|slot| slots.contains(key_of(*slot)));
        before - self.slots.len()
    }

    /// Removes all consumers.
    pub fn take(&mut self) -> Vec<Consumer> {
        self.ring.clear();
        self.slots.drain().map(|slot| slot.consumer).collect()
    }

    /// The consumer whose turn it is.
    #[must_use]
    pub fn next(&self) -> Option<(ConsumerSlot, &Consumer)> {
        let slot = *self.ring.front()?;
        Some((slot, &self.slots[key_of(slot)].consumer))
    }

    /// The consumer at the front of the ring has been given a message that takes `window_bytes`.
    pub fn took(&mut self, window_bytes: u32) {
        let Some(&at) = self.ring.front() else { return };
        let slot = &mut self.slots[key_of(at)];
        slot.window -= i64::from(window_bytes);
        if !slot.consumer.no_ack {
            slot.unacked += 1;
        }
        if !slot.can_take() {
            slot.in_ring = false;
            self.ring.pop_front();
        } else if self.ring.len() > 1 {
            self.ring.rotate_left(1);
        }
    }

    /// A message that the consumer held has been settled. Returns true if it may take one now and could not before.
    pub fn settled(&mut self, at: ConsumerSlot, address: ChannelAddress, id: ConsumerId) -> bool {
        match self.slots.get_mut(key_of(at)) {
            Some(slot) if slot.consumer.id == id && slot.consumer.address == address => {
                slot.unacked = slot.unacked.saturating_sub(1);
                self.activate(at)
            }
            _ => false,
        }
    }

    /// The consumer's connection has written `bytes` of its deliveries. Returns true if it may take a message now and could
    /// not before.
    pub fn return_window(&mut self, address: ChannelAddress, id: ConsumerId, bytes: u32) -> bool {
        let Some(at) = self.find(address, id) else {
            return false;
        };
        self.slots[key_of(at)].window += i64::from(bytes);
        self.activate(at)
    }

    fn activate(&mut self, at: ConsumerSlot) -> bool {
        let slot = &mut self.slots[key_of(at)];
        if slot.in_ring || !slot.can_take() {
            return false;
        }
        slot.in_ring = true;
        self.ring.push_back(at);
        true
    }

    fn find(&self, address: ChannelAddress, id: ConsumerId) -> Option<ConsumerSlot> {
        let found = |slot: &Slot| slot.consumer.id == id && slot.consumer.address == address;
        self.slots.iter().find(|(_, slot)| found(slot)).map(|(key, _)| slot_of(key))
    }
}

fn key_of(slot: ConsumerSlot) -> usize {
    slot.0 as usize
}

fn slot_of(key: usize) -> ConsumerSlot {
    ConsumerSlot(u32::try_from(key).expect("fewer than 2^32 consumers fit in memory"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consumer(id: u32, prefetch_count: u16) -> Consumer {
        Consumer {
            address: ChannelAddress { shard: ShardId(0), channel: ChannelKey { slot: 0, epoch: 0 } },
            id: ConsumerId(id),
            consumer_tag: "t".into(),
            no_ack: false,
            exclusive: false,
            prefetch_count,
        }
    }

    fn turn(consumers: &mut Consumers) -> Option<(ConsumerSlot, u32)> {
        let (slot, id) = consumers.next().map(|(slot, consumer)| (slot, consumer.id.0))?;
        consumers.took(1);
        Some((slot, id))
    }

    #[test]
    fn consumers_take_turns() {
        let mut consumers = Consumers::default();
        (1..=3).for_each(|id| consumers.add(consumer(id, 0)));
        let order: Vec<u32> = (0..6).filter_map(|_| turn(&mut consumers)).map(|(_, id)| id).collect();
        assert_eq!(order, [1, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn prefetch_takes_a_consumer_out_until_it_settles() {
        let mut consumers = Consumers::default();
        consumers.add(consumer(1, 1));
        consumers.add(consumer(2, 2));
        let order: Vec<u32> = (0..5).filter_map(|_| turn(&mut consumers)).map(|(_, id)| id).collect();
        assert_eq!(order, [1, 2, 2]);
        assert!(!consumers.any_active());
        let address = consumer(1, 1).address;
        assert!(consumers.settled(ConsumerSlot(0), address, ConsumerId(1)));
        assert_eq!(turn(&mut consumers).map(|(_, id)| id), Some(1));
    }

    #[test]
    fn window_takes_a_consumer_out_until_it_is_returned() {
        let mut consumers = Consumers::default();
        consumers.add(consumer(1, 0));
        consumers.took(CONSUMER_WINDOW_BYTES + 5);
        assert!(!consumers.any_active());
        let address = consumer(1, 0).address;
        assert!(!consumers.return_window(address, ConsumerId(1), 5));
        assert!(consumers.return_window(address, ConsumerId(1), 1));
        assert!(consumers.any_active());
    }
}

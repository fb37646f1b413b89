//! Messages that were delivered and not settled yet.
//!
//! A slab: the token given out with a delivery is the index, so settling looks nothing up, and one old
//! message that nobody settles keeps one slot and no more.

use slab::Slab;

use super::backlog::Entry;
use super::consumer::{ChannelAddress, ConsumerSlot};
use crate::ids::{ConsumerId, DeliveryToken};

/// Who holds a message: a consumer, or a channel that got it with `basic.get`.
#[derive(Clone, Copy, Debug)]
pub struct Holder {
    /// The channel.
    pub address: ChannelAddress,
    /// The consumer, if it was delivered to one.
    pub consumer: Option<(ConsumerSlot, ConsumerId)>,
}

/// An unacknowledged message.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// The message.
    pub entry: Entry,
    /// Who has it.
    pub holder: Holder,
}

/// The unacknowledged messages of a queue.
#[derive(Debug, Default)]
pub struct Unacked {
    slab: Slab<Held>,
}

impl Unacked {
    /// Number of unacknowledged messages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// True if every delivered message has been settled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// Notes a delivery.
    pub fn insert(&mut self, held: Held) -> DeliveryToken {
        let key = self.slab.insert(held);
        DeliveryToken(u32::try_from(key).expect("fewer than 2^32 deliveries fit in memory"))
    }

    /// Takes a message back from the channel that holds it; nothing if another channel does.
    pub fn take(&mut self, token: DeliveryToken, address: ChannelAddress) -> Option<Held> {
        let key = token.0 as usize;
        if self.slab.get(key)?.holder.address != address {
            return None;
        }
        Some(self.slab.remove(key))
    }

    /// Takes back everything that a channel holds, ascending by sequence number.
    pub fn take_channel(&mut self, address: ChannelAddress) -> Vec<Entry> {
        let mut taken = Vec::new();
        self.slab.retain(|_, held| {
            let mine = held.holder.address == address;
            if mine {
                taken.push(held.entry);
            }
            !mine
        });
        if self.slab.is_empty() && self.slab.capacity() > 1024 {
            self.slab = Slab::new();
        }
        taken.sort_unstable_by_key(|entry| entry.seq);
        taken
    }

    /// Takes everything back, whoever holds it.
    pub fn take_all(&mut self) -> Vec<Entry> {
        self.slab.drain().map(|held| held.entry).collect()
    }

    /// The entries, in no order, to be changed in place.
    pub fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.slab.iter_mut().map(|(_, held)| &mut held.entry)
    }
}

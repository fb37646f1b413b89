//! A table whose keys are an index and an epoch: a key of something that was removed never finds what took its place.

use broker_core::ids::{ChannelKey, ConnectionKey};

/// A key of a [`Slots`].
pub(crate) trait Key: Copy {
    fn new(slot: u32, epoch: u32) -> Self;
    fn slot(self) -> u32;
    fn epoch(self) -> u32;
}

macro_rules! key {
    ($name:ident) => {
        impl Key for $name {
            fn new(slot: u32, epoch: u32) -> Self {
                Self { slot, epoch }
            }
            fn slot(self) -> u32 {
                self.slot
            }
            fn epoch(self) -> u32 {
                self.epoch
            }
        }
    };
}

key!(ConnectionKey);
key!(ChannelKey);

#[derive(Debug)]
struct Slot<T> {
    epoch: u32,
    value: Option<T>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    pub(crate) fn insert<K: Key>(&mut self, value: T) -> K {
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(index as usize)
        {
            slot.value = Some(value);
            return K::new(index, slot.epoch);
        }
        let index = u32::try_from(self.slots.len()).expect("four billion sockets do not fit a process");
        self.slots.push(Slot { epoch: 0, value: Some(value) });
        K::new(index, 0)
    }

    #[inline]
    pub(crate) fn get<K: Key>(&self, key: K) -> Option<&T> {
        let slot = self.slots.get(key.slot() as usize)?;
        if slot.epoch == key.epoch() { slot.value.as_ref() } else { None }
    }

    #[inline]
    pub(crate) fn get_mut<K: Key>(&mut self, key: K) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.slot() as usize)?;
        if slot.epoch == key.epoch() { slot.value.as_mut() } else { None }
    }

    pub(crate) fn remove<K: Key>(&mut self, key: K) -> Option<T> {
        let slot = self.slots.get_mut(key.slot() as usize)?;
        if slot.epoch != key.epoch() {
            return None;
        }
        let value = slot.value.take()?;
        slot.epoch = slot.epoch.wrapping_add(1);
        self.free.push(key.slot());
        Some(value)
    }

    pub(crate) fn iter_mut<K: Key>(&mut self) -> impl Iterator<Item = (K, &mut T)> {
        let slots = (0..).zip(&mut self.slots);
        slots.filter_map(|(index, slot)| Some((K::new(index, slot.epoch), slot.value.as_mut()?)))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.value.as_ref())
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|slot| slot.value.as_mut())
    }

    /// Rows made of values from the slot `from` on, `limit` at the most, and the slot after them if there are more.
    pub(crate) fn slice<K: Key, R>(
        &self,
        from: usize,
        limit: usize,
        row: impl Fn(K, &T) -> R,
    ) -> (Vec<R>, Option<usize>) {
        let mut rows = Vec::new();
        for (index, slot) in self.slots.iter().enumerate().skip(from) {
            if rows.len() >= limit {
                return (rows, Some(index));
            }
            let key = u32::try_from(index).map(|index| K::new(index, slot.epoch));
            if let (Some(value), Ok(key)) = (&slot.value, key) {
                rows.push(row(key, value));
            }
        }
        (rows, None)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_of_a_removed_value_does_not_find_its_successor() {
        let mut slots = Slots::default();
        let old: ChannelKey = slots.insert("old");
        assert_eq!(slots.remove(old), Some("old"));
        let new: ChannelKey = slots.insert("new");
        assert_eq!(new.slot, old.slot);
        assert_eq!((slots.get(old), slots.get(new)), (None, Some(&"new")));
        assert_eq!((slots.remove(old), slots.len()), (None, 1));
    }
}

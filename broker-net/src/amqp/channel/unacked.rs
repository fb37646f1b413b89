//! The messages that a channel has delivered and the client has not settled, in the order of their delivery tags.
//!
//! The usual client settles oldest first: both kinds of ack then pop from the front. A tag in the middle leaves a
//! hole; holes are squeezed out once they outnumber the rest, so one old tag that is never settled costs its own
//! entry and not those of everything delivered after it.

use std::collections::VecDeque;

use broker_core::ids::{ConsumerId, DeliveryToken, QueueId, QueueRef, ShardId};

/// Holes that are tolerated before they are squeezed out.
const MIN_HOLES: usize = 64;

/// Entries for which an empty list keeps room.
const MAX_IDLE_ENTRIES: usize = 1024;

/// One delivered message. Fields apart rather than as [`QueueRef`], to stay at 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) delivery_tag: u64,
    queue: QueueId,
    pub(crate) token: DeliveryToken,
    consumer: ConsumerId,
    shard: ShardId,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Delivered to a consumer.
    Delivered,
    /// Fetched with `basic.get`.
    Fetched,
    /// A hole.
    Settled,
}

impl Entry {
    pub(crate) fn new(
        delivery_tag: u64,
        queue: QueueRef,
        token: DeliveryToken,
        consumer: Option<ConsumerId>,
    ) -> Self {
        let state = if consumer.is_some() { State::Delivered } else { State::Fetched };
        let consumer = consumer.unwrap_or(ConsumerId(0));
        Self { delivery_tag, queue: queue.queue, token, consumer, shard: queue.shard, state }
    }

    /// Where the message is to be settled.
    pub(crate) fn queue(&self) -> QueueRef {
        QueueRef { queue: self.queue, shard: self.shard }
    }

    /// The consumer that it was delivered to, if it was not fetched.
    pub(crate) fn consumer(&self) -> Option<ConsumerId> {
        (self.state == State::Delivered).then_some(self.consumer)
    }

    /// True unless it was fetched with `basic.get`, which no prefetch limit counts.
    pub(crate) fn counts_for_prefetch(&self) -> bool {
        self.state == State::Delivered
    }
}

/// The delivery tag is not outstanding on the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnknownDeliveryTag(pub(crate) u64);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Unacked {
    /// Ascending by delivery tag; the first is never a hole.
    entries: VecDeque<Entry>,
    holes: usize,
}

impl Unacked {
    /// The delivery that waits longest.
    pub(crate) fn oldest(&self) -> Option<Entry> {
        self.entries.front().copied()
    }

    /// Messages delivered and not settled.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.holes
    }

    /// Appends a delivery; its tag must be the highest so far.
    pub(crate) fn push(&mut self, entry: Entry) {
        debug_assert!(self.entries.back().is_none_or(|last| last.delivery_tag < entry.delivery_tag));
        self.entries.push_back(entry);
    }

    /// Moves what `basic.ack`, `basic.nack` or `basic.reject` names to `settled`, oldest first. With `multiple`
    /// everything up to the tag, which must itself be outstanding, or everything if the tag is 0 (also when
    /// nothing is outstanding). On an error nothing changes.
    pub(crate) fn settle(
        &mut self,
        delivery_tag: u64,
        multiple: bool,
        settled: &mut Vec<Entry>,
    ) -> Result<(), UnknownDeliveryTag> {
        if multiple && delivery_tag == 0 {
            self.settle_all(settled);
            return Ok(());
        }
        let index = self.position(delivery_tag).ok_or(UnknownDeliveryTag(delivery_tag))?;
        if multiple {
            let before = settled.len();
            settled.extend(self.entries.drain(..=index).filter(|entry| entry.state != State::Settled));
            self.holes -= index + 1 - (settled.len() - before);
        } else if let Some(entry) = self.entries.get_mut(index) {
            settled.push(*entry);
            entry.state = State::Settled;
            self.holes += 1;
        }
        self.squeeze();
        Ok(())
    }

    /// Moves everything to `settled`, oldest first.
    pub(crate) fn settle_all(&mut self, settled: &mut Vec<Entry>) {
        settled.extend(self.entries.drain(..).filter(|entry| entry.state != State::Settled));
        self.holes = 0;
        self.entries.shrink_to(MAX_IDLE_ENTRIES);
    }

    /// Puts entries back in their places (`tx.rollback`).
    pub(crate) fn restore(&mut self, entries: &mut Vec<Entry>) {
        self.settle_all(entries);
        entries.sort_unstable_by_key(|entry| entry.delivery_tag);
        self.entries.extend(entries.drain(..));
    }

    /// The index of an outstanding tag. Without gaps between tags it is the distance from the front.
    fn position(&self, delivery_tag: u64) -> Option<usize> {
        let first = self.entries.front()?.delivery_tag;
        let guess = usize::try_from(delivery_tag.checked_sub(first)?).ok()?;
        let index = match self.entries.get(guess) {
            Some(entry) if entry.delivery_tag == delivery_tag => guess,
            _ => self.entries.binary_search_by_key(&delivery_tag, |entry| entry.delivery_tag).ok()?,
        };
        self.entries.get(index).filter(|entry| entry.state != State::Settled).map(|_| index)
    }

    fn squeeze(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.state == State::Settled) {
            self.entries.pop_front();
            self.holes -= 1;
        }
        if self.entries.is_empty() {
            // A burst must not stay with an idle channel.
            self.entries.shrink_to(MAX_IDLE_ENTRIES);
        }
        if self.holes > MIN_HOLES.max(self.entries.len() / 2) {
            self.entries.retain(|entry| entry.state != State::Settled);
            self.holes = 0;
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn entry(delivery_tag: u64) -> Entry {
        let queue = QueueRef { queue: QueueId(delivery_tag % 3), shard: ShardId(0) };
        let token = DeliveryToken(u32::try_from(delivery_tag).unwrap());
        Entry::new(delivery_tag, queue, token, Some(ConsumerId(1)))
    }

    fn filled(count: u64) -> Unacked {
        let mut unacked = Unacked::default();
        (1..=count).for_each(|delivery_tag| unacked.push(entry(delivery_tag)));
        unacked
    }

    fn check(
        unacked: &mut Unacked,
        delivery_tag: u64,
        multiple: bool,
        expect: Result<&[u64], UnknownDeliveryTag>,
    ) {
        let mut settled = Vec::new();
        let result = unacked.settle(delivery_tag, multiple, &mut settled);
        let tags: Vec<u64> = settled.iter().map(|entry| entry.delivery_tag).collect();
        assert_eq!(result.map(|()| tags.as_slice()), expect);
    }

    #[test]
    fn entry_is_small() {
        assert_eq!(size_of::<Entry>(), 32);
    }

    #[test]
    fn multiple_takes_everything_up_to_the_tag_without_what_was_settled_before() {
        let mut unacked = filled(6);
        check(&mut unacked, 2, false, Ok(&[2]));
        check(&mut unacked, 4, true, Ok(&[1, 3, 4]));
        check(&mut unacked, 0, true, Ok(&[5, 6]));
        check(&mut unacked, 0, true, Ok(&[]));
    }

    #[test]
    fn tag_that_is_not_outstanding_is_an_error_and_changes_nothing() {
        let mut unacked = filled(3);
        check(&mut unacked, 2, false, Ok(&[2]));
        for (delivery_tag, multiple) in [(2, false), (2, true), (4, true), (0, false), (u64::MAX, true)] {
            check(&mut unacked, delivery_tag, multiple, Err(UnknownDeliveryTag(delivery_tag)));
        }
        assert_eq!(unacked.len(), 2);
    }

    #[test]
    fn one_old_tag_does_not_pin_those_settled_after_it() {
        let mut unacked = filled(100_000);
        for delivery_tag in 2..=100_000 {
            check(&mut unacked, delivery_tag, false, Ok(&[delivery_tag]));
        }
        assert_eq!(unacked.len(), 1);
        assert!(unacked.entries.capacity() < 1000, "{}", unacked.entries.capacity());
    }

    #[test]
    fn restored_entries_are_in_their_places() {
        let mut unacked = filled(5);
        let mut settled = Vec::new();
        unacked.settle(3, false, &mut settled).unwrap();
        unacked.settle(1, false, &mut settled).unwrap();
        unacked.restore(&mut settled);
        check(&mut unacked, 0, true, Ok(&[1, 2, 3, 4, 5]));
    }

    proptest! {
        #[test]
        fn settles_what_a_set_of_tags_would(operations in prop::collection::vec((0u64..200, any::<bool>(), 0u64..4), 0..400)) {
            let mut unacked = Unacked::default();
            let mut model = BTreeSet::new();
            let mut next = 1;
            for (delivery_tag, multiple, deliveries) in operations {
                for _ in 0..deliveries {
                    unacked.push(entry(next));
                    model.insert(next);
                    next += 1 + deliveries / 3;
                }
                let mut settled = Vec::new();
                let result = unacked.settle(delivery_tag, multiple, &mut settled);
                let expected: Vec<u64> = match (multiple, delivery_tag) {
                    (true, 0) => model.iter().copied().collect(),
                    (true, tag) if model.contains(&tag) => model.range(..=tag).copied().collect(),
                    (false, tag) if model.contains(&tag) => vec![tag],
                    _ => {
                        prop_assert_eq!(result, Err(UnknownDeliveryTag(delivery_tag)));
                        continue;
                    }
                };
                prop_assert_eq!(result, Ok(()));
                expected.iter().for_each(|tag| { model.remove(tag); });
                prop_assert_eq!(settled.iter().map(|entry| entry.delivery_tag).collect::<Vec<_>>(), expected);
                prop_assert_eq!(unacked.len(), model.len());
            }
        }
    }
}

//! Which sequence numbers of a queue have nothing live in the log.

use std::collections::BTreeMap;

/// A set of sequence numbers as disjoint, non-adjacent ranges. What is acked in order costs one number; every hole
/// is a live message, so the set is never larger than the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeadSet {
    /// Everything up to here is in the set.
    floor: u64,
    /// Ranges above the floor, first to last.
    above: BTreeMap<u64, u64>,
}

impl DeadSet {
    /// The set of everything up to `floor`.
    pub(crate) fn up_to(floor: u64) -> Self {
        Self { floor, above: BTreeMap::new() }
    }

    /// Adds `first..=last`.
    pub(crate) fn insert(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        if first <= self.floor.saturating_add(1) {
            self.floor = self.floor.max(last);
            self.absorb();
            return;
        }
        let (mut first, mut last) = (first, last);
        if let Some((&before, &end)) = self.above.range(..first).next_back()
            && end.saturating_add(1) >= first
        {
            first = before;
            last = last.max(end);
        }
        while let Some((&next, &end)) = self.above.range(first..).next() {
            if next > last.saturating_add(1) {
                break;
            }
            last = last.max(end);
            self.above.remove(&next);
        }
        self.above.insert(first, last);
    }

    /// Takes ranges into the floor that it has reached.
    fn absorb(&mut self) {
        while let Some(entry) = self.above.first_entry() {
            if *entry.key() > self.floor.saturating_add(1) {
                break;
            }
            self.floor = self.floor.max(entry.remove());
        }
    }

    /// True if `seq` is in the set.
    pub(crate) fn contains(&self, seq: u64) -> bool {
        seq <= self.floor || self.range_of(seq).is_some()
    }

    /// True if all of `first..=last` is in the set.
    pub(crate) fn covers(&self, first: u64, last: u64) -> bool {
        last <= self.floor || self.range_of(first.max(self.floor + 1)).is_some_and(|(_, end)| end >= last)
    }

    /// True if any of `first..=last` is in the set.
    pub(crate) fn touches(&self, first: u64, last: u64) -> bool {
        first <= self.floor || self.above.range(..=last).next_back().is_some_and(|(_, &end)| end >= first)
    }

    /// The largest range in the set around `seq`, if that is in the set.
    pub(crate) fn range_of(&self, seq: u64) -> Option<(u64, u64)> {
        if seq <= self.floor {
            return Some((0, self.floor));
        }
        let (&first, &last) = self.above.range(..=seq).next_back()?;
        (last >= seq).then_some((first, last))
    }

    /// All ranges, ascending; the first starts at 0 if anything is below.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let floor = (self.floor > 0).then_some((0, self.floor));
        floor.into_iter().chain(self.above.iter().map(|(&first, &last)| (first, last)))
    }

    /// The largest number in the set.
    pub(crate) fn last(&self) -> u64 {
        self.above.last_key_value().map_or(self.floor, |(_, &last)| last)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_set_of_numbers(ranges in prop::collection::vec((1..60_u64, 0..6_u64), 0..40)) {
            let (mut dead, mut model) = (DeadSet::default(), BTreeSet::new());
            for (first, more) in ranges {
                dead.insert(first, first + more);
                model.extend(first..=first + more);
                let listed: BTreeSet<u64> = dead.ranges().flat_map(|(a, b)| a.max(1)..=b).collect();
                prop_assert_eq!(&listed, &model);
                let pieces: Vec<_> = dead.ranges().collect();
                prop_assert!(pieces.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
            }
            for first in 1..66 {
                prop_assert_eq!(dead.contains(first), model.contains(&first));
                for last in first..66 {
                    prop_assert_eq!(dead.covers(first, last), (first..=last).all(|seq| model.contains(&seq)));
                    prop_assert_eq!(dead.touches(first, last), (first..=last).any(|seq| model.contains(&seq)));
                }
            }
            prop_assert_eq!(dead.last(), model.last().copied().unwrap_or(0));
        }
    }
}

//! How often messages of one queue were delivered without being acked: numbers that a restart must not forget.

use std::collections::BTreeMap;

/// The counts of one queue's live messages. Only those that came back at least once are here.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    counts: BTreeMap<u64, Count>,
    /// Sequence numbers whose counts are still to be recorded; some may be gone by now.
    unrecorded: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    count: u32,
    recorded: bool,
}

impl Attempts {
    /// Counts as they were recovered: all are recorded.
    pub(crate) fn recorded(counts: impl Iterator<Item = (u64, u32)>) -> Self {
        let counts = counts.map(|(seq, count)| (seq, Count { count, recorded: true })).collect();
        Self { counts, unrecorded: Vec::new() }
    }

    /// The count of a message is `count` now.
    pub(crate) fn set(&mut self, seq: u64, count: u32) {
        let old = self.counts.insert(seq, Count { count, recorded: false });
        if old.is_none_or(|old| old.recorded) {
            self.unrecorded.push(seq);
        }
    }

    /// Records the counts of these messages once more, because the records of them may go.
    pub(crate) fn refresh(&mut self, seqs: impl Iterator<Item = u64>) {
        for seq in seqs {
            if let Some(count) = self.counts.get(&seq).map(|count| count.count) {
                self.set(seq, count);
            }
        }
    }

    /// Messages are dead.
    pub(crate) fn forget(&mut self, first: u64, last: u64) {
        if first == last {
            self.counts.remove(&first);
        } else {
            self.counts.retain(|seq, _| !(first..=last).contains(seq));
        }
    }

    /// Takes one count that is to be recorded.
    pub(crate) fn take(&mut self) -> Option<(u64, u32)> {
        while let Some(seq) = self.unrecorded.pop() {
            if let Some(count) = self.counts.get_mut(&seq).filter(|count| !count.recorded) {
                count.recorded = true;
                return Some((seq, count.count));
            }
        }
        None
    }

    /// True if counts are to be recorded.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.unrecorded.is_empty()
    }

    /// All counts, by sequence number.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (u64, u32)> {
        self.counts.iter().map(|(&seq, count)| (seq, count.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_count_of_a_message_is_recorded_once() {
        let mut attempts = Attempts::default();
        attempts.set(5, 1);
        attempts.set(7, 1);
        attempts.set(5, 2);
        attempts.set(9, 3);
        attempts.forget(9, 9);
        assert_eq!(attempts.take(), Some((7, 1)));
        assert_eq!(attempts.take(), Some((5, 2)));
        assert_eq!(attempts.take(), None);
        attempts.refresh([5, 6].into_iter());
        assert_eq!((attempts.take(), attempts.take()), (Some((5, 2)), None));
        attempts.forget(0, 100);
        assert_eq!(attempts.iter().len(), 0);
    }
}

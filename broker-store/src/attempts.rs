//! How often messages of one queue were delivered without being acked, and until when they wait since: what a restart must not forget.

use std::collections::BTreeMap;

/// Bits of the stored form that have the count; the time is above them.
const COUNT_BITS: u32 = 20;

/// How often a live message was delivered and came back, and since then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt {
    /// How often. More than 2^20 - 1 are kept as so many.
    pub count: u32,
    /// It is not to be delivered before, in milliseconds since the Unix epoch; 0 if it does not wait. Kept exactly below 2^44.
    pub ready_ms: u64,
}

impl Attempt {
    /// The stored form.
    pub(crate) fn to_stored(self) -> u64 {
        let count = u64::from(self.count).min((1 << COUNT_BITS) - 1);
        count | self.ready_ms.min((1 << (64 - COUNT_BITS)) - 1) << COUNT_BITS
    }

    /// Reads the stored form.
    pub(crate) fn from_stored(stored: u64) -> Self {
        let count = u32::try_from(stored & ((1 << COUNT_BITS) - 1)).expect("it has 20 bits");
        Self { count, ready_ms: stored >> COUNT_BITS }
    }
}

/// The counts of one queue's live messages. Only those that came back at least once are here.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    counts: BTreeMap<u64, Count>,
    /// Sequence numbers whose counts are still to be recorded; some may be gone by now.
    unrecorded: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    attempt: Attempt,
    recorded: bool,
}

impl Attempts {
    /// Counts as they were recovered: all are recorded.
    pub(crate) fn recorded(counts: impl Iterator<Item = (u64, Attempt)>) -> Self {
        let counts = counts.map(|(seq, attempt)| (seq, Count { attempt, recorded: true })).collect();
        Self { counts, unrecorded: Vec::new() }
    }

    /// What is known of a message from now on.
    pub(crate) fn set(&mut self, seq: u64, attempt: Attempt) {
        let old = self.counts.insert(seq, Count { attempt, recorded: false });
        if old.is_none_or(|old| old.recorded) {
            self.unrecorded.push(seq);
        }
    }

    /// Records the counts of these messages once more, because the records of them may go.
    pub(crate) fn refresh(&mut self, seqs: impl Iterator<Item = u64>) {
        for seq in seqs {
            if let Some(attempt) = self.counts.get(&seq).map(|count| count.attempt) {
                self.set(seq, attempt);
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
    pub(crate) fn take(&mut self) -> Option<(u64, Attempt)> {
        while let Some(seq) = self.unrecorded.pop() {
            if let Some(count) = self.counts.get_mut(&seq).filter(|count| !count.recorded) {
                count.recorded = true;
                return Some((seq, count.attempt));
            }
        }
        None
    }

    /// True if counts are to be recorded.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.unrecorded.is_empty()
    }

    /// All counts, by sequence number.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (u64, Attempt)> {
        self.counts.iter().map(|(&seq, count)| (seq, count.attempt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(count: u32) -> Attempt {
        Attempt { count, ready_ms: 1_800_000_000_000 + u64::from(count) }
    }

    #[test]
    fn stored_form_reads_back_and_saturates() {
        assert_eq!(Attempt::from_stored(attempt(7).to_stored()), attempt(7));
        assert_eq!(Attempt::from_stored(9), Attempt { count: 9, ready_ms: 0 });
        let most = Attempt { count: u32::MAX, ready_ms: u64::MAX };
        assert_eq!(
            Attempt::from_stored(most.to_stored()),
            Attempt { count: (1 << 20) - 1, ready_ms: (1 << 44) - 1 }
        );
    }

    #[test]
    fn the_last_count_of_a_message_is_recorded_once() {
        let mut attempts = Attempts::default();
        attempts.set(5, attempt(1));
        attempts.set(7, attempt(1));
        attempts.set(5, attempt(2));
        attempts.set(9, attempt(3));
        attempts.forget(9, 9);
        assert_eq!(attempts.take(), Some((7, attempt(1))));
        assert_eq!(attempts.take(), Some((5, attempt(2))));
        assert_eq!(attempts.take(), None);
        attempts.refresh([5, 6].into_iter());
        assert_eq!((attempts.take(), attempts.take()), (Some((5, attempt(2))), None));
        attempts.forget(0, 100);
        assert_eq!(attempts.iter().len(), 0);
    }
}

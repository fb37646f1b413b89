//! Publisher confirms of one channel: which sequence numbers still wait, and the acks that are due.
//!
//! Confirms go out in the order of the sequence numbers. What is resolved between two writes to the socket leaves as one
//! `basic.ack` with `multiple`; a refused message is nacked by itself, and an ack that follows covers only
//! later numbers.

use std::collections::VecDeque;

/// Moments for which room is kept when none is needed.
const KEPT_MOMENTS: usize = 256;

/// Set in [`Confirms::waiting`] when a queue refused the message.
const REFUSED: u32 = 1 << 31;

/// A confirm to be sent to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirmation {
    /// All `count` numbers up to this one for which nothing was sent yet; with `multiple` if that is more than one.
    Ack {
        delivery_tag: u64,
        count: u64,
    },
    Nack {
        delivery_tag: u64,
    },
}

/// See the module's documentation. Sequence numbers start at 1 and count every publish.
#[derive(Debug)]
pub(crate) struct Confirms {
    /// The oldest sequence number that has an entry in `waiting`.
    first: u64,
    /// Numbers below `first` that are accepted and for which no ack went out yet.
    accepted: u64,
    /// For each number from `first`: parts that are not done, and [`REFUSED`].
    waiting: VecDeque<u32>,
    /// Entries of `waiting` that have parts not done.
    unresolved: usize,
    /// When numbers came that are not confirmed: the first number of a moment, and the moment, in microseconds since the Unix
    /// epoch. One entry for all that came in one turn.
    came: VecDeque<(u64, u64)>,
}

impl Default for Confirms {
    fn default() -> Self {
        Self { first: 1, accepted: 0, waiting: VecDeque::new(), unresolved: 0, came: VecDeque::new() }
    }
}

impl Confirms {
    /// The sequence number of the next publish.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.first + self.waiting.len() as u64
    }

    /// Numbers that are not acked or nacked yet.
    pub(crate) fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// Records the publish that [`next_sequence`](Self::next_sequence) numbered: it is done when `parts` calls
    /// of [`resolve`](Self::resolve) have been made for it.
    pub(crate) fn expect(&mut self, parts: u32, refused: bool) {
        if parts == 0 && !refused && self.waiting.is_empty() {
            self.first += 1;
            self.accepted += 1;
            return;
        }
        self.unresolved += usize::from(parts > 0);
        self.waiting.push_back(parts | if refused { REFUSED } else { 0 });
    }

    /// Notes that [`next_sequence`](Self::next_sequence) and those after it came at `now_us`.
    #[inline]
    pub(crate) fn came(&mut self, now_us: u64) {
        if self.came.back().is_none_or(|&(_, at_us)| at_us != now_us) {
            self.came.push_back((self.next_sequence(), now_us));
        }
    }

    /// Takes the times of the numbers that [`flush`](Self::flush) has sent, acked or not: how many came at once, and how long ago,
    /// in microseconds.
    pub(crate) fn take_latencies(&mut self, now_us: u64, mut latency: impl FnMut(u64, u64)) {
        while let Some(&(from, at_us)) = self.came.front() {
            let next = self.came.get(1).map_or_else(|| self.next_sequence(), |&(next, _)| next);
            let sent = next.min(self.first);
            if sent > from {
                latency(sent - from, now_us.saturating_sub(at_us));
            }
            if next > self.first {
                self.came[0].0 = from.max(sent);
                return;
            }
            self.came.pop_front();
        }
        self.came.shrink_to(KEPT_MOMENTS);
    }

    /// One part of each number in the range is done. Numbers that are not waiting are ignored.
    pub(crate) fn resolve(&mut self, first: u64, last: u64, accepted: bool) {
        let next = self.next_sequence();
        let start = first.max(self.first);
        for sequence in start..(last.saturating_add(1)).min(next) {
            let Some(entry) =
                usize::try_from(sequence - self.first).ok().and_then(|index| self.waiting.get_mut(index))
            else {
                return;
            };
            if *entry & !REFUSED == 0 {
                continue;
            }
            *entry -= 1;
            if !accepted {
                *entry |= REFUSED;
            }
            self.unresolved -= usize::from(*entry & !REFUSED == 0);
        }
    }

    /// True when every number is done.
    pub(crate) fn is_resolved(&self) -> bool {
        self.unresolved == 0
    }

    /// Hands the confirms that are due to `send`, in order.
    pub(crate) fn flush(&mut self, mut send: impl FnMut(Confirmation)) {
        while let Some(entry) = self.waiting.front() {
            match *entry {
                0 => {
                    self.accepted += 1;
                }
                REFUSED => {
                    self.send_accepted(&mut send);
                    send(Confirmation::Nack { delivery_tag: self.first });
                }
                _ => break,
            }
            self.first += 1;
            self.waiting.pop_front();
        }
        self.send_accepted(&mut send);
        if self.waiting.is_empty() {
            // A burst must not stay with an idle channel.
            self.waiting.shrink_to(1024);
        }
    }

    /// Forgets everything that is done, without confirms. True if anything was refused (end of a transaction).
    pub(crate) fn discard(&mut self) -> bool {
        let mut refused = false;
        self.flush(|confirmation| refused |= matches!(confirmation, Confirmation::Nack { .. }));
        refused
    }

    fn send_accepted(&mut self, send: &mut impl FnMut(Confirmation)) {
        if self.accepted > 0 {
            let count = std::mem::take(&mut self.accepted);
            send(Confirmation::Ack { delivery_tag: self.first - 1, count });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Confirmation::{Ack, Nack};
    use super::*;

    fn flushed(confirms: &mut Confirms) -> Vec<Confirmation> {
        let mut sent = Vec::new();
        confirms.flush(|confirmation| sent.push(confirmation));
        sent
    }

    #[test]
    fn accepted_at_once_is_acked_in_one_frame() {
        let mut confirms = Confirms::default();
        (0..3).for_each(|_| confirms.expect(0, false));
        assert_eq!(flushed(&mut confirms), [Ack { delivery_tag: 3, count: 3 }]);
        assert_eq!(flushed(&mut confirms), []);
        confirms.expect(0, false);
        assert_eq!(flushed(&mut confirms), [Ack { delivery_tag: 4, count: 1 }]);
    }

    #[test]
    fn later_numbers_wait_for_earlier_ones() {
        let mut confirms = Confirms::default();
        confirms.expect(2, false);
        confirms.expect(0, false);
        confirms.resolve(1, 1, true);
        assert_eq!(flushed(&mut confirms), []);
        assert!(!confirms.is_resolved());
        confirms.resolve(1, 1, true);
        assert!(confirms.is_resolved());
        assert_eq!(flushed(&mut confirms), [Ack { delivery_tag: 2, count: 2 }]);
    }

    #[test]
    fn refused_part_nacks_once_after_all_parts_are_done() {
        let mut confirms = Confirms::default();
        confirms.expect(1, false);
        confirms.expect(2, false);
        confirms.expect(0, true);
        confirms.expect(1, false);
        confirms.resolve(2, 2, false);
        confirms.resolve(1, 4, true);
        let expected = [
            Ack { delivery_tag: 1, count: 1 },
            Nack { delivery_tag: 2 },
            Nack { delivery_tag: 3 },
            Ack { delivery_tag: 4, count: 1 },
        ];
        assert_eq!(flushed(&mut confirms), expected);
    }

    #[test]
    fn latencies_are_counted_per_moment_when_they_are_sent() {
        fn taken(confirms: &mut Confirms, now_us: u64) -> Vec<(u64, u64)> {
            let mut latencies = Vec::new();
            confirms.flush(|_| ());
            confirms.take_latencies(now_us, |count, us| latencies.push((count, us)));
            latencies
        }
        let mut confirms = Confirms::default();
        for (now_us, parts) in [(100, 0), (100, 1), (100, 1), (250, 1)] {
            confirms.came(now_us);
            confirms.expect(parts, false);
        }
        assert_eq!(taken(&mut confirms, 300), [(1, 200)]);
        confirms.resolve(2, 2, true);
        assert_eq!(taken(&mut confirms, 400), [(1, 300)]);
        confirms.resolve(3, 4, true);
        assert_eq!(taken(&mut confirms, 500), [(1, 400), (1, 250)]);
        confirms.came(500);
        confirms.expect(0, false);
        assert_eq!(taken(&mut confirms, 500), [(1, 0)]);
        assert_eq!(taken(&mut confirms, 600), []);
    }

    #[test]
    fn numbers_that_do_not_wait_are_ignored() {
        let mut confirms = Confirms::default();
        confirms.expect(0, false);
        confirms.resolve(0, u64::MAX, false);
        assert_eq!(flushed(&mut confirms), [Ack { delivery_tag: 1, count: 1 }]);
    }

    proptest! {
        #[test]
        fn every_publish_is_confirmed_exactly_once_and_in_order(
            publishes in prop::collection::vec((0u32..4, any::<bool>()), 1..200),
            order in any::<u64>(),
        ) {
            let mut confirms = Confirms::default();
            let mut parts = Vec::new();
            for (sequence, &(count, refused)) in (1u64..).zip(&publishes) {
                confirms.expect(count, refused);
                parts.extend((0..count).map(|part| (sequence, part)));
            }
            parts.sort_by_key(|&(sequence, part)| (sequence * 31 + u64::from(part)).wrapping_mul(order | 1));
            let mut confirmed = Vec::new();
            let mut last = 0;
            for chunk in parts.chunks(7).chain([&[][..]]) {
                chunk.iter().for_each(|&(sequence, _)| confirms.resolve(sequence, sequence, true));
                confirms.flush(|confirmation| match confirmation {
                    Ack { delivery_tag, count } => {
                        assert_eq!(delivery_tag, last + count);
                        confirmed.extend((0..count).map(|_| true));
                        last = delivery_tag;
                    }
                    Nack { delivery_tag } => {
                        assert_eq!(delivery_tag, last + 1);
                        confirmed.push(false);
                        last = delivery_tag;
                    }
                });
            }
            prop_assert_eq!(confirmed, publishes.iter().map(|&(_, refused)| !refused).collect::<Vec<_>>());
            prop_assert!(confirms.is_resolved());
        }
    }
}

//! Who sent what, and what arrived where: the ledger that decides whether a run was correct.
//!
//! A **route** is one routing key; the queues bound to it all receive its messages. Every producer numbers its messages on every
//! route from 0. A queue has received each number once, or the run fails; the one exception is a duplicate that the
//! broker marked as redelivered. Order is judged per producer and subscription, because a queue with several consumers
//! promises order to each of them only.

use std::collections::VecDeque;

use crate::body::Stamp;

/// How far ahead of the first missing message an arrival may be, in messages: bounds a queue's bitmap to 128 MiB.
const AHEAD_MAX: u64 = 1 << 30;

/// The counts that decide a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Second arrivals that the broker marked as redelivered.
    pub(crate) redelivered: u64,
    /// Second arrivals that it did not.
    pub(crate) duplicated: u64,
    /// Arrivals after a later message of the same producer.
    pub(crate) reordered: u64,
    /// Bodies with a wrong checksum or size, or from no producer of this run.
    pub(crate) corrupt: u64,
}

/// The ledger of one run.
#[derive(Debug)]
pub(crate) struct Verifier {
    /// Messages sent, by route and producer.
    sent: Vec<Vec<u64>>,
    /// The route that feeds a queue.
    route_of_queue: Vec<usize>,
    queues: Vec<Arrivals>,
    /// Bytes of every body; below the stamp's size, messages are only counted.
    size: usize,
    /// Producers of another process: what they sent is not known here.
    foreign: bool,
    expected: u64,
    arrived: u64,
    verdict: Verdict,
}

/// The messages that arrived at one queue.
#[derive(Debug, Default)]
struct Arrivals {
    producers: Vec<Seen>,
    unstamped: u64,
}

/// The newest message of each producer that one subscription has seen.
#[derive(Debug, Default)]
pub(crate) struct Order {
    next: Vec<u64>,
}

impl Verifier {
    /// A ledger for queues fed by the routes `route_of_queue`, and bodies of `size` bytes. `foreign` says
    /// that the producers are not of this process.
    pub(crate) fn new(route_of_queue: Vec<usize>, producers: usize, size: usize, foreign: bool) -> Self {
        let routes = route_of_queue.iter().max().map_or(0, |last| last + 1);
        Self {
            sent: vec![vec![0; producers]; routes],
            queues: route_of_queue.iter().map(|_| Arrivals::default()).collect(),
            route_of_queue,
            size,
            foreign,
            expected: 0,
            arrived: 0,
            verdict: Verdict::default(),
        }
    }

    /// Enters one message to be sent on a route that feeds `fan_out` queues, and gives its sequence number.
    pub(crate) fn sent(&mut self, route: usize, producer: u16, fan_out: u64) -> u64 {
        let count = &mut self.sent[route][usize::from(producer)];
        let sequence = *count;
        *count += 1;
        self.expected += fan_out;
        sequence
    }

    /// Enters a body that arrived. Returns its stamp if it has a valid one.
    pub(crate) fn arrived(
        &mut self,
        queue: usize,
        body: &[u8],
        redelivered: bool,
        order: &mut Order,
    ) -> Option<Stamp> {
        if self.size < crate::body::STAMP_BYTES {
            self.verdict.corrupt += u64::from(body.len() != self.size);
            self.queues[queue].unstamped += 1;
            self.arrived += 1;
            return None;
        }
        let stamp = Stamp::decode(body).filter(|stamp| self.plausible(queue, *stamp, body.len()));
        let Some(stamp) = stamp else {
            self.verdict.corrupt += 1;
            return None;
        };
        if self.queues[queue].seen(stamp.producer).insert(stamp.sequence) {
            self.arrived += 1;
        } else if redelivered {
            self.verdict.redelivered += 1;
        } else {
            self.verdict.duplicated += 1;
        }
        if !redelivered {
            self.verdict.reordered += u64::from(!order.advance(stamp));
        }
        Some(stamp)
    }

    /// Whether a stamp can be from this run.
    fn plausible(&self, queue: usize, stamp: Stamp, size: usize) -> bool {
        let Some(sent) = self.sent.get(self.route_of_queue[queue]) else {
            return false;
        };
        let known = sent.get(usize::from(stamp.producer)).is_some_and(|sent| stamp.sequence < *sent);
        let ahead = self.queues[queue].ahead(stamp);
        ahead < AHEAD_MAX && (self.foreign || known && size == self.size)
    }

    /// Messages that queues should have received and have not.
    pub(crate) fn missing(&self) -> u64 {
        self.expected.saturating_sub(self.arrived)
    }

    /// Messages that queues received for the first time.
    pub(crate) fn received(&self) -> u64 {
        self.arrived
    }

    /// Messages that queues should have received.
    pub(crate) fn expected(&self) -> u64 {
        self.expected
    }

    /// The counts so far. What cannot carry a number is a duplicate when more arrived than was sent.
    pub(crate) fn verdict(&self) -> Verdict {
        let mut verdict = self.verdict;
        if !self.foreign && self.size < crate::body::STAMP_BYTES {
            for (arrivals, route) in self.queues.iter().zip(&self.route_of_queue) {
                let sent: u64 = self.sent[*route].iter().sum();
                verdict.duplicated += arrivals.unstamped.saturating_sub(sent);
            }
        }
        verdict
    }

    /// The first message that is missing, for the error that says so.
    pub(crate) fn first_missing(&self) -> Option<String> {
        for (queue, (arrivals, route)) in self.queues.iter().zip(&self.route_of_queue).enumerate() {
            for (producer, sent) in self.sent[*route].iter().enumerate() {
                let next = arrivals.producers.get(producer).map_or(0, Seen::first_missing);
                if next < *sent && self.size >= crate::body::STAMP_BYTES {
                    return Some(format!("message {next} of producer {producer}, queue {queue}"));
                }
            }
        }
        None
    }
}

impl Arrivals {
    fn seen(&mut self, producer: u16) -> &mut Seen {
        let index = usize::from(producer);
        if index >= self.producers.len() {
            self.producers.resize_with(index + 1, Seen::default);
        }
        &mut self.producers[index]
    }

    fn ahead(&self, stamp: Stamp) -> u64 {
        let base = self.producers.get(usize::from(stamp.producer)).map_or(0, |seen| seen.base);
        stamp.sequence.saturating_sub(base)
    }
}

impl Order {
    /// Whether the message comes after all that its producer's earlier ones.
    fn advance(&mut self, stamp: Stamp) -> bool {
        let index = usize::from(stamp.producer);
        if index >= self.next.len() {
            self.next.resize(index + 1, 0);
        }
        let in_order = stamp.sequence >= self.next[index];
        if in_order {
            self.next[index] = stamp.sequence + 1;
        }
        in_order
    }
}

/// A set of sequence numbers: all below `base`, and those of the bitmap after it.
#[derive(Debug, Default)]
struct Seen {
    base: u64,
    words: VecDeque<u64>,
}

impl Seen {
    /// False if the number was there before.
    fn insert(&mut self, sequence: u64) -> bool {
        let Some(ahead) = sequence.checked_sub(self.base) else {
            return false;
        };
        let Ok(word) = usize::try_from(ahead / 64) else {
            return false;
        };
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let bit = 1 << (ahead % 64);
        let fresh = self.words[word] & bit == 0;
        self.words[word] |= bit;
        while self.words.front() == Some(&u64::MAX) {
            self.words.pop_front();
            self.base += 64;
        }
        fresh
    }

    fn first_missing(&self) -> u64 {
        self.base + self.words.front().map_or(0, |word| u64::from(word.trailing_ones()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{STAMP_BYTES, padding};

    fn body(producer: u16, sequence: u64) -> Vec<u8> {
        let padding = padding(20);
        let stamp = Stamp { producer, sequence, intended_us: 0 };
        [&stamp.encode(crc32fast::hash(&padding))[..], &padding].concat()
    }

    fn verifier(queues: usize) -> Verifier {
        Verifier::new(vec![0; queues], 2, 20, false)
    }

    /// Sends `sent` messages of producer 0 and delivers `arrivals` (sequence, redelivered) to queue 0.
    fn check(sent: u64, arrivals: &[(u64, bool)], missing: u64, expected: Verdict) {
        let mut verifier = verifier(1);
        let mut order = Order::default();
        for sequence in 0..sent {
            assert_eq!(verifier.sent(0, 0, 1), sequence);
        }
        for (sequence, redelivered) in arrivals {
            verifier.arrived(0, &body(0, *sequence), *redelivered, &mut order);
        }
        assert_eq!((verifier.missing(), verifier.verdict()), (missing, expected));
    }

    #[test]
    fn everything_once_and_in_order_is_correct() {
        let arrivals: Vec<_> = (0..1000).map(|sequence| (sequence, false)).collect();
        check(1000, &arrivals, 0, Verdict::default());
    }

    #[test]
    fn a_hole_is_a_lost_message() {
        check(3, &[(0, false), (2, false)], 1, Verdict::default());
    }

    #[test]
    fn a_second_arrival_is_a_duplicate_unless_redelivered() {
        check(1, &[(0, false), (0, true)], 0, Verdict { redelivered: 1, ..Verdict::default() });
        check(1, &[(0, false), (0, false)], 0, Verdict { duplicated: 1, reordered: 1, ..Verdict::default() });
    }

    #[test]
    fn a_late_arrival_is_reordered() {
        check(2, &[(1, false), (0, false)], 0, Verdict { reordered: 1, ..Verdict::default() });
    }

    #[test]
    fn a_message_that_was_never_sent_is_corrupt() {
        check(1, &[(0, false), (1, false)], 0, Verdict { corrupt: 1, ..Verdict::default() });
    }

    #[test]
    fn fan_out_expects_every_message_in_every_queue() {
        let mut verifier = verifier(2);
        verifier.sent(0, 1, 2);
        verifier.arrived(0, &body(1, 0), false, &mut Order::default());
        assert_eq!(verifier.missing(), 1);
        assert_eq!(verifier.first_missing().unwrap(), "message 0 of producer 1, queue 1");
        verifier.arrived(1, &body(1, 0), false, &mut Order::default());
        assert_eq!((verifier.missing(), verifier.first_missing()), (0, None));
    }

    #[test]
    fn two_consumers_of_a_queue_are_each_in_order() {
        let mut verifier = verifier(1);
        let (mut a, mut b) = (Order::default(), Order::default());
        for _ in 0..200 {
            verifier.sent(0, 0, 1);
        }
        for sequence in (0..200).filter(|s| s % 2 == 1) {
            verifier.arrived(0, &body(0, sequence), false, &mut a);
        }
        for sequence in (0..200).filter(|s| s % 2 == 0) {
            verifier.arrived(0, &body(0, sequence), false, &mut b);
        }
        assert_eq!((verifier.missing(), verifier.verdict()), (0, Verdict::default()));
    }

    #[test]
    fn bodies_below_the_stamp_are_counted() {
        let mut verifier = Verifier::new(vec![0], 1, STAMP_BYTES - 1, false);
        verifier.sent(0, 0, 1);
        verifier.arrived(0, &[0; STAMP_BYTES - 1], false, &mut Order::default());
        assert_eq!((verifier.missing(), verifier.verdict()), (0, Verdict::default()));
        verifier.arrived(0, &[0; STAMP_BYTES - 1], false, &mut Order::default());
        assert_eq!(verifier.verdict().duplicated, 1);
    }
}

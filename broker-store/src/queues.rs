//! What the log knows of each queue that has messages in it: which sequence numbers are dead, and which acks and
//! delivered marks are still to be recorded. A queue without messages in the log costs nothing.

use rustc_hash::FxHashMap;

use crate::attempts::{Attempt, Attempts};
use crate::dead::DeadSet;
use crate::ids::{QueueId, Seq};

/// Ranges of acks that may wait to be recorded. Beyond it they are dropped, and a checkpoint, which has them all, is written.
const MAX_WAITING_RANGES: usize = 65_536;

/// The part of a queue that is in the log.
#[derive(Debug)]
pub(crate) struct QueueState {
    queue: QueueId,
    pub(crate) dead: DeadSet,
    /// Largest sequence number appended.
    last: u64,
    /// Messages not acked.
    pub(crate) live: u64,
    /// Everything up to here was delivered at least once.
    pub(crate) delivered: u64,
    /// Deliveries of messages that came back; absent while there are none.
    attempts: Option<Box<Attempts>>,
    /// Acked and not yet recorded.
    acked: Option<(u64, u64)>,
    delivered_dirty: bool,
    /// Listed in `Queues::dirty`.
    dirty: bool,
    /// The queue is gone; the slot is free once it is no longer listed.
    dropped: bool,
}

impl QueueState {
    /// How often live messages were delivered and came back, by sequence number.
    pub(crate) fn attempts(&self) -> impl Iterator<Item = (u64, Attempt)> {
        self.attempts.iter().flat_map(|attempts| attempts.iter())
    }

    fn forget_attempts(&mut self, first: u64, last: u64) {
        if let Some(attempts) = &mut self.attempts {
            attempts.forget(first, last);
        }
    }
}

/// Items that wait to be recorded.
#[derive(Debug, Default)]
pub(crate) struct Unrecorded {
    /// Ranges of dead messages.
    pub(crate) acks: Vec<(QueueId, Seq, Seq)>,
    /// Up to where messages were delivered.
    pub(crate) delivered: Vec<(QueueId, Seq)>,
    /// How often a message was delivered and came back.
    pub(crate) attempts: Vec<(QueueId, Seq, Attempt)>,
}

impl Unrecorded {
    pub(crate) fn len(&self) -> usize {
        self.acks.len() + self.delivered.len() + self.attempts.len()
    }
}

/// The queues of a log.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    slots: FxHashMap<QueueId, u32>,
    states: Vec<QueueState>,
    free: Vec<u32>,
    /// Last slot used: messages come in bursts per queue.
    recent: Option<(QueueId, u32)>,
    dirty: Vec<u32>,
    /// Ranges that did not merge with a later one.
    waiting: Vec<(QueueId, Seq, Seq)>,
    /// Waiting ranges were dropped: only a checkpoint can record them now.
    pub(crate) overflowed: bool,
    /// Acks are recorded (in the durable log).
    recorded: bool,
}

impl Queues {
    pub(crate) fn new(recorded: bool) -> Self {
        Self { recorded, ..Self::default() }
    }

    fn slot(&mut self, queue: QueueId) -> Option<usize> {
        if let Some((recent, slot)) = self.recent
            && recent == queue
        {
            return Some(slot as usize);
        }
        let slot = *self.slots.get(&queue)?;
        self.recent = Some((queue, slot));
        Some(slot as usize)
    }

    /// The state of a queue that has messages in the log.
    pub(crate) fn get(&self, queue: QueueId) -> Option<&QueueState> {
        self.slots.get(&queue).map(|&slot| &self.states[slot as usize])
    }

    /// Notes a new message. What lies between it and the one before is not in this log, so it counts as dead: that
    /// keeps the ranges of a queue whose messages are spread over two logs together.
    pub(crate) fn appended(&mut self, queue: QueueId, seq: Seq) {
        let slot = match self.slot(queue) {
            Some(slot) => slot,
            None => self.insert(queue, seq.0.saturating_sub(1)),
        };
        let state = &mut self.states[slot];
        if seq.0 > state.last + 1 {
            state.dead.insert(state.last + 1, seq.0 - 1);
        }
        state.last = state.last.max(seq.0);
        state.live += 1;
    }

    /// Restores a queue at recovery.
    pub(crate) fn restore(&mut self, queue: QueueId, dead: DeadSet, last: u64, live: u64, delivered: u64) {
        let slot = self.insert(queue, last);
        let state = &mut self.states[slot];
        (state.dead, state.live, state.delivered) = (dead, live, delivered);
    }

    /// Restores what is known of the attempts of a queue that was restored before.
    pub(crate) fn restore_attempts(&mut self, queue: QueueId, attempts: impl Iterator<Item = (u64, Attempt)>) {
        if let Some(slot) = self.slot(queue) {
            self.states[slot].attempts = Some(Box::new(Attempts::recorded(attempts)));
        }
    }

    fn insert(&mut self, queue: QueueId, last: u64) -> usize {
        let state = QueueState {
            queue,
            dead: DeadSet::up_to(last),
            last,
            live: 0,
            delivered: 0,
            attempts: None,
            acked: None,
            delivered_dirty: false,
            dirty: false,
            dropped: false,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.states[slot as usize] = state;
                slot
            }
            None => {
                self.states.push(state);
                u32::try_from(self.states.len() - 1).expect("fewer queues than 32 bits count")
            }
        };
        self.slots.insert(queue, slot);
        self.recent = Some((queue, slot));
        slot as usize
    }

    /// Notes that a message is done. False if it was not live.
    pub(crate) fn acked(&mut self, queue: QueueId, seq: Seq) -> bool {
        let Some(slot) = self.slot(queue) else {
            return false;
        };
        let state = &mut self.states[slot];
        if state.dead.contains(seq.0) || seq.0 > state.last {
            return false;
        }
        state.dead.insert(seq.0, seq.0);
        state.forget_attempts(seq.0, seq.0);
        state.live = state.live.saturating_sub(1);
        self.record(slot, seq.0, seq.0);
        true
    }

    /// Notes that the `count` live messages in `first..=last` are done.
    pub(crate) fn discarded(&mut self, queue: QueueId, first: Seq, last: Seq, count: u64) {
        let Some(slot) = self.slot(queue) else { return };
        let state = &mut self.states[slot];
        state.dead.insert(first.0, last.0);
        state.forget_attempts(first.0, last.0);
        state.live = state.live.saturating_sub(count);
        self.record(slot, first.0, last.0);
    }

    /// Notes that messages up to `up_to` were delivered.
    pub(crate) fn delivered(&mut self, queue: QueueId, up_to: Seq) {
        let Some(slot) = self.slot(queue) else { return };
        if up_to.0 > self.states[slot].delivered {
            self.states[slot].delivered = up_to.0;
            self.redeliver_mark(slot);
        }
    }

    /// Notes what became of the deliveries of a live message.
    pub(crate) fn attempted(&mut self, queue: QueueId, seq: Seq, attempt: Attempt) {
        let Some(slot) = self.slot(queue) else { return };
        let state = &mut self.states[slot];
        if state.dead.contains(seq.0) || seq.0 > state.last {
            return;
        }
        state.attempts.get_or_insert_default().set(seq.0, attempt);
        self.mark_dirty(slot);
    }

    /// Records the attempts of these messages once more, because the records of them may go.
    pub(crate) fn refresh_attempts(&mut self, queue: QueueId, seqs: impl Iterator<Item = Seq>) {
        let Some(slot) = self.slot(queue) else { return };
        if let Some(attempts) = &mut self.states[slot].attempts {
            attempts.refresh(seqs.map(|seq| seq.0));
            self.mark_dirty(slot);
        }
    }

    /// Records the delivered mark of a queue once more, because the record of it may go.
    pub(crate) fn refresh_delivered(&mut self, queue: QueueId) {
        if let Some(slot) = self.slot(queue)
            && self.states[slot].delivered > 0
        {
            self.redeliver_mark(slot);
        }
    }

    fn redeliver_mark(&mut self, slot: usize) {
        if self.recorded {
            self.states[slot].delivered_dirty = true;
            self.mark_dirty(slot);
        }
    }

    fn record(&mut self, slot: usize, first: u64, last: u64) {
        if !self.recorded {
            return;
        }
        let state = &mut self.states[slot];
        state.acked = match (state.acked, state.dead.range_of(first)) {
            (Some((a, b)), Some((from, to))) if from <= a && b <= to => Some((a.min(first), b.max(last))),
            (Some((a, b)), _) => {
                if self.waiting.len() >= MAX_WAITING_RANGES {
                    self.waiting.clear();
                    self.overflowed = true;
                }
                self.waiting.push((state.queue, Seq(a), Seq(b)));
                Some((first, last))
            }
            (None, _) => Some((first, last)),
        };
        self.mark_dirty(slot);
    }

    fn mark_dirty(&mut self, slot: usize) {
        let state = &mut self.states[slot];
        if !state.dirty {
            state.dirty = true;
            self.dirty.push(u32::try_from(slot).expect("fewer queues than 32 bits count"));
        }
    }

    /// Forgets a queue with everything that waits to be recorded of it.
    pub(crate) fn dropped(&mut self, queue: QueueId) {
        let Some(slot) = self.slots.remove(&queue) else {
            return;
        };
        self.recent = None;
        let state = &mut self.states[slot as usize];
        state.dropped = true;
        state.dead = DeadSet::default();
        state.attempts = None;
        if !state.dirty {
            self.free.push(slot);
        }
    }

    /// Forgets queues that have nothing in the log.
    pub(crate) fn sweep(&mut self) {
        self.recent = None;
        let Self { slots, states, free, .. } = self;
        slots.retain(|_, &mut slot| {
            let state = &mut states[slot as usize];
            let keep = state.live > 0 || state.dirty;
            if !keep {
                state.dead = DeadSet::default();
                state.attempts = None;
                free.push(slot);
            }
            keep
        });
    }

    /// True if acks or delivered marks wait to be recorded.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || !self.waiting.is_empty()
    }

    /// Takes at most `max` items that wait to be recorded, first the ranges of acks that did not merge.
    pub(crate) fn take(&mut self, max: usize) -> Unrecorded {
        let mut taken = Unrecorded::default();
        let from = self.waiting.len() - self.waiting.len().min(max);
        taken.acks.extend(self.waiting.drain(from..));
        while taken.len() + 3 <= max {
            let Some(slot) = self.dirty.pop() else { break };
            let state = &mut self.states[slot as usize];
            state.dirty = false;
            if state.dropped {
                self.free.push(slot);
                continue;
            }
            if let Some((first, last)) = state.acked.take() {
                taken.acks.push((state.queue, Seq(first), Seq(last)));
            }
            if std::mem::take(&mut state.delivered_dirty) && state.live > 0 {
                taken.delivered.push((state.queue, Seq(state.delivered)));
            }
            let queue = state.queue;
            let Some(attempts) = &mut state.attempts else { continue };
            while taken.len() < max
                && let Some((seq, count)) = attempts.take()
            {
                taken.attempts.push((queue, Seq(seq), count));
            }
            if attempts.is_dirty() {
                self.mark_dirty(slot as usize);
                break;
            }
        }
        taken
    }

    /// Queues that have live messages.
    pub(crate) fn live(&self) -> impl Iterator<Item = (QueueId, &QueueState)> {
        self.slots.iter().map(|(&queue, &slot)| (queue, &self.states[slot as usize])).filter(|(_, s)| s.live > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: QueueId = QueueId(1);
    const ONCE: Attempt = Attempt { count: 1, ready_ms: 0 };

    fn waiting(queues: &mut Queues) -> Vec<(u64, u64)> {
        queues.take(100).acks.iter().map(|(_, first, last)| (first.0, last.0)).collect()
    }

    #[test]
    fn acks_in_order_become_one_range() {
        let mut queues = Queues::new(true);
        (1..=100).for_each(|seq| queues.appended(QUEUE, Seq(seq)));
        (1..=100).for_each(|seq| assert!(queues.acked(QUEUE, Seq(seq))));
        assert_eq!(waiting(&mut queues), [(1, 100)]);
        assert!(!queues.is_dirty());
    }

    #[test]
    fn acks_merge_over_numbers_that_are_in_another_log() {
        let mut queues = Queues::new(true);
        (1..=9).step_by(2).for_each(|seq| queues.appended(QUEUE, Seq(seq)));
        (1..=9).step_by(2).for_each(|seq| assert!(queues.acked(QUEUE, Seq(seq))));
        assert_eq!(waiting(&mut queues), [(1, 9)]);
    }

    #[test]
    fn attempts_are_recorded_once_and_go_with_their_message() {
        let mut queues = Queues::new(true);
        (1..=9).for_each(|seq| queues.appended(QUEUE, Seq(seq)));
        (1..=9).for_each(|seq| queues.attempted(QUEUE, Seq(seq), ONCE));
        queues.attempted(QUEUE, Seq(10), ONCE);
        queues.acked(QUEUE, Seq(3));
        queues.discarded(QUEUE, Seq(5), Seq(6), 2);
        let mut taken = Vec::new();
        while queues.is_dirty() {
            taken.extend(queues.take(4).attempts.iter().map(|(_, seq, count)| (seq.0, count.count)));
        }
        taken.sort_unstable();
        assert_eq!(taken, [1, 2, 4, 7, 8, 9].map(|seq| (seq, 1)));
        queues.refresh_attempts(QUEUE, [Seq(2), Seq(3)].into_iter());
        assert_eq!(queues.take(100).attempts, [(QUEUE, Seq(2), ONCE)]);
    }

    #[test]
    fn an_ack_counts_once_and_only_for_what_was_appended() {
        let mut queues = Queues::new(true);
        queues.appended(QUEUE, Seq(1));
        assert!(!queues.acked(QUEUE, Seq(2)));
        assert!(queues.acked(QUEUE, Seq(1)));
        assert!(!queues.acked(QUEUE, Seq(1)));
    }

    #[test]
    fn a_dropped_queue_records_nothing_and_its_slot_is_used_again() {
        let mut queues = Queues::new(true);
        queues.appended(QUEUE, Seq(1));
        queues.acked(QUEUE, Seq(1));
        queues.dropped(QUEUE);
        queues.appended(QueueId(2), Seq(1));
        assert!(waiting(&mut queues).is_empty());
        queues.appended(QueueId(3), Seq(1));
        assert_eq!(queues.states.len(), 2);
    }
}

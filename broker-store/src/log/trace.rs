//! What the files of a log say about one queue.

use std::collections::BTreeMap;

use super::Run;
use crate::attempts::Attempt;
use crate::dead::DeadSet;
use crate::ids::{QueueId, Seq};
use crate::segment::format::len32;
use crate::segment::index::IndexView;

/// A queue as it was found.
#[derive(Debug, PartialEq, Eq)]
pub struct RecoveredQueue {
    /// The queue.
    pub queue: QueueId,
    /// Its messages, oldest first.
    pub runs: Vec<Run>,
    /// The number that its next message may have.
    pub next_seq: Seq,
    /// Messages up to here had been delivered.
    pub delivered_up_to: Seq,
    /// What became of the deliveries of messages that came back, ascending by number.
    pub attempts: Vec<(Seq, Attempt)>,
    /// How many messages there are.
    pub messages: u64,
    /// Sum of the lengths of their records, in bytes.
    pub bytes: u64,
    /// Sum of the lengths of their bodies, in bytes.
    pub body_bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct QueueTrace {
    pub(super) dead: DeadSet,
    pub(super) delivered: u64,
    /// Largest number seen anywhere.
    pub(super) last: u64,
    pub(super) runs: Vec<Run>,
    pub(super) attempts: BTreeMap<u64, Attempt>,
    /// Sum of the lengths of the bodies in the runs.
    pub(super) body_bytes: u64,
}

impl QueueTrace {
    /// Notes how often a message was delivered: counts only grow, and the last time counts.
    pub(super) fn attempted(&mut self, seq: u64, attempt: Attempt) {
        let known = self.attempts.entry(seq).or_default();
        *known = attempt.max(*known);
    }

    /// Forgets the attempts of messages that are dead.
    pub(super) fn keep_live_attempts(&mut self) {
        let runs = &self.runs;
        let dead = &self.dead;
        self.attempts.retain(|seq, _| {
            let after = runs.partition_point(|run| run.last.0 < *seq);
            let there = runs.get(after).is_some_and(|run| run.first.0 <= *seq);
            there && !dead.contains(*seq)
        });
    }

    /// Adds a run. False if some of its messages are in an older segment too: it was being rewritten when the log
    /// ended, still has all that was live in it, and so its copies count for nothing.
    pub(super) fn add(&mut self, queue: QueueId, (run, body_bytes): (Run, u64), view: &IndexView<'_>) -> bool {
        if self.runs.last().is_none_or(|last| last.last < run.first) {
            self.runs.push(run);
            self.body_bytes += body_bytes;
            return true;
        }
        let mut whole = true;
        let mut first = run.first;
        let older: Vec<Run> =
            self.runs.iter().filter(|old| old.last >= run.first && old.first <= run.last).copied().collect();
        let mut pieces = Vec::new();
        for old in &older {
            whole = false;
            if old.first > first {
                pieces.push((first, Seq(old.first.0 - 1)));
            }
            first = first.max(Seq(old.last.0 + 1));
        }
        if first <= run.last {
            pieces.push((first, run.last));
        }
        for range in pieces {
            let mut entries = Vec::new();
            view.load(queue, range, Some(&self.dead), usize::MAX - 1, &mut entries);
            let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
                continue;
            };
            let bytes = entries.iter().map(|entry| u64::from(entry.position.length)).sum();
            self.body_bytes += entries.iter().map(|entry| u64::from(entry.body)).sum::<u64>();
            let piece =
                Run { segment: run.segment, first: first.seq, last: last.seq, count: len32(entries.len()), bytes };
            let at = self.runs.partition_point(|old| old.first < piece.first);
            self.runs.insert(at, piece);
        }
        whole
    }

    /// Everything that is in no run, or acked in one.
    pub(super) fn all_dead(&self) -> DeadSet {
        let mut dead = self.dead.clone();
        let mut next = 1;
        for run in &self.runs {
            dead.insert(next, run.first.0 - 1);
            next = run.last.0 + 1;
        }
        dead.insert(next, self.last);
        dead
    }

    pub(super) fn finish(self, queue: QueueId) -> RecoveredQueue {
        RecoveredQueue {
            queue,
            next_seq: Seq(self.last + 1),
            delivered_up_to: Seq(self.delivered),
            messages: self.runs.iter().map(|run| u64::from(run.count)).sum(),
            attempts: self.attempts.iter().map(|(&seq, &attempt)| (Seq(seq), attempt)).collect(),
            body_bytes: self.body_bytes,
            bytes: self.runs.iter().map(|run| run.bytes).sum(),
            runs: self.runs,
        }
    }
}

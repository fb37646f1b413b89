//! What the logs have of a queue: what was recovered, what moves in them, what leaves them without being delivered.

use broker_store::{LogKind, QueueId, RecoveredQueue, SegmentId};

use super::Queue;
use super::backlog::Entry;
use super::lane::{self, Lane};
use super::logs::Logs;
use crate::ids::QueueRef;

impl Queue {
    /// A queue as its lanes were recovered from the durable log at `now_ms`.
    #[must_use]
    pub fn recovered(at: QueueRef, lanes: Vec<RecoveredQueue>, now_ms: u64) -> Self {
        let mut queue = Self::new(at);
        for found in lanes {
            for &(seq, attempt) in &found.attempts {
                let retry = queue.special.get_or_insert_default().retry.get_or_insert_default();
                retry.recovered(lane::level_of(found.queue), seq.0, attempt.count);
            }
            queue.bytes.recovered(found.body_bytes);
            let lane = Lane::recovered(found, now_ms);
            match lane.level() {
                0 => queue.lane = lane,
                level => *queue.special.get_or_insert_default().lane(at.queue, level) = lane,
            }
        }
        // Nobody knows of recovered messages whether they expire until they are read.
        queue.may_expire = !queue.is_empty();
        queue
    }

    /// Takes in a message that recovery found to wait until `ready_ms` before it is delivered again; it is in no run of its lane.
    pub fn recovered_waiting(&mut self, lane: QueueId, found: &broker_store::Entry, ready_ms: u64) {
        let level = lane::level_of(lane);
        let entry = Entry::new(found.seq, found.position, found.body, LogKind::Durable, level).again();
        self.special.get_or_insert_default().retry.get_or_insert_default().wait_until(ready_ms, entry);
        self.may_expire = true;
    }

    /// Drops all ready messages (`queue.purge`). Returns how many there were.
    pub fn purge(&mut self, logs: &mut Logs) -> u64 {
        let mut count = self.lane.purge(logs) + self.purge_returned(logs);
        if let Some(special) = &mut self.special {
            count += special.lanes.iter_mut().map(|lane| lane.purge(logs)).sum::<u64>();
        }
        self.bytes.none_ready();
        count
    }

    /// The queue is deleted: all its messages, ready or not, leave the logs.
    pub fn drop_messages(&mut self, logs: &mut Logs) {
        self.purge(logs);
        for held in self.unacked.take_all() {
            self.ack(logs, held);
        }
        if let Some(mut special) = self.special.take() {
            let dead = special.dead.drain(..).chain(special.leaving.drain());
            dead.for_each(|dead| self.ack(logs, dead.entry));
            special.moving.drain().for_each(|moving| self.ack(logs, moving));
            special.lanes.iter().for_each(|lane| logs.durable.drop_queue(lane.id));
        }
        logs.durable.drop_queue(self.at.queue);
    }

    /// A segment of a log is sealed: what need not be in memory is left to its index.
    pub fn segment_sealed(&mut self, log: LogKind, segment: SegmentId) {
        self.lane.segment_sealed(log, segment);
        if let Some(special) = &mut self.special {
            special.lanes.iter_mut().for_each(|lane| lane.segment_sealed(log, segment));
        }
    }

    /// Records of a rewritten segment have moved; `moved` has every live message of this lane of the queue in it, ascending.
    pub fn relocate(&mut self, log: LogKind, segment: SegmentId, lane: QueueId, moved: &[broker_store::Entry]) {
        let level = lane::level_of(lane);
        self.lane_mut(level).ready.relocate((log, level), segment, moved);
        let special = self.special.iter_mut().flat_map(|special| {
            let leaving = special.leaving.iter_mut().map(|(_, dead)| dead);
            let returned = special.retry.iter_mut().flat_map(|retry| retry.entries_mut());
            let moving = special.moving.iter_mut().map(|(_, moving)| moving);
            special.dead.iter_mut().chain(leaving).map(|dead| &mut dead.entry).chain(returned).chain(moving)
        });
        for entry in self.unacked.entries_mut().chain(special) {
            if (entry.log(), entry.lane) == (log, level)
                && entry.position.segment == segment
                && let Ok(at) = moved.binary_search_by_key(&entry.seq, |moved| moved.seq)
            {
                entry.move_to(&moved[at]);
            }
        }
    }
}

//! When queues want to be looked at without any other reason: a message expires, the queue itself does, a dead letter is to be tried again.
//!
//! Each queue is here at most once. A queue that is looked at too early says when it wants to be looked at again, so an entry is replaced
//! only by an earlier one.

use std::collections::BTreeSet;

use crate::ids::QueueId;
use crate::session::Sessions;

use super::Shard;

/// A queue is looked at this much later than it wants, at most, in milliseconds.
const LONGEST_NAP_MS: u64 = 50;

/// What is far away is looked at this often, in milliseconds: the clock may be set meanwhile.
const LONGEST_WAIT_MS: u64 = 60_000;

/// The logs are ticked this often, in milliseconds.
const LOG_TICK_MS: u64 = 5;

/// Queues that are looked at in one tick.
const MAX_PER_TICK: usize = 1024;

/// No time at all.
pub(super) const NEVER: u64 = u64::MAX;

/// The queues that wait, by time.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeSet<(u64, QueueId)>,
}

impl Shard {
    /// The queue in this slot is to be pumped at `due_ms`, or before.
    pub(super) fn arm(&mut self, slot: u32, due_ms: u64) {
        let hosted = &mut self.queues[slot as usize];
        if hosted.armed_ms <= due_ms {
            return;
        }
        self.timers.due.remove(&(hosted.armed_ms, hosted.id));
        hosted.armed_ms = due_ms;
        self.timers.due.insert((due_ms, hosted.id));
    }

    /// The queue in this slot is going.
    pub(super) fn disarm(&mut self, slot: u32) {
        let hosted = &mut self.queues[slot as usize];
        self.timers.due.remove(&(hosted.armed_ms, hosted.id));
        hosted.armed_ms = NEVER;
    }

    /// In how many milliseconds [`tick`](Self::tick) is to be called, if at all.
    pub(super) fn next_tick_ms(&self) -> Option<u64> {
        let queue =
            self.timers.due.first().map(|(due, _)| due.saturating_sub(self.now_ms).clamp(1, LONGEST_NAP_MS));
        let held_back =
            self.held_back.next_wake_ms().map(|due| due.saturating_sub(self.now_ms).clamp(1, LONGEST_WAIT_MS));
        let logs = self.wants_log_tick().then_some(LOG_TICK_MS);
        let streams = self.streams.next_tick_ms(self.now_ms);
        queue.into_iter().chain(held_back).chain(logs).chain(streams).min()
    }

    /// Pumps the queues whose time has come.
    pub(super) fn fire_timers(&mut self, sessions: &mut impl Sessions) {
        for _ in 0..MAX_PER_TICK {
            let Some(&(due_ms, queue)) = self.timers.due.first() else {
                return;
            };
            if due_ms > self.now_ms {
                return;
            }
            self.timers.due.pop_first();
            let Some(&slot) = self.slots.get(&queue) else {
                continue;
            };
            let hosted = &mut self.queues[slot as usize];
            hosted.armed_ms = NEVER;
            if hosted.machine.is_expired(self.now_ms) && !hosted.closing {
                self.begin_delete(sessions, slot, None);
            } else {
                self.pump(sessions, slot);
            }
        }
    }
}

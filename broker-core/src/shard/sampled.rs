//! Whether a queue has done anything since administrators' tools looked at its numbers before. The queue itself tells nothing: its numbers
//! are compared when somebody looks.

use std::cell::Cell;

use crate::admin::QueueSample;

/// What the look before has found of a queue.
#[derive(Debug, Default)]
pub(super) struct Sampled {
    /// That of an empty queue that has done nothing is 0.
    fingerprint: Cell<u64>,
    /// When a look has found it changed last, in milliseconds since the Unix epoch; 0 before the first look.
    changed_ms: Cell<u64>,
}

impl Sampled {
    /// Looks: has it changed since the look before?
    pub(super) fn look(&self, sample: &QueueSample, now_ms: u64) -> bool {
        let changed = self.fingerprint.replace(sample.fingerprint()) != sample.fingerprint();
        if changed || self.changed_ms.get() == 0 {
            self.changed_ms.set(now_ms);
        }
        changed
    }

    /// Since when it has not changed; none if it has since the last look.
    pub(super) fn idle_since_ms(&self, sample: &QueueSample) -> Option<u64> {
        let same = self.fingerprint.get() == sample.fingerprint();
        Some(self.changed_ms.get()).filter(|changed_ms| same && *changed_ms > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::QueueCounters;
    use crate::ids::QueueId;

    #[test]
    fn a_queue_is_idle_from_the_last_look_that_found_it_changed() {
        let sample = |publish| QueueSample {
            queue: QueueId(1),
            counters: QueueCounters { publish, ..QueueCounters::default() },
            messages_ready: publish,
            messages_unacknowledged: 0,
        };
        let sampled = Sampled::default();
        assert_eq!(sampled.idle_since_ms(&sample(0)), None, "nobody has looked");
        assert!(!sampled.look(&sample(0), 1000));
        assert_eq!(sampled.idle_since_ms(&sample(0)), Some(1000));
        assert_eq!(sampled.idle_since_ms(&sample(1)), None, "it has changed since");
        assert!(sampled.look(&sample(1), 2000));
        assert!(!sampled.look(&sample(1), 3000));
        assert_eq!(sampled.idle_since_ms(&sample(1)), Some(2000));
    }
}

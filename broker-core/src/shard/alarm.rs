//! Resource alarms: too little memory or disk space is left, so publishers are blocked on every shard.

use super::Shard;
use super::registrar::REGISTRAR;
use crate::session::Sessions;

/// Which alarms are set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alarms {
    /// More memory is in use than `vm_memory_high_watermark`.
    pub memory: bool,
    /// Less disk space is free than `disk_free_limit`.
    pub disk: bool,
}

impl Alarms {
    /// What publishers are told, in RabbitMQ's words.
    pub(super) fn reason(self) -> Option<&'static str> {
        match (self.memory, self.disk) {
            (false, false) => None,
            (true, false) => Some("low on memory"),
            (false, true) => Some("low on disk"),
            (true, true) => Some("low on disk & memory"),
        }
    }
}

impl Shard {
    /// Sets and clears alarms.
    pub(super) fn set_alarms(&mut self, sessions: &mut impl Sessions, alarms: Alarms) {
        let before = self.blocked();
        self.alarms = alarms;
        // The numbers of all shards are added up.
        let counts = self.id == REGISTRAR;
        self.stats.memory_alarm = u64::from(alarms.memory && counts);
        self.stats.disk_alarm = u64::from(alarms.disk && counts);
        if self.blocked() != before {
            sessions.blocked(self.blocked());
        }
    }

    /// The reason for which publishers are blocked, if they are (`connection.blocked`). A partition whose log finds no room
    /// counts as a disk alarm.
    #[must_use]
    pub fn blocked(&self) -> Option<&'static str> {
        Alarms { disk: self.alarms.disk || !self.disk_full.is_empty(), ..self.alarms }.reason()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_rabbitmqs() {
        let reason = |memory, disk| Alarms { memory, disk }.reason();
        assert_eq!(reason(false, false), None);
        assert_eq!(reason(true, false), Some("low on memory"));
        assert_eq!(reason(false, true), Some("low on disk"));
        assert_eq!(reason(true, true), Some("low on disk & memory"));
    }
}

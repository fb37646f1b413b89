//! The bytes of the bodies in a queue: counted as messages come, go out and are settled, so that nobody has to add them up.

use broker_store::LogKind;

use super::backlog::Entry;

/// Sums of lengths of bodies, by log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    ready: [u64; 2],
    unacked: [u64; 2],
}

fn at(entry: Entry) -> usize {
    usize::from(entry.log() == LogKind::Volatile)
}

impl Bytes {
    /// Bytes of ready messages.
    #[must_use]
    pub fn ready(&self) -> u64 {
        self.ready[0] + self.ready[1]
    }

    /// Bytes of unacknowledged messages.
    #[must_use]
    pub fn unacked(&self) -> u64 {
        self.unacked[0] + self.unacked[1]
    }

    /// Bytes of both that survive a restart.
    #[must_use]
    pub fn persistent(&self) -> u64 {
        self.ready[0] + self.unacked[0]
    }

    /// So many bytes are ready in the durable log (recovery).
    pub(super) fn recovered(&mut self, bytes: u64) {
        self.ready[0] += bytes;
    }

    /// A message has become ready.
    pub(super) fn came(&mut self, entry: Entry) {
        self.ready[at(entry)] += entry.body_bytes();
    }

    /// A message is ready no more.
    pub(super) fn went(&mut self, entry: Entry) {
        let ready = &mut self.ready[at(entry)];
        *ready = ready.saturating_sub(entry.body_bytes());
    }

    /// Nothing is ready.
    pub(super) fn none_ready(&mut self) {
        self.ready = [0; 2];
    }

    /// A message is unacknowledged.
    pub(super) fn held(&mut self, entry: Entry) {
        self.unacked[at(entry)] += entry.body_bytes();
    }

    /// A message is unacknowledged no more.
    pub(super) fn settled(&mut self, entry: Entry) {
        let unacked = &mut self.unacked[at(entry)];
        *unacked = unacked.saturating_sub(entry.body_bytes());
    }
}

//! What a log promises, and its sizes.

/// What a log promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    /// Everything is written and synced; it survives a crash.
    Durable,
    /// Written only for want of memory, never synced; empty after a restart.
    Volatile,
}

/// Sizes of a log. The defaults are those of the broker; tests use small ones.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Durable or volatile.
    pub kind: LogKind,
    /// Length of a segment file, in bytes. Default 64 MiB, minimum 4 KiB.
    pub segment_bytes: u32,
    /// Memory for the newest records, in bytes. Default 8 MiB. The log may exceed it by what is on its way to the disk.
    pub window_bytes: usize,
    /// Messages (one per queue) and ack ranges after which a segment is sealed though it has room: bounds the memory for
    /// its index. Default 262 144.
    pub max_segment_records: u32,
    /// Length of the body in a payload, in bytes: of a record that is read. Of one that is appended it is the last part. Default: all
    /// of the payload.
    pub body_of: fn(&[u8]) -> u32,
}

impl LogOptions {
    /// The default sizes.
    #[must_use]
    pub fn new(kind: LogKind) -> Self {
        Self { kind, segment_bytes: 64 << 20, window_bytes: 8 << 20, max_segment_records: 262_144, body_of: whole }
    }

    /// Bytes at the end of a segment that only acks may use.
    pub(super) fn reserve(&self) -> u32 {
        match self.kind {
            LogKind::Durable => self.segment_bytes / 64,
            LogKind::Volatile => 0,
        }
    }
}

/// A payload that is nothing but body.
fn whole(payload: &[u8]) -> u32 {
    u32::try_from(payload.len()).unwrap_or(u32::MAX)
}

//! What a log tells its owner.

use super::Entry;
use crate::error::StoreError;
use crate::ids::{Lsn, QueueId, SegmentId};

/// What happened in the log.
#[derive(Debug)]
pub enum LogEvent {
    /// Every record up to this one is on disk.
    Durable(Lsn),
    /// The segment has an index: its messages may be kept as a [`Run`](super::Run) from now on.
    Sealed(SegmentId),
    /// Something that was asked for with [`Log::page_in`](super::Log::page_in) or [`Log::load`](super::Log::load) has come: try again.
    PagedIn(SegmentId),
    /// These live messages of the queue have left segment `from`, whose positions and runs end now. Ascending.
    Moved {
        /// The queue.
        queue: QueueId,
        /// The segment that they were in.
        from: SegmentId,
        /// Where each is now.
        entries: Vec<Entry>,
    },
    /// The disk is full (appends will soon fail), or no longer.
    NoSpace(bool),
    /// A write or sync failed: nothing is accepted any more.
    Poisoned(StoreError),
    /// Something failed that will be tried again, or a message that cannot be read: for the operator.
    Failed(StoreError),
}

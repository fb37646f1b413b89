//! The account of one segment: what is live in it, how far it is written, what of it is in memory.

use std::path::Path;
use std::sync::Arc;

use super::paging::Paged;
use crate::ids::SegmentId;
use crate::map::Mapping;
use crate::segment::format::SEGMENT_HEADER;
use crate::segment::index::IndexBuilder;

/// Where a segment's records start.
pub(super) const FIRST_OFFSET: u32 = 32;
const _: () = assert!(FIRST_OFFSET as usize == SEGMENT_HEADER);

/// How far a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Active,
    /// Full; batches or the index are still to be written.
    Sealing,
    /// Has an index.
    Sealed,
    /// Full and fully written, without an index: nothing in it was worth one.
    Bare,
}

/// What is known of a segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) state: State,
    /// Live messages, one per queue.
    pub(super) live: u32,
    /// Sum of the record lengths over live messages.
    pub(super) live_bytes: u64,
    /// The same over all messages.
    pub(super) total_bytes: u64,
    /// Bytes used from the start.
    pub(super) used: u32,
    /// Bytes that the file is known to hold.
    pub(super) written: u32,
    /// Length of the file.
    pub(super) file_bytes: u64,
    /// Written since the last sync.
    pub(super) unsynced: bool,
    /// Damaged, so it cannot be rewritten record by record.
    pub(super) damaged: bool,
    pub(super) data: Paged,
    pub(super) index: Option<Mapping>,
    pub(super) index_requested: bool,
    pub(super) builder: Option<Box<IndexBuilder>>,
}

impl Segment {
    pub(super) fn new(file_bytes: u64) -> Self {
        Self {
            state: State::Active,
            live: 0,
            live_bytes: 0,
            total_bytes: 0,
            used: 0,
            written: 0,
            file_bytes,
            unsynced: false,
            damaged: false,
            data: Paged::default(),
            index: None,
            index_requested: false,
            builder: None,
        }
    }

    /// Bytes of the segment that live messages need, estimated: a record of many queues counts by the share that is live.
    pub(super) fn needed_bytes(&self) -> u64 {
        (u64::from(self.used) * self.live_bytes).checked_div(self.total_bytes).unwrap_or(0)
    }
}

/// Name of a segment's file.
pub(super) fn segment_path(dir: &Path, id: SegmentId) -> Arc<Path> {
    dir.join(format!("{:010}.segment", id.0)).into()
}

/// Name of the file with a segment's index.
pub(super) fn index_path(dir: &Path, id: SegmentId) -> Arc<Path> {
    dir.join(format!("{:010}.index", id.0)).into()
}

//! What the log asks of the disk and what it makes of the answers.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::batch::Batch;
use super::{FIRST_OFFSET, Log, LogEvent, LogKind, State, index_path, segment_path};
use crate::error::StoreError;
use crate::ids::SegmentId;
use crate::map::Mapping;
use crate::segment::index::IndexBuilder;

/// An operation that the log asks for. Give it to [`perform()`](super::perform()).
#[derive(Debug)]
pub struct IoOp(pub(super) Op);

impl IoOp {
    /// True if the operation writes a batch of records: what is appended from now on belongs to a later one.
    #[must_use]
    pub fn is_append(&self) -> bool {
        matches!(self.0, Op::Append { .. })
    }
}

/// The outcome of an operation. Give it to [`Log::handle_io`].
#[derive(Debug)]
pub struct IoDone(pub(super) Done);

/// A batch of records that was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Records, those of acks included.
    pub records: u64,
    /// Bytes.
    pub bytes: u64,
    /// It was synced.
    pub synced: bool,
    /// What the write took, in microseconds.
    pub write_us: u64,
    /// What the sync took, in microseconds.
    pub sync_us: u64,
}

impl IoDone {
    /// What was written, if the operation was one that appends and has not failed.
    #[must_use]
    pub fn written(&self) -> Option<Written> {
        match &self.0 {
            Done::Append { batch, written, took, result: Ok(()) } => Some(Written {
                records: batch.records,
                bytes: *written as u64,
                synced: batch.sync,
                write_us: took.write_us,
                sync_us: took.sync_us,
            }),
            _ => None,
        }
    }
}

/// How long the parts of an append took, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Took {
    pub(super) write_us: u64,
    pub(super) sync_us: u64,
}

#[derive(Debug)]
pub(super) enum Op {
    /// Writes a batch, and syncs the file if asked.
    Append { path: Arc<Path>, batch: Batch },
    /// Makes a segment file of full length, from a dead one or new.
    Prepare { segment: SegmentId, path: Arc<Path>, from: Option<Dead>, length: u32 },
    /// Writes the index of a full segment.
    Seal { segment: SegmentId, path: Arc<Path>, builder: Box<IndexBuilder>, sync: bool },
    /// Writes a chunk of the volatile log.
    Spill { segment: SegmentId, path: Arc<Path>, offset: u32, bytes: Vec<u8>, length: u32 },
    /// Brings part of a segment into memory.
    PageIn { segment: SegmentId, path: Arc<Path>, mapping: Option<Mapping>, blocks: Range<usize>, written: u32 },
    /// Brings an index into memory and checks it.
    PageInIndex { segment: SegmentId, path: Arc<Path>, data: Arc<Path>, body_of: fn(&[u8]) -> u32 },
    /// Removes a segment.
    Remove { dead: Dead, sync: bool },
    /// Replaces the checkpoint.
    Checkpoint { path: Arc<Path>, bytes: Vec<u8>, covers: SegmentId },
}

/// The files of a segment that goes.
#[derive(Debug)]
pub(super) struct Dead {
    pub(super) data: Arc<Path>,
    pub(super) index: Arc<Path>,
}

#[derive(Debug)]
pub(super) enum Done {
    Append { batch: Batch, written: usize, took: Took, result: Result<(), StoreError> },
    Prepare { segment: SegmentId, recycled: bool, result: Result<(), StoreError> },
    Seal { segment: SegmentId, builder: Box<IndexBuilder>, result: Result<(), StoreError> },
    Spill { segment: SegmentId, offset: u32, end: u32, result: Result<(), StoreError> },
    PageIn { segment: SegmentId, blocks: Range<usize>, written: u32, result: Result<Mapping, StoreError> },
    PageInIndex { segment: SegmentId, result: Result<Mapping, StoreError> },
    Remove { result: Result<(), StoreError> },
    Checkpoint { covers: SegmentId, result: Result<(), StoreError> },
}

impl Log {
    /// The next operation to carry out. Several may be in flight.
    pub fn poll_io(&mut self) -> Option<IoOp> {
        if self.poisoned {
            return self.poll_page_in().map(IoOp);
        }
        self.advance_rewrite();
        let op = match self.options.kind {
            LogKind::Durable => {
                self.poll_append().or_else(|| self.poll_prepare()).or_else(|| self.poll_checkpoint())
            }
            LogKind::Volatile => self.poll_spill(),
        };
        op.or_else(|| self.poll_page_in()).or_else(|| self.poll_seal()).or_else(|| self.poll_remove()).map(IoOp)
    }

    fn poll_append(&mut self) -> Option<Op> {
        if self.writing.is_some() {
            return None;
        }
        let batch = self.next_batch()?;
        self.writing = Some(batch.bytes.len());
        Some(Op::Append { path: segment_path(&self.dir, batch.segment), batch })
    }

    fn poll_prepare(&mut self) -> Option<Op> {
        if self.preparing || !self.ready.is_empty() || !self.may_retry() {
            return None;
        }
        let from = if self.reclaim_in_flight { None } else { self.take_dead(true) };
        if from.is_none() && self.may_become_dead() {
            return None;
        }
        self.preparing = true;
        self.reclaim_in_flight |= from.is_some();
        let segment = self.take_segment_id();
        let path = segment_path(&self.dir, segment);
        Some(Op::Prepare { segment, path, from, length: self.options.segment_bytes })
    }

    /// True early in the active segment: the one before it is probably dead soon and can be used again, which saves
    /// zeroing a new one.
    fn may_become_dead(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.zeroed && !self.is_filled(active, 1))
    }

    fn poll_seal(&mut self) -> Option<Op> {
        if self.seal_in_flight || !self.may_retry() {
            return None;
        }
        let segment = self.sealing.pop_front()?;
        let mut builder = self.segments.get_mut(&segment)?.builder.take()?;
        self.seal_in_flight = true;
        let sync = self.options.kind == LogKind::Durable;
        if sync {
            builder.synced = self.durable;
        }
        Some(Op::Seal { segment, path: index_path(&self.dir, segment), builder, sync })
    }

    fn poll_spill(&mut self) -> Option<Op> {
        if self.spill_in_flight || self.window.resident() <= self.options.window_bytes || !self.may_retry() {
            return None;
        }
        let chunk = self.window.next_spill()?;
        chunk.spilling = true;
        self.spill_in_flight = true;
        let (segment, offset, bytes) = (chunk.segment, chunk.start, chunk.bytes.clone());
        // A record that ends beyond the usual length makes the file longer.
        let length = self.options.segment_bytes.max(chunk.end());
        let path = segment_path(&self.dir, segment);
        Some(Op::Spill { segment, path, offset, bytes, length })
    }

    fn poll_remove(&mut self) -> Option<Op> {
        if self.reclaim_in_flight || !self.may_retry() {
            return None;
        }
        let dead = match self.options.kind {
            LogKind::Durable => self.take_dead(false)?,
            LogKind::Volatile => self.take_dead_volatile()?,
        };
        self.reclaim_in_flight = true;
        Some(Op::Remove { dead, sync: self.options.kind == LogKind::Durable })
    }

    /// Takes the outcome of an operation.
    pub fn handle_io(&mut self, done: IoDone) {
        match done.0 {
            Done::Append { batch, written, result, .. } => self.appended(&batch, written, result),
            Done::Prepare { segment, recycled, result } => self.prepared(segment, recycled, result),
            Done::Seal { segment, builder, result } => self.sealed(segment, builder, result),
            Done::Spill { segment, offset, end, result } => self.spilled(segment, offset, end, result),
            Done::PageIn { segment, blocks, written, result } => self.paged_in(segment, blocks, written, result),
            Done::PageInIndex { segment, result } => self.index_paged_in(segment, result),
            Done::Remove { result } => self.removed(result),
            Done::Checkpoint { covers, result } => self.checkpointed(covers, result),
        }
    }

    /// Says that something failed which is tried again.
    fn report(&mut self, result: Result<(), StoreError>) {
        if let Err(error) = result {
            self.events.push_back(LogEvent::Failed(error));
        }
    }

    fn appended(&mut self, batch: &Batch, written: usize, result: Result<(), StoreError>) {
        self.writing = None;
        if let Err(error) = result {
            self.poison(error);
            return;
        }
        self.figures.written_bytes += written as u64;
        let end = batch.start.saturating_add(u32::try_from(written).unwrap_or(u32::MAX));
        if let Some(segment) = self.segments.get_mut(&batch.segment) {
            segment.written = segment.written.max(end);
            segment.unsynced = !batch.sync;
        }
        if batch.sync {
            self.figures.syncs += 1;
            self.durable = batch.last_lsn;
            self.events.push_back(LogEvent::Durable(self.durable));
        }
        if batch.last {
            self.seal(batch.segment);
        }
        self.trim_window();
    }

    pub(super) fn poison(&mut self, error: StoreError) {
        self.poisoned = true;
        self.batches.clear();
        self.events.push_back(LogEvent::Poisoned(error));
    }

    fn prepared(&mut self, segment: SegmentId, recycled: bool, result: Result<(), StoreError>) {
        self.preparing = false;
        if let Err(error) = result {
            if recycled {
                self.removed(Err(error));
                return;
            }
            self.set_no_space(error.is_no_space() || self.no_space);
            self.report(Err(error));
            self.retry_later();
            return;
        }
        self.ready.push_back(segment);
        self.set_no_space(false);
        self.use_zeroed();
        if recycled {
            self.removed(Ok(()));
        }
    }

    /// If nothing was appended yet to a segment that was not zeroed, the one just prepared takes its place.
    fn use_zeroed(&mut self) {
        let unused = match &self.active {
            None => true,
            Some(active) => active.offset == FIRST_OFFSET && !active.zeroed,
        };
        if !unused || self.ready.is_empty() {
            return;
        }
        if let Some(active) = self.active.take() {
            self.segments.entry(active.id).and_modify(|segment| segment.state = State::Bare);
            self.dead.push(active.id);
        }
        let id = self.ready.pop_front().expect("a segment is ready");
        self.start_active(id, true);
    }

    fn sealed(&mut self, id: SegmentId, builder: Box<IndexBuilder>, result: Result<(), StoreError>) {
        self.seal_in_flight = false;
        let Some(segment) = self.segments.get_mut(&id) else {
            return;
        };
        if let Err(error) = result {
            segment.builder = Some(builder);
            self.sealing.push_front(id);
            self.report(Err(error));
            self.retry_later();
            return;
        }
        segment.state = State::Sealed;
        if segment.live == 0 {
            self.dead.push(id);
        } else {
            self.events.push_back(LogEvent::Sealed(id));
        }
        self.start_rewrite();
    }

    fn spilled(&mut self, id: SegmentId, offset: u32, end: u32, result: Result<(), StoreError>) {
        self.spill_in_flight = false;
        self.window.spilled(id, offset, result.is_ok());
        match result {
            Ok(()) => {
                self.figures.written_bytes += u64::from(end - offset);
                if let Some(segment) = self.segments.get_mut(&id) {
                    segment.written = segment.written.max(end);
                    segment.file_bytes = segment.file_bytes.max(u64::from(end));
                } else {
                    // The segment died meanwhile: its file goes too.
                    self.orphans.push(id);
                }
                self.set_no_space(false);
            }
            Err(error) => {
                self.set_no_space(true);
                self.report(Err(error));
                self.retry_later();
            }
        }
    }

    /// Gives up the oldest chunks that the disk has, down to the size of the window.
    pub(super) fn trim_window(&mut self) {
        if self.options.kind == LogKind::Volatile {
            return;
        }
        while self.window.resident() > self.options.window_bytes {
            let Some(chunk) = self.window.oldest() else { break };
            let written = self.segments.get(&chunk.segment).map_or(u32::MAX, |segment| segment.written);
            if chunk.end() > written {
                break;
            }
            self.window.evict_oldest();
        }
    }
}

//! From records to batches: one write and one sync for everything that was staged meanwhile.
//!
//! A batch lies in one segment and opens with a mark that says up to which LSN everything was synced when the batch
//! was written. Recovery tells by it a torn tail from damage.

use super::{Active, FIRST_OFFSET, Log, LogKind, Segment, State};
use crate::error::StoreError;
use crate::ids::{Lsn, SegmentId};
use crate::queues::Unrecorded;
use crate::segment::format::{
    self, ACK_RANGE, BATCH_MARK, Kind, MAX_TARGETS, RECORD_HEADER, SEGMENT_HEADER, aligned, len32,
};
use crate::segment::index::IndexBuilder;

/// Acks and marks in one record.
const MAX_ACK_ITEMS: usize = 16_384;

/// The batch that is being filled, for the active segment.
#[derive(Debug, Default)]
pub(super) struct Staging {
    pub(super) bytes: Vec<u8>,
    /// Offset of the first byte in the segment.
    start: u32,
    /// Offset of the batch mark in `bytes`.
    mark: usize,
    /// The LSN of the batch mark.
    mark_lsn: Lsn,
    /// Holds messages, so it must be synced.
    pub(super) sync: bool,
    /// Length of the last batch: the next one is probably like it.
    usual_bytes: usize,
}

/// A batch that waits to be written.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) segment: SegmentId,
    pub(super) start: u32,
    pub(super) bytes: Vec<u8>,
    mark: usize,
    /// Records behind the batch mark.
    pub(super) records: u64,
    pub(super) last_lsn: Lsn,
    pub(super) sync: bool,
    /// The last one of its segment.
    pub(super) last: bool,
}

impl Log {
    /// Makes the active segment one that takes a record of `length` bytes.
    pub(super) fn make_room(&mut self, length: usize, targets: usize) -> Result<(), StoreError> {
        if self.poisoned {
            return Err(StoreError::Poisoned);
        }
        if self.takes(length) {
            return Ok(());
        }
        let most = (self.options.segment_bytes - self.options.reserve()) as usize;
        if targets > MAX_TARGETS || SEGMENT_HEADER + BATCH_MARK + aligned(length) > most {
            return Err(StoreError::TooLarge { length });
        }
        if self.options.kind == LogKind::Volatile && self.no_space {
            // What is in memory cannot be written: no more of it.
            if self.window.resident() > 2 * self.options.window_bytes {
                return Err(StoreError::Full);
            }
        }
        self.roll()
    }

    fn takes(&self, length: usize) -> bool {
        let Some(active) = &self.active else { return false };
        let end = active.offset as usize + BATCH_MARK + aligned(length);
        end <= (self.options.segment_bytes - self.options.reserve()) as usize
            && active.builder.len() < self.options.max_segment_records as usize
    }

    /// True if no segment is ready and less than a quarter of the active one is left.
    pub(super) fn is_short_of_room(&self) -> bool {
        self.ready.is_empty() && self.active.as_ref().is_none_or(|active| self.is_filled(active, 3))
    }

    /// True if more than so many quarters of the active segment are used up, of its bytes or of the records that it may have.
    pub(super) fn is_filled(&self, active: &Active, quarters: u32) -> bool {
        active.offset > self.options.segment_bytes / 4 * quarters
            || active.builder.len() > (self.options.max_segment_records / 4 * quarters) as usize
    }

    /// Opens a batch if none is open.
    pub(super) fn open_batch(&mut self) {
        if !self.staging.bytes.is_empty() {
            return;
        }
        let lsn = self.take_lsn();
        let active = self.active.as_mut().expect("a batch is opened for the active segment");
        let staging = &mut self.staging;
        staging.bytes.reserve(staging.usual_bytes + BATCH_MARK + SEGMENT_HEADER);
        if active.offset == FIRST_OFFSET {
            format::put_segment_header(&mut staging.bytes, active.id, lsn);
        }
        staging.start = active.offset - len32(staging.bytes.len());
        staging.mark = staging.bytes.len();
        staging.mark_lsn = lsn;
        format::put_batch_mark(&mut staging.bytes, lsn, active.id);
        active.offset += len32(BATCH_MARK);
        active.builder.last_lsn = lsn;
    }

    /// Closes the open batch, if there is one.
    fn close_batch(&mut self, last: bool) {
        let Some(active) = &self.active else { return };
        let sync_only = last || (self.sync_wanted && self.segments[&active.id].unsynced);
        if self.staging.bytes.is_empty() && !sync_only {
            return;
        }
        let staging = &mut self.staging;
        let last_lsn = Lsn(self.next_lsn - 1);
        // A sync without anything to write has no mark.
        let (start, records) = match staging.bytes.is_empty() {
            true => (active.offset, 0),
            false => (staging.start, last_lsn.0 - staging.mark_lsn.0),
        };
        staging.usual_bytes = (staging.usual_bytes + staging.bytes.len()) / 2;
        self.batches.push_back(Batch {
            segment: active.id,
            start,
            bytes: std::mem::take(&mut staging.bytes),
            mark: staging.mark,
            records,
            last_lsn,
            sync: staging.sync || last || self.sync_wanted,
            last,
        });
        staging.sync = false;
    }

    /// The next batch to be written.
    pub(super) fn next_batch(&mut self) -> Option<Batch> {
        if self.batches.is_empty() {
            let flush = std::mem::take(&mut self.flush_wanted);
            if flush || !self.staging.bytes.is_empty() {
                self.stage_acks();
                self.close_batch(false);
                self.sync_wanted = false;
            }
        }
        let mut batch = self.batches.pop_front()?;
        if !batch.bytes.is_empty() {
            format::set_synced(&mut batch.bytes, batch.mark, self.durable);
        }
        Some(batch)
    }

    /// Has the acks that wait recorded and synced at the next [`Log::poll_io`]: when [`Log::durable`] reaches what is returned, no crash
    /// brings those messages back. Nothing if there is no room for them now.
    pub fn record_acks(&mut self) -> Option<Lsn> {
        if self.options.kind == LogKind::Volatile {
            return Some(self.durable);
        }
        self.stage_acks();
        self.flush();
        (!self.queues.is_dirty() && !self.poisoned).then_some(Lsn(self.next_lsn - 1))
    }

    /// Stages acks and delivered marks that wait, as far as there is room for them, in the next segment if need be.
    fn stage_acks(&mut self) {
        self.stage_acks_here();
        if self.queues.is_dirty() && self.roll().is_ok() {
            self.stage_acks_here();
        }
    }

    /// Stages what the active segment takes, reserve included.
    pub(super) fn stage_acks_here(&mut self) {
        while self.queues.is_dirty() {
            let Some(active) = &self.active else { return };
            let left = self.options.segment_bytes.saturating_sub(active.offset) as usize;
            let room = left.saturating_sub(BATCH_MARK + 3 * (RECORD_HEADER + format::ALIGN)) / ACK_RANGE;
            if room < 3 || active.builder.len() >= 2 * self.options.max_segment_records as usize {
                return;
            }
            let taken = self.queues.take(room.min(MAX_ACK_ITEMS));
            if taken.len() == 0 {
                return;
            }
            self.open_batch();
            let Unrecorded { mut acks, mut delivered, mut attempts } = taken;
            if !acks.is_empty() {
                self.put_items(Kind::Acks, acks.len(), |out| {
                    acks.iter().for_each(|&range| format::put_ack_range(out, range));
                });
            }
            if !delivered.is_empty() {
                self.put_items(Kind::Delivered, delivered.len(), |out| {
                    delivered.iter().for_each(|&(queue, seq)| format::put_target(out, queue, seq));
                });
            }
            if !attempts.is_empty() {
                self.put_items(Kind::Attempts, attempts.len(), |out| {
                    attempts.iter().for_each(|&attempt| format::put_attempt(out, attempt));
                });
            }
            if let Some(active) = &mut self.active {
                active.builder.acks.append(&mut acks);
                active.builder.delivered.append(&mut delivered);
                active.builder.attempts.append(&mut attempts);
            }
        }
    }

    fn put_items(&mut self, kind: Kind, count: usize, body: impl FnOnce(&mut Vec<u8>)) {
        let lsn = self.take_lsn();
        let active = self.active.as_mut().expect("a batch is open for the active segment");
        let out = &mut self.staging.bytes;
        let start = format::begin_record(out, lsn, active.id, kind, count);
        body(out);
        format::finish_record(out, start, true);
        active.offset += len32(out.len() - start);
        active.builder.last_lsn = lsn;
    }

    /// Ends the active segment and goes on in the next one that is ready.
    pub(super) fn roll(&mut self) -> Result<(), StoreError> {
        if self.options.kind == LogKind::Volatile {
            let id = self.take_segment_id();
            self.ready.push_back(id);
        }
        if self.ready.is_empty() {
            return Err(StoreError::Full);
        }
        self.end_active();
        let id = self.ready.pop_front().expect("a segment is ready");
        self.start_active(id, true);
        Ok(())
    }

    /// Makes `id` the segment that is appended to.
    pub(super) fn start_active(&mut self, id: SegmentId, zeroed: bool) {
        let builder = Box::new(IndexBuilder::new(id, Lsn(self.next_lsn)));
        self.active = Some(Active { id, offset: FIRST_OFFSET, builder, zeroed });
        let file_bytes = match self.options.kind {
            LogKind::Durable => u64::from(self.options.segment_bytes),
            LogKind::Volatile => 0,
        };
        self.segments.insert(id, Segment::new(file_bytes));
    }

    fn end_active(&mut self) {
        if self.options.kind == LogKind::Durable {
            self.stage_acks_here();
            self.close_batch(true);
        }
        let Some(mut active) = self.active.take() else {
            return;
        };
        active.builder.used = active.offset;
        let segment = self.segments.get_mut(&active.id).expect("the active segment is listed");
        segment.state = State::Sealing;
        segment.used = active.offset;
        segment.builder = Some(active.builder);
        self.queues.sweep();
        // A durable segment is sealed when its last batch is synced.
        if self.options.kind == LogKind::Volatile {
            self.seal(active.id);
        }
    }

    /// Everything of the segment is written: its index comes next, if anything in it is live.
    pub(super) fn seal(&mut self, id: SegmentId) {
        let Some(segment) = self.segments.get_mut(&id) else {
            return;
        };
        // A volatile segment is indexed only if enough of it waits that keeping its entries in memory would cost more.
        let worth = match self.options.kind {
            LogKind::Durable => 1,
            LogKind::Volatile => self.options.max_segment_records.min(1024) / 4,
        };
        if segment.live >= worth.max(1) {
            self.sealing.push_back(id);
            return;
        }
        segment.state = State::Bare;
        segment.builder = None;
        if segment.live == 0 {
            self.dead.push(id);
        }
    }

    pub(super) fn take_segment_id(&mut self) -> SegmentId {
        let id = SegmentId(self.next_segment);
        self.next_segment += 1;
        id
    }
}

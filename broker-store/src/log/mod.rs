//! The log of one partition, as a machine without input and output.
//!
//! **Durable**: records are copied into a staging buffer, which is written and synced as one batch while the next
//! one fills: group commit without a timer. **Volatile**: records stay in memory until the window is full.
//!
//! **Invariant.** A position stays readable until the last target of its record is acked, or [`LogEvent::Moved`] replaces it.

mod batch;
mod checkpoint;
mod event;
mod group;
mod io;
mod options;
mod paging;
mod perform;
mod reclaim;
mod recovery;
mod segment;
mod trace;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use crate::attempts::Attempt;
use crate::error::StoreError;
use crate::ids::{Lsn, Position, QueueId, SegmentId, Seq};
use crate::queues::Queues;
use crate::segment::format::{self, Kind, RECORD_HEADER, TARGET, aligned, len32};
use crate::segment::index::{IndexBuilder, Item};
use crate::window::Window;

use batch::{Batch, Staging};
use paging::PageRequest;
use reclaim::Rewrite;
use segment::{FIRST_OFFSET, Segment, State, index_path, segment_path};

pub use event::LogEvent;
pub use group::Group;
pub use io::{IoDone, IoOp, Written};
pub use options::{LogKind, LogOptions};
pub use perform::perform;
pub use recovery::{Recovered, recover};
pub use trace::RecoveredQueue;

/// Milliseconds that acks wait for a message to be written with before they are written alone.
const ACK_DELAY_MS: u64 = 5;
/// Milliseconds after which what failed for want of space is tried again.
const RETRY_MS: u64 = 1000;

/// Where a record went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Where it can be read.
    pub position: Position,
    /// It is on disk when [`Log::durable`] reaches this.
    pub lsn: Lsn,
}

/// A message of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the queue.
    pub seq: Seq,
    /// Its record.
    pub position: Position,
    /// Length of its body, in bytes.
    pub body: u32,
}

/// The live messages of one queue between two sequence numbers, all in one sealed segment. No other segment holds
/// messages of the queue between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The segment.
    pub segment: SegmentId,
    /// The first message.
    pub first: Seq,
    /// The last message.
    pub last: Seq,
    /// Live messages.
    pub count: u32,
    /// Sum of the lengths of their records, in bytes.
    pub bytes: u64,
}

/// The outcome of [`Log::load`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// The entries were appended. Fewer than asked for: the run has no more.
    Loaded,
    /// The index of the segment is being brought into memory: try again after [`LogEvent::PagedIn`].
    NeedsPageIn,
}

/// Figures for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogFigures {
    /// Segments that hold records.
    pub segments: usize,
    /// Bytes of disk used by segments, with those prepared ahead.
    pub disk_bytes: u64,
    /// Live messages, one per queue.
    pub live_messages: u64,
    /// Memory used by the window, in bytes.
    pub window_bytes: usize,
    /// Bytes that wait to be written.
    pub staged_bytes: usize,
    /// Bytes written to the log since it was opened.
    pub written_bytes: u64,
    /// Syncs since it was opened.
    pub syncs: u64,
    /// Bytes appended again to free mostly dead segments, since it was opened.
    pub rewritten_bytes: u64,
}

/// The segment that is appended to.
#[derive(Debug)]
struct Active {
    id: SegmentId,
    /// Where the next record goes, in bytes.
    offset: u32,
    builder: Box<IndexBuilder>,
    /// Written over before, so that a sync need not touch the file's metadata.
    zeroed: bool,
}

/// The log of one partition. See the crate documentation for the order of calls.
#[derive(Debug)]
pub struct Log {
    options: LogOptions,
    dir: Arc<Path>,
    segments: BTreeMap<SegmentId, Segment>,
    queues: Queues,
    window: Window,
    active: Option<Active>,
    /// Prepared segments, ascending.
    ready: VecDeque<SegmentId>,
    next_segment: u32,
    next_lsn: u64,
    durable: Lsn,
    staging: Staging,
    batches: VecDeque<Batch>,
    /// Bytes of the batch that is being written.
    writing: Option<usize>,
    preparing: bool,
    sealing: VecDeque<SegmentId>,
    seal_in_flight: bool,
    spill_in_flight: bool,
    reclaim_in_flight: bool,
    checkpoint_in_flight: bool,
    checkpoint_wanted: bool,
    /// The checkpoint on disk has the acks that segments before this one record.
    checkpoint_covers: SegmentId,
    /// Segments in which nothing is live.
    dead: Vec<SegmentId>,
    /// Volatile segments that were forgotten while their file was being written.
    orphans: Vec<SegmentId>,
    rewrite: Option<Rewrite>,
    page_requests: VecDeque<PageRequest>,
    present_blocks: VecDeque<(SegmentId, usize)>,
    mapped_indexes: VecDeque<SegmentId>,
    events: VecDeque<LogEvent>,
    poisoned: bool,
    no_space: bool,
    flush_wanted: bool,
    sync_wanted: bool,
    acks_since_ms: Option<u64>,
    retry_at_ms: Option<u64>,
    retry_wanted: bool,
    figures: LogFigures,
}

impl Log {
    fn new(dir: Arc<Path>, options: LogOptions) -> Self {
        Self {
            queues: Queues::new(options.kind == LogKind::Durable),
            options,
            dir,
            segments: BTreeMap::new(),
            window: Window::new(options.window_bytes),
            active: None,
            ready: VecDeque::new(),
            next_segment: 1,
            next_lsn: 1,
            durable: Lsn(0),
            staging: Staging::default(),
            batches: VecDeque::new(),
            writing: None,
            preparing: false,
            sealing: VecDeque::new(),
            seal_in_flight: false,
            spill_in_flight: false,
            reclaim_in_flight: false,
            checkpoint_in_flight: false,
            checkpoint_wanted: false,
            checkpoint_covers: SegmentId(0),
            dead: Vec::new(),
            orphans: Vec::new(),
            rewrite: None,
            page_requests: VecDeque::new(),
            present_blocks: VecDeque::new(),
            mapped_indexes: VecDeque::new(),
            events: VecDeque::new(),
            poisoned: false,
            no_space: false,
            flush_wanted: false,
            sync_wanted: false,
            acks_since_ms: None,
            retry_at_ms: None,
            retry_wanted: false,
            figures: LogFigures::default(),
        }
    }

    /// Appends one record for all `targets`, with `payload` joined together; its last part is the body. The sequence numbers of a queue must
    /// ascend from call to call.
    ///
    /// # Errors
    /// [`StoreError::Full`] when no room is prepared, [`StoreError::TooLarge`], [`StoreError::Poisoned`].
    pub fn append(&mut self, targets: &[(QueueId, Seq)], payload: &[&[u8]]) -> Result<Appended, StoreError> {
        let body = payload.last().map_or(0, |body| len32(body.len()));
        let appended = self.put(None, targets, payload, body)?;
        for &(queue, seq) in targets {
            self.queues.appended(queue, seq);
        }
        Ok(appended)
    }

    /// Puts a message record, new or moved from the segment `origin`.
    fn put(
        &mut self,
        origin: Option<SegmentId>,
        targets: &[(QueueId, Seq)],
        payload: &[&[u8]],
        body_bytes: u32,
    ) -> Result<Appended, StoreError> {
        let prefix = if origin.is_some() { 8 } else { 0 };
        let body = prefix + targets.len() * TARGET + payload.iter().map(|part| part.len()).sum::<usize>();
        self.make_room(RECORD_HEADER + body, targets.len())?;
        let (offset, lsn, length) = match self.options.kind {
            LogKind::Durable => self.put_durable(origin, targets, payload),
            LogKind::Volatile => self.put_volatile(targets, payload),
        };
        let active = self.active.as_mut().expect("room was made in the active segment");
        let position = Position { segment: active.id, offset, length };
        let origin = origin.unwrap_or(active.id);
        for &(queue, seq) in targets {
            active.builder.items.push(Item { queue, origin, seq, offset, length, body: body_bytes });
        }
        let count = len32(targets.len());
        let bytes = u64::from(length) * u64::from(count);
        active.builder.last_lsn = lsn;
        active.builder.total_bytes += bytes;
        let segment = self.segments.get_mut(&position.segment).expect("the active segment is listed");
        segment.live += count;
        segment.live_bytes += bytes;
        segment.total_bytes += bytes;
        self.trim_window();
        Ok(Appended { position, lsn })
    }

    fn put_durable(
        &mut self,
        origin: Option<SegmentId>,
        targets: &[(QueueId, Seq)],
        payload: &[&[u8]],
    ) -> (u32, Lsn, u32) {
        self.open_batch();
        self.staging.sync = true;
        let lsn = self.take_lsn();
        let active = self.active.as_mut().expect("a batch is open for the active segment");
        let offset = active.offset;
        let kind = if origin.is_some() { Kind::Moved } else { Kind::Message };
        let out = &mut self.staging.bytes;
        let start = format::begin_record(out, lsn, active.id, kind, targets.len());
        if let Some(origin) = origin {
            out.extend_from_slice(&u64::from(origin.0).to_le_bytes());
        }
        targets.iter().for_each(|&(queue, seq)| format::put_target(out, queue, seq));
        payload.iter().for_each(|part| out.extend_from_slice(part));
        let length = format::finish_record(out, start, true);
        active.offset += len32(out.len() - start);
        let record = &self.staging.bytes[start..start + length as usize];
        let room = self.window.room(active.id, offset, record.len(), len32(targets.len()));
        room.extend_from_slice(record);
        (offset, lsn, length)
    }

    fn put_volatile(&mut self, targets: &[(QueueId, Seq)], payload: &[&[u8]]) -> (u32, Lsn, u32) {
        let lsn = self.take_lsn();
        self.durable = lsn;
        let active = self.active.as_mut().expect("room was made in the active segment");
        let offset = active.offset;
        let length = RECORD_HEADER + targets.len() * TARGET + payload.iter().map(|part| part.len()).sum::<usize>();
        let out = self.window.room(active.id, offset, aligned(length), len32(targets.len()));
        let start = format::begin_record(out, lsn, active.id, Kind::Message, targets.len());
        targets.iter().for_each(|&(queue, seq)| format::put_target(out, queue, seq));
        payload.iter().for_each(|part| out.extend_from_slice(part));
        let length = format::finish_record(out, start, false);
        active.offset += len32(aligned(length as usize));
        (offset, lsn, length)
    }

    fn take_lsn(&mut self) -> Lsn {
        let lsn = Lsn(self.next_lsn);
        self.next_lsn += 1;
        lsn
    }

    /// One target of the record at `position` is done. An ack of what is not live does nothing.
    pub fn ack(&mut self, queue: QueueId, seq: Seq, position: Position) {
        if !self.queues.acked(queue, seq) {
            return;
        }
        self.release(position);
        if let Some(rewrite) = &mut self.rewrite
            && let Some(copy) = rewrite.acked(queue, seq, position.segment)
        {
            self.release(copy);
        }
    }

    /// Takes one live message out of the accounts of its chunk and segment.
    fn release(&mut self, position: Position) {
        self.window.acked(position);
        self.release_many(position.segment, 1, u64::from(position.length));
    }

    fn release_many(&mut self, id: SegmentId, count: u32, bytes: u64) {
        let Some(segment) = self.segments.get_mut(&id) else {
            return;
        };
        segment.live = segment.live.saturating_sub(count);
        segment.live_bytes = segment.live_bytes.saturating_sub(bytes);
        if segment.live > 0 {
            return;
        }
        match segment.state {
            State::Active => {
                // Nothing of what was appended so far will be asked for again.
                if let Some(active) = &mut self.active {
                    active.builder.items.clear();
                }
            }
            State::Sealing => {}
            State::Sealed | State::Bare => self.dead.push(id),
        }
    }

    /// All live messages of `run` are done: the queue was purged or deleted. Loaded ones are acked one by one.
    /// `run.first` may have been advanced over what was loaded, with `count` and `bytes` reduced.
    pub fn discard(&mut self, queue: QueueId, run: &Run) {
        self.queues.discarded(queue, run.first, run.last, u64::from(run.count));
        let copies = self.rewrite.as_mut().map_or_else(Vec::new, |rewrite| rewrite.discarded(queue, run));
        for copy in copies {
            self.release(copy);
        }
        self.release_many(run.segment, run.count, run.bytes);
    }

    /// The queue is gone, and everything of it was acked or discarded. Nothing of it is recorded any more: recovery is
    /// told which queues live.
    pub fn drop_queue(&mut self, queue: QueueId) {
        self.queues.dropped(queue);
    }

    /// Messages of the queue up to `up_to` were delivered at least once.
    pub fn delivered(&mut self, queue: QueueId, up_to: Seq) {
        if self.options.kind == LogKind::Durable {
            self.queues.delivered(queue, up_to);
        }
    }

    /// A live message was delivered so often and came back each time. Written like an ack, and recovered with the queue.
    pub fn attempted(&mut self, queue: QueueId, seq: Seq, attempt: Attempt) {
        if self.options.kind == LogKind::Durable {
            self.queues.attempted(queue, seq, attempt);
        }
    }

    /// The payload of the record at `position`, or `None` if it is not in memory: [`Log::page_in`] brings it.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the bytes are not those that were appended. The message is lost; ack it.
    pub fn read(&self, position: Position) -> Result<Option<&[u8]>, StoreError> {
        if let Some(bytes) = self.window.get(position) {
            return Ok(format::record(bytes).map(|record| record.payload()));
        }
        let Some(segment) = self.segments.get(&position.segment) else {
            return Err(corrupt(position, "the segment is gone"));
        };
        let Some(bytes) = segment.data.get(position.offset, position.length) else {
            return Ok(None);
        };
        match format::record(bytes) {
            Some(record)
                if record.header.segment == position.segment
                    && (self.options.kind == LogKind::Volatile || record.is_intact()) =>
            {
                Ok(Some(record.payload()))
            }
            _ => Err(corrupt(position, "the checksum of a record does not match")),
        }
    }

    /// The beginning of what [`Self::read`] would give, without looking whether it is what was appended: for figures. `None` if it
    /// is not in memory.
    #[must_use]
    pub fn glance(&self, position: Position) -> Option<&[u8]> {
        let bytes = match self.window.get(position) {
            Some(bytes) => bytes,
            None => self.segments.get(&position.segment)?.data.get(position.offset, position.length)?,
        };
        format::record(bytes).map(|record| record.payload())
    }

    /// Everything up to here is on disk (of a volatile log: was appended).
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// Bytes that wait for the disk. While the next segment is not ready though little room is left it is
    /// `usize::MAX`: appends that go on could soon fail.
    #[must_use]
    pub fn staged_bytes(&self) -> usize {
        match self.options.kind {
            LogKind::Volatile => self.window.resident().saturating_sub(self.options.window_bytes),
            LogKind::Durable if self.preparing && !self.no_space && self.is_short_of_room() => usize::MAX,
            LogKind::Durable => self.unwritten_bytes(),
        }
    }

    fn unwritten_bytes(&self) -> usize {
        let waiting: usize = self.batches.iter().map(|batch| batch.bytes.len()).sum();
        self.staging.bytes.len() + waiting + self.writing.unwrap_or(0)
    }

    /// True if the segment has an index, so that its messages may be kept as runs.
    #[must_use]
    pub fn is_sealed(&self, segment: SegmentId) -> bool {
        self.segments.get(&segment).is_some_and(|segment| segment.state == State::Sealed)
    }

    /// True after a failed write or sync.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Writes and syncs everything that is staged, acks included, at the next [`Log::poll_io`].
    pub fn flush(&mut self) {
        self.flush_wanted = true;
        self.sync_wanted = true;
    }

    /// True if nothing waits for the disk and everything written was synced.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        let written = self.staging.bytes.is_empty() && self.batches.is_empty() && self.writing.is_none();
        self.options.kind == LogKind::Volatile
            || self.poisoned
            || (written && !self.queues.is_dirty() && !self.has_unsynced())
    }

    fn has_unsynced(&self) -> bool {
        self.active.as_ref().is_some_and(|active| self.segments[&active.id].unsynced)
    }

    /// True while [`Log::tick`] has something to do.
    #[must_use]
    pub fn wants_tick(&self) -> bool {
        !self.poisoned && (self.queues.is_dirty() || self.retry_wanted || self.retry_at_ms.is_some())
    }

    /// Time has come to `now_ms`: acks that waited long enough are written, what failed is tried again.
    pub fn tick(&mut self, now_ms: u64) {
        if !self.queues.is_dirty() {
            self.acks_since_ms = None;
        } else if now_ms >= *self.acks_since_ms.get_or_insert(now_ms) + ACK_DELAY_MS {
            self.acks_since_ms = None;
            self.flush_wanted = true;
        }
        if std::mem::take(&mut self.retry_wanted) {
            self.retry_at_ms.get_or_insert(now_ms + RETRY_MS);
        }
        if self.retry_at_ms.is_some_and(|at| now_ms >= at) {
            self.retry_at_ms = None;
        }
    }

    /// What happened since last asked.
    pub fn poll_event(&mut self) -> Option<LogEvent> {
        self.events.pop_front().or_else(|| self.next_moved())
    }

    /// Figures for metrics.
    #[must_use]
    pub fn figures(&self) -> LogFigures {
        LogFigures {
            segments: self.segments.len(),
            disk_bytes: self.disk_bytes(),
            live_messages: self.segments.values().map(|segment| u64::from(segment.live)).sum(),
            window_bytes: self.window.resident(),
            staged_bytes: self.unwritten_bytes(),
            ..self.figures
        }
    }

    /// What failed is tried again after a while.
    fn retry_later(&mut self) {
        self.retry_wanted = true;
    }

    fn may_retry(&self) -> bool {
        !self.retry_wanted && self.retry_at_ms.is_none()
    }

    fn set_no_space(&mut self, no_space: bool) {
        if self.no_space != no_space {
            self.no_space = no_space;
            self.events.push_back(LogEvent::NoSpace(no_space));
        }
    }
}

fn corrupt(position: Position, reason: &'static str) -> StoreError {
    StoreError::Corrupt { segment: position.segment, offset: position.offset, reason }
}

//! Giving disk back. A segment in which nothing is live goes; one that is mostly dead is rewritten first.
//!
//! A dead segment may hold acks of messages in older segments. So it goes only if there is no older one, or once the
//! checkpoint has those acks. Segments go one after the other, each durably, so that none comes back after a later one.

use std::collections::BTreeMap;

use super::checkpoint::{self, CHECKPOINT};
use super::io::{Dead, Op};
use super::{Entry, FIRST_OFFSET, Log, LogEvent, LogKind, Run, Segment, State, index_path, segment_path};
use crate::error::StoreError;
use crate::ids::{Lsn, Position, QueueId, SegmentId, Seq};
use crate::segment::format::{self, Kind, RECORD_HEADER, aligned, len32, u32_at};

/// Bytes of a segment that are looked at per turn when it is rewritten.
const REWRITE_STEP_BYTES: usize = 1 << 20;
/// Segments that may be used beyond twice what live messages need.
const SPARE_SEGMENTS: u64 = 4;

/// A message that was copied.
#[derive(Clone, Copy, Debug)]
struct Copied {
    position: Position,
    /// Length of the record that was copied.
    length: u32,
    body: u32,
}

/// A segment whose live messages are appended again.
#[derive(Debug)]
pub(super) struct Rewrite {
    segment: SegmentId,
    /// Up to where it was read, in bytes.
    offset: u32,
    used: u32,
    /// All is read, or it cannot be read further.
    finished: bool,
    last_lsn: Lsn,
    /// The copies, until the owner of the log is told.
    copies: BTreeMap<QueueId, BTreeMap<Seq, Copied>>,
}

impl Rewrite {
    /// A message was acked where it was. Returns where its copy is.
    pub(super) fn acked(&mut self, queue: QueueId, seq: Seq, segment: SegmentId) -> Option<Position> {
        if segment != self.segment {
            return None;
        }
        self.copies.get_mut(&queue)?.remove(&seq).map(|copy| copy.position)
    }

    /// The same for a run.
    pub(super) fn discarded(&mut self, queue: QueueId, run: &Run) -> Vec<Position> {
        let Some(copies) = self.copies.get_mut(&queue) else {
            return Vec::new();
        };
        if run.segment != self.segment {
            return Vec::new();
        }
        let gone = copies.range(run.first..=run.last).map(|(_, copy)| copy.position).collect();
        copies.retain(|seq, _| !(run.first..=run.last).contains(seq));
        gone
    }
}

/// What came of looking at one record.
enum Step {
    /// It was dealt with; its length.
    Done(usize),
    /// It is not in memory, or there is no room for a copy: later.
    Later,
    /// The segment cannot be read any further.
    Damaged,
}

impl Log {
    /// Bytes of disk used by segments, with those prepared.
    pub(super) fn disk_bytes(&self) -> u64 {
        let ready = self.ready.len() as u64 * u64::from(self.options.segment_bytes);
        ready + self.segments.values().map(|segment| segment.file_bytes).sum::<u64>()
    }

    /// Takes a dead segment that may go out of the log.
    pub(super) fn take_dead(&mut self, to_recycle: bool) -> Option<Dead> {
        let oldest = *self.segments.first_key_value()?.0;
        let segments = &self.segments;
        self.dead.retain(|id| segments.contains_key(id));
        let full = u64::from(self.options.segment_bytes);
        let covers = self.checkpoint_covers;
        let may_go =
            |id: SegmentId, segment: &Segment| id == oldest || id < covers || segment.used <= FIRST_OFFSET;
        let fits = |segment: &Segment| !to_recycle || (segment.file_bytes == full && segment.used > FIRST_OFFSET);
        let found = self.dead.iter().position(|id| fits(&segments[id]) && may_go(*id, &segments[id]));
        let Some(found) = found else {
            self.checkpoint_wanted |= !to_recycle && !self.dead.is_empty();
            return None;
        };
        let segment = self.dead.swap_remove(found);
        self.segments.remove(&segment);
        self.window.forget(segment);
        Some(self.files_of(segment))
    }

    fn files_of(&self, id: SegmentId) -> Dead {
        Dead { data: segment_path(&self.dir, id), index: index_path(&self.dir, id) }
    }

    /// Takes a volatile segment that is dead, if it has a file.
    pub(super) fn take_dead_volatile(&mut self) -> Option<Dead> {
        if let Some(orphan) = self.orphans.pop() {
            return Some(self.files_of(orphan));
        }
        while let Some(id) = self.dead.pop() {
            let Some(segment) = self.segments.remove(&id) else {
                continue;
            };
            self.window.forget(id);
            if segment.written > 0 || segment.state == State::Sealed {
                return Some(self.files_of(id));
            }
        }
        None
    }

    /// A segment's files are gone. After a failure it is unknown whether they come back, so the log stops.
    pub(super) fn removed(&mut self, result: Result<(), StoreError>) {
        self.reclaim_in_flight = false;
        match result {
            Err(error) if self.options.kind == LogKind::Durable => self.poison(error),
            Err(error) => self.events.push_back(LogEvent::Failed(error)),
            Ok(()) => self.start_rewrite(),
        }
    }

    pub(super) fn poll_checkpoint(&mut self) -> Option<Op> {
        let wanted = self.checkpoint_wanted || self.queues.overflowed;
        let covers = self.active.as_ref()?.id;
        if self.checkpoint_in_flight || !wanted || !self.may_retry() {
            return None;
        }
        self.checkpoint_in_flight = true;
        self.checkpoint_wanted = false;
        self.queues.overflowed = false;
        let bytes = checkpoint::encode(&self.queues, covers);
        self.figures.written_bytes += bytes.len() as u64;
        Some(Op::Checkpoint { path: self.dir.join(CHECKPOINT).into(), bytes, covers })
    }

    pub(super) fn checkpointed(&mut self, covers: SegmentId, result: Result<(), StoreError>) {
        self.checkpoint_in_flight = false;
        match result {
            Ok(()) => self.checkpoint_covers = covers,
            Err(error) => {
                self.checkpoint_wanted = true;
                self.events.push_back(LogEvent::Failed(error));
                self.retry_later();
            }
        }
    }

    /// Starts to rewrite the segment with the smallest live part, if the log uses more disk than it should.
    pub(super) fn start_rewrite(&mut self) {
        if self.rewrite.is_some() || self.no_space || self.options.kind == LogKind::Volatile {
            return;
        }
        let needed: u64 = self.segments.values().map(Segment::needed_bytes).sum();
        let limit = 2 * needed + SPARE_SEGMENTS * u64::from(self.options.segment_bytes);
        if self.disk_bytes() <= limit {
            return;
        }
        let candidates = self.segments.iter().filter(|(_, segment)| {
            let mostly_dead = 2 * segment.needed_bytes() < u64::from(segment.used);
            segment.state == State::Sealed && segment.live > 0 && !segment.damaged && mostly_dead
        });
        let emptiest = candidates.min_by_key(|(_, segment)| segment.needed_bytes());
        self.rewrite = emptiest.map(|(&id, segment)| Rewrite {
            segment: id,
            offset: FIRST_OFFSET,
            used: segment.used,
            finished: false,
            last_lsn: Lsn(0),
            copies: BTreeMap::new(),
        });
    }

    /// Copies some live messages of the segment that is being rewritten.
    pub(super) fn advance_rewrite(&mut self) {
        if self.staging.bytes.len() > REWRITE_STEP_BYTES {
            return;
        }
        let mut looked_at = 0;
        while let Some(rewrite) = &self.rewrite
            && !rewrite.finished
            && looked_at < REWRITE_STEP_BYTES
        {
            let (id, offset, used) = (rewrite.segment, rewrite.offset, rewrite.used);
            let step = if offset >= used { Step::Done(0) } else { self.copy_record(id, offset, used) };
            let Some(rewrite) = &mut self.rewrite else { return };
            match step {
                Step::Done(length) => {
                    rewrite.offset += len32(length);
                    rewrite.finished = rewrite.offset >= used;
                    looked_at += length;
                }
                Step::Later => return,
                Step::Damaged => {
                    rewrite.finished = true;
                    if let Some(segment) = self.segments.get_mut(&id) {
                        segment.damaged = true;
                    }
                    let reason = "a record cannot be read";
                    self.events.push_back(LogEvent::Failed(StoreError::Corrupt { segment: id, offset, reason }));
                }
            }
        }
    }

    fn copy_record(&mut self, id: SegmentId, offset: u32, used: u32) -> Step {
        if !self.want(id, offset, len32(RECORD_HEADER)) {
            return Step::Later;
        }
        let Some(header) = self.bytes(id, offset, len32(RECORD_HEADER)) else {
            return Step::Damaged;
        };
        let length = u32_at(header, 4);
        if length < len32(RECORD_HEADER) || length > used - offset {
            return Step::Damaged;
        }
        if !self.want(id, offset, length) {
            return Step::Later;
        }
        // The mapping is held, because appending changes the log.
        let Some(mapping) = self.segments.get(&id).and_then(|segment| segment.data.mapping()) else {
            return Step::Damaged;
        };
        let bytes = mapping.get(offset as usize..offset as usize + length as usize);
        let record = bytes.and_then(format::record);
        let Some(record) = record.filter(|record| record.header.segment == id && record.is_intact()) else {
            return Step::Damaged;
        };
        let done = Step::Done(aligned(length as usize));
        if !matches!(record.header.kind, Kind::Message | Kind::Moved) {
            return done;
        }
        let live =
            |&(queue, seq): &(QueueId, Seq)| self.queues.get(queue).is_some_and(|q| !q.dead.contains(seq.0));
        let targets: Vec<(QueueId, Seq)> = record.targets().filter(live).collect();
        if targets.is_empty() {
            return done;
        }
        let body = (self.options.body_of)(record.payload());
        let Ok(copy) = self.put(Some(record.origin()), &targets, &[record.payload()], body) else {
            return Step::Later;
        };
        self.figures.rewritten_bytes += u64::from(copy.position.length);
        if let Some(rewrite) = &mut self.rewrite {
            rewrite.last_lsn = copy.lsn;
            for (queue, seq) in targets {
                let copied = Copied { position: copy.position, length, body };
                rewrite.copies.entry(queue).or_default().insert(seq, copied);
            }
        }
        done
    }

    /// Tells the owner of one queue's messages that were copied, once the copies are on disk.
    pub(super) fn next_moved(&mut self) -> Option<LogEvent> {
        let durable = self.durable;
        let rewrite = self.rewrite.as_mut().filter(|rewrite| rewrite.finished && rewrite.last_lsn <= durable)?;
        let from = rewrite.segment;
        let Some((queue, copies)) = rewrite.copies.pop_first() else {
            self.rewrite = None;
            if let Some(segment) = self.segments.get_mut(&from) {
                // If something live is left, it cannot be moved: do not try again.
                segment.damaged |= segment.live > 0;
            }
            return None;
        };
        let bytes = copies.values().map(|copy| u64::from(copy.length)).sum();
        self.release_many(from, len32(copies.len()), bytes);
        self.queues.refresh_delivered(queue);
        self.queues.refresh_attempts(queue, copies.keys().copied());
        let entry = |(seq, Copied { position, body, .. })| Entry { seq, position, body };
        let entries: Vec<Entry> = copies.into_iter().map(entry).collect();
        if entries.is_empty() { self.next_moved() } else { Some(LogEvent::Moved { queue, from, entries }) }
    }
}

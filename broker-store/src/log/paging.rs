//! Reading back what left the window: segments and indexes are mapped, and their pages brought into memory by another thread
//! before the shard touches them.
//!
//! Limits: [`MAX_BLOCKS`] blocks of segments and [`MAX_INDEXES`] indexes are kept per log; the oldest make room for new ones.

use std::ops::Range;

use super::io::Op;
use super::{Entry, Load, Log, LogEvent, Run, State, index_path, segment_path};
use crate::error::StoreError;
use crate::ids::{Position, QueueId, SegmentId, Seq};
use crate::map::Mapping;
use crate::segment::index::IndexView;

/// Pages are brought in by this many bytes.
pub(super) const BLOCK_BYTES: usize = 1 << 20;
/// Blocks asked for beyond the one that is needed.
const READ_AHEAD_BLOCKS: usize = 4;
const MAX_BLOCKS: usize = 64;
const MAX_INDEXES: usize = 16;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Block {
    #[default]
    Absent,
    Requested,
    Present,
}

/// The mapped file of a segment.
#[derive(Debug, Default)]
pub(super) struct Paged {
    mapping: Option<Mapping>,
    blocks: Vec<Block>,
    /// What was written when the pages were brought in, in bytes.
    written: u32,
}

/// Pages to bring in.
#[derive(Debug)]
pub(super) enum PageRequest {
    Data(SegmentId, Range<usize>),
    Index(SegmentId),
}

impl Paged {
    fn block(&self, at: usize) -> Block {
        self.blocks.get(at).copied().unwrap_or_default()
    }

    fn set(&mut self, at: usize, block: Block) {
        if self.blocks.len() <= at {
            self.blocks.resize(at + 1, Block::Absent);
        }
        self.blocks[at] = block;
    }

    /// The whole file, if it is mapped.
    pub(super) fn mapping(&self) -> Option<Mapping> {
        self.mapping.clone()
    }

    /// The bytes, if all their pages are in memory.
    pub(super) fn get(&self, offset: u32, length: u32) -> Option<&[u8]> {
        let end = offset.checked_add(length)?;
        let (start, until) = (offset as usize, end as usize);
        let present = blocks_of(start, until).all(|at| self.block(at) == Block::Present);
        if end > self.written || !present { None } else { self.mapping.as_ref()?.get(start..until) }
    }
}

fn blocks_of(start: usize, end: usize) -> Range<usize> {
    start / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES)
}

impl Log {
    /// Brings the record at `position`, and what follows it, into memory. [`LogEvent::PagedIn`] says when. Cheap where all
    /// of it is there or on its way, so a reader of backlog should call it ahead of need: with the last entry it loaded.
    pub fn page_in(&mut self, position: Position) {
        let start = position.offset as usize;
        let needed = blocks_of(start, start + position.length as usize);
        let in_window = self.window.get(position).is_some();
        let mut wanted = READ_AHEAD_BLOCKS + needed.len();
        let mut from = needed.start;
        let ids: Vec<SegmentId> = self.segments.range(position.segment..).take(3).map(|(&id, _)| id).collect();
        for id in ids {
            let must = if id == position.segment && !in_window { needed.clone() } else { 0..0 };
            let written = self.segments[&id].written as usize;
            let end = blocks_of(0, written).end.min(from + wanted).max(must.end);
            self.request(id, from..end, &must, position);
            wanted = wanted.saturating_sub(end.saturating_sub(from));
            from = 0;
            if wanted == 0 {
                break;
            }
        }
    }

    /// Asks for the blocks that are absent, in one piece per gap.
    fn request(&mut self, id: SegmentId, blocks: Range<usize>, must: &Range<usize>, position: Position) {
        let window_start = self.window.start();
        let Some(segment) = self.segments.get_mut(&id) else {
            return;
        };
        let stale = id == position.segment && position.offset + position.length > segment.data.written;
        let mut gap: Option<Range<usize>> = None;
        for at in blocks {
            let needed = must.contains(&at);
            // Read-ahead stops where the window begins.
            let in_window = window_start.is_some_and(|start| (id, (at + 1) * BLOCK_BYTES) > start);
            let absent = match segment.data.block(at) {
                Block::Absent => needed || !in_window,
                Block::Requested => false,
                Block::Present => needed && stale,
            };
            if absent {
                segment.data.set(at, Block::Requested);
                match &mut gap {
                    Some(gap) => gap.end = at + 1,
                    None => gap = Some(at..at + 1),
                }
            } else if let Some(gap) = gap.take() {
                self.page_requests.push_back(PageRequest::Data(id, gap));
            }
        }
        if let Some(gap) = gap {
            self.page_requests.push_back(PageRequest::Data(id, gap));
        }
    }

    /// Brings the part `start..end` of a segment into memory. True if it is there.
    pub(super) fn want(&mut self, id: SegmentId, offset: u32, length: u32) -> bool {
        if self.segments.get(&id).is_none_or(|segment| segment.data.get(offset, length).is_some()) {
            return true;
        }
        self.page_in(Position { segment: id, offset, length });
        false
    }

    /// The bytes of a segment at `offset`, if they are in memory.
    pub(super) fn bytes(&self, id: SegmentId, offset: u32, length: u32) -> Option<&[u8]> {
        self.segments.get(&id)?.data.get(offset, length)
    }

    pub(super) fn poll_page_in(&mut self) -> Option<Op> {
        loop {
            let request = self.page_requests.pop_front()?;
            let (PageRequest::Data(id, _) | PageRequest::Index(id)) = request;
            let Some(segment) = self.segments.get(&id) else {
                continue;
            };
            let path = segment_path(&self.dir, id);
            return Some(match request {
                PageRequest::Data(segment_id, blocks) => {
                    let (mapping, written) = (segment.data.mapping.clone(), segment.written);
                    Op::PageIn { segment: segment_id, path, mapping, blocks, written }
                }
                PageRequest::Index(segment) => {
                    let body_of = self.options.body_of;
                    Op::PageInIndex { segment, path: index_path(&self.dir, segment), data: path, body_of }
                }
            });
        }
    }

    pub(super) fn paged_in(
        &mut self,
        id: SegmentId,
        blocks: Range<usize>,
        written: u32,
        result: Result<Mapping, StoreError>,
    ) {
        let Some(segment) = self.segments.get_mut(&id) else {
            return;
        };
        let state = if result.is_ok() { Block::Present } else { Block::Absent };
        for at in blocks.clone() {
            segment.data.set(at, state);
        }
        match result {
            Ok(mapping) => {
                if segment.data.mapping.is_none() || written >= segment.data.written {
                    segment.data.mapping = Some(mapping);
                }
                segment.data.written = segment.data.written.max(written);
                self.present_blocks.extend(blocks.map(|at| (id, at)));
                self.release_blocks();
                self.events.push_back(LogEvent::PagedIn(id));
            }
            Err(error) => {
                self.events.push_back(LogEvent::Failed(error));
                self.events.push_back(LogEvent::PagedIn(id));
            }
        }
    }

    fn release_blocks(&mut self) {
        while self.present_blocks.len() > MAX_BLOCKS {
            let Some((id, at)) = self.present_blocks.pop_front() else {
                break;
            };
            if let Some(segment) = self.segments.get_mut(&id)
                && segment.data.block(at) == Block::Present
            {
                segment.data.set(at, Block::Absent);
                if let Some(mapping) = &segment.data.mapping {
                    mapping.release(at * BLOCK_BYTES..(at + 1) * BLOCK_BYTES);
                }
            }
        }
    }

    /// Appends entries of `run` from `from` on to `out`, ascending, at most `max`, without those that were acked.
    pub fn load(&mut self, queue: QueueId, run: &Run, from: Seq, max: usize, out: &mut Vec<Entry>) -> Load {
        let Some(segment) = self.segments.get_mut(&run.segment) else {
            return Load::Loaded;
        };
        if let Some(view) = segment.index.as_deref().and_then(|index| IndexView::trusted(index, run.segment)) {
            let dead = self.queues.get(queue).map(|state| &state.dead);
            view.load(queue, (from.max(run.first), run.last), dead, max, out);
            return Load::Loaded;
        }
        if segment.state == State::Sealed && !segment.index_requested {
            segment.index_requested = true;
            self.page_requests.push_back(PageRequest::Index(run.segment));
        }
        Load::NeedsPageIn
    }

    pub(super) fn index_paged_in(&mut self, id: SegmentId, result: Result<Mapping, StoreError>) {
        let Some(segment) = self.segments.get_mut(&id) else {
            return;
        };
        segment.index_requested = false;
        match result {
            Ok(mapping) => {
                segment.index = Some(mapping);
                self.mapped_indexes.push_back(id);
            }
            Err(error) => self.events.push_back(LogEvent::Failed(error)),
        }
        self.events.push_back(LogEvent::PagedIn(id));
        while self.mapped_indexes.len() > MAX_INDEXES {
            let oldest = self.mapped_indexes.pop_front();
            if let Some(segment) = oldest.and_then(|oldest| self.segments.get_mut(&oldest)) {
                segment.index = None;
            }
        }
    }
}

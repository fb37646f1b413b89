//! The newest part of a log in memory, as chunks that each hold consecutive whole records.
//!
//! Limits: chunks of at most [`MAX_CHUNK_BYTES`]; a longer record has a chunk of its own. A chunk in which nothing is live is used
//! again at once, so a queue that is consumed as fast as it is filled stays in the same few chunks, in the cache.

use std::collections::VecDeque;

use crate::ids::{Position, SegmentId};

/// Largest capacity of a chunk, in bytes.
const MAX_CHUNK_BYTES: usize = 256 * 1024;
/// Chunks that make up a window.
const CHUNKS: usize = 32;
/// Empty chunks kept for later.
const FREE_CHUNKS: usize = 4;
/// A larger gap between two records (acks and batch marks are not kept here) starts a new chunk.
const MAX_GAP: usize = 4096;

/// Consecutive records of one segment.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) segment: SegmentId,
    /// Offset of the first byte in the segment.
    pub(crate) start: u32,
    pub(crate) bytes: Vec<u8>,
    /// Targets of its records that are not acked.
    live: u32,
    /// Being written to disk.
    pub(crate) spilling: bool,
}

impl Chunk {
    /// Offset behind the last byte in the segment.
    pub(crate) fn end(&self) -> u32 {
        self.start + u32::try_from(self.bytes.len()).expect("a chunk lies in a segment")
    }

    fn contains(&self, position: Position) -> bool {
        self.segment == position.segment && self.start <= position.offset && position.offset < self.end()
    }
}

/// The chunks, oldest first.
#[derive(Debug)]
pub(crate) struct Window {
    /// Capacity of a chunk, in bytes.
    chunk_bytes: usize,
    chunks: VecDeque<Chunk>,
    free: Vec<Vec<u8>>,
    /// Capacity of all chunks that hold records, in bytes.
    resident: usize,
}

impl Window {
    /// An empty window that is meant to hold `window_bytes`.
    pub(crate) fn new(window_bytes: usize) -> Self {
        let chunk_bytes = (window_bytes / CHUNKS).clamp(1024, MAX_CHUNK_BYTES);
        Self { chunk_bytes, chunks: VecDeque::new(), free: Vec::new(), resident: 0 }
    }

    /// Bytes of memory in chunks that hold records.
    pub(crate) fn resident(&self) -> usize {
        self.resident
    }

    /// The buffer to which a record of `length` bytes at `offset` of the newest segment is to be appended.
    pub(crate) fn room(&mut self, segment: SegmentId, offset: u32, length: usize, targets: u32) -> &mut Vec<u8> {
        if !self.newest_takes(segment, offset, length) {
            // Only the newest chunk may be empty: the others are to be written.
            if self.chunks.back().is_some_and(|chunk| chunk.bytes.is_empty()) {
                self.remove(self.chunks.len() - 1);
            }
            let bytes = self.buffer(length);
            self.resident += bytes.capacity();
            self.chunks.push_back(Chunk { segment, start: offset, bytes, live: 0, spilling: false });
        }
        let chunk = self.chunks.back_mut().expect("the newest chunk takes the record");
        if chunk.bytes.is_empty() {
            (chunk.segment, chunk.start) = (segment, offset);
        }
        chunk.bytes.resize((offset - chunk.start) as usize, 0);
        chunk.live += targets;
        &mut chunk.bytes
    }

    fn newest_takes(&self, segment: SegmentId, offset: u32, length: usize) -> bool {
        let Some(chunk) = self.chunks.back() else {
            return false;
        };
        if chunk.spilling {
            return false;
        }
        if chunk.bytes.is_empty() {
            return length <= chunk.bytes.capacity();
        }
        let gap = offset.saturating_sub(chunk.end()) as usize;
        chunk.segment == segment && gap <= MAX_GAP && chunk.bytes.len() + gap + length <= chunk.bytes.capacity()
    }

    fn buffer(&mut self, length: usize) -> Vec<u8> {
        if length > self.chunk_bytes {
            return Vec::with_capacity(length);
        }
        self.free.pop().unwrap_or_else(|| Vec::with_capacity(self.chunk_bytes))
    }

    /// The bytes from `position` on, if they are here.
    pub(crate) fn get(&self, position: Position) -> Option<&[u8]> {
        let chunk = &self.chunks[self.find(position)?];
        let at = (position.offset - chunk.start) as usize;
        chunk.bytes.get(at..at + position.length as usize)
    }

    fn find(&self, position: Position) -> Option<usize> {
        let newest = self.chunks.len().checked_sub(1)?;
        if self.chunks[newest].contains(position) {
            return Some(newest);
        }
        let key = (position.segment, position.offset);
        let index = self.chunks.partition_point(|chunk| (chunk.segment, chunk.start) <= key).checked_sub(1)?;
        self.chunks[index].contains(position).then_some(index)
    }

    /// One target of the record at `position` is done. A chunk that has nothing live is used again.
    pub(crate) fn acked(&mut self, position: Position) {
        let Some(index) = self.find(position) else { return };
        let newest = index + 1 == self.chunks.len();
        let chunk = &mut self.chunks[index];
        chunk.live = chunk.live.saturating_sub(1);
        if chunk.live > 0 || chunk.spilling {
            return;
        }
        if newest && chunk.bytes.capacity() <= self.chunk_bytes {
            chunk.bytes.clear();
        } else {
            self.remove(index);
        }
    }

    /// Where the oldest chunk begins: segment and offset.
    pub(crate) fn start(&self) -> Option<(SegmentId, usize)> {
        self.chunks.front().map(|chunk| (chunk.segment, chunk.start as usize))
    }

    /// The oldest chunk, but never the newest.
    pub(crate) fn oldest(&mut self) -> Option<&mut Chunk> {
        if self.chunks.len() < 2 { None } else { self.chunks.front_mut() }
    }

    /// The next chunk to be written, if the window is not to grow: the oldest. The newest takes more records, unless it is
    /// one record that is longer than chunks are.
    pub(crate) fn next_spill(&mut self) -> Option<&mut Chunk> {
        let alone = self.chunks.len() == 1;
        let chunk_bytes = self.chunk_bytes;
        self.chunks.front_mut().filter(|chunk| !alone || chunk.bytes.len() > chunk_bytes)
    }

    /// Gives up the oldest chunk.
    pub(crate) fn evict_oldest(&mut self) {
        if !self.chunks.is_empty() {
            self.remove(0);
        }
    }

    /// Ends the spilling of the chunk at `start`; it goes if it was written or nothing in it is live.
    pub(crate) fn spilled(&mut self, segment: SegmentId, start: u32, written: bool) {
        let found = self.chunks.iter().position(|chunk| (chunk.segment, chunk.start) == (segment, start));
        let Some(index) = found else { return };
        self.chunks[index].spilling = false;
        if written || self.chunks[index].live == 0 {
            self.remove(index);
        }
    }

    /// Forgets the chunks of a segment that is gone.
    pub(crate) fn forget(&mut self, segment: SegmentId) {
        for index in (0..self.chunks.len()).rev() {
            if self.chunks[index].segment == segment && !self.chunks[index].spilling {
                self.remove(index);
            }
        }
    }

    fn remove(&mut self, index: usize) {
        if let Some(chunk) = self.chunks.remove(index) {
            self.resident -= chunk.bytes.capacity();
            self.recycle(chunk.bytes);
        }
    }

    /// Keeps a buffer for later.
    fn recycle(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() == self.chunk_bytes && self.free.len() < FREE_CHUNKS {
            bytes.clear();
            self.free.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(window: &mut Window, offset: u32, length: u32) -> Position {
        let fill = u8::try_from(offset % 251).unwrap();
        let room = window.room(SegmentId(1), offset, length as usize, 1);
        room.resize(room.len() + length as usize, fill);
        Position { segment: SegmentId(1), offset, length }
    }

    #[test]
    fn an_empty_chunk_does_not_stay_before_a_large_record() {
        let mut window = Window::new(8 << 20);
        let small = put(&mut window, 0, 104);
        window.acked(small);
        put(&mut window, 104, 5_000_000);
        put(&mut window, 5_000_104, 104);
        assert!(window.oldest().is_some_and(|chunk| !chunk.bytes.is_empty()));
    }

    #[test]
    fn a_record_longer_than_a_chunk_need_not_wait_for_the_next_one() {
        let mut window = Window::new(8 << 20);
        put(&mut window, 0, 104);
        assert!(window.next_spill().is_none());
        put(&mut window, 104, 20_000_000);
        window.evict_oldest();
        let chunk = window.next_spill().unwrap();
        assert_eq!((chunk.start, chunk.bytes.len()), (104, 20_000_000));
        chunk.spilling = true;
        let next = put(&mut window, 20_000_104, 104);
        window.spilled(SegmentId(1), 104, true);
        assert!(window.get(next).is_some());
        assert_eq!(window.resident(), MAX_CHUNK_BYTES);
    }

    #[test]
    fn what_is_consumed_at_once_stays_in_the_same_memory() {
        let mut window = Window::new(8 << 20);
        let first = window.room(SegmentId(1), 0, 100, 0).as_ptr();
        for offset in (0..10_000_000).step_by(104) {
            let position = put(&mut window, offset, 100);
            assert_eq!(window.get(position).unwrap().as_ptr(), first);
            window.acked(position);
        }
        assert_eq!(window.resident(), MAX_CHUNK_BYTES);
    }

    #[test]
    fn records_are_found_in_any_chunk_until_it_is_evicted() {
        let mut window = Window::new(8 << 20);
        let positions: Vec<_> = (0..20_000).map(|n| put(&mut window, n * 104, 100)).collect();
        for position in &positions {
            let bytes = window.get(*position).unwrap();
            assert!(bytes.len() == 100 && bytes.iter().all(|&byte| u32::from(byte) == position.offset % 251));
        }
        window.evict_oldest();
        assert!(window.get(positions[0]).is_none());
        assert!(window.get(positions[19_999]).is_some());
    }

    #[test]
    fn a_record_larger_than_a_chunk_has_its_own() {
        let mut window = Window::new(8 << 20);
        let small = put(&mut window, 0, 100);
        let large = put(&mut window, 104, 1_000_000);
        let next = put(&mut window, 1_000_104, 100);
        assert!([small, large, next].iter().all(|position| window.get(*position).is_some()));
        window.acked(large);
        assert!(window.get(large).is_none());
        assert_eq!(window.resident(), 2 * MAX_CHUNK_BYTES);
    }
}

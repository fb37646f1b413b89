//! Where the messages of a stream are: entries for those in segments that are being filled, runs for those in sealed ones.
//!
//! Memory is proportional to what was published since the last segment was sealed; a sealed segment costs a few words
//! however many messages it has.

use std::collections::VecDeque;

use broker_store::{Entry, Load, Log, QueueId, Run, SegmentId, Seq};

/// Shorter sequences of entries are not worth a run.
const MIN_RUN_ENTRIES: usize = 64;

/// Entries that are taken out of the oldest run at a time, when part of it is to go.
const TRIM_ENTRIES: usize = 1024;

#[derive(Debug)]
enum Piece {
    /// Never empty.
    Entries(VecDeque<Entry>),
    Run(Run),
}

impl Piece {
    fn first(&self) -> Option<Seq> {
        match self {
            Self::Entries(entries) => entries.front().map(|entry| entry.seq),
            Self::Run(run) => Some(run.first),
        }
    }

    fn last(&self) -> Option<Seq> {
        match self {
            Self::Entries(entries) => entries.back().map(|entry| entry.seq),
            Self::Run(run) => Some(run.last),
        }
    }
}

/// What is to go from the old end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// Messages before this one.
    Before(Seq),
    /// The oldest, until the records of the rest have no more bytes than this.
    Bytes(u64),
}

/// The messages of one stream, ascending.
#[derive(Debug, Default)]
pub struct Extents {
    pieces: VecDeque<Piece>,
    count: u64,
    bytes: u64,
}

impl Extents {
    /// The messages that recovery found.
    #[must_use]
    pub fn recovered(runs: Vec<Run>) -> Self {
        Self {
            count: runs.iter().map(|run| u64::from(run.count)).sum(),
            bytes: runs.iter().map(|run| run.bytes).sum(),
            pieces: runs.into_iter().map(Piece::Run).collect(),
        }
    }

    /// Number of messages.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.count
    }

    /// True if there is no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Sum of the lengths of their records, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The oldest message.
    #[must_use]
    pub fn first(&self) -> Option<Seq> {
        self.pieces.front()?.first()
    }

    /// The newest message.
    #[must_use]
    pub fn last(&self) -> Option<Seq> {
        self.pieces.back()?.last()
    }

    /// Adds the newest message.
    pub fn push(&mut self, entry: Entry) {
        self.count += 1;
        self.bytes += u64::from(entry.position.length);
        match self.pieces.back_mut() {
            Some(Piece::Entries(entries)) => entries.push_back(entry),
            _ => self.pieces.push_back(Piece::Entries(VecDeque::from([entry]))),
        }
    }

    /// Finds the first messages from `from` on: at most `max` are put into `out`, none if there is none.
    pub fn find(&self, log: &mut Log, queue: QueueId, from: Seq, max: usize, out: &mut Vec<Entry>) -> Load {
        let start = self.pieces.partition_point(|piece| piece.last() < Some(from));
        for piece in self.pieces.range(start..) {
            match piece {
                Piece::Entries(entries) => {
                    let at = entries.partition_point(|entry| entry.seq < from);
                    out.extend(entries.range(at..).take(max));
                }
                Piece::Run(run) => {
                    if log.load(queue, run, from.max(run.first), max, out) == Load::NeedsPageIn {
                        return Load::NeedsPageIn;
                    }
                }
            }
            if !out.is_empty() {
                break;
            }
        }
        Load::Loaded
    }

    /// Removes the excess from the old end. The newest message always stays: its number says where the stream goes on after a
    /// restart. [`Load::NeedsPageIn`]: to be called again when the log has paged something in.
    pub fn trim(&mut self, log: &mut Log, queue: QueueId, excess: Excess) -> Load {
        while self.count > 1 {
            match self.pieces.front_mut() {
                None => break,
                Some(Piece::Entries(entries)) => {
                    let goes = |entry: &&Entry| match excess {
                        Excess::Before(seq) => entry.seq < seq,
                        Excess::Bytes(bytes) => self.bytes > bytes,
                    };
                    let Some(gone) = entries.front().filter(goes).copied() else {
                        break;
                    };
                    entries.pop_front();
                    if entries.is_empty() {
                        self.pieces.pop_front();
                    }
                    self.count -= 1;
                    self.bytes = self.bytes.saturating_sub(gone.position.length.into());
                    log.ack(queue, gone.seq, gone.position);
                }
                Some(&mut Piece::Run(run)) => {
                    let (whole, part) = match excess {
                        Excess::Before(seq) => (run.last < seq, run.first < seq),
                        Excess::Bytes(bytes) => {
                            (self.bytes.saturating_sub(run.bytes) >= bytes, self.bytes > bytes)
                        }
                    };
                    if whole && self.pieces.len() > 1 {
                        log.discard(queue, &run);
                        self.forget_run(&run);
                    } else if !part {
                        break;
                    } else if self.unfold(log, queue, run) == Load::NeedsPageIn {
                        return Load::NeedsPageIn;
                    }
                }
            }
        }
        Load::Loaded
    }

    /// Removes everything: the stream is deleted.
    pub fn clear(&mut self, log: &mut Log, queue: QueueId) {
        for piece in self.pieces.drain(..) {
            match piece {
                Piece::Entries(entries) => {
                    entries.iter().for_each(|entry| log.ack(queue, entry.seq, entry.position));
                }
                Piece::Run(run) => log.discard(queue, &run),
            }
        }
        (self.count, self.bytes) = (0, 0);
    }

    /// The segment has an index now, which knows the entries in it.
    pub fn segment_sealed(&mut self, segment: SegmentId) {
        let mut pieces = VecDeque::with_capacity(self.pieces.len() + 2);
        for piece in std::mem::take(&mut self.pieces) {
            match piece {
                Piece::Entries(mut entries) if entries.len() >= MIN_RUN_ENTRIES => {
                    fold(entries.make_contiguous(), segment, &mut pieces);
                }
                piece => pieces.push_back(piece),
            }
        }
        self.pieces = pieces;
    }

    /// Records of a rewritten segment have moved; `moved` has every message of this stream in it, ascending.
    pub fn relocate(&mut self, segment: SegmentId, moved: &[Entry]) {
        for piece in &mut self.pieces {
            match piece {
                Piece::Entries(entries) => {
                    for entry in entries.iter_mut().filter(|entry| entry.position.segment == segment) {
                        if let Ok(at) = moved.binary_search_by_key(&entry.seq, |moved| moved.seq) {
                            let before = std::mem::replace(&mut entry.position, moved[at].position);
                            self.bytes = self.bytes + u64::from(entry.position.length) - u64::from(before.length);
                        }
                    }
                }
                Piece::Run(run) if run.segment == segment => {
                    let from = moved.partition_point(|moved| moved.seq < run.first);
                    let to = moved.partition_point(|moved| moved.seq <= run.last);
                    let entries: VecDeque<Entry> = moved[from..to].iter().copied().collect();
                    self.count = self.count - u64::from(run.count) + entries.len() as u64;
                    self.bytes = self.bytes - run.bytes + bytes_of(entries.iter());
                    *piece = Piece::Entries(entries);
                }
                Piece::Run(_) => {}
            }
        }
        self.pieces.retain(|piece| piece.first().is_some());
    }

    /// Takes the first entries out of the run at the front, so that they can go one by one.
    fn unfold(&mut self, log: &mut Log, queue: QueueId, run: Run) -> Load {
        let mut found = Vec::with_capacity(TRIM_ENTRIES);
        if log.load(queue, &run, run.first, TRIM_ENTRIES, &mut found) == Load::NeedsPageIn {
            return Load::NeedsPageIn;
        }
        let (count, bytes) = (found.len() as u64, bytes_of(found.iter()));
        self.forget_run(&run);
        if let Some(last) = found.last()
            && found.len() == TRIM_ENTRIES
            && last.seq < run.last
        {
            let rest = Run {
                first: Seq(last.seq.0 + 1),
                count: run.count.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX)),
                bytes: run.bytes.saturating_sub(bytes),
                ..run
            };
            self.count += u64::from(rest.count);
            self.bytes += rest.bytes;
            self.pieces.push_front(Piece::Run(rest));
        }
        // Should the index have fewer than the run says, the index is right.
        self.count += count;
        self.bytes += bytes;
        if !found.is_empty() {
            self.pieces.push_front(Piece::Entries(found.into()));
        }
        Load::Loaded
    }

    /// Entries in memory.
    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        let entries = |piece: &Piece| match piece {
            Piece::Entries(entries) => entries.len(),
            Piece::Run(_) => 0,
        };
        self.pieces.iter().map(entries).sum()
    }

    #[cfg(test)]
    pub(super) fn counted_bytes(&self) -> u64 {
        let bytes = |piece: &Piece| match piece {
            Piece::Entries(entries) => bytes_of(entries.iter()),
            Piece::Run(run) => run.bytes,
        };
        self.pieces.iter().map(bytes).sum()
    }

    /// Takes the run at the front out of the account.
    fn forget_run(&mut self, run: &Run) {
        self.pieces.pop_front();
        self.count = self.count.saturating_sub(run.count.into());
        self.bytes = self.bytes.saturating_sub(run.bytes);
    }
}

/// Pushes entries as pieces onto `out`, with each long enough sequence of entries in `segment` as a run.
fn fold(entries: &[Entry], segment: SegmentId, out: &mut VecDeque<Piece>) {
    let mut open = false;
    for part in entries.chunk_by(|a, b| (a.position.segment == segment) == (b.position.segment == segment)) {
        let (Some(first), Some(last)) = (part.first(), part.last()) else {
            continue;
        };
        if first.position.segment == segment && part.len() >= MIN_RUN_ENTRIES {
            let count = u32::try_from(part.len()).expect("a segment has fewer than 2^32 records");
            let run = Run { segment, first: first.seq, last: last.seq, count, bytes: bytes_of(part.iter()) };
            out.push_back(Piece::Run(run));
            open = false;
        } else if open && let Some(Piece::Entries(before)) = out.back_mut() {
            before.extend(part);
        } else {
            out.push_back(Piece::Entries(part.iter().copied().collect()));
            open = true;
        }
    }
}

fn bytes_of<'a>(entries: impl Iterator<Item = &'a Entry>) -> u64 {
    entries.map(|entry| u64::from(entry.position.length)).sum()
}

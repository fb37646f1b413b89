//! The ready messages of a queue: where they are, in order, without their bytes.
//!
//! A [`Backlog`] holds two streams, one for each log, and merges them by sequence number. A stream is a list of
//! pieces: entries that are loaded, and runs, which stand for never delivered entries in the index of a sealed
//! segment. Memory is proportional to what is loaded; a run is a few words however long it is.

use std::collections::VecDeque;

use broker_store::{LogKind, Position, Run, SegmentId, Seq};

/// Entries that stay loaded at the head of a stream when a segment is sealed.
pub const HEAD_ENTRIES: usize = 1024;

/// Entries that are loaded from a run at a time.
pub const LOAD_ENTRIES: usize = 2048;

/// Shorter sequences of entries are not worth a run.
const MIN_RUN_ENTRIES: usize = 64;

/// One ready or unacknowledged message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the queue; the order of delivery.
    pub seq: Seq,
    /// Where its record is.
    pub position: Position,
    /// Bytes of the record that are not body; all ones stand for so many or more.
    overhead: u16,
    /// The lane of the queue that it is in: its priority.
    pub lane: u8,
    marks: u8,
}

// A backlog that is loaded has one for each message.
const _: () = assert!(size_of::<Entry>() == 24);

impl Entry {
    const VOLATILE: u8 = 1;
    const REDELIVERED: u8 = 2;

    /// A message that was never delivered, with a body of `body` bytes.
    #[must_use]
    pub fn new(seq: Seq, position: Position, body: u32, log: LogKind, lane: u8) -> Self {
        let marks = if log == LogKind::Volatile { Self::VOLATILE } else { 0 };
        Self { seq, position, overhead: overhead(position, body), lane, marks }
    }

    /// The log that has the record.
    #[must_use]
    pub fn log(self) -> LogKind {
        if self.marks & Self::VOLATILE == 0 { LogKind::Durable } else { LogKind::Volatile }
    }

    /// True if it was delivered before.
    #[must_use]
    pub fn redelivered(self) -> bool {
        self.marks & Self::REDELIVERED != 0
    }

    /// The same message, which was delivered before.
    #[must_use]
    pub fn again(self) -> Self {
        Self { marks: self.marks | Self::REDELIVERED, ..self }
    }

    /// Length of the body, in bytes. What a message has of properties and queues beyond 64 KiB counts as body.
    #[must_use]
    pub fn body_bytes(self) -> u64 {
        u64::from(self.position.length.saturating_sub(self.overhead.into()))
    }

    /// Its record has moved.
    pub fn move_to(&mut self, moved: &broker_store::Entry) {
        self.position = moved.position;
        self.overhead = overhead(moved.position, moved.body);
    }
}

fn overhead(position: Position, body: u32) -> u16 {
    u16::try_from(position.length.saturating_sub(body)).unwrap_or(u16::MAX)
}

/// What the head of a backlog or stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Nothing is ready.
    Empty,
    /// This entry, already loaded.
    Entry(Entry),
    /// A run of this log that must be loaded first.
    Run(LogKind, Run),
}

#[derive(Debug)]
enum Piece {
    Loaded(VecDeque<Entry>),
    Run(Run),
}

/// The ready messages that are in one log, ascending by sequence number.
#[derive(Debug, Default)]
struct Stream {
    pieces: VecDeque<Piece>,
}

/// The ready messages of a queue.
#[derive(Debug, Default)]
pub struct Backlog {
    durable: Stream,
    volatile: Stream,
    count: u64,
}

impl Backlog {
    /// Number of ready messages.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.count
    }

    /// True if no message is ready.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds the newest message.
    pub fn push_back(&mut self, entry: Entry) {
        self.count += 1;
        self.stream(entry.log()).push_back(entry);
    }

    /// Adds a run that follows all that is in its log's stream (recovery).
    pub fn push_run(&mut self, log: LogKind, run: Run) {
        self.count += u64::from(run.count);
        self.stream(log).pieces.push_back(Piece::Run(run));
    }

    /// Puts a message back to its place in the order.
    pub fn insert(&mut self, entry: Entry) {
        self.count += 1;
        self.stream(entry.log()).insert(entry);
    }

    /// The oldest message, or the run that has it.
    #[must_use]
    pub fn head(&self) -> Head {
        let (durable, volatile) = (self.durable.head(), self.volatile.head());
        match (durable.map(|(seq, _)| seq), volatile.map(|(seq, _)| seq)) {
            (None, None) => Head::Empty,
            (Some(a), Some(b)) if b < a => Self::head_of(LogKind::Volatile, volatile),
            (None, Some(_)) => Self::head_of(LogKind::Volatile, volatile),
            (Some(_), _) => Self::head_of(LogKind::Durable, durable),
        }
    }

    fn head_of(log: LogKind, head: Option<(Seq, StreamHead)>) -> Head {
        match head {
            None => Head::Empty,
            Some((_, StreamHead::Entry(entry))) => Head::Entry(entry),
            Some((_, StreamHead::Run(run))) => Head::Run(log, run),
        }
    }

    /// Removes the entry that [`Self::head`] returned.
    pub fn pop(&mut self, entry: Entry) {
        self.count -= 1;
        self.stream(entry.log()).pop_front();
    }

    /// Replaces the first part of the run at the head of `log` by what the log found for it: `entries`, the
    /// live entries up to and including `through`.
    pub fn loaded(&mut self, log: LogKind, entries: Vec<Entry>, through: Seq) {
        let stream = self.stream(log);
        let Some(Piece::Run(run)) = stream.pieces.front_mut() else {
            return;
        };
        let taken = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        if through >= run.last {
            let missing = i64::from(run.count) - i64::from(taken);
            stream.pieces.pop_front();
            // A run counts what is live in it; should the index disagree, the index is right.
            self.count = self.count.saturating_add_signed(-missing);
        } else {
            let taken_bytes: u64 = entries.iter().map(|entry| u64::from(entry.position.length)).sum();
            run.first = Seq(through.0 + 1);
            run.count = run.count.saturating_sub(taken);
            run.bytes = run.bytes.saturating_sub(taken_bytes);
        }
        let stream = self.stream(log);
        if !entries.is_empty() {
            stream.pieces.push_front(Piece::Loaded(entries.into()));
        }
    }

    /// A segment of `log` was sealed: its never delivered entries (`seq` above `delivered`) beyond the
    /// first [`HEAD_ENTRIES`] become runs.
    pub fn collapse(&mut self, log: LogKind, segment: SegmentId, delivered: Seq) {
        self.stream(log).collapse(segment, delivered);
    }

    /// Records of a rewritten segment are at new positions. `moved` ascends by sequence number and has every
    /// live entry of this queue in `segment`.
    pub fn relocate(&mut self, (log, lane): (LogKind, u8), segment: SegmentId, moved: &[broker_store::Entry]) {
        let missing = self.stream(log).relocate(segment, (log, lane), moved);
        self.count = self.count.saturating_add_signed(-missing);
    }

    /// Takes everything that is ready: loaded entries and runs, each with its log.
    pub fn take_all(&mut self, mut entry: impl FnMut(Entry), mut run: impl FnMut(LogKind, Run)) {
        self.count = 0;
        for log in [LogKind::Durable, LogKind::Volatile] {
            for piece in std::mem::take(&mut self.stream(log).pieces) {
                match piece {
                    Piece::Loaded(entries) => entries.into_iter().for_each(&mut entry),
                    Piece::Run(r) => run(log, r),
                }
            }
        }
    }

    fn stream(&mut self, log: LogKind) -> &mut Stream {
        match log {
            LogKind::Durable => &mut self.durable,
            LogKind::Volatile => &mut self.volatile,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum StreamHead {
    Entry(Entry),
    Run(Run),
}

impl Stream {
    fn head(&self) -> Option<(Seq, StreamHead)> {
        self.pieces.iter().find_map(|piece| match piece {
            Piece::Loaded(entries) => entries.front().map(|entry| (entry.seq, StreamHead::Entry(*entry))),
            Piece::Run(run) => Some((run.first, StreamHead::Run(*run))),
        })
    }

    fn push_back(&mut self, entry: Entry) {
        if let Some(Piece::Loaded(entries)) = self.pieces.back_mut() {
            entries.push_back(entry);
        } else {
            self.pieces.push_back(Piece::Loaded(VecDeque::from([entry])));
        }
    }

    /// Removes the first entry. The last piece stays although it is empty, so that a queue that is
    /// drained as fast as it is filled does not allocate.
    fn pop_front(&mut self) {
        while let Some(Piece::Loaded(entries)) = self.pieces.front_mut() {
            let popped = entries.pop_front().is_some();
            let empty = entries.is_empty();
            if empty && entries.capacity() > HEAD_ENTRIES {
                *entries = VecDeque::new();
            }
            if empty && self.pieces.len() > 1 {
                self.pieces.pop_front();
            }
            if popped || self.pieces.len() <= 1 {
                return;
            }
        }
    }

    /// Index of the first piece that ends at or after `seq`, or the number of pieces.
    fn piece_for(&self, seq: Seq) -> usize {
        self.pieces.partition_point(|piece| match piece {
            Piece::Loaded(entries) => entries.back().is_none_or(|last| last.seq < seq),
            Piece::Run(run) => run.last < seq,
        })
    }

    fn insert(&mut self, entry: Entry) {
        let mut at = self.piece_for(entry.seq);
        if matches!(self.pieces.get(at), None | Some(Piece::Run(_))) && at > 0 {
            at -= 1;
        }
        if let Some(Piece::Loaded(entries)) = self.pieces.get_mut(at) {
            let place = entries.partition_point(|other| other.seq < entry.seq);
            entries.insert(place, entry);
        } else {
            // Between two runs, or before the first one.
            let at = self.piece_for(entry.seq);
            self.pieces.insert(at, Piece::Loaded(VecDeque::from([entry])));
        }
    }

    fn collapse(&mut self, segment: SegmentId, delivered: Seq) {
        let mut skip = HEAD_ENTRIES;
        let mut rebuilt = VecDeque::with_capacity(self.pieces.len() + 2);
        for piece in std::mem::take(&mut self.pieces) {
            let Piece::Loaded(entries) = piece else {
                skip = 0;
                rebuilt.push_back(piece);
                continue;
            };
            let keep = skip.max(entries.partition_point(|entry| entry.seq <= delivered)).min(entries.len());
            skip -= skip.min(entries.len());
            split_into_runs(entries, keep, segment, &mut rebuilt);
        }
        self.pieces = rebuilt;
    }

    /// Returns how many messages fewer than their counts said the runs turned out to have.
    fn relocate(&mut self, segment: SegmentId, (log, lane): (LogKind, u8), moved: &[broker_store::Entry]) -> i64 {
        let mut missing = 0;
        for piece in &mut self.pieces {
            match piece {
                Piece::Loaded(entries) => {
                    for entry in entries.iter_mut().filter(|entry| entry.position.segment == segment) {
                        if let Ok(at) = moved.binary_search_by_key(&entry.seq, |moved| moved.seq) {
                            entry.move_to(&moved[at]);
                        }
                    }
                }
                Piece::Run(run) if run.segment == segment => {
                    let from = moved.partition_point(|moved| moved.seq < run.first);
                    let to = moved.partition_point(|moved| moved.seq <= run.last);
                    let entry =
                        |moved: &broker_store::Entry| Entry::new(moved.seq, moved.position, moved.body, log, lane);
                    missing += i64::from(run.count) - i64::try_from(to - from).unwrap_or(i64::MAX);
                    *piece = Piece::Loaded(moved[from..to].iter().map(entry).collect());
                }
                Piece::Run(_) => {}
            }
        }
        self.pieces.retain(|piece| !matches!(piece, Piece::Loaded(entries) if entries.is_empty()));
        missing
    }
}

/// Pushes `entries` as pieces onto `out`: the first `keep` as they are, and behind them each long enough sequence of
/// entries in `segment` as a run.
fn split_into_runs(entries: VecDeque<Entry>, keep: usize, segment: SegmentId, out: &mut VecDeque<Piece>) {
    let mut rest = entries;
    let mut start = keep;
    while let Some(first) = (start..rest.len()).find(|&i| rest[i].position.segment == segment) {
        let end = (first..rest.len()).find(|&i| rest[i].position.segment != segment).unwrap_or(rest.len());
        if end - first < MIN_RUN_ENTRIES {
            start = end;
            continue;
        }
        let mut run_entries = rest.split_off(first);
        let after = run_entries.split_off(end - first);
        if !rest.is_empty() {
            rest.shrink_to_fit();
            out.push_back(Piece::Loaded(rest));
        }
        out.push_back(Piece::Run(run_of(&run_entries, segment)));
        rest = after;
        start = 0;
    }
    if !rest.is_empty() {
        out.push_back(Piece::Loaded(rest));
    }
}

fn run_of(entries: &VecDeque<Entry>, segment: SegmentId) -> Run {
    let seq_at = |i: usize| entries[i].seq;
    Run {
        segment,
        first: seq_at(0),
        last: seq_at(entries.len() - 1),
        count: u32::try_from(entries.len()).unwrap_or(u32::MAX),
        bytes: entries.iter().map(|entry| u64::from(entry.position.length)).sum(),
    }
}

#[cfg(test)]
mod tests;

//! The index of a segment: for each queue where its messages are, and the acks and delivered marks that the
//! segment records. It is written when the segment is sealed, so that nothing has to read the records again.
//!
//! A directory entry stands for a *stretch* of a queue: messages between whose sequence numbers no other segment has
//! one of the queue. What was appended in order is one stretch; messages that were moved here from another
//! segment are stretches of their own.
//!
//! The body is synced before the header is written, so an intact header means an intact index.

use std::ops::Range;

use super::format::{
    self, ACK_RANGE, ATTEMPT, TARGET, len32, put_ack_range, put_attempt, put_target, u32_at, u64_at,
};
use crate::attempts::Attempt;
use crate::dead::DeadSet;
use crate::ids::{Lsn, Position, QueueId, SegmentId, Seq};
use crate::log::{Entry, Run};

/// Length of the header, in bytes.
pub(crate) const INDEX_HEADER: usize = 88;
const STRETCH: usize = 48;
const ENTRY: usize = 20;
const MAGIC: [u8; 8] = *b"RINGMQ\0i";
const FORMAT: u32 = 2;

/// A message of one queue in the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Item {
    pub(crate) queue: QueueId,
    /// Where the message was appended first; tells stretches apart.
    pub(crate) origin: SegmentId,
    pub(crate) seq: Seq,
    pub(crate) offset: u32,
    pub(crate) length: u32,
    /// Length of the body, in bytes.
    pub(crate) body: u32,
}

/// What is known of a segment while it is written.
#[derive(Clone, Debug)]
pub(crate) struct IndexBuilder {
    pub(crate) segment: SegmentId,
    pub(crate) items: Vec<Item>,
    pub(crate) acks: Vec<(QueueId, Seq, Seq)>,
    pub(crate) delivered: Vec<(QueueId, Seq)>,
    pub(crate) attempts: Vec<(QueueId, Seq, Attempt)>,
    pub(crate) first_lsn: Lsn,
    pub(crate) last_lsn: Lsn,
    /// The largest LSN that a batch mark of the segment says is synced.
    pub(crate) synced: Lsn,
    /// Bytes used from the start of the segment.
    pub(crate) used: u32,
    /// Sum of the record lengths over all targets.
    pub(crate) total_bytes: u64,
}

impl IndexBuilder {
    pub(crate) fn new(segment: SegmentId, first_lsn: Lsn) -> Self {
        Self {
            segment,
            items: Vec::new(),
            acks: Vec::new(),
            delivered: Vec::new(),
            attempts: Vec::new(),
            first_lsn,
            last_lsn: Lsn(first_lsn.0.saturating_sub(1)),
            synced: Lsn(0),
            used: 0,
            total_bytes: 0,
        }
    }

    /// Everything that takes memory here.
    pub(crate) fn len(&self) -> usize {
        self.items.len() + self.acks.len() + self.delivered.len() + self.attempts.len()
    }

    /// Body and header of the index file. Sorts, so it is called away from the shard's thread.
    pub(crate) fn encode(&self) -> (Vec<u8>, Vec<u8>) {
        let mut items = self.items.clone();
        items.sort_unstable();
        let stretches = stretches(&items);
        let acks = merged(&self.acks);
        let mut body = Vec::with_capacity(
            stretches.len() * STRETCH
                + acks.len() * ACK_RANGE
                + self.delivered.len() * TARGET
                + self.attempts.len() * ATTEMPT
                + items.len() * ENTRY,
        );
        for range in &stretches {
            put_stretch(&mut body, &items, range);
        }
        for range in &acks {
            put_ack_range(&mut body, *range);
        }
        for &(queue, seq) in &self.delivered {
            put_target(&mut body, queue, seq);
        }
        for &attempt in &self.attempts {
            put_attempt(&mut body, attempt);
        }
        let checked = body.len();
        for item in &items {
            body.extend_from_slice(&item.seq.0.to_le_bytes());
            body.extend_from_slice(&item.offset.to_le_bytes());
            body.extend_from_slice(&item.length.to_le_bytes());
            body.extend_from_slice(&item.body.to_le_bytes());
        }
        let counts = [stretches.len(), acks.len(), self.delivered.len(), items.len()];
        let header = self.header(counts, crc32fast::hash(&body[..checked]), crc32fast::hash(&body[checked..]));
        (body, header)
    }

    fn header(&self, counts: [usize; 4], crc: u32, entries_crc: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(INDEX_HEADER);
        out.extend_from_slice(&MAGIC);
        for value in [FORMAT, self.segment.0, self.used] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        for count in counts {
            out.extend_from_slice(&len32(count).to_le_bytes());
        }
        out.extend_from_slice(&crc.to_le_bytes());
        for value in [self.first_lsn.0, self.last_lsn.0, self.synced.0, self.total_bytes] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        out.extend_from_slice(&(self.attempts.len() as u64).to_le_bytes());
        out.extend_from_slice(&entries_crc.to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        out
    }
}

fn stretches(items: &[Item]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        match ranges.last_mut() {
            Some(range) if (items[range.start].queue, items[range.start].origin) == (item.queue, item.origin) => {
                range.end = at + 1;
            }
            _ => ranges.push(at..at + 1),
        }
    }
    ranges.sort_unstable_by_key(|range| (items[range.start].queue, items[range.start].seq));
    ranges
}

fn put_stretch(out: &mut Vec<u8>, items: &[Item], range: &Range<usize>) {
    let bytes: u64 = items[range.clone()].iter().map(|item| u64::from(item.length)).sum();
    put_target(out, items[range.start].queue, items[range.start].seq);
    out.extend_from_slice(&items[range.end - 1].seq.0.to_le_bytes());
    out.extend_from_slice(&bytes.to_le_bytes());
    let bodies: u64 = items[range.clone()].iter().map(|item| u64::from(item.body)).sum();
    out.extend_from_slice(&bodies.to_le_bytes());
    out.extend_from_slice(&len32(range.start).to_le_bytes());
    out.extend_from_slice(&len32(range.len()).to_le_bytes());
}

/// The ranges, sorted, those that touch joined.
fn merged(acks: &[(QueueId, Seq, Seq)]) -> Vec<(QueueId, Seq, Seq)> {
    let mut sorted = acks.to_vec();
    sorted.sort_unstable();
    let mut out: Vec<(QueueId, Seq, Seq)> = Vec::new();
    for (queue, first, last) in sorted {
        match out.last_mut() {
            Some(range) if range.0 == queue && first.0 <= range.2.0.saturating_add(1) => {
                range.2 = range.2.max(last)
            }
            _ => out.push((queue, first, last)),
        }
    }
    out
}

/// A directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) queue: QueueId,
    pub(crate) first: Seq,
    pub(crate) last: Seq,
    /// Sum of the record lengths.
    pub(crate) bytes: u64,
    /// Sum of the lengths of the bodies.
    pub(crate) body_bytes: u64,
    start: u32,
    pub(crate) count: u32,
}

/// An index file in a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexView<'a> {
    bytes: &'a [u8],
    segment: SegmentId,
    counts: [usize; 4],
    attempts: usize,
}

impl<'a> IndexView<'a> {
    /// Reads and checks header and directory. `None` if this is no intact index of the segment; the segment is
    /// scanned then, which also is what happens with one of a newer format.
    pub(crate) fn open(bytes: &'a [u8], segment: SegmentId) -> Option<Self> {
        let header = bytes.get(..INDEX_HEADER)?;
        let intact = header[..8] == MAGIC && crc32fast::hash(&header[..84]) == u32_at(header, 84);
        if !intact || u32_at(header, 8) != FORMAT || u32_at(header, 12) != segment.0 {
            return None;
        }
        let view = Self::trusted(bytes, segment)?;
        (crc32fast::hash(bytes.get(INDEX_HEADER..view.entries_at())?) == u32_at(header, 36)).then_some(view)
    }

    /// An index that was checked before.
    pub(crate) fn trusted(bytes: &'a [u8], segment: SegmentId) -> Option<Self> {
        if bytes.len() < INDEX_HEADER {
            return None;
        }
        let counts = [20, 24, 28, 32].map(|at| u32_at(bytes, at) as usize);
        let view = Self { bytes, segment, counts, attempts: u32_at(bytes, 72) as usize };
        (view.entries_at() + counts[3] * ENTRY <= bytes.len()).then_some(view)
    }

    /// True if the entries are those that were written. Reads them all.
    pub(crate) fn entries_are_intact(&self) -> bool {
        let start = self.entries_at();
        crc32fast::hash(&self.bytes[start..start + self.counts[3] * ENTRY]) == u32_at(self.bytes, 80)
    }

    pub(crate) fn used(&self) -> u32 {
        u32_at(self.bytes, 16)
    }

    pub(crate) fn last_lsn(&self) -> Lsn {
        Lsn(u64_at(self.bytes, 48))
    }

    pub(crate) fn synced(&self) -> Lsn {
        Lsn(u64_at(self.bytes, 56))
    }

    pub(crate) fn total_bytes(&self) -> u64 {
        u64_at(self.bytes, 64)
    }

    fn acks_at(&self) -> usize {
        INDEX_HEADER + self.counts[0] * STRETCH
    }

    fn delivered_at(&self) -> usize {
        self.acks_at() + self.counts[1] * ACK_RANGE
    }

    fn attempts_at(&self) -> usize {
        self.delivered_at() + self.counts[2] * TARGET
    }

    fn entries_at(&self) -> usize {
        self.attempts_at() + self.attempts * ATTEMPT
    }

    /// The ranges of acks that the segment records.
    pub(crate) fn acks(&self) -> impl Iterator<Item = (QueueId, Seq, Seq)> + use<'a> {
        self.bytes[self.acks_at()..self.delivered_at()]
            .chunks_exact(ACK_RANGE)
            .map(|range| (QueueId(u64_at(range, 0)), Seq(u64_at(range, 8)), Seq(u64_at(range, 16))))
    }

    /// The delivered marks that the segment records.
    pub(crate) fn delivered(&self) -> impl Iterator<Item = (QueueId, Seq)> + use<'a> {
        self.bytes[self.delivered_at()..self.attempts_at()]
            .chunks_exact(TARGET)
            .map(|mark| (QueueId(u64_at(mark, 0)), Seq(u64_at(mark, 8))))
    }

    /// How often messages were delivered, as the segment records it; the last of several counts of a message is the highest.
    pub(crate) fn attempts(&self) -> impl Iterator<Item = (QueueId, Seq, Attempt)> + use<'a> {
        self.bytes[self.attempts_at()..self.entries_at()].chunks_exact(ATTEMPT).map(format::attempt_at)
    }

    /// The directory, sorted by queue and sequence number.
    pub(crate) fn stretches(&self) -> impl Iterator<Item = Stretch> + use<'a> {
        let view = *self;
        (0..self.counts[0]).map(move |at| view.stretch(at))
    }

    fn stretch(&self, at: usize) -> Stretch {
        let bytes = &self.bytes[INDEX_HEADER + at * STRETCH..][..STRETCH];
        Stretch {
            queue: QueueId(u64_at(bytes, 0)),
            first: Seq(u64_at(bytes, 8)),
            last: Seq(u64_at(bytes, 16)),
            bytes: u64_at(bytes, 24),
            body_bytes: u64_at(bytes, 32),
            start: u32_at(bytes, 40),
            count: u32_at(bytes, 44),
        }
    }

    fn entry(&self, at: usize) -> Entry {
        let bytes = &self.bytes[self.entries_at() + at * ENTRY..][..ENTRY];
        let position = Position { segment: self.segment, offset: u32_at(bytes, 8), length: u32_at(bytes, 12) };
        Entry { seq: Seq(u64_at(bytes, 0)), position, body: u32_at(bytes, 16) }
    }

    /// The entries of a stretch from `from` on.
    fn entries_of(&self, stretch: &Stretch, from: Seq) -> impl Iterator<Item = Entry> + use<'a> {
        let view = *self;
        let end = (stretch.start as usize + stretch.count as usize).min(self.counts[3]);
        let mut range = stretch.start as usize..end;
        let (mut low, mut high) = (range.start, range.end);
        while low < high {
            let middle = low.midpoint(high);
            if view.entry(middle).seq < from { low = middle + 1 } else { high = middle }
        }
        range.start = low.min(end);
        range.map(move |at| view.entry(at))
    }

    /// Appends the live entries of `queue` in `from..=last`, at most `max`.
    pub(crate) fn load(
        &self,
        queue: QueueId,
        (from, last): (Seq, Seq),
        dead: Option<&DeadSet>,
        max: usize,
        out: &mut Vec<Entry>,
    ) {
        let (mut low, mut high) = (0, self.counts[0]);
        while low < high {
            let middle = low.midpoint(high);
            let stretch = self.stretch(middle);
            if (stretch.queue, stretch.last) < (queue, from) { low = middle + 1 } else { high = middle }
        }
        let full = out.len() + max;
        for at in low..self.counts[0] {
            let stretch = self.stretch(at);
            if stretch.queue != queue || stretch.first > last || out.len() >= full {
                break;
            }
            let live = self
                .entries_of(&stretch, from)
                .take_while(|entry| entry.seq <= last)
                .filter(|entry| !dead.is_some_and(|dead| dead.contains(entry.seq.0)));
            out.extend(live.take(full - out.len()));
        }
    }

    /// What is live of a stretch, and the bytes of its bodies. Touches its entries only if some are dead.
    pub(crate) fn live_run(&self, stretch: &Stretch, dead: &DeadSet) -> Option<(Run, u64)> {
        let (first, last) = (stretch.first, stretch.last);
        let mut run = Run { segment: self.segment, first, last, count: stretch.count, bytes: stretch.bytes };
        if !dead.touches(first.0, last.0) {
            return Some((run, stretch.body_bytes));
        }
        if dead.covers(first.0, last.0) {
            return None;
        }
        (run.count, run.bytes) = (0, 0);
        let mut body_bytes = 0;
        let from = Seq(dead.range_of(first.0).map_or(first.0, |(_, end)| end + 1));
        for entry in self.entries_of(stretch, from).filter(|entry| !dead.contains(entry.seq.0)) {
            if run.count == 0 {
                run.first = entry.seq;
            }
            run.last = entry.seq;
            run.count += 1;
            run.bytes += u64::from(entry.position.length);
            body_bytes += u64::from(entry.body);
        }
        (run.count > 0).then_some((run, body_bytes))
    }
}

/// Adds a record that was read to what is known of its segment. `body_of` finds the length of the body in a payload.
pub(crate) fn add_record(
    builder: &mut IndexBuilder,
    record: &format::Record<'_>,
    offset: u32,
    body_of: fn(&[u8]) -> u32,
) {
    let header = record.header;
    match header.kind {
        format::Kind::Message | format::Kind::Moved => {
            let (origin, body) = (record.origin(), body_of(record.payload()));
            for (queue, seq) in record.targets() {
                builder.items.push(Item { queue, origin, seq, offset, length: header.length, body });
                builder.total_bytes += u64::from(header.length);
            }
        }
        format::Kind::Acks => builder.acks.extend(record.ack_ranges()),
        format::Kind::Delivered => builder.delivered.extend(record.targets()),
        format::Kind::Attempts => builder.attempts.extend(record.attempts()),
        format::Kind::Batch => builder.synced = builder.synced.max(record.synced()),
        format::Kind::Group => {}
    }
    builder.last_lsn = header.lsn;
    builder.used = len32(format::aligned(offset as usize + header.length as usize));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder(items: &[(u64, u32, u64)]) -> IndexBuilder {
        let mut builder = IndexBuilder::new(SegmentId(9), Lsn(1));
        for (at, &(queue, origin, seq)) in items.iter().enumerate() {
            let (queue, origin, seq) = (QueueId(queue), SegmentId(origin), Seq(seq));
            let offset = u32::try_from(at).unwrap() * 8;
            let body = u32::try_from(seq.0).unwrap();
            builder.items.push(Item { queue, origin, seq, offset, length: 8, body });
        }
        builder
    }

    fn file(builder: &IndexBuilder) -> Vec<u8> {
        let (body, mut file) = builder.encode();
        file.extend(body);
        file
    }

    fn seqs(view: &IndexView<'_>, queue: u64, from: u64, last: u64, dead: &DeadSet, max: usize) -> Vec<u64> {
        let mut out = Vec::new();
        view.load(QueueId(queue), (Seq(from), Seq(last)), Some(dead), max, &mut out);
        out.iter().map(|entry| entry.seq.0).collect()
    }

    #[test]
    fn entries_of_a_queue_come_in_order_over_its_stretches() {
        let file = file(&builder(&[(1, 9, 50), (2, 9, 7), (1, 3, 5), (1, 3, 6), (1, 9, 51), (1, 4, 20)]));
        let view = IndexView::open(&file, SegmentId(9)).unwrap();
        assert!(view.entries_are_intact());
        assert_eq!(view.stretches().count(), 4);
        let mut dead = DeadSet::default();
        assert_eq!(seqs(&view, 1, 0, u64::MAX, &dead, 10), [5, 6, 20, 50, 51]);
        assert_eq!(seqs(&view, 1, 6, 50, &dead, 10), [6, 20, 50]);
        assert_eq!(seqs(&view, 1, 6, 50, &dead, 2), [6, 20]);
        assert_eq!(seqs(&view, 2, 0, u64::MAX, &dead, 10), [7]);
        assert_eq!(seqs(&view, 3, 0, u64::MAX, &dead, 10), [0; 0]);
        dead.insert(6, 20);
        assert_eq!(seqs(&view, 1, 0, u64::MAX, &dead, 10), [5, 50, 51]);
    }

    #[test]
    fn a_run_counts_what_is_live() {
        let file = file(&builder(&[(1, 9, 5), (1, 9, 6), (1, 9, 7), (1, 9, 8)]));
        let view = IndexView::open(&file, SegmentId(9)).unwrap();
        let stretch = view.stretches().next().unwrap();
        let live = |dead: &DeadSet| {
            let live = view.live_run(&stretch, dead);
            live.map(|(run, bodies)| (run.first.0, run.last.0, run.count, bodies))
        };
        let mut dead = DeadSet::up_to(4);
        assert_eq!(live(&dead), Some((5, 8, 4, 26)));
        dead.insert(5, 5);
        assert_eq!(live(&dead), Some((6, 8, 3, 21)));
        dead.insert(7, 7);
        assert_eq!(live(&dead), Some((6, 8, 2, 14)));
        dead.insert(6, 8);
        assert_eq!(live(&dead), None);
    }

    #[test]
    fn a_damaged_or_foreign_index_is_refused() {
        let good = file(&builder(&[(1, 9, 5)]));
        assert!(IndexView::open(&good, SegmentId(8)).is_none());
        for at in 0..good.len() - ENTRY {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(IndexView::open(&bad, SegmentId(9)).is_none(), "byte {at}");
        }
        assert!(IndexView::open(&good[..good.len() - 1], SegmentId(9)).is_none());
    }
}

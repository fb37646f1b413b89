//! The layout of records in a segment (docs/storage-format.md has it in boxes). All integers are little-endian.
//!
//! A segment opens with a header of [`SEGMENT_HEADER`] bytes; records follow, each at a multiple of [`ALIGN`].
//! Every record names its segment, so what a recycled file held before is recognised as stale.

use crate::attempts::Attempt;
use crate::ids::{Lsn, QueueId, SegmentId, Seq};

/// Records start at multiples of this, in bytes.
pub(crate) const ALIGN: usize = 8;
/// Length of a segment's header, in bytes.
pub(crate) const SEGMENT_HEADER: usize = 32;
/// Length of a record's header, in bytes.
pub(crate) const RECORD_HEADER: usize = 24;
/// Length of a target (queue, sequence number) and of a delivered mark (queue, sequence number), in bytes.
pub(crate) const TARGET: usize = 16;
/// Length of a range of acks (queue, first, last), in bytes.
pub(crate) const ACK_RANGE: usize = 24;
/// Length of the attempts of a message (queue, sequence number, count), in bytes.
pub(crate) const ATTEMPT: usize = 24;
/// Length of the whole record that opens each batch, in bytes.
pub(crate) const BATCH_MARK: usize = RECORD_HEADER + 8;
/// Length of the whole record that opens a group, in bytes.
pub(crate) const GROUP: usize = RECORD_HEADER + 8;
/// Targets that one record can name.
pub(crate) const MAX_TARGETS: usize = 0x00ff_ffff;

const MAGIC: [u8; 8] = *b"RINGMQ\0s";
const FORMAT: u32 = 1;

/// What a record holds. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A message: targets, then payload.
    Message = 1,
    /// A message that was rewritten from a segment that is being reclaimed: where it was appended first, then as above.
    Moved = 2,
    /// Ranges of messages that are done.
    Acks = 3,
    /// For each queue up to where messages were delivered at least once.
    Delivered = 4,
    /// Opens a batch: the LSN up to which everything was synced when the batch was written.
    Batch = 5,
    /// How often messages were delivered and came back.
    Attempts = 6,
    /// Opens a group: the LSN of its last record.
    Group = 7,
}

impl Kind {
    fn from_stored(stored: u32) -> Option<Self> {
        [Self::Message, Self::Moved, Self::Acks, Self::Delivered, Self::Batch, Self::Attempts, Self::Group]
            .into_iter()
            .find(|kind| *kind as u32 == stored)
    }
}

/// A record's header, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) crc: u32,
    /// Length of the record with header, without padding, in bytes.
    pub(crate) length: u32,
    pub(crate) lsn: Lsn,
    pub(crate) segment: SegmentId,
    pub(crate) kind: Kind,
    /// Targets, ranges or marks in the body.
    pub(crate) count: u32,
}

/// A record in a slice: header and body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) header: RecordHeader,
    bytes: &'a [u8],
}

/// The smallest multiple of [`ALIGN`] that is not below `length`.
pub(crate) const fn aligned(length: usize) -> usize {
    length.next_multiple_of(ALIGN)
}

/// A length that is known to fit, because segments are limited to 32-bit offsets.
pub(crate) fn len32(length: usize) -> u32 {
    u32::try_from(length).expect("lengths in a segment fit 32 bits")
}

/// Reads a u32 at `at`, which must lie within `bytes`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Reads a u64 at `at`, which must lie within `bytes`.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Appends a segment's header.
pub(crate) fn put_segment_header(out: &mut Vec<u8>, segment: SegmentId, first_lsn: Lsn) {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    out.extend_from_slice(&segment.0.to_le_bytes());
    out.extend_from_slice(&first_lsn.0.to_le_bytes());
    let crc = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
}

/// What the first bytes of a segment file say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SegmentHeader {
    /// The header of this segment.
    Valid,
    /// Written by a newer release; its format.
    Newer(u32),
    /// Never written, of another segment (a recycled file), or damaged.
    Absent,
}

/// Reads a segment's header.
pub(crate) fn segment_header(bytes: &[u8], segment: SegmentId) -> SegmentHeader {
    if bytes.len() < SEGMENT_HEADER
        || bytes[..8] != MAGIC
        || u32_at(bytes, 12) != segment.0
        || crc32fast::hash(&bytes[..24]) != u32_at(bytes, 24)
    {
        return SegmentHeader::Absent;
    }
    match u32_at(bytes, 8) {
        format if format > FORMAT => SegmentHeader::Newer(format),
        _ => SegmentHeader::Valid,
    }
}

/// Opens a record at the end of `out`; the caller appends the body and calls [`finish_record`].
pub(crate) fn begin_record(out: &mut Vec<u8>, lsn: Lsn, segment: SegmentId, kind: Kind, count: usize) -> usize {
    let start = out.len();
    debug_assert!(count <= MAX_TARGETS, "callers check the number of targets");
    let mut header = [0; RECORD_HEADER];
    header[8..16].copy_from_slice(&lsn.0.to_le_bytes());
    header[16..20].copy_from_slice(&segment.0.to_le_bytes());
    header[20..24].copy_from_slice(&((kind as u32) << 24 | len32(count)).to_le_bytes());
    out.extend_from_slice(&header);
    start
}

/// Closes the record opened at `start`: length, checksum, padding. Returns its length without padding.
pub(crate) fn finish_record(out: &mut Vec<u8>, start: usize, checksum: bool) -> u32 {
    let length = len32(out.len() - start);
    out[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
    if checksum {
        let crc = crc32fast::hash(&out[start + 4..]);
        out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    }
    out.resize(start + aligned(out.len() - start), 0);
    length
}

/// Appends the record that opens a batch. Its body is filled in by [`set_synced`] when the batch is written.
pub(crate) fn put_batch_mark(out: &mut Vec<u8>, lsn: Lsn, segment: SegmentId) {
    let start = begin_record(out, lsn, segment, Kind::Batch, 0);
    out.extend_from_slice(&[0; 8]);
    finish_record(out, start, false);
}

/// Appends the record that opens a group, of which nothing is said yet.
pub(crate) fn put_group(out: &mut Vec<u8>, lsn: Lsn, segment: SegmentId) {
    let start = begin_record(out, lsn, segment, Kind::Group, 0);
    out.extend_from_slice(&[0; 8]);
    finish_record(out, start, true);
}

/// Fills in the LSN of the batch mark, or of the group, at `start`.
pub(crate) fn set_synced(out: &mut [u8], start: usize, synced: Lsn) {
    let mark = &mut out[start..start + BATCH_MARK];
    mark[RECORD_HEADER..].copy_from_slice(&synced.0.to_le_bytes());
    let crc = crc32fast::hash(&mark[4..]);
    mark[..4].copy_from_slice(&crc.to_le_bytes());
}

/// The record at the start of `bytes`, if header and lengths make sense. The checksum is not looked at.
pub(crate) fn record(bytes: &[u8]) -> Option<Record<'_>> {
    if bytes.len() < RECORD_HEADER {
        return None;
    }
    let last = u32_at(bytes, 20);
    let header = RecordHeader {
        crc: u32_at(bytes, 0),
        length: u32_at(bytes, 4),
        lsn: Lsn(u64_at(bytes, 8)),
        segment: SegmentId(u32_at(bytes, 16)),
        kind: Kind::from_stored(last >> 24)?,
        count: last & 0x00ff_ffff,
    };
    let record = Record { header, bytes: bytes.get(..usize::try_from(header.length).ok()?)? };
    (record.items_end() <= record.bytes.len()).then_some(record)
}

impl<'a> Record<'a> {
    /// True if the bytes are those that were written.
    pub(crate) fn is_intact(&self) -> bool {
        crc32fast::hash(&self.bytes[4..]) == self.header.crc
    }

    /// Targets of a message, or delivered marks.
    pub(crate) fn targets(&self) -> impl Iterator<Item = (QueueId, Seq)> + use<'a> {
        self.bytes[self.items_start()..self.items_end()]
            .chunks_exact(TARGET)
            .map(|target| (QueueId(u64_at(target, 0)), Seq(u64_at(target, 8))))
    }

    /// Ranges of an ack record.
    pub(crate) fn ack_ranges(&self) -> impl Iterator<Item = (QueueId, Seq, Seq)> + use<'a> {
        self.bytes[self.items_start()..self.items_end()]
            .chunks_exact(ACK_RANGE)
            .map(|range| (QueueId(u64_at(range, 0)), Seq(u64_at(range, 8)), Seq(u64_at(range, 16))))
    }

    /// Messages and how often they were delivered.
    pub(crate) fn attempts(&self) -> impl Iterator<Item = (QueueId, Seq, Attempt)> + use<'a> {
        self.bytes[self.items_start()..self.items_end()].chunks_exact(ATTEMPT).map(attempt_at)
    }

    /// The segment into which a message was appended first.
    pub(crate) fn origin(&self) -> SegmentId {
        match self.header.kind {
            Kind::Moved => SegmentId(u32_at(self.bytes, RECORD_HEADER)),
            _ => self.header.segment,
        }
    }

    /// What a batch mark says; of a group, its last LSN.
    pub(crate) fn synced(&self) -> Lsn {
        self.bytes.get(RECORD_HEADER..BATCH_MARK).map_or(Lsn(0), |body| Lsn(u64_at(body, 0)))
    }

    /// Payload of a message.
    pub(crate) fn payload(&self) -> &'a [u8] {
        &self.bytes[self.items_end()..]
    }

    fn items_start(&self) -> usize {
        RECORD_HEADER + if self.header.kind == Kind::Moved { 8 } else { 0 }
    }

    fn items_end(&self) -> usize {
        let item = match self.header.kind {
            Kind::Message | Kind::Moved | Kind::Delivered => TARGET,
            Kind::Acks => ACK_RANGE,
            Kind::Attempts => ATTEMPT,
            Kind::Batch | Kind::Group => 8,
        };
        let one = matches!(self.header.kind, Kind::Batch | Kind::Group);
        let count = if one { 1 } else { self.header.count as usize };
        self.items_start() + item * count
    }
}

/// Appends one target or delivered mark.
pub(crate) fn put_target(out: &mut Vec<u8>, queue: QueueId, seq: Seq) {
    let mut target = [0; TARGET];
    target[..8].copy_from_slice(&queue.0.to_le_bytes());
    target[8..].copy_from_slice(&seq.0.to_le_bytes());
    out.extend_from_slice(&target);
}

/// Appends one range of acks.
pub(crate) fn put_ack_range(out: &mut Vec<u8>, (queue, first, last): (QueueId, Seq, Seq)) {
    put_target(out, queue, first);
    out.extend_from_slice(&last.0.to_le_bytes());
}

/// Appends how often a message was delivered.
pub(crate) fn put_attempt(out: &mut Vec<u8>, (queue, seq, attempt): (QueueId, Seq, Attempt)) {
    put_target(out, queue, seq);
    out.extend_from_slice(&attempt.to_stored().to_le_bytes());
}

/// Reads what [`put_attempt`] wrote.
pub(crate) fn attempt_at(bytes: &[u8]) -> (QueueId, Seq, Attempt) {
    (QueueId(u64_at(bytes, 0)), Seq(u64_at(bytes, 8)), Attempt::from_stored(u64_at(bytes, 16)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_record_reads_back_and_no_single_bit_flip_passes(
            lsn: u64, segment: u32,
            targets in prop::collection::vec((any::<u64>(), any::<u64>()), 0..5),
            payload in prop::collection::vec(any::<u8>(), 0..100),
            flip: prop::sample::Index,
        ) {
            let mut bytes = Vec::new();
            let start = begin_record(&mut bytes, Lsn(lsn), SegmentId(segment), Kind::Message, targets.len());
            for (queue, seq) in &targets {
                put_target(&mut bytes, QueueId(*queue), Seq(*seq));
            }
            bytes.extend_from_slice(&payload);
            let length = finish_record(&mut bytes, start, true) as usize;
            let read = record(&bytes).unwrap();
            prop_assert!(read.is_intact());
            prop_assert_eq!(read.targets().map(|(q, s)| (q.0, s.0)).collect::<Vec<_>>(), targets);
            prop_assert_eq!(read.payload(), &payload[..]);
            prop_assert_eq!((read.header.lsn, read.header.segment), (Lsn(lsn), SegmentId(segment)));
            let bit = flip.index(length * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(record(&bytes).is_none_or(|record| !record.is_intact()));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(record) = record(&bytes) {
                let _ = (record.targets().count(), record.ack_ranges().count(), record.origin(), record.synced());
                let _ = (record.payload(), record.is_intact(), record.attempts().count());
            }
        }
    }

    #[test]
    fn a_segment_header_belongs_to_one_segment() {
        let mut bytes = Vec::new();
        put_segment_header(&mut bytes, SegmentId(7), Lsn(1));
        assert_eq!(bytes.len(), SEGMENT_HEADER);
        assert_eq!(segment_header(&bytes, SegmentId(7)), SegmentHeader::Valid);
        assert_eq!(segment_header(&bytes, SegmentId(8)), SegmentHeader::Absent);
    }
}

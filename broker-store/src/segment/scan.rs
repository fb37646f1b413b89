//! Reads a segment that has no index, record by record.
//!
//! A record that is damaged may be the end of what was written when the power went, or a disk that forgot. The
//! scan only finds the intact *pieces*; recovery tells the two apart, because that takes knowledge of other segments.

use super::format::{self, ALIGN, RECORD_HEADER, SEGMENT_HEADER, aligned, len32, u32_at};
use super::index::{IndexBuilder, add_record};
use crate::ids::{Lsn, SegmentId};

/// Consecutive intact records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Offset of the first record, in bytes.
    pub(crate) start: u32,
    /// Offset behind the last record, in bytes.
    pub(crate) end: u32,
    pub(crate) first_lsn: Lsn,
    pub(crate) last_lsn: Lsn,
}

/// What a segment holds.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) pieces: Vec<Piece>,
    /// The largest LSN that an intact batch mark says is synced.
    pub(crate) synced: Lsn,
}

/// Finds the intact records of `segment` in its bytes. LSNs ascend by one within a piece.
pub(crate) fn survey(bytes: &[u8], segment: SegmentId) -> Survey {
    let mut survey = Survey::default();
    let mut offset = SEGMENT_HEADER;
    let mut last: Option<Lsn> = None;
    while let Some(start) = next_intact(bytes, segment, offset, last) {
        let mut end = start;
        let mut first_lsn = None;
        while let Some(record) = intact(bytes, segment, end)
            && (end == start || last.is_some_and(|last| record.header.lsn.0 == last.0 + 1))
        {
            first_lsn.get_or_insert(record.header.lsn);
            last = Some(record.header.lsn);
            if record.header.kind == format::Kind::Batch {
                survey.synced = survey.synced.max(record.synced());
            }
            end += aligned(record.header.length as usize);
        }
        let (Some(first_lsn), Some(last_lsn)) = (first_lsn, last) else {
            break;
        };
        let end = end.min(bytes.len());
        survey.pieces.push(Piece { start: len32(start), end: len32(end), first_lsn, last_lsn });
        offset = end;
    }
    survey
}

/// The first intact record from `offset` on that is newer than `last`.
fn next_intact(bytes: &[u8], segment: SegmentId, offset: usize, last: Option<Lsn>) -> Option<usize> {
    (offset..bytes.len().checked_sub(RECORD_HEADER)? + 1).step_by(ALIGN).find(|&at| {
        u32_at(bytes, at + 16) == segment.0
            && intact(bytes, segment, at).is_some_and(|record| last.is_none_or(|last| record.header.lsn > last))
    })
}

fn intact(bytes: &[u8], segment: SegmentId, offset: usize) -> Option<format::Record<'_>> {
    let record = format::record(bytes.get(offset..)?)?;
    (record.header.segment == segment && record.is_intact()).then_some(record)
}

/// Cuts the last piece in front of a group that is not all there, if the group is newer than `synced`.
pub(crate) fn cut_group(bytes: &[u8], pieces: &mut Vec<Piece>, synced: Lsn) {
    let Some(last) = pieces.last_mut() else { return };
    let mut offset = last.start as usize;
    while offset < last.end as usize
        && let Some(record) = bytes.get(offset..).and_then(format::record)
    {
        let header = record.header;
        if header.kind == format::Kind::Group && header.lsn > synced && record.synced() > last.last_lsn {
            (last.end, last.last_lsn) = (len32(offset), Lsn(header.lsn.0 - 1));
            break;
        }
        offset += aligned(header.length as usize);
    }
    if last.start == last.end {
        pieces.pop();
    }
}

/// Offset of the first record that is newer than `lsn`, or the end of the last piece.
pub(crate) fn offset_after(bytes: &[u8], pieces: &[Piece], lsn: Lsn) -> u32 {
    for piece in pieces.iter().filter(|piece| piece.last_lsn > lsn) {
        let mut offset = piece.start as usize;
        while offset < piece.end as usize
            && let Some(record) = bytes.get(offset..).and_then(format::record)
        {
            if record.header.lsn > lsn {
                return len32(offset);
            }
            offset += aligned(record.header.length as usize);
        }
    }
    pieces.last().map_or(0, |piece| piece.end)
}

/// Builds the index of the given pieces. `body_of` finds the length of the body in a payload.
pub(crate) fn index(
    bytes: &[u8],
    segment: SegmentId,
    pieces: &[Piece],
    body_of: fn(&[u8]) -> u32,
) -> IndexBuilder {
    let first_lsn = pieces.first().map_or(Lsn(0), |piece| piece.first_lsn);
    let mut builder = IndexBuilder::new(segment, first_lsn);
    for piece in pieces {
        let mut offset = piece.start as usize;
        while offset < piece.end as usize
            && let Some(record) = bytes.get(offset..).and_then(format::record)
        {
            add_record(&mut builder, &record, len32(offset), body_of);
            offset += aligned(record.header.length as usize);
        }
    }
    builder
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::segment::format::{Kind, begin_record, finish_record, put_segment_header, put_target};
    use crate::{QueueId, Seq};

    const SEGMENT: SegmentId = SegmentId(3);

    fn segment(records: u64) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = Vec::new();
        let mut starts = Vec::new();
        put_segment_header(&mut bytes, SEGMENT, Lsn(10));
        for n in 0..records {
            starts.push(bytes.len());
            let start = begin_record(&mut bytes, Lsn(10 + n), SEGMENT, Kind::Message, 1);
            put_target(&mut bytes, QueueId(1), Seq(n + 1));
            bytes.extend(vec![7; usize::try_from(n).unwrap() % 50]);
            finish_record(&mut bytes, start, true);
        }
        bytes.resize(bytes.len() + 1000, 0);
        (bytes, starts)
    }

    #[test]
    fn an_intact_segment_is_one_piece() {
        let (bytes, _) = segment(100);
        let survey = survey(&bytes, SEGMENT);
        assert_eq!(survey.pieces.len(), 1);
        assert_eq!(index(&bytes, SEGMENT, &survey.pieces, |_| 0).items.len(), 100);
    }

    #[test]
    fn records_behind_damage_are_found() {
        let (mut bytes, starts) = segment(100);
        bytes[starts[40] + 30] ^= 4;
        bytes[starts[41] + 5] ^= 4;
        let survey = survey(&bytes, SEGMENT);
        let lsns: Vec<_> = survey.pieces.iter().map(|piece| (piece.first_lsn.0, piece.last_lsn.0)).collect();
        assert_eq!(lsns, [(10, 49), (52, 109)]);
    }

    #[test]
    fn what_a_recycled_file_held_before_is_not_found() {
        let (bytes, _) = segment(100);
        assert!(survey(&bytes, SegmentId(4)).pieces.is_empty());
    }

    proptest! {
        #[test]
        fn any_damage_is_survived(flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u8), 0..30)) {
            let (mut bytes, _) = segment(20);
            for (index, bit) in flips {
                let at = index.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            let survey = survey(&bytes, SEGMENT);
            let built = index(&bytes, SEGMENT, &survey.pieces, |_| 0);
            prop_assert!(built.items.windows(2).all(|pair| pair[0].seq < pair[1].seq));
        }
    }
}

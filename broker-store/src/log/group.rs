//! Groups: records that are all there after a crash, or none of them.
//!
//! A record in front of the group says which LSN is its last. It is filled in before the batch is written. A log that is cut
//! before that LSN is cut in front of the group.

use super::{Log, LogKind};
use crate::ids::{Lsn, SegmentId};
use crate::segment::format::{self, ALIGN, GROUP, Kind, RECORD_HEADER, TARGET, len32};

/// A group that is being appended.
#[derive(Debug)]
pub struct Group {
    segment: SegmentId,
    lsn: Lsn,
    /// Where its record is in the batch.
    start: usize,
}

impl Log {
    /// Begins a group of what is appended until [`end_group`](Self::end_group): so many records with so many bytes of payload and
    /// targets altogether. `None` if they do not fit in a segment, or the log takes nothing: then each stands for itself.
    pub fn begin_group(&mut self, records: usize, targets: usize, bytes: usize) -> Option<Group> {
        if self.options.kind == LogKind::Volatile {
            return None;
        }
        let length = GROUP + bytes + records * (RECORD_HEADER + ALIGN) + targets * TARGET;
        self.make_room(length, targets).ok()?;
        self.open_batch();
        let lsn = self.take_lsn();
        let active = self.active.as_mut().expect("a batch is open for the active segment");
        let out = &mut self.staging.bytes;
        let start = out.len();
        format::put_group(out, lsn, active.id);
        active.offset += len32(out.len() - start);
        active.builder.last_lsn = lsn;
        Some(Group { segment: active.id, lsn, start })
    }

    /// Ends a group. The acks that wait to be recorded are a part of it, those before it included. It is no group if its batch was
    /// closed meanwhile.
    pub fn end_group(&mut self, group: &Group) {
        self.stage_acks_here();
        let last = Lsn(self.next_lsn - 1);
        let staged = self.staging.bytes.get(group.start..).and_then(format::record);
        let is_group = |record: format::Record<'_>| {
            let header = record.header;
            (header.kind, header.lsn, header.segment) == (Kind::Group, group.lsn, group.segment)
        };
        if staged.is_some_and(is_group) {
            format::set_synced(&mut self.staging.bytes, group.start, last);
        }
    }
}

//! Numbers that name things in the store. Newtypes, because all of them are integers and none may stand for another.

/// A partition: one log and the queues stored in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionId(pub u16);

/// A queue. Never used again after the queue is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueId(pub u64);

/// The place of a message in its queue: messages are numbered from 1 in the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seq(pub u64);

/// The place of a record in its partition's log: records are numbered from 1 in the order in which they were staged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lsn(pub u64);

/// A segment of a log. Numbers ascend with age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentId(pub u32);

/// Where a message is in its log. Stays valid until its last message is acked or the log says that it moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The segment.
    pub segment: SegmentId,
    /// Offset of the record in the segment, in bytes.
    pub offset: u32,
    /// Length of the whole record, in bytes.
    pub length: u32,
}

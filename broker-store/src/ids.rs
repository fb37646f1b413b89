//! Numbers that name things in the store. Newtypes, because all of them are integers and none may stand for another.

/// A partition: one log and the queues stored in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionId(pub u16);

/// A queue, or a lane of one. Never used again after the queue is gone.
///
/// A lane is a queue of its own to the log; only its number says whose it is: the lower 40 bits are the queue, the upper 24 the lane. Lane 0
/// is the queue itself. So what is to be kept apart (priorities, times at which messages are due) comes back apart from recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueId(pub u64);

impl QueueId {
    /// Numbers of queues end before this.
    pub const END: u64 = 1 << 40;

    /// Numbers of lanes end before this.
    pub const LANES_END: u32 = 1 << 24;

    /// A lane of this queue.
    ///
    /// # Panics
    /// If `lane` is not less than [`Self::LANES_END`].
    #[must_use]
    pub const fn in_lane(self, lane: u32) -> Self {
        assert!(lane < Self::LANES_END, "a lane has 24 bits");
        Self(self.base().0 | ((lane as u64) << 40))
    }

    /// The queue that this is a lane of.
    #[must_use]
    pub const fn base(self) -> Self {
        Self(self.0 & (Self::END - 1))
    }

    /// Which lane it is; 0 is the queue itself.
    #[must_use]
    pub const fn lane(self) -> u32 {
        (self.0 >> 40) as u32
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_knows_its_queue_and_its_number() {
        let queue = QueueId(QueueId::END - 1);
        let lane = queue.in_lane(QueueId::LANES_END - 1);
        assert_eq!((lane.base(), lane.lane()), (queue, QueueId::LANES_END - 1));
        assert_eq!((queue.in_lane(0), queue.lane()), (queue, 0));
        assert_eq!(lane.in_lane(7), queue.in_lane(7));
    }
}

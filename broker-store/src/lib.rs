//! Storage of the RingMQ broker: the segmented log of one partition and the catalog of definitions.
#![warn(missing_docs)]

mod ids;

pub use ids::{Lsn, PartitionId, Position, QueueId, SegmentId, Seq};

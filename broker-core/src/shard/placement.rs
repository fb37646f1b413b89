//! Which partition a queue is in, and which shard runs a partition.

use crate::ids::{PartitionId, ShardId};

/// How queues are spread: the number of partitions is fixed when the data directory is made, the number of shards may differ at
/// every start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    partitions: u16,
    shards: u16,
}

impl Placement {
    /// # Panics
    /// If either number is 0.
    #[must_use]
    pub(super) fn new(partitions: u16, shards: u16) -> Self {
        assert!(partitions > 0 && shards > 0, "there is at least one partition and one shard");
        Self { partitions, shards }
    }

    /// The partition of a queue: a hash of its virtual host and name that never changes (FNV-1a, 64 bits, with
    /// a zero byte between the two).
    #[must_use]
    pub(super) fn partition_of(&self, vhost: &str, queue: &str) -> PartitionId {
        let bytes = vhost.bytes().chain([0]).chain(queue.bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let partition = (hash ^ (hash >> 32)) % u64::from(self.partitions);
        PartitionId(u16::try_from(partition).expect("a remainder is below its 16 bit divisor"))
    }

    /// The shard that runs a partition.
    #[must_use]
    pub(super) fn shard_of(&self, partition: PartitionId) -> ShardId {
        ShardId(partition.0 % self.shards)
    }

    /// The partitions that a shard runs.
    pub(super) fn partitions_of(&self, shard: ShardId) -> impl Iterator<Item = PartitionId> {
        let of = *self;
        (0..self.partitions).map(PartitionId).filter(move |partition| of.shard_of(*partition) == shard)
    }

    /// Number of shards.
    #[must_use]
    pub(super) fn shards(&self) -> u16 {
        self.shards
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_of_a_queue_is_part_of_the_data_format() {
        let placement = Placement::new(1000, 1);
        let partition = |vhost, queue| placement.partition_of(vhost, queue).0;
        assert_eq!([partition("/", "hello"), partition("/", ""), partition("a", "b")], [734, 805, 67]);
    }

    #[test]
    fn every_partition_runs_on_one_shard() {
        for shards in 1..=5 {
            let placement = Placement::new(3, shards);
            let mut all: Vec<u16> =
                (0..shards).flat_map(|shard| placement.partitions_of(ShardId(shard))).map(|p| p.0).collect();
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2]);
        }
    }
}

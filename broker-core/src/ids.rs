//! The numbers that name things inside one broker process. None of them appears on the wire.

use std::fmt;

pub use broker_store::{PartitionId, QueueId, Seq};

/// A shard: one executor pinned to one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A connection on a shard. `slot` indexes the shard's table of connections; `epoch` differs for each
/// connection that ever used the slot, so that a late message for a closed connection finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionKey {
    /// Index in the table of connections of the shard that has the socket.
    pub slot: u32,
    /// Distinguishes the connections that used the slot.
    pub epoch: u32,
}

/// A channel on a shard, named like a [`ConnectionKey`]. A channel number that is opened again gets a new
/// key, so deliveries, confirms and requests of the old channel never reach the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChannelKey {
    /// Index in the table of channels of the shard that has the socket.
    pub slot: u32,
    /// Distinguishes the channels that used the slot.
    pub epoch: u32,
}

/// A consumer on a channel; chosen by the channel, unique for the channel's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConsumerId(pub u32);

/// Where a consumer stands in the table of its queue. Together with the channel and the [`ConsumerId`] it finds the consumer
/// without a search; a slot that another consumer has taken meanwhile does not fit them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConsumerSlot(pub u32);

/// A consumer as its connection names it to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConsumerRef {
    /// The consumer on its channel.
    pub consumer: ConsumerId,
    /// Its place in the queue.
    pub slot: ConsumerSlot,
    /// Its queue.
    pub queue: QueueRef,
}

/// An unacknowledged message in its queue. Valid from the delivery until it is settled or its channel
/// closes; only the channel that got it may settle it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeliveryToken(pub u32);

/// A request of a connection that waits for its reply; chosen by the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub u32);

/// A queue and the shard that owns its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueueRef {
    /// The queue.
    pub queue: QueueId,
    /// The shard that runs it.
    pub shard: ShardId,
}

//! What a shard counts: plain numbers, read by the metrics server as a copy ([`ShardStats`] is one message).
//!
//! A counter is incremented where the thing happens and never goes down; a gauge is set or moved both ways.
//! Numbers that are sums of others ([`ShardStats::delivered`]) are not counted a second time.

use super::histogram::{
    BATCH_BYTES_BOUNDS, BATCH_RECORDS_BOUNDS, Histogram, LATENCY_BOUNDS_US, MESSAGE_SIZE_BOUNDS, Waits,
};
use crate::admin::QueueCounters;
use crate::model::queue::DeathReason;

/// Declares the numbers once: the field, and its part in the sum of all shards.
macro_rules! shard_stats {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// The numbers of one shard, or, added up, of the broker.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct ShardStats {
            $($(#[$doc])* pub $field: u64,)*
            /// Counters of the queues, those that are gone included.
            pub queue_counters: QueueCounters,
            /// Gauge: when the oldest ready message of the queues was published, in milliseconds since the Unix epoch; see
            /// [`QueueInfo::oldest_ms`](crate::admin::QueueInfo::oldest_ms). The oldest of all when numbers are added up.
            pub oldest_ms: Option<u64>,
            /// Counter: bodies of received messages by size, in bytes.
            pub message_sizes: Histogram<{ MESSAGE_SIZE_BOUNDS.len() }>,
            /// Counter: messages by the time from their publish until they were first delivered or got.
            pub waits: Waits,
            /// Counter: confirmed messages by the time from their receipt until their confirm was written, in microseconds.
            pub confirm_latencies: Histogram<{ LATENCY_BOUNDS_US.len() }>,
            /// Counter: fdatasync calls of the durable logs by their time, in microseconds.
            pub sync_latencies: Histogram<{ LATENCY_BOUNDS_US.len() }>,
            /// Counter: synced batches of the durable logs by the records in them.
            pub batch_records: Histogram<{ BATCH_RECORDS_BOUNDS.len() }>,
            /// Counter: synced batches of the durable logs by the bytes in them.
            pub batch_bytes: Histogram<{ BATCH_BYTES_BOUNDS.len() }>,
        }

        impl ShardStats {
            /// Adds the numbers of another shard.
            pub fn add(&mut self, other: &Self) {
                $(self.$field = self.$field.saturating_add(other.$field);)*
                self.queue_counters.add(&other.queue_counters);
                self.oldest_ms = self.oldest_ms.into_iter().chain(other.oldest_ms).min();
                self.message_sizes.add(&other.message_sizes);
                self.waits.add(&other.waits);
                self.confirm_latencies.add(&other.confirm_latencies);
                self.sync_latencies.add(&other.sync_latencies);
                self.batch_records.add(&other.batch_records);
                self.batch_bytes.add(&other.batch_bytes);
            }
        }
    };
}

shard_stats! {
    /// Gauge: connections that passed `connection.open`.
    connections,
    /// Gauge: open channels.
    channels,
    /// Gauge: channels that have published.
    publishers,
    /// Gauge: consumers of the queues of this shard.
    consumers,
    /// Gauge: queues of this shard.
    queues,
    /// Gauge: messages ready to be delivered, in the queues of this shard.
    messages_ready,
    /// Gauge: messages delivered and not settled, in the queues of this shard.
    messages_unacked,
    /// Gauge: messages that exchanges hold back until they are due.
    messages_delayed,
    /// Gauge: messages of channels in confirm mode that are not confirmed yet.
    messages_unconfirmed,

    /// Counter: connections that passed `connection.open`.
    connections_opened,
    /// Counter: connections of [`ShardStats::connections_opened`] that have ended, in whatever way.
    connections_closed,
    /// Counter: `channel.open`.
    channels_opened,
    /// Counter: channels that have ended, with their connection or before it.
    channels_closed,
    /// Counter: `queue.declare` that was answered with success, whether or not the queue existed.
    queues_declared,
    /// Counter: queues made.
    queues_created,
    /// Counter: queues deleted, whatever the reason.
    queues_deleted,

    /// Counter: messages received from publishers.
    messages_received,
    /// Counter: those of them that were received in confirm mode.
    messages_received_confirm,
    /// Counter: messages confirmed with `basic.ack` to their publishers.
    messages_confirmed,
    /// Counter: messages that reached at least one queue.
    messages_routed,
    /// Counter: messages that reached no queue and were dropped.
    messages_unroutable_dropped,
    /// Counter: messages that were dropped because they had been taken before.
    messages_deduplicated,
    /// Counter: messages that reached no queue and were returned.
    messages_unroutable_returned,
    /// Counter: messages delivered to consumers with `no_ack`.
    messages_delivered_consume_auto_ack,
    /// Counter: messages delivered to consumers that acknowledge.
    messages_delivered_consume_manual_ack,
    /// Counter: messages handed out by `basic.get` with `no_ack`.
    messages_delivered_get_auto_ack,
    /// Counter: messages handed out by `basic.get` that are to be acknowledged.
    messages_delivered_get_manual_ack,
    /// Counter: `basic.get` that found the queue empty.
    messages_get_empty,
    /// Counter: messages delivered with `redelivered` set.
    messages_redelivered,
    /// Counter: messages acknowledged by consumers.
    messages_acknowledged,
    /// Counter: dead letters of messages that were rejected.
    dead_lettered_rejected,
    /// Counter: dead letters of messages that expired.
    dead_lettered_expired,
    /// Counter: dead letters of messages for which their queue had no room.
    dead_lettered_maxlen,
    /// Counter: dead letters of messages that were delivered too often.
    dead_lettered_delivery_limit,
    /// Counter: dead letters that all their queues have confirmed, where that matters (`at-least-once`).
    dead_lettered_confirmed,

    /// Counter: bytes read from AMQP sockets.
    socket_received_bytes,
    /// Counter: reads of AMQP sockets.
    socket_reads,
    /// Counter: writes to AMQP sockets.
    socket_writes,
    /// Counter: bytes written to AMQP sockets.
    socket_sent_bytes,
    /// Counter: turns of the shard's loop in which there was something to do.
    turns,
    /// Gauge: bytes waiting in the batches for other shards.
    mailbox_bytes,
    /// Counter: batches sent to other shards.
    mailbox_batches,
    /// Gauge: batches of other shards that this one has not taken yet.
    mailbox_depth,
    /// Counter: time in which the shard's loop was not asleep, in microseconds.
    busy_us,
    /// Gauge: 1 while publishers are not read because a mailbox or a staging area is at its limit.
    congested,

    /// Gauge: 1 while the memory alarm is set.
    memory_alarm,
    /// Gauge: 1 while the disk alarm is set.
    disk_alarm,

    /// Counter: records appended to the durable logs.
    log_records,
    /// Counter: writes of staged records to the durable logs.
    log_writes,
    /// Counter: bytes of those writes.
    log_written_bytes,
    /// Counter: bytes of the volatile logs that were written for want of memory.
    log_spilled_bytes,
    /// Counter: completed fdatasync calls of the durable logs.
    log_syncs,
    /// Counter: time that those writes took, in microseconds.
    log_write_us,
    /// Gauge: bytes staged for the durable logs and not yet written.
    log_staged_bytes,
    /// Gauge: segment files of the logs, durable and volatile.
    log_segments,
    /// Gauge: bytes of the newest parts of the logs that are held in memory.
    log_window_bytes,
    /// Gauge: partitions that take no more work because a write or a sync failed.
    log_poisoned,
}

impl ShardStats {
    /// Counts a dead letter.
    pub(super) fn count_death(&mut self, reason: DeathReason) {
        *match reason {
            DeathReason::Rejected => &mut self.dead_lettered_rejected,
            DeathReason::Expired => &mut self.dead_lettered_expired,
            DeathReason::Maxlen => &mut self.dead_lettered_maxlen,
            DeathReason::DeliveryLimit => &mut self.dead_lettered_delivery_limit,
        } += 1;
    }

    /// Gauge: messages in queues, ready or not.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages_ready + self.messages_unacked
    }

    /// Counter: messages handed to consumers and to `basic.get`, in whatever mode.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.messages_delivered_consume_auto_ack
            + self.messages_delivered_consume_manual_ack
            + self.messages_delivered_get_auto_ack
            + self.messages_delivered_get_manual_ack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn add_sums_every_number() {
        let mut one = ShardStats { connections: 1, log_syncs: 2, ..ShardStats::default() };
        one.message_sizes.record(&MESSAGE_SIZE_BOUNDS, 5, 1);
        one.oldest_ms = Some(7);
        let mut sum = one;
        sum.add(&one);
        assert_eq!((sum.connections, sum.log_syncs, sum.message_sizes.sum), (2, 4, 10));
        sum.add(&ShardStats { oldest_ms: Some(3), ..ShardStats::default() });
        sum.add(&ShardStats::default());
        assert_eq!(sum.oldest_ms, Some(3));
    }

    #[test]
    fn delivered_is_the_sum_of_the_four_modes() {
        let stats = ShardStats {
            messages_delivered_consume_auto_ack: 1,
            messages_delivered_consume_manual_ack: 2,
            messages_delivered_get_auto_ack: 3,
            messages_delivered_get_manual_ack: 4,
            ..ShardStats::default()
        };
        assert_eq!(stats.delivered(), 10);
    }
}

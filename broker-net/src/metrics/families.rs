//! Every metric of the whole broker or of a shard that is one number: its name, what it says, and where the number is.

use broker_core::shard::stats::ShardStats;

use super::Process;
use crate::alarm::Thresholds;
use crate::logins::Attempts;

/// What a number may do between two scrapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grow; starts at 0 with the process.
    Counter,
    /// Anything.
    Gauge,
}

pub(super) type Labels = &'static [(&'static str, &'static str)];

/// A metric family whose number is taken from a `T`.
pub(super) struct Family<T: 'static> {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: Labels,
    pub(super) value: fn(&T) -> f64,
}

pub(super) const NONE: Labels = &[];
/// The label of RabbitMQ's counters that belong to a protocol.
pub(super) const PROTOCOL: Labels = &[("protocol", "amqp091")];
/// The labels of RabbitMQ's counters that belong to a protocol and a type of queue.
const QUEUE_TYPE: Labels = &[("protocol", "amqp091"), ("queue_type", "rabbit_classic_queue")];

/// The labels of RabbitMQ's counters of dead letters.
const DEAD_LETTERED: Labels = &[("queue_type", "rabbit_classic_queue"), ("dead_letter_strategy", "at_most_once")];

/// The labels of RabbitMQ's counter of dead letters that are confirmed.
const AT_LEAST_ONCE: Labels = &[("queue_type", "rabbit_quorum_queue"), ("dead_letter_strategy", "at_least_once")];

/// Numbers are floats in Prometheus: above 2^53 they are rounded.
#[expect(clippy::cast_precision_loss, reason = "the format has no other number")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}

macro_rules! families {
    ($of:ty: $($kind:ident $name:literal $labels:ident $($path:ident).+ $(($($call:tt)*))? $(/ $by:literal)? $help:literal;)*) => {
        &[$(Family {
            name: $name,
            help: $help,
            kind: Kind::$kind,
            labels: $labels,
            value: |numbers: &$of| float(numbers.$($path).+ $(($($call)*))?) $(/ $by)?,
        },)*]
    };
}

/// RabbitMQ's names; each number is the sum over the shards.
pub(super) const BROKER: &[Family<ShardStats>] = families! { ShardStats:
    Gauge "rabbitmq_connections" NONE connections "Open connections";
    Gauge "rabbitmq_channels" NONE channels "Open channels";
    Gauge "rabbitmq_consumers" NONE consumers "Consumers";
    Gauge "rabbitmq_queues" NONE queues "Queues";
    Gauge "rabbitmq_queue_messages_ready" NONE messages_ready "Messages ready to be delivered";
    Gauge "rabbitmq_queue_messages_unacked" NONE messages_unacked "Messages delivered and not yet settled";
    Gauge "rabbitmq_queue_messages" NONE messages() "Messages in queues, ready and unacked";
    Gauge "rabbitmq_queue_consumers" NONE consumers "Consumers";
    Counter "rabbitmq_queue_messages_published_total" NONE queue_counters.publish
        "Messages that came into queues";
    Counter "rabbitmq_queue_get_ack_total" NONE queue_counters.get
        "Messages taken by basic.get that are to be acknowledged";
    Counter "rabbitmq_queue_get_total" NONE queue_counters.get_no_ack
        "Messages taken by basic.get with automatic acknowledgement";
    Counter "rabbitmq_queue_get_empty_total" NONE queue_counters.get_empty "basic.get that found no message";
    Counter "rabbitmq_queue_messages_delivered_ack_total" NONE queue_counters.deliver
        "Messages delivered to consumers that acknowledge";
    Counter "rabbitmq_queue_messages_delivered_total" NONE queue_counters.deliver_no_ack
        "Messages delivered to consumers with automatic acknowledgement";
    Counter "rabbitmq_queue_messages_redelivered_total" NONE queue_counters.redeliver
        "Messages delivered again by queues";
    Counter "rabbitmq_queue_messages_acked_total" NONE queue_counters.ack
        "Messages of queues that consumers have acknowledged";
    Gauge "ringmq_exchange_messages_delayed" NONE messages_delayed "Messages that exchanges hold back until they are due";
    Counter "rabbitmq_connections_opened_total" NONE connections_opened "Connections opened";
    Counter "rabbitmq_connections_closed_total" NONE connections_closed "Connections closed or lost";
    Counter "rabbitmq_channels_opened_total" NONE channels_opened "Channels opened";
    Counter "rabbitmq_channels_closed_total" NONE channels_closed "Channels closed or lost";
    Counter "rabbitmq_queues_declared_total" NONE queues_declared "Queue declarations";
    Counter "rabbitmq_queues_created_total" NONE queues_created "Queues made";
    Counter "rabbitmq_queues_deleted_total" NONE queues_deleted "Queues deleted";
    Gauge "rabbitmq_channel_consumers" NONE consumers "Consumers of channels";
    Gauge "rabbitmq_channel_messages_unacked" NONE messages_unacked
        "Messages delivered on channels and not yet settled";
    Gauge "rabbitmq_channel_messages_unconfirmed" NONE messages_unconfirmed
        "Messages published on channels and not yet confirmed";
    Counter "rabbitmq_channel_messages_published_total" NONE messages_received "Messages received on channels";
    Counter "rabbitmq_channel_messages_confirmed_total" NONE messages_confirmed "Messages confirmed on channels";
    Counter "rabbitmq_channel_messages_unroutable_returned_total" NONE messages_unroutable_returned
        "Messages of channels that reached no queue and were returned";
    Counter "rabbitmq_channel_messages_unroutable_dropped_total" NONE messages_unroutable_dropped
        "Messages of channels that reached no queue and were dropped";
    Counter "rabbitmq_channel_get_ack_total" NONE messages_delivered_get_manual_ack
        "Messages taken on channels by basic.get that are to be acknowledged";
    Counter "rabbitmq_channel_get_total" NONE messages_delivered_get_auto_ack
        "Messages taken on channels by basic.get with automatic acknowledgement";
    Counter "rabbitmq_channel_get_empty_total" NONE messages_get_empty "basic.get of channels that found no message";
    Counter "rabbitmq_channel_messages_delivered_ack_total" NONE messages_delivered_consume_manual_ack
        "Messages delivered on channels to consumers that acknowledge";
    Counter "rabbitmq_channel_messages_delivered_total" NONE messages_delivered_consume_auto_ack
        "Messages delivered on channels to consumers with automatic acknowledgement";
    Counter "rabbitmq_channel_messages_redelivered_total" NONE messages_redelivered
        "Messages delivered again on channels";
    Counter "rabbitmq_channel_messages_acked_total" NONE messages_acknowledged
        "Messages acknowledged on channels";
    Counter "rabbitmq_exchange_messages_published_total" NONE messages_received
        "Messages published to exchanges";
    Counter "rabbitmq_exchange_messages_confirmed_total" NONE messages_confirmed
        "Messages published to exchanges and confirmed";
    Counter "rabbitmq_exchange_messages_unroutable_returned_total" NONE messages_unroutable_returned
        "Messages of exchanges that reached no queue and were returned";
    Counter "rabbitmq_exchange_messages_unroutable_dropped_total" NONE messages_unroutable_dropped
        "Messages of exchanges that reached no queue and were dropped";
    Gauge "rabbitmq_connection_channels" NONE channels "Channels of connections";
    Counter "rabbitmq_connection_incoming_bytes_total" NONE socket_received_bytes "Bytes received on connections";
    Counter "rabbitmq_connection_outgoing_bytes_total" NONE socket_sent_bytes "Bytes sent on connections";
    Counter "rabbitmq_connection_incoming_packets_total" NONE socket_reads "Reads of connections";
    Counter "rabbitmq_connection_outgoing_packets_total" NONE socket_writes "Writes of connections";
    Counter "rabbitmq_io_write_ops_total" NONE log_writes "Writes to the durable logs";
    Counter "rabbitmq_io_write_bytes_total" NONE log_written_bytes "Bytes written to the durable logs";
    Counter "rabbitmq_io_write_time_seconds_total" NONE log_write_us / 1e6
        "Time that writes to the durable logs took";
    Counter "rabbitmq_io_sync_ops_total" NONE log_syncs "fdatasync calls of the durable logs";
    Counter "rabbitmq_io_sync_time_seconds_total" NONE sync_latencies.sum / 1e6
        "Time that fdatasync calls of the durable logs took";
    Gauge "rabbitmq_alarms_memory_used_watermark" NONE memory_alarm "1 while the memory alarm is set";
    Gauge "rabbitmq_alarms_free_disk_space_watermark" NONE disk_alarm "1 while the disk alarm is set";
    Gauge "rabbitmq_global_publishers" PROTOCOL publishers "Channels that have published";
    Gauge "rabbitmq_global_consumers" PROTOCOL consumers "Consumers";
    Counter "rabbitmq_global_messages_received_total" PROTOCOL messages_received
        "Messages received from publishers";
    Counter "rabbitmq_global_messages_received_confirm_total" PROTOCOL messages_received_confirm
        "Messages received from publishers in confirm mode";
    Counter "rabbitmq_global_messages_confirmed_total" PROTOCOL messages_confirmed
        "Messages confirmed to their publishers";
    Counter "rabbitmq_global_messages_routed_total" PROTOCOL messages_routed
        "Messages that reached at least one queue";
    Counter "rabbitmq_global_messages_unroutable_dropped_total" PROTOCOL messages_unroutable_dropped
        "Messages that reached no queue and were dropped";
    Counter "rabbitmq_global_messages_unroutable_returned_total" PROTOCOL messages_unroutable_returned
        "Messages that reached no queue and were returned";
    Counter "rabbitmq_global_messages_delivered_total" QUEUE_TYPE delivered()
        "Messages handed to consumers and to basic.get";
    Counter "rabbitmq_global_messages_delivered_consume_auto_ack_total" QUEUE_TYPE
        messages_delivered_consume_auto_ack "Messages delivered to consumers with automatic acknowledgement";
    Counter "rabbitmq_global_messages_delivered_consume_manual_ack_total" QUEUE_TYPE
        messages_delivered_consume_manual_ack "Messages delivered to consumers that acknowledge";
    Counter "rabbitmq_global_messages_delivered_get_auto_ack_total" QUEUE_TYPE messages_delivered_get_auto_ack
        "Messages handed to basic.get with automatic acknowledgement";
    Counter "rabbitmq_global_messages_delivered_get_manual_ack_total" QUEUE_TYPE
        messages_delivered_get_manual_ack "Messages handed to basic.get that are to be acknowledged";
    Counter "rabbitmq_global_messages_get_empty_total" QUEUE_TYPE messages_get_empty
        "basic.get on an empty queue";
    Counter "rabbitmq_global_messages_redelivered_total" QUEUE_TYPE messages_redelivered
        "Messages delivered again";
    Counter "rabbitmq_global_messages_acknowledged_total" QUEUE_TYPE messages_acknowledged
        "Messages acknowledged by consumers";
    Counter "rabbitmq_global_messages_dead_lettered_expired_total" DEAD_LETTERED dead_lettered_expired
        "Dead letters of messages that expired";
    Counter "rabbitmq_global_messages_dead_lettered_rejected_total" DEAD_LETTERED dead_lettered_rejected
        "Dead letters of messages that were rejected";
    Counter "rabbitmq_global_messages_dead_lettered_maxlen_total" DEAD_LETTERED dead_lettered_maxlen
        "Dead letters of messages for which their queue had no room";
    Counter "rabbitmq_global_messages_dead_lettered_delivery_limit_total" DEAD_LETTERED
        dead_lettered_delivery_limit "Dead letters of messages that were delivered too often";
    Counter "rabbitmq_global_messages_dead_lettered_confirmed_total" AT_LEAST_ONCE dead_lettered_confirmed
        "Dead letters that all their queues have confirmed";
};

/// RabbitMQ's names; one number for each protocol.
pub(super) const LOGINS: &[Family<Attempts>] = families! { Attempts:
    Counter "rabbitmq_auth_attempts_total" NONE all() "Logins, refused or not; over HTTP each request is one";
    Counter "rabbitmq_auth_attempts_succeeded_total" NONE succeeded "Logins that succeeded";
    Counter "rabbitmq_auth_attempts_failed_total" NONE failed "Logins that were refused";
};

/// What only RingMQ has; one number per shard.
pub(super) const SHARD: &[Family<ShardStats>] = families! { ShardStats:
    Counter "ringmq_messages_deduplicated_total" NONE messages_deduplicated "Messages dropped because they had been taken before";
    Counter "ringmq_socket_received_bytes_total" NONE socket_received_bytes "Bytes read from AMQP sockets";
    Counter "ringmq_socket_sent_bytes_total" NONE socket_sent_bytes "Bytes written to AMQP sockets";
    Counter "ringmq_turns_total" NONE turns "Turns of the shard's loop in which there was something to do";
    Gauge "ringmq_mailbox_bytes" NONE mailbox_bytes "Bytes waiting in the batches for other shards";
    Counter "ringmq_mailbox_batches_total" NONE mailbox_batches "Batches sent to other shards";
    Gauge "ringmq_congested" NONE congested
        "1 while publishers are not read because a mailbox or a staging area is at its limit";
    Gauge "ringmq_mailbox_depth" NONE mailbox_depth "Batches of other shards that wait for this one";
    Counter "ringmq_shard_busy_seconds_total" NONE busy_us / 1e6
        "Time in which the shard's loop was not asleep: its rate is the utilisation, 1 is all of a core";
    Counter "ringmq_log_records_total" NONE log_records "Records appended to the durable logs";
    Counter "ringmq_log_writes_total" NONE log_writes "Writes to the durable logs: each is a batch of records";
    Counter "ringmq_log_written_bytes_total" NONE log_written_bytes "Bytes written to the durable logs";
    Counter "ringmq_log_syncs_total" NONE log_syncs "fdatasync calls of the durable logs";
    Counter "ringmq_log_spilled_bytes_total" NONE log_spilled_bytes
        "Bytes of messages that need not survive a restart, written for want of memory";
    Gauge "ringmq_log_staged_bytes" NONE log_staged_bytes
        "Bytes appended to the durable logs and not yet written";
    Gauge "ringmq_log_segments" NONE log_segments "Segment files of the logs";
    Gauge "ringmq_log_window_bytes" NONE log_window_bytes "Bytes of the logs that are held in memory";
    Gauge "ringmq_log_poisoned" NONE log_poisoned
        "Partitions that take no more work because a write or a sync failed";
};

/// The process and its machine, under RabbitMQ's names.
pub(super) const PROCESS: &[Family<Process>] = families! { Process:
    Gauge "rabbitmq_process_open_fds" NONE open_files "Open files";
    Gauge "rabbitmq_process_max_fds" NONE max_files "Files that may be open";
    Gauge "rabbitmq_process_resident_memory_bytes" NONE anonymous_bytes
        "Memory in use that is no page of a file: what the memory alarm looks at";
    Gauge "ringmq_process_resident_bytes" NONE resident_bytes "Memory in use, pages of files included";
    Gauge "rabbitmq_disk_space_available_bytes" NONE disk_available_bytes
        "Disk space available to the data directory";
    Gauge "rabbitmq_erlang_uptime_seconds" NONE uptime_seconds "Seconds since the start of the broker";
};

/// What the alarms compare with, under RabbitMQ's names.
pub(super) const LIMITS: &[Family<Thresholds>] = families! { Thresholds:
    Gauge "rabbitmq_resident_memory_limit_bytes" NONE memory
        "Memory above which publishers are blocked (vm_memory_high_watermark)";
    Gauge "rabbitmq_disk_space_available_limit_bytes" NONE disk
        "Disk space below which publishers are blocked (disk_free_limit)";
};

/// Metrics of the whole broker that `/metrics/detailed` has too, by family.
pub(super) const DETAILED: &[(&str, &[&str])] = &[
    (
        "connection_churn_metrics",
        &[
            "rabbitmq_connections_opened_total",
            "rabbitmq_connections_closed_total",
            "rabbitmq_channels_opened_total",
            "rabbitmq_channels_closed_total",
            "rabbitmq_queues_declared_total",
            "rabbitmq_queues_created_total",
            "rabbitmq_queues_deleted_total",
        ],
    ),
    (
        "node_coarse_metrics",
        &[
            "rabbitmq_process_open_fds",
            "rabbitmq_process_resident_memory_bytes",
            "rabbitmq_disk_space_available_bytes",
        ],
    ),
    (
        "node_metrics",
        &[
            "rabbitmq_process_max_fds",
            "rabbitmq_resident_memory_limit_bytes",
            "rabbitmq_disk_space_available_limit_bytes",
            "rabbitmq_erlang_uptime_seconds",
        ],
    ),
    (
        "node_persister_metrics",
        &[
            "rabbitmq_io_write_ops_total",
            "rabbitmq_io_write_bytes_total",
            "rabbitmq_io_write_time_seconds_total",
            "rabbitmq_io_sync_ops_total",
            "rabbitmq_io_sync_time_seconds_total",
        ],
    ),
    (
        "auth_attempt_metrics",
        &[
            "rabbitmq_auth_attempts_total",
            "rabbitmq_auth_attempts_succeeded_total",
            "rabbitmq_auth_attempts_failed_total",
        ],
    ),
];

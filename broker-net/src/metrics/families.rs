//! Every metric that is one number: its name, what it says, and where the number is.

use broker_core::shard::stats::ShardStats;

use super::Process;

/// What a number may do between two scrapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grow; starts at 0 with the process.
    Counter,
    /// Anything.
    Gauge,
}

type Labels = &'static [(&'static str, &'static str)];

/// A metric family whose number is taken from a `T`.
pub(super) struct Family<T: 'static> {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: Labels,
    pub(super) value: fn(&T) -> f64,
}

const NONE: Labels = &[];
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
    ($of:ty: $($kind:ident $name:literal $labels:ident $field:ident $(($($call:tt)*))? $help:literal;)*) => {
        &[$(Family {
            name: $name,
            help: $help,
            kind: Kind::$kind,
            labels: $labels,
            value: |numbers: &$of| float(numbers.$field $(($($call)*))?),
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
    Gauge "ringmq_exchange_messages_delayed" NONE messages_delayed "Messages that exchanges hold back until they are due";
    Counter "rabbitmq_connections_opened_total" NONE connections_opened "Connections opened";
    Counter "rabbitmq_connections_closed_total" NONE connections_closed "Connections closed or lost";
    Counter "rabbitmq_channels_opened_total" NONE channels_opened "Channels opened";
    Counter "rabbitmq_channels_closed_total" NONE channels_closed "Channels closed or lost";
    Counter "rabbitmq_queues_declared_total" NONE queues_declared "Queue declarations";
    Counter "rabbitmq_queues_created_total" NONE queues_created "Queues made";
    Counter "rabbitmq_queues_deleted_total" NONE queues_deleted "Queues deleted";
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
    Gauge "rabbitmq_alarms_memory_used_watermark" NONE memory_alarm "1 while the memory alarm is set";
    Gauge "rabbitmq_alarms_free_disk_space_watermark" NONE disk_alarm "1 while the disk alarm is set";
    Counter "ringmq_log_records_total" NONE log_records "Records appended to the durable logs";
    Counter "ringmq_log_writes_total" NONE log_writes "Writes to the durable logs: each is a batch of records";
    Counter "ringmq_log_written_bytes_total" NONE log_written_bytes "Bytes written to the durable logs";
    Counter "ringmq_log_syncs_total" NONE log_syncs "fdatasync calls of the durable logs";
    Counter "ringmq_log_sync_microseconds_total" NONE log_sync_micros
        "Time spent waiting for fdatasync of the durable logs";
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
    Gauge "rabbitmq_process_resident_memory_bytes" NONE resident_bytes "Memory in use";
    Gauge "rabbitmq_resident_memory_limit_bytes" NONE memory_limit_bytes "Memory of the machine or container";
    Gauge "rabbitmq_disk_space_available_bytes" NONE disk_available_bytes
        "Disk space available to the data directory";
    Gauge "rabbitmq_erlang_uptime_seconds" NONE uptime_seconds "Seconds since the start of the broker";
};

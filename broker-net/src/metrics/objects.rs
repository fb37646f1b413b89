//! Metrics of single queues, connections and channels, in Prometheus' text format, under RabbitMQ's names.
//!
//! A family is what `/metrics/detailed?family=` asks for. The text is written row by row, as a hundred thousand queues have some.

use std::fmt::{Display, Write as _};

use broker_core::admin::{ChannelInfo, ConnectionInfo, QueueInfo};

use super::{OLDEST, age_seconds, now_ms};

/// What one scrape is about: listings of the objects that its families need.
#[derive(Debug, Default)]
pub struct Objects {
    /// Virtual hosts by name.
    pub vhosts: Vec<String>,
    /// Exchanges.
    pub exchanges: Vec<ExchangeRow>,
    /// Queues.
    pub queues: Vec<QueueInfo>,
    /// Connections.
    pub connections: Vec<ConnectionInfo>,
    /// Channels, with their names.
    pub channels: Vec<(String, ChannelInfo)>,
}

/// An exchange.
#[derive(Debug)]
pub struct ExchangeRow {
    /// Its virtual host.
    pub vhost: String,
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// Bindings of which it is the source.
    pub bindings: u64,
}

/// A group of metrics that `/metrics/detailed` gives by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectFamily {
    /// Messages of queues.
    QueueCoarse,
    /// Consumers of queues.
    QueueConsumers,
    /// Consumers of queues and the age of their messages.
    Queue,
    /// What queues have delivered.
    QueueDelivery,
    /// Bytes that connections have moved.
    ConnectionCoarse,
    /// Packets and channels of connections.
    Connection,
    /// Channels.
    Channel,
    /// What channels have published.
    ChannelExchange,
    /// What channels have consumed.
    ChannelQueue,
    /// Which virtual hosts there are.
    Vhosts,
    /// Which exchanges there are.
    Exchanges,
    /// How many bindings exchanges have.
    ExchangeBindings,
}

impl ObjectFamily {
    /// Those of `/metrics/per-object`.
    pub const PER_OBJECT: [Self; 8] = [
        Self::QueueCoarse,
        Self::Queue,
        Self::QueueDelivery,
        Self::ConnectionCoarse,
        Self::Connection,
        Self::Channel,
        Self::ChannelExchange,
        Self::ChannelQueue,
    ];

    /// All, with the names by which they are asked for.
    pub(super) const NAMED: [(&'static str, Self); 12] = [
        ("queue_coarse_metrics", Self::QueueCoarse),
        ("queue_consumer_count", Self::QueueConsumers),
        ("queue_metrics", Self::Queue),
        ("queue_delivery_metrics", Self::QueueDelivery),
        ("connection_coarse_metrics", Self::ConnectionCoarse),
        ("connection_metrics", Self::Connection),
        ("channel_metrics", Self::Channel),
        ("channel_exchange_metrics", Self::ChannelExchange),
        ("channel_queue_metrics", Self::ChannelQueue),
        ("vhost_status", Self::Vhosts),
        ("exchange_names", Self::Exchanges),
        ("exchange_bindings", Self::ExchangeBindings),
    ];

    /// The family of a `family=` parameter; `None` for those that this broker has no metrics of.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.iter().find(|(other, _)| *other == name).map(|(_, family)| *family)
    }

    /// True if its numbers are read off queues.
    #[must_use]
    pub fn is_of_queues(self) -> bool {
        matches!(self, Self::QueueCoarse | Self::QueueConsumers | Self::Queue | Self::QueueDelivery)
    }

    /// True if its numbers are read off connections.
    #[must_use]
    pub fn is_of_connections(self) -> bool {
        matches!(self, Self::ConnectionCoarse | Self::Connection)
    }

    /// True if its numbers are read off channels.
    #[must_use]
    pub fn is_of_channels(self) -> bool {
        matches!(self, Self::Channel | Self::ChannelExchange | Self::ChannelQueue)
    }

    /// True if its numbers are read off exchanges.
    #[must_use]
    pub fn is_of_exchanges(self) -> bool {
        matches!(self, Self::Exchanges | Self::ExchangeBindings)
    }

    /// Its metrics: name without the prefix, type, help; and their labels.
    pub(super) fn metrics(self) -> (Vec<(&'static str, &'static str, &'static str)>, &'static str) {
        fn heads<T>(metrics: &[Metric<T>]) -> Vec<(&'static str, &'static str, &'static str)> {
            metrics.iter().map(|&(name, kind, help, _)| (name, kind, help)).collect()
        }
        let (queue, connection, channel) = ("vhost, queue", "connection", "channel");
        match self {
            Self::QueueCoarse => (heads(QUEUE_COARSE), queue),
            Self::QueueConsumers => (heads(QUEUE_CONSUMERS), queue),
            Self::Queue => ([heads(QUEUE_CONSUMERS), vec![(OLDEST.0, "gauge", OLDEST.1)]].concat(), queue),
            Self::QueueDelivery => (heads(QUEUE_DELIVERY), queue),
            Self::ConnectionCoarse => (heads(CONNECTION_COARSE), connection),
            Self::Connection => (heads(CONNECTION), connection),
            Self::Channel => (heads(CHANNEL), channel),
            Self::ChannelExchange => (heads(CHANNEL_EXCHANGE), channel),
            Self::ChannelQueue => (heads(CHANNEL_QUEUE), channel),
            Self::Vhosts => (vec![(VHOST_STATUS, "gauge", "Whether a given vhost is running")], "vhost"),
            Self::Exchanges => (vec![(EXCHANGE_NAME, "gauge", "Exchanges by name")], "vhost, exchange, type"),
            Self::ExchangeBindings => (
                vec![(EXCHANGE_BINDINGS, "gauge", "Bindings of which an exchange is the source")],
                "vhost, exchange, type",
            ),
        }
    }

    /// True if the metric is one of `/metrics/per-object`, which then has no aggregated one of this name.
    #[must_use]
    pub fn has_per_object(name: &str) -> bool {
        let plain = name.strip_prefix("rabbitmq_").unwrap_or(name);
        Self::PER_OBJECT.iter().any(|family| family.metrics().0.iter().any(|(other, ..)| *other == plain))
    }
}

/// Name of a metric that needs no prefix.
const VHOST_STATUS: &str = "rabbitmq_cluster_vhost_status";
/// Name of a metric that needs no prefix.
const EXCHANGE_NAME: &str = "rabbitmq_cluster_exchange_name";
/// Name of a metric that needs no prefix.
const EXCHANGE_BINDINGS: &str = "rabbitmq_cluster_exchange_bindings";

/// A metric of a `T`: name, type, help, number.
type Metric<T> = (&'static str, &'static str, &'static str, fn(&T) -> u64);

const QUEUE_COARSE: &[Metric<QueueInfo>] = &[
    ("queue_messages_ready", "gauge", "Messages ready to be delivered to consumers", |queue| queue.messages_ready),
    ("queue_messages_unacked", "gauge", "Messages delivered to consumers but not yet acknowledged", |queue| {
        queue.messages_unacknowledged
    }),
    ("queue_messages", "gauge", "Sum of ready and unacknowledged messages", |queue| {
        queue.messages_ready + queue.messages_unacknowledged
    }),
];

const QUEUE_CONSUMERS: &[Metric<QueueInfo>] =
    &[("queue_consumers", "gauge", "Consumers on a queue", |queue| queue.consumers)];

const QUEUE_DELIVERY: &[Metric<QueueInfo>] = &[
    ("queue_messages_published_total", "counter", "Messages that came into a queue", |queue| {
        queue.counters.publish
    }),
    (
        "queue_get_ack_total",
        "counter",
        "Messages fetched with basic.get in manual acknowledgement mode",
        |queue| queue.counters.get,
    ),
    ("queue_get_total", "counter", "Messages fetched with basic.get in automatic acknowledgement mode", |queue| {
        queue.counters.get_no_ack
    }),
    (
        "queue_messages_delivered_ack_total",
        "counter",
        "Messages delivered in manual acknowledgement mode",
        |queue| queue.counters.deliver,
    ),
    (
        "queue_messages_delivered_total",
        "counter",
        "Messages delivered in automatic acknowledgement mode",
        |queue| queue.counters.deliver_no_ack,
    ),
    ("queue_messages_redelivered_total", "counter", "Messages redelivered", |queue| queue.counters.redeliver),
    ("queue_messages_acked_total", "counter", "Messages acknowledged by consumers", |queue| queue.counters.ack),
    ("queue_get_empty_total", "counter", "basic.get that found no message", |queue| queue.counters.get_empty),
];

const CONNECTION_COARSE: &[Metric<ConnectionInfo>] = &[
    ("connection_incoming_bytes_total", "counter", "Bytes received on a connection", |connection| {
        connection.socket.recv_oct
    }),
    ("connection_outgoing_bytes_total", "counter", "Bytes sent on a connection", |connection| {
        connection.socket.send_oct
    }),
];

const CONNECTION: &[Metric<ConnectionInfo>] = &[
    ("connection_incoming_packets_total", "counter", "Reads of a connection", |connection| {
        connection.socket.recv_cnt
    }),
    ("connection_outgoing_packets_total", "counter", "Writes of a connection", |connection| {
        connection.socket.send_cnt
    }),
    ("connection_pending_packets", "gauge", "Bytes waiting to be sent on a connection", |connection| {
        connection.socket.send_pend
    }),
    ("connection_channels", "gauge", "Channels on a connection", |connection| connection.channels.into()),
];

const CHANNEL: &[Metric<(String, ChannelInfo)>] = &[
    ("channel_consumers", "gauge", "Consumers on a channel", |(_, channel)| channel.consumers.into()),
    ("channel_messages_unacked", "gauge", "Delivered but not yet acknowledged messages", |(_, channel)| {
        channel.messages_unacknowledged
    }),
    ("channel_messages_unconfirmed", "gauge", "Published but not yet confirmed messages", |(_, channel)| {
        channel.messages_unconfirmed
    }),
    (
        "channel_messages_uncommitted",
        "gauge",
        "Messages received in a transaction but not yet committed",
        |(_, channel)| channel.messages_uncommitted,
    ),
    ("consumer_prefetch", "gauge", "Limit of unacknowledged messages for each consumer", |(_, channel)| {
        channel.prefetch_count.into()
    }),
    (
        "channel_prefetch",
        "gauge",
        "Total limit of unacknowledged messages for all consumers on a channel",
        |(_, channel)| channel.global_prefetch_count.into(),
    ),
];

const CHANNEL_EXCHANGE: &[Metric<(String, ChannelInfo)>] = &[
    ("channel_messages_published_total", "counter", "Messages received on a channel", |(_, channel)| {
        channel.counters.publish
    }),
    ("channel_messages_confirmed_total", "counter", "Messages confirmed on a channel", |(_, channel)| {
        channel.counters.confirm
    }),
    (
        "channel_messages_unroutable_returned_total",
        "counter",
        "Messages of a channel that reached no queue and were returned",
        |(_, channel)| channel.counters.return_unroutable,
    ),
];

const CHANNEL_QUEUE: &[Metric<(String, ChannelInfo)>] =
    &[("channel_messages_acked_total", "counter", "Messages acknowledged on a channel", |(_, channel)| {
        channel.counters.ack
    })];

impl Objects {
    /// The families in Prometheus' text format; `prefix` begins the names that have none. A metric of two families comes once.
    #[must_use]
    pub fn encode(&self, prefix: &str, families: &[ObjectFamily]) -> String {
        let mut text = Text { prefix, out: String::new(), names: Vec::new() };
        for family in families {
            self.encode_family(&mut text, *family);
        }
        text.out
    }

    fn encode_family(&self, text: &mut Text<'_>, family: ObjectFamily) {
        let queue =
            |queue: &QueueInfo| format!("vhost=\"{}\",queue=\"{}\"", Label(&queue.vhost), Label(&queue.name));
        let connection = |connection: &ConnectionInfo| format!("connection=\"{}\"", Label(&connection.name()));
        let channel = |(name, _): &(String, ChannelInfo)| format!("channel=\"{}\"", Label(name));
        match family {
            ObjectFamily::QueueCoarse => text.metrics(&self.queues, queue, QUEUE_COARSE),
            ObjectFamily::QueueConsumers => text.metrics(&self.queues, queue, QUEUE_CONSUMERS),
            ObjectFamily::Queue => {
                text.metrics(&self.queues, queue, QUEUE_CONSUMERS);
                let now_ms = now_ms();
                let age = |queue: &QueueInfo| age_seconds(queue.oldest_ms, now_ms);
                text.metric((OLDEST.0, "gauge", OLDEST.1), self.queues.iter().map(|row| (queue(row), age(row))));
            }
            ObjectFamily::QueueDelivery => text.metrics(&self.queues, queue, QUEUE_DELIVERY),
            ObjectFamily::ConnectionCoarse => text.metrics(&self.connections, connection, CONNECTION_COARSE),
            ObjectFamily::Connection => text.metrics(&self.connections, connection, CONNECTION),
            ObjectFamily::Channel => text.metrics(&self.channels, channel, CHANNEL),
            ObjectFamily::ChannelExchange => text.metrics(&self.channels, channel, CHANNEL_EXCHANGE),
            ObjectFamily::ChannelQueue => text.metrics(&self.channels, channel, CHANNEL_QUEUE),
            ObjectFamily::Vhosts => {
                let rows = self.vhosts.iter().map(|vhost| (format!("vhost=\"{}\"", Label(vhost)), 1));
                text.metric(family.only_metric(), rows);
            }
            ObjectFamily::Exchanges => {
                text.metric(family.only_metric(), self.exchanges.iter().map(|exchange| (exchange.labels(), 1)));
            }
            ObjectFamily::ExchangeBindings => {
                let rows = self.exchanges.iter().map(|exchange| (exchange.labels(), exchange.bindings));
                text.metric(family.only_metric(), rows);
            }
        }
    }
}

impl ObjectFamily {
    fn only_metric(self) -> (&'static str, &'static str, &'static str) {
        self.metrics().0.first().copied().unwrap_or_default()
    }
}

impl ExchangeRow {
    fn labels(&self) -> String {
        let (vhost, name, kind) = (Label(&self.vhost), Label(&self.name), Label(&self.kind));
        format!("vhost=\"{vhost}\",exchange=\"{name}\",type=\"{kind}\"")
    }
}

/// The text that is being written.
struct Text<'a> {
    prefix: &'a str,
    out: String,
    /// Metrics that are written.
    names: Vec<&'static str>,
}

impl Text<'_> {
    fn metric(
        &mut self,
        (name, kind, help): (&'static str, &'static str, &'static str),
        rows: impl Iterator<Item = (impl Display, impl Display)>,
    ) {
        if self.names.contains(&name) {
            return;
        }
        self.names.push(name);
        let prefix = match name.starts_with("rabbitmq_") || name.starts_with("ringmq_") {
            true => "",
            false => self.prefix,
        };
        // Writing to a string does not fail.
        let _ = writeln!(self.out, "# HELP {prefix}{name} {help}\n# TYPE {prefix}{name} {kind}");
        for (labels, number) in rows {
            let _ = writeln!(self.out, "{prefix}{name}{{{labels}}} {number}");
        }
    }

    fn metrics<T>(&mut self, rows: &[T], labels: impl Fn(&T) -> String, metrics: &[Metric<T>]) {
        let labels: Vec<String> = rows.iter().map(labels).collect();
        for &(name, kind, help, number) in metrics {
            self.metric((name, kind, help), labels.iter().zip(rows.iter().map(number)));
        }
    }
}

/// A label's value, with what the format wants escaped.
struct Label<'a>(&'a str);

impl Display for Label<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        assert_eq!(Label("a\"b\\c\nd").to_string(), "a\\\"b\\\\c\\nd");
    }

    #[test]
    fn families_of_nothing_have_only_their_heads() {
        let text = Objects::default().encode("rabbitmq_detailed_", &[ObjectFamily::QueueConsumers]);
        let head = "# HELP rabbitmq_detailed_queue_consumers Consumers on a queue\n\
                    # TYPE rabbitmq_detailed_queue_consumers gauge\n";
        assert_eq!(text, head);
    }

    #[test]
    fn a_metric_of_two_families_comes_once() {
        let families = [ObjectFamily::Queue, ObjectFamily::QueueConsumers];
        let text = Objects::default().encode("rabbitmq_detailed_", &families);
        assert_eq!(text.matches("# TYPE rabbitmq_detailed_queue_consumers gauge").count(), 1);
        assert_eq!(text.matches("# TYPE ringmq_queue_oldest_message_seconds gauge").count(), 1);
    }

    #[test]
    fn virtual_hosts_are_rows_of_one() {
        let objects = Objects { vhosts: vec!["/".to_owned()], ..Objects::default() };
        let text = objects.encode("rabbitmq_detailed_", &[ObjectFamily::Vhosts]);
        assert!(text.ends_with("\nrabbitmq_cluster_vhost_status{vhost=\"/\"} 1\n"), "{text}");
    }
}

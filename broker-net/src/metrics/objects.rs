//! Metrics of single queues, connections and channels, in Prometheus' text format, under RabbitMQ's names.
//!
//! A family is what `/metrics/detailed?family=` asks for. The text is written row by row, as a hundred thousand queues have some.

use std::fmt::{Display, Write as _};

use broker_core::admin::{ChannelInfo, ConnectionInfo, QueueInfo};

/// What one scrape is about: listings of the objects that its families need.
#[derive(Debug, Default)]
pub struct Objects {
    /// Virtual hosts by name.
    pub vhosts: Vec<String>,
    /// Exchanges: virtual host, name, type.
    pub exchanges: Vec<(String, String, String)>,
    /// Queues.
    pub queues: Vec<QueueInfo>,
    /// Connections.
    pub connections: Vec<ConnectionInfo>,
    /// Channels, with their names.
    pub channels: Vec<(String, ChannelInfo)>,
}

/// A group of metrics that `/metrics/detailed` gives by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectFamily {
    /// Messages of queues.
    QueueCoarse,
    /// Consumers of queues.
    QueueConsumers,
    /// What queues have delivered.
    QueueDelivery,
    /// Bytes that connections have moved.
    ConnectionCoarse,
    /// Packets and channels of connections.
    Connection,
    /// Channels.
    Channel,
    /// Which virtual hosts there are.
    Vhosts,
    /// Which exchanges there are.
    Exchanges,
}

impl ObjectFamily {
    /// Those of `/metrics/per-object`.
    pub const PER_OBJECT: [Self; 6] = [
        Self::QueueCoarse,
        Self::QueueConsumers,
        Self::QueueDelivery,
        Self::ConnectionCoarse,
        Self::Connection,
        Self::Channel,
    ];

    /// The family of a `family=` parameter; `None` for those that this broker has no metrics of.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "queue_coarse_metrics" => Some(Self::QueueCoarse),
            "queue_consumer_count" | "queue_metrics" => Some(Self::QueueConsumers),
            "queue_delivery_metrics" => Some(Self::QueueDelivery),
            "connection_coarse_metrics" => Some(Self::ConnectionCoarse),
            "connection_metrics" => Some(Self::Connection),
            "channel_metrics" => Some(Self::Channel),
            "vhost_status" => Some(Self::Vhosts),
            "exchange_names" => Some(Self::Exchanges),
            _ => None,
        }
    }

    /// True if its numbers are read off queues.
    #[must_use]
    pub fn is_of_queues(self) -> bool {
        matches!(self, Self::QueueCoarse | Self::QueueConsumers | Self::QueueDelivery)
    }
}

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

impl Objects {
    /// The families in Prometheus' text format; `prefix` begins every name.
    #[must_use]
    pub fn encode(&self, prefix: &str, families: &[ObjectFamily]) -> String {
        let mut text = Text { prefix, out: String::new() };
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
            ObjectFamily::QueueDelivery => text.metrics(&self.queues, queue, QUEUE_DELIVERY),
            ObjectFamily::ConnectionCoarse => text.metrics(&self.connections, connection, CONNECTION_COARSE),
            ObjectFamily::Connection => text.metrics(&self.connections, connection, CONNECTION),
            ObjectFamily::Channel => text.metrics(&self.channels, channel, CHANNEL),
            ObjectFamily::Vhosts => {
                text.head("rabbitmq_cluster_vhost_status", "gauge", "Whether a given vhost is running");
                for vhost in &self.vhosts {
                    text.line("rabbitmq_cluster_vhost_status", &format!("vhost=\"{}\"", Label(vhost)), 1);
                }
            }
            ObjectFamily::Exchanges => {
                text.head("rabbitmq_cluster_exchange_name", "gauge", "Exchanges by name");
                for (vhost, name, kind) in &self.exchanges {
                    let (vhost, name) = (Label(vhost), Label(name));
                    let labels = format!("vhost=\"{vhost}\",exchange=\"{name}\",type=\"{kind}\"");
                    text.line("rabbitmq_cluster_exchange_name", &labels, 1);
                }
            }
        }
    }
}

/// The text that is being written.
struct Text<'a> {
    prefix: &'a str,
    out: String,
}

impl Text<'_> {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, number: u64) {
        let _ = writeln!(self.out, "{name}{{{labels}}} {number}");
    }

    fn metrics<T>(&mut self, rows: &[T], labels: impl Fn(&T) -> String, metrics: &[Metric<T>]) {
        let labels: Vec<String> = rows.iter().map(labels).collect();
        for (name, kind, help, number) in metrics {
            let name = format!("{}{name}", self.prefix);
            self.head(&name, kind, help);
            for (row, labels) in rows.iter().zip(&labels) {
                self.line(&name, labels, number(row));
            }
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
    fn virtual_hosts_are_rows_of_one() {
        let objects = Objects { vhosts: vec!["/".to_owned()], ..Objects::default() };
        let text = objects.encode("rabbitmq_detailed_", &[ObjectFamily::Vhosts]);
        assert!(text.ends_with("\nrabbitmq_cluster_vhost_status{vhost=\"/\"} 1\n"), "{text}");
    }
}

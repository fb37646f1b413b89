//! A workload: everything a run needs to know, and the routes that follow from it.

use std::path::PathBuf;

use amq_protocol::types::{AMQPValue, FieldTable, LongString};
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::wire::short_string;

/// Connections of one run at most; producers are numbered in 16 bits.
const CONNECTIONS_MAX: usize = 60_000;

/// The longest time, in seconds: 31 years.
const SECONDS_MAX: f64 = 1e9;

/// A workload. Every producer and every consumer has its own connection with one channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// `amqp://user:password@host:port/vhost`. Reports leave it out, as it holds a password.
    #[serde(skip)]
    pub uri: String,
    /// Publishing connections.
    pub producers: usize,
    /// Consuming connections.
    pub consumers: usize,
    /// Bytes of a message body. Bodies under 16 bytes are counted, but carry no identity to verify.
    pub size: usize,
    /// Unconfirmed messages a producer may have; without it, no confirms are asked for.
    pub confirm_window: Option<u32>,
    /// basic.qos per consumer.
    pub prefetch: Option<u16>,
    /// basic.qos for the whole channel.
    pub channel_prefetch: Option<u16>,
    /// A consumer acknowledges every so many messages, with `multiple`.
    pub ack_every: u32,
    /// Consumers use `no_ack`.
    pub auto_ack: bool,
    /// Messages have delivery mode 2, queues and exchange are durable.
    pub persistent: bool,
    /// Messages are published as mandatory; returned ones are counted.
    pub mandatory: bool,
    /// Open loop: messages a second of each producer.
    pub rate: Option<f64>,
    /// How long producers publish; without it, until the counts are reached.
    pub seconds: Option<f64>,
    /// Messages of each producer at most.
    pub publish_count: Option<u64>,
    /// Messages of each consumer at most; what is left in the queues is then not held against the broker.
    pub consume_count: Option<u64>,
    /// The queues, at least one.
    pub queues: Vec<String>,
    /// The exchange; without it the default exchange, with queue names as routing keys.
    pub exchange: Option<String>,
    /// The exchange's type.
    pub exchange_type: String,
    /// One routing key that all queues are bound with; without it each queue is bound with its name.
    pub routing_key: Option<String>,
    /// Every producer publishes to all routes in turn, instead of to one.
    pub spread: bool,
    /// Queues are auto-delete.
    pub auto_delete: bool,
    /// Arguments of queue.declare: name and value; whole numbers, `true` and `false` are sent as such.
    pub queue_arguments: Vec<(String, String)>,
    /// Arguments of exchange.declare, as those of the queues.
    pub exchange_arguments: Vec<(String, String)>,
    /// Headers of messages, as arguments of the queues. With some, what is in the queues is not compared with what was confirmed.
    pub headers: Vec<(String, String)>,
    /// Queues and exchange exist and stay: they are not declared, purged or deleted.
    pub predeclared: bool,
    /// Queues are purged before.
    pub purge: bool,
    /// Queues and exchange are left in place afterwards.
    pub keep: bool,
    /// Seconds that what is on its way may take to arrive after the producers stopped.
    pub drain_seconds: f64,
    /// The broker's process, to read what it uses.
    pub pid: Option<u32>,
    /// Where Prometheus finds the generator's own metrics.
    pub metrics: Option<String>,
    /// Where the report goes as JSON.
    #[serde(skip)]
    pub json: Option<PathBuf>,
}

impl Default for Load {
    /// One producer, one consumer, one queue, 16 bytes, transient, for 10 seconds.
    fn default() -> Self {
        Self {
            uri: "amqp://guest:guest@127.0.0.1:5672/%2f".into(),
            producers: 1,
            consumers: 1,
            size: 16,
            confirm_window: None,
            prefetch: None,
            channel_prefetch: None,
            ack_every: 1,
            auto_ack: false,
            persistent: false,
            mandatory: false,
            rate: None,
            seconds: Some(10.0),
            publish_count: None,
            consume_count: None,
            queues: vec!["ringmq-bench".into()],
            exchange: None,
            exchange_type: "direct".into(),
            routing_key: None,
            spread: false,
            auto_delete: false,
            queue_arguments: Vec::new(),
            exchange_arguments: Vec::new(),
            headers: Vec::new(),
            predeclared: false,
            purge: true,
            keep: false,
            drain_seconds: 120.0,
            pid: None,
            metrics: None,
            json: None,
        }
    }
}

/// One routing key and the queues that receive what is published with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) routing_key: String,
    /// Indexes into the workload's queues.
    pub(crate) queues: Vec<usize>,
}

impl Load {
    /// Refuses workloads that cannot run, or would wait forever.
    pub fn check(&self) -> Result<()> {
        ensure!(self.producers + self.consumers > 0, "no producers and no consumers");
        ensure!(self.producers + self.consumers <= CONNECTIONS_MAX, "over {CONNECTIONS_MAX} connections");
        ensure!(!self.queues.is_empty(), "no queues");
        ensure!(self.confirm_window != Some(0), "a confirm window of 0 lets nothing be sent");
        ensure!(self.ack_every > 0, "-A is at least 1");
        for prefetch in [self.prefetch, self.channel_prefetch].into_iter().flatten() {
            let stuck = !self.auto_ack && prefetch > 0 && u32::from(prefetch) < self.ack_every;
            ensure!(
                !stuck,
                "-A {} waits for more messages than a prefetch of {prefetch} lets through",
                self.ack_every
            );
        }
        ensure!(
            self.routing_key.is_none() || self.exchange.is_some(),
            "-k needs -e: the default exchange routes by queue name"
        );
        for seconds in [self.seconds.unwrap_or_default(), self.drain_seconds] {
            ensure!((0.0..=SECONDS_MAX).contains(&seconds), "a time is between 0 and {SECONDS_MAX} seconds");
        }
        let ends = self.seconds.is_some() || self.publish_count.is_some() || self.consume_count.is_some();
        ensure!(ends, "the run has no end: give -z, -C or -D");
        for queue in &self.queues {
            short_string("a queue's name", queue)?;
        }
        Ok(())
    }

    /// The routing keys in use.
    pub(crate) fn routes(&self) -> Vec<Route> {
        let all = || (0..self.queues.len()).collect();
        let ignores_key = matches!(self.exchange_type.as_str(), "fanout" | "headers");
        match (&self.exchange, &self.routing_key) {
            (Some(_), Some(key)) => vec![Route { routing_key: key.clone(), queues: all() }],
            (Some(_), None) if ignores_key => vec![Route { routing_key: String::new(), queues: all() }],
            _ => self
                .queues
                .iter()
                .enumerate()
                .map(|(index, queue)| Route { routing_key: queue.clone(), queues: vec![index] })
                .collect(),
        }
    }

    /// The routes of one producer: one, dealt in turn, or all of them.
    pub(crate) fn routes_of_producer(&self, producer: usize, routes: usize) -> Vec<usize> {
        if self.spread { (0..routes).collect() } else { vec![producer % routes] }
    }

    /// The queues of one consumer: every consumer has at least one, every queue at least one consumer.
    pub(crate) fn queues_of_consumer(&self, consumer: usize) -> Vec<usize> {
        let queues = self.queues.len();
        if self.consumers >= queues {
            return vec![consumer % queues];
        }
        (consumer..queues).step_by(self.consumers).collect()
    }
}

/// A table of what was given as texts.
pub(crate) fn field_table(pairs: &[(String, String)]) -> Result<FieldTable> {
    let mut table = FieldTable::default();
    for (name, value) in pairs {
        let value = match (value.parse::<i64>(), value.parse::<bool>()) {
            (Ok(number), _) => AMQPValue::LongLongInt(number),
            (_, Ok(flag)) => AMQPValue::Boolean(flag),
            _ => AMQPValue::LongString(LongString::from(value.as_str())),
        };
        table.insert(short_string("an argument's name", name)?, value);
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(producers: usize, consumers: usize, queues: usize) -> Load {
        let queues = (0..queues).map(|index| format!("q{index}")).collect();
        Load { producers, consumers, queues, ..Load::default() }
    }

    #[test]
    fn consumers_cover_every_queue() {
        for (consumers, queues) in [(1, 1000), (3, 10), (10, 3), (50, 50)] {
            let load = load(1, consumers, queues);
            let mut covered: Vec<_> = (0..consumers).flat_map(|c| load.queues_of_consumer(c)).collect();
            covered.sort_unstable();
            covered.dedup();
            assert_eq!(covered, (0..queues).collect::<Vec<_>>());
        }
    }

    #[test]
    fn fanout_has_one_route_to_all_queues() {
        let mut load = load(1, 1, 3);
        assert_eq!(load.routes().len(), 3);
        load.exchange = Some("x".into());
        assert_eq!(load.routes().len(), 3);
        load.exchange_type = "fanout".into();
        assert_eq!(load.routes(), [Route { routing_key: String::new(), queues: vec![0, 1, 2] }]);
    }

    #[test]
    fn workloads_that_would_wait_forever_are_refused() {
        assert!(load(1, 1, 1).check().is_ok());
        assert!(Load { prefetch: Some(10), ack_every: 11, ..load(1, 1, 1) }.check().is_err());
        assert!(Load { prefetch: Some(10), ack_every: 11, auto_ack: true, ..load(1, 1, 1) }.check().is_ok());
        assert!(Load { confirm_window: Some(0), ..load(1, 1, 1) }.check().is_err());
        assert!(Load { seconds: None, ..load(1, 1, 1) }.check().is_err());
        assert!(load(0, 0, 1).check().is_err());
        for seconds in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(Load { seconds: Some(seconds), ..load(1, 1, 1) }.check().is_err());
            assert!(Load { drain_seconds: seconds, ..load(1, 1, 1) }.check().is_err());
        }
    }
}

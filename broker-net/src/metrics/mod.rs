//! The broker's numbers in Prometheus' text format, under RabbitMQ's names so that its Grafana dashboards work
//! unchanged, and under `ringmq_` for what RabbitMQ does not have.
//!
//! The numbers are collected when they are asked for: the shards are asked for a copy of theirs, and nothing is kept.

mod families;
mod objects;
pub(crate) mod process;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use broker_core::shard::stats::{MESSAGE_SIZE_BOUNDS, MessageSizes, ShardStats};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Registry, TextEncoder};

use families::{Family, Kind};
pub use objects::{ObjectFamily, Objects};
pub use process::Process;

/// Asks every shard for its numbers, in the order of the shards. It may block for as long as a shard takes to
/// answer, and leaves out a shard that does not.
pub type StatsSource = Arc<dyn Fn() -> Vec<ShardStats> + Send + Sync>;

/// Who the numbers are about: the labels of `rabbitmq_identity_info`, on which dashboards join and filter.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Name of this broker, `ringmq@` and the host name.
    pub node: String,
    /// Name of the cluster; that of the node as long as there are no clusters.
    pub cluster: String,
}

/// All metrics of the broker.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// Metrics of the broker whose data are in `data_dir` and whose shards are asked through `source`.
    pub fn new(identity: Identity, data_dir: PathBuf, source: StatsSource) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let started = Instant::now();
        registry.register(Box::new(Broker::new(identity, data_dir, started, source)?))?;
        Ok(Self { registry })
    }

    /// The present numbers of the families whose names are `wanted`, in Prometheus' text format.
    pub fn encode(&self, wanted: impl Fn(&str) -> bool) -> prometheus::Result<String> {
        let mut families = self.registry.gather();
        families.retain(|family| wanted(family.name()));
        TextEncoder::new().encode_to_string(&families)
    }
}

/// Collects everything in one pass, so that the numbers of one scrape belong together.
struct Broker {
    identity: Identity,
    data_dir: PathBuf,
    started: Instant,
    source: StatsSource,
    descriptions: Vec<Desc>,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("identity", &self.identity).finish_non_exhaustive()
    }
}

const IDENTITY_INFO: (&str, &str) = ("rabbitmq_identity_info", "The broker that these numbers are about");
const BUILD_INFO: (&str, &str) = ("rabbitmq_build_info", "The version of the broker");
const MESSAGE_SIZE: (&str, &str) =
    ("rabbitmq_message_size_bytes", "Sizes of the bodies of messages received from publishers");

impl Broker {
    fn new(
        identity: Identity,
        data_dir: PathBuf,
        started: Instant,
        source: StatsSource,
    ) -> prometheus::Result<Self> {
        let names = [IDENTITY_INFO, BUILD_INFO, MESSAGE_SIZE].into_iter();
        let names = names.chain(families::BROKER.iter().map(|family| (family.name, family.help)));
        let names = names.chain(families::SHARD.iter().map(|family| (family.name, family.help)));
        let names = names.chain(families::PROCESS.iter().map(|family| (family.name, family.help)));
        let descriptions = names
            .map(|(name, help)| Desc::new(name.to_owned(), help.to_owned(), Vec::new(), HashMap::new()))
            .collect::<prometheus::Result<_>>()?;
        Ok(Self { identity, data_dir, started, source, descriptions })
    }

    fn identity(&self) -> Vec<MetricFamily> {
        let Identity { node, cluster } = &self.identity;
        let identity = [("rabbitmq_node", node), ("rabbitmq_cluster", cluster)];
        let mut identity: Vec<_> = identity.iter().map(|(name, value)| label(name, value)).collect();
        identity.push(label("rabbitmq_endpoint", "aggregated"));
        let version = env!("CARGO_PKG_VERSION");
        let build = vec![label("rabbitmq_version", version), label("ringmq_version", version)];
        [(IDENTITY_INFO, identity), (BUILD_INFO, build)]
            .map(|((name, help), labels)| family(name, help, Kind::Gauge, vec![metric(Kind::Gauge, labels, 1.0)]))
            .into()
    }
}

impl Collector for Broker {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let shards = (self.source)();
        let total = total(&shards);
        let process = Process::read(&self.data_dir, self.started);
        let mut collected = self.identity();
        collected.push(message_sizes(&total.message_sizes));
        collected.extend(families::BROKER.iter().map(|of| whole(of, &total)));
        collected.extend(families::PROCESS.iter().map(|of| whole(of, &process)));
        collected.extend(families::SHARD.iter().map(|of| per_shard(of, &shards)));
        collected
    }
}

/// The sum of the shards' numbers.
#[must_use]
pub fn total(shards: &[ShardStats]) -> ShardStats {
    let mut total = ShardStats::default();
    for shard in shards {
        total.add(shard);
    }
    total
}

/// A family with one metric.
fn whole<T>(of: &Family<T>, numbers: &T) -> MetricFamily {
    let labels = of.labels.iter().map(|(name, value)| label(name, value)).collect();
    family(of.name, of.help, of.kind, vec![metric(of.kind, labels, (of.value)(numbers))])
}

/// A family with one metric per shard.
fn per_shard(of: &Family<ShardStats>, shards: &[ShardStats]) -> MetricFamily {
    let metrics = shards
        .iter()
        .enumerate()
        .map(|(number, shard)| metric(of.kind, vec![label("shard", &number.to_string())], (of.value)(shard)));
    family(of.name, of.help, of.kind, metrics.collect())
}

fn message_sizes(sizes: &MessageSizes) -> MetricFamily {
    let mut cumulative = 0;
    let buckets = MESSAGE_SIZE_BOUNDS.iter().zip(sizes.classes).map(|(&bound, count)| {
        cumulative += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(families::float(bound));
        bucket.set_cumulative_count(cumulative);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(sizes.count());
    histogram.set_sample_sum(families::float(sizes.bytes));
    let mut of = Metric::default();
    of.set_label(families::PROTOCOL.iter().map(|(name, value)| label(name, value)).collect());
    of.set_histogram(histogram);
    let mut family = MetricFamily::default();
    family.set_name(MESSAGE_SIZE.0.to_owned());
    family.set_help(MESSAGE_SIZE.1.to_owned());
    family.set_field_type(MetricType::HISTOGRAM);
    family.set_metric(vec![of]);
    family
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

fn metric(kind: Kind, labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut metric = Metric::default();
    metric.set_label(labels);
    match kind {
        Kind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        }
        Kind::Gauge => {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
    }
    metric
}

fn family(name: &str, help: &str, kind: Kind, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(match kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
    });
    family.set_metric(metrics);
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(shards: Vec<ShardStats>) -> String {
        let identity = Identity { node: "ringmq@here".to_owned(), cluster: "ringmq@here".to_owned() };
        let source: StatsSource = Arc::new(move || shards.clone());
        Metrics::new(identity, PathBuf::from("/"), source).unwrap().encode(|_| true).unwrap()
    }

    #[track_caller]
    fn check(scrape: &str, line: &str) {
        assert!(scrape.lines().any(|other| other == line), "no `{line}` in\n{scrape}");
    }

    #[test]
    fn rabbitmq_names_are_sums_and_ringmq_names_are_per_shard() {
        let shard = ShardStats {
            connections: 2,
            messages_delivered_get_auto_ack: 3,
            messages_received: 7,
            log_syncs: 5,
            ..ShardStats::default()
        };
        let scrape = scrape(vec![shard, shard]);
        check(&scrape, "rabbitmq_connections 4");
        check(&scrape, "rabbitmq_global_messages_received_total{protocol=\"amqp091\"} 14");
        let labels = "protocol=\"amqp091\",queue_type=\"rabbit_classic_queue\"";
        check(&scrape, &format!("rabbitmq_global_messages_delivered_total{{{labels}}} 6"));
        check(&scrape, "ringmq_log_syncs_total{shard=\"0\"} 5");
        check(&scrape, "ringmq_log_syncs_total{shard=\"1\"} 5");
        check(&scrape, "# TYPE rabbitmq_connections gauge");
        check(&scrape, "# TYPE ringmq_log_syncs_total counter");
    }

    #[test]
    fn the_identity_has_the_labels_that_dashboards_filter_by() {
        let scrape = scrape(Vec::new());
        let line = scrape.lines().find(|line| line.starts_with("rabbitmq_identity_info{")).unwrap();
        for label in ["rabbitmq_node=\"ringmq@here\"", "rabbitmq_cluster=", "rabbitmq_endpoint=\"aggregated\""] {
            assert!(line.contains(label), "{line}");
        }
        check(&scrape, "rabbitmq_queues 0");
    }

    #[test]
    fn message_sizes_are_a_cumulative_histogram() {
        let mut shard = ShardStats::default();
        for bytes in [50, 500, 2_000_000_000] {
            shard.message_sizes.record(bytes);
        }
        let scrape = scrape(vec![shard]);
        let bucket = |le| format!("rabbitmq_message_size_bytes_bucket{{protocol=\"amqp091\",le=\"{le}\"}}");
        check(&scrape, &format!("{} 1", bucket("100")));
        check(&scrape, &format!("{} 2", bucket("100000000")));
        check(&scrape, &format!("{} 3", bucket("+Inf")));
        check(&scrape, "rabbitmq_message_size_bytes_sum{protocol=\"amqp091\"} 2000000550");
    }

    #[test]
    fn every_name_is_given_once_and_counters_end_in_total() {
        let scrape = scrape(vec![ShardStats::default()]);
        let mut names: Vec<&str> = scrape.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        for counter in names.iter().filter_map(|line| line.strip_suffix(" counter")) {
            assert!(counter.ends_with("_total"), "{counter}");
        }
        let given = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), given);
    }
}

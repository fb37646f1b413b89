//! The broker's numbers in Prometheus' text format, under RabbitMQ's names so that its Grafana dashboards work
//! unchanged, and under `ringmq_` for what RabbitMQ does not have.
//!
//! The numbers are collected when they are asked for: the shards are asked for a copy of theirs, and nothing is kept.

mod families;
mod histograms;
mod objects;
pub(crate) mod process;
mod reference;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use broker_core::shard::stats::ShardStats;
use prometheus::TextEncoder;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

pub use crate::alarm::Thresholds;
use crate::amqp::Node;
use crate::logins::{Attempts, LoginProtocol, Logins};
use families::{Family, Kind};
use histograms::DISTRIBUTIONS;
pub use objects::{ExchangeRow, ObjectFamily, Objects};
pub use process::Process;
pub use reference::reference;

/// Who the numbers are about: the labels of `rabbitmq_identity_info`, on which dashboards join and filter.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Name of this broker, `ringmq@` and the host name.
    pub node: String,
    /// Name of the cluster; that of the node as long as there are no clusters.
    pub cluster: String,
}

/// What the alarms compare with now; it changes when the configuration is read again.
#[derive(Clone, Debug)]
pub struct SharedThresholds(Arc<Mutex<Thresholds>>);

impl SharedThresholds {
    /// With these.
    #[must_use]
    pub fn new(thresholds: Thresholds) -> Self {
        Self(Arc::new(Mutex::new(thresholds)))
    }

    /// They have changed.
    pub fn set(&self, thresholds: Thresholds) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = thresholds;
    }

    pub(crate) fn get(&self) -> Thresholds {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The metrics of one broker.
#[derive(Debug)]
pub struct Metrics {
    identity: Identity,
    data_dir: PathBuf,
    started: Instant,
    thresholds: SharedThresholds,
    node: Arc<Node>,
}

/// What begins RabbitMQ's names in `/metrics/detailed`.
pub const DETAILED_PREFIX: &str = "rabbitmq_detailed_";

/// Name, help.
const IDENTITY_INFO: (&str, &str) = ("rabbitmq_identity_info", "The broker that these numbers are about");
/// Name, help.
const BUILD_INFO: (&str, &str) = ("rabbitmq_build_info", "The version of the broker");
/// Name, help.
const OLDEST: (&str, &str) =
    ("ringmq_queue_oldest_message_seconds", "Age of the oldest ready message, 0 without one");

impl Metrics {
    /// Metrics of the broker whose data are in `data_dir`.
    #[must_use]
    pub fn new(identity: Identity, data_dir: PathBuf, thresholds: SharedThresholds, node: Arc<Node>) -> Self {
        Self { identity, data_dir, started: Instant::now(), thresholds, node }
    }

    /// Who the numbers are about, in Prometheus' text format. `endpoint` is what the scraper asked: `aggregated`, `per-object` or
    /// `detailed`.
    ///
    /// # Errors
    /// Those of the encoder.
    pub fn encode_identity(&self, endpoint: &str) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.identity(endpoint))
    }

    /// The numbers of the whole broker whose names are `wanted`, in Prometheus' text format. `shards` are those of each shard, in
    /// order.
    ///
    /// # Errors
    /// Those of the encoder.
    pub fn encode(&self, shards: &[ShardStats], wanted: impl Fn(&str) -> bool) -> prometheus::Result<String> {
        let mut families = self.collect(shards);
        // The encoder refuses a family without metrics, as those of shards are when there are none.
        families.retain(|family| wanted(family.name()) && !family.get_metric().is_empty());
        TextEncoder::new().encode_to_string(&families)
    }

    /// The numbers of the whole broker that belong to `families` of `/metrics/detailed`, under the names that they have there.
    ///
    /// # Errors
    /// Those of the encoder.
    pub fn encode_detailed(&self, shards: &[ShardStats], families: &[String]) -> prometheus::Result<String> {
        let asked = families::DETAILED.iter().filter(|(name, _)| families.iter().any(|asked| asked == name));
        let names: Vec<&str> = asked.flat_map(|(_, names)| *names).copied().collect();
        let mut collected = self.collect(shards);
        collected.retain(|family| names.contains(&family.name()));
        for family in &mut collected {
            family.set_name(family.name().replacen("rabbitmq_", DETAILED_PREFIX, 1));
        }
        TextEncoder::new().encode_to_string(&collected)
    }

    fn collect(&self, shards: &[ShardStats]) -> Vec<MetricFamily> {
        let total = total(shards);
        let process = Process::read(&self.data_dir, self.started);
        let thresholds = self.thresholds.get();
        let mut collected: Vec<_> = families::BROKER.iter().map(|of| whole(of, &total)).collect();
        collected.extend(families::LOGINS.iter().map(|of| per_protocol(of, &self.node.logins)));
        collected.extend(families::PROCESS.iter().map(|of| whole(of, &process)));
        collected.extend(families::LIMITS.iter().map(|of| whole(of, &thresholds)));
        collected.push(oldest(&total));
        collected.extend(families::SHARD.iter().map(|of| per_shard(of, shards)));
        collected.extend(DISTRIBUTIONS.iter().map(|of| of.family(&total)));
        collected
    }

    fn identity(&self, endpoint: &str) -> [MetricFamily; 2] {
        let Identity { node, cluster } = &self.identity;
        let identity =
            [("rabbitmq_node", node.as_str()), ("rabbitmq_cluster", cluster), ("rabbitmq_endpoint", endpoint)];
        let version = env!("CARGO_PKG_VERSION");
        let build = [
            ("rabbitmq_version", version),
            ("ringmq_version", version),
            ("product_name", "RingMQ"),
            ("product_version", version),
        ];
        let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(name, value)| label(name, value)).collect();
        [(IDENTITY_INFO, labels(&identity)), (BUILD_INFO, labels(&build))]
            .map(|((name, help), labels)| family(name, help, Kind::Gauge, vec![metric(Kind::Gauge, labels, 1.0)]))
    }
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Age of what came at `oldest_ms`, in seconds; 0 of nothing.
fn age_seconds(oldest_ms: Option<u64>, now_ms: u64) -> f64 {
    oldest_ms.map_or(0.0, |oldest_ms| families::float(now_ms.saturating_sub(oldest_ms)) / 1e3)
}

/// Age of the oldest ready message of all queues.
fn oldest(total: &ShardStats) -> MetricFamily {
    let age = age_seconds(total.oldest_ms, now_ms());
    family(OLDEST.0, OLDEST.1, Kind::Gauge, vec![metric(Kind::Gauge, Vec::new(), age)])
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

/// A family with one metric for each protocol that somebody can log in by.
fn per_protocol(of: &Family<Attempts>, logins: &Logins) -> MetricFamily {
    let metrics = LoginProtocol::ALL.map(|protocol| {
        let value = (of.value)(&logins.attempts(protocol));
        metric(of.kind, vec![label("protocol", protocol.name())], value)
    });
    family(of.name, of.help, of.kind, metrics.into())
}

/// A family with one metric per shard.
fn per_shard(of: &Family<ShardStats>, shards: &[ShardStats]) -> MetricFamily {
    let metrics = shards
        .iter()
        .enumerate()
        .map(|(number, shard)| metric(of.kind, vec![label("shard", &number.to_string())], (of.value)(shard)));
    family(of.name, of.help, of.kind, metrics.collect())
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

    fn scrape(shards: &[ShardStats]) -> String {
        let identity = Identity { node: "ringmq@here".to_owned(), cluster: "ringmq@here".to_owned() };
        let thresholds = SharedThresholds::new(Thresholds { memory: 1000, disk: 500 });
        let metrics = Metrics::new(identity, PathBuf::from("/"), thresholds, Arc::default());
        metrics.encode_identity("aggregated").unwrap() + &metrics.encode(shards, |_| true).unwrap()
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
        let scrape = scrape(&[shard, shard]);
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
        let scrape = scrape(&[]);
        let line = scrape.lines().find(|line| line.starts_with("rabbitmq_identity_info{")).unwrap();
        for label in ["rabbitmq_node=\"ringmq@here\"", "rabbitmq_cluster=", "rabbitmq_endpoint=\"aggregated\""] {
            assert!(line.contains(label), "{line}");
        }
        check(&scrape, "rabbitmq_queues 0");
        check(&scrape, "rabbitmq_resident_memory_limit_bytes 1000");
        check(&scrape, "rabbitmq_disk_space_available_limit_bytes 500");
    }

    #[test]
    fn message_sizes_are_a_cumulative_histogram() {
        let mut shard = ShardStats::default();
        for bytes in [50, 500, 2_000_000_000] {
            shard.message_sizes.record(&broker_core::shard::histogram::MESSAGE_SIZE_BOUNDS, bytes, 1);
        }
        let scrape = scrape(&[shard]);
        let bucket = |le| format!("rabbitmq_message_size_bytes_bucket{{protocol=\"amqp091\",le=\"{le}\"}}");
        check(&scrape, &format!("{} 1", bucket("100")));
        check(&scrape, &format!("{} 2", bucket("100000000")));
        check(&scrape, &format!("{} 3", bucket("+Inf")));
        check(&scrape, "rabbitmq_message_size_bytes_sum{protocol=\"amqp091\"} 2000000550");
    }

    #[test]
    fn times_are_in_seconds() {
        let mut shard = ShardStats { busy_us: 1_500_000, log_write_us: 250_000, ..ShardStats::default() };
        shard.waits.record(7);
        shard.sync_latencies.record(&broker_core::shard::histogram::LATENCY_BOUNDS_US, 700, 1);
        let scrape = scrape(&[shard, shard]);
        check(&scrape, "ringmq_shard_busy_seconds_total{shard=\"1\"} 1.5");
        check(&scrape, "rabbitmq_io_write_time_seconds_total 0.5");
        check(&scrape, "ringmq_log_sync_latency_seconds_bucket{le=\"0.0005\"} 0");
        check(&scrape, "ringmq_log_sync_latency_seconds_bucket{le=\"0.001\"} 2");
        check(&scrape, "ringmq_queue_wait_seconds_bucket{le=\"0.01\"} 2");
        check(&scrape, "ringmq_queue_wait_seconds_sum 0.014");
        check(&scrape, "ringmq_queue_oldest_message_seconds 0");
    }

    #[test]
    fn every_name_is_given_once_and_counters_end_in_total() {
        let scrape = scrape(&[ShardStats::default()]);
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

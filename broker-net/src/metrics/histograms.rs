//! The distributions: names, bounds, and where the counts are. They are added up over the shards.

use broker_core::shard::histogram::{
    BATCH_BYTES_BOUNDS, BATCH_RECORDS_BOUNDS, Histogram, LATENCY_BOUNDS_US, MESSAGE_SIZE_BOUNDS, WAIT_BOUNDS_MS,
};
use broker_core::shard::stats::ShardStats;
use prometheus::proto::{self, Bucket, Metric, MetricFamily, MetricType};

use super::families::{Labels, NONE, PROTOCOL, float};
use super::label;

/// A metric family that is a distribution.
pub(super) struct Distribution {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) labels: Labels,
    /// Upper bounds of the classes, in what the shard counts.
    pub(super) bounds: &'static [u64],
    /// What a metric counts for one of the shard's: seconds for microseconds.
    unit: f64,
    counts: fn(&ShardStats) -> Counts,
}

/// Values per class, those beyond the last bound, and the sum of all.
struct Counts {
    classes: Vec<u64>,
    beyond: u64,
    sum: u64,
}

impl<const N: usize> From<&Histogram<N>> for Counts {
    fn from(histogram: &Histogram<N>) -> Self {
        Self { classes: histogram.classes.to_vec(), beyond: histogram.beyond, sum: histogram.sum }
    }
}

pub(super) const DISTRIBUTIONS: [Distribution; 6] = [
    Distribution {
        name: "rabbitmq_message_size_bytes",
        help: "Sizes of the bodies of messages received from publishers",
        labels: PROTOCOL,
        bounds: &MESSAGE_SIZE_BOUNDS,
        unit: 1.0,
        counts: |stats| (&stats.message_sizes).into(),
    },
    Distribution {
        name: "ringmq_confirm_latency_seconds",
        help: "From the receipt of a message until its confirm was handed to the socket",
        labels: NONE,
        bounds: &LATENCY_BOUNDS_US,
        unit: 1e6,
        counts: |stats| (&stats.confirm_latencies).into(),
    },
    Distribution {
        name: "ringmq_queue_wait_seconds",
        help: "From the publish of a message until a queue first delivered it",
        labels: NONE,
        bounds: &WAIT_BOUNDS_MS,
        unit: 1e3,
        counts: |stats| (&stats.waits.histogram()).into(),
    },
    Distribution {
        name: "ringmq_log_sync_latency_seconds",
        help: "What an fdatasync of a durable log took",
        labels: NONE,
        bounds: &LATENCY_BOUNDS_US,
        unit: 1e6,
        counts: |stats| (&stats.sync_latencies).into(),
    },
    Distribution {
        name: "ringmq_log_batch_records",
        help: "Records that one fdatasync of a durable log made durable",
        labels: NONE,
        bounds: &BATCH_RECORDS_BOUNDS,
        unit: 1.0,
        counts: |stats| (&stats.batch_records).into(),
    },
    Distribution {
        name: "ringmq_log_batch_bytes",
        help: "Bytes that one fdatasync of a durable log made durable",
        labels: NONE,
        bounds: &BATCH_BYTES_BOUNDS,
        unit: 1.0,
        counts: |stats| (&stats.batch_bytes).into(),
    },
];

impl Distribution {
    /// The upper bounds as the metric has them.
    pub(super) fn upper_bounds(&self) -> impl Iterator<Item = f64> {
        self.bounds.iter().map(|&bound| float(bound) / self.unit)
    }

    /// The family with the present counts.
    pub(super) fn family(&self, total: &ShardStats) -> MetricFamily {
        let counts = (self.counts)(total);
        let mut cumulative = 0;
        let buckets = self.upper_bounds().zip(&counts.classes).map(|(bound, count)| {
            cumulative += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(cumulative);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(cumulative + counts.beyond);
        histogram.set_sample_sum(float(counts.sum) / self.unit);
        let mut metric = Metric::default();
        metric.set_label(self.labels.iter().map(|(name, value)| label(name, value)).collect());
        metric.set_histogram(histogram);
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(vec![metric]);
        family
    }
}

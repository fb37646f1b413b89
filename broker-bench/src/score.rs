//! What a run counts and times while it goes.

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::{metrics::Metrics, verify::Verifier};

/// The longest latency told apart, in microseconds: one hour.
const LATENCY_MAX_US: u64 = 3_600_000_000;
/// Percentiles are exact to a thousandth.
const SIGNIFICANT_DIGITS: u8 = 3;

/// Counts of one run, from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) published: u64,
    pub(crate) confirmed: u64,
    pub(crate) nacked: u64,
    pub(crate) returned: u64,
    /// All deliveries, duplicates too.
    pub(crate) delivered: u64,
}

/// A distribution of latencies in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Latencies measured.
    pub count: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Half of all are at most this.
    pub p50: u64,
    /// 95 percent.
    pub p95: u64,
    /// 99 percent.
    pub p99: u64,
    /// 99.9 percent.
    pub p999: u64,
    /// 99.99 percent.
    pub p9999: u64,
    /// The longest.
    pub max: u64,
}

/// Latencies of the current interval and of the run.
#[derive(Debug)]
pub(crate) struct Latency {
    interval: Histogram<u64>,
    total: Histogram<u64>,
}

impl Latency {
    fn new() -> Result<Self> {
        let empty = Histogram::new_with_max(LATENCY_MAX_US, SIGNIFICANT_DIGITS)?;
        Ok(Self { interval: empty.clone(), total: empty })
    }

    fn record(&mut self, latency_us: u64) {
        self.interval.saturating_record(latency_us);
    }

    /// The distribution of the interval that ends now.
    pub(crate) fn end_interval(&mut self) -> Result<Option<Percentiles>> {
        let percentiles = percentiles(&self.interval);
        self.total.add(&self.interval)?;
        self.interval.reset();
        Ok(percentiles)
    }

    /// The distribution of the run, up to the last interval's end.
    pub(crate) fn total(&self) -> Option<Percentiles> {
        percentiles(&self.total)
    }
}

fn percentiles(histogram: &Histogram<u64>) -> Option<Percentiles> {
    (!histogram.is_empty()).then(|| Percentiles {
        count: histogram.len(),
        mean: histogram.mean(),
        p50: histogram.value_at_quantile(0.5),
        p95: histogram.value_at_quantile(0.95),
        p99: histogram.value_at_quantile(0.99),
        p999: histogram.value_at_quantile(0.999),
        p9999: histogram.value_at_quantile(0.9999),
        max: histogram.max(),
    })
}

/// Everything that producers and consumers write to.
#[derive(Debug)]
pub(crate) struct Score {
    pub(crate) verifier: Verifier,
    pub(crate) counts: Counts,
    pub(crate) confirm_latency: Latency,
    pub(crate) deliver_latency: Latency,
    pub(crate) first_published_us: Option<u64>,
    pub(crate) last_published_us: u64,
    pub(crate) first_delivered_us: Option<u64>,
    pub(crate) last_delivered_us: u64,
    pub(crate) metrics: Option<Metrics>,
}

impl Score {
    pub(crate) fn new(verifier: Verifier, metrics: Option<Metrics>) -> Result<Self> {
        Ok(Self {
            verifier,
            counts: Counts::default(),
            confirm_latency: Latency::new()?,
            deliver_latency: Latency::new()?,
            first_published_us: None,
            last_published_us: 0,
            first_delivered_us: None,
            last_delivered_us: 0,
            metrics,
        })
    }

    pub(crate) fn confirmed(&mut self, latency_us: u64) {
        self.counts.confirmed += 1;
        self.confirm_latency.record(latency_us);
        if let Some(metrics) = &self.metrics {
            metrics.confirmed(latency_us);
        }
    }

    pub(crate) fn delivered(&mut self, latency_us: Option<u64>) {
        self.counts.delivered += 1;
        let Some(latency_us) = latency_us else { return };
        self.deliver_latency.record(latency_us);
        if let Some(metrics) = &self.metrics {
            metrics.delivered(latency_us);
        }
    }
}

//! The generator's own metrics for Prometheus, served while it runs.
//!
//! Counters are brought up to date once a second. Latencies are collected by the load's own thread without
//! atomics, and flushed at the same time.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, Result};
use axum::{Router, extract::State, routing::get};
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, Registry, TextEncoder, core::Collector, exponential_buckets,
    local::LocalHistogram,
};

use crate::score::Counts;

/// 10 us, doubled 22 times: to 42 s.
const BUCKETS: (f64, f64, usize) = (10e-6, 2.0, 23);

#[derive(Debug)]
pub(crate) struct Metrics {
    published: IntCounter,
    confirmed: IntCounter,
    nacked: IntCounter,
    returned: IntCounter,
    delivered: IntCounter,
    confirm_latency: Latency,
    deliver_latency: Latency,
}

struct Latency(LocalHistogram);

impl Metrics {
    /// Registers the metrics and serves them at `http://ADDRESS/metrics` from a thread of their own.
    pub(crate) fn serve(address: &str) -> Result<Self> {
        let registry = Registry::new();
        let metrics = Self {
            published: counter(&registry, "published", "Messages published")?,
            confirmed: counter(&registry, "confirmed", "Messages confirmed by the broker")?,
            nacked: counter(&registry, "nacked", "Messages refused by the broker")?,
            returned: counter(&registry, "returned", "Mandatory messages returned")?,
            delivered: counter(&registry, "delivered", "Messages received")?,
            confirm_latency: latency(&registry, "confirm", "From the intended send time to the confirm")?,
            deliver_latency: latency(&registry, "deliver", "From the intended send time to the delivery")?,
        };
        let address: SocketAddr = address.parse().context("--metrics takes ADDRESS:PORT")?;
        let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        listener.set_nonblocking(true)?;
        std::thread::Builder::new().name("metrics".into()).spawn(move || serve(listener, registry))?;
        Ok(metrics)
    }

    pub(crate) fn confirmed(&self, latency_us: u64) {
        self.confirm_latency.observe(latency_us);
    }

    pub(crate) fn delivered(&self, latency_us: u64) {
        self.deliver_latency.observe(latency_us);
    }

    /// Shows what has been counted.
    pub(crate) fn update(&self, counts: &Counts) {
        for (metric, count) in [
            (&self.published, counts.published),
            (&self.confirmed, counts.confirmed),
            (&self.nacked, counts.nacked),
            (&self.returned, counts.returned),
            (&self.delivered, counts.delivered),
        ] {
            metric.inc_by(count.saturating_sub(metric.get()));
        }
        self.confirm_latency.0.flush();
        self.deliver_latency.0.flush();
    }
}

impl Latency {
    fn observe(&self, latency_us: u64) {
        #[expect(clippy::cast_precision_loss, reason = "a latency is far below 2^52 us")]
        self.0.observe(latency_us as f64 * 1e-6);
    }
}

impl std::fmt::Debug for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Latency").finish_non_exhaustive()
    }
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter> {
    register(registry, IntCounter::new(format!("ringmq_bench_{name}_total"), help)?)
}

fn latency(registry: &Registry, name: &str, help: &str) -> Result<Latency> {
    let (start, factor, count) = BUCKETS;
    let options = HistogramOpts::new(format!("ringmq_bench_{name}_latency_seconds"), help)
        .buckets(exponential_buckets(start, factor, count)?);
    Ok(Latency(register(registry, Histogram::with_opts(options)?)?.local()))
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> Result<C> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

/// Serves until the process ends. The load goes on without metrics should this fail.
fn serve(listener: TcpListener, registry: Registry) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else {
        return;
    };
    let router = Router::new().route("/metrics", get(render)).with_state(registry);
    let _ = runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        axum::serve(listener, router).await
    });
}

async fn render(State(registry): State<Registry>) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text).map_err(|e| e.to_string())?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpStream,
    };

    use super::*;

    #[test]
    fn a_scrape_shows_counts_and_latencies() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let metrics = Metrics::serve(&format!("127.0.0.1:{port}")).unwrap();
        metrics.delivered(15);
        metrics.update(&Counts { published: 7, delivered: 1, ..Counts::default() });
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        for line in [
            "ringmq_bench_published_total 7",
            "ringmq_bench_deliver_latency_seconds_bucket{le=\"0.00001\"} 0",
            "ringmq_bench_deliver_latency_seconds_bucket{le=\"0.00002\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}

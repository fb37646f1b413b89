//! What a run has shown, for people and for programs.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::{load::Load, process::ProcessUse, score::Percentiles};

/// Is told of every second of a run.
pub type Observer<'a> = dyn FnMut(&Interval) + 'a;

/// One second of a run. Latencies are in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// From the start of the load to the interval's end.
    pub elapsed_seconds: f64,
    /// Messages published.
    pub published_per_second: f64,
    /// Messages confirmed.
    pub confirmed_per_second: f64,
    /// Messages received.
    pub delivered_per_second: f64,
    /// From the intended send time to the confirm.
    pub confirm_latency_us: Option<Percentiles>,
    /// From the intended send time to the delivery.
    pub deliver_latency_us: Option<Percentiles>,
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The scenario's name, if it was one.
    pub scenario: Option<String>,
    /// The workload.
    pub load: Load,
    /// From the first message published to the last.
    pub publish_seconds: f64,
    /// From the first message published to the last received.
    pub total_seconds: f64,
    /// Messages published.
    pub published: u64,
    /// Messages confirmed.
    pub confirmed: u64,
    /// Messages that the broker refused.
    pub nacked: u64,
    /// Mandatory messages that no queue took.
    pub returned: u64,
    /// Deliveries that all queues together should have made.
    pub expected: u64,
    /// Deliveries, without those that were a second one.
    pub received: u64,
    /// Second deliveries that the broker marked as redelivered.
    pub redelivered: u64,
    /// Second deliveries that it did not.
    pub duplicated: u64,
    /// Deliveries after a later message of the same producer to the same consumer.
    pub reordered: u64,
    /// Deliveries that no producer sent like that.
    pub corrupt: u64,
    /// Deliveries that never came.
    pub lost: u64,
    /// Messages published a second.
    pub published_per_second: f64,
    /// Messages received a second, until the last had arrived.
    pub received_per_second: f64,
    /// From the intended send time to the confirm.
    pub confirm_latency_us: Option<Percentiles>,
    /// From the intended send time to the delivery.
    pub deliver_latency_us: Option<Percentiles>,
    /// Messages that CPU time is divided by: those published or those received, whichever are more.
    pub messages: u64,
    /// What the broker's process used, if `pid` said which.
    pub broker: Option<ProcessUse>,
    /// What this process used.
    pub generator: ProcessUse,
    /// False if bodies were too small to say who they are: then only counts were compared.
    pub verified_by_body: bool,
    /// Every second.
    pub intervals: Vec<Interval>,
    /// Why the run failed; empty if it did not.
    pub failures: Vec<String>,
}

impl Report {
    /// Whether everything that was promised was kept.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }

    /// Writes the summary for people.
    pub fn write_summary(&self, out: &mut dyn Write) -> io::Result<()> {
        let name = self.scenario.as_deref().unwrap_or("load");
        writeln!(out)?;
        writeln!(out, "{name}: {} published in {:.2} s", self.published, self.publish_seconds)?;
        writeln!(out, "  published   {:>12.0} messages/s", self.published_per_second)?;
        if self.load.consumers > 0 {
            writeln!(
                out,
                "  received    {:>12.0} messages/s  ({} of {})",
                self.received_per_second, self.received, self.expected
            )?;
        }
        write_latency(out, "confirm us", self.confirm_latency_us)?;
        write_latency(out, "deliver us", self.deliver_latency_us)?;
        if let Some(broker) = &self.broker {
            write_use(out, "broker", broker)?;
        }
        write_use(out, "generator", &self.generator)?;
        let others = [("nacked", self.nacked), ("returned", self.returned), ("redelivered", self.redelivered)];
        for (what, count) in others.into_iter().filter(|(_, count)| *count > 0) {
            writeln!(out, "  {what:<11} {count:>12}")?;
        }
        let how =
            if self.verified_by_body { "count, order, checksum" } else { "count only: bodies under 16 bytes" };
        let verdict = if self.passed() { "passed" } else { "FAILED" };
        writeln!(out, "  {verdict} (verified: {how})")?;
        self.failures.iter().try_for_each(|failure| writeln!(out, "  FAILED: {failure}"))
    }
}

impl Interval {
    /// The titles of `write_row`.
    pub fn write_titles(out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{:>7} {:>11} {:>11} {:>11} {:>21} {:>21}",
            "seconds", "published/s", "confirmed/s", "received/s", "confirm p50/p99 us", "deliver p50/p99 us"
        )
    }

    /// One line of the table.
    pub fn write_row(&self, out: &mut dyn Write) -> io::Result<()> {
        let latency =
            |latency: Option<Percentiles>| latency.map_or_else(|| "-".into(), |l| format!("{}/{}", l.p50, l.p99));
        writeln!(
            out,
            "{:>7.1} {:>11.0} {:>11.0} {:>11.0} {:>21} {:>21}",
            self.elapsed_seconds,
            self.published_per_second,
            self.confirmed_per_second,
            self.delivered_per_second,
            latency(self.confirm_latency_us),
            latency(self.deliver_latency_us),
        )
    }
}

fn write_latency(out: &mut dyn Write, name: &str, latency: Option<Percentiles>) -> io::Result<()> {
    let Some(l) = latency else { return Ok(()) };
    writeln!(
        out,
        "  {name:<11} p50 {}  p95 {}  p99 {}  p99.9 {}  p99.99 {}  max {}",
        l.p50, l.p95, l.p99, l.p999, l.p9999, l.max
    )
}

fn write_use(out: &mut dyn Write, name: &str, used: &ProcessUse) -> io::Result<()> {
    writeln!(
        out,
        "  {name:<11} {:>12.3} us CPU/message, {:.2} s CPU, peak RSS {} KiB, RssAnon {} KiB",
        used.cpu_us_per_message, used.cpu_seconds, used.peak_rss_kib, used.peak_rss_anon_kib
    )
}

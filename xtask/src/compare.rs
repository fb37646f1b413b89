//! `cargo xtask compare`: the same scenarios against any AMQP 0-9-1 broker and RingMQ, one after the other.

use broker_bench::Report;
use serde::Serialize;

use crate::load::{Bench, Measure, check, write_json};
use crate::workspace::Workspace;

/// Run the scenarios of `load` against another broker and RingMQ in turn, and print the ratios
///
/// The other broker should be pinned to the CPUs given with --cpus, and do nothing else.
#[derive(Debug, clap::Args)]
pub(crate) struct Compare {
    /// The other broker: amqp://user:password@host:port/vhost
    #[arg(long)]
    uri: String,
    /// The other broker's process, to compare CPU time per message
    #[arg(long)]
    pid: Option<u32>,
    #[command(flatten)]
    measure: Measure,
}

/// One scenario on both brokers.
#[derive(Debug, Serialize)]
struct Pair {
    other: Report,
    ringmq: Report,
}

impl Compare {
    pub(crate) fn run(self, workspace: &Workspace) -> anyhow::Result<()> {
        let scenarios = self.measure.scenarios()?;
        let bench = Bench::build(workspace, &self.measure)?;
        let mut pairs = Vec::new();
        for scenario in scenarios {
            println!("{}: {}", scenario.name, scenario.about);
            let other = bench.measure(scenario, &self.uri, self.pid)?;
            // Started for each scenario, so that it is not there while the other broker is measured.
            let broker = bench.start_ringmq()?;
            let ringmq = bench.measure(scenario, &broker.uri(), Some(broker.process.pid()))?;
            pairs.push(Pair { other, ringmq });
        }
        print_pairs(&pairs);
        if let Some(path) = &self.measure.json {
            write_json(path, &pairs)?;
        }
        check(pairs.iter().flat_map(|pair| [&pair.other, &pair.ringmq]))
    }
}

fn print_pairs(pairs: &[Pair]) {
    println!();
    println!("{:<18} {:>33} {:>33} {:>27}", "", "messages/s", "CPU us/message", "deliver (or confirm) p99 us");
    println!(
        "{:<18} {:>12} {:>12} {:>7} {:>12} {:>12} {:>7} {:>13} {:>13}",
        "", "other", "RingMQ", "ratio", "other", "RingMQ", "ratio", "other", "RingMQ"
    );
    for Pair { other, ringmq } in pairs {
        let rates = (messages_per_second(other), messages_per_second(ringmq));
        let cpu = (cpu_us_per_message(other), cpu_us_per_message(ringmq));
        println!(
            "{:<18} {:>12.0} {:>12.0} {:>7} {:>12.3} {:>12.3} {:>7} {:>13} {:>13}{}",
            ringmq.scenario.as_deref().unwrap_or_default(),
            rates.0,
            rates.1,
            ratio(rates.1, rates.0),
            cpu.0,
            cpu.1,
            ratio(cpu.0, cpu.1),
            p99(other),
            p99(ringmq),
            verdict(other, ringmq),
        );
    }
    println!();
}

/// What arrives, or what is published if nobody consumes.
fn messages_per_second(report: &Report) -> f64 {
    if report.load.consumers > 0 { report.received_per_second } else { report.published_per_second }
}

fn cpu_us_per_message(report: &Report) -> f64 {
    report.broker.map_or(0.0, |broker| broker.cpu_us_per_message)
}

/// How many times better RingMQ is.
fn ratio(better: f64, worse: f64) -> String {
    if better > 0.0 && worse > 0.0 { format!("{:.1}x", better / worse) } else { "-".into() }
}

fn p99(report: &Report) -> String {
    let latency = report.deliver_latency_us.or(report.confirm_latency_us);
    latency.map_or_else(|| "-".into(), |latency| latency.p99.to_string())
}

fn verdict(other: &Report, ringmq: &Report) -> &'static str {
    match (other.passed(), ringmq.passed()) {
        (true, true) => "",
        (false, true) => "  other FAILED",
        (true, false) => "  RingMQ FAILED",
        (false, false) => "  both FAILED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_say_how_many_times_better() {
        assert_eq!(ratio(100.0, 5.0), "20.0x");
        assert_eq!(ratio(0.0, 5.0), "-");
        assert_eq!(ratio(5.0, 0.0), "-");
    }
}

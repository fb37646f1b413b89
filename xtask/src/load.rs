//! `cargo xtask load`: the scenarios of broker-bench against a broker on a core of its own.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use broker_bench::{Percentiles, Report, SCENARIOS, Scenario};

use crate::broker::{BrokerProcess, free_address};
use crate::workspace::{Profile, Workspace};

/// Measure RingMQ: messages a second, latency, CPU time per message
#[derive(Debug, clap::Args)]
pub(crate) struct Load {
    #[command(flatten)]
    pub(crate) measure: Measure,
}

/// What `load` and `compare` have in common.
#[derive(Debug, clap::Args)]
pub(crate) struct Measure {
    /// Run this scenario only; may be repeated [default: all]
    #[arg(long = "scenario")]
    scenarios: Vec<String>,
    /// Seconds that producers publish in each scenario
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Write the reports to this file
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// Shards of the broker
    #[arg(long, default_value_t = 1)]
    shards: usize,
    /// CPUs of the broker
    #[arg(long, default_value = "0")]
    cpus: String,
    /// CPU of the load generator
    #[arg(long, default_value_t = 1)]
    generator_cpu: usize,
}

impl Load {
    pub(crate) fn run(self, workspace: &Workspace) -> anyhow::Result<()> {
        let bench = Bench::build(workspace, &self.measure)?;
        let mut reports = Vec::new();
        let broker = bench.start_ringmq()?;
        for scenario in self.measure.scenarios()? {
            println!("{}: {}", scenario.name, scenario.about);
            reports.push(bench.measure(scenario, &broker.uri(), Some(broker.process.pid()))?);
        }
        drop(broker);
        print_reports(&reports);
        if let Some(path) = &self.measure.json {
            write_json(path, &reports)?;
        }
        check(&reports)
    }
}

impl Measure {
    /// The scenarios that were asked for.
    pub(crate) fn scenarios(&self) -> anyhow::Result<Vec<&'static Scenario>> {
        if self.scenarios.is_empty() {
            return Ok(SCENARIOS.iter().collect());
        }
        let find = |name: &String| Scenario::find(name).with_context(|| format!("there is no scenario {name}"));
        self.scenarios.iter().map(find).collect()
    }
}

/// The programs, and how to run them.
#[derive(Debug)]
pub(crate) struct Bench {
    broker: PathBuf,
    generator: PathBuf,
    broker_flags: Vec<String>,
    generator_cpu: usize,
    seconds: f64,
    directory: tempfile::TempDir,
}

/// A broker of ours under measurement.
#[derive(Debug)]
pub(crate) struct Ringmq {
    pub(crate) process: BrokerProcess,
    amqp: SocketAddr,
}

impl Ringmq {
    pub(crate) fn uri(&self) -> String {
        format!("amqp://guest:guest@{}/%2f", self.amqp)
    }
}

impl Bench {
    /// Builds broker and generator with optimisation.
    pub(crate) fn build(workspace: &Workspace, measure: &Measure) -> anyhow::Result<Self> {
        ensure!(measure.seconds > 0.0, "--seconds is more than 0");
        // Beside the build products, because the system's directory for temporary files may be memory.
        let directory = tempfile::Builder::new().prefix("load-").tempdir_in(workspace.target())?;
        let shards = measure.shards.to_string();
        Ok(Self {
            broker: workspace.build("broker-net", "ringmq", Profile::Release)?,
            generator: workspace.build("broker-bench", "ringmq-bench", Profile::Release)?,
            broker_flags: ["--shards", &shards, "--cpus", &measure.cpus].map(String::from).into(),
            generator_cpu: measure.generator_cpu,
            seconds: measure.seconds,
            directory,
        })
    }

    /// Starts RingMQ on an empty data directory.
    pub(crate) fn start_ringmq(&self) -> anyhow::Result<Ringmq> {
        let data = tempfile::tempdir_in(self.directory.path())?.keep().join("data");
        let amqp = free_address()?;
        let mut process = BrokerProcess::spawn(&self.broker, &data, amqp, &self.broker_flags)?;
        process.wait_until_listening()?;
        Ok(Ringmq { process, amqp })
    }

    /// Runs one scenario. A broker that does wrong is a report with failures; no report at all is an error.
    pub(crate) fn measure(&self, scenario: &Scenario, uri: &str, pid: Option<u32>) -> anyhow::Result<Report> {
        let json = self.directory.path().join("report.json");
        if json.exists() {
            fs::remove_file(&json)?;
        }
        let mut generator = Command::new(&self.generator);
        generator
            .args(["--scenario", scenario.name, "--uri", uri])
            .args(["--time", &self.seconds.to_string(), "--cpu", &self.generator_cpu.to_string()])
            .arg("--json")
            .arg(&json);
        if let Some(pid) = pid {
            generator.args(["--pid", &pid.to_string()]);
        }
        let output = generator.output().context("cannot run the load generator")?;
        if !json.exists() {
            bail!("{}: {}", scenario.name, String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_reader(File::open(&json)?).context("the generator's report cannot be read")
    }
}

/// Prints one line for each report.
fn print_reports(reports: &[Report]) {
    println!();
    println!(
        "{:<18} {:>11} {:>11} {:>24} {:>24} {:>10} {:>9} {:>9}",
        "",
        "published/s",
        "received/s",
        "confirm p50/p99/p99.9 us",
        "deliver p50/p99/p99.9 us",
        "CPU us/msg",
        "RSS MB",
        "anon MB"
    );
    for report in reports {
        let broker = report.broker.unwrap_or_default();
        println!(
            "{:<18} {:>11.0} {:>11.0} {:>24} {:>24} {:>10.3} {:>9.1} {:>9.1}{}",
            report.scenario.as_deref().unwrap_or_default(),
            report.published_per_second,
            report.received_per_second,
            latency(report.confirm_latency_us),
            latency(report.deliver_latency_us),
            broker.cpu_us_per_message,
            mebibytes(broker.peak_rss_kib),
            mebibytes(broker.peak_rss_anon_kib),
            if report.passed() { "" } else { "  FAILED" }
        );
    }
    println!();
}

/// Reports as JSON.
pub(crate) fn write_json(path: &Path, reports: &impl serde::Serialize) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(serde_json::to_writer_pretty(file, reports)?)
}

/// An error if a broker did wrong in one of the runs.
pub(crate) fn check<'a>(reports: impl IntoIterator<Item = &'a Report>) -> anyhow::Result<()> {
    let mut failures = Vec::new();
    for report in reports {
        let name = report.scenario.as_deref().unwrap_or_default();
        failures.extend(report.failures.iter().map(|failure| format!("{name}: {failure}")));
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

fn latency(latency: Option<Percentiles>) -> String {
    latency.map_or_else(|| "-".into(), |l| format!("{}/{}/{}", l.p50, l.p99, l.p999))
}

#[expect(clippy::cast_precision_loss, reason = "memory in KiB is far below 2^52")]
fn mebibytes(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

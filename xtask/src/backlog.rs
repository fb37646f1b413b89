//! `cargo xtask backlog`: a large backlog leaves the broker's memory, survives kill -9 and drains in order.
//!
//! One queue is filled with persistent messages, another with transient ones. The broker's anonymous memory is judged after
//! that, and again after the transient queue was drained; then the broker is killed, restarted, and the durable queue drained.
//! The load generator checks order and checksum of every message. With `--delayed-ms` an exchange holds the messages back instead of a
//! queue, across the kill and until they are due.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use broker_bench::{Load, run};
use clap::Args;

use crate::broker::{BrokerProcess, free_address};
use crate::workspace::{Profile, Workspace};

/// Size of a message body, in bytes.
const SIZE: usize = 1024;

/// Anonymous memory that the broker may use, in KiB (100 MB).
const MAX_RSS_ANON_KIB: u64 = 100 * 1000 * 1000 / 1024;

/// Flags of the task.
#[derive(Clone, Debug, Args)]
pub(crate) struct Backlog {
    /// Messages of 1 KB in each of the two queues
    #[arg(long, default_value_t = 2_000_000)]
    messages: u64,
    /// Hold the messages back at an x-delayed-message exchange, for so many milliseconds: longer than it takes to publish them
    #[arg(long)]
    delayed_ms: Option<u64>,
    /// Number of shards of the broker
    #[arg(long, default_value_t = 1)]
    shards: u16,
    /// Fill the unoptimised build
    #[arg(long)]
    debug: bool,
}

impl Backlog {
    /// Few messages for the build that the tests use, but several times what fits into the windows of the logs.
    pub(crate) fn smoke() -> Self {
        Self { messages: 150_000, delayed_ms: None, shards: 2, debug: true }
    }

    /// The same of messages that are held back.
    pub(crate) fn delayed_smoke() -> Self {
        Self { messages: 20_000, delayed_ms: Some(30_000), shards: 2, debug: true }
    }

    pub(crate) fn run(&self, workspace: &Workspace) -> anyhow::Result<()> {
        let profile = if self.debug { Profile::Dev } else { Profile::Release };
        let binary = workspace.build("broker-net", "ringmq", profile)?;
        // Beside the build products, because the system's directory for temporary files may be memory.
        let directory = tempfile::Builder::new().prefix("backlog-").tempdir_in(workspace.target())?;
        let start = || start(&binary, directory.path().join("data"), self.shards);

        let (broker, uri, _) = start()?;
        let idle = rss_anon_kib(&broker)?;
        if let Some(delay_ms) = self.delayed_ms {
            self.hold_back(&uri, delay_ms)?;
            let held = rss_anon_kib(&broker)?;
            println!("backlog: {} messages are held back; RssAnon {idle} KiB idle, {held} KiB now", self.messages);
            ensure!(held <= MAX_RSS_ANON_KIB, "RssAnon is over {MAX_RSS_ANON_KIB} KiB");
            broker.kill()?;
            let (broker, uri, restart) = start()?;
            return self.finish(&broker, &uri, restart);
        }
        self.fill(&uri, "durable", true)?;
        self.fill(&uri, "transient", false)?;
        let full = rss_anon_kib(&broker)?;
        println!("backlog: {} messages in each queue; RssAnon {idle} KiB idle, {full} KiB now", self.messages);
        self.drain(&uri, "transient")?;
        let drained = rss_anon_kib(&broker)?;
        println!("backlog: the transient queue is drained in order; RssAnon {drained} KiB");
        ensure!(full.max(drained) <= MAX_RSS_ANON_KIB, "RssAnon is over {MAX_RSS_ANON_KIB} KiB");

        broker.kill()?;
        let (broker, uri, restart) = start()?;
        self.finish(&broker, &uri, restart)
    }

    /// Drains what is durable after a kill.
    fn finish(&self, broker: &BrokerProcess, uri: &str, restart: Duration) -> anyhow::Result<()> {
        let found = rss_anon_kib(broker)?;
        self.drain(uri, "durable")?;
        let drained = rss_anon_kib(broker)?;
        println!(
            "backlog: after kill -9 the broker greets in {} ms with RssAnon {found} KiB, and the durable queue is drained in order; \
             RssAnon {drained} KiB",
            restart.as_millis()
        );
        ensure!(found.max(drained) <= MAX_RSS_ANON_KIB, "RssAnon is over {MAX_RSS_ANON_KIB} KiB");
        Ok(())
    }

    fn hold_back(&self, uri: &str, delay_ms: u64) -> anyhow::Result<()> {
        self.load(Load {
            exchange: Some("later".to_owned()),
            exchange_type: "x-delayed-message".to_owned(),
            exchange_arguments: vec![("x-delayed-type".to_owned(), "direct".to_owned())],
            headers: vec![("x-delay".to_owned(), delay_ms.to_string())],
            ..self.filling(uri, "durable", true)
        })
    }

    fn fill(&self, uri: &str, queue: &str, persistent: bool) -> anyhow::Result<()> {
        self.load(self.filling(uri, queue, persistent))
    }

    fn filling(&self, uri: &str, queue: &str, persistent: bool) -> Load {
        Load {
            uri: uri.to_owned(),
            consumers: 0,
            size: SIZE,
            persistent,
            confirm_window: Some(1000),
            publish_count: Some(self.messages),
            queues: vec![queue.to_owned()],
            keep: true,
            ..Load::default()
        }
    }

    fn drain(&self, uri: &str, queue: &str) -> anyhow::Result<()> {
        self.load(Load {
            uri: uri.to_owned(),
            producers: 0,
            size: SIZE,
            prefetch: Some(1000),
            ack_every: 100,
            consume_count: Some(self.messages),
            queues: vec![queue.to_owned()],
            predeclared: true,
            keep: true,
            ..Load::default()
        })
    }

    fn load(&self, load: Load) -> anyhow::Result<()> {
        let load = Load { seconds: None, ..load };
        let report = run(&load, &mut |_| {})?;
        ensure!(report.passed(), "queue {}: {}", load.queues[0], report.failures.join("; "));
        let moved = if load.producers > 0 { report.confirmed } else { report.received };
        ensure!(moved == self.messages, "queue {}: {moved} of {} messages", load.queues[0], self.messages);
        Ok(())
    }
}

/// A broker, its URI, and how long it took to speak AMQP.
type Started = (BrokerProcess, String, Duration);

fn start(binary: &Path, data_dir: PathBuf, shards: u16) -> anyhow::Result<Started> {
    let amqp = free_address()?;
    let flags = ["--shards".to_owned(), shards.to_string()];
    let mut broker = BrokerProcess::spawn(binary, &data_dir, amqp, &flags)?;
    let greeted = broker.wait_until_listening()?;
    Ok((broker, format!("amqp://guest:guest@{amqp}/%2f"), greeted))
}

/// The broker's anonymous memory, in KiB.
fn rss_anon_kib(broker: &BrokerProcess) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", broker.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let value =
        line.and_then(|line| line.split_whitespace().next()).context("no RssAnon in the process's status")?;
    Ok(value.parse()?)
}

//! `cargo xtask crash`: kill -9 under confirmed load, restart, and a judgement over every queue.
//!
//! One data directory lives through all rounds, so that each round also recovers what earlier recoveries left. In some
//! rounds the broker is killed again while it recovers. What may happen to a message is written down in `ledger`.

mod client;
mod ledger;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;

use crate::broker::{BrokerProcess, free_address};
use crate::workspace::{Profile, Workspace};
use client::Client;

/// How long a round publishes before the broker is killed.
const LOAD: std::ops::Range<u64> = 200..1500;

/// Flags of the task.
#[derive(Clone, Debug, Args)]
pub(crate) struct Crash {
    /// How many times the broker is killed
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Number of shards of the broker
    #[arg(long, default_value_t = 2)]
    shards: u16,
    /// Decides when the broker is killed [default: from the clock]
    #[arg(long)]
    seed: Option<u64>,
    /// Kill the unoptimised build
    #[arg(long)]
    debug: bool,
    /// Kill this binary, which is not built
    #[arg(long, value_name = "FILE", conflicts_with = "debug")]
    binary: Option<PathBuf>,
}

impl Crash {
    /// A short run on the build that the tests use.
    pub(crate) fn smoke() -> Self {
        Self { rounds: 3, shards: 2, seed: None, debug: true, binary: None }
    }

    pub(crate) fn run(&self, workspace: &Workspace) -> anyhow::Result<()> {
        let profile = if self.debug { Profile::Dev } else { Profile::Release };
        let binary = match &self.binary {
            Some(binary) => binary.clone(),
            None => workspace.build("broker-net", "ringmq", profile)?,
        };
        let seed = match self.seed {
            Some(seed) => seed,
            None => u64::from(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos()),
        };
        println!("crash: {} rounds, seed {seed}", self.rounds);
        let directory = tempfile::tempdir()?;
        let broker = Restartable {
            binary,
            data_dir: directory.path().join("data"),
            amqp: free_address()?,
            flags: vec!["--shards".to_owned(), self.shards.to_string()],
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let rounds = self.rounds_from(seed, &broker);
        runtime.block_on(tokio::task::LocalSet::new().run_until(rounds)).inspect_err(|_| {
            println!("crash: FAILED with --seed {seed}; the data is kept in {}", directory.path().display());
        })?;
        println!("crash: nothing confirmed was lost in {} rounds, and order was kept", self.rounds);
        directory.close().context("cannot remove the data directory")
    }

    async fn rounds_from(&self, seed: u64, broker: &Restartable) -> anyhow::Result<()> {
        let mut random = Random(seed);
        let client = Client::new(broker.amqp);
        let (mut process, _) = broker.start()?;
        client.declare().await?;
        for round in 1..=self.rounds {
            let load = Duration::from_millis(random.within(LOAD));
            let mut published = client.start_load().await?;
            tokio::time::sleep(load).await;
            process.kill()?;
            published.finish().await?;
            if round % 3 == 0 {
                let interrupted = broker.spawn()?;
                tokio::time::sleep(Duration::from_millis(random.within(1..60))).await;
                interrupted.kill()?;
            }
            let recovery;
            (process, recovery) = broker.start()?;
            let found = client.judge(round).await.with_context(|| format!("round {round}"))?;
            println!(
                "round {round:3}: {} published, {} confirmed, {} in the queues, {} acks repeated; \
                 accepts connections after {} ms",
                published.messages(),
                published.confirms(),
                found.messages,
                found.acked_again,
                recovery.as_millis()
            );
        }
        process.kill()?;
        Ok(())
    }
}

/// How to start the broker on the data of this run.
#[derive(Debug)]
struct Restartable {
    binary: PathBuf,
    data_dir: PathBuf,
    amqp: SocketAddr,
    flags: Vec<String>,
}

impl Restartable {
    fn spawn(&self) -> anyhow::Result<BrokerProcess> {
        BrokerProcess::spawn(&self.binary, &self.data_dir, self.amqp, &self.flags)
    }

    /// Starts it and waits until it accepts connections; says how long that took.
    fn start(&self) -> anyhow::Result<(BrokerProcess, Duration)> {
        let mut process = self.spawn()?;
        let duration = process.wait_until_listening()?;
        Ok((process, duration))
    }
}

/// SplitMix64: the same numbers from the same seed.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        range.start + (mixed ^ (mixed >> 31)) % (range.end - range.start)
    }
}

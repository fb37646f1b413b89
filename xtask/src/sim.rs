//! `cargo xtask sim`: the log of a partition on a simulated file system that fails, from seeds.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;

use crate::workspace::{Workspace, run};

/// Flags of the task.
#[derive(Clone, Debug, Args)]
pub(crate) struct Sim {
    /// The first seed [default: from the clock]
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds are tried, one after the other [default: 1 with --seed, else 2000]
    #[arg(long)]
    rounds: Option<u64>,
}

impl Sim {
    /// A short run, the same each time.
    pub(crate) fn smoke() -> Self {
        Self { seed: Some(1_000), rounds: Some(200) }
    }

    pub(crate) fn run(&self, workspace: &Workspace) -> anyhow::Result<()> {
        let (seed, rounds) = match self.seed {
            Some(seed) => (seed, self.rounds.unwrap_or(1)),
            None => (SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(), self.rounds.unwrap_or(2000)),
        };
        println!("sim: seeds {seed} to {}", seed + rounds.saturating_sub(1));
        let mut test = workspace.cargo(["test", "--package", "broker-store", "--test", "it"]);
        test.args(["--", "simulation", "--nocapture"]);
        test.env("RINGMQ_SIM_SEED", seed.to_string()).env("RINGMQ_SIM_ROUNDS", rounds.to_string());
        run(&mut test)
    }
}

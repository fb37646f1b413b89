//! `cargo xtask sim`: the log of a partition on a simulated file system that fails, from a seed.

use clap::Args;

use crate::workspace::{Workspace, run};

/// Flags of the task.
#[derive(Clone, Debug, Args)]
pub(crate) struct Sim {
    /// Replay this seed [default: the tests choose one and print it]
    #[arg(long)]
    seed: Option<u64>,
    /// How many histories are simulated
    #[arg(long, default_value_t = 2000)]
    rounds: u32,
}

impl Sim {
    /// A short run.
    pub(crate) fn smoke() -> Self {
        Self {
            seed: None,
            rounds: 200,
        }
    }

    pub(crate) fn run(&self, workspace: &Workspace) -> anyhow::Result<()> {
        let mut test = workspace.cargo([
            "test",
            "--package",
            "broker-store",
            "--test",
            "simulation",
            "--",
            "--nocapture",
        ]);
        test.env("RINGMQ_SIM_ROUNDS", self.rounds.to_string());
        if let Some(seed) = self.seed {
            test.env("RINGMQ_SIM_SEED", seed.to_string());
        }
        run(&mut test)
    }
}

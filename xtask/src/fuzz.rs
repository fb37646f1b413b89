//! `cargo xtask fuzz`: property tests and fuzz bodies, which also run in `cargo test`, with many more cases.

use clap::Args;

use crate::workspace::{Workspace, run};

/// The packages that read bytes which somebody else wrote: a peer, or a disk that lies.
const PACKAGES: [&str; 3] = ["broker-store", "broker-core", "broker-net"];

/// Flags of the task.
#[derive(Clone, Debug, Args)]
pub(crate) struct Fuzz {
    /// Cases of each property
    #[arg(long, default_value_t = 20_000)]
    cases: u32,
    /// Only tests whose path contains this
    filter: Option<String>,
}

impl Fuzz {
    /// A short run.
    pub(crate) fn smoke() -> Self {
        Self { cases: 2_000, filter: None }
    }

    pub(crate) fn run(&self, workspace: &Workspace) -> anyhow::Result<()> {
        let mut test = workspace.cargo(["test", "--lib"]);
        for package in PACKAGES {
            test.args(["--package", package]);
        }
        test.args(&self.filter).env("PROPTEST_CASES", self.cases.to_string());
        run(&mut test)
    }
}

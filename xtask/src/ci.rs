//! `cargo xtask ci`: what has to pass before a change is merged. The machine that tests changes runs this and nothing else.

use std::time::Instant;

use crate::backlog::Backlog;
use crate::conformance::Conformance;
use crate::crash::Crash;
use crate::dist::Dist;
use crate::fuzz::Fuzz;
use crate::sim::Sim;
use crate::workspace::{self, Workspace};
use crate::{test, tidy};

type Step = (&'static str, fn(&Workspace) -> anyhow::Result<()>);

/// In the order of what fails fast.
const STEPS: &[Step] = &[
    ("fmt", |workspace| workspace::run(&mut workspace.cargo(["fmt", "--all", "--check"]))),
    ("tidy", tidy::run),
    ("clippy", clippy),
    ("doc", doc),
    ("test", test::run),
    ("conformance", |workspace| Conformance::default().run(workspace)),
    ("sim smoke", |workspace| Sim::smoke().run(workspace)),
    ("fuzz smoke", |workspace| Fuzz::smoke().run(workspace)),
    ("crash smoke", |workspace| Crash::smoke().run(workspace)),
    ("backlog smoke", |workspace| Backlog::smoke().run(workspace)),
    ("delayed smoke", |workspace| Backlog::delayed_smoke().run(workspace)),
    ("bench smoke", bench),
    ("dist smoke", |workspace| Dist::smoke().run(workspace)),
];

/// Runs every step and stops at the first that fails.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    let mut durations = Vec::new();
    for (name, step) in STEPS {
        println!("== {name}");
        let start = Instant::now();
        step(workspace).map_err(|error| error.context(format!("ci step `{name}` failed")))?;
        durations.push((name, start.elapsed().as_secs()));
    }
    println!("== all steps passed");
    for (name, seconds) in durations {
        println!("{seconds:6} s  {name}");
    }
    Ok(())
}

fn clippy(workspace: &Workspace) -> anyhow::Result<()> {
    workspace::run(&mut workspace.cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn doc(workspace: &Workspace) -> anyhow::Result<()> {
    let mut doc = workspace.cargo(["doc", "--workspace", "--no-deps", "--document-private-items"]);
    workspace::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
}

/// Runs every benchmark once, without measuring, so that they keep working.
fn bench(workspace: &Workspace) -> anyhow::Result<()> {
    workspace::run(&mut workspace.cargo(["test", "--package", "broker-bench", "--benches"]))
}

//! `cargo xtask test`: every test there is, from a fresh clone.

use crate::interop::Interop;
use crate::workspace::{self, Workspace};

/// Runs the tests of the workspace, then the interop tests.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    workspace::run(&mut workspace.cargo(["test", "--workspace", "--no-fail-fast"]))?;
    Interop::default().run(workspace)
}

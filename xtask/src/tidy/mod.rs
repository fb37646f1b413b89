//! `cargo xtask tidy`: rules of the code base that neither the compiler nor clippy checks.
//!
//! Each rule returns what it found as `place: what`; all of them are printed before the task fails.

mod chain;
mod source;

use std::fs;

use anyhow::bail;

use crate::workspace::Workspace;
use source::Source;

/// Checks every rule.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    let sources = Source::read_all(workspace)?;
    let mut findings = chain::check(workspace)?;
    for source in &sources {
        findings.extend(source.check());
    }
    findings.extend(source::stale_exceptions(&sources));
    findings.extend(documents(workspace));
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy: {} findings", findings.len());
    }
    println!("tidy: {} files are in order, median {} code lines", sources.len(), source::median_lines(&sources));
    Ok(())
}

/// The documents that a reader looks for.
fn documents(workspace: &Workspace) -> Vec<String> {
    let wanted = [
        ("README.md", "# RingMQ"),
        ("CHANGELOG.md", "## [Unreleased]"),
        ("CONTRIBUTING.md", "cargo xtask ci"),
        ("LICENSE", "Apache License"),
        ("docs/architecture.md", "# Architecture"),
        ("docs/storage-format.md", "# "),
        ("docs/testing.md", "# Testing"),
    ];
    let contains = |path: &str, text: &str| {
        fs::read_to_string(workspace.root().join(path)).is_ok_and(|content| content.contains(text))
    };
    let missing = wanted.into_iter().filter(|(path, text)| !contains(path, text));
    missing.map(|(path, text)| format!("{path}: is missing, or does not contain `{text}`")).collect()
}

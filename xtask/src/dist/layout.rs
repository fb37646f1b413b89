//! What is where in the packages.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::workspace::{Workspace, run};

/// Files of the repository, and where they go.
const FILES: &[(&str, &str)] = &[
    ("packaging/systemd/ringmq.service", "/usr/lib/systemd/system/ringmq.service"),
    ("packaging/systemd/ringmq.sysusers", "/usr/lib/sysusers.d/ringmq.conf"),
    ("packaging/systemd/ringmq.tmpfiles", "/usr/lib/tmpfiles.d/ringmq.conf"),
    ("packaging/ringmq.toml", "/etc/ringmq/ringmq.toml"),
    ("packaging/ringmq.default", "/etc/default/ringmq"),
    ("packaging/debian/copyright", "/usr/share/doc/ringmq/copyright"),
    ("README.md", "/usr/share/doc/ringmq/README.md"),
    ("docs/configuration.md", "/usr/share/doc/ringmq/configuration.md"),
    ("docs/management.md", "/usr/share/doc/ringmq/management.md"),
    ("docs/drain.py", "/usr/share/doc/ringmq/drain.py"),
    ("docs/metrics.md", "/usr/share/doc/ringmq/metrics.md"),
    ("docs/operations.md", "/usr/share/doc/ringmq/operations.md"),
    ("docs/protocol.md", "/usr/share/doc/ringmq/protocol.md"),
];

/// What is looked for in a package that has been made.
pub(super) const PROMISED: &[&str] = &[
    "/usr/bin/ringmq",
    "/usr/bin/ringmqctl",
    "/usr/bin/ringmq-bench",
    "/usr/lib/systemd/system/ringmq.service",
    "/usr/lib/sysusers.d/ringmq.conf",
    "/usr/lib/tmpfiles.d/ringmq.conf",
    "/etc/ringmq/ringmq.toml",
    "/etc/default/ringmq",
    "/usr/share/man/man1/ringmq.1.gz",
    "/usr/share/man/man1/ringmqctl.1.gz",
    "/usr/share/man/man1/ringmqctl-list_queues.1.gz",
    "/usr/share/man/man1/ringmq-bench.1.gz",
    "/usr/share/bash-completion/completions/ringmqctl",
    "/usr/share/zsh/vendor-completions/_ringmqctl",
    "/usr/share/fish/vendor_completions.d/ringmqctl.fish",
    "/usr/share/doc/ringmq/copyright",
    "/usr/share/doc/ringmq/changelog.gz",
];

/// Lays everything out below `tree`.
pub(super) fn lay(workspace: &Workspace, tree: &Path, binaries: &[PathBuf], manual: &Path) -> anyhow::Result<()> {
    for binary in binaries {
        let name = binary.file_name().context("a binary has a name")?;
        let to = tree.join("usr/bin").join(name);
        copy(binary, &to, 0o755)?;
        // The debug information of the release is for developers.
        run(Command::new("strip").args(["--strip-unneeded", "--remove-section=.comment"]).arg(&to))?;
    }
    for (from, to) in FILES {
        copy(&workspace.root().join(from), &below(tree, to), 0o644)?;
    }
    let changelog = below(tree, "/usr/share/doc/ringmq/changelog");
    copy(&workspace.root().join("CHANGELOG.md"), &changelog, 0o644)?;
    gzip(&changelog)?;
    let folders = [
        ("man1", "/usr/share/man/man1"),
        ("bash-completion", "/usr/share/bash-completion/completions"),
        ("zsh", "/usr/share/zsh/vendor-completions"),
        ("fish", "/usr/share/fish/vendor_completions.d"),
    ];
    for (from, to) in folders {
        for entry in fs::read_dir(manual.join(from)).with_context(|| format!("{from} of the manual"))? {
            let entry = entry?;
            let to = below(tree, to).join(entry.file_name());
            copy(&entry.path(), &to, 0o644)?;
            if from == "man1" {
                gzip(&to)?;
            }
        }
    }
    Ok(())
}

/// The place of an absolute path below a directory.
pub(super) fn below(tree: &Path, path: &str) -> PathBuf {
    tree.join(path.trim_start_matches('/'))
}

/// Copies a file, makes the directories it is in, and sets its mode.
pub(super) fn copy(from: &Path, to: &Path, mode: u32) -> anyhow::Result<()> {
    let directory = to.parent().context("a file is in a directory")?;
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    fs::copy(from, to).with_context(|| format!("{} to {}", from.display(), to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// Opens the directories of the tree to everybody: the umask of whoever builds must not show in the package.
pub(super) fn open_directories(tree: &Path) -> anyhow::Result<()> {
    run(Command::new("find").arg(tree).args(["-type", "d", "-exec", "chmod", "0755", "{}", "+"]))
}

/// Replaces a file by itself compressed, without a name and a time in it.
fn gzip(path: &Path) -> anyhow::Result<()> {
    run(Command::new("gzip").args(["-n", "-9", "--force"]).arg(path))
}

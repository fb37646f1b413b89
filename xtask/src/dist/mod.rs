//! `cargo xtask dist`: a Debian package and a tar archive of the broker, its command line and the load generator.
//!
//! Both hold one tree: [`layout`] says what is where in it. Files belong to root, are in order and carry one time, so that the same
//! source gives the same archive.

mod control;
mod layout;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use clap::Args;

use crate::workspace::{Workspace, run};

/// The binaries.
const BINARIES: [&str; 3] = ["ringmq", "ringmqctl", "ringmq-bench"];

/// How exposed the unit may be, in tenths, as `systemd-analyze security` counts.
const MOST_EXPOSED: u32 = 18;

/// Flags of the task.
#[derive(Clone, Debug, Args)]
pub(crate) struct Dist {
    /// Package the unoptimised build
    #[arg(long)]
    debug: bool,
    /// Where the packages go [default: dist below the target directory]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The version of the packages [default: that of the workspace]
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    version: String,
}

impl Dist {
    /// Packages of the build that the tests use, looked at and thrown away.
    pub(crate) fn smoke() -> Self {
        Self { debug: true, out: None, version: env!("CARGO_PKG_VERSION").to_owned() }
    }

    pub(crate) fn run(&self, workspace: &Workspace) -> anyhow::Result<()> {
        let out = self.out.clone().unwrap_or_else(|| workspace.target().join("dist"));
        let built = self.build(workspace)?;
        let manual = out.join("manual");
        clear(&manual)?;
        run(Command::new(workspace.target().join("debug/examples/manual")).arg(&manual))?;
        let architecture = architecture()?;
        let name = format!("ringmq-{}-linux-{architecture}", self.version);
        let tree = out.join(&name);
        clear(&tree)?;
        layout::lay(workspace, &tree, &BINARIES.map(|binary| built.join(binary)), &manual)?;
        layout::open_directories(&tree)?;
        let archive = out.join(format!("{name}.tar.gz"));
        pack(&tree, &archive)?;
        println!("{}", archive.display());
        if Command::new("dpkg-deb").arg("--version").output().is_err() {
            println!("dpkg-deb is missing: no Debian package is made");
            return Ok(());
        }
        let package = out.join(format!("ringmq_{}_{architecture}.deb", self.version));
        control::add(workspace, &tree, &self.version, &architecture)?;
        layout::open_directories(&tree)?;
        build_deb(&tree, &package)?;
        check_deb(&package)?;
        check_unit(&tree)?;
        println!("{}", package.display());
        Ok(())
    }

    /// Builds the binaries and the program that writes the manual; returns where the binaries are.
    fn build(&self, workspace: &Workspace) -> anyhow::Result<PathBuf> {
        if self.debug {
            // As the tests are built, so that nothing is built twice.
            run(&mut workspace.cargo(["build", "--workspace", "--bins", "--examples"]))?;
            return Ok(workspace.target().join("debug"));
        }
        let packages = ["--package", "broker-net", "--package", "broker-bench"];
        run(workspace.cargo(["build", "--release", "--locked", "--bins"]).args(packages))?;
        run(&mut workspace.cargo(["build", "--package", "broker-bench", "--example", "manual"]))?;
        Ok(workspace.target().join("release"))
    }
}

fn clear(directory: &Path) -> anyhow::Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())
}

/// The architecture as Debian names it.
fn architecture() -> anyhow::Result<String> {
    Ok(match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => bail!("no packages are made for {other}"),
    }
    .to_owned())
}

/// When the source was made: the time of the last commit, unless `SOURCE_DATE_EPOCH` says otherwise.
fn source_date() -> String {
    let commit = || {
        let output = Command::new("git").args(["log", "-1", "--format=%ct"]).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        (!text.trim().is_empty()).then(|| text.trim().to_owned())
    };
    std::env::var("SOURCE_DATE_EPOCH").ok().or_else(commit).unwrap_or_else(|| "0".to_owned())
}

fn pack(tree: &Path, archive: &Path) -> anyhow::Result<()> {
    let (directory, name) = (tree.parent().context("a path")?, tree.file_name().context("a name")?);
    run(Command::new("tar")
        .args(["--sort=name", "--owner=root:0", "--group=root:0", "--format=gnu"])
        .arg(format!("--mtime=@{}", source_date()))
        .args(["--use-compress-program=gzip -n -9", "--create", "--file"])
        .arg(archive)
        .arg("--directory")
        .arg(directory)
        .arg(name))
}

fn build_deb(tree: &Path, package: &Path) -> anyhow::Result<()> {
    run(Command::new("dpkg-deb")
        .env("SOURCE_DATE_EPOCH", source_date())
        .args(["--root-owner-group", "-Zxz", "--build"])
        .args([tree, package]))
}

/// The unit's sandbox must not get weaker. Systems without systemd, or with an old one, are not asked.
fn check_unit(tree: &Path) -> anyhow::Result<()> {
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--no-pager", "--offline=yes"]).arg(format!("--threshold={MOST_EXPOSED}"));
    let Ok(output) = analyze.arg(format!("--root={}", tree.display())).arg("ringmq.service").output() else {
        println!("systemd-analyze is missing: the unit's sandbox is not looked at");
        return Ok(());
    };
    let (table, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if error.contains("unrecognized option") {
        println!("systemd-analyze is too old: the unit's sandbox is not looked at");
        return Ok(());
    }
    ensure!(output.status.success(), "the unit's sandbox has become weaker:\n{table}{error}");
    Ok(())
}

/// What a package must hold to be of use.
fn check_deb(package: &Path) -> anyhow::Result<()> {
    let output = Command::new("dpkg-deb").arg("--contents").arg(package).output()?;
    let contents = String::from_utf8_lossy(&output.stdout);
    for path in layout::PROMISED {
        ensure!(contents.lines().any(|line| line.ends_with(&format!(" .{path}"))), "{path} is not in the package");
    }
    let info = Command::new("dpkg-deb").arg("--info").arg(package).output()?;
    let info = String::from_utf8_lossy(&info.stdout);
    for file in ["control", "conffiles", "postinst", "prerm", "postrm", "md5sums"] {
        ensure!(info.lines().any(|line| line.split_whitespace().any(|word| word == file)), "there is no {file}");
    }
    Ok(())
}

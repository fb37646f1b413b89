//! `cargo xtask interop`: the tests in `interop/` against the real process: pika, Celery with real workers, kombu, aio-pika,
//! Node's amqplib, the tools of rabbitmq-c, both versions of rabbitmqadmin, Prometheus for the dashboards, and Chromium for the
//! web interface.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use crate::conformance::Peer;
use crate::workspace::{Profile, Workspace, run, run_within};

/// Flags of the task.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Interop {
    /// Test the release build
    #[arg(long)]
    release: bool,
    /// Test a broker that runs already, instead of ours: tests that need a process of their own are skipped
    #[arg(long, value_name = "ADDR:PORT")]
    amqp: Option<String>,
    /// Tasks that Celery must not lose [default: 1000]
    #[arg(long, value_name = "N")]
    tasks: Option<u32>,
    /// What is handed on to pytest
    #[arg(last = true)]
    pytest: Vec<String>,
}

impl Interop {
    pub(crate) fn run(&self, workspace: &Workspace) -> anyhow::Result<()> {
        let tests = workspace.root().join("interop");
        let environment = environment(workspace, &tests.join("requirements.txt"))?;
        let mut pytest = Command::new(environment.join("bin/python"));
        pytest.args(["-m", "pytest"]).args(&self.pytest).current_dir(&tests);
        pytest.env("PYTHONDONTWRITEBYTECODE", "1");
        pytest.env("RINGMQ_INTEROP_SHOTS", workspace.target().join("interop-shots"));
        if let Some(tasks) = self.tasks {
            pytest.env("RINGMQ_INTEROP_TASKS", tasks.to_string());
        }
        if let Some(modules) = node_modules(workspace)? {
            pytest.env("RINGMQ_INTEROP_NODE_MODULES", modules);
        }
        if let Some(program) = Peer::rabbitmqadmin(workspace) {
            pytest.env("RINGMQ_INTEROP_RABBITMQADMIN", program);
        }
        if let Some(address) = &self.amqp {
            pytest.env("RINGMQ_INTEROP_AMQP", address);
        } else {
            pytest.env("RINGMQ_INTEROP_RABBITMQADMIN_V2", rabbitmqadmin_v2(workspace)?);
            let profile = if self.release { Profile::Release } else { Profile::Dev };
            pytest.env("RINGMQ_INTEROP_BINARY", workspace.build("broker-net", "ringmq", profile)?);
        }
        run(&mut pytest)
    }
}

/// Makes the virtual environment, unless it is there with the same requirements, and returns its directory.
fn environment(workspace: &Workspace, requirements: &Path) -> anyhow::Result<PathBuf> {
    let directory = workspace.target().join("interop-venv");
    let wanted = fs::read_to_string(requirements)?;
    // Written last: an environment that was interrupted while it was made is made again.
    let made_with = directory.join("requirements.txt");
    if fs::read_to_string(&made_with).is_ok_and(|made| made == wanted) {
        return Ok(directory);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&directory))
        .context("Python 3 with its venv module is needed (Debian: python3-venv)")?;
    let pip = directory.join("bin/python");
    run(Command::new(pip)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(requirements))?;
    fs::write(&made_with, wanted)?;
    Ok(directory)
}

/// What is tried of npm's packages, pinned.
const NODE_PACKAGES: [&str; 3] = ["amqplib@1.0.2", "@cloudamqp/amqp-client@4.1.1", "ws@8.23.0"];

/// Installs the packages for Node, unless they are there; `None` without npm, and their tests are skipped.
fn node_modules(workspace: &Workspace) -> anyhow::Result<Option<PathBuf>> {
    let directory = workspace.target().join("interop-node");
    let modules = directory.join("node_modules");
    let wanted = NODE_PACKAGES.join("\n");
    // Written last, as with the virtual environment.
    let made_with = directory.join("packages");
    if fs::read_to_string(&made_with).is_ok_and(|made| made == wanted) {
        return Ok(Some(modules));
    }
    if Command::new("npm").arg("--version").output().is_err() {
        println!("npm is missing: Node's clients are not tried");
        return Ok(None);
    }
    fs::create_dir_all(&directory)?;
    let flags = ["install", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"];
    run(Command::new("npm").args(flags).args(NODE_PACKAGES).current_dir(&directory))?;
    fs::write(&made_with, wanted)?;
    Ok(Some(modules))
}

/// The version of rabbitmqadmin 2, whose answers are recorded.
const RABBITMQADMIN_V2: &str = "2.35.0";

/// Compiles rabbitmqadmin 2, unless it is there. It is compiled in a way that is quick: a command takes less than a second all the same.
fn rabbitmqadmin_v2(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    /// More than twice what it takes on one core.
    const PATIENCE: Duration = Duration::from_secs(15 * 60);
    let root = workspace.target().join(format!("rabbitmqadmin-{RABBITMQADMIN_V2}"));
    // Cargo puts it there when all is done.
    let program = root.join("bin/rabbitmqadmin");
    if program.exists() {
        return Ok(program);
    }
    let built = root.join("build");
    let mut cargo =
        workspace.cargo(["install", "rabbitmqadmin", "--version", RABBITMQADMIN_V2, "--locked", "--debug"]);
    // Nothing here speaks TLS to the API.
    cargo.arg("--no-default-features").arg("--quiet").arg("--root").arg(&root).env("CARGO_TARGET_DIR", &built);
    for (setting, value) in [("DEBUG", "0"), ("INCREMENTAL", "false"), ("DEBUG_ASSERTIONS", "false")] {
        // With assertions its command `import definitions` ends at one of its own.
        cargo.env(format!("CARGO_PROFILE_DEV_{setting}"), value);
    }
    run_within(&mut cargo, PATIENCE).context("rabbitmqadmin 2 cannot be compiled")?;
    fs::remove_dir_all(built)?;
    Ok(program)
}

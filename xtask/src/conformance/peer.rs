//! The RabbitMQ that RingMQ is held against: one that runs already, or Debian's package, unpacked into the target
//! directory by name and started from there. Nothing of the system is changed.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;

use super::client::{Client, Event};
use super::value::Value;
use crate::broker::free_address;
use crate::workspace::{Workspace, run};

/// After this time a RabbitMQ that does not accept connections is taken as stuck.
const START_PATIENCE: Duration = Duration::from_secs(120);

/// Plugins that come with it and have exchange types.
const PLUGINS: [&str; 5] = [
    "rabbitmq_consistent_hash_exchange",
    "rabbitmq_jms_topic_exchange",
    "rabbitmq_random_exchange",
    "rabbitmq_recent_history_exchange",
    "rabbitmq_sharding",
];

/// Where the package's Erlang expects itself.
const ERLANG: &str = "/usr/lib/erlang";

/// A running RabbitMQ. Dropping it ends the processes that were started for it.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(super) address: SocketAddr,
    /// As it says itself.
    version: String,
    processes: Vec<Child>,
    /// Its data; kept for as long as it runs.
    _directory: Option<TempDir>,
}

impl Peer {
    /// A RabbitMQ that somebody else has started.
    pub(super) fn running(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { address, version: version(address)?, processes: Vec::new(), _directory: None })
    }

    /// Starts Debian's package; `None`, and a line that says why, where that cannot be done.
    pub(super) fn start(workspace: &Workspace) -> anyhow::Result<Option<Self>> {
        let root = workspace.target().join("rabbitmq");
        match unpack(&root).and_then(|()| start(&root)) {
            Ok(peer) => {
                println!("beside RingMQ runs {}", peer.name());
                Ok(Some(peer))
            }
            Err(error) => {
                println!("no RabbitMQ beside RingMQ, only its recorded answers: {error:#}");
                Ok(None)
            }
        }
    }

    /// The Python rabbitmqadmin of Debian's package; `None`, and a line that says why, where it cannot be had.
    pub(crate) fn rabbitmqadmin(workspace: &Workspace) -> Option<PathBuf> {
        let root = workspace.target().join("rabbitmq");
        match unpack(&root) {
            Ok(()) => Some(root.join("usr/bin/rabbitmqadmin")).filter(|program| program.exists()),
            Err(error) => {
                println!("no rabbitmqadmin: {error:#}");
                None
            }
        }
    }

    pub(super) fn name(&self) -> String {
        format!("RabbitMQ {}", self.version)
    }

    /// Whether it is older than the release whose answers are recorded.
    pub(super) fn is_old(&self) -> bool {
        self.version.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major < 4)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // It may have ended; nothing can be done about an error.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Downloads the package with its Erlang and unpacks them, unless that was done before.
fn unpack(root: &Path) -> anyhow::Result<()> {
    // Written last: what was interrupted is done again.
    let done = root.join("unpacked");
    if done.exists() {
        return Ok(());
    }
    if root.exists() {
        fs::remove_dir_all(root)?;
    }
    let packages = root.join("packages");
    fs::create_dir_all(&packages)?;
    let mut names = wanted_packages()?;
    if names.is_empty() {
        run(Command::new("apt-get").args(["-qq", "update"]))?;
        names = wanted_packages()?;
    }
    ensure!(!names.is_empty(), "the machine's package archive has no rabbitmq-server");
    run(Command::new("apt-get").args(["-qq", "download"]).args(names).current_dir(&packages))?;
    for entry in fs::read_dir(&packages)? {
        let unpacked = Command::new("dpkg").arg("-x").arg(entry?.path()).arg(root).status()?;
        ensure!(unpacked.success(), "dpkg -x: {unpacked}");
    }
    fs::remove_dir_all(&packages)?;
    let erl = root.join("usr/lib/erlang/bin/erl");
    let script = fs::read_to_string(&erl)?;
    fs::write(&erl, script.replace(ERLANG, &format!("{}{ERLANG}", root.display())))?;
    fs::write(done, "")?;
    Ok(())
}

/// The broker and the parts of Erlang that it needs; libraries are the machine's.
fn wanted_packages() -> anyhow::Result<Vec<String>> {
    let simulation = Command::new("apt-get")
        .args(["install", "--simulate", "--no-install-recommends"])
        // As if nothing was installed: all that is needed has to be in one directory.
        .args(["-o", "Dir::State::status=/dev/null", "rabbitmq-server"])
        .stderr(Stdio::null())
        .output()
        .context("apt-get cannot be run")?;
    let text = String::from_utf8_lossy(&simulation.stdout);
    let names = text.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
    let names = names.filter(|name| name.starts_with("erlang-") || *name == "rabbitmq-server");
    Ok(names.map(str::to_owned).collect())
}

fn start(root: &Path) -> anyhow::Result<Peer> {
    let directory = tempfile::tempdir()?;
    let home = directory.path();
    let address = free_address()?;
    let (epmd, distribution) = (free_address()?.port().to_string(), free_address()?.port().to_string());
    fs::write(home.join("rabbitmq.conf"), format!("listeners.tcp.1 = {address}\n"))?;
    fs::write(home.join("advanced.config"), "[].\n")?;
    fs::write(home.join("enabled_plugins"), format!("[{}].\n", PLUGINS.join(",")))?;
    let server = server(root)?;
    let log = File::create(home.join("log"))?;
    let mut peer = Peer { address, version: String::new(), processes: Vec::new(), _directory: None };
    let names = Command::new(root.join("usr/lib/erlang/bin/epmd"))
        .env("ERL_EPMD_PORT", &epmd)
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("Erlang's epmd")?;
    peer.processes.push(names);
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", root.join("usr/lib/erlang/bin").display());
    let mut broker = Command::new(server.join("sbin/rabbitmq-server"));
    broker.current_dir(home).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).env_clear();
    broker.env("PATH", path).env("HOME", home).env("LANG", "C.UTF-8");
    broker.env("ERL_EPMD_PORT", &epmd).env("ERL_EPMD_ADDRESS", "127.0.0.1");
    // The shell scripts end in the broker itself, so that ending the process ends the broker.
    broker.env("RUNNING_UNDER_SYSTEMD", "1");
    for (name, file) in [
        ("CONFIG_FILE", "rabbitmq.conf"),
        ("ADVANCED_CONFIG_FILE", "advanced.config"),
        ("ENABLED_PLUGINS_FILE", "enabled_plugins"),
        ("MNESIA_BASE", "mnesia"),
        ("LOG_BASE", "logs"),
        ("PID_FILE", "pid"),
        ("FEATURE_FLAGS_FILE", "feature_flags"),
    ] {
        broker.env(format!("RABBITMQ_{name}"), home.join(file));
    }
    broker.env("RABBITMQ_CONF_ENV_FILE", "/dev/null").env("RABBITMQ_PLUGINS_DIR", server.join("plugins"));
    broker
        .env("RABBITMQ_NODENAME", format!("conformance-{epmd}@localhost"))
        .env("RABBITMQ_DIST_PORT", distribution);
    peer.processes.push(broker.spawn().context("RabbitMQ")?);
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        let ended = peer.processes.last_mut().map(Child::try_wait).transpose()?.flatten();
        if ended.is_some() || start.elapsed() > START_PATIENCE {
            let log = fs::read_to_string(home.join("log"))?;
            bail!("RabbitMQ does not start: {}", log.lines().last().unwrap_or_default());
        }
        thread::sleep(Duration::from_millis(100));
    }
    peer.version = version(address)?;
    peer._directory = Some(directory);
    Ok(peer)
}

/// The directory of the broker's release.
fn server(root: &Path) -> anyhow::Result<PathBuf> {
    for entry in fs::read_dir(root.join("usr/lib/rabbitmq/lib"))? {
        let path = entry?.path();
        if path.join("sbin/rabbitmq-server").exists() {
            return Ok(path);
        }
    }
    bail!("the package holds no broker")
}

/// The version that a broker tells in `connection.start`.
fn version(address: SocketAddr) -> anyhow::Result<String> {
    let mut client = Client::connect(address)?;
    client.write(b"AMQP\x00\x00\x09\x01");
    let Some(Event::Method { arguments, .. }) = client.next(Instant::now() + START_PATIENCE)? else {
        bail!("no AMQP broker at {address}")
    };
    for (_, value) in arguments {
        if let Value::Table(properties) = value
            && let Some((_, Value::Text(_, version))) = properties.into_iter().find(|(name, _)| name == "version")
        {
            return Ok(version);
        }
    }
    bail!("the broker at {address} tells no version")
}

//! The configuration of the broker: a TOML file, `--set`, environment variables and flags, checked once into plain values.
//!
//! | file | what |
//! | --- | --- |
//! | `keys/` | every key: its type, default, meaning, and how it is set |
//! | `layer` | what each source says, and which of them counts |
//! | `file`, `environment`, `flags` | the sources |
//! | `print`, `import`, `reference` | `--print-config`, `--import-config`, docs/configuration.md |
//! | `settings`, [`Config`] | what the rest of the broker gets. Nothing else reads flags or the environment. |

mod cpus;
mod environment;
mod file;
mod flags;
mod import;
mod keys;
mod layer;
mod print;
mod reference;
mod settings;
mod value;
mod without_effect;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use cpus::{CpuList, CpuListError};
pub use flags::Flags;
pub use import::{Imported, import};
use layer::Layer;
pub use layer::Problem;
pub use reference::reference;
pub use settings::{HttpsListener, KeyPair, Listener, Log, Settings, Tls, Watermark};
pub(crate) use value::{bytes, fraction, log_level, multiple};

/// Most shards a broker can have.
pub const MAX_SHARDS: usize = 1024;

/// The configuration file when nobody names one; it need not be there.
pub const DEFAULT_FILE: &str = "/etc/ringmq/ringmq.toml";

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything durable is.
    pub data_dir: PathBuf,
    /// Number of shards, 1 to [`MAX_SHARDS`].
    pub shards: usize,
    /// The CPUs that the broker may use, ascending and not empty; shard *n* runs on `cpus[n % cpus.len()]`.
    pub cpus: Vec<usize>,
    /// What the configuration file says, and defaults.
    pub settings: Settings,
    /// Keys of RabbitMQ that are set and change nothing, one sentence each.
    pub without_effect: Vec<String>,
    /// What `settings` are made from.
    layers: Layers,
    source: Source,
}

/// Where layers come from, to read them again.
#[derive(Clone, Debug)]
struct Source {
    flags: Flags,
    environment: Vec<(String, String)>,
}

/// All that is set, the strongest on top.
#[derive(Clone, Debug)]
struct Layers {
    file: Option<PathBuf>,
    all: Layer,
}

/// What has changed since the configuration was read before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Names of keys whose new values hold from now on.
    pub applied: Vec<String>,
    /// Names of keys whose new values need a restart.
    pub need_restart: Vec<String>,
}

/// What is wrong with the file, `--set`, the environment or the flags; one line for each fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Why a configuration is refused: for the operator.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Keys or values that cannot be used.
    #[error(transparent)]
    Keys(#[from] Problems),
    /// A TLS listener without certificate or key.
    #[error("a listener with TLS needs {0}")]
    TlsIncomplete(String),
    /// `--cpus` names CPUs that this process may not run on.
    #[error("--cpus {wanted} names CPUs that this process may not use; it may use {allowed}")]
    CpusNotAllowed {
        /// What was asked for.
        wanted: CpuList,
        /// What the process inherited.
        allowed: CpuList,
    },
    /// Two listeners were given one address.
    #[error("{first} and {second} are both {address}: each needs an address of its own")]
    SameAddress {
        /// The first flag.
        first: &'static str,
        /// The second flag.
        second: &'static str,
        /// The address.
        address: SocketAddr,
    },
}

impl Config {
    /// Reads all sources and checks everything against each other and against the CPUs that this process may use.
    pub fn new(flags: Flags, allowed_cpus: CpuList) -> Result<Self, ConfigError> {
        Self::from_source(Source { flags, environment: environment::variables() }, allowed_cpus)
    }

    fn from_source(source: Source, allowed_cpus: CpuList) -> Result<Self, ConfigError> {
        let layers = source.read();
        let settings = layers.settings()?;
        let cpus = match settings.cpus.clone() {
            Some(wanted) if !wanted.is_subset(&allowed_cpus) => {
                return Err(ConfigError::CpusNotAllowed { wanted, allowed: allowed_cpus });
            }
            Some(wanted) => wanted,
            None => allowed_cpus,
        };
        check_addresses(&settings)?;
        check_tls(&settings)?;
        Ok(Self {
            // A flag can hold names that are no text.
            data_dir: (source.flags.data_dir.clone())
                .or_else(|| settings.data_dir.clone())
                .unwrap_or_else(default_data_dir),
            shards: settings.shards.unwrap_or_else(|| cpus.len().min(MAX_SHARDS)),
            cpus: cpus.into(),
            without_effect: layers.all.without_effect.iter().map(ToString::to_string).collect(),
            settings,
            layers,
            source,
        })
    }

    /// The configuration file, if there is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.layers.file.as_deref()
    }

    /// The configuration in force as TOML that can be read again. Each value has a comment that says where it comes from;
    /// secrets are left out.
    #[must_use]
    pub fn print(&self) -> String {
        print::print(&self.layers.all)
    }

    /// Reads the configuration file again: `settings` are new where a change can take effect in a running broker. After an
    /// error everything is as it was.
    pub fn reread(&mut self) -> Result<Changes, ConfigError> {
        let layers = self.source.read();
        let wanted = layers.settings()?;
        check_tls(&wanted)?;
        let mut changes = Changes { applied: Vec::new(), need_restart: Vec::new() };
        for (name, key) in self.layers.all.changes(&layers.all) {
            let list = if key.reload { &mut changes.applied } else { &mut changes.need_restart };
            list.push(name);
        }
        self.layers = self.layers.reloaded(&layers);
        self.settings = self.layers.settings()?;
        Ok(changes)
    }
}

impl Source {
    fn read(&self) -> Layers {
        let file = match &self.flags.config {
            Some(path) if path.as_os_str().is_empty() => None,
            Some(path) => Some(path.clone()),
            None => Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()),
        };
        let mut all = file.as_deref().map(file::read).unwrap_or_default();
        all.cover(self.flags.set_layer());
        all.cover(environment::read(&self.environment));
        all.cover(self.flags.layer());
        Layers { file, all }
    }
}

impl Layers {
    fn settings(&self) -> Result<Settings, Problems> {
        self.all.settings().map_err(Problems)
    }

    /// What holds when `new` was read by a running broker: of keys that need a restart, what was.
    fn reloaded(&self, new: &Self) -> Self {
        let kept = self.all.entries.iter().filter(|entry| !entry.key.reload);
        let changed = new.all.entries.iter().filter(|entry| entry.key.reload);
        let all = Layer { entries: kept.chain(changed).cloned().collect(), ..Layer::default() };
        Self { file: new.file.clone(), all }
    }
}

/// Every address, by the flag that gives it.
fn addresses(settings: &Settings) -> impl Iterator<Item = (&'static str, SocketAddr)> {
    let amqp =
        [("--amqp", &settings.tcp), ("--amqps", &settings.ssl), ("--ws", &settings.ws), ("--wss", &settings.wss)];
    let http = [
        ("--metrics", Some(settings.prometheus.address())),
        ("--http", Some(settings.management.address())),
        ("--https", settings.management_ssl.address()),
        ("prometheus.ssl", settings.prometheus_ssl.address()),
    ];
    let http = http.into_iter().filter_map(|(flag, address)| Some((flag, address?)));
    http.chain(amqp.into_iter().flat_map(|(flag, all)| all.iter().map(move |address| (flag, *address))))
}

fn check_addresses(settings: &Settings) -> Result<(), ConfigError> {
    let mut seen: Vec<(&'static str, SocketAddr)> = Vec::new();
    for (flag, address) in addresses(settings) {
        let same = |(_, other): &&(&str, SocketAddr)| *other == address && address.port() != 0;
        if let Some((first, _)) = seen.iter().find(same) {
            return Err(ConfigError::SameAddress { first, second: flag, address });
        }
        seen.push((flag, address));
    }
    Ok(())
}

/// Every listener with TLS has certificate and key.
fn check_tls(settings: &Settings) -> Result<(), ConfigError> {
    let missing = |key: &str| Err(ConfigError::TlsIncomplete(key.to_owned()));
    let complete = |prefix: &str, pair: &KeyPair| match pair {
        KeyPair { certfile: None, .. } => missing(&format!("{prefix}.certfile")),
        KeyPair { keyfile: None, .. } => missing(&format!("{prefix}.keyfile")),
        _ => Ok(()),
    };
    let tls = &settings.tls;
    let https = [("management.ssl", &settings.management_ssl), ("prometheus.ssl", &settings.prometheus_ssl)];
    for (prefix, listener) in https {
        if listener.port.is_some() {
            let own = listener.own != KeyPair::default();
            complete(if own { prefix } else { "ssl_options" }, &listener.tls(tls).own)?;
        }
    }
    for (name, pair) in &tls.server_names {
        complete(&format!("ssl_options.server_names.{name}"), pair)?;
    }
    if settings.ssl.is_empty() && settings.wss.is_empty() {
        return Ok(());
    }
    complete("ssl_options", &tls.own)?;
    if tls.verify_peer && tls.cacertfile.is_none() {
        return missing("ssl_options.cacertfile");
    }
    Ok(())
}

/// `$XDG_DATA_HOME/ringmq`, `$HOME/.local/share/ringmq`, or, for a process without a home, `ringmq-data` in the
/// working directory.
fn default_data_dir() -> PathBuf {
    let directory = |variable| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    directory("XDG_DATA_HOME")
        .or_else(|| directory("HOME").map(|home| home.join(".local/share")))
        .map_or_else(|| PathBuf::from("ringmq-data"), |base| base.join("ringmq"))
}

#[cfg(test)]
mod tests;

//! The configuration of the broker: flags, each with an environment variable, checked once into plain values.
//!
//! [`Flags`] is what the operator wrote; [`Config`] is what the rest of the broker gets. Nothing else reads
//! flags or the environment.

mod cpus;
mod file;
mod flags;
mod keys;
mod reference;
mod settings;
mod value;
mod without_effect;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use cpus::{CpuList, CpuListError};
pub use file::FileError;
pub use flags::Flags;
pub use reference::reference;
pub use settings::{Listener, Log, Settings, Tls, Watermark};

/// Most shards a broker can have.
pub const MAX_SHARDS: usize = 1024;

/// Where Prometheus scrapes unless something else is said.
const DEFAULT_METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 15692);

/// Where the management API is served when nobody says otherwise.
const DEFAULT_HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 15672);

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where everything durable is.
    pub data_dir: PathBuf,
    /// Where AMQP clients connect, plain TCP. Port 0: the system chooses one, the start-up log says which.
    pub amqp: Vec<SocketAddr>,
    /// Where AMQP clients connect with TLS. Port 0 as for [`Config::amqp`].
    pub amqps: Vec<SocketAddr>,
    /// Where Prometheus scrapes `/metrics`. Port 0 as for [`Config::amqp`].
    pub metrics: SocketAddr,
    /// Where the management API is served. Port 0 as for [`Config::amqp`].
    pub http: SocketAddr,
    /// Number of shards, 1 to [`MAX_SHARDS`].
    pub shards: usize,
    /// The CPUs that the broker may use, ascending and not empty; shard *n* runs on `cpus[n % cpus.len()]`.
    pub cpus: Vec<usize>,
    /// What the configuration file says, and defaults.
    pub settings: Settings,
    /// Where `settings` come from, to read them again.
    source: Source,
}

/// The flags that say what [`Settings`] are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    file: Option<PathBuf>,
    set: Vec<String>,
    log: Option<String>,
}

/// Why a configuration is refused: one sentence for the operator.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file or `--set`.
    #[error(transparent)]
    File(#[from] FileError),
    /// A TLS listener without certificate or key.
    #[error("a listener with TLS needs ssl_options.{0}")]
    TlsIncomplete(&'static str),
    /// `--cpus` names CPUs that this process may not run on.
    #[error("--cpus {wanted} names CPUs that this process may not use; it may use {allowed}")]
    CpusNotAllowed {
        /// What was asked for.
        wanted: CpuList,
        /// What the process inherited.
        allowed: CpuList,
    },
    /// `--shards` is out of range.
    #[error("--shards {0} is out of range: 1 to {MAX_SHARDS}")]
    Shards(usize),
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
    /// Reads the configuration file and checks everything against each other and against the CPUs that this
    /// process may use.
    pub fn new(flags: Flags, allowed_cpus: CpuList) -> Result<Self, ConfigError> {
        let source = Source { file: flags.config, set: flags.set, log: flags.log };
        let settings = source.read()?;
        let cpus = match flags.cpus {
            Some(wanted) if !wanted.is_subset(&allowed_cpus) => {
                return Err(ConfigError::CpusNotAllowed { wanted, allowed: allowed_cpus });
            }
            Some(wanted) => wanted,
            None => allowed_cpus,
        };
        let shards = flags.shards.unwrap_or_else(|| cpus.len().min(MAX_SHARDS));
        if !(1..=MAX_SHARDS).contains(&shards) {
            return Err(ConfigError::Shards(shards));
        }
        let given = |flag: Vec<SocketAddr>, file: Vec<SocketAddr>| if flag.is_empty() { file } else { flag };
        let amqp = given(flags.amqp, settings.tcp_addresses());
        let amqps = given(flags.amqps, settings.ssl_addresses());
        let metrics = flags.metrics.or_else(|| settings.prometheus.address(15692)).unwrap_or(DEFAULT_METRICS);
        let http = flags.http.or_else(|| settings.management.address(15672)).unwrap_or(DEFAULT_HTTP);
        check_addresses(&amqp, &amqps, metrics, http)?;
        if !amqps.is_empty() {
            check_tls(&settings.tls)?;
        }
        Ok(Self {
            data_dir: flags.data_dir.unwrap_or_else(default_data_dir),
            amqp,
            amqps,
            metrics,
            http,
            shards,
            cpus: cpus.into(),
            settings,
            source,
        })
    }

    /// Reads the configuration file again.
    pub fn reread(&self) -> Result<Settings, FileError> {
        self.source.read()
    }
}

impl Source {
    /// What the file says, and `--set`, and `--log`.
    fn read(&self) -> Result<Settings, FileError> {
        let mut settings = Settings::default();
        if let Some(path) = &self.file {
            file::read(path, &mut settings)?;
        }
        for line in &self.set {
            file::set(line, &mut settings)
                .map_err(|reason| FileError::Line { origin: format!("--set {line}"), reason })?;
        }
        if let Some(filter) = &self.log {
            settings.log.level.clone_from(filter);
        }
        Ok(settings)
    }
}

fn check_addresses(
    amqp: &[SocketAddr],
    amqps: &[SocketAddr],
    metrics: SocketAddr,
    http: SocketAddr,
) -> Result<(), ConfigError> {
    let all = [("--http", http)].into_iter().chain(amqp.iter().map(|address| ("--amqp", *address)));
    let all = all.chain(amqps.iter().map(|address| ("--amqps", *address)));
    let mut seen: Vec<(&'static str, SocketAddr)> = vec![("--metrics", metrics)];
    for (flag, address) in all {
        let same = |(_, other): &&(&str, SocketAddr)| *other == address && address.port() != 0;
        if let Some((first, _)) = seen.iter().find(same) {
            return Err(ConfigError::SameAddress { first, second: flag, address });
        }
        seen.push((flag, address));
    }
    Ok(())
}

fn check_tls(tls: &Tls) -> Result<(), ConfigError> {
    let missing = if tls.certfile.is_none() {
        "certfile"
    } else if tls.keyfile.is_none() {
        "keyfile"
    } else if tls.verify_peer && tls.cacertfile.is_none() {
        "cacertfile"
    } else {
        return Ok(());
    };
    Err(ConfigError::TlsIncomplete(missing))
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
mod tests {
    use clap::Parser;

    use super::*;

    fn check(arguments: &[&str]) -> Result<Config, ConfigError> {
        let flags = Flags::try_parse_from([&["ringmq", "--data-dir", "/d"], arguments].concat()).unwrap();
        Config::new(flags, "0-3".parse().unwrap())
    }

    #[test]
    fn without_flags_every_allowed_cpu_has_a_shard() {
        let config = check(&[]).unwrap();
        assert_eq!((config.shards, config.cpus), (4, vec![0, 1, 2, 3]));
        assert_eq!(config.amqp.iter().map(SocketAddr::port).collect::<Vec<_>>(), [5672]);
        assert_eq!(config.amqps, []);
        assert_eq!(config.metrics.port(), 15692);
        assert_eq!(config.http, "127.0.0.1:15672".parse().unwrap());
    }

    #[test]
    fn cpus_decide_the_number_of_shards_and_shards_overrides_it() {
        assert_eq!(check(&["--cpus", "1,3"]).unwrap().shards, 2);
        assert_eq!(check(&["--cpus", "1,3", "--shards", "5"]).unwrap().shards, 5);
    }

    #[test]
    fn a_cpu_that_is_not_allowed_is_refused_by_name() {
        assert_eq!(
            check(&["--cpus", "2-5"]).unwrap_err().to_string(),
            "--cpus 2-5 names CPUs that this process may not use; it may use 0-3"
        );
    }

    #[test]
    fn shards_out_of_range_are_refused() {
        assert_eq!(check(&["--shards", "0"]), Err(ConfigError::Shards(0)));
        assert_eq!(check(&["--shards", "1025"]), Err(ConfigError::Shards(1025)));
    }

    #[test]
    fn two_listeners_on_one_address_are_refused() {
        let error = check(&["--amqp", "127.0.0.1:99", "--metrics", "127.0.0.1:99"]).unwrap_err();
        assert!(matches!(error, ConfigError::SameAddress { .. }));
        check(&["--amqp", "127.0.0.1:0", "--amqp", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]).unwrap();
        let error = check(&["--http", "127.0.0.1:99", "--metrics", "127.0.0.1:99"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "--metrics and --http are both 127.0.0.1:99: each needs an address of its own"
        );
    }

    #[test]
    fn flags_override_set_and_set_overrides_defaults() {
        let config =
            check(&["--set", "listeners.tcp.a = 127.0.0.1:1", "--set", "listeners.tcp.b=[::1]:2"]).unwrap();
        assert_eq!(config.amqp, ["127.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap()]);
        let config = check(&["--set", "listeners.tcp.a = 127.0.0.1:1", "--amqp", "127.0.0.1:3,[::1]:3"]).unwrap();
        assert_eq!(config.amqp, ["127.0.0.1:3".parse().unwrap(), "[::1]:3".parse().unwrap()]);
        assert_eq!(check(&["--set", "listeners.tcp = none"]).unwrap().amqp, []);
        let error = check(&["--set", "heartbeat=-1"]).unwrap_err().to_string();
        assert_eq!(error, "--set heartbeat=-1: heartbeat = -1: expected a number from 0 to 65535");
    }

    #[test]
    fn tls_needs_certificate_and_key() {
        let error = check(&["--amqps", "127.0.0.1:5671"]).unwrap_err();
        assert_eq!(error, ConfigError::TlsIncomplete("certfile"));
        let given =
            ["--amqps", "127.0.0.1:5671", "--set", "ssl_options.certfile=c", "--set", "ssl_options.keyfile=k"];
        check(&given).unwrap();
    }
}

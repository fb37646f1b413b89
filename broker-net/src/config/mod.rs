//! The configuration of the broker: flags, each with an environment variable, checked once into plain values.
//!
//! [`Flags`] is what the operator wrote; [`Config`] is what the rest of the broker gets. Nothing else reads
//! flags or the environment.

mod cpus;
mod flags;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use cpus::{CpuList, CpuListError};
pub use flags::Flags;

/// Most shards a broker can have.
pub const MAX_SHARDS: usize = 1024;

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where everything durable is.
    pub data_dir: PathBuf,
    /// Where AMQP clients connect, plain TCP. Port 0: the system chooses one, the start-up log says which.
    pub amqp: SocketAddr,
    /// Where Prometheus scrapes `/metrics`. Port 0 as for [`Config::amqp`].
    pub metrics: SocketAddr,
    /// Reserved for the management API: nothing listens there yet.
    pub http: Option<SocketAddr>,
    /// Number of shards, 1 to [`MAX_SHARDS`].
    pub shards: usize,
    /// The CPUs that the broker may use, ascending and not empty; shard *n* runs on `cpus[n % cpus.len()]`.
    pub cpus: Vec<usize>,
}

/// Why a configuration is refused: one sentence for the operator.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
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
    /// Checks the flags against each other and against the CPUs that this process may use.
    pub fn new(flags: Flags, allowed_cpus: CpuList) -> Result<Self, ConfigError> {
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
        if flags.amqp == flags.metrics && flags.amqp.port() != 0 {
            return Err(ConfigError::SameAddress { first: "--amqp", second: "--metrics", address: flags.amqp });
        }
        Ok(Self {
            data_dir: flags.data_dir.unwrap_or_else(default_data_dir),
            amqp: flags.amqp,
            metrics: flags.metrics,
            http: flags.http,
            shards,
            cpus: cpus.into(),
        })
    }
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
        assert_eq!(config.amqp, "0.0.0.0:5672".parse().unwrap());
        assert_eq!(config.metrics.port(), 15692);
        assert_eq!(config.http, None);
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
        check(&["--amqp", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]).unwrap();
    }
}

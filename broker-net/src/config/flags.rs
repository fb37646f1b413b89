//! The command line, and the same by environment variables.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

use super::CpuList;

/// RingMQ: an AMQP 0-9-1 message broker. Without flags it serves guest/guest from loopback on port 5672.
#[derive(Clone, Debug, Parser)]
#[command(name = "ringmq", version)]
pub struct Flags {
    /// Directory of everything durable; made if missing [default: $XDG_DATA_HOME/ringmq, else
    /// ~/.local/share/ringmq]
    #[arg(long, env = "RINGMQ_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Configuration file in the style of rabbitmq.conf; flags override it
    #[arg(long, env = "RINGMQ_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// A line of the configuration file; may be given several times and overrides the file
    #[arg(long = "set", env = "RINGMQ_SET", value_name = "KEY=VALUE", value_delimiter = '\n')]
    pub set: Vec<String>,

    /// Checks the configuration and ends
    #[arg(long, env = "RINGMQ_CHECK_CONFIG")]
    pub check_config: bool,

    /// Prints every key of the configuration file, as docs/configuration.md, and ends
    #[arg(long, env = "RINGMQ_HELP_CONFIG")]
    pub help_config: bool,

    /// Where AMQP 0-9-1 clients connect; may be given several times [default: port 5672 of all addresses]
    #[arg(long, env = "RINGMQ_AMQP", value_name = "ADDR:PORT", value_delimiter = ',')]
    pub amqp: Vec<SocketAddr>,

    /// Where AMQP 0-9-1 clients connect with TLS; may be given several times
    #[arg(long, env = "RINGMQ_AMQPS", value_name = "ADDR:PORT", value_delimiter = ',')]
    pub amqps: Vec<SocketAddr>,

    /// Where Prometheus scrapes /metrics [default: 0.0.0.0:15692]
    #[arg(long, env = "RINGMQ_METRICS", value_name = "ADDR:PORT")]
    pub metrics: Option<SocketAddr>,

    /// Where the management API is served [default: 127.0.0.1:15672]
    #[arg(long, env = "RINGMQ_HTTP", value_name = "ADDR:PORT")]
    pub http: Option<SocketAddr>,

    /// Number of shards, one thread each [default: one per CPU that the broker may use]
    #[arg(long, env = "RINGMQ_SHARDS", value_name = "N")]
    pub shards: Option<usize>,

    /// The only CPUs that threads of the broker run on, such as 0,2-3 [default: all that the process may use]
    #[arg(long, env = "RINGMQ_CPUS", value_name = "LIST")]
    pub cpus: Option<CpuList>,

    /// What is logged to standard error: a level, or `target=level` pairs separated by commas [default: info]
    #[arg(long, env = "RINGMQ_LOG", value_name = "FILTER")]
    pub log: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_every_flag_has_a_variable() {
        let command = Flags::command();
        command.clone().debug_assert();
        for flag in command.get_arguments().filter(|flag| !matches!(flag.get_id().as_str(), "help" | "version")) {
            let name = flag.get_long().unwrap().to_uppercase().replace('-', "_");
            assert_eq!(flag.get_env().unwrap().to_str().unwrap(), format!("RINGMQ_{name}"));
        }
    }
}

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

    /// Where AMQP 0-9-1 clients connect
    #[arg(long, env = "RINGMQ_AMQP", value_name = "ADDR:PORT", default_value = "0.0.0.0:5672")]
    pub amqp: SocketAddr,

    /// Where Prometheus scrapes /metrics
    #[arg(long, env = "RINGMQ_METRICS", value_name = "ADDR:PORT", default_value = "0.0.0.0:15692")]
    pub metrics: SocketAddr,

    /// Reserved for the management API: accepted, but nothing listens there yet
    #[arg(long, env = "RINGMQ_HTTP", value_name = "ADDR:PORT")]
    pub http: Option<SocketAddr>,

    /// Number of shards, one thread each [default: one per CPU that the broker may use]
    #[arg(long, env = "RINGMQ_SHARDS", value_name = "N")]
    pub shards: Option<usize>,

    /// The only CPUs that threads of the broker run on, such as 0,2-3 [default: all that the process may use]
    #[arg(long, env = "RINGMQ_CPUS", value_name = "LIST")]
    pub cpus: Option<CpuList>,

    /// What is logged to standard error: a level, or `target=level` pairs separated by commas
    #[arg(long, env = "RINGMQ_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
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

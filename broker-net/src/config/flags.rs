//! The command line, and the same by environment variables.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use clap::builder::{OsStringValueParser, TypedValueParser as _};

use super::CpuList;
use super::layer::{Given, Layer, Origin};

/// RingMQ: an AMQP 0-9-1 message broker. Without flags it serves guest/guest from loopback on port 5672.
#[derive(Clone, Debug, Parser)]
#[command(name = "ringmq", version)]
pub struct Flags {
    /// Directory of everything durable; made if missing [default: $XDG_DATA_HOME/ringmq, else
    /// ~/.local/share/ringmq]
    #[arg(long, env = "RINGMQ_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Configuration file in TOML; an empty name: none [default: /etc/ringmq/ringmq.toml, if it is there]
    #[arg(long, env = "RINGMQ_CONFIG", value_name = "FILE", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub config: Option<PathBuf>,

    /// A key of the configuration file; may be given several times and overrides the file
    #[arg(long = "set", env = "RINGMQ_SET", value_name = "KEY=VALUE", value_delimiter = '\n')]
    pub set: Vec<String>,

    /// Checks the configuration and ends
    #[arg(long, env = "RINGMQ_CHECK_CONFIG")]
    pub check_config: bool,

    /// Prints the configuration in force as TOML, with where each value comes from, and ends
    #[arg(long, env = "RINGMQ_PRINT_CONFIG")]
    pub print_config: bool,

    /// Prints a rabbitmq.conf as TOML for RingMQ, says what becomes of each line, and ends
    #[arg(long, env = "RINGMQ_IMPORT_CONFIG", value_name = "FILE")]
    pub import_config: Option<PathBuf>,

    /// Prints every key of the configuration file, as docs/configuration.md, and ends
    #[arg(long, env = "RINGMQ_HELP_CONFIG")]
    pub help_config: bool,

    /// Where AMQP 0-9-1 clients connect; may be given several times [default: port 5672 of all addresses]
    #[arg(long, env = "RINGMQ_AMQP", value_name = "ADDR:PORT", value_delimiter = ',')]
    pub amqp: Vec<SocketAddr>,

    /// Where AMQP 0-9-1 clients connect with TLS; may be given several times
    #[arg(long, env = "RINGMQ_AMQPS", value_name = "ADDR:PORT", value_delimiter = ',')]
    pub amqps: Vec<SocketAddr>,

    /// Where AMQP 0-9-1 is spoken over WebSocket; may be given several times
    #[arg(long, env = "RINGMQ_WS", value_name = "ADDR:PORT", value_delimiter = ',')]
    pub ws: Vec<SocketAddr>,

    /// Where AMQP 0-9-1 is spoken over WebSocket with TLS; may be given several times
    #[arg(long, env = "RINGMQ_WSS", value_name = "ADDR:PORT", value_delimiter = ',')]
    pub wss: Vec<SocketAddr>,

    /// Where Prometheus scrapes /metrics [default: 0.0.0.0:15692]
    #[arg(long, env = "RINGMQ_METRICS", value_name = "ADDR:PORT")]
    pub metrics: Option<SocketAddr>,

    /// Where the management API is served [default: 127.0.0.1:15672]
    #[arg(long, env = "RINGMQ_HTTP", value_name = "ADDR:PORT")]
    pub http: Option<SocketAddr>,

    /// Where the management API is served with TLS
    #[arg(long, env = "RINGMQ_HTTPS", value_name = "ADDR:PORT")]
    pub https: Option<SocketAddr>,

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

impl Flags {
    /// What the flags say of keys. Values of the wrong kind do not get here.
    pub(super) fn layer(&self) -> Layer {
        let mut layer = Layer::default();
        let mut set = |flag: &'static str, key: &str, text: String| {
            let path: Vec<_> = key.split('.').collect();
            layer.set(&path, Given::Typed(&text), Origin::Flag(flag));
        };
        for (flag, keys, address) in [
            ("--metrics", ["prometheus.tcp.ip", "prometheus.tcp.port"], self.metrics),
            ("--http", ["management.tcp.ip", "management.tcp.port"], self.http),
            ("--https", ["management.ssl.ip", "management.ssl.port"], self.https),
        ] {
            if let (Some(address), [ip, port]) = (address, keys) {
                set(flag, ip, address.ip().to_string());
                set(flag, port, address.port().to_string());
            }
        }
        let data_dir = self.data_dir.as_ref().map(|path| path.to_string_lossy().into_owned());
        for (flag, key, text) in [
            ("--data-dir", "data_dir", data_dir),
            ("--shards", "shards", self.shards.map(|shards| shards.to_string())),
            ("--cpus", "cpus", self.cpus.as_ref().map(ToString::to_string)),
            ("--log", "log.default.level", self.log.clone()),
        ] {
            if let Some(text) = text {
                set(flag, key, text);
            }
        }
        for (flag, key, addresses) in [
            ("--amqp", "listeners.tcp", &self.amqp),
            ("--amqps", "listeners.ssl", &self.amqps),
            ("--ws", "listeners.ws", &self.ws),
            ("--wss", "listeners.wss", &self.wss),
        ] {
            let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            if !texts.is_empty() {
                let path: Vec<_> = key.split('.').collect();
                layer.set(&path, Given::List(&texts), Origin::Flag(flag));
            }
        }
        layer
    }

    /// What `--set` says.
    pub(super) fn set_layer(&self) -> Layer {
        let mut layer = Layer::default();
        for line in self.set.iter().map(|line| line.trim()).filter(|line| !line.is_empty()) {
            match line.split_once('=') {
                Some((key, value)) => {
                    let path = words(key.trim());
                    layer.set(&path, Given::Untyped(value.trim()), Origin::Set(key.trim().to_owned()));
                }
                None => layer.problem(Origin::Set(line.to_owned()), "expected key=value".to_owned()),
            }
        }
        layer
    }
}

/// The words of a key. One with dots in it is in quotes, as in TOML.
fn words(key: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for letter in key.chars() {
        match (letter, quote) {
            ('.', None) => words.push(String::new()),
            ('"' | '\'', None) => quote = Some(letter),
            (_, Some(open)) if letter == open => quote = None,
            _ => words.last_mut().expect("there is a word from the start").push(letter),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn words_of_keys_may_be_quoted() {
        assert_eq!(words("a.b"), ["a", "b"]);
        assert_eq!(words("a.\"b.c\".d"), ["a", "b.c", "d"]);
    }

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

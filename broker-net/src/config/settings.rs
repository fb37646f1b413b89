//! What a configuration file can set, with RabbitMQ's defaults.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::value::any;
use crate::amqp;

/// All that the keys of `keys.rs` set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `listeners.tcp.NAME`; `None` until the first is set.
    pub tcp: Option<BTreeMap<String, SocketAddr>>,
    /// `listeners.ssl.NAME`.
    pub ssl: BTreeMap<String, SocketAddr>,
    /// `ssl_options.*`.
    pub tls: Tls,
    /// Connections start with a header of the PROXY protocol that says where they come from.
    pub proxy_protocol: bool,
    /// What connections offer and enforce.
    pub connections: amqp::Config,
    /// `vm_memory_high_watermark`.
    pub memory: Watermark,
    /// `total_memory_available_override_value`, in bytes.
    pub total_memory: Option<u64>,
    /// `disk_free_limit`.
    pub disk: Watermark,
    /// The user of a new data directory.
    pub default_user: String,
    /// Its password.
    pub default_pass: String,
    /// The virtual host of a new data directory.
    pub default_vhost: String,
    /// `default_permissions.configure`, `.write` and `.read` of the default user in the default virtual host.
    pub default_permissions: [String; 3],
    /// Tags of the default user.
    pub default_user_tags: Vec<String>,
    /// The file names tags: they replace the default.
    pub(super) default_user_tags_set: bool,
    /// What the file sets to no effect, one sentence each.
    pub without_effect: Vec<String>,
    /// How long a delivery may stay unacknowledged, in milliseconds; `None` forever.
    pub consumer_timeout_ms: Option<u64>,
    /// What is logged, and how.
    pub log: Log,
    /// Where the management API listens.
    pub management: Listener,
    /// Where Prometheus scrapes.
    pub prometheus: Listener,
}

/// Address and port that are set by two keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listener {
    /// The address; `None` is the default.
    pub ip: Option<std::net::IpAddr>,
    /// The port; `None` is the default.
    pub port: Option<u16>,
}

impl Listener {
    /// The address, if any part of it was set.
    #[must_use]
    pub fn address(&self, default_port: u16) -> Option<SocketAddr> {
        (self.ip.is_some() || self.port.is_some())
            .then(|| SocketAddr::new(self.ip.unwrap_or_else(any), self.port.unwrap_or(default_port)))
    }
}

/// A threshold, of memory or of disk space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watermark {
    /// Thousandths of all memory.
    Relative(u32),
    /// Bytes.
    Absolute(u64),
}

impl Watermark {
    /// The threshold in bytes where there are `total`.
    #[must_use]
    pub fn bytes(self, total: u64) -> u64 {
        match self {
            Self::Relative(thousandths) => total / 1000 * u64::from(thousandths),
            Self::Absolute(bytes) => bytes,
        }
    }
}

/// Certificates of the TLS listeners, and what is asked of clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of the authorities that client certificates are checked against.
    pub cacertfile: Option<PathBuf>,
    /// PEM file of the server's certificate and its chain.
    pub certfile: Option<PathBuf>,
    /// PEM file of the server's key.
    pub keyfile: Option<PathBuf>,
    /// Clients are asked for a certificate, and one that is not trusted is refused.
    pub verify_peer: bool,
    /// A client without certificate is refused.
    pub fail_if_no_peer_cert: bool,
    /// Only TLS 1.3 is spoken.
    pub only_tls13: bool,
    /// `ssl_options.versions` names TLS 1.2.
    pub(super) tls12_named: bool,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A level or a filter; the flag `--log` overrides it.
    pub level: String,
    /// One JSON object per line.
    pub json: bool,
    /// Nothing is logged.
    pub off: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tcp: None,
            ssl: BTreeMap::new(),
            tls: Tls::default(),
            proxy_protocol: false,
            connections: amqp::Config::default(),
            memory: Watermark::Relative(600),
            total_memory: None,
            disk: Watermark::Absolute(50_000_000),
            default_user: "guest".to_owned(),
            default_pass: "guest".to_owned(),
            default_vhost: "/".to_owned(),
            default_permissions: [".*", ".*", ".*"].map(str::to_owned),
            default_user_tags: vec!["administrator".to_owned()],
            default_user_tags_set: false,
            without_effect: Vec::new(),
            consumer_timeout_ms: Some(1_800_000),
            log: Log { level: "info".to_owned(), json: false, off: false },
            management: Listener::default(),
            prometheus: Listener::default(),
        }
    }
}

impl Settings {
    /// Where AMQP is spoken without TLS.
    #[must_use]
    pub fn tcp_addresses(&self) -> Vec<SocketAddr> {
        match &self.tcp {
            Some(listeners) => listeners.values().copied().collect(),
            None => vec![SocketAddr::new(any(), 5672)],
        }
    }

    /// Where AMQP is spoken over TLS.
    #[must_use]
    pub fn ssl_addresses(&self) -> Vec<SocketAddr> {
        self.ssl.values().copied().collect()
    }
}

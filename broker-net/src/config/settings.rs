//! What a configuration file can set, with RabbitMQ's defaults.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use broker_core::model::queue::settings::QueueType;
use broker_core::secret::Secret;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::cpus::CpuList;
use super::value::any;
use crate::amqp;

/// All that the keys of `keys/` set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `data_dir`.
    pub data_dir: Option<PathBuf>,
    /// `shards`.
    pub shards: Option<usize>,
    /// `cpus`.
    pub cpus: Option<CpuList>,
    /// `listeners.tcp`.
    pub tcp: Vec<SocketAddr>,
    /// `listeners.ssl`.
    pub ssl: Vec<SocketAddr>,
    /// `listeners.ws`.
    pub ws: Vec<SocketAddr>,
    /// `listeners.wss`.
    pub wss: Vec<SocketAddr>,
    /// `ssl_options.*`.
    pub tls: Tls,
    /// Connections from `proxy_sources` start with a header of the PROXY protocol that says where they come from.
    pub proxy_protocol: bool,
    /// Who may speak the PROXY protocol.
    pub proxy_sources: Vec<IpNet>,
    /// What connections offer and enforce.
    pub connections: amqp::Config,
    /// `vm_memory_high_watermark`.
    pub memory: Watermark,
    /// `load_definitions`: a file, or a directory of files.
    pub load_definitions: Option<PathBuf>,
    /// `total_memory_available_override_value`, in bytes.
    pub total_memory: Option<u64>,
    /// `disk_free_limit`.
    pub disk: Watermark,
    /// The user of a new data directory.
    pub default_user: String,
    /// Its password.
    pub default_pass: Secret,
    /// The virtual host of a new data directory.
    pub default_vhost: String,
    /// `default_permissions.configure`, `.write` and `.read` of the default user in the default virtual host.
    pub default_permissions: [String; 3],
    /// Tags of the default user.
    pub default_user_tags: Vec<String>,
    /// `default_queue_type`.
    pub default_queue_type: QueueType,
    /// How long a delivery may stay unacknowledged, in milliseconds; `None` forever.
    pub consumer_timeout_ms: Option<u64>,
    /// What is logged, and how.
    pub log: Log,
    /// Where the management API listens.
    pub management: Listener,
    /// Most connections of each port of the management API.
    pub management_connection_max: usize,
    /// Where Prometheus scrapes.
    pub prometheus: Listener,
    /// Where the management API listens with TLS.
    pub management_ssl: HttpsListener,
    /// Where Prometheus scrapes with TLS.
    pub prometheus_ssl: HttpsListener,
}

/// Address and port that are set by two keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address.
    pub ip: IpAddr,
    /// The port.
    pub port: u16,
}

impl Listener {
    /// Both.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }
}

/// An address where HTTPS is spoken, if there is a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsListener {
    /// The address.
    pub ip: IpAddr,
    /// The port.
    pub port: Option<u16>,
    /// Its certificate; where nothing is said, that of `ssl_options`.
    pub own: KeyPair,
}

impl HttpsListener {
    /// Both.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.ip, self.port?))
    }

    /// How TLS is spoken there.
    #[must_use]
    pub fn tls(&self, general: &Tls) -> Tls {
        let own = if self.own == KeyPair::default() { &general.own } else { &self.own };
        Tls {
            own: own.clone(),
            server_names: general.server_names.clone(),
            only_tls13: general.only_tls13,
            ..Tls::default()
        }
    }
}

impl Default for HttpsListener {
    fn default() -> Self {
        Self { ip: Ipv4Addr::UNSPECIFIED.into(), port: None, own: KeyPair::default() }
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
    /// What every client gets that asks for no other name.
    pub own: KeyPair,
    /// What clients get that ask for one of these names (SNI); a name may begin with `*.`.
    pub server_names: BTreeMap<String, KeyPair>,
    /// Clients are asked for a certificate, and one that is not trusted is refused.
    pub verify_peer: bool,
    /// A client without certificate is refused.
    pub fail_if_no_peer_cert: bool,
    /// Only TLS 1.3 is spoken.
    pub only_tls13: bool,
}

/// A certificate of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPair {
    /// PEM file of the certificate and its chain.
    pub certfile: Option<PathBuf>,
    /// PEM file of its key.
    pub keyfile: Option<PathBuf>,
}

/// What is logged, where, and how. Levels are those of `tracing`, or filters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// What is logged where nothing else is said.
    pub level: String,
    /// Nothing is logged to standard error.
    pub off: bool,
    /// What is logged to standard error.
    pub console_level: Option<String>,
    /// One JSON object per line, on standard error.
    pub json: bool,
    /// The log file.
    pub file: Option<PathBuf>,
    /// What is logged to the file.
    pub file_level: Option<String>,
    /// One JSON object per line, in the file.
    pub file_json: bool,
    /// Levels of single parts of the broker, by target.
    pub categories: BTreeMap<&'static str, String>,
    /// Where what administrators change is logged, in place of all else.
    pub audit_file: Option<PathBuf>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            off: false,
            console_level: None,
            json: false,
            file: None,
            file_level: None,
            file_json: false,
            categories: BTreeMap::new(),
            audit_file: None,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: None,
            shards: None,
            cpus: None,
            tcp: vec![SocketAddr::new(any(), 5672)],
            ssl: Vec::new(),
            ws: Vec::new(),
            wss: Vec::new(),
            tls: Tls::default(),
            proxy_protocol: false,
            proxy_sources: loopback(),
            connections: amqp::Config::default(),
            memory: Watermark::Relative(600),
            load_definitions: None,
            total_memory: None,
            disk: Watermark::Absolute(50_000_000),
            default_user: "guest".to_owned(),
            default_pass: "guest".into(),
            default_vhost: "/".to_owned(),
            default_permissions: [".*", ".*", ".*"].map(str::to_owned),
            default_user_tags: vec!["administrator".to_owned()],
            default_queue_type: QueueType::Classic,
            consumer_timeout_ms: Some(1_800_000),
            log: Log::default(),
            management: Listener { ip: Ipv4Addr::LOCALHOST.into(), port: 15672 },
            management_connection_max: 1024,
            prometheus: Listener { ip: Ipv4Addr::UNSPECIFIED.into(), port: 15692 },
            management_ssl: HttpsListener::default(),
            prometheus_ssl: HttpsListener::default(),
        }
    }
}

/// The networks of this machine alone.
fn loopback() -> Vec<IpNet> {
    let v4 = Ipv4Net::new(Ipv4Addr::new(127, 0, 0, 0), 8).map(IpNet::V4);
    let v6 = Ipv6Net::new(Ipv6Addr::LOCALHOST, 128).map(IpNet::V6);
    [v4, v6].into_iter().flatten().collect()
}

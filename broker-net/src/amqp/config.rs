//! What connections offer and enforce.

use broker_core::secret::Secret;

use super::codec::MIN_FRAME_MAX as MIN_FRAME;
use crate::logins::LoginLimit;

/// Smallest `frame_max` that can be negotiated, in bytes (AMQP 0-9-1 section 1.4.2.6; RabbitMQ wants 8192).
pub const MIN_FRAME_MAX: u32 = MIN_FRAME;

/// A SASL mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// User name and password (RFC 4616).
    Plain,
    /// The same as a field table, from AMQP 0-8.
    AmqPlain,
    /// By the client's certificate (RFC 4422, appendix A).
    External,
    /// Nobody in particular (RFC 4505).
    Anonymous,
}

impl Mechanism {
    /// The mechanism of a name, as connection.start offers it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Plain, Self::AmqPlain, Self::External, Self::Anonymous]
            .into_iter()
            .find(|mechanism| mechanism.name() == name)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::AmqPlain => "AMQPLAIN",
            Self::External => "EXTERNAL",
            Self::Anonymous => "ANONYMOUS",
        }
    }
}

/// Which part of a client's certificate is the user's name (RabbitMQ's `ssl_cert_login_from`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CertLogin {
    /// The subject, as RFC 4514 writes it: `CN=...,O=...`.
    #[default]
    DistinguishedName,
    /// The subject's common name.
    CommonName,
    /// One of the alternative names.
    SubjectAlternativeName,
}

/// A kind of alternative name in a certificate (RabbitMQ's `ssl_cert_login_san_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SanType {
    /// A DNS name.
    #[default]
    Dns,
    /// An IP address.
    Ip,
    /// An e-mail address.
    Email,
    /// A URI.
    Uri,
}

/// What connections offer and enforce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Highest channel number and most channels of a connection, 1 to 65535.
    pub channel_max: u16,
    /// Most channels of all connections.
    pub channel_max_per_node: Option<u64>,
    /// Most connections.
    pub connection_max: Option<u64>,
    /// Most consumers of a channel.
    pub consumer_max_per_channel: Option<u64>,
    /// How long a delivery may stay unacknowledged, in milliseconds, unless its queue says otherwise; `None` forever.
    pub consumer_timeout_ms: Option<u64>,
    /// Largest frame in bytes, frame header and end included; at least [`MIN_FRAME_MAX`].
    pub frame_max: u32,
    /// Largest frame before tuning, in bytes. A larger one ends the connection.
    pub initial_frame_max: u32,
    /// Largest body of a message, in bytes.
    pub max_message_size: u64,
    /// Heartbeat interval proposed to clients, in seconds; 0 proposes none. The client decides.
    pub heartbeat_s: u16,
    /// How long a client may take until its connection is open, in milliseconds.
    pub handshake_timeout_ms: u64,
    /// Mechanisms that are offered; `None`: PLAIN and AMQPLAIN, EXTERNAL to clients with a certificate, and ANONYMOUS if there
    /// is a user for it.
    pub mechanisms: Option<Vec<Mechanism>>,
    /// The user that anonymous clients become.
    pub anonymous_user: Option<String>,
    /// That user's password.
    pub anonymous_pass: Secret,
    /// How often an address may fail to log in.
    pub login_limit: LoginLimit,
    /// Most connections of the broker that are not open yet; more wait until they are accepted.
    pub unauthenticated_max: usize,
    /// Users that may connect from loopback addresses only.
    pub loopback_users: Vec<String>,
    /// What a client's certificate says about the user.
    pub cert_login: CertLogin,
    /// Which kind of alternative name, if it is one of those.
    pub san_type: SanType,
    /// Which of these names, from 0.
    pub san_index: usize,
    /// What clients declare, delete, bind and unbind is in the audit log.
    pub audit: bool,
}

impl Default for Config {
    /// RabbitMQ's defaults, except that anonymous clients are not let in.
    fn default() -> Self {
        Self {
            channel_max: 2047,
            channel_max_per_node: None,
            connection_max: None,
            consumer_max_per_channel: None,
            consumer_timeout_ms: Some(1_800_000),
            frame_max: 131_072,
            initial_frame_max: 8192,
            max_message_size: broker_core::limits::MAX_MESSAGE_BYTES,
            heartbeat_s: 60,
            handshake_timeout_ms: 10_000,
            mechanisms: None,
            anonymous_user: None,
            anonymous_pass: "guest".into(),
            login_limit: LoginLimit::default(),
            unauthenticated_max: 1000,
            loopback_users: vec!["guest".to_owned()],
            cert_login: CertLogin::default(),
            san_type: SanType::default(),
            san_index: 0,
            audit: false,
        }
    }
}

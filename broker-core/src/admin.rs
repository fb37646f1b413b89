//! The contract between administrators' tools and the running shards.
//!
//! Another thread holds an [`Admin`] and speaks to the shards by message: it reads listings in slices of bounded size, and sends
//! [`AdminRequest`]s, which one shard carries out by the same ways as what connections ask. A shard never waits for an
//! administrator.

use std::sync::Arc;

use amq_protocol::protocol::basic::AMQPProperties;

use crate::error::AmqpError;
use crate::model::limits::{UserLimit, VhostLimit};
use crate::secret::Secret;
use crate::session::{Command, Settlement};

mod definition;
mod handle;
mod rows;

pub use definition::{Definition, DefinitionKey};
pub use handle::{Admin, SLICE_ROWS};
pub(crate) use handle::{Call, Reply};
pub use rows::{
    ChannelCounters, ChannelInfo, ConnectionAddress, ConnectionInfo, ConnectionState, ConsumerInfo, ExchangeInfo,
    QueueCounters, QueueInfo, SocketCounters,
};

/// What an administrator's tool asks of the broker. Whether the administrator may ask for it is the tool's to check, except
/// where a request names a `user`, whose permissions are checked.
#[derive(Debug)]
pub enum AdminRequest {
    /// Is this the user's password? Whether the user may come from where it is the asker must know. Answer:
    /// [`AdminReply::User`].
    Authenticate {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// Makes or replaces something. Answer: [`AdminReply::Created`] or [`AdminReply::Updated`].
    Put(Definition),
    /// Removes something. [`AdminError::NotFound`] if it is not there. Answer: [`AdminReply::Done`].
    Delete(DefinitionKey),
    /// Sets (or clears, with none) one limit of a virtual host. Answer: [`AdminReply::Done`].
    SetVhostLimit {
        /// The virtual host.
        vhost: String,
        /// Which limit.
        limit: VhostLimit,
        /// None is no limit.
        value: Option<u64>,
    },
    /// Sets (or clears, with none) one limit of a user. Answer: [`AdminReply::Done`].
    SetUserLimit {
        /// The user.
        user: String,
        /// Which limit.
        limit: UserLimit,
        /// None is no limit.
        value: Option<u64>,
    },
    /// An AMQP command on behalf of a user: to declare, bind, unbind, delete and purge. Not to consume and get; nothing
    /// can be exclusive. Answer: [`AdminReply::Done`], or [`AdminReply::Messages`] for declare, delete and purge of queues.
    Command {
        /// The user.
        user: String,
        /// The virtual host.
        vhost: String,
        /// The command.
        command: Command,
    },
    /// Publishes a message on behalf of a user. Answer, when the broker is responsible for it: [`AdminReply::Published`].
    Publish(Box<AdminPublish>),
    /// Takes messages from the head of a queue on behalf of a user. Answer: [`AdminReply::Got`].
    Get(AdminGet),
    /// Closes a connection with 320. Answer: [`AdminReply::Done`].
    CloseConnection {
        /// Which.
        connection: ConnectionAddress,
        /// For the client.
        reason: String,
    },
}

/// A message to be published.
#[derive(Clone, Debug)]
pub struct AdminPublish {
    /// On behalf of whom.
    pub user: String,
    /// The virtual host.
    pub vhost: String,
    /// The exchange.
    pub exchange: String,
    /// The routing key.
    pub routing_key: String,
    /// The properties.
    pub properties: AMQPProperties,
    /// The body.
    pub body: Vec<u8>,
}

/// What to take from a queue, and what becomes of it then.
#[derive(Clone, Debug)]
pub struct AdminGet {
    /// On behalf of whom.
    pub user: String,
    /// The virtual host.
    pub vhost: String,
    /// The queue.
    pub queue: String,
    /// How many messages at the most.
    pub count: u32,
    /// Bodies are cut off after so many bytes.
    pub truncate: Option<usize>,
    /// What becomes of the messages.
    pub settlement: Settlement,
}

/// A message taken from a queue.
#[derive(Clone, Debug)]
pub struct GotMessage {
    /// Where it was published.
    pub exchange: String,
    /// With which key.
    pub routing_key: String,
    /// It was delivered before.
    pub redelivered: bool,
    /// Ready messages that it left behind.
    pub message_count: u32,
    /// Its properties.
    pub properties: AMQPProperties,
    /// Length of its body, in bytes.
    pub body_bytes: usize,
    /// Its body, or the beginning of it.
    pub body: Vec<u8>,
}

/// The answer to an [`AdminRequest`].
#[derive(Clone, Debug)]
pub enum AdminReply {
    /// It is so now.
    Done,
    /// It was not there and is now.
    Created,
    /// It was there and is what was asked now.
    Updated,
    /// Who logged in.
    User {
        /// The user's name.
        name: Arc<str>,
        /// The user's tags.
        tags: Vec<String>,
    },
    /// Messages of the queue, or that went with it.
    Messages(u32),
    /// What became of a message.
    Published {
        /// It reached a queue.
        routed: bool,
    },
    /// Messages of a queue.
    Got(Vec<GotMessage>),
}

/// Why an [`AdminRequest`] was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// The definition is not acceptable; RabbitMQ's text.
    #[error("{0}")]
    BadRequest(String),
    /// What was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The user name or the password is wrong.
    #[error("not authorised")]
    NotAuthorised,
    /// A rule of AMQP forbids it.
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    /// The broker stops, or its catalog has failed.
    #[error("{0}")]
    Unavailable(String),
}

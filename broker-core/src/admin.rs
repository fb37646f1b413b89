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
    ChannelCounters, ChannelInfo, ConnectionAddress, ConnectionInfo, ConnectionState, ConsumerInfo, ExchangeCount,
    ExchangeCounters, ExchangeInfo, MessageBytes, QueueCounters, QueueInfo, QueueName, QueueSample,
    SocketCounters,
};

/// The user of an [`AdminRequest`] that the broker makes by itself, to whom everything is permitted: no user has this name.
pub const BROKER: &str = "";

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
    /// Has a queue deliver nothing to consumers, or (false) go on. Kept over restarts if the queue is. Streams cannot be paused.
    /// Answer: [`AdminReply::Done`].
    SetPaused {
        /// On behalf of whom: the user must be permitted to configure the queue.
        user: String,
        /// The virtual host.
        vhost: String,
        /// The queue.
        queue: String,
        /// Whether it is to deliver nothing.
        paused: bool,
    },
    /// An AMQP command on behalf of a user: to declare, bind, unbind, delete and purge. Not to consume and get; nothing
    /// can be exclusive. Answer: [`AdminReply::Done`], or [`AdminReply::Messages`] for declare, delete and purge of queues.
    Command {
        /// The user, or [`BROKER`].
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
    /// Moves ready messages of a queue to others, a slice at a time. Answer, when they are there: [`AdminReply::Moved`].
    Move(Box<AdminMove>),
    /// Messages that an exchange holds back. Answer: [`AdminReply::Delayed`].
    ListDelayed(ListDelayed),
    /// Has an exchange forget messages that it holds back. Answer, when no crash brings them back: [`AdminReply::Cancelled`].
    CancelDelayed(CancelDelayed),
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

/// Which messages are to be moved, and where.
#[derive(Clone, Debug)]
pub struct AdminMove {
    /// On behalf of whom: the user must be permitted to read the queue and to write to where the messages go.
    pub user: String,
    /// The virtual host.
    pub vhost: String,
    /// The queue whose messages are moved, from its head on.
    pub queue: String,
    /// Where they go.
    pub to: MoveTo,
    /// How many at the most; never more than are ready when the move begins.
    pub count: Option<u64>,
}

/// Where messages are moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MoveTo {
    /// To a queue, through the default exchange.
    Queue(String),
    /// To an exchange.
    Exchange {
        /// The exchange.
        exchange: String,
        /// The routing key; none leaves each message its own.
        routing_key: Option<String>,
    },
    /// Each to the queue in which it died first. What never died stays.
    FirstDeathQueue,
    /// Each to the exchange that it had been published to when it died first, with its key. What never died stays.
    FirstDeathExchange,
}

/// Which messages that an exchange holds back are to be listed.
#[derive(Clone, Debug)]
pub struct ListDelayed {
    /// On behalf of whom: the user must be permitted to read from the exchange.
    pub user: String,
    /// The virtual host.
    pub vhost: String,
    /// The exchange.
    pub exchange: String,
    /// Where the page before ended: its [`DelayedPage::next`].
    pub after: Option<String>,
    /// How many at the most; no more than [`MAX_DELAYED_PAGE`].
    pub count: usize,
}

/// Messages on one page of those that an exchange holds back.
pub const MAX_DELAYED_PAGE: usize = 500;

/// Which messages an exchange is to forget.
#[derive(Clone, Debug)]
pub struct CancelDelayed {
    /// On behalf of whom: the user must be permitted to configure the exchange.
    pub user: String,
    /// The virtual host.
    pub vhost: String,
    /// The exchange.
    pub exchange: String,
    /// One message, by its [`DelayedMessage::id`]; none are all.
    pub id: Option<String>,
}

/// Some of the messages that an exchange holds back. What is due soon comes by the time at which it is due; what is far away by spans of time,
/// in each in the order in which it was published.
#[derive(Clone, Debug, Default)]
pub struct DelayedPage {
    /// How many the exchange holds back in all.
    pub total: u64,
    /// Some of them.
    pub messages: Vec<DelayedMessage>,
    /// Where the next page begins; nothing after the last.
    pub next: Option<String>,
}

/// A message that an exchange holds back.
#[derive(Clone, Debug)]
pub struct DelayedMessage {
    /// Names it at its exchange.
    pub id: String,
    /// When it is due, in milliseconds since the Unix epoch.
    pub due_ms: u64,
    /// When it was published, in milliseconds since the Unix epoch.
    pub published_ms: u64,
    /// Where it was published.
    pub exchange: String,
    /// With which key.
    pub routing_key: String,
    /// It survives a restart.
    pub persistent: bool,
    /// Its properties.
    pub properties: AMQPProperties,
    /// Length of its body, in bytes.
    pub body_bytes: usize,
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
    /// How a move ended.
    Moved {
        /// Messages that are in their new queues.
        moved: u64,
        /// Messages that are ready in the old one.
        left: u64,
        /// Why it did not move all that it was to.
        reason: Option<String>,
    },
    /// Messages that are held back.
    Delayed(DelayedPage),
    /// So many messages will never come out of their exchange.
    Cancelled(u64),
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

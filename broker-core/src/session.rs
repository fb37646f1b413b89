//! The contract between a shard and the connections whose sockets are on it.
//!
//! A connection calls the methods of [`Shard`](crate::shard::Shard); the shard answers through a
//! [`Sessions`], which is handed into every call. Both live on one thread, so an answer may come before the
//! call returns (the queue is on this shard) or later (it is on another). Order is kept: what one channel
//! asks of one queue is done in the order asked, and answers to one connection come in the order in which
//! the work was done, not in the order in which it was asked; the connection puts replies back in order.

use std::sync::Arc;

use amq_protocol::types::FieldTable;

use crate::admin::{ChannelInfo, ConnectionInfo};
use crate::error::AmqpError;
use crate::ids::{
    ChannelKey, ConnectionKey, ConsumerId, ConsumerRef, DeliveryToken, QueueRef, RequestId, ShardId,
};
use crate::model::message::Message;
use crate::shard::stats::ShardStats;

/// Who asks: a channel of an authenticated connection.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The connection; owner of the exclusive queues it declares.
    pub connection: ConnectionKey,
    /// The channel.
    pub channel: ChannelKey,
    /// Name of the authenticated user.
    pub user: &'a Arc<str>,
    /// The virtual host that the connection opened.
    pub vhost: &'a Arc<str>,
}

/// A method that changes or asks for something and gets one [`Reply`]. Names never are empty: the channel
/// has replaced an empty queue name by the last declared one, or by a generated one in a declare.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are those of the AMQP methods")]
pub enum Command {
    ExchangeDeclare {
        exchange: String,
        kind: String,
        passive: bool,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        arguments: FieldTable,
    },
    ExchangeDelete {
        exchange: String,
        if_unused: bool,
    },
    ExchangeBind {
        destination: String,
        source: String,
        routing_key: String,
        arguments: FieldTable,
    },
    ExchangeUnbind {
        destination: String,
        source: String,
        routing_key: String,
        arguments: FieldTable,
    },
    QueueDeclare {
        queue: String,
        /// The server made the name up: it may start with `amq.`.
        generated: bool,
        passive: bool,
        durable: bool,
        exclusive: bool,
        auto_delete: bool,
        arguments: FieldTable,
    },
    QueueBind {
        queue: String,
        exchange: String,
        routing_key: String,
        arguments: FieldTable,
    },
    QueueUnbind {
        queue: String,
        exchange: String,
        routing_key: String,
        arguments: FieldTable,
    },
    QueuePurge {
        queue: String,
    },
    QueueDelete {
        queue: String,
        if_unused: bool,
        if_empty: bool,
    },
    BasicConsume {
        queue: String,
        consumer: ConsumerId,
        consumer_tag: String,
        no_ack: bool,
        exclusive: bool,
        /// Unacknowledged messages that this consumer may hold; 0 is no limit.
        prefetch_count: u16,
        /// The channel has a limit of its own too, which not every queue type supports: messages that it has room for now.
        room: Option<u32>,
        arguments: FieldTable,
    },
    BasicCancel {
        consumer: ConsumerRef,
    },
    BasicGet {
        queue: String,
        no_ack: bool,
    },
}

impl Command {
    /// True for the commands that may be submitted while earlier ones of the same connection still wait for
    /// their replies (pipelining): they pass through one place, the registrar, in the order submitted. The
    /// connection holds everything else back until no reply is outstanding.
    #[must_use]
    pub fn is_topology_change(&self) -> bool {
        match self {
            Self::ExchangeDeclare { passive, .. } | Self::QueueDeclare { passive, .. } => !passive,
            Self::ExchangeDelete { .. }
            | Self::ExchangeBind { .. }
            | Self::ExchangeUnbind { .. }
            | Self::QueueBind { .. }
            | Self::QueueUnbind { .. } => true,
            _ => false,
        }
    }
}

/// A client's command that has changed what exists, as those are told who keep a record of changes.
#[derive(Clone, Debug, PartialEq)]
pub struct TopologyChange {
    /// The user, where the registrar knows it.
    pub user: Option<Arc<str>>,
    /// The virtual host.
    pub vhost: Arc<str>,
    /// What was asked for. Of a queue's deletion the conditions are not told: they held.
    pub command: Command,
}

/// The answer to a [`Command`].
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are those of the AMQP methods")]
pub enum Reply<'a> {
    ExchangeDeclareOk,
    ExchangeDeleteOk,
    ExchangeBindOk,
    ExchangeUnbindOk,
    QueueDeclareOk {
        queue: &'a str,
        message_count: u32,
        consumer_count: u32,
    },
    QueueBindOk,
    QueueUnbindOk,
    QueuePurgeOk {
        message_count: u32,
    },
    QueueDeleteOk {
        message_count: u32,
    },
    /// Comes before the consumer's first delivery.
    BasicConsumeOk {
        consumer: ConsumerRef,
        /// How long the consumer may hold a message, in milliseconds, if the queue says so.
        timeout_ms: Option<u64>,
    },
    BasicCancelOk,
    BasicGetOk {
        queue: QueueRef,
        /// Absent when the get was `no_ack`.
        token: Option<DeliveryToken>,
        redelivered: bool,
        /// Ready messages left behind.
        message_count: u32,
        message: Message<'a>,
    },
    BasicGetEmpty,
    /// To [`Shard::ask_done`](crate::shard::Shard::ask_done).
    Done,
    Failed(AmqpError),
}

/// One message on its way to a consumer.
#[derive(Debug)]
pub struct Delivery<'a> {
    /// The consumer's channel. The delivery is to be ignored if that channel is gone.
    pub channel: ChannelKey,
    /// The consumer on that channel.
    pub consumer: ConsumerId,
    /// Where to settle it and to return the window.
    pub queue: QueueRef,
    /// Absent for a `no_ack` consumer: there is nothing to settle.
    pub token: Option<DeliveryToken>,
    /// It was delivered before.
    pub redelivered: bool,
    /// The message, borrowed for the call.
    pub message: Message<'a>,
}

impl Delivery<'_> {
    /// What the delivery takes of its consumer's window, in bytes; see [`limits::CONSUMER_WINDOW_BYTES`].
    ///
    /// [`limits::CONSUMER_WINDOW_BYTES`]: crate::limits::CONSUMER_WINDOW_BYTES
    #[must_use]
    pub fn window_bytes(&self) -> u32 {
        self.message.window_bytes()
    }
}

/// What a shard tells the connections on it. Implemented by `broker-net`.
pub trait Sessions {
    /// A message for a consumer.
    fn deliver(&mut self, delivery: Delivery<'_>);

    /// A message for the replies that the channel consumes under the message's routing key (direct reply-to). False if it does
    /// not, or not any more: the reply is lost then.
    fn deliver_reply(&mut self, channel: ChannelKey, message: Message<'_>) -> bool;

    /// True if the channel consumes replies under this name.
    fn consumes_replies(&self, channel: ChannelKey, reply_name: &str) -> bool;

    /// One of the parts counted in [`Published::pending_confirms`] is done for every sequence number from
    /// `first` to `last` of the channel. A sequence number is acked when all its parts are accepted, and
    /// nacked when all are done and any was refused.
    fn confirm(&mut self, channel: ChannelKey, first: u64, last: u64, accepted: bool);

    /// The reply to the [`Command`] that was submitted with `request`.
    fn reply(&mut self, connection: ConnectionKey, request: RequestId, reply: Reply<'_>);

    /// True if [`Self::changed`] is to be called.
    fn records_changes(&self) -> bool {
        false
    }

    /// A command of the connection, which may be gone, has changed what exists; it holds everywhere now.
    fn changed(&mut self, _connection: ConnectionKey, _change: &TopologyChange) {}

    /// The queue of the consumer is gone (consumer cancel notification, a RabbitMQ extension).
    fn consumer_cancelled(&mut self, channel: ChannelKey, consumer: ConsumerId);

    /// Publishers are to be blocked for this reason, or may go on (`connection.blocked`/`unblocked`).
    fn blocked(&mut self, reason: Option<&'static str>);

    /// True if connections have something to write or to do since they were last asked. The driver then wakes who asks them.
    fn has_output(&self) -> bool;

    /// Time has come to `now_us`, in microseconds since the Unix epoch. Told whenever somebody enters the shard.
    fn set_now_us(&mut self, _now_us: u64) {}

    /// Adds the numbers that connections count by themselves.
    fn add_stats(&self, _stats: &mut ShardStats) {}

    /// Connections of `shard` from a place in the table on, `limit` at the most, and the place after them if there are more.
    fn list_connections(&self, shard: ShardId, from: usize, limit: usize) -> (Vec<ConnectionInfo>, Option<usize>);

    /// Channels, like [`Self::list_connections`].
    fn list_channels(&self, shard: ShardId, from: usize, limit: usize) -> (Vec<ChannelInfo>, Option<usize>);

    /// As [`Self::close_connection`], for the open connections whose user and virtual host `concerned` names.
    fn close_connections(&mut self, concerned: &dyn Fn(&str, &str) -> bool, error: &crate::error::ConnectionError);

    /// The connection is to be closed with `connection.close`.
    fn close_connection(&mut self, connection: ConnectionKey, error: crate::error::ConnectionError);
}

/// A message as the publisher sent it.
#[derive(Clone, Copy, Debug)]
pub struct Publish<'a> {
    /// What is stored and delivered.
    pub message: Message<'a>,
    /// The delivery is to be returned if it reaches no queue. The caller does that; the shard uses it only
    /// for its counters.
    pub mandatory: bool,
    /// The channel's confirm sequence number, if it is in confirm mode (or in a transaction that waits).
    pub confirm: Option<u64>,
}

/// What became of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// It reached at least one queue.
    pub routed: bool,
    /// How many times [`Sessions::confirm`] will be called with this sequence number; 0 when everything
    /// has been accepted already.
    pub pending_confirms: u32,
    /// A queue refused it at once: to be nacked.
    pub refused: bool,
}

/// What to do with unacknowledged messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Done: `basic.ack`.
    Ack,
    /// Back to its place in the queue: `basic.nack` with requeue, `basic.recover`.
    Requeue,
    /// The same after a failure, which counts as one: `basic.reject` with requeue.
    RequeueFailed,
    /// Dropped or dead-lettered: `basic.nack`/`basic.reject` without requeue.
    Reject,
}

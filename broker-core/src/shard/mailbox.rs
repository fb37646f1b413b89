//! What one shard has to tell another: operations in order, and the bytes they refer to.
//!
//! A [`Batch`] collects during a turn of the loop and is sent as one item, so the cost of a wake-up is shared by
//! everything in it. Messages are copied once into the batch's byte buffer, in their stored form.

use std::sync::Arc;

use amq_protocol::types::FieldTable;
use broker_store::QueueId;

use super::partition::GroupSize;
use super::registrar::{ClientCommand, Round, TopologyRequest};
use super::reply_to::FindReply;
use super::topology::Change;
use crate::error::AmqpError;
use crate::ids::{ChannelKey, ConnectionKey, ConsumerId, ConsumerRef, DeliveryToken, PartitionId, RequestId};
use crate::model::message::{Message, Traits};
use crate::session::{Settlement, TopologyChange};

/// A range of one of the batch's vectors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    start: usize,
    end: usize,
}

/// One thing to do on the receiving shard. Keys name channels and connections of the shard that has the socket:
/// the sender in what goes to a queue, the receiver in what comes from one.
#[derive(Debug)]
pub(super) enum Op {
    /// For queues of the receiver, all of one partition.
    Publish {
        queues: Span,
        message: Span,
        traits: Traits,
        confirm: Option<(ChannelKey, u64)>,
    },
    /// What follows until `EndGroup`, in the same batch, is a transaction.
    BeginGroup {
        partition: PartitionId,
        size: GroupSize,
    },
    EndGroup {
        partition: PartitionId,
    },
    Settle {
        channel: ChannelKey,
        queue: QueueId,
        tokens: Span,
        settlement: Settlement,
    },
    AddRoom {
        channel: ChannelKey,
        consumer: ConsumerRef,
        more: i64,
    },
    ReturnWindow {
        channel: ChannelKey,
        consumer: ConsumerRef,
        bytes: u32,
    },
    CloseChannel {
        channel: ChannelKey,
    },
    /// To be answered: all before it is done then.
    AskDone {
        connection: ConnectionKey,
        request: RequestId,
    },
    Ask(Box<Ask>),
    /// For a consumer of the receiver.
    Deliver {
        channel: ChannelKey,
        consumer: ConsumerId,
        queue: QueueId,
        token: Option<DeliveryToken>,
        redelivered: bool,
        message: Span,
    },
    /// Published to the reply name of a channel of the receiver (direct reply-to).
    Reply {
        channel: ChannelKey,
        message: Span,
    },
    FindReply(Box<FindReply>),
    Confirm {
        channel: ChannelKey,
        first: u64,
        last: u64,
        accepted: bool,
    },
    ConsumerCancelled {
        channel: ChannelKey,
        consumer: ConsumerId,
    },
    Answer {
        connection: ConnectionKey,
        request: RequestId,
        answer: Box<Answer>,
    },
    Got {
        connection: ConnectionKey,
        request: RequestId,
        queue: QueueId,
        token: Option<DeliveryToken>,
        redelivered: bool,
        message_count: u32,
        message: Span,
    },
    /// To the registrar.
    Request(Box<TopologyRequest>),
    /// The sender has applied this round of changes.
    Applied(Round),
    /// The disk of one of the sender's partitions is full, or is no more: publishers everywhere are concerned.
    DiskFull(bool),
    /// From the registrar: to be applied in this order.
    Apply {
        round: Round,
        changes: Arc<[Change]>,
    },
}

/// Who waits for an answer: a request of a connection on a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReplyTo {
    /// The shard of the connection.
    pub shard: crate::ids::ShardId,
    /// The connection.
    pub connection: ConnectionKey,
    /// Its request.
    pub request: RequestId,
}

/// Something asked of a queue by a channel.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    /// Whom to answer.
    pub reply_to: ReplyTo,
    /// The channel that asks.
    pub channel: ChannelKey,
    /// The queue.
    pub queue: QueueId,
    /// Its virtual host, for error texts.
    pub vhost: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// What is asked.
    pub question: Question,
}

/// What can be asked of a queue.
#[derive(Clone, Debug)]
pub(super) enum Question {
    /// The counts for `queue.declare-ok`.
    Counts {
        /// The declare, if it is not passive: should the queue be gone, it is to be made anew.
        declare: Option<Box<ClientCommand>>,
    },
    Consume {
        consumer: ConsumerId,
        consumer_tag: Arc<str>,
        no_ack: bool,
        exclusive: bool,
        prefetch_count: u16,
        room: Option<u32>,
        arguments: Option<Arc<FieldTable>>,
    },
    Cancel {
        consumer: ConsumerRef,
    },
    Get {
        no_ack: bool,
    },
    Purge,
    Delete {
        if_unused: bool,
        if_empty: bool,
    },
}

/// An answer that needs no message.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    ExchangeDeclareOk,
    ExchangeDeleteOk,
    ExchangeBindOk,
    ExchangeUnbindOk,
    QueueDeclareOk {
        queue: Arc<str>,
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
    BasicConsumeOk {
        consumer: ConsumerRef,
        timeout_ms: Option<u64>,
    },
    BasicCancelOk,
    BasicGetEmpty,
    Failed(AmqpError),
    /// All that was told before is done.
    Done,
    /// A change of an administrator is so everywhere.
    Applied,
    /// What a client's command has changed; the answer to it follows.
    Changed(Box<TopologyChange>),
}

/// Operations for one shard, in order.
#[derive(Debug, Default)]
pub(super) struct Batch {
    ops: Vec<Op>,
    bytes: Vec<u8>,
    queues: Vec<QueueId>,
    tokens: Vec<DeliveryToken>,
}

impl Batch {
    /// True if there is nothing to send.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Bytes of messages in the batch.
    #[must_use]
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Adds an operation without message, queues or tokens.
    pub(super) fn push(&mut self, op: Op) {
        self.ops.push(op);
    }

    /// Copies a message in.
    pub(super) fn message(&mut self, message: Message<'_>) -> Span {
        let start = self.bytes.len();
        self.bytes.reserve(message.stored_len());
        for part in message.parts(&message.lengths()) {
            self.bytes.extend_from_slice(part);
        }
        Span { start, end: self.bytes.len() }
    }

    /// Copies queue ids in.
    pub(super) fn queues(&mut self, queues: impl Iterator<Item = QueueId>) -> Span {
        let start = self.queues.len();
        self.queues.extend(queues);
        Span { start, end: self.queues.len() }
    }

    /// Copies tokens in.
    pub(super) fn tokens(&mut self, tokens: &[DeliveryToken]) -> Span {
        let start = self.tokens.len();
        self.tokens.extend_from_slice(tokens);
        Span { start, end: self.tokens.len() }
    }

    /// Takes the operations out, to be carried out in order; what they refer to stays.
    pub(super) fn take_ops(&mut self) -> Vec<Op> {
        std::mem::take(&mut self.ops)
    }

    /// The message at a span of this batch.
    #[must_use]
    pub(super) fn message_at(&self, span: Span) -> Message<'_> {
        Message::from_stored(&self.bytes[span.start..span.end]).expect("a batch holds what message() wrote")
    }

    /// The queues at a span of this batch.
    #[must_use]
    pub(super) fn queues_at(&self, span: Span) -> &[QueueId] {
        &self.queues[span.start..span.end]
    }

    /// The tokens at a span of this batch.
    #[must_use]
    pub(super) fn tokens_at(&self, span: Span) -> &[DeliveryToken] {
        &self.tokens[span.start..span.end]
    }
}

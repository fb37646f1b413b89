//! Requests of a connection that wait for the shard, and their replies in the order asked.

use amq_protocol::protocol::{AMQPClass, basic, connection, exchange, queue, tx};
use broker_core::error::AmqpError;
use broker_core::ids::{ChannelKey, ConsumerId, RequestId};
use broker_core::session::Reply;

use super::channel::ChannelOutput;
use crate::amqp::codec::{ChannelId, MethodId, reply_text, write_get_ok, write_method};

/// A request that waits for its reply.
#[derive(Debug)]
pub(crate) struct Request {
    /// The method that asked, named in the exception if it fails.
    pub(crate) method: MethodId,
    pub(crate) channel: ChannelKey,
    pub(crate) number: ChannelId,
    /// The client wants no reply; an exception is sent all the same.
    pub(crate) nowait: bool,
    pub(crate) kind: RequestKind,
    /// What came before it was this request's turn.
    pub(crate) outcome: Option<Outcome>,
}

impl Request {
    /// Waits for another shard and tells the client nothing.
    pub(crate) fn silent() -> Self {
        Self {
            method: MethodId::default(),
            channel: NO_CHANNEL,
            number: ChannelId(0),
            nowait: true,
            kind: RequestKind::Plain,
            outcome: None,
        }
    }

    /// No request: a method of the broker that goes out when all that was asked before has been answered.
    pub(crate) fn told_in_turn(channel: ChannelKey, number: ChannelId, method: &AMQPClass) -> Self {
        let mut frames = Vec::new();
        write_method(&mut frames, number, method);
        Self { channel, number, outcome: Some(Outcome::Frames(frames)), ..Self::silent() }
    }
}

/// What a request is, where the reply alone does not say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestKind {
    /// The reply says all.
    Plain,
    Consume(ConsumerId),
    Cancel {
        consumer: ConsumerId,
        consumer_tag: String,
    },
    /// `connection.close` until the exclusive queues are gone.
    Close,
}

/// How a request ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Frames to be written, perhaps none.
    Frames(Vec<u8>),
    Failed(AmqpError),
}

/// The requests of one connection, oldest first. Their ids are consecutive.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pub(crate) waiting: std::collections::VecDeque<Request>,
    first: u32,
}

impl Requests {
    pub(crate) fn push(&mut self, request: Request) -> RequestId {
        let offset = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        self.waiting.push_back(request);
        RequestId(self.first.wrapping_add(offset))
    }

    /// The request and whether it is its turn; `None` if it is not waited for any more.
    pub(crate) fn get_mut(&mut self, id: RequestId) -> Option<(&mut Request, bool)> {
        let index = id.0.wrapping_sub(self.first) as usize;
        self.waiting.get_mut(index).map(|request| (request, index == 0))
    }

    pub(crate) fn pop(&mut self) -> Option<Request> {
        let request = self.waiting.pop_front()?;
        self.first = self.first.wrapping_add(1);
        if self.waiting.is_empty() {
            self.waiting.shrink_to(8);
        }
        Some(request)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}

/// Writes the frames of a reply. `channel` is gone if the client was not waiting for it any more.
pub(crate) fn write_reply(
    out: &mut Vec<u8>,
    request: &Request,
    reply: &Reply<'_>,
    channel: Option<&mut ChannelOutput>,
    frame_max: u32,
) {
    let Some(channel) = channel else {
        if request.kind == RequestKind::Close {
            write_method(out, ChannelId(0), &close_ok());
        }
        return;
    };
    let number = request.number;
    let method = match (reply, &request.kind) {
        (Reply::BasicGetOk { queue, token, redelivered, message_count, message }, _) => {
            let tag = channel.fetched(*queue, *token, *redelivered);
            write_get_ok(out, number, tag, *redelivered, *message_count, message, frame_max);
            return;
        }
        (Reply::BasicGetEmpty, _) => {
            channel.deliveries.get_empty += 1;
            AMQPClass::Basic(basic::AMQPMethod::GetEmpty(basic::GetEmpty {}))
        }
        (Reply::BasicConsumeOk { consumer: at, timeout_ms }, RequestKind::Consume(id)) => {
            let Some(consumer) = channel.consumer_mut(*id) else {
                return;
            };
            consumer.at = Some(*at);
            consumer.timeout_ms = *timeout_ms;
            let consumer_tag = reply_text(consumer.prefix.consumer_tag());
            AMQPClass::Basic(basic::AMQPMethod::ConsumeOk(basic::ConsumeOk { consumer_tag }))
        }
        (Reply::BasicCancelOk, RequestKind::Cancel { consumer, consumer_tag }) => {
            channel.remove_consumer(*consumer);
            let consumer_tag = reply_text(consumer_tag);
            AMQPClass::Basic(basic::AMQPMethod::CancelOk(basic::CancelOk { consumer_tag }))
        }
        _ => match definition_reply(reply) {
            Some(method) => method,
            None => return,
        },
    };
    if !request.nowait {
        write_method(out, number, &method);
    }
}

/// The replies that concern nothing but names and counts.
fn definition_reply(reply: &Reply<'_>) -> Option<AMQPClass> {
    Some(match reply {
        Reply::ExchangeDeclareOk => AMQPClass::Exchange(exchange::AMQPMethod::DeclareOk(exchange::DeclareOk {})),
        Reply::ExchangeDeleteOk => AMQPClass::Exchange(exchange::AMQPMethod::DeleteOk(exchange::DeleteOk {})),
        Reply::ExchangeBindOk => AMQPClass::Exchange(exchange::AMQPMethod::BindOk(exchange::BindOk {})),
        Reply::ExchangeUnbindOk => AMQPClass::Exchange(exchange::AMQPMethod::UnbindOk(exchange::UnbindOk {})),
        Reply::QueueDeclareOk { queue, message_count, consumer_count } => {
            AMQPClass::Queue(queue::AMQPMethod::DeclareOk(queue::DeclareOk {
                queue: reply_text(queue),
                message_count: *message_count,
                consumer_count: *consumer_count,
            }))
        }
        Reply::QueueBindOk => AMQPClass::Queue(queue::AMQPMethod::BindOk(queue::BindOk {})),
        Reply::QueueUnbindOk => AMQPClass::Queue(queue::AMQPMethod::UnbindOk(queue::UnbindOk {})),
        Reply::QueuePurgeOk { message_count } => {
            AMQPClass::Queue(queue::AMQPMethod::PurgeOk(queue::PurgeOk { message_count: *message_count }))
        }
        Reply::QueueDeleteOk { message_count } => {
            AMQPClass::Queue(queue::AMQPMethod::DeleteOk(queue::DeleteOk { message_count: *message_count }))
        }
        _ => return None,
    })
}

/// `connection.close-ok`.
pub(crate) fn close_ok() -> AMQPClass {
    AMQPClass::Connection(connection::AMQPMethod::CloseOk(connection::CloseOk {}))
}

/// `tx.commit-ok`.
pub(crate) fn commit_ok() -> AMQPClass {
    AMQPClass::Tx(tx::AMQPMethod::CommitOk(tx::CommitOk {}))
}

/// The channel of requests that belong to no channel: no channel has this key.
pub(crate) const NO_CHANNEL: ChannelKey = ChannelKey { slot: u32::MAX, epoch: u32::MAX };

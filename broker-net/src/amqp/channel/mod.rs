//! The input half of a channel: takes its frames, keeps what the next ones refer to, and asks the shard.
//!
//! What deliveries and confirms need is in the output half ([`ChannelOutput`]).
//!
//! [`ChannelOutput`]: super::outputs::channel::ChannelOutput

pub(crate) mod confirm;
mod consumer;
mod content;
mod exchange;
mod publish;
mod queue;
mod settle;
mod tx;
pub(crate) mod unacked;

use std::rc::Rc;
use std::sync::Arc;

use amq_protocol::protocol::{AMQPClass, access, channel};
use broker_core::error::{AmqpError, ChannelCode, ChannelError, ConnectionCode};
use broker_core::ids::{ChannelKey, ConnectionKey};
use broker_core::session::{Caller, Command};
use broker_core::shard::{Publisher, Shard};

use self::content::Content;
use self::tx::Transaction;
use super::codec::{ChannelId, Frame, FrameKind, Method, MethodId};
use super::outputs::Outputs;
use super::outputs::channel::PublishCounts;
use super::outputs::reply::{NO_CHANNEL, Request, RequestKind};

const CHANNEL_CLOSE: MethodId = MethodId::new(20, 40);

/// What the connection of a channel is, once it is open.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) connection: ConnectionKey,
    pub(crate) user: Arc<str>,
    pub(crate) vhost: Arc<str>,
    /// Bytes of the largest frame, as negotiated.
    pub(crate) frame_max: u32,
    /// Largest body of a message, in bytes.
    pub(crate) max_message_size: u64,
    /// Most consumers of a channel.
    pub(crate) consumer_max: Option<u64>,
}

/// What a channel works with while it handles a frame.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) shard: &'a mut Shard,
    pub(crate) outputs: &'a mut Outputs,
    pub(crate) session: &'a Session,
    /// Replies to earlier commands of the connection are outstanding.
    pub(crate) waiting: bool,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// It is done. The next frame may be handled.
    Done,
    /// It is done, and so are as many bytes of the frames behind it.
    DoneWith(usize),
    /// Nothing happened: the frame has to be handled again later.
    Stall,
    /// The channel was closed by the client: its number is free.
    Closed,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) key: ChannelKey,
    number: ChannelId,
    /// `channel.close` was sent: everything is discarded until close-ok.
    closing: bool,
    mode: Mode,
    publisher: Publisher,
    /// The publish whose content is being received, in pieces that did not come at once.
    content: Option<Box<Content>>,
    /// The queue that an empty name stands for; empty if none was declared on the channel.
    last_queue: String,
    /// For consumers created from now on.
    prefetch_count: u16,
    last_consumer: u32,
    has_published: bool,
    publishes: Rc<PublishCounts>,
}

#[derive(Debug)]
enum Mode {
    Plain,
    /// After `confirm.select`.
    Confirm {
        next_sequence: u64,
    },
    /// After `tx.select`.
    Transaction(Box<Transaction>),
}

impl Channel {
    pub(crate) fn new(key: ChannelKey, number: ChannelId, publishes: Rc<PublishCounts>) -> Self {
        Self {
            key,
            number,
            closing: false,
            mode: Mode::Plain,
            publisher: Publisher::default(),
            content: None,
            last_queue: String::new(),
            prefetch_count: 0,
            last_consumer: 0,
            has_published: false,
            publishes,
        }
    }

    /// `channel.close` was sent to the client.
    pub(crate) fn set_closing(&mut self) {
        self.closing = true;
        self.content = None;
        self.mode = Mode::Plain;
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }

    pub(crate) fn has_published(&self) -> bool {
        self.has_published
    }

    /// Counts the end of the channel.
    pub(crate) fn count_closed(&self, shard: &mut Shard) {
        let stats = shard.stats_mut();
        stats.channels -= 1;
        stats.channels_closed += 1;
        stats.publishers -= u64::from(self.has_published);
    }

    /// Handles a frame of the channel; `behind` is what was received after it.
    #[inline]
    pub(crate) fn handle_frame(
        &mut self,
        turn: &mut Turn<'_>,
        frame: &Frame<'_>,
        behind: &[u8],
    ) -> Result<Flow, Failure> {
        if self.closing {
            return Ok(self.handle_while_closing(turn, frame));
        }
        match frame.kind {
            FrameKind::Method => {
                if let Some(text) = self.content.as_ref().and_then(|content| content.expected()) {
                    return Err(publish::failure(ConnectionCode::UnexpectedFrame.error(text).into()));
                }
                let method = Method::parse(frame.payload).map_err(|error| {
                    let id = MethodId::of(frame.payload).unwrap_or_default();
                    Failure { method: id, error: error.to_connection_error().into() }
                })?;
                let id = method.id();
                if turn.waiting && id != CHANNEL_CLOSE && turn.outputs.is_committing(self.key) {
                    let text = "unexpected command while processing 'tx.commit'";
                    return Err(Failure { method: id, error: ConnectionCode::ChannelError.error(text).into() });
                }
                self.handle_method(turn, method, frame.payload, behind)
                    .map_err(|error| Failure { method: id, error })
            }
            FrameKind::Header | FrameKind::Body
                if self.content.as_ref().is_none_or(|c| c.expected().is_none()) =>
            {
                Err(publish::unexpected(None).into())
            }
            FrameKind::Header => self.handle_header(turn, frame.payload).map_err(publish::failure),
            FrameKind::Body => self.handle_body(turn, frame.payload).map_err(publish::failure),
            FrameKind::Heartbeat => Err(super::codec::unexpected_frame(frame).to_connection_error().into()),
        }
    }

    #[inline]
    fn handle_method(
        &mut self,
        turn: &mut Turn<'_>,
        method: Method<'_>,
        payload: &[u8],
        behind: &[u8],
    ) -> Result<Flow, AmqpError> {
        use broker_core::session::Settlement::{Ack, Reject, Requeue, RequeueFailed};
        let nacked = |requeue: bool| if requeue { Requeue } else { Reject };
        let rejected = |requeue: bool| if requeue { RequeueFailed } else { Reject };
        match method {
            Method::Other(class) => self.handle_other(turn, class, payload),
            _ if turn.waiting => Ok(Flow::Stall),
            Method::Publish(publish) => self.handle_publish(turn, &publish, behind),
            Method::Ack(ack) => self.settle(turn, ack.delivery_tag, ack.multiple, Ack),
            Method::Nack(nack) => self.settle(turn, nack.delivery_tag, nack.multiple, nacked(nack.requeue)),
            Method::Reject(reject) => self.settle(turn, reject.delivery_tag, false, rejected(reject.requeue)),
        }
    }

    #[inline(never)]
    fn handle_other(&mut self, turn: &mut Turn<'_>, class: AMQPClass, payload: &[u8]) -> Result<Flow, AmqpError> {
        match class {
            AMQPClass::Exchange(method) => self.handle_exchange(turn, method),
            AMQPClass::Queue(method) => self.handle_queue(turn, method),
            AMQPClass::Basic(method) => self.handle_basic(turn, method, payload),
            _ if turn.waiting => Ok(Flow::Stall),
            AMQPClass::Channel(method) => self.handle_channel(turn, &method),
            AMQPClass::Confirm(method) => self.handle_confirm(turn, &method),
            AMQPClass::Tx(method) => self.handle_tx(turn, &method),
            AMQPClass::Access(access::AMQPMethod::Request(_)) => {
                let method = access::AMQPMethod::RequestOk(access::RequestOk {});
                self.write(turn, AMQPClass::Access(method))
            }
            _ => Err(unimplemented_method()),
        }
    }

    fn handle_channel(&mut self, turn: &mut Turn<'_>, method: &channel::AMQPMethod) -> Result<Flow, AmqpError> {
        match method {
            channel::AMQPMethod::Open(_) => {
                Err(ConnectionCode::ChannelError.error("second 'channel.open' seen").into())
            }
            channel::AMQPMethod::Close(_) => {
                let connection = turn.session.connection;
                let others = turn.shard.close_channel(turn.outputs, self.key);
                turn.outputs.remove_channel(self.key);
                // What the channel held is in its queues again when the client is told (RabbitMQ).
                turn.outputs.wait_for_shards(connection, turn.shard, &others);
                turn.outputs.write_in_turn(connection, (NO_CHANNEL, self.number), &close_ok());
                Ok(Flow::Closed)
            }
            channel::AMQPMethod::Flow(flow) if flow.active => {
                let method = channel::AMQPMethod::FlowOk(channel::FlowOk { active: true });
                self.write(turn, AMQPClass::Channel(method))
            }
            channel::AMQPMethod::Flow(_) => Err(ConnectionCode::NotImplemented.error("active=false").into()),
            _ => Err(unimplemented_method()),
        }
    }

    /// After `channel.close` everything is discarded but close and close-ok (AMQP 0-9-1 section 1.5.2.5).
    #[cold]
    fn handle_while_closing(&self, turn: &mut Turn<'_>, frame: &Frame<'_>) -> Flow {
        const CLOSE_OK: MethodId = MethodId::new(20, 41);
        if frame.kind != FrameKind::Method {
            return Flow::Done;
        }
        match MethodId::of(frame.payload) {
            Some(CLOSE_OK) => Flow::Closed,
            Some(CHANNEL_CLOSE) => {
                turn.outputs.write_in_turn(turn.session.connection, (NO_CHANNEL, self.number), &close_ok());
                Flow::Done
            }
            _ => Flow::Done,
        }
    }

    fn write(&self, turn: &mut Turn<'_>, method: AMQPClass) -> Result<Flow, AmqpError> {
        turn.outputs.write_method(turn.session.connection, self.number, &method);
        Ok(Flow::Done)
    }

    /// Submits a command, or says that it has to wait for the replies to earlier ones.
    fn submit(&mut self, turn: &mut Turn<'_>, asked: Asked) -> Flow {
        let connection = turn.session.connection;
        let waiting = turn.outputs.waiting(connection);
        if waiting > 0 && (!asked.command.is_topology_change() || waiting >= super::limits::PIPELINED_REQUESTS) {
            return Flow::Stall;
        }
        let request = Request {
            method: asked.method,
            channel: self.key,
            number: self.number,
            nowait: asked.nowait,
            kind: asked.kind,
            outcome: None,
        };
        let request = turn.outputs.expect_reply(connection, request);
        let caller = caller(turn.session, self.key);
        turn.shard.submit(turn.outputs, caller, request, asked.command, waiting > 0);
        Flow::Done
    }

    /// The queue that a name stands for: an empty one for the queue last declared on the channel.
    fn queue_name(&self, name: &str) -> Result<String, ChannelError> {
        if !name.is_empty() {
            return Ok(clean_name(name));
        }
        if self.last_queue.is_empty() {
            return Err(ChannelCode::NotFound.error("no previously declared queue"));
        }
        Ok(self.last_queue.clone())
    }
}

/// A command and how its reply is to be written.
#[derive(Debug)]
struct Asked {
    command: Command,
    method: MethodId,
    nowait: bool,
    kind: RequestKind,
}

/// An exception and the method that raised it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) method: MethodId,
    pub(crate) error: AmqpError,
}

impl From<broker_core::error::ConnectionError> for Failure {
    fn from(error: broker_core::error::ConnectionError) -> Self {
        Self { method: MethodId::default(), error: error.into() }
    }
}

fn caller(session: &Session, channel: ChannelKey) -> Caller<'_> {
    Caller { connection: session.connection, channel, user: &session.user, vhost: &session.vhost }
}

fn close_ok() -> AMQPClass {
    AMQPClass::Channel(channel::AMQPMethod::CloseOk(channel::CloseOk {}))
}

fn unimplemented_method() -> AmqpError {
    ConnectionCode::CommandInvalid.error("unimplemented method").into()
}

/// A name without the line ends that RabbitMQ strips from names.
fn clean_name(name: &str) -> String {
    name.replace(['\n', '\r'], "")
}

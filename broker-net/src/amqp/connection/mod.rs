//! The input half of a connection: from the protocol header to close-ok.
//!
//! The transport presents what it received with [`Connection::handle_input`], and again after
//! [`Outputs::take_ready`] named the connection; calls [`Connection::handle_timeout`] when
//! [`Connection::poll_timeout`] says so; and calls [`Connection::finish`] when the socket is gone.

mod channels;
mod control;
pub(crate) mod handshake;
pub(crate) mod heartbeat;
mod sasl;

use std::net::SocketAddr;
use std::sync::Arc;

use amq_protocol::protocol::{AMQPClass, connection};
use broker_core::error::{AmqpError, ConnectionCode, ConnectionError};
use broker_core::ids::ConnectionKey;
use broker_core::shard::Shard;

use self::channels::count_closed;
pub(crate) use self::handshake::ClientCapabilities;
use self::heartbeat::Heartbeat;
use super::channel::{Channel, Failure, Flow, Session};
use super::codec::{
    ChannelId, MethodId, PROTOCOL_HEADER, ProtocolHeader, next_frame, protocol_header, unexpected_frame,
};
use super::outputs::client::Client;
use super::outputs::reply::NO_CHANNEL;
use super::outputs::{Event, Outputs};
use super::{Node, limits};

/// What became of received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    /// Bytes from the front that are done with. The others are to be presented again.
    pub consumed: usize,
    /// What is to be done next.
    pub state: InputState,
}

/// Whether a connection is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputState {
    /// More bytes are wanted.
    NeedMore,
    /// A frame has to wait. Read no more until the connection is ready again (see [`Outputs::take_ready`]), then
    /// present the same bytes.
    Stalled,
    /// The connection is over: write what there is to write, then close the socket; see
    /// [`Connection::linger_ms`].
    Closed,
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where the client is.
    pub address: SocketAddr,
    /// The connection is encrypted.
    pub tls: bool,
    /// The user that the client's certificate names, if it has shown one that is trusted.
    pub certificate_name: Option<Arc<str>>,
}

impl Peer {
    /// A client that connected without TLS.
    #[must_use]
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, tls: false, certificate_name: None }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Connection {
    node: Arc<Node>,
    key: ConnectionKey,
    peer: Peer,
    state: State,
    frame_max: u32,
    channel_max: u16,
    session: Option<Box<Session>>,
    /// By number. Boxed, because most numbers are not in use.
    channels: Vec<Option<Box<Channel>>>,
    open_channels: u16,
    capabilities: ClientCapabilities,
    heartbeat: Heartbeat,
    /// When the handshake or the close is over at the latest.
    deadline_ms: Option<u64>,
    linger_ms: u64,
    /// Bytes that were presented and not consumed: those beyond are new.
    presented: usize,
    stalled: bool,
    publishes: bool,
}

/// Where in its life a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Waits for the protocol header.
    Header,
    /// `connection.start` was sent.
    Starting,
    /// `connection.tune` was sent.
    Tuning {
        user: Arc<str>,
    },
    /// Tune-ok came: waits for `connection.open`.
    Opening {
        user: Arc<str>,
    },
    Running,
    /// `connection.close` was sent: everything is discarded until close-ok.
    Closing,
    /// The client closed; its exclusive queues are being deleted before close-ok.
    Ending,
    Closed,
}

impl State {
    fn name(&self) -> &'static str {
        match self {
            Self::Header => "pre_init",
            Self::Starting => "starting",
            Self::Tuning { .. } => "tuning",
            Self::Opening { .. } => "opening",
            Self::Running => "running",
            Self::Closing | Self::Ending => "closing",
            Self::Closed => "closed",
        }
    }
}

/// What became of the bytes at the front.
enum Step {
    Consumed(usize),
    NeedMore,
    Stall,
}

impl Connection {
    /// A connection that was just accepted from `peer`.
    #[must_use]
    pub fn new(peer: Peer, node: Arc<Node>, outputs: &mut Outputs, now_ms: u64) -> Self {
        let config = node.config();
        Self {
            channel_max: config.channel_max,
            key: outputs.open_connection(Client::new(&peer, now_ms)),
            peer,
            state: State::Header,
            frame_max: config.initial_frame_max,
            session: None,
            channels: Vec::new(),
            open_channels: 0,
            capabilities: ClientCapabilities::default(),
            heartbeat: Heartbeat::new(0, now_ms),
            deadline_ms: Some(now_ms + config.handshake_timeout_ms),
            linger_ms: limits::CLOSED_LINGER_MS,
            presented: 0,
            stalled: false,
            publishes: false,
            node,
        }
    }

    /// Names the connection in [`Outputs`].
    #[must_use]
    pub fn key(&self) -> ConnectionKey {
        self.key
    }

    /// True once the client published: the connection must not be read while the shard is congested.
    #[must_use]
    pub fn publishes(&self) -> bool {
        self.publishes
    }

    /// False until the client has logged in and opened a virtual host; true as long as it has one open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.session.is_some()
    }

    /// Of a closed connection: how long the socket is to be kept after everything was written, in milliseconds,
    /// while what still comes is thrown away, unless the client closes it first.
    #[must_use]
    pub fn linger_ms(&self) -> u64 {
        self.linger_ms
    }

    /// Takes bytes from the socket: those not consumed before, and any new ones behind them.
    pub fn handle_input(&mut self, bytes: &[u8], shard: &mut Shard, outputs: &mut Outputs, now_ms: u64) -> Input {
        if bytes.len() > self.presented {
            self.heartbeat.received();
            if let Some(client) = outputs.client_mut(self.key) {
                client.socket.recv_cnt += 1;
                client.socket.recv_oct += (bytes.len() - self.presented) as u64;
            }
        }
        self.handle_events(shard, outputs, now_ms);
        let mut consumed = 0;
        let state = loop {
            if self.state == State::Closed {
                break InputState::Closed;
            }
            let rest = bytes.get(consumed..).unwrap_or_default();
            match self.step(rest, shard, outputs, now_ms) {
                Step::Consumed(length) => consumed += length,
                Step::NeedMore => break InputState::NeedMore,
                Step::Stall => break InputState::Stalled,
            }
        };
        if state == InputState::Closed {
            consumed = bytes.len();
        }
        self.presented = bytes.len().saturating_sub(consumed);
        self.stalled = state == InputState::Stalled;
        Input { consumed: consumed.min(bytes.len()), state }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called, in the milliseconds of `now_ms`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        match (self.deadline_ms, self.heartbeat.deadline_ms()) {
            (Some(deadline), Some(heartbeat)) => Some(deadline.min(heartbeat)),
            (deadline, heartbeat) => deadline.or(heartbeat),
        }
    }

    /// Does what is due; returns false if the connection is over (as [`InputState::Closed`]).
    pub fn handle_timeout(&mut self, shard: &Shard, outputs: &mut Outputs, now_ms: u64) -> bool {
        if self.deadline_ms.is_some_and(|deadline| now_ms >= deadline) {
            self.set_closed(0);
        }
        // What the broker does not read cannot be a sign of life.
        let reading = !(self.stalled || self.publishes && shard.congested());
        if let Some(written) = outputs.written_flag(self.key) {
            let due = self.heartbeat.check(now_ms, written, reading);
            if due.send {
                outputs.write_heartbeat(self.key);
            }
            if due.dead {
                self.set_closed(0);
            }
        }
        self.state != State::Closed
    }

    /// The broker stops: tells the client with `connection.close` 320.
    pub fn begin_shutdown(&mut self, shard: &mut Shard, outputs: &mut Outputs, now_ms: u64) {
        match self.state {
            State::Running => {
                let error = ConnectionCode::ConnectionForced
                    .error("broker forced connection closure with reason 'shutdown'");
                outputs.fail_connection(self.key, MethodId::default(), &error);
                self.handle_events(shard, outputs, now_ms);
            }
            State::Closing | State::Ending => {}
            _ => self.set_closed(0),
        }
    }

    /// The socket is gone or about to go: gives back everything the connection holds.
    pub fn finish(mut self, shard: &mut Shard, outputs: &mut Outputs) {
        self.close_channels(shard, outputs);
        if self.close_session(shard) {
            shard.close_connection(outputs, self.key, None);
        }
        outputs.remove_connection(self.key);
    }

    fn set_closed(&mut self, linger_ms: u64) {
        self.state = State::Closed;
        self.linger_ms = linger_ms;
        self.deadline_ms = None;
    }

    /// True if the connection was open until now.
    fn close_session(&mut self, shard: &mut Shard) -> bool {
        let session = self.session.take();
        if let Some(session) = &session {
            self.node.census.close_connection(&session.user, &session.vhost);
            let stats = shard.stats_mut();
            stats.connections -= 1;
            stats.connections_closed += 1;
        }
        session.is_some()
    }

    /// Follows what happened to the output half.
    fn handle_events(&mut self, shard: &mut Shard, outputs: &mut Outputs, now_ms: u64) {
        while let Some(event) = outputs.next_event(self.key) {
            match event {
                Event::ChannelFailed { number, channel, close } => {
                    let others = shard.close_channel(outputs, channel);
                    if self.state == State::Running {
                        // What the channel held is in its queues again when the client is told (RabbitMQ).
                        outputs.wait_for_shards(self.key, shard, &others);
                        outputs.write_in_turn(self.key, (NO_CHANNEL, number), &close);
                    }
                    if let Some(Some(open)) = self.channels.get_mut(usize::from(number.0))
                        && open.key == channel
                    {
                        open.set_closing();
                        count_closed(open, self.session.as_deref(), &self.node, shard);
                    }
                }
                Event::ConnectionFailed => {
                    self.close_channels(shard, outputs);
                    if self.close_session(shard) {
                        shard.close_connection(outputs, self.key, None);
                    }
                    if self.state != State::Closed {
                        self.state = State::Closing;
                        self.deadline_ms = Some(now_ms + limits::CLOSE_MS);
                    }
                }
                Event::Closed => self.set_closed(limits::CLOSED_LINGER_MS),
            }
        }
    }

    #[inline]
    fn step(&mut self, bytes: &[u8], shard: &mut Shard, outputs: &mut Outputs, now_ms: u64) -> Step {
        if self.state == State::Header {
            return self.handle_header(bytes, outputs);
        }
        let (frame, length) = match next_frame(bytes, self.frame_max) {
            Ok(Some(found)) => found,
            Ok(None) => return Step::NeedMore,
            Err(error) => {
                // Where the next frame starts is not known any more.
                self.fail(MethodId::default(), error.to_connection_error(), shard, outputs, now_ms);
                self.set_closed(limits::REFUSED_LINGER_MS);
                return Step::Consumed(bytes.len());
            }
        };
        if frame.channel == ChannelId(0) {
            return match self.handle_control(&frame, shard, outputs, now_ms) {
                Ok(true) => Step::Consumed(length),
                Ok(false) => Step::Stall,
                Err(Failure { method, error }) => {
                    self.fail(method, connection_error(error), shard, outputs, now_ms);
                    Step::Consumed(length)
                }
            };
        }
        match self.state {
            State::Running => {}
            State::Closing | State::Ending => return Step::Consumed(length),
            _ => {
                let error = unexpected_frame(&frame).to_connection_error();
                self.fail(MethodId::default(), error, shard, outputs, now_ms);
                return Step::Consumed(length);
            }
        }
        let behind = bytes.get(length..).unwrap_or_default();
        match self.handle_channel_frame(&frame, behind, shard, outputs) {
            Ok((Flow::DoneWith(content), _)) => return Step::Consumed(length + content),
            Ok((Flow::Stall, _)) => return Step::Stall,
            Ok((Flow::Done, _)) => {}
            Ok((Flow::Closed, number)) => self.free_channel(number, shard),
            Err((channel, Failure { method, error })) => match error {
                AmqpError::Channel(error) => outputs.fail_channel(channel, method, &error),
                AmqpError::Connection(error) => outputs.fail_connection(self.key, method, &error),
            },
        }
        self.handle_events(shard, outputs, now_ms);
        Step::Consumed(length)
    }

    /// Raises an exception that closes the connection. Before the client is known it is told nothing: its socket is kept for
    /// a while and closed (as RabbitMQ does, so that passwords and mechanisms cannot be tried quickly).
    #[cold]
    fn fail(
        &mut self,
        method: MethodId,
        error: ConnectionError,
        shard: &mut Shard,
        outputs: &mut Outputs,
        now_ms: u64,
    ) {
        let silent = match &self.state {
            State::Header | State::Starting => true,
            State::Tuning { .. } => error.code != ConnectionCode::NotAllowed,
            _ => false,
        };
        if silent {
            tracing::warn!(peer = %self.peer.address, %error, "handshake failed");
            self.set_closed(limits::REFUSED_LINGER_MS);
            return;
        }
        outputs.fail_connection(self.key, method, &error);
        self.handle_events(shard, outputs, now_ms);
    }

    fn handle_header(&mut self, bytes: &[u8], outputs: &mut Outputs) -> Step {
        match protocol_header(bytes) {
            ProtocolHeader::NeedMore => return Step::NeedMore,
            ProtocolHeader::Supported => {
                self.state = State::Starting;
                let start = handshake::start(&sasl::offered(&self.node.config(), &self.peer));
                let start = AMQPClass::Connection(connection::AMQPMethod::Start(start));
                outputs.write_method(self.key, ChannelId(0), &start);
            }
            ProtocolHeader::Unsupported => {
                outputs.write(self.key, |out| out.extend_from_slice(&PROTOCOL_HEADER));
                self.set_closed(limits::CLOSED_LINGER_MS);
            }
        }
        Step::Consumed(PROTOCOL_HEADER.len().min(bytes.len()))
    }
}

/// On channel 0 every exception is one of the connection.
fn connection_error(error: AmqpError) -> ConnectionError {
    match error {
        AmqpError::Connection(error) => error,
        AmqpError::Channel(error) => ConnectionCode::InternalError.error(error.to_string()),
    }
}

//! The output halves of all connections of a shard: what the shard answers and delivers is encoded here, into one
//! buffer per connection, while the message is still borrowed.
//!
//! The transport asks [`Outputs::take_ready`] which connections have something to write or can be read again,
//! takes the bytes with [`Outputs::flush`] and gives the buffer back with [`Outputs::written`]. A connection with
//! nothing to write holds no buffer.

pub(crate) mod channel;
pub(crate) mod reply;
pub(crate) mod slots;

use amq_protocol::protocol::{AMQPClass, basic, connection};
use broker_core::error::{AmqpError, ChannelCode, ChannelError, ConnectionError};
use broker_core::ids::{ChannelKey, ConnectionKey, ConsumerId, DeliveryToken, QueueRef, RequestId};
use broker_core::session::{Delivery, Reply, Sessions};
use broker_core::shard::Shard;

use self::channel::{ChannelOutput, Delivered};
use self::reply::{Outcome, Request, RequestKind, Requests, write_reply};
use self::slots::Slots;
use super::channel::confirm::Confirmation;
use super::channel::unacked::Entry;
use super::codec::{
    ChannelId, DeliveryTag, MethodId, reply_text, write_ack, write_heartbeat, write_method, write_nack,
};
use super::connection::ClientCapabilities;
use super::limits;
use super::names::NameGenerator;

/// See the module's documentation.
#[derive(Debug)]
pub struct Outputs {
    connections: Slots<ConnectionOutput>,
    channels: Slots<ChannelOutput>,
    ready: Vec<ConnectionKey>,
    pool: Vec<Vec<u8>>,
    blocked: Option<&'static str>,
    pub(crate) names: NameGenerator,
    pub(crate) scratch: Scratch,
}

/// Buffers that are empty between calls.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) settled: Vec<Entry>,
    pub(crate) tokens: Vec<DeliveryToken>,
}

/// The output half of a connection.
#[derive(Debug)]
struct ConnectionOutput {
    key: ConnectionKey,
    buffer: Vec<u8>,
    requests: Requests,
    /// Consumers with deliveries in `buffer`.
    windows: Vec<(ChannelKey, ConsumerId)>,
    /// Windows of deliveries that the transport is writing.
    in_flight: Vec<Window>,
    /// Channels with confirms that are due.
    confirms_due: Vec<ChannelKey>,
    /// What the input half has to learn.
    events: Vec<Event>,
    frame_max: u32,
    capabilities: ClientCapabilities,
    flags: Flags,
}

#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not states")]
struct Flags {
    /// In the list of ready connections.
    ready: bool,
    /// `connection.close` or `close-ok` is in the buffer: nothing may follow but a `close-ok`.
    closing: bool,
    /// Something was taken to be written since the last heartbeat check.
    written: bool,
    /// The client was told that it is blocked.
    told_blocked: bool,
    /// Input is held back because publishers are blocked or too much output waits.
    held_back: bool,
}

/// Window to be given back to a consumer.
#[derive(Clone, Copy, Debug)]
struct Window {
    channel: ChannelKey,
    consumer: ConsumerId,
    queue: QueueRef,
    bytes: u32,
}

/// What happened on the output side that changes the state of the input half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// `channel.close` was written.
    ChannelFailed { number: ChannelId, channel: ChannelKey },
    /// `connection.close` was written.
    ConnectionFailed,
    /// `connection.close-ok` was written: the end.
    Closed,
}

impl Outputs {
    /// No connections yet. `seed` must be random: generated names of queues and consumers come from it.
    #[must_use]
    pub fn new(seed: u128) -> Self {
        Self {
            connections: Slots::default(),
            channels: Slots::default(),
            ready: Vec::new(),
            pool: Vec::new(),
            blocked: None,
            names: NameGenerator::new(seed),
            scratch: Scratch::default(),
        }
    }

    /// Moves the keys of the connections that may have bytes to write, or that may be read again, to `ready`. Each
    /// is told once; the transport then calls `Connection::handle_input` and [`flush`](Self::flush) for it.
    pub fn take_ready(&mut self, ready: &mut Vec<ConnectionKey>) {
        for &key in &self.ready {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.flags.ready = false;
            }
        }
        ready.append(&mut self.ready);
    }

    /// True if [`take_ready`](Self::take_ready) has something to tell.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes everything that is to be written to the connection's socket, if there is anything. The bytes must be
    /// written before those of a later call.
    pub fn flush(&mut self, key: ConnectionKey) -> Option<Vec<u8>> {
        self.write_confirms(key);
        let connection = self.connections.get_mut(key)?;
        if connection.buffer.is_empty() {
            return None;
        }
        for (channel_key, consumer) in connection.windows.drain(..) {
            let Some(channel) = self.channels.get_mut(channel_key) else {
                continue;
            };
            if let Some((queue, bytes)) = channel.take_window(consumer) {
                connection.in_flight.push(Window {
                    channel: channel_key,
                    consumer,
                    queue,
                    bytes,
                });
            }
        }
        connection.flags.written = true;
        Some(std::mem::take(&mut connection.buffer))
    }

    /// Takes back a buffer of [`flush`](Self::flush) whose bytes the socket has taken, all that were flushed
    /// so far, and gives their window back to the consumers.
    pub fn written(&mut self, key: ConnectionKey, buffer: Vec<u8>, shard: &mut Shard) {
        self.recycle(buffer);
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if std::mem::take(&mut connection.flags.held_back) {
            connection.mark_ready(&mut self.ready);
        }
        if connection.in_flight.is_empty() {
            return;
        }
        let mut windows = std::mem::take(&mut connection.in_flight);
        for window in windows.drain(..) {
            if self.channels.get(window.channel).is_some() {
                shard.return_window(self, window.channel, window.consumer, window.queue, window.bytes);
            }
        }
        if let Some(connection) = self.connections.get_mut(key)
            && connection.in_flight.is_empty()
        {
            connection.in_flight = windows;
        }
    }

    /// Number of open connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Number of open channels.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.pool.len() < limits::POOLED_BUFFERS && buffer.capacity() <= limits::POOLED_BUFFER_BYTES {
            buffer.clear();
            self.pool.push(buffer);
        }
    }

    /// Writes the confirms that are due on the connection's channels.
    fn write_confirms(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        while let Some(channel) = connection.confirms_due.pop() {
            let Some(channel) = self.channels.get_mut(channel) else {
                continue;
            };
            channel.confirms_due = false;
            if !connection.flags.closing {
                write_due_confirms(connection.buffer(&mut self.pool), channel);
            }
        }
    }
}

/// What the input half uses.
impl Outputs {
    pub(crate) fn open_connection(&mut self) -> ConnectionKey {
        let key = self.connections.insert(ConnectionOutput {
            key: ConnectionKey { slot: 0, epoch: 0 },
            buffer: Vec::new(),
            requests: Requests::default(),
            windows: Vec::new(),
            in_flight: Vec::new(),
            confirms_due: Vec::new(),
            events: Vec::new(),
            frame_max: limits::INITIAL_FRAME_MAX,
            capabilities: ClientCapabilities::default(),
            flags: Flags::default(),
        });
        if let Some(connection) = self.connections.get_mut(key) {
            connection.key = key;
        }
        key
    }

    /// Forgets a connection and what it has not written. Its channels must be closed first.
    pub(crate) fn remove_connection(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.remove(key) {
            self.recycle(connection.buffer);
        }
    }

    pub(crate) fn set_client(&mut self, key: ConnectionKey, capabilities: ClientCapabilities) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.capabilities = capabilities;
        }
    }

    pub(crate) fn set_frame_max(&mut self, key: ConnectionKey, frame_max: u32) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.frame_max = frame_max;
        }
    }

    pub(crate) fn open_channel(&mut self, connection: ConnectionKey, number: ChannelId) -> ChannelKey {
        self.channels.insert(ChannelOutput::new(connection, number))
    }

    /// Forgets a channel after writing the confirms that are due on it.
    pub(crate) fn remove_channel(&mut self, key: ChannelKey) {
        let Some(mut channel) = self.channels.remove(key) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(channel.connection) else {
            return;
        };
        if !connection.flags.closing {
            write_due_confirms(connection.buffer(&mut self.pool), &mut channel);
        }
        // Nothing may wait for a reply that is of no use any more.
        for request in connection
            .requests
            .waiting
            .iter_mut()
            .filter(|request| request.channel == key)
        {
            request.outcome = Some(Outcome::Frames(Vec::new()));
        }
        let connection = channel.connection;
        self.complete_requests(connection);
    }

    #[inline]
    pub(crate) fn channel_mut(&mut self, key: ChannelKey) -> Option<&mut ChannelOutput> {
        self.channels.get_mut(key)
    }

    /// Appends frames to the connection's output, unless it has said its last word.
    pub(crate) fn write(&mut self, key: ConnectionKey, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(connection) = self.connections.get_mut(key)
            && !connection.flags.closing
        {
            write(connection.buffer(&mut self.pool));
            connection.mark_ready(&mut self.ready);
        }
    }

    /// Appends a method.
    pub(crate) fn write_method(&mut self, key: ConnectionKey, number: ChannelId, method: &AMQPClass) {
        self.write(key, |out| write_method(out, number, method));
    }

    /// Answers `connection.close` after the broker has sent its own.
    pub(crate) fn write_late_close_ok(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get_mut(key) {
            write_method(
                connection.buffer(&mut self.pool),
                ChannelId(0),
                &reply::close_ok(),
            );
            connection.mark_ready(&mut self.ready);
        }
    }

    /// Registers a request of the connection.
    pub(crate) fn expect_reply(&mut self, key: ConnectionKey, request: Request) -> RequestId {
        match self.connections.get_mut(key) {
            Some(connection) => connection.requests.push(request),
            None => RequestId(0),
        }
    }

    /// Requests of the connection that wait for their replies.
    pub(crate) fn waiting(&self, key: ConnectionKey) -> usize {
        self.connections
            .get(key)
            .map_or(0, |connection| connection.requests.len())
    }

    /// True if more is waiting to be written than [`limits::OUTPUT_BYTES`]. The connection becomes ready when
    /// that has been written.
    pub(crate) fn hold_back_for_output(&mut self, key: ConnectionKey) -> bool {
        let Some(connection) = self.connections.get_mut(key) else {
            return false;
        };
        let full = connection.buffer.len() > limits::OUTPUT_BYTES;
        connection.flags.held_back |= full;
        full
    }

    pub(crate) fn next_event(&mut self, key: ConnectionKey) -> Option<Event> {
        let connection = self.connections.get_mut(key)?;
        if connection.events.is_empty() {
            None
        } else {
            Some(connection.events.remove(0))
        }
    }

    /// Whether something was written since the last call with a heartbeat check due; see `Heartbeat::check`.
    pub(crate) fn written_flag(&mut self, key: ConnectionKey) -> Option<&mut bool> {
        self.connections
            .get_mut(key)
            .map(|connection| &mut connection.flags.written)
    }

    pub(crate) fn write_heartbeat(&mut self, key: ConnectionKey) {
        self.write(key, write_heartbeat);
    }

    /// True if a publish has to wait because publishers are blocked. The client is told, and the connection
    /// becomes ready when they no longer are.
    pub(crate) fn hold_back_publisher(&mut self, key: ConnectionKey) -> bool {
        let Some(reason) = self.blocked else { return false };
        let Some(connection) = self.connections.get_mut(key) else {
            return true;
        };
        connection.flags.held_back = true;
        if !std::mem::replace(&mut connection.flags.told_blocked, true)
            && connection.capabilities.connection_blocked
        {
            let blocked = connection::Blocked {
                reason: reply_text(reason),
            };
            let method = AMQPClass::Connection(connection::AMQPMethod::Blocked(blocked));
            self.write_method(key, ChannelId(0), &method);
        }
        true
    }

    /// Records a publish of a channel in confirm mode or in a transaction.
    #[inline]
    pub(crate) fn expect_confirm(&mut self, key: ChannelKey, parts: u32, refused: bool) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        if let Some(confirms) = &mut channel.confirms {
            confirms.expect(parts, refused);
        }
        if parts == 0 {
            self.confirms_changed(key);
        }
    }

    /// Closes a channel with `channel.close`; the input half learns it as an [`Event`].
    pub(crate) fn fail_channel(&mut self, key: ChannelKey, method: MethodId, error: &ChannelError) {
        let Some(channel) = self.channels.get(key) else {
            return;
        };
        let (connection, number) = (channel.connection, channel.number);
        let close = amq_protocol::protocol::channel::Close {
            reply_code: error.code.code(),
            reply_text: reply_text(&error.to_string()),
            class_id: method.class_id,
            method_id: method.method_id,
        };
        let close = AMQPClass::Channel(amq_protocol::protocol::channel::AMQPMethod::Close(close));
        // Confirms that are due go out first.
        self.confirms_changed(key);
        self.write_confirms(connection);
        self.write_method(connection, number, &close);
        if let Some(connection) = self.connections.get_mut(connection) {
            connection
                .events
                .push(Event::ChannelFailed { number, channel: key });
        }
        self.remove_channel(key);
    }

    /// Closes a connection with `connection.close`; the input half learns it as an [`Event`].
    pub(crate) fn fail_connection(&mut self, key: ConnectionKey, method: MethodId, error: &ConnectionError) {
        let close = connection::Close {
            reply_code: error.code.code(),
            reply_text: reply_text(&error.to_string()),
            class_id: method.class_id,
            method_id: method.method_id,
        };
        let close = AMQPClass::Connection(connection::AMQPMethod::Close(close));
        self.write_confirms(key);
        self.write_method(key, ChannelId(0), &close);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.flags.closing = true;
            connection.events.push(Event::ConnectionFailed);
        }
    }

    /// Delivers what the channel's limit held back, as far as there is room now.
    pub(crate) fn release_held(&mut self, key: ChannelKey) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(channel.connection) else {
            return;
        };
        while let Some(held) = channel.release() {
            let frame_max = connection.frame_max;
            let out = connection.buffer(&mut self.pool);
            let delivered = channel.deliver_released(out, key, &held, frame_max);
            connection.delivered(delivered, key, held.consumer, &mut self.ready);
        }
    }

    fn confirms_changed(&mut self, key: ChannelKey) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        if channel.confirms_due || channel.transactional || channel.confirms.is_none() {
            return;
        }
        channel.confirms_due = true;
        if let Some(connection) = self.connections.get_mut(channel.connection) {
            connection.confirms_due.push(key);
            connection.mark_ready(&mut self.ready);
        }
    }

    /// Ends the `tx.commit` that waits on the channel, if all its publishes are confirmed now.
    fn complete_commit(&mut self, key: ChannelKey) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        let (Some(request), Some(confirms)) = (channel.committing, &mut channel.confirms) else {
            return;
        };
        if !confirms.is_resolved() {
            return;
        }
        channel.committing = None;
        let outcome = if confirms.discard() {
            Outcome::Failed(
                ChannelCode::PreconditionFailed
                    .error("partial tx completion")
                    .into(),
            )
        } else {
            let mut frames = Vec::new();
            write_method(&mut frames, channel.number, &reply::commit_ok());
            Outcome::Frames(frames)
        };
        let key = channel.connection;
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if let Some((request, _)) = connection.requests.get_mut(request) {
            request.outcome = Some(outcome);
            self.complete_requests(key);
        }
    }

    /// Makes the channel's commit wait with `request` until all publishes are confirmed.
    pub(crate) fn commit(&mut self, key: ChannelKey, request: RequestId) {
        if let Some(channel) = self.channels.get_mut(key) {
            channel.committing = Some(request);
        }
        self.complete_commit(key);
    }

    /// Ends the requests at the front whose outcome is known.
    fn complete_requests(&mut self, key: ConnectionKey) {
        loop {
            let Some(connection) = self.connections.get_mut(key) else {
                return;
            };
            match connection.requests.waiting.front() {
                Some(request) if request.outcome.is_some() => {}
                _ => return,
            }
            let Some(request) = connection.requests.pop() else {
                return;
            };
            connection.mark_ready(&mut self.ready);
            match request.outcome {
                Some(Outcome::Frames(frames)) => self.write(key, |out| out.extend_from_slice(&frames)),
                Some(Outcome::Failed(error)) => self.fail(key, request.channel, request.method, &error),
                None => {}
            }
        }
    }

    fn fail(&mut self, connection: ConnectionKey, channel: ChannelKey, method: MethodId, error: &AmqpError) {
        match error {
            AmqpError::Channel(error) => self.fail_channel(channel, method, error),
            AmqpError::Connection(error) => self.fail_connection(connection, method, error),
        }
    }
}

impl ConnectionOutput {
    /// The buffer to append to, from the pool if there is none.
    #[inline]
    fn buffer(&mut self, pool: &mut Vec<Vec<u8>>) -> &mut Vec<u8> {
        if self.buffer.capacity() == 0 {
            self.buffer = pool.pop().unwrap_or_default();
        }
        &mut self.buffer
    }

    #[inline]
    fn mark_ready(&mut self, ready: &mut Vec<ConnectionKey>) {
        if !self.flags.ready {
            self.flags.ready = true;
            ready.push(self.key);
        }
    }

    #[inline]
    fn delivered(
        &mut self,
        delivered: Delivered,
        channel: ChannelKey,
        consumer: ConsumerId,
        ready: &mut Vec<ConnectionKey>,
    ) {
        match delivered {
            Delivered::Nothing => return,
            Delivered::Written => {}
            Delivered::WrittenFirst => self.windows.push((channel, consumer)),
        }
        self.mark_ready(ready);
    }
}

fn write_due_confirms(out: &mut Vec<u8>, channel: &mut ChannelOutput) {
    let number = channel.number;
    let Some(confirms) = channel.confirms.as_mut().filter(|_| !channel.transactional) else {
        return;
    };
    confirms.flush(|confirmation| match confirmation {
        Confirmation::Ack {
            delivery_tag,
            multiple,
        } => {
            write_ack(out, number, DeliveryTag(delivery_tag), multiple);
        }
        Confirmation::Nack { delivery_tag } => write_nack(out, number, DeliveryTag(delivery_tag), false),
    });
}

impl Sessions for Outputs {
    #[inline]
    fn deliver(&mut self, delivery: Delivery<'_>) {
        let Some(channel) = self.channels.get_mut(delivery.channel) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(channel.connection) else {
            return;
        };
        if connection.flags.closing {
            return;
        }
        let frame_max = connection.frame_max;
        let delivered = channel.deliver(connection.buffer(&mut self.pool), &delivery, frame_max);
        connection.delivered(delivered, delivery.channel, delivery.consumer, &mut self.ready);
    }

    fn confirm(&mut self, channel: ChannelKey, first: u64, last: u64, accepted: bool) {
        let Some(output) = self.channels.get_mut(channel) else {
            return;
        };
        let Some(confirms) = &mut output.confirms else {
            return;
        };
        confirms.resolve(first, last, accepted);
        if output.committing.is_some() {
            self.complete_commit(channel);
        } else {
            self.confirms_changed(channel);
        }
    }

    fn reply(&mut self, key: ConnectionKey, id: RequestId, reply: Reply<'_>) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let closing = connection.flags.closing;
        let Some((request, turn)) = connection.requests.get_mut(id) else {
            return;
        };
        if request.outcome.is_some() {
            return;
        }
        if let Reply::Failed(error) = reply {
            request.outcome = Some(Outcome::Failed(error));
            return self.complete_requests(key);
        }
        let channel = self.channels.get_mut(request.channel);
        let frame_max = connection.frame_max;
        if !turn || closing {
            let mut frames = Vec::new();
            write_reply(&mut frames, request, &reply, channel, frame_max);
            request.outcome = Some(Outcome::Frames(frames));
            return self.complete_requests(key);
        }
        let Some(request) = connection.requests.pop() else {
            return;
        };
        write_reply(
            connection.buffer(&mut self.pool),
            &request,
            &reply,
            channel,
            frame_max,
        );
        if request.kind == RequestKind::Close {
            connection.flags.closing = true;
            connection.events.push(Event::Closed);
        }
        connection.mark_ready(&mut self.ready);
        self.complete_requests(key);
    }

    fn consumer_cancelled(&mut self, channel: ChannelKey, consumer: ConsumerId) {
        let Some(output) = self.channels.get_mut(channel) else {
            return;
        };
        let (connection, number) = (output.connection, output.number);
        output.take_held(consumer);
        let Some(consumer) = output.remove_consumer(consumer) else {
            return;
        };
        let notify = |connection: &ConnectionOutput| connection.capabilities.consumer_cancel_notify;
        if self.connections.get(connection).is_some_and(notify) {
            let consumer_tag = reply_text(consumer.prefix.consumer_tag());
            let cancel = basic::Cancel {
                consumer_tag,
                nowait: true,
            };
            self.write_method(
                connection,
                number,
                &AMQPClass::Basic(basic::AMQPMethod::Cancel(cancel)),
            );
        }
    }

    fn blocked(&mut self, reason: Option<&'static str>) {
        self.blocked = reason;
        if reason.is_some() {
            // A client is told when it next publishes, as RabbitMQ does: consumers need not know.
            return;
        }
        for connection in self.connections.values_mut() {
            let told = std::mem::take(&mut connection.flags.told_blocked);
            if told && connection.capabilities.connection_blocked && !connection.flags.closing {
                let method =
                    AMQPClass::Connection(connection::AMQPMethod::Unblocked(connection::Unblocked {}));
                write_method(connection.buffer(&mut self.pool), ChannelId(0), &method);
                connection.mark_ready(&mut self.ready);
            }
            if std::mem::take(&mut connection.flags.held_back) {
                connection.mark_ready(&mut self.ready);
            }
        }
    }

    fn close_connection(&mut self, connection: ConnectionKey, error: ConnectionError) {
        self.fail_connection(connection, MethodId::default(), &error);
    }
}

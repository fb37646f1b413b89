//! The output halves of all connections of a shard: what the shard answers and delivers is encoded here, into one
//! buffer per connection, while the message is still borrowed.
//!
//! The transport asks [`Outputs::take_ready`] which connections have something to write or can be read again,
//! takes the bytes with [`Outputs::flush`] and gives the buffer back with [`Outputs::written`]. A connection with
//! nothing to write holds no buffer.

mod audit;
pub(crate) mod channel;
pub(crate) mod client;
mod delivery_timeout;
mod half;
mod input;
mod outcome;
pub(crate) mod reply;
mod reply_to;
pub(crate) mod slots;

use std::sync::Arc;

use amq_protocol::protocol::{AMQPClass, basic, connection};
use broker_core::admin::{ChannelInfo, ConnectionInfo};
use broker_core::error::ConnectionError;
use broker_core::ids::{ChannelKey, ConnectionKey, ConsumerId, DeliveryToken, RequestId, ShardId};
use broker_core::model::message::Message;
use broker_core::session::{Delivery, Reply, Sessions, TopologyChange};
use broker_core::shard::Shard;
use broker_core::shard::histogram::{Histogram, LATENCY_BOUNDS_US};
use broker_core::shard::stats::ShardStats;

use self::channel::ChannelOutput;
use self::delivery_timeout::DeliveryTimeouts;
pub(crate) use self::half::Event;
use self::half::{ConnectionOutput, Window, write_due_confirms};
use self::reply::{Outcome, RequestKind, write_reply};
use self::slots::Slots;
use super::channel::unacked::Entry;
use super::codec::{ChannelId, MethodId, reply_text, write_method};
use super::limits;
use super::names::NameGenerator;
use super::node::Node;

/// See the module's documentation.
#[derive(Debug)]
pub struct Outputs {
    connections: Slots<ConnectionOutput>,
    channels: Slots<ChannelOutput>,
    ready: Vec<ConnectionKey>,
    pool: Vec<Vec<u8>>,
    blocked: Option<&'static str>,
    counted: Counted,
    /// Microseconds since the Unix epoch, as the shard has told last.
    now_us: u64,
    timeouts: DeliveryTimeouts,
    /// Says whether changes are recorded; absent where they never are.
    node: Option<Arc<Node>>,
    pub(crate) names: NameGenerator,
    pub(crate) scratch: Scratch,
}

/// Things counted where there is no shard at hand; added to its numbers when somebody asks.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    messages_confirmed: u64,
    queues_declared: u64,
    confirm_latencies: Histogram<{ LATENCY_BOUNDS_US.len() }>,
}

/// Buffers that are empty between calls.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) settled: Vec<Entry>,
    pub(crate) tokens: Vec<DeliveryToken>,
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
            counted: Counted::default(),
            now_us: 0,
            timeouts: DeliveryTimeouts::default(),
            node: None,
            names: NameGenerator::new(seed),
            scratch: Scratch::default(),
        }
    }

    /// Belongs to a broker, whose configuration says whether what clients change is in the audit log.
    #[must_use]
    pub fn of_node(self, node: Arc<Node>) -> Self {
        Self { node: Some(node), ..self }
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

    /// Has [`take_ready`](Self::take_ready) name the connection if something waits to be written.
    pub fn make_ready(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get_mut(key)
            && !(connection.buffer.is_empty() && connection.confirms_due.is_empty())
        {
            connection.mark_ready(&mut self.ready);
        }
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
            if let Some((consumer, bytes)) = channel.take_window(consumer) {
                connection.in_flight.push(Window { channel: channel_key, consumer, bytes });
            }
        }
        connection.flags.written = true;
        connection.client.socket.send_cnt += 1;
        connection.client.socket.send_oct += connection.buffer.len() as u64;
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
                shard.return_window(self, window.channel, window.consumer, window.bytes);
                self.tell_room(window.channel, shard);
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
                let out = connection.buffer(&mut self.pool);
                write_due_confirms(out, channel, self.now_us, &mut self.counted);
            }
        }
    }
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

    fn deliver_reply(&mut self, channel: ChannelKey, message: Message<'_>) -> bool {
        self.write_reply(channel, &message)
    }

    fn consumes_replies(&self, channel: ChannelKey, reply_name: &str) -> bool {
        self.channels.get(channel).is_some_and(|channel| channel.consumes_replies(reply_name))
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
        self.counted.queues_declared += u64::from(matches!(reply, Reply::QueueDeclareOk { .. }));
        if let Reply::BasicConsumeOk { timeout_ms, .. } = reply {
            self.timeouts.shorten(timeout_ms);
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
        write_reply(connection.buffer(&mut self.pool), &request, &reply, channel, frame_max);
        if request.kind == RequestKind::Close {
            connection.flags.closing = true;
            connection.events.push(Event::Closed);
        }
        connection.mark_ready(&mut self.ready);
        self.complete_requests(key);
    }

    fn records_changes(&self) -> bool {
        self.node.as_ref().is_some_and(|node| node.config().audit)
    }

    fn changed(&mut self, connection: ConnectionKey, change: &TopologyChange) {
        audit::record(self.connections.get_mut(connection).map(|connection| &*connection.client), change);
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
        let Some(output) = self.connections.get_mut(connection) else {
            return;
        };
        if !output.capabilities.consumer_cancel_notify {
            return;
        }
        let consumer_tag = reply_text(consumer.prefix.consumer_tag());
        let cancel = AMQPClass::Basic(basic::AMQPMethod::Cancel(basic::Cancel { consumer_tag, nowait: true }));
        // Perhaps the client waits for the delete-ok of this very queue: as with RabbitMQ the answer comes first.
        self.write_in_turn(connection, (channel, number), &cancel);
    }

    fn blocked(&mut self, reason: Option<&'static str>) {
        self.blocked = reason;
        if let Some(reason) = reason {
            // Publishers are told now, others if they publish: consumers need not know.
            for connection in self.connections.values_mut().filter(|connection| connection.flags.publisher) {
                if connection.tell_blocked(reason, &mut self.pool) {
                    connection.mark_ready(&mut self.ready);
                }
            }
            return;
        }
        for connection in self.connections.values_mut() {
            let told = std::mem::take(&mut connection.flags.told_blocked);
            if told && connection.capabilities.connection_blocked && !connection.flags.closing {
                let method = AMQPClass::Connection(connection::AMQPMethod::Unblocked(connection::Unblocked {}));
                write_method(connection.buffer(&mut self.pool), ChannelId(0), &method);
                connection.mark_ready(&mut self.ready);
            }
            if std::mem::take(&mut connection.flags.held_back) {
                connection.mark_ready(&mut self.ready);
            }
        }
    }

    fn has_output(&self) -> bool {
        !self.ready.is_empty()
    }

    fn set_now_us(&mut self, now_us: u64) {
        // A clock that is set back must not make time go back.
        self.now_us = self.now_us.max(now_us);
    }

    fn add_stats(&self, stats: &mut ShardStats) {
        stats.messages_confirmed += self.counted.messages_confirmed;
        stats.queues_declared += self.counted.queues_declared;
        stats.confirm_latencies.add(&self.counted.confirm_latencies);
        stats.messages_unconfirmed += self.channels.values().map(ChannelOutput::unconfirmed).sum::<u64>();
    }

    fn list_connections(&self, shard: ShardId, from: usize, limit: usize) -> (Vec<ConnectionInfo>, Option<usize>) {
        self.connection_rows(shard, from, limit)
    }

    fn list_channels(&self, shard: ShardId, from: usize, limit: usize) -> (Vec<ChannelInfo>, Option<usize>) {
        self.channel_rows(shard, from, limit)
    }

    fn close_connections(&mut self, concerned: &dyn Fn(&str, &str) -> bool, error: &ConnectionError) {
        let is_concerned = |connection: &ConnectionOutput| {
            let client = &connection.client;
            !client.vhost.is_empty() && concerned(&client.user, &client.vhost)
        };
        let keys: Vec<ConnectionKey> = self
            .connections
            .values_mut()
            .filter(|connection| is_concerned(connection))
            .map(|connection| connection.key)
            .collect();
        for key in keys {
            self.fail_connection(key, MethodId::default(), error);
        }
    }

    fn close_connection(&mut self, connection: ConnectionKey, error: ConnectionError) {
        self.fail_connection(connection, MethodId::default(), &error);
    }
}

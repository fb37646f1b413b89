//! What the input halves of connections do to their output halves.

use std::rc::Rc;

use amq_protocol::protocol::AMQPClass;
use broker_core::ids::{ChannelKey, ConnectionKey, RequestId, ShardId};
use broker_core::shard::Shard;

use super::Outputs;
use super::channel::{ChannelOutput, Held, PublishCounts};
use super::client::Client;
use super::half::{ConnectionOutput, Event, Gate, write_due_confirms};
use super::reply::{self, Outcome, Request};
use crate::amqp::codec::{ChannelId, write_heartbeat, write_method};
use crate::amqp::connection::ClientCapabilities;
use crate::amqp::limits;

/// No connection has this key.
const NO_CONNECTION: ConnectionKey = ConnectionKey { slot: u32::MAX, epoch: u32::MAX };

impl Outputs {
    pub(crate) fn open_connection(&mut self, client: Client) -> ConnectionKey {
        // The key is known once the slot is.
        let key = self.connections.insert(ConnectionOutput::new(NO_CONNECTION, client));
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

    /// Opens the output half of a channel. The counters are for its input half to count in.
    pub(crate) fn open_channel(
        &mut self,
        connection: ConnectionKey,
        number: ChannelId,
    ) -> (ChannelKey, Rc<PublishCounts>) {
        if let Some(connection) = self.connections.get_mut(connection) {
            connection.channels += 1;
        }
        let channel = ChannelOutput::new(connection, number);
        let publishes = Rc::clone(&channel.publishes);
        (self.channels.insert(channel), publishes)
    }

    /// Forgets a channel after writing the confirms that are due on it.
    pub(crate) fn remove_channel(&mut self, key: ChannelKey) {
        let Some(mut channel) = self.channels.remove(key) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(channel.connection) else {
            return;
        };
        connection.channels = connection.channels.saturating_sub(1);
        if !connection.flags.closing {
            let out = connection.buffer(&mut self.pool);
            write_due_confirms(out, &mut channel, self.now_us, &mut self.counted);
        }
        // Nothing may wait for a reply that is of no use any more.
        for request in connection.requests.waiting.iter_mut().filter(|request| request.channel == key) {
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
            write_method(connection.buffer(&mut self.pool), ChannelId(0), &reply::close_ok());
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

    /// Writes a method when all that was asked before has been answered.
    pub(crate) fn write_in_turn(
        &mut self,
        key: ConnectionKey,
        (channel, number): (ChannelKey, ChannelId),
        method: &AMQPClass,
    ) {
        match self.connections.get_mut(key) {
            Some(connection) if connection.requests.len() > 0 => {
                connection.requests.push(Request::told_in_turn(channel, number, method));
            }
            _ => self.write_method(key, number, method),
        }
    }

    /// Has what is written in turn wait until other shards have done what `shard` has told them.
    pub(crate) fn wait_for_shards(&mut self, key: ConnectionKey, shard: &mut Shard, others: &[ShardId]) {
        for other in others {
            let request = self.expect_reply(key, Request::silent());
            shard.ask_done(*other, key, request);
        }
    }

    /// What the next frame of the connection has to mind. A connection whose output is full becomes ready when that
    /// has been written.
    #[inline]
    pub(crate) fn gate(&mut self, key: ConnectionKey) -> Gate {
        let Some(connection) = self.connections.get_mut(key) else {
            return Gate::default();
        };
        let full = connection.buffer.len() > limits::OUTPUT_BYTES;
        connection.flags.held_back |= full;
        Gate { waiting: connection.requests.len() > 0, full }
    }

    /// Requests of the connection that wait for their replies.
    pub(crate) fn waiting(&self, key: ConnectionKey) -> usize {
        self.connections.get(key).map_or(0, |connection| connection.requests.len())
    }

    pub(crate) fn next_event(&mut self, key: ConnectionKey) -> Option<Event> {
        let connection = self.connections.get_mut(key)?;
        if connection.events.is_empty() { None } else { Some(connection.events.remove(0)) }
    }

    /// Whether something was written since the last call with a heartbeat check due; see `Heartbeat::check`.
    pub(crate) fn written_flag(&mut self, key: ConnectionKey) -> Option<&mut bool> {
        self.connections.get_mut(key).map(|connection| &mut connection.flags.written)
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
        if connection.tell_blocked(reason, &mut self.pool) {
            connection.mark_ready(&mut self.ready);
        }
        true
    }

    /// The client publishes: it is told when publishers are blocked.
    pub(crate) fn set_publisher(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.flags.publisher = true;
        }
    }

    /// Records a publish of a channel in confirm mode or in a transaction.
    #[inline]
    pub(crate) fn expect_confirm(&mut self, key: ChannelKey, parts: u32, refused: bool) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        if let Some(confirms) = &mut channel.confirms {
            if !channel.transactional {
                confirms.came(self.now_us);
            }
            confirms.expect(parts, refused);
        }
        if parts == 0 {
            self.confirms_changed(key);
        }
    }

    /// Delivers what the channel's limit held back, as far as there is room now, and tells the queues what room is left.
    pub(crate) fn release_held(&mut self, key: ChannelKey, shard: &mut Shard) {
        while let Some(held) = self.channels.get_mut(key).and_then(ChannelOutput::release) {
            self.deliver_held(key, &held);
        }
        self.tell_room(key, shard);
    }

    /// Delivers what the channel's limit held back.
    pub(crate) fn deliver_held(&mut self, key: ChannelKey, held: &Held) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(channel.connection) else {
            return;
        };
        let frame_max = connection.frame_max;
        let out = connection.buffer(&mut self.pool);
        let delivered = channel.deliver_released(out, key, held, frame_max);
        connection.delivered(delivered, key, held.consumer, &mut self.ready);
    }

    /// Tells the queues of a channel with a limit what room it has, if they do not know.
    pub(crate) fn tell_room(&mut self, key: ChannelKey, shard: &mut Shard) {
        let Some(channel) = self.channels.get(key) else {
            return;
        };
        let (consumers, first) = (channel.limited_consumers(), channel.first_in_turn());
        for turn in 0..consumers {
            // A queue on this shard delivers at once, and leaves less room to the next.
            let told = self.channels.get_mut(key).and_then(|channel| channel.next_room(first, turn));
            if let Some((consumer, more)) = told {
                shard.add_room(self, key, consumer, more);
            }
        }
    }
}

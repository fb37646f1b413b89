//! The output half of one connection.

use amq_protocol::protocol::{AMQPClass, connection};
use broker_core::ids::{ChannelKey, ConnectionKey, ConsumerId, ConsumerRef};
use broker_core::shard::histogram::LATENCY_BOUNDS_US;

use super::Counted;
use super::channel::{ChannelOutput, Delivered};
use super::client::Client;
use super::reply::Requests;
use crate::amqp::channel::confirm::Confirmation;
use crate::amqp::codec::{ChannelId, DeliveryTag, reply_text, write_ack, write_method, write_nack};
use crate::amqp::connection::ClientCapabilities;
use crate::amqp::limits;

/// The output half of a connection.
#[derive(Debug)]
pub(crate) struct ConnectionOutput {
    pub(super) key: ConnectionKey,
    pub(super) buffer: Vec<u8>,
    pub(super) requests: Requests,
    /// Consumers with deliveries in `buffer`.
    pub(super) windows: Vec<(ChannelKey, ConsumerId)>,
    /// Windows of deliveries that the transport is writing.
    pub(super) in_flight: Vec<Window>,
    /// Channels with confirms that are due.
    pub(super) confirms_due: Vec<ChannelKey>,
    /// What the input half has to learn.
    pub(super) events: Vec<Event>,
    pub(super) frame_max: u32,
    pub(super) capabilities: ClientCapabilities,
    pub(super) flags: Flags,
    /// Open channels.
    pub(super) channels: u16,
    pub(super) client: Box<Client>,
}

#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not states")]
pub(super) struct Flags {
    /// In the list of ready connections.
    pub(super) ready: bool,
    /// `connection.close` or `close-ok` is in the buffer: nothing may follow but a `close-ok`.
    pub(super) closing: bool,
    /// Something was taken to be written since the last heartbeat check.
    pub(super) written: bool,
    /// The client has published.
    pub(super) publisher: bool,
    /// The client was told that it is blocked.
    pub(super) told_blocked: bool,
    /// Input is held back because publishers are blocked or too much output waits.
    pub(super) held_back: bool,
}

/// Window to be given back to a consumer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) channel: ChannelKey,
    pub(super) consumer: ConsumerRef,
    pub(super) bytes: u32,
}

/// See [`Outputs::gate`](super::Outputs::gate).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gate {
    /// Replies are outstanding.
    pub(crate) waiting: bool,
    /// More is waiting to be written than [`limits::OUTPUT_BYTES`].
    pub(crate) full: bool,
}

/// What happened on the output side that changes the state of the input half.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// A channel is to be ended, and the client to be told with `close` when that is done.
    ChannelFailed { number: ChannelId, channel: ChannelKey, close: Box<AMQPClass> },
    /// `connection.close` was written.
    ConnectionFailed,
    /// `connection.close-ok` was written: the end.
    Closed,
}

impl ConnectionOutput {
    pub(super) fn new(key: ConnectionKey, client: Client) -> Self {
        Self {
            key,
            buffer: Vec::new(),
            requests: Requests::default(),
            windows: Vec::new(),
            in_flight: Vec::new(),
            confirms_due: Vec::new(),
            events: Vec::new(),
            frame_max: limits::INITIAL_FRAME_MAX,
            capabilities: ClientCapabilities::default(),
            flags: Flags::default(),
            channels: 0,
            client: Box::new(client),
        }
    }

    /// The buffer to append to, from the pool if there is none.
    #[inline]
    pub(super) fn buffer(&mut self, pool: &mut Vec<Vec<u8>>) -> &mut Vec<u8> {
        if self.buffer.capacity() == 0 {
            self.buffer = pool.pop().unwrap_or_default();
        }
        &mut self.buffer
    }

    /// Tells the client that its publishes wait, unless it knows or cannot be told. True if something was written.
    pub(super) fn tell_blocked(&mut self, reason: &str, pool: &mut Vec<Vec<u8>>) -> bool {
        let told = std::mem::replace(&mut self.flags.told_blocked, true);
        if told || !self.capabilities.connection_blocked || self.flags.closing {
            return false;
        }
        let blocked = connection::Blocked { reason: reply_text(reason) };
        let method = AMQPClass::Connection(connection::AMQPMethod::Blocked(blocked));
        write_method(self.buffer(pool), ChannelId(0), &method);
        true
    }

    #[inline]
    pub(super) fn mark_ready(&mut self, ready: &mut Vec<ConnectionKey>) {
        if !self.flags.ready {
            self.flags.ready = true;
            ready.push(self.key);
        }
    }

    #[inline]
    pub(super) fn delivered(
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

/// Writes the confirms that are due, and counts them.
pub(super) fn write_due_confirms(
    out: &mut Vec<u8>,
    channel: &mut ChannelOutput,
    now_us: u64,
    counted: &mut Counted,
) {
    let number = channel.number;
    let Some(confirms) = channel.confirms.as_mut().filter(|_| !channel.transactional) else {
        return;
    };
    confirms.flush(|confirmation| match confirmation {
        Confirmation::Ack { delivery_tag, count } => {
            counted.messages_confirmed += count;
            write_ack(out, number, DeliveryTag(delivery_tag), count > 1);
        }
        Confirmation::Nack { delivery_tag } => write_nack(out, number, DeliveryTag(delivery_tag), false),
    });
    let latencies = &mut counted.confirm_latencies;
    confirms.take_latencies(now_us, |count, us| latencies.record(&LATENCY_BOUNDS_US, us, count));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amqp::Connection;
    use crate::amqp::channel::Channel;

    #[test]
    fn idle_connection_with_one_channel_is_small() {
        let bytes = size_of::<ConnectionOutput>()
            + size_of::<ChannelOutput>()
            + size_of::<Connection>()
            + size_of::<Channel>();
        assert!(bytes <= 1536, "{bytes}");
    }
}

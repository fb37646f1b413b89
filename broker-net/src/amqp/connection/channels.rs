//! The channels of a connection: who gets a frame, and what opening and closing one comes to.

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::channel::{AMQPMethod, OpenOk};
use broker_core::error::{ConnectionCode, ConnectionError};
use broker_core::ids::{ChannelKey, ShardId};
use broker_core::shard::Shard;

use super::Connection;
use crate::amqp::Node;
use crate::amqp::census::ChannelLimits;
use crate::amqp::channel::{Channel, Failure, Flow, Session, Turn};
use crate::amqp::codec::{ChannelId, Frame, FrameKind, Method, MethodId};
use crate::amqp::outputs::Outputs;
use crate::amqp::outputs::reply::NO_CHANNEL;

impl Connection {
    /// Hands a frame to its channel, which `channel.open` makes.
    #[inline]
    pub(super) fn handle_channel_frame(
        &mut self,
        frame: &Frame<'_>,
        behind: &[u8],
        shard: &mut Shard,
        outputs: &mut Outputs,
    ) -> Result<(Flow, ChannelId), (ChannelKey, Failure)> {
        let Some(session) = &self.session else {
            return Ok((Flow::Done, frame.channel));
        };
        let Some(Some(channel)) = self.channels.get_mut(usize::from(frame.channel.0)) else {
            return self
                .open_channel(frame, shard, outputs)
                .map(|flow| (flow, frame.channel))
                .map_err(|failure| (NO_CHANNEL, failure));
        };
        let gate = outputs.gate(self.key);
        if gate.full {
            return Ok((Flow::Stall, frame.channel));
        }
        let mut turn = Turn { shard, outputs, session, waiting: gate.waiting };
        let result = channel.handle_frame(&mut turn, frame, behind);
        self.publishes |= channel.has_published();
        result.map(|flow| (flow, frame.channel)).map_err(|failure| (channel.key, failure))
    }

    /// A frame on a channel that is not open: it must be `channel.open`.
    #[cold]
    fn open_channel(
        &mut self,
        frame: &Frame<'_>,
        shard: &mut Shard,
        outputs: &mut Outputs,
    ) -> Result<Flow, Failure> {
        const CHANNEL_OPEN: MethodId = MethodId::new(20, 10);
        let method = MethodId::of(frame.payload).unwrap_or_default();
        if frame.kind != FrameKind::Method {
            let text = "expected method frame, got non method frame instead";
            return Err(ConnectionCode::UnexpectedFrame.error(text).into());
        }
        let failure = |error: ConnectionError| Failure { method, error: error.into() };
        Method::parse(frame.payload).map_err(|error| failure(error.to_connection_error()))?;
        if method != CHANNEL_OPEN {
            return Err(failure(ConnectionCode::ChannelError.error("expected 'channel.open'")));
        }
        if outputs.waiting(self.key) > 0 {
            return Ok(Flow::Stall);
        }
        self.count_channel(shard)?;
        let index = usize::from(frame.channel.0);
        if self.channels.len() <= index {
            self.channels.resize_with(index + 1, || None);
        }
        let (key, publishes) = outputs.open_channel(self.key, frame.channel);
        if let Some(slot) = self.channels.get_mut(index) {
            *slot = Some(Box::new(Channel::new(key, frame.channel, publishes)));
        }
        self.open_channels += 1;
        let stats = shard.stats_mut();
        stats.channels += 1;
        stats.channels_opened += 1;
        let open_ok = AMQPClass::Channel(AMQPMethod::OpenOk(OpenOk {}));
        outputs.write_method(self.key, frame.channel, &open_ok);
        Ok(Flow::Done)
    }

    /// Counts a channel that is being opened, unless it is one too many.
    fn count_channel(&self, shard: &Shard) -> Result<(), ConnectionError> {
        // As in RabbitMQ it is the channels that are counted; which numbers they have is the client's business.
        if self.open_channels >= self.channel_max {
            return Err(ConnectionCode::NotAllowed.error(format!(
                "number of channels opened ({}) has reached the negotiated channel_max ({})",
                self.open_channels, self.channel_max
            )));
        }
        let Some(session) = &self.session else {
            return Ok(());
        };
        let limits = ChannelLimits {
            node: self.node.config().channel_max_per_node,
            user: shard.channel_limit(&session.user),
        };
        self.node.census.open_channel(&session.user, limits, &self.node.name)
    }

    pub(super) fn free_channel(&mut self, number: ChannelId, shard: &mut Shard) {
        let slot = self.channels.get_mut(usize::from(number.0));
        if let Some(channel) = slot.and_then(Option::take) {
            self.open_channels -= 1;
            if !channel.is_closing() {
                count_closed(&channel, self.session.as_deref(), &self.node, shard);
            }
        }
    }

    /// Closes all channels. Returns the other shards that do their part of it later.
    pub(super) fn close_channels(&mut self, shard: &mut Shard, outputs: &mut Outputs) -> Vec<ShardId> {
        let mut others = Vec::new();
        for channel in self.channels.drain(..).flatten() {
            if !channel.is_closing() {
                others.extend(shard.close_channel(outputs, channel.key));
                outputs.remove_channel(channel.key);
                count_closed(&channel, self.session.as_deref(), &self.node, shard);
            }
        }
        self.channels.shrink_to_fit();
        self.open_channels = 0;
        others.sort_unstable();
        others.dedup();
        others
    }
}

/// Counts the end of a channel.
pub(super) fn count_closed(channel: &Channel, session: Option<&Session>, node: &Node, shard: &mut Shard) {
    channel.count_closed(shard);
    if let Some(session) = session {
        node.census.close_channel(&session.user);
    }
}

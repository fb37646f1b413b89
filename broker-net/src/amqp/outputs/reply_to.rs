//! The consumer of direct replies on a channel.

use broker_core::ids::ChannelKey;
use broker_core::model::message::Message;

use super::Outputs;
use super::channel::ChannelOutput;
use crate::amqp::codec::{DeliverPrefix, DeliveryTag, write_deliver};
use crate::amqp::limits;

/// A channel's consumer of `amq.rabbitmq.reply-to`. It belongs to no queue, and nothing of it is to be acknowledged.
#[derive(Debug)]
pub(crate) struct ReplyConsumer {
    /// The routing key that replies come with.
    reply_name: Box<str>,
    prefix: DeliverPrefix,
}

impl ChannelOutput {
    /// Starts consuming replies under a name.
    pub(crate) fn set_reply_consumer(&mut self, reply_name: Box<str>, consumer_tag: &str) {
        let prefix = DeliverPrefix::new(self.number, consumer_tag);
        self.reply_consumer = Some(Box::new(ReplyConsumer { reply_name, prefix }));
    }

    /// The tag of the channel's reply consumer.
    pub(crate) fn reply_consumer_tag(&self) -> Option<&str> {
        self.reply_consumer.as_ref().map(|consumer| consumer.prefix.consumer_tag())
    }

    /// Ends the reply consumer.
    pub(crate) fn remove_reply_consumer(&mut self) {
        self.reply_consumer = None;
    }

    /// True if the channel consumes replies under this name.
    pub(crate) fn consumes_replies(&self, reply_name: &str) -> bool {
        self.reply_consumer.as_ref().is_some_and(|consumer| *consumer.reply_name == *reply_name)
    }

    fn write_reply_delivery(&mut self, out: &mut Vec<u8>, message: &Message<'_>, frame_max: u32) {
        let tag = DeliveryTag(self.next_delivery_tag());
        if let Some(consumer) = &self.reply_consumer {
            write_deliver(out, &consumer.prefix, tag, false, message, frame_max);
        }
    }
}

impl Outputs {
    /// Writes a reply to the channel that consumes it. What a connection does not read is limited: replies beyond are lost.
    pub(super) fn write_reply(&mut self, key: ChannelKey, message: &Message<'_>) -> bool {
        let Some(channel) = self.channels.get_mut(key) else {
            return false;
        };
        let Some(connection) = self.connections.get_mut(channel.connection) else {
            return false;
        };
        let full = connection.buffer.len() > limits::REPLY_BYTES;
        if connection.flags.closing || full || !channel.consumes_replies(message.routing_key) {
            return false;
        }
        let frame_max = connection.frame_max;
        channel.write_reply_delivery(connection.buffer(&mut self.pool), message, frame_max);
        connection.mark_ready(&mut self.ready);
        true
    }
}

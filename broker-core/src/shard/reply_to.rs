//! Direct reply-to: requests get the reply name of their channel, replies find it.

use std::sync::Arc;

use super::Shard;
use super::mailbox::{Answer, Op, ReplyTo};
use super::publisher::Publisher;
use crate::error::{AmqpError, ChannelCode};
use crate::ids::ChannelKey;
use crate::model::message::Message;
use crate::model::reply_to;
use crate::model::vhost::Resource;
use crate::session::{Caller, Publish, Published, Sessions};

/// Somebody who wants to know whether a reply name is consumed (`queue.declare`).
#[derive(Clone, Debug)]
pub(super) struct FindReply {
    /// Whom to answer.
    pub asked_by: ReplyTo,
    /// The channel that the name says.
    pub channel: ChannelKey,
    /// The virtual host of who asks.
    pub vhost: Arc<str>,
    /// The reply name.
    pub name: Arc<str>,
}

impl Shard {
    /// Publishes a request whose `reply-to` is the pseudo-queue: the channel's reply name takes its place.
    #[cold]
    pub(super) fn publish_request(
        &mut self,
        sessions: &mut impl Sessions,
        caller: Caller<'_>,
        publisher: &mut Publisher,
        publish: Publish<'_>,
        reply_to: &[u8],
    ) -> Result<Published, AmqpError> {
        let Some(name) = publisher.reply_name() else {
            return Err(ChannelCode::PreconditionFailed.error("fast reply consumer does not exist").into());
        };
        let properties = reply_to::with_reply_to(publish.message.properties, reply_to, name);
        let message = Message { properties: &properties, ..publish.message };
        self.publish(sessions, caller, publisher, Publish { message, ..publish })
    }

    /// Takes a message that no queue got to the channel that it replies to, if it is a reply. To its publisher it counts
    /// as unroutable (RabbitMQ).
    #[cold]
    pub(super) fn deliver_reply(&mut self, sessions: &mut impl Sessions, message: Message<'_>) {
        if !message.exchange.is_empty() {
            return;
        }
        let Some(at) = reply_to::address_of(message.routing_key) else {
            return;
        };
        if at.shard == self.id {
            self.deliver_reply_here(sessions, at.channel, message);
        } else if at.shard.0 < self.placement.shards() {
            let batch = self.peers.batch(at.shard);
            let message = batch.message(message);
            batch.push(Op::Reply { channel: at.channel, message });
        }
    }

    /// A reply for a channel of this shard.
    pub(super) fn deliver_reply_here(
        &mut self,
        sessions: &mut impl Sessions,
        channel: ChannelKey,
        message: Message<'_>,
    ) {
        if sessions.deliver_reply(channel, message) {
            self.stats.messages_delivered_consume_auto_ack += 1;
        }
    }

    /// Answers a `queue.declare` of a name that stands for no queue but for replies; false if it stands for a queue.
    pub(super) fn declare_reply_queue(
        &mut self,
        sessions: &mut impl Sessions,
        asked_by: ReplyTo,
        vhost: &Arc<str>,
        name: &str,
    ) -> bool {
        if reply_to::is_pseudo_queue(name.as_bytes()) {
            self.answer(sessions, asked_by, consumed(name.into()));
            return true;
        }
        if !reply_to::is_reply_name(name) {
            return false;
        }
        match reply_to::address_of(name).filter(|at| at.shard.0 < self.placement.shards()) {
            None => {
                let error = Resource::queue(vhost, name).not_found();
                self.answer(sessions, asked_by, Answer::Failed(error.into()));
            }
            Some(at) => {
                let find =
                    FindReply { asked_by, channel: at.channel, vhost: Arc::clone(vhost), name: name.into() };
                if at.shard == self.id {
                    self.find_reply(sessions, find);
                } else {
                    self.peers.batch(at.shard).push(Op::FindReply(Box::new(find)));
                }
            }
        }
        true
    }

    /// The channel would be one of this shard.
    pub(super) fn find_reply(&mut self, sessions: &mut impl Sessions, find: FindReply) {
        let FindReply { asked_by, channel, vhost, name } = find;
        let answer = if sessions.consumes_replies(channel, &name) {
            consumed(name)
        } else {
            Answer::Failed(Resource::queue(&vhost, &name).not_found().into())
        };
        self.answer(sessions, asked_by, answer);
    }
}

/// A reply queue is empty and has one consumer.
fn consumed(queue: Arc<str>) -> Answer {
    Answer::QueueDeclareOk { queue, message_count: 0, consumer_count: 1 }
}

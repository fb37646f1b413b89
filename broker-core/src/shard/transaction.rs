//! Publishes of a transaction: what is wrong with one is told when it is published, and where it goes is decided then; its
//! queues get it at `tx.commit` (RabbitMQ).

use super::Shard;
use super::histogram::MESSAGE_SIZE_BOUNDS;
use super::publish::{Confirm, Routed};
use super::publisher::{Publisher, Target};
use crate::error::{AmqpError, ChannelCode};
use crate::ids::QueueId;
use crate::model::headers::{BCC, sender_selected, without};
use crate::model::message::{Message, Stamp, Traits};
use crate::model::permission::Access;
use crate::model::properties::Properties;
use crate::model::reply_to::{is_pseudo_queue, with_reply_to};
use crate::session::{Caller, Publish, Published, Sessions};

/// Where a message goes whose transaction is not committed yet.
#[derive(Debug)]
pub struct Prepared {
    queues: Box<[QueueId]>,
    held_back: Box<[QueueId]>,
}

impl Prepared {
    /// Bytes that it holds on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        (self.queues.len() + self.held_back.len()) * size_of::<QueueId>()
    }
}

impl Shard {
    /// Checks and routes a message like [`publish`](Self::publish), and gives it to nobody. Beside where it goes this returns the
    /// properties that it has to be committed with, if they are not those it came with (BCC, direct reply-to).
    ///
    /// # Errors
    /// As [`publish`](Self::publish); room in the logs is not looked at.
    pub fn prepare(
        &mut self,
        caller: Caller<'_>,
        publisher: &Publisher,
        message: &Message<'_>,
    ) -> Result<(Prepared, Option<Vec<u8>>), AmqpError> {
        self.stats.messages_received += 1;
        self.stats.messages_received_confirm += 1;
        self.stats.message_sizes.record(&MESSAGE_SIZE_BOUNDS, message.body.len() as u64, 1);
        self.topology.may_publish(caller.user, caller.vhost, message.exchange)?;
        let malformed = super::plan::malformed_properties;
        let original = Properties::parse(message.properties).map_err(malformed)?;
        let mut rewritten = match original.reply_to.filter(|name| is_pseudo_queue(name)) {
            None => None,
            Some(reply_to) => {
                let missing = || ChannelCode::PreconditionFailed.error("fast reply consumer does not exist");
                let name = publisher.reply_name().ok_or_else(missing)?;
                Some(with_reply_to(message.properties, reply_to, name))
            }
        };
        let encoded = rewritten.as_deref().unwrap_or(message.properties);
        let properties = Properties::parse(encoded).map_err(malformed)?;
        properties.expiration_ms()?;
        let selected = match properties.headers {
            Some(headers) => sender_selected(headers)?.unwrap_or_default(),
            None => Default::default(),
        };
        let mut routing_keys = selected.routing_keys;
        routing_keys.insert(0, message.routing_key);
        for key in &routing_keys {
            self.topology.check_topic(caller.user, caller.vhost, Access::Write, message.exchange, key)?;
        }
        if let Some(user_id) = properties.user_id {
            self.check_user_id(caller, user_id)?;
        }
        let routed = self.route(caller.vhost, message.exchange, &routing_keys, &properties)?;
        if let (Some(headers), true, []) = (properties.headers, selected.has_bcc, routed.held_back.as_slice()) {
            rewritten = Some(without(encoded, headers, BCC));
        }
        let queues = routed.targets.iter().map(|target| target.queue).collect();
        Ok((Prepared { queues, held_back: routed.held_back.into() }, rewritten))
    }

    /// Gives a message to the queues that [`prepare`](Self::prepare) found, those that are still there. It came to somebody if
    /// there was a queue then.
    pub fn publish_prepared(
        &mut self,
        sessions: &mut impl Sessions,
        caller: Caller<'_>,
        prepared: &Prepared,
        publish: Publish<'_>,
    ) -> Published {
        let message = Message { stamp: Stamp::at(self.now_ms), ..publish.message };
        let properties = Properties::parse(message.properties).unwrap_or_default();
        let traits = Traits::of(&properties);
        let confirm: Confirm = publish.confirm.map(|seq| (self.id, caller.channel, seq));
        let mut targets: Vec<Target> = prepared.queues.iter().filter_map(|queue| self.target(*queue)).collect();
        targets.sort_unstable_by_key(|target| (target.shard, target.partition, target.queue));
        if !prepared.held_back.is_empty() {
            let held_back = prepared.held_back.to_vec();
            let routed = Routed { targets: targets.into(), held_back, cacheable: false };
            self.stats.messages_routed += 1;
            return self.hold_back(sessions, &routed, message, traits, confirm);
        }
        if targets.is_empty() && !prepared.queues.is_empty() {
            return Published { routed: true, pending_confirms: 0, refused: false };
        }
        self.distribute(sessions, &targets, message, traits, confirm, publish.mandatory)
    }
}

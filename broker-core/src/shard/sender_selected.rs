//! Sender-selected distribution (RabbitMQ extension): the headers CC and BCC bring further routing keys.

use super::Shard;
use super::publish::Confirm;
use crate::error::AmqpError;
use crate::model::headers::{BCC, SenderSelected, without};
use crate::model::message::{Message, Traits};
use crate::model::permission::Access;
use crate::model::properties::Properties;
use crate::session::{Caller, Publish, Published, Sessions};

impl Shard {
    /// Publishes a message to wherever one of its keys leads, once to each queue. CC stays in the message, BCC does not.
    /// Nothing is remembered of the route.
    pub(super) fn publish_selected(
        &mut self,
        sessions: &mut impl Sessions,
        caller: Caller<'_>,
        publish: &Publish<'_>,
        properties: &Properties<'_>,
        selected: SenderSelected<'_>,
    ) -> Result<Published, AmqpError> {
        let message = publish.message;
        let confirm: Confirm = publish.confirm.map(|seq| (self.id, caller.channel, seq));
        let mut routing_keys = selected.routing_keys;
        routing_keys.insert(0, message.routing_key);
        for key in &routing_keys {
            self.topology.check_topic(caller.user, caller.vhost, Access::Write, message.exchange, key)?;
        }
        let routed = self.route(caller.vhost, message.exchange, &routing_keys, properties)?;
        if !routed.held_back.is_empty() {
            self.stats.messages_routed += 1;
            // BCC is needed again when the message is released.
            return Ok(self.hold_back(sessions, &routed, message, Traits::of(properties), confirm));
        }
        let stripped = match properties.headers {
            Some(headers) if selected.has_bcc => Some(without(message.properties, headers, BCC)),
            _ => None,
        };
        let message = match &stripped {
            Some(stripped) => Message { properties: stripped, ..message },
            None => message,
        };
        let traits = Traits::of(properties);
        Ok(self.distribute(sessions, &routed.targets, message, traits, confirm, publish.mandatory))
    }
}

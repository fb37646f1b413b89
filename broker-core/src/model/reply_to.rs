//! Direct reply-to (RabbitMQ extension): replies go to the channel that asked, through no queue.
//!
//! A channel consumes from one of the [pseudo-queues](is_pseudo_queue) and publishes its requests with that name as `reply-to`. The
//! broker puts the channel's own reply name there instead, to which the replies are published through the default exchange. The
//! name says where the channel is and ends in a secret, which the channel compares: who was not asked cannot answer.

use super::queue::consumer::ChannelAddress;
use crate::ids::{ChannelKey, ShardId};

/// What every reply name begins with.
const PREFIX: &str = "amq.rabbitmq.reply-to.";

/// True for the names that stand for the channel's own replies: RabbitMQ's, and that of LavinMQ.
#[must_use]
pub fn is_pseudo_queue(name: &[u8]) -> bool {
    matches!(name, b"amq.rabbitmq.reply-to" | b"amq.direct.reply-to")
}

/// True if a routing key of the default exchange, or a queue's name, can be a reply name.
#[must_use]
pub fn is_reply_name(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// The reply name of a channel. `secret` has at most 64 characters.
#[must_use]
pub fn reply_name(at: ChannelAddress, secret: &str) -> String {
    let ChannelAddress { shard, channel } = at;
    format!("{PREFIX}{:x}-{:x}-{:x}.{secret}", shard.0, channel.slot, channel.epoch)
}

/// The channel that a reply name says it is of. There need not be one.
#[must_use]
pub fn address_of(reply_name: &str) -> Option<ChannelAddress> {
    let (address, _) = reply_name.strip_prefix(PREFIX)?.split_once('.')?;
    let mut numbers = address.split('-').map(|number| u32::from_str_radix(number, 16).ok());
    let (shard, slot, epoch) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let shard = ShardId(u16::try_from(shard).ok()?);
    Some(ChannelAddress { shard, channel: ChannelKey { slot, epoch } })
}

/// `properties` with `reply_to`, which is a part of them, replaced.
#[must_use]
pub fn with_reply_to(properties: &[u8], reply_to: &[u8], reply_name: &str) -> Vec<u8> {
    let start = reply_to.as_ptr().addr() - properties.as_ptr().addr();
    let length = u8::try_from(reply_name.len()).expect("a reply name is a short string");
    let mut out = Vec::with_capacity(properties.len() + reply_name.len());
    out.extend_from_slice(&properties[..start - 1]);
    out.push(length);
    out.extend_from_slice(reply_name.as_bytes());
    out.extend_from_slice(&properties[start + reply_to.len()..]);
    out
}

#[cfg(test)]
mod tests {
    use amq_protocol::frame::WriteContext;
    use amq_protocol::protocol::basic::{AMQPProperties, gen_properties};

    use super::*;
    use crate::model::properties::Properties;

    #[test]
    fn a_reply_name_leads_to_its_channel() {
        let at = ChannelAddress { shard: ShardId(3), channel: ChannelKey { slot: 77, epoch: u32::MAX } };
        let name = reply_name(at, "secret.with.dots");
        assert!(is_reply_name(&name) && !is_pseudo_queue(name.as_bytes()));
        assert_eq!(address_of(&name), Some(at));
    }

    #[test]
    fn other_names_lead_nowhere() {
        for name in ["", "queue", "amq.rabbitmq.reply-to", "amq.rabbitmq.reply-to.", "amq.rabbitmq.reply-to.1-2.x"]
        {
            assert_eq!(address_of(name), None, "{name}");
        }
        assert_eq!(address_of("amq.rabbitmq.reply-to.fffff-0-0.x"), None);
        assert_eq!(address_of("amq.rabbitmq.reply-to.é-0-0.x"), None);
    }

    #[test]
    fn the_other_properties_stay() {
        let encode = |reply_to: &str| {
            let properties = AMQPProperties::default()
                .with_correlation_id("before".into())
                .with_reply_to(reply_to.into())
                .with_message_id("after".into());
            gen_properties(&properties)(WriteContext::from(Vec::new())).unwrap().into_inner().0
        };
        let properties = encode("amq.rabbitmq.reply-to");
        let reply_to = Properties::parse(&properties).unwrap().reply_to.unwrap();
        assert!(is_pseudo_queue(reply_to));
        assert_eq!(with_reply_to(&properties, reply_to, "elsewhere"), encode("elsewhere"));
    }
}

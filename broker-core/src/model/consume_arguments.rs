//! The arguments of `basic.consume`. Those that mean nothing to the queue's type are refused if RabbitMQ knows them, and
//! ignored otherwise.

use amq_protocol::types::{AMQPValue, FieldTable};

use super::arguments::{integer, type_name};
use super::queue::settings::QueueType;
use super::vhost::Resource;
use crate::error::{ChannelCode, ChannelError};

/// What the consumer of a classic or quorum queue has asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumeArguments {
    /// `x-priority`, an integer of any width: lower ones are served while the higher ones are blocked.
    pub priority: i64,
}

impl ConsumeArguments {
    /// 406 with RabbitMQ's texts if an argument has the wrong type or is for another type of queue than `kind`.
    pub fn parse(queue: Resource<'_>, kind: QueueType, arguments: &FieldTable) -> Result<Self, ChannelError> {
        let mut parsed = Self::default();
        if let Some(value) = arguments.inner().get("x-priority") {
            parsed.priority = priority(value).ok_or_else(|| {
                let text = format!("\"expected integer, got {}\"", type_name(value));
                ChannelCode::PreconditionFailed.error(format!("invalid arg 'x-priority' for {queue}: {text}"))
            })?;
        }
        // The one argument that RabbitMQ knows for streams only.
        if arguments.inner().contains_key("x-stream-offset") {
            let text = format!("invalid arg 'x-stream-offset' for {queue} of queue type {}", kind.module());
            return Err(ChannelCode::PreconditionFailed.error(text));
        }
        Ok(parsed)
    }
}

fn priority(value: &AMQPValue) -> Option<i64> {
    match value {
        AMQPValue::Timestamp(_) => None,
        value => i64::try_from(integer(value)?).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: AMQPValue) -> Result<i64, String> {
        let mut arguments = FieldTable::default();
        arguments.insert(name.into(), value);
        let parsed = ConsumeArguments::parse(Resource::queue("/", "q"), QueueType::Classic, &arguments);
        parsed.map(|parsed| parsed.priority).map_err(|error| error.to_string())
    }

    #[test]
    fn priority_is_an_integer() {
        assert_eq!(check("x-priority", AMQPValue::LongInt(-5)), Ok(-5));
        assert_eq!(check("x-priority", AMQPValue::LongLongInt(1 << 40)), Ok(1 << 40));
        let text = "PRECONDITION_FAILED - invalid arg 'x-priority' for queue 'q' in vhost '/': \
                    \"expected integer, got longstr\"";
        assert_eq!(check("x-priority", AMQPValue::LongString("5".into())), Err(text.to_owned()));
    }

    #[test]
    fn others_are_ignored_but_the_stream_offset() {
        assert_eq!(check("x-cancel-on-ha-failover", AMQPValue::Boolean(true)), Ok(0));
        assert_eq!(check("x-anything", AMQPValue::Void), Ok(0));
        let text = "PRECONDITION_FAILED - invalid arg 'x-stream-offset' for queue 'q' in vhost '/' of queue type \
                    rabbit_classic_queue";
        assert_eq!(check("x-stream-offset", AMQPValue::LongString("first".into())), Err(text.to_owned()));
    }
}

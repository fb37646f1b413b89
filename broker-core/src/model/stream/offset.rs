//! Where a consumer of a stream begins: the argument `x-stream-offset` of `basic.consume`.
//!
//! Offsets count the messages of a stream from 0 in the order in which they were published. They are kept over restarts and none is
//! given to a second message.

use amq_protocol::types::{AMQPValue, FieldTable};
use broker_store::Seq;

use crate::error::{ChannelCode, ChannelError};
use crate::model::arguments::{ErlangTerm, integer, type_name};
use crate::model::queue::settings::age_ms;
use crate::model::vhost::Resource;

/// Name of the consumer argument, and of the header that every delivery has.
pub const OFFSET: &str = "x-stream-offset";

/// Where to begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The oldest message there is.
    First,
    /// The newest message there is (RabbitMQ: the chunk that it was stored with, which may begin before it).
    Last,
    /// What is published from now on.
    #[default]
    Next,
    /// This offset, or the first after it that there is.
    Offset(u64),
    /// The first message that was published at this time or later, in milliseconds since the Unix epoch.
    Timestamp(u64),
    /// The same, this many milliseconds ago.
    Ago(u64),
}

impl OffsetSpec {
    /// Reads the argument; without it, it is [`Self::Next`].
    ///
    /// # Errors
    /// 406 with RabbitMQ's text; where RabbitMQ itself fails with 541 (a string without number, a table, ...) the same.
    pub fn parse(queue: Resource<'_>, arguments: &FieldTable) -> Result<Self, ChannelError> {
        let Some(value) = arguments.inner().get(OFFSET) else {
            return Ok(Self::Next);
        };
        Self::of(value).ok_or_else(|| {
            let (kind, term) = (type_name(value), ErlangTerm(value));
            ChannelCode::PreconditionFailed.error(format!(
                "invalid arg '{OFFSET}' for {queue}: {{invalid_stream_offset_arg,{{{kind},{term}}}}}"
            ))
        })
    }

    fn of(value: &AMQPValue) -> Option<Self> {
        let text = match value {
            AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok()?,
            AMQPValue::ShortString(text) => text.as_str(),
            AMQPValue::Timestamp(seconds) => return Some(Self::Timestamp(seconds.saturating_mul(1000))),
            // An offset below the first one means the first one.
            other => return integer(other).map(|n| Self::Offset(u64::try_from(n).unwrap_or(0))),
        };
        match text {
            "first" => Some(Self::First),
            "last" => Some(Self::Last),
            "next" => Some(Self::Next),
            interval => age_ms(interval).map(Self::Ago),
        }
    }
}

/// The number of the message with an offset.
#[must_use]
pub fn seq_of(offset: u64) -> Seq {
    Seq(offset.saturating_add(1))
}

/// The offset of a message, as the header has it.
#[must_use]
pub fn offset_of(seq: Seq) -> i64 {
    i64::try_from(seq.0.saturating_sub(1)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: AMQPValue) -> Result<OffsetSpec, String> {
        let mut arguments = FieldTable::default();
        arguments.insert(OFFSET.into(), value);
        OffsetSpec::parse(Resource::queue("/", "q"), &arguments).map_err(|error| error.explanation)
    }

    fn text(text: &str) -> Result<OffsetSpec, String> {
        parse(AMQPValue::LongString(text.into()))
    }

    #[test]
    fn every_form_is_read() {
        assert_eq!(OffsetSpec::parse(Resource::queue("/", "q"), &FieldTable::default()), Ok(OffsetSpec::Next));
        assert_eq!(text("first"), Ok(OffsetSpec::First));
        assert_eq!(text("last"), Ok(OffsetSpec::Last));
        assert_eq!(text("next"), Ok(OffsetSpec::Next));
        assert_eq!(text("2h"), Ok(OffsetSpec::Ago(7_200_000)));
        assert_eq!(text("1Y"), Ok(OffsetSpec::Ago(365 * 86_400_000)));
        assert_eq!(parse(AMQPValue::LongInt(7)), Ok(OffsetSpec::Offset(7)));
        assert_eq!(parse(AMQPValue::LongLongInt(-2)), Ok(OffsetSpec::Offset(0)));
        assert_eq!(parse(AMQPValue::Timestamp(3)), Ok(OffsetSpec::Timestamp(3000)));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let refused = "invalid arg 'x-stream-offset' for queue 'q' in vhost '/': {invalid_stream_offset_arg,";
        assert_eq!(text("1x"), Err(format!("{refused}{{longstr,<<\"1x\">>}}}}")));
        for bad in ["", "s", "0s", "-1h", "+1h", "x", "1", "1é"] {
            assert!(text(bad).is_err(), "{bad}");
        }
        assert!(parse(AMQPValue::Boolean(true)).is_err());
        assert!(parse(AMQPValue::Void).is_err());
    }
}

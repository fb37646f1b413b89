//! Which messages of a stream a consumer wants: the arguments `x-stream-filter` and `x-stream-match-unfiltered` of
//! `basic.consume`, and the header `x-stream-filter-value` of a message.
//!
//! RabbitMQ skips chunks by a Bloom filter and may deliver messages that were not asked for; here every message is looked at.

use amq_protocol::types::{AMQPValue, FieldTable};

use crate::model::properties::Properties;
use crate::model::stream::header;

const FILTER: &str = "x-stream-filter";
const MATCH_UNFILTERED: &str = "x-stream-match-unfiltered";
const FILTER_VALUE: &str = "x-stream-filter-value";

/// A consumer's filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    values: Vec<Box<[u8]>>,
    match_unfiltered: bool,
}

impl Filter {
    /// Reads the arguments. `None` is everything: there is no `x-stream-filter`, or it is neither a string nor an array
    /// (RabbitMQ passes it over). In an array only strings count.
    #[must_use]
    pub fn parse(arguments: &FieldTable) -> Option<Self> {
        let text = |value: &AMQPValue| match value {
            AMQPValue::LongString(text) => Some(Box::from(text.as_bytes())),
            _ => None,
        };
        let values = match arguments.inner().get(FILTER)? {
            AMQPValue::FieldArray(values) => values.as_slice().iter().filter_map(text).collect(),
            value => vec![text(value)?],
        };
        let match_unfiltered = matches!(arguments.inner().get(MATCH_UNFILTERED), Some(AMQPValue::Boolean(true)));
        Some(Self { values, match_unfiltered })
    }

    /// True if the consumer wants a message with these properties.
    #[must_use]
    pub fn matches(&self, properties: &[u8]) -> bool {
        let headers = Properties::parse(properties).ok().and_then(|properties| properties.headers);
        match headers.and_then(|headers| header::find(headers, FILTER_VALUE)) {
            Some((b'S', value)) => self.values.iter().any(|wanted| **wanted == *value),
            _ => self.match_unfiltered,
        }
    }
}

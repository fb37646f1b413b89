//! Exchanges: their types, their definitions, the names that are reserved for the server.
//!
//! An exchange type decides which of an exchange's bindings a message matches. Each type is one file with an
//! index over the bindings; `ExchangeIndex` picks the one of the exchange. A further type needs a variant in
//! [`ExchangeType`] and an index here, built from the definition, so that its arguments are at hand.

use std::cell::OnceCell;
use std::sync::Arc;

use amq_protocol::types::FieldTable;

use crate::error::{ChannelCode, ChannelError};
use crate::model::binding::BindingId;
use crate::model::headers::{HeaderValue, Headers};
use crate::model::properties::Properties;
use crate::model::routing::Routable;
use crate::model::vhost::{Resource, ResourceKind};

mod definition;
pub mod delay;
mod direct;
mod fanout;
pub(crate) mod hash;
mod headers;
pub mod history;
mod jms_topic;
mod kind;
mod random;
mod topic;

pub use definition::ExchangeDefinition;
pub use kind::ExchangeType;
pub(crate) use topic::TopicScratch;

/// Prefix of the names that only the server gives.
pub const RESERVED_PREFIX: &str = "amq.";

/// The name of the default exchange: every queue is bound to it by its name.
pub const DEFAULT_EXCHANGE: &str = "";

/// The argument that names the alternate exchange (RabbitMQ extension).
pub const ALTERNATE_EXCHANGE: &str = "alternate-exchange";

/// The exchanges of every new virtual host: durable, never deleted.
pub const PREDECLARED: [(&str, ExchangeType); 6] = [
    (DEFAULT_EXCHANGE, ExchangeType::Direct),
    ("amq.direct", ExchangeType::Direct),
    ("amq.fanout", ExchangeType::Fanout),
    ("amq.topic", ExchangeType::Topic),
    ("amq.headers", ExchangeType::Headers),
    ("amq.match", ExchangeType::Headers),
];

/// An exchange inside one routing table. Reused after the exchange is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeId(u32);

impl ExchangeId {
    pub(crate) fn from_index(index: usize) -> Self {
        Self(u32::try_from(index).expect("memory ends before 2^32 exchanges"))
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// True for names that only the server gives (`amq.` and what follows).
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED_PREFIX)
}

/// 403 for a reserved name. For declares of things that do not exist and whose name a client chose.
pub fn check_declared_name(kind: ResourceKind, name: &str) -> Result<(), ChannelError> {
    if is_reserved(name) {
        let text = format!("{kind} name '{name}' contains reserved prefix 'amq.*'");
        return Err(ChannelCode::AccessRefused.error(text));
    }
    Ok(())
}

/// 403 for the default exchange. For declare, delete, bind and unbind.
pub fn check_not_default(name: &str) -> Result<(), ChannelError> {
    if name == DEFAULT_EXCHANGE {
        return Err(ChannelCode::AccessRefused.error("operation not permitted on the default exchange"));
    }
    Ok(())
}

/// 403 for the exchanges of the server, which cannot be deleted.
pub fn check_deletable(exchange: Resource<'_>) -> Result<(), ChannelError> {
    check_not_default(exchange.name)?;
    if is_reserved(exchange.name) {
        let text = format!("deletion of system {exchange} not allowed");
        return Err(ChannelCode::AccessRefused.error(text));
    }
    Ok(())
}

/// What a message is matched by.
pub(crate) struct MatchInput<'a> {
    /// The routing key, and those of the CC and BCC headers.
    pub(crate) routing_keys: &'a [&'a str],
    pub(crate) properties: &'a Properties<'a>,
    /// When the message was published, in milliseconds since the Unix epoch.
    published_ms: u64,
    /// A number that differs from message to message, for the types that choose at random.
    pub(crate) draw: u64,
    headers: OnceCell<FieldTable>,
}

impl<'a> MatchInput<'a> {
    pub(crate) fn new(message: &Routable<'a>, draw: u64) -> Self {
        let Routable { routing_keys, properties, published_ms, .. } = *message;
        Self { routing_keys, properties, published_ms, draw, headers: OnceCell::new() }
    }

    /// When the message is due, if an exchange that can hold it back is to do so.
    pub(crate) fn due_at(&self) -> Option<u64> {
        delay::due_at(self.properties, self.published_ms)
    }

    /// The routing key of the publish.
    pub(crate) fn routing_key(&self) -> &'a str {
        self.routing_keys.first().copied().unwrap_or_default()
    }

    /// One header, read in place.
    pub(crate) fn header(&self, name: &str) -> Option<HeaderValue<'a>> {
        Headers::new(self.properties.headers?).get(name)
    }

    /// The headers, parsed when the first exchange asks for them; none if they are malformed.
    pub(crate) fn headers(&self) -> &FieldTable {
        self.headers.get_or_init(|| self.properties.parse_headers().unwrap_or_default())
    }
}

/// The bindings of one exchange, arranged for its type.
#[derive(Debug)]
pub(crate) enum ExchangeIndex {
    Direct(direct::DirectIndex),
    Fanout,
    Topic(topic::TopicIndex),
    Headers(headers::HeadersIndex),
    JmsTopic(jms_topic::JmsTopicIndex),
    ConsistentHash(hash::ConsistentHashIndex),
    ModulusHash(hash::ModulusHashIndex),
    Random,
}

/// A binding on its way into an index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewBinding<'a> {
    pub(crate) id: BindingId,
    pub(crate) routing_key: &'a Arc<str>,
    pub(crate) arguments: &'a FieldTable,
    /// Name of the queue or exchange it leads to.
    pub(crate) destination: &'a str,
}

impl ExchangeIndex {
    pub(crate) fn new(definition: &ExchangeDefinition) -> Self {
        match definition.routing_type() {
            ExchangeType::Direct => Self::Direct(direct::DirectIndex::default()),
            // A type that is another's is none itself.
            ExchangeType::Fanout
            | ExchangeType::DelayedMessage
            | ExchangeType::RecentHistory
            | ExchangeType::MessageDeduplication => Self::Fanout,
            ExchangeType::Topic => Self::Topic(topic::TopicIndex::default()),
            ExchangeType::Headers => Self::Headers(headers::HeadersIndex::default()),
            ExchangeType::JmsTopic => Self::JmsTopic(jms_topic::JmsTopicIndex::default()),
            ExchangeType::ConsistentHash => {
                Self::ConsistentHash(hash::ConsistentHashIndex::new(&definition.arguments))
            }
            ExchangeType::ModulusHash => Self::ModulusHash(hash::ModulusHashIndex::default()),
            // Every queue is local to the only node.
            ExchangeType::Random | ExchangeType::LocalRandom => Self::Random,
        }
    }

    /// True if more than the routing keys of a message decides where it goes.
    pub(crate) fn depends_on_message(&self) -> bool {
        match self {
            Self::Direct(_) | Self::Fanout | Self::Topic(_) | Self::ModulusHash(_) => false,
            Self::Headers(_) | Self::JmsTopic(_) | Self::Random => true,
            Self::ConsistentHash(index) => index.depends_on_message(),
        }
    }

    /// The key as the index shares it, to be used by the binding instead of a copy.
    pub(crate) fn shared_key(&self, routing_key: &str) -> Option<Arc<str>> {
        match self {
            Self::Direct(index) => index.shared_key(routing_key),
            _ => None,
        }
    }

    /// Adds a binding; returns its place in the index.
    pub(crate) fn insert(&mut self, binding: NewBinding<'_>) -> u32 {
        let NewBinding { id, routing_key, arguments, destination } = binding;
        match self {
            Self::Direct(index) => return index.insert(id, routing_key),
            Self::Topic(index) => return index.insert(id, routing_key),
            Self::ConsistentHash(index) => {
                return index.insert(id, routing_key, hash::hash_of(destination.as_bytes()));
            }
            Self::Headers(index) => index.insert(id, arguments),
            Self::JmsTopic(index) => index.insert(id, arguments),
            Self::ModulusHash(index) => index.insert(id, hash::hash_of(destination.as_bytes())),
            Self::Fanout | Self::Random => {}
        }
        0
    }

    /// Removes a binding from its place. If another binding got that place, it is returned.
    pub(crate) fn remove(&mut self, id: BindingId, routing_key: &str, place: u32) -> Option<BindingId> {
        match self {
            Self::Direct(index) => return index.remove(routing_key, place),
            Self::Topic(index) => return index.remove(routing_key, place),
            Self::ConsistentHash(index) => return index.remove(place),
            Self::Headers(index) => index.remove(id),
            Self::JmsTopic(index) => index.remove(id),
            Self::ModulusHash(index) => index.remove(id),
            Self::Fanout | Self::Random => {}
        }
        None
    }

    /// Calls `found` with the bindings that match, in groups. A binding may come more than once if there is
    /// more than one routing key. `all` are all bindings of the exchange.
    pub(crate) fn find(
        &self,
        input: &MatchInput<'_>,
        all: &[BindingId],
        scratch: &mut TopicScratch,
        mut found: impl FnMut(&[BindingId]),
    ) {
        match self {
            Self::Direct(index) => index.find(input.routing_keys, found),
            Self::Fanout => fanout::find(all, found),
            Self::Topic(index) => {
                for key in input.routing_keys {
                    index.find(key, scratch, &mut found);
                }
            }
            Self::Headers(index) if index.is_empty() => {}
            Self::Headers(index) => index.find(input.headers(), found),
            Self::JmsTopic(index) => index.find(input, found),
            Self::ConsistentHash(index) => index.find(input, found),
            Self::ModulusHash(index) => index.find(input.routing_key(), found),
            Self::Random => random::find(input.draw, all, found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_are_refused() {
        assert_eq!(check_declared_name(ResourceKind::Queue, "amqp"), Ok(()));
        assert_eq!(
            check_declared_name(ResourceKind::Queue, "amq.q").unwrap_err().to_string(),
            "ACCESS_REFUSED - queue name 'amq.q' contains reserved prefix 'amq.*'"
        );
        assert_eq!(
            check_not_default("").unwrap_err().to_string(),
            "ACCESS_REFUSED - operation not permitted on the default exchange"
        );
        assert_eq!(
            check_deletable(Resource::exchange("/", "amq.topic")).unwrap_err().to_string(),
            "ACCESS_REFUSED - deletion of system exchange 'amq.topic' in vhost '/' not allowed"
        );
        assert!(check_deletable(Resource::exchange("/", "")).is_err());
        assert_eq!(check_deletable(Resource::exchange("/", "mine")), Ok(()));
    }
}

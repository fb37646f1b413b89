//! Exchanges: their types, their definitions, the names that are reserved for the server.
//!
//! An exchange type decides which of an exchange's bindings a message matches. Each type is one file with an
//! index over the bindings; `ExchangeIndex` picks the one of the exchange. A further type needs a variant in
//! [`ExchangeType`] and an index here, built from the definition, so that its arguments are at hand.

use std::cell::LazyCell;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use amq_protocol::types::{AMQPValue, FieldTable};
use serde::{Deserialize, Serialize};

use crate::error::{ChannelCode, ChannelError};
use crate::model::arguments::{check_arguments, check_field, type_name};
use crate::model::binding::BindingId;
use crate::model::field_table;
use crate::model::vhost::{Resource, ResourceKind};

mod direct;
mod fanout;
mod headers;
mod topic;

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

/// How an exchange matches messages to bindings (AMQP 0-9-1 section 3.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExchangeType {
    /// The routing keys are equal.
    Direct,
    /// Always.
    Fanout,
    /// The binding's key is a pattern of words, with `*` and `#`.
    Topic,
    /// The binding's arguments are criteria for the message's headers.
    Headers,
}

impl ExchangeType {
    /// The name in `exchange.declare`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Topic => "topic",
            Self::Headers => "headers",
        }
    }

    /// Checks the key and arguments of a binding from an exchange of this type: 406.
    pub fn check_binding(self, arguments: &FieldTable) -> Result<(), ChannelError> {
        match self {
            Self::Headers => headers::check_binding(arguments),
            Self::Direct | Self::Fanout | Self::Topic => Ok(()),
        }
    }
}

impl fmt::Display for ExchangeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ExchangeType {
    type Err = ChannelError;

    fn from_str(name: &str) -> Result<Self, ChannelError> {
        match name {
            "direct" => Ok(Self::Direct),
            "fanout" => Ok(Self::Fanout),
            "topic" => Ok(Self::Topic),
            "headers" => Ok(Self::Headers),
            _ => Err(ChannelCode::PreconditionFailed.error(format!("unknown exchange type '{name}'"))),
        }
    }
}

/// An exchange, as the catalog stores it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExchangeDefinition {
    /// Its name; at most 255 bytes.
    pub name: String,
    /// Its type.
    pub kind: ExchangeType,
    /// It survives a restart.
    pub durable: bool,
    /// It is deleted when the last binding from it is removed.
    pub auto_delete: bool,
    /// Clients cannot publish to it, only other exchanges.
    pub internal: bool,
    /// The arguments of the declare.
    #[serde(with = "field_table::exact")]
    pub arguments: FieldTable,
}

impl ExchangeDefinition {
    /// One of [`PREDECLARED`].
    #[must_use]
    pub fn predeclared(name: &str, kind: ExchangeType) -> Self {
        let arguments = FieldTable::default();
        Self { name: name.to_owned(), kind, durable: true, auto_delete: false, internal: false, arguments }
    }

    /// Checks the arguments of a declare: 406.
    pub fn check_arguments(&self, vhost: &str) -> Result<(), ChannelError> {
        match self.arguments.inner().get(ALTERNATE_EXCHANGE) {
            None | Some(AMQPValue::LongString(_)) => Ok(()),
            Some(value) => Err(ChannelCode::PreconditionFailed.error(format!(
                "invalid type '{}' for arg '{ALTERNATE_EXCHANGE}' in {}",
                type_name(value),
                Resource::exchange(vhost, &self.name)
            ))),
        }
    }

    /// 406 if `redeclared` is not equivalent to this exchange. Of the arguments only `alternate-exchange` counts.
    pub fn check_equivalent(&self, redeclared: &Self, vhost: &str) -> Result<(), ChannelError> {
        let resource = Resource::exchange(vhost, &self.name);
        check_field(resource, "type", self.kind, redeclared.kind)?;
        check_field(resource, "durable", self.durable, redeclared.durable)?;
        check_field(resource, "auto_delete", self.auto_delete, redeclared.auto_delete)?;
        check_field(resource, "internal", self.internal, redeclared.internal)?;
        check_arguments(resource, &[ALTERNATE_EXCHANGE], &self.arguments, &redeclared.arguments)
    }

    /// Name of the exchange that gets what this one routes nowhere.
    #[must_use]
    pub fn alternate_exchange(&self) -> Option<&str> {
        match self.arguments.inner().get(ALTERNATE_EXCHANGE)? {
            AMQPValue::LongString(name) => std::str::from_utf8(name.as_bytes()).ok(),
            _ => None,
        }
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

/// What a message is matched by. The headers are parsed when the first exchange asks for them.
pub(crate) struct MatchInput<'a, F: FnOnce() -> FieldTable> {
    /// The routing key, and those of the CC and BCC headers.
    pub(crate) routing_keys: &'a [&'a str],
    pub(crate) headers: LazyCell<FieldTable, F>,
}

/// The bindings of one exchange, arranged for its type.
#[derive(Debug)]
pub(crate) enum ExchangeIndex {
    Direct(direct::DirectIndex),
    Fanout,
    Topic(topic::TopicIndex),
    Headers(headers::HeadersIndex),
}

impl ExchangeIndex {
    pub(crate) fn new(definition: &ExchangeDefinition) -> Self {
        match definition.kind {
            ExchangeType::Direct => Self::Direct(direct::DirectIndex::default()),
            ExchangeType::Fanout => Self::Fanout,
            ExchangeType::Topic => Self::Topic(topic::TopicIndex::default()),
            ExchangeType::Headers => Self::Headers(headers::HeadersIndex::default()),
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
    pub(crate) fn insert(&mut self, id: BindingId, routing_key: &Arc<str>, arguments: &FieldTable) -> u32 {
        match self {
            Self::Direct(index) => index.insert(id, routing_key),
            Self::Fanout => 0,
            Self::Topic(index) => index.insert(id, routing_key),
            Self::Headers(index) => {
                index.insert(id, arguments);
                0
            }
        }
    }

    /// Removes a binding from its place. If another binding got that place, it is returned.
    pub(crate) fn remove(&mut self, id: BindingId, routing_key: &str, place: u32) -> Option<BindingId> {
        match self {
            Self::Direct(index) => index.remove(routing_key, place),
            Self::Fanout => None,
            Self::Topic(index) => index.remove(routing_key, place),
            Self::Headers(index) => {
                index.remove(id);
                None
            }
        }
    }

    /// Calls `found` with the bindings that match, in groups. A binding may come more than once if there is
    /// more than one routing key. `all` are all bindings of the exchange.
    pub(crate) fn find<F: FnOnce() -> FieldTable>(
        &self,
        input: &MatchInput<'_, F>,
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
            Self::Headers(index) => index.find(&input.headers, found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_the_names_of_the_spec() {
        for kind in [ExchangeType::Direct, ExchangeType::Fanout, ExchangeType::Topic, ExchangeType::Headers] {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        let error = "x-nothing".parse::<ExchangeType>().unwrap_err();
        assert_eq!(error.to_string(), "PRECONDITION_FAILED - unknown exchange type 'x-nothing'");
    }

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

    #[test]
    fn definition_survives_json_and_names_its_alternate() {
        let mut definition = ExchangeDefinition::predeclared("x", ExchangeType::Topic);
        assert_eq!(definition.alternate_exchange(), None);
        definition.arguments.insert(ALTERNATE_EXCHANGE.into(), AMQPValue::LongString("ae".into()));
        assert_eq!(definition.alternate_exchange(), Some("ae"));
        let json = serde_json::to_string(&definition).unwrap();
        assert_eq!(serde_json::from_str::<ExchangeDefinition>(&json).unwrap(), definition);
        definition.arguments.insert(ALTERNATE_EXCHANGE.into(), AMQPValue::LongInt(1));
        assert_eq!(definition.alternate_exchange(), None);
        assert_eq!(
            definition.check_arguments("/").unwrap_err().to_string(),
            "PRECONDITION_FAILED - invalid type 'signedint' for arg 'alternate-exchange' \
             in exchange 'x' in vhost '/'"
        );
    }

    #[test]
    fn a_redeclare_must_be_equivalent() {
        let definition = ExchangeDefinition::predeclared("x", ExchangeType::Direct);
        let mut other = definition.clone();
        other.arguments.insert("x-unknown".into(), AMQPValue::Void);
        assert_eq!(definition.check_equivalent(&other, "/"), Ok(()));
        other.arguments.insert(ALTERNATE_EXCHANGE.into(), AMQPValue::LongString("ae".into()));
        assert_eq!(
            definition.check_equivalent(&other, "/").unwrap_err().explanation,
            "inequivalent arg 'alternate-exchange' for exchange 'x' in vhost '/': \
             received the value 'ae' of type 'longstr' but current is none"
        );
        other.kind = ExchangeType::Topic;
        assert_eq!(
            definition.check_equivalent(&other, "/").unwrap_err().explanation,
            "inequivalent arg 'type' for exchange 'x' in vhost '/': received 'topic' but current is 'direct'"
        );
    }
}

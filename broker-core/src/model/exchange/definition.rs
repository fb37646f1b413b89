//! An exchange as it was declared, and what a declare or a bind must keep to.

use amq_protocol::types::{AMQPValue, FieldTable};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::history::{self, History};
use super::{ALTERNATE_EXCHANGE, DEFAULT_EXCHANGE, ExchangeType, hash, headers, is_reserved, jms_topic, random};
use crate::error::{ChannelCode, ChannelError};
use crate::ids::QueueId;
use crate::model::arguments::{check_arguments, check_field, type_name};
use crate::model::binding::BindingDefinition;
use crate::model::deduplication::{self, Cache};
use crate::model::field_table;
use crate::model::policy::EffectivePolicy;
use crate::model::vhost::Resource;

/// The argument that names the type by which an `x-delayed-message` exchange routes.
const X_DELAYED_TYPE: &str = "x-delayed-type";

/// The argument that has an exchange of any type hold messages back (LavinMQ's).
const X_DELAYED_EXCHANGE: &str = "x-delayed-exchange";

/// The setting of policies that does the same.
const DELAYED_MESSAGE: &str = "delayed-message";

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
    /// The number of its store in the log, if it [has one](Self::has_store); given by the registrar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<u64>,
}

impl ExchangeDefinition {
    /// One of the exchanges that every virtual host has from the start.
    #[must_use]
    pub fn predeclared(name: &str, kind: ExchangeType) -> Self {
        let arguments = FieldTable::default();
        Self {
            name: name.to_owned(),
            kind,
            durable: true,
            auto_delete: false,
            internal: false,
            arguments,
            store: None,
        }
    }

    /// Checks the arguments of a declare: 406.
    pub fn check_arguments(&self, vhost: &str) -> Result<(), ChannelError> {
        let exchange = Resource::exchange(vhost, &self.name);
        if self.kind == ExchangeType::DelayedMessage {
            self.check_delayed_type()?;
        }
        if let Some(value) = self.arguments.inner().get(X_DELAYED_EXCHANGE)
            && !matches!(value, AMQPValue::Boolean(_))
        {
            let kind = type_name(value);
            let text = format!("invalid type '{kind}' for arg '{X_DELAYED_EXCHANGE}' in {exchange}");
            return Err(ChannelCode::PreconditionFailed.error(text));
        }
        deduplication::check_arguments(exchange, &self.arguments)?;
        match self.routing_type() {
            ExchangeType::ConsistentHash => hash::check_arguments(exchange, &self.arguments)?,
            ExchangeType::Direct
            | ExchangeType::Fanout
            | ExchangeType::Topic
            | ExchangeType::Headers
            | ExchangeType::JmsTopic
            | ExchangeType::ModulusHash
            | ExchangeType::Random
            | ExchangeType::LocalRandom
            | ExchangeType::DelayedMessage
            | ExchangeType::MessageDeduplication => {}
            ExchangeType::RecentHistory => history::check_arguments(&self.arguments)?,
        }
        match self.arguments.inner().get(ALTERNATE_EXCHANGE) {
            None | Some(AMQPValue::LongString(_)) => Ok(()),
            Some(value) => Err(ChannelCode::PreconditionFailed.error(format!(
                "invalid type '{}' for arg '{ALTERNATE_EXCHANGE}' in {}",
                type_name(value),
                exchange
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

    /// Checks key and arguments of a binding from this exchange: 406.
    pub fn check_binding(&self, binding: &BindingDefinition) -> Result<(), ChannelError> {
        match self.routing_type() {
            ExchangeType::Headers => headers::check_binding(&binding.arguments),
            ExchangeType::JmsTopic => jms_topic::check_binding(binding),
            ExchangeType::ConsistentHash => hash::check_weight(&binding.routing_key),
            ExchangeType::LocalRandom => random::check_local_binding(binding),
            ExchangeType::Direct
            | ExchangeType::Fanout
            | ExchangeType::Topic
            | ExchangeType::ModulusHash
            | ExchangeType::Random
            | ExchangeType::DelayedMessage
            | ExchangeType::RecentHistory
            | ExchangeType::MessageDeduplication => Ok(()),
        }
    }

    /// True if the exchange keeps messages or remembers them, in a store that has a number among the queues.
    #[must_use]
    pub fn has_store(&self) -> bool {
        self.delays() || self.history(QueueId(0)).is_some() || self.cache(QueueId(0)).is_some()
    }

    /// The history of an exchange that keeps its newest messages; `store` is its number.
    #[must_use]
    pub fn history(&self, store: QueueId) -> Option<History> {
        (self.kind == ExchangeType::RecentHistory).then(|| History::new(store, &self.arguments))
    }

    /// True if the exchange holds back what is not due, by its type or its arguments.
    #[must_use]
    pub fn delays(&self) -> bool {
        let asked = self.arguments.inner().get(X_DELAYED_EXCHANGE);
        self.kind == ExchangeType::DelayedMessage || asked == Some(&AMQPValue::Boolean(true))
    }

    /// True if a policy has the exchange hold back what is not due. It does not concern the exchanges of the server, whose definitions are
    /// nowhere stored.
    #[must_use]
    pub fn is_delayed_by(&self, policy: &EffectivePolicy) -> bool {
        let asked = policy.definition.get(DELAYED_MESSAGE).and_then(Value::as_bool);
        asked == Some(true) && self.name != DEFAULT_EXCHANGE && !is_reserved(&self.name)
    }

    /// The cache of an exchange that takes each message once; `store` is its number.
    #[must_use]
    pub fn cache(&self, store: QueueId) -> Option<Cache> {
        match self.kind {
            ExchangeType::MessageDeduplication => Some(Cache::new(store, &self.arguments)),
            _ => Cache::declared(store, &self.arguments),
        }
    }

    /// The type that says where messages go: that of `x-delayed-type` if the exchange holds them back.
    #[must_use]
    pub fn routing_type(&self) -> ExchangeType {
        match self.kind {
            ExchangeType::DelayedMessage => {
                self.text(X_DELAYED_TYPE).and_then(|name| name.parse().ok()).unwrap_or(ExchangeType::Fanout)
            }
            kind => kind,
        }
    }

    /// 406 if `x-delayed-type` names no type that an exchange can have beside.
    fn check_delayed_type(&self) -> Result<(), ChannelError> {
        let name = self.text(X_DELAYED_TYPE).unwrap_or_default();
        if name.is_empty() || name == ExchangeType::DelayedMessage.name() {
            let text = "Invalid argument, 'x-delayed-type' must be an existing exchange type";
            return Err(ChannelCode::PreconditionFailed.error(text));
        }
        name.parse::<ExchangeType>().map(drop)
    }

    fn text(&self, argument: &str) -> Option<&str> {
        std::str::from_utf8(self.arguments.inner().get(argument)?.as_long_string()?.as_bytes()).ok()
    }

    /// Name of the exchange that gets what this one routes nowhere.
    #[must_use]
    pub fn alternate_exchange(&self) -> Option<&str> {
        self.text(ALTERNATE_EXCHANGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

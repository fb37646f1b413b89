//! The types of exchanges: their names in `exchange.declare` and in the catalog.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{ChannelCode, ChannelError};

/// How an exchange matches messages to bindings (AMQP 0-9-1 section 3.1.3, and RabbitMQ's further types).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExchangeType {
    /// The routing keys are equal.
    #[serde(rename = "direct")]
    Direct,
    /// Always.
    #[serde(rename = "fanout")]
    Fanout,
    /// The binding's key is a pattern of words, with `*` and `#`.
    #[serde(rename = "topic")]
    Topic,
    /// The binding's arguments are criteria for the message's headers.
    #[serde(rename = "headers")]
    Headers,
    /// One binding by a hash of the message; the binding's key is its weight.
    #[serde(rename = "x-consistent-hash")]
    ConsistentHash,
    /// One binding by a hash of the routing key, all weigh the same.
    #[serde(rename = "x-modulus-hash")]
    ModulusHash,
    /// One binding, at random.
    #[serde(rename = "x-random")]
    Random,
    /// One binding, at random, to a queue of this node.
    #[serde(rename = "x-local-random")]
    LocalRandom,
    /// As the type named by `x-delayed-type`, when the message is due.
    #[serde(rename = "x-delayed-message")]
    DelayedMessage,
    /// Always, and for queues that are bound later too.
    #[serde(rename = "x-recent-history")]
    RecentHistory,
    /// The binding's selector is true of the message's headers.
    #[serde(rename = "x-jms-topic")]
    JmsTopic,
    /// Always, but for messages that came before.
    #[serde(rename = "x-message-deduplication")]
    MessageDeduplication,
}

impl ExchangeType {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Direct,
        Self::Fanout,
        Self::Topic,
        Self::Headers,
        Self::ConsistentHash,
        Self::ModulusHash,
        Self::Random,
        Self::LocalRandom,
        Self::DelayedMessage,
        Self::RecentHistory,
        Self::JmsTopic,
        Self::MessageDeduplication,
    ];

    /// The name in `exchange.declare`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Topic => "topic",
            Self::Headers => "headers",
            Self::ConsistentHash => "x-consistent-hash",
            Self::ModulusHash => "x-modulus-hash",
            Self::Random => "x-random",
            Self::LocalRandom => "x-local-random",
            Self::DelayedMessage => "x-delayed-message",
            Self::RecentHistory => "x-recent-history",
            Self::JmsTopic => "x-jms-topic",
            Self::MessageDeduplication => "x-message-deduplication",
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
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| ChannelCode::PreconditionFailed.error(format!("unknown exchange type '{name}'")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_the_names_of_the_spec() {
        for kind in ExchangeType::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
        let error = "x-nothing".parse::<ExchangeType>().unwrap_err();
        assert_eq!(error.to_string(), "PRECONDITION_FAILED - unknown exchange type 'x-nothing'");
    }
}

//! What a queue is told to do: its type and its settings, from the arguments of its declare and from policies.
//!
//! [`QueueSettings::effective`] is the one place that merges the three sources, as RabbitMQ 4.0 does:
//! the operator policy limits the policy, and an argument and a policy that are both numbers give the lower one;
//! of everything else the argument counts.

mod arguments;

use std::fmt;
use std::sync::Arc;

use amq_protocol::types::{AMQPValue, FieldTable};
use serde::{Deserialize, Serialize};

pub use self::arguments::{check_arguments, check_equivalent, check_properties};
use crate::model::arguments::integer;

/// The definition of a policy or operator policy: its keys are those of the arguments without `x-`.
pub type PolicyDefinition = serde_json::Map<String, serde_json::Value>;

/// Times that a quorum queue delivers a message again before it gives it up, unless told otherwise.
pub const DEFAULT_DELIVERY_LIMIT: u32 = 20;

/// What kind of queue it is (`x-queue-type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueType {
    /// Messages are as durable as they and their queue are.
    #[default]
    Classic,
    /// Everything is durable; failed deliveries are counted.
    Quorum,
    /// A log that consumers read without taking anything out of it.
    Stream,
}

impl QueueType {
    /// All types, in RabbitMQ's order.
    pub const ALL: [Self; 3] = [Self::Classic, Self::Quorum, Self::Stream];

    /// The type that the arguments of a declare ask for. The default for what is missing; nothing for an unknown type, which
    /// [`check_arguments`] refuses.
    #[must_use]
    pub fn of(arguments: &FieldTable) -> Option<Self> {
        match arguments.inner().get("x-queue-type") {
            None => Some(Self::default()),
            Some(value) => text(value).and_then(|name| Self::from_name(&name)),
        }
    }

    /// The type with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Quorum => "quorum",
            Self::Stream => "stream",
        }
    }

    /// RabbitMQ's module of the type, which its error texts name.
    #[must_use]
    pub const fn module(self) -> &'static str {
        match self {
            Self::Classic => "rabbit_classic_queue",
            Self::Quorum => "rabbit_quorum_queue",
            Self::Stream => "rabbit_stream_queue",
        }
    }

    /// Every message is stored durably, whatever its delivery mode.
    #[must_use]
    pub const fn is_always_durable(self) -> bool {
        matches!(self, Self::Quorum | Self::Stream)
    }
}

impl fmt::Display for QueueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What happens to a message for which a queue has no room (`x-overflow`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest ready messages make room, and are dead-lettered.
    #[default]
    DropHead,
    /// It is refused: `basic.nack` to a publisher that wants confirms.
    RejectPublish,
    /// It is refused and dead-lettered.
    RejectPublishDlx,
}

/// Where dead messages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// `x-dead-letter-exchange`; it need not exist.
    pub exchange: Arc<str>,
    /// `x-dead-letter-routing-key`; without it a message keeps its keys.
    pub routing_key: Option<Arc<str>>,
    /// `x-dead-letter-strategy` is `at-least-once`: the message leaves its queue when all targets have confirmed it.
    pub at_least_once: bool,
}

/// Which returned messages wait before they are ready again (`x-delayed-retry-type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DelayedRetryType {
    /// All that return.
    All,
    /// Those whose delivery counts as failed.
    Failed,
    /// Those that were returned on purpose.
    Returned,
}

/// How long returned messages wait: `min * deliveries`, at most `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DelayedRetry {
    /// Which ones.
    pub kind: DelayedRetryType,
    /// `x-delayed-retry-min`, in milliseconds.
    pub min_ms: u64,
    /// `x-delayed-retry-max`, in milliseconds.
    pub max_ms: u64,
}

/// The settings of a queue that is not plain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueSettings {
    /// Time that a message may be in the queue, in milliseconds.
    pub message_ttl_ms: Option<u64>,
    /// Time after which an unused queue is deleted, in milliseconds.
    pub expires_ms: Option<u64>,
    /// Ready messages at most.
    pub max_length: Option<u64>,
    /// Bytes of their bodies at most (of a stream: of its records).
    pub max_length_bytes: Option<u64>,
    /// What happens beyond these two.
    pub overflow: Overflow,
    /// Where dead messages go, if not nowhere.
    pub dead_letter: Option<DeadLetter>,
    /// The highest priority, 1 to 255; 0 is none. From arguments only.
    pub max_priority: u8,
    /// One consumer at a time gets messages. From arguments only.
    pub single_active_consumer: bool,
    /// It is a quorum queue: what comes back is counted, and goes out again in the order of its return.
    pub quorum: bool,
    /// Times that a message is delivered again before it is given up. Quorum queues have one by default.
    pub delivery_limit: Option<u32>,
    /// How returned messages wait.
    pub delayed_retry: Option<DelayedRetry>,
    /// Time that a consumer may hold a message, in milliseconds.
    pub consumer_timeout_ms: Option<u64>,
    /// Age at which a stream forgets its messages, in milliseconds.
    pub max_age_ms: Option<u64>,
}

impl QueueSettings {
    /// What is in force for a queue: nothing if it is a plain one. The arguments have passed [`check_arguments`]; what a policy has
    /// of a wrong type is passed over.
    #[must_use]
    pub fn effective(
        kind: QueueType,
        arguments: &FieldTable,
        policy: Option<&PolicyDefinition>,
        operator_policy: Option<&PolicyDefinition>,
    ) -> Option<Box<Self>> {
        let sources = Sources { arguments, policy, operator_policy };
        let settings = Self {
            message_ttl_ms: sources.lowest("message-ttl"),
            expires_ms: sources.lowest("expires"),
            max_length: sources.lowest("max-length"),
            max_length_bytes: sources.lowest("max-length-bytes"),
            overflow: match sources.text("overflow").as_deref() {
                Some("reject-publish") => Overflow::RejectPublish,
                Some("reject-publish-dlx") => Overflow::RejectPublishDlx,
                _ => Overflow::DropHead,
            },
            dead_letter: sources.text("dead-letter-exchange").map(|exchange| DeadLetter {
                exchange: exchange.into(),
                routing_key: sources.text("dead-letter-routing-key").map(Into::into),
                at_least_once: sources.text("dead-letter-strategy").as_deref() == Some("at-least-once"),
            }),
            max_priority: sources
                .argument("max-priority")
                .and_then(integer)
                .and_then(|highest| u8::try_from(highest).ok())
                .unwrap_or(0),
            single_active_consumer: matches!(
                sources.argument("single-active-consumer"),
                Some(AMQPValue::Boolean(true))
            ),
            quorum: kind == QueueType::Quorum,
            delivery_limit: sources.delivery_limit(kind),
            delayed_retry: sources.delayed_retry(),
            consumer_timeout_ms: sources.lowest("consumer-timeout"),
            max_age_ms: sources.text("max-age").and_then(|age| age_ms(&age)),
        };
        (settings != Self::default()).then(|| Box::new(settings))
    }
}

struct Sources<'a> {
    arguments: &'a FieldTable,
    policy: Option<&'a PolicyDefinition>,
    operator_policy: Option<&'a PolicyDefinition>,
}

impl Sources<'_> {
    fn argument(&self, key: &str) -> Option<&AMQPValue> {
        self.arguments.inner().get(format!("x-{key}").as_str())
    }

    /// The numbers that the sources have for a key.
    fn numbers(&self, key: &str) -> impl Iterator<Item = i128> {
        let policies = [self.policy, self.operator_policy];
        let of_policy = move |policy: Option<&PolicyDefinition>| policy?.get(key)?.as_i64().map(i128::from);
        let argument = self.argument(key).and_then(integer);
        [argument, of_policy(policies[0]), of_policy(policies[1])].into_iter().flatten()
    }

    fn lowest(&self, key: &str) -> Option<u64> {
        self.numbers(key).filter_map(|number| u64::try_from(number).ok()).min()
    }

    /// The text that counts for a key: the argument's, then the operator policy's.
    fn text(&self, key: &str) -> Option<String> {
        let of_policy = |policy: Option<&PolicyDefinition>| policy?.get(key)?.as_str().map(str::to_owned);
        self.argument(key)
            .and_then(text)
            .or_else(|| of_policy(self.operator_policy))
            .or_else(|| of_policy(self.policy))
    }

    /// A negative limit is none, and beats every other.
    fn delivery_limit(&self, kind: QueueType) -> Option<u32> {
        let default = (kind == QueueType::Quorum).then_some(DEFAULT_DELIVERY_LIMIT);
        match self.numbers("delivery-limit").min() {
            None => default,
            Some(limit) if limit < 0 => None,
            Some(limit) => Some(u32::try_from(limit).unwrap_or(u32::MAX)),
        }
    }

    fn delayed_retry(&self) -> Option<DelayedRetry> {
        let kind = match self.text("delayed-retry-type")?.as_str() {
            "all" => DelayedRetryType::All,
            "failed" => DelayedRetryType::Failed,
            "returned" => DelayedRetryType::Returned,
            _ => return None,
        };
        let min_ms = self.lowest("delayed-retry-min")?;
        let max_ms = self.lowest("delayed-retry-max").unwrap_or(u64::MAX);
        Some(DelayedRetry { kind, min_ms, max_ms })
    }
}

fn text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        _ => None,
    }
}

/// An age as `x-max-age` writes it, in milliseconds: a number and a unit of Y, M (30 days), D, h, m, s.
#[must_use]
pub fn age_ms(age: &str) -> Option<u64> {
    let digits = age.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = age.split_at(digits);
    let unit_s: u64 = match unit {
        "Y" => 365 * 86_400,
        "M" => 30 * 86_400,
        "D" => 86_400,
        "h" => 3600,
        "m" => 60,
        "s" => 1,
        _ => return None,
    };
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    Some(number.saturating_mul(unit_s).saturating_mul(1000))
}

#[cfg(test)]
mod tests;

//! The arguments of a queue's declare: which a type knows, and whether their values are allowed. Texts, and the order in
//! which arguments are looked at, are RabbitMQ 4.0's. An argument that no type knows is accepted and kept.

use amq_protocol::types::{AMQPValue, FieldTable};

use super::{QueueType, age_ms};
use crate::error::{ChannelCode, ChannelError};
use crate::model::arguments::{check_arguments as check_equivalent_arguments, integer, type_name};
use crate::model::properties::MAX_EXPIRATION_MS;
use crate::model::vhost::Resource;

/// Largest `x-stream-max-segment-size-bytes`.
const MAX_SEGMENT_SIZE_BYTES: i128 = 3_000_000_000;

/// What is wrong with a value, as the Erlang term that RabbitMQ prints.
type Verdict = Result<(), String>;

type Check = fn(&AMQPValue, &FieldTable) -> Verdict;

/// Every argument that RabbitMQ checks, in the order in which it does.
const CHECKS: &[(&str, Check)] = &[
    ("x-expires", expires),
    ("x-message-ttl", message_ttl),
    ("x-dead-letter-exchange", |_, _| Ok(())),
    ("x-dead-letter-routing-key", dead_letter_routing_key),
    ("x-dead-letter-strategy", |value, _| {
        one_of(value, &["at-most-once", "at-least-once"], "invalid_dlx_strategy")
    }),
    ("x-max-length", not_negative),
    ("x-max-length-bytes", not_negative),
    ("x-max-in-memory-length", not_negative),
    ("x-max-in-memory-bytes", not_negative),
    ("x-max-priority", max_priority),
    ("x-overflow", |value, _| {
        one_of(value, &["drop-head", "reject-publish", "reject-publish-dlx"], "invalid_overflow")
    }),
    ("x-queue-mode", queue_mode),
    ("x-queue-version", queue_version),
    ("x-single-active-consumer", boolean),
    ("x-quorum-initial-group-size", positive),
    ("x-max-age", max_age),
    ("x-stream-max-segment-size-bytes", not_negative),
    ("x-initial-cluster-size", positive),
    ("x-queue-leader-locator", |value, _| {
        let locators = ["client-local", "balanced", "random", "least-leaders", "min-masters"];
        one_of(value, &locators, "invalid_queue_locator_arg")
    }),
    ("x-queue-master-locator", |_, _| Ok(())),
    ("x-delivery-limit", |_, _| Ok(())),
    ("x-delayed-retry-type", |value, _| {
        one_of(value, &["disabled", "all", "failed", "returned"], "invalid_delayed_retry_type")
    }),
    ("x-delayed-retry-min", not_negative),
    ("x-delayed-retry-max", not_negative),
];

/// What RabbitMQ has in another type only. A redeclare does not compare it, as RabbitMQ does not compare what it does not know.
const EXTENSIONS: &[(QueueType, &str)] = &[(QueueType::Classic, "x-delivery-limit")];

/// The arguments that each type knows, in the order in which a redeclare compares them.
const fn known(kind: QueueType) -> &'static [&'static str] {
    match kind {
        QueueType::Classic => &[
            "x-expires",
            "x-message-ttl",
            "x-dead-letter-exchange",
            "x-dead-letter-routing-key",
            "x-max-length",
            "x-max-length-bytes",
            "x-max-priority",
            "x-overflow",
            "x-queue-mode",
            "x-queue-version",
            "x-single-active-consumer",
            "x-queue-type",
            "x-queue-master-locator",
            "x-queue-leader-locator",
            "x-delayed-retry-type",
            "x-delayed-retry-min",
            "x-delayed-retry-max",
        ],
        QueueType::Quorum => &[
            "x-dead-letter-exchange",
            "x-dead-letter-routing-key",
            "x-dead-letter-strategy",
            "x-expires",
            "x-max-length",
            "x-max-length-bytes",
            "x-max-in-memory-length",
            "x-max-in-memory-bytes",
            "x-overflow",
            "x-single-active-consumer",
            "x-queue-type",
            "x-quorum-initial-group-size",
            "x-delivery-limit",
            "x-delayed-retry-type",
            "x-delayed-retry-min",
            "x-delayed-retry-max",
            "x-message-ttl",
            "x-queue-leader-locator",
        ],
        QueueType::Stream => &[
            "x-max-length-bytes",
            "x-queue-type",
            "x-max-age",
            "x-stream-max-segment-size-bytes",
            "x-initial-cluster-size",
            "x-queue-leader-locator",
        ],
    }
}

/// 406 unless a queue may have these arguments. Returns the type that they ask for.
pub fn check_arguments(queue: Resource<'_>, arguments: &FieldTable) -> Result<QueueType, ChannelError> {
    let kind = queue_type(arguments).map_err(|term| invalid(queue, "x-queue-type", &term))?;
    for (key, check) in CHECKS.iter().filter(|(key, _)| known(kind).contains(key)) {
        if let Some(value) = arguments.inner().get(*key) {
            check(value, arguments).map_err(|term| invalid(queue, key, &term))?;
        }
    }
    for key in arguments.inner().keys().map(|key| key.as_str()) {
        let known_here = known(kind).contains(&key) || EXTENSIONS.contains(&(kind, key));
        let of_another = !known_here && QueueType::ALL.iter().any(|kind| known(*kind).contains(&key));
        if of_another {
            let module = kind.module();
            let text = format!("invalid arg '{key}' for {queue} of queue type {module}");
            return Err(ChannelCode::PreconditionFailed.error(text));
        }
    }
    Ok(kind)
}

/// 406 if a queue of this type may not have these properties, or an argument has a value that RabbitMQ finds only when it makes
/// the queue.
pub fn check_properties(
    queue: Resource<'_>,
    kind: QueueType,
    arguments: &FieldTable,
    durable: bool,
    exclusive: bool,
    auto_delete: bool,
) -> Result<(), ChannelError> {
    let refused = |text: String| Err(ChannelCode::PreconditionFailed.error(text));
    if kind == QueueType::Classic {
        return Ok(());
    }
    let properties = [(auto_delete, "auto-delete"), (exclusive, "exclusive-owner"), (!durable, "non-durable")];
    if let Some((_, property)) = properties.iter().find(|(wrong, _)| *wrong) {
        return refused(format!("invalid property '{property}' for {queue}"));
    }
    if kind == QueueType::Stream {
        let number = |key| arguments.inner().get(key).map(integer);
        if number("x-stream-max-segment-size-bytes").flatten().is_some_and(|bytes| bytes > MAX_SEGMENT_SIZE_BYTES)
        {
            return refused("Exceeded max value for x-stream-max-segment-size-bytes".to_owned());
        }
        if number("x-stream-filter-size-bytes")
            .is_some_and(|bytes| !bytes.is_some_and(|b| (16..=255).contains(&b)))
        {
            return refused("Invalid value for  x-stream-filter-size-bytes".to_owned());
        }
    }
    Ok(())
}

/// 406 if an argument that the queue's type knows differs from that of the declare that made it.
pub fn check_equivalent(
    queue: Resource<'_>,
    kind: QueueType,
    current: &FieldTable,
    received: &FieldTable,
) -> Result<(), ChannelError> {
    check_equivalent_arguments(queue, known(kind), &with_type(current), &with_type(received))
}

/// What is not said to be of another type is a classic queue.
fn with_type(arguments: &FieldTable) -> FieldTable {
    let mut arguments = arguments.clone();
    if !arguments.inner().contains_key("x-queue-type") {
        let classic = AMQPValue::LongString(QueueType::default().name().into());
        arguments.insert("x-queue-type".into(), classic);
    }
    arguments
}

fn invalid(queue: Resource<'_>, key: &str, term: &str) -> ChannelError {
    ChannelCode::PreconditionFailed.error(format!("invalid arg '{key}' for {queue}: {term}"))
}

fn queue_type(arguments: &FieldTable) -> Result<QueueType, String> {
    let Some(value) = arguments.inner().get("x-queue-type") else {
        return Ok(QueueType::default());
    };
    let name = long_string(value)?;
    QueueType::from_name(&name).ok_or_else(|| format!("\"unsupported queue type '{name}'\""))
}

fn unacceptable(value: &AMQPValue) -> String {
    format!("{{unacceptable_type,{}}}", type_name(value))
}

fn long_string(value: &AMQPValue) -> Result<String, String> {
    super::text(value).ok_or_else(|| unacceptable(value))
}

fn one_of(value: &AMQPValue, allowed: &[&str], otherwise: &str) -> Verdict {
    let text = long_string(value)?;
    if allowed.contains(&text.as_str()) { Ok(()) } else { Err(otherwise.to_owned()) }
}

fn number(value: &AMQPValue) -> Result<i128, String> {
    match value {
        AMQPValue::Timestamp(_) => None,
        value => integer(value),
    }
    .ok_or_else(|| format!("\"expected integer, got {}\"", type_name(value)))
}

fn not_negative(value: &AMQPValue, _: &FieldTable) -> Verdict {
    match number(value)? {
        number if number < 0 => Err(format!("{{value_negative,{number}}}")),
        _ => Ok(()),
    }
}

fn positive(value: &AMQPValue, arguments: &FieldTable) -> Verdict {
    not_negative(value, arguments)?;
    if number(value)? == 0 { Err("{value_zero,0}".to_owned()) } else { Ok(()) }
}

fn message_ttl(value: &AMQPValue, arguments: &FieldTable) -> Verdict {
    not_negative(value, arguments)?;
    match number(value)? {
        ttl if ttl > i128::from(MAX_EXPIRATION_MS) => Err(format!("{{value_too_large,{ttl}}}")),
        _ => Ok(()),
    }
}

fn expires(value: &AMQPValue, arguments: &FieldTable) -> Verdict {
    if number(value)? == 0 { Err("{value_zero,0}".to_owned()) } else { message_ttl(value, arguments) }
}

fn max_priority(value: &AMQPValue, arguments: &FieldTable) -> Verdict {
    not_negative(value, arguments)?;
    match number(value)? {
        highest if highest > i128::from(u8::MAX) => Err(format!("{{max_value_exceeded,{highest}}}")),
        _ => Ok(()),
    }
}

fn dead_letter_routing_key(value: &AMQPValue, arguments: &FieldTable) -> Verdict {
    long_string(value)?;
    match arguments.inner().get("x-dead-letter-exchange") {
        Some(_) => Ok(()),
        None => Err("routing_key_but_no_dlx_defined".to_owned()),
    }
}

fn queue_mode(value: &AMQPValue, _: &FieldTable) -> Verdict {
    match long_string(value)?.as_str() {
        "default" | "lazy" => Ok(()),
        mode => Err(format!("\"unsupported queue mode '{mode}'\"")),
    }
}

fn queue_version(value: &AMQPValue, arguments: &FieldTable) -> Verdict {
    not_negative(value, arguments)?;
    match number(value)? {
        1 | 2 => Ok(()),
        version => Err(format!("\"unsupported queue version '{version}'\"")),
    }
}

fn boolean(value: &AMQPValue, _: &FieldTable) -> Verdict {
    if matches!(value, AMQPValue::Boolean(_)) { Ok(()) } else { Err(unacceptable(value)) }
}

fn max_age(value: &AMQPValue, _: &FieldTable) -> Verdict {
    age_ms(&long_string(value)?).map(|_| ()).ok_or_else(|| "invalid_max_age".to_owned())
}

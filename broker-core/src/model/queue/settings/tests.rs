use serde_json::json;

use super::*;

const QUEUE: crate::model::vhost::Resource<'_> = crate::model::vhost::Resource::queue("/", "q");

fn string(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn int(number: i64) -> AMQPValue {
    AMQPValue::LongLongInt(number)
}

fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in entries {
        table.insert((*key).into(), value.clone());
    }
    table
}

fn policy(definition: serde_json::Value) -> PolicyDefinition {
    definition.as_object().unwrap().clone()
}

/// The error for one argument, without what is the same in all of them.
fn check(kind: &str, key: &str, value: AMQPValue) -> String {
    match check_arguments(QUEUE, &table(&[("x-queue-type", string(kind)), (key, value)])) {
        Ok(_) => "ok".to_owned(),
        Err(error) => {
            let prefix = format!("invalid arg '{key}' for queue 'q' in vhost '/'");
            error.explanation.strip_prefix(&prefix).expect("the argument is named").to_owned()
        }
    }
}

#[test]
fn values_are_refused_in_rabbitmqs_words() {
    assert_eq!(check("classic", "x-message-ttl", int(-1)), ": {value_negative,-1}");
    assert_eq!(check("classic", "x-message-ttl", string("a")), ": \"expected integer, got longstr\"");
    assert_eq!(check("classic", "x-message-ttl", int(315_360_000_001)), ": {value_too_large,315360000001}");
    assert_eq!(check("classic", "x-message-ttl", int(0)), "ok");
    assert_eq!(check("quorum", "x-expires", int(0)), ": {value_zero,0}");
    assert_eq!(check("classic", "x-max-priority", int(256)), ": {max_value_exceeded,256}");
    assert_eq!(check("classic", "x-overflow", string("bogus")), ": invalid_overflow");
    assert_eq!(check("classic", "x-overflow", AMQPValue::LongInt(1)), ": {unacceptable_type,signedint}");
    assert_eq!(check("classic", "x-dead-letter-routing-key", string("k")), ": routing_key_but_no_dlx_defined");
    assert_eq!(check("classic", "x-queue-mode", string("bogus")), ": \"unsupported queue mode 'bogus'\"");
    assert_eq!(check("classic", "x-queue-version", int(3)), ": \"unsupported queue version '3'\"");
    assert_eq!(check("classic", "x-single-active-consumer", string("true")), ": {unacceptable_type,longstr}");
    assert_eq!(check("stream", "x-max-age", string("1x")), ": invalid_max_age");
    assert_eq!(check("stream", "x-max-age", string("7D")), "ok");
    assert_eq!(check("quorum", "x-quorum-initial-group-size", int(0)), ": {value_zero,0}");
    assert_eq!(check("classic", "x-unknown", string("a")), "ok");
}

#[test]
fn arguments_of_another_type_are_refused() {
    let of = |kind| format!(" of queue type {kind}");
    assert_eq!(check("quorum", "x-max-priority", int(5)), of("rabbit_quorum_queue"));
    assert_eq!(check("classic", "x-max-age", string("7D")), of("rabbit_classic_queue"));
    assert_eq!(check("stream", "x-message-ttl", int(5)), of("rabbit_stream_queue"));
    assert_eq!(check("classic", "x-delivery-limit", int(5)), "ok");
}

#[test]
fn an_unknown_type_is_refused() {
    let kind =
        |value| check_arguments(QUEUE, &table(&[("x-queue-type", value)])).map_err(|error| error.explanation);
    let text = "invalid arg 'x-queue-type' for queue 'q' in vhost '/': ";
    assert_eq!(kind(string("bogus")), Err(format!("{text}\"unsupported queue type 'bogus'\"")));
    assert_eq!(kind(AMQPValue::LongInt(5)), Err(format!("{text}{{unacceptable_type,signedint}}")));
    assert_eq!(kind(string("stream")), Ok(QueueType::Stream));
}

#[test]
fn properties_that_do_not_fit_the_type_are_refused() {
    let check = |kind, durable, exclusive, auto_delete| {
        check_properties(QUEUE, kind, &FieldTable::default(), durable, exclusive, auto_delete)
            .map_err(|error| error.explanation)
    };
    let property = |name| Err(format!("invalid property '{name}' for queue 'q' in vhost '/'"));
    assert_eq!(check(QueueType::Classic, false, true, true), Ok(()));
    assert_eq!(check(QueueType::Quorum, false, false, false), property("non-durable"));
    assert_eq!(check(QueueType::Quorum, true, true, false), property("exclusive-owner"));
    assert_eq!(check(QueueType::Stream, false, true, true), property("auto-delete"));
}

#[test]
fn a_redeclare_compares_what_the_type_knows() {
    let check = |current: &[_], received: &[_]| {
        check_equivalent(QUEUE, QueueType::of(&table(current)).unwrap(), &table(current), &table(received))
            .map_err(|error| error.explanation)
    };
    let quorum = ("x-queue-type", string("quorum"));
    assert_eq!(check(&[("x-unknown", int(1))], &[]), Ok(()));
    assert_eq!(
        check(&[quorum], &[]),
        Err("inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': received 'classic' but current is 'quorum'"
            .to_owned())
    );
    let expires = check(&[("x-max-length", int(5)), ("x-expires", int(5))], &[]).unwrap_err();
    assert!(expires.starts_with("inequivalent arg 'x-expires'"), "{expires}");
}

#[test]
fn a_plain_queue_has_no_settings() {
    let arguments = table(&[("x-queue-mode", string("lazy")), ("x-queue-type", string("classic"))]);
    assert_eq!(QueueSettings::effective(QueueType::Classic, &arguments, None, None), None);
}

#[test]
fn arguments_and_policies_are_merged() {
    let arguments = table(&[("x-message-ttl", int(100)), ("x-overflow", string("reject-publish"))]);
    let user =
        policy(json!({"message-ttl": 50, "max-length": 10, "overflow": "drop-head", "dead-letter-exchange": "d"}));
    let operator = policy(json!({"max-length": 20, "max-length-bytes": 7, "message-ttl": 60}));
    let settings = QueueSettings::effective(QueueType::Classic, &arguments, Some(&user), Some(&operator)).unwrap();
    assert_eq!(settings.message_ttl_ms, Some(50));
    assert_eq!((settings.max_length, settings.max_length_bytes), (Some(10), Some(7)));
    assert_eq!(settings.overflow, Overflow::RejectPublish);
    assert_eq!(settings.dead_letter.map(|dead| dead.exchange), Some("d".into()));
}

#[test]
fn quorum_queues_have_a_delivery_limit_unless_told_otherwise() {
    let limit = |entries: &[_]| {
        QueueSettings::effective(QueueType::Quorum, &table(entries), None, None).and_then(|s| s.delivery_limit)
    };
    assert_eq!(limit(&[]), Some(DEFAULT_DELIVERY_LIMIT));
    assert_eq!(limit(&[("x-delivery-limit", int(3))]), Some(3));
    assert_eq!(limit(&[("x-delivery-limit", int(-1))]), None);
}

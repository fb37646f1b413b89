//! Quorum queues on one node: durable whatever the message says, with counted deliveries.

use amq_protocol::protocol::basic::{AMQPMethod as Basic, Qos, QosOk};
use lapin::message::BasicGetMessage;
use lapin::options::{
    BasicNackOptions, BasicPublishOptions, BasicRejectOptions, ConfirmSelectOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel};

use crate::basic::{consume, raw_consume};
use crate::harness::{
    Raw, basic, body, declare, error_of, get, message_count, next, own_process, scenario, table,
};

async fn declare_with(channel: &Channel, queue: &str, more: FieldTable) -> lapin::Result<lapin::Queue> {
    let mut arguments = table([("x-queue-type", AMQPValue::LongString("quorum".into()))]);
    for (name, value) in more.inner() {
        arguments.insert(name.clone(), value.clone());
    }
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), options, arguments).await
}

/// Publishes a transient message and waits for its confirm.
async fn publish(channel: &Channel, queue: &str, body: &str) {
    let options = BasicPublishOptions::default();
    let confirm = channel
        .basic_publish("".into(), queue.into(), options, body.as_bytes(), BasicProperties::default())
        .await
        .unwrap();
    assert!(confirm.await.unwrap().is_ack());
}

fn delivery_count(message: &BasicGetMessage) -> Option<i64> {
    match message.properties.headers().as_ref()?.inner().get("x-delivery-count")? {
        AMQPValue::LongLongInt(count) => Some(*count),
        other => panic!("{other:?}"),
    }
}

async fn nack(message: &BasicGetMessage) {
    message.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() }).await.unwrap();
}

#[test]
fn transient_messages_survive_a_crash() {
    own_process(&[], async |broker| {
        let session = broker.open().await;
        declare_with(&session, "quorum", FieldTable::default()).await.unwrap();
        session.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        for number in 0..10 {
            publish(&session, "quorum", &number.to_string()).await;
        }
        broker.crash();
        let session = broker.open().await;
        for number in 0..10 {
            let message = get(&session, "quorum").await.expect("a message");
            assert_eq!(body(&message), number.to_string());
        }
    });
}

#[test]
fn deliveries_are_counted_and_the_last_is_dead_lettered() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "dead").await;
        let arguments = table([
            ("x-delivery-limit", AMQPValue::LongInt(2)),
            ("x-dead-letter-exchange", AMQPValue::LongString("".into())),
            ("x-dead-letter-routing-key", AMQPValue::LongString("dead".into())),
        ]);
        declare_with(&session, "quorum", arguments).await.unwrap();
        session.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        publish(&session, "quorum", "poison").await;
        for expect in [None, Some(1), Some(2)] {
            let message = get(&session, "quorum").await.expect("a message");
            assert_eq!((delivery_count(&message), message.redelivered), (expect, expect.is_some()));
            nack(&message).await;
        }
        assert!(get(&session, "quorum").await.is_none());
        let mut dead = consume(&session, "dead", "").await;
        let letter = next(&mut dead).await;
        let headers = letter.properties.headers().clone().unwrap();
        assert_eq!(body(&letter), "poison");
        assert!(!headers.inner().contains_key("x-delivery-count"));
        let reason = headers.inner().get("x-first-death-reason").cloned();
        assert_eq!(reason, Some(AMQPValue::LongString("delivery_limit".into())));
    });
}

#[test]
fn limit_is_twenty_unless_told_otherwise() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare_with(&session, "default", FieldTable::default()).await.unwrap();
        declare_with(&session, "none", table([("x-delivery-limit", AMQPValue::LongInt(-1))])).await.unwrap();
        session.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        for (queue, deliveries) in [("default", 21), ("none", 25)] {
            publish(&session, queue, "poison").await;
            for _ in 0..deliveries {
                let message = get(&session, queue).await.expect("a message");
                message.reject(BasicRejectOptions { requeue: true }).await.unwrap();
            }
        }
        assert!(get(&session, "default").await.is_none());
        assert_eq!(delivery_count(&get(&session, "none").await.expect("a message")), Some(25));
    });
}

#[test]
fn counts_survive_a_crash() {
    own_process(&[], async |broker| {
        let session = broker.open().await;
        declare_with(&session, "quorum", table([("x-delivery-limit", AMQPValue::LongInt(5))])).await.unwrap();
        session.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        publish(&session, "quorum", "first").await;
        for expect in 0..3 {
            let message = get(&session, "quorum").await.expect("a message");
            assert_eq!(delivery_count(&message).unwrap_or(0), expect);
            nack(&message).await;
        }
        // The count is written before the record of this one is synced.
        publish(&session, "quorum", "second").await;
        broker.crash();
        let session = broker.open().await;
        for expect in 3..=5 {
            let message = get(&session, "quorum").await.expect("a message");
            assert_eq!((body(&message), delivery_count(&message)), ("first", Some(expect)));
            assert!(message.redelivered);
            nack(&message).await;
        }
        let message = get(&session, "quorum").await.expect("a message");
        assert_eq!((body(&message), delivery_count(&message)), ("second", None));
    });
}

#[test]
fn returned_messages_come_first_in_the_order_of_their_return() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare_with(&session, "quorum", FieldTable::default()).await.unwrap();
        session.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        for number in 0..5 {
            publish(&session, "quorum", &number.to_string()).await;
        }
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(get(&session, "quorum").await.expect("a message"));
        }
        for at in [2, 0] {
            nack(&held[at]).await;
        }
        assert_eq!(message_count(&session, "quorum").await, 3);
        for expect in ["2", "0", "4"] {
            assert_eq!(body(&get(&session, "quorum").await.expect("a message")), expect);
        }
    });
}

#[test]
fn quorum_queue_must_be_durable_and_nobodys_own() {
    scenario(async |broker| {
        let cases = [
            (QueueDeclareOptions { durable: false, ..Default::default() }, "non-durable"),
            (QueueDeclareOptions { durable: true, exclusive: true, ..Default::default() }, "exclusive-owner"),
            (QueueDeclareOptions { durable: true, auto_delete: true, ..Default::default() }, "auto-delete"),
        ];
        for (options, property) in cases {
            let session = broker.open().await;
            let arguments = table([("x-queue-type", AMQPValue::LongString("quorum".into()))]);
            let refused = session.queue_declare("quorum".into(), options, arguments).await;
            let text =
                format!("PRECONDITION_FAILED - invalid property '{property}' for queue 'quorum' in vhost '/'");
            assert_eq!(error_of(refused), (406, text));
        }
    });
}

#[test]
fn quorum_queue_has_a_name_of_the_client() {
    scenario(async |broker| {
        let session = broker.open().await;
        let refused = declare_with(&session, "", FieldTable::default()).await;
        let text = "PRECONDITION_FAILED - Cannot declare a server-named queue for type rabbit_quorum_queue";
        assert_eq!(error_of(refused), (406, text.to_owned()));
    });
}

#[test]
fn global_prefetch_is_540() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare_with(&session, "quorum", FieldTable::default()).await.unwrap();
        let mut raw = Raw::open(broker);
        let qos = raw.call(1, &basic(Basic::Qos(Qos { prefetch_count: 1, global: true })));
        assert_eq!(qos, basic(Basic::QosOk(QosOk {})));
        raw.send(1, &raw_consume("quorum", "tag"));
        let closed = raw.closed();
        assert_eq!((closed.code, closed.method), (540, (60, 20)));
        assert_eq!(closed.text, "NOT_IMPLEMENTED - queue 'quorum' in vhost '/' does not support global qos");
    });
}

#[test]
fn get_from_a_single_active_consumer_queue_is_405() {
    scenario(async |broker| {
        let session = broker.open().await;
        let arguments = table([("x-single-active-consumer", AMQPValue::Boolean(true))]);
        declare_with(&session, "quorum", arguments).await.unwrap();
        let refused = session.basic_get("quorum".into(), Default::default()).await;
        let text = "RESOURCE_LOCKED - cannot obtain access to locked queue 'quorum' in vhost '/'. basic.get \
                    operations are not supported by quorum queues with single active consumer";
        assert_eq!(error_of(refused), (405, text.to_owned()));
    });
}

#[test]
fn deletes_with_a_condition_are_540() {
    scenario(async |broker| {
        for (options, condition) in [
            (QueueDeleteOptions { if_unused: true, ..Default::default() }, "if-unused"),
            (QueueDeleteOptions { if_empty: true, ..Default::default() }, "if-empty"),
        ] {
            let session = broker.open().await;
            declare_with(&session, "quorum", FieldTable::default()).await.unwrap();
            let text = format!(
                "NOT_IMPLEMENTED - cannot delete queue 'quorum' in vhost '/'. queue.delete operations with \
                 {condition} flag set are not supported by quorum queues"
            );
            assert_eq!(error_of(session.queue_delete("quorum".into(), options).await), (540, text));
        }
    });
}

//! Dead-letter exchanges: reasons, headers, routing, cycles, and what a crash leaves.

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::options::{
    BasicPublishOptions, BasicRejectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldArray, FieldTable};

use crate::harness::{
    Session, body, error_of, get, long_string, message_count, next, own_process, persistent, scenario,
    scenario_with,
};

/// A session in confirm mode with the exchange `graves`, to which `dead` is bound by any key.
async fn open(broker: &crate::harness::Broker) -> Session {
    let session = broker.open().await;
    session.confirm().await;
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let none = FieldTable::default;
    session.exchange_declare("graves".into(), lapin::ExchangeKind::Topic, options, none()).await.unwrap();
    session.declare_with("dead", &[]).await.unwrap();
    let options = QueueBindOptions::default();
    session.queue_bind("dead".into(), "graves".into(), "#".into(), options, none()).await.unwrap();
    session
}

fn to(exchange: &str) -> (&'static str, AMQPValue) {
    ("x-dead-letter-exchange", long_string(exchange))
}

fn with_key(key: &str) -> (&'static str, AMQPValue) {
    ("x-dead-letter-routing-key", long_string(key))
}

async fn reject(session: &Session, queue: &str) {
    let message = get(session, queue).await.expect("a message");
    message.acker.reject(BasicRejectOptions { requeue: false }).await.unwrap();
}

fn headers(delivery: &Delivery) -> FieldTable {
    delivery.properties.headers().clone().expect("headers")
}

fn text(table: &FieldTable, key: &str) -> String {
    match table.inner().get(key) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("{key} is {other:?}"),
    }
}

/// Queue, reason and count of each death, the latest first.
fn deaths(delivery: &Delivery) -> Vec<(String, String, i64)> {
    tables(delivery).iter().map(|death| (text(death, "queue"), text(death, "reason"), count(death))).collect()
}

fn count(death: &FieldTable) -> i64 {
    match death.inner().get("count") {
        Some(AMQPValue::LongLongInt(count)) => *count,
        other => panic!("count is {other:?}"),
    }
}

fn tables(delivery: &Delivery) -> Vec<FieldTable> {
    let Some(AMQPValue::FieldArray(deaths)) = headers(delivery).inner().get("x-death").cloned() else {
        return Vec::new();
    };
    let table = |death: &AMQPValue| match death {
        AMQPValue::FieldTable(table) => table.clone(),
        other => panic!("a death is {other:?}"),
    };
    deaths.as_slice().iter().map(table).collect()
}

fn keys(death: &FieldTable) -> FieldArray {
    match death.inner().get("routing-keys") {
        Some(AMQPValue::FieldArray(keys)) => keys.clone(),
        other => panic!("routing-keys is {other:?}"),
    }
}

fn death(queue: &str, reason: &str, count: i64) -> (String, String, i64) {
    (queue.to_owned(), reason.to_owned(), count)
}

#[test]
fn a_rejected_message_tells_its_story() {
    scenario(async |broker| {
        let session = open(broker).await;
        session.declare_with("q", &[to("graves")]).await.unwrap();
        let mut table = FieldTable::default();
        table.insert("CC".into(), AMQPValue::FieldArray(vec![long_string("copy")].into()));
        table.insert("mine".into(), AMQPValue::Boolean(true));
        let properties = persistent()
            .with_headers(table)
            .with_expiration("3600000".into())
            .with_priority(3)
            .with_content_type("text/plain".into());
        assert!(session.put("q", "body", properties).await);
        reject(&session, "q").await;
        let mut dead = session.listen("dead").await;
        let delivery = next(&mut dead).await;
        assert_eq!((body(&delivery), delivery.exchange.as_str()), ("body", "graves"));
        assert_eq!(delivery.routing_key.as_str(), "q");
        assert_eq!(delivery.properties.expiration(), &None);
        assert_eq!(delivery.properties.priority(), &Some(3));
        assert_eq!(delivery.properties.content_type().as_ref().map(|kind| kind.as_str()), Some("text/plain"));
        assert_eq!(deaths(&delivery), [death("q", "rejected", 1)]);
        let entry = &tables(&delivery)[0];
        assert_eq!((text(entry, "exchange"), text(entry, "original-expiration")), ("".into(), "3600000".into()));
        assert_eq!(keys(entry), vec![long_string("q"), long_string("copy")].into());
        assert!(matches!(entry.inner().get("time"), Some(AMQPValue::Timestamp(_))));
        let headers = headers(&delivery);
        assert_eq!(headers.inner().get("mine"), Some(&AMQPValue::Boolean(true)));
        for end in ["first", "last"] {
            assert_eq!(text(&headers, &format!("x-{end}-death-queue")), "q");
            assert_eq!(text(&headers, &format!("x-{end}-death-reason")), "rejected");
            assert_eq!(text(&headers, &format!("x-{end}-death-exchange")), "");
        }
    });
}

#[test]
fn deaths_are_counted_by_queue_and_reason_on_the_way_round() {
    scenario_with(&["--shards", "2"], async |broker| {
        let session = open(broker).await;
        session.declare_with("work", &[to(""), with_key("wait")]).await.unwrap();
        let ttl = ("x-message-ttl", AMQPValue::LongInt(10));
        session.declare_with("wait", &[to(""), with_key("work"), ttl]).await.unwrap();
        assert!(session.put("work", "m", persistent()).await);
        for _ in 0..3 {
            session.wait_for_count("work", 1).await;
            reject(&session, "work").await;
        }
        let mut consumer = session.listen("work").await;
        let delivery = next(&mut consumer).await;
        assert_eq!(deaths(&delivery), [death("wait", "expired", 3), death("work", "rejected", 3)]);
        let headers = headers(&delivery);
        assert_eq!(text(&headers, "x-first-death-queue"), "work");
        assert_eq!(text(&headers, "x-last-death-queue"), "wait");
        assert_eq!(text(&headers, "x-last-death-reason"), "expired");
    });
}

#[test]
fn deaths_that_the_publisher_wrote_are_replaced() {
    scenario(async |broker| {
        let session = open(broker).await;
        session.declare_with("q", &[to("graves")]).await.unwrap();
        let mut forged = FieldTable::default();
        forged.insert("queue".into(), long_string("dead"));
        forged.insert("reason".into(), long_string("expired"));
        forged.insert("count".into(), AMQPValue::LongLongInt(7));
        let mut table = FieldTable::default();
        table.insert("x-death".into(), AMQPValue::FieldArray(vec![AMQPValue::FieldTable(forged)].into()));
        assert!(session.put("q", "m", BasicProperties::default().with_headers(table)).await);
        reject(&session, "q").await;
        let mut dead = session.listen("dead").await;
        assert_eq!(deaths(&next(&mut dead).await), [death("q", "rejected", 1)]);
    });
}

#[test]
fn a_cycle_without_rejection_ends_and_one_with_goes_on() {
    scenario(async |broker| {
        let session = open(broker).await;
        let ttl = ("x-message-ttl", AMQPValue::LongInt(5));
        session.declare_with("q", &[to(""), ttl]).await.unwrap();
        assert!(session.put("q", "m", persistent()).await);
        session.wait_for_count("q", 0).await;
        session.declare_with("again", &[to("")]).await.unwrap();
        assert!(session.put("again", "m", persistent()).await);
        reject(&session, "again").await;
        session.wait_for_count("again", 1).await;
    });
}

#[test]
fn without_its_exchange_a_dead_message_is_gone() {
    scenario(async |broker| {
        let session = open(broker).await;
        session.declare_with("q", &[to("missing")]).await.unwrap();
        assert!(session.put("q", "m", persistent()).await);
        reject(&session, "q").await;
        assert_eq!(message_count(&session, "q").await, 0);
        let deleted = session.queue_delete("q".into(), QueueDeleteOptions::default()).await;
        assert_eq!(deleted.unwrap(), 0);
    });
}

#[test]
fn many_messages_die_in_order() {
    scenario_with(&["--shards", "2"], async |broker| {
        let session = open(broker).await;
        session.declare_with("q", &[to("graves"), ("x-max-length", AMQPValue::LongInt(0))]).await.unwrap();
        for number in 0..5000 {
            let options = BasicPublishOptions::default();
            let text = number.to_string();
            // The confirms are not waited for one by one.
            let sent =
                session.basic_publish("".into(), "q".into(), options, text.as_bytes(), BasicProperties::default());
            drop(sent.await.unwrap());
        }
        let mut dead = session.listen("dead").await;
        for number in 0..5000 {
            assert_eq!(body(&next(&mut dead).await), number.to_string());
        }
    });
}

#[test]
fn a_dead_letter_survives_kill_9_with_its_story() {
    own_process(&["--shards", "2"], async |broker| {
        let session = open(broker).await;
        session.declare_with("q", &[to("graves")]).await.unwrap();
        assert!(session.put("q", "m", persistent()).await);
        reject(&session, "q").await;
        session.wait_for_count("dead", 1).await;
        // What follows is on disk after it, in every partition.
        for queue in ["a", "b", "c"] {
            session.declare_with(queue, &[]).await.unwrap();
        }
        for queue in ["q", "dead", "a", "b", "c"] {
            assert!(session.put(queue, "after", persistent()).await);
        }
        broker.crash();
        let session = broker.open().await;
        session.confirm().await;
        assert_eq!(session.drain("q").await, ["after"]);
        let mut dead = session.listen("dead").await;
        let delivery = next(&mut dead).await;
        assert_eq!((body(&delivery), deaths(&delivery)), ("m", vec![death("q", "rejected", 1)]));
    });
}

#[test]
fn messages_that_die_during_a_crash_are_in_one_of_the_queues() {
    own_process(&["--shards", "2"], async |broker| {
        let session = open(broker).await;
        session.declare_with("q", &[to("graves")]).await.unwrap();
        for number in 0..200 {
            assert!(session.put("q", &number.to_string(), persistent()).await);
        }
        for _ in 0..100 {
            reject(&session, "q").await;
        }
        broker.crash();
        let session = broker.open().await;
        let mut all = session.drain("q").await;
        all.extend(session.drain("dead").await);
        let mut numbers: Vec<u32> = all.iter().map(|body| body.parse().unwrap()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers, (0..200).collect::<Vec<u32>>());
    });
}

#[test]
fn at_least_once_keeps_what_nobody_takes() {
    scenario(async |broker| {
        let session = open(broker).await;
        let settings = [
            ("x-queue-type", long_string("quorum")),
            ("x-dead-letter-strategy", long_string("at-least-once")),
            ("x-overflow", long_string("reject-publish")),
            ("x-message-ttl", AMQPValue::LongInt(5)),
            to("late"),
        ];
        session.declare_with("q", &settings).await.unwrap();
        assert!(session.put("q", "m", persistent()).await);
        session.wait_for_count("q", 0).await;
        // The exchange comes late.
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let none = FieldTable::default;
        session.exchange_declare("late".into(), lapin::ExchangeKind::Fanout, options, none()).await.unwrap();
        let options = QueueBindOptions::default();
        session.queue_bind("dead".into(), "late".into(), "".into(), options, none()).await.unwrap();
        let mut dead = session.listen("dead").await;
        assert_eq!(body(&next(&mut dead).await), "m");
    });
}

#[test]
fn arguments_of_dead_lettering_are_checked() {
    scenario(async |broker| {
        for (settings, text) in [
            (
                vec![("x-dead-letter-exchange", AMQPValue::LongInt(1))],
                "invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'q' in vhost '/'",
            ),
            (
                vec![with_key("k")],
                "invalid arg 'x-dead-letter-routing-key' for queue 'q' in vhost '/': routing_key_but_no_dlx_defined",
            ),
            (
                vec![("x-dead-letter-strategy", long_string("at-least-once"))],
                "invalid arg 'x-dead-letter-strategy' for queue 'q' in vhost '/' of queue type rabbit_classic_queue",
            ),
        ] {
            let session = broker.open().await;
            let refused = session.declare_with("q", &settings).await;
            assert_eq!(error_of(refused), (406, format!("PRECONDITION_FAILED - {text}")));
        }
    });
}

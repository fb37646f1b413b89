//! x-delayed-message: messages are held back until they are due, in the log, through kill -9.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeBindOptions, ExchangeDeclareOptions,
    ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Consumer, ExchangeKind};

use serde_json::json;

use crate::harness::{
    Broker, Management, Session, body, error_of, get, message_count, next, own_process, persistent, scenario_with,
    table,
};

fn string(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

async fn declare_exchange(channel: &Channel, name: &str, arguments: FieldTable) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let kind = ExchangeKind::Custom("x-delayed-message".into());
    channel.exchange_declare(name.into(), kind, options, arguments).await
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap();
    let options = QueueBindOptions::default();
    channel.queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default()).await.unwrap();
}

/// A session in confirm mode, with the delayed direct exchange `x` and the queue `q` bound with `k`.
async fn prepare(broker: &Broker) -> Session {
    let session = broker.open().await;
    session.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    declare_exchange(&session, "x", table([("x-delayed-type", string("direct"))])).await.unwrap();
    bind(&session, "q", "x", "k").await;
    session
}

fn delayed(milliseconds: i32) -> BasicProperties {
    persistent().with_headers(table([("x-delay", AMQPValue::LongInt(milliseconds))]))
}

async fn publish(channel: &Channel, key: &str, body: &str, properties: BasicProperties) -> Confirmation {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    channel
        .basic_publish("x".into(), key.into(), options, body.as_bytes(), properties)
        .await
        .unwrap()
        .await
        .unwrap()
}

async fn consume(channel: &Channel, queue: &str) -> Consumer {
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await.unwrap()
}

#[test]
fn messages_come_when_they_are_due_and_in_that_order() {
    scenario_with(&["--shards", "2"], async |broker| {
        let session = prepare(broker).await;
        let start = Instant::now();
        for (delay, body) in [(600, "c"), (300, "b"), (0, "a")] {
            assert_eq!(publish(&session, "k", body, delayed(delay)).await, Confirmation::Ack(None));
        }
        let mut consumer = consume(&session, "q").await;
        for (expect, delay) in [("a", 0), ("b", 300), ("c", 600)] {
            let delivery = next(&mut consumer).await;
            assert_eq!(
                (body(&delivery), delivery.exchange.as_str(), delivery.routing_key.as_str()),
                (expect, "x", "k")
            );
            assert!(start.elapsed() >= Duration::from_millis(delay), "{expect} came before its time");
            let headers = delivery.properties.headers().clone().unwrap();
            let delay = AMQPValue::LongInt(-i32::try_from(delay).unwrap());
            assert_eq!(headers, table([("x-delay", delay)]));
        }
    });
}

#[test]
fn what_is_not_to_be_delayed_is_routed_at_once() {
    scenario_with(&["--shards", "2"], async |broker| {
        let session = prepare(broker).await;
        for properties in [persistent(), delayed(0), delayed(-5)] {
            assert_eq!(publish(&session, "k", "m", properties).await, Confirmation::Ack(None));
        }
        assert_eq!(message_count(&session, "q").await, 3);
        let returned = publish(&session, "other", "m", persistent()).await;
        assert!(matches!(returned, Confirmation::Ack(Some(_))));
    });
}

#[test]
fn an_absolute_time_may_be_given_instead() {
    scenario_with(&[], async |broker| {
        let session = prepare(broker).await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let due = i64::try_from(now).unwrap() + 400;
        let headers = table([("x-delivery-time", AMQPValue::LongLongInt(due))]);
        publish(&session, "k", "m", persistent().with_headers(headers)).await;
        assert_eq!(message_count(&session, "q").await, 0);
        let mut consumer = consume(&session, "q").await;
        assert_eq!(body(&next(&mut consumer).await), "m");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        assert!(now >= u128::try_from(due).unwrap());
    });
}

#[test]
fn the_delayed_type_routes_and_other_exchanges_may_lead_there() {
    scenario_with(&["--shards", "2"], async |broker| {
        let session = broker.open().await;
        session.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        declare_exchange(&session, "later", table([("x-delayed-type", string("topic"))])).await.unwrap();
        let fanout = ExchangeKind::Fanout;
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        session.exchange_declare("x".into(), fanout, options, FieldTable::default()).await.unwrap();
        let (options, none) = (ExchangeBindOptions::default(), FieldTable::default());
        session.exchange_bind("later".into(), "x".into(), "".into(), options, none).await.unwrap();
        bind(&session, "now", "x", "").await;
        bind(&session, "match", "later", "a.*").await;
        bind(&session, "other", "later", "b.*").await;
        publish(&session, "a.b", "m", delayed(200)).await;
        assert_eq!((message_count(&session, "now").await, message_count(&session, "match").await), (1, 0));
        let mut consumer = consume(&session, "match").await;
        let delivery = next(&mut consumer).await;
        assert_eq!((body(&delivery), delivery.exchange.as_str()), ("m", "x"));
        assert_eq!(message_count(&session, "other").await, 0);
    });
}

#[test]
fn pending_messages_survive_kill_9() {
    own_process(&["--shards", "2"], async |broker| {
        let session = prepare(broker).await;
        publish(
            &session,
            "k",
            "transient",
            BasicProperties::default().with_headers(table([("x-delay", AMQPValue::LongInt(900))])),
        )
        .await;
        for (delay, body) in [(1500, "b"), (1000, "a"), (3_600_000, "c")] {
            publish(&session, "k", body, delayed(delay)).await;
        }
        assert_eq!(message_count(&session, "q").await, 0);
        broker.crash();
        let session = broker.open().await;
        let mut consumer = consume(&session, "q").await;
        assert_eq!(body(&next(&mut consumer).await), "a");
        assert_eq!(body(&next(&mut consumer).await), "b");
        // What was released does not come again.
        assert!(broker.stop().await.success());
        broker.restart();
        let session = prepare(broker).await;
        publish(&session, "k", "d", delayed(300)).await;
        let mut consumer = consume(&session, "q").await;
        let first = next(&mut consumer).await;
        assert_eq!(body(&first), "d");
    });
}

#[test]
fn messages_that_became_due_while_the_broker_was_down_come_at_once() {
    own_process(&["--shards", "2"], async |broker| {
        let session = prepare(broker).await;
        for number in 0..50 {
            publish(&session, "k", &number.to_string(), delayed(1000 + number)).await;
        }
        broker.kill();
        broker.restart();
        let session = broker.open().await;
        let mut consumer = consume(&session, "q").await;
        // One that was released just before the crash may come twice.
        let mut seen: Vec<u32> = Vec::new();
        while seen.len() < 50 {
            let number = body(&next(&mut consumer).await).parse().unwrap();
            if !seen.contains(&number) {
                seen.push(number);
            }
        }
        assert_eq!(seen, (0..50).collect::<Vec<_>>());
    });
}

#[test]
fn deleting_the_exchange_drops_what_it_holds_back() {
    own_process(&["--shards", "2"], async |broker| {
        let session = prepare(broker).await;
        publish(&session, "k", "old", delayed(500)).await;
        session.exchange_delete("x".into(), ExchangeDeleteOptions::default()).await.unwrap();
        broker.crash();
        let session = prepare(broker).await;
        publish(&session, "k", "new", delayed(700)).await;
        let mut consumer = consume(&session, "q").await;
        assert_eq!(body(&next(&mut consumer).await), "new");
        assert!(get(&session, "q").await.is_none());
    });
}

#[test]
fn the_delayed_type_must_be_a_type_406() {
    scenario_with(&[], async |broker| {
        let text = "Invalid argument, 'x-delayed-type' must be an existing exchange type";
        for (arguments, text) in [
            (FieldTable::default(), text),
            (table([("x-delayed-type", string("x-delayed-message"))]), text),
            (table([("x-delayed-type", string("x-nothing"))]), "unknown exchange type 'x-nothing'"),
        ] {
            let session = broker.open().await;
            let refused = declare_exchange(&session, "x", arguments).await;
            assert_eq!(error_of(refused), (406, format!("PRECONDITION_FAILED - {text}")));
        }
    });
}

#[test]
fn any_exchange_holds_messages_back_if_its_argument_or_a_policy_says_so() {
    own_process(&["--shards", "2"], async |broker| {
        let session = broker.open().await;
        session.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let argument = table([("x-delayed-exchange", AMQPValue::Boolean(true))]);
        session.exchange_declare("x".into(), ExchangeKind::Direct, options, argument).await.unwrap();
        bind(&session, "q", "x", "k").await;
        // One exchange is there before the policy, one comes later.
        session
            .exchange_declare("by-policy".into(), ExchangeKind::Fanout, options, FieldTable::default())
            .await
            .unwrap();
        bind(&session, "early", "by-policy", "").await;
        let api = Management::new(broker.http);
        let policy = json!({"pattern": "^by-", "definition": {"delayed-message": true}, "apply-to": "exchanges"});
        api.must_put("policies/%2F/delays", &policy);
        session
            .exchange_declare("by-later".into(), ExchangeKind::Fanout, options, FieldTable::default())
            .await
            .unwrap();
        bind(&session, "late", "by-later", "").await;
        for exchange in ["x", "by-policy", "by-later"] {
            let options = BasicPublishOptions::default();
            for (text, delay) in [("hour", 3_600_000), ("soon", 1000)] {
                let confirm =
                    session.basic_publish(exchange.into(), "k".into(), options, text.as_bytes(), delayed(delay));
                assert!(confirm.await.unwrap().await.unwrap().is_ack());
            }
        }
        broker.crash();
        let session = broker.open().await;
        for (exchange, queue) in [("x", "q"), ("by-policy", "early"), ("by-later", "late")] {
            let mut consumer = consume(&session, queue).await;
            let delivery = next(&mut consumer).await;
            assert_eq!((body(&delivery), delivery.exchange.as_str()), ("soon", exchange));
            let held = Management::new(broker.http).get(&format!("exchanges/%2F/{exchange}/delayed")).body;
            assert_eq!(held["total"], 1, "{exchange}");
        }
        // Without the policy messages go their way at once, and those before at their time.
        assert_eq!(Management::new(broker.http).delete("policies/%2F/delays").status, 204);
        let options = BasicPublishOptions::default();
        session.basic_publish("by-policy".into(), "".into(), options, b"now", delayed(3_600_000)).await.unwrap();
        let mut consumer = consume(&session, "early").await;
        let delivery = next(&mut consumer).await;
        assert_eq!(body(&delivery), "now");
    });
}

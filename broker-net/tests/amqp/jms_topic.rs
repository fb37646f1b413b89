//! x-jms-topic: selectors over the headers decide, also after kill -9; routing keys do not.

use lapin::options::{BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, ExchangeKind};

use crate::harness::{Broker, Session, error_of, own_process, persistent, scenario, table};

/// A session in confirm mode, with the exchange `x`.
async fn prepare(broker: &Broker) -> Session {
    let session = broker.open().await;
    session.confirm().await;
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let kind = ExchangeKind::Custom("x-jms-topic".into());
    session.exchange_declare("x".into(), kind, options, FieldTable::default()).await.unwrap();
    session
}

fn string(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn selector(text: &str) -> FieldTable {
    table([("rjms_erlang_selector", string(text))])
}

async fn bind(session: &Session, queue: &str, arguments: FieldTable) -> lapin::Result<()> {
    session.declare_with(queue, &[]).await.unwrap();
    session.queue_bind(queue.into(), "x".into(), "key".into(), QueueBindOptions::default(), arguments).await
}

async fn send(session: &Session, text: &str, properties: BasicProperties) {
    let options = BasicPublishOptions::default();
    let confirm = session.basic_publish("x".into(), "other".into(), options, text.as_bytes(), properties).await;
    assert!(confirm.unwrap().await.unwrap().is_ack());
}

async fn send_cars(session: &Session) {
    for (text, colour, weight) in [("light", "blue", 900), ("heavy", "blue", 2501), ("green", "green", 2501)] {
        let headers = table([("colour", string(colour)), ("weight", AMQPValue::LongInt(weight))]);
        send(session, text, persistent().with_headers(headers)).await;
    }
    send(session, "bare", persistent()).await;
}

const HEAVY: &str =
    "{'and',{'like',{ident,<<\"colour\">>},<<\"bl%\">>,no_escape},{'>',{ident,<<\"weight\">>},2500}}.";

#[test]
fn messages_go_where_the_selector_is_true() {
    own_process(&["--shards", "2"], async |broker| {
        let session = prepare(broker).await;
        let queues = [
            ("heavy", HEAVY, &["heavy"][..]),
            ("not blue", "{'<>',{ident,<<\"colour\">>},<<\"blue\">>}.", &["green"]),
            ("null", "{'is_null',{ident,<<\"colour\">>}}.", &["bare"]),
            ("all", "true.", &["light", "heavy", "green", "bare"]),
            ("none", "false.", &[]),
        ];
        for (queue, text, _) in queues {
            bind(&session, queue, selector(text)).await.unwrap();
        }
        send_cars(&session).await;
        for (queue, _, expect) in queues {
            assert_eq!(session.drain(queue).await, expect, "{queue}");
        }
        broker.crash();
        let session = broker.open().await;
        session.confirm().await;
        // What was acknowledged last may come again.
        for (queue, ..) in queues {
            session.drain(queue).await;
        }
        send_cars(&session).await;
        for (queue, _, expect) in queues {
            assert_eq!(session.drain(queue).await, expect, "{queue} after a restart");
        }
    });
}

#[test]
fn unbinding_takes_the_selector_away() {
    scenario(async |broker| {
        let session = prepare(broker).await;
        bind(&session, "q", selector("true.")).await.unwrap();
        bind(&session, "q", selector("{ident,<<\"red\">>}.")).await.unwrap();
        session.queue_unbind("q".into(), "x".into(), "key".into(), selector("true.")).await.unwrap();
        send(&session, "plain", BasicProperties::default()).await;
        let red = table([("red", AMQPValue::Boolean(true))]);
        send(&session, "red", BasicProperties::default().with_headers(red)).await;
        assert_eq!(session.drain("q").await, ["red"]);
    });
}

#[test]
fn a_selector_that_cannot_be_read_is_refused_406() {
    scenario(async |broker| {
        let session = prepare(broker).await;
        let text =
            "PRECONDITION_FAILED - cannot parse selector '\"{true\"' binding destination 'q' to exchange 'x'";
        assert_eq!(error_of(bind(&session, "q", selector("{true")).await), (406, text.to_owned()));
        let session = broker.open().await;
        let text = "PRECONDITION_FAILED - cannot parse selector 'error' binding destination 'q' to exchange 'x'";
        assert_eq!(error_of(bind(&session, "q", FieldTable::default()).await), (406, text.to_owned()));
    });
}

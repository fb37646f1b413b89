//! x-recent-history: a queue that is bound later is given the newest messages of the exchange, also after kill -9.

use lapin::options::{
    BasicPublishOptions, ExchangeBindOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, ExchangeKind};

use crate::harness::{Broker, Session, error_of, long_string, own_process, persistent, scenario, table};

/// A session in confirm mode, with the exchange `x` that keeps three messages.
async fn prepare(broker: &Broker) -> Session {
    let session = broker.open().await;
    session.confirm().await;
    let arguments = table([("x-recent-history-length", AMQPValue::LongInt(3))]);
    declare(&session, arguments).await.unwrap();
    session
}

async fn declare(session: &Session, arguments: FieldTable) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let kind = ExchangeKind::Custom("x-recent-history".into());
    session.exchange_declare("x".into(), kind, options, arguments).await
}

async fn send(session: &Session, text: &str, properties: BasicProperties) {
    let options = BasicPublishOptions::default();
    let confirm = session.basic_publish("x".into(), "k".into(), options, text.as_bytes(), properties).await;
    assert!(confirm.unwrap().await.unwrap().is_ack());
}

async fn bind(session: &Session, queue: &str) {
    session.declare_with(queue, &[]).await.unwrap();
    let options = QueueBindOptions::default();
    session.queue_bind(queue.into(), "x".into(), "any".into(), options, FieldTable::default()).await.unwrap();
}

#[test]
fn new_binding_is_given_the_newest_messages_and_all_that_come_later() {
    own_process(&["--shards", "2"], async |broker| {
        let session = prepare(broker).await;
        bind(&session, "early").await;
        for text in ["1", "2", "3", "4"] {
            send(&session, text, persistent()).await;
        }
        let no_store = table([("x-recent-history-no-store", AMQPValue::Boolean(true))]);
        send(&session, "not kept", persistent().with_headers(no_store)).await;
        session.wait_for_count("early", 5).await;
        assert_eq!(session.drain("early").await, ["1", "2", "3", "4", "not kept"]);
        for queue in ["a", "b", "c", "d"] {
            bind(&session, queue).await;
            session.wait_for_count(queue, 3).await;
        }
        // A binding that is there already is given nothing.
        bind(&session, "a").await;
        send(&session, "5", persistent()).await;
        session.wait_for_count("a", 4).await;
        assert_eq!(session.drain("a").await, ["2", "3", "4", "5"]);
        broker.crash();
        let session = broker.open().await;
        session.confirm().await;
        assert_eq!(session.drain("b").await, ["2", "3", "4", "5"]);
        bind(&session, "later").await;
        session.wait_for_count("later", 3).await;
        assert_eq!(session.drain("later").await, ["3", "4", "5"]);
    });
}

#[test]
fn an_exchange_that_is_bound_routes_what_it_is_given() {
    scenario(async |broker| {
        let session = prepare(broker).await;
        send(&session, "1", BasicProperties::default()).await;
        session.declare_with("q", &[]).await.unwrap();
        let (options, none) = (QueueBindOptions::default(), FieldTable::default);
        session.queue_bind("q".into(), "amq.direct".into(), "k".into(), options, none()).await.unwrap();
        let options = ExchangeBindOptions::default();
        session.exchange_bind("amq.direct".into(), "x".into(), "".into(), options, none()).await.unwrap();
        session.wait_for_count("q", 1).await;
        assert_eq!(session.drain("q").await, ["1"]);
        session.exchange_delete("x".into(), ExchangeDeleteOptions::default()).await.unwrap();
        // A new exchange of the name has no history.
        declare(&session, FieldTable::default()).await.unwrap();
        bind(&session, "fresh").await;
        send(&session, "2", BasicProperties::default()).await;
        session.wait_for_count("fresh", 1).await;
    });
}

#[test]
fn the_length_must_be_a_positive_integer_406() {
    scenario(async |broker| {
        for (length, argument) in
            [(AMQPValue::LongInt(0), "0"), (AMQPValue::LongInt(-30), "-30"), (long_string("x"), "<<\"x\">>")]
        {
            let session = broker.open().await;
            let refused = declare(&session, table([("x-recent-history-length", length)])).await;
            let text = format!(
                "PRECONDITION_FAILED - Invalid argument {argument}, 'x-recent-history-length' must be a positive integer"
            );
            assert_eq!(error_of(refused), (406, text));
        }
    });
}

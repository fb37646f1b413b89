//! Message deduplication: exchanges and queues that take each message once, also after kill -9.

use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeBindOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, ExchangeKind};

use crate::harness::{
    Broker, Session, body, error_of, message_count, own_process, persistent, scenario_with, table,
};

fn arguments() -> FieldTable {
    table([("x-message-deduplication", AMQPValue::Boolean(true)), ("x-cache-size", AMQPValue::LongInt(100))])
}

async fn declare_queue(channel: &Channel, name: &str, arguments: FieldTable) -> lapin::Result<()> {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.into(), options, arguments).await.map(drop)
}

async fn declare_exchange(channel: &Channel, name: &str, kind: ExchangeKind, arguments: FieldTable) {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(name.into(), kind, options, arguments).await.unwrap();
}

async fn bind(channel: &Channel, queue: &str, exchange: &str) {
    let (options, none) = (QueueBindOptions::default(), FieldTable::default());
    channel.queue_bind(queue.into(), exchange.into(), "k".into(), options, none).await.unwrap();
}

async fn confirming(broker: &Broker) -> Session {
    let session = broker.open().await;
    session.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    session
}

fn known_by(id: &str) -> BasicProperties {
    persistent().with_headers(table([("x-deduplication-header", AMQPValue::LongString(id.into()))]))
}

async fn publish(channel: &Channel, exchange: &str, key: &str, id: &str) -> Confirmation {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let confirm = channel.basic_publish(exchange.into(), key.into(), options, id.as_bytes(), known_by(id));
    confirm.await.unwrap().await.unwrap()
}

async fn drain(channel: &Channel, queue: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    while let Some(message) = channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap() {
        bodies.push(body(&message).to_owned());
    }
    bodies
}

#[test]
fn a_queue_takes_each_message_once_and_confirms_duplicates() {
    scenario_with(&["--shards", "2"], async |broker| {
        let session = confirming(broker).await;
        declare_queue(&session, "q", arguments()).await.unwrap();
        declare_queue(&session, "plain", FieldTable::default()).await.unwrap();
        bind(&session, "q", "amq.direct").await;
        bind(&session, "plain", "amq.direct").await;
        for id in ["a", "b", "a", "b", "c"] {
            assert_eq!(publish(&session, "amq.direct", "k", id).await, Confirmation::Ack(None));
        }
        assert_eq!(drain(&session, "q").await, ["a", "b", "c"]);
        assert_eq!(drain(&session, "plain").await, ["a", "b", "a", "b", "c"]);
        // It is known still, although it has been consumed.
        publish(&session, "", "q", "a").await;
        assert_eq!(message_count(&session, "q").await, 0);
        // Without the header all are new.
        for _ in 0..2 {
            let options = BasicPublishOptions::default();
            session
                .basic_publish("".into(), "q".into(), options, b"m", persistent())
                .await
                .unwrap()
                .await
                .unwrap();
        }
        assert_eq!(message_count(&session, "q").await, 2);
    });
}

#[test]
fn an_exchange_takes_each_message_once_whoever_publishes() {
    scenario_with(&["--shards", "2"], async |broker| {
        let session = confirming(broker).await;
        declare_exchange(&session, "x", ExchangeKind::Direct, arguments()).await;
        for queue in ["q", "r", "s"] {
            declare_queue(&session, queue, FieldTable::default()).await.unwrap();
            bind(&session, queue, "x").await;
        }
        let mut sessions = Vec::new();
        for _ in 0..6 {
            sessions.push(confirming(broker).await);
        }
        for session in &sessions {
            for id in ["a", "b"] {
                assert_eq!(publish(session, "x", "k", id).await, Confirmation::Ack(None));
            }
        }
        for queue in ["q", "r", "s"] {
            assert_eq!(drain(&session, queue).await, ["a", "b"], "{queue}");
        }
        let returned = publish(&session, "x", "nowhere", "d").await;
        assert!(matches!(returned, Confirmation::Ack(Some(_))));
        assert_eq!(publish(&session, "x", "k", "d").await, Confirmation::Ack(None));
        assert_eq!(drain(&session, "q").await, ["d"]);
    });
}

#[test]
fn the_exchange_type_is_a_fanout_that_takes_each_message_once() {
    scenario_with(&["--shards", "2"], async |broker| {
        let session = confirming(broker).await;
        let kind = ExchangeKind::Custom("x-message-deduplication".into());
        declare_exchange(&session, "x", kind, table([("x-cache-size", AMQPValue::LongInt(1))])).await;
        declare_exchange(&session, "front", ExchangeKind::Fanout, FieldTable::default()).await;
        let (options, none) = (ExchangeBindOptions::default(), FieldTable::default());
        session.exchange_bind("x".into(), "front".into(), "".into(), options, none).await.unwrap();
        declare_queue(&session, "q", FieldTable::default()).await.unwrap();
        bind(&session, "q", "x").await;
        for id in ["a", "a", "b", "a"] {
            publish(&session, "front", "any", id).await;
        }
        assert_eq!(drain(&session, "q").await, ["a", "b", "a"], "one value is remembered");
    });
}

#[test]
fn what_was_taken_is_known_after_kill_9() {
    own_process(&["--shards", "2"], async |broker| {
        let session = confirming(broker).await;
        declare_queue(&session, "once", arguments()).await.unwrap();
        declare_exchange(&session, "x", ExchangeKind::Direct, arguments()).await;
        for queue in ["q", "r"] {
            declare_queue(&session, queue, FieldTable::default()).await.unwrap();
            bind(&session, queue, "x").await;
        }
        for id in ["a", "b"] {
            publish(&session, "", "once", id).await;
            publish(&session, "x", "k", id).await;
        }
        for queue in ["once", "q", "r"] {
            assert_eq!(drain(&session, queue).await, ["a", "b"]);
            // Its confirm says that the records behind the messages are on disk as well.
            let options = BasicPublishOptions::default();
            session
                .basic_publish("".into(), queue.into(), options, b"m", persistent())
                .await
                .unwrap()
                .await
                .unwrap();
        }
        broker.crash();
        let session = confirming(broker).await;
        for queue in ["once", "q", "r"] {
            drain(&session, queue).await;
        }
        for id in ["a", "b", "c"] {
            publish(&session, "", "once", id).await;
            publish(&session, "x", "k", id).await;
        }
        for queue in ["once", "q", "r"] {
            assert_eq!(drain(&session, queue).await, ["c"], "{queue}");
        }
    });
}

#[test]
fn duplicates_in_one_burst_are_confirmed_with_the_message_they_repeat() {
    scenario_with(&["--shards", "2"], async |broker| {
        let session = confirming(broker).await;
        declare_exchange(&session, "x", ExchangeKind::Direct, arguments()).await;
        declare_queue(&session, "q", arguments()).await.unwrap();
        bind(&session, "q", "x").await;
        for (exchange, key) in [("x", "k"), ("", "q")] {
            let mut confirms = Vec::new();
            for number in 0..60 {
                let id = format!("{exchange}{}", number % 3);
                let options = BasicPublishOptions::default();
                let confirm =
                    session.basic_publish(exchange.into(), key.into(), options, id.as_bytes(), known_by(&id));
                confirms.push(confirm.await.unwrap());
            }
            for confirm in confirms {
                assert_eq!(confirm.await.unwrap(), Confirmation::Ack(None));
            }
            assert_eq!(drain(&session, "q").await, [0, 1, 2].map(|number| format!("{exchange}{number}")));
        }
    });
}

#[test]
fn arguments_are_checked_406() {
    scenario_with(&[], async |broker| {
        let session = broker.open().await;
        let refused =
            declare_queue(&session, "q", table([("x-cache-size", AMQPValue::LongString("5".into()))])).await;
        let text = "PRECONDITION_FAILED - invalid type 'longstr' for arg 'x-cache-size' in queue 'q' in vhost '/'";
        assert_eq!(error_of(refused), (406, text.into()));
    });
}

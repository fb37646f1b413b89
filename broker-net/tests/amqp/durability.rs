//! Promise: what was confirmed is there after kill -9, in order; what was acknowledged does not come back; what
//! is transient is gone.

use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, ExchangeKind};

use crate::harness::{
    Broker, Session, body, declare, error_of, get, message_count, own_process, persistent, publish, table,
};

async fn declare_durable(channel: &Channel, name: &str) {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.into(), options, FieldTable::default()).await.unwrap();
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) {
    let options = QueueBindOptions::default();
    channel.queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default()).await.unwrap();
}

/// A session in confirm mode.
async fn confirming(broker: &Broker) -> Session {
    let session = broker.open().await;
    session.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    session
}

/// Publishes persistent messages with these numbers as bodies and waits until all are confirmed.
async fn publish_confirmed(channel: &Channel, queue: &str, numbers: std::ops::Range<u32>) {
    let mut confirms = Vec::new();
    for number in numbers {
        let (options, text) = (BasicPublishOptions::default(), number.to_string());
        let confirm = channel.basic_publish("".into(), queue.into(), options, text.as_bytes(), persistent()).await;
        confirms.push(confirm.unwrap());
    }
    for confirm in confirms {
        assert_eq!(confirm.await.unwrap(), Confirmation::Ack(None));
    }
}

/// Gets every message of the queue; its bodies, and which were redelivered.
async fn drain(channel: &Channel, queue: &str) -> Vec<(u32, bool)> {
    let mut seen = Vec::new();
    while let Some(message) = channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap() {
        seen.push((body(&message).parse().unwrap(), message.redelivered));
    }
    seen
}

fn fresh(numbers: std::ops::Range<u32>) -> Vec<(u32, bool)> {
    numbers.map(|number| (number, false)).collect()
}

#[test]
fn confirmed_messages_survive_kill_9_in_order() {
    own_process(&["--shards", "2"], async |broker| {
        let session = confirming(broker).await;
        for queue in ["a", "b", "c"] {
            declare_durable(&session, queue).await;
        }
        for queue in ["a", "b", "c"] {
            publish_confirmed(&session, queue, 0..500).await;
        }
        broker.crash();
        let session = broker.open().await;
        for queue in ["a", "b", "c"] {
            assert_eq!(drain(&session, queue).await, fresh(0..500), "{queue}");
        }
    });
}

#[test]
fn confirmed_under_load_is_there_after_kill_9() {
    own_process(&["--shards", "2"], async |broker| {
        let session = confirming(broker).await;
        declare_durable(&session, "load").await;
        let mut confirms = Vec::new();
        for number in 0..4000_u32 {
            let (options, text) = (BasicPublishOptions::default(), number.to_string());
            let confirm = session.basic_publish("".into(), "load".into(), options, text.as_bytes(), persistent());
            confirms.push(confirm.await.unwrap());
        }
        // The process dies with most of them on their way.
        let mut confirmed = 0;
        let mut confirms = confirms.into_iter();
        for confirm in confirms.by_ref().take(500) {
            assert_eq!(confirm.await.unwrap(), Confirmation::Ack(None));
            confirmed += 1;
        }
        broker.kill();
        for confirm in confirms {
            if !matches!(confirm.await, Ok(Confirmation::Ack(None))) {
                break;
            }
            confirmed += 1;
        }
        broker.restart();
        let session = broker.open().await;
        let seen = drain(&session, "load").await;
        assert!(seen.len() >= confirmed, "{confirmed} confirmed, {} recovered", seen.len());
        assert_eq!(seen, fresh(0..u32::try_from(seen.len()).unwrap()));
    });
}

#[test]
fn properties_exchange_and_key_survive() {
    own_process(&[], async |broker| {
        let session = confirming(broker).await;
        declare_durable(&session, "q").await;
        let options = QueueBindOptions::default();
        session
            .queue_bind("q".into(), "amq.topic".into(), "a.#".into(), options, FieldTable::default())
            .await
            .unwrap();
        let properties = persistent()
            .with_message_id("id".into())
            .with_headers(table([("h", AMQPValue::LongString("v".into()))]));
        let payload: Vec<u8> = (0..300_000_u32).map(|at| at.to_le_bytes()[0]).collect();
        session
            .basic_publish(
                "amq.topic".into(),
                "a.b".into(),
                BasicPublishOptions::default(),
                &payload,
                properties.clone(),
            )
            .await
            .unwrap()
            .await
            .unwrap();
        broker.crash();
        let session = broker.open().await;
        let message = get(&session, "q").await.expect("the message");
        assert_eq!((message.exchange.as_str(), message.routing_key.as_str()), ("amq.topic", "a.b"));
        assert_eq!(message.properties, properties);
        assert!(message.data == payload);
    });
}

#[test]
fn acknowledged_messages_do_not_come_back() {
    own_process(&[], async |broker| {
        let session = confirming(broker).await;
        declare_durable(&session, "q").await;
        publish_confirmed(&session, "q", 0..100).await;
        for _ in 0..60 {
            get(&session, "q").await.expect("a message");
        }
        session.basic_ack(40, BasicAckOptions { multiple: true }).await.unwrap();
        session.basic_ack(50, BasicAckOptions::default()).await.unwrap();
        // The sync of a later message in the same queue covers the acks before it.
        publish_confirmed(&session, "q", 100..101).await;
        broker.crash();
        let session = broker.open().await;
        let seen = drain(&session, "q").await;
        let numbers: Vec<_> = seen.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (40..101).filter(|number| *number != 49).collect::<Vec<_>>());
    });
}

#[test]
fn messages_that_had_been_delivered_are_redelivered() {
    own_process(&[], async |broker| {
        let session = confirming(broker).await;
        declare_durable(&session, "q").await;
        publish_confirmed(&session, "q", 0..10).await;
        for _ in 0..4 {
            get(&session, "q").await.expect("a message");
        }
        publish_confirmed(&session, "q", 10..11).await;
        assert!(broker.stop().await.success());
        broker.restart();
        let session = broker.open().await;
        let expect: Vec<_> = (0..11).map(|number| (number, number < 4)).collect();
        assert_eq!(drain(&session, "q").await, expect);
    });
}

#[test]
fn transient_messages_and_queues_are_gone() {
    own_process(&[], async |broker| {
        let session = confirming(broker).await;
        declare_durable(&session, "durable").await;
        declare(&session, "transient").await;
        publish(&session, "", "durable", "1").await;
        publish(&session, "", "transient", "1").await;
        publish_confirmed(&session, "transient", 0..3).await;
        publish_confirmed(&session, "durable", 0..3).await;
        broker.crash();
        let session = broker.open().await;
        assert_eq!(drain(&session, "durable").await, fresh(0..3));
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let gone = session.queue_declare("transient".into(), options, FieldTable::default()).await;
        assert_eq!(error_of(gone), (404, "NOT_FOUND - no queue 'transient' in vhost '/'".into()));
    });
}

#[test]
fn definitions_survive() {
    own_process(&[], async |broker| {
        let session = broker.open().await;
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let arguments = table([("alternate-exchange", AMQPValue::LongString("amq.fanout".into()))]);
        let declare_exchange = async |session: &Session| {
            let (kind, arguments) = (ExchangeKind::Topic, arguments.clone());
            session.exchange_declare("kept".into(), kind, durable, arguments).await.unwrap();
        };
        declare_exchange(&session).await;
        for name in ["kept", "unbound"] {
            declare_durable(&session, name).await;
            bind(&session, name, "kept", "a.*").await;
        }
        session.queue_unbind("unbound".into(), "kept".into(), "a.*".into(), FieldTable::default()).await.unwrap();
        broker.crash();
        let session = broker.open().await;
        // The same declaration is accepted: type, flags and arguments are as they were.
        declare_exchange(&session).await;
        publish(&session, "kept", "a.b", "1").await;
        assert_eq!(drain(&session, "kept").await, fresh(1..2));
        assert_eq!(message_count(&session, "unbound").await, 0);
    });
}

#[test]
fn deleted_definitions_stay_deleted() {
    own_process(&[], async |broker| {
        let session = broker.open().await;
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let kind = ExchangeKind::Direct;
        session.exchange_declare("x".into(), kind.clone(), durable, FieldTable::default()).await.unwrap();
        declare_durable(&session, "q").await;
        bind(&session, "q", "x", "k").await;
        session.queue_delete("q".into(), QueueDeleteOptions::default()).await.unwrap();
        session.exchange_delete("x".into(), ExchangeDeleteOptions::default()).await.unwrap();
        broker.crash();
        let session = broker.open().await;
        let passive = ExchangeDeclareOptions { passive: true, ..durable };
        let gone = session.exchange_declare("x".into(), kind, passive, FieldTable::default()).await;
        assert_eq!(error_of(gone).0, 404);
        let session = broker.open().await;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let gone = session.queue_declare("q".into(), passive, FieldTable::default()).await;
        assert_eq!(error_of(gone).0, 404);
    });
}

#[test]
fn deleted_queue_declared_again_is_empty() {
    own_process(&[], async |broker| {
        let session = confirming(broker).await;
        declare_durable(&session, "again").await;
        publish_confirmed(&session, "again", 0..50).await;
        session.queue_delete("again".into(), QueueDeleteOptions::default()).await.unwrap();
        declare_durable(&session, "again").await;
        publish_confirmed(&session, "again", 50..60).await;
        broker.crash();
        let session = broker.open().await;
        assert_eq!(drain(&session, "again").await, fresh(50..60));
    });
}

#[test]
fn purged_messages_do_not_come_back() {
    own_process(&[], async |broker| {
        let session = confirming(broker).await;
        declare_durable(&session, "purged").await;
        publish_confirmed(&session, "purged", 0..50).await;
        session.queue_purge("purged".into(), QueuePurgeOptions::default()).await.unwrap();
        publish_confirmed(&session, "purged", 50..60).await;
        broker.crash();
        let session = broker.open().await;
        assert_eq!(drain(&session, "purged").await, fresh(50..60));
    });
}

#[test]
fn data_directory_opens_with_another_number_of_shards() {
    own_process(&["--shards", "2"], async |broker| {
        let queues: Vec<_> = (0..8).map(|number| format!("q-{number}")).collect();
        let session = confirming(broker).await;
        for queue in &queues {
            declare_durable(&session, queue).await;
            publish_confirmed(&session, queue, 0..20).await;
        }
        for (shards, next) in [("1", 20), ("3", 30), ("2", 40)] {
            broker.kill();
            broker.set_flags(&["--shards", shards]);
            broker.restart();
            let session = confirming(broker).await;
            for queue in &queues {
                assert_eq!(message_count(&session, queue).await, next, "{queue} with {shards} shards");
                publish_confirmed(&session, queue, next..next + 10).await;
            }
        }
        let session = broker.open().await;
        for queue in &queues {
            assert_eq!(drain(&session, queue).await, fresh(0..50), "{queue}");
        }
    });
}

#[test]
fn many_crashes_in_a_row_lose_nothing() {
    own_process(&[], async |broker| {
        let session = confirming(broker).await;
        declare_durable(&session, "rounds").await;
        drop(session);
        for round in 0..8 {
            let session = confirming(broker).await;
            publish_confirmed(&session, "rounds", round * 100..(round + 1) * 100).await;
            // Every round acknowledges half of what it added.
            for _ in 0..50 {
                get(&session, "rounds").await.expect("a message");
            }
            session.basic_ack(0, BasicAckOptions { multiple: true }).await.unwrap();
            publish_confirmed(&session, "unroutable", 0..1).await;
            assert_eq!(message_count(&session, "rounds").await, (round + 1) * 50);
            assert!(broker.stop().await.success());
            broker.restart();
        }
        let session = broker.open().await;
        assert_eq!(drain(&session, "rounds").await, fresh(400..800));
    });
}

#[test]
fn clean_stop_keeps_everything_durable() {
    own_process(&[], async |broker| {
        let session = broker.open().await;
        declare_durable(&session, "q").await;
        for number in 0..100 {
            let (options, text) = (BasicPublishOptions::default(), number.to_string());
            session.basic_publish("".into(), "q".into(), options, text.as_bytes(), persistent()).await.unwrap();
        }
        // Not confirmed, but accepted.
        assert_eq!(message_count(&session, "q").await, 100);
        assert!(broker.stop().await.success());
        broker.restart();
        let session = broker.open().await;
        assert_eq!(drain(&session, "q").await, fresh(0..100));
    });
}

#[test]
fn exclusive_queue_does_not_survive_even_if_durable() {
    own_process(&[], async |broker| {
        let session = broker.open().await;
        let options = QueueDeclareOptions { durable: true, exclusive: true, ..QueueDeclareOptions::default() };
        session.queue_declare("mine".into(), options, FieldTable::default()).await.unwrap();
        broker.crash();
        let session = broker.open().await;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let gone = session.queue_declare("mine".into(), passive, FieldTable::default()).await;
        assert_eq!(error_of(gone).0, 404);
    });
}

#[test]
fn transient_message_in_a_durable_queue_is_gone_and_the_persistent_one_stays() {
    own_process(&[], async |broker| {
        let session = confirming(broker).await;
        declare_durable(&session, "mixed").await;
        for number in 0..20 {
            let properties = if number % 2 == 0 { persistent() } else { BasicProperties::default() };
            let (options, text) = (BasicPublishOptions::default(), number.to_string());
            session
                .basic_publish("".into(), "mixed".into(), options, text.as_bytes(), properties)
                .await
                .unwrap()
                .await
                .unwrap();
        }
        broker.crash();
        let session = broker.open().await;
        let expect: Vec<_> = (0..20).step_by(2).map(|number| (number, false)).collect();
        assert_eq!(drain(&session, "mixed").await, expect);
    });
}

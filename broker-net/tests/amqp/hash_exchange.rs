//! Exchanges that give each message to one binding: x-consistent-hash, x-modulus-hash, x-random, x-local-random.

use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeBindOptions, ExchangeDeclareOptions, ExchangeDeleteOptions,
    QueueBindOptions, QueueDeclareOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, ExchangeKind};

use crate::harness::{Broker, Session, declare, error_of, message_count, own_process, scenario, table};

const QUEUES: [&str; 3] = ["a", "b", "c"];

async fn declare_exchange(channel: &Channel, kind: &str, arguments: FieldTable) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare("x".into(), ExchangeKind::Custom(kind.into()), options, arguments).await
}

async fn bind(channel: &Channel, queue: &str, key: &str) -> lapin::Result<()> {
    let options = QueueBindOptions::default();
    channel.queue_bind(queue.into(), "x".into(), key.into(), options, FieldTable::default()).await
}

/// A session in confirm mode, with the exchange `x` and the three queues bound to it.
async fn prepare(broker: &Broker, kind: &str, arguments: FieldTable, weights: [&str; 3]) -> Session {
    let session = broker.open().await;
    session.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    declare_exchange(&session, kind, arguments).await.unwrap();
    for (queue, weight) in QUEUES.into_iter().zip(weights) {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        session.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap();
        bind(&session, queue, weight).await.unwrap();
    }
    session
}

async fn publish(channel: &Channel, key: &str, properties: BasicProperties) {
    let options = BasicPublishOptions::default();
    channel.basic_publish("x".into(), key.into(), options, b"m", properties).await.unwrap().await.unwrap();
}

/// Messages in each queue, which are then dropped.
async fn counts(channel: &Channel) -> [u32; 3] {
    let mut counts = [0; 3];
    for (queue, count) in QUEUES.into_iter().zip(&mut counts) {
        *count = message_count(channel, queue).await;
        channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await.unwrap();
    }
    counts
}

fn string(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

#[test]
fn each_message_goes_to_one_queue_by_weight() {
    scenario(async |broker| {
        let session = prepare(broker, "x-consistent-hash", FieldTable::default(), ["1", "1", "4"]).await;
        for number in 0..600 {
            publish(&session, &format!("key {number}"), BasicProperties::default()).await;
        }
        let [a, b, c] = counts(&session).await;
        assert_eq!(a + b + c, 600);
        assert!((60..150).contains(&a) && (60..150).contains(&b) && c > 330, "{a} {b} {c}");
    });
}

#[test]
fn the_same_key_goes_to_the_same_queue_after_kill_9() {
    own_process(&[], async |broker| {
        let session = prepare(broker, "x-consistent-hash", FieldTable::default(), ["1", "1", "1"]).await;
        let mut before = Vec::new();
        for number in 0..20 {
            publish(&session, &number.to_string(), BasicProperties::default()).await;
            before.push(counts(&session).await);
        }
        broker.crash();
        let session = broker.open().await;
        session.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        for (number, before) in before.into_iter().enumerate() {
            publish(&session, &number.to_string(), BasicProperties::default()).await;
            assert_eq!(counts(&session).await, before);
        }
    });
}

#[test]
fn a_header_or_property_is_hashed_instead_of_the_key() {
    scenario(async |broker| {
        for arguments in [table([("hash-header", string("h"))]), table([("hash-property", string("message_id"))])]
        {
            let session = prepare(broker, "x-consistent-hash", arguments, ["1", "1", "1"]).await;
            for number in 0..60 {
                let properties = BasicProperties::default()
                    .with_headers(table([("h", AMQPValue::LongInt(number))]))
                    .with_message_id(number.to_string().into());
                publish(&session, "same", properties).await;
            }
            let spread = counts(&session).await;
            assert!(spread.iter().all(|count| *count > 5), "{spread:?}");
            // Without what is hashed all go one way.
            for number in 0..9 {
                publish(&session, &number.to_string(), BasicProperties::default()).await;
            }
            let mut alike = counts(&session).await;
            alike.sort_unstable();
            assert_eq!(alike, [0, 0, 9]);
            session.exchange_delete("x".into(), ExchangeDeleteOptions::default()).await.unwrap();
        }
    });
}

#[test]
fn arguments_and_keys_are_checked_406() {
    scenario(async |broker| {
        for (arguments, text) in [
            (
                table([("hash-header", string("h")), ("hash-property", string("message_id"))]),
                "hash-header and hash-property are mutually exclusive",
            ),
            (table([("hash-property", string("app_id"))]), "Unsupported property: app_id"),
        ] {
            let session = broker.open().await;
            let refused = declare_exchange(&session, "x-consistent-hash", arguments).await;
            assert_eq!(error_of(refused), (406, format!("PRECONDITION_FAILED - {text}")));
        }
        for (kind, key, text) in [
            ("x-consistent-hash", "abc", "The binding key must be an integer: <<\"abc\">>"),
            ("x-consistent-hash", "0", "The binding key must be greater than 0"),
            ("x-local-random", "k", "Non empty binding 'k' key not permitted"),
        ] {
            let session = broker.open().await;
            declare_exchange(&session, kind, FieldTable::default()).await.unwrap();
            declare(&session, "q").await;
            let refused = bind(&session, "q", key).await;
            assert_eq!(error_of(refused), (406, format!("PRECONDITION_FAILED - {text}")));
            let session = broker.open().await;
            session.exchange_delete("x".into(), ExchangeDeleteOptions::default()).await.unwrap();
        }
        let session = broker.open().await;
        declare_exchange(&session, "x-local-random", FieldTable::default()).await.unwrap();
        let options = ExchangeBindOptions::default();
        let refused = session
            .exchange_bind("amq.fanout".into(), "x".into(), "".into(), options, FieldTable::default())
            .await;
        assert_eq!(error_of(refused), (406, "PRECONDITION_FAILED - Destination not found".into()));
        for kind in ["quorum", "stream"] {
            let session = broker.open().await;
            session.declare_with(kind, &[("x-queue-type", string(kind))]).await.unwrap();
            let text =
                format!("PRECONDITION_FAILED - Queue type rabbit_{kind}_queue not valid for this exchange type");
            assert_eq!(error_of(bind(&session, kind, "").await), (406, text));
        }
    });
}

#[test]
fn random_and_modulus_spread_over_all_queues() {
    scenario(async |broker| {
        for kind in ["x-random", "x-local-random", "x-modulus-hash"] {
            let session = prepare(broker, kind, FieldTable::default(), ["", "", ""]).await;
            for number in 0..90 {
                publish(&session, &number.to_string(), BasicProperties::default()).await;
            }
            let spread = counts(&session).await;
            assert_eq!(spread.iter().sum::<u32>(), 90);
            assert!(spread.iter().all(|count| *count > 10), "{kind} {spread:?}");
            session.exchange_delete("x".into(), ExchangeDeleteOptions::default()).await.unwrap();
        }
    });
}

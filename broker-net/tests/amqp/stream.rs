//! Promise: a stream keeps its messages, and every consumer reads it from where it asked to, with the offset of each message in a
//! header; offsets are the same after a restart and after kill -9.

use std::ops::Range;

use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions,
    BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldArray, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Consumer, Queue};

use crate::harness::{
    Broker, Session, body, error_of, get, message_count, next, own_process, persistent, scenario, scenario_with,
    table,
};

const DURABLE: QueueDeclareOptions =
    QueueDeclareOptions { durable: true, passive: false, exclusive: false, auto_delete: false, nowait: false };

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

async fn declare_with<const N: usize>(
    channel: &Channel,
    name: &str,
    options: QueueDeclareOptions,
    arguments: [(&str, AMQPValue); N],
) -> lapin::Result<Queue> {
    let mut arguments = table(arguments);
    arguments.insert("x-queue-type".into(), text("stream"));
    channel.queue_declare(name.into(), options, arguments).await
}

async fn declare(channel: &Channel, name: &str) {
    declare_with(channel, name, DURABLE, []).await.unwrap();
}

/// A session in confirm mode with a stream.
async fn stream(broker: &Broker, name: &str) -> Session {
    let session = broker.open().await;
    session.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    declare(&session, name).await;
    session
}

async fn publish_with(channel: &Channel, name: &str, numbers: Range<u32>, properties: BasicProperties) {
    let mut confirms = Vec::new();
    for number in numbers {
        let (options, text) = (BasicPublishOptions::default(), number.to_string());
        let confirm = channel.basic_publish("".into(), name.into(), options, text.as_bytes(), properties.clone());
        confirms.push(confirm.await.unwrap());
    }
    for confirm in confirms {
        assert_eq!(confirm.await.unwrap(), Confirmation::Ack(None));
    }
}

/// Publishes transient messages with these numbers as bodies and waits until all are confirmed.
async fn publish(channel: &Channel, name: &str, numbers: Range<u32>) {
    publish_with(channel, name, numbers, BasicProperties::default()).await;
}

async fn try_consume(
    channel: &Channel,
    name: &str,
    prefetch: u16,
    arguments: FieldTable,
) -> lapin::Result<Consumer> {
    channel.basic_qos(prefetch, BasicQosOptions::default()).await.unwrap();
    channel.basic_consume(name.into(), "".into(), BasicConsumeOptions::default(), arguments).await
}

/// A consumer that begins there.
async fn consume_from(channel: &Channel, name: &str, offset: AMQPValue) -> Consumer {
    try_consume(channel, name, 1000, table([("x-stream-offset", offset)])).await.unwrap()
}

fn offset_of(delivery: &Delivery) -> i64 {
    let headers = delivery.properties.headers().as_ref().expect("a delivery of a stream has headers");
    match headers.inner().get("x-stream-offset") {
        Some(AMQPValue::LongLongInt(offset)) => *offset,
        other => panic!("{other:?} is no offset"),
    }
}

/// Reads and acknowledges this many; offset and body of each.
async fn read(consumer: &mut Consumer, count: usize) -> Vec<(i64, u32)> {
    let mut seen = Vec::new();
    for _ in 0..count {
        let delivery = next(consumer).await;
        assert!(!delivery.redelivered);
        delivery.ack(BasicAckOptions::default()).await.unwrap();
        seen.push((offset_of(&delivery), body(&delivery).parse().unwrap()));
    }
    seen
}

/// What is read of a stream whose bodies are the numbers from 0.
fn numbered(offsets: Range<u32>) -> Vec<(i64, u32)> {
    offsets.map(|number| (number.into(), number)).collect()
}

#[test]
fn every_form_of_offset_begins_where_it_says() {
    scenario(async |broker| {
        let session = stream(broker, "s").await;
        publish(&session, "s", 0..20).await;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        for (offset, first) in [
            (text("first"), 0),
            (text("last"), 19),
            (text("1h"), 0),
            (AMQPValue::LongInt(7), 7),
            (AMQPValue::LongLongInt(19), 19),
            (AMQPValue::ShortShortInt(-3), 0),
            (AMQPValue::Timestamp(now - 3600), 0),
        ] {
            let channel = session.connection.create_channel().await.unwrap();
            let mut consumer = consume_from(&channel, "s", offset.clone()).await;
            let seen = read(&mut consumer, 20 - first as usize).await;
            assert_eq!(seen, numbered(first..20), "{offset:?}");
        }
        let mut later = Vec::new();
        for offset in
            [None, Some(text("next")), Some(AMQPValue::LongInt(20)), Some(AMQPValue::Timestamp(now + 3600))]
        {
            let channel = session.connection.create_channel().await.unwrap();
            let arguments = offset.map_or_else(FieldTable::default, |offset| table([("x-stream-offset", offset)]));
            later.push((try_consume(&channel, "s", 10, arguments).await.unwrap(), channel));
        }
        let channel = session.connection.create_channel().await.unwrap();
        let mut beyond = consume_from(&channel, "s", AMQPValue::LongInt(22)).await;
        publish(&session, "s", 20..24).await;
        for (consumer, _) in &mut later {
            assert_eq!(read(consumer, 4).await, numbered(20..24));
        }
        assert_eq!(read(&mut beyond, 2).await, numbered(22..24));
        assert_eq!(message_count(&session, "s").await, 24);
    });
}

#[test]
fn acks_and_nacks_give_credit_and_change_nothing() {
    scenario(async |broker| {
        let session = stream(broker, "s").await;
        publish(&session, "s", 0..6).await;
        for settle in 0..3 {
            let channel = session.connection.create_channel().await.unwrap();
            let mut consumer =
                try_consume(&channel, "s", 2, table([("x-stream-offset", text("first"))])).await.unwrap();
            for number in 0..6 {
                let delivery = next(&mut consumer).await;
                assert_eq!((offset_of(&delivery), delivery.redelivered), (number, false));
                let requeue = settle == 1;
                match settle {
                    0 => delivery.ack(BasicAckOptions::default()).await.unwrap(),
                    _ => delivery.nack(BasicNackOptions { requeue, multiple: false }).await.unwrap(),
                };
            }
        }
        assert_eq!(message_count(&session, "s").await, 6);
    });
}

#[test]
fn prefetch_stops_a_consumer_until_it_settles() {
    scenario(async |broker| {
        let session = stream(broker, "s").await;
        publish(&session, "s", 0..4).await;
        let arguments = table([("x-stream-offset", text("first"))]);
        let mut consumer = try_consume(&session, "s", 2, arguments).await.unwrap();
        let first = next(&mut consumer).await;
        let second = next(&mut consumer).await;
        assert_eq!((offset_of(&first), offset_of(&second)), (0, 1));
        // The answer to a command comes behind everything that was delivered before it.
        assert_eq!(message_count(&session, "s").await, 4);
        session.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await.unwrap();
        assert!(futures_lite::StreamExt::next(&mut consumer).await.is_none(), "nothing beyond the prefetch");
    });
}

#[test]
fn deliveries_keep_properties_and_replace_an_offset_that_the_publisher_wrote() {
    scenario(async |broker| {
        let session = stream(broker, "s").await;
        let headers = table([("a", AMQPValue::LongInt(1)), ("x-stream-offset", AMQPValue::LongInt(99))]);
        let sent = BasicProperties::default().with_content_type("text/plain".into()).with_message_id("id".into());
        publish_with(&session, "s", 0..1, sent.clone().with_headers(headers)).await;
        let mut consumer = consume_from(&session, "s", text("first")).await;
        let expected = table([("a", AMQPValue::LongInt(1)), ("x-stream-offset", AMQPValue::LongLongInt(0))]);
        assert_eq!(next(&mut consumer).await.properties, sent.with_headers(expected));
    });
}

#[test]
fn get_and_purge_close_the_connection() {
    scenario(async |broker| {
        let session = stream(broker, "s").await;
        let result = session.basic_get("s".into(), BasicGetOptions::default()).await;
        let refused = "NOT_IMPLEMENTED - basic.get not supported by stream queues queue 's' in vhost '/'";
        assert_eq!(error_of(result), (540, refused.to_owned()));
        let session = stream(broker, "s").await;
        let result = session.queue_purge("s".into(), QueuePurgeOptions::default()).await;
        let refused = "NOT_IMPLEMENTED - queue.purge not supported by stream queues queue 's' in vhost '/'";
        assert_eq!(error_of(result), (540, refused.to_owned()));
    });
}

#[test]
fn consumers_that_a_stream_cannot_have_are_refused() {
    scenario(async |broker| {
        let session = stream(broker, "s").await;
        let arguments = |offset| table([("x-stream-offset", offset)]);
        for (prefetch, arguments, refused) in [
            (0, FieldTable::default(), "consumer prefetch count is not set for stream queue 's' in vhost '/'"),
            (
                1,
                table([("x-priority", AMQPValue::LongInt(1))]),
                "invalid arg 'x-priority' for queue 's' in vhost '/' of queue type rabbit_stream_queue",
            ),
            (
                1,
                arguments(text("1x")),
                "invalid arg 'x-stream-offset' for queue 's' in vhost '/': {invalid_stream_offset_arg,{longstr,<<\"1x\">>}}",
            ),
        ] {
            let channel = session.connection.create_channel().await.unwrap();
            let result = try_consume(&channel, "s", prefetch, arguments).await;
            assert_eq!(error_of(result), (406, format!("PRECONDITION_FAILED - {refused}")));
        }
        session.basic_qos(1, BasicQosOptions::default()).await.unwrap();
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let result = session.basic_consume("s".into(), "".into(), options, FieldTable::default()).await;
        let refused = "NOT_IMPLEMENTED - automatic acknowledgement not supported by stream queue 's' in vhost '/'";
        assert_eq!(error_of(result), (540, refused.to_owned()));
    });
}

#[test]
fn a_stream_is_durable_and_everybody_s() {
    scenario(async |broker| {
        let session = broker.open().await;
        for (property, options) in [
            ("non-durable", QueueDeclareOptions { durable: false, ..DURABLE }),
            ("auto-delete", QueueDeclareOptions { auto_delete: true, ..DURABLE }),
            ("exclusive-owner", QueueDeclareOptions { exclusive: true, ..DURABLE }),
        ] {
            let channel = session.connection.create_channel().await.unwrap();
            let result = declare_with(&channel, "s", options, []).await;
            let refused =
                format!("PRECONDITION_FAILED - invalid property '{property}' for queue 's' in vhost '/'");
            assert_eq!(error_of(result), (406, refused));
        }
    });
}

#[test]
fn deleting_asks_neither_for_consumers_nor_for_messages() {
    scenario(async |broker| {
        let session = stream(broker, "s").await;
        publish(&session, "s", 0..3).await;
        let mut consumer = consume_from(&session, "s", text("first")).await;
        read(&mut consumer, 3).await;
        let other = broker.open().await;
        let options = QueueDeleteOptions { if_unused: true, if_empty: true, ..QueueDeleteOptions::default() };
        assert_eq!(other.queue_delete("s".into(), options).await.unwrap(), 0);
        assert!(futures_lite::StreamExt::next(&mut consumer).await.is_none(), "the consumer is cancelled");
        declare(&session, "s").await;
        publish(&session, "s", 0..1).await;
        let mut consumer = consume_from(&session, "s", text("first")).await;
        assert_eq!(read(&mut consumer, 1).await, numbered(0..1));
    });
}

fn filtered(values: AMQPValue, match_unfiltered: bool) -> FieldTable {
    table([
        ("x-stream-offset", text("first")),
        ("x-stream-filter", values),
        ("x-stream-match-unfiltered", AMQPValue::Boolean(match_unfiltered)),
    ])
}

#[test]
fn a_filter_passes_exactly_what_it_names() {
    scenario(async |broker| {
        let session = stream(broker, "s").await;
        for number in 0..60 {
            let value = ["a", "b", "c"].get(number as usize % 4);
            let headers = value.map(|value| table([("x-stream-filter-value", text(value))])).unwrap_or_default();
            publish_with(&session, "s", number..number + 1, BasicProperties::default().with_headers(headers))
                .await;
        }
        let several = AMQPValue::FieldArray(FieldArray::from(vec![text("a"), text("c")]));
        for (arguments, wanted) in [
            (filtered(text("b"), false), &[1][..]),
            (filtered(several.clone(), false), &[0, 2]),
            (filtered(several, true), &[0, 2, 3]),
            (filtered(AMQPValue::LongInt(1), false), &[0, 1, 2, 3]),
        ] {
            let expected: Vec<_> =
                numbered(0..60).into_iter().filter(|(_, n)| wanted.contains(&(n % 4))).collect();
            let channel = session.connection.create_channel().await.unwrap();
            let mut consumer = try_consume(&channel, "s", 5, arguments).await.unwrap();
            assert_eq!(read(&mut consumer, expected.len()).await, expected);
        }
    });
}

#[test]
fn consumers_on_every_shard_read_the_same() {
    scenario_with(&["--shards", "2"], async |broker| {
        let names = ["a", "b", "c", "d"];
        let session = stream(broker, names[0]).await;
        for name in names {
            declare(&session, name).await;
        }
        let mut readers = Vec::new();
        for at in 0..12_u32 {
            let connection = broker.open().await;
            let name = names[at as usize % names.len()];
            let consumer =
                try_consume(&connection, name, 7, table([("x-stream-offset", AMQPValue::LongInt(100))]));
            readers.push((consumer.await.unwrap(), connection));
        }
        for name in names {
            publish(&session, name, 0..300).await;
        }
        for (consumer, _) in &mut readers {
            assert_eq!(read(consumer, 200).await, numbered(100..300));
        }
    });
}

#[test]
fn offsets_are_the_same_after_a_restart_and_after_kill_9() {
    own_process(&["--shards", "2"], async |broker| {
        let session = stream(broker, "s").await;
        publish(&session, "s", 0..700).await;
        broker.crash();
        let session = stream(broker, "s").await;
        assert_eq!(message_count(&session, "s").await, 700);
        publish(&session, "s", 700..900).await;
        drop(session);
        broker.stop().await;
        broker.restart();
        let session = stream(broker, "s").await;
        publish(&session, "s", 900..1000).await;
        let mut consumer = consume_from(&session, "s", AMQPValue::LongInt(10)).await;
        assert_eq!(read(&mut consumer, 990).await, numbered(10..1000));
    });
}

#[test]
fn a_stream_and_a_queue_share_records() {
    own_process(&[], async |broker| {
        let session = stream(broker, "s").await;
        session.queue_declare("q".into(), DURABLE, FieldTable::default()).await.unwrap();
        for queue in ["s", "q"] {
            let options = QueueBindOptions::default();
            session
                .queue_bind(queue.into(), "amq.fanout".into(), "".into(), options, FieldTable::default())
                .await
                .unwrap();
        }
        for number in 0..100_u32 {
            let options = BasicPublishOptions::default();
            let payload = number.to_string();
            let confirm =
                session.basic_publish("amq.fanout".into(), "".into(), options, payload.as_bytes(), persistent());
            assert_eq!(confirm.await.unwrap().await.unwrap(), Confirmation::Ack(None));
        }
        for number in 0..60_u32 {
            let message = get(&session, "q").await.expect("a message");
            assert_eq!(body(&message), number.to_string());
            message.ack(BasicAckOptions::default()).await.unwrap();
        }
        broker.crash();
        let session = stream(broker, "s").await;
        let mut consumer = consume_from(&session, "s", text("first")).await;
        assert_eq!(read(&mut consumer, 100).await, numbered(0..100));
    });
}

#[test]
fn the_oldest_messages_go_beyond_the_limit_in_bytes_and_offsets_go_on() {
    own_process(&[], async |broker| {
        let session = broker.open().await;
        session.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let limit = [("x-max-length-bytes", AMQPValue::LongInt(20_000))];
        declare_with(&session, "s", DURABLE, limit.clone()).await.unwrap();
        publish(&session, "s", 0..1000).await;
        let count = message_count(&session, "s").await;
        assert!((100..400).contains(&count), "{count}");
        broker.crash();
        let session = broker.open().await;
        session.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        declare_with(&session, "s", DURABLE, limit).await.unwrap();
        // What was removed is not synced for its own sake: it may be there again, and is removed again, a slice at a time.
        while message_count(&session, "s").await > count {}
        assert_eq!(message_count(&session, "s").await, count);
        let mut consumer = consume_from(&session, "s", text("first")).await;
        assert_eq!(read(&mut consumer, count as usize).await, numbered(1000 - count..1000));
        publish(&session, "s", 1000..1001).await;
        assert_eq!(read(&mut consumer, 1).await, numbered(1000..1001));
    });
}

#[test]
fn messages_go_when_they_are_too_old_but_for_the_newest() {
    scenario(async |broker| {
        let session = broker.open().await;
        session.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        declare_with(&session, "s", DURABLE, [("x-max-age", text("1s"))]).await.unwrap();
        publish(&session, "s", 0..50).await;
        while message_count(&session, "s").await > 1 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let mut consumer = consume_from(&session, "s", text("first")).await;
        publish(&session, "s", 50..52).await;
        assert_eq!(read(&mut consumer, 3).await, numbered(49..52));
    });
}

#[test]
fn a_stream_larger_than_the_window_is_read_from_disk_by_many_at_once() {
    own_process(&[], async |broker| {
        let session = stream(broker, "s").await;
        let filler =
            BasicProperties::default().with_type("x".repeat(200).into()).with_app_id("y".repeat(200).into());
        for round in 0..30 {
            publish_with(&session, "s", round * 1000..(round + 1) * 1000, filler.clone()).await;
        }
        broker.crash();
        let session = stream(broker, "s").await;
        let mut readers = Vec::new();
        for start in [0, 5000, 29_000, 17_000, 11_111] {
            let channel = session.connection.create_channel().await.unwrap();
            readers.push((start, consume_from(&channel, "s", AMQPValue::LongInt(start)).await, channel));
        }
        for (start, consumer, _) in &mut readers {
            let start = u32::try_from(*start).unwrap();
            assert_eq!(read(consumer, 1000).await, numbered(start..start + 1000));
        }
    });
}

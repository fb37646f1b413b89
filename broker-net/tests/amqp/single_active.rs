//! `x-single-active-consumer`: one consumer at a time, the next takes over when it goes.

use lapin::options::{BasicAckOptions, BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Consumer};

use crate::harness::{
    body, error_of, get, long_string, message_count, next, persistent, publish, scenario, table,
};

async fn declare_single(channel: &Channel, queue: &str) {
    let arguments = table([("x-single-active-consumer", AMQPValue::Boolean(true))]);
    channel.queue_declare(queue.into(), QueueDeclareOptions::default(), arguments).await.unwrap();
}

async fn consume(channel: &Channel, queue: &str, tag: &str) -> Consumer {
    let options = BasicConsumeOptions::default();
    channel.basic_consume(queue.into(), tag.into(), options, FieldTable::default()).await.unwrap()
}

#[test]
fn first_consumer_gets_all_until_it_goes() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare_single(&session, "single").await;
        let mut first = consume(&session, "single", "first").await;
        let mut second = consume(&session, "single", "second").await;
        for number in 0..3 {
            publish(&session, "", "single", &number.to_string()).await;
        }
        for expect in ["0", "1", "2"] {
            let delivery = next(&mut first).await;
            assert_eq!(body(&delivery), expect);
            delivery.ack(BasicAckOptions::default()).await.unwrap();
        }
        session.basic_cancel("first".into(), Default::default()).await.unwrap();
        publish(&session, "", "single", "3").await;
        assert_eq!(body(&next(&mut second).await), "3");
    });
}

#[test]
fn next_consumer_gets_what_a_closed_channel_held() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare_single(&session, "single").await;
        let active = session.connection.create_channel().await.unwrap();
        let mut first = consume(&active, "single", "").await;
        let mut second = consume(&session, "single", "").await;
        publish(&session, "", "single", "held").await;
        assert_eq!(body(&next(&mut first).await), "held");
        active.close(200, "".into()).await.unwrap();
        let again = next(&mut second).await;
        assert_eq!((body(&again), again.redelivered), ("held", true));
    });
}

#[test]
fn exclusive_consumer_is_refused_and_get_is_not() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare_single(&session, "single").await;
        publish(&session, "", "single", "1").await;
        assert_eq!(message_count(&session, "single").await, 1);
        assert_eq!(get(&session, "single").await.expect("a message").data, b"1");
        let options = BasicConsumeOptions { exclusive: true, ..Default::default() };
        let refused = session.basic_consume("single".into(), "".into(), options, FieldTable::default()).await;
        let text = "ACCESS_REFUSED - queue 'single' in vhost '/' in exclusive use";
        assert_eq!(error_of(refused), (403, text.to_owned()));
    });
}

#[test]
fn consumer_of_higher_priority_takes_over_a_quorum_queue_and_no_classic_one() {
    scenario(async |broker| {
        for (kind, taken_over) in [("quorum", true), ("classic", false)] {
            let session = broker.open().await;
            let single =
                [("x-single-active-consumer", AMQPValue::Boolean(true)), ("x-queue-type", long_string(kind))];
            let queue = format!("single-{kind}");
            session.declare_with(&queue, &single).await.unwrap();
            session.confirm().await;
            let mut low = consume(&session, &queue, "low").await;
            session.put(&queue, "1", persistent()).await;
            let held = next(&mut low).await;
            let priority = table([("x-priority", AMQPValue::LongInt(5))]);
            let other = session.connection.create_channel().await.unwrap();
            let options = BasicConsumeOptions::default();
            let mut high =
                other.basic_consume(queue.as_str().into(), "high".into(), options, priority).await.unwrap();
            session.put(&queue, "2", persistent()).await;
            if taken_over {
                // Nobody gets it while the first one holds a message.
                assert_eq!(message_count(&session, &queue).await, 1);
            }
            held.ack(BasicAckOptions::default()).await.unwrap();
            let expected = if taken_over { &mut high } else { &mut low };
            assert_eq!(body(&next(expected).await), "2");
        }
    });
}

//! `x-delayed-retry-*`: what is returned waits before it is ready again; and `x-delivery-limit` of classic queues.

use std::time::{Duration, Instant};

use lapin::options::{BasicNackOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Queue};

use crate::basic::consume;
use crate::harness::{
    Session, body, error_of, get, message_count, next, own_process, persistent, publish, scenario, table,
};

async fn declare(channel: &Channel, queue: &str, arguments: FieldTable) -> lapin::Result<Queue> {
    channel.queue_declare(queue.into(), QueueDeclareOptions::default(), arguments).await
}

fn delayed(kind: &str, min_ms: i32) -> FieldTable {
    table([
        ("x-delayed-retry-type", AMQPValue::LongString(kind.into())),
        ("x-delayed-retry-min", AMQPValue::LongInt(min_ms)),
        ("x-delayed-retry-max", AMQPValue::LongInt(3 * min_ms)),
    ])
}

#[test]
fn nacked_message_comes_again_later() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "retry", delayed("all", 50)).await.unwrap();
        publish(&session, "", "retry", "again").await;
        publish(&session, "", "retry", "next").await;
        let mut consumer = consume(&session, "retry", "").await;
        let first = next(&mut consumer).await;
        assert_eq!(body(&next(&mut consumer).await), "next");
        first.nack(BasicNackOptions { requeue: true, ..Default::default() }).await.unwrap();
        // It waits: neither ready nor unacknowledged.
        assert_eq!(message_count(&session, "retry").await, 0);
        let again = next(&mut consumer).await;
        assert_eq!((body(&again), again.redelivered), ("again", true));
    });
}

#[test]
fn message_that_waits_long_does_not_come() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "retry", delayed("returned", 3_600_000)).await.unwrap();
        for text in ["waits", "fails"] {
            publish(&session, "", "retry", text).await;
        }
        assert_eq!(message_count(&session, "retry").await, 2);
        let other = session.connection.create_channel().await.unwrap();
        let waits = get(&session, "retry").await.expect("a message");
        get(&other, "retry").await.expect("a message");
        waits.nack(BasicNackOptions { requeue: true, ..Default::default() }).await.unwrap();
        // What its consumer lost is not delayed, only what was returned.
        other.close(200, "".into()).await.unwrap();
        assert_eq!(get(&session, "retry").await.expect("a message").data, b"fails");
        assert!(get(&session, "retry").await.is_none());
        let purged = session.queue_purge("retry".into(), Default::default()).await.unwrap();
        assert_eq!(purged, 1);
    });
}

/// A durable queue that delays what comes back by at least `min_ms`, with these persistent messages.
async fn fill(session: &Session, queue: &str, kind: &str, min_ms: i32, bodies: &[&str]) {
    let arguments = [
        ("x-queue-type", AMQPValue::LongString(kind.into())),
        ("x-delayed-retry-type", AMQPValue::LongString("all".into())),
        ("x-delayed-retry-min", AMQPValue::LongInt(min_ms)),
        ("x-delayed-retry-max", AMQPValue::LongInt(min_ms)),
    ];
    session.declare_with(queue, &arguments).await.unwrap();
    for body in bodies {
        assert!(session.put(queue, body, persistent()).await);
    }
}

async fn give_back(session: &Session, queue: &str) {
    let message = get(session, queue).await.expect("a message");
    message.nack(BasicNackOptions { requeue: true, ..Default::default() }).await.unwrap();
}

#[test]
fn what_waits_goes_on_waiting_after_kill_9_until_its_time() {
    for kind in ["classic", "quorum"] {
        own_process(&["--shards", "2"], async |broker| {
            let session = broker.open().await;
            session.confirm().await;
            fill(&session, "soon", kind, 3000, &["m"]).await;
            let start = Instant::now();
            give_back(&session, "soon").await;
            // What the log knows of the first is written with the second, at the latest.
            session.put("soon", "other", persistent()).await;
            broker.crash();
            let session = broker.open().await;
            let mut consumer = consume(&session, "soon", "").await;
            let mut again = next(&mut consumer).await;
            // On a slow machine its time may have come already.
            if body(&again) == "other" {
                again = next(&mut consumer).await;
            }
            assert_eq!((body(&again), again.redelivered), ("m", true));
            assert!(start.elapsed() >= Duration::from_millis(3000), "it came before its time");
        });
    }
}

#[test]
fn those_that_wait_are_left_out_of_the_backlog_after_a_restart() {
    own_process(&["--shards", "2"], async |broker| {
        let session = broker.open().await;
        session.confirm().await;
        let bodies: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
        fill(&session, "q", "classic", 3_600_000, &bodies).await;
        let mut waiting = Vec::new();
        for number in 0..10 {
            let message = get(&session, "q").await.expect("a message");
            if number % 3 == 0 {
                waiting.push(message);
            } else {
                message.ack(Default::default()).await.unwrap();
            }
        }
        for message in waiting {
            message.nack(BasicNackOptions { requeue: true, ..Default::default() }).await.unwrap();
        }
        assert_eq!(message_count(&session, "q").await, 90);
        // What the log knows of the others is written with this one, at the latest.
        session.put("q", "100", persistent()).await;
        for _ in 0..2 {
            broker.crash();
            let session = broker.open().await;
            assert_eq!(message_count(&session, "q").await, 91);
        }
        let session = broker.open().await;
        let expect: Vec<String> = (10..=100).map(|number| number.to_string()).collect();
        assert_eq!(session.drain("q").await, expect);
        let purged = session.queue_purge("q".into(), Default::default()).await.unwrap();
        assert_eq!(purged, 4);
    });
}

#[test]
fn classic_queue_has_a_delivery_limit_if_it_wants_one() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "limited", table([("x-delivery-limit", AMQPValue::LongInt(1))])).await.unwrap();
        publish(&session, "", "limited", "poison").await;
        assert_eq!(message_count(&session, "limited").await, 1);
        for _ in 0..2 {
            let message = get(&session, "limited").await.expect("a message");
            message.nack(BasicNackOptions { requeue: true, ..Default::default() }).await.unwrap();
        }
        assert!(get(&session, "limited").await.is_none());
    });
}

#[test]
fn unknown_type_of_delay_is_406() {
    scenario(async |broker| {
        let session = broker.open().await;
        let refused = declare(&session, "retry", delayed("sometimes", 1)).await;
        let text = "PRECONDITION_FAILED - invalid arg 'x-delayed-retry-type' for queue 'retry' in vhost '/': \
                    invalid_delayed_retry_type";
        assert_eq!(error_of(refused), (406, text.to_owned()));
    });
}

#[test]
fn deliveries_of_a_classic_queue_with_a_limit_are_counted_through_kill_9() {
    own_process(&[], async |broker| {
        let session = broker.open().await;
        session.confirm().await;
        session.declare_with("q", &[("x-delivery-limit", AMQPValue::LongInt(3))]).await.unwrap();
        session.put("q", "poison", persistent()).await;
        let reject = lapin::options::BasicRejectOptions { requeue: true };
        for _ in 0..2 {
            get(&session, "q").await.expect("a message").acker.reject(reject).await.unwrap();
        }
        // The counts are written before the record of this one is synced.
        session.put("q", "next", persistent()).await;
        broker.crash();
        let session = broker.open().await;
        for _ in 0..2 {
            let message = get(&session, "q").await.expect("a message");
            assert_eq!((body(&message), message.redelivered), ("poison", true));
            message.acker.reject(reject).await.unwrap();
        }
        assert_eq!(session.drain("q").await, ["next"]);
    });
}

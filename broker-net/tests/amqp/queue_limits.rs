//! Limits of a queue's length, and what happens at them (`x-max-length`, `x-max-length-bytes`, `x-overflow`).

use lapin::options::BasicRejectOptions;
use lapin::types::AMQPValue;

use crate::harness::{
    Broker, Management, Session, Settings, body, error_of, get, long_string, message_count, next, own_process,
    persistent, scenario,
};

fn int(number: i32) -> AMQPValue {
    AMQPValue::LongInt(number)
}

/// `dead`, and `limited` with these further arguments, whose dead messages go there.
async fn declare_limited(session: &Session, settings: Settings<'_>) {
    session.confirm().await;
    session.declare_with("dead", &[]).await.unwrap();
    let dead = [("x-dead-letter-exchange", long_string("")), ("x-dead-letter-routing-key", long_string("dead"))];
    session.declare_with("limited", &[&dead[..], settings].concat()).await.unwrap();
}

/// Publishes these bodies; which of them were acked.
async fn put_all<const N: usize>(session: &Session, bodies: [&str; N]) -> [bool; N] {
    let mut acked = [false; N];
    for (acked, body) in acked.iter_mut().zip(bodies) {
        *acked = session.put("limited", body, persistent()).await;
    }
    acked
}

#[test]
fn drop_head_dead_letters_the_oldest() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare_limited(&session, &[("x-max-length", int(2))]).await;
        assert_eq!(put_all(&session, ["1", "2", "3", "4"]).await, [true; 4]);
        session.wait_for_count("dead", 2).await;
        assert_eq!(session.drain("dead").await, ["1", "2"]);
        assert_eq!(session.drain("limited").await, ["3", "4"]);
    });
}

#[test]
fn only_ready_messages_count() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare_limited(&session, &[("x-max-length", int(1))]).await;
        put_all(&session, ["1"]).await;
        let held = get(&session, "limited").await.expect("a message");
        put_all(&session, ["2"]).await;
        assert_eq!(message_count(&session, "limited").await, 1);
        // Back at the head, it is the one that is too much.
        held.acker.reject(BasicRejectOptions { requeue: true }).await.unwrap();
        session.wait_for_count("dead", 1).await;
        assert_eq!(session.drain("limited").await, ["2"]);
    });
}

#[test]
fn a_limit_of_0_lets_through_what_a_consumer_takes() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare_limited(&session, &[("x-max-length", int(0))]).await;
        assert_eq!(put_all(&session, ["nobody"]).await, [true]);
        session.wait_for_count("dead", 1).await;
        let mut consumer = session.listen("limited").await;
        put_all(&session, ["somebody"]).await;
        assert_eq!(body(&next(&mut consumer).await), "somebody");
    });
}

#[test]
fn bytes_of_bodies_are_limited() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare_limited(&session, &[("x-max-length-bytes", int(10))]).await;
        put_all(&session, ["11111", "22222", "33333"]).await;
        session.wait_for_count("dead", 1).await;
        let held = get(&session, "limited").await.expect("a message");
        assert_eq!(body(&held), "22222");
        put_all(&session, ["44444"]).await;
        assert_eq!(message_count(&session, "dead").await, 1);
        held.acker.reject(BasicRejectOptions { requeue: true }).await.unwrap();
        session.wait_for_count("dead", 2).await;
        assert_eq!(session.drain("limited").await, ["33333", "44444"]);
        put_all(&session, ["12345678901"]).await;
        session.wait_for_count("dead", 3).await;
        assert_eq!(message_count(&session, "limited").await, 0);
    });
}

#[test]
fn reject_publish_nacks_the_newest() {
    scenario(async |broker| {
        let session = broker.open().await;
        let settings = [("x-max-length", int(2)), ("x-overflow", long_string("reject-publish"))];
        declare_limited(&session, &settings).await;
        assert_eq!(put_all(&session, ["1", "2", "3"]).await, [true, true, false]);
        assert_eq!(message_count(&session, "dead").await, 0);
        assert_eq!(session.drain("limited").await, ["1", "2"]);
        assert_eq!(put_all(&session, ["4"]).await, [true]);
    });
}

#[test]
fn without_confirms_what_is_refused_is_dropped() {
    scenario(async |broker| {
        let session = broker.open().await;
        let settings = [("x-max-length", int(1)), ("x-overflow", long_string("reject-publish"))];
        declare_limited(&session, &settings).await;
        let plain = broker.open().await;
        for number in ["1", "2", "3"] {
            crate::harness::publish(&plain, "", "limited", number).await;
        }
        assert_eq!(plain.drain("limited").await, ["1"]);
    });
}

#[test]
fn reject_publish_dlx_nacks_and_dead_letters() {
    scenario(async |broker| {
        let session = broker.open().await;
        let settings = [("x-max-length", int(1)), ("x-overflow", long_string("reject-publish-dlx"))];
        declare_limited(&session, &settings).await;
        assert_eq!(put_all(&session, ["1", "2"]).await, [true, false]);
        session.wait_for_count("dead", 1).await;
        assert_eq!(session.drain("dead").await, ["2"]);
        assert_eq!(session.drain("limited").await, ["1"]);
    });
}

#[test]
fn one_full_queue_of_many_nacks_and_the_others_have_the_message() {
    scenario(async |broker| {
        let session = broker.open().await;
        let full = [("x-max-length", int(0)), ("x-overflow", long_string("reject-publish"))];
        declare_limited(&session, &full).await;
        session.declare_with("roomy", &[]).await.unwrap();
        for queue in ["limited", "roomy"] {
            let options = lapin::options::QueueBindOptions::default();
            let none = lapin::types::FieldTable::default();
            session.queue_bind(queue.into(), "amq.fanout".into(), "".into(), options, none).await.unwrap();
        }
        let options = lapin::options::BasicPublishOptions::default();
        let confirm = session.basic_publish("amq.fanout".into(), "".into(), options, b"m", persistent()).await;
        assert!(!confirm.unwrap().await.unwrap().is_ack());
        assert_eq!(session.drain("roomy").await, ["m"]);
    });
}

#[test]
fn limits_hold_after_kill_9() {
    own_process(&[], async |broker| {
        let session = broker.open().await;
        declare_limited(&session, &[("x-max-length", int(3)), ("x-max-length-bytes", int(15))]).await;
        put_all(&session, ["11111", "22222", "33333"]).await;
        broker.crash();
        let session = broker.open().await;
        session.confirm().await;
        assert_eq!(message_count(&session, "limited").await, 3);
        put_all(&session, ["44444"]).await;
        // What is to be dropped has to be read from disk first.
        session.wait_for_count("limited", 3).await;
        assert_eq!(session.drain("limited").await, ["22222", "33333", "44444"]);
    });
}

#[test]
fn bytes_are_exact_after_kill_9() {
    own_process(&["--shards", "2"], async |broker| {
        let session = broker.open().await;
        let settings = [("x-max-length-bytes", int(3000)), ("x-overflow", long_string("reject-publish"))];
        declare_limited(&session, &settings).await;
        // Bodies and properties of every size, some of them gone before the crash.
        let padding = |length: usize| "x".repeat(length);
        for (body, id) in [(1, 200), (1000, 0), (500, 90), (10, 1), (700, 3)] {
            let properties = persistent().with_message_id(padding(id).into());
            assert!(session.put("limited", &padding(body), properties).await);
        }
        let gone = get(&session, "limited").await.expect("a message");
        gone.acker.ack(lapin::options::BasicAckOptions::default()).await.unwrap();
        let bytes = |broker: &Broker| {
            let row = Management::new(broker.http).get("queues/%2F/limited").body;
            ["", "_ready", "_unacknowledged", "_persistent"]
                .map(|what| row[format!("message_bytes{what}")].as_u64().unwrap())
        };
        let _held = get(&session, "limited").await.expect("a message");
        assert_eq!(bytes(broker), [2210, 1210, 1000, 2210]);
        session.put("limited", "transient", lapin::BasicProperties::default()).await;
        assert_eq!(bytes(broker), [2219, 1219, 1000, 2210]);
        assert!(broker.stop().await.success());
        broker.restart();
        broker.crash();
        assert_eq!(bytes(broker), [2210, 2210, 0, 2210]);
        let session = broker.open().await;
        session.confirm().await;
        assert!(session.put("limited", &padding(790), persistent()).await);
        assert!(!session.put("limited", "1", persistent()).await);
        session.drain("limited").await;
        assert_eq!(bytes(broker), [0; 4]);
    });
}

#[test]
fn arguments_that_make_no_sense_are_406() {
    scenario(async |broker| {
        for (key, value, why) in [
            ("x-max-length", int(-1), ": {value_negative,-1}"),
            ("x-overflow", long_string("explode"), ": invalid_overflow"),
            ("x-expires", int(0), ": {value_zero,0}"),
            ("x-max-age", long_string("7D"), " of queue type rabbit_classic_queue"),
        ] {
            let session = broker.open().await;
            let refused = session.declare_with("bad", &[(key, value)]).await;
            let text = format!("PRECONDITION_FAILED - invalid arg '{key}' for queue 'bad' in vhost '/'{why}");
            assert_eq!(error_of(refused), (406, text));
        }
    });
}

//! Time to live of messages (`x-message-ttl`, `expiration`) and of queues (`x-expires`).

use std::time::Duration;

use lapin::BasicProperties;
use lapin::options::{BasicConsumeOptions, BasicRejectOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::json;

use crate::harness::{
    Broker, Management, Session, body, error_of, get, long_string, message_count, next, own_process, persistent,
    scenario,
};

/// Longer than any test.
const LONG_MS: i64 = 3_600_000;

fn ttl(milliseconds: i64) -> (&'static str, AMQPValue) {
    ("x-message-ttl", AMQPValue::LongLongInt(milliseconds))
}

/// Until the queue is gone. Looking at it this way does not use it.
async fn wait_until_gone(broker: &Broker, queue: &str) {
    let management = Management::new(broker.http);
    while management.get(&format!("queues/%2F/{queue}")).status == 200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn expiring(milliseconds: &str) -> BasicProperties {
    BasicProperties::default().with_expiration(milliseconds.into())
}

/// `dead`, and `mortal` with these further arguments, whose dead messages go there.
async fn declare_mortal(session: &Session, settings: &[(&str, AMQPValue)]) {
    session.confirm().await;
    session.declare_with("dead", &[]).await.unwrap();
    let dead = [("x-dead-letter-exchange", long_string("")), ("x-dead-letter-routing-key", long_string("dead"))];
    session.declare_with("mortal", &[&dead[..], settings].concat()).await.unwrap();
}

#[test]
fn messages_expire_after_the_time_of_their_queue_without_being_touched() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare_mortal(&session, &[ttl(20)]).await;
        let mut dead = session.listen("dead").await;
        for number in ["1", "2", "3"] {
            assert!(session.put("mortal", number, persistent()).await);
        }
        for number in ["1", "2", "3"] {
            assert_eq!(body(&next(&mut dead).await), number);
        }
        assert_eq!(message_count(&session, "mortal").await, 0);
    });
}

#[test]
fn messages_of_a_plain_queue_expire_after_their_own_time() {
    scenario(async |broker| {
        let session = broker.open().await;
        session.confirm().await;
        session.declare_with("plain", &[]).await.unwrap();
        assert!(session.put("plain", "mortal", expiring("10")).await);
        session.wait_for_count("plain", 0).await;
        assert!(session.put("plain", "immortal", persistent()).await);
        assert_eq!(session.drain("plain").await, ["immortal"]);
    });
}

#[test]
fn the_lower_of_two_times_counts() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare_mortal(&session, &[ttl(LONG_MS)]).await;
        let mut dead = session.listen("dead").await;
        assert!(session.put("mortal", "1", expiring("10")).await);
        assert_eq!(body(&next(&mut dead).await), "1");
    });
}

#[test]
fn an_expired_message_behind_a_live_one_is_counted_and_never_delivered() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare_mortal(&session, &[]).await;
        assert!(session.put("mortal", "live", persistent()).await);
        assert!(session.put("mortal", "mortal", expiring("1")).await);
        // Long after it has expired.
        session.declare_with("clock", &[("x-expires", AMQPValue::LongInt(50))]).await.unwrap();
        wait_until_gone(broker, "clock").await;
        assert_eq!(message_count(&session, "mortal").await, 2);
        let mut dead = session.listen("dead").await;
        assert_eq!(body(&get(&session, "mortal").await.expect("the live one")), "live");
        assert_eq!(body(&next(&mut dead).await), "mortal");
        assert!(get(&session, "mortal").await.is_none());
    });
}

#[test]
fn ttl_0_reaches_a_waiting_consumer_and_nobody_else() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare_mortal(&session, &[ttl(0)]).await;
        let mut dead = session.listen("dead").await;
        assert!(session.put("mortal", "nobody", persistent()).await);
        assert_eq!(body(&next(&mut dead).await), "nobody");
        let mut consumer = session.listen("mortal").await;
        assert!(session.put("mortal", "somebody", persistent()).await);
        assert_eq!(body(&next(&mut consumer).await), "somebody");
    });
}

#[test]
fn requeued_messages_keep_their_time() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare_mortal(&session, &[ttl(300)]).await;
        let mut dead = session.listen("dead").await;
        assert!(session.put("mortal", "1", persistent()).await);
        let message = get(&session, "mortal").await.expect("it lives still");
        message.acker.reject(BasicRejectOptions { requeue: true }).await.unwrap();
        assert_eq!(body(&next(&mut dead).await), "1");
    });
}

#[test]
fn a_requeued_message_with_an_expiration_keeps_it() {
    scenario(async |broker| {
        let session = broker.open().await;
        session.confirm().await;
        session.declare_with("plain", &[]).await.unwrap();
        let options = BasicConsumeOptions::default();
        let consumed = session.basic_consume("plain".into(), "".into(), options, FieldTable::default());
        let mut consumer = consumed.await.unwrap();
        assert!(session.put("plain", "1", expiring("0")).await);
        let message = next(&mut consumer).await;
        assert_eq!(body(&message), "1");
        message.acker.reject(BasicRejectOptions { requeue: true }).await.unwrap();
        assert!(session.put("plain", "2", persistent()).await);
        assert_eq!(body(&next(&mut consumer).await), "2");
    });
}

#[test]
fn the_clock_runs_on_through_kill_9() {
    own_process(&["--shards", "2"], async |broker| {
        let session = broker.open().await;
        declare_mortal(&session, &[]).await;
        session.declare_with("own", &[]).await.unwrap();
        assert!(session.put("mortal", "soon", persistent().with_expiration("200".into())).await);
        assert!(session.put("own", "soon", persistent().with_expiration("1".into())).await);
        assert!(session.put("own", "never", persistent()).await);
        broker.crash();
        let session = broker.open().await;
        // Nobody touches it.
        let mut dead = session.listen("dead").await;
        assert_eq!(body(&next(&mut dead).await), "soon");
        assert_eq!(session.drain("own").await, ["never"]);
    });
}

/// Queues with this name expire when they are not used for 50 ms: a policy, so that they may be in use before it holds.
fn let_expire(broker: &Broker, queue: &str) {
    let policy = json!({"pattern": format!("^{queue}$"), "definition": {"expires": 50}});
    Management::new(broker.http).must_put(&format!("policies/%2F/{queue}"), &policy);
}

#[test]
fn an_unused_queue_expires_and_a_used_one_does_not() {
    scenario(async |broker| {
        let session = broker.open().await;
        session.declare_with("unused", &[("x-expires", AMQPValue::LongInt(50))]).await.unwrap();
        session.declare_with("consumed", &[]).await.unwrap();
        let consumer = session.listen("consumed").await;
        let_expire(broker, "consumed");
        wait_until_gone(broker, "unused").await;
        assert!(session.try_passive("consumed").await);
        session.basic_cancel(consumer.tag(), lapin::options::BasicCancelOptions::default()).await.unwrap();
        wait_until_gone(broker, "consumed").await;
    });
}

#[test]
fn a_passive_declare_uses_the_queue() {
    scenario(async |broker| {
        let session = broker.open().await;
        let management = Management::new(broker.http);
        // Long enough for a slow machine between two declares.
        let expires = [("x-expires", AMQPValue::LongInt(1500))];
        for queue in ["q", "clock"] {
            session.declare_with(queue, &expires).await.unwrap();
        }
        while management.get("queues/%2F/clock").status == 200 {
            assert!(session.try_passive("q").await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(session.try_passive("q").await);
    });
}

#[test]
fn an_expiration_that_is_no_number_is_406() {
    scenario(async |broker| {
        let session = broker.open().await;
        session.declare_with("q", &[]).await.unwrap();
        session.confirm().await;
        let options = lapin::options::BasicPublishOptions::default();
        let confirm = session.basic_publish("".into(), "q".into(), options, b"", expiring("soon")).await.unwrap();
        let text = "PRECONDITION_FAILED - invalid expiration 'soon': no_integer";
        assert_eq!(error_of(confirm.await), (406, text.into()));
    });
}

#[test]
fn what_expired_behind_a_message_is_not_counted_with_it() {
    scenario(async |broker| {
        let session = broker.open().await;
        session.confirm().await;
        session.declare_with("q", &[]).await.unwrap();
        session.declare_with("clock", &[]).await.unwrap();
        assert!(session.put("q", "lives", persistent()).await);
        for queue in ["q", "q", "clock"] {
            assert!(session.put(queue, "expires", expiring("1")).await);
        }
        // What expires at the head of a queue is dropped when its time comes.
        session.wait_for_count("clock", 0).await;
        let message = get(&session, "q").await.expect("it lives");
        assert_eq!((body(&message), message.message_count), ("lives", 0));
    });
}

#[test]
fn an_unused_queue_expires_after_kill_9_too() {
    own_process(&[], async |broker| {
        let session = broker.open().await;
        session.declare_with("q", &[]).await.unwrap();
        let _consumer = session.listen("q").await;
        let_expire(broker, "q");
        broker.crash();
        let _session = broker.open().await;
        wait_until_gone(broker, "q").await;
    });
}

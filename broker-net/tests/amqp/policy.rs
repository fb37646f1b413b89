//! Policies and operator policies: what administrators define holds at once for the queues and exchanges that exist.

use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, BasicRejectOptions, ExchangeDeclareOptions, QueueBindOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};

use crate::harness::{
    Broker, Management, Session, body, declare, get, long_string, message_count, next, own_process, persistent,
    publish, scenario,
};

/// Defines a policy of `/` that applies to names with `pattern` in them.
fn set(broker: &Broker, name: &str, pattern: &str, definition: &Value, rest: &Value) {
    put(broker, "policies", name, pattern, definition, rest);
}

fn set_operator(broker: &Broker, name: &str, pattern: &str, definition: &Value, rest: &Value) {
    put(broker, "operator-policies", name, pattern, definition, rest);
}

fn put(broker: &Broker, kind: &str, name: &str, pattern: &str, definition: &Value, rest: &Value) {
    let mut policy = rest.clone();
    policy["pattern"] = json!(pattern);
    policy["definition"] = definition.clone();
    Management::new(broker.http).must_put(&format!("{kind}/%2F/{name}"), &policy);
}

fn clear(broker: &Broker, name: &str) {
    assert_eq!(Management::new(broker.http).delete(&format!("policies/%2F/{name}")).status, 204);
}

/// The bodies that a queue keeps of `1` to `count`, published with confirms.
async fn kept(session: &Session, queue: &str, count: u32) -> Vec<String> {
    for number in 1..=count {
        session.put(queue, &number.to_string(), persistent()).await;
    }
    session.drain(queue).await
}

#[test]
fn a_limit_holds_for_a_queue_that_exists_until_it_is_taken_away() {
    scenario(async |broker| {
        let session = broker.open().await;
        session.confirm().await;
        session.declare_with("q", &[]).await.unwrap();
        for number in ["1", "2", "3"] {
            session.put("q", number, persistent()).await;
        }
        set(broker, "p", "^q$", &json!({"max-length": 2}), &json!({}));
        // What is too much already goes too.
        session.wait_for_count("q", 2).await;
        session.put("q", "4", persistent()).await;
        assert_eq!(session.drain("q").await, ["3", "4"]);
        set(broker, "p", "^q$", &json!({"max-length": 1, "overflow": "reject-publish"}), &json!({}));
        assert!(session.put("q", "5", persistent()).await);
        assert!(!session.put("q", "6", persistent()).await);
        clear(broker, "p");
        assert!(session.put("q", "7", persistent()).await);
        assert_eq!(session.drain("q").await, ["5", "7"]);
    });
}

#[test]
fn messages_that_are_there_get_a_time_to_live_and_die_where_the_policy_says() {
    scenario(async |broker| {
        let session = broker.open().await;
        session.confirm().await;
        declare(&session, "dead").await;
        session.declare_with("q", &[]).await.unwrap();
        session.put("q", "old", persistent()).await;
        let definition = json!({
            "message-ttl": 1, "dead-letter-exchange": "", "dead-letter-routing-key": "dead"
        });
        set(broker, "p", "^q$", &definition, &json!({}));
        session.wait_for_count("dead", 1).await;
        assert_eq!(body(&get(&session, "dead").await.expect("a message")), "old");
        assert_eq!(message_count(&session, "q").await, 0);
    });
}

#[test]
fn an_unused_queue_expires_when_a_policy_says_so() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "q").await;
        set(broker, "p", "^q$", &json!({"expires": 1}), &json!({}));
        while session.try_passive("q").await {
            // A passive declare uses the queue, and starts its clock anew.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn the_highest_priority_counts_and_only_one_policy_applies() {
    scenario(async |broker| {
        let session = broker.open().await;
        session.confirm().await;
        session.declare_with("q", &[]).await.unwrap();
        set(broker, "low", "q", &json!({"max-length": 1}), &json!({"priority": 1}));
        assert_eq!(kept(&session, "q", 4).await, ["4"]);
        set(broker, "high", "q", &json!({"max-length-bytes": 2}), &json!({"priority": 2}));
        assert_eq!(kept(&session, "q", 4).await, ["3", "4"]);
        clear(broker, "high");
        assert_eq!(kept(&session, "q", 4).await, ["4"]);
        // A queue that is declared later gets it as well.
        session.declare_with("later-q", &[]).await.unwrap();
        assert_eq!(kept(&session, "later-q", 4).await, ["4"]);
        session.declare_with("other", &[]).await.unwrap();
        assert_eq!(kept(&session, "other", 2).await, ["1", "2"]);
    });
}

#[test]
fn of_a_policy_an_operator_policy_and_an_argument_the_lowest_number_counts() {
    scenario(async |broker| {
        let session = broker.open().await;
        session.confirm().await;
        session.declare_with("q", &[("x-max-length", AMQPValue::LongInt(4))]).await.unwrap();
        set(broker, "p", "^q$", &json!({"max-length": 5}), &json!({}));
        assert_eq!(kept(&session, "q", 6).await.len(), 4);
        set(broker, "p", "^q$", &json!({"max-length": 3}), &json!({}));
        assert_eq!(kept(&session, "q", 6).await.len(), 3);
        set_operator(broker, "o", "^q$", &json!({"max-length": 2}), &json!({}));
        assert_eq!(kept(&session, "q", 6).await.len(), 2);
        clear(broker, "p");
        assert_eq!(kept(&session, "q", 6).await.len(), 2);
    });
}

#[test]
fn an_argument_comes_before_the_text_of_a_policy() {
    scenario(async |broker| {
        let session = broker.open().await;
        for name in ["by-argument", "by-policy"] {
            declare(&session, name).await;
        }
        let dead = [
            ("x-dead-letter-exchange", long_string("")),
            ("x-dead-letter-routing-key", long_string("by-argument")),
        ];
        session.declare_with("q", &dead).await.unwrap();
        let definition = json!({"dead-letter-exchange": "", "dead-letter-routing-key": "by-policy"});
        set(broker, "p", "^q$", &definition, &json!({}));
        publish(&session, "", "q", "m").await;
        let message = get(&session, "q").await.expect("a message");
        message.acker.reject(BasicRejectOptions { requeue: false }).await.unwrap();
        session.wait_for_count("by-argument", 1).await;
        assert_eq!(message_count(&session, "by-policy").await, 0);
    });
}

#[test]
fn a_policy_applies_to_the_kind_that_it_names() {
    scenario(async |broker| {
        let session = broker.open().await;
        session.confirm().await;
        session.declare_with("classic", &[]).await.unwrap();
        session.declare_with("quorum", &[("x-queue-type", long_string("quorum"))]).await.unwrap();
        let apply_to = |kind: &str| json!({"apply-to": kind});
        for (kind, classic, quorum) in [
            ("classic_queues", 1, 3),
            ("quorum_queues", 3, 1),
            ("exchanges", 3, 3),
            ("queues", 1, 1),
            ("all", 1, 1),
        ] {
            set(broker, "p", "", &json!({"max-length": 1}), &apply_to(kind));
            assert_eq!(kept(&session, "classic", 3).await.len(), classic, "{kind}");
            assert_eq!(kept(&session, "quorum", 3).await.len(), quorum, "{kind}");
        }
        // A policy that a type of queue cannot follow does not apply to it.
        set(broker, "p", "", &json!({"max-length": 1, "delivery-limit": 7}), &apply_to("queues"));
        assert_eq!(kept(&session, "classic", 3).await.len(), 3);
        assert_eq!(kept(&session, "quorum", 3).await.len(), 1);
    });
}

#[test]
fn a_delivery_limit_comes_from_a_policy() {
    scenario(async |broker| {
        let session = broker.open().await;
        session.confirm().await;
        session.declare_with("q", &[("x-queue-type", long_string("quorum"))]).await.unwrap();
        set(broker, "p", "^q$", &json!({"delivery-limit": 1}), &json!({}));
        session.put("q", "m", persistent()).await;
        for _ in 0..2 {
            let message = get(&session, "q").await.expect("a message");
            message.acker.reject(BasicRejectOptions { requeue: true }).await.unwrap();
        }
        assert!(get(&session, "q").await.is_none());
    });
}

#[test]
fn a_stream_keeps_what_its_policy_lets_it() {
    scenario(async |broker| {
        let session = broker.open().await;
        session.confirm().await;
        session.declare_with("s", &[("x-queue-type", long_string("stream"))]).await.unwrap();
        for number in 0..10 {
            session.put("s", &format!("{number}{}", "x".repeat(1000)), BasicProperties::default()).await;
        }
        set(broker, "p", "^s$", &json!({"max-length-bytes": 5000}), &json!({"apply-to": "streams"}));
        while message_count(&session, "s").await > 5 {
            tokio::task::yield_now().await;
        }
        assert!(message_count(&session, "s").await > 0);
    });
}

#[test]
fn an_exchange_gets_an_alternate_and_a_declared_one_stays() {
    scenario(async |broker| {
        let session = broker.open().await;
        session.confirm().await;
        for (queue, exchange) in [("one", "amq.fanout"), ("two", "amq.match")] {
            declare(&session, queue).await;
            let (options, none) = (QueueBindOptions::default(), FieldTable::default());
            session.queue_bind(queue.into(), exchange.into(), "".into(), options, none).await.unwrap();
        }
        let options = ExchangeDeclareOptions::default();
        let kind = lapin::ExchangeKind::Direct;
        session.exchange_declare("plain".into(), kind.clone(), options, FieldTable::default()).await.unwrap();
        let alternate = crate::harness::table([("alternate-exchange", long_string("amq.fanout"))]);
        session.exchange_declare("told".into(), kind, options, alternate).await.unwrap();
        set(broker, "p", "^(plain|told)$", &json!({"alternate-exchange": "amq.match"}), &json!({}));
        for exchange in ["plain", "told"] {
            let options = BasicPublishOptions::default();
            let properties = BasicProperties::default();
            let confirm =
                session.basic_publish(exchange.into(), "k".into(), options, exchange.as_bytes(), properties).await;
            assert!(confirm.unwrap().await.unwrap().is_ack());
        }
        assert_eq!(session.drain("one").await, ["told"]);
        assert_eq!(session.drain("two").await, ["plain"]);
        clear(broker, "p");
        publish(&session, "plain", "k", "lost").await;
        assert_eq!(message_count(&session, "two").await, 0);
    });
}

#[test]
fn a_consumer_timeout_comes_from_a_policy() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "q").await;
        set(broker, "p", "^q$", &json!({"consumer-timeout": 50}), &json!({}));
        let options = lapin::options::BasicConsumeOptions::default();
        let mut consumer =
            session.basic_consume("q".into(), "".into(), options, FieldTable::default()).await.unwrap();
        publish(&session, "", "q", "held").await;
        next(&mut consumer).await;
        // The channel is closed, so the message is ready again.
        let observer = broker.open().await;
        observer.wait_for_count("q", 1).await;
    });
}

#[test]
fn policies_hold_after_kill_9() {
    own_process(&["--shards", "2"], async |broker| {
        let session = broker.open().await;
        session.confirm().await;
        for queue in ["q1", "q2", "q3"] {
            session.declare_with(queue, &[]).await.unwrap();
        }
        let definition = json!({"max-length": 3, "dead-letter-exchange": "", "dead-letter-routing-key": "q3"});
        set(broker, "p", "^q[12]$", &definition, &json!({"priority": 7}));
        set(broker, "lower", "^q", &json!({"max-length": 1}), &json!({}));
        set_operator(broker, "o", "^q2$", &json!({"max-length": 2}), &json!({}));
        clear(broker, "lower");
        for queue in ["q1", "q2"] {
            session.put(queue, "before", persistent()).await;
        }
        broker.crash();
        let session = broker.open().await;
        session.confirm().await;
        for number in ["1", "2", "3"] {
            for queue in ["q1", "q2", "q3"] {
                session.put(queue, &format!("{queue}-{number}"), persistent()).await;
            }
        }
        session.wait_for_count("q3", 6).await;
        assert_eq!(session.drain("q1").await, ["q1-1", "q1-2", "q1-3"]);
        assert_eq!(session.drain("q2").await, ["q2-2", "q2-3"]);
        let mut third = session.drain("q3").await;
        third.sort();
        assert_eq!(third, ["before", "before", "q2-1", "q3-1", "q3-2", "q3-3"]);
    });
}

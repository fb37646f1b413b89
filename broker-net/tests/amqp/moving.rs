//! Messages that an administrator moves to other queues, and dead letters that go back where they came from.

use std::collections::BTreeSet;
use std::time::Duration;

use lapin::options::BasicRejectOptions;
use serde_json::{Value, json};

use crate::harness::{
    Broker, Management, Session, get, long_string, message_count, own_process, persistent, scenario_with,
};

fn post(broker: &Broker, queue: &str, what: &str, body: &Value) -> (u16, Value) {
    let answer = Management::new(broker.http).post(&format!("queues/%2F/{queue}/{what}"), body);
    (answer.status, answer.body)
}

async fn fill(session: &Session, queue: &str, bodies: &[&str]) {
    for text in bodies {
        assert!(session.put(queue, text, persistent()).await);
    }
}

#[test]
fn messages_are_moved_to_a_queue_in_their_order() {
    own_process(&["--shards", "2"], async |broker| {
        let session = broker.open().await;
        session.confirm().await;
        session.declare_with("a", &[]).await.unwrap();
        session.declare_with("b", &[]).await.unwrap();
        fill(&session, "a", &["1", "2", "3", "4"]).await;
        let to = json!({"destination": {"queue": "b"}, "count": 3});
        assert_eq!(post(broker, "a", "move", &to), (200, json!({"moved": 3, "left": 1, "reason": null})));
        broker.crash();
        let session = broker.open().await;
        assert_eq!(session.drain("b").await, ["1", "2", "3"]);
        assert_eq!(session.drain("a").await, ["4"]);
    });
}

#[test]
fn a_move_to_its_own_queue_ends() {
    scenario_with(&["--shards", "2"], async |broker| {
        let session = broker.open().await;
        session.confirm().await;
        session.declare_with("own", &[]).await.unwrap();
        fill(&session, "own", &["1", "2", "3"]).await;
        let to = json!({"destination": {"queue": "own"}});
        assert_eq!(post(broker, "own", "move", &to), (200, json!({"moved": 3, "left": 3, "reason": null})));
        assert_eq!(session.drain("own").await, ["1", "2", "3"]);
    });
}

#[test]
fn what_cannot_be_routed_or_is_refused_stays() {
    own_process(&["--shards", "2"], async |broker| {
        let session = broker.open().await;
        session.confirm().await;
        session.declare_with("a", &[]).await.unwrap();
        let full =
            [("x-max-length", lapin::types::AMQPValue::LongInt(1)), ("x-overflow", long_string("reject-publish"))];
        session.declare_with("full", &full).await.unwrap();
        fill(&session, "a", &["1", "2"]).await;
        let to = json!({"destination": {"exchange": "amq.direct", "routing-key": "nobody"}});
        let reason = "exchange 'amq.direct' has no queue for routing key 'nobody'";
        assert_eq!(post(broker, "a", "move", &to), (200, json!({"moved": 0, "left": 2, "reason": reason})));
        let to = json!({"destination": {"queue": "full"}});
        let reason = "a queue has refused a message";
        assert_eq!(post(broker, "a", "move", &to), (200, json!({"moved": 1, "left": 1, "reason": reason})));
        assert_eq!(session.drain("full").await, ["1"]);
        let stays = get(&session, "a").await.expect("a message");
        assert_eq!((stays.data.as_slice(), stays.redelivered), (&b"2"[..], false));
    });
}

#[test]
fn moves_that_make_no_sense_are_refused() {
    own_process(&[], async |broker| {
        let session = broker.open().await;
        session.declare_with("a", &[]).await.unwrap();
        let refused = |queue: &str, body: Value| {
            let (status, body) = post(broker, queue, "move", &body);
            (status, body["reason"].as_str().unwrap_or_default().to_owned())
        };
        let to_b = json!({"destination": {"queue": "b"}});
        assert_eq!(refused("none", to_b.clone()), (404, "no queue 'none' in vhost '/'".to_owned()));
        assert_eq!(refused("a", to_b), (404, "no queue 'b' in vhost '/'".to_owned()));
        let nowhere = json!({"destination": {"exchange": "x"}});
        assert_eq!(refused("a", nowhere), (404, "no exchange 'x' in vhost '/'".to_owned()));
        let text = "destination must name a queue or an exchange".to_owned();
        assert_eq!(refused("a", json!({"destination": {}})), (400, text));
        let stream = [("x-queue-type", long_string("stream"))];
        session.declare_with("stream", &stream).await.unwrap();
        assert_eq!(refused("stream", json!({"destination": {"queue": "a"}})).0, 400);
    });
}

#[test]
fn kill_9_in_the_middle_of_a_move_loses_nothing() {
    own_process(&["--shards", "2"], async |broker| {
        const COUNT: usize = 20_000;
        let session = broker.open().await;
        session.confirm().await;
        session.declare_with("a", &[]).await.unwrap();
        session.declare_with("b", &[]).await.unwrap();
        for number in 0..COUNT {
            crate::harness::publish_persistent(&session, "a", &number.to_string()).await;
        }
        session.wait_for_confirms().await.unwrap();
        let api = Management::new(broker.http);
        let mover = std::thread::spawn(move || {
            // The broker dies while it answers.
            api.try_post("queues/%2F/a/move", &json!({"destination": {"queue": "b"}}))
        });
        while message_count(&session, "b").await == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        broker.crash();
        let _ = mover.join().unwrap();
        let session = broker.open().await;
        let (left, moved) = (session.drain("a").await, session.drain("b").await);
        let all: BTreeSet<usize> = left.iter().chain(&moved).map(|body| body.parse().unwrap()).collect();
        assert_eq!(all.len(), COUNT);
        assert!(moved.iter().map(|body| body.parse::<usize>().unwrap()).is_sorted());
    });
}

#[test]
fn dead_letters_go_back_to_where_they_came_from() {
    own_process(&["--shards", "2"], async |broker| {
        let session = broker.open().await;
        session.confirm().await;
        session.declare_with("dead", &[]).await.unwrap();
        let to_dead =
            [("x-dead-letter-exchange", long_string("")), ("x-dead-letter-routing-key", long_string("dead"))];
        for queue in ["one", "two"] {
            session.declare_with(queue, &to_dead).await.unwrap();
        }
        session.put("dead", "never in a queue before", persistent()).await;
        for (queue, text) in [("one", "1"), ("two", "2"), ("one", "3")] {
            session.put(queue, text, persistent()).await;
            let message = get(&session, queue).await.expect("a message");
            message.acker.reject(BasicRejectOptions { requeue: false }).await.unwrap();
        }
        session.wait_for_count("dead", 4).await;
        let reason = "1 messages have no way back: they stay";
        let (status, answer) = post(broker, "dead", "redrive", &json!({}));
        assert_eq!((status, answer), (200, json!({"moved": 3, "left": 1, "reason": reason})));
        assert_eq!(session.drain("one").await, ["1", "3"]);
        let back = get(&session, "two").await.expect("a message");
        assert_eq!(back.data, b"2");
        let headers = back.properties.headers().clone().unwrap();
        assert_eq!(headers.inner().get("x-first-death-queue"), Some(&long_string("two")));
        // It dies again, as if it had not been moved, and goes back to the exchange that it was published to.
        back.acker.reject(BasicRejectOptions { requeue: false }).await.unwrap();
        session.wait_for_count("dead", 2).await;
        let (_, answer) = post(broker, "dead", "redrive", &json!({"to": "exchange", "count": 2}));
        assert_eq!((&answer["moved"], &answer["left"]), (&json!(1), &json!(1)));
        assert_eq!(session.drain("two").await, ["2"]);
        assert_eq!(session.drain("dead").await, ["never in a queue before"]);
    });
}

//! What administrators do with messages that an exchange holds back: list them, and have them forgotten.

use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};

use crate::harness::{Broker, Management, Session, body, long_string, next, own_process, persistent, table};

const HOUR: i32 = 3_600_000;

/// A session in confirm mode, with the delayed exchange `x` and the queue `q` bound to it.
async fn prepare(broker: &Broker) -> Session {
    let session = broker.open().await;
    session.confirm().await;
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let kind = lapin::ExchangeKind::Custom("x-delayed-message".into());
    let arguments = table([("x-delayed-type", long_string("fanout"))]);
    session.exchange_declare("x".into(), kind, options, arguments).await.unwrap();
    session.declare_with("q", &[]).await.unwrap();
    let options = QueueBindOptions::default();
    session.queue_bind("q".into(), "x".into(), "".into(), options, FieldTable::default()).await.unwrap();
    session
}

async fn hold(session: &Session, text: &str, delay: i32, properties: BasicProperties) {
    let properties = properties.with_headers(table([("x-delay", AMQPValue::LongInt(delay))]));
    let options = BasicPublishOptions::default();
    let confirm = session.basic_publish("x".into(), "k".into(), options, text.as_bytes(), properties).await;
    assert!(confirm.unwrap().await.unwrap().is_ack());
}

fn list(broker: &Broker, query: &str) -> Value {
    let answer = Management::new(broker.http).get(&format!("exchanges/%2F/x/delayed{query}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

fn sizes(page: &Value) -> Vec<u64> {
    page["items"].as_array().unwrap().iter().map(|item| item["payload_bytes"].as_u64().unwrap()).collect()
}

#[test]
fn messages_are_listed_page_by_page() {
    own_process(&["--shards", "2"], async |broker| {
        let session = prepare(broker).await;
        assert_eq!(list(broker, ""), json!({"total": 0, "items": [], "next": null}));
        for length in 1..=7 {
            let delay = HOUR * (1 + length % 3);
            hold(&session, &"x".repeat(usize::try_from(length).unwrap()), delay, persistent()).await;
        }
        hold(&session, "", HOUR, BasicProperties::default()).await;
        for restarted in [false, true] {
            let mut seen = Vec::new();
            let mut query = "?count=3".to_owned();
            let mut due = 0;
            loop {
                let page = list(broker, &query);
                assert!(page["items"].as_array().unwrap().len() <= 3);
                seen.extend(sizes(&page));
                for item in page["items"].as_array().unwrap() {
                    assert_eq!((&item["exchange"], &item["routing_key"]), (&json!("x"), &json!("k")));
                    let next = item["due_ms"].as_u64().unwrap();
                    assert!(next + 4_200_000 > due, "spans of time come in order");
                    due = next;
                }
                let Some(next) = page["next"].as_str() else { break };
                query = format!("?count=3&after={next}");
            }
            seen.sort_unstable();
            // The transient one does not survive.
            let expect: Vec<u64> = (u64::from(restarted)..=7).collect();
            assert_eq!(seen, expect);
            broker.crash();
        }
    });
}

#[test]
fn cancelled_message_never_comes_out() {
    own_process(&["--shards", "2"], async |broker| {
        let session = prepare(broker).await;
        let api = Management::new(broker.http);
        let mut delay = 1000;
        // On a slow machine a message may be out before it can be cancelled.
        loop {
            hold(&session, "cancelled", delay, persistent()).await;
            let page = list(broker, "?count=1");
            if let Some(id) = page["items"][0]["id"].as_str()
                && api.delete(&format!("exchanges/%2F/x/delayed/{id}")).status == 204
            {
                assert_eq!(api.delete(&format!("exchanges/%2F/x/delayed/{id}")).status, 404);
                break;
            }
            session.wait_for_count("q", 1).await;
            session.drain("q").await;
            delay *= 2;
        }
        hold(&session, "later", delay, persistent()).await;
        let mut consumer = session.listen("q").await;
        assert_eq!(body(&next(&mut consumer).await), "later");
    });
}

#[test]
fn what_was_cancelled_does_not_come_back_after_kill_9() {
    own_process(&["--shards", "2"], async |broker| {
        let session = prepare(broker).await;
        for text in ["1", "22", "333"] {
            hold(&session, text, HOUR, persistent()).await;
        }
        let api = Management::new(broker.http);
        let id = list(broker, "")["items"][1]["id"].as_str().unwrap().to_owned();
        assert_eq!(api.delete(&format!("exchanges/%2F/x/delayed/{id}")).status, 204);
        broker.crash();
        assert_eq!((list(broker, "")["total"].clone(), sizes(&list(broker, ""))), (json!(2), vec![1, 3]));
        let id = list(broker, "")["items"][0]["id"].as_str().unwrap().to_owned();
        let api = Management::new(broker.http);
        // Now from what was recovered, of which nothing is in memory.
        assert_eq!(api.delete(&format!("exchanges/%2F/x/delayed/{id}")).status, 204);
        broker.crash();
        assert_eq!((list(broker, "")["total"].clone(), sizes(&list(broker, ""))), (json!(1), vec![3]));
        let session = broker.open().await;
        session.confirm().await;
        hold(&session, "4444", HOUR, persistent()).await;
        let answer = Management::new(broker.http).delete("exchanges/%2F/x/delayed");
        assert_eq!((answer.status, answer.body), (200, json!({"cancelled": 2})));
        broker.crash();
        assert_eq!(list(broker, ""), json!({"total": 0, "items": [], "next": null}));
    });
}

#[test]
fn requests_about_exchanges_that_hold_nothing_back() {
    own_process(&[], async |broker| {
        let api = Management::new(broker.http);
        assert_eq!(api.get("exchanges/%2F/none/delayed").status, 404);
        assert_eq!(api.get("exchanges/%2F/amq.direct/delayed").body["total"], 0);
        assert_eq!(api.delete("exchanges/%2F/amq.direct/delayed").body, json!({"cancelled": 0}));
        prepare(broker).await;
        assert_eq!(api.get("exchanges/%2F/x/delayed?after=nonsense").status, 400);
        assert_eq!(api.delete("exchanges/%2F/x/delayed/nonsense").status, 404);
    });
}

//! Paused queues: they take messages and deliver none to consumers, also after kill -9.

use serde_json::Value;

use crate::harness::{Broker, Management, body, get, message_count, next, own_process, persistent};

fn set_paused(broker: &Broker, what: &str) -> u16 {
    Management::new(broker.http).put(&format!("queues/%2F/q/{what}"), &Value::Null).status
}

fn row(broker: &Broker) -> Value {
    Management::new(broker.http).get("queues/%2F/q").body
}

#[test]
fn paused_queue_takes_messages_and_delivers_them_when_it_is_resumed() {
    own_process(&["--shards", "2"], async |broker| {
        let session = broker.open().await;
        session.confirm().await;
        session.declare_with("q", &[]).await.unwrap();
        let mut early = session.listen("q").await;
        session.put("q", "before", persistent()).await;
        assert_eq!(body(&next(&mut early).await), "before");
        assert_eq!((set_paused(broker, "pause"), set_paused(broker, "pause")), (204, 204));
        assert_eq!(row(broker)["state"], "paused");
        let mut late = session.listen("q").await;
        for text in ["1", "2"] {
            assert!(session.put("q", text, persistent()).await);
        }
        // Both consumers could take them, and so could basic.get.
        assert!(get(&session, "q").await.is_none());
        assert_eq!(message_count(&session, "q").await, 2);
        assert_eq!(set_paused(broker, "resume"), 204);
        assert_eq!(row(broker)["state"], "running");
        let mut seen = [body(&next(&mut early).await).to_owned(), body(&next(&mut late).await).to_owned()];
        seen.sort();
        assert_eq!(seen, ["1", "2"]);
    });
}

#[test]
fn paused_queue_is_paused_after_kill_9() {
    own_process(&["--shards", "2"], async |broker| {
        let session = broker.open().await;
        session.confirm().await;
        session.declare_with("q", &[]).await.unwrap();
        set_paused(broker, "pause");
        session.put("q", "m", persistent()).await;
        broker.crash();
        assert_eq!(row(broker)["state"], "paused");
        let session = broker.open().await;
        let mut consumer = session.listen("q").await;
        assert_eq!(message_count(&session, "q").await, 1);
        set_paused(broker, "resume");
        assert_eq!(body(&next(&mut consumer).await), "m");
        broker.crash();
        assert_eq!(row(broker)["state"], "running");
    });
}

#[test]
fn what_cannot_be_paused_is_refused() {
    own_process(&[], async |broker| {
        assert_eq!(set_paused(broker, "pause"), 404);
        let session = broker.open().await;
        let stream = [("x-queue-type", crate::harness::long_string("stream"))];
        session.declare_with("q", &stream).await.unwrap();
        let answer = Management::new(broker.http).put("queues/%2F/q/pause", &Value::Null);
        assert_eq!((answer.status, answer.reason()), (400, "a stream cannot be paused"));
        let api = Management::new(broker.http);
        api.must_put("users/u", &serde_json::json!({"password": "p", "tags": "management"}));
        let none = serde_json::json!({"configure": "", "write": ".*", "read": ".*"});
        api.must_put("permissions/%2F/u", &none);
        assert_eq!(api.as_user("u", "p").put("queues/%2F/q/pause", &Value::Null).status, 401);
    });
}

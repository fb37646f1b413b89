//! Publishing and getting messages over HTTP.

use serde_json::{Value, json};

use crate::harness::{Served, check, check_refused};

fn publish(api: &Served, properties: Value, payload: &str, encoding: &str) -> Value {
    let message = json!({
        "properties": properties, "routing_key": "q", "payload": payload, "payload_encoding": encoding
    });
    check(api.post("exchanges/%2F/amq.default/publish", &message), 200).body
}

fn get(api: &Served, count: u32, ackmode: &str) -> Value {
    let get = json!({"count": count, "ackmode": ackmode, "encoding": "auto", "truncate": 50});
    check(api.post("queues/%2F/q/get", &get), 200).body
}

#[test]
fn a_message_comes_back_as_it_was_published() {
    let api = Served::start();
    assert_eq!(publish(&api, json!({}), "lost", "string"), json!({"routed": false}));
    api.must_put("queues/%2F/q", &json!({"durable": true}));
    let properties = json!({
        "delivery_mode": 2, "headers": {"a": 1, "b": {"c": ["d", 1.5, true]}}, "content_type": "text/plain",
        "timestamp": 123, "priority": 3, "type": "t", "message_id": "m", "expiration": "100000"
    });
    assert_eq!(publish(&api, properties.clone(), "hello", "string"), json!({"routed": true}));
    publish(&api, json!({}), "//79", "base64");
    let got = get(&api, 5, "ack_requeue_true");
    assert_eq!(
        got,
        json!([
            {"payload_bytes": 5, "redelivered": false, "exchange": "", "routing_key": "q", "message_count": 1,
             "properties": properties, "payload": "hello", "payload_encoding": "string"},
            {"payload_bytes": 3, "redelivered": false, "exchange": "", "routing_key": "q", "message_count": 0,
             "properties": [], "payload": "//79", "payload_encoding": "base64"}
        ])
    );
    let again = get(&api, 1, "reject_requeue_true");
    assert_eq!((&again[0]["redelivered"], &again[0]["payload"]), (&json!(true), &json!("hello")));
    get(&api, 1, "ack_requeue_false");
    get(&api, 1, "reject_requeue_false");
    assert_eq!(get(&api, 1, "ack_requeue_false"), json!([]));
}

#[test]
fn a_long_payload_is_cut_and_a_queue_is_purged() {
    let api = Served::start();
    api.must_put("queues/%2F/q", &json!({}));
    publish(&api, json!({}), &"x".repeat(1000), "string");
    let got = get(&api, 1, "ack_requeue_true");
    assert_eq!((&got[0]["payload_bytes"], got[0]["payload"].as_str().unwrap().len()), (&json!(1000), 50));
    check_refused(api.delete("queues/%2F/q?if-empty=true"), 400, "queue 'q' in vhost '/' not empty");
    check(api.delete("queues/%2F/q/contents"), 204);
    assert_eq!(get(&api, 1, "ack_requeue_true"), json!([]));
    check(api.delete("queues/%2F/none/contents"), 404);
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let api = Served::start();
    api.must_put("queues/%2F/q", &json!({}));
    let reason = |path: &str, body: Value| check(api.post(path, &body), 400).body["reason"].clone();
    let publish = |properties: Value, payload: &str, encoding: &str| {
        let body = json!({
            "properties": properties, "routing_key": "q", "payload": payload, "payload_encoding": encoding
        });
        reason("exchanges/%2F/amq.default/publish", body)
    };
    assert_eq!(publish(json!({}), "%%", "base64"), json!(["not_base64", "%%"]));
    assert_eq!(publish(json!({}), "x", "foo"), json!(["unsupported_encoding", "foo"]));
    assert_eq!(publish(json!({"delivery_mode": "x"}), "x", "string"), json!(["not_int", "delivery_mode"]));
    assert_eq!(publish(json!({"headers": {"a": null}}), "x", "string"), json!("null_not_allowed"));
    let missing = reason("exchanges/%2F/amq.default/publish", json!({"routing_key": "a", "payload": "x"}));
    assert_eq!(missing, json!("[{key_missing,properties},{key_missing,payload_encoding}]"));
    let message = json!({"properties": {}, "routing_key": "a", "payload": "x", "payload_encoding": "string"});
    check_refused(api.post("exchanges/%2F/none/publish", &message), 404, "exchange_not_found");
    let get = |body| reason("queues/%2F/q/get", body);
    assert_eq!(get(json!({"count": 5, "encoding": "auto"})), json!("[{key_missing,ackmode}]"));
    let encoding = json!({"count": 1, "ackmode": "ack_requeue_false", "encoding": "foo"});
    assert_eq!(get(encoding), json!("Unsupported encoding. Please use auto or base64."));
    let count = json!({"count": "x", "ackmode": "ack_requeue_false", "encoding": "auto"});
    assert_eq!(get(count), json!(["not_integer", "x"]));
    let get = json!({"count": 1, "ackmode": "ack_requeue_false", "encoding": "auto"});
    check_refused(api.post("queues/%2F/none/get", &get), 404, "queue_not_found");
}

//! Queues and exchanges.

use serde_json::json;

use crate::harness::{Served, check, check_refused};

#[test]
fn a_queue_is_declared_and_deleted() {
    let api = Served::start();
    let declared = json!({"durable": true, "auto_delete": "false", "arguments": {"x-max-priority": 3}});
    check(api.put("queues/%2F/q%20%2F1", &declared), 201);
    check(api.put("queues/%2F/q%20%2F1", &declared), 204);
    let queue = check(api.get("queues/%2F/q%20%2F1"), 200).body;
    for (field, value) in [
        ("name", json!("q /1")),
        ("vhost", json!("/")),
        ("type", json!("classic")),
        ("durable", json!(true)),
        ("auto_delete", json!(false)),
        ("exclusive", json!(false)),
        ("arguments", json!({"x-max-priority": 3, "x-queue-type": "classic"})),
        ("state", json!("running")),
        ("messages", json!(0)),
        ("messages_details", json!({"rate": 0.0})),
        ("consumer_details", json!([])),
    ] {
        assert_eq!(queue[field], value, "{field}");
    }
    let inequivalent =
        "inequivalent arg 'durable' for queue 'q /1' in vhost '/': received 'false' but current is 'true'";
    check_refused(api.put("queues/%2F/q%20%2F1", &json!({})), 400, inequivalent);
    check(api.delete("queues/%2F/q%20%2F1?if-empty=true&if-unused=true"), 204);
    check(api.get("queues/%2F/q%20%2F1"), 404);
    check(api.delete("queues/%2F/q%20%2F1"), 404);
}

#[test]
fn queues_that_cannot_be_are_refused() {
    let api = Served::start();
    check_refused(api.put("queues/none/q", &json!({})), 404, "vhost_not_found");
    check_refused(api.put("queues/%2F/amq.x", &json!({})), 401, "Access refused.");
    check_refused(api.put("queues/%2F/q", &json!({"arguments": {"a": null}})), 400, "null_not_allowed");
    let expires = "invalid arg 'x-expires' for queue 'q' in vhost '/': \"expected integer, got longstr\"";
    check_refused(api.put("queues/%2F/q", &json!({"arguments": {"x-expires": "x"}})), 400, expires);
    assert_eq!(api.put("queues/%2F/q", &json!({"durable": 3})).body["reason"], json!(["not_boolean", 3]));
    let node = "Node other@host could not be contacted";
    check_refused(api.put("queues/%2F/q", &json!({"node": "other@host"})), 400, node);
    check(api.get("queues/%2F/q"), 404);
}

#[test]
fn an_exchange_is_declared_and_deleted() {
    let api = Served::start();
    check(api.put("exchanges/%2F/x", &json!({"type": "topic", "durable": true})), 201);
    check(api.put("exchanges/%2F/x", &json!({"type": "topic", "durable": true})), 204);
    let exchange = check(api.get("exchanges/%2F/x"), 200).body;
    for (field, value) in
        [("type", json!("topic")), ("durable", json!(true)), ("internal", json!(false)), ("arguments", json!({}))]
    {
        assert_eq!(exchange[field], value, "{field}");
    }
    assert_eq!(check(api.get("exchanges/%2F/amq.default"), 200).body["name"], "");
    check(api.put("exchanges/%2F/x", &json!({"type": "fanout", "durable": true})), 400);
    check(api.put("exchanges/%2F/y", &json!({"type": "nope"})), 400);
    check_refused(api.put("exchanges/%2F/amq.y", &json!({"type": "fanout"})), 401, "Access refused.");
    check_refused(api.delete("exchanges/%2F/amq.direct"), 401, "Access refused.");
    api.must_put("queues/%2F/q", &json!({}));
    check(api.post("bindings/%2F/e/x/q/q", &json!({})), 201);
    check_refused(api.delete("exchanges/%2F/x?if-unused=true"), 400, "exchange 'x' in vhost '/' in use");
    check(api.delete("exchanges/%2F/x"), 204);
    check(api.get("exchanges/%2F/x"), 404);
}

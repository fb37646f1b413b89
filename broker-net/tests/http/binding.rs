//! Bindings.

use serde_json::json;

use crate::harness::{Served, check, check_refused};

#[test]
fn bindings_are_made_named_and_removed() {
    let api = Served::start();
    api.must_put("queues/%2F/q", &json!({}));
    api.must_put("exchanges/%2F/x", &json!({"type": "topic"}));
    api.must_put("exchanges/%2F/y", &json!({"type": "fanout"}));
    let location = |body| check(api.post("bindings/%2F/e/x/q/q", &body), 201).location.unwrap();
    assert_eq!(location(json!({})), "q/~");
    assert_eq!(location(json!({"routing_key": "a.b"})), "q/a.b");
    assert!(location(json!({"routing_key": "a.b", "arguments": {"k": 1}})).starts_with("q/a.b~"));
    check(api.post("bindings/%2F/e/x/e/y", &json!({"routing_key": "z"})), 201);
    let plain = json!({
        "source": "x", "vhost": "/", "destination": "q", "destination_type": "queue", "routing_key": "a.b",
        "arguments": {}, "properties_key": "a.b"
    });
    assert_eq!(check(api.get("bindings/%2F/e/x/q/q/a.b"), 200).body, plain);
    let count = |path| check(api.get(path), 200).body.as_array().unwrap().len();
    assert_eq!(count("bindings/%2F/e/x/q/q"), 3);
    assert_eq!(count("queues/%2F/q/bindings"), 4, "with the one to the default exchange");
    assert_eq!(count("exchanges/%2F/x/bindings/source"), 4);
    assert_eq!(count("exchanges/%2F/y/bindings/destination"), 1);
    assert_eq!(count("bindings"), 5);
    let with_arguments = check(api.get("bindings/%2F/e/x/q/q"), 200).body[2]["properties_key"].clone();
    for key in ["~", "a.b", with_arguments.as_str().unwrap()] {
        check(api.delete(&format!("bindings/%2F/e/x/q/q/{key}")), 204);
    }
    assert_eq!(count("bindings/%2F/e/x/q/q"), 0);
    check(api.delete("bindings/%2F/e/x/q/q/a.b"), 404);
}

#[test]
fn both_ends_of_a_binding_must_be_there() {
    let api = Served::start();
    api.must_put("queues/%2F/q", &json!({}));
    let bind = |path| api.post(path, &json!({"routing_key": "k"}));
    check_refused(bind("bindings/%2F/e/amq.topic/q/none"), 404, "no queue 'none' in vhost '/'");
    check_refused(bind("bindings/%2F/e/none/q/q"), 404, "no exchange 'none' in vhost '/'");
    check(bind("bindings/%2F/e/amq.topic/z/q"), 404);
    check(bind("bindings/none/e/amq.topic/q/q"), 404);
}

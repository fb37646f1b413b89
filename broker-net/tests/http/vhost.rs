//! Virtual hosts.

use serde_json::json;

use crate::harness::{Served, check, check_refused};

#[test]
fn a_virtual_host_is_made_changed_and_deleted() {
    let api = Served::start();
    check(api.put("vhosts/v%2Fw", &json!({})), 201);
    check(api.put("vhosts/v%2Fw", &json!({"description": "d", "tags": "a, b"})), 204);
    let vhost = check(api.get("vhosts/v%2Fw"), 200).body;
    assert_eq!(vhost["name"], "v/w");
    assert_eq!(
        vhost["metadata"],
        json!({"description": "d", "tags": ["a", "b"], "default_queue_type": "classic"})
    );
    assert_eq!(vhost["tags"], json!(["a", "b"]));
    // Who makes one may do everything in it.
    check(api.get("permissions/v%2Fw/guest"), 200);
    let exchanges = check(api.get("exchanges/v%2Fw?columns=name"), 200).body;
    assert!(exchanges.as_array().unwrap().contains(&json!({"name": "amq.topic"})), "{exchanges}");
    check(api.put("queues/v%2Fw/q", &json!({})), 201);
    check(api.delete("vhosts/v%2Fw"), 204);
    for path in ["vhosts/v%2Fw", "queues/v%2Fw", "queues/v%2Fw/q", "permissions/v%2Fw/guest"] {
        check(api.get(path), 404);
    }
    check(api.delete("vhosts/v%2Fw"), 404);
}

#[test]
fn what_a_put_does_not_say_is_none_but_for_the_type_of_queues() {
    let api = Served::start();
    let metadata = |path: &str| check(api.get(path), 200).body["metadata"].clone();
    let of_default = json!({"description": "Default virtual host", "tags": [], "default_queue_type": "classic"});
    assert_eq!(metadata("vhosts/%2F"), of_default);
    check(api.put("vhosts/v", &json!({"description": "d", "tags": "t", "default_queue_type": "quorum"})), 201);
    check(api.put("vhosts/v", &json!({})), 204);
    assert_eq!(metadata("vhosts/v"), json!({"description": "", "tags": [], "default_queue_type": "quorum"}));
    check(api.put("vhosts/v", &json!({"tags": ["t"], "default_queue_type": "undefined"})), 204);
    assert_eq!(metadata("vhosts/v"), json!({"description": "", "tags": ["t"], "default_queue_type": "classic"}));
    for name in ["nonsense", ""] {
        let text = format!("Unsupported default queue type '{name}'");
        check_refused(api.put("vhosts/w", &json!({"default_queue_type": name})), 400, &text);
    }
    check(api.get("vhosts/w"), 404);
}

#[test]
fn bodies_that_are_no_objects_are_refused() {
    let api = Served::start();
    let put = |body: &str| api.call(ureq::http::Method::PUT, "vhosts/v", body);
    check_refused(put("xx"), 400, "not_json");
    check_refused(put("[1]"), 400, "not_json");
    let twice = "invalid payload: the request body JSON-decoded to a string. Is the input doubly-JSON-encoded?";
    check_refused(put("\"{}\""), 400, twice);
    check_refused(put(&" ".repeat(10_000_001)), 400, "Exceeded HTTP request body size limit");
    check(api.get("vhosts/v"), 404);
    check(put(""), 201);
}

#[test]
fn limits_are_set_and_cleared() {
    let api = Served::start();
    check(api.put("vhost-limits/%2F/max-connections", &json!({"value": 100})), 204);
    check(api.put("vhost-limits/%2F/max-queues", &json!({"value": 7})), 204);
    let all = json!([{"vhost": "/", "value": {"max-connections": 100, "max-queues": 7}}]);
    assert_eq!(check(api.get("vhost-limits"), 200).body, all);
    check(api.delete("vhost-limits/%2F/max-queues"), 204);
    assert_eq!(check(api.get("vhost-limits/%2F"), 200).body[0]["value"], json!({"max-connections": 100}));
    let unknown = "Validation failed\n\nUnrecognised terms [{<<\"foo\">>,1}] in limits\n";
    check_refused(api.put("vhost-limits/%2F/foo", &json!({"value": 1})), 400, unknown);
    let text = "Validation failed\n\nmax-queues should be a number, actually was <<\"x\">>\n";
    check_refused(api.put("vhost-limits/%2F/max-queues", &json!({"value": "x"})), 400, text);
    check_refused(api.put("vhost-limits/%2F/max-queues", &json!({})), 400, "[{key_missing,value}]");
    check_refused(api.put("vhost-limits/v/max-queues", &json!({"value": 1})), 404, "vhost_not_found");
}

#[test]
fn what_was_put_survives_kill_9() {
    let mut api = Served::start();
    api.must_put("vhosts/v", &json!({"description": "d"}));
    api.must_put("users/u", &json!({"password": "p", "tags": "management"}));
    api.must_put("permissions/v/u", &json!({"configure": "c", "write": "w", "read": "r"}));
    api.must_put("topic-permissions/v/u", &json!({"exchange": "amq.topic", "write": "w", "read": "r"}));
    api.must_put("policies/v/p", &json!({"pattern": "^q", "definition": {"max-length": 3}, "priority": 2}));
    api.must_put("operator-policies/v/o", &json!({"pattern": "^q", "definition": {"max-length": 2}}));
    api.must_put("vhost-limits/v/max-queues", &json!({"value": 9}));
    api.must_put("user-limits/u/max-channels", &json!({"value": 9}));
    api.must_put("global-parameters/g", &json!({"value": {"a": [1]}}));
    api.must_put("queues/v/q", &json!({"durable": true}));
    api.must_put("exchanges/v/x", &json!({"type": "fanout", "durable": true}));
    check(api.post("bindings/v/e/x/q/q", &json!({"routing_key": "k"})), 201);
    let before = check(api.get("definitions"), 200).body;
    api.crash();
    assert_eq!(check(api.get("definitions"), 200).body, before);
    check(api.as_user("u", "p").get("whoami"), 200);
    api.must_put("users/u", &json!({"password": "other", "tags": "management"}));
    check(api.delete("vhosts/v"), 204);
    api.crash();
    check(api.as_user("u", "p").get("whoami"), 401);
    check(api.get("vhosts/v"), 404);
}

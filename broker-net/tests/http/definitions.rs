//! Export and import of definitions.

use serde_json::{Value, json};

use crate::harness::{Served, check, check_refused};

/// What RabbitMQ 4.0.5 exports, but for the order of fields.
fn exported() -> Value {
    json!({
        "rabbit_version": "4.0.5", "rabbitmq_version": "4.0.5", "product_name": "RabbitMQ", "product_version": "4.0.5",
        "rabbitmq_definition_format": "cluster", "original_cluster_name": "rabbit@host",
        "explanation": "Definitions of cluster 'rabbit@host'",
        "users": [
            {"name": "u", "password_hash": "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR",
             "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": ["management"], "limits": {"max-channels": 5}}
        ],
        "vhosts": [
            {"name": "v", "description": "d", "metadata": {"description": "d", "tags": ["t"], "default_queue_type": "classic"},
             "tags": ["t"], "default_queue_type": "classic"}
        ],
        "permissions": [{"user": "u", "vhost": "v", "configure": ".*", "write": ".*", "read": "^a"}],
        "topic_permissions": [{"user": "u", "vhost": "v", "exchange": "amq.topic", "write": "w", "read": "r"}],
        "parameters": [
            {"component": "operator_policy", "vhost": "v", "name": "o",
             "value": {"pattern": "^q", "definition": {"max-length": 30}, "priority": 0, "apply-to": "queues"}},
            {"component": "vhost-limits", "vhost": "v", "name": "limits", "value": {"max-queues": 7}}
        ],
        "global_parameters": [{"name": "g", "value": [1]}],
        "policies": [
            {"vhost": "v", "name": "p", "pattern": "^q", "apply-to": "queues", "definition": {"max-length": 3}, "priority": 1}
        ],
        "queues": [
            {"name": "q", "vhost": "v", "durable": true, "auto_delete": false,
             "arguments": {"x-queue-type": "classic", "x-max-priority": 2}}
        ],
        "exchanges": [
            {"name": "x", "vhost": "v", "type": "headers", "durable": true, "auto_delete": false, "internal": false,
             "arguments": {}}
        ],
        "bindings": [
            {"source": "x", "vhost": "v", "destination": "q", "destination_type": "queue", "routing_key": "k",
             "arguments": {"x-match": "all", "n": 1}}
        ]
    })
}

#[test]
fn definitions_of_rabbitmq_are_imported_and_exported_again() {
    let mut api = Served::start();
    check(api.post("definitions", &exported()), 204);
    let first = check(api.get("definitions"), 200).body;
    check(api.post("definitions", &exported()), 204);
    assert_eq!(check(api.get("definitions"), 200).body, first, "a second import changes nothing");
    for (list, object) in exported().as_object().unwrap() {
        let Some(object) = object.as_array().and_then(|objects| objects.first()) else { continue };
        assert!(first[list].as_array().unwrap().contains(object), "{list}: {object} is not in {}", first[list]);
    }
    check(api.as_user("u", "test12").get("whoami"), 200);
    assert_eq!(check(api.get("vhost-limits/v"), 200).body[0]["value"], json!({"max-queues": 7}));
    assert_eq!(check(api.get("users/u"), 200).body["limits"], json!({"max-channels": 5}));
    api.crash();
    assert_eq!(check(api.get("definitions"), 200).body, first, "after kill -9");
}

#[test]
fn the_export_of_one_broker_makes_another_the_same() {
    let one = Served::start();
    check(one.post("definitions", &exported()), 204);
    let definitions = check(one.get("definitions"), 200).body;
    let other = Served::start();
    check(other.post("definitions", &definitions), 204);
    assert_eq!(check(other.get("definitions"), 200).body, definitions);
}

#[test]
fn one_virtual_host_is_exported_without_its_name() {
    let api = Served::start();
    check(api.post("definitions", &exported()), 204);
    let definitions = check(api.get("definitions/v"), 200).body;
    assert_eq!(definitions["rabbitmq_definition_format"], "single_virtual_host");
    assert_eq!(definitions["original_vhost_name"], "v");
    assert_eq!(definitions["limits"], json!({"max-queues": 7}));
    assert_eq!(definitions["queues"][0].get("vhost"), None);
    assert_eq!(definitions.get("users"), None);
    api.must_put("vhosts/w", &json!({}));
    check(api.post("definitions/w", &definitions), 204);
    for list in ["queues", "exchanges", "bindings", "policies", "parameters"] {
        assert_eq!(check(api.get("definitions/w"), 200).body[list], definitions[list], "{list}");
    }
    check_refused(api.get("definitions/none"), 400, "vhost_not_found");
    check_refused(api.post("definitions/none", &definitions), 404, "vhost_not_found");
}

#[test]
fn definitions_that_cannot_be_are_refused() {
    let api = Served::start();
    let post = |definitions: Value| api.post("definitions", &definitions);
    check_refused(api.call(ureq::http::Method::POST, "definitions", "x"), 400, "failed_to_parse_json");
    let missing = "Please create virtual host \"none\" prior to importing definitions.";
    check_refused(post(json!({"queues": [{"name": "q", "vhost": "none"}]})), 400, missing);
    check_refused(post(json!({"users": [{"name": "a"}]})), 400, "tags_not_present");
    check(post(json!({"queues": 3})), 400);
    let nobody = json!([{"user": "none", "vhost": "/", "configure": "", "write": "", "read": ""}]);
    check(post(json!({"permissions": nobody})), 400);
    check(post(json!({"exchanges": [{"name": "x", "vhost": "/", "type": "zz"}]})), 400);
}

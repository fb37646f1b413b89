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

/// RabbitMQ 4.0.5 refuses what its own rabbitmqctl exports of an operator policy; it is understood here.
#[test]
fn operator_policies_are_imported_as_the_api_and_as_rabbitmqctl_export_them() {
    let api = Served::start();
    let parameter = |definition: Value| {
        let value = json!({"pattern": "^q", "definition": definition, "priority": 4, "apply-to": "queues"});
        json!({"parameters": [{"component": "operator_policy", "vhost": "/", "name": "o", "value": value}]})
    };
    let exported = parameter(json!({"max-length": 5, "overflow": "reject-publish"}));
    api.must_put("queues/%2F/q", &json!({"durable": true}));
    for imported in [exported.clone(), parameter(json!([["max-length", 5], ["overflow", "reject-publish"]]))] {
        check(api.post("definitions", &imported), 204);
        let policy = check(api.get("operator-policies/%2F/o"), 200).body;
        assert_eq!(policy["definition"], json!({"max-length": 5, "overflow": "reject-publish"}));
        assert_eq!((&policy["priority"], &policy["apply-to"]), (&json!(4), &json!("queues")));
        let queue = check(api.get("queues/%2F/q"), 200).body;
        assert_eq!(queue["operator_policy"], "o");
        assert_eq!(queue["effective_policy_definition"]["max-length"], 5);
        let again = check(api.get("definitions"), 200).body;
        assert_eq!(again["parameters"], exported["parameters"]);
        check(api.delete("operator-policies/%2F/o"), 204);
    }
    let text = "Validation failed\n\ndefinition should be a proplist, actually was [1]\n";
    check_refused(api.post("definitions", &parameter(json!([1]))), 400, text);
    let policies = json!([{"name": "p", "vhost": "/", "pattern": "", "definition": [["expires", 9]]}]);
    check(api.post("definitions", &json!({ "policies": policies })), 204);
    assert_eq!(check(api.get("policies/%2F/p"), 200).body["definition"], json!({"expires": 9}));
}

#[test]
fn an_import_leaves_queues_and_exchanges_as_they_are() {
    let api = Served::start();
    api.must_put("queues/%2F/q", &json!({"durable": true}));
    api.must_put("exchanges/%2F/x", &json!({"type": "topic", "durable": true}));
    let queue =
        |name: &str| json!({"name": name, "vhost": "/", "durable": true, "arguments": {"x-max-length": 3}});
    let exchange = |name: &str| json!({"name": name, "vhost": "/", "type": "fanout", "durable": true});
    let definitions = json!({
        "queues": [queue("q"), queue("amq.mine"), queue("new")],
        "exchanges": [exchange("x"), exchange("amq.mine"), exchange(""), exchange("new")],
    });
    check(api.post("definitions", &definitions), 204);
    let arguments = |name: &str| check(api.get(&format!("queues/%2F/{name}")), 200).body["arguments"].clone();
    assert_eq!(arguments("q"), json!({"x-queue-type": "classic"}));
    assert_eq!(arguments("new"), json!({"x-queue-type": "classic", "x-max-length": 3}));
    assert_eq!(check(api.get("exchanges/%2F/x"), 200).body["type"], "topic");
    assert_eq!(check(api.get("exchanges/%2F/new"), 200).body["type"], "fanout");
    check(api.get("queues/%2F/amq.mine"), 404);
    check(api.get("exchanges/%2F/amq.mine"), 404);
}

#[test]
fn parameters_of_plugins_are_refused() {
    let api = Served::start();
    let text = "Validation failed\n\ncomponent shovel not found\n";
    let value = json!({"src-uri": "amqp://"});
    check_refused(api.put("parameters/shovel/%2F/s", &json!({ "value": value })), 400, text);
    let parameter = json!({"component": "shovel", "vhost": "/", "name": "s", "value": value});
    check_refused(api.post("definitions", &json!({"parameters": [parameter]})), 400, text);
    assert_eq!(check(api.get("parameters"), 200).body, json!([]));
}

/// Each hash is of `secret`.
#[test]
fn every_kind_of_hash_lets_its_user_in() {
    let mut api = Served::start();
    let hashes = [
        ("sha256", "rabbit_password_hashing_sha256", "AQIDBDB9kM21iEUzN1lZ+6VReCsdNqS0sERdAQTcY6Xs3PMz"),
        (
            "sha512",
            "rabbit_password_hashing_sha512",
            "AQIDBPhTH2L5HGYB1LWOrn+YpvuQmVOXKGqgsuiJRIZTILRoEvblSJo/WAsym3IZTfuaIaK5KR2o5KwFfTv6KsxfMIE=",
        ),
        ("md5", "rabbit_password_hashing_md5", "AQIDBDgk9ci8Lfh6CKE9Y0AUfmU="),
        ("bcrypt", "Bcrypt", "$2a$04$LY/jq6FUjizdTFRzkcOK0.IIWPUeLaMI1rJF6POIYhYWeo23D5f9S"),
    ];
    let users: Vec<Value> = hashes
        .iter()
        .map(|(name, algorithm, hash)| {
            json!({"name": name, "hashing_algorithm": algorithm, "password_hash": hash, "tags": "management"})
        })
        .collect();
    check(api.post("definitions", &json!({ "users": users })), 204);
    let let_in = |api: &Served| {
        for (name, algorithm, hash) in hashes {
            check(api.as_user(name, "secret").get("whoami"), 200);
            check(api.as_user(name, "wrong").get("whoami"), 401);
            let user = check(api.get(&format!("users/{name}")), 200).body;
            assert_eq!((&user["hashing_algorithm"], &user["password_hash"]), (&json!(algorithm), &json!(hash)));
        }
    };
    let_in(&api);
    api.crash();
    let_in(&api);
    let slow = "$2a$10$/OXNN/8gQK/VomQew8ycCuf3EE/jm9TOn6ihu1EEq1jN54mMislRK";
    let user = json!([{"name": "slow", "hashing_algorithm": "Bcrypt", "password_hash": slow, "tags": ""}]);
    let reason = "password_hash of user 'slow': a bcrypt hash of cost 10: up to 6 are supported";
    check_refused(api.post("definitions", &json!({ "users": user })), 400, reason);
}

#[test]
fn definitions_are_loaded_at_every_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("one.json");
    std::fs::write(&file, exported().to_string()).unwrap();
    std::fs::write(directory.path().join("README"), "not JSON").unwrap();
    let key = format!("load_definitions={}", directory.path().display());
    let mut api = Served::start_with(&["--set", &key]);
    let user = api.as_user("u", "test12");
    check(user.get("queues/v/q"), 200);
    // There is nobody but those who were defined.
    check(api.get("whoami"), 401);
    let more = json!({"users": [{"name": "new", "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": ["administrator"],
                                 "password_hash": "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"}]});
    std::fs::write(directory.path().join("two.json"), more.to_string()).unwrap();
    api.crash();
    check(api.as_user("u", "test12").get("queues/v/q"), 200);
    check(api.as_user("new", "test12").get("users/u"), 200);
}

//! Health checks and facts about the broker.

use serde_json::json;

use crate::harness::{Served, check};

#[test]
fn a_healthy_broker_says_so() {
    let api = Served::start();
    for path in [
        "health/checks/alarms",
        "health/checks/local-alarms",
        "health/checks/virtual-hosts",
        "healthchecks/node",
        "aliveness-test/%2F",
    ] {
        assert_eq!(check(api.get(path), 200).body, json!({"status": "ok"}), "{path}");
    }
    let port = api.broker.address.port();
    let answer = check(api.get(&format!("health/checks/port-listener/{port}")), 200);
    assert_eq!(answer.body, json!({"status": "ok", "port": port}));
    let answer = check(api.get("health/checks/port-listener/1"), 503).body;
    assert_eq!((&answer["status"], &answer["missing"]), (&json!("failed"), &json!(1)));
    check(api.get("health/checks/protocol-listener/amqp091"), 200);
    check(api.get("health/checks/protocol-listener/mqtt"), 503);
}

#[test]
fn the_overview_counts_objects_and_messages() {
    let api = Served::start();
    api.must_put("queues/%2F/q", &json!({}));
    let message = json!({"properties": {}, "routing_key": "q", "payload": "x", "payload_encoding": "string"});
    check(api.post("exchanges/%2F/amq.default/publish", &message), 200);
    let overview = check(api.get("overview?msg_rates_age=60&msg_rates_incr=5"), 200).body;
    assert_eq!(overview["object_totals"]["queues"], 1);
    assert_eq!(overview["queue_totals"]["messages"], 1);
    assert_eq!(overview["rabbitmq_version"], "4.0.5");
    assert!(overview["message_stats"]["publish_details"]["rate"].is_number(), "{overview}");
    let protocols: Vec<_> = overview["listeners"].as_array().unwrap().iter().map(|one| &one["protocol"]).collect();
    assert_eq!(protocols, ["amqp", "http", "http/prometheus"]);
    let node = overview["node"].as_str().unwrap();
    let shown = check(api.get(&format!("nodes/{node}")), 200).body;
    assert!(shown["mem_used"].as_u64().unwrap() > 0 && shown["fd_used"].as_u64().unwrap() > 0, "{shown}");
    assert_eq!(shown["running"], true);
    check(api.get("nodes/other"), 404);
}

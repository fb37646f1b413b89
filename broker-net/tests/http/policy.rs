//! Policies, operator policies, parameters.

use serde_json::json;

use crate::harness::{Served, check, check_refused};

#[test]
fn policies_are_put_listed_and_deleted() {
    let api = Served::start();
    let policy = json!({"pattern": "^q", "definition": {"max-length": 3}, "priority": 2, "apply-to": "queues"});
    check(api.put("policies/%2F/p", &policy), 201);
    check(api.put("policies/%2F/p", &policy), 204);
    let mut full = policy.clone();
    full["vhost"] = json!("/");
    full["name"] = json!("p");
    assert_eq!(check(api.get("policies/%2F/p"), 200).body, full);
    assert_eq!(check(api.get("policies"), 200).body, json!([full]));
    assert_eq!(check(api.get("operator-policies/%2F"), 200).body, json!([]));
    api.must_put("queues/%2F/q", &json!({}));
    let queue = check(api.get("queues/%2F/q"), 200).body;
    assert_eq!(
        (&queue["policy"], &queue["effective_policy_definition"]),
        (&json!("p"), &json!({"max-length": 3}))
    );
    check(api.delete("policies/%2F/p"), 204);
    assert_eq!(check(api.get("queues/%2F/q"), 200).body["policy"], json!(null));
    check(api.delete("policies/%2F/p"), 404);
}

#[test]
fn what_is_no_policy_is_refused() {
    let api = Served::start();
    let put = |body| api.put("policies/%2F/p", &body);
    check_refused(put(json!({"pattern": "q"})), 400, "[{key_missing,definition}]");
    let apply_to = "Validation failed\n\napply-to 'foo' unrecognised; should be one of: 'queues', 'classic_queues',  \
                    'quorum_queues', 'streams', 'exchanges', or 'all'\n";
    check_refused(put(json!({"pattern": "q", "definition": {"max-length": 1}, "apply-to": "foo"})), 400, apply_to);
    let priority = "Validation failed\n\npriority should be a number, actually was &lt;&lt;\"x\"&gt;&gt;\n";
    check_refused(put(json!({"pattern": "q", "definition": {"max-length": 1}, "priority": "x"})), 400, priority);
    let definition = json!({"pattern": "q", "definition": {"max-length": 1}});
    check_refused(api.put("policies/none/p", &definition), 404, "vhost_not_found");
    check(api.get("policies/%2F/p"), 404);
}

#[test]
fn operator_policies_and_limits_are_parameters_too() {
    let api = Served::start();
    let value = json!({"pattern": "^q", "definition": {"max-length": 3}, "priority": 0, "apply-to": "queues"});
    api.must_put("operator-policies/%2F/o", &value);
    api.must_put("vhost-limits/%2F/max-queues", &json!({"value": 7}));
    let parameter = json!({"component": "operator_policy", "vhost": "/", "name": "o", "value": value});
    assert_eq!(check(api.get("parameters/operator_policy/%2F/o"), 200).body, parameter);
    let limits = check(api.get("parameters/vhost-limits"), 200).body;
    assert_eq!(limits[0]["value"], json!({"max-queues": 7}));
    let text = "policies may not be set using this method";
    check_refused(api.put("parameters/policy/%2F/p", &json!({"value": value})), 400, text);
    check(api.delete("parameters/operator_policy/%2F/o"), 204);
    check(api.get("operator-policies/%2F/o"), 404);
}

#[test]
fn global_parameters_hold_any_json() {
    let api = Served::start();
    check(api.put("global-parameters/g", &json!({"value": {"a": [1, 2]}})), 201);
    check(api.put("global-parameters/g", &json!({"value": "x"})), 204);
    assert_eq!(check(api.get("global-parameters/g"), 200).body, json!({"name": "g", "value": "x"}));
    check_refused(api.put("global-parameters/g", &json!({})), 400, "[{key_missing,value}]");
    check(api.delete("global-parameters/g"), 204);
    check(api.get("global-parameters/g"), 404);
    check(api.put("cluster-name", &json!({"name": "here"})), 204);
    assert_eq!(check(api.get("cluster-name"), 200).body, json!({"name": "here"}));
    assert_eq!(check(api.get("overview"), 200).body["cluster_name"], "here");
}

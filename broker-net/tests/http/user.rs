//! Users, their permissions and limits.

use serde_json::json;

use crate::harness::{Served, check, check_refused};

/// The example of RabbitMQ's documentation: the hash of `test12`.
const HASH_OF_TEST12: &str = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR";

#[test]
fn a_user_logs_in_with_a_password_or_an_imported_hash() {
    let api = Served::start();
    check(api.put("users/u", &json!({"password": "p", "tags": "management"})), 201);
    check(api.as_user("u", "p").get("whoami"), 200);
    check(api.put("users/u", &json!({"password_hash": HASH_OF_TEST12, "tags": ["management"]})), 204);
    check(api.as_user("u", "p").get("whoami"), 401);
    check(api.as_user("u", "test12").get("whoami"), 200);
    let user = check(api.get("users/u"), 200).body;
    assert_eq!(user["password_hash"], HASH_OF_TEST12);
    assert_eq!(user["hashing_algorithm"], "rabbit_password_hashing_sha256");
    assert_eq!(user["tags"], json!(["management"]));
    check(api.delete("users/u"), 204);
    check(api.as_user("u", "test12").get("whoami"), 401);
    check(api.delete("users/u"), 404);
}

#[test]
fn incomplete_users_are_refused() {
    let api = Served::start();
    check_refused(api.put("users/u", &json!({"password": "p"})), 400, "tags_not_present");
    let answer = check(api.put("users/u", &json!({"password_hash": "xx", "tags": ""})), 400);
    assert_eq!(answer.body["reason"], json!(["not_base64", "xx"]));
    check(api.get("users/u"), 404);
    // A user without a password may exist, and cannot log in.
    check(api.put("users/u", &json!({"tags": "management"})), 201);
    check(api.as_user("u", "").get("whoami"), 401);
}

#[test]
fn users_are_deleted_in_bulk_and_found_without_permissions() {
    let api = Served::start();
    for user in ["a", "b", "c"] {
        api.must_put(&format!("users/{user}"), &json!({"password": "p", "tags": ""}));
    }
    api.must_put("permissions/%2F/a", &json!({"configure": "", "write": "", "read": ""}));
    let without = check(api.get("users/without-permissions?columns=name"), 200).body;
    assert_eq!(without, json!([{"name": "b"}, {"name": "c"}]));
    check(api.post("users/bulk-delete", &json!({"users": ["a", "b", "none"]})), 204);
    let left = check(api.get("users?columns=name"), 200).body;
    assert_eq!(left, json!([{"name": "c"}, {"name": "guest"}]));
    check(api.get("permissions/%2F/a"), 404);
    check_refused(api.post("users/bulk-delete", &json!({})), 400, "[{key_missing,users}]");
}

#[test]
fn permissions_are_put_listed_and_deleted() {
    let api = Served::start();
    api.must_put("users/u", &json!({"password": "p", "tags": ""}));
    let permission = json!({"configure": "c", "write": "w", "read": "r"});
    check(api.put("permissions/%2F/u", &permission), 201);
    check(api.put("permissions/%2F/u", &permission), 204);
    let full = json!({"user": "u", "vhost": "/", "configure": "c", "write": "w", "read": "r"});
    assert_eq!(check(api.get("permissions/%2F/u"), 200).body, full);
    assert_eq!(check(api.get("users/u/permissions"), 200).body, json!([full]));
    assert_eq!(check(api.get("vhosts/%2F/permissions"), 200).body.as_array().unwrap().len(), 2);
    check_refused(
        api.put("permissions/%2F/u", &json!({"configure": ""})),
        400,
        "[{key_missing,write},{key_missing,read}]",
    );
    check_refused(api.put("permissions/%2F/none", &permission), 400, "vhost_or_user_not_found");
    check_refused(api.put("permissions/none/u", &permission), 400, "vhost_or_user_not_found");
    check(api.put("permissions/%2F/u", &json!({"configure": "*", "write": "", "read": ""})), 400);
    check(api.delete("permissions/%2F/u"), 204);
    check(api.delete("permissions/%2F/u"), 404);
}

#[test]
fn topic_permissions_are_per_exchange() {
    let api = Served::start();
    api.must_put("users/u", &json!({"password": "p", "tags": ""}));
    for exchange in ["amq.topic", "x"] {
        let permission = json!({"exchange": exchange, "write": "w", "read": "r"});
        check(api.put("topic-permissions/%2F/u", &permission), 201);
        check(api.put("topic-permissions/%2F/u", &permission), 204);
    }
    let one = json!([{"user": "u", "vhost": "/", "exchange": "x", "write": "w", "read": "r"}]);
    assert_eq!(check(api.get("topic-permissions/%2F/u/x"), 200).body, one);
    check(api.delete("topic-permissions/%2F/u/x"), 204);
    assert_eq!(check(api.get("topic-permissions"), 200).body.as_array().unwrap().len(), 1);
    check(api.delete("topic-permissions/%2F/u"), 204);
    check(api.get("topic-permissions/%2F/u"), 404);
}

#[test]
fn limits_of_users() {
    let api = Served::start();
    api.must_put("users/u", &json!({"password": "p", "tags": ""}));
    check(api.put("user-limits/u/max-connections", &json!({"value": 5})), 204);
    check(api.put("user-limits/u/max-channels", &json!({"value": 6})), 204);
    let limits = json!({"max-connections": 5, "max-channels": 6});
    assert_eq!(check(api.get("user-limits/u"), 200).body, json!([{"user": "u", "value": limits}]));
    assert_eq!(check(api.get("users/u"), 200).body["limits"], limits);
    check(api.delete("user-limits/u/max-channels"), 204);
    assert_eq!(check(api.get("user-limits"), 200).body[0]["value"], json!({"max-connections": 5}));
    let unknown = "Unrecognised terms [{<<\"foo\">>,1}] in user-limits";
    check_refused(api.put("user-limits/u/foo", &json!({"value": 1})), 400, unknown);
    check(api.get("user-limits/none"), 404);
}

//! Who may do what: authentication, user tags, permissions.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use serde_json::json;

use crate::harness::{Served, check, check_refused};

#[test]
fn without_the_right_password_nothing_is_said() {
    let api = Served::start();
    for user in [api.as_user("guest", "wrong"), api.as_user("guest", ""), api.as_user("nobody", "guest")] {
        let answer = check(user.get("whoami"), 401);
        assert_eq!(answer.body, json!({"error": "not_authorized", "reason": "Not_Authorized"}));
    }
    let answer = check(api.get("whoami"), 200);
    assert_eq!(answer.body, json!({"name": "guest", "tags": ["administrator"], "is_internal_user": true}));
}

#[test]
fn a_form_logs_in() {
    let api = Served::start();
    let post = |form| api.call(ureq::http::Method::POST, "login", form);
    assert_eq!(check(post("username=guest&password=guest"), 200).body, json!("ok"));
    check(post("username=guest&password=x"), 401);
    check(post("username=guest"), 401);
}

#[test]
fn unknown_paths_and_methods_are_told_apart() {
    let api = Served::start();
    let answer = check(api.get("nope"), 404);
    assert_eq!(answer.body, json!({"error": "Object Not Found", "reason": "Not Found"}));
    check(api.post("whoami", &json!({})), 405);
    check(api.get("whoami/"), 200);
}

const ADMINISTRATOR: &str = "Not administrator user";
const MONITOR: &str = "Not monitor user";
const VHOST: &str = "User not authorised to access virtual host";
const OBJECT: &str = "User not authorised to access object";

/// For each tag the paths that it may not read, and why.
#[test]
fn tags_decide_what_may_be_read() {
    let api = Served::start();
    api.must_put("vhosts/v", &json!({}));
    let admin_only = [
        "vhosts/v",
        "vhosts/none",
        "users",
        "users/guest",
        "users/guest/permissions",
        "permissions",
        "permissions/v/guest",
        "topic-permissions",
        "definitions",
        "definitions/v",
        "auth/hash_password/x",
        "vhosts/v/permissions",
    ];
    let for_all = [
        "overview",
        "whoami",
        "queues",
        "exchanges",
        "bindings",
        "connections",
        "channels",
        "consumers",
        "consumers/v",
        "policies",
        "operator-policies",
        "vhosts",
        "vhost-limits",
        "user-limits",
        "cluster-name",
        "extensions",
        "feature-flags",
        "health/checks/alarms",
        "version",
    ];
    let refused_besides: [(&str, &[(&str, &str)]); 3] = [
        (
            "management",
            &[
                ("nodes", MONITOR),
                ("queues/v", VHOST),
                ("exchanges/v", VHOST),
                ("vhost-limits/v", VHOST),
                ("parameters", OBJECT),
                ("global-parameters", OBJECT),
                ("aliveness-test/v", VHOST),
            ],
        ),
        ("monitoring", &[("parameters", OBJECT), ("global-parameters", OBJECT), ("aliveness-test/v", VHOST)]),
        ("policymaker", &[("nodes", MONITOR), ("queues/v", VHOST), ("policies/v", VHOST)]),
    ];
    for (tag, refused) in refused_besides {
        api.must_put(&format!("users/{tag}"), &json!({"password": "p", "tags": tag}));
        let user = api.as_user(tag, "p");
        for path in for_all {
            check(user.get(path), 200);
        }
        for path in admin_only {
            check_refused(user.get(path), 401, ADMINISTRATOR);
        }
        for (path, reason) in refused {
            check_refused(user.get(path), 401, reason);
        }
    }
}

/// Their lists are of everything, and what is in one virtual host is not theirs to read.
#[test]
fn monitors_need_permissions_to_look_into_a_virtual_host() {
    let api = Served::start();
    api.must_put("vhosts/v", &json!({}));
    api.must_put("vhost-limits/v/max-queues", &json!({"value": 5}));
    api.must_put("users/m", &json!({"password": "p", "tags": "monitoring"}));
    let monitor = api.as_user("m", "p");
    let in_vhost = ["queues/v", "exchanges/v", "exchanges/v/amq.topic", "bindings/v", "vhosts/v/connections"];
    for path in in_vhost {
        check_refused(monitor.get(path), 401, VHOST);
    }
    check(monitor.get("consumers/v"), 200);
    check(monitor.get("consumers/none"), 404);
    for path in ["vhost-limits", "vhost-limits/v"] {
        assert_eq!(check(monitor.get(path), 200).body[0]["value"], json!({"max-queues": 5}), "{path}");
    }
    api.must_put("permissions/v/m", &json!({"configure": "", "write": "", "read": ""}));
    for path in in_vhost {
        check(monitor.get(path), 200);
    }
    check_refused(monitor.get("vhosts/v"), 401, ADMINISTRATOR);
}

#[test]
fn users_without_a_tag_of_management_have_no_business_here() {
    let api = Served::start();
    api.must_put("users/u", &json!({"password": "p", "tags": "something"}));
    check_refused(api.as_user("u", "p").get("whoami"), 401, "Not management user");
}

#[test]
fn only_administrators_change_what_is_not_in_a_virtual_host() {
    let api = Served::start();
    api.must_put("users/u", &json!({"password": "p", "tags": "management"}));
    api.must_put("permissions/%2F/u", &json!({"configure": "^mine", "write": ".*", "read": ".*"}));
    let user = api.as_user("u", "p");
    check_refused(user.put("vhosts/v", &json!({})), 401, ADMINISTRATOR);
    check_refused(user.delete("vhosts/%2F"), 401, ADMINISTRATOR);
    check_refused(user.put("users/v", &json!({"tags": ""})), 401, ADMINISTRATOR);
    let full = json!({"configure": ".*", "write": ".*", "read": ".*"});
    check_refused(user.put("permissions/%2F/u", &full), 401, ADMINISTRATOR);
    check_refused(user.put("vhost-limits/%2F/max-queues", &json!({"value": 1})), 401, ADMINISTRATOR);
    let policy = json!({"pattern": "", "definition": {"max-length": 1}});
    check_refused(user.put("policies/%2F/p", &policy), 401, OBJECT);
    check_refused(user.put("operator-policies/%2F/p", &policy), 401, ADMINISTRATOR);
    check(api.get("policies/%2F/p"), 404);
    // What permissions allow is allowed here too.
    check(user.put("queues/%2F/mine", &json!({})), 201);
    check_refused(user.put("queues/%2F/other", &json!({})), 401, "Access refused.");
    check(api.get("queues/%2F/other"), 404);
}

#[test]
fn policymakers_make_policies_where_they_have_permissions() {
    let api = Served::start();
    api.must_put("users/u", &json!({"password": "p", "tags": "policymaker"}));
    let user = api.as_user("u", "p");
    let policy = json!({"pattern": "", "definition": {"max-length": 1}});
    check_refused(user.put("policies/%2F/p", &policy), 401, OBJECT);
    api.must_put("permissions/%2F/u", &json!({"configure": "", "write": "", "read": ""}));
    check(user.put("policies/%2F/p", &policy), 201);
    check(user.put("global-parameters/g", &json!({"value": 1})), 201);
    check_refused(user.put("operator-policies/%2F/p", &policy), 401, ADMINISTRATOR);
    let hidden = json!({"value": {"pattern": "", "definition": {"max-length": 1}}});
    check_refused(user.put("parameters/operator_policy/%2F/p", &hidden), 401, ADMINISTRATOR);
}

#[test]
fn ten_browsers_find_room_and_more_wait_at_the_limit_until_one_goes() {
    let connect = |api: &Served| TcpStream::connect(api.broker.http).unwrap();
    let api = Served::start();
    let _browsers: Vec<_> = (0..10 * 6).map(|_| connect(&api)).collect();
    let _others: Vec<_> = (0..40).map(|_| connect(&api)).collect();
    check(api.get("whoami"), 200);

    let api = Served::start_with(&["--set", "management.connection_max=2"]);
    let [mut first, second, mut third] = [connect(&api), connect(&api), connect(&api)];
    ask(&mut third);
    ask(&mut first);
    assert!(answer(&mut first).starts_with("HTTP/1.1 401"));
    // The later request has its answer, the earlier one not.
    third.set_nonblocking(true).unwrap();
    assert_eq!(third.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
    third.set_nonblocking(false).unwrap();
    drop(second);
    assert!(answer(&mut third).starts_with("HTTP/1.1 401"));
}

fn ask(stream: &mut TcpStream) {
    stream.write_all(b"GET /api/whoami HTTP/1.1\r\nhost: broker\r\n\r\n").unwrap();
}

/// The beginning of an answer.
fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = [0; 12];
    stream.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

//! `ringmqctl`: its output and exit codes are what scripts around rabbitmqctl expect.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::harness::{Served, check};

fn run(api: &Served, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringmqctl"))
        .args(arguments)
        .env("RINGMQ_URL", format!("http://{}", api.broker.http))
        .output()
        .unwrap()
}

/// Runs a verb that must succeed; returns what it printed.
#[track_caller]
fn ctl(api: &Served, arguments: &[&str]) -> String {
    let output = run(api, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a verb that must fail with an exit code.
#[track_caller]
fn check_fails(api: &Served, arguments: &[&str], code: i32, says: &str) {
    let output = run(api, arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    assert!(error.contains(says), "{arguments:?}: {error}");
}

#[test]
fn queues_are_listed_as_scripts_expect() {
    let api = Served::start();
    assert_eq!(ctl(&api, &["list_queues", "-q"]), "");
    api.must_put("queues/%2F/a", &json!({"durable": true}));
    api.must_put("queues/%2F/b", &json!({}));
    let says = "Listing queues for vhost / ...\nname\tmessages\na\t0\nb\t0\n";
    assert_eq!(ctl(&api, &["list_queues"]), says);
    assert_eq!(ctl(&api, &["-q", "list_queues", "name", "durable"]), "name\tdurable\na\ttrue\nb\tfalse\n");
    assert_eq!(ctl(&api, &["list_queues", "name", "--silent"]), "a\nb\n");
    let rows: Value = serde_json::from_str(&ctl(&api, &["list_queues", "--formatter", "json"])).unwrap();
    assert_eq!(rows, json!([{"name": "a", "messages": 0}, {"name": "b", "messages": 0}]));
    assert_eq!(ctl(&api, &["list_queues", "name", "-q", "--formatter", "csv"]), "\"name\"\n\"a\"\n\"b\"\n");
    check_fails(&api, &["list_queues", "Foo"], 64, "Info key Foo is not supported");
    assert_eq!(ctl(&api, &["delete_queue", "-q", "a"]), "");
    check_fails(&api, &["delete_queue", "a"], 65, "Queue not found");
    assert_eq!(ctl(&api, &["list_queues", "-s", "name"]), "b\n");
}

#[test]
fn users_and_permissions() {
    let api = Served::start();
    ctl(&api, &["add_user", "u", "p"]);
    check_fails(&api, &["add_user", "u", "p"], 65, "User \"u\" already exists");
    ctl(&api, &["set_user_tags", "u", "management", "policymaker"]);
    assert_eq!(
        ctl(&api, &["-q", "list_users"]),
        "user\ttags\nguest\t[administrator]\nu\t[management, policymaker]\n"
    );
    assert_eq!(ctl(&api, &["authenticate_user", "u", "p"]), "Authenticating user \"u\" ...\nSuccess\n");
    ctl(&api, &["change_password", "u", "other"]);
    check_fails(&api, &["authenticate_user", "u", "p"], 65, "failed to authenticate user \"u\"");
    ctl(&api, &["authenticate_user", "u", "other"]);
    ctl(&api, &["add_vhost", "v"]);
    ctl(&api, &["set_permissions", "-p", "v", "u", "c", "w", "r"]);
    assert_eq!(ctl(&api, &["list_user_permissions", "-s", "u"]), "v\tc\tw\tr\n");
    ctl(&api, &["clear_permissions", "-p", "v", "u"]);
    assert_eq!(ctl(&api, &["list_user_permissions", "-s", "u"]), "");
    ctl(&api, &["delete_user", "u"]);
    check_fails(&api, &["change_password", "u", "x"], 65, "User \"u\" does not exist");
    ctl(&api, &["delete_vhost", "v"]);
    assert_eq!(ctl(&api, &["list_vhosts", "-s"]), "/\n");
}

#[test]
fn policies_limits_and_parameters() {
    let api = Served::start();
    let definition = "{\"max-length\":3}";
    ctl(&api, &["set_policy", "p", "^q", definition, "--apply-to", "queues", "--priority", "2"]);
    assert_eq!(ctl(&api, &["-s", "list_policies"]), "/\tp\t^q\tqueues\t{\"max-length\":3}\t2\n");
    ctl(&api, &["clear_policy", "p"]);
    assert_eq!(ctl(&api, &["-s", "list_policies"]), "");
    check_fails(&api, &["set_policy", "p", "^q", "x"], 64, "is not JSON");
    ctl(&api, &["set_vhost_limits", "{\"max-queues\": 5}"]);
    assert_eq!(check(api.get("vhost-limits/%2F"), 200).body[0]["value"], json!({"max-queues": 5}));
    ctl(&api, &["clear_vhost_limits"]);
    ctl(&api, &["set_global_parameter", "g", "[1]"]);
    assert_eq!(check(api.get("global-parameters/g"), 200).body["value"], json!([1]));
}

#[test]
fn definitions_go_through_a_file() {
    let one = Served::start();
    ctl(&one, &["add_vhost", "v", "--description", "d"]);
    ctl(&one, &["add_user", "u", "p"]);
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("definitions.json");
    ctl(&one, &["export_definitions", file.to_str().unwrap()]);
    let other = Served::start();
    ctl(&other, &["import_definitions", file.to_str().unwrap()]);
    assert_eq!(check(other.get("definitions"), 200).body, check(one.get("definitions"), 200).body);
}

#[test]
fn messages_are_moved_and_delayed_ones_cancelled() {
    let api = Served::start();
    api.must_put("queues/%2F/a", &json!({"durable": true}));
    api.must_put("queues/%2F/b", &json!({"durable": true}));
    api.must_put(
        "exchanges/%2F/x",
        &json!({"type": "x-delayed-message", "arguments": {"x-delayed-type": "fanout"}}),
    );
    let publish = |exchange: &str, headers: Value| {
        let properties = json!({"delivery_mode": 2, "headers": headers});
        let message =
            json!({"properties": properties, "routing_key": "a", "payload": "m", "payload_encoding": "string"});
        check(api.post(&format!("exchanges/%2F/{exchange}/publish"), &message), 200);
    };
    for _ in 0..3 {
        publish("amq.default", json!({}));
        publish("x", json!({"x-delay": 3_600_000}));
    }
    ctl(&api, &["pause_queue", "a"]);
    assert_eq!(ctl(&api, &["-s", "list_queues", "name", "state"]), "a\tpaused\nb\trunning\n");
    ctl(&api, &["resume_queue", "a"]);
    assert_eq!(ctl(&api, &["-q", "move_messages", "a", "--to-queue", "b", "--count", "2"]), "2\n");
    assert_eq!(ctl(&api, &["-s", "list_queues"]), "a\t1\nb\t2\n");
    check_fails(&api, &["redrive_messages", "a"], 65, "1 messages have no way back");
    check_fails(&api, &["move_messages", "a", "--to-exchange", "x", "--to-queue", "b"], 2, "cannot be used with");
    let ids = ctl(&api, &["-s", "list_delayed_messages", "x", "id"]);
    let ids: Vec<&str> = ids.lines().collect();
    assert_eq!(ids.len(), 3);
    ctl(&api, &["cancel_delayed_message", "x", ids[1]]);
    check_fails(&api, &["cancel_delayed_message", "x", ids[1]], 65, "Not Found");
    assert_eq!(ctl(&api, &["-s", "list_delayed_messages", "x", "payload_bytes"]), "1\n1\n");
    ctl(&api, &["cancel_delayed_messages", "x"]);
    assert_eq!(ctl(&api, &["-s", "list_delayed_messages", "x"]), "");
}

#[test]
fn checks_say_how_the_broker_is() {
    let mut api = Served::start();
    for check in ["status", "ping", "check_running", "check_local_alarms", "check_virtual_hosts", "await_startup"]
    {
        ctl(&api, &[check]);
    }
    let port = api.broker.address.port().to_string();
    ctl(&api, &["check_port_listener", &port]);
    check_fails(&api, &["check_port_listener", "1"], 69, "No active listener");
    check_fails(&api, &["status", "--password", "wrong"], 65, "Not_Authorized");
    check_fails(&api, &["no_such_verb"], 2, "unrecognized subcommand");
    api.broker.kill();
    check_fails(&api, &["ping"], 69, "unable to perform an operation");
}

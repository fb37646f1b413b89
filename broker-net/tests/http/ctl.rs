//! `ringmqctl`: its output and exit codes are what scripts around rabbitmqctl expect.

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::harness::{Served, check};

fn command(api: &Served, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmqctl"));
    command.args(arguments).env("RINGMQ_URL", format!("http://{}", api.broker.http)).stdin(Stdio::null());
    command
}

fn run(api: &Served, arguments: &[&str]) -> Output {
    command(api, arguments).output().unwrap()
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
    let says = "Timeout: 60.0 seconds ...\nListing queues for vhost / ...\nname\tmessages\na\t0\nb\t0\n";
    assert_eq!(ctl(&api, &["list_queues"]), says);
    assert_eq!(ctl(&api, &["-q", "list_queues", "name", "durable"]), "name\tdurable\na\ttrue\nb\tfalse\n");
    assert_eq!(ctl(&api, &["list_queues", "name", "--silent"]), "a\nb\n");
    let rows: Value = serde_json::from_str(&ctl(&api, &["list_queues", "--formatter", "json"])).unwrap();
    assert_eq!(rows, json!([{"name": "a", "messages": 0}, {"name": "b", "messages": 0}]));
    assert_eq!(ctl(&api, &["list_queues", "name", "-q", "--formatter", "csv"]), "\"name\"\n\"a\"\n\"b\"\n");
    assert_eq!(ctl(&api, &["list_queues", "name,messages", "-s", "--local"]), "a\t0\nb\t0\n");
    assert_eq!(ctl(&api, &["list_queues", "name", "-s", "--offline"]), "");
    check_fails(&api, &["list_queues", "Foo"], 64, "Info key(s) Foo are not supported");
    check_fails(&api, &["list_queues", "nmae"], 64, "Info key(s) nmae are not supported");
    let deleted = "Queue was successfully deleted with 0 ready messages\n";
    assert_eq!(ctl(&api, &["delete_queue", "-q", "a", "--if-empty", "--if-unused"]), deleted);
    check_fails(&api, &["delete_queue", "a"], 64, "Queue not found");
    let message = json!({"properties": {}, "routing_key": "b", "payload": "x", "payload_encoding": "string"});
    check(api.post("exchanges/%2F/amq.default/publish", &message), 200);
    check_fails(&api, &["delete_queue", "b", "--if-empty"], 69, "not empty");
    assert_eq!(ctl(&api, &["purge_queue", "-q", "b"]), "");
    assert_eq!(ctl(&api, &["list_queues", "-q", "messages"]), "messages\n0\n");
    assert_eq!(ctl(&api, &["list_queues", "-s", "name"]), "b\n");
}

#[test]
fn users_and_permissions() {
    let api = Served::start();
    ctl(&api, &["add_user", "u", "p"]);
    check_fails(&api, &["add_user", "u", "p"], 70, "User \"u\" already exists");
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
    check_fails(&api, &["change_password", "u", "x"], 67, "User \"u\" does not exist");
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
    check_fails(&api, &["set_policy", "p", "^q", "x"], 69, "Could not parse JSON document");
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
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let says = ctl(&other, &["import_definitions", file.to_str().unwrap()]);
    assert!(says.ends_with(
        "Successfully started definition import. This process is asynchronous and can take some time.\n"
    ));
    assert_eq!(check(other.get("definitions"), 200).body, check(one.get("definitions"), 200).body);
}

#[test]
fn definitions_go_through_standard_input_and_output() {
    let one = Served::start();
    ctl(&one, &["add_vhost", "v"]);
    let exported = run(&one, &["export_definitions", "-"]).stdout;
    let other = Served::start();
    let mut child = command(&other, &["-q", "import_definitions", "--skip-if-unchanged"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&exported).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(ctl(&other, &["list_vhosts", "-s"]), "/\nv\n");
    // What rabbitmqctl exports of an operator policy.
    let policy = json!({"component": "operator_policy", "vhost": "/", "name": "o", "value": {
        "pattern": "^q", "priority": 1, "apply-to": "queues", "definition": [["message-ttl", 1000]]
    }});
    let mut child = command(&other, &["-q", "import_definitions"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(json!({"parameters": [policy]}).to_string().as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(ctl(&other, &["list_operator_policies", "-s"]), "/\to\t^q\tqueues\t{\"message-ttl\":1000}\t1\n");
    check_fails(&one, &["export_definitions", "-", "--format", "erlang"], 64, "--format json");
}

#[test]
fn arguments_and_bindings_are_printed_as_rabbitmqctl_prints_them() {
    let api = Served::start();
    let arguments = json!({"x-max-priority": 5, "x-dead-letter-exchange": "a\tb", "x-expires": 1_000_000});
    api.must_put("queues/%2F/q1", &json!({"durable": true, "arguments": arguments}));
    let printed = r#"[{"x-dead-letter-exchange","a\tb"},{"x-expires",1000000},{"x-max-priority",5},{"x-queue-type","classic"}]"#;
    let row = ctl(&api, &["-s", "list_queues", "name", "durable", "exclusive", "arguments", "policy", "state"]);
    assert_eq!(row, format!("q1\ttrue\tfalse\t{printed}\t\trunning\n"));
    let csv = ctl(&api, &["list_queues", "arguments", "--formatter", "csv"]);
    assert_eq!(csv, format!("\"arguments\"\n\"{}\"\n", printed.replace('"', "\"\"")));
    let body = json!({"routing_key": "a.#", "arguments": {"k": 1, "l": "s", "b": true, "t": {"u": 2}}});
    check(api.post("bindings/%2F/e/amq.topic/q/q1", &body), 201);
    assert_eq!(
        ctl(&api, &["list_bindings"]),
        "Listing bindings for vhost /...\n\
         source_name\tsource_kind\tdestination_name\tdestination_kind\trouting_key\targuments\n\
         \texchange\tq1\tqueue\tq1\t[]\n\
         amq.topic\texchange\tq1\tqueue\ta.#\t[{\"b\",true},{\"k\",1},{\"l\",\"s\"},{\"t\",[{\"u\",2}]}]\n"
    );
    let pretty = ctl(&api, &["-q", "list_queues", "name", "messages", "--formatter", "pretty_table"]);
    assert_eq!(
        pretty,
        "┌──────┬──────────┐\n│ name │ messages │\n├──────┼──────────┤\n│ q1   │ 0        │\n└──────┴──────────┘\n"
    );
}

#[test]
fn verbs_of_a_cluster_or_of_erlang_say_why_they_are_not_there() {
    let api = Served::start();
    check_fails(&api, &["join_cluster", "rabbit@other"], 69, "RingMQ is one node");
    check_fails(&api, &["eval", "1 + 1."], 69, "there is no Erlang runtime");
    check_fails(&api, &["stop_app"], 69, "one process");
    check_fails(&api, &["await_online_nodes", "2"], 75, "one node");
    ctl(&api, &["await_online_nodes", "1"]);
}

#[test]
fn the_password_may_be_in_a_file() {
    let api = Served::start();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "guest\nmore\n").unwrap();
    let path = file.path().to_str().unwrap();
    ctl(&api, &["ping", "--password", "wrong", "--password-file", path]);
    std::fs::write(file.path(), "other\n").unwrap();
    check_fails(&api, &["ping", "--password-file", path], 69, "Not_Authorized");
    check_fails(&api, &["ping", "--password-file", "/nosuch"], 74, "/nosuch: No such file");
}

#[test]
fn the_broker_is_reported() {
    let api = Served::start();
    api.must_put("queues/%2F/q", &json!({}));
    let (node, port) = (check(api.get("overview"), 200).body["node"].clone(), api.broker.address.port());
    let node = node.as_str().unwrap();
    let status = ctl(&api, &["status", "--unit", "mb"]);
    assert!(status.starts_with(&format!("Status of node {node} ...\nRuntime\n\nOS PID: ")), "{status}");
    let listener = format!("Interface: 127.0.0.1, port: {port}, protocol: amqp, purpose: AMQP 0-9-1\n");
    for part in ["RabbitMQ version: 4.0.5\n", "Queue count: 1\n", "Alarms\n\n(none)\n", &listener] {
        assert!(status.contains(part), "{part}: {status}");
    }
    let status: Value = serde_json::from_str(&ctl(&api, &["status", "--formatter", "json"])).unwrap();
    assert_eq!((&status["totals"]["queue_count"], &status["alarms"]), (&json!(1), &json!([])));
    assert!(status["pid"].is_number(), "{status}");
    assert!(ctl(&api, &["cluster_status"]).contains(&format!("Running Nodes\n\n{node}\n")));
    let cluster: Value = serde_json::from_str(&ctl(&api, &["cluster_status", "--formatter", "json"])).unwrap();
    assert_eq!(cluster["running_nodes"], json!([node]));
    let listeners: Value = serde_json::from_str(&ctl(&api, &["listeners", "--formatter", "json"])).unwrap();
    assert_eq!(listeners["listeners"][0]["port"], json!(port));
    let report = ctl(&api, &["report"]);
    for part in
        ["Reporting server status", "Listing users ...", "Listing queues for vhost / ...", "Listing policies"]
    {
        assert!(report.contains(part), "{part}: {report}");
    }
    assert!(!report.contains("password"), "{report}");
    let environment: Value = serde_json::from_str(&ctl(&api, &["-q", "environment"])).unwrap();
    assert_eq!(environment["ringmq"]["rabbitmq_version"], json!("4.0.5"));
    assert!(ctl(&api, &["memory_breakdown", "--unit", "bytes"]).contains(" bytes ("));
    assert!(ctl(&api, &["command_line_arguments", "-q"]).contains("--data-dir\n"));
    assert!(ctl(&api, &["tls_versions", "-q"]).starts_with("tlsv1.3\n"));
    assert!(ctl(&api, &["cipher_suites", "-q"]).contains("AES_256_GCM"));
    assert_eq!(ctl(&api, &["server_version", "-q"]), "4.0.5\n");
    check_fails(&api, &["ping", "--password", "wrong"], 69, "Not_Authorized");
    let attempts = ctl(&api, &["-q", "list_node_auth_attempt_stats"]);
    let titles =
        "protocol\tauth_attempts\tauth_attempts_failed\tauth_attempts_succeeded\namqp091\t0\t0\t0\nhttp\t";
    assert!(attempts.starts_with(titles), "{attempts}");
    assert_eq!(ctl(&api, &["-s", "list_node_auth_attempt_stats", "--by-source"]), "127.0.0.1\t1\t1\t0\n");
    ctl(&api, &["reset_node_auth_attempt_metrics"]);
    assert_eq!(ctl(&api, &["-s", "list_node_auth_attempt_stats", "--by-source"]), "");
}

#[test]
fn connections_are_closed_in_number() {
    let api = Served::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let uri = format!("amqp://guest:guest@{}/%2f", api.broker.address);
    runtime.block_on(async {
        let mut open = Vec::new();
        for _ in 0..3 {
            open.push(lapin::Connection::connect(&uri, Default::default()).await.unwrap());
        }
        let says = ctl(&api, &["-q", "close_all_connections", "--vhost", "nosuch", "reason"]);
        assert_eq!(says, "Closed 0 connections\n");
        let says = ctl(
            &api,
            &["-q", "close_all_connections", "--global", "--limit", "2", "--per-connection-delay", "1", "reason"],
        );
        assert_eq!(says, "Closed 2 connections\n");
    });
}

#[test]
fn shutdown_waits_until_the_broker_has_ended() {
    let mut api = Served::start();
    ctl(&api, &["reload"]);
    ctl(&api, &["ping"]);
    // The test is the broker's parent: it has to be waited for, or its process stays known.
    let child = command(&api, &["shutdown"]).spawn().unwrap();
    assert!(api.broker.wait().success());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    check_fails(&api, &["await_startup", "--timeout", "0"], 75, "timed out");
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
    check_fails(&api, &["redrive_messages", "a"], 69, "1 messages have no way back");
    check_fails(&api, &["move_messages", "a", "--to-exchange", "x", "--to-queue", "b"], 64, "cannot be used with");
    let ids = ctl(&api, &["-s", "list_delayed_messages", "x", "id"]);
    let ids: Vec<&str> = ids.lines().collect();
    assert_eq!(ids.len(), 3);
    ctl(&api, &["cancel_delayed_message", "x", ids[1]]);
    check_fails(&api, &["cancel_delayed_message", "x", ids[1]], 69, "Not Found");
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
    let node = check(api.get("overview"), 200).body["node"].as_str().unwrap().to_owned();
    assert_eq!(ctl(&api, &["ping", "-q"]), "Ping succeeded\n");
    assert_eq!(ctl(&api, &["ping", "--formatter", "json"]), "{\"message\":\"Ping succeeded\"}\n");
    assert_eq!(
        ctl(&api, &["check_running", "-q"]),
        format!("RabbitMQ on node {node} is fully booted and running\n")
    );
    assert_eq!(
        ctl(&api, &["check_local_alarms"]),
        format!(
            "Asking node {node} to report any local resource alarms ...\nNode {node} reported no local alarms\n"
        )
    );
    for check in [
        "check_alarms",
        "alarms",
        "is_running",
        "is_booting",
        "check_if_node_is_quorum_critical",
        "check_port_connectivity",
        "check_if_any_deprecated_features_are_used",
        "node_health_check",
        "await_online_quorum_plus_one",
    ] {
        ctl(&api, &[check]);
    }
    ctl(&api, &["check_protocol_listener", "amqp"]);
    check_fails(&api, &["check_protocol_listener", "mqtt"], 69, "No listener for protocol mqtt is active on node");
    check_fails(&api, &["check_port_listener", "1"], 69, "No listener for port 1 is active on node");
    check_fails(&api, &["check_port_listener", "x"], 65, "Argument must be a positive integer");
    check_fails(&api, &["check_certificate_expiration", "--unit", "foo"], 64, "unit 'foo' is not supported");
    check_fails(&api, &["status", "--password", "wrong"], 69, "Not_Authorized");
    // An address that nobody listens on.
    let unused = TcpListener::bind("127.0.0.2:0").unwrap();
    let away = unused.local_addr().unwrap().ip().to_string();
    drop(unused);
    check_fails(
        &api,
        &["check_port_connectivity", "--address", &away],
        69,
        "Connection attempts failed for ports",
    );
    api.broker.kill();
    check_fails(&api, &["ping"], 69, "unable to perform an operation");
}

#[test]
fn settings_of_a_broker_that_runs() {
    let api = Served::start();
    let node = check(api.get("overview"), 200).body["node"].as_str().unwrap().to_owned();
    let shows = |field: &str| check(api.get(&format!("nodes/{node}")), 200).body[field].as_u64().unwrap();
    let says = ctl(&api, &["set_disk_free_limit", "2GB"]);
    assert_eq!(says, format!("Setting disk free limit on {node} to 2GB bytes ...\n"));
    assert_eq!(shows("disk_free_limit"), 2_000_000_000);
    let says = ctl(&api, &["set_vm_memory_high_watermark", "0.5"]);
    assert_eq!(says, format!("Setting memory threshold on {node} to 0.5 ...\n"));
    let half = shows("mem_limit");
    let says = ctl(&api, &["set_disk_free_limit", "mem_relative", "1.5"]);
    assert_eq!(says, format!("Setting disk free limit on {node} to 1.5 times the total RAM ...\n"));
    assert_eq!(shows("disk_free_limit"), half * 3);
    let says = ctl(&api, &["set_vm_memory_high_watermark", "absolute", "1GiB"]);
    assert_eq!(says, format!("Setting memory threshold on {node} to 1GiB bytes ...\n"));
    assert_eq!(shows("mem_limit"), 1 << 30);
}

#[test]
fn the_log_level_is_that_of_everything_and_changes_are_audited() {
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("log");
    let api =
        Served::start_with(&["--set", &format!("log.file={}", file.display()), "--set", "log.file.level=error"]);
    ctl(&api, &["set_log_level", "none"]);
    api.must_put("vhosts/silent", &json!({}));
    ctl(&api, &["set_log_level", "info"]);
    api.must_put("vhosts/loud", &json!({}));
    let log = std::fs::read_to_string(&file).unwrap();
    assert!(log.contains("/api/vhosts/loud") && !log.contains("/api/vhosts/silent"), "{log}");
    assert!(log.contains("/log-level") && log.contains("administrative change"), "{log}");
}

#[test]
fn only_administrators_change_settings_and_only_sensibly() {
    let api = Served::start();
    api.must_put("users/mona", &json!({"password": "mona", "tags": "monitoring"}));
    let node = check(api.get("overview"), 200).body["node"].as_str().unwrap().to_owned();
    let body = json!({"absolute": "1GB"});
    for setting in ["disk-free-limit", "vm-memory-high-watermark"] {
        let path = format!("nodes/{node}/{setting}");
        check(api.as_user("mona", "mona").put(&path, &body), 401);
        check(api.put(&format!("nodes/nosuch/{setting}"), &body), 404);
        for refused in [
            json!({}),
            json!({"absolute": "much"}),
            json!({"absolute": 1, "relative": 0.5}),
            json!({"relative": -1}),
        ] {
            check(api.put(&path, &refused), 400);
        }
        check(api.put(&path, &body), 204);
    }
    let path = format!("nodes/{node}/log-level");
    check(api.as_user("mona", "mona").put(&path, &json!({"level": "debug"})), 401);
    check(api.put(&path, &json!({"level": "loud"})), 400);
}

//! What watches a broker finds what it asks for: RabbitMQ's dashboard, the dashboard and the rules in deploy/, promtool.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use serde_json::Value;

use crate::harness::Served;
use crate::metrics::{check_line, scrape};

/// What the expressions of RabbitMQ's dashboard RabbitMQ-Overview name: metrics, and the labels by which it filters and draws.
const OVERVIEW: &[(&str, &[&str])] = &[
    ("rabbitmq_identity_info", &["rabbitmq_node", "rabbitmq_cluster", "rabbitmq_endpoint"]),
    ("rabbitmq_build_info", &["rabbitmq_version"]),
    ("rabbitmq_erlang_uptime_seconds", &[]),
    ("rabbitmq_queue_messages_ready", &[]),
    ("rabbitmq_queue_messages_unacked", &[]),
    ("rabbitmq_queues", &[]),
    ("rabbitmq_queues_declared_total", &[]),
    ("rabbitmq_queues_created_total", &[]),
    ("rabbitmq_queues_deleted_total", &[]),
    ("rabbitmq_connections", &[]),
    ("rabbitmq_connections_opened_total", &[]),
    ("rabbitmq_connections_closed_total", &[]),
    ("rabbitmq_channels", &[]),
    ("rabbitmq_channels_opened_total", &[]),
    ("rabbitmq_channels_closed_total", &[]),
    ("rabbitmq_global_publishers", &["protocol"]),
    ("rabbitmq_global_consumers", &["protocol"]),
    ("rabbitmq_global_messages_received_total", &["protocol"]),
    ("rabbitmq_global_messages_received_confirm_total", &["protocol"]),
    ("rabbitmq_global_messages_confirmed_total", &["protocol"]),
    ("rabbitmq_global_messages_routed_total", &["protocol"]),
    ("rabbitmq_global_messages_unroutable_dropped_total", &["protocol"]),
    ("rabbitmq_global_messages_unroutable_returned_total", &["protocol"]),
    ("rabbitmq_global_messages_delivered_total", &["protocol", "queue_type"]),
    ("rabbitmq_global_messages_delivered_consume_auto_ack_total", &["protocol", "queue_type"]),
    ("rabbitmq_global_messages_delivered_consume_manual_ack_total", &["protocol", "queue_type"]),
    ("rabbitmq_global_messages_delivered_get_auto_ack_total", &["protocol", "queue_type"]),
    ("rabbitmq_global_messages_delivered_get_manual_ack_total", &["protocol", "queue_type"]),
    ("rabbitmq_global_messages_get_empty_total", &["protocol", "queue_type"]),
    ("rabbitmq_global_messages_redelivered_total", &["protocol", "queue_type"]),
    ("rabbitmq_global_messages_acknowledged_total", &["protocol", "queue_type"]),
    ("rabbitmq_message_size_bytes_bucket", &["protocol", "le"]),
    ("rabbitmq_process_resident_memory_bytes", &[]),
    ("rabbitmq_resident_memory_limit_bytes", &[]),
    ("rabbitmq_disk_space_available_bytes", &[]),
    ("rabbitmq_disk_space_available_limit_bytes", &[]),
    ("rabbitmq_process_open_fds", &[]),
    ("rabbitmq_process_max_fds", &[]),
    // Editions of the dashboard for releases before 3.9.
    ("rabbitmq_channel_consumers", &[]),
    ("rabbitmq_channel_messages_published_total", &[]),
    ("rabbitmq_channel_messages_confirmed_total", &[]),
    ("rabbitmq_channel_messages_unconfirmed", &[]),
    ("rabbitmq_channel_messages_unroutable_returned_total", &[]),
    ("rabbitmq_channel_messages_unroutable_dropped_total", &[]),
    ("rabbitmq_channel_messages_delivered_total", &[]),
    ("rabbitmq_channel_messages_delivered_ack_total", &[]),
    ("rabbitmq_channel_messages_redelivered_total", &[]),
    ("rabbitmq_channel_messages_acked_total", &[]),
    ("rabbitmq_channel_get_total", &[]),
    ("rabbitmq_channel_get_ack_total", &[]),
    ("rabbitmq_channel_get_empty_total", &[]),
    ("rabbitmq_queue_messages_published_total", &[]),
];

/// Names in expressions that are labels.
const LABELS: [&str; 3] = ["rabbitmq_node", "rabbitmq_cluster", "rabbitmq_endpoint"];

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(file)
}

/// The metrics of a text, by name.
fn names(text: &str) -> BTreeSet<&str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split([' ', '{']).next()).collect()
}

/// The metrics of a text and of its objects that an expression could name, in it and not in the text.
fn unknown(expression: &str, known: &BTreeSet<&str>) -> Vec<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let metrics = words.filter(|word| word.starts_with("rabbitmq_") || word.starts_with("ringmq_"));
    let unknown = metrics.filter(|word| !LABELS.contains(word) && !known.contains(word));
    unknown.map(ToOwned::to_owned).collect()
}

/// All strings under a key, wherever they are.
fn strings<'a>(json: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match json {
        Value::Object(fields) => {
            found.extend(fields.get(key).and_then(Value::as_str));
            fields.values().for_each(|value| strings(value, key, found));
        }
        Value::Array(values) => values.iter().for_each(|value| strings(value, key, found)),
        _ => {}
    }
}

/// Publishes with confirms, takes one message, leaves one unacknowledged and one ready.
async fn traffic(api: &Served) -> Connection {
    let address = format!("amqp://{}/%2f", api.broker.address);
    let connection = Connection::connect(&address, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare("q".into(), durable, FieldTable::default()).await.unwrap();
    let properties = BasicProperties::default().with_delivery_mode(2);
    for body in ["one", "two", "three"] {
        let options = BasicPublishOptions::default();
        let publish = channel.basic_publish("".into(), "q".into(), options, body.as_bytes(), properties.clone());
        publish.await.unwrap().await.unwrap();
    }
    let got = channel.basic_get("q".into(), BasicGetOptions::default()).await.unwrap().unwrap();
    got.ack(BasicAckOptions::default()).await.unwrap();
    channel.basic_get("q".into(), BasicGetOptions::default()).await.unwrap().unwrap();
    // Answered after the acknowledgement has been counted.
    channel.queue_declare("q".into(), durable, FieldTable::default()).await.unwrap();
    connection
}

fn after_traffic(test: impl FnOnce(&Served)) {
    let api = Served::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connection = runtime.block_on(traffic(&api));
    test(&api);
    drop(connection);
}

#[test]
fn rabbitmqs_overview_dashboard_finds_every_metric_and_label() {
    after_traffic(|api| {
        let text = scrape(api, "/metrics");
        for (metric, labels) in OVERVIEW {
            let mut series = text.lines().filter(|line| line.split([' ', '{']).next() == Some(metric));
            let line = series.next().unwrap_or_else(|| panic!("no {metric} in\n{text}"));
            for label in *labels {
                assert!(line.contains(&format!("{label}=\"")), "no label {label} in {line}");
            }
        }
    });
}

#[test]
fn traffic_is_counted_in_distributions_and_sums() {
    after_traffic(|api| {
        let text = scrape(api, "/metrics");
        for line in [
            "rabbitmq_global_messages_confirmed_total{protocol=\"amqp091\"} 3",
            "rabbitmq_channel_messages_published_total 3",
            "rabbitmq_queue_messages_published_total 3",
            "rabbitmq_queue_get_ack_total 2",
            "rabbitmq_queue_messages_acked_total 1",
            "rabbitmq_queue_messages 2",
            "rabbitmq_auth_attempts_succeeded_total{protocol=\"amqp091\"} 1",
            "rabbitmq_message_size_bytes_sum{protocol=\"amqp091\"} 11",
            "ringmq_confirm_latency_seconds_count 3",
            "ringmq_queue_wait_seconds_count 2",
        ] {
            check_line(&text, line);
        }
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
        };
        let syncs = value("ringmq_log_sync_latency_seconds_count");
        assert!(syncs >= 3.0, "each message was confirmed before the next one came: {syncs} syncs");
        assert_eq!(value("ringmq_log_batch_records_count"), syncs);
        assert!(value("ringmq_log_batch_records_sum") >= 3.0, "{text}");
        assert!(value("ringmq_confirm_latency_seconds_sum") > value("ringmq_log_sync_latency_seconds_sum") / 2.0);
        assert!(value("ringmq_queue_oldest_message_seconds") > 0.0, "{text}");
        assert!(value("ringmq_shard_busy_seconds_total{shard=\"0\"}") > 0.0, "{text}");
        let text = scrape(api, "/metrics/per-object");
        let oldest = "ringmq_queue_oldest_message_seconds{vhost=\"/\",queue=\"q\"} ";
        let age = text.lines().find_map(|line| line.strip_prefix(oldest)).expect("the queue has a message");
        assert!(age.parse::<f64>().unwrap() > 0.0, "{age}");
        assert!(text.contains("rabbitmq_endpoint=\"per-object\""), "{text}");
    });
}

#[test]
fn ages_of_messages_survive_a_restart_as_the_time_since_the_start() {
    let mut api = Served::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    drop(runtime.block_on(traffic(&api)));
    api.crash();
    let text = scrape(&api, "/metrics");
    // The acknowledgement may not have reached the disk.
    let ready = ["rabbitmq_queue_messages_ready 2", "rabbitmq_queue_messages_ready 3"];
    assert!(text.lines().any(|line| ready.contains(&line)), "{text}");
    let age = text.lines().find_map(|line| line.strip_prefix("ringmq_queue_oldest_message_seconds ")).unwrap();
    assert!((0.0..600.0).contains(&age.parse::<f64>().unwrap()), "{age}");
}

#[test]
fn our_dashboard_and_rules_name_metrics_that_exist() {
    after_traffic(|api| {
        let text = scrape(api, "/metrics");
        let known = names(&text);
        let dashboard: Value =
            serde_json::from_str(&fs::read_to_string(deploy("grafana/ringmq.json")).unwrap()).unwrap();
        let panels = dashboard["panels"].as_array().unwrap();
        let mut ids = BTreeSet::new();
        for panel in panels {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
            assert!(panel["gridPos"]["w"].as_u64().unwrap() <= 24, "{panel}");
            let targets = panel["targets"].as_array().map_or(0, Vec::len);
            assert!(panel["type"] == "row" || targets > 0, "{panel}");
        }
        let mut expressions = Vec::new();
        strings(&dashboard, "expr", &mut expressions);
        strings(&dashboard, "definition", &mut expressions);
        assert!(expressions.len() > panels.len(), "every panel has an expression");
        let rules = fs::read_to_string(deploy("prometheus/ringmq-alerts.yml")).unwrap();
        for expression in expressions.into_iter().chain([&*rules]) {
            assert_eq!(unknown(expression, &known), [""; 0], "{expression}");
        }
        assert_eq!(unknown("rate(rabbitmq_queue[1m])", &known), ["rabbitmq_queue"]);
    });
}

/// Runs promtool, with `input` on its standard input. `None` if there is none here, which is said.
fn promtool(arguments: &[&str], input: &str) -> Option<(bool, String)> {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("skipped: promtool (Debian's package prometheus) cannot be started: {error}");
            return None;
        }
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8(text).unwrap()))
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    after_traffic(|api| {
        let detailed = "/metrics/detailed?family=queue_coarse_metrics&family=queue_metrics&family=queue_consumer_count\
                        &family=channel_metrics&family=connection_metrics&family=exchange_bindings&family=node_metrics";
        for path in ["/metrics", "/metrics/per-object", detailed] {
            let text = scrape(api, path);
            let Some((_, said)) = promtool(&["check", "metrics"], &text) else { return };
            // It also says that gauges of counts should not be called `count`, and the like; those names are RabbitMQ's.
            let ours: Vec<_> = said.lines().filter(|line| !line.starts_with("rabbitmq_")).collect();
            assert_eq!(ours, [""; 0], "{path}");
        }
        let broken = promtool(&["check", "metrics"], "ringmq_turns_total 1\nringmq_turns_total 1\n");
        assert!(broken.is_some_and(|(passed, _)| !passed), "promtool finds what is wrong");
    });
}

#[test]
fn promtool_finds_nothing_wrong_with_configuration_and_rules() {
    let file = |name: &str| deploy(&format!("prometheus/{name}")).display().to_string();
    let checks: [&[&str]; 3] = [
        &["check", "config", &file("prometheus.yml")],
        &["check", "rules", "--lint-fatal", &file("ringmq-alerts.yml")],
        &["test", "rules", &file("ringmq-alerts-test.yml")],
    ];
    for check in checks {
        if let Some((passed, said)) = promtool(check, "") {
            assert!(passed, "{check:?}: {said}");
        }
    }
}

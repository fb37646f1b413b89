//! docs/metrics.md, made from the tables of metrics.

use std::fmt::Write as _;

use super::families::{self, Family, Kind, Labels};
use super::histograms::DISTRIBUTIONS;
use super::objects::ObjectFamily;
use super::{BUILD_INFO, IDENTITY_INFO, OLDEST};

const INTRODUCTION: &str = "\
# Metrics

RingMQ serves Prometheus' text format on port 15692 (`--metrics`), to everybody who can reach it, as RabbitMQ does. Where RabbitMQ has a metric of the
same meaning, the name is RabbitMQ's; what RabbitMQ does not have begins with `ringmq_`.

| path | what |
| --- | --- |
| `/metrics` | the whole broker: some 220 series in 30 kB, however many queues there are |
| `/metrics/per-object` | queues, connections and channels one by one, and the rest as in `/metrics` |
| `/metrics/detailed?family=F&family=G&vhost=V` | the families that are named, of the virtual hosts that are named; names begin with `rabbitmq_detailed_` |

Dashboards join on `rabbitmq_identity_info`. Its label `rabbitmq_endpoint` says which of the three paths was read.

Counters begin at 0 with the process. Bounds of histograms do not change from release to release. Numbers are copied from the shards when they are
asked for: a shard counts in plain memory, and adds its queues up in slices of 8192 between which it does its other work.

deploy/grafana/ringmq.json is a dashboard, deploy/prometheus has a configuration of Prometheus and alert rules. RabbitMQ's dashboard
RabbitMQ-Overview (10991) works too: every panel has values. A panel about clusters shows one node. Editions of that dashboard from before RabbitMQ 4
join on the label `instance` alone, which has to be of one job then: leave out the job `ringmq-queues`, or give its targets another `instance`.

This page is made from the code.

";

const MEANINGS: &str = "
### What the distributions tell

- **Confirm latency** begins when the message has been read from the socket and ends when its `basic.ack` is handed to the socket. It has the wait
  for the disk, and for queues on other cores; it does not have the network or the client.
- **Queue wait** is counted when a queue first delivers a message (or `basic.get` takes it), from the time at which it was published, dead-lettered or
  released by a delaying exchange, across restarts. Redeliveries and streams are not counted.
- **Batches**: everything that comes while one fdatasync runs goes to disk with the next. Few records per batch at a high rate of syncs means that
  publishers wait for each confirm.
- `rate(ringmq_log_written_bytes_total[5m]) / rate(rabbitmq_message_size_bytes_sum[5m])` is bytes written per byte received.
- `rate(ringmq_shard_busy_seconds_total[1m])` is the utilisation of a shard's loop: at 1 its core is the limit.
- **Age of the oldest message**: of those that are ready. Where the oldest one would have to be read from disk, the time of the message before it stands in
  for it; after a restart, until something is read, the time of the start. 0 without a message. Unacknowledged messages do not count.

";

/// RabbitMQ's metrics that have no counterpart, and why.
const MISSING: &[(&str, &str)] = &[
    ("`erlang_*`, `rabbitmq_erlang_*` but the uptime, `*_process_reductions_total`", "there is no Erlang"),
    ("`rabbitmq_raft_*`, `rabbitmq_unreachable_cluster_peers_count`", "there is one node"),
    (
        "`rabbitmq_schema_db_*`, `rabbitmq_msg_store_*`, `rabbitmq_queue_index_*`",
        "parts that RingMQ does not have",
    ),
    ("`rabbitmq_io_read_*`, `rabbitmq_io_seek_*`, `rabbitmq_io_reopen_*`", "files are read through mappings"),
    (
        "`rabbitmq_queue_*_ram`, `*_paged_out`, `*_persistent`, `rabbitmq_queue_disk_*`, `rabbitmq_queue_process_memory_bytes`",
        "queues hold no messages of their own",
    ),
    (
        "`rabbitmq_queue_*_bytes`, `rabbitmq_queue_head_message_timestamp`, `rabbitmq_queue_consumer_capacity`",
        "not counted; see `ringmq_queue_oldest_message_seconds`",
    ),
    (
        "`rabbitmq_channel_messages_uncommitted`, `rabbitmq_channel_prefetch`, `rabbitmq_consumer_prefetch`",
        "per object only",
    ),
    (
        "`rabbitmq_process_open_tcp_sockets`, `rabbitmq_process_max_tcp_sockets`",
        "RabbitMQ 4 has them no more: sockets are files",
    ),
    (
        "label `exchange` of metrics of channels, metrics of single exchanges",
        "not counted: a message would pay for it",
    ),
    ("`rabbitmq_alarms_file_descriptor_limit`", "there is no such alarm: connections beyond the limit wait"),
    ("`protocol=\"amqp10\"`, `mqtt`, `stream`", "other protocols are not served"),
    (
        "label `queue_type` other than `rabbit_classic_queue`",
        "quorum queues and streams are counted there too, but in metrics of dead letters",
    ),
    ("`/metrics/memory-breakdown`", "it describes an Erlang node"),
];

/// The page.
#[must_use]
pub fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("## The whole broker\n\n| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n");
    let labels = "rabbitmq_node, rabbitmq_cluster, rabbitmq_endpoint";
    row(&mut page, IDENTITY_INFO, "gauge", labels);
    row(&mut page, BUILD_INFO, "gauge", "rabbitmq_version, ringmq_version, product_name, product_version");
    families(&mut page, families::BROKER, "");
    families(&mut page, families::LOGINS, "protocol");
    families(&mut page, families::PROCESS, "");
    families(&mut page, families::LIMITS, "");
    row(&mut page, OLDEST, "gauge", "");
    page.push_str("\n## Per shard\n\n| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n");
    families(&mut page, families::SHARD, "shard");
    page.push_str("\n## Histograms\n\n| metric | labels | bounds | meaning |\n| --- | --- | --- | --- |\n");
    for of in &DISTRIBUTIONS {
        let bounds: Vec<String> = of.upper_bounds().map(|bound| bound.to_string()).collect();
        line(&mut page, [of.name, &values(of.labels), &bounds.join(", "), of.help]);
    }
    page.push_str(MEANINGS);
    page.push_str("## Object by object\n\nUnder `rabbitmq_` in `/metrics/per-object`, under `rabbitmq_detailed_` in `/metrics/detailed`. Connections and channels are labelled with their\nnames, where RabbitMQ has the identifiers of Erlang processes.\n\n");
    page.push_str("| family | metric | type | labels | meaning |\n| --- | --- | --- | --- | --- |\n");
    for (name, family) in ObjectFamily::NAMED {
        let star = if ObjectFamily::PER_OBJECT.contains(&family) { "" } else { " (detailed only)" };
        let (metrics, labels) = family.metrics();
        for (metric, kind, help) in metrics {
            let _ = writeln!(page, "| {name}{star} | `{metric}` | {kind} | {labels} | {help} |");
        }
    }
    page.push_str("\n`/metrics/detailed` also has these metrics of the whole broker:\n\n| family | metrics |\n| --- | --- |\n");
    for (name, metrics) in families::DETAILED {
        let metrics: Vec<_> =
            metrics.iter().map(|name| format!("`{}`", name.trim_start_matches("rabbitmq_"))).collect();
        let _ = writeln!(page, "| {name} | {} |", metrics.join(", "));
    }
    page.push_str("\n## What RabbitMQ has and RingMQ has not\n\n| metric | why |\n| --- | --- |\n");
    for (metric, reason) in MISSING {
        let _ = writeln!(page, "| {metric} | {reason} |");
    }
    page
}

fn families<T>(page: &mut String, families: &[Family<T>], more: &str) {
    for of in families {
        let kind = match of.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let labels = if more.is_empty() { values(of.labels) } else { more.to_owned() };
        row(page, (of.name, of.help), kind, &labels);
    }
}

fn row(page: &mut String, (name, help): (&str, &str), kind: &str, labels: &str) {
    line(page, [name, kind, labels, help]);
}

fn line(page: &mut String, [name, second, third, help]: [&str; 4]) {
    // Writing to a string does not fail.
    let _ = writeln!(page, "| `{name}` | {second} | {third} | {help} |");
}

fn values(labels: Labels) -> String {
    let pairs: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(", ")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn metrics_page_is_up_to_date() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
        let page = reference();
        if fs::read_to_string(&path).unwrap_or_default() != page {
            fs::write(&path, page).unwrap();
            panic!("docs/metrics.md was out of date and has been written anew");
        }
    }
}

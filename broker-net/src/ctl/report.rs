//! Verbs that say what the broker is and has.

use std::env::consts::OS;
use std::fs;

use serde_json::{Value, json};
use ureq::http::Method;

use super::Options;
use super::client::{Client, quote, refused};
use super::failure::Failure;
use super::list;
use super::output::Printer;
use super::verb::{Unit, Verb};

/// The version of RabbitMQ whose verbs these are.
const RABBITMQ_VERSION: &str = "4.0.5";

/// Carries out a verb that reports something; gives back any other.
pub(super) fn execute(
    client: &Client,
    printer: &mut Printer,
    options: &Options,
    verb: Verb,
) -> Result<Option<Verb>, Failure> {
    match verb {
        Verb::Version => printer.line(RABBITMQ_VERSION)?,
        Verb::Status { unit } => status(client, printer, &unit)?,
        Verb::ClusterStatus => cluster_status(client, printer)?,
        Verb::Report => report(client, printer, options)?,
        Verb::Environment => environment(client, printer)?,
        Verb::Listeners => {
            let overview = client.get("/overview")?;
            let node = text(&overview["node"]);
            printer.say(&format!("Asking node {node} to report its protocol listeners ..."))?;
            if printer.is_json() {
                let report = json!({"listeners": listeners(&overview), "node": node, "result": "ok"});
                printer.line(&report.to_string())?;
            } else {
                print_listeners(printer, &overview, "")?;
            }
        }
        Verb::MemoryBreakdown { unit } => {
            let node = Broker::ask(client)?.node;
            printer.say(&format!("Reporting memory breakdown on node {}...", text(&node["name"])))?;
            memory_breakdown(client, printer, &node, &unit)?;
        }
        Verb::QuorumStatus { queue } => quorum_status(client, printer, options, &queue)?,
        Verb::ListNodeAuthAttemptStats { by_source } => attempts(client, printer, by_source)?,
        Verb::ResetNodeAuthAttemptMetrics => {
            let node = text(&client.get("/overview?columns=node")?["node"]);
            printer.say(&format!("Resetting auth attempt metrics on node {node} ..."))?;
            client.delete(&format!("/auth/attempts/{}", quote(&node)))?;
        }
        other => return facts(client, printer, other),
    }
    Ok(None)
}

/// Attempts to log in, by protocol or by the address that they came from.
fn attempts(client: &Client, printer: &mut Printer, by_source: bool) -> Result<(), Failure> {
    let node = text(&client.get("/overview?columns=node")?["node"]);
    printer.say(&format!("Listing authentication\n attempts for node \"{node}\" ..."))?;
    let (source, by) = if by_source { ("/source", "remote_address") } else { ("", "protocol") };
    let rows = client.get(&format!("/auth/attempts/{}{source}", quote(&node)))?;
    let columns = [by, "auth_attempts", "auth_attempts_failed", "auth_attempts_succeeded"];
    let row = |row: &Value| columns.iter().map(|column| row[column].clone()).collect();
    let rows: Vec<Vec<Value>> = rows.as_array().into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        printer.nothing()?;
    }
    Ok(printer.table(&columns.map(str::to_owned), &rows)?)
}

/// Single facts.
fn facts(client: &Client, printer: &mut Printer, verb: Verb) -> Result<Option<Verb>, Failure> {
    match verb {
        Verb::ServerVersion => {
            let overview = client.get("/overview")?;
            printer.say(&format!("Asking node {} for its RabbitMQ version...", text(&overview["node"])))?;
            printer.line(&text(&overview["rabbitmq_version"]))?;
        }
        Verb::LogLocation => {
            let node = Broker::ask(client)?.node;
            printer
                .say(&format!("Node {} is configured to use the following log file(s):", text(&node["name"])))?;
            for file in strings(&node["log_files"]) {
                printer.line(file)?;
            }
        }
        Verb::TlsVersions => {
            printer.say("Listing all TLS versions that the broker speaks ...")?;
            ["tlsv1.3", "tlsv1.2"].iter().try_for_each(|version| printer.line(version))?;
        }
        Verb::CipherSuites => {
            printer.say("Listing all cipher suites that the broker speaks ...")?;
            let suites = rustls::crypto::ring::default_provider().cipher_suites;
            let mut names = suites.iter().filter_map(|suite| suite.suite().as_str());
            names.try_for_each(|name| printer.line(name))?;
        }
        Verb::OsEnv => {
            let pid = text(&Broker::ask(client)?.node["os_pid"]);
            printer.say(&format!("Listing RingMQ-specific environment variables of OS PID {pid} ..."))?;
            let variables = fs::read(format!("/proc/{pid}/environ"))?;
            for variable in separated(&variables).filter(|variable| variable.starts_with("RINGMQ_")) {
                let (name, value) = variable.split_once('=').unwrap_or((&variable, ""));
                let secret = name.contains("PASS") || name == "RINGMQ_SET";
                printer.line(&format!("{name}={}", if secret { "[hidden]" } else { value }))?;
            }
        }
        Verb::CommandLineArguments => {
            let pid = text(&Broker::ask(client)?.node["os_pid"]);
            printer.say(&format!("Listing command line arguments of OS PID {pid} ..."))?;
            let arguments = fs::read(format!("/proc/{pid}/cmdline"))?;
            separated(&arguments).try_for_each(|argument| printer.line(&argument))?;
        }
        Verb::DiskInfo => {
            let node = Broker::ask(client)?.node;
            printer.say("Asking for free space on the disk of the data directory ...")?;
            printer.line(&format!("{}: {} bytes free", text(&node["db_dir"]), text(&node["disk_free"])))?;
        }
        other => return Ok(Some(other)),
    }
    Ok(None)
}

/// What `/proc` separates by zeros.
fn separated(bytes: &[u8]) -> impl Iterator<Item = String> {
    let parts = bytes.split(|byte| *byte == 0).filter(|part| !part.is_empty());
    parts.map(|part| String::from_utf8_lossy(part).into_owned())
}

/// What two requests tell.
struct Broker {
    overview: Value,
    node: Value,
}

impl Broker {
    fn ask(client: &Client) -> Result<Self, Failure> {
        let overview = client.get("/overview")?;
        let node = client.get(&format!("/nodes/{}", quote(overview["node"].as_str().unwrap_or_default())))?;
        Ok(Self { overview, node })
    }

    fn alarms(&self) -> Vec<&'static str> {
        let alarm = |field: &str, says| (self.node[field] == true).then_some(says);
        [alarm("mem_alarm", "Memory alarm"), alarm("disk_free_alarm", "Free disk space alarm")]
            .into_iter()
            .flatten()
            .collect()
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

impl Unit {
    /// Bytes in this unit, rounded as rabbitmqctl rounds.
    fn shown(&self, bytes: &Value) -> Result<String, Failure> {
        let bytes = bytes.as_f64().unwrap_or_default();
        let divisor = match self.unit.to_lowercase().as_str() {
            "bytes" => return Ok(format!("{bytes:.0} bytes")),
            "kb" => 1e3,
            "mb" => 1e6,
            "gb" => 1e9,
            "tb" => 1e12,
            other => {
                return Err(Failure::Usage(format!(
                    "unit '{other}' is not supported. Please use one of: bytes, kb, mb, gb, tb"
                )));
            }
        };
        let rounded = (bytes / divisor * 1e4).round() / 1e4;
        Ok(format!("{rounded:?} {}", self.unit))
    }
}

fn heading(printer: &mut Printer, title: &str) -> std::io::Result<()> {
    printer.line(&format!("\n{title}\n"))
}

/// One item to a line, or a word that there is none.
fn bullets<'a>(printer: &mut Printer, items: impl Iterator<Item = &'a str>) -> std::io::Result<()> {
    let mut items = items.peekable();
    if items.peek().is_none() {
        return printer.line("(none)");
    }
    items.try_for_each(|item| printer.line(&format!(" * {item}")))
}

fn status(client: &Client, printer: &mut Printer, unit: &Unit) -> Result<(), Failure> {
    let broker = Broker::ask(client)?;
    let Broker { overview, node } = &broker;
    if printer.is_json() {
        return Ok(printer.line(&status_json(&broker).to_string())?);
    }
    printer.say(&format!("Status of node {} ...", text(&node["name"])))?;
    printer.line("Runtime\n")?;
    printer.line(&format!("OS PID: {}", text(&node["os_pid"])))?;
    printer.line(&format!("OS: {}", capital(OS)))?;
    printer.line(&format!("Uptime (seconds): {}", node["uptime"].as_u64().unwrap_or_default() / 1000))?;
    printer.line(&format!("Is under maintenance?: {}", text(&node["being_drained"])))?;
    printer.line(&format!("RabbitMQ version: {}", text(&overview["rabbitmq_version"])))?;
    let product = [&overview["product_name"], &overview["product_version"]].map(text);
    printer.line(&format!("{} version: {}", product[0], product[1]))?;
    printer.line(&format!("Node name: {}", text(&node["name"])))?;
    printer.line(&format!("Shards: {}", text(&node["processors"])))?;
    heading(printer, "Plugins")?;
    bullets(printer, strings(&node["enabled_plugins"]))?;
    heading(printer, "Data directory")?;
    printer.line(&format!("Node data directory: {}", text(&node["db_dir"])))?;
    heading(printer, "Config files")?;
    bullets(printer, strings(&node["config_files"]))?;
    heading(printer, "Log file(s)")?;
    bullets(printer, strings(&node["log_files"]))?;
    heading(printer, "Alarms")?;
    bullets(printer, broker.alarms().into_iter())?;
    heading(printer, "Memory")?;
    printer.line(&format!("Total memory used: {}", unit.shown(&node["mem_used"])?))?;
    printer.line(&format!("Memory high watermark computed to: {}", unit.shown(&node["mem_limit"])?))?;
    heading(printer, "File Descriptors")?;
    printer.line(&format!("Total: {}, limit: {}", text(&node["fd_used"]), text(&node["fd_total"])))?;
    heading(printer, "Free Disk Space")?;
    if node["disk_free_limit"].is_number() {
        printer.line(&format!("Low free disk space watermark: {}", unit.shown(&node["disk_free_limit"])?))?;
    }
    printer.line(&format!("Free disk space: {}", unit.shown(&node["disk_free"])?))?;
    heading(printer, "Totals")?;
    printer.line(&format!("Connection count: {}", text(&overview["object_totals"]["connections"])))?;
    printer.line(&format!("Queue count: {}", text(&overview["object_totals"]["queues"])))?;
    let vhosts = client.get("/vhosts?columns=name")?;
    printer.line(&format!("Virtual host count: {}", vhosts.as_array().map_or(0, Vec::len)))?;
    heading(printer, "Listeners")?;
    Ok(print_listeners(printer, overview, "")?)
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

fn status_json(broker: &Broker) -> Value {
    let Broker { overview, node } = broker;
    json!({
        "pid": node["os_pid"].as_str().and_then(|pid| pid.parse::<u64>().ok()),
        "os": capital(OS),
        "uptime": node["uptime"].as_u64().unwrap_or_default() / 1000,
        "is_under_maintenance": node["being_drained"],
        "product_name": overview["product_name"],
        "product_version": overview["product_version"],
        "rabbitmq_version": overview["rabbitmq_version"],
        "node": node["name"],
        "active_plugins": node["enabled_plugins"],
        "data_directory": node["db_dir"],
        "config_files": node["config_files"],
        "log_files": node["log_files"],
        "alarms": broker.alarms(),
        "memory": {"total": {"rss": node["mem_used"]}, "strategy": "rss"},
        "vm_memory_limit": node["mem_limit"],
        "disk_free": node["disk_free"],
        "disk_free_limit": node["disk_free_limit"],
        "file_descriptors": {"total_used": node["fd_used"], "total_limit": node["fd_total"]},
        "totals": {
            "connection_count": overview["object_totals"]["connections"],
            "queue_count": overview["object_totals"]["queues"],
        },
        "listeners": listeners(overview),
    })
}

fn cluster_status(client: &Client, printer: &mut Printer) -> Result<(), Failure> {
    let broker = Broker::ask(client)?;
    let Broker { overview, node } = &broker;
    let (name, shards) = (text(&node["name"]), text(&node["processors"]));
    if printer.is_json() {
        let report = json!({
            "cluster_name": overview["cluster_name"], "disk_nodes": [name], "ram_nodes": [], "running_nodes": [name],
            "partitions": {}, "alarms": broker.alarms(), "listeners": {&name: listeners(overview)},
            "versions": {&name: {"rabbitmq_version": overview["rabbitmq_version"]}}, "feature_flags": [],
            "maintenance_status": {&name: "not under maintenance"}, "cpu_cores": {&name: node["processors"]},
        });
        return Ok(printer.line(&report.to_string())?);
    }
    printer.say(&format!("Cluster status of node {name} ..."))?;
    printer.line(&format!("Basics\n\nCluster name: {}", text(&overview["cluster_name"])))?;
    printer.line(&format!("Total CPU cores available cluster-wide: {shards}"))?;
    heading(printer, "Disk Nodes")?;
    printer.line(&name)?;
    heading(printer, "Running Nodes")?;
    printer.line(&name)?;
    heading(printer, "Versions")?;
    printer.line(&format!("{name}: RabbitMQ {}", text(&overview["rabbitmq_version"])))?;
    heading(printer, "CPU Cores")?;
    printer.line(&format!("Node: {name}, available CPU cores: {shards}"))?;
    heading(printer, "Maintenance status")?;
    printer.line(&format!("Node: {name}, status: not under maintenance"))?;
    heading(printer, "Alarms")?;
    bullets(printer, broker.alarms().into_iter())?;
    heading(printer, "Network Partitions")?;
    printer.line("(none)")?;
    heading(printer, "Listeners")?;
    print_listeners(printer, overview, &format!("Node: {name}, "))?;
    heading(printer, "Feature flags")?;
    Ok(printer.line("(none)")?)
}

/// The listeners as rabbitmqctl describes them.
fn listeners(overview: &Value) -> Vec<Value> {
    let listener = |listener: &Value| {
        let protocol = listener["protocol"].as_str().unwrap_or_default();
        json!({
            "node": listener["node"],
            "interface": listener["ip_address"],
            "port": listener["port"],
            "protocol": protocol,
            "purpose": purpose(protocol),
        })
    };
    overview["listeners"].as_array().into_iter().flatten().map(listener).collect()
}

fn purpose(protocol: &str) -> &str {
    match protocol {
        "amqp" => "AMQP 0-9-1",
        "amqp/ssl" => "AMQP 0-9-1 over TLS",
        "http" => "HTTP API",
        "https" => "HTTP API over TLS",
        "http/prometheus" => "Prometheus exporter API over HTTP",
        other => other,
    }
}

fn print_listeners(printer: &mut Printer, overview: &Value, before: &str) -> std::io::Result<()> {
    let interface = if before.is_empty() { "Interface" } else { "interface" };
    listeners(overview).iter().try_for_each(|listener| {
        let [ip, port, protocol, purpose] =
            ["interface", "port", "protocol", "purpose"].map(|field| text(&listener[field]));
        printer.line(&format!("{before}{interface}: {ip}, port: {port}, protocol: {protocol}, purpose: {purpose}"))
    })
}

/// Parts where the API tells them, else what the process holds.
fn memory_breakdown(client: &Client, printer: &mut Printer, node: &Value, unit: &Unit) -> Result<(), Failure> {
    let path = format!("/nodes/{}/memory", quote(node["name"].as_str().unwrap_or_default()));
    let parts = client.get_if_there(&path)?;
    let parts = parts.as_ref().and_then(|answer| answer["memory"].as_object());
    let mut parts: Vec<(&str, &Value)> = match parts {
        Some(parts) => parts
            .iter()
            .filter(|(_, bytes)| bytes.is_number())
            .map(|(name, bytes)| (name.as_str(), bytes))
            .collect(),
        None => vec![("total", &node["mem_used"])],
    };
    let bytes = |value: &Value| value.as_f64().unwrap_or_default();
    parts.sort_by(|one, other| bytes(other.1).total_cmp(&bytes(one.1)));
    let total: f64 = parts.iter().map(|part| bytes(part.1)).sum();
    for (name, value) in parts {
        let percent = if total > 0.0 { (bytes(value) / total * 1e4).round() / 1e2 } else { 0.0 };
        printer.line(&format!("{name}: {} ({percent:?}%)", unit.shown(value)?))?;
    }
    Ok(())
}

fn quorum_status(client: &Client, printer: &mut Printer, options: &Options, queue: &str) -> Result<(), Failure> {
    let vhost = &options.vhost;
    let path = format!("/queues/{}/{}", quote(vhost), quote(queue));
    let (status, answer) = client.call(Method::GET, &path, None, None)?;
    if !status.is_success() {
        return Err(match status.as_u16() {
            404 => Failure::Data("Object (queue, stream, exchange, etc) was not found".to_owned()),
            _ => refused(status, &answer),
        });
    }
    let row: Value = serde_json::from_str(&answer).unwrap_or_default();
    printer.say(&format!("Status of {} queue {queue} on node {} ...", text(&row["type"]), text(&row["node"])))?;
    if row["type"] == "classic" {
        return Err(Failure::Refused("Operation is not supported for classic queues".to_owned()));
    }
    let columns = ["Node Name", "Raft State", "Membership"].map(str::to_owned);
    Ok(printer.table(&columns, &[vec![row["node"].clone(), "leader".into(), "voter".into()]])?)
}

/// What the broker runs with: facts of the process, and the configuration where the API tells it.
fn environment(client: &Client, printer: &mut Printer) -> Result<(), Failure> {
    let Broker { overview, node } = Broker::ask(client)?;
    printer.say(&format!("Application environment of node {} ...", text(&node["name"])))?;
    let config = client.get_if_there("/config/effective").ok().flatten();
    let environment = json!({
        "ringmq": {
            "version": overview["product_version"],
            "rabbitmq_version": overview["rabbitmq_version"],
            "data_dir": node["db_dir"],
            "shards": node["processors"],
            "config_files": node["config_files"],
            "log_files": node["log_files"],
            "vm_memory_limit": node["mem_limit"],
            "disk_free_limit": node["disk_free_limit"],
            "default_queue_type": overview["default_queue_type"],
            "listeners": listeners(&overview),
            "config": config,
        }
    });
    let shown = if printer.is_json() { environment.to_string() } else { format!("{environment:#}") };
    Ok(printer.line(&shown)?)
}

/// Status, and every listing in every virtual host.
fn report(client: &Client, printer: &mut Printer, options: &Options) -> Result<(), Failure> {
    let unit = Unit { unit: "gb".to_owned() };
    printer.line("Reporting server status\n")?;
    status(client, printer, &unit)?;
    printer.line("")?;
    cluster_status(client, printer)?;
    printer.line("")?;
    environment(client, printer)?;
    let none = Vec::new;
    let broker = [
        Verb::ListUsers,
        Verb::ListVhosts { columns: none() },
        Verb::ListConnections { columns: none() },
        Verb::ListChannels { columns: none() },
        Verb::ListUserLimits { user: String::new(), global: true },
        Verb::ListVhostLimits { global: true },
    ];
    for verb in broker {
        printer.line("")?;
        list::execute(client, printer, options, verb)?;
    }
    let vhosts = client.get("/vhosts?columns=name")?;
    for vhost in vhosts.as_array().into_iter().flatten() {
        let options = Options { vhost: text(&vhost["name"]), ..options.clone() };
        let columns = ["name", "type", "messages", "messages_unacknowledged", "consumers", "policy", "arguments"];
        let columns = columns.map(str::to_owned).to_vec();
        let verbs = [
            Verb::ListQueues { columns, online: false, offline: false, local: false },
            Verb::ListExchanges { columns: none() },
            Verb::ListBindings { columns: none() },
            Verb::ListConsumers { columns: none() },
            Verb::ListPermissions,
            Verb::ListPolicies,
            Verb::ListOperatorPolicies,
            Verb::ListParameters,
        ];
        for verb in verbs {
            printer.line("")?;
            list::execute(client, printer, &options, verb)?;
        }
    }
    Ok(())
}

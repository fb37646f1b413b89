//! Verbs that say how the broker is.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::Method;

use super::client::{Client, quote, refused};
use super::output::Printer;
use super::verb::Verb;
use super::{Failure, Options};

/// Time between two tries of `await_startup`.
const STARTUP_PAUSE: Duration = Duration::from_millis(200);

/// Carries out a verb that changes nothing.
pub(super) fn execute(
    client: &Client,
    printer: &mut Printer,
    options: &Options,
    verb: Verb,
) -> Result<(), Failure> {
    match verb {
        Verb::Status => status(client, printer),
        Verb::ClusterStatus => cluster_status(client, printer),
        Verb::AwaitStartup => await_startup(client, Duration::from_secs(options.timeout)),
        Verb::Ping => {
            client.get("/whoami")?;
            Ok(printer.say("Ping succeeded")?)
        }
        Verb::CheckRunning => {
            client.get("/whoami")?;
            Ok(printer.say("RingMQ is running")?)
        }
        Verb::CheckLocalAlarms | Verb::CheckAlarms => {
            check(client, printer, "/health/checks/alarms", "reported no alarms")
        }
        Verb::CheckVirtualHosts => {
            check(client, printer, "/health/checks/virtual-hosts", "all virtual hosts are up and running")
        }
        Verb::CheckPortListener { port } => {
            let says = format!("a listener for port {port} is running");
            check(client, printer, &format!("/health/checks/port-listener/{port}"), &says)
        }
        Verb::CheckProtocolListener { protocol } => {
            let says = format!("a listener for protocol {protocol} is running");
            check(client, printer, &format!("/health/checks/protocol-listener/{}", quote(&protocol)), &says)
        }
        Verb::Listeners => listeners(client, printer),
        Verb::ServerVersion => {
            let version = client.get("/version")?;
            Ok(printer.line(version.as_str().unwrap_or_default())?)
        }
        other => Err(Failure::Usage(format!("{other:?} is not a verb that can be carried out"))),
    }
}

/// 503 says what is wrong.
fn check(client: &Client, printer: &mut Printer, path: &str, says: &str) -> Result<(), Failure> {
    match client.call(Method::GET, path, None, None)? {
        (status, _) if status.is_success() => Ok(printer.say(says)?),
        (status, text) if status.is_server_error() => Err(Failure::Unhealthy(text)),
        (status, text) => Err(refused(status, &text)),
    }
}

fn await_startup(client: &Client, patience: Duration) -> Result<(), Failure> {
    let began = Instant::now();
    loop {
        match client.get("/whoami") {
            Err(Failure::Unavailable(_)) if began.elapsed() < patience => thread::sleep(STARTUP_PAUSE),
            result => return result.map(drop),
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn status(client: &Client, printer: &mut Printer) -> Result<(), Failure> {
    let overview = client.get("/overview")?;
    let node = client.get(&format!("/nodes/{}", quote(overview["node"].as_str().unwrap_or_default())))?;
    printer.say(&format!("Status of node {} ...", text(&node["name"])))?;
    let seconds = node["uptime"].as_u64().unwrap_or_default() / 1000;
    printer.line("Runtime\n")?;
    printer.line(&format!("OS PID: {}", text(&node["os_pid"])))?;
    printer.line(&format!("Uptime (seconds): {seconds}"))?;
    printer.line(&format!(
        "{} version: {}",
        text(&overview["product_name"]),
        text(&overview["product_version"])
    ))?;
    printer.line(&format!("RabbitMQ version: {}", text(&overview["rabbitmq_version"])))?;
    printer.line(&format!("Shards: {}", text(&node["processors"])))?;
    printer.line(&format!("\nData directory\n\nNode data directory: {}", text(&node["db_dir"])))?;
    printer.line("\nMemory\n")?;
    printer.line(&format!(
        "Total memory used: {} bytes of {}",
        text(&node["mem_used"]),
        text(&node["mem_limit"])
    ))?;
    printer.line("\nFree Disk Space\n")?;
    printer.line(&format!("Free disk space: {} bytes", text(&node["disk_free"])))?;
    printer.line("\nFile Descriptors\n")?;
    printer.line(&format!("Total: {}, limit: {}", text(&node["fd_used"]), text(&node["fd_total"])))?;
    printer.line("\nTotals\n")?;
    for (name, of) in [("connections", "Connection"), ("queues", "Queue"), ("channels", "Channel")] {
        printer.line(&format!("{of} count: {}", text(&overview["object_totals"][name])))?;
    }
    printer.line("\nListeners\n")?;
    listeners_of(&overview, printer)
}

fn cluster_status(client: &Client, printer: &mut Printer) -> Result<(), Failure> {
    let overview = client.get("/overview")?;
    printer.say(&format!("Cluster status of node {} ...", text(&overview["node"])))?;
    printer.line(&format!("Basics\n\nCluster name: {}", text(&overview["cluster_name"])))?;
    printer.line(&format!("\nDisk Nodes\n\n{0}\n\nRunning Nodes\n\n{0}", text(&overview["node"])))?;
    Ok(())
}

fn listeners(client: &Client, printer: &mut Printer) -> Result<(), Failure> {
    let overview = client.get("/overview")?;
    printer.say(&format!("Asking node {} to report its protocol listeners ...", text(&overview["node"])))?;
    listeners_of(&overview, printer)
}

fn listeners_of(overview: &Value, printer: &mut Printer) -> Result<(), Failure> {
    for listener in overview["listeners"].as_array().into_iter().flatten() {
        printer.line(&format!(
            "Interface: {}, port: {}, protocol: {}",
            text(&listener["ip_address"]),
            text(&listener["port"]),
            text(&listener["protocol"])
        ))?;
    }
    Ok(())
}

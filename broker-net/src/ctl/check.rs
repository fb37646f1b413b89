//! Verbs that say whether the broker is well. Exit code 69: it is not, or nobody answers.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::{Method, StatusCode};

use super::Options;
use super::client::{Client, quote, refused};
use super::failure::Failure;
use super::output::Printer;
use super::verb::Verb;

/// Time between two tries of `await_startup`.
const STARTUP_PAUSE: Duration = Duration::from_millis(200);

/// Carries out a verb that checks something.
pub(super) fn execute(
    client: &Client,
    printer: &mut Printer,
    options: &Options,
    verb: Verb,
) -> Result<(), Failure> {
    match verb {
        Verb::AwaitStartup => await_startup(client, Duration::from_secs(options.timeout)),
        Verb::AwaitOnlineNodes { count: 0..=1 } => await_startup(client, Duration::from_secs(options.timeout)),
        Verb::AwaitOnlineNodes { count } => {
            Err(Failure::TimedOut(format!("{count} nodes never run: RingMQ is one node")))
        }
        Verb::AwaitOnlineQuorumPlusOne => Ok(client.get("/whoami").map(drop)?),
        Verb::Ping => {
            let node = node(client)?;
            printer.say(&format!("Will ping {node}. Timeout: {} ms.", options.timeout * 1000))?;
            Ok(printer.message("Ping succeeded")?)
        }
        Verb::CheckRunning => {
            let node = node(client)?;
            printer.say(&format!("Checking if RabbitMQ is running on node {node} ..."))?;
            Ok(printer.message(&format!("RabbitMQ on node {node} is fully booted and running"))?)
        }
        Verb::IsBooting => {
            let node = node(client)?;
            printer.say(&format!("Asking node {node} for its boot status ..."))?;
            Ok(printer.message(&format!("RabbitMQ on node {node} is fully booted"))?)
        }
        Verb::CheckLocalAlarms => alarms(client, printer, "local resource", "no local alarms", true),
        Verb::CheckAlarms => alarms(client, printer, "local resource", "no alarms, local or clusterwide", true),
        Verb::Alarms => alarms(client, printer, "known resource", "no alarms, local or clusterwide", false),
        Verb::CheckVirtualHosts => virtual_hosts(client, printer),
        Verb::CheckPortConnectivity { address } => connectivity(client, printer, options, address),
        Verb::CheckPortListener { port } => port_listener(client, printer, &port),
        Verb::CheckProtocolListener { protocol } => protocol_listener(client, printer, &protocol),
        Verb::CheckCertificateExpiration { within, unit } => certificates(client, printer, within, &unit),
        other => trivial(client, printer, &other),
    }
}

/// The name of the node; the broker has answered.
pub(super) fn node(client: &Client) -> Result<String, Failure> {
    let overview = client.get("/overview?columns=node")?;
    Ok(overview["node"].as_str().unwrap_or_default().to_owned())
}

/// What is always so on one node.
fn trivial(client: &Client, printer: &mut Printer, verb: &Verb) -> Result<(), Failure> {
    let node = node(client)?;
    let (says, message) = match verb {
        Verb::CheckIfNodeIsQuorumCritical => (
            format!("Checking if node {node} is critical for quorum of any queues/streams ..."),
            format!("Node {node} seems to be the only one in a single node cluster, the check does not apply"),
        ),
        Verb::CheckIfNodeIsMirrorSyncCritical => (
            "This command is DEPRECATED and is a no-op. It will be removed in a future version.".to_owned(),
            "ok".to_owned(),
        ),
        Verb::CheckIfNewQuorumQueueReplicasHaveFinishedInitialSync => (
            format!("Checking if node {node} runs promotable replicas of any queues ..."),
            format!("Node {node} reported no queues with promotable replicas"),
        ),
        Verb::CheckIfAnyDeprecatedFeaturesAreUsed => (
            "Checking if any deprecated features are used ...".to_owned(),
            "Cluster reported no deprecated features in use".to_owned(),
        ),
        Verb::NodeHealthCheck => {
            ("This command is DEPRECATED and is a no-op.".to_owned(), format!("Node {node} answers"))
        }
        other => return Err(Failure::Usage(format!("{other:?} cannot be carried out"))),
    };
    printer.say(&says)?;
    Ok(printer.message(&message)?)
}

/// Asks a health check: `None` if all is well, else what it found.
fn ask(client: &Client, path: &str) -> Result<Option<Value>, Failure> {
    match client.call(Method::GET, path, None, None)? {
        (status, _) if status.is_success() => Ok(None),
        (StatusCode::SERVICE_UNAVAILABLE, text) => Ok(Some(serde_json::from_str(&text).unwrap_or_default())),
        (status, text) => Err(refused(status, &text)),
    }
}

fn alarms(client: &Client, printer: &mut Printer, which: &str, none: &str, fails: bool) -> Result<(), Failure> {
    let node = node(client)?;
    printer.say(&format!("Asking node {node} to report any {which} alarms ..."))?;
    let Some(found) = ask(client, "/health/checks/local-alarms")? else {
        return Ok(printer.message(&format!("Node {node} reported {none}"))?);
    };
    let alarm = |alarm: &Value| match alarm["resource"].as_str() {
        Some("disk") => format!("Free disk space alarm on node {node}"),
        Some(resource) => format!("{} alarm on node {node}", capital(resource)),
        None => alarm.to_string(),
    };
    let alarms: Vec<String> = found["alarms"].as_array().into_iter().flatten().map(alarm).collect();
    let text = format!("Node {node} reported the following alarms:\n{}", alarms.join("\n"));
    if fails { Err(Failure::Unhealthy(text)) } else { Ok(printer.message(&text)?) }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

fn virtual_hosts(client: &Client, printer: &mut Printer) -> Result<(), Failure> {
    let node = node(client)?;
    printer.say(&format!("Checking if all vhosts are running on node {node} ..."))?;
    match ask(client, "/health/checks/virtual-hosts")? {
        None => Ok(printer.message(&format!("Node {node} reported all vhosts as running"))?),
        Some(found) => Err(Failure::Unhealthy(found.to_string())),
    }
}

/// Connects to every listener, as a load balancer would.
fn connectivity(
    client: &Client,
    printer: &mut Printer,
    options: &Options,
    address: Option<String>,
) -> Result<(), Failure> {
    let overview = client.get("/overview")?;
    let node = overview["node"].as_str().unwrap_or_default().to_owned();
    let host = address.or_else(|| client.host()).unwrap_or_else(|| "localhost".to_owned());
    printer.say(&format!("Testing TCP connections to all active listeners on node {node} using {host} ..."))?;
    let mut ports: Vec<u16> = listeners(&overview).filter_map(|(port, _)| port.try_into().ok()).collect();
    ports.sort_unstable();
    ports.dedup();
    let timeout = Duration::from_secs(options.timeout);
    let connects = |port: u16| {
        let addresses = (host.as_str(), port).to_socket_addrs();
        addresses.is_ok_and(|mut all| all.any(|one| TcpStream::connect_timeout(&one, timeout).is_ok()))
    };
    let mut failed = Vec::new();
    for &port in &ports {
        printer.say(&format!("Will connect to {host}:{port}"))?;
        if !connects(port) {
            failed.push(port);
        }
    }
    if failed.is_empty() {
        let ports = joined(&ports);
        return Ok(printer.message(&format!("Successfully connected to ports {ports} on node {node}"))?);
    }
    Err(Failure::Unhealthy(format!("Connection attempts failed for ports {} on node {node}", joined(&failed))))
}

fn joined<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Port and protocol of each listener.
fn listeners(overview: &Value) -> impl Iterator<Item = (u64, &str)> {
    let all = overview["listeners"].as_array().into_iter().flatten();
    all.filter_map(|listener| Some((listener["port"].as_u64()?, listener["protocol"].as_str()?)))
}

fn port_listener(client: &Client, printer: &mut Printer, port: &str) -> Result<(), Failure> {
    let port: u16 =
        port.parse().map_err(|_| Failure::Invalid("Argument must be a positive integer".to_owned()))?;
    let overview = client.get("/overview")?;
    let node = overview["node"].as_str().unwrap_or_default();
    printer.say(&format!("Asking node {node} if there's an active listener on port {port} ..."))?;
    if ask(client, &format!("/health/checks/port-listener/{port}"))?.is_none() {
        return Ok(printer.message(&format!("A listener for port {port} is running on node {node}."))?);
    }
    let mut ports: Vec<u64> = listeners(&overview).map(|(port, _)| port).collect();
    ports.sort_unstable();
    Err(Failure::Unhealthy(format!(
        "No listener for port {port} is active on node {node}. Found listeners that use the following ports: {}",
        joined(&ports)
    )))
}

fn protocol_listener(client: &Client, printer: &mut Printer, protocol: &str) -> Result<(), Failure> {
    let overview = client.get("/overview")?;
    let node = overview["node"].as_str().unwrap_or_default();
    printer.say(&format!("Asking node {node} if there's an active listener for protocol {protocol} ..."))?;
    if ask(client, &format!("/health/checks/protocol-listener/{}", quote(protocol)))?.is_none() {
        let says = format!("A listener for protocol {protocol} is running on node {node}.");
        return Ok(printer.message(&says)?);
    }
    let mut protocols: Vec<&str> = listeners(&overview).map(|(_, protocol)| protocol).collect();
    protocols.sort_unstable();
    protocols.dedup();
    Err(Failure::Refused(format!(
        "No listener for protocol {protocol} is active on node {node}. Found listeners for the following protocols: {}",
        protocols.join(", ")
    )))
}

fn certificates(client: &Client, printer: &mut Printer, within: u32, unit: &str) -> Result<(), Failure> {
    if !["days", "weeks", "months", "years"].contains(&unit) {
        let units = "days, weeks, months, years";
        return Err(Failure::Usage(format!("unit '{unit}' is not supported. Please use one of: {units}")));
    }
    printer.say(&format!("Checking certificate expiration on node {} ...", node(client)?))?;
    match ask(client, &format!("/health/checks/certificate-expiration/{within}/{unit}"))? {
        None => Ok(printer.message(&format!("No certificates are expiring within {within} {unit}."))?),
        Some(found) => Err(Failure::Unhealthy(
            found["reason"]
                .as_str()
                .map_or_else(|| found.to_string(), |reason| format!("{reason}\n{}", found["expired"])),
        )),
    }
}

/// Waits until somebody answers.
pub(super) fn await_startup(client: &Client, patience: Duration) -> Result<(), Failure> {
    let began = Instant::now();
    loop {
        match client.get("/whoami") {
            Err(Failure::Unavailable(_)) if began.elapsed() < patience => thread::sleep(STARTUP_PAUSE),
            Err(Failure::Unavailable(reason)) => {
                let patience = patience.as_millis();
                return Err(Failure::TimedOut(format!(
                    "operation await_startup timed out. Timeout value used: {patience}: {reason}"
                )));
            }
            result => return result.map(drop),
        }
    }
}

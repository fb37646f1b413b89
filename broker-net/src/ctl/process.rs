//! Verbs that speak to the broker's process, which has to be on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

use super::Options;
use super::check::await_startup;
use super::client::{Client, quote};
use super::failure::Failure;
use super::output::Printer;
use super::verb::Verb;

/// Time between two looks at a process.
const PAUSE: Duration = Duration::from_millis(100);

/// Carries out a verb that needs the process; gives back any other.
pub(super) fn execute(
    client: &Client,
    printer: &mut Printer,
    options: &Options,
    verb: Verb,
) -> Result<Option<Verb>, Failure> {
    let patience = Duration::from_secs(options.timeout);
    match verb {
        Verb::Shutdown => {
            let pid = broker(client)?;
            printer.say(&format!("Shutting down RingMQ with OS PID {pid} ..."))?;
            signal(pid, Signal::TERM)?;
            wait_until(patience, "shutdown", || (!runs(pid)).then_some(()))?;
            printer.message("RingMQ is no longer running")?;
        }
        Verb::Reload => {
            let pid = broker(client)?;
            printer.say(&format!("Asking RingMQ with OS PID {pid} to read its configuration again ..."))?;
            signal(pid, Signal::HUP)?;
        }
        Verb::Wait { pidfile, pid } => wait(client, printer, patience, pidfile, pid)?,
        Verb::LogTail { number } => log_tail(client, printer, number)?,
        other => return Ok(Some(other)),
    }
    Ok(None)
}

/// The broker's process. It is asked for itself, and has to run here under its name.
fn broker(client: &Client) -> Result<Pid, Failure> {
    let node = node(client)?;
    let pid = node["os_pid"].as_str().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
    let name = |pid: &Pid| fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()));
    pid.filter(|pid| name(pid).is_ok_and(|name| name.trim_end() == "ringmq"))
        .ok_or_else(|| Failure::Refused("the broker does not run on this machine".to_owned()))
}

fn node(client: &Client) -> Result<Value, Failure> {
    let overview = client.get("/overview?columns=node")?;
    client.get(&format!("/nodes/{}", quote(overview["node"].as_str().unwrap_or_default())))
}

fn signal(pid: Pid, signal: Signal) -> Result<(), Failure> {
    kill_process(pid, signal).map_err(|error| Failure::Refused(format!("OS PID {pid}: {error}")))
}

/// Another user's process runs too.
fn runs(pid: Pid) -> bool {
    test_kill_process(pid) != Err(Errno::SRCH)
}

fn wait_until<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T, Failure> {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if began.elapsed() >= patience {
            let used = patience.as_millis();
            return Err(Failure::TimedOut(format!("operation {what} timed out. Timeout value used: {used}")));
        }
        thread::sleep(PAUSE);
    }
}

fn wait(
    client: &Client,
    printer: &mut Printer,
    patience: Duration,
    pidfile: Option<PathBuf>,
    pid: Option<i32>,
) -> Result<(), Failure> {
    let pid = match (pidfile, pid) {
        (Some(path), None) => {
            printer.say(&format!("Waiting for pid file '{}' to appear", path.display()))?;
            wait_until(patience, "wait", || pid_of(&path))?
        }
        (None, Some(pid)) => Pid::from_raw(pid).ok_or_else(|| Failure::Invalid("a PID is not 0".to_owned()))?,
        _ => return Err(Failure::Usage("either a PID file or --pid is needed".to_owned())),
    };
    printer.say(&format!("pid is {pid}"))?;
    if !runs(pid) {
        return Err(Failure::Refused(format!("process {pid} is not running")));
    }
    printer.say("Waiting for RingMQ to start")?;
    await_startup(client, patience)
}

fn pid_of(path: &Path) -> Option<Pid> {
    fs::read_to_string(path).ok()?.trim().parse().ok().and_then(Pid::from_raw)
}

fn log_tail(client: &Client, printer: &mut Printer, number: usize) -> Result<(), Failure> {
    let node = node(client)?;
    let files = node["log_files"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let Some(file) = files.into_iter().find(|file| file.starts_with('/')) else {
        return Err(Failure::Refused("the broker does not log to a file".to_owned()));
    };
    printer.say(&format!("Last {number} lines of {file}"))?;
    let text = fs::read_to_string(file)?;
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(number)..] {
        printer.line(line)?;
    }
    Ok(())
}

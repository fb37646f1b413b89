//! The broker's process.

use std::env;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// A broker on loopback with a data directory of its own. Dropping it kills the process.
pub(crate) struct Broker {
    /// Absent when the broker is somebody else's process.
    process: Option<Process>,
    pub(crate) address: SocketAddr,
    /// The management API.
    pub(crate) http: SocketAddr,
    /// The metrics.
    #[allow(dead_code, reason = "not every test binary scrapes")]
    pub(crate) metrics: SocketAddr,
    /// Where it speaks TLS.
    #[allow(dead_code, reason = "not every test binary speaks TLS")]
    pub(crate) tls_address: Option<SocketAddr>,
}

/// Where a broker listens.
#[derive(Clone, Copy)]
struct Addresses {
    amqp: SocketAddr,
    amqps: Option<SocketAddr>,
    http: SocketAddr,
    metrics: SocketAddr,
}

struct Process {
    child: Child,
    /// Completes when the process has closed its standard error, which is when it ends.
    ended: oneshot::Receiver<()>,
    flags: Vec<String>,
    data_dir: TempDir,
    /// What the process wrote to standard error; shown when a test fails.
    log: Arc<Mutex<Vec<String>>>,
}

impl Broker {
    /// Starts a broker, or takes the one that the environment names.
    pub(crate) fn start(flags: &[&str]) -> Self {
        match env::var("RINGMQ_TEST_BROKER") {
            Ok(address) => {
                let address: SocketAddr = address.parse().unwrap();
                let [http, metrics] = [15672, 15692].map(|port| SocketAddr::new(address.ip(), port));
                Self { process: None, address, http, metrics, tls_address: None }
            }
            Err(_) => Self::spawn(flags),
        }
    }

    /// Starts a broker that the test may kill; `None` if the tests run against a broker that was there before.
    pub(crate) fn start_own(flags: &[&str]) -> Option<Self> {
        env::var("RINGMQ_TEST_BROKER").is_err().then(|| Self::spawn(flags))
    }

    fn spawn(flags: &[&str]) -> Self {
        let data_dir = TempDir::new().unwrap();
        let flags: Vec<_> = flags.iter().map(ToString::to_string).collect();
        let log = Arc::default();
        let (child, ended, addresses) = start_process(&data_dir, &flags, &log);
        let process = Process { child, ended, flags, data_dir, log };
        let Addresses { amqp: address, amqps: tls_address, http, metrics } = addresses;
        Self { process: Some(process), address, http, metrics, tls_address }
    }

    fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("a test of its own process")
    }

    /// kill -9: nothing is written any more.
    pub(crate) fn kill(&mut self) {
        let child = &mut self.process().child;
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks the process to stop and waits until it has; clients on this thread go on meanwhile.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        self.terminate();
        self.ended().await
    }

    /// Waits until the process has ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let process = self.process();
        // The sender is dropped, not used.
        let _ = (&mut process.ended).await;
        process.child.wait().unwrap()
    }

    /// Waits until the process has ended.
    #[allow(dead_code, reason = "not every test binary has somebody else stop the broker")]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.process().child.wait().unwrap()
    }

    /// Asks the process to stop.
    pub(crate) fn terminate(&mut self) {
        kill_process(Pid::from_child(&self.process().child), Signal::TERM).unwrap();
    }

    /// Every address that the log says the broker listens on for AMQP.
    #[allow(dead_code, reason = "not every test binary asks")]
    pub(crate) fn listening(&self) -> Vec<SocketAddr> {
        let process = self.process.as_ref().expect("a test of its own process");
        let log = process.log.lock().unwrap();
        let listening = log.iter().filter(|line| line.contains("listening"));
        listening
            .filter_map(|line| {
                line.split_whitespace().find_map(|word| word.strip_prefix("address=")?.parse().ok())
            })
            .collect()
    }

    /// What the broker has logged until now.
    #[allow(dead_code, reason = "not every test binary asks")]
    pub(crate) fn log(&self) -> String {
        let process = self.process.as_ref().expect("a test of its own process");
        process.log.lock().unwrap().join("\n")
    }

    /// Has the broker read its configuration again.
    #[allow(dead_code, reason = "not every test binary changes the configuration")]
    pub(crate) fn reload(&self) {
        let process = self.process.as_ref().expect("a test of its own process");
        kill_process(Pid::from_child(&process.child), Signal::HUP).unwrap();
    }

    /// Starts the broker again on its data directory. It gets other ports.
    pub(crate) fn restart(&mut self) {
        let process = self.process();
        let (child, ended, addresses) = start_process(&process.data_dir, &process.flags, &process.log);
        process.child = child;
        process.ended = ended;
        self.address = addresses.amqp;
        self.tls_address = addresses.amqps;
        (self.http, self.metrics) = (addresses.http, addresses.metrics);
    }

    /// kill -9 and start again.
    pub(crate) fn crash(&mut self) {
        self.kill();
        self.restart();
    }

    /// The flags of the next start.
    pub(crate) fn set_flags(&mut self, flags: &[&str]) {
        self.process().flags = flags.iter().map(ToString::to_string).collect();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let Some(process) = &mut self.process else { return };
        // It may be dead already.
        let _ = process.child.kill();
        let _ = process.child.wait();
        if thread::panicking() {
            let log = process.log.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            eprintln!("log of the broker:\n{}", log.join("\n"));
        }
    }
}

fn start_process(
    data_dir: &TempDir,
    flags: &[String],
    log: &Arc<Mutex<Vec<String>>>,
) -> (Child, oneshot::Receiver<()>, Addresses) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringmq"))
        .args(["--amqp", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data-dir"])
        .arg(data_dir.path())
        .args(flags)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = child.stderr.take().unwrap();
    let (ready, when_ready): (_, Receiver<Addresses>) = channel();
    let (end, ended) = oneshot::channel();
    thread::spawn({
        let log = Arc::clone(log);
        move || {
            follow_log(stderr, &ready, &log);
            drop((ready, end));
        }
    });
    let Ok(addresses) = when_ready.recv() else {
        let _ = child.kill();
        let _ = child.wait();
        panic!("the broker does not start:\n{}", log.lock().unwrap().join("\n"));
    };
    (child, ended, addresses)
}

/// Collects the log until the process ends; tells the addresses of its listeners when the log does.
fn follow_log(stderr: ChildStderr, ready: &Sender<Addresses>, log: &Mutex<Vec<String>>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let is_ready = line.split_whitespace().any(|word| word == "ready");
        let address = |name: &str| -> Option<SocketAddr> {
            line.split_whitespace().filter_map(|word| word.strip_prefix(name)).find_map(|word| word.parse().ok())
        };
        let (amqps, all) = (address("amqps="), (address("amqp="), address("http="), address("metrics=")));
        log.lock().unwrap().push(line);
        if let (true, (Some(amqp), Some(http), Some(metrics))) = (is_ready, all) {
            // Nobody listens when the broker says so twice.
            let _ = ready.send(Addresses { amqp, amqps, http, metrics });
        }
    }
}

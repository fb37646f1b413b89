//! What a service manager is told: readiness, reloads, the end, and that the broker is alive.

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// After this a message is taken as never coming.
const PATIENCE: Duration = Duration::from_secs(30);

struct Notified {
    socket: UnixDatagram,
    child: Child,
    _directory: TempDir,
}

impl Notified {
    fn start(environment: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_ringmq"))
            .args(["--amqp", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data-dir"])
            .arg(directory.path().join("data"))
            .env("NOTIFY_SOCKET", &path)
            .envs(environment.iter().copied())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { socket, child, _directory: directory }
    }

    /// The lines of the next message.
    fn message(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).unwrap();
        std::str::from_utf8(&bytes[..length]).unwrap().lines().map(str::to_owned).collect()
    }

    /// Waits for a message with this line; returns all its lines.
    fn wait_for(&self, line: &str) -> Vec<String> {
        loop {
            let message = self.message();
            if message.iter().any(|one| one == line) {
                return message;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Notified {
    fn drop(&mut self) {
        // It has ended unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn readiness_reload_and_end_are_told_in_order() {
    let mut broker = Notified::start(&[]);
    assert_eq!(broker.message(), ["STATUS=recovering the data directory"]);
    assert_eq!(broker.message(), ["READY=1", "STATUS=serving clients"]);
    broker.signal(Signal::HUP);
    let reloading = broker.message();
    assert_eq!(reloading[0], "RELOADING=1");
    let since_boot = reloading[1].strip_prefix("MONOTONIC_USEC=").unwrap();
    assert!(since_boot.parse::<u64>().unwrap() > 0, "{reloading:?}");
    assert_eq!(broker.message(), ["READY=1", "STATUS=serving clients"]);
    broker.signal(Signal::TERM);
    assert_eq!(broker.message()[0], "STOPPING=1");
    assert!(broker.child.wait().unwrap().success());
}

#[test]
fn the_watchdog_is_fed_only_if_there_is_one() {
    let broker = Notified::start(&[("WATCHDOG_USEC", "20000")]);
    broker.wait_for("READY=1");
    assert_eq!(broker.wait_for("WATCHDOG=1"), ["WATCHDOG=1"]);
    broker.wait_for("WATCHDOG=1");

    // Somebody else's watchdog.
    let mut broker = Notified::start(&[("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")]);
    broker.wait_for("READY=1");
    broker.signal(Signal::TERM);
    assert_eq!(broker.message()[0], "STOPPING=1");
    assert!(broker.child.wait().unwrap().success());
}

//! A broker process started for a task, on loopback, ended with the value.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::{Context, bail};

/// After this time a broker that does not accept connections is taken as stuck.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// How often a starting broker is tried.
const START_POLL: Duration = Duration::from_millis(2);

/// A running broker.
#[derive(Debug)]
pub(crate) struct BrokerProcess {
    child: Child,
    amqp: SocketAddr,
    log: PathBuf,
}

impl BrokerProcess {
    /// Starts `binary` on a data directory, with the AMQP listener on `amqp` and the log appended to
    /// `broker.log` beside the data. Does not wait for anything.
    pub(crate) fn spawn(
        binary: &Path,
        data_dir: &Path,
        amqp: SocketAddr,
        flags: &[String],
    ) -> anyhow::Result<Self> {
        let log = data_dir.with_file_name("broker.log");
        let output = File::options().create(true).append(true).open(&log)?;
        let child = Command::new(binary)
            .arg("--data-dir")
            .arg(data_dir)
            .args(["--amqp", &amqp.to_string(), "--metrics", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        Ok(Self { child, amqp, log })
    }

    /// Waits until the broker speaks AMQP; returns how long that took.
    pub(crate) fn wait_until_listening(&mut self) -> anyhow::Result<Duration> {
        let start = Instant::now();
        while greet(self.amqp).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the broker ended with {status}; the end of its log:\n{}", self.log_tail());
            }
            if start.elapsed() > START_PATIENCE {
                bail!("the broker does not accept connections; the end of its log:\n{}", self.log_tail());
            }
            thread::sleep(START_POLL);
        }
        Ok(start.elapsed())
    }

    /// The process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the broker as a crash would (SIGKILL).
    pub(crate) fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        // Ended already in the usual case; nothing can be done about an error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Opens a connection as far as the first byte of `connection.start`.
fn greet(amqp: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(amqp)?;
    stream.set_read_timeout(Some(START_PATIENCE))?;
    stream.write_all(b"AMQP\x00\x00\x09\x01")?;
    stream.read_exact(&mut [0])
}

/// A loopback address with a port that nobody listens on.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

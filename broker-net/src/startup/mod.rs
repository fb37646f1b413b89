//! What is done and checked before the first thread starts, and the one type that says why a start failed.
//!
//! Each check fails with one sentence that names the remedy; `main` prints it and exits with 1.

mod limits;
mod ports;
mod ring;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use broker_core::shard::driver;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

pub use limits::Bytes;
pub use ports::{Claim, bind, claim};
pub use ring::RingError;

use crate::config::{ConfigError, CpuList};
pub use crate::tls::TlsError;

/// Why the broker did not start: one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The flags contradict each other or this machine.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Definitions cannot be loaded.
    #[error("load_definitions: {0}")]
    Definitions(#[from] crate::http::LoadError),
    /// The log filter cannot be parsed.
    #[error("log.default.level and others make the filter {filter}: {reason}")]
    LogFilter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A log file cannot be opened.
    #[error("log file {}: {source}", path.display())]
    LogFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The rabbitmq.conf to import cannot be read.
    #[error("--import-config {}: {reason}", path.display())]
    Import {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The threads could not be kept on their CPUs.
    #[error("cannot set the CPUs of this process: {0}")]
    Affinity(#[source] io::Error),
    /// Too little memory may be locked for the rings.
    #[error(
        "this process may lock {allowed} of memory, but io_uring needs {needed}: raise the limit with \
         `ulimit -l {}`, or with LimitMEMLOCK= in a systemd unit", needed.kibibytes()
    )]
    LockedMemory {
        /// The hard limit.
        allowed: Bytes,
        /// What the rings of a few shards need.
        needed: Bytes,
    },
    /// The kernel has no io_uring, or this process may not use it.
    #[error("{0}")]
    Ring(RingError),
    /// Somebody listens there already.
    #[error("{flag} {address}: the port is taken by another process")]
    PortTaken {
        /// The flag that gives the address.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on for another reason.
    #[error("{flag} {address}: cannot listen there: {source}")]
    Listen {
        /// The flag that gives the address.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The data directory, its logs or the shards.
    #[error(transparent)]
    Core(#[from] driver::StartError),
    /// The handlers of SIGTERM and SIGINT, or a thread.
    #[error("cannot start {what}: {source}")]
    System {
        /// What was to be started.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// The CPUs that this thread may run on.
pub fn allowed_cpus() -> Result<CpuList, StartError> {
    let set = sched_getaffinity(None).map_err(|errno| StartError::Affinity(errno.into()))?;
    CpuList::new((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)))
        .ok_or_else(|| StartError::Affinity(io::Error::other("the system names no CPU")))
}

/// Keeps the process on `cpus`, raises its limits and checks that io_uring works. To be called before any
/// thread is started: threads inherit the CPUs of the thread that starts them.
pub fn prepare(cpus: &[usize]) -> Result<(), StartError> {
    let mut set = CpuSet::new();
    for &cpu in cpus {
        set.set(cpu);
    }
    sched_setaffinity(None, &set).map_err(|errno| StartError::Affinity(errno.into()))?;
    limits::raise_open_files();
    limits::raise_locked_memory()?;
    ring::probe().map_err(StartError::Ring)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_inherits_the_cpus_that_prepare_sets() {
        let cpu = *Vec::from(allowed_cpus().unwrap()).first().unwrap();
        let inherited = std::thread::spawn(move || {
            prepare(&[cpu]).unwrap();
            std::thread::spawn(allowed_cpus).join().unwrap().unwrap()
        });
        assert_eq!(Vec::from(inherited.join().unwrap()), [cpu]);
    }

    #[test]
    fn too_little_locked_memory_names_the_figures_and_the_remedy() {
        let error = StartError::LockedMemory { allowed: Bytes(64 << 10), needed: limits::LOCKED_MEMORY };
        assert_eq!(
            error.to_string(),
            "this process may lock 64 KiB of memory, but io_uring needs 512 KiB: raise the limit with \
             `ulimit -l 512`, or with LimitMEMLOCK= in a systemd unit"
        );
    }
}

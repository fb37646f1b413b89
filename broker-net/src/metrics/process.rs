//! What the system says of this process, and of the disk that its data are on. A figure that cannot be read is 0.

use std::fs;
use std::path::Path;
use std::time::Instant;

use rustix::process::{Resource, getrlimit};

/// Figures of the process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Open file descriptors.
    pub open_files: u64,
    /// Descriptors that may be open, `u64::MAX` without a limit.
    pub max_files: u64,
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    /// Resident memory that is not a page of a file, in bytes.
    pub anonymous_bytes: u64,
    /// Memory of the machine, or of the control group if that has less, in bytes.
    pub memory_limit_bytes: u64,
    /// Space on the file system of the data directory that this process may use, in bytes.
    pub disk_available_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Threads that the system allows.
    pub max_threads: u64,
    /// Whole seconds since the start.
    pub uptime_seconds: u64,
}

impl Process {
    /// Reads the present figures.
    #[must_use]
    pub fn read(data_dir: &Path, started: Instant) -> Self {
        Self {
            open_files: fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as u64,
            max_files: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
            resident_bytes: kibibytes("/proc/self/status", "VmRSS:"),
            anonymous_bytes: anonymous_bytes(),
            memory_limit_bytes: memory_limit_bytes(),
            disk_available_bytes: disk_available_bytes(data_dir).unwrap_or_default(),
            threads: fs::read_dir("/proc/self/task").map_or(0, Iterator::count) as u64,
            max_threads: number("/proc/sys/kernel/threads-max"),
            uptime_seconds: started.elapsed().as_secs(),
        }
    }
}

/// Memory of the machine, or of the control group if that has less, in bytes.
pub(crate) fn memory_limit_bytes() -> u64 {
    let total = kibibytes("/proc/meminfo", "MemTotal:");
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let group = group.and_then(|limit| limit.trim().parse().ok());
    group.map_or(total, |group: u64| group.min(total))
}

/// Resident memory that is not a page of a file, in bytes: what the kernel cannot take back by itself.
pub(crate) fn anonymous_bytes() -> u64 {
    kibibytes("/proc/self/status", "RssAnon:")
}

/// Space on the file system of a directory that this process may use, in bytes.
pub(crate) fn disk_available_bytes(directory: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(directory).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// The number that a file consists of.
fn number(file: &str) -> u64 {
    fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or_default()
}

/// The value of a `Name:   123 kB` line, in bytes.
fn kibibytes(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
    number.and_then(|number| number.trim().parse::<u64>().ok()).map_or(0, |number| number << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_files_and_disk() {
        let process = Process::read(Path::new("/"), Instant::now());
        assert!(process.open_files > 2 && process.open_files <= process.max_files, "{process:?}");
        assert!(process.resident_bytes > 1 << 16, "{process:?}");
        assert!(process.resident_bytes < process.memory_limit_bytes, "{process:?}");
        assert!(process.anonymous_bytes > 0, "{process:?}");
        assert!(process.disk_available_bytes > 0, "{process:?}");
    }

    #[test]
    fn what_cannot_be_read_is_zero() {
        assert_eq!(kibibytes("/proc/self/status", "NoSuchName:"), 0);
        assert_eq!(kibibytes("/no/such/file", "VmRSS:"), 0);
        assert_eq!(Process::read(Path::new("/no/such/file"), Instant::now()).disk_available_bytes, 0);
    }
}

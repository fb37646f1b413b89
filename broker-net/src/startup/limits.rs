//! The limits that the process inherits: open files and locked memory.

use std::fmt;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::StartError;

/// Locked memory below which an executor refuses to start, as root too.
pub(super) const LOCKED_MEMORY: Bytes = Bytes(512 << 10);

/// Open files below which a warning is logged: every connection takes one.
const FEW_OPEN_FILES: u64 = 4096;

/// A number of bytes, printed as a person reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl Bytes {
    /// The number in units of 1024 bytes, as `ulimit -l` counts, rounded down.
    #[must_use]
    pub fn kibibytes(self) -> u64 {
        self.0 >> 10
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes < 1 << 10 => write!(f, "{bytes} bytes"),
            bytes if bytes < 1 << 20 => write!(f, "{} KiB", bytes >> 10),
            bytes if bytes < 1 << 30 => write!(f, "{} MiB", bytes >> 20),
            bytes => write!(f, "{} GiB", bytes >> 30),
        }
    }
}

/// Raises the soft limit of open files to the hard one. A low limit only bounds the number of connections, so it is
/// logged and not an error.
pub(super) fn raise_open_files() {
    let limit = raise(Resource::Nofile);
    if limit.is_some_and(|limit| limit < FEW_OPEN_FILES) {
        tracing::warn!(open_files = limit, "few files may be open: that many connections are possible at most");
    }
}

/// Raises the soft limit of locked memory to the hard one, which has to be [`LOCKED_MEMORY`] at least.
pub(super) fn raise_locked_memory() -> Result<(), StartError> {
    match raise(Resource::Memlock).map(Bytes) {
        Some(allowed) if allowed < LOCKED_MEMORY => {
            Err(StartError::LockedMemory { allowed, needed: LOCKED_MEMORY })
        }
        _ => Ok(()),
    }
}

/// Raises a soft limit to its hard limit; returns what then holds, `None` without a limit.
fn raise(resource: Resource) -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(resource);
    if current == maximum {
        return current;
    }
    match setrlimit(resource, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(_) => current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_printed_in_the_largest_whole_unit() {
        let printed = [0, 1023, 1 << 10, 65_536, 8 << 20, 3 << 30].map(|bytes| Bytes(bytes).to_string());
        assert_eq!(printed, ["0 bytes", "1023 bytes", "1 KiB", "64 KiB", "8 MiB", "3 GiB"]);
    }

    #[test]
    fn raising_a_limit_twice_changes_nothing_more() {
        assert_eq!(raise(Resource::Nofile), raise(Resource::Nofile));
    }
}

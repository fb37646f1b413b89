//! Asks the kernel for an io_uring before the shards do, so that a refusal can be explained.
#![expect(unsafe_code, reason = "io_uring_setup has no safe wrapper")]

use std::fmt;
use std::fs;

use rustix::io::Errno;
use rustix::io_uring::{io_uring_params, io_uring_setup};

/// Why there is no ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingError {
    errno: Errno,
    /// The content of `kernel.io_uring_disabled`: 1 is off for unprivileged processes, 2 for all.
    disabled: Option<u8>,
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.errno, self.disabled) {
            (Errno::NOSYS, _) => f.write_str(
                "this kernel has no io_uring, or the seccomp filter of a container hides it: RingMQ needs Linux 5.8 or \
                 newer, built with CONFIG_IO_URING",
            ),
            (_, Some(value)) if value > 0 => {
                write!(f, "io_uring is switched off: set sysctl kernel.io_uring_disabled=0 (it is {value})")
            }
            (Errno::PERM | Errno::ACCESS, _) => f.write_str(
                "this process may not use io_uring: a seccomp filter (as containers have) or a security \
                 module forbids it",
            ),
            (errno, _) => write!(f, "cannot set up an io_uring: {errno}"),
        }
    }
}

/// Makes a small ring and closes it.
pub(super) fn probe() -> Result<(), RingError> {
    let mut parameters = io_uring_params::default();
    // SAFETY: the parameters are zero but for what the kernel writes, so no pointer is passed, and the
    // descriptor is closed at once without being mapped.
    let ring = unsafe { io_uring_setup(2, &mut parameters) };
    ring.map(drop).map_err(|errno| RingError { errno, disabled: disabled() })
}

fn disabled() -> Option<u8> {
    fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(errno: Errno, disabled: Option<u8>, expect: &str) {
        let text = RingError { errno, disabled }.to_string();
        assert!(text.contains(expect), "{text}");
    }

    #[test]
    fn each_refusal_names_its_remedy() {
        check(Errno::NOSYS, None, "Linux 5.8 or newer");
        check(Errno::PERM, Some(2), "kernel.io_uring_disabled=0 (it is 2)");
        check(Errno::PERM, Some(0), "seccomp");
        check(Errno::NOMEM, Some(0), "cannot set up");
    }
}

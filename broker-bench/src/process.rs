//! What a process costs: CPU time and memory, from /proc.

use std::fs;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// One reading of /proc/PID.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// utime + stime of all threads, ended ones too, in seconds. io_uring's workers are threads of the process.
    pub(crate) cpu_seconds: f64,
    pub(crate) rss_kib: u64,
    pub(crate) rss_anon_kib: u64,
}

/// What a process used during a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessUse {
    /// utime + stime of the process, in seconds.
    pub cpu_seconds: f64,
    /// The same over the messages of the run, in microseconds.
    pub cpu_us_per_message: f64,
    /// Resident memory at its highest, read once a second, in KiB.
    pub peak_rss_kib: u64,
    /// Anonymous resident memory at its highest, read once a second, in KiB.
    pub peak_rss_anon_kib: u64,
}

/// Follows one process through a run.
#[derive(Debug)]
pub(crate) struct Watch {
    pid: u32,
    first: Sample,
    last: Sample,
    peak_rss_kib: u64,
    peak_rss_anon_kib: u64,
}

impl Watch {
    pub(crate) fn start(pid: u32) -> Result<Self> {
        let first = read(pid)?;
        let mut watch = Self { pid, first, last: first, peak_rss_kib: 0, peak_rss_anon_kib: 0 };
        watch.enter(first);
        Ok(watch)
    }

    /// Takes another reading.
    pub(crate) fn sample(&mut self) -> Result<()> {
        let sample = read(self.pid)?;
        self.enter(sample);
        Ok(())
    }

    fn enter(&mut self, sample: Sample) {
        self.last = sample;
        self.peak_rss_kib = self.peak_rss_kib.max(sample.rss_kib);
        self.peak_rss_anon_kib = self.peak_rss_anon_kib.max(sample.rss_anon_kib);
    }

    /// What was used from the first to the last reading.
    pub(crate) fn used(&self, messages: u64) -> ProcessUse {
        let cpu_seconds = self.last.cpu_seconds - self.first.cpu_seconds;
        #[expect(clippy::cast_precision_loss, reason = "a count of messages is far below 2^52")]
        let cpu_us_per_message = cpu_seconds * 1e6 / messages.max(1) as f64;
        ProcessUse {
            cpu_seconds,
            cpu_us_per_message,
            peak_rss_kib: self.peak_rss_kib,
            peak_rss_anon_kib: self.peak_rss_anon_kib,
        }
    }
}

fn read(pid: u32) -> Result<Sample> {
    let file = |name: &str| {
        fs::read_to_string(format!("/proc/{pid}/{name}")).with_context(|| format!("process {pid} cannot be read"))
    };
    let status = file("status")?;
    let ticks = cpu_ticks(&file("stat")?).context("/proc/PID/stat is not understood")?;
    #[expect(clippy::cast_precision_loss, reason = "ticks of 10 ms are far below 2^52")]
    let cpu_seconds = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    Ok(Sample {
        cpu_seconds,
        rss_kib: field_kib(&status, "VmRSS:").unwrap_or(0),
        rss_anon_kib: field_kib(&status, "RssAnon:").unwrap_or(0),
    })
}

/// utime + stime: fields 14 and 15. The command, field 2, may hold spaces and parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_command) = stat.rsplit_once(')')?;
    let mut fields = after_command.split_ascii_whitespace().skip(11);
    let utime: u64 = fields.next()?.parse().ok()?;
    let stime: u64 = fields.next()?.parse().ok()?;
    Some(utime + stime)
}

fn field_kib(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_ticks_are_found_behind_any_command() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194304 100 0 0 0 1234 66 7 8 20 0 1 0 100 1000 10";
        assert_eq!(cpu_ticks(stat), Some(1300));
        assert_eq!(cpu_ticks("42 (a) S 1"), None);
    }

    #[test]
    fn memory_is_read_by_field() {
        let status = "Name:\tx\nVmRSS:\t    1234 kB\nRssAnon:\t     99 kB\n";
        assert_eq!(field_kib(status, "VmRSS:"), Some(1234));
        assert_eq!(field_kib(status, "RssAnon:"), Some(99));
        assert_eq!(field_kib(status, "RssFile:"), None);
    }

    #[test]
    fn this_process_can_be_watched() {
        let mut watch = Watch::start(std::process::id()).unwrap();
        watch.sample().unwrap();
        let used = watch.used(1);
        assert!(used.cpu_seconds >= 0.0 && used.peak_rss_kib > 0);
        assert!(Watch::start(u32::MAX).is_err());
    }
}

//! Watches memory and disk space, and has publishers blocked while there is too little of either.
//!
//! Memory is what the process holds beyond pages of files, compared with `vm_memory_high_watermark`; disk space is that of the data
//! directory's file system, compared with `disk_free_limit`.

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use broker_core::shard::Alarms;
use broker_core::shard::driver::Probe;

use crate::config::Settings;
use crate::metrics::process::{anonymous_bytes, disk_available_bytes, memory_limit_bytes};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// What is watched against, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Memory above which the alarm is set.
    pub memory: u64,
    /// Disk space below which the alarm is set.
    pub disk: u64,
}

impl Thresholds {
    /// From the configuration and what this machine has.
    pub(crate) fn new(settings: &Settings) -> Self {
        let total = settings.total_memory.unwrap_or_else(memory_limit_bytes);
        Self { memory: settings.memory.bytes(total), disk: settings.disk.bytes(total) }
    }

    fn alarms(self, memory: u64, disk: Option<u64>) -> Alarms {
        // A disk that cannot be asked is not known to be full.
        Alarms { memory: memory > self.memory, disk: disk.is_some_and(|free| free < self.disk) }
    }
}

/// New thresholds, and who wants to know when they have been compared with what there is.
type Change = (Thresholds, flume::Sender<()>);

/// The thread that looks. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Watch(flume::Sender<Change>);

impl Watch {
    /// Starts to look; what is found first holds before this returns.
    pub(crate) fn start(thresholds: Thresholds, data_dir: PathBuf, probe: Probe) -> io::Result<Self> {
        let (sender, changes) = flume::unbounded::<Change>();
        let mut watcher = Watcher { thresholds, data_dir, probe, found: Alarms::default() };
        watcher.look();
        thread::Builder::new().name("ringmq-alarms".to_owned()).spawn(move || {
            loop {
                match changes.recv_timeout(INTERVAL) {
                    Ok((thresholds, done)) => {
                        watcher.thresholds = thresholds;
                        watcher.look();
                        // Nobody may wait.
                        let _ = done.send(());
                    }
                    Err(flume::RecvTimeoutError::Timeout) => watcher.look(),
                    Err(flume::RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(Self(sender))
    }

    /// Changes the thresholds. What is received says that the alarms are what they ask for.
    pub(crate) fn set(&self, thresholds: Thresholds) -> flume::Receiver<()> {
        let (done, looked) = flume::bounded(1);
        // The watch lives as long as the broker.
        let _ = self.0.send((thresholds, done));
        looked
    }
}

struct Watcher {
    thresholds: Thresholds,
    data_dir: PathBuf,
    probe: Probe,
    found: Alarms,
}

impl Watcher {
    fn look(&mut self) {
        let (memory, disk) = (anonymous_bytes(), disk_available_bytes(&self.data_dir));
        let alarms = self.thresholds.alarms(memory, disk);
        if alarms == self.found {
            return;
        }
        tell("memory", self.found.memory, alarms.memory, memory, self.thresholds.memory);
        tell("disk", self.found.disk, alarms.disk, disk.unwrap_or_default(), self.thresholds.disk);
        self.found = alarms;
        self.probe.set_alarms(alarms);
    }
}

fn tell(resource: &'static str, before: bool, now: bool, bytes: u64, threshold: u64) {
    if now && !before {
        tracing::warn!(resource, bytes, threshold, "alarm set: publishers are blocked until it clears");
    } else if before && !now {
        tracing::warn!(resource, bytes, threshold, "alarm cleared");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Watermark;

    #[test]
    fn thresholds_come_from_all_memory_or_are_given() {
        let mut settings = Settings { total_memory: Some(10_000), ..Settings::default() };
        assert_eq!(Thresholds::new(&settings), Thresholds { memory: 6000, disk: 50_000_000 });
        settings.memory = Watermark::Absolute(7);
        settings.disk = Watermark::Relative(1000);
        assert_eq!(Thresholds::new(&settings), Thresholds { memory: 7, disk: 10_000 });
    }

    #[test]
    fn alarms_are_set_beyond_the_thresholds() {
        let thresholds = Thresholds { memory: 100, disk: 10 };
        assert_eq!(thresholds.alarms(100, Some(10)), Alarms::default());
        assert_eq!(thresholds.alarms(101, Some(9)), Alarms { memory: true, disk: true });
        assert_eq!(thresholds.alarms(0, None), Alarms::default());
    }
}

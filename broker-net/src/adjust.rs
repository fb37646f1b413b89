//! What can be changed while the broker runs: the log, and where alarms begin.
//!
//! The configuration says what holds, and an administrator may say something else until it is read again or the process ends,
//! as in RabbitMQ.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use broker_core::shard::driver::Probe;

use crate::alarm::{Thresholds, Watch};
use crate::config::{Settings, Watermark};
use crate::logging::{Logging, Places};
use crate::metrics::SharedThresholds;

/// The settings that can be changed, and those that they act on.
#[derive(Debug)]
pub struct Adjustable {
    logging: Logging,
    watch: Watch,
    thresholds: SharedThresholds,
    /// What holds now.
    settings: Mutex<Settings>,
}

impl Adjustable {
    /// Starts the watch of memory and disk space.
    pub(crate) fn start(
        logging: Logging,
        settings: &Settings,
        data_dir: PathBuf,
        probe: Probe,
    ) -> io::Result<Self> {
        let thresholds = Thresholds::new(settings);
        let watch = Watch::start(thresholds, data_dir, probe)?;
        let thresholds = SharedThresholds::new(thresholds);
        Ok(Self { logging, watch, thresholds, settings: Mutex::new(settings.clone()) })
    }

    /// Where alarms begin now.
    pub(crate) fn thresholds(&self) -> SharedThresholds {
        self.thresholds.clone()
    }

    /// Where the log goes.
    pub(crate) fn places(&self) -> Places {
        self.logging.places()
    }

    /// What the configuration says holds again.
    pub(crate) fn configure(&self, settings: &Settings) {
        let mut current = self.current();
        current.clone_from(settings);
        self.logging.reload(&current.log);
        self.set_thresholds(&current);
    }

    /// Has everything be logged from this level on, wherever it goes; `level` is a filter.
    pub(crate) fn set_log_level(&self, level: String) {
        let mut current = self.current();
        let log = &mut current.log;
        (log.console_level, log.file_level) = (None, None);
        log.categories.clear();
        log.level = level;
        self.logging.set_levels(log);
    }

    /// Changes where the memory alarm begins. What is received says that it has been looked whether it does.
    pub(crate) fn set_memory(&self, watermark: Watermark) -> flume::Receiver<()> {
        let mut current = self.current();
        current.memory = watermark;
        self.set_thresholds(&current)
    }

    /// Changes where the disk alarm begins, like [`Self::set_memory`].
    pub(crate) fn set_disk(&self, watermark: Watermark) -> flume::Receiver<()> {
        let mut current = self.current();
        current.disk = watermark;
        self.set_thresholds(&current)
    }

    fn set_thresholds(&self, settings: &Settings) -> flume::Receiver<()> {
        let thresholds = Thresholds::new(settings);
        self.thresholds.set(thresholds);
        self.watch.set(thresholds)
    }

    fn current(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

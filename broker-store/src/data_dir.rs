//! The data directory: who may use it, what format it has, and where things are in it.
//!
//! ```text
//! ringmq.format     "format 1" and the number of partitions
//! ringmq.lock       locked while a broker runs
//! catalog.redb      definitions
//! durable/partition-0/, ...
//! volatile/partition-0/, ...
//! dropped-0/, ...  volatile logs of earlier runs, which are being deleted
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::error::StoreError;
use crate::ids::PartitionId;

/// The format that this release writes, and the newest that it reads.
const FORMAT: u32 = 1;
const FORMAT_FILE: &str = "ringmq.format";
const LOCK_FILE: &str = "ringmq.lock";
const VOLATILE: &str = "volatile";
const DROPPED: &str = "dropped-";

/// An open data directory. Locked until it is dropped; the lock also ends with the process.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    partitions: u16,
    /// Held for its lock.
    _lock: File,
}

impl DataDir {
    /// Opens a data directory, or makes one with `partitions` partitions. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::NewerFormat`], [`StoreError::Malformed`], and those of the file system.
    pub fn open(path: &Path, partitions: u16) -> Result<Self, StoreError> {
        fs::create_dir_all(path).map_err(|source| StoreError::io("create", path, source))?;
        let lock = lock(path)?;
        let partitions = match read_format(&path.join(FORMAT_FILE))? {
            Some(existing) => existing,
            None => {
                write_format(path, partitions)
                    .map_err(|source| StoreError::io("write format of", path, source))?;
                partitions
            }
        };
        drop_volatile(path).map_err(|source| StoreError::io("empty", path, source))?;
        Ok(Self { path: path.to_owned(), partitions, _lock: lock })
    }

    /// Deletes the volatile logs of earlier runs. [`DataDir::open`] only puts them aside: to delete gigabytes takes
    /// seconds. Blocks.
    ///
    /// # Errors
    /// Those of the file system; what is left is deleted the next time.
    pub fn delete_dropped(&self) -> Result<(), StoreError> {
        let error = |source| StoreError::io("clean up", &self.path, source);
        for entry in fs::read_dir(&self.path).map_err(error)? {
            let entry = entry.map_err(error)?;
            if entry.file_name().to_string_lossy().starts_with(DROPPED) {
                fs::remove_dir_all(entry.path()).map_err(error)?;
            }
        }
        Ok(())
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of partitions, fixed when the directory was made.
    #[must_use]
    pub fn partitions(&self) -> u16 {
        self.partitions
    }

    /// The catalog's file.
    #[must_use]
    pub fn catalog(&self) -> PathBuf {
        self.path.join("catalog.redb")
    }

    /// Directory of a partition's durable log.
    #[must_use]
    pub fn durable_log(&self, partition: PartitionId) -> PathBuf {
        self.path.join("durable").join(format!("partition-{}", partition.0))
    }

    /// Directory of a partition's volatile log.
    #[must_use]
    pub fn volatile_log(&self, partition: PartitionId) -> PathBuf {
        self.path.join(VOLATILE).join(format!("partition-{}", partition.0))
    }
}

/// Puts the volatile logs of the last run aside.
fn drop_volatile(path: &Path) -> io::Result<()> {
    let volatile = path.join(VOLATILE);
    if !volatile.try_exists()? {
        return Ok(());
    }
    let free = (0..).map(|n| path.join(format!("{DROPPED}{n}"))).find(|aside| !aside.exists());
    free.map_or(Ok(()), |aside| fs::rename(volatile, aside))
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let file = path.join(LOCK_FILE);
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&file)
        .map_err(|source| StoreError::io("open", &file, source))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Locked { path: path.to_owned() }),
        Err(error) => Err(StoreError::io("lock", &file, error.into())),
    }
}

/// The number of partitions, if the directory was made before.
fn read_format(path: &Path) -> Result<Option<u16>, StoreError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StoreError::io("read", path, source)),
    };
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u32>().ok());
        line.ok_or_else(|| StoreError::Malformed { path: path.to_owned(), reason: format!("no line `{name} N`") })
    };
    let format = value("format")?;
    if format > FORMAT {
        return Err(StoreError::NewerFormat { path: path.to_owned(), found: format, supported: FORMAT });
    }
    match u16::try_from(value("partitions")?) {
        Ok(partitions) if partitions > 0 => Ok(Some(partitions)),
        _ => Err(StoreError::Malformed { path: path.to_owned(), reason: "partitions out of range".to_owned() }),
    }
}

/// Written under another name first, so that it is there as a whole or not at all.
fn write_format(dir: &Path, partitions: u16) -> io::Result<()> {
    let new = dir.join("ringmq.format.new");
    let mut file = File::create(&new)?;
    write!(file, "format {FORMAT}\npartitions {partitions}\n")?;
    file.sync_all()?;
    fs::rename(&new, dir.join(FORMAT_FILE))?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_fixed_when_the_directory_is_made() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(DataDir::open(dir.path(), 3).unwrap().partitions(), 3);
        assert_eq!(DataDir::open(dir.path(), 8).unwrap().partitions(), 3);
    }

    #[test]
    fn volatile_logs_of_the_last_run_are_put_aside_and_deleted() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let data_dir = DataDir::open(dir.path(), 1).unwrap();
            let log = data_dir.volatile_log(PartitionId(0));
            assert!(!log.exists());
            fs::create_dir_all(&log).unwrap();
            fs::write(log.join("segment"), "old").unwrap();
        }
        let data_dir = DataDir::open(dir.path(), 1).unwrap();
        let dropped = || {
            fs::read_dir(dir.path())
                .unwrap()
                .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(DROPPED))
        };
        assert_eq!(dropped().count(), 2);
        data_dir.delete_dropped().unwrap();
        assert_eq!(dropped().count(), 0);
    }

    #[test]
    fn a_directory_in_use_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let _open = DataDir::open(dir.path(), 1).unwrap();
        assert!(matches!(DataDir::open(dir.path(), 1), Err(StoreError::Locked { .. })));
    }

    #[test]
    fn a_newer_format_is_refused_and_a_malformed_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FORMAT_FILE), "format 2\npartitions 1\n").unwrap();
        let error = DataDir::open(dir.path(), 1).unwrap_err();
        assert!(matches!(error, StoreError::NewerFormat { found: 2, supported: 1, .. }));
        fs::write(dir.path().join(FORMAT_FILE), "format 1\npartitions none\n").unwrap();
        assert!(matches!(DataDir::open(dir.path(), 1), Err(StoreError::Malformed { .. })));
    }
}

//! What can go wrong in the store.

use std::io;
use std::path::{Path, PathBuf};

use crate::ids::SegmentId;

/// An error of the store. Those of input and output name the operation and the file, corruption names the place.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An operation on a file failed.
    #[error("{op} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        op: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Stored bytes are not what was written.
    #[error("segment {} is damaged at byte {offset}: {reason}", segment.0)]
    Corrupt {
        /// The segment.
        segment: SegmentId,
        /// Offset in the segment, in bytes.
        offset: u32,
        /// What is wrong there.
        reason: &'static str,
    },
    /// No preallocated room is left: the disk is full. Room is announced by [`LogEvent::NoSpace`](crate::LogEvent).
    #[error("the log has no room left")]
    Full,
    /// A record is larger than a segment can hold.
    #[error("a record of {length} bytes does not fit into a segment")]
    TooLarge {
        /// Length of the record, in bytes.
        length: usize,
    },
    /// A write or sync failed before. What is on disk is unknown until the log is opened again.
    #[error("the log failed and takes no more work until it is opened again")]
    Poisoned,
    /// Another process has the data directory.
    #[error("data directory {} is in use by another broker", path.display())]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// The data was written by a newer release.
    #[error("{} has format {found}, this release reads up to format {supported}", path.display())]
    NewerFormat {
        /// File or directory.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format that this release reads.
        supported: u32,
    },
    /// A file that describes the data directory cannot be understood.
    #[error("{} is malformed: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The catalog's database failed.
    #[error("catalog: {0}")]
    Catalog(String),
}

impl StoreError {
    /// An error of `op` on `path`.
    pub(crate) fn io(op: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { op, path: path.to_owned(), source }
    }

    /// True if the disk (or the quota) is full.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::Full => true,
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }
}

//! The file-system seam: everything that the log asks of the disk. Two implementations: [`GlommioFs`] on a
//! glommio executor, and [`SimFs`], a simulated disk that fails on a seed.

mod sim;
mod uring;

use std::future::Future;
use std::io;
use std::ops::Range;
use std::path::Path;

use crate::map::Mapping;

pub use sim::{Faults, SimFile, SimFs};
pub use uring::{GlommioFile, GlommioFs, Helper};

/// A file system. Calls are not `Send`: they are made on the thread of the shard, and must not block it.
///
/// Errors are the system's; [`io::ErrorKind::StorageFull`] and [`io::ErrorKind::QuotaExceeded`] mean that the disk is full.
pub trait Fs: Clone + 'static {
    /// An open file. Cheap to clone.
    type File: Clone;

    /// Opens a file for reading and writing, and creates it if asked.
    fn open(&self, path: &Path, create: bool) -> impl Future<Output = io::Result<Self::File>>;
    /// Writes all of `bytes`; fewer is an error. The bytes belong to the call until it is done.
    fn write_at(&self, file: &Self::File, bytes: Vec<u8>, offset: u64) -> impl Future<Output = io::Result<()>>;
    /// Makes what was written to the file durable (fdatasync).
    fn sync(&self, file: &Self::File) -> impl Future<Output = io::Result<()>>;
    /// Reserves space for `range`, so that writing to it cannot find the disk full. The file grows if it must.
    fn allocate(&self, file: &Self::File, range: Range<u64>) -> impl Future<Output = io::Result<()>>;
    /// Writes zeros over the first `length` bytes.
    fn zero(&self, file: &Self::File, length: u64) -> impl Future<Output = io::Result<()>>;
    /// Sets the length of a file.
    fn set_len(&self, file: &Self::File, length: u64) -> impl Future<Output = io::Result<()>>;
    /// Renames a file over another. Durable after `sync_dir`.
    fn rename(&self, from: &Path, to: &Path) -> impl Future<Output = io::Result<()>>;
    /// Removes a file; one that does not exist is no error. Durable after `sync_dir`.
    fn delete(&self, path: &Path) -> impl Future<Output = io::Result<()>>;
    /// Makes the entries of a directory durable.
    fn sync_dir(&self, path: &Path) -> impl Future<Output = io::Result<()>>;
    /// Makes a directory and those above it, durably.
    fn create_dir(&self, path: &Path) -> impl Future<Output = io::Result<()>>;
    /// Names and lengths of the files in a directory, in any order.
    fn list(&self, path: &Path) -> impl Future<Output = io::Result<Vec<(String, u64)>>>;
    /// The whole file, read-only.
    fn map(&self, path: &Path) -> impl Future<Output = io::Result<Mapping>>;
    /// Brings a range of a mapped file into memory. The mapping returned sees at least what was written before.
    fn populate(
        &self,
        path: &Path,
        mapping: Mapping,
        range: Range<usize>,
    ) -> impl Future<Output = io::Result<Mapping>>;
    /// Microseconds since an arbitrary moment, by a clock that never goes back: to measure how long calls take.
    fn clock_us(&self) -> u64;
    /// Runs long work away from the shard's thread.
    fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T>;
}

//! Read-only views of files. The one place with unsafe code: the system cannot promise that a mapped file stays as it is,
//! so this module says why ours do. Nothing is ever written through a mapping.
#![expect(unsafe_code, reason = "mapping a file and giving pages back have no safe form")]

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use memmap2::{Advice, Mmap, UncheckedAdvice};

/// A file as bytes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mapping(Inner);

#[derive(Clone, Debug)]
enum Inner {
    File(Arc<Mmap>),
    Memory(Arc<Vec<u8>>),
}

impl Mapping {
    /// Maps all of the file at `path`. Blocks.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: a mapped file must not shrink or be changed by others. The data directory is locked against other
        // processes. This process truncates a segment only during recovery, before it is mapped for reading, and
        // overwrites only bytes that no position refers to; a recycled file is unmapped first.
        let map = unsafe { Mmap::map(&file) }?;
        Ok(Self(Inner::File(Arc::new(map))))
    }

    /// Bytes in memory, for file systems that are no real ones.
    #[must_use]
    pub fn in_memory(bytes: Vec<u8>) -> Self {
        Self(Inner::Memory(Arc::new(bytes)))
    }

    /// Reads the pages of `range` into memory, so that touching them does not block. Blocks.
    pub fn populate(&self, range: Range<usize>) -> io::Result<()> {
        let Inner::File(map) = &self.0 else { return Ok(()) };
        let end = range.end.min(map.len());
        let start = range.start.min(end);
        map.advise_range(Advice::PopulateRead, start, end - start)
    }

    /// Takes the pages of `range` out of this process; they may stay in the page cache.
    pub(crate) fn release(&self, range: Range<usize>) {
        let Inner::File(map) = &self.0 else { return };
        let end = range.end.min(map.len());
        let start = range.start.min(end);
        // SAFETY: the mapping is shared and read-only, so pages that are given up are read from the file again.
        let released = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start) };
        // Only memory is lost if the system refuses.
        drop(released);
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Inner::File(map) => map,
            Inner::Memory(bytes) => bytes,
        }
    }
}

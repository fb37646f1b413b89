//! A simulated disk that fails on a seed.
//!
//! # Fault model
//!
//! Every file has a *live* image, which reads see, and a *durable* one, which a power cut leaves. In between are the
//! writes and changes of length since the last sync. At a power cut:
//!
//! - each of them is kept, lost, or torn (any subset of its sectors of 512 bytes is kept), independently of the others, so
//!   later ones may survive earlier ones;
//! - of the changes to directory entries since the last `sync_dir` a prefix survives, as with a journal; a rename is one change;
//! - what was synced stays as it was.
//!
//! A killed process loses nothing: the live image stays. Besides:
//!
//! - after a number of operations every operation fails, until the power is cut: a crash in the middle of anything;
//! - a sync fails, once: what it covered may be on disk or not, and no later sync covers it;
//! - a write is cut short, once, and fails;
//! - the disk has a capacity: allocating or writing beyond it fails;
//! - bits flip where a test says so;
//! - operations take turns: each waits a random number of polls, so that concurrent ones finish in any order.
//!
//! Not modelled: a disk that loses what it said was synced (except with [`Faults::ignore_syncs`], which a test uses to prove that it would be
//! noticed), and a directory that loses synced entries.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::Fs;
use crate::map::Mapping;

const SECTOR: usize = 512;
const BLOCK: u64 = 4096;

/// What goes wrong. The default is nothing.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Operations that succeed before all fail.
    pub crash_after: Option<u64>,
    /// Syncs of files that succeed before one fails.
    pub fail_sync_after: Option<u64>,
    /// Writes that succeed before one is cut short.
    pub short_write_after: Option<u64>,
    /// Bytes that files may take, if limited.
    pub capacity: Option<u64>,
    /// An operation waits up to this many polls.
    pub latency: u64,
    /// Syncs of files do nothing and say that they succeeded.
    pub ignore_syncs: bool,
}

/// A simulated disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimFs {
    disk: Rc<RefCell<Disk>>,
}

/// An open file of a [`SimFs`].
#[derive(Clone, Copy, Debug)]
pub struct SimFile(usize);

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Debug, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Since the last sync.
    pending: Vec<Change>,
    /// What a failed sync covered.
    limbo: Vec<Change>,
    /// Blocks that take space.
    blocks: BTreeSet<u64>,
}

#[derive(Debug)]
enum Entry {
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Delete(PathBuf),
}

#[derive(Debug)]
struct Disk {
    inodes: Vec<Inode>,
    live: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    entries: Vec<Entry>,
    faults: Faults,
    operations: u64,
    random: u64,
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Length(length) => image.resize(*length, 0),
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if image.len() < end {
                    image.resize(end, 0);
                }
                image[*offset..end].copy_from_slice(bytes);
            }
        }
    }
}

impl Entry {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Create(path, inode) => drop(names.insert(path.clone(), *inode)),
            Self::Delete(path) => drop(names.remove(path)),
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}

impl Disk {
    /// A number below `limit` (splitmix64).
    fn random(&mut self, limit: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit.max(1)
    }

    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        if self.is_crashed() { Err(io::Error::other("the simulated machine is off")) } else { Ok(()) }
    }

    fn is_crashed(&self) -> bool {
        self.faults.crash_after.is_some_and(|after| self.operations > after)
    }

    /// Reserves blocks for a range of a file.
    fn reserve(&mut self, inode: usize, range: Range<u64>) -> io::Result<()> {
        let wanted = range.start / BLOCK..range.end.div_ceil(BLOCK);
        let more: Vec<u64> = wanted.filter(|block| !self.inodes[inode].blocks.contains(block)).collect();
        if let Some(capacity) = self.faults.capacity {
            let linked: BTreeSet<usize> = self.live.values().copied().collect();
            let used: usize = linked.iter().map(|&inode| self.inodes[inode].blocks.len()).sum();
            if (used + more.len()) as u64 * BLOCK > capacity {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        self.inodes[inode].blocks.extend(more);
        Ok(())
    }

    fn change(&mut self, inode: usize, change: Change) {
        change.apply(&mut self.inodes[inode].live);
        self.inodes[inode].pending.push(change);
    }

    /// Lets chance decide what of a change survives.
    fn survive(&mut self, change: &Change, image: &mut Vec<u8>) {
        match (self.random(4), change) {
            (0, _) => {}
            (1, Change::Write { offset, bytes }) => {
                for (at, sector) in bytes.chunks(SECTOR).enumerate() {
                    if self.random(2) == 0 {
                        let (offset, bytes) = (offset + at * SECTOR, sector.to_vec());
                        Change::Write { offset, bytes }.apply(image);
                    }
                }
            }
            _ => change.apply(image),
        }
    }

    fn power_cut(&mut self) {
        let entries = std::mem::take(&mut self.entries);
        let kept = usize::try_from(self.random(entries.len() as u64 + 1)).unwrap_or(0);
        for entry in &entries[..kept] {
            entry.apply(&mut self.durable);
        }
        self.live = self.durable.clone();
        for at in 0..self.inodes.len() {
            let mut inode = std::mem::take(&mut self.inodes[at]);
            for change in inode.limbo.drain(..).chain(inode.pending.drain(..)).collect::<Vec<_>>() {
                self.survive(&change, &mut inode.durable);
            }
            inode.live = inode.durable.clone();
            self.inodes[at] = inode;
        }
        self.faults = Faults::default();
        self.operations = 0;
    }

    fn inode(&self, path: &Path) -> io::Result<usize> {
        self.live.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn entry(&mut self, entry: Entry) {
        entry.apply(&mut self.live);
        self.entries.push(entry);
    }

    fn write(&mut self, inode: usize, mut bytes: Vec<u8>, offset: u64) -> io::Result<()> {
        self.reserve(inode, offset..offset + bytes.len() as u64)?;
        let short = match &mut self.faults.short_write_after {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        if short {
            self.faults.short_write_after = None;
            let kept = usize::try_from(self.random(bytes.len() as u64)).unwrap_or(0);
            bytes.truncate(kept);
        }
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.change(inode, Change::Write { offset, bytes });
        if short { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
    }

    fn sync(&mut self, inode: usize) -> io::Result<()> {
        if self.faults.ignore_syncs {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.inodes[inode].pending);
        match &mut self.faults.fail_sync_after {
            Some(0) => {
                self.faults.fail_sync_after = None;
                self.inodes[inode].limbo.extend(pending);
                return Err(io::Error::other("the simulated sync failed"));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        for change in &pending {
            change.apply(&mut self.inodes[inode].durable);
        }
        Ok(())
    }
}

impl SimFs {
    /// An empty disk. The same seed and calls give the same disk.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let disk = Disk {
            inodes: Vec::new(),
            live: BTreeMap::new(),
            durable: BTreeMap::new(),
            entries: Vec::new(),
            faults: Faults::default(),
            operations: 0,
            random: seed,
        };
        Self { disk: Rc::new(RefCell::new(disk)) }
    }

    /// Says what goes wrong from now on; operations are counted from now on.
    pub fn set_faults(&self, faults: Faults) {
        let mut disk = self.disk.borrow_mut();
        disk.faults = faults;
        disk.operations = 0;
    }

    /// Operations since the faults were set.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.disk.borrow().operations
    }

    /// True from the crash to the power cut.
    #[must_use]
    pub fn is_crashed(&self) -> bool {
        self.disk.borrow().is_crashed()
    }

    /// Loses what was not synced, as chance will have it. Then the disk works again, without faults.
    pub fn power_cut(&self) {
        self.disk.borrow_mut().power_cut();
    }

    /// Bytes that the files take.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        let disk = self.disk.borrow();
        disk.live.values().map(|&inode| disk.inodes[inode].blocks.len() as u64 * BLOCK).sum()
    }

    /// Flips a bit of a file, in both images.
    pub fn flip_bit(&self, path: &Path, offset: usize, bit: u8) {
        let mut disk = self.disk.borrow_mut();
        if let Some(&inode) = disk.live.get(path) {
            let inode = &mut disk.inodes[inode];
            for image in [&mut inode.live, &mut inode.durable] {
                if let Some(byte) = image.get_mut(offset) {
                    *byte ^= 1 << (bit % 8);
                }
            }
        }
    }

    /// Waits for the disk.
    async fn operate(&self) -> io::Result<()> {
        let latency = self.disk.borrow().faults.latency;
        let mut polls = if latency > 0 { self.disk.borrow_mut().random(latency) } else { 0 };
        std::future::poll_fn(|context| {
            if polls == 0 {
                return std::task::Poll::Ready(());
            }
            polls -= 1;
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        })
        .await;
        self.disk.borrow_mut().operate()
    }
}

impl Fs for SimFs {
    type File = SimFile;

    async fn open(&self, path: &Path, create: bool) -> io::Result<SimFile> {
        self.operate().await?;
        let mut disk = self.disk.borrow_mut();
        match disk.inode(path) {
            Err(_) if create => {
                let inode = disk.inodes.len();
                disk.inodes.push(Inode::default());
                disk.entry(Entry::Create(path.to_owned(), inode));
                Ok(SimFile(inode))
            }
            found => found.map(SimFile),
        }
    }

    async fn write_at(&self, file: &SimFile, bytes: Vec<u8>, offset: u64) -> io::Result<()> {
        self.operate().await?;
        self.disk.borrow_mut().write(file.0, bytes, offset)
    }

    async fn sync(&self, file: &SimFile) -> io::Result<()> {
        self.operate().await?;
        self.disk.borrow_mut().sync(file.0)
    }

    async fn allocate(&self, file: &SimFile, range: Range<u64>) -> io::Result<()> {
        self.operate().await?;
        let mut disk = self.disk.borrow_mut();
        disk.reserve(file.0, range.clone())?;
        let end = usize::try_from(range.end).map_err(io::Error::other)?;
        if disk.inodes[file.0].live.len() < end {
            disk.change(file.0, Change::Length(end));
        }
        Ok(())
    }

    async fn zero(&self, file: &SimFile, length: u64) -> io::Result<()> {
        self.operate().await?;
        let mut disk = self.disk.borrow_mut();
        let length = usize::try_from(length).map_err(io::Error::other)?;
        disk.write(file.0, vec![0; length], 0)?;
        disk.sync(file.0)
    }

    async fn set_len(&self, file: &SimFile, length: u64) -> io::Result<()> {
        self.operate().await?;
        let mut disk = self.disk.borrow_mut();
        let end = usize::try_from(length).map_err(io::Error::other)?;
        disk.inodes[file.0].blocks.retain(|block| block * BLOCK < length);
        disk.change(file.0, Change::Length(end));
        Ok(())
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operate().await?;
        let mut disk = self.disk.borrow_mut();
        disk.inode(from)?;
        disk.entry(Entry::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    async fn delete(&self, path: &Path) -> io::Result<()> {
        self.operate().await?;
        let mut disk = self.disk.borrow_mut();
        if disk.inode(path).is_ok() {
            disk.entry(Entry::Delete(path.to_owned()));
        }
        Ok(())
    }

    async fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        self.operate().await?;
        let mut disk = self.disk.borrow_mut();
        for entry in std::mem::take(&mut disk.entries) {
            entry.apply(&mut disk.durable);
        }
        Ok(())
    }

    async fn create_dir(&self, _path: &Path) -> io::Result<()> {
        self.operate().await
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<(String, u64)>> {
        self.operate().await?;
        let disk = self.disk.borrow();
        let here = disk.live.iter().filter(|(name, _)| name.parent() == Some(path));
        let name = |name: &Path| name.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(here.filter_map(|(path, &inode)| Some((name(path)?, disk.inodes[inode].live.len() as u64))).collect())
    }

    async fn map(&self, path: &Path) -> io::Result<Mapping> {
        self.operate().await?;
        let disk = self.disk.borrow();
        Ok(Mapping::in_memory(disk.inodes[disk.inode(path)?].live.clone()))
    }

    async fn populate(&self, path: &Path, _mapping: Mapping, _range: Range<usize>) -> io::Result<Mapping> {
        self.map(path).await
    }

    /// No time passes on the simulated disk.
    fn clock_us(&self) -> u64 {
        0
    }

    async fn run_blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        work()
    }
}

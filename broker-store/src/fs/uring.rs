//! Files on a glommio executor. Writes and syncs go through the ring; everything that is rare or may block
//! for long runs on a [`Helper`] thread.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread;
use std::time::Instant;

use glommio::io::{BufferedFile, OpenOptions as RingOpenOptions};
use rustc_hash::FxHashMap;
use rustix::fs::{FallocateFlags, fallocate};

use super::Fs;
use crate::doorbell::{Bell, Doorbell};
use crate::map::Mapping;

/// Bytes written at a time when a file is zeroed.
const ZEROS_BYTES: usize = 1024 * 1024;
/// Files kept open. Only a few are written at any time.
const MAX_OPEN_FILES: usize = 16;

type Job = Box<dyn FnOnce() + Send>;

/// A thread for what would block an executor. It ends when its last handle is dropped.
#[derive(Clone, Debug)]
pub struct Helper {
    jobs: flume::Sender<Job>,
}

impl Helper {
    /// Starts the thread. It rings `doorbell` after each job.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub fn start(name: &str, doorbell: Doorbell) -> io::Result<Self> {
        let (jobs, todo) = flume::unbounded::<Job>();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            for job in todo {
                job();
                doorbell.ring();
            }
        })?;
        Ok(Self { jobs })
    }
}

/// The files of one executor.
#[derive(Clone)]
pub struct GlommioFs {
    open: Rc<RefCell<FxHashMap<PathBuf, GlommioFile>>>,
    helper: Helper,
    bell: Bell,
    /// What [`Fs::clock_us`] counts from.
    made: Instant,
}

/// An open file.
#[derive(Clone)]
pub struct GlommioFile {
    ring: Rc<BufferedFile>,
    path: Rc<Path>,
}

impl std::fmt::Debug for GlommioFs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GlommioFs").field("open", &self.open.borrow().len()).finish()
    }
}

impl std::fmt::Debug for GlommioFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("GlommioFile").field(&self.path).finish()
    }
}

impl GlommioFs {
    /// The files of the executor on which this is called. `bell` hears the doorbell of `helper`.
    #[must_use]
    pub fn new(helper: Helper, bell: Bell) -> Self {
        Self { open: Rc::default(), helper, bell, made: Instant::now() }
    }

    fn forget(&self, path: &Path) {
        self.open.borrow_mut().remove(path);
    }

    async fn blocking<T: Send + 'static>(&self, path: &Path, work: fn(&Path) -> io::Result<T>) -> io::Result<T> {
        let path = path.to_owned();
        self.run_blocking(move || work(&path)).await
    }

    /// Runs `work` on the helper thread with a handle of its own.
    async fn with_file(
        &self,
        file: &GlommioFile,
        work: impl FnOnce(&File) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let path = file.path.to_path_buf();
        self.run_blocking(move || work(&OpenOptions::new().write(true).open(path)?)).await
    }
}

impl Fs for GlommioFs {
    type File = GlommioFile;

    async fn open(&self, path: &Path, create: bool) -> io::Result<GlommioFile> {
        let known = self.open.borrow().get(path).cloned();
        if let Some(file) = known {
            return Ok(file);
        }
        let ring = RingOpenOptions::new().read(true).write(true).create(create).buffered_open(path).await?;
        let file = GlommioFile { ring: Rc::new(ring), path: path.into() };
        let mut open = self.open.borrow_mut();
        if open.len() >= MAX_OPEN_FILES {
            open.clear();
        }
        open.insert(path.to_owned(), file.clone());
        Ok(file)
    }

    async fn write_at(&self, file: &GlommioFile, bytes: Vec<u8>, offset: u64) -> io::Result<()> {
        let length = bytes.len();
        let written = file.ring.write_at(bytes, offset).await?;
        // glommio keeps the buffer, so the rest cannot be written again. Short writes to preallocated files do not
        // happen on a healthy system.
        if written < length { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
    }

    async fn sync(&self, file: &GlommioFile) -> io::Result<()> {
        Ok(file.ring.fdatasync().await?)
    }

    async fn allocate(&self, file: &GlommioFile, range: Range<u64>) -> io::Result<()> {
        self.with_file(file, move |file| {
            Ok(fallocate(file, FallocateFlags::empty(), range.start, range.end - range.start)?)
        })
        .await
    }

    async fn zero(&self, file: &GlommioFile, length: u64) -> io::Result<()> {
        self.with_file(file, move |file| {
            let zeros = vec![0; ZEROS_BYTES];
            let mut offset = 0;
            while offset < length {
                let more = usize::try_from(length - offset).unwrap_or(usize::MAX).min(ZEROS_BYTES);
                file.write_all_at(&zeros[..more], offset)?;
                offset += more as u64;
            }
            file.sync_data()
        })
        .await
    }

    async fn set_len(&self, file: &GlommioFile, length: u64) -> io::Result<()> {
        self.with_file(file, move |file| file.set_len(length)).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.forget(from);
        self.forget(to);
        let (from, to) = (from.to_owned(), to.to_owned());
        self.run_blocking(move || fs::rename(from, to)).await
    }

    async fn delete(&self, path: &Path) -> io::Result<()> {
        self.forget(path);
        self.blocking(path, |path| match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        })
        .await
    }

    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.blocking(path, |path| File::open(path)?.sync_all()).await
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.blocking(path, |path| {
            fs::create_dir_all(path)?;
            path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
        })
        .await
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<(String, u64)>> {
        self.blocking(path, |path| {
            let mut files = Vec::new();
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                if let Ok(name) = entry.file_name().into_string()
                    && metadata.is_file()
                {
                    files.push((name, metadata.len()));
                }
            }
            Ok(files)
        })
        .await
    }

    async fn map(&self, path: &Path) -> io::Result<Mapping> {
        self.blocking(path, Mapping::open).await
    }

    async fn populate(&self, _path: &Path, mapping: Mapping, range: Range<usize>) -> io::Result<Mapping> {
        self.run_blocking(move || mapping.populate(range).map(|()| mapping)).await
    }

    fn clock_us(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    async fn run_blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = flume::bounded(1);
        let job = Box::new(move || {
            // A caller that has been cancelled does not want the result.
            let _ = done.send(work());
        });
        // The thread is there as long as its handles, and answers every job unless the job panics, which is passed on.
        let _ = self.helper.jobs.send(job);
        self.bell.recv(&result).await.expect("a job of the helper thread does not panic")
    }
}

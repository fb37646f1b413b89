//! Where the log goes: standard error, a file, and a file of its own for what administrators change.
//!
//! What happens is told by `tracing`; this module subscribes to it. Levels and files can be changed while the broker runs, the form of
//! lines cannot. A file is opened again when it is asked for, so that other tools can rotate it.

mod journal;

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::Log;
use crate::startup::StartError;

/// The target of what administrators change.
pub const AUDIT: &str = "audit";

type Boxed = Box<dyn Layer<Registry> + Send + Sync>;

/// The log, to be changed while the broker runs.
#[derive(Debug)]
pub struct Logging {
    console: reload::Handle<EnvFilter, Registry>,
    file: Output,
    audit: Output,
    places: Places,
}

/// Where the log goes at present.
#[derive(Clone, Debug)]
pub struct Places {
    console: Arc<AtomicBool>,
    files: [LogFile; 2],
}

impl Places {
    /// The files' paths, and `<stderr>`, as RabbitMQ names such a place.
    pub(crate) fn names(&self) -> Vec<String> {
        let files = self.files.iter().filter_map(LogFile::path).map(|path| path.display().to_string());
        let console = self.console.load(Ordering::Relaxed).then(|| "<stderr>".to_owned());
        files.chain(console).collect()
    }
}

/// A file that is written to, and what is written.
#[derive(Debug)]
struct Output {
    filter: reload::Handle<EnvFilter, Registry>,
    file: LogFile,
}

/// Starts the log. To be called once in a process.
pub fn start(log: &Log) -> Result<Logging, StartError> {
    let filters = Filters::new(log)?;
    let (console_filter, console) = reload::Layer::new(filters.console);
    let (file, file_writer, file_filter) = Output::new(filters.file, log.file.as_deref())?;
    let (audit, audit_writer, audit_filter) = Output::new(filters.audit, log.audit_file.as_deref())?;
    let console_layer: Boxed = if log.json {
        fmt::layer().json().with_writer(io::stderr).boxed()
    } else if journal::is_standard_error() {
        // The journal has its own times, and takes levels from the front of a line.
        fmt::layer().with_ansi(false).event_format(journal::Lines::default()).with_writer(io::stderr).boxed()
    } else {
        fmt::layer().with_ansi(io::stderr().is_terminal()).with_writer(io::stderr).boxed()
    };
    let file_layer: Boxed = if log.file_json {
        fmt::layer().json().with_writer(file_writer).boxed()
    } else {
        fmt::layer().with_ansi(false).with_writer(file_writer).boxed()
    };
    let audit_layer: Boxed = fmt::layer().json().flatten_event(true).with_writer(audit_writer).boxed();
    let layers: Vec<Boxed> = vec![
        console_layer.with_filter(console_filter).boxed(),
        file_layer.with_filter(file_filter).boxed(),
        audit_layer.with_filter(audit_filter).boxed(),
    ];
    tracing_subscriber::registry().with(layers).init();
    let places =
        Places { console: Arc::new(AtomicBool::new(!log.off)), files: [file.file.clone(), audit.file.clone()] };
    Ok(Logging { console, file, audit, places })
}

/// Checks what [`start`] would, without starting anything or opening files.
pub fn check(log: &Log) -> Result<(), StartError> {
    Filters::new(log).map(drop)
}

impl Logging {
    /// Where the log goes, now and after it is changed.
    pub(crate) fn places(&self) -> Places {
        self.places.clone()
    }

    /// Changes levels, and opens the files again, which may be others. A file that cannot be opened stays what it was.
    pub fn reload(&self, log: &Log) {
        for (output, path) in [(&self.file, &log.file), (&self.audit, &log.audit_file)] {
            if let Err(error) = output.file.open(path.as_deref()) {
                tracing::error!(%error, "the old log file stays in use");
            }
        }
        self.set_levels(log);
    }

    /// Changes what is logged, and leaves alone where to.
    pub fn set_levels(&self, log: &Log) {
        match Filters::new(log) {
            Ok(Filters { console, file, audit }) => {
                // The subscriber lives as long as the process.
                let _ = self.console.reload(console);
                let _ = self.file.filter.reload(file);
                let _ = self.audit.filter.reload(audit);
                self.places.console.store(!log.off, Ordering::Relaxed);
            }
            Err(error) => tracing::error!(%error, "the log stays as it was"),
        }
    }
}

impl Output {
    fn new(
        filter: EnvFilter,
        path: Option<&Path>,
    ) -> Result<(Self, LogFile, reload::Layer<EnvFilter, Registry>), StartError> {
        let file = LogFile::default();
        file.open(path)?;
        let (layer, filter) = reload::Layer::new(filter);
        Ok((Self { filter, file: file.clone() }, file, layer))
    }
}

/// What goes where.
struct Filters {
    console: EnvFilter,
    file: EnvFilter,
    audit: EnvFilter,
}

impl Filters {
    fn new(log: &Log) -> Result<Self, StartError> {
        let of = |on: bool, level: &Option<String>| {
            let mut filter = if on { level.as_ref().unwrap_or(&log.level).clone() } else { "off".to_owned() };
            if on {
                for (target, level) in &log.categories {
                    filter = format!("{filter},{target}={level}");
                }
                if log.audit_file.is_some() {
                    filter = format!("{filter},{AUDIT}=off");
                }
            }
            EnvFilter::try_new(&filter)
                .map_err(|error| StartError::LogFilter { filter, reason: error.to_string() })
        };
        let audit = if log.audit_file.is_some() { format!("off,{AUDIT}=info") } else { "off".to_owned() };
        Ok(Self {
            console: of(!log.off, &log.console_level)?,
            file: of(log.file.is_some(), &log.file_level)?,
            audit: EnvFilter::new(audit),
        })
    }
}

/// A file that lines are added to; none: lines are thrown away.
#[derive(Clone, Debug, Default)]
struct LogFile(Arc<Mutex<Option<(PathBuf, File)>>>);

impl LogFile {
    /// Opens a file, which is made if it is missing: readable by owner and group.
    fn open(&self, path: Option<&Path>) -> Result<(), StartError> {
        let open = |path: &Path| {
            let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path);
            match file {
                Ok(file) => Ok((PathBuf::from(path), file)),
                Err(source) => Err(StartError::LogFile { path: PathBuf::from(path), source }),
            }
        };
        let file = path.map(open).transpose()?;
        *self.lock() = file;
        Ok(())
    }

    fn path(&self) -> Option<PathBuf> {
        self.lock().as_ref().map(|(path, _)| path.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<(PathBuf, File)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &mut *self.lock() {
            // One call for each line: lines of several threads do not mix.
            Some((_, file)) => file.write(line),
            None => Ok(line.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

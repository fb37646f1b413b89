//! Lines for the journal of systemd: without times, with the level in front as a number (sd-daemon(3)).

use std::fmt;
use std::io;

use rustix::fs::{Stat, fstat};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// True if standard error is the journal: systemd then names its device and inode in `JOURNAL_STREAM`.
pub(super) fn is_standard_error() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    fstat(io::stderr()).is_ok_and(|stat| names(&stream, &stat))
}

fn names(stream: &str, stat: &Stat) -> bool {
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}

/// The lines.
pub(super) struct Lines(Format<Full, ()>);

impl Default for Lines {
    fn default() -> Self {
        Self(Format::default().without_time().with_level(false).with_ansi(false))
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

/// The level as syslog counts.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

//! Configuration files in RabbitMQ's style: one `key = value` per line, comments behind `#`.

use std::fs;
use std::path::{Path, PathBuf};

use super::keys;
use super::settings::Settings;

/// Why a configuration file is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A line cannot be used.
    #[error("{origin}: {reason}")]
    Line {
        /// `file:line`, or the flag.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Reads a file into `settings`. What it says twice counts as it was said last.
pub(super) fn read(path: &Path, settings: &mut Settings) -> Result<(), FileError> {
    let text = fs::read_to_string(path)
        .map_err(|error| FileError::Read { path: path.to_owned(), reason: error.to_string() })?;
    for (number, line) in (1..).zip(text.lines()) {
        set(line, settings)
            .map_err(|reason| FileError::Line { origin: format!("{}:{number}", path.display()), reason })?;
    }
    Ok(())
}

/// Applies a line such as `heartbeat = 10`; nothing if it is empty or a comment.
pub(super) fn set(line: &str, settings: &mut Settings) -> Result<(), String> {
    let line = without_comment(line).trim();
    if line.is_empty() {
        return Ok(());
    }
    let (key, value) = line.split_once('=').ok_or_else(|| "expected `key = value`".to_owned())?;
    keys::set(settings, key.trim(), unquoted(value.trim()))
}

/// A `#` starts a comment where the line starts or behind a space; inside quotes it does not.
fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    let mut before = ' ';
    for (at, letter) in line.char_indices() {
        match letter {
            '\'' => quoted = !quoted,
            '#' if !quoted && before.is_whitespace() => return &line[..at],
            _ => {}
        }
        before = letter;
    }
    line
}

/// A value in single quotes is taken as it is.
fn unquoted(value: &str) -> &str {
    value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn read_text(text: &str) -> Result<Settings, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let mut settings = Settings::default();
        let name = file.path().display().to_string();
        read(file.path(), &mut settings)
            .map(|()| settings)
            .map_err(|error| error.to_string().replace(&name, "rabbitmq.conf"))
    }

    #[test]
    fn comments_quotes_and_spaces_are_rabbitmqs() {
        let settings = read_text(
            "## a comment\n\n  heartbeat=10   # seconds\ndefault_user = 'al#ice '\ndefault_pass = a#b\n",
        )
        .unwrap();
        assert_eq!(settings.connections.heartbeat_s, 10);
        assert_eq!(settings.default_user, "al#ice ");
        assert_eq!(settings.default_pass, "a#b");
    }

    #[test]
    fn errors_name_the_line() {
        for (text, expect) in [
            ("\nheartbeats = 3\n", "rabbitmq.conf:2: unknown key `heartbeats`"),
            ("heartbeat 3", "rabbitmq.conf:1: expected `key = value`"),
            ("heartbeat = x", "rabbitmq.conf:1: heartbeat = x: expected a number from 0 to 65535"),
        ] {
            assert_eq!(read_text(text).unwrap_err(), expect);
        }
    }

    #[test]
    fn a_missing_file_is_an_error() {
        let error = read(Path::new("/nowhere/rabbitmq.conf"), &mut Settings::default()).unwrap_err();
        assert!(error.to_string().starts_with("/nowhere/rabbitmq.conf: "), "{error}");
    }
}

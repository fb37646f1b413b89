//! Passwords that are not on the command line, where everybody on the machine could read them.

use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _, stdin};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::failure::Failure;

/// The first line of a file.
pub(super) fn of_file(path: &Path) -> io::Result<String> {
    let text = fs::read_to_string(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// The password that was given, or else a line of standard input. A terminal does not show it.
pub(super) fn given_or_read(given: Option<String>) -> Result<String, Failure> {
    if let Some(password) = given {
        return Ok(password);
    }
    write!(io::stderr(), "Password: ")?;
    let hidden = stdin().is_terminal().then(Hidden::new).transpose()?;
    let mut line = String::new();
    stdin().lock().read_line(&mut line)?;
    drop(hidden);
    writeln!(io::stderr())?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Failure::Data("Error:\nPassword is not provided via argument or stdin".to_owned()));
    }
    Ok(password.to_owned())
}

/// The terminal shows nothing of what is typed while this lives.
struct Hidden {
    before: Termios,
}

impl Hidden {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(stdin(), OptionalActions::Now, &silent)?;
        Ok(Self { before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that has gone needs no repair.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}

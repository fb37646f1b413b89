//! The broker's process: reads the flags, starts the log, runs the server, turns an error into a sentence and an exit code.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use broker_net::config::{self, Config, Flags};
use broker_net::startup::{self, StartError};
use broker_net::{logging, server};
use clap::Parser;

fn main() -> ExitCode {
    match start(Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringmq: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(flags: Flags) -> Result<(), StartError> {
    if flags.help_config {
        return say(&config::reference());
    }
    if let Some(path) = &flags.import_config {
        return import(path);
    }
    let (check_only, print) = (flags.check_config, flags.print_config);
    let config = Config::new(flags, startup::allowed_cpus()?)?;
    logging::check(&config.settings.log)?;
    if print {
        return say(&config.print());
    }
    if check_only {
        return Ok(());
    }
    let logging = logging::start(&config.settings.log)?;
    server::run(config, logging)
}

/// Prints a rabbitmq.conf as TOML, and to standard error how much of it that is.
fn import(path: &Path) -> Result<(), StartError> {
    let imported = config::import(path)
        .map_err(|source| StartError::Import { path: path.to_owned(), reason: source.to_string() })?;
    say(&imported.toml)?;
    let config::Imported { mapped, without_effect, refused, .. } = imported;
    eprintln!(
        "ringmq: {mapped} lines are settings here, {without_effect} have no effect, {refused} are not known or not possible"
    );
    Ok(())
}

fn say(text: &str) -> Result<(), StartError> {
    io::stdout().write_all(text.as_bytes()).map_err(|source| StartError::System { what: "printing", source })
}

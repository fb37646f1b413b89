//! The broker's process: reads the flags, starts the log, runs the server, turns an error into a sentence and an exit code.

use std::io::{self, IsTerminal, Write as _};
use std::process::ExitCode;

use broker_net::config::{self, Config, Flags};
use broker_net::server;
use broker_net::startup::{self, StartError};
use clap::Parser;
use tracing_subscriber::EnvFilter;

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
        return io::stdout()
            .write_all(config::reference().as_bytes())
            .map_err(|source| StartError::System { what: "printing", source });
    }
    let check_only = flags.check_config;
    let config = Config::new(flags, startup::allowed_cpus()?)?;
    let log = &config.settings.log;
    let filter = if log.off { "off" } else { &log.level };
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| StartError::LogFilter { filter: log.level.clone(), reason: error.to_string() })?;
    if check_only {
        return Ok(());
    }
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    if log.json {
        subscriber.json().init()
    } else {
        subscriber.init()
    }
    server::run(&config)
}

//! The broker's process: reads the flags, starts the log, runs the server, turns an error into a sentence and an exit code.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use broker_net::config::{Config, Flags};
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
    let filter = EnvFilter::try_new(&flags.log)
        .map_err(|error| StartError::LogFilter { filter: flags.log.clone(), reason: error.to_string() })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    server::run(&Config::new(flags, startup::allowed_cpus()?)?)
}

//! `ringmqctl`: rabbitmqctl's verbs, arguments, output and exit codes, over the management API.
//!
//! | file | what |
//! | --- | --- |
//! | `verb` | what can be asked for |
//! | `list` | verbs that print a table |
//! | `change` | verbs that change something |
//! | `messages` | verbs about messages and whether they flow |
//! | `check` | verbs that say how the broker is |
//! | `client` | the API |
//! | `output` | tables, CSV and JSON |

mod change;
mod check;
mod client;
mod list;
mod messages;
mod output;
mod verb;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Args, Parser};

use client::Client;
use output::{Formatter, Printer};
use verb::Verb;

/// Administers a RingMQ broker
#[derive(Debug, Parser)]
#[command(name = "ringmqctl", version)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    verb: Verb,
}

/// What all verbs understand.
#[derive(Debug, Args)]
struct Options {
    /// Where the management API is
    #[arg(long, global = true, env = "RINGMQ_URL", default_value = "http://127.0.0.1:15672")]
    url: String,

    /// Who asks; has to be an administrator for most verbs
    #[arg(id = "as", long, global = true, env = "RINGMQ_USER", value_name = "USER", default_value = "guest")]
    user: String,

    /// The password of that user
    #[arg(
        id = "password_of_as",
        long = "password",
        global = true,
        env = "RINGMQ_PASSWORD",
        value_name = "PASSWORD",
        hide_env_values = true,
        default_value = "guest"
    )]
    password: String,

    /// The virtual host
    #[arg(short = 'p', long, global = true, default_value = "/")]
    vhost: String,

    /// No word about what is being done
    #[arg(short, long, global = true)]
    quiet: bool,

    /// No word about what is being done, and no headers of tables
    #[arg(short, long, global = true)]
    silent: bool,

    /// No headers of tables
    #[arg(long, global = true)]
    no_table_headers: bool,

    /// How tables are printed
    #[arg(long, global = true, value_enum, default_value_t = Formatter::Table)]
    formatter: Formatter,

    /// Accepted because scripts give it: there is one node
    #[arg(short, long, global = true, hide = true)]
    node: Option<String>,

    /// How long to wait for an answer, in seconds
    #[arg(short, long, global = true, default_value_t = 60)]
    timeout: u64,
}

/// Why a verb failed: what is printed, and the exit code that rabbitmqctl has for it.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The broker, or an argument's value, says no.
    #[error("Error:\n{0}")]
    Refused(String),
    /// The arguments make no sense.
    #[error("Error (argument validation): {0}")]
    Usage(String),
    /// Nobody answers.
    #[error("Error: unable to perform an operation: {0}")]
    Unavailable(String),
    /// A check failed; what it found has been printed.
    #[error("{0}")]
    Unhealthy(String),
    /// A file or the terminal.
    #[error("Error: {0}")]
    Io(#[from] std::io::Error),
}

impl Failure {
    /// The codes of sysexits.h.
    fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) => 64,
            Self::Refused(_) => 65,
            Self::Unavailable(_) | Self::Unhealthy(_) => 69,
            Self::Io(_) => 74,
        })
    }
}

/// The `main` of the binary.
#[must_use]
pub fn run() -> ExitCode {
    let Cli { options, verb } = Cli::parse();
    let client = Client::new(&options.url, &options.user, &options.password, options.timeout);
    let mut printer = Printer::new(&options);
    let done = execute(&client, &mut printer, &options, verb).and_then(|()| Ok(printer.flush()?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "{failure}");
            failure.exit_code()
        }
    }
}

fn execute(client: &Client, printer: &mut Printer, options: &Options, verb: Verb) -> Result<(), Failure> {
    let Some(verb) = list::execute(client, printer, options, verb)? else { return Ok(()) };
    let Some(verb) = change::execute(client, printer, options, verb)? else { return Ok(()) };
    check::execute(client, printer, options, verb)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_verbs_password_is_not_the_askers() {
        let cli = Cli::try_parse_from(["ringmqctl", "add_user", "u", "p"]).unwrap();
        assert_eq!(cli.options.password, "guest");
        assert!(matches!(cli.verb, Verb::AddUser { password, .. } if password == "p"));
    }
}

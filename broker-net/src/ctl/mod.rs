//! `ringmqctl`: rabbitmqctl's verbs, arguments, output and exit codes, over the management API.
//!
//! | file | what |
//! | --- | --- |
//! | `verb` | what can be asked for |
//! | `absent` | verbs of RabbitMQ that mean nothing here, each with the reason |
//! | `list` | verbs that print a table |
//! | `users` | verbs that change users and what they may do |
//! | `change` | verbs that change something else |
//! | `messages` | verbs about messages and whether they flow |
//! | `setting` | verbs that change settings of a broker that runs |
//! | `check` | verbs that say whether the broker is well |
//! | `report` | verbs that say what the broker is and has |
//! | `process` | verbs that speak to the broker's process |
//! | `client` | the API |
//! | `failure` | why a verb fails, and the exit code |
//! | `output` | tables, CSV and JSON |
//! | `password` | passwords that are not on the command line |

mod absent;
mod change;
mod check;
mod client;
mod failure;
mod list;
mod messages;
mod output;
mod password;
mod process;
mod report;
mod setting;
mod users;
mod verb;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory as _, Parser};

use client::Client;
use failure::Failure;
use output::{Formatter, Printer};
use verb::Verb;

/// Exit code of a command line that makes no sense.
const EXIT_USAGE: u8 = 64;

/// Administers a RingMQ broker
///
/// Verbs, output and exit codes are those of rabbitmqctl, rabbitmq-diagnostics and rabbitmq-queues. Exit codes: 64 the arguments make no
/// sense, 65 what they name is wrong or not there, 67 there is no such user, 69 refused, nobody answers, or a check failed, 70 it is there
/// already, 74 a file, 75 time ran out.
#[derive(Debug, Parser)]
#[command(name = "ringmqctl", version)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    verb: Verb,
}

/// What all verbs understand.
#[derive(Clone, Debug, Args)]
struct Options {
    /// Where the management API is
    #[arg(long, global = true, env = "RINGMQ_URL", default_value = "http://127.0.0.1:15672")]
    url: String,

    /// Who asks; has to be an administrator for most verbs
    #[arg(id = "as", long, global = true, env = "RINGMQ_USER", value_name = "USER", default_value = "guest")]
    user: String,

    /// The password of that user. Others on the machine can read a command line: better give the variable or a file
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

    /// A file whose first line is that password
    #[arg(long, global = true, env = "RINGMQ_PASSWORD_FILE", value_name = "FILE")]
    password_file: Option<PathBuf>,

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

    /// Accepted because scripts give it: there is one node
    #[arg(short, long, global = true, hide = true)]
    longnames: bool,

    /// How long to wait for an answer, in seconds
    #[arg(short, long, global = true, default_value_t = 60)]
    timeout: u64,
}

/// The command line, for man pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// The `main` of the binary.
#[must_use]
pub fn run() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => done(cli.execute()),
        Err(error) => misspelt(&error),
    }
}

fn done(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure.to_string());
            failure.exit_code()
        }
    }
}

fn complain(text: &str) {
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// What is not a command line of this program: a verb that means nothing here, a mistake, or a question for help.
fn misspelt(error: &clap::Error) -> ExitCode {
    if let Some(ContextValue::String(verb)) = error.get(ContextKind::InvalidSubcommand) {
        if let Some(reason) = absent::reason(verb) {
            return done(Err(Failure::Refused(reason.to_owned())));
        }
        complain(&format!("\nCommand '{verb}' not found. \n"));
    }
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    match error.kind() {
        ErrorKind::InvalidSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => complain(text),
        ErrorKind::MissingRequiredArgument => {
            complain(&format!("Error (argument validation): not enough arguments.{}{text}", arguments_given()));
        }
        _ => complain(&format!("Error (argument validation): {text}{}", arguments_given())),
    }
    ExitCode::from(EXIT_USAGE)
}

/// The command line as it was, but for passwords: those are known only once it has been understood.
fn arguments_given() -> String {
    let verb = std::env::args_os().nth(1).unwrap_or_default();
    format!("\nVerb given: {}\n", verb.to_string_lossy())
}

impl Cli {
    fn execute(self) -> Result<(), Failure> {
        let Self { options, verb } = self;
        let password = match &options.password_file {
            Some(path) => password::of_file(path)?,
            None => options.password.clone(),
        };
        let client = Client::new(&options.url, &options.user, &password, options.timeout);
        let mut printer = Printer::new(&options);
        let result = execute(&client, &mut printer, &options, verb);
        // What was printed before a failure is shown before it.
        printer.flush()?;
        result
    }
}

fn execute(client: &Client, printer: &mut Printer, options: &Options, verb: Verb) -> Result<(), Failure> {
    let Some(verb) = list::execute(client, printer, options, verb)? else { return Ok(()) };
    let Some(verb) = users::execute(client, printer, options, verb)? else { return Ok(()) };
    let Some(verb) = change::execute(client, printer, options, verb)? else { return Ok(()) };
    let Some(verb) = report::execute(client, printer, options, verb)? else { return Ok(()) };
    let Some(verb) = process::execute(client, printer, options, verb)? else { return Ok(()) };
    check::execute(client, printer, options, verb)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn a_verbs_password_is_not_the_askers() {
        let cli = Cli::try_parse_from(["ringmqctl", "add_user", "u", "p"]).unwrap();
        assert_eq!(cli.options.password, "guest");
        assert!(matches!(cli.verb, Verb::AddUser { password: Some(password), .. } if password == "p"));
    }

    /// Verbs are written with underscores, flags with hyphens.
    #[test]
    fn flags_have_hyphens() {
        for verb in command().get_subcommands() {
            for flag in verb.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(!flag.contains('_'), "{} --{flag}", verb.get_name());
            }
        }
    }

    #[test]
    fn a_verb_is_either_there_or_absent() {
        for verb in command().get_subcommands() {
            assert_eq!(absent::reason(verb.get_name()), None, "{}", verb.get_name());
        }
    }
}

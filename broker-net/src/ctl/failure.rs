//! Why a verb fails.

use std::process::ExitCode;

/// What is printed on standard error, and the exit code that rabbitmqctl has for it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The broker says no.
    #[error("Error:\n{0}")]
    Refused(String),
    /// What an argument names is not there, or is wrong.
    #[error("{0}")]
    Data(String),
    /// An argument's value can be refused without asking.
    #[error("Error (argument validation): Bad argument: {0}")]
    Invalid(String),
    /// The same, without a word why.
    #[error("Error (argument validation): Bad argument.")]
    BadArgument,
    /// The arguments make no sense.
    #[error("Error (argument validation): {0}")]
    Usage(String),
    /// A queue that is to be deleted is not there, which rabbitmqctl counts among the wrong arguments.
    #[error("Error:\n{0}")]
    Queue(String),
    /// There is no such user.
    #[error("Error:\n{0}")]
    NoUser(String),
    /// It is there already.
    #[error("Error:\n{0}")]
    Exists(String),
    /// Nobody answers.
    #[error("Error: unable to perform an operation: {0}")]
    Unavailable(String),
    /// A check failed.
    #[error("{0}")]
    Unhealthy(String),
    /// Time ran out.
    #[error("Error: {0}")]
    TimedOut(String),
    /// A file or the terminal.
    #[error("Error: {0}")]
    Io(#[from] std::io::Error),
}

impl Failure {
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) | Self::Queue(_) => 64,
            Self::Data(_) | Self::Invalid(_) | Self::BadArgument => 65,
            Self::NoUser(_) => 67,
            Self::Refused(_) | Self::Unavailable(_) | Self::Unhealthy(_) => 69,
            Self::Exists(_) => 70,
            Self::Io(_) => 74,
            Self::TimedOut(_) => 75,
        })
    }
}

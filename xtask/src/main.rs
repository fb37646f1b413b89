//! Every task of the repository: `cargo xtask TASK`. Nothing here is needed to run the broker.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command line tool talks to its user")]

mod backlog;
mod broker;
mod ci;
mod compare;
mod conformance;
mod crash;
mod dist;
mod fuzz;
mod interop;
mod load;
mod sim;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use workspace::Workspace;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Tasks of the RingMQ repository")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Everything that has to pass before a change is merged
    Ci,
    /// Every test: those of the workspace, then the interop tests
    Test,
    /// Real clients against the real process: pika, Celery, kombu, aio-pika, amqplib, amqp-tools
    Interop(interop::Interop),
    /// The same scenarios against RabbitMQ and RingMQ, frame by frame
    Conformance(conformance::Conformance),
    /// kill -9 under confirmed load, restart, check that nothing confirmed is lost
    Crash(crash::Crash),
    /// A large backlog leaves memory, survives kill -9 and drains in order
    Backlog(backlog::Backlog),
    /// The storage simulation with injected faults, from a seed
    Sim(sim::Sim),
    /// The property tests and fuzz bodies with many more cases than in a test run
    Fuzz(fuzz::Fuzz),
    /// Measure RingMQ: messages a second, latency, CPU time per message
    Load(load::Load),
    /// Measure another broker and RingMQ in turn, and print the ratios
    Compare(compare::Compare),
    /// A Debian package and a tar archive, with man pages and shell completions
    Dist(dist::Dist),
    /// Rules of the code base that the compiler does not check
    Tidy,
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    match task {
        Task::Ci => ci::run(&workspace),
        Task::Test => test::run(&workspace),
        Task::Interop(task) => task.run(&workspace),
        Task::Conformance(task) => task.run(&workspace),
        Task::Crash(task) => task.run(&workspace),
        Task::Backlog(task) => task.run(&workspace),
        Task::Sim(task) => task.run(&workspace),
        Task::Fuzz(task) => task.run(&workspace),
        Task::Load(task) => task.run(&workspace),
        Task::Compare(task) => task.run(&workspace),
        Task::Dist(task) => task.run(&workspace),
        Task::Tidy => tidy::run(&workspace),
    }
}

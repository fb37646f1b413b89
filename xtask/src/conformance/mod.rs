//! `cargo xtask conformance`: the same scenarios against RabbitMQ and RingMQ, frame by frame.
//!
//! The scenarios in `xtask/conformance/` carry the answers of RabbitMQ 4.0.5, so RingMQ is held against them wherever it is
//! tested. Where a RabbitMQ runs as well, or can be installed, it is played the same scenarios: the answers in the files are checked too.

mod client;
mod method;
mod names;
mod peer;
mod player;
mod script;
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, process, thread};

use anyhow::{Context, bail};
use clap::Args;

use crate::broker::{BrokerProcess, free_address};
use crate::workspace::{Profile, Workspace};

pub(crate) use peer::Peer;
use script::{Scenario, Script};

/// Scenarios that are played at a time.
const PLAYERS: usize = 4;

/// Flags of the task.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Conformance {
    /// Only the scenarios whose file or title contains this
    filter: Option<String>,
    /// A RabbitMQ that runs already; without it, Debian's package is unpacked and started, if that can be done
    #[arg(long, value_name = "ADDR:PORT")]
    peer: Option<SocketAddr>,
    /// Only RingMQ, against the recorded answers
    #[arg(long)]
    no_peer: bool,
    /// A RingMQ that runs already
    #[arg(long, value_name = "ADDR:PORT")]
    ringmq: Option<SocketAddr>,
    /// Write the answers of RabbitMQ into the scenarios, and those of RingMQ where it is said to differ
    #[arg(long, requires = "peer")]
    record: bool,
    /// Test the release build
    #[arg(long)]
    release: bool,
}

struct File {
    path: PathBuf,
    script: Script,
}

type Answers = Vec<Vec<String>>;

impl Conformance {
    pub(crate) fn run(&self, workspace: &Workspace) -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let mut files = self.read(workspace)?;
        let (_own, ringmq) = match self.ringmq {
            Some(address) => (None, address),
            None => {
                let profile = if self.release { Profile::Release } else { Profile::Dev };
                let binary = workspace.build("broker-net", "ringmq", profile)?;
                let address = free_address()?;
                let mut broker = BrokerProcess::spawn(&binary, &directory.path().join("data"), address, &[])?;
                broker.wait_until_listening()?;
                (Some(broker), address)
            }
        };
        let peer = match (self.peer, self.no_peer) {
            (Some(address), _) => Some(Peer::running(address)?),
            (None, true) => None,
            (None, false) => Peer::start(workspace)?,
        };
        let scenarios: Vec<(usize, usize)> = self.selected(&files);
        let ours = play_all(&files, &scenarios, ringmq)?;
        let theirs = peer.as_ref().map(|peer| play_all(&files, &scenarios, peer.address)).transpose()?;
        if self.record {
            let theirs = theirs.context("a peer that answers")?;
            record(&mut files, &scenarios, &ours, &theirs)?;
        } else if let Some((peer, theirs)) = peer.as_ref().zip(theirs) {
            report(&files, &scenarios, &theirs, &peer.name(), |scenario, answers| {
                if scenario.older.is_some() && peer.is_old() {
                    return None;
                }
                scenario.compare(answers, |step| &step.rabbitmq)
            })?;
        }
        report(&files, &scenarios, &ours, "RingMQ", |scenario, answers| {
            // A difference that has gone is no fault.
            scenario.compare(answers, |step| &step.rabbitmq)?;
            scenario.compare(answers, |step| &step.ringmq)
        })
    }

    fn read(&self, workspace: &Workspace) -> anyhow::Result<Vec<File>> {
        let directory = workspace.root().join("xtask/conformance");
        let mut paths: Vec<PathBuf> = fs::read_dir(&directory)
            .with_context(|| directory.display().to_string())?
            .map(|entry| Ok(entry?.path()))
            .collect::<anyhow::Result<_>>()?;
        paths.sort();
        let read = |path: PathBuf| {
            let script = Script::parse(&fs::read_to_string(&path)?).with_context(|| path.display().to_string())?;
            Ok(File { path, script })
        };
        paths.into_iter().map(read).collect()
    }

    /// File and scenario of what is to be played.
    fn selected(&self, files: &[File]) -> Vec<(usize, usize)> {
        let filter = self.filter.as_deref().unwrap_or_default();
        let mut selected = Vec::new();
        for (number, file) in files.iter().enumerate() {
            let name = file.path.file_stem().unwrap_or_default().to_string_lossy();
            for (index, scenario) in file.script.scenarios.iter().enumerate() {
                if name.contains(filter) || scenario.title.contains(filter) {
                    selected.push((number, index));
                }
            }
        }
        selected
    }
}

/// Plays scenarios, a few at a time. A scenario that cannot be played has the error for its answer.
fn play_all(files: &[File], scenarios: &[(usize, usize)], broker: SocketAddr) -> anyhow::Result<Vec<Answers>> {
    let results: Vec<Mutex<Answers>> = scenarios.iter().map(|_| Mutex::default()).collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..PLAYERS {
            scope.spawn(|| {
                while let Some((index, (file, scenario))) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    scenarios.get(index).map(|scenario| (index, *scenario))
                } {
                    let prefix = format!("conformance-{}-{index}.", process::id());
                    let scenario = &files[file].script.scenarios[scenario];
                    let answers = player::play(scenario, broker, prefix)
                        .unwrap_or_else(|error| vec![vec![format!("cannot be played: {error:#}")]]);
                    if let Ok(mut result) = results[index].lock() {
                        *result = answers;
                    }
                }
            });
        }
    });
    results.into_iter().map(|result| result.into_inner().ok().context("a player has failed")).collect()
}

/// Puts answers into the scenarios' files. RingMQ's count only where the scenario says that it differs.
fn record(
    files: &mut [File],
    scenarios: &[(usize, usize)],
    ours: &[Answers],
    theirs: &[Answers],
) -> anyhow::Result<()> {
    for ((file, index), (ours, theirs)) in scenarios.iter().zip(ours.iter().zip(theirs)) {
        let scenario = &mut files[*file].script.scenarios[*index];
        if theirs.len() != scenario.steps.len() {
            bail!("{}: {theirs:?}", scenario.title);
        }
        let differs = scenario.differs.is_some() && ours.len() == theirs.len();
        for ((step, ours), theirs) in
            scenario.steps.iter_mut().zip(if differs { ours } else { theirs }).zip(theirs)
        {
            step.ringmq.clone_from(ours);
            step.rabbitmq.clone_from(theirs);
        }
    }
    files.iter().try_for_each(|file| Ok(fs::write(&file.path, file.script.text())?))
}

/// Prints what differs and fails if anything does.
fn report(
    files: &[File],
    scenarios: &[(usize, usize)],
    answers: &[Answers],
    broker: &str,
    compare: impl Fn(&Scenario, &Answers) -> Option<String>,
) -> anyhow::Result<()> {
    let mut failed = 0;
    for ((file, index), answers) in scenarios.iter().zip(answers) {
        let File { path, script } = &files[*file];
        if let Some(words) = compare(&script.scenarios[*index], answers) {
            failed += 1;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            println!("{broker} differs: {name}, {}\n{words}", script.scenarios[*index].title);
        }
    }
    println!("{broker}: {} of {} scenarios as recorded", scenarios.len() - failed, scenarios.len());
    if failed > 0 {
        bail!("{broker} differs in {failed} scenarios");
    }
    Ok(())
}

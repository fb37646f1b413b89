//! Runs shards on glommio executors: one pinned thread each, batches between them, log operations on the ring.
//!
//! Per shard there are a *pump*, which after each turn carries out what the shard has left to do, a task that receives from
//! the other shards, and what the caller of [`start`] runs (listeners and connections). All of them reach the shard's state
//! through [`ShardHandle::enter`] and never hold it while they wait. Other threads ring the shard's doorbell.

mod committer;
mod control;
mod handle;
mod mail;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use broker_store::doorbell::{Doorbell, Line};
use broker_store::fs::{GlommioFs, Helper};
use broker_store::{Catalog, DataDir, StoreError};
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement as CpuPlacement};
use rustix::thread::{CpuSet, sched_setaffinity};

use self::committer::{Committer, CommitterEnds};
use self::control::Control;
pub use self::control::Probe;
pub use self::handle::ShardHandle;
use self::mail::{Mailboxes, mailboxes};
pub use super::access::Defaults;
use super::open;
use super::placement::Placement;
use super::registrar::REGISTRAR;
use crate::ids::ShardId;
use crate::session::Sessions;

/// Memory that a ring registers for its own buffers, in bytes. The broker needs none; this is the least that glommio takes
/// without complaint where memlock is small.
const RING_MEMORY_BYTES: usize = 64 * 1024;

/// The preemption timer of an executor. One that fires may lose a wake-up (see [`broker_store::doorbell`]); tasks yield by
/// themselves: [`ShardHandle::yield_now`].
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// How to run the broker core.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the catalog and the partitions' logs are.
    pub data_dir: PathBuf,
    /// Number of shards, 1 to 1024.
    pub shards: usize,
    /// The CPUs that shards are pinned to, in turn. Every thread of the broker stays on these.
    pub cpus: Vec<usize>,
    /// What a new data directory starts with, and what queues are that do not say.
    pub defaults: Defaults,
}

/// Why the core did not start: one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory or something in it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The catalog has something that this version does not understand.
    #[error("{0}")]
    Catalog(String),
    /// A thread or its ring.
    #[error("shard {shard} cannot start: {reason}")]
    Executor {
        /// The shard.
        shard: usize,
        /// What the system said.
        reason: String,
    },
}

/// What recovery found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recovery {
    /// Queues in the catalog.
    pub queues: u64,
    /// Messages in their queues.
    pub messages: u64,
    /// Segments of the durable logs.
    pub segments: u64,
    /// Damaged records that were found and skipped.
    pub damaged: u64,
    /// From opening the data directory until the last shard was ready.
    pub duration: Duration,
}

/// The running core: shards on their threads.
#[derive(Debug)]
pub struct Running {
    probe: Probe,
    recovery: Recovery,
    threads: Vec<ExecutorJoinHandle<()>>,
    committer: Committer,
}

impl Running {
    /// What recovery found.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// To ask the shards for their numbers.
    #[must_use]
    pub fn probe(&self) -> Probe {
        self.probe.clone()
    }

    /// Lets `serve` end on every shard, brings to disk what is staged and ends the threads.
    pub fn stop(self) {
        self.probe.ask(|| Control::Stop);
        for thread in self.threads {
            let _ = thread.join();
        }
        self.committer.stop();
    }
}

/// What a shard's thread starts with.
struct Seed {
    id: ShardId,
    placement: Placement,
    definitions: Arc<open::Definitions>,
    data_dir: Arc<DataDir>,
    line: Line,
    helper: Helper,
    mailboxes: Mailboxes,
    control: flume::Receiver<Control>,
    ready: flume::Sender<Result<open::Found, StartError>>,
    catalog: Option<CommitterEnds>,
}

/// Opens the data directory, starts the shards and, on each, `serve` with the sessions that `make_sessions` makes. Returns
/// when all shards have recovered. `serve` is to return when [`ShardHandle::stopping`] has and its
/// connections are closed.
///
/// # Errors
/// See [`StartError`]. Nothing keeps running after an error.
pub fn start<S, F>(
    config: &Config,
    make_sessions: impl Fn(ShardId) -> S + Clone + Send + 'static,
    serve: impl Fn(ShardHandle<S>) -> F + Clone + Send + 'static,
) -> Result<Running, StartError>
where
    S: Sessions + 'static,
    F: Future<Output = ()> + 'static,
{
    let began = Instant::now();
    let shards = u16::try_from(config.shards).unwrap_or(u16::MAX).max(1);
    let data_dir = Arc::new(DataDir::open(&config.data_dir, shards)?);
    let placement = Placement::new(data_dir.partitions(), shards);
    let catalog = Catalog::open(&data_dir.catalog())?;
    let definitions = Arc::new(open::definitions(&catalog, placement, &config.defaults, random_salt())?);

    let (doorbells, lines): (Vec<_>, Vec<_>) = (0..shards)
        .map(|_| Doorbell::new())
        .collect::<io::Result<Vec<_>>>()
        .map_err(refused(REGISTRAR))?
        .into_iter()
        .unzip();
    let (committer, ends) =
        Committer::start(catalog, doorbells[usize::from(REGISTRAR.0)].clone()).map_err(refused(REGISTRAR))?;
    let mut committer_ends = Some(ends);

    let (ready_sender, ready) = flume::unbounded();
    let mut probe = Probe::default();
    let mut threads = Vec::new();
    let ids = (0..shards).map(ShardId);
    for (((id, line), doorbell), mailboxes) in ids.zip(lines).zip(&doorbells).zip(mailboxes(&doorbells)) {
        let index = usize::from(id.0);
        let seed = Seed {
            id,
            placement,
            definitions: Arc::clone(&definitions),
            data_dir: Arc::clone(&data_dir),
            line,
            helper: Helper::start("ringmq-helper", doorbell.clone()).map_err(refused(id))?,
            mailboxes,
            control: probe.add(doorbell.clone()),
            ready: ready_sender.clone(),
            catalog: if id == REGISTRAR { committer_ends.take() } else { None },
        };
        let (make_sessions, serve) = (make_sessions.clone(), serve.clone());
        let cpu = config.cpus[index % config.cpus.len()];
        // The executor could bind itself, but would read the machine's topology for that, and panic where /sys is not mounted.
        let thread = LocalExecutorBuilder::new(CpuPlacement::Unbound)
            .name("ringmq-shard")
            .io_memory(RING_MEMORY_BYTES)
            .preempt_timer(NEVER)
            .spawn(move || async move {
                match bind_to(cpu) {
                    Ok(()) => run_shard(seed, make_sessions(id), serve).await,
                    // Nobody listens if another shard has failed before.
                    Err(error) => drop(seed.ready.send(Err(refused(id)(error)))),
                }
            })
            .map_err(refused(id))?;
        threads.push(thread);
    }
    drop(ready_sender);
    clean_up(data_dir);
    let mut recovery = Recovery { queues: definitions.queue_count(), ..Recovery::default() };
    for _ in 0..threads.len() {
        let found = ready.recv().map_err(|_| StartError::Executor {
            shard: 0,
            reason: "an executor ended while it started".to_owned(),
        })??;
        recovery.messages += found.messages;
        recovery.segments += found.segments;
        recovery.damaged += found.damaged;
    }
    recovery.duration = began.elapsed();
    Ok(Running { probe, recovery, threads, committer })
}

/// Keeps the calling thread on a CPU.
fn bind_to(cpu: usize) -> io::Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    Ok(sched_setaffinity(None, &cpus)?)
}

/// Why a shard does not start.
fn refused<E: std::fmt::Display>(shard: ShardId) -> impl Fn(E) -> StartError {
    move |error| StartError::Executor { shard: usize::from(shard.0), reason: error.to_string() }
}

async fn run_shard<S, F>(seed: Seed, sessions: S, serve: impl Fn(ShardHandle<S>) -> F)
where
    S: Sessions + 'static,
    F: Future<Output = ()> + 'static,
{
    let bell = seed.line.listen();
    let fs = GlommioFs::new(seed.helper, bell.clone());
    let opened = open::shard(&fs, &seed.data_dir, seed.id, seed.placement, &seed.definitions, now_ms()).await;
    drop(seed.definitions);
    let (shard, found) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let _ = seed.ready.send(Err(error.into()));
            return;
        }
    };
    let handle = ShardHandle::new(shard, sessions, seed.mailboxes);
    // The first turn finds out when the shard is to be woken for what recovery brought.
    handle.enter(|_, _| ());
    glommio::spawn_local(handle.clone().look_at_ring()).detach();
    glommio::spawn_local(handle.clone().receive(bell.clone())).detach();
    if let Some(ends) = &seed.catalog {
        glommio::spawn_local(handle.clone().committed(bell.clone(), ends.results.clone())).detach();
    }
    glommio::spawn_local(handle.clone().pump(fs, seed.catalog)).detach();
    let serving = glommio::spawn_local(serve(handle.clone()));
    let _ = seed.ready.send(Ok(found));
    while let Some(control) = bell.recv(&seed.control).await {
        match control {
            Control::Stats(reply) => {
                let _ = reply.send(handle.stats());
            }
            Control::Admin(call) => handle.enter(|shard, sessions| shard.handle_call(sessions, call)),
            Control::Alarms(alarms) => handle.enter(|shard, sessions| shard.set_alarms(sessions, alarms)),
            Control::Stop => break,
        }
    }
    handle.begin_stop();
    serving.await;
    handle.drain().await;
}

/// Deletes the volatile logs of earlier runs, beside the work.
fn clean_up(data_dir: Arc<DataDir>) {
    let thread = thread::Builder::new().name("ringmq-cleanup".to_owned()).spawn(move || {
        if let Err(error) = data_dir.delete_dropped() {
            tracing::warn!(%error, "volatile logs of an earlier run are still there");
        }
    });
    if let Err(error) = thread {
        tracing::warn!(%error, "volatile logs of an earlier run are not deleted");
    }
}

/// Milliseconds since the Unix epoch.
#[must_use]
pub fn now_ms() -> u64 {
    now_us() / 1000
}

/// Microseconds since the Unix epoch.
fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Four bytes that differ from one new data directory to the next.
fn random_salt() -> [u8; 4] {
    use std::hash::{BuildHasher, RandomState};
    let hash = RandomState::new().hash_one(now_ms());
    hash.to_le_bytes().first_chunk().copied().unwrap_or_default()
}

//! Runs shards on glommio executors: one pinned thread each, batches between them, log operations on the ring.
//!
//! Per shard there are a *pump*, which after each turn carries out what the shard has left to do, one sender and one
//! receiver for each other shard, and what the caller of [`start`] runs (listeners and connections). All of
//! them reach the shard's state through [`ShardHandle::enter`] and never hold it while they wait.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use broker_store::fs::GlommioFs;
use broker_store::{Catalog, Change as CatalogChange, DataDir, StoreError};
use futures_lite::future::poll_fn;
use glommio::channels::shared_channel::{self, SharedReceiver, SharedSender};
use glommio::{ExecutorJoinHandle, Latency, LocalExecutorBuilder, Placement as CpuPlacement, Shares};

use super::mailbox::Batch;
use super::placement::Placement;
use super::registrar::REGISTRAR;
use super::stats::ShardStats;
use super::{Shard, open};
use crate::ids::ShardId;
use crate::session::Sessions;

/// Batches that may be on their way from one shard to another. What does not fit collects in the next batch.
const MAILBOX_BATCHES: usize = 32;

/// Memory that a ring registers for its own buffers, in bytes. The broker needs none; this is the least that glommio takes
/// without complaint where memlock is small.
const RING_MEMORY_BYTES: usize = 64 * 1024;

/// How long a shard may go on without a look at its ring, in microseconds.
const RING_LATENCY_US: u64 = 1000;

/// Time between two ticks of a shard that wants them, in milliseconds.
const TICK_MS: u64 = 5;

/// How to run the broker core.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the catalog and the partitions' logs are.
    pub data_dir: PathBuf,
    /// Number of shards, 1 to 1024.
    pub shards: usize,
    /// The CPUs that shards are pinned to, in turn. Every thread of the broker stays on these.
    pub cpus: Vec<usize>,
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

/// Wakes one waiting task. A notification that nobody waits for is kept.
#[derive(Debug, Default)]
struct Signal {
    raised: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Signal {
    fn notify(&self) {
        if !self.raised.replace(true)
            && let Some(waker) = self.waker.borrow_mut().take()
        {
            waker.wake();
        }
    }

    async fn wait(&self) {
        poll_fn(|context| {
            if self.raised.replace(false) {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

#[derive(Debug)]
struct Inner<S> {
    id: ShardId,
    state: RefCell<(Shard, S)>,
    /// The shard may have something to do.
    work: Signal,
    /// Connections have something to write.
    output: Signal,
    /// The shard is to stop.
    stop: Signal,
    /// For each other shard: there is a batch for it.
    outgoing: Vec<Signal>,
    /// Connections that wait for congestion to end.
    congested: RefCell<Vec<Waker>>,
    tick_pending: Cell<bool>,
    io_in_flight: Cell<usize>,
}

/// A shard together with the connections on it, shared by the tasks of its executor.
#[derive(Debug)]
pub struct ShardHandle<S> {
    inner: Rc<Inner<S>>,
}

impl<S> Clone for ShardHandle<S> {
    fn clone(&self) -> Self {
        Self { inner: Rc::clone(&self.inner) }
    }
}

impl<S: Sessions + 'static> ShardHandle<S> {
    fn new(shard: Shard, sessions: S, shards: usize) -> Self {
        let inner = Inner {
            id: shard.id,
            state: RefCell::new((shard, sessions)),
            work: Signal::default(),
            output: Signal::default(),
            stop: Signal::default(),
            outgoing: (0..shards).map(|_| Signal::default()).collect(),
            congested: RefCell::default(),
            tick_pending: Cell::new(false),
            io_in_flight: Cell::new(0),
        };
        Self { inner: Rc::new(inner) }
    }

    /// Which shard this is.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.inner.id
    }

    /// The one door to the shard's state. What the calls in `f` left to do (log operations, batches for other
    /// shards) is started by the pump, after the tasks that are ready now.
    ///
    /// # Panics
    /// If it is called from within `f`.
    pub fn enter<R>(&self, f: impl FnOnce(&mut Shard, &mut S) -> R) -> R {
        let result = self.quietly(|shard, sessions| {
            shard.set_now_ms(now_ms());
            f(shard, sessions)
        });
        self.inner.work.notify();
        result
    }

    /// Like [`enter`](Self::enter) without waking the pump.
    fn quietly<R>(&self, f: impl FnOnce(&mut Shard, &mut S) -> R) -> R {
        let (shard, sessions) = &mut *self.inner.state.borrow_mut();
        let result = f(shard, sessions);
        if sessions.has_output() {
            self.inner.output.notify();
        }
        result
    }

    /// Waits until [`Sessions::has_output`] was true after somebody entered. For one task.
    pub async fn output(&self) {
        self.inner.output.wait().await;
    }

    /// Waits until the broker stops. For one task.
    pub async fn stopping(&self) {
        self.inner.stop.wait().await;
    }

    /// Waits until [`Shard::congested`] is false.
    pub async fn decongested(&self) {
        poll_fn(|context| {
            if !self.quietly(|shard, _| shard.congested()) {
                return Poll::Ready(());
            }
            self.inner.congested.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// After each turn: log operations to the ring, rows to the catalog, batches to their senders.
    async fn pump(self, fs: GlommioFs, catalog: Option<flume::Sender<CatalogRequest>>) {
        loop {
            self.inner.work.wait().await;
            self.quietly(|shard, sessions| shard.turn(sessions));
            while let Some((partition, kind, op)) = self.quietly(|shard, _| shard.poll_io()) {
                let (handle, fs) = (self.clone(), fs.clone());
                self.inner.io_in_flight.set(self.inner.io_in_flight.get() + 1);
                glommio::spawn_local(async move {
                    let done = broker_store::perform(&fs, op).await;
                    handle.inner.io_in_flight.set(handle.inner.io_in_flight.get() - 1);
                    handle.enter(|shard, _| shard.handle_io(partition, kind, done));
                })
                .detach();
            }
            self.commit(catalog.as_ref());
            self.wake_senders();
            self.schedule_tick();
        }
    }

    fn commit(&self, catalog: Option<&flume::Sender<CatalogRequest>>) {
        while let Some(rows) = self.quietly(|shard, _| shard.poll_commit()) {
            match catalog {
                Some(catalog) if !rows.is_empty() => {
                    // The thread ends only when the shards have.
                    let _ = catalog.send(CatalogRequest::Commit(rows));
                }
                _ => self.quietly(|shard, sessions| shard.committed(sessions, Ok(()))),
            }
        }
    }

    fn wake_senders(&self) {
        let congested = self.quietly(|shard, _| {
            for (peer, batch) in shard.peers.batches.iter().enumerate() {
                if !batch.is_empty() {
                    self.inner.outgoing[peer].notify();
                }
            }
            shard.congested()
        });
        if !congested {
            self.inner.congested.borrow_mut().drain(..).for_each(Waker::wake);
        }
    }

    fn schedule_tick(&self) {
        let wanted = self.quietly(|shard, _| shard.wants_tick());
        if !wanted || self.inner.tick_pending.replace(true) {
            return;
        }
        let handle = self.clone();
        glommio::spawn_local(async move {
            glommio::timer::sleep(Duration::from_millis(TICK_MS)).await;
            handle.inner.tick_pending.set(false);
            handle.enter(|shard, _| shard.tick(now_ms()));
        })
        .detach();
    }

    async fn send_to(self, peer: usize, sender: SharedSender<Batch>) {
        let sender = sender.connect().await;
        loop {
            self.inner.outgoing[peer].wait().await;
            let batch = self.quietly(|shard, _| {
                shard.stats.mailbox_batches += 1;
                std::mem::take(&mut shard.peers.batches[peer])
            });
            // Only this task sends on this channel: it never finds the place it waited for taken.
            if !batch.is_empty() && sender.send(batch).await.is_err() {
                return;
            }
            self.wake_senders();
        }
    }

    async fn receive_from(self, peer: ShardId, receiver: SharedReceiver<Batch>) {
        let receiver = receiver.connect().await;
        while let Some(batch) = receiver.recv().await {
            self.enter(|shard, sessions| shard.handle_batch(sessions, peer, batch));
        }
    }

    /// Brings to disk what is staged. The connections are closed: nothing new comes but from other shards that close too.
    async fn drain(&self) {
        self.enter(|shard, _| shard.flush());
        loop {
            let idle = self.quietly(|shard, _| shard.is_idle()) && self.inner.io_in_flight.get() == 0;
            if idle {
                return;
            }
            self.inner.work.notify();
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Asked of a shard by another thread.
enum Control {
    Stats(flume::Sender<ShardStats>),
    Stop,
}

/// Asks running shards for their numbers, from any thread.
#[derive(Clone, Debug)]
pub struct Probe {
    shards: Vec<flume::Sender<Control>>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Stats(_) => "Stats",
            Self::Stop => "Stop",
        })
    }
}

impl Probe {
    /// The numbers of each shard. Blocks the calling thread until every shard has answered; a shard that has ended is left
    /// out.
    #[must_use]
    pub fn stats(&self) -> Vec<ShardStats> {
        let (sender, receiver) = flume::bounded(self.shards.len());
        for shard in &self.shards {
            let _ = shard.send(Control::Stats(sender.clone()));
        }
        drop(sender);
        receiver.iter().collect()
    }
}

/// The running core: shards on their threads.
#[derive(Debug)]
pub struct Running {
    probe: Probe,
    recovery: Recovery,
    threads: Vec<ExecutorJoinHandle<()>>,
    catalog_requests: flume::Sender<CatalogRequest>,
    catalog: thread::JoinHandle<()>,
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
        for shard in &self.probe.shards {
            let _ = shard.send(Control::Stop);
        }
        for thread in self.threads {
            let _ = thread.join();
        }
        let _ = self.catalog_requests.send(CatalogRequest::Stop);
        let _ = self.catalog.join();
    }
}

/// The ends of the channels of one shard, by peer.
type Mailboxes = (Vec<Option<SharedSender<Batch>>>, Vec<Option<SharedReceiver<Batch>>>);

/// The registrar's ends of the channels to and from the catalog's thread.
type CatalogEnds = (flume::Sender<CatalogRequest>, flume::Receiver<Result<(), String>>);

/// What a shard's thread starts with.
struct Seed {
    id: ShardId,
    placement: Placement,
    definitions: Arc<open::Definitions>,
    data_dir: Arc<DataDir>,
    mailboxes: Mailboxes,
    control: flume::Receiver<Control>,
    ready: flume::Sender<Result<open::Found, StoreError>>,
    catalog: Option<CatalogEnds>,
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
    let definitions = Arc::new(open::definitions(&catalog, placement, random_salt())?);

    let (catalog_requests, requests) = flume::unbounded();
    let (done_sender, done_receiver) = flume::unbounded();
    let catalog = thread::Builder::new()
        .name("ringmq-catalog".to_owned())
        .spawn(move || run_catalog(&catalog, &requests, &done_sender))
        .map_err(|error| StartError::Executor { shard: 0, reason: error.to_string() })?;
    let mut catalog_ends = Some((catalog_requests.clone(), done_receiver));

    let (ready_sender, ready) = flume::unbounded();
    let mut probe = Probe { shards: Vec::new() };
    let mut threads = Vec::new();
    for (id, mailboxes) in mailboxes(config.shards).into_iter().enumerate() {
        let (control_sender, control) = flume::unbounded();
        probe.shards.push(control_sender);
        let shard = ShardId(u16::try_from(id).unwrap_or(u16::MAX));
        let seed = Seed {
            id: shard,
            placement,
            definitions: Arc::clone(&definitions),
            data_dir: Arc::clone(&data_dir),
            mailboxes,
            control,
            ready: ready_sender.clone(),
            catalog: if shard == REGISTRAR { catalog_ends.take() } else { None },
        };
        let (make_sessions, serve) = (make_sessions.clone(), serve.clone());
        let thread = LocalExecutorBuilder::new(CpuPlacement::Fixed(config.cpus[id % config.cpus.len()]))
            .name("ringmq-shard")
            .io_memory(RING_MEMORY_BYTES)
            .spawn(move || run_shard(seed, make_sessions(shard), serve))
            .map_err(|error| StartError::Executor { shard: id, reason: error.to_string() })?;
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
    Ok(Running { probe, recovery, threads, catalog_requests, catalog })
}

/// Runs the shard in a task queue that asks for latency: without it, glommio looks at the ring only every 100 ms while
/// connections keep the queue busy.
async fn run_shard<S, F>(seed: Seed, sessions: S, serve: impl Fn(ShardHandle<S>) -> F + 'static)
where
    S: Sessions + 'static,
    F: Future<Output = ()> + 'static,
{
    let latency = Latency::Matters(Duration::from_micros(RING_LATENCY_US));
    let queue = glommio::executor().create_task_queue(Shares::default(), latency, "shard");
    match glommio::spawn_local_into(run_shard_tasks(seed, sessions, serve), queue) {
        Ok(task) => task.await,
        Err(error) => tracing::error!(%error, "glommio refused a task queue that it has just made"),
    }
}

async fn run_shard_tasks<S, F>(seed: Seed, sessions: S, serve: impl Fn(ShardHandle<S>) -> F)
where
    S: Sessions + 'static,
    F: Future<Output = ()> + 'static,
{
    let fs = GlommioFs::default();
    let opened = open::shard(&fs, &seed.data_dir, seed.id, seed.placement, &seed.definitions).await;
    drop(seed.definitions);
    let (shard, found) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let _ = seed.ready.send(Err(error));
            return;
        }
    };
    let (senders, receivers) = seed.mailboxes;
    let handle = ShardHandle::new(shard, sessions, senders.len());
    let (rows, done) = seed.catalog.unzip();
    glommio::spawn_local(handle.clone().pump(fs, rows)).detach();
    if let Some(done) = done {
        let handle = handle.clone();
        glommio::spawn_local(async move {
            while let Ok(result) = done.recv_async().await {
                handle.enter(|shard, sessions| shard.committed(sessions, result));
            }
        })
        .detach();
    }
    for (peer, sender) in senders.into_iter().enumerate() {
        if let Some(sender) = sender {
            glommio::spawn_local(handle.clone().send_to(peer, sender)).detach();
        }
    }
    for (peer, receiver) in receivers.into_iter().enumerate() {
        if let Some(receiver) = receiver {
            let peer = ShardId(u16::try_from(peer).unwrap_or(u16::MAX));
            glommio::spawn_local(handle.clone().receive_from(peer, receiver)).detach();
        }
    }
    let serving = glommio::spawn_local(serve(handle.clone()));
    let _ = seed.ready.send(Ok(found));
    while let Ok(control) = seed.control.recv_async().await {
        match control {
            Control::Stats(reply) => {
                let _ = reply.send(handle.quietly(|shard, _| shard.stats()));
            }
            Control::Stop => break,
        }
    }
    handle.inner.stop.notify();
    serving.await;
    handle.drain().await;
}

/// Asked of the catalog's thread.
#[derive(Debug)]
enum CatalogRequest {
    Commit(Vec<CatalogChange>),
    /// The channel does not close by itself: tasks that hold a sender outlive their executor.
    Stop,
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

/// Commits what the registrar sends: one transaction for each round.
fn run_catalog(
    catalog: &Catalog,
    requests: &flume::Receiver<CatalogRequest>,
    done: &flume::Sender<Result<(), String>>,
) {
    while let Ok(CatalogRequest::Commit(rows)) = requests.recv() {
        let result = catalog.commit(&rows).map_err(|error| error.to_string());
        if let Err(reason) = &result {
            tracing::error!(reason, "the catalog has failed; definitions cannot be changed until a restart");
        }
        if done.send(result).is_err() {
            return;
        }
    }
}

/// One channel for each ordered pair of shards.
fn mailboxes(shards: usize) -> Vec<Mailboxes> {
    let mut all: Vec<Mailboxes> =
        (0..shards).map(|_| ((0..shards).map(|_| None).collect(), (0..shards).map(|_| None).collect())).collect();
    for from in 0..shards {
        for to in (0..shards).filter(|to| *to != from) {
            let (sender, receiver) = shared_channel::new_bounded(MAILBOX_BATCHES);
            all[from].0[to] = Some(sender);
            all[to].1[from] = Some(receiver);
        }
    }
    all
}

/// Milliseconds since the Unix epoch.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Four bytes that differ from one new data directory to the next.
fn random_salt() -> [u8; 4] {
    use std::hash::{BuildHasher, RandomState};
    let hash = RandomState::new().hash_one(now_ms());
    hash.to_le_bytes().first_chunk().copied().unwrap_or_default()
}

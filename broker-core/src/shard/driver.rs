//! Runs shards on glommio executors: one pinned thread each, batches between them, log operations on the ring.

use std::cell::RefCell;
use std::future::Future;
use std::path::PathBuf;
use std::rc::Rc;

use super::Shard;
use crate::ids::ShardId;
use crate::session::Sessions;

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

/// A shard together with the connections on it, shared by the tasks of its executor.
#[derive(Debug)]
pub struct ShardHandle<S> {
    inner: Rc<RefCell<(Shard, S)>>,
    id: ShardId,
}

impl<S> Clone for ShardHandle<S> {
    fn clone(&self) -> Self {
        Self { inner: Rc::clone(&self.inner), id: self.id }
    }
}

impl<S: Sessions + 'static> ShardHandle<S> {
    /// Which shard this is.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// The one door to the shard's state. What the calls in `f` left to do (log operations, batches for other
    /// shards) is started when the executor gets back to its pump, after the tasks that are ready now.
    /// Must not be called from within `f`.
    pub fn enter<R>(&self, f: impl FnOnce(&mut Shard, &mut S) -> R) -> R {
        let (shard, sessions) = &mut *self.inner.borrow_mut();
        f(shard, sessions)
    }

    /// Waits until [`Shard::congested`] is false.
    pub async fn decongested(&self) {}
}

/// The running core: shards on their threads.
#[derive(Debug)]
pub struct Running {}

/// Opens the data directory, starts the shards and, on each, `make_sessions` and the task `serve`. Returns
/// when all shards have recovered and `serve` has been started on each.
pub fn start<S, F>(
    config: Config,
    make_sessions: impl Fn(ShardId) -> S + Clone + Send + 'static,
    serve: impl Fn(ShardHandle<S>) -> F + Clone + Send + 'static,
) -> Result<Running, StartError>
where
    S: Sessions + 'static,
    F: Future<Output = ()> + 'static,
{
    let _ = (config, make_sessions, serve);
    unreachable!()
}

/// Why the core did not start: one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {}

impl Running {
    /// Syncs what is staged and ends the shards. The connections must have been closed before.
    pub fn stop(self) {}
}

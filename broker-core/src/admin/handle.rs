//! The way from another thread to the shards.

use std::sync::Arc;

use futures_lite::future::block_on;

use super::{
    AdminError, AdminReply, AdminRequest, CancelDelayed, ChannelInfo, ConnectionInfo, ConsumerInfo, Definition,
    ExchangeCount, ExchangeInfo, ListDelayed, QueueInfo, QueueName, QueueSample,
};
use crate::ids::ShardId;
use crate::model::binding::BindingDefinition;
use crate::session::Sessions;
use crate::shard::Shard;
use crate::shard::driver::Probe;
use crate::shard::stats::ShardStats;

/// Rows that a shard puts together at a time. A listing of more takes several turns of the shard's loop, and others have
/// theirs in between; what is made or removed meanwhile may be in it or not.
pub const SLICE_ROWS: usize = 1024;

/// Something to be read off a shard's state.
type Read = Box<dyn FnOnce(&Shard, &dyn Sessions) + Send>;

/// Where the answer to a request goes. Nobody is told if the asker has gone.
pub(crate) type Reply = flume::Sender<Result<AdminReply, AdminError>>;

/// What an [`Admin`] sends to a shard.
pub(crate) enum Call {
    Read(Read),
    Request(Box<AdminRequest>, Reply),
}

/// Asks the running shards, from any thread and any executor.
#[derive(Clone, Debug)]
pub struct Admin {
    probe: Probe,
}

/// A slice of a listing, and where the next one begins.
pub(crate) type Slice<T> = (Vec<T>, Option<usize>);

impl Admin {
    pub(crate) fn new(probe: Probe) -> Self {
        Self { probe }
    }

    /// Number of shards.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.probe.shards()
    }

    /// Has a request carried out.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn request(&self, request: AdminRequest) -> Result<AdminReply, AdminError> {
        let shard = match &request {
            AdminRequest::CloseConnection { connection, .. } => usize::from(connection.shard.0),
            AdminRequest::Move(order) => self.shard_of_queue(&order.vhost, &order.queue).await?,
            AdminRequest::ListDelayed(ListDelayed { vhost, exchange, .. })
            | AdminRequest::CancelDelayed(CancelDelayed { vhost, exchange, .. }) => {
                let (vhost, exchange) = (vhost.clone(), exchange.clone());
                let at = self.read_registrar(move |shard, _| shard.shard_of_exchange(&vhost, &exchange)).await?;
                usize::from(at.0)
            }
            _ => return self.begin(request).await,
        };
        self.send(shard, request).await
    }

    /// Sends a request that is the registrar's: it is on its way when this returns, and requests are carried out in the order in
    /// which they were sent. What is returned waits for the answer.
    pub fn begin(
        &self,
        request: AdminRequest,
    ) -> impl Future<Output = Result<AdminReply, AdminError>> + Send + use<> {
        self.send(usize::from(Shard::REGISTRAR.0), request)
    }

    fn send(
        &self,
        shard: usize,
        request: AdminRequest,
    ) -> impl Future<Output = Result<AdminReply, AdminError>> + Send + use<> {
        let (sender, receiver) = flume::bounded(1);
        self.probe.call(shard, Call::Request(Box::new(request), sender));
        async move { receiver.recv_async().await.unwrap_or_else(|_| Err(stopped())) }
    }

    /// [`Self::request`] for a thread that may wait.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn request_blocking(&self, request: AdminRequest) -> Result<AdminReply, AdminError> {
        block_on(self.request(request))
    }

    /// The numbers of each shard, in order. Those of queues are added up in slices of 8192 queues, between which a shard does
    /// its other work.
    ///
    /// # Errors
    /// [`AdminError::Unavailable`] when the broker stops.
    pub async fn stats(&self) -> Result<Vec<ShardStats>, AdminError> {
        let mut stats = Vec::with_capacity(self.shards());
        for shard in 0..self.shards() {
            let mut sum = self.probe.stats_of(shard).recv_async().await.map_err(|_| stopped())?;
            let mut from = Some(0);
            while let Some(place) = from {
                let (part, next) = self.read(shard, move |shard, _| shard.queue_stats(place)).await?;
                sum.add(&part);
                from = next;
            }
            stats.push(sum);
        }
        Ok(stats)
    }

    /// Virtual hosts, users, permissions, policies, parameters and limits. Not exchanges, queues and bindings.
    ///
    /// # Errors
    /// [`AdminError::Unavailable`] when the broker stops.
    pub async fn definitions(&self) -> Result<Vec<Definition>, AdminError> {
        self.read_registrar(|shard, _| shard.list_definitions()).await
    }

    /// The exchanges of a virtual host, none if it does not exist.
    ///
    /// # Errors
    /// [`AdminError::Unavailable`] when the broker stops.
    pub async fn exchanges(&self, vhost: &str) -> Result<Vec<ExchangeInfo>, AdminError> {
        let vhost: Arc<str> = vhost.into();
        self.slices(Shard::REGISTRAR, move |shard, _, from| shard.list_exchanges(&vhost, from)).await
    }

    /// The bindings of a virtual host, without the implicit ones of the default exchange.
    ///
    /// # Errors
    /// [`AdminError::Unavailable`] when the broker stops.
    pub async fn bindings(&self, vhost: &str) -> Result<Vec<BindingDefinition>, AdminError> {
        let vhost: Arc<str> = vhost.into();
        self.slices(Shard::REGISTRAR, move |shard, _, from| shard.list_bindings(&vhost, from)).await
    }

    /// The queues of all virtual hosts, or of one, in no order.
    ///
    /// # Errors
    /// [`AdminError::Unavailable`] when the broker stops.
    pub async fn queues(&self, vhost: Option<&str>) -> Result<Vec<QueueInfo>, AdminError> {
        let vhost: Option<Arc<str>> = vhost.map(Into::into);
        self.all_slices(move |shard, _, from| shard.list_queues(vhost.as_deref(), from)).await
    }

    /// The number of changes that the list of a shard's queues has seen: the list is the same while this is.
    ///
    /// # Errors
    /// [`AdminError::Unavailable`] when the broker stops.
    pub async fn queue_changes(&self, shard: ShardId) -> Result<u64, AdminError> {
        self.read(usize::from(shard.0), |shard, _| shard.queue_changes()).await
    }

    /// What the queues of a shard are called, in no order.
    ///
    /// # Errors
    /// [`AdminError::Unavailable`] when the broker stops.
    pub async fn queue_names(&self, shard: ShardId) -> Result<Vec<QueueName>, AdminError> {
        self.slices(shard, |shard, _, from| shard.list_queue_names(from)).await
    }

    /// These queues, at most [`SLICE_ROWS`], in no order. Those that have gone are left out.
    ///
    /// # Errors
    /// [`AdminError::Unavailable`] when the broker stops.
    pub async fn queues_called(&self, names: &[QueueName]) -> Result<Vec<QueueInfo>, AdminError> {
        let mut by_shard = vec![Vec::new(); self.shards()];
        for name in names.iter().take(SLICE_ROWS) {
            by_shard[usize::from(name.shard.0)].push(name.id);
        }
        let mut rows = Vec::with_capacity(names.len());
        for (shard, ids) in by_shard.into_iter().enumerate().filter(|(_, ids)| !ids.is_empty()) {
            rows.extend(self.read(shard, move |shard, _| shard.queue_infos(&ids)).await?);
        }
        Ok(rows)
    }

    /// One queue.
    ///
    /// # Errors
    /// [`AdminError::Unavailable`] when the broker stops.
    pub async fn queue(&self, vhost: &str, name: &str) -> Result<Option<QueueInfo>, AdminError> {
        let (vhost, name): (Arc<str>, Arc<str>) = (vhost.into(), name.into());
        let at = {
            let (vhost, name) = (Arc::clone(&vhost), Arc::clone(&name));
            self.read_registrar(move |shard, _| shard.shard_of_queue(&vhost, &name)).await?
        };
        match at {
            Some(at) => self.read(usize::from(at.0), move |shard, _| shard.queue_info(&vhost, &name)).await,
            None => Ok(None),
        }
    }

    /// The numbers of the queues that have changed since they were asked for last, in no order. There is one memory of that, so
    /// only one caller gets to know everything.
    ///
    /// # Errors
    /// [`AdminError::Unavailable`] when the broker stops.
    pub async fn queue_samples(&self) -> Result<Vec<QueueSample>, AdminError> {
        self.all_slices(|shard, _, from| shard.sample_queues(from)).await
    }

    /// What exchanges have counted, shard by shard, in no order; what has been published to on several shards comes several times.
    ///
    /// # Errors
    /// [`AdminError::Unavailable`] when the broker stops.
    pub async fn exchange_counts(&self) -> Result<Vec<ExchangeCount>, AdminError> {
        self.all_slices(|shard, _, from| shard.list_exchange_counts(from)).await
    }

    /// The consumers of the queues of all virtual hosts, or of one, in no order.
    ///
    /// # Errors
    /// [`AdminError::Unavailable`] when the broker stops.
    pub async fn consumers(&self, vhost: Option<&str>) -> Result<Vec<ConsumerInfo>, AdminError> {
        let vhost: Option<Arc<str>> = vhost.map(Into::into);
        self.all_slices(move |shard, _, from| shard.list_consumers(vhost.as_deref(), from)).await
    }

    /// All connections, in no order.
    ///
    /// # Errors
    /// [`AdminError::Unavailable`] when the broker stops.
    pub async fn connections(&self) -> Result<Vec<ConnectionInfo>, AdminError> {
        self.all_slices(|shard, sessions, from| sessions.list_connections(shard.id(), from, SLICE_ROWS)).await
    }

    /// All channels, in no order.
    ///
    /// # Errors
    /// [`AdminError::Unavailable`] when the broker stops.
    pub async fn channels(&self) -> Result<Vec<ChannelInfo>, AdminError> {
        self.all_slices(|shard, sessions, from| sessions.list_channels(shard.id(), from, SLICE_ROWS)).await
    }

    /// The shard of a queue; the registrar if there is no such queue, which then says so.
    async fn shard_of_queue(&self, vhost: &str, name: &str) -> Result<usize, AdminError> {
        let (vhost, name): (Arc<str>, Arc<str>) = (vhost.into(), name.into());
        let at = self.read_registrar(move |shard, _| shard.shard_of_queue(&vhost, &name)).await?;
        Ok(usize::from(at.unwrap_or(Shard::REGISTRAR).0))
    }

    async fn all_slices<T: Send + 'static>(
        &self,
        list: impl Fn(&Shard, &dyn Sessions, usize) -> Slice<T> + Clone + Send + 'static,
    ) -> Result<Vec<T>, AdminError> {
        let mut all = Vec::new();
        for shard in 0..self.shards() {
            let shard = ShardId(u16::try_from(shard).unwrap_or(u16::MAX));
            all.extend(self.slices(shard, list.clone()).await?);
        }
        Ok(all)
    }

    async fn slices<T: Send + 'static>(
        &self,
        shard: ShardId,
        list: impl Fn(&Shard, &dyn Sessions, usize) -> Slice<T> + Clone + Send + 'static,
    ) -> Result<Vec<T>, AdminError> {
        let mut all = Vec::new();
        let mut from = Some(0);
        while let Some(place) = from {
            let list = list.clone();
            let read = move |shard: &Shard, sessions: &dyn Sessions| list(shard, sessions, place);
            let (rows, next) = self.read(usize::from(shard.0), read).await?;
            all.extend(rows);
            from = next;
        }
        Ok(all)
    }

    async fn read_registrar<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shard, &dyn Sessions) -> T + Send + 'static,
    ) -> Result<T, AdminError> {
        self.read(usize::from(Shard::REGISTRAR.0), read).await
    }

    /// Runs a function on a shard, between two other things that it does.
    async fn read<T: Send + 'static>(
        &self,
        shard: usize,
        read: impl FnOnce(&Shard, &dyn Sessions) -> T + Send + 'static,
    ) -> Result<T, AdminError> {
        let (sender, receiver) = flume::bounded(1);
        let read: Read = Box::new(move |shard, sessions| {
            // The asker may have gone.
            let _ = sender.send(read(shard, sessions));
        });
        self.probe.call(shard, Call::Read(read));
        receiver.recv_async().await.map_err(|_| stopped())
    }
}

fn stopped() -> AdminError {
    AdminError::Unavailable("the broker stops".to_owned())
}

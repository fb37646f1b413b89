//! What a shard lists for administrators, in slices of [`SLICE_ROWS`] rows. A slice begins at a place in the table that it is
//! taken from, not at a row, so tables may change between two slices.

use std::sync::Arc;

use broker_store::QueueId;

use super::registrar::REGISTRAR;
use super::stats::ShardStats;
use super::{Hosted, Shard};
use crate::admin::{
    ConnectionAddress, ConsumerInfo, Definition, ExchangeCount, ExchangeInfo, MessageBytes, QueueInfo, QueueName,
    QueueSample, SLICE_ROWS,
};
use crate::ids::ShardId;
use crate::model::binding::BindingDefinition;
use crate::model::queue::Bytes;
use crate::model::queue::consumer::Activity;

impl Hosted {
    fn sample(&self) -> QueueSample {
        QueueSample {
            queue: self.id,
            counters: self.counters,
            messages_ready: self.machine.message_count(),
            messages_unacknowledged: self.machine.unacked_count() as u64,
        }
    }
}

/// Places of the table that are looked at for samples at a time: less than the rows of a listing cost, as most have not changed.
const SAMPLED_PLACES: usize = 4 * SLICE_ROWS;

/// Queues that are added up at a time.
const STATS_QUEUES: usize = 8192;

/// Where listings of queues go on with the streams, beyond every place in the table of queues.
const STREAMS: usize = 1 << 40;

impl Shard {
    /// The shard whose copy of the topology is ahead of all others, and to which changes are sent.
    pub(crate) const REGISTRAR: ShardId = REGISTRAR;

    /// Which shard this is.
    pub(crate) fn id(&self) -> ShardId {
        self.id
    }

    /// Everything that administrators define; see [`Definition`].
    pub(crate) fn list_definitions(&self) -> Vec<Definition> {
        self.topology.definitions().collect()
    }

    /// Exchanges of a virtual host.
    pub(crate) fn list_exchanges(&self, vhost: &str, from: usize) -> (Vec<ExchangeInfo>, Option<usize>) {
        let Some((name, vhost)) = self.topology.vhost(vhost) else {
            return (Vec::new(), None);
        };
        let rows = vhost.routing.exchanges_with_policies().map(|(definition, policy)| ExchangeInfo {
            vhost: Arc::clone(name),
            definition: Arc::clone(definition),
            policy: policy.cloned(),
        });
        slice(rows, from)
    }

    /// Bindings of a virtual host.
    pub(crate) fn list_bindings(&self, vhost: &str, from: usize) -> (Vec<BindingDefinition>, Option<usize>) {
        match self.topology.vhost(vhost) {
            Some((_, vhost)) => slice(vhost.routing.bindings(), from),
            None => (Vec::new(), None),
        }
    }

    /// Queues of this shard.
    pub(crate) fn list_queues(&self, vhost: Option<&str>, from: usize) -> (Vec<QueueInfo>, Option<usize>) {
        if let Some(place) = from.checked_sub(STREAMS) {
            return self.list_streams_of(vhost, place, |info, _, rows| rows.push(info));
        }
        let (rows, next) = self.list_hosted(from, |hosted, rows| {
            rows.extend(self.info_of(hosted).filter(|info| vhost.is_none_or(|vhost| vhost == &*info.vhost)));
        });
        (rows, next.or(Some(STREAMS)))
    }

    /// Rises when a queue is made or removed; see [`ShardStats::queues_created`].
    pub(crate) fn queue_changes(&self) -> u64 {
        self.stats.queues_created + self.stats.queues_deleted
    }

    /// What the queues of this shard are called.
    pub(crate) fn list_queue_names(&self, from: usize) -> (Vec<QueueName>, Option<usize>) {
        let name_of = |id: QueueId| {
            let row = self.topology.queue(id)?;
            Some(QueueName { id, vhost: Arc::clone(&row.vhost), name: Arc::clone(&row.name), shard: self.id })
        };
        if let Some(place) = from.checked_sub(STREAMS) {
            let (ids, next) = slice(self.stream_ids(), place);
            return (ids.into_iter().filter_map(name_of).collect(), next.map(|place| STREAMS + place));
        }
        let (rows, next) = self.list_hosted(from, |hosted, rows| rows.extend(name_of(hosted.id)));
        (rows, next.or(Some(STREAMS)))
    }

    /// Those of these queues that are on this shard.
    pub(crate) fn queue_infos(&self, ids: &[QueueId]) -> Vec<QueueInfo> {
        ids.iter().filter_map(|id| self.queue_info_at(*id)).collect()
    }

    /// What the queues from a place in the table on come to, and the place to go on from: at most [`STATS_QUEUES`] at a time.
    pub(crate) fn queue_stats(&self, from: usize) -> (ShardStats, Option<usize>) {
        let mut stats = ShardStats::default();
        let end = self.queues.capacity().min(from.saturating_add(STATS_QUEUES));
        for hosted in (from..end).filter_map(|place| self.queues.get(place)) {
            stats.messages_ready += hosted.machine.message_count();
            stats.messages_unacked += hosted.machine.unacked_count() as u64;
            stats.consumers += hosted.machine.consumer_count() as u64;
            stats.queue_counters.add(&hosted.counters);
            stats.oldest_ms = stats.oldest_ms.into_iter().chain(self.oldest_of(hosted)).min();
        }
        if end < self.queues.capacity() {
            return (stats, Some(end));
        }
        self.streams.add_stats(&mut stats);
        (stats, None)
    }

    fn oldest_of(&self, hosted: &Hosted) -> Option<u64> {
        if hosted.machine.message_count() == 0 {
            return None;
        }
        hosted.machine.oldest_ms(&self.partitions.get(&hosted.partition)?.logs)
    }

    /// Consumers of the queues of this shard.
    pub(crate) fn list_consumers(&self, vhost: Option<&str>, from: usize) -> (Vec<ConsumerInfo>, Option<usize>) {
        if let Some(place) = from.checked_sub(STREAMS) {
            return self.list_streams_of(vhost, place, |_, consumers, rows| rows.extend(consumers));
        }
        let (rows, next) = self.list_hosted(from, |hosted, rows| {
            let row = self.topology.queue(hosted.id);
            let Some(row) = row.filter(|row| vhost.is_none_or(|vhost| vhost == &*row.vhost)) else {
                return;
            };
            rows.extend(hosted.machine.activities().map(|(consumer, activity)| ConsumerInfo {
                vhost: Arc::clone(&row.vhost),
                queue: Arc::clone(&row.name),
                shard: consumer.address.shard,
                channel: consumer.address.channel,
                consumer: consumer.id,
                consumer_tag: Arc::clone(&consumer.consumer_tag),
                ack_required: !consumer.no_ack,
                exclusive: consumer.exclusive,
                prefetch_count: consumer.prefetch_count,
                timeout_ms: consumer.timeout_ms,
                activity,
                arguments: consumer.arguments.clone(),
            }));
        });
        (rows, next.or(Some(STREAMS)))
    }

    /// Goes through the table of streams from a place until there are enough rows.
    fn list_streams_of<T>(
        &self,
        vhost: Option<&str>,
        from: usize,
        mut add: impl FnMut(QueueInfo, Vec<ConsumerInfo>, &mut Vec<T>),
    ) -> (Vec<T>, Option<usize>) {
        let mut rows = Vec::new();
        for (place, info, consumers) in self.list_streams(from) {
            if rows.len() >= SLICE_ROWS {
                return (rows, Some(STREAMS + place));
            }
            if vhost.is_none_or(|vhost| vhost == &*info.vhost) {
                add(info, consumers, &mut rows);
            }
        }
        (rows, None)
    }

    /// The shard that runs a queue.
    pub(crate) fn shard_of_queue(&self, vhost: &str, name: &str) -> Option<ShardId> {
        let (_, row) = self.topology.find_queue(vhost, name)?;
        Some(self.placement.shard_of(row.partition))
    }

    /// The shard that holds the messages of an exchange back, should it do so.
    pub(crate) fn shard_of_exchange(&self, vhost: &str, name: &str) -> ShardId {
        self.placement.shard_of(self.placement.partition_of(vhost, name))
    }

    /// A queue of this shard.
    pub(crate) fn queue_info(&self, vhost: &str, name: &str) -> Option<QueueInfo> {
        let (id, _) = self.topology.find_queue(vhost, name)?;
        self.queue_info_at(id)
    }

    fn queue_info_at(&self, id: QueueId) -> Option<QueueInfo> {
        self.hosted(id).map_or_else(|| self.find_stream_info(id), |hosted| self.info_of(hosted))
    }

    fn hosted(&self, queue: QueueId) -> Option<&Hosted> {
        self.queues.get(*self.slots.get(&queue)? as usize)
    }

    fn info_of(&self, hosted: &Hosted) -> Option<QueueInfo> {
        let row = self.topology.queue(hosted.id)?;
        let exclusive_consumer = hosted.machine.consumers().find(|consumer| consumer.exclusive);
        let mut active = hosted.machine.activities();
        let active = active.find(|(_, activity)| *activity == Activity::SingleActive);
        Some(QueueInfo {
            id: hosted.id,
            kind: row.kind,
            vhost: Arc::clone(&row.vhost),
            name: Arc::clone(&row.name),
            durable: row.durable,
            auto_delete: row.auto_delete,
            exclusive: row.owner.is_some(),
            owner: row.owner.map(|owner| ConnectionAddress { shard: owner.shard, connection: owner.connection }),
            arguments: row.arguments.as_deref().cloned().unwrap_or_default(),
            policy: row.policy.clone(),
            shard: self.id,
            partition: hosted.partition,
            deleting: hosted.closing,
            paused: row.paused,
            messages_ready: hosted.machine.message_count(),
            messages_unacknowledged: hosted.machine.unacked_count() as u64,
            oldest_ms: self.oldest_of(hosted),
            message_bytes: Some(message_bytes(hosted.machine.bytes())),
            consumers: hosted.machine.consumer_count() as u64,
            exclusive_consumer_tag: exclusive_consumer.map(|consumer| Arc::clone(&consumer.consumer_tag)),
            single_active_consumer_tag: active.map(|(consumer, _)| Arc::clone(&consumer.consumer_tag)),
            delivery_limit: hosted.machine.settings().and_then(|settings| settings.delivery_limit),
            counters: hosted.counters,
            idle_since_ms: hosted.sampled.idle_since_ms(&hosted.sample()),
        })
    }

    /// What exchanges have counted for the publishers of this shard.
    pub(crate) fn list_exchange_counts(&self, from: usize) -> (Vec<ExchangeCount>, Option<usize>) {
        slice(self.exchange_counts.iter().cloned(), from)
    }

    /// The queues and streams of this shard whose numbers have changed since the last time.
    pub(crate) fn sample_queues(&self, from: usize) -> (Vec<QueueSample>, Option<usize>) {
        let mut rows = Vec::new();
        if from >= STREAMS {
            return (self.sample_streams().collect(), None);
        }
        let end = self.queues.capacity().min(from + SAMPLED_PLACES);
        for hosted in (from..end).filter_map(|place| self.queues.get(place)) {
            let sample = hosted.sample();
            if hosted.sampled.look(&sample, self.now_ms) {
                rows.push(sample);
            }
        }
        (rows, Some(if end < self.queues.capacity() { end } else { STREAMS }))
    }

    /// Goes through the table of queues from a place until there are enough rows or queues.
    fn list_hosted<T>(&self, from: usize, mut add: impl FnMut(&Hosted, &mut Vec<T>)) -> (Vec<T>, Option<usize>) {
        let mut rows = Vec::new();
        let end = self.queues.capacity();
        for place in from..end {
            if rows.len() >= SLICE_ROWS || place - from >= 4 * SLICE_ROWS {
                return (rows, Some(place));
            }
            if let Some(hosted) = self.queues.get(place) {
                add(hosted, &mut rows);
            }
        }
        (rows, None)
    }
}

fn message_bytes(bytes: Bytes) -> MessageBytes {
    MessageBytes { ready: bytes.ready(), unacknowledged: bytes.unacked(), persistent: bytes.persistent() }
}

fn slice<T>(all: impl Iterator<Item = T>, from: usize) -> (Vec<T>, Option<usize>) {
    let rows: Vec<T> = all.skip(from).take(SLICE_ROWS).collect();
    let next = (rows.len() == SLICE_ROWS).then_some(from + SLICE_ROWS);
    (rows, next)
}

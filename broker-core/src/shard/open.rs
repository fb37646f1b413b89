//! From a data directory to the state of a shard.

use std::collections::BTreeMap;
use std::sync::Mutex;

use broker_store::fs::GlommioFs;
use broker_store::{
    Catalog, DataDir, Entry, Load, Log, LogKind, LogOptions, PartitionId, Position, QueueId, RecoveredQueue, Run,
    Seq, StoreError,
};
use rustc_hash::FxHashMap;

use super::access::Defaults;
use super::catalog::{self, Loaded, Loader, QueueIds};
use super::driver::StartError;
use super::partition::Partition;
use super::placement::Placement;
use super::registrar::REGISTRAR;
use super::topology::{Applied, Change, Topology};
use super::{Shard, access};
use crate::ids::{QueueRef, ShardId};
use crate::model::deduplication;
use crate::model::exchange::history;
use crate::model::message::Message;
use crate::model::queue::settings::QueueType;
use crate::model::queue::{Logs, Queue};

/// Records of a cache that are looked up at a time.
const RECORDS_AT_ONCE: usize = 1024;

/// How often a page that does not come is asked for.
const READ_ATTEMPTS: u32 = 3;

/// The definitions in the catalog, read once for all shards.
#[derive(Debug)]
pub(super) struct Definitions {
    changes: Vec<Change>,
    /// For the registrar, which takes it.
    queue_ids: Mutex<QueueIds>,
    default_queue_type: QueueType,
}

impl Definitions {
    /// Number of queues.
    pub(super) fn queue_count(&self) -> u64 {
        self.changes.iter().filter(|change| matches!(change, Change::QueueDeclared { .. })).count() as u64
    }

    fn has_queue(&self) -> impl Fn(QueueId) -> bool + use<> {
        let ids: rustc_hash::FxHashSet<u64> = self
            .changes
            .iter()
            .filter_map(|change| match change {
                Change::QueueDeclared { definition, .. } => Some(definition.id),
                Change::ExchangeDeclared { definition, .. } => definition.store,
                _ => None,
            })
            .collect();
        move |queue: QueueId| ids.contains(&queue.base().0)
    }
}

/// What recovery found in the logs of a shard's partitions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    pub(super) messages: u64,
    pub(super) segments: u64,
    pub(super) damaged: u64,
}

/// Reads the catalog; a new one gets the default virtual host and user.
pub(super) fn definitions(
    catalog: &Catalog,
    placement: Placement,
    defaults: &Defaults,
    salt: [u8; 4],
) -> Result<Definitions, StartError> {
    let mut loader = Loader::default();
    let mut bad = None;
    catalog.load(|kind, key, value| {
        if let Err(error) = loader.row(placement, kind, key, value) {
            bad.get_or_insert(error);
        }
    })?;
    if let Some(bad) = bad {
        return Err(StartError::Catalog(bad.to_string()));
    }
    let Loaded { mut changes, queue_ids } = loader.finish();
    let mut topology = Topology::default();
    for change in &changes {
        topology.apply(change);
    }
    if defaults.seed && access::is_new(&topology) {
        let defaults = access::first_changes(defaults, salt);
        let mut rows = Vec::new();
        for change in &defaults {
            catalog::write_rows(change, &Applied::default(), true, &mut rows);
        }
        catalog.commit(&rows)?;
        changes.splice(0..0, defaults);
    }
    Ok(Definitions { changes, queue_ids: Mutex::new(queue_ids), default_queue_type: defaults.queue_type })
}

/// Recovers the partitions of a shard and makes its state.
pub(super) async fn shard(
    fs: &GlommioFs,
    data_dir: &DataDir,
    id: ShardId,
    placement: Placement,
    definitions: &Definitions,
    now_ms: u64,
) -> Result<(Shard, Found), StoreError> {
    let is_live = definitions.has_queue();
    let mut logs = FromLogs::default();
    for partition in placement.partitions_of(id) {
        logs.recover(fs, data_dir, partition, &is_live, now_ms).await?;
    }
    let mut shard = Shard::new(id, placement, std::mem::take(&mut logs.partitions));
    shard.set_now_ms(now_ms);
    shard.topology.default_queue_type = definitions.default_queue_type;
    for change in &definitions.changes {
        let applied = shard.topology.apply(change);
        shard.apply_to_stores(change, &applied);
        if let Change::QueueDeclared { definition, partition, .. } = change
            && placement.shard_of(*partition) == id
        {
            logs.host(&mut shard, QueueId(definition.id), definition.kind, *partition);
        }
    }
    for (partition, lane) in logs.caches {
        let partition = shard.partitions.get_mut(&partition).expect("it was made above");
        let records = records_of(fs, &mut partition.logs.durable, &lane).await;
        shard.caches.recovered(lane.queue, lane.next_seq, &records);
    }
    for (partition, lane) in logs.histories {
        let partition = shard.partitions.get_mut(&partition).expect("it was made above");
        let mut entries = Vec::new();
        for run in &lane.runs {
            entries.extend(entries_of(fs, &mut partition.logs.durable, lane.queue, run).await.unwrap_or_default());
        }
        shard.histories.recovered(lane.queue, lane.next_seq, &entries);
    }
    logs.lanes.into_values().flatten().for_each(|lane| shard.recovered_lane(lane));
    if id == REGISTRAR {
        let mut ids = definitions.queue_ids.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shard.registrar.queue_ids = std::mem::take(&mut ids);
    }
    Ok((shard, logs.found))
}

/// What the logs of a shard's partitions hold.
#[derive(Default)]
struct FromLogs {
    found: Found,
    partitions: Vec<Partition>,
    /// What queues and exchanges that hold messages back have, by their numbers.
    lanes: FxHashMap<QueueId, Vec<RecoveredQueue>>,
    /// Messages that wait to be delivered again, with their lanes and when they are ready, by queue.
    waiting: FxHashMap<QueueId, Vec<(QueueId, Entry, u64)>>,
    caches: Vec<(PartitionId, RecoveredQueue)>,
    histories: Vec<(PartitionId, RecoveredQueue)>,
}

impl FromLogs {
    async fn recover(
        &mut self,
        fs: &GlommioFs,
        data_dir: &DataDir,
        partition: PartitionId,
        is_live: &impl Fn(QueueId) -> bool,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        let options = |kind| LogOptions { body_of: Message::stored_body_bytes, ..LogOptions::new(kind) };
        let recover = |path, kind| broker_store::recover(fs, path, options(kind), is_live);
        let paths = [data_dir.durable_log(partition), data_dir.volatile_log(partition)];
        let (mut durable, found) = recover(&paths[0], LogKind::Durable).await?;
        let (volatile, _) = recover(&paths[1], LogKind::Volatile).await?;
        for damage in &found.damage {
            tracing::error!(partition = partition.0, "damaged record skipped: {damage}");
        }
        self.found.damaged += found.damage.len() as u64;
        self.found.segments += found.segments as u64;
        for mut queue in found.queues {
            match queue.queue.lane() {
                deduplication::LANE => self.caches.push((partition, queue)),
                history::LANE => self.histories.push((partition, queue)),
                _ => {
                    self.found.messages += queue.messages;
                    for (entry, ready_ms) in take_waiting(fs, &mut durable, &mut queue, now_ms).await {
                        let waiting = self.waiting.entry(queue.queue.base()).or_default();
                        waiting.push((queue.queue, entry, ready_ms));
                    }
                    self.lanes.entry(queue.queue.base()).or_default().push(queue);
                }
            }
        }
        self.partitions.push(Partition::new(partition, Logs { durable, volatile }));
        Ok(())
    }

    /// Has the shard host a queue with what the logs have of it.
    fn host(&mut self, shard: &mut Shard, queue: QueueId, kind: QueueType, partition: PartitionId) {
        let lanes = self.lanes.remove(&queue);
        if kind == QueueType::Stream {
            return shard.host_stream(queue, partition, lanes.and_then(|lanes| lanes.into_iter().next()));
        }
        let at = QueueRef { queue, shard: shard.id };
        let mut machine = match lanes {
            Some(lanes) => Queue::recovered(at, lanes, shard.now_ms),
            None => Queue::new(at),
        };
        for (lane, entry, ready_ms) in self.waiting.remove(&queue).into_iter().flatten() {
            machine.recovered_waiting(lane, &entry, ready_ms);
        }
        shard.host(queue, partition, machine);
    }
}

/// Takes messages out of the runs of a lane that are not to be delivered before some time to come (`x-delayed-retry-type`). Of a run that
/// cannot be read all are ready at once.
async fn take_waiting(fs: &GlommioFs, log: &mut Log, lane: &mut RecoveredQueue, now_ms: u64) -> Vec<(Entry, u64)> {
    let attempts = lane.attempts.iter().filter(|(_, attempt)| attempt.ready_ms > now_ms);
    let waits: BTreeMap<Seq, u64> = attempts.map(|(seq, attempt)| (*seq, attempt.ready_ms)).collect();
    let mut taken = Vec::new();
    if waits.is_empty() {
        return taken;
    }
    let mut runs = Vec::with_capacity(lane.runs.len());
    for run in std::mem::take(&mut lane.runs) {
        if waits.range(run.first..=run.last).next().is_none() {
            runs.push(run);
            continue;
        }
        let Some(entries) = entries_of(fs, log, lane.queue, &run).await else {
            tracing::warn!(queue = lane.queue.0, "messages that waited to be delivered again are ready at once");
            runs.push(run);
            continue;
        };
        for part in entries.split(|entry| waits.contains_key(&entry.seq)) {
            let (Some(first), Some(last)) = (part.first(), part.last()) else {
                continue;
            };
            runs.push(Run {
                segment: run.segment,
                first: first.seq,
                last: last.seq,
                count: u32::try_from(part.len()).unwrap_or(u32::MAX),
                bytes: part.iter().map(|entry| u64::from(entry.position.length)).sum(),
            });
        }
        taken.extend(entries.iter().filter_map(|entry| Some((*entry, *waits.get(&entry.seq)?))));
    }
    lane.runs = runs;
    lane.body_bytes -= taken.iter().map(|(entry, _)| u64::from(entry.body)).sum::<u64>();
    taken
}

/// All entries of a run; nothing if its index cannot be read.
async fn entries_of(fs: &GlommioFs, log: &mut Log, lane: QueueId, run: &Run) -> Option<Vec<Entry>> {
    for _ in 0..READ_ATTEMPTS {
        let mut entries = Vec::new();
        match log.load(lane, run, run.first, usize::MAX, &mut entries) {
            Load::Loaded => return Some(entries),
            Load::NeedsPageIn => carry_out(fs, log).await,
        }
    }
    None
}

/// The records of a lane that is kept in memory. Those that cannot be read are left out.
async fn records_of(fs: &GlommioFs, log: &mut Log, lane: &RecoveredQueue) -> Vec<(Entry, Vec<u8>)> {
    let mut records = Vec::new();
    for run in &lane.runs {
        let (mut first, mut attempts) = (run.first, 0);
        loop {
            let mut entries = Vec::new();
            if log.load(lane.queue, run, first, RECORDS_AT_ONCE, &mut entries) == Load::NeedsPageIn {
                attempts += 1;
                if attempts > READ_ATTEMPTS {
                    break;
                }
                carry_out(fs, log).await;
                continue;
            }
            for entry in &entries {
                if let Some(record) = record_at(fs, log, entry.position).await {
                    records.push((*entry, record));
                }
            }
            match entries.last() {
                Some(last) if entries.len() == RECORDS_AT_ONCE => first = Seq(last.seq.0 + 1),
                _ => break,
            }
        }
    }
    records
}

async fn record_at(fs: &GlommioFs, log: &mut Log, position: Position) -> Option<Vec<u8>> {
    for _ in 0..READ_ATTEMPTS {
        if let Some(record) = log.read(position).ok()? {
            return Some(record.to_vec());
        }
        log.page_in(position);
        carry_out(fs, log).await;
    }
    None
}

/// Carries out what a log wants.
async fn carry_out(fs: &GlommioFs, log: &mut Log) {
    while let Some(op) = log.poll_io() {
        let done = broker_store::perform(fs, op).await;
        log.handle_io(done);
    }
}

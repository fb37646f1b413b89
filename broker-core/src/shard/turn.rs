//! What a shard does beside the calls of its connections: batches from other shards, log operations and their results,
//! changes of the topology.

use amq_protocol::types::FieldTable;
use broker_store::{Change as CatalogChange, IoDone, IoOp, Log, LogKind, PartitionId, QueueId};

use super::admin::{ADMIN_CONNECTION, ADMIN_SLOT};
use super::mailbox::{Answer, Batch, Op, ReplyTo};
use super::partition::{Partition, PartitionEvent};
use super::registrar::REGISTRAR;
use super::sampled::Sampled;
use super::timers::NEVER;
use super::topology::{Applied, Change};
use super::{Hosted, Shard};
use crate::admin::{DefinitionKey, QueueCounters};
use crate::error::ConnectionCode;
use crate::ids::{ChannelKey, QueueRef, ShardId};
use crate::model::deduplication::{self, Cache};
use crate::model::exchange::history;
use crate::model::queue::consumer::ChannelAddress;
use crate::model::queue::settings::{QueueSettings, QueueType};
use crate::model::queue::{Got, Queue};
use crate::session::{Delivery, Reply, Sessions};

impl Shard {
    /// Carries out what another shard has sent.
    pub(super) fn handle_batch(&mut self, sessions: &mut impl Sessions, from: ShardId, mut batch: Batch) {
        for op in batch.take_ops() {
            self.handle_op(sessions, from, &batch, op);
        }
    }

    fn handle_op(&mut self, sessions: &mut impl Sessions, from: ShardId, batch: &Batch, op: Op) {
        match op {
            Op::Publish { queues, message, traits, confirm } => {
                let message = batch.message_at(message);
                self.accept_from(sessions, from, batch.queues_at(queues), message, traits, confirm);
            }
            Op::BeginGroup { partition, size } => self.begin_group_here(partition, size),
            Op::EndGroup { partition } => self.end_group_here(partition),
            Op::Settle { channel, queue, tokens, settlement } => {
                let address = ChannelAddress { shard: from, channel };
                self.settle_here(sessions, address, queue, batch.tokens_at(tokens), settlement);
            }
            Op::AddRoom { channel, consumer, more } => {
                let address = ChannelAddress { shard: from, channel };
                self.add_room_here(sessions, address, consumer, more);
            }
            Op::ReturnWindow { channel, consumer, bytes } => {
                let address = ChannelAddress { shard: from, channel };
                self.return_window_here(sessions, address, consumer, bytes);
            }
            Op::CloseChannel { channel } => {
                self.channel_closed(sessions, ChannelAddress { shard: from, channel });
            }
            Op::AskDone { connection, request } => {
                self.answer(sessions, ReplyTo { shard: from, connection, request }, Answer::Done);
            }
            Op::Ask(ask) => self.ask_here(sessions, *ask),
            Op::Deliver { channel, consumer, queue, token, redelivered, message } => {
                let queue = QueueRef { queue, shard: from };
                let message = batch.message_at(message);
                sessions.deliver(Delivery { channel, consumer, queue, token, redelivered, message });
            }
            Op::Confirm { channel, first, last, accepted } => {
                self.confirm_here(sessions, channel, first, last, accepted);
            }
            Op::ConsumerCancelled { channel, consumer } => sessions.consumer_cancelled(channel, consumer),
            Op::Answer { connection, request, answer } => self.hand_over(sessions, connection, request, *answer),
            Op::Got { connection, request, queue, token, redelivered, message_count, message } => {
                let queue = QueueRef { queue, shard: from };
                let message = batch.message_at(message);
                if connection == ADMIN_CONNECTION {
                    let got = Got { token, redelivered, message_count: message_count.into(), message };
                    return self.desk.got(request, queue, &got);
                }
                let reply = Reply::BasicGetOk { queue, token, redelivered, message_count, message };
                sessions.reply(connection, request, reply);
            }
            Op::Reply { channel, message } => {
                self.deliver_reply_here(sessions, channel, batch.message_at(message));
            }
            Op::FindReply(find) => self.find_reply(sessions, *find),
            Op::Request(request) => self.execute(sessions, *request),
            Op::Applied(round) => self.applied(sessions, round),
            Op::DiskFull(full) => self.set_disk_full(sessions, from, full),
            Op::Apply { round, changes } => {
                for change in changes.iter() {
                    self.apply(sessions, change);
                }
                self.peers.batch(REGISTRAR).push(Op::Applied(round));
            }
        }
    }

    /// The next operation that a log wants carried out.
    pub(super) fn poll_io(&mut self) -> Option<(PartitionId, LogKind, IoOp)> {
        self.partitions
            .values_mut()
            .find_map(|partition| partition.poll_io().map(|(kind, op)| (partition.id, kind, op)))
    }

    /// An operation has been carried out.
    pub(super) fn handle_io(&mut self, partition: PartitionId, kind: LogKind, done: IoDone) {
        if let Some(partition) = self.partitions.get_mut(&partition) {
            partition.handle_io(kind, done, &mut self.stats);
        }
    }

    /// True while the logs are to be ticked.
    pub(super) fn wants_log_tick(&self) -> bool {
        self.logs().any(Log::wants_tick) || self.desk.has_due() || self.histories.has_replays()
    }

    /// Time has passed; see [`Self::next_tick_ms`].
    pub(super) fn tick(&mut self, sessions: &mut impl Sessions) {
        for partition in self.partitions.values_mut() {
            partition.logs.durable.tick(self.now_ms);
            partition.logs.volatile.tick(self.now_ms);
        }
        self.fire_timers(sessions);
        self.tick_streams(sessions);
    }

    /// The shard is about to stop: has everything that is staged written and synced, and begins nothing of its own.
    pub(super) fn flush(&mut self) {
        self.held_back.stop();
        for partition in self.partitions.values_mut() {
            partition.logs.durable.flush();
        }
    }

    /// True if what the shard itself has published has arrived, and what the registrar has changed is so everywhere. If another shard
    /// has ended it never will be.
    pub(super) fn is_settled(&self) -> bool {
        self.internal.is_idle() && self.registrar.is_settled()
    }

    /// True if everything is on disk, every change is told, and no batch is to be sent.
    pub(super) fn is_idle(&self) -> bool {
        self.logs().all(Log::is_flushed)
            && self.peers.batches.iter().all(Batch::is_empty)
            && self.dead_letters.is_empty()
            && self.registrar.is_idle()
    }

    fn logs(&self) -> impl Iterator<Item = &Log> {
        self.partitions.values().flat_map(|partition| [&partition.logs.durable, &partition.logs.volatile])
    }

    /// Rows that the catalog is to commit; see [`Self::committed`].
    pub(super) fn poll_commit(&mut self) -> Option<Vec<CatalogChange>> {
        self.registrar.poll_commit()
    }

    /// True if another [`turn`](Self::turn) has something to do at once.
    pub(super) fn wants_turn(&self) -> bool {
        let letters = !self.dead_letters.is_empty();
        // Letters that wait for confirms hold up the queues that have more of them.
        let held_up = self.congested() || (letters && self.internal.is_full());
        !held_up && (letters || !self.unfinished.is_empty())
    }

    /// What must be done before the executor waits: publishes dead letters, tells publishers what is on disk, lets queues go on whose
    /// pages are in or that have more to do.
    pub(super) fn turn(&mut self, sessions: &mut impl Sessions) {
        self.stats.turns += 1;
        self.send_dead_letters(sessions);
        for queue in std::mem::take(&mut self.unfinished) {
            if let Some(&slot) = self.slots.get(&queue) {
                self.queues[slot as usize].unfinished = false;
                self.pump(sessions, slot);
            }
        }
        let ids: Vec<PartitionId> = self.partitions.keys().copied().collect();
        for id in ids {
            while let Some(event) = self.partitions.get_mut(&id).and_then(|partition| partition.poll_event()) {
                self.handle_event(sessions, id, event);
            }
        }
        self.continue_requests(sessions);
        self.release_due(sessions);
        self.continue_replays(sessions);
    }

    fn handle_event(&mut self, sessions: &mut impl Sessions, partition: PartitionId, event: PartitionEvent) {
        match event {
            PartitionEvent::Confirm { waiting, accepted } => {
                if waiting.shard == self.id {
                    self.confirm_here(sessions, waiting.channel, waiting.first, waiting.last, accepted);
                } else {
                    let (channel, first, last) = (waiting.channel, waiting.first, waiting.last);
                    self.peers.batch(waiting.shard).push(Op::Confirm { channel, first, last, accepted });
                }
            }
            PartitionEvent::Resume(queues) => {
                for queue in queues {
                    self.resume(sessions, queue);
                }
            }
            PartitionEvent::Sealed(kind, segment) => {
                self.held_back.segment_sealed(partition, kind, segment);
                for (_, hosted) in self.queues.iter_mut().filter(|(_, hosted)| hosted.partition == partition) {
                    hosted.machine.segment_sealed(kind, segment);
                }
                if kind == LogKind::Durable {
                    self.streams.segment_sealed(partition, segment);
                }
            }
            PartitionEvent::Moved(kind, segment, queue, moved) => {
                self.held_back.relocate(queue, kind, segment, &moved);
                match self.slots.get(&queue.base()) {
                    _ if queue.lane() == deduplication::LANE => self.caches.relocate(queue, kind, segment, &moved),
                    _ if queue.lane() == history::LANE => self.histories.relocate(queue, kind, segment, &moved),
                    Some(&slot) => self.queues[slot as usize].machine.relocate(kind, segment, queue, &moved),
                    None => self.streams.relocate(queue, segment, &moved),
                }
            }
            PartitionEvent::Synced(streams) => self.streams_synced(sessions, streams),
            PartitionEvent::NoSpace => {
                let full = self.partitions.values().any(Partition::no_space);
                for peer in (0..self.placement.shards()).map(ShardId).filter(|peer| *peer != self.id) {
                    self.peers.batch(peer).push(Op::DiskFull(full));
                }
                self.set_disk_full(sessions, self.id, full);
            }
            PartitionEvent::Failed(kind, error) => {
                let partition = partition.0;
                tracing::error!(partition, ?kind, %error, "the log has failed; it takes no more messages until a restart");
            }
            PartitionEvent::Trouble(kind, error) => {
                tracing::warn!(partition = partition.0, ?kind, %error, "trouble with the log");
            }
        }
    }

    /// Passes a confirm to the channel that published, or keeps it if that was an administrator or the shard itself.
    pub(super) fn confirm_here(
        &mut self,
        sessions: &mut impl Sessions,
        channel: ChannelKey,
        first: u64,
        last: u64,
        accepted: bool,
    ) {
        if channel.slot == ADMIN_SLOT {
            self.desk_confirm(sessions, channel, accepted);
        } else if !self.confirm_internal(sessions, channel, first, last, accepted) {
            sessions.confirm(channel, first, last, accepted);
        }
    }

    /// A shard has a partition whose disk is full, or none any more.
    fn set_disk_full(&mut self, sessions: &mut impl Sessions, shard: ShardId, full: bool) {
        let before = self.blocked();
        self.disk_full.retain(|other| *other != shard);
        if full {
            self.disk_full.push(shard);
        }
        if self.blocked() != before {
            sessions.blocked(self.blocked());
        }
    }

    /// Applies a change of the topology here.
    pub(super) fn apply(&mut self, sessions: &mut impl Sessions, change: &Change) -> Applied {
        if let Change::QueueDeleted { queue } = change {
            self.remove_hosted(sessions, *queue);
        }
        let applied = self.topology.apply(change);
        self.apply_to_stores(change, &applied);
        match change {
            Change::Delete(DefinitionKey::Vhost { name }) => {
                let error = ConnectionCode::ConnectionForced.error(format!("vhost '{name}' is deleted"));
                sessions.close_connections(&|_, vhost| vhost == name, &error);
                self.exchange_counts.remove_vhost(name);
            }
            Change::ExchangeDeleted { vhost, name } => self.exchange_counts.remove(vhost, name),
            Change::Delete(DefinitionKey::User { name }) => {
                let error = ConnectionCode::ConnectionForced.error(format!("user '{name}' is deleted"));
                sessions.close_connections(&|user, _| user == name, &error);
            }
            _ => {}
        }
        if let Change::Bound { vhost, binding } = change {
            self.begin_replay(sessions, vhost, binding);
        }
        if let Change::QueuePaused { queue, paused } = change
            && let Some(&slot) = self.slots.get(queue)
        {
            self.queues[slot as usize].machine.set_paused(*paused);
            self.pump(sessions, slot);
        }
        for queue in &applied.policy_changed {
            if self.slots.contains_key(queue) || self.streams.slot(*queue).is_some() {
                self.settings_changed(*queue, self.settings_of(*queue));
            }
        }
        if let Change::QueueDeclared { definition, partition, .. } = change
            && self.placement.shard_of(*partition) == self.id
        {
            let id = QueueId(definition.id);
            match definition.kind {
                QueueType::Stream => self.host_stream(id, *partition, None),
                _ => self.host(id, *partition, Queue::new(QueueRef { queue: id, shard: self.id })),
            }
            self.stats.queues_created += 1;
        }
        applied
    }

    /// Takes in a queue of one of this shard's partitions.
    pub(super) fn host(&mut self, id: QueueId, partition: PartitionId, machine: Queue) {
        let hosted = Hosted {
            id,
            partition,
            machine,
            closing: false,
            armed_ms: NEVER,
            unfinished: false,
            counters: QueueCounters::default(),
            sampled: Sampled::default(),
        };
        let slot = self.queues.insert(hosted);
        let slot = u32::try_from(slot).expect("memory ends before 2^32 queues");
        self.slots.insert(id, slot);
        let row = self.topology.queue(id);
        if row.is_some_and(|row| row.paused) {
            self.queues[slot as usize].machine.set_paused(true);
        }
        let arguments = row.and_then(|row| row.arguments.as_deref());
        if let Some(cache) = arguments.and_then(|arguments| Cache::declared(id, arguments)) {
            self.caches.host(partition, cache);
        }
        self.settings_changed(id, self.settings_of(id));
    }

    /// What holds for a queue or stream, from its arguments and its policies.
    pub(super) fn settings_of(&self, queue: QueueId) -> Option<Box<QueueSettings>> {
        let row = self.topology.queue(queue)?;
        let none = FieldTable::default();
        let policy = row.policy.as_deref();
        QueueSettings::effective(
            row.kind,
            row.arguments.as_deref().unwrap_or(&none),
            policy.and_then(|policy| Some(&policy.policy.as_ref()?.definition)),
            policy.and_then(|policy| Some(&policy.operator_policy.as_ref()?.definition)),
        )
    }

    /// What a queue of this shard is told to do has changed.
    pub(super) fn settings_changed(&mut self, queue: QueueId, settings: Option<Box<QueueSettings>>) {
        let Some(&slot) = self.slots.get(&queue) else {
            return self.stream_settings_changed(queue, settings.as_deref());
        };
        let machine = &mut self.queues[slot as usize].machine;
        machine.set_settings(settings);
        if machine.is_special() {
            self.arm(slot, self.now_ms);
        }
    }

    fn remove_hosted(&mut self, sessions: &mut impl Sessions, queue: QueueId) {
        let Some(&slot) = self.slots.get(&queue) else {
            return self.remove_stream(sessions, queue);
        };
        self.cancel_consumers(sessions, slot);
        self.disarm(slot);
        self.slots.remove(&queue);
        let mut hosted = self.queues.remove(slot as usize);
        let partition = self.partitions.get_mut(&hosted.partition).expect("a hosted queue's partition is here");
        hosted.machine.drop_messages(&mut partition.logs);
        self.drop_cache(queue);
        self.stats.queues_deleted += 1;
        self.stats.queue_counters.add(&hosted.counters);
        for ask in self.waiting_gets.remove(&queue).unwrap_or_default() {
            self.ask_here(sessions, ask);
        }
    }
}

//! The streams of this shard: what channels ask of them, and their turns.
//!
//! A stream is not a queue with other rules: the two share a name space and the way messages come in, nothing else. So they are
//! kept apart, and what is for a stream is found where no queue was.

use std::sync::Arc;

use amq_protocol::types::FieldTable;
use broker_store::{Entry, Lsn, PartitionId, Position, QueueId, RecoveredQueue, SegmentId, Seq};
use rustc_hash::FxHashMap;
use slab::Slab;

use super::ask::wire_count;
use super::mailbox::{Answer, Ask, Question, ReplyTo};
use super::registrar::{Action, TopologyRequest};
use super::sampled::Sampled;
use super::stats::ShardStats;
use super::{Out, Shard};
use crate::admin::{ConsumerInfo, QueueCounters, QueueInfo, QueueSample};
use crate::error::{AmqpError, ChannelCode, ConnectionCode};
use crate::ids::{ConsumerRef, DeliveryToken, QueueRef};
use crate::model::queue::consumer::{Activity, ChannelAddress};
use crate::model::queue::settings::{QueueSettings, QueueType};
use crate::model::stream::filter::Filter;
use crate::model::stream::offset::OffsetSpec;
use crate::model::stream::{Pump, Stream, StreamConsumer};
use crate::model::vhost::Resource;
use crate::session::{Sessions, Settlement};

/// Time between two looks at the age of messages, in milliseconds.
const RETENTION_MS: u64 = 1000;

/// Time until a stream that has more to read goes on, in milliseconds.
const TURN_MS: u64 = 1;

/// A stream of this shard.
#[derive(Debug)]
struct Hosted {
    id: QueueId,
    partition: PartitionId,
    machine: Stream,
    /// It is being deleted: it takes no more commands.
    closing: bool,
    counters: QueueCounters,
    sampled: Sampled,
}

impl Hosted {
    fn counters(&self) -> QueueCounters {
        QueueCounters { deliver: self.machine.delivered_count(), ..self.counters }
    }

    fn sample(&self) -> QueueSample {
        QueueSample {
            queue: self.id,
            counters: self.counters(),
            messages_ready: self.machine.message_count(),
            messages_unacknowledged: self.machine.unacked_count(),
        }
    }
}

/// The streams of this shard.
#[derive(Debug, Default)]
pub(super) struct Streams {
    hosted: Slab<Hosted>,
    slots: FxHashMap<QueueId, u32>,
    /// Streams with more to read than one turn allows: at the next tick.
    unfinished: Vec<QueueId>,
    /// Streams that forget by age.
    aging: usize,
    next_retention_ms: u64,
}

impl Streams {
    /// Where a stream is, if it is on this shard.
    pub(super) fn slot(&self, stream: QueueId) -> Option<u32> {
        self.slots.get(&stream).copied()
    }

    /// The number of the next message of a stream.
    pub(super) fn take_seq(&mut self, slot: u32) -> Seq {
        self.hosted[slot as usize].machine.take_seq()
    }

    /// Takes in a message. Returns the stream if it is to be pumped when the log has synced something.
    pub(super) fn push(&mut self, slot: u32, seq: Seq, position: Position, lsn: Lsn) -> Option<QueueId> {
        let hosted = &mut self.hosted[slot as usize];
        hosted.counters.publish += 1;
        hosted.machine.push(seq, position, lsn).then_some(hosted.id)
    }

    /// A segment of a partition's durable log is sealed.
    pub(super) fn segment_sealed(&mut self, partition: PartitionId, segment: SegmentId) {
        for (_, hosted) in self.hosted.iter_mut().filter(|(_, hosted)| hosted.partition == partition) {
            hosted.machine.segment_sealed(segment);
        }
    }

    /// Messages of a stream have moved to other records.
    pub(super) fn relocate(&mut self, stream: QueueId, segment: SegmentId, moved: &[Entry]) {
        if let Some(slot) = self.slot(stream) {
            self.hosted[slot as usize].machine.relocate(segment, moved);
        }
    }

    /// In how many milliseconds [`Shard::tick_streams`] is to be called, if at all.
    pub(super) fn next_tick_ms(&self, now_ms: u64) -> Option<u64> {
        let unfinished = (!self.unfinished.is_empty()).then_some(TURN_MS);
        let aging = (self.aging > 0).then(|| self.next_retention_ms.saturating_sub(now_ms).max(1));
        unfinished.into_iter().chain(aging).min()
    }

    pub(super) fn add_stats(&self, stats: &mut ShardStats) {
        stats.queues += self.hosted.len() as u64;
        for (_, hosted) in &self.hosted {
            stats.messages_ready += hosted.machine.message_count();
            stats.messages_unacked += hosted.machine.unacked_count();
            stats.consumers += hosted.machine.consumer_count() as u64;
            stats.queue_counters.add(&hosted.counters());
        }
    }
}

impl Shard {
    /// Takes in a stream of one of this shard's partitions, with what the durable log has of it.
    pub(super) fn host_stream(&mut self, id: QueueId, partition: PartitionId, found: Option<RecoveredQueue>) {
        let at = QueueRef { queue: id, shard: self.id };
        let machine = match found {
            Some(found) => Stream::recovered(at, found.next_seq, found.runs),
            None => Stream::new(at),
        };
        let (counters, sampled) = (QueueCounters::default(), Sampled::default());
        let hosted = Hosted { id, partition, machine, closing: false, counters, sampled };
        let slot = u32::try_from(self.streams.hosted.insert(hosted)).expect("memory ends before 2^32 streams");
        self.streams.slots.insert(id, slot);
        self.stream_settings_changed(id, self.settings_of(id).as_deref());
    }

    /// What a stream of this shard is told to do has changed.
    pub(super) fn stream_settings_changed(&mut self, stream: QueueId, settings: Option<&QueueSettings>) {
        let Some(slot) = self.streams.slot(stream) else {
            return;
        };
        let retention = self.streams.hosted[slot as usize].machine.retention_mut();
        self.streams.aging -= usize::from(retention.has_age());
        match settings {
            Some(settings) => retention.set(settings.max_length_bytes, settings.max_age_ms),
            None => retention.set(None, None),
        }
        self.streams.aging += usize::from(retention.has_age());
        self.go_on_later(stream);
    }

    /// The stream is to be pumped at the next tick.
    fn go_on_later(&mut self, stream: QueueId) {
        if !self.streams.unfinished.contains(&stream) {
            self.streams.unfinished.push(stream);
        }
    }

    /// The stream is gone.
    pub(super) fn remove_stream(&mut self, sessions: &mut impl Sessions, stream: QueueId) {
        let Some(slot) = self.streams.slot(stream) else {
            return;
        };
        self.cancel_readers(sessions, slot);
        self.streams.slots.remove(&stream);
        let mut hosted = self.streams.hosted.remove(slot as usize);
        self.streams.aging -= usize::from(hosted.machine.retention().has_age());
        let partition = self.partitions.get_mut(&hosted.partition).expect("a stream's partition is here");
        let counters = hosted.counters();
        hosted.machine.drop_messages(&mut partition.logs);
        self.stats.queues_deleted += 1;
        self.stats.queue_counters.add(&counters);
    }

    /// Lets a stream deliver what it can; if it lacks pages or waits for the disk, it is resumed when they have come.
    pub(super) fn pump_stream(&mut self, sessions: &mut impl Sessions, stream: QueueId) {
        let Some(slot) = self.streams.slot(stream) else {
            return;
        };
        let hosted = &mut self.streams.hosted[slot as usize];
        let partition = self.partitions.get_mut(&hosted.partition).expect("a stream's partition is here");
        let mut out = Out {
            sessions,
            peers: &mut self.peers,
            stats: &mut self.stats,
            dead_letters: &mut self.dead_letters,
            me: self.id,
            // A message of a stream is there for whoever reads it, however late.
            now_ms: None,
        };
        match hosted.machine.pump(&mut out, &mut partition.logs) {
            Pump::Idle => {}
            Pump::PageIn => partition.wait_for_pages(stream),
            Pump::Turn => self.go_on_later(stream),
        }
    }

    /// The log of a partition has synced something: its streams have more to deliver.
    pub(super) fn streams_synced(&mut self, sessions: &mut impl Sessions, streams: Vec<QueueId>) {
        for stream in streams {
            self.pump_stream(sessions, stream);
            if let Some(slot) = self.streams.slot(stream) {
                let hosted = &self.streams.hosted[slot as usize];
                if hosted.machine.has_uncommitted()
                    && let Some(partition) = self.partitions.get_mut(&hosted.partition)
                {
                    partition.wait_for_sync(stream);
                }
            }
        }
    }

    /// Time has passed: streams go on reading, and forget what is too old.
    pub(super) fn tick_streams(&mut self, sessions: &mut impl Sessions) {
        let now_ms = self.now_ms;
        for stream in std::mem::take(&mut self.streams.unfinished) {
            self.pump_stream(sessions, stream);
        }
        if self.streams.aging == 0 || now_ms < self.streams.next_retention_ms {
            return;
        }
        self.streams.next_retention_ms = now_ms + RETENTION_MS;
        let aging = |hosted: &Hosted| hosted.machine.retention().has_age();
        let ids: Vec<QueueId> =
            self.streams.hosted.iter().filter(|(_, hosted)| aging(hosted)).map(|(_, hosted)| hosted.id).collect();
        for stream in ids {
            if let Some(slot) = self.streams.slot(stream) {
                self.streams.hosted[slot as usize].machine.retention_mut().tick(now_ms);
                self.pump_stream(sessions, stream);
            }
        }
    }

    /// Deliveries of a stream were settled, in whatever way.
    pub(super) fn settle_stream(
        &mut self,
        sessions: &mut impl Sessions,
        address: ChannelAddress,
        stream: QueueId,
        tokens: &[DeliveryToken],
        settlement: Settlement,
    ) {
        let Some(slot) = self.streams.slot(stream) else {
            return;
        };
        let hosted = &mut self.streams.hosted[slot as usize];
        if settlement == Settlement::Ack {
            self.stats.messages_acknowledged += tokens.len() as u64;
            hosted.counters.ack += tokens.len() as u64;
        }
        if hosted.machine.settle(address, tokens) {
            self.pump_stream(sessions, stream);
        }
    }

    /// A consumer's connection has written `bytes` of its deliveries.
    pub(super) fn return_stream_window(
        &mut self,
        sessions: &mut impl Sessions,
        address: ChannelAddress,
        consumer: ConsumerRef,
        bytes: u32,
    ) {
        let stream = consumer.queue.queue;
        if let Some(slot) = self.streams.slot(stream)
            && self.streams.hosted[slot as usize].machine.return_window(address, consumer, bytes)
        {
            self.pump_stream(sessions, stream);
        }
    }

    /// A channel is gone, and its consumers with it.
    pub(super) fn forget_stream_channel(&mut self, address: ChannelAddress, stream: QueueId) {
        if let Some(slot) = self.streams.slot(stream) {
            self.streams.hosted[slot as usize].machine.remove_channel(address);
        }
    }

    /// Does what is asked of a stream. False if there is none of that number here.
    pub(super) fn ask_stream(&mut self, sessions: &mut impl Sessions, ask: &Ask) -> bool {
        let Some(slot) = self.streams.slot(ask.queue).filter(|slot| !self.streams.hosted[*slot as usize].closing)
        else {
            return false;
        };
        let machine = &mut self.streams.hosted[slot as usize].machine;
        let name = Resource::queue(&ask.vhost, &ask.name);
        let address = ChannelAddress { shard: ask.reply_to.shard, channel: ask.channel };
        let not_implemented = |text: String| Answer::Failed(ConnectionCode::NotImplemented.error(text).into());
        let answer = match &ask.question {
            Question::Counts { .. } => Answer::QueueDeclareOk {
                queue: Arc::clone(&ask.name),
                message_count: wire_count(machine.message_count()),
                consumer_count: wire_count(machine.consumer_count() as u64),
            },
            Question::Consume { .. } => {
                match self.consume_stream(slot, address, ask) {
                    Ok(consumer) => {
                        self.answer(sessions, ask.reply_to, Answer::BasicConsumeOk { consumer, timeout_ms: None });
                        self.pump_stream(sessions, ask.queue);
                    }
                    Err(error) => self.answer(sessions, ask.reply_to, Answer::Failed(error)),
                }
                return true;
            }
            Question::Cancel { consumer } => {
                machine.remove_consumer(address, *consumer);
                Answer::BasicCancelOk
            }
            Question::Get { .. } => not_implemented(format!("basic.get not supported by stream queues {name}")),
            Question::Purge => not_implemented(format!("queue.purge not supported by stream queues {name}")),
            Question::Delete { .. } => {
                self.delete_stream(sessions, slot, ask.reply_to);
                return true;
            }
        };
        self.answer(sessions, ask.reply_to, answer);
        true
    }

    /// RabbitMQ's checks, in its order, and the new consumer.
    fn consume_stream(&mut self, slot: u32, address: ChannelAddress, ask: &Ask) -> Result<ConsumerRef, AmqpError> {
        let Question::Consume { consumer, consumer_tag, no_ack, exclusive, prefetch_count, arguments, .. } =
            &ask.question
        else {
            return Err(ConnectionCode::InternalError.error("no consumer".to_owned()).into());
        };
        let name = Resource::queue(&ask.vhost, &ask.name);
        let refused = |text: String| AmqpError::from(ChannelCode::PreconditionFailed.error(text));
        let none = FieldTable::default();
        let arguments = arguments.as_deref().unwrap_or(&none);
        if arguments.inner().contains_key("x-priority") {
            let kind = QueueType::Stream.module();
            return Err(refused(format!("invalid arg 'x-priority' for {name} of queue type {kind}")));
        }
        let offset = OffsetSpec::parse(name, arguments)?;
        if *prefetch_count == 0 {
            return Err(refused(format!("consumer prefetch count is not set for stream {name}")));
        }
        if *no_ack {
            let text = format!("automatic acknowledgement not supported by stream {name}");
            return Err(ConnectionCode::NotImplemented.error(text).into());
        }
        let now_ms = self.now_ms;
        let hosted = &mut self.streams.hosted[slot as usize];
        let added = StreamConsumer {
            address,
            id: *consumer,
            consumer_tag: Arc::clone(consumer_tag),
            exclusive: *exclusive,
            prefetch_count: *prefetch_count,
            filter: Filter::parse(arguments),
        };
        let at = hosted.machine.add_consumer(added, offset, now_ms);
        let queue = QueueRef { queue: hosted.id, shard: self.id };
        self.note_interest(address, queue.queue);
        Ok(ConsumerRef { consumer: *consumer, slot: at, queue })
    }

    /// Ends a stream, whether it is used or not (RabbitMQ asks neither for `if_unused` nor for `if_empty`, and answers 0).
    fn delete_stream(&mut self, sessions: &mut impl Sessions, slot: u32, reply_to: ReplyTo) {
        let hosted = &mut self.streams.hosted[slot as usize];
        hosted.closing = true;
        let action = Action::RemoveQueue { queue: hosted.id, answer: Answer::QueueDeleteOk { message_count: 0 } };
        self.cancel_readers(sessions, slot);
        self.request(sessions, TopologyRequest { reply_to: Some(reply_to), action });
    }

    /// The streams of this shard from a place in their table on, and each one's consumers, for administrators.
    pub(super) fn list_streams(&self, from: usize) -> impl Iterator<Item = (usize, QueueInfo, Vec<ConsumerInfo>)> {
        let hosted = self.streams.hosted.iter().skip_while(move |(place, _)| *place < from);
        hosted.filter_map(|(place, hosted)| {
            let (info, consumers) = self.stream_info(hosted)?;
            Some((place, info, consumers))
        })
    }

    /// The streams of this shard.
    pub(super) fn stream_ids(&self) -> impl Iterator<Item = QueueId> {
        self.streams.hosted.iter().map(|(_, hosted)| hosted.id)
    }

    /// The streams of this shard whose numbers have changed since the last time.
    pub(super) fn sample_streams(&self) -> impl Iterator<Item = QueueSample> {
        self.streams.hosted.iter().filter_map(|(_, hosted)| {
            let sample = hosted.sample();
            hosted.sampled.look(&sample, self.now_ms).then_some(sample)
        })
    }

    /// A stream of this shard and its consumers, for administrators.
    pub(super) fn find_stream_info(&self, stream: QueueId) -> Option<QueueInfo> {
        let slot = self.streams.slot(stream)?;
        Some(self.stream_info(&self.streams.hosted[slot as usize])?.0)
    }

    fn stream_info(&self, hosted: &Hosted) -> Option<(QueueInfo, Vec<ConsumerInfo>)> {
        let row = self.topology.queue(hosted.id)?;
        let info = QueueInfo {
            id: hosted.id,
            kind: row.kind,
            vhost: Arc::clone(&row.vhost),
            name: Arc::clone(&row.name),
            durable: row.durable,
            auto_delete: row.auto_delete,
            exclusive: false,
            owner: None,
            arguments: row.arguments.as_deref().cloned().unwrap_or_default(),
            policy: row.policy.clone(),
            shard: self.id,
            partition: hosted.partition,
            deleting: hosted.closing,
            paused: row.paused,
            messages_ready: hosted.machine.message_count(),
            messages_unacknowledged: hosted.machine.unacked_count(),
            message_bytes: None,
            consumers: hosted.machine.consumer_count() as u64,
            exclusive_consumer_tag: None,
            single_active_consumer_tag: None,
            delivery_limit: None,
            oldest_ms: None,
            counters: hosted.counters(),
            idle_since_ms: hosted.sampled.idle_since_ms(&hosted.sample()),
        };
        let consumers = hosted.machine.consumers().map(|consumer| ConsumerInfo {
            vhost: Arc::clone(&row.vhost),
            queue: Arc::clone(&row.name),
            shard: consumer.address.shard,
            channel: consumer.address.channel,
            consumer: consumer.id,
            consumer_tag: Arc::clone(&consumer.consumer_tag),
            ack_required: true,
            exclusive: consumer.exclusive,
            prefetch_count: consumer.prefetch_count,
            timeout_ms: None,
            activity: Activity::Up,
            arguments: None,
        });
        Some((info, consumers.collect()))
    }

    fn cancel_readers(&mut self, sessions: &mut impl Sessions, slot: u32) {
        for StreamConsumer { address, id, .. } in self.streams.hosted[slot as usize].machine.take_consumers() {
            self.cancel_consumer(sessions, address, id);
        }
    }
}

//! What channels ask of the queues of this shard: consume, cancel, get, purge, delete, counts, settle.

use std::sync::Arc;

use broker_store::QueueId;

use super::admin::ADMIN_CONNECTION;
use super::mailbox::{Answer, Ask, Op, Question, ReplyTo};
use super::registrar::{Action, TopologyRequest};
use super::stats::ShardStats;
use super::{Out, Shard};
use crate::admin::QueueCounters;
use crate::error::{AmqpError, ChannelCode};
use crate::ids::{
    ChannelKey, ConnectionKey, ConsumerId, ConsumerRef, DeliveryToken, QueueRef, RequestId, ShardId,
};
use crate::limits::UNLIMITED_ROOM;
use crate::model::consume_arguments::ConsumeArguments;
use crate::model::queue::consumer::{ChannelAddress, Consumer};
use crate::model::queue::settings::{QueueSettings, QueueType};
use crate::model::queue::{Get, Got, Pump};
use crate::model::vhost::Resource;
use crate::session::{Reply, Sessions, Settlement};

impl Shard {
    /// Settles unacknowledged messages of one queue, in the order given.
    pub fn settle(
        &mut self,
        sessions: &mut impl Sessions,
        channel: ChannelKey,
        queue: QueueRef,
        tokens: &[DeliveryToken],
        settlement: Settlement,
    ) {
        if queue.shard == self.id {
            let address = ChannelAddress { shard: self.id, channel };
            self.settle_here(sessions, address, queue.queue, tokens, settlement);
        } else {
            let batch = self.peers.batch(queue.shard);
            let tokens = batch.tokens(tokens);
            batch.push(Op::Settle { channel, queue: queue.queue, tokens, settlement });
        }
    }

    pub(super) fn settle_here(
        &mut self,
        sessions: &mut impl Sessions,
        address: ChannelAddress,
        queue: QueueId,
        tokens: &[DeliveryToken],
        settlement: Settlement,
    ) {
        let Some(&slot) = self.slots.get(&queue) else {
            return self.settle_stream(sessions, address, queue, tokens, settlement);
        };
        let hosted = &mut self.queues[slot as usize];
        let partition = self.partitions.get_mut(&hosted.partition).expect("a hosted queue's partition is here");
        hosted.machine.settle(&mut partition.logs, address, tokens, settlement);
        if settlement == Settlement::Ack {
            self.stats.messages_acknowledged += tokens.len() as u64;
            hosted.counters.ack += tokens.len() as u64;
        }
        self.pump(sessions, slot);
    }

    /// Gives a consumer back the window of deliveries that its connection has written to the socket:
    /// the sum of their [`Delivery::window_bytes`](crate::session::Delivery::window_bytes).
    pub fn return_window(
        &mut self,
        sessions: &mut impl Sessions,
        channel: ChannelKey,
        consumer: ConsumerRef,
        bytes: u32,
    ) {
        if consumer.queue.shard == self.id {
            let address = ChannelAddress { shard: self.id, channel };
            self.return_window_here(sessions, address, consumer, bytes);
        } else {
            self.peers.batch(consumer.queue.shard).push(Op::ReturnWindow { channel, consumer, bytes });
        }
    }

    pub(super) fn return_window_here(
        &mut self,
        sessions: &mut impl Sessions,
        address: ChannelAddress,
        consumer: ConsumerRef,
        bytes: u32,
    ) {
        let Some(&slot) = self.slots.get(&consumer.queue.queue) else {
            return self.return_stream_window(sessions, address, consumer, bytes);
        };
        if self.queues[slot as usize].machine.return_window(address, consumer, bytes) {
            self.pump(sessions, slot);
        }
    }

    /// Tells a consumer's queue that the channel, whose consumers are limited together, has room for `more` messages more than it said
    /// before; fewer if that is negative. Without a limit it is [`UNLIMITED_ROOM`].
    pub fn add_room(
        &mut self,
        sessions: &mut impl Sessions,
        channel: ChannelKey,
        consumer: ConsumerRef,
        more: i64,
    ) {
        if consumer.queue.shard == self.id {
            let address = ChannelAddress { shard: self.id, channel };
            self.add_room_here(sessions, address, consumer, more);
        } else {
            self.peers.batch(consumer.queue.shard).push(Op::AddRoom { channel, consumer, more });
        }
    }

    pub(super) fn add_room_here(
        &mut self,
        sessions: &mut impl Sessions,
        address: ChannelAddress,
        consumer: ConsumerRef,
        more: i64,
    ) {
        if let Some(&slot) = self.slots.get(&consumer.queue.queue)
            && self.queues[slot as usize].machine.add_room(address, consumer, more)
        {
            self.pump(sessions, slot);
        }
    }

    /// Lets a queue deliver what it can; if it lacks pages, it is resumed when they are in.
    pub(super) fn pump(&mut self, sessions: &mut impl Sessions, slot: u32) {
        let hosted = &mut self.queues[slot as usize];
        let partition = self.partitions.get_mut(&hosted.partition).expect("a hosted queue's partition is here");
        let mut out = Out {
            sessions,
            peers: &mut self.peers,
            stats: &mut self.stats,
            dead_letters: &mut self.dead_letters,
            me: self.id,
            now_ms: Some(self.now_ms),
        };
        let before = delivered(out.stats);
        let pumped = hosted.machine.pump(&mut out, &mut partition.logs, self.now_ms);
        count_deliveries(&mut hosted.counters, before, out.stats);
        match pumped {
            Pump::Idle => {}
            Pump::Again => {
                if !std::mem::replace(&mut hosted.unfinished, true) {
                    self.unfinished.push(hosted.id);
                }
            }
            Pump::PageIn(_) => partition.wait_for_pages(hosted.id),
        }
        if let Some(due_ms) = hosted.machine.due_ms() {
            self.arm(slot, due_ms);
        }
    }

    /// Something has happened to a queue that a plain one does not care about.
    pub(super) fn attend(&mut self, sessions: &mut impl Sessions, slot: u32) {
        if self.queues[slot as usize].machine.is_special() {
            self.pump(sessions, slot);
        }
    }

    /// Pages have come in for a queue: first to be served are those who wait in `basic.get`.
    pub(super) fn resume(&mut self, sessions: &mut impl Sessions, queue: QueueId) {
        for ask in self.waiting_gets.remove(&queue).unwrap_or_default() {
            self.ask_here(sessions, ask);
        }
        match self.slots.get(&queue) {
            Some(&slot) => self.pump(sessions, slot),
            None => self.pump_stream(sessions, queue),
        }
    }

    /// Asks something of a queue, here or on its own shard.
    pub(super) fn ask(&mut self, sessions: &mut impl Sessions, shard: ShardId, ask: Ask) {
        if shard == self.id {
            self.ask_here(sessions, ask);
        } else {
            self.peers.batch(shard).push(Op::Ask(Box::new(ask)));
        }
    }

    pub(super) fn ask_here(&mut self, sessions: &mut impl Sessions, ask: Ask) {
        let found = self.slots.get(&ask.queue).copied().filter(|slot| !self.queues[*slot as usize].closing);
        let Some(slot) = found else {
            if self.ask_stream(sessions, &ask) {
                return;
            }
            return self.ask_deleted(sessions, ask);
        };
        let hosted = &mut self.queues[slot as usize];
        let address = ChannelAddress { shard: ask.reply_to.shard, channel: ask.channel };
        match &ask.question {
            Question::Counts { .. } => {
                hosted.machine.touch();
                let answer = Answer::QueueDeclareOk {
                    queue: Arc::clone(&ask.name),
                    message_count: wire_count(hosted.machine.message_count()),
                    consumer_count: wire_count(hosted.machine.consumer_count() as u64),
                };
                self.answer(sessions, ask.reply_to, answer);
                self.attend(sessions, slot);
            }
            Question::Consume { .. } => self.consume(sessions, slot, address, &ask),
            Question::Cancel { consumer } => {
                hosted.machine.remove_consumer(address, *consumer);
                self.attend(sessions, slot);
                // RabbitMQ's cancel-ok comes when an auto-delete queue without consumers is gone.
                let answer = Answer::BasicCancelOk;
                match self.is_abandoned(slot) {
                    true => self.begin_delete(sessions, slot, Some((ask.reply_to, answer))),
                    false => self.answer(sessions, ask.reply_to, answer),
                }
            }
            Question::Get { no_ack } => {
                let no_ack = *no_ack;
                self.get(sessions, slot, address, no_ack, ask);
            }
            Question::Purge => {
                let partition =
                    self.partitions.get_mut(&hosted.partition).expect("a hosted queue's partition is here");
                let message_count = wire_count(hosted.machine.purge(&mut partition.logs));
                self.answer(sessions, ask.reply_to, Answer::QueuePurgeOk { message_count });
            }
            Question::Delete { if_unused, if_empty } => self.delete(sessions, slot, &ask, *if_unused, *if_empty),
        }
    }

    fn consume(&mut self, sessions: &mut impl Sessions, slot: u32, address: ChannelAddress, ask: &Ask) {
        let Question::Consume { consumer, consumer_tag, no_ack, exclusive, prefetch_count, room, arguments } =
            &ask.question
        else {
            return;
        };
        let hosted = &mut self.queues[slot as usize];
        let queue = Resource::queue(&ask.vhost, &ask.name);
        let row = self.topology.queue(hosted.id);
        let kind = row.map_or_else(QueueType::default, |row| row.kind);
        let parsed = match arguments.as_deref() {
            Some(arguments) => ConsumeArguments::parse(queue, kind, arguments),
            None => Ok(ConsumeArguments::default()),
        };
        let parsed = match parsed {
            Ok(parsed) => parsed,
            Err(error) => return self.answer(sessions, ask.reply_to, Answer::Failed(error.into())),
        };
        if hosted.machine.consumer_count() == 0 {
            let single_active = hosted.machine.settings().is_some_and(|settings| settings.single_active_consumer);
            hosted.machine.set_single_active(single_active);
        }
        if hosted.machine.refuses_consumer(*exclusive) {
            let error = ChannelCode::AccessRefused.error(format!("{queue} in exclusive use"));
            return self.answer(sessions, ask.reply_to, Answer::Failed(error.into()));
        }
        let timeout_ms = hosted.machine.settings().and_then(|settings| settings.consumer_timeout_ms);
        let at = hosted.machine.add_consumer(Consumer {
            address,
            id: *consumer,
            consumer_tag: Arc::clone(consumer_tag),
            no_ack: *no_ack,
            exclusive: *exclusive,
            prefetch_count: *prefetch_count,
            priority: parsed.priority,
            timeout_ms,
            arguments: arguments.clone(),
        });
        let id = hosted.id;
        self.note_interest(address, id);
        let queue = QueueRef { queue: id, shard: self.id };
        let consumer = ConsumerRef { consumer: *consumer, slot: at, queue };
        if let Some(room) = room {
            self.queues[slot as usize].machine.add_room(address, consumer, i64::from(*room) - UNLIMITED_ROOM);
        }
        self.answer(sessions, ask.reply_to, Answer::BasicConsumeOk { consumer, timeout_ms });
        self.pump(sessions, slot);
    }

    fn get(&mut self, sessions: &mut impl Sessions, slot: u32, address: ChannelAddress, no_ack: bool, ask: Ask) {
        let hosted = &mut self.queues[slot as usize];
        let refuses = |settings: &QueueSettings| settings.quorum && settings.single_active_consumer;
        if hosted.machine.settings().is_some_and(refuses) {
            let queue = Resource::queue(&ask.vhost, &ask.name);
            let error = ChannelCode::ResourceLocked.error(format!(
                "cannot obtain access to locked {queue}. basic.get operations are not supported by quorum queues \
                 with single active consumer"
            ));
            return self.answer(sessions, ask.reply_to, Answer::Failed(error.into()));
        }
        let id = hosted.id;
        if hosted.machine.is_paused() && ask.reply_to.connection != ADMIN_CONNECTION {
            hosted.machine.touch();
            self.stats.messages_get_empty += 1;
            hosted.counters.get_empty += 1;
            self.answer(sessions, ask.reply_to, Answer::BasicGetEmpty);
            return self.attend(sessions, slot);
        }
        let partition = self.partitions.get_mut(&hosted.partition).expect("a hosted queue's partition is here");
        let ReplyTo { shard, connection, request } = ask.reply_to;
        let counters = &mut hosted.counters;
        let (peers, stats, desk, me) = (&mut self.peers, &mut self.stats, &mut self.desk, self.id);
        let now_ms = self.now_ms;
        let outcome = hosted.machine.get(&mut partition.logs, address, no_ack, self.now_ms, |got| {
            match no_ack {
                true => (stats.messages_delivered_get_auto_ack += 1, counters.get_no_ack += 1),
                false => (stats.messages_delivered_get_manual_ack += 1, counters.get += 1),
            };
            counters.redeliver += u64::from(got.redelivered);
            stats.messages_redelivered += u64::from(got.redelivered);
            if !got.redelivered {
                stats.waits.record(now_ms.saturating_sub(got.message.stamp.published_ms()));
            }
            if connection == ADMIN_CONNECTION && shard == me {
                return desk.got(request, QueueRef { queue: id, shard }, &got);
            }
            let Got { token, redelivered, message_count, message } = got;
            let message_count = wire_count(message_count);
            if shard == me {
                let queue = QueueRef { queue: id, shard };
                let reply = Reply::BasicGetOk { queue, token, redelivered, message_count, message };
                sessions.reply(connection, request, reply);
            } else {
                let batch = peers.batch(shard);
                let message = batch.message(message);
                batch.push(Op::Got { connection, request, queue: id, token, redelivered, message_count, message });
            }
        });
        match outcome {
            Get::Done if !no_ack => self.note_interest(address, id),
            Get::Done => {}
            Get::Empty => {
                self.stats.messages_get_empty += 1;
                self.queues[slot as usize].counters.get_empty += 1;
                self.answer(sessions, ask.reply_to, Answer::BasicGetEmpty);
            }
            Get::PageIn(_) => {
                partition.wait_for_pages(id);
                self.waiting_gets.entry(id).or_default().push(ask);
            }
        }
        self.attend(sessions, slot);
    }

    fn delete(&mut self, sessions: &mut impl Sessions, slot: u32, ask: &Ask, if_unused: bool, if_empty: bool) {
        let machine = &self.queues[slot as usize].machine;
        let queue = Resource::queue(&ask.vhost, &ask.name);
        let refusal = if if_unused && machine.consumer_count() > 0 {
            Some(format!("{queue} in use"))
        } else if if_empty && machine.message_count() > 0 {
            Some(format!("{queue} not empty"))
        } else {
            None
        };
        match refusal {
            Some(text) => {
                let error = AmqpError::from(ChannelCode::PreconditionFailed.error(text));
                self.answer(sessions, ask.reply_to, Answer::Failed(error));
            }
            None => {
                let message_count = wire_count(machine.message_count());
                let answer = Answer::QueueDeleteOk { message_count };
                self.begin_delete(sessions, slot, Some((ask.reply_to, answer)));
            }
        }
    }

    /// What was asked of a queue that has been deleted since it was found. Its removal is on the way to the registrar, before
    /// whatever is sent there from here.
    fn ask_deleted(&mut self, sessions: &mut impl Sessions, ask: Ask) {
        let action = match ask.question {
            Question::Counts { declare: Some(command) } => Action::Command(command),
            // Both succeed for what is not there, and the answer says that it is gone everywhere.
            Question::Delete { .. } => {
                Action::RemoveQueue { queue: ask.queue, answer: Answer::QueueDeleteOk { message_count: 0 } }
            }
            Question::Cancel { .. } => Action::RemoveQueue { queue: ask.queue, answer: Answer::BasicCancelOk },
            Question::Counts { declare: None }
            | Question::Consume { .. }
            | Question::Get { .. }
            | Question::Purge => {
                let error = Resource::queue(&ask.vhost, &ask.name).not_found();
                return self.answer(sessions, ask.reply_to, Answer::Failed(error.into()));
            }
        };
        self.request(sessions, TopologyRequest { reply_to: Some(ask.reply_to), action });
    }

    /// True for an auto-delete queue whose last consumer has gone.
    fn is_abandoned(&self, slot: u32) -> bool {
        let hosted = &self.queues[slot as usize];
        let auto_delete = self.topology.queue(hosted.id).is_some_and(|row| row.auto_delete);
        auto_delete && !hosted.closing && hosted.machine.is_abandoned()
    }

    /// An auto-delete queue goes when its last consumer has gone.
    pub(super) fn delete_if_abandoned(&mut self, sessions: &mut impl Sessions, slot: u32) {
        if self.is_abandoned(slot) {
            self.begin_delete(sessions, slot, None);
        }
    }

    /// Ends a queue: its consumers are told and the registrar is asked to remove it everywhere, and then to `tell`.
    pub(super) fn begin_delete(
        &mut self,
        sessions: &mut impl Sessions,
        slot: u32,
        tell: Option<(ReplyTo, Answer)>,
    ) {
        let hosted = &mut self.queues[slot as usize];
        hosted.closing = true;
        let queue = hosted.id;
        self.cancel_consumers(sessions, slot);
        // Without anybody to tell the answer goes nowhere.
        let (reply_to, answer) = match tell {
            Some((reply_to, answer)) => (Some(reply_to), answer),
            None => (None, Answer::Applied),
        };
        self.request(sessions, TopologyRequest { reply_to, action: Action::RemoveQueue { queue, answer } });
    }

    /// Tells the consumers of a queue that it is gone (consumer cancel notification).
    pub(super) fn cancel_consumers(&mut self, sessions: &mut impl Sessions, slot: u32) {
        let consumers = self.queues[slot as usize].machine.take_consumers();
        for Consumer { address, id, .. } in consumers {
            self.cancel_consumer(sessions, address, id);
        }
    }

    /// Tells a consumer that its queue is gone.
    pub(super) fn cancel_consumer(
        &mut self,
        sessions: &mut impl Sessions,
        address: ChannelAddress,
        consumer: ConsumerId,
    ) {
        let channel = address.channel;
        if address.shard == self.id {
            sessions.consumer_cancelled(channel, consumer);
        } else {
            self.peers.batch(address.shard).push(Op::ConsumerCancelled { channel, consumer });
        }
    }

    /// Remembers that a channel has consumers or messages of a queue, for when it closes.
    pub(super) fn note_interest(&mut self, address: ChannelAddress, queue: QueueId) {
        let queues = self.interests.entry(address).or_default();
        if !queues.contains(&queue) {
            queues.push(queue);
        }
    }

    /// A channel is gone: its consumers end and what it held is ready again, in every queue of this shard.
    pub(super) fn forget_channel(&mut self, sessions: &mut impl Sessions, address: ChannelAddress) {
        for queue in self.interests.remove(&address).unwrap_or_default() {
            let Some(&slot) = self.slots.get(&queue) else {
                self.forget_stream_channel(address, queue);
                continue;
            };
            let hosted = &mut self.queues[slot as usize];
            let partition =
                self.partitions.get_mut(&hosted.partition).expect("a hosted queue's partition is here");
            hosted.machine.remove_channel(&mut partition.logs, address);
            self.pump(sessions, slot);
            self.delete_if_abandoned(sessions, slot);
        }
        for waiting in self.waiting_gets.values_mut() {
            waiting.retain(|ask| ask.reply_to.shard != address.shard || ask.channel != address.channel);
        }
    }

    /// Sends an answer to the connection that waits for it.
    pub(super) fn answer(&mut self, sessions: &mut impl Sessions, to: ReplyTo, answer: Answer) {
        if to.shard == self.id {
            self.hand_over(sessions, to.connection, to.request, answer);
        } else {
            let op = Op::Answer { connection: to.connection, request: to.request, answer: Box::new(answer) };
            self.peers.batch(to.shard).push(op);
        }
    }

    /// Hands an answer to a connection of this shard, or to the administrator who waits for it.
    pub(super) fn hand_over(
        &mut self,
        sessions: &mut impl Sessions,
        connection: ConnectionKey,
        request: RequestId,
        answer: Answer,
    ) {
        match connection {
            ADMIN_CONNECTION => self.desk_answer(sessions, request, answer),
            _ => deliver_answer(sessions, connection, request, answer),
        }
    }
}

/// Deliveries so far, by mode, and those of them that were not the first.
pub(super) fn delivered(stats: &ShardStats) -> [u64; 3] {
    [
        stats.messages_delivered_consume_manual_ack,
        stats.messages_delivered_consume_auto_ack,
        stats.messages_redelivered,
    ]
}

/// Counts for a queue what the shard has delivered since `before`.
pub(super) fn count_deliveries(counters: &mut QueueCounters, before: [u64; 3], stats: &ShardStats) {
    let now = delivered(stats);
    counters.deliver += now[0] - before[0];
    counters.deliver_no_ack += now[1] - before[1];
    counters.redeliver += now[2] - before[2];
}

/// Hands an answer to a connection of this shard.
fn deliver_answer(sessions: &mut impl Sessions, connection: ConnectionKey, request: RequestId, answer: Answer) {
    let reply = match answer {
        Answer::ExchangeDeclareOk => Reply::ExchangeDeclareOk,
        Answer::ExchangeDeleteOk => Reply::ExchangeDeleteOk,
        Answer::ExchangeBindOk => Reply::ExchangeBindOk,
        Answer::ExchangeUnbindOk => Reply::ExchangeUnbindOk,
        Answer::QueueDeclareOk { ref queue, message_count, consumer_count } => {
            Reply::QueueDeclareOk { queue, message_count, consumer_count }
        }
        Answer::QueueBindOk => Reply::QueueBindOk,
        Answer::QueueUnbindOk => Reply::QueueUnbindOk,
        Answer::QueuePurgeOk { message_count } => Reply::QueuePurgeOk { message_count },
        Answer::QueueDeleteOk { message_count } => Reply::QueueDeleteOk { message_count },
        Answer::BasicConsumeOk { consumer, timeout_ms } => Reply::BasicConsumeOk { consumer, timeout_ms },
        Answer::BasicCancelOk => Reply::BasicCancelOk,
        Answer::BasicGetEmpty => Reply::BasicGetEmpty,
        Answer::Done => Reply::Done,
        Answer::Failed(error) => Reply::Failed(error),
        Answer::Applied => return,
        Answer::Changed(change) => return sessions.changed(connection, &change),
    };
    sessions.reply(connection, request, reply);
}

/// Counts on the wire have 32 bits.
pub(super) fn wire_count(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

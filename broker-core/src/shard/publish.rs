//! Publishing: permission, routing, and the message into its queues.

use broker_store::{LogKind, StoreError};

use super::ask::{count_deliveries, delivered};
use super::histogram::MESSAGE_SIZE_BOUNDS;
use super::mailbox::Op;
use super::publisher::{Publisher, Target, Targets};
use super::{Hosted, Out, Shard};
use crate::error::{AmqpError, ChannelCode, ChannelError};
use crate::ids::{ChannelKey, QueueId, QueueRef, Seq, ShardId};
use crate::model::headers::sender_selected;
use crate::model::message::{Message, Stamp, Traits};
use crate::model::permission::Access;
use crate::model::properties::Properties;
use crate::model::queue::settings::{Overflow, QueueType};
use crate::model::reply_to::is_pseudo_queue;
use crate::model::routing::Routable;
use crate::session::{Caller, Publish, Published, Sessions};

/// Where the confirm of a message goes.
pub(super) type Confirm = Option<(ShardId, ChannelKey, u64)>;

/// What became of a message in the queues of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepted {
    /// All queues have it; nothing has to reach the disk.
    Now,
    /// All queues have it; the confirm waits for the disk.
    WhenDurable,
    /// The log cannot take it.
    Refused,
    /// A queue is full and refuses it.
    Overflow,
}

/// Where a message goes.
#[derive(Debug, Default)]
pub(super) struct Routed {
    /// Its queues.
    pub targets: Targets,
    /// Stores of the exchanges that hold it back.
    pub held_back: Vec<QueueId>,
    /// Another message with the same exchange and key goes the same way.
    pub cacheable: bool,
}

impl Shard {
    /// Routes a message and gives it to its queues.
    ///
    /// # Errors
    /// 403 without write permission on the exchange or if it is internal, 404 if it does not exist, 406 for an
    /// `expiration` that is not a number, a `reply-to` of replies that the channel does not consume, a `user_id` that is not the caller's or a CC or BCC that is no array; 501 for properties that cannot be
    /// read. 406 also if a log cannot take the message and nobody waits for a confirm that could say so.
    pub fn publish(
        &mut self,
        sessions: &mut impl Sessions,
        caller: Caller<'_>,
        publisher: &mut Publisher,
        publish: Publish<'_>,
    ) -> Result<Published, AmqpError> {
        let message = Message { stamp: Stamp::at(self.now_ms), ..publish.message };
        let publish = Publish { message, ..publish };
        let properties = Properties::parse(message.properties).map_err(super::plan::malformed_properties)?;
        if let Some(reply_to) = properties.reply_to.filter(|name| is_pseudo_queue(name)) {
            return self.publish_request(sessions, caller, publisher, publish, reply_to);
        }
        properties.expiration_ms()?;
        if let Some(user_id) = properties.user_id {
            self.check_user_id(caller, user_id)?;
        }
        self.stats.messages_received += 1;
        self.stats.messages_received_confirm += u64::from(publish.confirm.is_some());
        self.stats.message_sizes.record(&MESSAGE_SIZE_BOUNDS, message.body.len() as u64, 1);

        let version = self.topology.version();
        let verdict = match publisher.enter(version, message.exchange) {
            Some(verdict) => verdict.clone(),
            None => {
                let verdict = self.topology.may_publish(caller.user, caller.vhost, message.exchange);
                publisher.set_verdict(verdict.clone());
                // Only those that exist are counted: names of others are not to be kept.
                if verdict.is_ok() && self.topology.find_exchange(caller.vhost, message.exchange).is_some() {
                    publisher.set_counted_at(self.exchange_counts.place(caller.vhost, message.exchange));
                }
                verdict
            }
        };
        verdict?;

        if let Some(headers) = properties.headers
            && let Some(selected) = sender_selected(headers)?
        {
            let published = self.publish_selected(sessions, caller, &publish, &properties, selected)?;
            self.exchange_counts.count(publisher.counted_at(), usize::from(published.routed));
            return self.check_refused(published, publish.confirm);
        }
        let confirm = publish.confirm.map(|seq| (self.id, caller.channel, seq));
        let traits = Traits::of(&properties);
        let uncached;
        let targets = if publisher.seek(message.routing_key) {
            publisher.targets()
        } else {
            let (user, vhost) = (caller.user, caller.vhost);
            self.topology.check_topic(user, vhost, Access::Write, message.exchange, message.routing_key)?;
            let routed = self.route(caller.vhost, message.exchange, &[message.routing_key], &properties)?;
            if !routed.held_back.is_empty() {
                self.stats.messages_routed += 1;
                let published = self.hold_back(sessions, &routed, message, traits, confirm);
                self.exchange_counts.count(publisher.counted_at(), usize::from(published.routed));
                return self.check_refused(published, publish.confirm);
            }
            if routed.cacheable {
                publisher.remember(message.routing_key, routed.targets);
                publisher.targets()
            } else {
                uncached = routed.targets;
                &uncached
            }
        };
        self.exchange_counts.count(publisher.counted_at(), targets.len());
        let published = self.distribute(sessions, targets, message, traits, confirm, publish.mandatory);
        self.check_refused(published, publish.confirm)
    }

    /// 406 if nobody waits for a confirm that could say that the message was refused.
    fn check_refused(&self, published: Published, confirm: Option<u64>) -> Result<Published, AmqpError> {
        match published.refused && confirm.is_none() {
            true => Err(self.refusal().into()),
            false => Ok(published),
        }
    }

    /// Why a log of this shard did not take a message.
    fn refusal(&self) -> ChannelError {
        let failed = self.partitions.values().any(|partition| partition.logs.durable.is_poisoned());
        let reason = if failed { "a log of this server has failed" } else { "the disk of this server is full" };
        ChannelCode::PreconditionFailed.error(format!("message refused: {reason}"))
    }

    pub(super) fn check_user_id(&self, caller: Caller<'_>, user_id: &str) -> Result<(), ChannelError> {
        if user_id == &**caller.user || self.topology.may_impersonate(caller.user) {
            return Ok(());
        }
        let actual = caller.user;
        Err(ChannelCode::PreconditionFailed
            .error(format!("user_id property set to '{user_id}' but authenticated user was '{actual}'")))
    }

    /// Where a message goes that was just published.
    pub(super) fn route(
        &mut self,
        vhost: &str,
        exchange: &str,
        routing_keys: &[&str],
        properties: &Properties<'_>,
    ) -> Result<Routed, AmqpError> {
        let message = Routable { routing_keys, properties, published_ms: self.now_ms, admitted: false };
        self.route_message(vhost, exchange, &message)
    }

    /// Where a message goes.
    pub(super) fn route_message(
        &mut self,
        vhost: &str,
        exchange: &str,
        message: &Routable<'_>,
    ) -> Result<Routed, AmqpError> {
        let mut queues = std::mem::take(&mut self.scratch_queues);
        queues.clear();
        let route = self.topology.route(vhost, exchange, message)?;
        let (cacheable, held_back) = (!route.depends_on_message(), route.held_back().to_vec());
        queues.extend_from_slice(route.queues());
        let mut targets: Vec<Target> = queues.iter().filter_map(|queue| self.target(*queue)).collect();
        targets.sort_unstable_by_key(|target| (target.shard, target.partition, target.queue));
        self.scratch_queues = queues;
        Ok(Routed { targets: targets.into(), held_back, cacheable })
    }

    pub(super) fn target(&self, queue: QueueId) -> Option<Target> {
        let row = self.topology.queue(queue)?;
        let shard = self.placement.shard_of(row.partition);
        let stream = row.kind == QueueType::Stream;
        let slot = match shard == self.id {
            true if stream => self.streams.slot(queue)?,
            true => *self.slots.get(&queue)?,
            false => 0,
        };
        let always_durable = row.kind.is_always_durable();
        Some(Target { queue, partition: row.partition, shard, durable: row.durable, always_durable, stream, slot })
    }

    pub(super) fn distribute(
        &mut self,
        sessions: &mut impl Sessions,
        targets: &[Target],
        message: Message<'_>,
        traits: Traits,
        confirm: Confirm,
        mandatory: bool,
    ) -> Published {
        match (targets.is_empty(), mandatory) {
            (false, _) => self.stats.messages_routed += 1,
            (true, true) => self.stats.messages_unroutable_returned += 1,
            (true, false) => self.stats.messages_unroutable_dropped += 1,
        }
        if targets.is_empty() {
            self.deliver_reply(sessions, message);
        }
        self.hand_out(sessions, targets, message, traits, confirm)
    }

    /// Gives a message to all its queues, here and elsewhere.
    pub(super) fn hand_out(
        &mut self,
        sessions: &mut impl Sessions,
        targets: &[Target],
        message: Message<'_>,
        traits: Traits,
        confirm: Confirm,
    ) -> Published {
        let mut published = Published { routed: !targets.is_empty(), pending_confirms: 0, refused: false };
        for group in targets.chunk_by(|a, b| a.partition == b.partition) {
            if group[0].shard != self.id {
                self.send_publish(group, message, traits, confirm);
                published.pending_confirms += u32::from(confirm.is_some());
                continue;
            }
            match self.accept(sessions, group, message, traits, confirm) {
                Accepted::Now => {}
                Accepted::WhenDurable => published.pending_confirms += u32::from(confirm.is_some()),
                Accepted::Refused => published.refused = true,
                // Who wants no confirms is not told.
                Accepted::Overflow => published.refused |= confirm.is_some(),
            }
        }
        published
    }

    fn send_publish(&mut self, group: &[Target], message: Message<'_>, traits: Traits, confirm: Confirm) {
        let batch = self.peers.batch(group[0].shard);
        let queues = batch.queues(group.iter().map(|target| target.queue));
        let message = batch.message(message);
        let confirm = confirm.map(|(_, channel, seq)| (channel, seq));
        batch.push(Op::Publish { queues, message, traits, confirm });
    }

    /// A message from another shard for queues of one partition of this one.
    pub(super) fn accept_from(
        &mut self,
        sessions: &mut impl Sessions,
        from: ShardId,
        queues: &[QueueId],
        message: Message<'_>,
        traits: Traits,
        confirm: Option<(ChannelKey, u64)>,
    ) {
        let to = confirm.map(|(channel, seq)| (from, channel, seq));
        if let [store] = queues
            && self.is_store(*store)
        {
            let accepted = self.admit(sessions, *store, message, traits, to);
            return self.answer_publish(from, confirm, accepted);
        }
        let targets: Vec<Target> = queues.iter().filter_map(|queue| self.target(*queue)).collect();
        // Queues that have been deleted meanwhile take what was on its way to them with them.
        let accepted = match targets.is_empty() {
            true => Accepted::Now,
            false => self.accept(sessions, &targets, message, traits, to),
        };
        self.answer_publish(from, confirm, accepted);
    }

    /// Confirms what need not wait for the disk.
    fn answer_publish(&mut self, from: ShardId, confirm: Option<(ChannelKey, u64)>, accepted: Accepted) {
        if let (Some((channel, seq)), Accepted::Now | Accepted::Refused | Accepted::Overflow) = (confirm, accepted)
        {
            let accepted = accepted == Accepted::Now;
            self.peers.batch(from).push(Op::Confirm { channel, first: seq, last: seq, accepted });
        }
    }

    /// Gives a message to queues of one partition of this shard.
    fn accept(
        &mut self,
        sessions: &mut impl Sessions,
        targets: &[Target],
        message: Message<'_>,
        traits: Traits,
        confirm: Confirm,
    ) -> Accepted {
        if self.caches.watch(targets) {
            return self.accept_once(sessions, targets, message, traits, confirm);
        }
        self.accept_all(sessions, targets, message, traits, confirm)
    }

    /// Gives a message to queues of one partition of this shard, whether they had it before or not.
    pub(super) fn accept_all(
        &mut self,
        sessions: &mut impl Sessions,
        targets: &[Target],
        message: Message<'_>,
        traits: Traits,
        confirm: Confirm,
    ) -> Accepted {
        if targets.iter().any(|target| self.refuses(target, message)) {
            return self.accept_where_there_is_room(sessions, targets, message, traits);
        }
        // The usual case first: one queue, and a consumer that takes the message as it comes.
        if let [target] = targets
            && !target.always_durable
        {
            let queue = &mut self.queues[target.slot as usize];
            let mut out = Out {
                sessions,
                peers: &mut self.peers,
                stats: &mut self.stats,
                dead_letters: &mut self.dead_letters,
                me: self.id,
                now_ms: Some(self.now_ms),
            };
            if queue.machine.pass_through(&mut out, message) {
                queue.counters.publish += 1;
                queue.counters.deliver_no_ack += 1;
                return Accepted::Now;
            }
        }
        let durable = targets.iter().filter(|target| target.is_logged(traits.persistent));
        let volatile = targets.iter().filter(|target| !target.is_logged(traits.persistent));
        // The confirm waits for the durable record, so that one is stored last, when nothing can fail after it.
        if self.store(sessions, LogKind::Volatile, volatile, message, traits, None).is_err() {
            return Accepted::Refused;
        }
        if durable.clone().next().is_none() {
            return Accepted::Now;
        }
        match self.store(sessions, LogKind::Durable, durable, message, traits, confirm) {
            Ok(()) => Accepted::WhenDurable,
            Err(_) => Accepted::Refused,
        }
    }

    fn refuses(&self, target: &Target, message: Message<'_>) -> bool {
        !target.stream && self.queues[target.slot as usize].machine.refuses(message.body.len())
    }

    /// Gives a message to those queues that have room for it (`x-overflow`). The publisher is told at once that not all had.
    fn accept_where_there_is_room(
        &mut self,
        sessions: &mut impl Sessions,
        targets: &[Target],
        message: Message<'_>,
        traits: Traits,
    ) -> Accepted {
        let (refusing, others): (Vec<Target>, Vec<Target>) =
            targets.iter().copied().partition(|target| self.refuses(target, message));
        for target in refusing {
            let settings = self.queues[target.slot as usize].machine.settings();
            if settings.is_some_and(|settings| settings.overflow == Overflow::RejectPublishDlx) {
                let queue = QueueRef { queue: target.queue, shard: self.id };
                self.dead_letters.push_refused(queue, message);
            }
        }
        if others.is_empty() {
            return Accepted::Overflow;
        }
        match self.accept(sessions, &others, message, traits, None) {
            Accepted::Refused => Accepted::Refused,
            _ => Accepted::Overflow,
        }
    }

    /// Appends one record for all targets and pushes it to each.
    fn store<'t>(
        &mut self,
        sessions: &mut impl Sessions,
        kind: LogKind,
        targets: impl Iterator<Item = &'t Target> + Clone,
        message: Message<'_>,
        traits: Traits,
        confirm: Confirm,
    ) -> Result<(), StoreError> {
        let Some(first) = targets.clone().next() else {
            return Ok(());
        };
        let partition =
            self.partitions.get_mut(&first.partition).expect("targets of this shard are in its partitions");
        let mut numbered = std::mem::take(&mut self.scratch_targets);
        numbered.clear();
        for target in targets.clone() {
            numbered.push(match target.stream {
                true => (target.queue, self.streams.take_seq(target.slot)),
                false => self.queues[target.slot as usize].machine.take_number(traits.priority),
            });
        }
        let lengths = message.lengths();
        let appended = partition.logs.of(kind).append(&numbered, &message.parts(&lengths));
        let mut special = std::mem::take(&mut self.scratch_special);
        let result = appended.map(|record| {
            if let (Some((shard, channel, seq)), LogKind::Durable) = (confirm, kind) {
                partition.confirms.wait(record.lsn, shard, channel, seq);
            }
            let mut out = Out {
                sessions: &mut *sessions,
                peers: &mut self.peers,
                stats: &mut self.stats,
                dead_letters: &mut self.dead_letters,
                me: self.id,
                now_ms: Some(self.now_ms),
            };
            for (target, &number) in targets.zip(&numbered) {
                if target.stream {
                    if let Some(stream) = self.streams.push(target.slot, number.1, record.position, record.lsn) {
                        partition.wait_for_sync(stream);
                    }
                    continue;
                }
                let Hosted { machine, counters, .. } = &mut self.queues[target.slot as usize];
                let stored = (number, kind, record.position);
                counters.publish += 1;
                let before = delivered(out.stats);
                if machine.push(&mut out, &mut partition.logs, stored, message, traits.expires) {
                    special.push(target.slot);
                }
                count_deliveries(counters, before, out.stats);
            }
        });
        self.scratch_targets = numbered;
        for slot in special.drain(..) {
            self.pump(sessions, slot);
        }
        self.scratch_special = special;
        result
    }
}

/// Room for the targets of a record, reused from publish to publish.
pub(super) type NumberedTargets = Vec<(QueueId, Seq)>;

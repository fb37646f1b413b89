//! Publishes of a transaction: what is wrong with one is told when it is published, and where it goes is decided then; its
//! queues get it at `tx.commit` (RabbitMQ).

use super::Shard;
use super::histogram::MESSAGE_SIZE_BOUNDS;
use super::mailbox::Op;
use super::partition::GroupSize;
use super::publish::{Confirm, Routed};
use super::publisher::{Publisher, Target};
use crate::error::{AmqpError, ChannelCode};
use crate::ids::{PartitionId, QueueId};
use crate::model::headers::{BCC, sender_selected, without};
use crate::model::message::{Message, Stamp, Traits};
use crate::model::permission::Access;
use crate::model::properties::Properties;
use crate::model::queue::settings::QueueType;
use crate::model::reply_to::{is_pseudo_queue, with_reply_to};
use crate::session::{Caller, Publish, Published, Sessions};

/// Bytes that the log adds to the strings of a message at most.
const STORED_OVERHEAD: usize = 32;

/// Where a message goes whose transaction is not committed yet.
#[derive(Debug)]
pub struct Prepared {
    queues: Box<[Routee]>,
    held_back: Box<[QueueId]>,
}

/// A queue that gets a message at the commit.
#[derive(Clone, Copy, Debug)]
struct Routee {
    queue: QueueId,
    /// The commit fails if it is deleted by then.
    classic: bool,
}

impl Prepared {
    /// Bytes that it holds on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        size_of_val(&*self.queues) + size_of_val(&*self.held_back)
    }
}

impl Shard {
    /// Checks and routes a message like [`publish`](Self::publish), and gives it to nobody. Beside where it goes this returns the
    /// properties that it has to be committed with, if they are not those it came with (BCC, direct reply-to).
    ///
    /// # Errors
    /// As [`publish`](Self::publish); room in the logs is not looked at.
    pub fn prepare(
        &mut self,
        caller: Caller<'_>,
        publisher: &Publisher,
        message: &Message<'_>,
    ) -> Result<(Prepared, Option<Vec<u8>>), AmqpError> {
        self.stats.messages_received += 1;
        self.stats.messages_received_confirm += 1;
        self.stats.message_sizes.record(&MESSAGE_SIZE_BOUNDS, message.body.len() as u64, 1);
        self.topology.may_publish(caller.user, caller.vhost, message.exchange)?;
        let malformed = super::plan::malformed_properties;
        let original = Properties::parse(message.properties).map_err(malformed)?;
        let mut rewritten = match original.reply_to.filter(|name| is_pseudo_queue(name)) {
            None => None,
            Some(reply_to) => {
                let missing = || ChannelCode::PreconditionFailed.error("fast reply consumer does not exist");
                let name = publisher.reply_name().ok_or_else(missing)?;
                Some(with_reply_to(message.properties, reply_to, name))
            }
        };
        let encoded = rewritten.as_deref().unwrap_or(message.properties);
        let properties = Properties::parse(encoded).map_err(malformed)?;
        properties.expiration_ms()?;
        let selected = match properties.headers {
            Some(headers) => sender_selected(headers)?.unwrap_or_default(),
            None => Default::default(),
        };
        let mut routing_keys = selected.routing_keys;
        routing_keys.insert(0, message.routing_key);
        for key in &routing_keys {
            self.topology.check_topic(caller.user, caller.vhost, Access::Write, message.exchange, key)?;
        }
        if let Some(user_id) = properties.user_id {
            self.check_user_id(caller, user_id)?;
        }
        let routed = self.route(caller.vhost, message.exchange, &routing_keys, &properties)?;
        if let (Some(headers), true, []) = (properties.headers, selected.has_bcc, routed.held_back.as_slice()) {
            rewritten = Some(without(encoded, headers, BCC));
        }
        let routee = |target: &Target| {
            let row = self.topology.queue(target.queue);
            Routee { queue: target.queue, classic: row.is_some_and(|row| row.kind == QueueType::Classic) }
        };
        let queues = routed.targets.iter().map(routee).collect();
        Ok((Prepared { queues, held_back: routed.held_back.into() }, rewritten))
    }

    /// Gives a message to the queues that [`prepare`](Self::prepare) found, those that are still there. It came to somebody if
    /// there was a queue then; if a classic one has been deleted since, it is refused by that one, and the others get it (RabbitMQ).
    pub fn publish_prepared(
        &mut self,
        sessions: &mut impl Sessions,
        caller: Caller<'_>,
        prepared: &Prepared,
        publish: Publish<'_>,
    ) -> Published {
        let message = Message { stamp: Stamp::at(self.now_ms), ..publish.message };
        let properties = Properties::parse(message.properties).unwrap_or_default();
        let traits = Traits::of(&properties);
        let confirm: Confirm = publish.confirm.map(|seq| (self.id, caller.channel, seq));
        let mut lost = false;
        let mut targets = Vec::with_capacity(prepared.queues.len());
        for routee in &prepared.queues {
            match self.target(routee.queue) {
                Some(target) => targets.push(target),
                None => lost |= routee.classic,
            }
        }
        targets.sort_unstable_by_key(|target| (target.shard, target.partition, target.queue));
        if self.topology.find_exchange(caller.vhost, message.exchange).is_some() {
            let counted_at = self.exchange_counts.place(caller.vhost, message.exchange);
            self.exchange_counts.count(counted_at, targets.len());
        }
        if !prepared.held_back.is_empty() {
            let held_back = prepared.held_back.to_vec();
            let routed = Routed { targets: targets.into(), held_back, cacheable: false };
            self.stats.messages_routed += 1;
            let published = self.hold_back(sessions, &routed, message, traits, confirm);
            return Published { refused: published.refused || lost, ..published };
        }
        if targets.is_empty() && !prepared.queues.is_empty() {
            return Published { routed: true, pending_confirms: 0, refused: lost };
        }
        let published = self.distribute(sessions, &targets, message, traits, confirm, publish.mandatory);
        Published { refused: published.refused || lost, ..published }
    }

    /// Begins a commit of these messages, which have `bytes` bytes altogether: what follows until [`end_commit`](Self::end_commit)
    /// is there after a crash as a whole or not at all, if all the queues are in one partition. Returns that partition.
    pub fn begin_commit<'p>(
        &mut self,
        messages: impl Iterator<Item = &'p Prepared>,
        bytes: usize,
    ) -> Option<PartitionId> {
        let (mut found, mut durable) = (None, false);
        let mut size = GroupSize { bytes, ..GroupSize::default() };
        for prepared in messages {
            if !prepared.held_back.is_empty() {
                return None;
            }
            for row in prepared.queues.iter().filter_map(|routee| self.topology.queue(routee.queue)) {
                if found.is_some_and(|partition| partition != row.partition) {
                    return None;
                }
                found = Some(row.partition);
                durable |= row.durable;
                size.targets += 1;
            }
            size.records += 1;
            size.bytes += STORED_OVERHEAD;
        }
        let partition = found.filter(|_| durable)?;
        let shard = self.placement.shard_of(partition);
        match shard == self.id {
            true => self.begin_group_here(partition, size),
            false => self.peers.batch(shard).push(Op::BeginGroup { partition, size }),
        }
        Some(partition)
    }

    /// See [`begin_commit`](Self::begin_commit); nothing else may be asked of the shard in between.
    pub fn end_commit(&mut self, partition: PartitionId) {
        let shard = self.placement.shard_of(partition);
        match shard == self.id {
            true => self.end_group_here(partition),
            false => self.peers.batch(shard).push(Op::EndGroup { partition }),
        }
    }

    pub(super) fn begin_group_here(&mut self, partition: PartitionId, size: GroupSize) {
        if let Some(partition) = self.partitions.get_mut(&partition) {
            partition.begin_group(size);
        }
    }

    pub(super) fn end_group_here(&mut self, partition: PartitionId) {
        if let Some(partition) = self.partitions.get_mut(&partition) {
            partition.end_group();
        }
    }
}

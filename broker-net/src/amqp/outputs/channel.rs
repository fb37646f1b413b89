//! The output half of a channel: its consumers, its unacknowledged messages, its confirms.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use broker_core::ids::{ChannelKey, ConnectionKey, ConsumerId, ConsumerRef, DeliveryToken, QueueRef, RequestId};
use broker_core::limits::UNLIMITED_ROOM;
use broker_core::model::message::{Message, Stamp};
use broker_core::session::Delivery;
use rustc_hash::FxHashMap;

use super::delivery_timeout::DeliveryTimes;
use super::reply_to::ReplyConsumer;
use crate::amqp::channel::confirm::Confirms;
use crate::amqp::channel::unacked::{Entry, Unacked};
use crate::amqp::codec::{ChannelId, DeliverPrefix, DeliveryTag, write_deliver};

/// What becomes of a channel's publishes, counted by its input half and read by listings.
#[derive(Debug, Default)]
pub(crate) struct PublishCounts {
    pub(crate) received: Cell<u64>,
    pub(crate) returned: Cell<u64>,
    pub(crate) dropped: Cell<u64>,
}

/// What listings show of a channel's deliveries and cannot be told by its last delivery tag. Deliveries to be acknowledged are
/// what is left of that.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DeliveryCounts {
    pub(crate) deliver_no_ack: u64,
    pub(crate) get: u64,
    pub(crate) get_no_ack: u64,
    pub(crate) get_empty: u64,
    pub(crate) redeliver: u64,
    pub(crate) ack: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct ChannelOutput {
    pub(crate) connection: ConnectionKey,
    pub(crate) number: ChannelId,
    pub(crate) unacked: Unacked,
    last_delivery_tag: u64,
    /// Ascending by id.
    consumers: Vec<Consumer>,
    by_tag: FxHashMap<Box<str>, ConsumerId>,
    /// When deliveries were made, while the channel holds some.
    pub(super) delivery_times: Option<Box<DeliveryTimes>>,
    /// The consumer of direct replies.
    pub(super) reply_consumer: Option<Box<ReplyConsumer>>,
    /// Messages of `unacked` that count for a prefetch limit.
    prefetched: u32,
    /// Present once `basic.qos` with `global` limited the channel.
    limit: Option<Box<ChannelLimit>>,
    /// Present in confirm mode and in transactions.
    pub(crate) confirms: Option<Box<Confirms>>,
    /// The connection has the channel in its list of those with confirms to send.
    pub(crate) confirms_due: bool,
    /// `confirms` belong to a transaction: the client is not told of them.
    pub(crate) transactional: bool,
    /// The `tx.commit` that waits until its publishes are confirmed.
    pub(crate) committing: Option<RequestId>,
    /// `basic.qos` for consumers to come, for listings.
    pub(crate) prefetch_count: u16,
    pub(crate) publishes: Rc<PublishCounts>,
    pub(crate) deliveries: DeliveryCounts,
}

/// A consumer on the channel.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) id: ConsumerId,
    pub(crate) prefix: DeliverPrefix,
    /// Absent until consume-ok.
    pub(crate) at: Option<ConsumerRef>,
    /// How long it may hold a message, in milliseconds, if its queue says so.
    pub(crate) timeout_ms: Option<u64>,
    /// `basic.cancel` is on its way: deliveries that still come are not held back.
    pub(crate) cancelled: bool,
    no_ack: bool,
    /// Room that its queue has been told of, less the deliveries that have come.
    room: i64,
    /// Window of deliveries in the connection's buffer; not 0 exactly when the connection lists the consumer.
    window_bytes: u32,
}

/// The limit of `basic.qos` with `global`, and the deliveries beyond it. Each queue is told how much room the channel has
/// ([`ChannelOutput::next_room`]), so that a consumer alone is never held back; one whose room another has taken meanwhile is, with at
/// most the limit's number of messages.
#[derive(Debug, Default)]
struct ChannelLimit {
    /// 0 is no limit.
    prefetch_count: u16,
    held: VecDeque<Held>,
    /// The consumer that was delivered to last: the others are given room before it.
    last: u32,
}

/// A copied delivery.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) consumer: ConsumerId,
    pub(crate) queue: QueueRef,
    /// Absent for a `no_ack` consumer.
    pub(crate) token: Option<DeliveryToken>,
    redelivered: bool,
    /// Exchange, routing key, properties and body, one after the other.
    bytes: Box<[u8]>,
    exchange_end: usize,
    routing_key_end: usize,
    properties_end: usize,
}

impl Held {
    fn new(delivery: &Delivery<'_>) -> Self {
        let message = &delivery.message;
        let bytes =
            [message.exchange.as_bytes(), message.routing_key.as_bytes(), message.properties, message.body];
        let exchange_end = message.exchange.len();
        let routing_key_end = exchange_end + message.routing_key.len();
        let properties_end = routing_key_end + message.properties.len();
        Self {
            consumer: delivery.consumer,
            queue: delivery.queue,
            token: delivery.token,
            redelivered: delivery.redelivered,
            bytes: bytes.concat().into_boxed_slice(),
            exchange_end,
            routing_key_end,
            properties_end,
        }
    }

    fn delivery(&self, channel: ChannelKey) -> Delivery<'_> {
        let part = |from: usize, to: usize| self.bytes.get(from..to).unwrap_or_default();
        let text = |from, to| std::str::from_utf8(part(from, to)).unwrap_or_default();
        Delivery {
            channel,
            consumer: self.consumer,
            queue: self.queue,
            token: self.token,
            redelivered: self.redelivered,
            message: Message {
                stamp: Stamp::default(),
                exchange: text(0, self.exchange_end),
                routing_key: text(self.exchange_end, self.routing_key_end),
                properties: part(self.routing_key_end, self.properties_end),
                body: part(self.properties_end, self.bytes.len()),
            },
        }
    }
}

/// What a delivery did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// Nothing was written: the consumer is gone, or the delivery is held back.
    Nothing,
    /// Frames were written.
    Written,
    /// Frames were written, and the consumer has to be added to the list of those that get window back.
    WrittenFirst,
}

impl ChannelOutput {
    pub(crate) fn new(connection: ConnectionKey, number: ChannelId) -> Self {
        Self {
            connection,
            number,
            unacked: Unacked::default(),
            last_delivery_tag: 0,
            consumers: Vec::new(),
            by_tag: FxHashMap::default(),
            delivery_times: None,
            reply_consumer: None,
            prefetched: 0,
            limit: None,
            confirms: None,
            confirms_due: false,
            transactional: false,
            committing: None,
            prefetch_count: 0,
            publishes: Rc::default(),
            deliveries: DeliveryCounts::default(),
        }
    }

    /// Messages of a channel in confirm mode that are not confirmed yet.
    pub(crate) fn unconfirmed(&self) -> u64 {
        let confirms = self.confirms.as_deref().filter(|_| !self.transactional);
        confirms.map_or(0, |confirms| confirms.waiting_count() as u64)
    }

    /// Writes a delivery, or holds it back while the channel is at its limit.
    #[inline]
    pub(crate) fn deliver(&mut self, out: &mut Vec<u8>, delivery: &Delivery<'_>, frame_max: u32) -> Delivered {
        let Some(index) = self.consumer_index(delivery.consumer) else {
            return Delivered::Nothing;
        };
        let Some(consumer) = self.consumers.get_mut(index) else {
            return Delivered::Nothing;
        };
        consumer.room -= 1;
        if let Some(limit) = &mut self.limit
            && !consumer.cancelled
        {
            if limit.is_reached(self.prefetched) {
                limit.held.push_back(Held::new(delivery));
                return Delivered::Nothing;
            }
            limit.last = delivery.consumer.0;
        }
        if let Some(token) = delivery.token {
            self.prefetched += 1;
            self.unacked.push(Entry::new(
                self.last_delivery_tag + 1,
                delivery.queue,
                token,
                Some(delivery.consumer),
            ));
        } else {
            self.deliveries.deliver_no_ack += 1;
        }
        self.deliveries.redeliver += u64::from(delivery.redelivered);
        self.last_delivery_tag += 1;
        let tag = DeliveryTag(self.last_delivery_tag);
        write_deliver(out, &consumer.prefix, tag, delivery.redelivered, &delivery.message, frame_max);
        let first = consumer.window_bytes == 0;
        consumer.window_bytes = consumer.window_bytes.saturating_add(delivery.window_bytes());
        if first { Delivered::WrittenFirst } else { Delivered::Written }
    }

    /// Numbers a delivery that needs no settling.
    pub(super) fn next_delivery_tag(&mut self) -> u64 {
        self.deliveries.deliver_no_ack += 1;
        self.last_delivery_tag += 1;
        self.last_delivery_tag
    }

    /// Numbers a message for `basic.get-ok`; `token` is absent if there is nothing to settle.
    pub(crate) fn fetched(
        &mut self,
        queue: QueueRef,
        token: Option<DeliveryToken>,
        redelivered: bool,
    ) -> DeliveryTag {
        self.last_delivery_tag += 1;
        self.deliveries.redeliver += u64::from(redelivered);
        self.deliveries.get += u64::from(token.is_some());
        self.deliveries.get_no_ack += u64::from(token.is_none());
        if let Some(token) = token {
            self.unacked.push(Entry::new(self.last_delivery_tag, queue, token, None));
        }
        DeliveryTag(self.last_delivery_tag)
    }

    /// Makes room under the channel's limit for messages that were settled.
    pub(crate) fn settled(&mut self, entries: &[Entry]) {
        let counted = entries.iter().filter(|entry| entry.counts_for_prefetch()).count();
        self.prefetched = self.prefetched.saturating_sub(u32::try_from(counted).unwrap_or(u32::MAX));
    }

    /// Messages delivered or got: the last delivery tag.
    pub(crate) fn delivered_count(&self) -> u64 {
        self.last_delivery_tag
    }

    /// Consumers on the channel.
    pub(crate) fn consumer_count(&self) -> usize {
        self.consumers.len()
    }

    /// The limit of [`Self::set_limit`]; 0 is none.
    pub(crate) fn global_prefetch_count(&self) -> u16 {
        self.limit.as_ref().map_or(0, |limit| limit.prefetch_count)
    }

    /// Sets the channel's limit, 0 for none.
    pub(crate) fn set_limit(&mut self, prefetch_count: u16) {
        match &mut self.limit {
            Some(limit) => limit.prefetch_count = prefetch_count,
            None if prefetch_count > 0 => {
                self.limit = Some(Box::new(ChannelLimit { prefetch_count, ..ChannelLimit::default() }));
            }
            None => {}
        }
    }

    /// The next held delivery for which there is room now.
    pub(crate) fn release(&mut self) -> Option<Held> {
        let limit = self.limit.as_mut()?;
        if limit.is_full(self.prefetched) {
            return None;
        }
        limit.held.pop_front()
    }

    /// Writes what [`release`](Self::release) handed out.
    pub(crate) fn deliver_released(
        &mut self,
        out: &mut Vec<u8>,
        key: ChannelKey,
        held: &Held,
        frame_max: u32,
    ) -> Delivered {
        let mut limit = self.limit.take();
        if let Some(consumer) = self.consumer_mut(held.consumer) {
            // It was counted when it came.
            consumer.room += 1;
        }
        let delivered = self.deliver(out, &held.delivery(key), frame_max);
        if let Some(limit) = &mut limit {
            limit.last = held.consumer.0;
        }
        self.limit = limit;
        delivered
    }

    /// Messages that the channel has room for now, all its consumers together. As in RabbitMQ a full channel gets nothing for consumers
    /// with `no_ack` either, and what they get does not count.
    pub(crate) fn room(&self, no_ack: bool) -> Option<u32> {
        let limit = self.limit.as_ref().filter(|limit| limit.prefetch_count != 0)?;
        let most = u32::from(limit.prefetch_count);
        let taken = self.prefetched.saturating_add(u32::try_from(limit.held.len()).unwrap_or(u32::MAX));
        Some(if no_ack && taken < most { most } else { most.saturating_sub(taken) })
    }

    /// Consumers whose queues may have to be told what room there is: none if the channel never had a limit.
    pub(crate) fn limited_consumers(&self) -> usize {
        if self.limit.is_some() { self.consumers.len() } else { 0 }
    }

    /// Whether the queue of a consumer, number `turn` counted from the one that follows the last one delivered to, has to be told of
    /// more room, and how much; negative is less.
    pub(crate) fn next_room(&mut self, first: usize, turn: usize) -> Option<(ConsumerRef, i64)> {
        let index = (first + turn) % self.consumers.len().max(1);
        let no_ack = self.consumers.get(index)?.no_ack;
        let room = self.room(no_ack).map_or(UNLIMITED_ROOM, i64::from);
        let consumer = self.consumers.get_mut(index).filter(|consumer| !consumer.cancelled)?;
        let at = consumer.at?;
        let more = room - consumer.room;
        // Without a limit what has been delivered is not worth telling.
        if more == 0 || room == UNLIMITED_ROOM && consumer.room > UNLIMITED_ROOM / 2 {
            return None;
        }
        consumer.room = room;
        Some((at, more))
    }

    /// The place of the consumer that follows the last one delivered to.
    pub(crate) fn first_in_turn(&self) -> usize {
        let last = self.limit.as_ref().map_or(0, |limit| limit.last);
        self.consumers.partition_point(|consumer| consumer.id.0 <= last)
    }

    /// Takes out what is held for a consumer that is being cancelled.
    pub(crate) fn take_held(&mut self, consumer: ConsumerId) -> Vec<Held> {
        let Some(limit) = &mut self.limit else {
            return Vec::new();
        };
        let (taken, kept): (VecDeque<Held>, VecDeque<Held>) =
            limit.held.drain(..).partition(|held| held.consumer == consumer);
        limit.held = kept;
        taken.into()
    }

    pub(crate) fn add_consumer(&mut self, id: ConsumerId, consumer_tag: &str, no_ack: bool) {
        let room = self.room(no_ack).map_or(UNLIMITED_ROOM, i64::from);
        let prefix = DeliverPrefix::new(self.number, consumer_tag);
        self.by_tag.insert(consumer_tag.into(), id);
        self.consumers.push(Consumer {
            id,
            prefix,
            at: None,
            timeout_ms: None,
            cancelled: false,
            no_ack,
            room,
            window_bytes: 0,
        });
    }

    pub(crate) fn remove_consumer(&mut self, id: ConsumerId) -> Option<Consumer> {
        let removed = self.consumers.remove(self.consumer_index(id)?);
        self.by_tag.remove(removed.prefix.consumer_tag());
        Some(removed)
    }

    pub(crate) fn consumer_mut(&mut self, id: ConsumerId) -> Option<&mut Consumer> {
        self.consumer_index(id).and_then(|index| self.consumers.get_mut(index))
    }

    /// True if a consumer of the channel has this tag.
    pub(crate) fn has_consumer_tag(&self, consumer_tag: &str) -> bool {
        self.by_tag.contains_key(consumer_tag) || self.reply_consumer_tag() == Some(consumer_tag)
    }

    pub(crate) fn consumer_by_tag(&mut self, consumer_tag: &str) -> Option<&mut Consumer> {
        let id = *self.by_tag.get(consumer_tag)?;
        self.consumer_mut(id)
    }

    /// Takes the window that a consumer's written deliveries used.
    pub(crate) fn take_window(&mut self, id: ConsumerId) -> Option<(ConsumerRef, u32)> {
        let consumer = self.consumer_mut(id)?;
        let bytes = std::mem::take(&mut consumer.window_bytes);
        consumer.at.map(|at| (at, bytes))
    }

    fn consumer_index(&self, id: ConsumerId) -> Option<usize> {
        match self.consumers.as_slice() {
            [only] => (only.id == id).then_some(0),
            consumers => consumers.binary_search_by_key(&id.0, |consumer| consumer.id.0).ok(),
        }
    }
}

impl ChannelLimit {
    fn is_full(&self, prefetched: u32) -> bool {
        self.prefetch_count != 0 && prefetched >= u32::from(self.prefetch_count)
    }

    /// Deliveries must not overtake held ones.
    fn is_reached(&self, prefetched: u32) -> bool {
        !self.held.is_empty() || self.is_full(prefetched)
    }
}

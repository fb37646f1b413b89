//! One consuming connection: its subscriptions, what it receives, and when it acknowledges. No I/O.

use amq_protocol::{
    protocol::{AMQPClass, basic},
    types::FieldTable,
};
use anyhow::{Context, Result, bail, ensure};

use crate::{
    load::Load,
    score::Score,
    verify::Order,
    wire::{
        BASIC_CANCEL, BASIC_CONSUME_OK, BASIC_DELIVER, CHANNEL, CONNECTION_BLOCKED, CONNECTION_UNBLOCKED, Frame,
        read_deliver, short_string, write_ack, write_method,
    },
};

/// The largest body taken from a broker, in bytes: RabbitMQ's own limit.
const BODY_MAX: u64 = 512 * 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Consumer {
    subscriptions: Vec<Subscription>,
    /// Subscriptions that the broker has confirmed.
    ready: usize,
    ack: Option<Acks>,
    left: u64,
    content: Content,
    /// A body of several frames, as far as it has arrived.
    body: Vec<u8>,
}

/// Its index is the consumer tag.
#[derive(Debug)]
struct Subscription {
    queue: usize,
    order: Order,
}

#[derive(Debug)]
struct Acks {
    every: u32,
    pending: u32,
    last_tag: u64,
}

/// The part of a delivery that comes next.
#[derive(Clone, Copy, Debug)]
enum Content {
    Method,
    Header(Delivery),
    Body(Delivery, u64),
}

#[derive(Clone, Copy, Debug)]
struct Delivery {
    subscription: usize,
    redelivered: bool,
}

impl Consumer {
    /// A consumer, and the basic.consume methods that start it.
    pub(crate) fn new(load: &Load, index: usize) -> Result<(Self, Vec<u8>)> {
        let queues = load.queues_of_consumer(index);
        let mut start = Vec::new();
        for (tag, queue) in queues.iter().enumerate() {
            let consume = basic::Consume {
                queue: short_string("a queue's name", &load.queues[*queue])?,
                consumer_tag: tag.to_string().into(),
                no_local: false,
                no_ack: load.auto_ack,
                exclusive: false,
                nowait: false,
                arguments: FieldTable::default(),
            };
            write_method(&mut start, CHANNEL, AMQPClass::Basic(basic::AMQPMethod::Consume(consume)))?;
        }
        let subscriptions =
            queues.into_iter().map(|queue| Subscription { queue, order: Order::default() }).collect();
        let consumer = Self {
            subscriptions,
            ready: 0,
            ack: (!load.auto_ack).then_some(Acks { every: load.ack_every, pending: 0, last_tag: 0 }),
            left: load.consume_count.unwrap_or(u64::MAX),
            content: Content::Method,
            body: Vec::new(),
        };
        Ok((consumer, start))
    }

    /// True when the broker has confirmed every subscription.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready == self.subscriptions.len()
    }

    /// True when it has received all it was to receive.
    pub(crate) fn is_finished(&self) -> bool {
        self.left == 0
    }

    /// Acknowledges what is left.
    pub(crate) fn finish(&mut self, output: &mut Vec<u8>) {
        if let Some(acks) = &mut self.ack {
            acks.write(output);
        }
    }

    pub(crate) fn handle_frame(
        &mut self,
        frame: Frame<'_>,
        now_us: u64,
        output: &mut Vec<u8>,
        score: &mut Score,
    ) -> Result<()> {
        match (self.content, frame) {
            (Content::Method, Frame::Method(BASIC_DELIVER, arguments)) => {
                let deliver = read_deliver(arguments)?;
                let subscription = read_tag(deliver.consumer_tag, self.subscriptions.len())?;
                self.content = Content::Header(Delivery { subscription, redelivered: deliver.redelivered });
                if let Some(acks) = &mut self.ack {
                    acks.last_tag = deliver.delivery_tag;
                }
            }
            (Content::Header(delivery), Frame::Header(size)) => {
                ensure!(size <= BODY_MAX, "a body of {size} bytes");
                self.content = Content::Body(delivery, size);
                if size == 0 {
                    self.receive(delivery, &[], now_us, output, score);
                }
            }
            (Content::Body(delivery, size), Frame::Body(part)) => {
                self.handle_body(delivery, size, part, now_us, output, score)?;
            }
            (Content::Method, Frame::Method(BASIC_CONSUME_OK, _)) => self.ready += 1,
            (Content::Method, Frame::Method(BASIC_CANCEL, _)) => bail!("the broker cancelled a consumer"),
            (_, Frame::Heartbeat | Frame::Method(CONNECTION_BLOCKED | CONNECTION_UNBLOCKED, _)) => {}
            (_, Frame::Method(id, _)) => bail!("a consumer was sent method {}.{}", id >> 16, id & 0xffff),
            (_, Frame::Header(_) | Frame::Body(_)) => bail!("content out of order"),
        }
        Ok(())
    }

    fn handle_body(
        &mut self,
        delivery: Delivery,
        size: u64,
        part: &[u8],
        now_us: u64,
        output: &mut Vec<u8>,
        score: &mut Score,
    ) -> Result<()> {
        let size = usize::try_from(size)?;
        if self.body.is_empty() && part.len() == size {
            self.receive(delivery, part, now_us, output, score);
            return Ok(());
        }
        self.body.extend_from_slice(part);
        ensure!(self.body.len() <= size, "a body longer than its content header says");
        if self.body.len() == size {
            let mut body = std::mem::take(&mut self.body);
            self.receive(delivery, &body, now_us, output, score);
            body.clear();
            self.body = body;
        }
        Ok(())
    }

    fn receive(&mut self, delivery: Delivery, body: &[u8], now_us: u64, output: &mut Vec<u8>, score: &mut Score) {
        self.content = Content::Method;
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        let subscription = &mut self.subscriptions[delivery.subscription];
        let stamp =
            score.verifier.arrived(subscription.queue, body, delivery.redelivered, &mut subscription.order);
        score.delivered(stamp.map(|stamp| stamp.age_us(now_us)));
        score.first_delivered_us.get_or_insert(now_us);
        score.last_delivered_us = now_us;
        if let Some(acks) = &mut self.ack {
            acks.pending += 1;
            if acks.pending >= acks.every {
                acks.write(output);
            }
        }
    }
}

impl Acks {
    fn write(&mut self, output: &mut Vec<u8>) {
        if self.pending > 0 {
            write_ack(output, self.last_tag, self.pending > 1);
            self.pending = 0;
        }
    }
}

/// The subscription that a consumer tag names.
fn read_tag(tag: &[u8], subscriptions: usize) -> Result<usize> {
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| usize::from(byte - b'0'));
    let mut bytes = tag.iter();
    let first = bytes.next().and_then(digit);
    let index = bytes.fold(first, |index, byte| index?.checked_mul(10)?.checked_add(digit(byte)?));
    index.filter(|index| *index < subscriptions).context("a delivery for a consumer tag that is not ours")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumer_tags_are_subscription_indexes() {
        assert_eq!(read_tag(b"0", 1).unwrap(), 0);
        assert_eq!(read_tag(b"999", 1000).unwrap(), 999);
        for tag in [&b""[..], b"x", b"1x", b"1000", b"99999999999999999999999"] {
            assert!(read_tag(tag, 1000).is_err());
        }
    }
}

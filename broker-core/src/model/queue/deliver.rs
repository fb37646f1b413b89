//! How messages get from publishers to consumers.

use broker_store::{LogKind, Position, QueueId, Seq};

use super::backlog::Entry;
use super::consumer::Consumer;
use super::lane;
use super::logs::{Logs, Read};
use super::tend::page_in;
use super::unacked::{Held, Holder};
use super::{Outlet, Pump, Queue};
use crate::ids::{DeliveryToken, QueueRef};
use crate::model::message::Message;
use crate::session::Delivery;

/// A queue that is read from asks the log for what follows each time it has gone this far, in bytes.
const READ_AHEAD_BYTES: u32 = 256 * 1024;

impl Queue {
    /// Hands a message that is in no log to a `no_ack` consumer, if nothing is before it and one can take it now.
    /// Returns whether that happened.
    pub fn pass_through(&mut self, out: &mut impl Outlet, message: Message<'_>) -> bool {
        if !self.is_empty() {
            return false;
        }
        match self.consumers.next() {
            Some((_, consumer)) if consumer.no_ack => {
                out.deliver(consumer.address.shard, delivery_to(consumer, self.at, None, false, message));
                self.consumers.took(message.window_bytes());
                true
            }
            _ => false,
        }
    }

    /// Takes in a message that is stored at `position`, and gives it out at once if its turn has come. `expires` says that it has
    /// an expiration of its own. Returns true if the queue is to be pumped.
    pub fn push(
        &mut self,
        out: &mut impl Outlet,
        logs: &mut Logs,
        ((lane, seq), log, position): ((QueueId, Seq), LogKind, Position),
        message: Message<'_>,
        expires: bool,
    ) -> bool {
        let body = u32::try_from(message.body.len()).unwrap_or(u32::MAX);
        let entry = Entry::new(seq, position, body, log, lane::level_of(lane));
        if expires {
            self.may_expire = true;
            self.special.get_or_insert_default();
        }
        if self.consumers.any_active() && self.is_empty() {
            let settled = self.give(out, entry, message);
            self.after_delivery(logs, entry, settled);
        } else {
            let lane = self.lane_mut(entry.lane);
            if lane.ready.is_empty() {
                lane.since_ms = message.stamp.published_ms();
            }
            lane.ready.push_back(entry);
            self.bytes.came(entry);
        }
        self.special.is_some()
    }

    /// Delivers while there are messages and consumers that can take them.
    pub fn pump(&mut self, out: &mut impl Outlet, logs: &mut Logs, now_ms: u64) -> Pump {
        if self.special.is_some() {
            self.end_waits(logs, now_ms);
        }
        let pump = self.deliver(out, logs, now_ms);
        if self.special.is_some() { self.tend(out, logs, now_ms, pump) } else { pump }
    }

    fn deliver(&mut self, out: &mut impl Outlet, logs: &mut Logs, now_ms: u64) -> Pump {
        let mut ahead = None;
        while self.consumers.any_active() {
            let entry = match self.load_head(logs) {
                Ok(Some(entry)) => entry,
                Ok(None) => return Pump::Idle,
                Err(kind) => return Pump::PageIn(kind),
            };
            let message = match logs.read(&entry) {
                Read::Message(message) => message,
                Read::Elsewhere => return page_in(logs, entry),
                Read::Lost => {
                    self.lose(logs, entry);
                    continue;
                }
            };
            if self.may_expire && self.expiry_ms(&message).is_some_and(|expiry| expiry <= now_ms) {
                // Dropping is done in slices.
                self.special.get_or_insert_default();
                match self.drop_expired(logs, now_ms) {
                    Pump::Idle => continue,
                    pump => return pump,
                }
            }
            let block = (entry.position.segment, entry.position.offset / READ_AHEAD_BYTES);
            let crossed = ahead.replace(block) != Some(block);
            self.pop(entry);
            self.lane_mut(entry.lane).since_ms = message.stamp.published_ms();
            let settled = self.give(out, entry, message);
            if crossed {
                // While the record is there: once it is acked its segment may be gone.
                logs.of(entry.log()).page_in(entry.position);
            }
            self.after_delivery(logs, entry, settled);
        }
        Pump::Idle
    }

    /// Gives an entry that is not in the backlog (any more) to the consumer whose turn it is. Returns whether
    /// that settled it.
    fn give(&mut self, out: &mut impl Outlet, entry: Entry, message: Message<'_>) -> bool {
        let (slot, consumer) = self.consumers.next().expect("the caller saw an active consumer");
        let no_ack = consumer.no_ack;
        let token = (!no_ack).then(|| {
            let holder = Holder { address: consumer.address, consumer: Some((slot, consumer.id)) };
            self.bytes.held(entry);
            self.unacked.insert(Held { entry, holder })
        });
        let counted = match entry.redelivered() {
            true => self.counted_properties(entry, message.properties),
            false => None,
        };
        let message = match &counted {
            Some(properties) => Message { properties, ..message },
            None => message,
        };
        out.deliver(consumer.address.shard, delivery_to(consumer, self.at, token, entry.redelivered(), message));
        self.consumers.took(message.window_bytes());
        no_ack
    }

    pub(super) fn after_delivery(&mut self, logs: &mut Logs, entry: Entry, settled: bool) {
        let first = self.lane_mut(entry.lane).note_delivered(entry.seq);
        if first && !settled && entry.log() == LogKind::Durable {
            logs.durable.delivered(self.at.queue.in_lane(entry.lane.into()), entry.seq);
        }
        if settled {
            self.ack(logs, entry);
        }
    }
}

fn delivery_to<'a>(
    consumer: &Consumer,
    queue: QueueRef,
    token: Option<DeliveryToken>,
    redelivered: bool,
    message: Message<'a>,
) -> Delivery<'a> {
    Delivery { channel: consumer.address.channel, consumer: consumer.id, queue, token, redelivered, message }
}

//! A consumer of a stream: how far it has read, and whether it may be given more.

use std::sync::Arc;

use broker_store::{Entry, Load, Log, Seq};

use super::extents::Extents;
use super::filter::Filter;
use super::header;
use super::offset::{OFFSET, offset_of};
use super::seek::Seek;
use crate::ids::{ConsumerId, DeliveryToken, QueueRef};
use crate::limits::CONSUMER_WINDOW_BYTES;
use crate::model::message::Message;
use crate::model::queue::Outlet;
use crate::model::queue::consumer::ChannelAddress;
use crate::session::Delivery;

/// Entries that a reader knows ahead.
const LOADED_ENTRIES: usize = 256;

/// Messages that a reader looks at before the next one has its turn.
const TURN_MESSAGES: usize = 64;

/// A reader asks the log for what follows each time it has gone this far, in bytes.
const READ_AHEAD_BYTES: u32 = 256 * 1024;

/// A consumer as `basic.consume` set it up.
#[derive(Clone, Debug)]
pub struct StreamConsumer {
    /// Where its deliveries go.
    pub address: ChannelAddress,
    /// Its number on the channel.
    pub id: ConsumerId,
    /// Its tag, for listings.
    pub consumer_tag: Arc<str>,
    /// As it was asked for; a stream may have several all the same (as in RabbitMQ).
    pub exclusive: bool,
    /// Unsettled messages it may hold; never 0.
    pub prefetch_count: u16,
    /// What it wants; `None` is everything.
    pub filter: Option<Filter>,
}

/// Where a reader is.
#[derive(Debug)]
pub(super) enum Place {
    /// Searching for where to begin.
    Seeking(Seek),
    /// To read this next.
    At(Seq),
}

/// Why a reader stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Its turn is over.
    TurnOver,
    /// It lacks pages; the log brings them.
    NeedsPageIn,
    /// It has read everything.
    AtEnd,
    /// It has no prefetch or window left.
    Blocked,
}

/// What readers of one stream read from.
pub(super) struct Source<'a> {
    pub(super) at: QueueRef,
    pub(super) extents: &'a Extents,
    pub(super) log: &'a mut Log,
    /// The newest message that is on disk.
    pub(super) committed: Seq,
    /// Room for properties with the offset in them.
    pub(super) properties: &'a mut Vec<u8>,
    pub(super) delivered: &'a mut u64,
}

/// A consumer and its cursor.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) consumer: StreamConsumer,
    pub(super) place: Place,
    /// It stands in one of the stream's lists.
    pub(super) listed: bool,
    token: DeliveryToken,
    unacked: u32,
    /// Bytes of window left. May go below zero by one message.
    window: i64,
    /// The next entries, in the order of reading; may be out of date below what the stream has.
    loaded: Vec<Entry>,
    /// How many of `loaded` are read.
    read: usize,
}

impl Reader {
    pub(super) fn new(consumer: StreamConsumer, place: Place, token: DeliveryToken) -> Self {
        let window = i64::from(CONSUMER_WINDOW_BYTES);
        Self { consumer, place, listed: false, token, unacked: 0, window, loaded: Vec::new(), read: 0 }
    }

    pub(super) fn unacked(&self) -> u32 {
        self.unacked
    }

    /// True if these deliveries are the reader's.
    pub(super) fn holds(&self, token: DeliveryToken, address: ChannelAddress) -> bool {
        self.token == token && self.consumer.address == address
    }

    pub(super) fn settled(&mut self) {
        self.unacked = self.unacked.saturating_sub(1);
    }

    pub(super) fn return_window(&mut self, bytes: u32) {
        self.window += i64::from(bytes);
    }

    pub(super) fn can_take(&self) -> bool {
        self.window > 0 && self.unacked < u32::from(self.consumer.prefetch_count)
    }

    /// Positions may be out of date.
    pub(super) fn forget_loaded(&mut self) {
        self.loaded.clear();
        self.read = 0;
    }

    /// Delivers for one turn.
    pub(super) fn read(&mut self, out: &mut impl Outlet, source: &mut Source<'_>) -> Stop {
        let queue = source.at.queue;
        if let Place::Seeking(seek) = &mut self.place {
            let Some(found) = seek.advance(source.extents, source.log, queue) else {
                return Stop::NeedsPageIn;
            };
            self.place = Place::At(found);
        }
        let mut crossed = None;
        for _ in 0..TURN_MESSAGES {
            if !self.can_take() {
                return Stop::Blocked;
            }
            let entry = match self.next_entry(source) {
                Ok(entry) => entry,
                Err(stop) => return stop,
            };
            match source.log.read(entry.position) {
                Ok(Some(payload)) => {
                    if let Some(message) = Message::from_stored(payload) {
                        let offered = self.offer(out, source.at, source.properties, entry.seq, message);
                        *source.delivered += u64::from(offered);
                    }
                }
                Ok(None) => {
                    source.log.page_in(entry.position);
                    return Stop::NeedsPageIn;
                }
                // Damaged, which the log has reported: its offset is passed over.
                Err(_) => {}
            }
            self.place = Place::At(Seq(entry.seq.0 + 1));
            self.read += 1;
            let block = (entry.position.segment, entry.position.offset / READ_AHEAD_BYTES);
            if crossed.replace(block) != Some(block) {
                source.log.page_in(entry.position);
            }
        }
        Stop::TurnOver
    }

    /// The next entry, loaded if need be.
    fn next_entry(&mut self, source: &mut Source<'_>) -> Result<Entry, Stop> {
        let (Place::At(next), Some(first)) = (&self.place, source.extents.first()) else {
            return Err(Stop::AtEnd);
        };
        let next = (*next).max(first);
        if next > source.committed {
            return Err(Stop::AtEnd);
        }
        while self.loaded.get(self.read).is_some_and(|entry| entry.seq < next) {
            self.read += 1;
        }
        if self.read >= self.loaded.len() {
            self.forget_loaded();
            let queue = source.at.queue;
            if source.extents.find(source.log, queue, next, LOADED_ENTRIES, &mut self.loaded) == Load::NeedsPageIn
            {
                return Err(Stop::NeedsPageIn);
            }
        }
        match self.loaded.get(self.read) {
            Some(entry) if entry.seq <= source.committed => Ok(*entry),
            _ => Err(Stop::AtEnd),
        }
    }

    /// Delivers a message if the consumer wants it. Returns whether it does.
    fn offer(
        &mut self,
        out: &mut impl Outlet,
        queue: QueueRef,
        properties: &mut Vec<u8>,
        seq: Seq,
        message: Message<'_>,
    ) -> bool {
        if self.consumer.filter.as_ref().is_some_and(|filter| !filter.matches(message.properties)) {
            return false;
        }
        header::set_long(message.properties, OFFSET, offset_of(seq), properties);
        let message = Message { properties, ..message };
        self.unacked += 1;
        self.window -= i64::from(message.window_bytes());
        let StreamConsumer { address, id, .. } = self.consumer;
        let token = Some(self.token);
        let channel = address.channel;
        let delivery = Delivery { channel, consumer: id, queue, token, redelivered: false, message };
        out.deliver(address.shard, delivery);
        true
    }
}

/// Where a consumer that begins at `queue`'s messages of a time begins.
pub(super) fn seek(time_ms: u64, extents: &Extents, committed: Seq) -> Place {
    let end = Seq(committed.0 + 1);
    Place::Seeking(Seek::new(time_ms, extents.first().unwrap_or(end).min(end), end))
}

//! Finding the first message of a stream that was published at a time or later, by halving: a few records are read, wherever
//! they are, and no index of times is kept.
//!
//! Times are those of the server's clock at publishing. Should that clock have been set back, the message found is one of several
//! that fit.

use broker_store::{Entry, Load, Log, QueueId, Seq};

use super::extents::Extents;
use crate::model::message::Message;

/// A search that may have to wait for pages.
#[derive(Clone, Copy, Debug)]
pub struct Seek {
    time_ms: u64,
    /// Everything before it is older.
    low: Seq,
    /// It and everything behind it is not older, or is not there.
    high: Seq,
}

/// What is known of a message's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// Pages are on their way.
    NeedsPageIn,
    /// There is no message from the asked one on.
    Nothing,
    /// The first message from the asked one on, and when it was published; `None` if its record is damaged.
    At(Seq, Option<u64>),
}

impl Seek {
    /// A search among the messages from `low` on that are before `high`.
    #[must_use]
    pub fn new(time_ms: u64, low: Seq, high: Seq) -> Self {
        Self { time_ms, low, high }
    }

    /// Goes on searching. `None`: to be called again when the log has paged something in. If all messages are older, the result is
    /// the number behind them.
    pub fn advance(&mut self, extents: &Extents, log: &mut Log, queue: QueueId) -> Option<Seq> {
        while self.low < self.high {
            let middle = Seq(self.low.0.midpoint(self.high.0));
            match time_of(extents, log, queue, middle) {
                Time::NeedsPageIn => return None,
                Time::At(seq, Some(time_ms)) if time_ms < self.time_ms => self.low = Seq(seq.0 + 1),
                Time::At(..) | Time::Nothing => self.high = middle,
            }
        }
        Some(self.low)
    }
}

/// The time of the first message from `from` on.
pub fn time_of(extents: &Extents, log: &mut Log, queue: QueueId, from: Seq) -> Time {
    let mut found: Vec<Entry> = Vec::with_capacity(1);
    if extents.find(log, queue, from, 1, &mut found) == Load::NeedsPageIn {
        return Time::NeedsPageIn;
    }
    let Some(entry) = found.first() else {
        return Time::Nothing;
    };
    match log.read(entry.position) {
        Ok(Some(payload)) => {
            Time::At(entry.seq, Message::from_stored(payload).map(|message| message.stamp.published_ms()))
        }
        Ok(None) => {
            log.page_in(entry.position);
            Time::NeedsPageIn
        }
        Err(_) => Time::At(entry.seq, None),
    }
}

//! Messages that an administrator has moved out of a queue, until they are where they are to go.
//!
//! Such a message is neither ready nor unacknowledged. It stays in the log of its queue until [`Queue::moved`]: a crash before that brings
//! it back.

use broker_store::LogKind;

use super::backlog::Entry;
use super::logs::{Logs, Read};
use super::special::DeathReason;
use super::tend::page_in;
use super::{Pump, Queue};
use crate::model::message::Message;

/// A message that is being moved; see [`Queue::take_out`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MoveToken(pub u32);

/// How taking a message out went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum TakeOut {
    /// The queue has no ready message.
    Empty,
    /// The head was of no use: to be asked again.
    Again,
    /// The head is not in memory: to be asked again when the log has paged something in.
    PageIn(LogKind),
    /// The message was shown to the caller's closure. [`Queue::moved`] or [`Queue::put_back`] follows.
    Taken(MoveToken),
}

impl Queue {
    /// Takes the message that is to be delivered next out of the queue and shows it to `show`.
    pub fn take_out(&mut self, logs: &mut Logs, now_ms: u64, show: impl FnOnce(Message<'_>)) -> TakeOut {
        let entry = match self.load_head(logs) {
            Ok(Some(entry)) => entry,
            Ok(None) => return TakeOut::Empty,
            Err(kind) => return TakeOut::PageIn(kind),
        };
        let message = match logs.read(&entry) {
            Read::Message(message) => message,
            Read::Elsewhere => {
                return match page_in(logs, entry) {
                    Pump::PageIn(kind) => TakeOut::PageIn(kind),
                    Pump::Idle | Pump::Again => TakeOut::Again,
                };
            }
            Read::Lost => {
                self.lose(logs, entry);
                return TakeOut::Again;
            }
        };
        let expired = self.may_expire && self.expiry_ms(&message).is_some_and(|expiry| expiry <= now_ms);
        if !expired {
            show(message);
        }
        self.pop(entry);
        if expired {
            self.bury(logs, entry, DeathReason::Expired);
            return TakeOut::Again;
        }
        let key = self.special.get_or_insert_default().moving.insert(entry);
        TakeOut::Taken(MoveToken(u32::try_from(key).expect("fewer than 2^32 messages are moved at a time")))
    }

    /// The message is where it was to go: it leaves the queue.
    pub fn moved(&mut self, logs: &mut Logs, token: MoveToken) {
        if let Some(entry) = self.take_moving(token) {
            self.ack(logs, entry);
        }
    }

    /// The message is to stay: it is ready again, at its place. The queue is to be pumped.
    pub fn put_back(&mut self, token: MoveToken) {
        if let Some(entry) = self.take_moving(token) {
            self.lane_mut(entry.lane).ready.insert(entry);
            self.bytes.came(entry);
        }
    }

    fn take_moving(&mut self, token: MoveToken) -> Option<Entry> {
        self.special.as_mut()?.moving.try_remove(token.0 as usize)
    }
}

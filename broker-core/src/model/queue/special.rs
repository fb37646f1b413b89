//! What a queue has beyond a plain one: settings, priorities, messages that expire, limits, dead letters. A plain queue has none of it and
//! pays one comparison.

use std::collections::VecDeque;

use broker_store::QueueId;
use slab::Slab;

use super::backlog::Entry;
use super::lane::Lane;
use super::retry::Retry;
use super::settings::{Overflow, QueueSettings};

/// Why a message is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeathReason {
    /// A consumer refused it and did not want it requeued.
    Rejected,
    /// Its time to live has passed.
    Expired,
    /// The queue was full.
    Maxlen,
    /// It was delivered too often.
    DeliveryLimit,
}

impl DeathReason {
    /// Its name in `x-death`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Maxlen => "maxlen",
            Self::DeliveryLimit => "delivery_limit",
        }
    }
}

/// A message that has died and whose dead letter is on its way; see [`Queue::buried`](super::Queue::buried).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeadToken(pub u32);

/// A dead message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dead {
    pub(super) entry: Entry,
    pub(super) reason: DeathReason,
}

#[derive(Debug, Default)]
pub(super) struct Special {
    pub(super) settings: QueueSettings,
    /// Lanes above the queue's own, by descending priority; only those that were used.
    pub(super) lanes: Vec<Lane>,
    /// Dead messages whose letters have not been handed out.
    pub(super) dead: VecDeque<Dead>,
    /// Those that have.
    pub(super) leaving: Slab<Dead>,
    /// Messages that are being moved elsewhere.
    pub(super) moving: Slab<Entry>,
    /// No dead letter is handed out before, in milliseconds since the Unix epoch.
    pub(super) retry_dead_ms: u64,
    /// Messages that come back, where they are counted or delayed.
    pub(super) retry: Option<Box<Retry>>,
    /// The head that was read last, by lane and sequence number, and when it expires: a head that waits is not read again.
    pub(super) head_expiry: Option<((u8, u64), Option<u64>)>,
    /// Since when nobody uses the queue, once that is known.
    pub(super) idle_since_ms: Option<u64>,
    /// When the queue wants to be pumped without any other reason.
    pub(super) due_ms: Option<u64>,
}

impl Special {
    /// The lane of a priority, made if need be.
    pub(super) fn lane(&mut self, queue: QueueId, level: u8) -> &mut Lane {
        let at = match self.lanes.binary_search_by(|lane| level.cmp(&lane.level())) {
            Ok(at) => at,
            Err(at) => {
                self.lanes.insert(at, Lane::new(queue.in_lane(level.into())));
                at
            }
        };
        &mut self.lanes[at]
    }

    /// Ready messages that are not in the queue's own lane.
    pub(super) fn lanes_len(&self) -> u64 {
        let returned = self.retry.as_ref().map_or(0, |retry| retry.ready_len());
        returned + self.lanes.iter().map(|lane| lane.ready.len()).sum::<u64>()
    }

    /// True if one message more, with a body of `body` bytes, would be too much for a queue that refuses what is too much. It has `ready`
    /// messages and `bytes` bytes.
    pub(super) fn refuses(&self, (ready, bytes): (u64, u64), body: u64) -> bool {
        self.settings.overflow != Overflow::DropHead
            && (self.settings.max_length.is_some_and(|limit| ready + 1 > limit)
                || self.settings.max_length_bytes.is_some_and(|limit| bytes + body > limit))
    }

    /// True if the head is to be dropped.
    pub(super) fn overflows(&self, (ready, bytes): (u64, u64)) -> bool {
        self.settings.overflow == Overflow::DropHead
            && ready > 0
            && (self.settings.max_length.is_some_and(|limit| ready > limit)
                || self.settings.max_length_bytes.is_some_and(|limit| bytes > limit))
    }
}

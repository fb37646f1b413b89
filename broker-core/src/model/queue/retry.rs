//! Messages that come back to their queue: how often each did, which of them wait, and in which order they go out again.
//!
//! A queue has a [`Retry`] if it counts (a quorum queue, or one with a delivery limit) or delays (`x-delayed-retry-type`). Only messages that
//! have come back take room here.

use std::collections::{BTreeMap, VecDeque};

use broker_store::{Attempt, LogKind};
use rustc_hash::{FxHashMap, FxHashSet};

use super::Queue;
use super::backlog::Entry;
use super::logs::Logs;
use super::settings::{DelayedRetry, DelayedRetryType, QueueSettings};
use super::special::DeathReason;
use crate::model::stream::header::set_long;

/// Header of a message that has been delivered before: how often (RabbitMQ's quorum queues).
const DELIVERY_COUNT: &str = "x-delivery-count";

/// Why a message comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Return {
    /// Its consumer gave it back: `basic.nack` or `basic.recover`.
    Released,
    /// Its delivery has failed: `basic.reject` with requeue, or the channel is gone.
    Failed,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Retry {
    limit: Option<u32>,
    delay: Option<DelayedRetry>,
    /// What comes back goes out again before all else and in the order in which it came back (quorum queues); otherwise it returns to
    /// its place.
    in_order_of_return: bool,
    /// Deliveries of live messages that came back, by lane and sequence number.
    attempts: FxHashMap<(u8, u64), u32>,
    /// Ready messages, in the order of their return.
    returned: VecDeque<Entry>,
    /// Messages that came back since the last turn, and how long they are to wait, in milliseconds.
    fresh: Vec<(u64, Entry)>,
    /// Messages that wait, by the time at which they are ready again, in milliseconds since the Unix epoch.
    waiting: BTreeMap<(u64, u8, u64), Entry>,
}

/// What becomes of a message that comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Ready,
    Waits,
    Dies,
}

impl Retry {
    /// True if a queue with these settings counts or delays what comes back.
    pub(super) fn is_wanted(settings: &QueueSettings) -> bool {
        settings.quorum || settings.delivery_limit.is_some() || settings.delayed_retry.is_some()
    }

    pub(super) fn set_settings(&mut self, settings: &QueueSettings) {
        self.limit = settings.delivery_limit;
        self.delay = settings.delayed_retry;
        self.in_order_of_return = settings.quorum;
    }

    /// The log knows that a message of a lane has come back so often.
    pub(super) fn recovered(&mut self, lane: u8, seq: u64, count: u32) {
        self.attempts.insert((lane, seq), count);
    }

    /// Messages that wait.
    fn waiting_len(&self) -> usize {
        self.fresh.len() + self.waiting.len()
    }

    /// Forgets the counts of all messages but these.
    fn keep(&mut self, kept: &FxHashSet<(u8, u64)>) {
        self.attempts.retain(|message, _| kept.contains(message));
    }

    /// Messages that are ready and in no lane.
    pub(super) fn ready_len(&self) -> u64 {
        self.returned.len() as u64
    }

    /// The returned message that is to go out next.
    pub(super) fn head(&self) -> Option<Entry> {
        self.returned.front().copied()
    }

    /// Takes the entry out if it is the one that [`Self::head`] returned.
    pub(super) fn pop(&mut self, entry: Entry) -> bool {
        let is_head = self.head().is_some_and(|head| (head.lane, head.seq) == (entry.lane, entry.seq));
        if is_head {
            self.returned.pop_front();
        }
        is_head
    }

    /// Takes everything out.
    pub(super) fn take_all(&mut self) -> Vec<Entry> {
        let fresh = self.fresh.drain(..).map(|(_, entry)| entry);
        let waiting = std::mem::take(&mut self.waiting).into_values();
        self.returned.drain(..).chain(fresh).chain(waiting).collect()
    }

    /// The entries, in no order, to be changed in place.
    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        let fresh = self.fresh.iter_mut().map(|(_, entry)| entry);
        self.returned.iter_mut().chain(fresh).chain(self.waiting.values_mut())
    }

    /// A message has left the queue.
    pub(super) fn forget(&mut self, entry: Entry) {
        self.attempts.remove(&(entry.lane, entry.seq.0));
    }

    /// Counts a delivery that came back, and says what becomes of the message.
    fn came_back(&mut self, entry: Entry, how: Return) -> (u32, Fate) {
        let count = self.attempts.entry((entry.lane, entry.seq.0)).or_default();
        *count = count.saturating_add(1);
        let count = *count;
        if self.limit.is_some_and(|limit| count > limit) {
            return (count, Fate::Dies);
        }
        let Some(delay) = self.delay.filter(|delay| delay.concerns(how)) else {
            return (count, Fate::Ready);
        };
        let wait_ms = delay.min_ms.saturating_mul(count.into()).min(delay.max_ms);
        self.fresh.push((wait_ms, entry));
        (count, Fate::Waits)
    }

    /// Lets those begin to wait that have come back; `tell` hears of each until when.
    fn begin_waits(&mut self, now_ms: u64, mut tell: impl FnMut(Entry, Attempt)) {
        for (wait_ms, entry) in std::mem::take(&mut self.fresh) {
            let ready_ms = now_ms.saturating_add(wait_ms);
            let count = self.attempts.get(&(entry.lane, entry.seq.0)).copied().unwrap_or_default();
            tell(entry, Attempt { count, ready_ms });
            self.wait_until(ready_ms, entry);
        }
    }

    /// A message waits.
    pub(super) fn wait_until(&mut self, ready_ms: u64, entry: Entry) {
        self.waiting.insert((ready_ms, entry.lane, entry.seq.0), entry);
    }

    /// Takes out a message whose wait is over.
    fn take_due(&mut self, now_ms: u64) -> Option<Entry> {
        let first = self.waiting.first_entry().filter(|first| first.key().0 <= now_ms)?;
        Some(first.remove())
    }

    /// When the next wait is over.
    fn due_ms(&self) -> Option<u64> {
        self.waiting.first_key_value().map(|((due_ms, ..), _)| *due_ms)
    }

    /// How often a message has come back.
    fn count_of(&self, entry: Entry) -> Option<u32> {
        self.attempts.get(&(entry.lane, entry.seq.0)).copied()
    }
}

impl DelayedRetry {
    fn concerns(&self, how: Return) -> bool {
        match self.kind {
            DelayedRetryType::All => true,
            DelayedRetryType::Failed => how == Return::Failed,
            DelayedRetryType::Returned => how == Return::Released,
        }
    }
}

impl Queue {
    /// A message that was unacknowledged comes back.
    pub(super) fn come_back(&mut self, logs: &mut Logs, entry: Entry, how: Return) {
        let Some(retry) = self.retry_mut() else {
            return self.requeue(entry);
        };
        let (count, fate) = retry.came_back(entry, how);
        if entry.log() == LogKind::Durable && fate == Fate::Ready {
            let attempt = Attempt { count, ready_ms: 0 };
            logs.durable.attempted(self.at.queue.in_lane(entry.lane.into()), entry.seq, attempt);
        }
        match fate {
            Fate::Ready => self.ready_again(entry),
            Fate::Waits => {}
            Fate::Dies => self.bury(logs, entry, DeathReason::DeliveryLimit),
        }
    }

    /// Lets messages be ready whose wait is over.
    pub(super) fn end_waits(&mut self, logs: &mut Logs, now_ms: u64) {
        let queue = self.at.queue;
        let Some(retry) = self.retry_mut() else { return };
        retry.begin_waits(now_ms, |entry, attempt| {
            if entry.log() == LogKind::Durable {
                logs.durable.attempted(queue.in_lane(entry.lane.into()), entry.seq, attempt);
            }
        });
        while let Some(entry) = self.retry_mut().and_then(|retry| retry.take_due(now_ms)) {
            self.ready_again(entry);
        }
    }

    /// When [`Self::end_waits`] has something to do.
    pub(super) fn wait_ends_ms(&self) -> Option<u64> {
        self.special.as_ref()?.retry.as_ref()?.due_ms()
    }

    /// The properties of a message that has come back before, with its count.
    pub(super) fn counted_properties(&self, entry: Entry, properties: &[u8]) -> Option<Vec<u8>> {
        let count = self.special.as_ref()?.retry.as_ref()?.count_of(entry)?;
        let mut counted = Vec::new();
        set_long(properties, DELIVERY_COUNT, count.into(), &mut counted);
        Some(counted)
    }

    /// Messages that came back and wait before they are ready again.
    #[must_use]
    pub fn delayed_count(&self) -> usize {
        self.special.as_ref().and_then(|special| special.retry.as_ref()).map_or(0, |retry| retry.waiting_len())
    }

    /// Drops what has come back and is not unacknowledged, and forgets what was counted of the messages in the lanes
    /// (`queue.purge`). Returns how many were dropped.
    pub(super) fn purge_returned(&mut self, logs: &mut Logs) -> u64 {
        let entries = self.retry_mut().map_or_else(Vec::new, Retry::take_all);
        for entry in &entries {
            self.ack(logs, *entry);
        }
        if let Some(retry) = self.special.as_mut().and_then(|special| special.retry.as_mut()) {
            let kept = self.unacked.entries_mut().map(|entry| (entry.lane, entry.seq.0)).collect();
            retry.keep(&kept);
        }
        entries.len() as u64
    }

    pub(super) fn retry_mut(&mut self) -> Option<&mut Retry> {
        self.special.as_mut()?.retry.as_deref_mut()
    }

    fn ready_again(&mut self, entry: Entry) {
        let Some(retry) = self.retry_mut().filter(|retry| retry.in_order_of_return) else {
            return self.requeue(entry);
        };
        retry.returned.push_back(entry.again());
        self.bytes.came(entry);
    }
}

//! What a queue that is not plain does beside delivering: it drops what is too much or too old, and hands out dead letters.
//!
//! All of it goes in slices, so that a million messages that expire at once do not stop the shard.

use broker_store::LogKind;

use super::backlog::Entry;
use super::logs::{Logs, Read};
use super::retry::Retry;
use super::settings::QueueSettings;
use super::special::{Dead, DeadToken, DeathReason};
use super::{Outlet, Pump, Queue};
use crate::ids::QueueRef;
use crate::model::message::Message;
use crate::model::properties::Properties;

/// Messages that a queue drops, or dead letters that it hands out, before it lets others go on.
const SLICE: usize = 512;

/// Dead messages that may wait for their letters to be handed out. Beyond it nothing expires and nothing is dropped.
const MAX_DEAD: usize = 4096;

/// How long a dead letter that was refused waits until it is tried again, in milliseconds.
const RETRY_DEAD_MS: u64 = 5_000;

/// A dead letter on its way out of its queue.
#[derive(Debug)]
pub struct DeadMessage<'a> {
    /// The queue in which it died.
    pub queue: QueueRef,
    /// For [`Queue::buried`].
    pub token: DeadToken,
    /// Why.
    pub reason: DeathReason,
    /// The message as it was in the queue.
    pub message: Message<'a>,
}

impl Queue {
    /// Takes over new settings. The queue is to be pumped.
    pub fn set_settings(&mut self, settings: Option<Box<QueueSettings>>) {
        if settings.is_none() && self.special.is_none() {
            return;
        }
        let special = self.special.get_or_insert_default();
        special.head_expiry = None;
        special.settings = settings.map(|settings| *settings).unwrap_or_default();
        if Retry::is_wanted(&special.settings) {
            special.retry.get_or_insert_default().set_settings(&special.settings);
        } else if let Some(retry) = &mut special.retry {
            // What waits still comes out of it.
            retry.set_settings(&special.settings);
        }
        self.may_expire |= special.settings.message_ttl_ms.is_some();
    }

    /// The settings, if it is not a plain queue.
    #[must_use]
    pub fn settings(&self) -> Option<&QueueSettings> {
        self.special.as_deref().map(|special| &special.settings)
    }

    /// True if the queue is to be pumped after whatever happens to it.
    #[must_use]
    pub fn is_special(&self) -> bool {
        self.special.is_some()
    }

    /// When the queue is to be pumped without any other reason, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        self.special.as_ref()?.due_ms
    }

    /// True if the queue was not used for as long as it may be (`x-expires`).
    #[must_use]
    pub fn is_expired(&self, now_ms: u64) -> bool {
        let Some(special) = &self.special else {
            return false;
        };
        match (special.settings.expires_ms, special.idle_since_ms) {
            (Some(expires), Some(since)) => self.consumers.is_empty() && now_ms >= since.saturating_add(expires),
            _ => false,
        }
    }

    /// Somebody uses the queue: the time until it expires begins anew with the next pump.
    pub fn touch(&mut self) {
        if let Some(special) = &mut self.special {
            special.idle_since_ms = None;
        }
    }

    /// True if the queue refuses a message with a body of `body` bytes (`x-overflow`).
    #[must_use]
    pub fn refuses(&self, body: usize) -> bool {
        self.special.as_ref().is_some_and(|special| special.refuses(self.ready(), body as u64))
    }

    /// The dead letter has arrived wherever it was to go, or has nowhere to go: the message leaves the queue.
    pub fn buried(&mut self, logs: &mut Logs, token: DeadToken) {
        let dead = self.special.as_mut().and_then(|special| special.leaving.try_remove(token.0 as usize));
        if let Some(Dead { entry, .. }) = dead {
            self.ack(logs, entry);
        }
    }

    /// The dead letter could not be delivered: it is handed out again after a while.
    pub fn not_buried(&mut self, token: DeadToken, now_ms: u64) {
        let Some(special) = &mut self.special else { return };
        if let Some(dead) = special.leaving.try_remove(token.0 as usize) {
            special.dead.push_front(dead);
            special.retry_dead_ms = now_ms + RETRY_DEAD_MS;
        }
    }

    /// A message that is neither ready nor unacknowledged (any more) has died.
    pub(super) fn bury(&mut self, logs: &mut Logs, entry: Entry, reason: DeathReason) {
        match &mut self.special {
            Some(special) if special.settings.dead_letter.is_some() => {
                special.dead.push_back(Dead { entry, reason });
            }
            _ => self.ack(logs, entry),
        }
    }

    /// When a message expires, in milliseconds since the Unix epoch.
    pub(super) fn expiry_ms(&self, message: &Message<'_>) -> Option<u64> {
        let of_queue = self.special.as_ref().and_then(|special| special.settings.message_ttl_ms);
        let of_message = Properties::parse(message.properties)
            .ok()
            .and_then(|properties| properties.expiration_ms().ok().flatten());
        let ttl = [of_queue, of_message].into_iter().flatten().min()?;
        Some(message.stamp.published_ms().saturating_add(ttl))
    }

    /// Drops what is too much or too old, hands out dead letters, and sees when it has to do so again. `pump` is how delivering went.
    pub(super) fn tend(&mut self, out: &mut impl Outlet, logs: &mut Logs, now_ms: u64, pump: Pump) -> Pump {
        self.due_at(None);
        let pump = pump.and(self.drop_overflow(logs));
        let pump = pump.and(self.drop_expired(logs, now_ms));
        let pump = pump.and(self.hand_out_dead(out, logs, now_ms));
        if let Some(ends_ms) = self.wait_ends_ms() {
            self.due_by(ends_ms);
        }
        let idle = self.consumers.is_empty();
        if let Some(special) = &mut self.special {
            special.idle_since_ms = if idle { Some(special.idle_since_ms.unwrap_or(now_ms)) } else { None };
            if let (Some(expires), Some(since)) = (special.settings.expires_ms, special.idle_since_ms) {
                self.due_by(since.saturating_add(expires));
            }
        }
        pump
    }

    fn due_at(&mut self, due_ms: Option<u64>) {
        if let Some(special) = &mut self.special {
            special.due_ms = due_ms;
        }
    }

    fn due_by(&mut self, due_ms: u64) {
        let earlier = self.due_ms().map_or(due_ms, |other| other.min(due_ms));
        self.due_at(Some(earlier));
    }

    fn may_bury(&self) -> bool {
        self.special.as_ref().is_none_or(|special| special.dead.len() < MAX_DEAD)
    }

    fn drop_overflow(&mut self, logs: &mut Logs) -> Pump {
        for _ in 0..SLICE {
            let ready = self.ready();
            if !self.special.as_ref().is_some_and(|special| special.overflows(ready)) {
                return Pump::Idle;
            }
            if !self.may_bury() {
                break;
            }
            let entry = match self.load_head(logs) {
                Ok(Some(entry)) => entry,
                Ok(None) => return Pump::Idle,
                Err(kind) => return Pump::PageIn(kind),
            };
            self.pop(entry);
            self.bury(logs, entry, DeathReason::Maxlen);
        }
        Pump::Again
    }

    /// Drops expired messages from the head of each lane, and notes when the next one expires.
    pub(super) fn drop_expired(&mut self, logs: &mut Logs, now_ms: u64) -> Pump {
        if !self.may_expire {
            return Pump::Idle;
        }
        if self.is_empty() {
            // What is not acknowledged may come back, and has its time still.
            let held = self.unacked_count() > 0;
            self.may_expire = held || self.settings().is_some_and(|settings| settings.message_ttl_ms.is_some());
            return Pump::Idle;
        }
        let mut slice = SLICE;
        while let Some(entry) = self.retry_mut().and_then(|retry| retry.head()) {
            let expiry = match logs.read(&entry) {
                Read::Message(message) => self.expiry_ms(&message),
                Read::Elsewhere => return page_in(logs, entry),
                Read::Lost => Some(0),
            };
            if expiry.is_none_or(|expiry| expiry > now_ms) {
                break;
            }
            if slice == 0 || !self.may_bury() {
                return Pump::Again;
            }
            slice -= 1;
            self.pop(entry);
            self.bury(logs, entry, DeathReason::Expired);
        }
        for at in 0..=self.special.as_ref().map_or(0, |special| special.lanes.len()) {
            loop {
                let entry = match self.lane_at(at).load_head(logs) {
                    Ok(Some(entry)) => entry,
                    Ok(None) => break,
                    Err(kind) => return Pump::PageIn(kind),
                };
                let head = (entry.lane, entry.seq.0);
                let seen = self.special.as_ref().and_then(|special| special.head_expiry);
                let lives = |expiry: Option<u64>| expiry.is_none_or(|expiry| expiry > now_ms);
                if let Some((_, expiry)) = seen.filter(|(seen, expiry)| *seen == head && lives(*expiry)) {
                    expiry.into_iter().for_each(|expiry| self.due_by(expiry));
                    break;
                }
                let expiry = match logs.read(&entry) {
                    Read::Message(message) => self.expiry_ms(&message),
                    Read::Elsewhere => return page_in(logs, entry),
                    Read::Lost => Some(0),
                };
                self.special.get_or_insert_default().head_expiry = Some((head, expiry));
                let Some(expiry) = expiry else { break };
                if expiry > now_ms {
                    self.due_by(expiry);
                    break;
                }
                if slice == 0 || !self.may_bury() {
                    return Pump::Again;
                }
                slice -= 1;
                self.pop(entry);
                self.bury(logs, entry, DeathReason::Expired);
            }
        }
        Pump::Idle
    }

    fn hand_out_dead(&mut self, out: &mut impl Outlet, logs: &mut Logs, now_ms: u64) -> Pump {
        let at = self.at;
        for _ in 0..SLICE {
            let Some(special) = &mut self.special else { break };
            let Some(&dead) = special.dead.front() else {
                return Pump::Idle;
            };
            if special.retry_dead_ms > now_ms {
                let retry = special.retry_dead_ms;
                self.due_by(retry);
                return Pump::Idle;
            }
            if !out.takes_dead() {
                break;
            }
            let Dead { entry, reason } = dead;
            match logs.read(&entry) {
                Read::Message(message) => {
                    special.dead.pop_front();
                    let key = special.leaving.insert(dead);
                    let token = DeadToken(u32::try_from(key).expect("fewer than 2^32 dead letters fit in memory"));
                    out.dead_letter(DeadMessage { queue: at, token, reason, message });
                }
                Read::Elsewhere => return page_in(logs, entry),
                Read::Lost => {
                    special.dead.pop_front();
                    self.ack(logs, entry);
                }
            }
        }
        Pump::Again
    }

    /// Ready messages, and the bytes of their bodies.
    fn ready(&self) -> (u64, u64) {
        (self.message_count(), self.bytes.ready())
    }
}

/// Asks for the record of an entry.
pub(super) fn page_in(logs: &mut Logs, entry: Entry) -> Pump {
    let kind: LogKind = entry.log();
    logs.of(kind).page_in(entry.position);
    Pump::PageIn(kind)
}

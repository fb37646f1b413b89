//! Dead letters on their way from one queue to others.
//!
//! A queue hands them out while it is pumped; they are published by the next [`Shard::turn`]. A message leaves its queue when its dead letter
//! is where it was to go, on disk if it is durable: so a crash may double it and never loses it. Without `at-least-once` a letter that nobody
//! takes is dropped, with it the message stays and is tried again.

use std::sync::Arc;

use super::Shard;
use super::internal::Origin;
use crate::ids::{QueueId, QueueRef};
use crate::model::dead_letter::DeadLetter;
use crate::model::message::{Message, Traits};
use crate::model::properties::Properties;
use crate::model::queue::settings::{DeadLetter as Destination, Overflow, QueueType};
use crate::model::queue::{DeadMessage, DeadToken, DeathReason};
use crate::session::Sessions;

/// Bytes of dead letters that may wait for the next turn.
const MAX_WAITING_BYTES: usize = 1024 * 1024;

/// A dead letter that waits for the next turn.
#[derive(Debug)]
struct Waiting {
    queue: QueueRef,
    /// Absent for a message that never was in the queue.
    token: Option<DeadToken>,
    reason: DeathReason,
    /// End of its message in the bytes; it begins where the one before ends.
    end: usize,
}

/// Dead letters that the queues of a shard have handed out.
#[derive(Debug, Default)]
pub(super) struct DeadLetters {
    /// Messages in their stored form, one after the other.
    bytes: Vec<u8>,
    waiting: Vec<Waiting>,
}

impl DeadLetters {
    /// True while there is room for more.
    pub(super) fn has_room(&self) -> bool {
        self.bytes.len() < MAX_WAITING_BYTES
    }

    /// True if there is nothing to publish.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes a letter.
    pub(super) fn push(&mut self, dead: DeadMessage<'_>) {
        let DeadMessage { queue, token, reason, message } = dead;
        self.add(queue, Some(token), reason, message);
    }

    /// Takes the letter of a message for which its queue had no room.
    pub(super) fn push_refused(&mut self, queue: QueueRef, message: Message<'_>) {
        self.add(queue, None, DeathReason::Maxlen, message);
    }

    fn add(&mut self, queue: QueueRef, token: Option<DeadToken>, reason: DeathReason, message: Message<'_>) {
        message.parts(&message.lengths()).iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.waiting.push(Waiting { queue, token, reason, end: self.bytes.len() });
    }
}

impl Shard {
    /// Publishes the dead letters that wait.
    pub(super) fn send_dead_letters(&mut self, sessions: &mut impl Sessions) {
        if self.dead_letters.is_empty() || self.internal.is_full() || self.congested() {
            return;
        }
        let mut letters = std::mem::take(&mut self.dead_letters);
        let mut start = 0;
        for letter in letters.waiting.drain(..) {
            if let Some(message) = Message::from_stored(&letters.bytes[start..letter.end]) {
                self.send_dead_letter(sessions, &letter, message);
            }
            start = letter.end;
        }
        // The room is used again, unless letters have come meanwhile.
        if self.dead_letters.is_empty() {
            letters.bytes.clear();
            self.dead_letters = letters;
        }
    }

    fn send_dead_letter(&mut self, sessions: &mut impl Sessions, waiting: &Waiting, message: Message<'_>) {
        let queue = waiting.queue.queue;
        let Some((vhost, name, destination)) = self.destination_of(queue) else {
            return self.dead_letter_done(queue, waiting.token, true);
        };
        let now_ms = self.now_ms;
        let letter = DeadLetter::new(message, &name, waiting.reason, now_ms);
        let rerouted = destination.routing_key.is_some();
        let keys: Vec<&str> = match &destination.routing_key {
            Some(key) => vec![key],
            None => letter.routing_keys.iter().map(String::as_str).collect(),
        };
        let properties = Properties::parse(&letter.properties).unwrap_or_default();
        let mut routed = self.route(&vhost, &destination.exchange, &keys, &properties).unwrap_or_default();
        if waiting.reason != DeathReason::Rejected {
            let mut targets = std::mem::take(&mut routed.targets).into_vec();
            targets
                .retain(|target| self.topology.queue(target.queue).is_some_and(|row| !letter.is_cycle(&row.name)));
            routed.targets = targets.into();
        }
        self.stats.count_death(waiting.reason);
        if routed.targets.is_empty() && routed.held_back.is_empty() {
            // At least once means that somebody gets it.
            return self.dead_letter_done(queue, waiting.token, !destination.at_least_once);
        }
        let message = Message {
            stamp: letter.stamp(message.stamp, now_ms, rerouted),
            exchange: &destination.exchange,
            routing_key: keys.first().copied().unwrap_or_default(),
            properties: &letter.properties,
            body: message.body,
        };
        let origin = match waiting.token {
            Some(token) => Origin::DeadLetter { queue, token, at_least_once: destination.at_least_once },
            None => Origin::Nothing,
        };
        self.publish_internally(sessions, &routed, message, Traits::of(&properties), origin);
    }

    /// Virtual host, name and dead-letter exchange of a queue; nothing if it is gone or has none.
    fn destination_of(&self, queue: QueueId) -> Option<(Arc<str>, Arc<str>, Destination)> {
        let row = self.topology.queue(queue)?;
        let settings = self.queues[*self.slots.get(&queue)? as usize].machine.settings()?;
        let mut destination = settings.dead_letter.clone()?;
        // RabbitMQ falls back to at-most-once otherwise.
        destination.at_least_once &= row.kind == QueueType::Quorum && settings.overflow == Overflow::RejectPublish;
        Some((Arc::clone(&row.vhost), Arc::clone(&row.name), destination))
    }

    /// A dead letter is where it was to go, or (`taken` false) is to be tried again.
    pub(super) fn dead_letter_done(&mut self, queue: QueueId, token: Option<DeadToken>, taken: bool) {
        let (Some(token), Some(&slot)) = (token, self.slots.get(&queue)) else {
            return;
        };
        let hosted = &mut self.queues[slot as usize];
        let partition = self.partitions.get_mut(&hosted.partition).expect("a hosted queue's partition is here");
        if taken {
            hosted.machine.buried(&mut partition.logs, token);
        } else {
            hosted.machine.not_buried(token, self.now_ms);
            self.arm(slot, self.now_ms);
        }
    }
}

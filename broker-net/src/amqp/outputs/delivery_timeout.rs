//! Deliveries that stay unacknowledged for too long close their channel (RabbitMQ's `consumer_timeout`).
//!
//! No delivery has a time of its own: from time to time a channel notes which delivery tag was its last. The oldest unacknowledged
//! delivery is older than the first note that has its tag. So a timeout is found a part of it late, and a delivery costs nothing.

use std::collections::VecDeque;

use broker_core::error::ChannelCode;
use broker_core::ids::ChannelKey;

use super::Outputs;
use super::channel::ChannelOutput;
use crate::amqp::codec::MethodId;

/// Notes that are taken while the shortest timeout passes.
const NOTES: u64 = 8;

/// Longest time between two looks at the channels, in milliseconds (RabbitMQ's).
const MAX_INTERVAL_MS: u64 = 60_000;

/// When the deliveries of a channel were made: at `time_ms` at the latest those up to `delivery_tag`.
#[derive(Clone, Copy, Debug)]
struct Note {
    time_ms: u64,
    delivery_tag: u64,
}

/// The notes of a channel, oldest first; only while something is unacknowledged.
#[derive(Debug, Default)]
pub(super) struct DeliveryTimes {
    notes: VecDeque<Note>,
}

impl DeliveryTimes {
    /// Takes a note and forgets what is known of deliveries before `oldest`. Returns when `oldest` was noted.
    fn note(&mut self, now_ms: u64, oldest: u64, last: u64) -> Option<u64> {
        while self.notes.front().is_some_and(|note| note.delivery_tag < oldest) {
            self.notes.pop_front();
        }
        if self.notes.back().is_none_or(|note| note.delivery_tag < last) {
            self.notes.push_back(Note { time_ms: now_ms, delivery_tag: last });
        }
        self.notes.front().map(|note| note.time_ms)
    }
}

/// When to look, and what for.
#[derive(Debug, Default)]
pub(super) struct DeliveryTimeouts {
    /// What holds for queues without a timeout of their own, in milliseconds.
    default_ms: Option<u64>,
    /// The shortest timeout there has been.
    shortest_ms: Option<u64>,
    next_ms: u64,
}

impl DeliveryTimeouts {
    /// There is a timeout of `timeout_ms`.
    pub(super) fn shorten(&mut self, timeout_ms: Option<u64>) {
        if let Some(timeout_ms) = timeout_ms {
            let shortest = self.shortest_ms.map_or(timeout_ms, |shortest| shortest.min(timeout_ms));
            self.shortest_ms = Some(shortest);
            self.next_ms = 0;
        }
    }
}

impl ChannelOutput {
    /// The timeout that the oldest unacknowledged delivery has exceeded.
    fn exceeded(&mut self, now_ms: u64, default_ms: Option<u64>) -> Option<u64> {
        let Some(oldest) = self.unacked.oldest() else {
            self.delivery_times = None;
            return None;
        };
        let last = self.delivered_count();
        let noted_ms = self.delivery_times.get_or_insert_default().note(now_ms, oldest.delivery_tag, last)?;
        let own = oldest.consumer().and_then(|consumer| self.consumer_mut(consumer)).and_then(|c| c.timeout_ms);
        let timeout_ms = own.or(default_ms)?;
        (noted_ms.saturating_add(timeout_ms) <= now_ms).then_some(timeout_ms)
    }
}

impl Outputs {
    /// Sets how long a delivery may stay unacknowledged, in milliseconds, unless its queue says otherwise; `None` is forever.
    pub fn set_consumer_timeout(&mut self, timeout_ms: Option<u64>) {
        self.timeouts.default_ms = timeout_ms;
        self.timeouts.shorten(timeout_ms);
    }

    /// Closes the channels with a delivery that is unacknowledged for too long. To be called from time to time.
    pub fn check_deliveries(&mut self, now_ms: u64) {
        let Some(shortest_ms) = self.timeouts.shortest_ms.filter(|_| now_ms >= self.timeouts.next_ms) else {
            return;
        };
        self.timeouts.next_ms = now_ms + (shortest_ms / NOTES).min(MAX_INTERVAL_MS);
        let default_ms = self.timeouts.default_ms;
        let exceeded: Vec<(ChannelKey, u64)> = self
            .channels
            .iter_mut()
            .filter_map(|(key, channel)| Some((key, channel.exceeded(now_ms, default_ms)?)))
            .collect();
        for (key, timeout_ms) in exceeded {
            let number = self.channels.get(key).map_or(0, |channel| channel.number.0);
            let error = ChannelCode::PreconditionFailed.error(format!(
                "delivery acknowledgement on channel {number} timed out. Timeout value used: {timeout_ms} ms. This \
                 timeout value can be configured, see consumers doc guide to learn more"
            ));
            self.fail_channel(key, MethodId::default(), &error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_as_old_as_the_first_note_that_has_it() {
        let mut times = DeliveryTimes::default();
        assert_eq!(times.note(100, 1, 5), Some(100));
        assert_eq!(times.note(200, 1, 5), Some(100));
        assert_eq!(times.note(300, 4, 9), Some(100));
        assert_eq!(times.note(400, 6, 9), Some(300));
        assert_eq!(times.note(500, 10, 12), Some(500));
        assert_eq!(times.notes.len(), 1);
    }
}

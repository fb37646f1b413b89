//! What a stream keeps: the arguments `x-max-length-bytes` and `x-max-age`.
//!
//! Messages go one by one from the old end, never the newest one. (RabbitMQ removes whole segments, so there more is kept.) Bytes
//! are those of the records in the log: exchange, routing key, properties, body and some 70 bytes each. A message goes by age at
//! the latest a 64th of `x-max-age`, at most a minute, after its time.

use broker_store::{Load, Log, QueueId, Seq};

use super::extents::{Excess, Extents};
use super::seek::{Seek, Time, time_of};

/// Longest that a message may be too old and still be there, in milliseconds.
const MAX_SLACK_MS: u64 = 60_000;

/// Limits of a stream and how far they are enforced.
#[derive(Debug, Default)]
pub struct Retention {
    max_bytes: Option<u64>,
    max_age_ms: Option<u64>,
    now_ms: u64,
    /// The oldest message and when it was published.
    oldest: Option<(Seq, u64)>,
    seek: Option<Seek>,
    /// Everything before this one is too old.
    expired: Option<Seq>,
}

impl Retention {
    /// New limits, in bytes and milliseconds; what was begun for the old ones is dropped.
    pub fn set(&mut self, max_bytes: Option<u64>, max_age_ms: Option<u64>) {
        *self = Self { max_bytes, max_age_ms, now_ms: self.now_ms, oldest: self.oldest, ..Self::default() };
    }

    /// True if messages go by age: the stream wants to be told the time.
    #[must_use]
    pub fn has_age(&self) -> bool {
        self.max_age_ms.is_some()
    }

    /// Time has come to `now_ms`.
    pub fn tick(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// Removes what is beyond the limits. `end` is the number behind the newest message.
    pub fn apply(&mut self, extents: &mut Extents, log: &mut Log, queue: QueueId, end: Seq) -> Load {
        if let Some(bytes) = self.max_bytes
            && extents.trim(log, queue, Excess::Bytes(bytes)) == Load::NeedsPageIn
        {
            return Load::NeedsPageIn;
        }
        match self.max_age_ms {
            Some(max_age_ms) => self.expire(max_age_ms, extents, log, queue, end),
            None => Load::Loaded,
        }
    }

    fn expire(&mut self, max_age_ms: u64, extents: &mut Extents, log: &mut Log, queue: QueueId, end: Seq) -> Load {
        let (None, None) = (self.seek, self.expired) else {
            return self.go_on(extents, log, queue);
        };
        let Some(first) = extents.first().filter(|_| extents.len() > 1) else {
            return Load::Loaded;
        };
        let oldest_ms = match self.oldest {
            Some((seq, time_ms)) if seq == first => time_ms,
            _ => match time_of(extents, log, queue, first) {
                Time::NeedsPageIn => return Load::NeedsPageIn,
                // One that cannot be read counts as old.
                Time::At(_, time_ms) => time_ms.unwrap_or(0),
                Time::Nothing => return Load::Loaded,
            },
        };
        self.oldest = Some((first, oldest_ms));
        let slack_ms = (max_age_ms / 64).min(MAX_SLACK_MS);
        if oldest_ms.saturating_add(max_age_ms).saturating_add(slack_ms) > self.now_ms {
            return Load::Loaded;
        }
        self.seek = Some(Seek::new(self.now_ms.saturating_sub(max_age_ms), first, end));
        self.go_on(extents, log, queue)
    }

    fn go_on(&mut self, extents: &mut Extents, log: &mut Log, queue: QueueId) -> Load {
        if let Some(seek) = &mut self.seek {
            let Some(found) = seek.advance(extents, log, queue) else {
                return Load::NeedsPageIn;
            };
            (self.seek, self.expired) = (None, Some(found));
        }
        if let Some(expired) = self.expired {
            if extents.trim(log, queue, Excess::Before(expired)) == Load::NeedsPageIn {
                return Load::NeedsPageIn;
            }
            self.expired = None;
        }
        Load::Loaded
    }
}

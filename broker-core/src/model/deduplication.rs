//! Message deduplication: an exchange or a queue that takes each message once.
//!
//! What a message is known by is the value of one of its headers. The newest values are remembered, at most
//! `x-cache-size` of them and each for `x-cache-ttl` milliseconds at most; of a value only a hash is kept (SHA-256, cut to
//! 128 bits). Values of persistent messages are also in the durable log, as small records under a lane of the exchange or
//! queue: written behind their message and synced with it, acked when they are forgotten. So what was taken before a
//! restart is known after it, whether it has been consumed or not.

use std::collections::VecDeque;

use amq_protocol::types::{AMQPValue, FieldTable};
use broker_store::{LogKind, Lsn, Position, QueueId, SegmentId, Seq};
use rustc_hash::FxHashMap;
use sha2::{Digest as _, Sha256};

use crate::error::{ChannelCode, ChannelError};
use crate::model::arguments::{integer, type_name};
use crate::model::headers::{HeaderValue, Headers};
use crate::model::properties::Properties;
use crate::model::queue::Logs;
use crate::model::vhost::Resource;

/// Argument: this exchange or queue takes each message once (LavinMQ; a plugin of RabbitMQ).
pub const X_MESSAGE_DEDUPLICATION: &str = "x-message-deduplication";
/// Argument: values that are remembered. Default [`DEFAULT_CACHE_SIZE`].
const X_CACHE_SIZE: &str = "x-cache-size";
/// Argument and header: milliseconds for which a value is remembered; the header counts before the argument.
const X_CACHE_TTL: &str = "x-cache-ttl";
/// Argument: name of the header to look at. It is also the header's name if the argument is absent.
const X_DEDUPLICATION_HEADER: &str = "x-deduplication-header";

/// Values that are remembered if the declare does not say.
const DEFAULT_CACHE_SIZE: usize = 128;

/// The most values that a declare may ask for. Each takes about 100 bytes of memory.
const MAX_CACHE_SIZE: i128 = 10_000_000;

/// The lane of an exchange or queue that has the records of its cache.
pub const LANE: u32 = QueueId::LANES_END - 1;

/// What a message is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key([u8; 16]);

/// A message that was taken before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It is on its way to its queues: the number is [`Cache::insert`]'s.
    Pending(u64),
    /// Its queues have it. It is on disk when the log has synced this.
    Taken(Lsn),
}

#[derive(Debug)]
struct Known {
    /// Orders the values by age.
    number: u64,
    expires_ms: u64,
    seen: Seen,
    record: Option<(Seq, Position)>,
}

/// The messages that one exchange or queue remembers.
#[derive(Debug)]
pub struct Cache {
    lane: QueueId,
    header: Box<str>,
    ttl_ms: Option<u64>,
    size: usize,
    next_number: u64,
    known: FxHashMap<Key, Known>,
    by_age: VecDeque<(u64, Key)>,
}

impl Cache {
    /// The cache of the exchange or queue `owner`, if it was declared with one. Arguments that [`check_arguments`]
    /// refuses count as absent.
    #[must_use]
    pub fn declared(owner: QueueId, arguments: &FieldTable) -> Option<Self> {
        if arguments.inner().get(X_MESSAGE_DEDUPLICATION) != Some(&AMQPValue::Boolean(true)) {
            return None;
        }
        Some(Self::new(owner, arguments))
    }

    /// The cache of the exchange or queue `owner`.
    #[must_use]
    pub fn new(owner: QueueId, arguments: &FieldTable) -> Self {
        let number = |name: &str| integer(arguments.inner().get(name)?);
        let header = arguments.inner().get(X_DEDUPLICATION_HEADER).and_then(AMQPValue::as_long_string);
        let size = number(X_CACHE_SIZE).and_then(|size| usize::try_from(size).ok()).unwrap_or(DEFAULT_CACHE_SIZE);
        Self {
            lane: owner.in_lane(LANE),
            header: match header {
                Some(name) => String::from_utf8_lossy(name.as_bytes()).into(),
                None => X_DEDUPLICATION_HEADER.into(),
            },
            ttl_ms: number(X_CACHE_TTL).and_then(|ttl| u64::try_from(ttl).ok()),
            size: size.max(1),
            next_number: 1,
            known: FxHashMap::default(),
            by_age: VecDeque::new(),
        }
    }

    /// Where its records are.
    #[must_use]
    pub fn lane(&self) -> QueueId {
        self.lane
    }

    /// The header whose value a message is known by.
    #[must_use]
    pub fn header(&self) -> &str {
        &self.header
    }

    /// Values remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// True if none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// What a message is known by, if it has the header, and when that is to be forgotten.
    #[must_use]
    pub fn key(&self, properties: &Properties<'_>, now_ms: u64) -> Option<(Key, u64)> {
        let headers = Headers::new(properties.headers?);
        let digest = headers.get(&self.header)?.with_key(|bytes| Sha256::digest(bytes));
        let key = digest.first_chunk().copied().map(Key)?;
        let ttl =
            headers.get(X_CACHE_TTL).and_then(HeaderValue::as_integer).and_then(|ttl| u64::try_from(ttl).ok());
        let expires_ms = ttl.or(self.ttl_ms).map_or(u64::MAX, |ttl| now_ms.saturating_add(ttl));
        Some((key, expires_ms))
    }

    /// Whether the message was taken before.
    #[must_use]
    pub fn seen(&self, key: Key, now_ms: u64) -> Option<Seen> {
        self.known.get(&key).filter(|known| known.expires_ms > now_ms).map(|known| known.seen)
    }

    /// Remembers a message that is on its way to its queues. What is forgotten for it leaves the log. Returns
    /// its number.
    pub fn insert(&mut self, logs: &mut Logs, key: Key, expires_ms: u64, now_ms: u64) -> u64 {
        self.remove(logs, key);
        while let Some(&(number, oldest)) = self.by_age.front() {
            let current = self.known.get(&oldest).filter(|known| known.number == number);
            let stays = current.is_some_and(|known| known.expires_ms > now_ms && self.known.len() < self.size);
            if stays {
                break;
            }
            if current.is_some() {
                self.remove(logs, oldest);
            }
            self.by_age.pop_front();
        }
        let number = self.next_number;
        self.next_number += 1;
        self.known.insert(key, Known { number, expires_ms, seen: Seen::Pending(number), record: None });
        self.by_age.push_back((number, key));
        if self.by_age.len() > 2 * self.size + 64 {
            // Values that were forgotten out of turn are still listed.
            let known = &self.known;
            self.by_age.retain(|(number, key)| known.get(key).is_some_and(|known| known.number == *number));
        }
        number
    }

    /// The queues have the message; `persistent` says that it is to be known after a restart.
    pub fn taken(&mut self, logs: &mut Logs, key: Key, number: u64, persistent: bool) {
        let Some(known) = self.known.get_mut(&key).filter(|known| known.number == number) else {
            return;
        };
        known.seen = Seen::Taken(Lsn(0));
        if !persistent {
            return;
        }
        let record = [&known.expires_ms.to_le_bytes()[..], &key.0];
        // Without room for the record the message is forgotten at a restart, and no worse.
        if let Ok(appended) = logs.durable.append(&[(self.lane, Seq(number))], &record) {
            known.record = Some((Seq(number), appended.position));
            known.seen = Seen::Taken(appended.lsn);
        }
    }

    /// Forgets a message: a queue has refused it.
    pub fn remove(&mut self, logs: &mut Logs, key: Key) {
        if let Some(Known { record: Some((seq, position)), .. }) = self.known.remove(&key) {
            logs.durable.ack(self.lane, seq, position);
        }
    }

    /// Takes in a record as it was recovered; they come in the order of `seq`.
    pub fn recovered(&mut self, seq: Seq, position: Position, record: &[u8]) {
        self.next_number = self.next_number.max(seq.0 + 1);
        let Some((expires_ms, key)) = record.split_first_chunk() else {
            return;
        };
        let Some(key) = key.first_chunk().copied().map(Key) else {
            return;
        };
        let expires_ms = u64::from_le_bytes(*expires_ms);
        let (seen, record) = (Seen::Taken(Lsn(0)), Some((seq, position)));
        self.known.insert(key, Known { number: seq.0, expires_ms, seen, record });
        self.by_age.push_back((seq.0, key));
    }

    /// Numbers go on behind what recovery found.
    pub fn continue_at(&mut self, next_seq: Seq) {
        self.next_number = self.next_number.max(next_seq.0);
    }

    /// Records of a rewritten segment have moved; `moved` ascends by number.
    pub fn relocate(&mut self, log: LogKind, segment: SegmentId, moved: &[broker_store::Entry]) {
        if log != LogKind::Durable {
            return;
        }
        for (seq, position) in self.known.values_mut().filter_map(|known| known.record.as_mut()) {
            if position.segment == segment
                && let Ok(at) = moved.binary_search_by_key(seq, |moved| moved.seq)
            {
                *position = moved[at].position;
            }
        }
    }

    /// The exchange or queue is gone: its records leave the log.
    pub fn drop_records(&mut self, logs: &mut Logs) {
        for (_, known) in self.known.drain() {
            if let Some((seq, position)) = known.record {
                logs.durable.ack(self.lane, seq, position);
            }
        }
        self.by_age.clear();
        logs.durable.drop_queue(self.lane);
    }
}

/// Checks the arguments of an exchange or queue that deduplicates: 406.
pub fn check_arguments(resource: Resource<'_>, arguments: &FieldTable) -> Result<(), ChannelError> {
    let get = |name: &str| arguments.inner().get(name);
    let refused = |name: &str, value: &AMQPValue| {
        let kind = type_name(value);
        Err(ChannelCode::PreconditionFailed.error(format!("invalid type '{kind}' for arg '{name}' in {resource}")))
    };
    match get(X_MESSAGE_DEDUPLICATION) {
        None | Some(AMQPValue::Boolean(_)) => {}
        Some(value) => return refused(X_MESSAGE_DEDUPLICATION, value),
    }
    match get(X_DEDUPLICATION_HEADER) {
        None | Some(AMQPValue::LongString(_)) => {}
        Some(value) => return refused(X_DEDUPLICATION_HEADER, value),
    }
    for (name, most) in [(X_CACHE_SIZE, MAX_CACHE_SIZE), (X_CACHE_TTL, i128::MAX)] {
        let Some(value) = get(name) else { continue };
        let Some(number) = integer(value) else {
            return refused(name, value);
        };
        if number < 1 || number > most {
            let text = format!("invalid arg '{name}' for {resource}: {number} is not a positive integer in range");
            return Err(ChannelCode::PreconditionFailed.error(text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! The newest messages of an exchange, kept for queues that are bound later (`x-recent-history`).
//!
//! They are records in the log of the exchange's partition, under a lane of its store's number; in memory is where they are. Persistent ones of a
//! durable exchange survive a restart.

use std::collections::VecDeque;

use amq_protocol::types::{AMQPValue, FieldTable};
use broker_store::{Entry, LogKind, Position, QueueId, SegmentId, Seq};

use crate::error::{ChannelCode, ChannelError};
use crate::model::arguments::ErlangTerm;
use crate::model::deduplication;
use crate::model::headers::Headers;
use crate::model::properties::Properties;
use crate::model::queue::Logs;

/// The argument that says how many messages are kept.
const LENGTH: &str = "x-recent-history-length";

/// The header of a message that is not to be kept.
const NO_STORE: &str = "x-recent-history-no-store";

/// How many are kept without the argument.
const USUAL_LENGTH: usize = 20;

/// How many can be kept: beyond it the argument is refused.
const MAX_LENGTH: i64 = 10_000;

/// The lane of a store that has the history of its exchange.
pub const LANE: u32 = deduplication::LANE - 1;

/// Checks the arguments of an exchange: 406 with RabbitMQ's text.
pub fn check_arguments(arguments: &FieldTable) -> Result<(), ChannelError> {
    let Some(value) = arguments.inner().get(LENGTH) else {
        return Ok(());
    };
    let text = match integer(value) {
        Some(1..=MAX_LENGTH) => return Ok(()),
        Some(length) if length > 0 => {
            format!("Invalid argument {length}, '{LENGTH}' must not be above {MAX_LENGTH}")
        }
        _ => format!("Invalid argument {}, '{LENGTH}' must be a positive integer", ErlangTerm(value)),
    };
    Err(ChannelCode::PreconditionFailed.error(text))
}

fn integer(value: &AMQPValue) -> Option<i64> {
    match value {
        AMQPValue::ShortShortInt(number) => Some((*number).into()),
        AMQPValue::ShortShortUInt(number) => Some((*number).into()),
        AMQPValue::ShortInt(number) => Some((*number).into()),
        AMQPValue::ShortUInt(number) => Some((*number).into()),
        AMQPValue::LongInt(number) => Some((*number).into()),
        AMQPValue::LongUInt(number) => Some((*number).into()),
        AMQPValue::LongLongInt(number) => Some(*number),
        _ => None,
    }
}

/// True if a message is to be kept.
#[must_use]
pub fn is_kept(properties: &Properties<'_>) -> bool {
    let header = properties.headers.and_then(|headers| Headers::new(headers).get(NO_STORE));
    header.and_then(|value| value.as_bool()) != Some(true)
}

/// Where a message is that was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its number.
    pub seq: Seq,
    /// Its record.
    pub position: Position,
    /// The log that has the record.
    pub log: LogKind,
}

/// The newest messages of one exchange.
#[derive(Debug)]
pub struct History {
    lane: QueueId,
    length: usize,
    next_seq: u64,
    /// Ascending by number.
    kept: VecDeque<Kept>,
}

impl History {
    /// An empty history, of the exchange with this store.
    #[must_use]
    pub fn new(store: QueueId, arguments: &FieldTable) -> Self {
        let length = arguments.inner().get(LENGTH).and_then(integer);
        let length = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(USUAL_LENGTH);
        Self { lane: store.in_lane(LANE), length, next_seq: 1, kept: VecDeque::new() }
    }

    /// What recovery found of it in the durable log.
    pub fn recovered(&mut self, next_seq: Seq, entries: &[Entry]) {
        self.next_seq = self.next_seq.max(next_seq.0);
        self.kept.extend(entries.iter().map(|entry| Kept {
            seq: entry.seq,
            position: entry.position,
            log: LogKind::Durable,
        }));
    }

    /// Lane and number for a message; to be given to the log with the record that is then [`push`](Self::push)ed.
    pub fn take_seq(&mut self) -> (QueueId, Seq) {
        let seq = Seq(self.next_seq);
        self.next_seq += 1;
        (self.lane, seq)
    }

    /// Keeps a message, and gives up the oldest if there are too many.
    pub fn push(&mut self, logs: &mut Logs, kept: Kept) {
        self.kept.push_back(kept);
        while self.kept.len() > self.length {
            let Some(oldest) = self.kept.pop_front() else { return };
            logs.of(oldest.log).ack(self.lane, oldest.seq, oldest.position);
        }
    }

    /// The first message from a number on.
    #[must_use]
    pub fn first_from(&self, seq: Seq) -> Option<Kept> {
        let at = self.kept.partition_point(|kept| kept.seq < seq);
        self.kept.get(at).copied()
    }

    /// The number of the newest message.
    #[must_use]
    pub fn newest(&self) -> Option<Seq> {
        self.kept.back().map(|kept| kept.seq)
    }

    /// Records of a rewritten segment have moved; `moved` has every live message of the history in it, ascending.
    pub fn relocate(&mut self, log: LogKind, segment: SegmentId, moved: &[Entry]) {
        for kept in self.kept.iter_mut().filter(|kept| kept.log == log && kept.position.segment == segment) {
            if let Ok(at) = moved.binary_search_by_key(&kept.seq, |moved| moved.seq) {
                kept.position = moved[at].position;
            }
        }
    }

    /// The exchange is gone: so is its history.
    pub fn drop_messages(&mut self, logs: &mut Logs) {
        for kept in self.kept.drain(..) {
            logs.of(kept.log).ack(self.lane, kept.seq, kept.position);
        }
        logs.durable.drop_queue(self.lane);
    }
}

//! What administrators do with messages that are held back: look at them, and have them forgotten.

use std::fmt;
use std::str::FromStr;

use broker_store::{Load, LogKind, QueueId, Seq};

use super::{Delays, Waiting, due_of};
use crate::model::message::Message;
use crate::model::queue::{Logs, Read};

/// Names a message that is held back, in the store of its exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldId {
    /// When it is due, in milliseconds since the Unix epoch.
    pub due_ms: u64,
    /// Its lane.
    pub lane: u32,
    /// Its number in the store.
    pub seq: u64,
}

/// A place in a listing: behind this message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Among the messages whose time is near, by the time at which they are due.
    Open {
        /// When the message is due.
        due_ms: u64,
        /// Its number.
        seq: u64,
    },
    /// Among those that are farther away, by the span of time that they are in.
    Closed {
        /// When the span begins.
        begin_ms: u64,
        /// Its lane.
        lane: u32,
        /// The message's number.
        seq: u64,
    },
}

/// A message in a listing.
#[derive(Debug)]
pub struct Held<'a> {
    /// Names it.
    pub id: HeldId,
    /// It survives a restart.
    pub durable: bool,
    /// Its bytes.
    pub message: Message<'a>,
}

impl fmt::Display for HeldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.due_ms, self.lane, self.seq)
    }
}

impl FromStr for HeldId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let [due_ms, lane, seq] = numbers(text)?;
        Ok(Self { due_ms, lane: u32::try_from(lane).map_err(drop)?, seq })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { due_ms, seq } => write!(f, "{due_ms}-{seq}"),
            Self::Closed { begin_ms, lane, seq } => write!(f, "{begin_ms}-{lane}-{seq}"),
        }
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if let Ok([due_ms, seq]) = numbers(text) {
            return Ok(Self::Open { due_ms, seq });
        }
        let [begin_ms, lane, seq] = numbers(text)?;
        Ok(Self::Closed { begin_ms, lane: u32::try_from(lane).map_err(drop)?, seq })
    }
}

fn numbers<const N: usize>(text: &str) -> Result<[u64; N], ()> {
    let numbers: Result<Vec<u64>, _> = text.split('-').map(str::parse).collect();
    numbers.map_err(drop)?.try_into().map_err(drop)
}

impl Delays {
    /// Shows at most `max` messages behind `after`, which follows. Returns how many were shown: fewer than `max` are all that there are. The
    /// error names the log that must page something in before the call is repeated; what was shown was shown.
    pub fn browse(
        &self,
        logs: &mut Logs,
        after: &mut Option<Place>,
        max: usize,
        mut show: impl FnMut(Held<'_>),
    ) -> Result<usize, LogKind> {
        let mut shown = 0;
        if !matches!(after, Some(Place::Closed { .. })) {
            let from = match *after {
                Some(Place::Open { due_ms, seq }) => (due_ms, Seq(seq + 1)),
                _ => (0, Seq(0)),
            };
            for (&(due_ms, seq), waiting) in self.open.range(from..).take(max) {
                shown += 1;
                show_one(logs, waiting, Some(due_ms), 0, &mut show)?;
                *after = Some(Place::Open { due_ms, seq: seq.0 });
            }
        }
        let (begin, lane, mut seq) = match *after {
            Some(Place::Closed { begin_ms, lane, seq }) => (begin_ms, lane, seq + 1),
            _ => (0, 0, 0),
        };
        for &(begin_ms, number) in self.order.range((begin, lane)..).map(|(key, ())| key) {
            if shown >= max {
                break;
            }
            let from = if (begin_ms, number) == (begin, lane) { seq } else { 0 };
            for waiting in self.lane_page(logs, number, Seq(from), max - shown)? {
                shown += 1;
                show_one(logs, &waiting, None, begin_ms, &mut show)?;
                seq = waiting.seq.0;
                *after = Some(Place::Closed { begin_ms, lane: number, seq });
            }
        }
        Ok(shown)
    }

    /// The first messages of a closed lane from a number on, ascending.
    fn lane_page(&self, logs: &mut Logs, number: u32, from: Seq, max: usize) -> Result<Vec<Waiting>, LogKind> {
        let Some(lane) = self.closed.get(&number) else {
            return Ok(Vec::new());
        };
        let queue = self.store.in_lane(number);
        let entries = lane.entries.iter().filter(|(_, seq, _)| *seq >= from);
        let mut found: Vec<Waiting> =
            entries.map(|&(log, seq, position)| Waiting { lane: queue, seq, position, log }).collect();
        let mut runs: Vec<_> = lane.runs.iter().filter(|(_, run)| run.last >= from).collect();
        runs.sort_unstable_by_key(|(_, run)| run.first);
        for (log, run) in runs {
            first_of(&mut found, max);
            if found.len() >= max && found.last().is_some_and(|last| last.seq < run.first) {
                break;
            }
            let mut loaded = Vec::new();
            if logs.of(*log).load(queue, run, from.max(run.first), max, &mut loaded) == Load::NeedsPageIn {
                return Err(*log);
            }
            found.extend(loaded.iter().map(|entry| Waiting {
                lane: queue,
                seq: entry.seq,
                position: entry.position,
                log: *log,
            }));
        }
        first_of(&mut found, max);
        Ok(found)
    }

    /// Forgets a message. False if it is not held back (any more); the error names the log that must page something in before the call is
    /// repeated.
    pub fn cancel(&mut self, logs: &mut Logs, id: HeldId) -> Result<bool, LogKind> {
        let (queue, seq) = (self.store.in_lane(id.lane), Seq(id.seq));
        if let Some(waiting) = self.open.get(&(id.due_ms, seq)).filter(|waiting| waiting.lane == queue) {
            logs.of(waiting.log).ack(waiting.lane, seq, waiting.position);
            self.open.remove(&(id.due_ms, seq));
            self.count = self.count.saturating_sub(1);
            return Ok(true);
        }
        let cancelled = self.cancel_closed(logs, queue, seq)?;
        self.count = self.count.saturating_sub(u64::from(cancelled));
        Ok(cancelled)
    }

    fn cancel_closed(&mut self, logs: &mut Logs, queue: QueueId, seq: Seq) -> Result<bool, LogKind> {
        let Some(lane) = self.closed.get_mut(&queue.lane()) else {
            return Ok(false);
        };
        if let Some(at) = lane.entries.iter().position(|(_, other, _)| *other == seq) {
            let (log, seq, position) = lane.entries.remove(at);
            logs.of(log).ack(queue, seq, position);
            return Ok(true);
        }
        for at in 0..lane.runs.len() {
            let (log, run) = &mut lane.runs[at];
            if !(run.first..=run.last).contains(&seq) {
                continue;
            }
            let mut found = Vec::new();
            if logs.of(*log).load(queue, run, seq, 1, &mut found) == Load::NeedsPageIn {
                return Err(*log);
            }
            let Some(entry) = found.first().filter(|entry| entry.seq == seq) else {
                continue;
            };
            // The log does not load it any more; the run says how many there are.
            logs.of(*log).ack(queue, seq, entry.position);
            run.count = run.count.saturating_sub(1);
            run.bytes = run.bytes.saturating_sub(u64::from(entry.position.length));
            if run.count == 0 {
                lane.runs.remove(at);
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Forgets everything but what is on its way to its queues. Returns how many messages that were.
    pub fn cancel_all(&mut self, logs: &mut Logs) -> u64 {
        let count = std::mem::take(&mut self.count);
        for waiting in std::mem::take(&mut self.open).into_values() {
            logs.of(waiting.log).ack(waiting.lane, waiting.seq, waiting.position);
        }
        for (number, lane) in std::mem::take(&mut self.closed) {
            let queue = self.store.in_lane(number);
            for (log, seq, position) in lane.entries {
                logs.of(log).ack(queue, seq, position);
            }
            for (log, run) in lane.runs {
                logs.of(log).discard(queue, &run);
            }
        }
        self.order.clear();
        count
    }
}

/// The `max` oldest, in order.
fn first_of(found: &mut Vec<Waiting>, max: usize) {
    found.sort_unstable_by_key(|waiting| waiting.seq);
    found.truncate(max);
}

/// Shows a message; one that is damaged is passed over.
fn show_one(
    logs: &mut Logs,
    waiting: &Waiting,
    due_ms: Option<u64>,
    begin_ms: u64,
    show: &mut impl FnMut(Held<'_>),
) -> Result<(), LogKind> {
    match logs.read_at(waiting.log, waiting.position) {
        Read::Message(message) => {
            let due_ms = due_ms.unwrap_or_else(|| due_of(&message, begin_ms));
            let id = HeldId { due_ms, lane: waiting.lane.lane(), seq: waiting.seq.0 };
            show(Held { id, durable: waiting.log == LogKind::Durable, message });
        }
        Read::Elsewhere => {
            logs.of(waiting.log).page_in(waiting.position);
            return Err(waiting.log);
        }
        Read::Lost => {}
    }
    Ok(())
}

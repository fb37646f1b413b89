//! Messages that an exchange holds back until they are due (`x-delayed-message`).
//!
//! A [`Delays`] is the store of one exchange. Its messages are records in the log of the exchange's partition, under
//! *lanes* of the store's number: a lane is a span of time, narrow for what is due soon, wide for what is far away, and
//! its number says which span, so recovery gives every message back in its span. Of a message in a sealed segment nothing
//! is in memory, only the run that it is part of. When the time of a lane comes, its entries are loaded, the
//! records say when exactly each is due, and they are released in that order; messages due at the same millisecond in
//! the order in which they came.
//!
//! Memory: a few words per lane and run, and [`Waiting`] for each message of the lanes whose time has come. There are
//! at most `SPANS_AHEAD` lanes of each of the four widths.

mod administer;

use std::collections::BTreeMap;

use broker_store::{Load, LogKind, Position, QueueId, Run, SegmentId, Seq};

use crate::model::headers::{HeaderValue, Headers, rewritten};
use crate::model::message::Message;
use crate::model::properties::{MAX_EXPIRATION_MS, Properties};
use crate::model::queue::{Logs, Pump, Read};

pub use self::administer::{Held, HeldId, Place};

/// Header: milliseconds to hold the message back, an integer or its digits. Longer than ten years is ten years.
pub const X_DELAY: &str = "x-delay";

/// Header: the time at which the message is due. An integer is milliseconds since the Unix epoch, a timestamp seconds. It
/// counts only if there is no [`X_DELAY`].
pub const X_DELIVERY_TIME: &str = "x-delivery-time";

/// Widths of the spans, as powers of two of milliseconds: about 1 s, 1 minute, 1 hour and 3 days.
const WIDTHS: [u32; 4] = [10, 16, 22, 28];

/// A message goes to the narrowest span of which fewer than this many lie between now and its time.
const SPANS_AHEAD: u64 = 4096;

/// Bits of a lane's number that count spans; the two above them choose the width.
const SPAN_BITS: u32 = 22;

/// Lanes are opened this long before their time, so that what is in them can be paged in.
const OPEN_AHEAD_MS: u64 = 500;

/// Entries that are loaded from a run at a time.
const LOAD_ENTRIES: usize = 2048;

/// Shorter sequences of entries are not worth a run.
const MIN_RUN_ENTRIES: usize = 4;

/// When a message is due, in milliseconds since the Unix epoch, if it is to be held back at all.
#[must_use]
pub fn due_at(properties: &Properties<'_>, published_ms: u64) -> Option<u64> {
    let headers = Headers::new(properties.headers?);
    if let Some(delay) = headers.get(X_DELAY) {
        let delay = u64::try_from(number(delay)?).ok().filter(|delay| *delay > 0)?;
        return Some(published_ms.saturating_add(delay.min(MAX_EXPIRATION_MS)));
    }
    let time = headers.get(X_DELIVERY_TIME)?;
    let unit = if time.type_name() == "timestamp" { 1000 } else { 1 };
    let due = u64::try_from(number(time)?).ok()?.saturating_mul(unit);
    (due > published_ms).then(|| due.min(published_ms.saturating_add(MAX_EXPIRATION_MS)))
}

/// When a stored message is due; `otherwise` if it does not say so.
fn due_of(message: &Message<'_>, otherwise: u64) -> u64 {
    Properties::parse(message.properties)
        .ok()
        .and_then(|properties| due_at(&properties, message.stamp.published_ms()))
        .unwrap_or(otherwise)
}

fn number(value: HeaderValue<'_>) -> Option<i128> {
    value.as_integer().or_else(|| std::str::from_utf8(value.as_bytes()?).ok()?.parse().ok())
}

/// The properties of a message that was held back: [`X_DELAY`] is negative, which says so and keeps another exchange from
/// holding it back again.
#[must_use]
pub fn released(message: &Message<'_>) -> Option<Vec<u8>> {
    let encoded = Properties::parse(message.properties).ok()?.headers?;
    Some(rewritten(message.properties, encoded, |name, value, entry, out| {
        match number(value).filter(|_| name == X_DELAY.as_bytes()) {
            Some(delay) => {
                out.extend_from_slice(&entry[..=name.len()]);
                let delay = i64::try_from(-delay.abs()).unwrap_or(i64::MIN);
                match i32::try_from(delay) {
                    Ok(delay) => {
                        out.push(b'I');
                        out.extend_from_slice(&delay.to_be_bytes());
                    }
                    Err(_) => {
                        out.push(b'l');
                        out.extend_from_slice(&delay.to_be_bytes());
                    }
                }
            }
            None => out.extend_from_slice(entry),
        }
    }))
}

/// The lane for a message that is due at `due_ms`.
fn lane_for(due_ms: u64, now_ms: u64) -> u32 {
    let ahead = due_ms.saturating_sub(now_ms);
    let width = (0..3).find(|at| ahead >> WIDTHS[*at] < SPANS_AHEAD).unwrap_or(3);
    let span = (due_ms >> WIDTHS[width]) & ((1 << SPAN_BITS) - 1);
    let [.., b2, b1, b0] = span.to_be_bytes();
    let width = u32::try_from(width).expect("one of four");
    (width << SPAN_BITS) | u32::from_be_bytes([0, b2, b1, b0])
}

/// The time at which a lane begins. Numbers of spans come again, the narrowest after seven weeks: a lane lies in
/// the last of its spans that a message could be published for by now.
fn begin_of(lane: u32, now_ms: u64) -> u64 {
    let width = WIDTHS[(lane >> SPAN_BITS) as usize & 3];
    let span = u64::from(lane & ((1 << SPAN_BITS) - 1));
    let last = (now_ms >> width) + SPANS_AHEAD;
    let back = last.wrapping_sub(span) & ((1 << SPAN_BITS) - 1);
    last.saturating_sub(back) << width
}

/// Where a message is that waits for its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The lane that it is a message of.
    pub lane: QueueId,
    /// Its number there.
    pub seq: Seq,
    /// Its record.
    pub position: Position,
    /// The log that has the record.
    pub log: LogKind,
}

/// A lane whose time has not come: its messages, in no order that matters.
#[derive(Debug, Default)]
struct Lane {
    begin_ms: u64,
    entries: Vec<(LogKind, Seq, Position)>,
    runs: Vec<(LogKind, Run)>,
}

/// The messages that one exchange holds back.
#[derive(Debug)]
pub struct Delays {
    store: QueueId,
    /// Numbers ascend over all lanes.
    next_seq: u64,
    closed: BTreeMap<u32, Lane>,
    /// Lanes by the time at which they begin.
    order: BTreeMap<(u64, u32), ()>,
    /// The messages of the open lanes, by the time at which they are due.
    open: BTreeMap<(u64, Seq), Waiting>,
    /// Messages that are on their way to their queues.
    released: BTreeMap<Seq, Waiting>,
    count: u64,
}

impl Delays {
    /// An empty store. `store` is its number in the log.
    #[must_use]
    pub fn new(store: QueueId) -> Self {
        Self {
            store,
            next_seq: 1,
            closed: BTreeMap::new(),
            order: BTreeMap::new(),
            open: BTreeMap::new(),
            released: BTreeMap::new(),
            count: 0,
        }
    }

    /// Its number in the log.
    #[must_use]
    pub fn store(&self) -> QueueId {
        self.store
    }

    /// Messages held back.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.count
    }

    /// True if none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes in a lane as it was recovered from the durable log.
    pub fn recovered(&mut self, lane: QueueId, next_seq: Seq, runs: Vec<Run>, now_ms: u64) {
        self.next_seq = self.next_seq.max(next_seq.0);
        if runs.is_empty() {
            return;
        }
        self.count += runs.iter().map(|run| u64::from(run.count)).sum::<u64>();
        let runs = runs.into_iter().map(|run| (LogKind::Durable, run));
        self.lane(lane.lane(), now_ms).runs.extend(runs);
    }

    /// Lane and number for a message; to be given to the log with the record that is then [`push`](Self::push)ed.
    pub fn take_seq(&mut self, due_ms: u64, now_ms: u64) -> (QueueId, Seq) {
        let seq = Seq(self.next_seq);
        self.next_seq += 1;
        (self.store.in_lane(lane_for(due_ms, now_ms)), seq)
    }

    /// Takes in a message whose record is in the log.
    pub fn push(&mut self, due_ms: u64, now_ms: u64, waiting: Waiting) {
        self.count += 1;
        let number = waiting.lane.lane();
        if begin_of(number, now_ms) <= now_ms.saturating_add(OPEN_AHEAD_MS) {
            self.open.insert((due_ms, waiting.seq), waiting);
        } else {
            self.lane(number, now_ms).entries.push((waiting.log, waiting.seq, waiting.position));
        }
    }

    /// When there is something to do next, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn next_wake_ms(&self) -> Option<u64> {
        let due = self.open.first_key_value().map(|((due, _), _)| *due);
        let begin = self.order.first_key_value().map(|((begin, _), ())| begin.saturating_sub(OPEN_AHEAD_MS));
        due.into_iter().chain(begin).min()
    }

    /// Opens the lanes whose time has come: finds out when each of their messages is due.
    pub fn open(&mut self, logs: &mut Logs, now_ms: u64) -> Pump {
        while let Some(((begin_ms, number), ())) = self.order.first_key_value() {
            if *begin_ms > now_ms.saturating_add(OPEN_AHEAD_MS) {
                break;
            }
            let number = *number;
            if let Err(kind) = self.open_lane(logs, number) {
                return Pump::PageIn(kind);
            }
            if let Some(lane) = self.closed.remove(&number) {
                self.order.remove(&(lane.begin_ms, number));
            }
        }
        Pump::Idle
    }

    /// The message that is due next, if it is due.
    #[must_use]
    pub fn due(&self, now_ms: u64) -> Option<Waiting> {
        let ((due, _), waiting) = self.open.first_key_value()?;
        (*due <= now_ms).then_some(*waiting)
    }

    /// The message that [`due`](Self::due) returned is on its way: [`arrived`](Self::arrived) or
    /// [`put_back`](Self::put_back) follows.
    pub fn release(&mut self) {
        if let Some((_, waiting)) = self.open.pop_first() {
            self.count = self.count.saturating_sub(1);
            self.released.insert(waiting.seq, waiting);
        }
    }

    /// A released message has reached its queues.
    pub fn arrived(&mut self, logs: &mut Logs, seq: Seq) {
        if let Some(waiting) = self.released.remove(&seq) {
            logs.of(waiting.log).ack(waiting.lane, seq, waiting.position);
        }
    }

    /// A released message was refused: it is due again at `due_ms`.
    pub fn put_back(&mut self, seq: Seq, due_ms: u64) {
        if let Some(waiting) = self.released.remove(&seq) {
            self.count += 1;
            self.open.insert((due_ms, seq), waiting);
        }
    }

    /// A segment of a log is sealed: what is in it need not be in memory.
    pub fn segment_sealed(&mut self, log: LogKind, segment: SegmentId) {
        for lane in self.closed.values_mut() {
            lane.collapse(log, segment);
        }
    }

    /// Records of a rewritten segment have moved; `moved` has every live message of the lane in it, ascending.
    pub fn relocate(&mut self, lane: QueueId, log: LogKind, segment: SegmentId, moved: &[broker_store::Entry]) {
        let found =
            |seq: Seq| moved.binary_search_by_key(&seq, |moved| moved.seq).ok().map(|at| moved[at].position);
        for waiting in self.open.values_mut().chain(self.released.values_mut()) {
            if waiting.lane == lane && waiting.log == log && waiting.position.segment == segment {
                waiting.position = found(waiting.seq).unwrap_or(waiting.position);
            }
        }
        let Some(lane) = self.closed.get_mut(&lane.lane()) else {
            return;
        };
        for (kind, seq, position) in &mut lane.entries {
            if *kind == log && position.segment == segment {
                *position = found(*seq).unwrap_or(*position);
            }
        }
        let mut missing = 0;
        let entries = &mut lane.entries;
        lane.runs.retain(|(kind, run)| {
            if *kind != log || run.segment != segment {
                return true;
            }
            let of_run = moved.iter().filter(|moved| run.first <= moved.seq && moved.seq <= run.last);
            let before = entries.len();
            entries.extend(of_run.map(|moved| (log, moved.seq, moved.position)));
            // A run counts what is live in it; should the log disagree, the log is right.
            missing += u64::from(run.count).saturating_sub((entries.len() - before) as u64);
            false
        });
        self.count = self.count.saturating_sub(missing);
    }

    /// The exchange is gone: so are its messages.
    pub fn drop_messages(&mut self, logs: &mut Logs) {
        let mut lanes = Vec::new();
        let open = std::mem::take(&mut self.open).into_values();
        for waiting in open.chain(std::mem::take(&mut self.released).into_values()) {
            logs.of(waiting.log).ack(waiting.lane, waiting.seq, waiting.position);
            lanes.push(waiting.lane);
        }
        for (number, lane) in std::mem::take(&mut self.closed) {
            let queue = self.store.in_lane(number);
            for (log, seq, position) in lane.entries {
                logs.of(log).ack(queue, seq, position);
            }
            for (log, run) in lane.runs {
                logs.of(log).discard(queue, &run);
            }
            lanes.push(queue);
        }
        lanes.sort_unstable();
        lanes.dedup();
        lanes.into_iter().for_each(|lane| logs.durable.drop_queue(lane));
        self.order.clear();
        self.count = 0;
    }

    fn lane(&mut self, number: u32, now_ms: u64) -> &mut Lane {
        let order = &mut self.order;
        self.closed.entry(number).or_insert_with(|| {
            let begin_ms = begin_of(number, now_ms);
            order.insert((begin_ms, number), ());
            Lane { begin_ms, ..Lane::default() }
        })
    }

    /// Moves every message of a lane to the open ones; the error names the log that must page something in first.
    fn open_lane(&mut self, logs: &mut Logs, number: u32) -> Result<(), LogKind> {
        let queue = self.store.in_lane(number);
        let Some(lane) = self.closed.get_mut(&number) else {
            return Ok(());
        };
        loop {
            while let Some(&(log, seq, position)) = lane.entries.last() {
                let waiting = Waiting { lane: queue, seq, position, log };
                match logs.read_at(log, position) {
                    Read::Message(message) => {
                        let due = due_of(&message, lane.begin_ms);
                        self.open.insert((due, seq), waiting);
                    }
                    Read::Elsewhere => {
                        logs.of(log).page_in(position);
                        return Err(log);
                    }
                    Read::Lost => {
                        logs.of(log).ack(queue, seq, position);
                        self.count = self.count.saturating_sub(1);
                    }
                }
                lane.entries.pop();
            }
            lane.entries = Vec::new();
            let Some((log, run)) = lane.runs.last_mut() else {
                return Ok(());
            };
            let mut found = Vec::new();
            if logs.of(*log).load(queue, run, run.first, LOAD_ENTRIES, &mut found) == Load::NeedsPageIn {
                return Err(*log);
            }
            // The first of them is read first, and pages in what follows it.
            let log = *log;
            lane.entries.extend(found.iter().rev().map(|entry| (log, entry.seq, entry.position)));
            self.count = self.count.saturating_sub(lane.take_loaded(&found));
        }
    }
}

impl Lane {
    /// Takes what was found of the last run out of it. Returns how many messages fewer it had than it counted.
    fn take_loaded(&mut self, found: &[broker_store::Entry]) -> u64 {
        let Some((_, run)) = self.runs.last_mut() else {
            return 0;
        };
        let taken = u32::try_from(found.len()).unwrap_or(u32::MAX);
        match found.last() {
            Some(last) if found.len() == LOAD_ENTRIES && last.seq < run.last => {
                let bytes: u64 = found.iter().map(|entry| u64::from(entry.position.length)).sum();
                run.first = Seq(last.seq.0 + 1);
                run.count = run.count.saturating_sub(taken);
                run.bytes = run.bytes.saturating_sub(bytes);
                0
            }
            _ => {
                let missing = run.count.saturating_sub(taken);
                self.runs.pop();
                u64::from(missing)
            }
        }
    }

    /// Entries of a sealed segment become a run. After a segment was rewritten its numbers may enclose those of another
    /// run; that would matter only if one of the two were discarded alone.
    fn collapse(&mut self, log: LogKind, segment: SegmentId) {
        let in_it = |(kind, _, position): &(LogKind, Seq, Position)| *kind == log && position.segment == segment;
        let count = self.entries.iter().filter(|entry| in_it(entry)).count();
        if count < MIN_RUN_ENTRIES {
            return;
        }
        let mut run = Run { segment, first: Seq(u64::MAX), last: Seq(0), count: 0, bytes: 0 };
        self.entries.retain(|entry| {
            if !in_it(entry) {
                return true;
            }
            let (_, seq, position) = entry;
            run.first = run.first.min(*seq);
            run.last = run.last.max(*seq);
            run.count += 1;
            run.bytes += u64::from(position.length);
            false
        });
        self.entries.shrink_to_fit();
        self.runs.push((log, run));
    }
}

#[cfg(test)]
mod tests;

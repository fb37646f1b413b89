//! A lane of a queue: ready messages in the order in which they came. Most queues have one; one with priorities has one for each
//! priority that was used, and each is a queue of its own to the log.

use broker_store::{Load, LogKind, QueueId, RecoveredQueue, Run, Seq};

use super::Logs;
use super::backlog::{Backlog, Entry, Head, LOAD_ENTRIES};
use crate::model::message::Stamp;

/// One lane.
#[derive(Debug)]
pub(super) struct Lane {
    /// What the logs call it.
    pub(super) id: QueueId,
    next_seq: u64,
    /// Every message up to here has been delivered at least once.
    delivered: Seq,
    pub(super) ready: Backlog,
    /// No ready message was published before this, as far as is known without reading it: see [`Self::oldest_ms`].
    pub(super) since_ms: u64,
}

impl Lane {
    /// An empty lane.
    pub(super) fn new(id: QueueId) -> Self {
        Self { id, next_seq: 1, delivered: Seq(0), ready: Backlog::default(), since_ms: 0 }
    }

    /// A lane as it was recovered from the durable log at `now_ms`.
    pub(super) fn recovered(found: RecoveredQueue, now_ms: u64) -> Self {
        let mut lane = Self {
            next_seq: found.next_seq.0,
            delivered: found.delivered_up_to,
            since_ms: now_ms,
            ..Self::new(found.queue)
        };
        found.runs.into_iter().for_each(|run| lane.ready.push_run(LogKind::Durable, run));
        lane
    }

    /// Its priority.
    pub(super) fn level(&self) -> u8 {
        level_of(self.id)
    }

    pub(super) fn take_seq(&mut self) -> Seq {
        let seq = Seq(self.next_seq);
        self.next_seq += 1;
        seq
    }

    /// Notes a delivery. Returns whether it is the first of this message.
    pub(super) fn note_delivered(&mut self, seq: Seq) -> bool {
        let first = seq > self.delivered;
        self.delivered = self.delivered.max(seq);
        first
    }

    /// The oldest entry, loaded from its run if need be.
    pub(super) fn load_head(&mut self, logs: &mut Logs) -> Result<Option<Entry>, LogKind> {
        loop {
            match self.ready.head() {
                Head::Empty => return Ok(None),
                Head::Entry(entry) => return Ok(Some(entry)),
                Head::Run(kind, run) => {
                    let mut found = Vec::new();
                    match logs.of(kind).load(self.id, &run, run.first, LOAD_ENTRIES, &mut found) {
                        Load::NeedsPageIn => return Err(kind),
                        Load::Loaded => self.take_loaded(kind, &run, &found),
                    }
                }
            }
        }
    }

    fn take_loaded(&mut self, log: LogKind, run: &Run, found: &[broker_store::Entry]) {
        let (lane, delivered) = (self.level(), self.delivered);
        let entries = found.iter().map(|found| {
            let entry = Entry::new(found.seq, found.position, found.body, log, lane);
            if entry.seq <= delivered { entry.again() } else { entry }
        });
        let through = match found.last() {
            Some(last) if found.len() == LOAD_ENTRIES => last.seq,
            _ => run.last,
        };
        self.ready.loaded(log, entries.collect(), through);
    }

    /// When the oldest ready message was published: read off it if it is in memory, otherwise the time of the message before it,
    /// or of the start of the broker.
    pub(super) fn oldest_ms(&self, logs: &Logs) -> Option<u64> {
        match self.ready.head() {
            Head::Empty => None,
            Head::Entry(entry) => Some(logs.stamp_of(&entry).map_or(self.since_ms, Stamp::published_ms)),
            Head::Run(..) => Some(self.since_ms),
        }
    }

    /// A segment of a log is sealed: what need not be in memory is left to its index.
    pub(super) fn segment_sealed(&mut self, log: LogKind, segment: broker_store::SegmentId) {
        self.ready.collapse(log, segment, self.delivered);
    }

    /// Drops everything that is ready. Returns how much that was.
    pub(super) fn purge(&mut self, logs: &mut Logs) -> u64 {
        let count = self.ready.len();
        let mut entries = Vec::new();
        let mut runs = Vec::new();
        self.ready.take_all(|entry| entries.push(entry), |kind, run| runs.push((kind, run)));
        for entry in entries {
            logs.of(entry.log()).ack(self.id, entry.seq, entry.position);
        }
        for (kind, run) in runs {
            logs.of(kind).discard(self.id, &run);
        }
        count
    }
}

/// The priority that a lane stands for.
pub(super) fn level_of(id: QueueId) -> u8 {
    u8::try_from(id.lane()).unwrap_or(u8::MAX)
}

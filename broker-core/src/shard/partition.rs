//! A partition on its shard: the logs, the confirms that wait for them, the queues that wait for pages.

use std::collections::VecDeque;

use broker_store::{Entry, Group, IoDone, IoOp, LogEvent, LogKind, PartitionId, QueueId, SegmentId, StoreError};

use super::confirms::{Confirms, Waiting};
use super::histogram::{BATCH_BYTES_BOUNDS, BATCH_RECORDS_BOUNDS, LATENCY_BOUNDS_US};
use super::stats::ShardStats;
use crate::limits::STAGED_BYTES;
use crate::model::queue::Logs;

/// What the logs of a partition ask the shard to do.
#[derive(Debug)]
pub(super) enum PartitionEvent {
    /// Tell the publisher: these are on disk, or (`accepted` false) never will be.
    Confirm {
        /// Whom, and which.
        waiting: Waiting,
        /// Whether they are on disk.
        accepted: bool,
    },
    /// Queues that waited for pages are to be pumped again.
    Resume(Vec<QueueId>),
    /// Something was synced for which these streams wait.
    Synced(Vec<QueueId>),
    /// A segment was sealed.
    Sealed(LogKind, SegmentId),
    /// Messages of a queue have moved to other records.
    Moved(LogKind, SegmentId, QueueId, Vec<Entry>),
    /// The disk has become full, or is no more: see [`Partition::no_space`].
    NoSpace,
    /// A log has failed: it takes no more records.
    Failed(LogKind, StoreError),
    /// Something failed that will be tried again, or a record is damaged.
    Trouble(LogKind, StoreError),
}

/// What a transaction stores.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct GroupSize {
    /// Records at most.
    pub records: usize,
    /// Their queues, all together.
    pub targets: usize,
    /// Their messages, in bytes.
    pub bytes: usize,
}

/// One partition.
#[derive(Debug)]
pub(super) struct Partition {
    /// Its number.
    pub id: PartitionId,
    /// Its logs.
    pub logs: Logs,
    /// Confirms that wait for the durable log.
    pub confirms: Confirms,
    /// The transaction that is being stored.
    group: Option<Group>,
    waiting_for_pages: Vec<QueueId>,
    /// Streams with messages that are not on disk.
    waiting_for_sync: Vec<QueueId>,
    no_space: [bool; 2],
    /// Confirms that the failed log will never give.
    refused: VecDeque<Waiting>,
}

impl Partition {
    /// A partition with recovered logs.
    #[must_use]
    pub(super) fn new(id: PartitionId, logs: Logs) -> Self {
        Self {
            id,
            logs,
            confirms: Confirms::default(),
            group: None,
            waiting_for_pages: Vec::new(),
            waiting_for_sync: Vec::new(),
            no_space: [false; 2],
            refused: VecDeque::new(),
        }
    }

    /// The queue is to be resumed when the logs have paged something in.
    pub(super) fn wait_for_pages(&mut self, queue: QueueId) {
        if !self.waiting_for_pages.contains(&queue) {
            self.waiting_for_pages.push(queue);
        }
    }

    /// The stream is to be told when the durable log has synced something. A stream waits once at a time.
    pub(super) fn wait_for_sync(&mut self, stream: QueueId) {
        self.waiting_for_sync.push(stream);
    }

    /// What is stored until [`end_group`](Self::end_group) is there after a crash as a whole or not at all, if it fits in a
    /// segment. Nothing else may happen in between.
    pub(super) fn begin_group(&mut self, size: GroupSize) {
        self.group = self.logs.durable.begin_group(size.records, size.targets, size.bytes);
    }

    /// See [`begin_group`](Self::begin_group).
    pub(super) fn end_group(&mut self) {
        if let Some(group) = self.group.take() {
            self.logs.durable.end_group(&group);
        }
    }

    /// True while more is staged than [`STAGED_BYTES`].
    #[must_use]
    pub(super) fn congested(&self) -> bool {
        self.logs.durable.staged_bytes() > STAGED_BYTES || self.logs.volatile.staged_bytes() > STAGED_BYTES
    }

    /// True while the disk has no room for a log of this partition.
    #[must_use]
    pub(super) fn no_space(&self) -> bool {
        self.no_space.contains(&true)
    }

    /// Adds the numbers of the logs.
    pub(super) fn add_stats(&self, stats: &mut ShardStats) {
        for log in [&self.logs.durable, &self.logs.volatile] {
            let figures = log.figures();
            stats.log_segments += figures.segments as u64;
            stats.log_window_bytes += figures.window_bytes as u64;
            stats.log_poisoned += u64::from(log.is_poisoned());
        }
        let figures = self.logs.durable.figures();
        stats.log_written_bytes += figures.written_bytes;
        stats.log_spilled_bytes += self.logs.volatile.figures().written_bytes;
        stats.log_syncs += figures.syncs;
        stats.log_staged_bytes += figures.staged_bytes as u64;
    }

    /// The next operation that a log wants carried out.
    pub(super) fn poll_io(&mut self) -> Option<(LogKind, IoOp)> {
        if let Some(op) = self.logs.durable.poll_io() {
            if op.is_append() {
                self.confirms.write_started();
            }
            return Some((LogKind::Durable, op));
        }
        self.logs.volatile.poll_io().map(|op| (LogKind::Volatile, op))
    }

    /// An operation has been carried out.
    pub(super) fn handle_io(&mut self, kind: LogKind, done: IoDone, stats: &mut ShardStats) {
        if let (LogKind::Durable, Some(written)) = (kind, done.written()) {
            stats.log_records += written.records;
            stats.log_writes += u64::from(written.bytes > 0);
            stats.log_write_us += written.write_us;
            if written.synced {
                stats.sync_latencies.record(&LATENCY_BOUNDS_US, written.sync_us, 1);
                stats.batch_records.record(&BATCH_RECORDS_BOUNDS, written.records, 1);
                stats.batch_bytes.record(&BATCH_BYTES_BOUNDS, written.bytes, 1);
            }
        }
        self.logs.of(kind).handle_io(done);
    }

    /// The next thing to do because of what the logs have reported.
    pub(super) fn poll_event(&mut self) -> Option<PartitionEvent> {
        let durable = self.logs.durable.durable();
        if let Some(waiting) = self.confirms.release(durable) {
            return Some(PartitionEvent::Confirm { waiting, accepted: true });
        }
        if let Some(waiting) = self.refused.pop_front() {
            return Some(PartitionEvent::Confirm { waiting, accepted: false });
        }
        for kind in [LogKind::Durable, LogKind::Volatile] {
            while let Some(event) = self.logs.of(kind).poll_event() {
                if let Some(event) = self.translate(kind, event) {
                    return Some(event);
                }
            }
        }
        None
    }

    fn translate(&mut self, kind: LogKind, event: LogEvent) -> Option<PartitionEvent> {
        Some(match event {
            // Confirms are released by what the log says is durable, whenever it is asked.
            LogEvent::Durable(_) if self.waiting_for_sync.is_empty() => return None,
            LogEvent::Durable(_) => PartitionEvent::Synced(std::mem::take(&mut self.waiting_for_sync)),
            LogEvent::PagedIn(_) => {
                if self.waiting_for_pages.is_empty() {
                    return None;
                }
                PartitionEvent::Resume(std::mem::take(&mut self.waiting_for_pages))
            }
            LogEvent::Sealed(segment) => PartitionEvent::Sealed(kind, segment),
            LogEvent::Moved { queue, from, entries } => PartitionEvent::Moved(kind, from, queue, entries),
            LogEvent::NoSpace(full) => {
                self.no_space[usize::from(kind == LogKind::Volatile)] = full;
                PartitionEvent::NoSpace
            }
            LogEvent::Failed(error) => PartitionEvent::Trouble(kind, error),
            LogEvent::Poisoned(error) => {
                if kind == LogKind::Durable {
                    self.refused = self.confirms.fail();
                }
                PartitionEvent::Failed(kind, error)
            }
        })
    }
}

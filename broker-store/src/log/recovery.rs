//! Opening a log: from the indexes of sealed segments, and a scan of those that have none.
//!
//! A gap in the records of a segment is damage if the record that is missing is known to have been synced: a later
//! batch says so. Then what follows is kept. Otherwise it is where the writes before the crash ended, and the log is cut there.
//! Recovery writes only what it would find again: it may be interrupted and repeated.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::checkpoint::{CHECKPOINT, Checkpoint, Unreadable, decode};
use super::perform::write_index;
use super::trace::{QueueTrace, RecoveredQueue};
use super::{Log, LogKind, LogOptions, Segment, State, index_path, segment_path};
use crate::error::StoreError;
use crate::fs::Fs;
use crate::ids::{Lsn, QueueId, SegmentId};
use crate::map::Mapping;
use crate::segment::format::{SEGMENT_HEADER, SegmentHeader, len32, segment_header, u64_at};
use crate::segment::index::{INDEX_HEADER, IndexView};
use crate::segment::scan::{self, Piece, Survey};

/// What was found when a log was opened.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The queues that live and left a trace in the log, in no order.
    pub queues: Vec<RecoveredQueue>,
    /// Segments with records.
    pub segments: usize,
    /// Segments that had to be scanned because they had no index.
    pub scanned: usize,
    /// Live messages of all queues.
    pub messages: u64,
    /// Damage: [`StoreError::Corrupt`] with the place of each.
    pub damage: Vec<StoreError>,
}

/// A segment that has records.
struct Found {
    index: Mapping,
    /// Its length on disk, in bytes.
    file_bytes: u64,
    damaged: bool,
}

/// A segment without index.
struct Scanned {
    survey: Survey,
    bytes: Mapping,
    /// LSN of the first record, if the segment's header is intact.
    first_lsn: Option<Lsn>,
}

struct Recovery<'a, F> {
    fs: &'a F,
    dir: Arc<Path>,
    options: LogOptions,
    found: BTreeMap<SegmentId, Found>,
    damage: Vec<StoreError>,
    scanned: usize,
}

/// Opens the log in `dir`, which is made if it does not exist. A volatile log is emptied. Messages of queues for
/// which `is_live_queue` is false are dead.
///
/// # Errors
/// Those of the file system, and [`StoreError::NewerFormat`]. Damage is no error: it is in [`Recovered::damage`].
pub async fn recover<F: Fs>(
    fs: &F,
    dir: &Path,
    options: LogOptions,
    is_live_queue: impl Fn(QueueId) -> bool,
) -> Result<(Log, Recovered), StoreError> {
    let dir: Arc<Path> = dir.into();
    let error = |source| StoreError::io("open", &dir, source);
    fs.create_dir(&dir).await.map_err(error)?;
    let files = fs.list(&dir).await.map_err(error)?;
    if options.kind == LogKind::Volatile {
        for (name, _) in files {
            fs.delete(&dir.join(name)).await.map_err(error)?;
        }
        return Ok((Log::new(dir, options), Recovered::default()));
    }
    let mut recovery =
        Recovery { fs, dir: Arc::clone(&dir), options, found: BTreeMap::new(), damage: Vec::new(), scanned: 0 };
    let checkpoint = recovery.read_checkpoint(&files).await?;
    let spares = recovery.find_segments(&files).await?;
    let (queues, live) = recovery.queues(&checkpoint, is_live_queue);
    let mut log = Log::new(dir, options);
    recovery.fill(&mut log, &checkpoint, &live, &queues);
    recovery.provide(&mut log, spares).await?;
    let queues: Vec<RecoveredQueue> = queues.into_iter().map(|(queue, trace)| trace.finish(queue)).collect();
    let recovered = Recovered {
        segments: recovery.found.len(),
        scanned: recovery.scanned,
        messages: queues.iter().map(|queue| queue.messages).sum(),
        damage: recovery.damage,
        queues,
    };
    Ok((log, recovered))
}

impl<F: Fs> Recovery<'_, F> {
    fn io(&self, op: &'static str) -> impl Fn(std::io::Error) -> StoreError {
        let dir = Arc::clone(&self.dir);
        move |source| StoreError::io(op, &dir, source)
    }

    async fn read_checkpoint(&mut self, files: &[(String, u64)]) -> Result<Checkpoint, StoreError> {
        if !files.iter().any(|(name, length)| name == CHECKPOINT && *length > 0) {
            return Ok(Checkpoint::default());
        }
        let path = self.dir.join(CHECKPOINT);
        let bytes = self.fs.map(&path).await.map_err(self.io("read checkpoint of"))?;
        match decode(&bytes) {
            Ok(checkpoint) => Ok(checkpoint),
            Err(Unreadable::Newer(found)) => Err(StoreError::NewerFormat { path, found, supported: 1 }),
            Err(Unreadable::Damaged) => {
                let reason = "the checkpoint is damaged: messages that were acked may come back";
                self.damage.push(StoreError::Corrupt { segment: SegmentId(0), offset: 0, reason });
                Ok(Checkpoint::default())
            }
        }
    }

    /// Finds the segments with records. Returns those without, which are prepared ones.
    async fn find_segments(&mut self, files: &[(String, u64)]) -> Result<Vec<(SegmentId, u64)>, StoreError> {
        let mut data = BTreeMap::new();
        let mut indexes = Vec::new();
        for (name, length) in files {
            match name.split_once('.').map(|(id, kind)| (id.parse(), kind)) {
                Some((Ok(id), "segment")) => drop(data.insert(SegmentId(id), *length)),
                Some((Ok(id), "index")) => indexes.push((SegmentId(id), *length)),
                _ => {}
            }
        }
        for &(id, length) in &indexes {
            self.open_index(id, length, data.get(&id).copied()).await?;
        }
        let mut spares = Vec::new();
        let mut scanned = BTreeMap::new();
        for (&id, &length) in &data {
            if self.found.contains_key(&id) {
                continue;
            }
            match self.survey(id, length).await? {
                Some(found) => drop(scanned.insert(id, found)),
                None => spares.push((id, length)),
            }
        }
        self.scanned = scanned.len();
        let synced = self.synced(&scanned);
        let before = self.lsns_before(&scanned);
        for (id, found) in scanned {
            if !self.keep(id, found, synced, before.get(&id).copied()).await? {
                spares.push((id, 0));
            }
        }
        Ok(spares)
    }

    /// Opens the index of a segment. One that is not intact, or whose segment is gone, is ignored.
    async fn open_index(&mut self, id: SegmentId, length: u64, data: Option<u64>) -> Result<(), StoreError> {
        let path = index_path(&self.dir, id);
        let Some(file_bytes) = data else {
            return self.fs.delete(&path).await.map_err(self.io("clean up"));
        };
        if length < INDEX_HEADER as u64 {
            return Ok(());
        }
        let index = self.fs.map(&path).await.map_err(self.io("read index in"))?;
        if IndexView::open(&index, id).is_some_and(|view| u64::from(view.used()) <= file_bytes) {
            self.found.insert(id, Found { index, file_bytes, damaged: false });
        }
        Ok(())
    }

    /// Looks for records in a segment that has no index.
    async fn survey(&mut self, id: SegmentId, length: u64) -> Result<Option<Scanned>, StoreError> {
        if length < SEGMENT_HEADER as u64 {
            return Ok(None);
        }
        let path = segment_path(&self.dir, id);
        let bytes = self.fs.map(&path).await.map_err(self.io("read segment in"))?;
        let header = segment_header(&bytes, id);
        if let SegmentHeader::Newer(found) = header {
            return Err(StoreError::NewerFormat { path: path.to_path_buf(), found, supported: 1 });
        }
        let first_lsn = (header == SegmentHeader::Valid).then(|| Lsn(u64_at(&bytes, 16)));
        let survey = scan::survey(&bytes, id);
        let used = !survey.pieces.is_empty() || first_lsn.is_some();
        Ok(used.then_some(Scanned { survey, bytes, first_lsn }))
    }

    /// The largest LSN that is known to have been synced.
    fn synced(&self, scanned: &BTreeMap<SegmentId, Scanned>) -> Lsn {
        let indexed = self.found.iter().filter_map(|(&id, found)| IndexView::trusted(&found.index, id));
        let marks = indexed.map(|view| view.synced());
        marks.chain(scanned.values().map(|found| found.survey.synced)).max().unwrap_or_default()
    }

    /// For each scanned segment that directly follows another: the last LSN of that one.
    fn lsns_before(&self, scanned: &BTreeMap<SegmentId, Scanned>) -> FxHashMap<SegmentId, Lsn> {
        let last = |id: SegmentId| match self.found.get(&id) {
            Some(found) => IndexView::trusted(&found.index, id).map(|view| view.last_lsn()),
            None => scanned.get(&id)?.survey.pieces.last().map(|piece| piece.last_lsn),
        };
        let before = |id: SegmentId| last(SegmentId(id.0.checked_sub(1)?));
        scanned.keys().filter_map(|&id| Some((id, before(id)?))).collect()
    }

    /// Cuts off what was never synced, and writes the index. False if nothing is left.
    async fn keep(
        &mut self,
        id: SegmentId,
        found: Scanned,
        synced: Lsn,
        before: Option<Lsn>,
    ) -> Result<bool, StoreError> {
        let damage_before = self.damage.len();
        let mut pieces = self.keep_pieces(id, &found, synced, before);
        scan::cut_group(&found.bytes, &mut pieces, synced);
        let damaged = self.damage.len() > damage_before;
        let Some(last) = pieces.last() else {
            return Ok(false);
        };
        let used = last.end;
        let mut builder = scan::index(&found.bytes, id, &pieces, self.options.body_of);
        builder.synced = found.survey.synced;
        let (body, header) = self.fs.run_blocking(move || builder.encode()).await;
        let unsynced = scan::offset_after(&found.bytes, &pieces, synced);
        let tail = found.bytes[unsynced as usize..used as usize].to_vec();
        drop(found);
        let path = segment_path(&self.dir, id);
        let file = self.fs.open(&path, false).await.map_err(self.io("open segment in"))?;
        self.fs.set_len(&file, u64::from(used)).await.map_err(self.io("cut segment in"))?;
        // What a killed process left in the page cache is promised from now on. It is written once more, because
        // after a failed sync the system may take pages for clean that never reached the disk.
        self.fs.write_at(&file, tail, u64::from(unsynced)).await.map_err(self.io("write segment in"))?;
        self.fs.sync(&file).await.map_err(self.io("sync segment in"))?;
        let index = index_path(&self.dir, id);
        write_index(self.fs, &index, body, header, true).await?;
        self.fs.sync_dir(&self.dir).await.map_err(self.io("sync"))?;
        let index = self.fs.map(&index).await.map_err(self.io("read index in"))?;
        self.found.insert(id, Found { index, file_bytes: u64::from(used), damaged });
        Ok(true)
    }

    fn keep_pieces(&mut self, id: SegmentId, found: &Scanned, synced: Lsn, before: Option<Lsn>) -> Vec<Piece> {
        let mut kept: Vec<Piece> = Vec::new();
        let mut expected = found.first_lsn.or_else(|| before.map(|lsn| Lsn(lsn.0 + 1)));
        let mut end = len32(SEGMENT_HEADER);
        for piece in &found.survey.pieces {
            let missing = expected.unwrap_or_else(|| Lsn(piece.first_lsn.0.saturating_sub(1)));
            if piece.first_lsn > missing && (piece.start > end || !kept.is_empty()) {
                if missing > synced {
                    break;
                }
                self.damaged(id, end);
            }
            expected = Some(Lsn(piece.last_lsn.0 + 1));
            end = piece.end;
            kept.push(piece.clone());
        }
        let cut_short = kept.len() < found.survey.pieces.len();
        if let Some(next) = expected
            && !cut_short
            && next <= synced
            && self.is_followed(id, next)
        {
            self.damaged(id, end);
        }
        kept
    }

    /// True if the segment after this one begins behind LSN `next`: then records are missing at the end of this one.
    fn is_followed(&self, id: SegmentId, next: Lsn) -> bool {
        let Some(after) = self.found.get(&SegmentId(id.0 + 1)) else {
            return false;
        };
        after.index.get(40..48).is_some_and(|bytes| u64_at(bytes, 0) > next.0)
    }

    fn damaged(&mut self, segment: SegmentId, offset: u32) {
        let reason = "records that were synced are missing or damaged";
        self.damage.push(StoreError::Corrupt { segment, offset, reason });
    }

    /// Joins what the checkpoint, the acks and the directories say. Returns the queues, and per segment what is live.
    fn queues(
        &mut self,
        checkpoint: &Checkpoint,
        is_live_queue: impl Fn(QueueId) -> bool,
    ) -> (FxHashMap<QueueId, QueueTrace>, FxHashMap<SegmentId, (u32, u64)>) {
        let mut traces: FxHashMap<QueueId, QueueTrace> = FxHashMap::default();
        for (&queue, state) in checkpoint.queues.iter().filter(|(queue, _)| is_live_queue(**queue)) {
            let (dead, last) = (state.dead.clone(), state.dead.last());
            let attempts = state.attempts.iter().copied().collect();
            let known = QueueTrace { dead, delivered: state.delivered, last, attempts, ..QueueTrace::default() };
            traces.insert(queue, known);
        }
        let views: Vec<(SegmentId, IndexView<'_>)> = self
            .found
            .iter()
            .filter_map(|(&id, found)| Some((id, IndexView::trusted(&found.index, id)?)))
            .collect();
        for (_, view) in &views {
            for (queue, first, last) in view.acks().filter(|(queue, ..)| is_live_queue(*queue)) {
                let trace = traces.entry(queue).or_default();
                trace.dead.insert(first.0, last.0);
                trace.last = trace.last.max(last.0);
            }
            for (queue, up_to) in view.delivered().filter(|(queue, _)| is_live_queue(*queue)) {
                let trace = traces.entry(queue).or_default();
                trace.delivered = trace.delivered.max(up_to.0);
            }
            for (queue, seq, attempt) in view.attempts().filter(|(queue, ..)| is_live_queue(*queue)) {
                traces.entry(queue).or_default().attempted(seq.0, attempt);
            }
        }
        let mut doubled = Vec::new();
        for (id, view) in &views {
            for stretch in view.stretches().filter(|stretch| is_live_queue(stretch.queue)) {
                let trace = traces.entry(stretch.queue).or_default();
                trace.last = trace.last.max(stretch.last.0);
                if *id < checkpoint.covers && !checkpoint.queues.contains_key(&stretch.queue) {
                    continue;
                }
                if let Some(run) = view.live_run(&stretch, &trace.dead)
                    && !trace.add(stretch.queue, run, view)
                {
                    doubled.push(*id);
                }
            }
        }
        traces.values_mut().for_each(QueueTrace::keep_live_attempts);
        let mut live: FxHashMap<SegmentId, (u32, u64)> = FxHashMap::default();
        for run in traces.values().flat_map(|trace| &trace.runs) {
            let (count, bytes) = live.entry(run.segment).or_default();
            *count += run.count;
            *bytes += run.bytes;
        }
        for id in doubled {
            self.found.entry(id).and_modify(|found| found.damaged = true);
        }
        (traces, live)
    }

    /// Makes the log what was found.
    fn fill(
        &self,
        log: &mut Log,
        checkpoint: &Checkpoint,
        live: &FxHashMap<SegmentId, (u32, u64)>,
        queues: &FxHashMap<QueueId, QueueTrace>,
    ) {
        log.checkpoint_covers = checkpoint.covers;
        log.next_segment = checkpoint.covers.0 + 1;
        for (&id, found) in &self.found {
            let Some(view) = IndexView::trusted(&found.index, id) else {
                continue;
            };
            let mut segment = Segment::new(found.file_bytes);
            segment.state = State::Sealed;
            (segment.live, segment.live_bytes) = live.get(&id).copied().unwrap_or_default();
            segment.total_bytes = view.total_bytes();
            (segment.used, segment.written) = (view.used(), view.used());
            segment.damaged = found.damaged;
            if segment.live == 0 {
                log.dead.push(id);
            }
            log.segments.insert(id, segment);
            log.next_lsn = log.next_lsn.max(view.last_lsn().0 + 1).max(view.synced().0 + 1);
            log.next_segment = log.next_segment.max(id.0 + 1);
        }
        log.durable = Lsn(log.next_lsn - 1);
        for (&queue, trace) in queues {
            let live = trace.runs.iter().map(|run| u64::from(run.count)).sum();
            if live > 0 {
                log.queues.restore(queue, trace.all_dead(), trace.last, live, trace.delivered);
                if !trace.attempts.is_empty() {
                    log.queues
                        .restore_attempts(queue, trace.attempts.iter().map(|(&seq, &attempt)| (seq, attempt)));
                }
            }
        }
    }

    /// Gives the log a segment to append to: one that was prepared before, or a new one. With a full disk there is none.
    async fn provide(&self, log: &mut Log, spares: Vec<(SegmentId, u64)>) -> Result<(), StoreError> {
        let newest = log.next_segment;
        for (id, length) in spares {
            let fits = length == u64::from(self.options.segment_bytes) && id.0 >= newest && log.ready.len() < 2;
            if fits {
                log.next_segment = log.next_segment.max(id.0 + 1);
                log.ready.push_back(id);
            } else {
                self.fs.delete(&segment_path(&self.dir, id)).await.map_err(self.io("clean up"))?;
            }
        }
        let made = if log.ready.is_empty() { Some(self.make_segment(log).await) } else { None };
        match made {
            None => {
                self.fs.sync_dir(&self.dir).await.map_err(self.io("sync"))?;
                if let Some(id) = log.ready.pop_front() {
                    log.start_active(id, true);
                }
            }
            Some(Ok(id)) => log.start_active(id, false),
            Some(Err(error)) if error.is_no_space() => log.set_no_space(true),
            Some(Err(error)) => return Err(error),
        }
        Ok(())
    }

    /// Makes a segment in a hurry: not zeroed.
    async fn make_segment(&self, log: &mut Log) -> Result<SegmentId, StoreError> {
        let id = log.take_segment_id();
        let path = segment_path(&self.dir, id);
        let file = self.fs.open(&path, true).await.map_err(self.io("make segment in"))?;
        let length = u64::from(self.options.segment_bytes);
        if let Err(source) = self.fs.allocate(&file, 0..length).await {
            self.fs.delete(&path).await.map_err(self.io("clean up"))?;
            return Err(StoreError::io("allocate", &path, source));
        }
        self.fs.sync(&file).await.map_err(self.io("sync segment in"))?;
        self.fs.sync_dir(&self.dir).await.map_err(self.io("sync"))?;
        Ok(id)
    }
}

//! Drives a [`Log`] on an [`Fs`] on one thread, and a random source.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use broker_store::fs::SimFs;
use broker_store::{
    Entry, IoDone, Load, Log, LogEvent, LogKind, LogOptions, Position, QueueId, Recovered, Run, StoreError,
    perform, recover,
};
use futures_lite::future::block_on;

/// splitmix64: small, and the same everywhere.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }
}

type Operation = Pin<Box<dyn Future<Output = IoDone>>>;

pub(crate) const DIR: &str = "/log";

/// A log, its disk, and the operations in flight.
pub(crate) struct Driver {
    pub(crate) fs: SimFs,
    pub(crate) log: Log,
    operations: Vec<Operation>,
    random: Random,
    pub(crate) events: Vec<LogEvent>,
    now_ms: u64,
}

pub(crate) fn small(kind: LogKind) -> LogOptions {
    LogOptions { segment_bytes: 16 << 10, window_bytes: 8 << 10, max_segment_records: 200, body_of, kind }
}

pub(crate) fn open(
    fs: &SimFs,
    options: LogOptions,
    is_live: impl Fn(QueueId) -> bool,
) -> Result<(Log, Recovered), StoreError> {
    block_on(recover(fs, Path::new(DIR), options, is_live))
}

impl Driver {
    pub(crate) fn new(fs: &SimFs, log: Log, seed: u64) -> Self {
        Self { fs: fs.clone(), log, operations: Vec::new(), random: Random(seed), events: Vec::new(), now_ms: 0 }
    }

    /// A new log on a disk without faults.
    pub(crate) fn fresh(options: LogOptions) -> Self {
        let fs = SimFs::new(1);
        let (log, _) = open(&fs, options, |_| true).unwrap();
        Self::new(&fs, log, 1)
    }

    /// Starts what the log asks for, advances one operation, collects events. False if there was nothing to do.
    pub(crate) fn step(&mut self) -> bool {
        while let Some(op) = self.log.poll_io() {
            let fs = self.fs.clone();
            self.operations.push(Box::pin(async move { perform(&fs, op).await }));
        }
        self.collect();
        if self.operations.is_empty() {
            return false;
        }
        let at = self.random.index(self.operations.len());
        if let Poll::Ready(done) = self.operations[at].as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            drop(self.operations.swap_remove(at));
            self.log.handle_io(done);
            self.collect();
        }
        true
    }

    pub(crate) fn collect(&mut self) {
        while let Some(event) = self.log.poll_event() {
            self.events.push(event);
        }
    }

    pub(crate) fn tick(&mut self) {
        self.now_ms += 7;
        self.log.tick(self.now_ms);
    }

    /// Until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100_000 {
            if !self.step() {
                return;
            }
        }
        panic!("the log never comes to rest");
    }

    /// Until everything staged is on disk.
    pub(crate) fn flush(&mut self) {
        for _ in 0..1000 {
            self.log.flush();
            self.settle();
            if self.log.is_flushed() {
                return;
            }
        }
        panic!("the log is never flushed");
    }

    /// The payload at a position, brought into memory if it must be.
    pub(crate) fn read(&mut self, position: Position) -> Result<Vec<u8>, StoreError> {
        for _ in 0..10 {
            if let Some(payload) = self.log.read(position)? {
                return Ok(payload.to_vec());
            }
            self.log.page_in(position);
            self.settle();
        }
        panic!("{position:?} never comes into memory");
    }

    /// All entries of a run, `max` at a time.
    pub(crate) fn load(&mut self, queue: QueueId, run: &Run, max: usize) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut from = run.first;
        for _ in 0..100_000 {
            let before = entries.len();
            match self.log.load(queue, run, from, max, &mut entries) {
                Load::NeedsPageIn => self.settle(),
                Load::Loaded if entries.len() == before => return entries,
                Load::Loaded => from.0 = entries.last().unwrap().seq.0 + 1,
            }
        }
        panic!("{run:?} is never loaded");
    }
}

/// Length of the body of a payload, in bytes: what simulations append as its last part.
pub(crate) fn body_bytes(payload: usize) -> u64 {
    (payload - payload / 3) as u64
}

fn body_of(payload: &[u8]) -> u32 {
    u32::try_from(body_bytes(payload.len())).unwrap()
}

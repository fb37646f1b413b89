//! The log on real files through glommio: what the machine and the simulated disk promise holds there too.

use std::path::Path;

use broker_store::doorbell::Doorbell;
use broker_store::fs::{GlommioFs, Helper};
use broker_store::{Load, Log, LogEvent, LogKind, LogOptions, QueueId, Recovered, Seq, perform, recover};
use glommio::{LocalExecutorBuilder, Placement};

const QUEUE: QueueId = QueueId(7);

fn on_executor(test: impl AsyncFnOnce(GlommioFs) + Send + 'static) {
    let (doorbell, line) = Doorbell::new().unwrap();
    let helper = Helper::start("helper", doorbell).unwrap();
    let executor = LocalExecutorBuilder::new(Placement::Unbound).io_memory(64 << 10);
    executor
        .spawn(move || async move { test(GlommioFs::new(helper, line.listen())).await })
        .unwrap()
        .join()
        .unwrap()
}

/// Carries out everything that the log asks for, one after the other.
async fn settle(fs: &GlommioFs, log: &mut Log) -> Vec<LogEvent> {
    let mut events = Vec::new();
    while let Some(op) = log.poll_io() {
        log.handle_io(perform(fs, op).await);
        while let Some(event) = log.poll_event() {
            assert!(!matches!(event, LogEvent::Failed(_) | LogEvent::Poisoned(_)), "{event:?}");
            events.push(event);
        }
    }
    events
}

fn options(kind: LogKind) -> LogOptions {
    LogOptions { segment_bytes: 4 << 20, window_bytes: 1 << 20, ..LogOptions::new(kind) }
}

async fn open(fs: &GlommioFs, dir: &Path, kind: LogKind) -> (Log, Recovered) {
    recover(fs, dir, options(kind), |_| true).await.unwrap()
}

async fn read(fs: &GlommioFs, log: &mut Log, position: broker_store::Position) -> Vec<u8> {
    loop {
        if let Some(payload) = log.read(position).unwrap() {
            return payload.to_vec();
        }
        log.page_in(position);
        settle(fs, log).await;
    }
}

fn payload(seq: u64) -> Vec<u8> {
    vec![u8::try_from(seq % 251).unwrap(); 1000]
}

#[test]
fn a_durable_backlog_is_read_back_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("partition-0/durable");
    on_executor(async move |fs| {
        let (mut log, _) = open(&fs, &path, LogKind::Durable).await;
        for seq in 1..=10_000 {
            let appended = log.append(&[(QUEUE, Seq(seq))], &[&payload(seq)]).unwrap();
            if seq % 1000 == 0 {
                settle(&fs, &mut log).await;
                assert!(log.durable() >= appended.lsn);
            }
            if seq <= 100 {
                log.ack(QUEUE, Seq(seq), appended.position);
            }
        }
        log.flush();
        settle(&fs, &mut log).await;
        assert!(log.is_flushed());
        drop(log);

        let (mut log, recovered) = open(&fs, &path, LogKind::Durable).await;
        assert!(recovered.damage.is_empty());
        let queue = &recovered.queues[0];
        assert_eq!((queue.messages, queue.next_seq), (9_900, Seq(10_001)));
        let mut next = 101;
        for run in &queue.runs {
            let mut entries = Vec::new();
            while log.load(QUEUE, run, run.first, usize::MAX >> 1, &mut entries) == Load::NeedsPageIn {
                settle(&fs, &mut log).await;
            }
            for entry in entries {
                assert_eq!(entry.seq, Seq(next));
                assert_eq!(read(&fs, &mut log, entry.position).await, payload(next));
                log.ack(QUEUE, entry.seq, entry.position);
                next += 1;
            }
        }
        assert_eq!(next, 10_001);
        settle(&fs, &mut log).await;
        assert!(log.figures().segments <= 1, "{:?}", log.figures());
    });
}

#[test]
fn a_volatile_backlog_leaves_memory_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("partition-0/volatile");
    on_executor(async move |fs| {
        let (mut log, _) = open(&fs, &path, LogKind::Volatile).await;
        let mut positions = Vec::new();
        for seq in 1..=10_000 {
            positions.push(log.append(&[(QUEUE, Seq(seq))], &[&payload(seq)]).unwrap().position);
            if seq % 100 == 0 {
                settle(&fs, &mut log).await;
            }
        }
        assert!(log.figures().window_bytes <= 1 << 20);
        for (position, seq) in positions.into_iter().zip(1..) {
            assert_eq!(read(&fs, &mut log, position).await, payload(seq));
            log.ack(QUEUE, Seq(seq), position);
        }
        settle(&fs, &mut log).await;
        assert!(log.figures().segments <= 1, "{:?}", log.figures());
        drop(log);
        let (_, recovered) = open(&fs, &path, LogKind::Volatile).await;
        assert_eq!(recovered.messages, 0);
    });
}

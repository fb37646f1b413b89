//! One promise of the log per test, on the simulated disk.

use std::path::Path;

use broker_store::fs::{Faults, SimFs};
use broker_store::{LogEvent, LogKind, Position, QueueId, Run, SegmentId, Seq, StoreError};

use crate::harness::{DIR, Driver, Random, open, small};

const QUEUE: QueueId = QueueId(1);

fn publish(driver: &mut Driver, seq: u64) -> Position {
    driver.log.append(&[(QUEUE, Seq(seq))], &[&[1; 200]]).unwrap().position
}

#[test]
fn one_old_message_does_not_pin_what_came_after_it() {
    let mut driver = Driver::fresh(small(LogKind::Durable));
    let mut old = publish(&mut driver, 1);
    for seq in 2..5000 {
        let position = publish(&mut driver, seq);
        driver.log.ack(QUEUE, Seq(seq), position);
        if seq % 20 == 0 {
            driver.settle();
        }
        for event in driver.events.drain(..) {
            if let LogEvent::Moved { entries, .. } = event {
                old = entries[0].position;
            }
        }
    }
    driver.flush();
    assert!(driver.log.figures().segments <= 6, "{:?}", driver.log.figures());
    assert_eq!(driver.read(old).unwrap(), [1; 200]);
    let (_, recovered) = open(&driver.fs, small(LogKind::Durable), |_| true).unwrap();
    assert_eq!(recovered.messages, 1);
}

#[test]
fn disk_stays_under_twice_what_is_live_when_acks_are_scattered() {
    let mut driver = Driver::fresh(small(LogKind::Durable));
    let mut live = std::collections::BTreeMap::new();
    for seq in 1..8000 {
        live.insert(Seq(seq), publish(&mut driver, seq));
        if seq % 10 == 0 {
            driver.settle();
        }
        for event in driver.events.drain(..) {
            if let LogEvent::Moved { entries, .. } = event {
                live.extend(entries.into_iter().map(|entry| (entry.seq, entry.position)));
            }
        }
        if seq % 10 > 0 {
            let (&acked, &position) = live.iter().rfind(|(seq, _)| seq.0 % 10 > 0).unwrap();
            live.remove(&acked);
            driver.log.ack(QUEUE, acked, position);
        }
    }
    driver.flush();
    let figures = driver.log.figures();
    let needed: u64 = live.values().map(|position| u64::from(position.length)).sum();
    assert!(figures.disk_bytes <= 2 * needed + 6 * (16 << 10), "{figures:?} for {needed} live bytes");
    // Nine of ten messages die at once: what is moved is the tenth, a few times.
    assert!(figures.rewritten_bytes < figures.written_bytes / 2, "{figures:?}");
}

#[test]
fn steady_flow_uses_the_same_files_again() {
    let mut driver = Driver::fresh(small(LogKind::Durable));
    for seq in 1..20_000 {
        let position = publish(&mut driver, seq);
        driver.log.ack(QUEUE, Seq(seq), position);
        if seq % 10 == 0 {
            driver.settle();
        }
    }
    driver.flush();
    assert!(driver.fs.used_bytes() <= 5 * (16 << 10), "{}", driver.fs.used_bytes());
    assert_eq!(driver.log.figures().rewritten_bytes, 0);
}

#[test]
fn a_segment_that_is_full_of_small_records_is_followed_by_another() {
    let mut driver = Driver::fresh(small(LogKind::Durable));
    for seq in 1..200 {
        // A segment has all the records that it may have while it still has most of its bytes.
        let targets: Vec<_> = (1..=40).map(|queue| (QueueId(queue), Seq(seq))).collect();
        driver.log.append(&targets, &[&[1]]).unwrap();
        driver.settle();
    }
    assert!(driver.log.figures().segments > 10);
}

#[test]
fn a_full_disk_refuses_messages_and_takes_acks_until_there_is_room() {
    let mut driver = Driver::fresh(small(LogKind::Durable));
    driver.fs.set_faults(Faults { capacity: Some(60 << 10), ..Faults::default() });
    let mut positions = Vec::new();
    let full = loop {
        let seq = Seq(positions.len() as u64 + 1);
        match driver.log.append(&[(QUEUE, seq)], &[&[1; 200]]) {
            Ok(appended) => positions.push((seq, appended.position)),
            Err(error) => break error,
        }
        driver.settle();
    };
    assert!(matches!(full, StoreError::Full));
    assert!(driver.events.iter().any(|event| matches!(event, LogEvent::NoSpace(true))));
    let (kept, acked) = positions.split_last().unwrap();
    for (seq, position) in acked {
        driver.log.ack(QUEUE, *seq, *position);
    }
    driver.flush();
    // Acks freed segments, and they are used again without asking the disk.
    for _ in 0..300 {
        driver.tick();
        driver.settle();
    }
    assert!(driver.events.iter().any(|event| matches!(event, LogEvent::NoSpace(false))));
    publish(&mut driver, kept.0.0 + 1);
    driver.flush();
    driver.fs.power_cut();
    let (_, recovered) = open(&driver.fs, small(LogKind::Durable), |_| true).unwrap();
    assert_eq!(recovered.messages, 2);
}

#[test]
fn after_a_failed_sync_nothing_is_accepted() {
    let mut driver = Driver::fresh(small(LogKind::Durable));
    driver.settle();
    driver.fs.set_faults(Faults { fail_sync_after: Some(0), ..Faults::default() });
    let lsn = driver.log.append(&[(QUEUE, Seq(1))], &[b"lost"]).unwrap().lsn;
    driver.settle();
    assert!(matches!(driver.events.last(), Some(LogEvent::Poisoned(_))));
    assert!(driver.log.durable() < lsn);
    assert!(matches!(driver.log.append(&[(QUEUE, Seq(2))], &[b"no"]), Err(StoreError::Poisoned)));
    assert!(driver.log.poll_io().is_none());
}

#[test]
fn damage_to_synced_records_is_reported_and_the_rest_kept() {
    let mut driver = Driver::fresh(small(LogKind::Durable));
    driver.settle();
    let mut positions = Vec::new();
    for seq in 1..=20 {
        positions.push(publish(&mut driver, seq));
        driver.settle();
    }
    let damaged = positions[9];
    let file = format!("{DIR}/{:010}.segment", damaged.segment.0);
    driver.fs.flip_bit(Path::new(&file), damaged.offset as usize + 100, 3);
    let (_, recovered) = open(&driver.fs, small(LogKind::Durable), |_| true).unwrap();
    assert_eq!(recovered.messages, 19);
    let place = match recovered.damage[..] {
        [StoreError::Corrupt { segment, offset, .. }] => (segment, offset),
        ref other => panic!("{other:?}"),
    };
    assert_eq!(place, (damaged.segment, damaged.offset));
}

#[test]
fn damage_to_the_tail_that_was_never_synced_is_cut_in_silence() {
    let mut driver = Driver::fresh(small(LogKind::Durable));
    driver.settle();
    let kept = publish(&mut driver, 1);
    driver.flush();
    let torn = publish(&mut driver, 2);
    publish(&mut driver, 3);
    driver.flush();
    let file = format!("{DIR}/{:010}.segment", kept.segment.0);
    driver.fs.flip_bit(Path::new(&file), torn.offset as usize + 100, 3);
    let (_, recovered) = open(&driver.fs, small(LogKind::Durable), |_| true).unwrap();
    assert!(recovered.damage.is_empty());
    assert_eq!((recovered.messages, recovered.queues[0].next_seq), (1, Seq(2)));
}

#[test]
fn a_message_damaged_on_disk_is_not_delivered() {
    let mut driver = Driver::fresh(small(LogKind::Durable));
    driver.settle();
    let first = publish(&mut driver, 1);
    for seq in 2..200 {
        publish(&mut driver, seq);
        driver.settle();
    }
    let file = format!("{DIR}/{:010}.segment", first.segment.0);
    driver.fs.flip_bit(Path::new(&file), first.offset as usize + 100, 3);
    assert!(matches!(driver.read(first), Err(StoreError::Corrupt { .. })));
}

#[test]
fn a_discarded_run_frees_its_segment() {
    let mut driver = Driver::fresh(small(LogKind::Durable));
    for seq in 1..=1000 {
        publish(&mut driver, seq);
        driver.settle();
    }
    driver.flush();
    let (log, recovered) = open(&driver.fs, small(LogKind::Durable), |_| true).unwrap();
    let mut driver = Driver::new(&driver.fs, log, 1);
    let runs: &[Run] = &recovered.queues[0].runs;
    assert_eq!(runs.iter().map(|run| run.count).sum::<u32>(), 1000);
    for run in runs {
        driver.log.discard(QUEUE, run);
    }
    driver.flush();
    assert!(driver.log.figures().segments <= 1);
    let (_, recovered) = open(&driver.fs, small(LogKind::Durable), |_| true).unwrap();
    assert_eq!(recovered.messages, 0);
}

#[test]
fn messages_of_queues_that_are_gone_are_dead_after_reopening() {
    let mut driver = Driver::fresh(small(LogKind::Durable));
    for seq in 1..=100 {
        driver.log.append(&[(QUEUE, Seq(seq)), (QueueId(2), Seq(seq))], &[b"to both"]).unwrap();
    }
    driver.flush();
    let (_, recovered) = open(&driver.fs, small(LogKind::Durable), |queue| queue == QUEUE).unwrap();
    assert_eq!((recovered.messages, recovered.queues.len()), (100, 1));
    let (mut log, recovered) = open(&driver.fs, small(LogKind::Durable), |_| false).unwrap();
    assert_eq!(recovered.messages, 0);
    assert!(log.poll_io().is_some(), "dead segments are removed");
}

#[test]
fn acks_are_written_without_a_message_and_without_a_sync() {
    let mut driver = Driver::fresh(small(LogKind::Durable));
    let position = publish(&mut driver, 1);
    driver.flush();
    let syncs = driver.log.figures().syncs;
    driver.log.ack(QUEUE, Seq(1), position);
    assert!(driver.log.wants_tick());
    driver.tick();
    driver.tick();
    driver.settle();
    assert_eq!(driver.log.figures().syncs, syncs);
    assert!(!driver.log.wants_tick());
    // The process is killed: the page cache stays.
    let (_, recovered) = open(&driver.fs, small(LogKind::Durable), |_| true).unwrap();
    assert_eq!(recovered.messages, 0);
}

#[test]
fn a_volatile_queue_that_is_consumed_at_once_never_touches_the_disk() {
    let mut driver = Driver::fresh(small(LogKind::Volatile));
    for seq in 1..=10_000 {
        let position = publish(&mut driver, seq);
        assert!(driver.log.read(position).unwrap().is_some());
        driver.log.ack(QUEUE, Seq(seq), position);
        driver.settle();
    }
    assert_eq!((driver.log.figures().written_bytes, driver.fs.used_bytes()), (0, 0));
    assert!(driver.log.figures().window_bytes <= 4096);
}

#[test]
fn a_full_disk_keeps_volatile_messages_in_memory() {
    let mut driver = Driver::fresh(small(LogKind::Volatile));
    driver.fs.set_faults(Faults { capacity: Some(4096), ..Faults::default() });
    let mut positions = Vec::new();
    while let Ok(appended) = driver.log.append(&[(QUEUE, Seq(positions.len() as u64 + 1))], &[&[1; 200]]) {
        positions.push(appended.position);
        driver.settle();
    }
    assert!(driver.events.iter().any(|event| matches!(event, LogEvent::NoSpace(true))));
    for position in positions {
        assert_eq!(driver.read(position).unwrap(), [1; 200]);
    }
}

#[test]
fn a_record_that_fits_no_segment_is_refused() {
    let mut driver = Driver::fresh(small(LogKind::Durable));
    let error = driver.log.append(&[(QUEUE, Seq(1))], &[&vec![0; 16 << 10]]).unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { .. }));
    assert_eq!(publish(&mut driver, 1).segment, SegmentId(1));
}

/// Messages of a group of ten that are there after a power cut in the middle of writing it, and whether it was synced.
fn cut_while_writing(seed: u64, grouped: bool) -> (u64, bool) {
    let fs = SimFs::new(seed);
    let (log, _) = open(&fs, small(LogKind::Durable), |_| true).unwrap();
    let mut driver = Driver::new(&fs, log, seed);
    let before = publish(&mut driver, 1);
    driver.flush();
    let crash_after = Some(Random(seed).below(6));
    driver.fs.set_faults(Faults { crash_after, latency: 3, ..Faults::default() });
    let group = if grouped { driver.log.begin_group(10, 10, 2000) } else { None };
    assert_eq!(group.is_some(), grouped);
    let last = (2..=11).map(|seq| driver.log.append(&[(QUEUE, Seq(seq))], &[&[2; 200]]).unwrap().lsn).last();
    driver.log.ack(QUEUE, Seq(1), before);
    group.iter().for_each(|group| driver.log.end_group(group));
    driver.settle();
    let synced = last.is_some_and(|last| driver.log.durable() >= last);
    driver.fs.power_cut();
    let (_, recovered) = open(&driver.fs, small(LogKind::Durable), |_| true).unwrap();
    assert!(recovered.damage.is_empty(), "seed {seed}: {:?}", recovered.damage);
    // Recovering once more changes nothing.
    let (_, again) = open(&driver.fs, small(LogKind::Durable), |_| true).unwrap();
    assert_eq!(again.messages, recovered.messages, "seed {seed}");
    (recovered.messages, synced)
}

#[test]
fn a_group_is_all_there_after_a_power_cut_or_nothing_of_it() {
    let mut seen = [0; 2];
    for seed in 0..500 {
        match cut_while_writing(seed, true) {
            // The message before it is acked in the group.
            (10, _) => seen[1] += 1,
            (1, false) => seen[0] += 1,
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    assert!(seen.iter().all(|count| *count > 20), "{seen:?}");
    let torn = (0..500).filter(|seed| (2..11).contains(&cut_while_writing(*seed, false).0)).count();
    assert!(torn > 20, "without a group {torn} were torn");
}

#[test]
fn a_group_that_fits_no_segment_is_none() {
    let mut driver = Driver::fresh(small(LogKind::Durable));
    assert!(driver.log.begin_group(10, 10, 17 << 10).is_none());
    publish(&mut driver, 1);
    driver.flush();
    assert!(Driver::fresh(small(LogKind::Volatile)).log.begin_group(1, 1, 10).is_none());
}

#[test]
fn a_group_that_goes_beyond_its_segment_is_none() {
    let mut driver = Driver::fresh(small(LogKind::Durable));
    let group = driver.log.begin_group(1, 1, 200).unwrap();
    for seq in 1..200 {
        publish(&mut driver, seq);
        driver.settle();
    }
    driver.log.end_group(&group);
    driver.flush();
    let (_, recovered) = open(&driver.fs, small(LogKind::Durable), |_| true).unwrap();
    assert_eq!(recovered.messages, 199);
}

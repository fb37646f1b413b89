//! The promise of the log, on a disk that fails at random: what was confirmed is there after any crash, what was acked
//! and synced does not come back, nothing is there that was not published, and the order of each queue is kept.
//!
//! `RINGMQ_SIM_SEED` replays one seed, `RINGMQ_SIM_ROUNDS` sets how many are tried.

use std::collections::BTreeMap;
use std::env;

use broker_store::fs::{Faults, SimFs};
use broker_store::{Attempt, Entry, LogEvent, LogKind, Lsn, Position, QueueId, Recovered, Seq, StoreError};

use crate::harness::{Driver, Random, body_bytes, open, small};

const QUEUES: u64 = 5;
const CRASHES: usize = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Acked {
    No,
    /// A crash may undo it.
    Staged,
    Synced,
}

#[derive(Clone, Debug)]
struct Message {
    payload: u64,
    length: usize,
    lsn: Lsn,
    confirmed: bool,
    acked: Acked,
    position: Position,
    /// Deliveries told to the log, and how many of them are on disk.
    attempts: u32,
    attempts_synced: u32,
}

#[derive(Clone, Debug, Default)]
struct Queue {
    next: u64,
    messages: BTreeMap<Seq, Message>,
    delivered: u64,
    delivered_synced: u64,
    dropped: bool,
}

/// What must hold, whatever happens.
struct Simulation {
    random: Random,
    fs: SimFs,
    queues: BTreeMap<QueueId, Queue>,
    payloads: u64,
    /// Syncs are ignored, which must be noticed.
    canary: bool,
}

/// What the log is told when a message comes back for the n-th time.
fn attempt_of(count: u32) -> Attempt {
    Attempt { count, ready_ms: 1_000_000 * u64::from(count) }
}

fn payload(id: u64, length: usize) -> Vec<u8> {
    let mut random = Random(id);
    (0..length).map(|_| u8::try_from(random.below(256)).unwrap()).collect()
}

/// A promise that was broken.
type Broken = String;

/// Loads every run. They must be in order and hold what they say.
fn load(driver: &mut Driver, recovered: &Recovered) -> Result<BTreeMap<(QueueId, Seq), Position>, Broken> {
    let mut found = BTreeMap::new();
    for queue in &recovered.queues {
        if !queue.runs.windows(2).all(|pair| pair[0].last < pair[1].first) {
            return Err(format!("{queue:?}: order is lost"));
        }
        for run in &queue.runs {
            for entry in driver.load(queue.queue, run, 7) {
                found.insert((queue.queue, entry.seq), entry.position);
            }
            moved(driver, &mut found);
            let loaded = found.range((queue.queue, run.first)..=(queue.queue, run.last)).count();
            if loaded != run.count as usize {
                return Err(format!("{queue:?}: {run:?} has {loaded} entries"));
            }
        }
    }
    Ok(found)
}

/// Follows messages that the log moved.
fn moved(driver: &mut Driver, found: &mut BTreeMap<(QueueId, Seq), Position>) {
    driver.collect();
    for event in &driver.events {
        if let LogEvent::Moved { queue, entries, .. } = event {
            found.extend(entries.iter().map(|entry| ((*queue, entry.seq), entry.position)));
        }
    }
    driver.events.clear();
}

impl Simulation {
    fn new(seed: u64, canary: bool) -> Self {
        let queues = (1..=QUEUES).map(|queue| (QueueId(queue), Queue { next: 1, ..Queue::default() })).collect();
        Self { random: Random(seed), fs: SimFs::new(seed ^ 0xd15c), queues, payloads: 0, canary }
    }

    /// One life after another, each ended by a crash.
    fn run(&mut self) -> Result<(), Broken> {
        for _ in 0..CRASHES {
            let (mut driver, recovered) = self.open()?;
            self.check(&mut driver, &recovered)?;
            self.live(&mut driver)?;
            drop(driver);
            if self.fs.is_crashed() || self.canary || self.random.below(3) > 0 {
                self.fs.power_cut();
            } else {
                self.fs.set_faults(Faults::default());
            }
        }
        let (mut driver, recovered) = self.open()?;
        self.check(&mut driver, &recovered)
    }

    fn faults(&mut self) -> Faults {
        let mut chance = |one_in: u64, limit: u64| match self.random.below(one_in) {
            0 => Some(self.random.below(limit)),
            _ => None,
        };
        Faults {
            crash_after: chance(2, 3000),
            fail_sync_after: chance(8, 100),
            short_write_after: chance(8, 100),
            capacity: chance(6, 40).map(|blocks| 16 * 4096 + blocks * 4096),
            latency: chance(2, 5).unwrap_or(0),
            ignore_syncs: self.canary,
        }
    }

    /// Opens the log, sometimes after crashes inside of recovery, sometimes twice.
    fn open(&mut self) -> Result<(Driver, Recovered), Broken> {
        let dropped: Vec<QueueId> =
            self.queues.iter().filter(|(_, queue)| queue.dropped).map(|(&id, _)| id).collect();
        let is_live = |queue: QueueId| !dropped.contains(&queue);
        let options = small(LogKind::Durable);
        while self.random.below(3) == 0 {
            let crash_after = Some(self.random.below(30));
            self.fs.set_faults(Faults { crash_after, ..Faults::default() });
            drop(open(&self.fs, options, is_live));
            self.fs.power_cut();
        }
        let first = open(&self.fs, options, is_live).map_err(|error| error.to_string())?;
        let (log, recovered) = if self.random.below(2) == 0 {
            let second = open(&self.fs, options, is_live).map_err(|error| error.to_string())?;
            let key = |recovered: &Recovered| {
                let mut queues: Vec<_> =
                    recovered.queues.iter().map(|queue| (queue.queue, queue.messages, queue.next_seq)).collect();
                queues.sort_unstable();
                queues
            };
            if key(&first.1) != key(&second.1) {
                return Err(format!("recovering twice differs: {:?} {:?}", first.1, second.1));
            }
            second
        } else {
            first
        };
        if !recovered.damage.is_empty() && !self.canary {
            return Err(format!("damage where there is none: {:?}", recovered.damage));
        }
        Ok((Driver::new(&self.fs, log, self.random.below(u64::MAX)), recovered))
    }

    /// Compares what was recovered with what was promised, and takes it over.
    fn check(&mut self, driver: &mut Driver, recovered: &Recovered) -> Result<(), Broken> {
        for found in &recovered.queues {
            if self.queues.get(&found.queue).is_none_or(|queue| queue.dropped) {
                return Err(format!("{:?} was dropped or never there", found.queue));
            }
        }
        let mut found = load(driver, recovered)?;
        let messages: Vec<(QueueId, Seq)> = found.keys().copied().collect();
        for (id, seq) in messages {
            let Some(message) = self.queues[&id].messages.get(&seq) else {
                return Err(format!("{id:?} {seq:?} was not published, or acked long ago"));
            };
            if message.acked == Acked::Synced {
                return Err(format!("{id:?} {seq:?} comes back though its ack was synced"));
            }
            moved(driver, &mut found);
            let bytes = driver.read(found[&(id, seq)]).map_err(|error| error.to_string())?;
            if bytes != payload(message.payload, message.length) {
                return Err(format!("{id:?} {seq:?} has other bytes"));
            }
        }
        moved(driver, &mut found);
        for (&id, queue) in self.queues.iter_mut().filter(|(_, queue)| !queue.dropped) {
            for (&seq, message) in &queue.messages {
                if message.confirmed && message.acked == Acked::No && !found.contains_key(&(id, seq)) {
                    return Err(format!("{id:?} {seq:?} was confirmed and is lost"));
                }
            }
            queue.messages.retain(|&seq, _| found.contains_key(&(id, seq)));
            for (&seq, message) in &mut queue.messages {
                (message.confirmed, message.acked, message.position) = (true, Acked::No, found[&(id, seq)]);
            }
            let trace = recovered.queues.iter().find(|trace| trace.queue == id);
            let attempts: BTreeMap<Seq, Attempt> =
                trace.map_or_else(BTreeMap::new, |trace| trace.attempts.iter().copied().collect());
            let bodies: u64 = queue.messages.values().map(|message| body_bytes(message.length)).sum();
            let recovered = trace.map_or(0, |trace| trace.body_bytes);
            if recovered != bodies {
                return Err(format!("{id:?} has bodies of {recovered} bytes, not {bodies}"));
            }
            for (seq, message) in &mut queue.messages {
                let attempt = attempts.get(seq).copied().unwrap_or_default();
                if attempt != attempt_of(attempt.count) {
                    return Err(format!("{id:?} {seq:?}: {attempt:?} never was"));
                }
                let attempts = attempt.count;
                if !(message.attempts_synced..=message.attempts).contains(&attempts) {
                    let (synced, last) = (message.attempts_synced, message.attempts);
                    return Err(format!("{id:?} {seq:?}: {attempts} attempts, not {synced} to {last}"));
                }
                (message.attempts, message.attempts_synced) = (attempts, attempts);
            }
            let delivered = trace.map_or(0, |trace| trace.delivered_up_to.0);
            let mut messages = queue.messages.keys();
            if delivered > queue.delivered || messages.any(|s| s.0 > delivered && s.0 <= queue.delivered_synced) {
                return Err(format!("{id:?}: delivered up to {delivered}, not {}", queue.delivered_synced));
            }
            (queue.delivered, queue.delivered_synced) = (delivered, delivered);
            queue.next = trace.map_or(queue.next, |trace| trace.next_seq.0.max(1));
        }
        Ok(())
    }

    /// Works until the disk fails or enough was done.
    fn live(&mut self, driver: &mut Driver) -> Result<(), Broken> {
        let faults = self.faults();
        self.fs.set_faults(faults);
        let style = self.random.below(3);
        for _ in 0..self.random.below(3000) {
            match self.random.below(20) {
                0..=7 => self.publish(driver),
                8..=14 => self.ack(driver, style),
                15 => self.deliver(driver),
                16 => driver.tick(),
                17 if self.random.below(40) == 0 => self.flush(driver),
                18 if self.random.below(200) == 0 => self.drop_queue(driver),
                _ => {
                    for _ in 0..self.random.below(20) {
                        driver.step();
                    }
                }
            }
            self.events(driver)?;
            if driver.log.is_poisoned() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn publish(&mut self, driver: &mut Driver) {
        let mut targets: Vec<(QueueId, Seq)> = Vec::new();
        for _ in 0..=self.random.below(3) {
            let queue = QueueId(1 + self.random.below(QUEUES));
            if !self.queues[&queue].dropped && targets.iter().all(|(other, _)| *other != queue) {
                // Some numbers are used by messages in another log.
                let gap = self.random.below(2) * self.random.below(3);
                targets.push((queue, Seq(self.queues[&queue].next + gap)));
            }
        }
        let length = match self.random.below(30) {
            0 => self.random.index(5000),
            _ => self.random.index(300),
        };
        self.payloads += 1;
        let bytes = payload(self.payloads, length);
        let (head, tail) = bytes.split_at(length / 3);
        if targets.is_empty() {
            return;
        }
        let Ok(appended) = driver.log.append(&targets, &[head, tail]) else {
            return;
        };
        for (queue, seq) in targets {
            let queue = self.queues.get_mut(&queue).unwrap();
            queue.next = seq.0 + 1;
            let message = Message {
                payload: self.payloads,
                length,
                lsn: appended.lsn,
                confirmed: false,
                acked: Acked::No,
                position: appended.position,
                attempts: 0,
                attempts_synced: 0,
            };
            queue.messages.insert(seq, message);
        }
    }

    /// In order, at random, or all but some that stay for long.
    fn ack(&mut self, driver: &mut Driver, style: u64) {
        let id = QueueId(1 + self.random.below(QUEUES));
        let queue = self.queues.get_mut(&id).unwrap();
        let live: Vec<Seq> =
            queue.messages.iter().filter(|(_, m)| m.acked == Acked::No).map(|(&seq, _)| seq).collect();
        let seq = match style {
            _ if queue.dropped || live.is_empty() => return,
            0 => live[0],
            1 => live[self.random.index(live.len())],
            _ => match live.iter().find(|seq| seq.0 % 23 > 0) {
                Some(&seq) => seq,
                None => return,
            },
        };
        let message = queue.messages.get_mut(&seq).unwrap();
        message.acked = Acked::Staged;
        driver.log.ack(id, seq, message.position);
    }

    fn deliver(&mut self, driver: &mut Driver) {
        let id = QueueId(1 + self.random.below(QUEUES));
        let queue = self.queues.get_mut(&id).unwrap();
        if let Some((&seq, _)) = queue.messages.iter().find(|(_, message)| message.acked == Acked::No)
            && !queue.dropped
        {
            queue.delivered = queue.delivered.max(seq.0);
            driver.log.delivered(id, seq);
            let message = queue.messages.get_mut(&seq).unwrap();
            message.attempts += 1;
            driver.log.attempted(id, seq, attempt_of(message.attempts));
        }
    }

    fn flush(&mut self, driver: &mut Driver) {
        driver.log.flush();
        for _ in 0..2000 {
            driver.step();
        }
        if !driver.log.is_flushed() || driver.log.is_poisoned() {
            return;
        }
        for queue in self.queues.values_mut() {
            queue.delivered_synced = queue.delivered;
            queue.messages.values_mut().for_each(|message| message.attempts_synced = message.attempts);
            for message in queue.messages.values_mut().filter(|message| message.acked == Acked::Staged) {
                message.acked = Acked::Synced;
            }
        }
    }

    fn drop_queue(&mut self, driver: &mut Driver) {
        let id = QueueId(1 + self.random.below(QUEUES));
        let queue = self.queues.get_mut(&id).unwrap();
        for (&seq, message) in queue.messages.iter().filter(|(_, message)| message.acked == Acked::No) {
            driver.log.ack(id, seq, message.position);
        }
        driver.log.drop_queue(id);
        queue.dropped = true;
        queue.messages.clear();
    }

    fn events(&mut self, driver: &mut Driver) -> Result<(), Broken> {
        driver.collect();
        for event in std::mem::take(&mut driver.events) {
            match event {
                LogEvent::Durable(lsn) => {
                    let messages = self.queues.values_mut().flat_map(|queue| queue.messages.values_mut());
                    messages.filter(|message| message.lsn <= lsn).for_each(|message| message.confirmed = true);
                }
                LogEvent::Moved { queue, from, entries } => {
                    for Entry { seq, position, .. } in entries {
                        let message = self.queues.get_mut(&queue).and_then(|queue| queue.messages.get_mut(&seq));
                        match message {
                            Some(message) if message.acked == Acked::No && message.position.segment == from => {
                                message.position = position;
                            }
                            _ => return Err(format!("{queue:?} {seq:?} was moved though it is not live")),
                        }
                    }
                }
                LogEvent::Failed(error @ StoreError::Corrupt { .. }) => return Err(error.to_string()),
                _ => {}
            }
        }
        Ok(())
    }
}

fn rounds(default: u64) -> std::ops::Range<u64> {
    let number = |name| env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let rounds = number("RINGMQ_SIM_ROUNDS");
    match number("RINGMQ_SIM_SEED") {
        Some(seed) => seed..seed + rounds.unwrap_or(1),
        None => 0..rounds.unwrap_or(default),
    }
}

#[test]
fn promises_are_kept_on_a_failing_disk() {
    let seeds = rounds(60);
    eprintln!("seeds {seeds:?}");
    for seed in seeds {
        let outcome = Simulation::new(seed, false).run();
        assert!(outcome.is_ok(), "RINGMQ_SIM_SEED={seed}: {}", outcome.unwrap_err());
    }
}

#[test]
fn a_disk_that_ignores_syncs_is_caught() {
    let caught = (0..20).filter(|&seed| Simulation::new(seed, true).run().is_err()).count();
    assert!(caught > 10, "only {caught} of 20 runs noticed");
}

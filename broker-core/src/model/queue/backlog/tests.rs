//! A backlog gives out what was put in, in order, whatever is collapsed, loaded, put back and moved meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// Entries of a segment are 8 bytes apart here.
fn position(segment: u32, seq: u64) -> Position {
    let offset = u32::try_from(seq * 8).unwrap();
    Position { segment: SegmentId(segment), offset, length: 8 }
}

fn entry(log: LogKind, segment: u32, seq: u64) -> Entry {
    Entry::new(Seq(seq), position(segment, seq), 3, log, 0)
}

#[derive(Clone, Debug)]
enum Step {
    Push {
        durable: bool,
    },
    Pop,
    /// Puts back one of the popped messages.
    Requeue(usize),
    /// The active segment of both logs is sealed; the next one begins.
    Seal,
    /// The live messages of a sealed segment of the durable log move to the active one.
    Rewrite(usize),
    Purge,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        40 => any::<bool>().prop_map(|durable| Step::Push { durable }),
        25 => Just(Step::Pop),
        10 => any::<usize>().prop_map(Step::Requeue),
        4 => Just(Step::Seal),
        2 => any::<usize>().prop_map(Step::Rewrite),
        1 => Just(Step::Purge),
    ];
    // Pushes come in bursts, so that there is something to collapse.
    prop::collection::vec(step, 1..60)
}

/// What the logs know: where each live message is.
#[derive(Default)]
struct Model {
    live: BTreeMap<(bool, u64), u32>,
    ready: BTreeSet<u64>,
    popped: Vec<Entry>,
    next_seq: u64,
    active: u32,
    delivered: u64,
    backlog: Backlog,
}

impl Model {
    fn push(&mut self, durable: bool) {
        self.next_seq += 1;
        let log = if durable { LogKind::Durable } else { LogKind::Volatile };
        self.live.insert((durable, self.next_seq), self.active);
        self.ready.insert(self.next_seq);
        self.backlog.push_back(entry(log, self.active, self.next_seq));
    }

    /// Loads until the head is an entry.
    fn head(&mut self) -> Option<Entry> {
        loop {
            match self.backlog.head() {
                Head::Empty => return None,
                Head::Entry(entry) => return Some(entry),
                Head::Run(log, run) => self.load(log, run),
            }
        }
    }

    fn load(&mut self, log: LogKind, run: Run) {
        let durable = log == LogKind::Durable;
        let range = (durable, run.first.0)..=(durable, run.last.0);
        let in_run = self.live.range(range).filter(|(_, segment)| **segment == run.segment.0);
        let entries: Vec<Entry> = in_run.take(50).map(|((_, seq), segment)| entry(log, *segment, *seq)).collect();
        let through = if entries.len() == 50 { entries[49].seq } else { run.last };
        self.backlog.loaded(log, entries, through);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Push { durable } => (0..80).for_each(|_| self.push(*durable)),
            Step::Pop => (0..30).for_each(|_| self.pop()),
            Step::Requeue(which) if !self.popped.is_empty() => {
                let entry = self.popped.swap_remove(which % self.popped.len());
                self.ready.insert(entry.seq.0);
                self.backlog.insert(entry.again());
            }
            Step::Seal => {
                let segment = SegmentId(self.active);
                self.backlog.collapse(LogKind::Durable, segment, Seq(self.delivered));
                self.backlog.collapse(LogKind::Volatile, segment, Seq(self.delivered));
                self.active += 1;
            }
            Step::Rewrite(which) if self.active > 0 => {
                let old = u32::try_from(which % self.active as usize).unwrap();
                self.rewrite(old);
            }
            Step::Purge => {
                let mut entries = Vec::new();
                let mut runs = 0;
                self.backlog.take_all(|entry| entries.push(entry.seq.0), |_, run| runs += u64::from(run.count));
                assert_eq!(entries.len() as u64 + runs, self.ready.len() as u64);
                let held: BTreeSet<u64> = self.popped.iter().map(|entry| entry.seq.0).collect();
                self.live.retain(|(_, seq), _| held.contains(seq));
                self.ready.clear();
            }
            Step::Requeue(_) | Step::Rewrite(_) => {}
        }
        assert_eq!(self.backlog.len(), self.ready.len() as u64);
    }

    fn pop(&mut self) {
        let head = self.head();
        assert_eq!(head.map(|entry| entry.seq.0), self.ready.pop_first());
        let Some(head) = head else { return };
        let durable = head.log() == LogKind::Durable;
        assert_eq!(self.live.get(&(durable, head.seq.0)), Some(&head.position.segment.0));
        self.backlog.pop(head);
        self.delivered = self.delivered.max(head.seq.0);
        // Every third message is acked at once, the others are held.
        if head.seq.0 % 3 == 0 {
            self.live.remove(&(durable, head.seq.0));
        } else {
            self.popped.push(head);
        }
    }

    fn rewrite(&mut self, old: u32) {
        let active = self.active;
        let mut moved = Vec::new();
        for ((durable, seq), segment) in &mut self.live {
            if *durable && *segment == old {
                *segment = active;
                moved.push(broker_store::Entry { seq: Seq(*seq), position: position(active, *seq), body: 3 });
            }
        }
        self.backlog.relocate((LogKind::Durable, 0), SegmentId(old), &moved);
        for held in &mut self.popped {
            if held.log() == LogKind::Durable && held.position.segment.0 == old {
                held.position = position(active, held.seq.0);
            }
        }
    }
}

proptest! {
    #[test]
    fn gives_out_what_was_put_in_in_order(steps in steps()) {
        let mut model = Model::default();
        for step in &steps {
            model.step(step);
        }
        while !model.ready.is_empty() {
            model.pop();
        }
        prop_assert_eq!(model.backlog.head(), Head::Empty);
    }
}

#[test]
fn a_sealed_segment_keeps_the_head_loaded_and_nothing_else() {
    let mut backlog = Backlog::default();
    (1..=100_000).for_each(|seq| backlog.push_back(entry(LogKind::Durable, 1, seq)));
    backlog.collapse(LogKind::Durable, SegmentId(1), Seq(0));
    assert_eq!(backlog.len(), 100_000);
    assert_eq!(backlog.durable.pieces.len(), 2);
    let Some(Piece::Loaded(head)) = backlog.durable.pieces.front() else { panic!("the head is loaded") };
    assert_eq!(head.len(), HEAD_ENTRIES);
}

#[test]
fn an_idle_backlog_that_was_used_once_holds_little_memory() {
    let mut backlog = Backlog::default();
    (1..=100_000).for_each(|seq| backlog.push_back(entry(LogKind::Volatile, 1, seq)));
    while let Head::Entry(entry) = backlog.head() {
        backlog.pop(entry);
    }
    let Some(Piece::Loaded(rest)) = backlog.volatile.pieces.front() else { panic!("a piece stays") };
    assert!(rest.capacity() <= HEAD_ENTRIES);
}

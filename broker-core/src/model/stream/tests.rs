//! A stream between publishers and readers, on a log of small segments over a simulated disk that others use as well.

use std::path::Path;

use broker_store::fs::SimFs;
use broker_store::{LogEvent, LogKind, LogOptions, QueueId, perform, recover};
use futures_lite::future::block_on;
use proptest::prelude::*;

use super::*;
use crate::ids::{ChannelKey, ConsumerId, ShardId};
use crate::model::message::{Message, Stamp};
use crate::model::properties::Properties;
use crate::model::queue::DeadMessage;
use crate::model::stream::offset::OFFSET;
use crate::session::Delivery;

const STREAM: QueueId = QueueId(1);
const OTHER: QueueId = QueueId(2);
/// Bytes and milliseconds that a stream keeps.
type Limits = (Option<u64>, Option<u64>);

const NO_LIMITS: Limits = (None, None);

const DIR: &str = "/log";

fn channel(slot: u32) -> ChannelAddress {
    ChannelAddress { shard: ShardId(0), channel: ChannelKey { slot, epoch: 0 } }
}

/// Offsets as they came at each consumer, and what they are settled with.
#[derive(Debug, Default)]
struct Delivered(Vec<(u32, u64, DeliveryToken, u32)>);

impl Outlet for Delivered {
    fn deliver(&mut self, _: ShardId, delivery: Delivery<'_>) {
        let headers = Properties::parse(delivery.message.properties).unwrap().headers.unwrap();
        let (kind, offset) = header::find(headers, OFFSET).unwrap();
        assert_eq!(kind, b'l');
        let offset = u64::from_be_bytes(offset.try_into().unwrap());
        assert_eq!(delivery.message.body, offset.to_string().as_bytes());
        let window = delivery.window_bytes();
        self.0.push((delivery.consumer.0, offset, delivery.token.unwrap(), window));
    }

    fn takes_dead(&self) -> bool {
        false
    }

    fn dead_letter(&mut self, dead: DeadMessage<'_>) {
        panic!("a stream has no dead letters: {dead:?}");
    }
}

struct Bench {
    fs: SimFs,
    logs: Logs,
    stream: Stream,
    out: Delivered,
    consumers: Vec<ConsumerRef>,
    other: VecDeque<Entry>,
    other_seq: u64,
    moved: usize,
}

fn options(kind: LogKind) -> LogOptions {
    LogOptions { segment_bytes: 16 << 10, window_bytes: 8 << 10, ..LogOptions::new(kind) }
}

fn open(fs: &SimFs) -> (Logs, Option<broker_store::RecoveredQueue>) {
    let (durable, found) = block_on(recover(fs, Path::new(DIR), options(LogKind::Durable), |_| true)).unwrap();
    let (volatile, _) =
        block_on(recover(fs, Path::new("/volatile"), options(LogKind::Volatile), |_| true)).unwrap();
    (Logs { durable, volatile }, found.queues.into_iter().find(|found| found.queue == STREAM))
}

impl Bench {
    fn new(retention: Limits) -> Self {
        let fs = SimFs::new(1);
        let (logs, _) = open(&fs);
        let mut stream = Stream::new(QueueRef { queue: STREAM, shard: ShardId(0) });
        stream.retention_mut().set(retention.0, retention.1);
        let (out, consumers, other) = (Delivered::default(), Vec::new(), VecDeque::new());
        Self { fs, logs, stream, out, consumers, other, other_seq: 0, moved: 0 }
    }

    /// Appends a message whose body is its offset; it is not on disk yet.
    fn append(&mut self, time_ms: u64) {
        self.make_room();
        let seq = self.stream.take_seq();
        let body = (seq.0 - 1).to_string();
        let stamp = Stamp::at(time_ms);
        let message =
            Message { stamp, exchange: "", routing_key: "s", properties: &[0, 0], body: body.as_bytes() };
        let record = self.logs.durable.append(&[(STREAM, seq)], &message.parts(&message.lengths())).unwrap();
        self.stream.push(seq, record.position, record.lsn);
    }

    fn publish(&mut self, count: u64) {
        for _ in 0..count {
            self.append(0);
        }
        self.run();
    }

    /// Messages of another queue, which is emptied but for the last few.
    fn others(&mut self, count: u64) {
        for _ in 0..count {
            self.make_room();
            self.other_seq += 1;
            let seq = Seq(self.other_seq);
            let record = self.logs.durable.append(&[(OTHER, seq)], &[&[7; 200]]).unwrap();
            self.other.push_back(Entry { seq, position: record.position, body: 0 });
        }
        while self.other.len() > 3 {
            let entry = self.other.pop_front().unwrap();
            self.logs.durable.ack(OTHER, entry.seq, entry.position);
        }
        self.run();
    }

    fn make_room(&mut self) {
        if self.logs.durable.staged_bytes() > 4 << 10 {
            self.run();
        }
    }

    /// Carries out everything that the log and the stream want, until nothing is left.
    fn run(&mut self) {
        let mut quiet_rounds = 0;
        while quiet_rounds < 2 {
            self.logs.durable.flush();
            let mut quiet = true;
            while let Some(op) = self.logs.durable.poll_io() {
                self.logs.durable.handle_io(block_on(perform(&self.fs, op)));
                quiet = false;
            }
            while let Some(event) = self.logs.durable.poll_event() {
                match event {
                    LogEvent::Sealed(segment) => self.stream.segment_sealed(segment),
                    LogEvent::Moved { queue: STREAM, from, entries } => {
                        self.moved += entries.len();
                        self.stream.relocate(from, &entries);
                    }
                    LogEvent::Moved { from, entries, .. } => {
                        for entry in self.other.iter_mut().filter(|entry| entry.position.segment == from) {
                            if let Some(moved) = entries.iter().find(|moved| moved.seq == entry.seq) {
                                entry.position = moved.position;
                            }
                        }
                    }
                    _ => {}
                }
                quiet = false;
            }
            let idle = self.stream.pump(&mut self.out, &mut self.logs) == Pump::Idle;
            quiet_rounds = if quiet && idle { quiet_rounds + 1 } else { 0 };
        }
    }

    fn consume(&mut self, offset: OffsetSpec, prefetch_count: u16) -> u32 {
        let number = u32::try_from(self.consumers.len()).unwrap();
        let id = ConsumerId(number);
        let address = channel(number);
        let consumer = StreamConsumer {
            address,
            id,
            consumer_tag: "t".into(),
            exclusive: false,
            prefetch_count,
            filter: None,
        };
        let slot = self.stream.add_consumer(consumer, offset, 0);
        self.consumers.push(ConsumerRef { consumer: id, slot, queue: self.stream.at });
        self.run();
        number
    }

    /// Takes what a consumer has, settles it, and so on until there is no more.
    fn drain(&mut self, consumer: u32) -> Spans {
        let mut offsets = Vec::new();
        loop {
            let (mine, others): (Vec<_>, Vec<_>) = self.out.0.drain(..).partition(|(id, ..)| *id == consumer);
            self.out.0 = others;
            if mine.is_empty() {
                return spans(&offsets);
            }
            offsets.extend(mine.iter().map(|(_, offset, ..)| offset));
            let address = channel(consumer);
            let tokens: Vec<DeliveryToken> = mine.iter().map(|(_, _, token, _)| *token).collect();
            self.stream.settle(address, &tokens);
            let bytes = mine.iter().map(|(.., bytes)| bytes).sum();
            self.stream.return_window(address, self.consumers[consumer as usize], bytes);
            self.run();
        }
    }

    /// What a reader from the beginning sees.
    fn all(&mut self) -> Spans {
        let consumer = self.consume(OffsetSpec::First, 50);
        let seen = self.drain(consumer);
        self.stream.remove_consumer(channel(consumer), self.consumers[consumer as usize]);
        seen
    }

    /// The process dies; what was synced is found again.
    fn crash(&mut self, retention: Limits) {
        self.fs.power_cut();
        let (logs, found) = open(&self.fs);
        let found = found.expect("the stream has messages");
        self.logs = logs;
        let at = self.stream.at;
        self.stream = Stream::recovered(at, found.next_seq, found.runs);
        self.stream.retention_mut().set(retention.0, retention.1);
        self.consumers.clear();
        self.out.0.clear();
        self.other.clear();
    }
}

/// Offsets in the order in which they came: each run of successive ones as its first and what follows its last.
type Spans = Vec<(u64, u64)>;

fn spans(offsets: &[u64]) -> Spans {
    let successive = offsets.chunk_by(|a, b| a + 1 == *b);
    successive.map(|run| (run[0], run[run.len() - 1] + 1)).collect()
}

fn span(first: u64, end: u64) -> Spans {
    if first < end { vec![(first, end)] } else { Vec::new() }
}

#[test]
fn nothing_is_delivered_before_it_is_on_disk() {
    let mut bench = Bench::new(NO_LIMITS);
    let consumer = bench.consume(OffsetSpec::Next, 10);
    bench.append(0);
    assert_eq!(bench.stream.pump(&mut bench.out, &mut bench.logs), Pump::Idle);
    assert!(bench.out.0.is_empty());
    bench.run();
    assert_eq!(bench.drain(consumer), span(0, 1));
}

#[test]
fn every_offset_begins_where_it_says_over_many_segments() {
    let mut bench = Bench::new(NO_LIMITS);
    bench.publish(3000);
    assert!(bench.logs.durable.figures().segments > 10);
    assert!(bench.stream.extents.entries() < 400, "sealed segments are left to their indexes");
    for (offset, first) in [
        (OffsetSpec::First, 0),
        (OffsetSpec::Last, 2999),
        (OffsetSpec::Next, 3000),
        (OffsetSpec::Offset(1234), 1234),
        (OffsetSpec::Offset(5000), 5000),
    ] {
        let consumer = bench.consume(offset, 20);
        assert_eq!(bench.drain(consumer), span(first, 3000), "{offset:?}");
    }
}

#[test]
fn a_time_is_found_over_many_segments() {
    let mut bench = Bench::new(NO_LIMITS);
    for number in 0..3000 {
        bench.append(1000 + number / 3 * 10);
    }
    bench.run();
    for (time_ms, first) in [(0, 0), (1000, 0), (1001, 3), (6000, 1500), (10_990, 2997), (10_991, 3000)] {
        let consumer = bench.consume(OffsetSpec::Timestamp(time_ms), 100);
        assert_eq!(bench.drain(consumer), span(first, 3000), "{time_ms}");
    }
}

#[test]
fn consumers_at_different_places_do_not_disturb_each_other() {
    let mut bench = Bench::new(NO_LIMITS);
    bench.publish(2000);
    let starts = [0, 1990, 300, 1200, 7];
    let consumers: Vec<u32> = starts.iter().map(|start| bench.consume(OffsetSpec::Offset(*start), 3)).collect();
    bench.publish(500);
    for (consumer, start) in consumers.into_iter().zip(starts) {
        assert_eq!(bench.drain(consumer), span(start, 2500));
    }
}

#[test]
fn a_settled_delivery_of_a_consumer_that_went_is_nobody_s_credit() {
    let mut bench = Bench::new(NO_LIMITS);
    bench.publish(10);
    let gone = bench.consume(OffsetSpec::First, 2);
    let tokens: Vec<DeliveryToken> = bench.out.0.drain(..).map(|(_, _, token, _)| token).collect();
    assert!(bench.stream.remove_consumer(channel(gone), bench.consumers[gone as usize]));
    let stays = bench.consume(OffsetSpec::First, 2);
    assert_eq!(bench.out.0.len(), 2);
    assert!(!bench.stream.settle(channel(stays), &tokens) && !bench.stream.settle(channel(gone), &tokens));
    assert_eq!((bench.stream.unacked_count(), bench.stream.consumer_count()), (2, 1));
}

#[test]
fn a_stream_keeps_within_its_limit_in_bytes() {
    let mut bench = Bench::new((Some(20_000), None));
    for _ in 0..40 {
        bench.publish(100);
        let end = bench.stream.next_seq - 1;
        assert_eq!(bench.all(), span(end - bench.stream.message_count(), end));
        assert!(bench.stream.extents.bytes() <= 20_000);
    }
    assert!(bench.stream.message_count() > 100);
    assert!(bench.logs.durable.figures().segments < 12, "disk is given back");
}

#[test]
fn the_newest_message_stays_so_that_offsets_go_on_after_a_crash() {
    let mut bench = Bench::new((Some(1), None));
    bench.publish(500);
    assert_eq!(bench.all(), span(499, 500));
    bench.others(600);
    bench.crash((Some(1), None));
    assert_eq!(bench.all(), span(499, 500));
    bench.publish(1);
    assert_eq!(bench.all(), span(500, 501));
}

#[test]
fn messages_go_when_they_are_too_old() {
    let mut bench = Bench::new((None, Some(1000)));
    for number in 0..2000 {
        bench.append(number);
    }
    bench.run();
    assert_eq!(bench.stream.message_count(), 2000);
    for (now_ms, first) in [(1000, 0), (1500, 500), (2700, 1700), (9000, 1999)] {
        bench.stream.retention_mut().tick(now_ms);
        bench.run();
        assert_eq!(bench.all(), span(first, 2000), "{now_ms}");
    }
}

#[test]
fn a_segment_that_is_rewritten_keeps_the_stream() {
    let mut bench = Bench::new(NO_LIMITS);
    let behind = bench.consume(OffsetSpec::First, 2);
    for _ in 0..30 {
        bench.publish(5);
        bench.others(100);
    }
    assert!(bench.moved > 0, "nothing was rewritten");
    bench.publish(300);
    assert_eq!(bench.drain(behind), span(0, 450));
    bench.crash(NO_LIMITS);
    assert_eq!(bench.all(), span(0, 450));
    assert_eq!(bench.stream.extents.bytes(), bench.stream.extents.counted_bytes());
}

#[test]
fn a_deleted_stream_leaves_nothing_live() {
    let mut bench = Bench::new(NO_LIMITS);
    bench.publish(1000);
    bench.stream.drop_messages(&mut bench.logs);
    bench.run();
    assert_eq!(bench.logs.durable.figures().live_messages, 0);
    assert_eq!(bench.stream.message_count(), 0);
}

#[derive(Clone, Debug)]
enum Action {
    Publish(u64),
    Others(u64),
    Consume(u64, u16),
    Drain(usize),
    Crash,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (1..120_u64).prop_map(Action::Publish),
        3 => (1..150_u64).prop_map(Action::Others),
        2 => (0..800_u64, 1..40_u16).prop_map(|(offset, prefetch)| Action::Consume(offset, prefetch)),
        3 => (0..8_usize).prop_map(Action::Drain),
        1 => Just(Action::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_reader_sees_every_offset_once_in_order(actions in prop::collection::vec(action(), 1..40)) {
        let mut bench = Bench::new(NO_LIMITS);
        let mut published = 0;
        let mut readers: Vec<u64> = Vec::new();
        for action in actions {
            match action {
                Action::Publish(count) => {
                    bench.publish(count);
                    published += count;
                }
                Action::Others(count) => bench.others(count),
                Action::Consume(offset, prefetch) => {
                    bench.consume(OffsetSpec::Offset(offset), prefetch);
                    readers.push(offset);
                }
                Action::Drain(at) if at < readers.len() => {
                    let seen = bench.drain(u32::try_from(at).unwrap());
                    let end = published.max(readers[at]);
                    prop_assert_eq!(seen, span(readers[at], end));
                    readers[at] = end;
                }
                Action::Drain(_) => {}
                Action::Crash if published > 0 => {
                    bench.crash(NO_LIMITS);
                    readers.clear();
                }
                Action::Crash => {}
            }
            prop_assert_eq!(bench.stream.message_count(), published);
        }
        prop_assert_eq!(bench.all(), span(0, published));
    }
}

//! Delays on logs over a simulated disk.

use std::path::Path;

use amq_protocol::frame::WriteContext;
use amq_protocol::protocol::basic::{AMQPProperties, gen_properties};
use amq_protocol::types::{AMQPValue, FieldTable};
use broker_store::fs::SimFs;
use broker_store::{IoDone, LogEvent, LogOptions, perform, recover};
use futures_lite::future::block_on;
use proptest::prelude::*;

use super::*;
use crate::model::message::Stamp;

const STORE: QueueId = QueueId(7);
const NOW: u64 = 1_700_000_000_000;

fn with_header(name: &str, value: AMQPValue) -> Vec<u8> {
    let mut table = FieldTable::default();
    table.insert(name.into(), value);
    table.insert("zz".into(), AMQPValue::Boolean(true));
    let properties = AMQPProperties::default().with_headers(table).with_message_id("id".into());
    gen_properties(&properties)(WriteContext::from(Vec::new())).unwrap().into_inner().0
}

fn due(name: &str, value: AMQPValue) -> Option<u64> {
    due_at(&Properties::parse(&with_header(name, value)).unwrap(), NOW)
}

#[test]
fn delays_are_integers_or_their_digits() {
    assert_eq!(due(X_DELAY, AMQPValue::LongInt(5000)), Some(NOW + 5000));
    assert_eq!(due(X_DELAY, AMQPValue::LongLongInt(5_000_000_000)), Some(NOW + 5_000_000_000));
    assert_eq!(due(X_DELAY, AMQPValue::LongUInt(u32::MAX)), Some(NOW + u64::from(u32::MAX)));
    assert_eq!(due(X_DELAY, AMQPValue::LongString("70".into())), Some(NOW + 70));
    assert_eq!(due(X_DELAY, AMQPValue::LongLongInt(i64::MAX)), Some(NOW + MAX_EXPIRATION_MS));
    for none in [AMQPValue::LongInt(0), AMQPValue::LongInt(-5), AMQPValue::Void, AMQPValue::LongString("x".into())]
    {
        assert_eq!(due(X_DELAY, none), None);
    }
}

#[test]
fn a_time_of_delivery_is_milliseconds_or_a_timestamp() {
    let later = NOW + 1000;
    assert_eq!(due(X_DELIVERY_TIME, AMQPValue::LongLongInt(later.cast_signed())), Some(later));
    assert_eq!(due(X_DELIVERY_TIME, AMQPValue::Timestamp(later / 1000)), Some(later / 1000 * 1000));
    assert_eq!(due(X_DELIVERY_TIME, AMQPValue::LongLongInt((NOW - 1).cast_signed())), None);
}

#[test]
fn a_released_message_has_a_negative_delay() {
    for (value, expect) in [
        (AMQPValue::LongInt(5000), AMQPValue::LongInt(-5000)),
        (AMQPValue::LongUInt(u32::MAX), AMQPValue::LongLongInt(-i64::from(u32::MAX))),
        (AMQPValue::LongString("70".into()), AMQPValue::LongInt(-70)),
        (AMQPValue::LongInt(-70), AMQPValue::LongInt(-70)),
    ] {
        let properties = with_header(X_DELAY, value);
        let message =
            Message { stamp: Stamp::at(NOW), exchange: "x", routing_key: "k", properties: &properties, body: b"" };
        assert_eq!(released(&message).unwrap(), with_header(X_DELAY, expect));
    }
}

proptest! {
    #[test]
    fn a_lane_knows_its_time(delay in 0..MAX_EXPIRATION_MS, now in 0_u64..100_000_000_000_000, later in 0_u64..9_000_000_000) {
        let due = now + delay;
        let lane = lane_for(due, now);
        prop_assert!(lane < QueueId::LANES_END);
        let width = 1 << WIDTHS[(lane >> SPAN_BITS) as usize];
        let begin = begin_of(lane, now);
        prop_assert!(begin <= due && due - begin < width, "{begin} {due} {width}");
        // At most a part in a thousand off for what is far away; a second for what is near.
        prop_assert!(width <= 1024 || width < delay / 60, "{width} {delay}");
        // It stays so while the lane waits, and for weeks of downtime.
        prop_assume!(width > 1024 || later < (1 << (10 + SPAN_BITS)) - SPANS_AHEAD * 2048);
        prop_assert_eq!(begin_of(lane, now + later), begin);
    }
}

struct Bench {
    fs: SimFs,
    delays: Delays,
    logs: Logs,
}

impl Bench {
    fn new(segment_bytes: u32) -> Self {
        let fs = SimFs::new(1);
        let log = |kind| {
            let options = LogOptions {
                segment_bytes,
                window_bytes: 1 << 16,
                max_segment_records: 1 << 18,
                ..LogOptions::new(kind)
            };
            let opened = block_on(recover(&fs, Path::new(&format!("/{kind:?}")), options, |_| true));
            opened.expect("an empty disk has nothing to trip over").0
        };
        let logs = Logs { durable: log(LogKind::Durable), volatile: log(LogKind::Volatile) };
        Self { fs, delays: Delays::new(STORE), logs }
    }

    fn publish(&mut self, delay: u64, now: u64, body: &str) {
        let properties = with_header(X_DELAY, AMQPValue::LongLongInt(delay.cast_signed()));
        let message = Message {
            stamp: Stamp::at(now),
            exchange: "x",
            routing_key: "k",
            properties: &properties,
            body: body.as_bytes(),
        };
        let (lane, seq) = self.delays.take_seq(now + delay, now);
        let lengths = message.lengths();
        let record = self.logs.durable.append(&[(lane, seq)], &message.parts(&lengths)).unwrap();
        let waiting = Waiting { lane, seq, position: record.position, log: LogKind::Durable };
        self.delays.push(now + delay, now, waiting);
        self.settle();
    }

    /// Carries out what the logs want, and tells the delays.
    fn settle(&mut self) {
        while let Some(op) = self.logs.durable.poll_io() {
            let done: IoDone = block_on(perform(&self.fs, op));
            self.logs.durable.handle_io(done);
            while let Some(event) = self.logs.durable.poll_event() {
                match event {
                    LogEvent::Sealed(segment) => self.delays.segment_sealed(LogKind::Durable, segment),
                    LogEvent::Moved { queue, from, entries } => {
                        self.delays.relocate(queue, LogKind::Durable, from, &entries);
                    }
                    _ => {}
                }
            }
        }
    }

    /// Bodies that are due, in the order of release.
    fn release(&mut self, now: u64) -> Vec<String> {
        let mut bodies = Vec::new();
        loop {
            if self.delays.open(&mut self.logs, now) != Pump::Idle {
                self.settle();
                continue;
            }
            let Some(waiting) = self.delays.due(now) else { return bodies };
            match self.logs.read_at(waiting.log, waiting.position) {
                Read::Message(message) => bodies.push(String::from_utf8_lossy(message.body).into_owned()),
                Read::Elsewhere => {
                    self.logs.durable.page_in(waiting.position);
                    self.settle();
                    continue;
                }
                Read::Lost => panic!("nothing is damaged"),
            }
            self.delays.release();
            self.delays.arrived(&mut self.logs, waiting.seq);
            self.settle();
        }
    }

    fn in_memory(&self) -> usize {
        self.delays.open.len() + self.delays.closed.values().map(|lane| lane.entries.len()).sum::<usize>()
    }
}

#[test]
fn messages_are_released_in_the_order_in_which_they_are_due() {
    let mut bench = Bench::new(1 << 20);
    for (delay, body) in [(300, "b"), (90_000_000, "e"), (100, "a"), (300, "c"), (5_000_000, "d")] {
        bench.publish(delay, NOW, body);
    }
    assert_eq!(bench.delays.len(), 5);
    assert_eq!(bench.release(NOW + 99), [""; 0]);
    assert_eq!(bench.release(NOW + 100), ["a"]);
    assert_eq!(bench.release(NOW + 4_999_999), ["b", "c"]);
    assert!(bench.delays.next_wake_ms().is_some_and(|at| at <= NOW + 5_000_000));
    assert_eq!(bench.release(NOW + 90_000_000), ["d", "e"]);
    assert_eq!((bench.delays.len(), bench.delays.next_wake_ms()), (0, None));
}

#[test]
fn what_is_far_away_takes_no_memory_and_is_found_again_on_disk() {
    let mut bench = Bench::new(1 << 18);
    // Spread over nine hours, in an order that has nothing to do with the time.
    let delay_of = |number: u64| 10_000_000 + (number * 7919 % 5000) * 4_000;
    for number in 0..5000 {
        bench.publish(delay_of(number), NOW, &number.to_string());
    }
    assert!(bench.in_memory() < 2500, "{} of 5000 are in memory", bench.in_memory());
    let released = bench.release(NOW + 40_000_000);
    let mut expect: Vec<u64> = (0..5000).collect();
    expect.sort_by_key(|number| (delay_of(*number), *number));
    assert_eq!(released, expect.iter().map(u64::to_string).collect::<Vec<_>>());
    assert_eq!(bench.delays.len(), 0);
}

#[test]
fn a_refused_message_is_due_again() {
    let mut bench = Bench::new(1 << 20);
    bench.publish(100, NOW, "a");
    let waiting = bench.delays.due(NOW + 100).unwrap();
    bench.delays.release();
    assert_eq!((bench.delays.len(), bench.delays.due(NOW + 200)), (0, None));
    bench.delays.put_back(waiting.seq, NOW + 1100);
    assert_eq!(bench.release(NOW + 1099), [""; 0]);
    assert_eq!(bench.release(NOW + 1100), ["a"]);
}

#[test]
fn recovery_gives_every_lane_back() {
    let mut bench = Bench::new(1 << 20);
    for (delay, body) in [(300, "a"), (90_000_000, "d"), (5_000_000, "c"), (700, "b")] {
        bench.publish(delay, NOW, body);
    }
    assert_eq!(bench.release(NOW + 300), ["a"]);
    bench.logs.durable.flush();
    bench.settle();
    let options = LogOptions { segment_bytes: 1 << 20, ..LogOptions::new(LogKind::Durable) };
    let (log, found) =
        block_on(recover(&bench.fs, Path::new("/Durable"), options, |queue| queue.base() == STORE)).unwrap();
    bench.logs.durable = log;
    bench.delays = Delays::new(STORE);
    for lane in found.queues {
        bench.delays.recovered(lane.queue, lane.next_seq, lane.runs, NOW + 400);
    }
    bench.publish(800, NOW, "b2");
    let released = bench.release(NOW + 90_000_000);
    // The ack of the first may not have been written yet.
    let released: Vec<_> = released.iter().filter(|body| *body != "a").collect();
    assert_eq!(released, ["b", "b2", "c", "d"]);
}

#[test]
fn dropped_messages_leave_the_log() {
    let mut bench = Bench::new(1 << 18);
    for number in 0..2000_u64 {
        bench.publish(50 + number * 10_000, NOW, "m");
    }
    assert_eq!(bench.delays.open(&mut bench.logs, NOW + 100), Pump::Idle);
    bench.delays.drop_messages(&mut bench.logs);
    assert_eq!(bench.logs.durable.figures().live_messages, 0);
    assert!(bench.delays.is_empty());
}

/// Bodies and names of all messages, read in pages.
fn browse(bench: &mut Bench) -> Vec<(String, HeldId)> {
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let outcome = bench.delays.browse(&mut bench.logs, &mut after, 64, |held| {
            seen.push((String::from_utf8_lossy(held.message.body).into_owned(), held.id));
        });
        match outcome {
            Ok(shown) if shown < 64 => return seen,
            Ok(_) => after = after.map(|place| place.to_string().parse().unwrap()),
            Err(_) => bench.settle(),
        }
    }
}

#[test]
fn messages_on_disk_are_listed_once_and_can_be_cancelled() {
    let mut bench = Bench::new(1 << 18);
    bench.publish(10, NOW, "near");
    // All in one lane, most of them in runs.
    for number in 0..4000_u64 {
        bench.publish(36_000_000, NOW, &number.to_string());
    }
    assert!(bench.in_memory() < 2500, "{} of 4000 are in memory", bench.in_memory());
    let mut expect = vec!["near".to_owned()];
    expect.extend((0..4000).map(|number: u32| number.to_string()));
    let seen = browse(&mut bench);
    assert_eq!(seen.iter().map(|(body, _)| body).collect::<Vec<_>>(), expect.iter().collect::<Vec<_>>());
    for at in [0, 1, 2, 1500, 4000] {
        let id: HeldId = seen[at].1.to_string().parse().unwrap();
        let cancelled = loop {
            match bench.delays.cancel(&mut bench.logs, id) {
                Ok(cancelled) => break cancelled,
                Err(_) => bench.settle(),
            }
        };
        assert!(cancelled);
        assert_eq!(bench.delays.cancel(&mut bench.logs, id), Ok(false));
        expect.retain(|body| *body != seen[at].0);
    }
    assert_eq!(bench.delays.len(), 3996);
    assert_eq!(browse(&mut bench).len(), 3996);
    assert_eq!(bench.release(NOW + 36_000_000), expect);
    assert_eq!(bench.delays.len(), 0);
}

#[test]
fn all_can_be_cancelled_but_what_is_on_its_way() {
    let mut bench = Bench::new(1 << 18);
    for number in 0..3000_u64 {
        bench.publish(100 + number * 5000, NOW, "m");
    }
    let waiting = bench.delays.due(NOW + 100).unwrap();
    bench.delays.release();
    assert_eq!(bench.delays.cancel_all(&mut bench.logs), 2999);
    assert_eq!(bench.logs.durable.figures().live_messages, 1);
    bench.delays.arrived(&mut bench.logs, waiting.seq);
    assert_eq!(bench.logs.durable.figures().live_messages, 0);
    bench.publish(300, NOW, "new");
    assert_eq!(bench.release(NOW + 300), ["new"]);
}

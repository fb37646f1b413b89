//! A queue between publishers and consumers, on logs over a simulated disk.

use std::path::Path;

use broker_store::fs::SimFs;
use broker_store::{LogOptions, recover};
use futures_lite::future::block_on;

use super::*;
use crate::ids::{ChannelKey, ConsumerId};
use crate::model::message::{Message, Stamp};

const HERE: ShardId = ShardId(0);

fn channel(slot: u32) -> ChannelAddress {
    ChannelAddress { shard: HERE, channel: ChannelKey { slot, epoch: 0 } }
}

/// Deliveries as they came: consumer, body, redelivered, token.
#[derive(Debug, Default)]
struct Delivered(Vec<(u32, String, bool, Option<DeliveryToken>)>, Vec<(String, DeathReason, DeadToken)>);

impl Outlet for Delivered {
    fn deliver(&mut self, _: ShardId, delivery: Delivery<'_>) {
        let body = String::from_utf8_lossy(delivery.message.body).into_owned();
        self.0.push((delivery.consumer.0, body, delivery.redelivered, delivery.token));
    }

    fn takes_dead(&self) -> bool {
        true
    }

    fn dead_letter(&mut self, dead: DeadMessage<'_>) {
        let body = String::from_utf8_lossy(dead.message.body).into_owned();
        self.1.push((body, dead.reason, dead.token));
    }
}

impl Delivered {
    fn bodies(&mut self) -> Vec<String> {
        self.0.drain(..).map(|(_, body, ..)| body).collect()
    }
}

struct Bench {
    queue: Queue,
    logs: Logs,
    out: Delivered,
}

impl Bench {
    fn new() -> Self {
        let fs = SimFs::new(1);
        let log = |kind| {
            let options = LogOptions { window_bytes: 1 << 20, ..LogOptions::new(kind) };
            let opened = block_on(recover(&fs, Path::new(&format!("/{kind:?}")), options, |_| true));
            opened.expect("an empty disk has nothing to trip over").0
        };
        let logs = Logs { durable: log(LogKind::Durable), volatile: log(LogKind::Volatile) };
        let queue = Queue::new(QueueRef { queue: QueueId(1), shard: HERE });
        Self { queue, logs, out: Delivered::default() }
    }

    fn publish(&mut self, body: &str) {
        let message = Message {
            stamp: Stamp::default(),
            exchange: "",
            routing_key: "q",
            properties: &[0, 0],
            body: body.as_bytes(),
        };
        if self.queue.pass_through(&mut self.out, message) {
            return;
        }
        let number = self.queue.take_number(0);
        let targets = [number];
        let lengths = message.lengths();
        let record = self.logs.volatile.append(&targets, &message.parts(&lengths)).unwrap();
        self.queue.push(
            &mut self.out,
            &mut self.logs,
            (number, LogKind::Volatile, record.position),
            message,
            false,
        );
    }

    /// Publishes at `now_ms` with these properties, as a shard does.
    fn publish_with(&mut self, body: &str, properties: &[u8], now_ms: u64) {
        let traits =
            crate::model::message::Traits::of(&crate::model::properties::Properties::parse(properties).unwrap());
        let stamp = Stamp::at(now_ms);
        let message = Message { stamp, exchange: "", routing_key: "q", properties, body: body.as_bytes() };
        let number = self.queue.take_number(traits.priority);
        let lengths = message.lengths();
        let record = self.logs.volatile.append(&[number], &message.parts(&lengths)).unwrap();
        let stored = (number, LogKind::Volatile, record.position);
        if self.queue.push(&mut self.out, &mut self.logs, stored, message, traits.expires) {
            assert_ne!(self.pump_at(now_ms), Pump::PageIn(LogKind::Volatile));
        }
    }

    fn pump_at(&mut self, now_ms: u64) -> Pump {
        self.queue.pump(&mut self.out, &mut self.logs, now_ms)
    }

    fn with_settings(settings: settings::QueueSettings) -> Self {
        let mut bench = Self::new();
        bench.queue.set_settings(Some(Box::new(settings)));
        bench
    }

    /// The dead letters that were handed out: body and reason.
    fn dead(&mut self) -> Vec<(String, DeathReason)> {
        self.out.1.drain(..).map(|(body, reason, _)| (body, reason)).collect()
    }

    fn consume(&mut self, id: u32, prefetch_count: u16, no_ack: bool) -> ConsumerSlot {
        let slot = self.queue.add_consumer(Consumer {
            address: channel(id),
            id: ConsumerId(id),
            consumer_tag: "t".into(),
            no_ack,
            exclusive: false,
            prefetch_count,
            priority: 0,
            timeout_ms: None,
            arguments: None,
        });
        self.pump();
        slot
    }

    fn pump(&mut self) {
        assert_eq!(self.queue.pump(&mut self.out, &mut self.logs, 0), Pump::Idle);
    }

    fn settle(&mut self, id: u32, token: DeliveryToken, settlement: Settlement) {
        self.queue.settle(&mut self.logs, channel(id), &[token], settlement);
        self.pump();
    }
}

#[test]
fn messages_wait_for_a_consumer_and_come_in_order() {
    let mut bench = Bench::new();
    for body in ["a", "b", "c"] {
        bench.publish(body);
    }
    assert_eq!(bench.queue.message_count(), 3);
    bench.consume(1, 0, true);
    bench.publish("d");
    assert_eq!(bench.out.bodies(), ["a", "b", "c", "d"]);
    assert_eq!((bench.queue.message_count(), bench.queue.unacked_count()), (0, 0));
}

#[test]
fn a_requeued_message_returns_to_its_place_and_is_redelivered() {
    let mut bench = Bench::new();
    for body in ["a", "b", "c"] {
        bench.publish(body);
    }
    bench.consume(1, 1, false);
    let (_, first, redelivered, token) = bench.out.0.remove(0);
    assert_eq!((first.as_str(), redelivered), ("a", false));
    bench.settle(1, token.unwrap(), Settlement::Requeue);
    let (_, again, redelivered, token) = bench.out.0.remove(0);
    assert_eq!((again.as_str(), redelivered), ("a", true));
    bench.settle(1, token.unwrap(), Settlement::Ack);
    assert_eq!(bench.out.bodies(), ["b"]);
}

#[test]
fn a_closed_channel_gives_back_what_it_held() {
    let mut bench = Bench::new();
    for body in ["a", "b", "c"] {
        bench.publish(body);
    }
    bench.consume(1, 2, false);
    bench.consume(2, 0, false);
    assert_eq!(bench.out.bodies(), ["a", "b", "c"]);
    bench.queue.remove_channel(&mut bench.logs, channel(1));
    bench.pump();
    assert_eq!(
        bench.out.0.iter().map(|(id, body, again, _)| (*id, body.as_str(), *again)).collect::<Vec<_>>(),
        [(2, "a", true), (2, "b", true)]
    );
    assert!(!bench.queue.is_abandoned());
    bench.queue.remove_channel(&mut bench.logs, channel(2));
    assert!(bench.queue.is_abandoned());
    assert_eq!(bench.queue.message_count(), 3);
}

#[test]
fn another_channel_cannot_settle_a_delivery() {
    let mut bench = Bench::new();
    bench.publish("a");
    bench.consume(1, 0, false);
    let token = bench.out.0[0].3.unwrap();
    bench.settle(2, token, Settlement::Ack);
    assert_eq!(bench.queue.unacked_count(), 1);
    bench.settle(1, token, Settlement::Ack);
    assert_eq!(bench.queue.unacked_count(), 0);
}

#[test]
fn a_consumer_gets_no_more_than_its_window() {
    let mut bench = Bench::new();
    let slot = bench.consume(1, 0, true);
    let body = "x".repeat(100_000);
    (0..20).for_each(|_| bench.publish(&body));
    let given = bench.out.0.len();
    let window = crate::limits::CONSUMER_WINDOW_BYTES as usize;
    assert_eq!(given, window.div_ceil(100_000 + 2 + crate::limits::DELIVERY_OVERHEAD_BYTES as usize));
    assert_eq!(bench.queue.message_count(), 20 - given as u64);
    let consumer = ConsumerRef { consumer: ConsumerId(1), slot, queue: bench.queue.at };
    assert!(bench.queue.return_window(channel(1), consumer, 200_000));
    bench.pump();
    assert!(bench.out.0.len() > given);
}

#[test]
fn get_takes_the_oldest_and_counts_what_is_left() {
    let mut bench = Bench::new();
    for body in ["a", "b"] {
        bench.publish(body);
    }
    let mut seen = None;
    let got = bench.queue.get(&mut bench.logs, channel(1), false, 0, |got| {
        seen = Some((got.message.body.to_vec(), got.message_count, got.token));
    });
    assert_eq!(got, Get::Done);
    let (body, left, token) = seen.unwrap();
    assert_eq!((body.as_slice(), left), (b"a".as_slice(), 1));
    bench.settle(1, token.unwrap(), Settlement::Reject);
    assert_eq!(bench.queue.purge(&mut bench.logs), 1);
    assert_eq!(bench.queue.get(&mut bench.logs, channel(1), true, 0, |_| {}), Get::Empty);
}

fn with_settings(settings: settings::QueueSettings) -> Bench {
    let mut bench = Bench::new();
    bench.queue.set_settings(Some(Box::new(settings)));
    bench
}

#[test]
fn returned_messages_of_a_quorum_queue_go_out_in_the_order_of_their_return() {
    let mut bench = with_settings(settings::QueueSettings { quorum: true, ..Default::default() });
    for body in ["a", "b", "c", "d"] {
        bench.publish(body);
    }
    bench.consume(1, 3, false);
    let tokens: Vec<_> = bench.out.0.drain(..).filter_map(|(.., token)| token).collect();
    // Its prefetch is 3, so each that comes back goes out again at once.
    bench.queue.settle(&mut bench.logs, channel(1), &[tokens[2], tokens[0]], Settlement::Requeue);
    assert_eq!(bench.queue.message_count(), 3);
    bench.pump();
    assert_eq!(bench.out.bodies(), ["c", "a"]);
    assert_eq!((bench.queue.message_count(), bench.queue.unacked_count()), (1, 3));
}

#[test]
fn a_message_dies_when_it_comes_back_once_too_often() {
    let settings = settings::QueueSettings {
        delivery_limit: Some(2),
        dead_letter: Some(settings::DeadLetter {
            exchange: "dlx".into(),
            routing_key: None,
            at_least_once: false,
        }),
        ..Default::default()
    };
    let mut bench = with_settings(settings);
    bench.publish("a");
    bench.consume(1, 1, false);
    for _ in 0..3 {
        let (.., token) = bench.out.0.remove(0);
        bench.settle(1, token.unwrap(), Settlement::Requeue);
    }
    assert!(bench.out.0.is_empty());
    let died = bench.out.1.remove(0);
    assert_eq!((died.0.as_str(), died.1), ("a", DeathReason::DeliveryLimit));
}

#[test]
fn a_delayed_message_is_ready_when_its_wait_is_over() {
    use settings::{DelayedRetry, DelayedRetryType, QueueSettings};
    let delay = DelayedRetry { kind: DelayedRetryType::Returned, min_ms: 100, max_ms: 150 };
    let mut bench = with_settings(QueueSettings { delayed_retry: Some(delay), ..Default::default() });
    bench.publish("a");
    bench.publish("b");
    bench.consume(1, 1, false);
    let mut now_ms = 0;
    for wait_ms in [100, 150, 150] {
        let (_, body, _, token) = bench.out.0.remove(0);
        assert_eq!(body, "a");
        bench.queue.settle(&mut bench.logs, channel(1), &[token.unwrap()], Settlement::Requeue);
        assert_eq!(bench.queue.pump(&mut bench.out, &mut bench.logs, now_ms), Pump::Idle);
        assert_eq!((bench.queue.delayed_count(), bench.queue.due_ms()), (1, Some(now_ms + wait_ms)));
        let (_, body, _, token) = bench.out.0.remove(0);
        assert_eq!(body, "b");
        now_ms += wait_ms;
        assert_eq!(bench.queue.pump(&mut bench.out, &mut bench.logs, now_ms), Pump::Idle);
        assert_eq!(bench.queue.delayed_count(), 0);
        // A failure is not delayed: b is back behind a.
        bench.queue.settle(&mut bench.logs, channel(1), &[token.unwrap()], Settlement::RequeueFailed);
        assert_eq!(bench.queue.pump(&mut bench.out, &mut bench.logs, now_ms), Pump::Idle);
    }
    assert_eq!(bench.queue.purge(&mut bench.logs), 1);
}

fn mortal() -> settings::QueueSettings {
    let dead_letter = settings::DeadLetter { exchange: "x".into(), routing_key: None, at_least_once: false };
    settings::QueueSettings { dead_letter: Some(dead_letter), ..settings::QueueSettings::default() }
}

#[test]
fn the_head_expires_when_it_is_due_and_not_before() {
    let mut bench = Bench::with_settings(settings::QueueSettings { message_ttl_ms: Some(10), ..mortal() });
    bench.publish_with("a", &[0, 0], 100);
    bench.publish_with("b", &[0, 0], 105);
    assert_eq!(bench.queue.due_ms(), Some(110));
    assert_eq!(bench.pump_at(109), Pump::Idle);
    assert_eq!((bench.dead(), bench.queue.message_count()), (vec![], 2));
    assert_eq!(bench.pump_at(110), Pump::Idle);
    assert_eq!(bench.dead(), [("a".to_owned(), DeathReason::Expired)]);
    assert_eq!(bench.queue.due_ms(), Some(115));
}

#[test]
fn a_message_leaves_its_log_when_its_dead_letter_has_arrived() {
    let mut bench = Bench::with_settings(settings::QueueSettings { max_length: Some(0), ..mortal() });
    bench.publish_with("a", &[0, 0], 1);
    let (_, reason, token) = bench.out.1.remove(0);
    assert_eq!((reason, bench.logs.volatile.figures().live_messages), (DeathReason::Maxlen, 1));
    bench.queue.not_buried(token, 1);
    assert_eq!(bench.pump_at(2), Pump::Idle);
    assert!(bench.out.1.is_empty(), "it waits");
    let due = bench.queue.due_ms().unwrap();
    assert_eq!(bench.pump_at(due), Pump::Idle);
    let (_, _, token) = bench.out.1.remove(0);
    bench.queue.buried(&mut bench.logs, token);
    assert_eq!(bench.logs.volatile.figures().live_messages, 0);
}

#[test]
fn a_million_messages_do_not_expire_in_one_turn() {
    let mut bench = Bench::with_settings(settings::QueueSettings {
        message_ttl_ms: Some(10),
        ..settings::QueueSettings::default()
    });
    (0..5000).for_each(|_| bench.publish_with("m", &[0, 0], 1));
    let mut turns = 1;
    while bench.pump_at(11) == Pump::Again {
        turns += 1;
    }
    assert!(turns > 5, "{turns}");
    assert_eq!((bench.queue.message_count(), bench.logs.volatile.figures().live_messages), (0, 0));
}

#[test]
fn bytes_are_counted_through_unacked_and_requeued_messages() {
    let settings = settings::QueueSettings { max_length_bytes: Some(6), ..mortal() };
    let mut bench = Bench::with_settings(settings);
    bench.publish_with("aaa", &[0, 0], 1);
    bench.publish_with("bbb", &[0, 0], 1);
    bench.consume(1, 1, false);
    bench.publish_with("ccc", &[0, 0], 1);
    assert_eq!(bench.dead(), []);
    bench.queue.remove_channel(&mut bench.logs, channel(1));
    assert_eq!(bench.pump_at(1), Pump::Idle);
    assert_eq!(bench.dead(), [("aaa".to_owned(), DeathReason::Maxlen)]);
    assert_eq!(bench.queue.message_count(), 2);
}

#[test]
fn an_unused_queue_is_expired_after_its_time() {
    let mut bench = Bench::with_settings(settings::QueueSettings {
        expires_ms: Some(50),
        ..settings::QueueSettings::default()
    });
    assert_eq!(bench.pump_at(100), Pump::Idle);
    assert_eq!(bench.queue.due_ms(), Some(150));
    assert!(!bench.queue.is_expired(149) && bench.queue.is_expired(150));
    bench.queue.touch();
    assert_eq!(bench.pump_at(140), Pump::Idle);
    assert!(!bench.queue.is_expired(150) && bench.queue.is_expired(190));
}

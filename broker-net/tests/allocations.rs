//! Promise: publishing and delivering small messages allocates nothing per message, in the codec and in the channel.
#![expect(unsafe_code, reason = "a global allocator that counts")]
#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use std::sync::Arc;

use amq_protocol::protocol::{AMQPClass, basic, channel, connection, queue};
use broker_core::model::message::{Message, Stamp};
use broker_core::model::properties::Properties;
use broker_core::shard::driver::{self, ShardHandle};
use broker_net::amqp::codec::{
    ChannelId, ContentHeader, DeliverPrefix, DeliveryTag, FrameKind, Method, MethodId, next_frame, write_ack,
    write_deliver, write_method,
};
use broker_net::amqp::{Connection, InputState, Node, Outputs, Peer};

/// The system's allocator, counting the calls of each thread that ask for memory.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending has no counter any more; nobody asks for its count.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const FRAME_MAX: u32 = 131_072;

/// How many allocations this thread makes in `work`.
fn allocations_in(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

/// A persistent publish to the queue hello.
fn publish_frames() -> Vec<u8> {
    let method: &[u8] = b"\x00\x3c\x00\x28\x00\x00\x00\x05hello\x00";
    let header: &[u8] = b"\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0c\x10\x00\x02";
    let mut bytes = Vec::new();
    for (kind, payload) in [(1, method), (2, header), (3, b"Hello World!")] {
        bytes.extend_from_slice(&[kind, 0, 1]);
        bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes.push(206);
    }
    bytes
}

/// Reads every publish in `bytes` and delivers and confirms each at once.
fn relay(mut bytes: &[u8], prefix: &DeliverPrefix, out: &mut Vec<u8>) -> u64 {
    let mut messages = 0;
    let (mut exchange, mut routing_key, mut properties) = ("", "", &[][..]);
    while let Some((frame, consumed)) = next_frame(bytes, FRAME_MAX).unwrap() {
        bytes = &bytes[consumed..];
        match frame.kind {
            FrameKind::Method => {
                let Method::Publish(publish) = Method::parse(frame.payload).unwrap() else { panic!() };
                (exchange, routing_key) = (publish.exchange, publish.routing_key);
            }
            FrameKind::Header => {
                properties = ContentHeader::parse(frame.payload).unwrap().properties;
                assert!(Properties::parse(properties).unwrap().is_persistent());
            }
            FrameKind::Body => {
                messages += 1;
                let message =
                    Message { stamp: Stamp::default(), exchange, routing_key, properties, body: frame.payload };
                write_deliver(out, prefix, DeliveryTag(messages), false, &message, FRAME_MAX);
                write_ack(out, frame.channel, DeliveryTag(messages), false);
            }
            FrameKind::Heartbeat => {}
        }
    }
    messages
}

#[test]
fn codec_allocates_nothing_per_small_message() {
    let input = publish_frames().repeat(1000);
    let prefix = DeliverPrefix::new(ChannelId(1), "ctag");
    let mut out = Vec::new();
    // The buffer grows to its size the first time.
    assert_eq!(relay(&input, &prefix, &mut out), 1000);
    let allocations = allocations_in(|| {
        for _ in 0..10 {
            out.clear();
            assert_eq!(relay(&input, &prefix, &mut out), 1000);
        }
    });
    assert_eq!(allocations, 0, "allocations in 10000 messages");
}

/// A client without a socket, on the shard's thread.
struct Client {
    handle: ShardHandle<Outputs>,
    connection: Connection,
    /// Sent and not taken yet.
    input: Vec<u8>,
    /// Messages received.
    delivered: u64,
    /// Methods received that are no deliveries.
    answers: u64,
}

impl Client {
    /// Connected, with the queue hello and a consumer of it on channel 1.
    async fn start(handle: ShardHandle<Outputs>, no_ack: bool) -> Self {
        let peer = Peer::plain("127.0.0.1:40000".parse().unwrap());
        let node = Arc::new(Node::default());
        let connection = handle.enter(|_, outputs| Connection::new(peer, node, outputs, 0));
        let mut client =
            Self { handle, connection, input: b"AMQP\x00\x00\x09\x01".to_vec(), delivered: 0, answers: 0 };
        client.answers(1).await;
        client.send(
            0,
            AMQPClass::Connection(connection::AMQPMethod::StartOk(connection::StartOk {
                mechanism: "PLAIN".into(),
                response: "\0guest\0guest".into(),
                locale: "en_US".into(),
                ..Default::default()
            })),
        );
        client.answers(2).await;
        let tune_ok = connection::TuneOk { channel_max: 1, frame_max: FRAME_MAX, heartbeat: 0 };
        client.send(0, AMQPClass::Connection(connection::AMQPMethod::TuneOk(tune_ok)));
        let open = connection::Open { virtual_host: "/".into() };
        client.send(0, AMQPClass::Connection(connection::AMQPMethod::Open(open)));
        client.answers(3).await;
        client.send(1, AMQPClass::Channel(channel::AMQPMethod::Open(channel::Open {})));
        let declare = queue::Declare { queue: "hello".into(), ..Default::default() };
        client.send(1, AMQPClass::Queue(queue::AMQPMethod::Declare(declare)));
        let consume = basic::Consume { queue: "hello".into(), no_ack, ..Default::default() };
        client.send(1, AMQPClass::Basic(basic::AMQPMethod::Consume(consume)));
        client.answers(6).await;
        client
    }

    fn send(&mut self, channel: u16, method: AMQPClass) {
        write_method(&mut self.input, ChannelId(channel), &method);
    }

    /// Goes on until this many answers have come.
    async fn answers(&mut self, count: u64) {
        while self.answers < count {
            self.turn();
            self.handle.yield_now().await;
        }
    }

    /// Goes on until this many messages were delivered.
    async fn deliveries(&mut self, count: u64) {
        while self.delivered < count {
            self.turn();
            self.handle.yield_now().await;
        }
    }

    /// Has the connection take its input and reads what it writes.
    fn turn(&mut self) {
        self.handle.enter(|shard, outputs| {
            let input = self.connection.handle_input(&self.input, shard, outputs, 0);
            assert_ne!(input.state, InputState::Closed);
            self.input.drain(..input.consumed);
            let Some(bytes) = outputs.flush(self.connection.key()) else {
                return;
            };
            let mut rest = bytes.as_slice();
            while let Some((frame, consumed)) = next_frame(rest, FRAME_MAX).unwrap() {
                rest = &rest[consumed..];
                if frame.kind == FrameKind::Method {
                    let delivery = MethodId::of(frame.payload) == Some(MethodId::new(60, 60));
                    *(if delivery { &mut self.delivered } else { &mut self.answers }) += 1;
                }
            }
            outputs.written(self.connection.key(), bytes, shard);
        });
    }
}

/// Allocations while this many messages are published and delivered (and acknowledged) on one connection, after
/// some that nobody counts.
fn allocations_of_messages(rounds: u64, no_ack: bool) -> u64 {
    const BATCH: u64 = 100;
    let directory = tempfile::tempdir().unwrap();
    let config = driver::Config {
        data_dir: directory.path().into(),
        shards: 1,
        cpus: vec![0],
        defaults: driver::Defaults::default(),
    };
    let (done, finished) = flume::bounded(1);
    let serve = move |handle| {
        let done = done.clone();
        async move {
            let publishes = publish_frames().repeat(usize::try_from(BATCH).unwrap());
            let mut client = Client::start(handle, no_ack).await;
            let mut allocations = 0;
            for round in 1..=2 * rounds {
                let during = allocations_in(|| {
                    client.input.extend_from_slice(&publishes);
                    client.turn();
                });
                client.deliveries(round * BATCH).await;
                let settling = allocations_in(|| {
                    if !no_ack {
                        write_ack(&mut client.input, ChannelId(1), DeliveryTag(round * BATCH), true);
                        client.turn();
                    }
                });
                if round > rounds {
                    allocations += during + settling;
                }
            }
            done.send(allocations).unwrap();
        }
    };
    let running = driver::start(&config, |_| Outputs::new(1), serve).unwrap();
    let allocations = finished.recv().unwrap();
    running.stop();
    allocations
}

#[test]
fn channel_allocates_nothing_per_message_that_a_consumer_takes_at_once() {
    let allocations = allocations_of_messages(100, true);
    assert!(allocations <= 100, "{allocations} allocations in 10000 messages");
}

#[test]
fn channel_allocates_nothing_per_message_that_is_acknowledged() {
    let allocations = allocations_of_messages(100, false);
    assert!(allocations <= 100, "{allocations} allocations in 10000 messages");
}

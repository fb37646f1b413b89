//! Promise: reading publishes and writing delivers of small messages allocates nothing per message.
#![expect(unsafe_code, reason = "a global allocator that counts")]
#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use broker_core::model::message::Message;
use broker_net::amqp::codec::{
    ChannelId, ContentHeader, DeliverPrefix, DeliveryTag, FrameKind, Method, Properties, next_frame,
    write_ack, write_deliver,
};

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
                let Method::Publish(publish) = Method::parse(frame.payload).unwrap() else {
                    panic!()
                };
                (exchange, routing_key) = (publish.exchange, publish.routing_key);
            }
            FrameKind::Header => {
                properties = ContentHeader::parse(frame.payload).unwrap().properties;
                assert!(Properties::parse(properties).unwrap().is_persistent());
            }
            FrameKind::Body => {
                messages += 1;
                let message = Message {
                    exchange,
                    routing_key,
                    properties,
                    body: frame.payload,
                };
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

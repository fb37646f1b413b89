//! Nanoseconds to read one publish and to write one deliver, in the codec alone.
//!
//! `cargo bench -p broker-bench --bench codec` measures; `cargo test` runs each once.

use std::hint::black_box;

use broker_core::model::message::{Message, Stamp};
use broker_core::model::properties::Properties;
use broker_net::amqp::codec::{
    ChannelId, ContentHeader, DeliverPrefix, DeliveryTag, Method, next_frame, write_deliver,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const FRAME_MAX: u32 = 131_072;

/// Messages in a buffer, as one read of the socket finds them.
const BATCH: u32 = 64;

/// A persistent publish to the default exchange: method, header and body frames.
fn publish(body_bytes: usize) -> Vec<u8> {
    let routing_key = b"orders.eu";
    let mut arguments = vec![0, 60, 0, 40, 0, 0, 0, 9];
    arguments.extend_from_slice(routing_key);
    arguments.push(0);
    let mut header = vec![0, 60, 0, 0];
    header.extend_from_slice(&(body_bytes as u64).to_be_bytes());
    header.extend_from_slice(&[0x10, 0, 2]);
    let mut bytes = Vec::new();
    for (kind, payload) in [(1, arguments), (2, header), (3, vec![b'x'; body_bytes])] {
        bytes.extend_from_slice(&[kind, 0, 1]);
        bytes.extend_from_slice(&u32::try_from(payload.len()).expect("small").to_be_bytes());
        bytes.extend_from_slice(&payload);
        bytes.push(206);
    }
    bytes
}

/// Reads what a channel needs of every publish in `bytes`; the octets of their bodies.
fn read_publishes(mut bytes: &[u8]) -> usize {
    let mut body_bytes = 0;
    while let Some((method, header, body, consumed)) = next_publish(bytes) {
        let Ok(Method::Publish(publish)) = Method::parse(method) else {
            break;
        };
        let Ok(header) = ContentHeader::parse(header) else {
            break;
        };
        let Ok(properties) = Properties::parse(header.properties) else {
            break;
        };
        black_box((publish, header.body_size, properties));
        body_bytes += body.len();
        bytes = &bytes[consumed..];
    }
    body_bytes
}

/// The payloads of method, content header and body, and the bytes they took.
type PublishFrames<'a> = (&'a [u8], &'a [u8], &'a [u8], usize);

fn next_publish(bytes: &[u8]) -> Option<PublishFrames<'_>> {
    let (method, first) = next_frame(bytes, FRAME_MAX).ok()??;
    let (header, second) = next_frame(&bytes[first..], FRAME_MAX).ok()??;
    let (body, third) = next_frame(&bytes[first + second..], FRAME_MAX).ok()??;
    Some((method.payload, header.payload, body.payload, first + second + third))
}

fn parse_publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish_parsed");
    group.throughput(Throughput::Elements(BATCH.into()));
    for body_bytes in [16, 1024] {
        let bytes = publish(body_bytes).repeat(BATCH as usize);
        assert_eq!(read_publishes(&bytes), body_bytes * BATCH as usize);
        group.bench_function(BenchmarkId::from_parameter(body_bytes), |bencher| {
            bencher.iter(|| read_publishes(black_box(&bytes)));
        });
    }
    group.finish();
}

fn write_delivers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("deliver_written");
    group.throughput(Throughput::Elements(BATCH.into()));
    let prefix = DeliverPrefix::new(ChannelId(1), "amq.ctag-0123456789abcdefghijkl");
    for body_bytes in [16, 1024] {
        let body = vec![b'x'; body_bytes];
        let message = Message {
            stamp: Stamp::default(),
            exchange: "",
            routing_key: "orders.eu",
            properties: &[0x10, 0, 2],
            body: &body,
        };
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::from_parameter(body_bytes), |bencher| {
            bencher.iter(|| {
                out.clear();
                for tag in 0..BATCH {
                    let tag = DeliveryTag(tag.into());
                    write_deliver(&mut out, &prefix, tag, false, black_box(&message), FRAME_MAX);
                }
                black_box(out.len())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, parse_publish, write_delivers);
criterion_main!(benches);

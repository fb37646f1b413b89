//! Publishing: content in all cuts, returns, confirms, blocked publishers.

use amq_protocol::protocol::{AMQPClass, basic, confirm};
use broker_core::session::Sessions;

use super::client::{Client, frame_bytes, header_bytes, method_bytes, publish_bytes, run};
use crate::amqp::InputState;

fn select() -> AMQPClass {
    AMQPClass::Confirm(confirm::AMQPMethod::Select(confirm::Select { nowait: false }))
}

fn publish_method(number: u16, routing_key: &str) -> Vec<u8> {
    let publish = basic::Publish { routing_key: routing_key.into(), ..basic::Publish::default() };
    method_bytes(number, &AMQPClass::Basic(basic::AMQPMethod::Publish(publish)))
}

#[test]
fn cuts_in_the_stream_change_nothing() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        client.declare(1, "q");
        client.expect(1, "declare-ok q 0 0").await;
        client.consume(1, "q", "c", true);
        client.expect(1, "consume-ok c").await;
        let mut bytes = publish_bytes(1, "", "q", false, b"first");
        bytes.extend_from_slice(&publish_bytes(1, "", "q", false, b""));
        let mut tag = 0;
        for cut in 1..bytes.len() {
            client.send_bytes(&bytes[..cut]);
            client.send_bytes(&bytes[cut..]);
            for body in ["first", ""] {
                tag += 1;
                client.expect(1, &format!("deliver c {tag} [{body}]")).await;
            }
        }
    });
}

#[test]
fn contents_of_two_channels_may_interleave() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        client.open_channel(2).await;
        client.declare(1, "q");
        client.expect(1, "declare-ok q 0 0").await;
        client.consume(1, "q", "c", true);
        client.expect(1, "consume-ok c").await;
        let mut bytes = Vec::new();
        for number in [1, 2] {
            bytes.extend_from_slice(&publish_method(number, "q"));
        }
        for number in [2, 1] {
            bytes.extend_from_slice(&header_bytes(number, 6));
        }
        for (number, piece) in [(1, b"one"), (2, b"two"), (2, b"TWO"), (1, b"ONE")] {
            bytes.extend_from_slice(&frame_bytes(3, number, piece));
        }
        client.send_bytes(&bytes);
        client.expect(1, "deliver c 1 [twoTWO]").await;
        client.expect(1, "deliver c 2 [oneONE]").await;
    });
}

#[test]
fn large_body_is_collected_from_its_frames() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        client.declare(1, "q");
        client.expect(1, "declare-ok q 0 0").await;
        client.publish(1, "q", &vec![1; 1_000_000]);
        let get = basic::Get { queue: "q".into(), no_ack: true };
        client.send(1, AMQPClass::Basic(basic::AMQPMethod::Get(get)));
        client.expect(1, "get-ok 1 0 [1000000 bytes]").await;
    });
}

#[test]
fn message_that_is_too_large_closes_the_channel_after_it_was_read() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        client.publish(1, "q", &vec![1; 32 * 1024 * 1024 + 1]);
        let text = "close 406 PRECONDITION_FAILED - message size 33554433 is larger than configured max size \
                    33554432 (60,40)";
        client.expect(1, text).await;
    });
}

#[test]
fn frames_out_of_place_close_the_connection_with_505() {
    let check = |bytes: Vec<u8>, expected: &'static str| {
        run(move |handle| {
            let bytes = bytes.clone();
            async move {
                let mut client = Client::open(&handle).await;
                client.send_bytes(&bytes);
                client.expect(0, &format!("close 505 UNEXPECTED_FRAME - {expected}")).await;
            }
        });
    };
    check(header_bytes(1, 3), "expected method frame, got non method frame instead (0,0)");
    let two_methods = [publish_method(1, "q"), publish_method(1, "q")].concat();
    check(two_methods, "expected content header for class 60, got non content header frame instead (60,40)");
    let no_header = [publish_method(1, "q"), frame_bytes(3, 1, b"x")].concat();
    check(no_header, "expected content header for class 60, got non content header frame instead (60,40)");
}

#[test]
fn body_beyond_the_announced_size_is_501() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        client.send_bytes(&[publish_method(1, "q"), header_bytes(1, 2), frame_bytes(3, 1, b"xyz")].concat());
        let text = "close 501 FRAME_ERROR - content body frame exceeds remaining content size (60,40)";
        client.expect(0, text).await;
    });
}

#[test]
fn return_comes_before_the_confirm() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        client.send(1, select());
        client.expect(1, "SelectOk").await;
        client.send_bytes(&publish_bytes(1, "", "nowhere", true, b"lost"));
        client.expect(1, "return 312 NO_ROUTE [lost]").await;
        client.expect(1, "ack 1").await;
    });
}

#[test]
fn publishes_of_one_turn_are_confirmed_with_one_ack() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        client.declare(1, "q");
        client.expect(1, "declare-ok q 0 0").await;
        client.send(1, select());
        client.expect(1, "SelectOk").await;
        client.send_bytes(&publish_bytes(1, "", "q", false, b"x").repeat(5));
        client.expect(1, "ack 5 multiple").await;
        client.publish(1, "q", b"x");
        client.expect(1, "ack 6").await;
        handle.enter(|shard, outputs| {
            let mut stats = shard.stats();
            outputs.add_stats(&mut stats);
            assert_eq!(stats.confirm_latencies.count(), 6);
            assert_eq!((stats.messages_confirmed, stats.queues_declared, stats.publishers), (6, 1, 1));
        });
    });
}

#[test]
fn immediate_is_not_implemented() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        let publish = basic::Publish { immediate: true, ..basic::Publish::default() };
        client.send(1, AMQPClass::Basic(basic::AMQPMethod::Publish(publish)));
        client.send_bytes(&header_bytes(1, 0));
        client.expect(0, "close 540 NOT_IMPLEMENTED - immediate=true (60,40)").await;
    });
}

#[test]
fn blocked_publisher_is_told_and_goes_on_when_unblocked() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        client.declare(1, "q");
        client.expect(1, "declare-ok q 0 0").await;
        handle.enter(|_, outputs| outputs.blocked(Some("low on disk")));
        client.publish(1, "q", b"x");
        client.expect(0, "blocked low on disk").await;
        assert_eq!(client.state, InputState::Stalled);
        handle.enter(|_, outputs| {
            outputs.blocked(None);
            assert!(outputs.has_output());
        });
        client.expect(0, "Unblocked").await;
        client.declare(1, "q");
        client.expect(1, "declare-ok q 1 0").await;
    });
}

//! Class channel, and access.request: opening, closing, flow, and what happens between close and close-ok.

use amq_protocol::frame::AMQPFrame;
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::access::{self, Request};
use amq_protocol::protocol::basic::{AMQPMethod as Basic, Ack, Get, Qos};
use amq_protocol::protocol::channel::{AMQPMethod as Channel, Close, CloseOk, Flow, FlowOk, Open};
use amq_protocol::protocol::connection::{AMQPMethod as Connection, Close as ConnectionClose};
use amq_protocol::protocol::queue::{AMQPMethod as Queue, Declare};

use crate::harness::{
    Raw, basic, body, channel, connection, declare, error_of, get, message_count, next, publish, queue, scenario,
};
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::FieldTable;

fn passive(name: &str) -> AMQPClass {
    queue(Queue::Declare(Declare { queue: name.into(), passive: true, ..Declare::default() }))
}

#[test]
fn second_open_of_a_channel_is_504() {
    scenario(async |broker| {
        let mut raw = Raw::open(broker);
        raw.send(1, &channel(Channel::Open(Open {})));
        let closed = raw.closed();
        assert_eq!((closed.code, closed.method), (504, (20, 10)));
        assert_eq!(closed.text, "CHANNEL_ERROR - second 'channel.open' seen");
    });
}

#[test]
fn closed_channel_can_be_opened_again() {
    scenario(async |broker| {
        let mut raw = Raw::open(broker);
        for _ in 0..3 {
            let answer = raw.call(1, &channel(Channel::Close(Close::default())));
            assert!(matches!(answer, AMQPClass::Channel(Channel::CloseOk(_))), "{answer:?}");
            raw.open_channel(1);
        }
    });
}

#[test]
fn failed_channel_ignores_all_until_close_ok_and_can_be_opened_again() {
    scenario(async |broker| {
        let mut raw = Raw::open(broker);
        raw.send(1, &passive("nothing"));
        // These come after the failure, whether or not the broker has told us yet.
        raw.send(1, &passive("nothing else"));
        raw.publish(1, "nothing", b"lost");
        raw.send(1, &basic(Basic::Ack(Ack { delivery_tag: 9, multiple: false })));
        let closed = raw.channel_closed(1);
        assert_eq!((closed.code, closed.method), (404, (50, 10)));
        assert_eq!(closed.text, "NOT_FOUND - no queue 'nothing' in vhost '/'");
        raw.open_channel(1);
    });
}

#[test]
fn failure_of_one_channel_leaves_the_others_alone() {
    scenario(async |broker| {
        let session = broker.open().await;
        let other = session.connection.create_channel().await.unwrap();
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let missing = session.queue_declare("nothing".into(), options, FieldTable::default()).await;
        assert_eq!(error_of(missing), (404, "NOT_FOUND - no queue 'nothing' in vhost '/'".into()));
        declare(&other, "something").await;
    });
}

#[test]
fn close_from_both_sides_at_once_is_answered() {
    scenario(async |broker| {
        let mut raw = Raw::open(broker);
        raw.send(1, &passive("nothing"));
        raw.send(1, &channel(Channel::Close(Close::default())));
        let AMQPClass::Channel(Channel::Close(_)) = raw.method(1) else { panic!("no channel.close") };
        let AMQPClass::Channel(Channel::CloseOk(_)) = raw.method(1) else { panic!("no channel.close-ok") };
        raw.send(1, &channel(Channel::CloseOk(CloseOk {})));
        raw.open_channel(1);
    });
}

#[test]
fn flow_on_is_answered_and_flow_off_is_540() {
    scenario(async |broker| {
        let mut raw = Raw::open(broker);
        let answer = raw.call(1, &channel(Channel::Flow(Flow { active: true })));
        assert_eq!(answer, channel(Channel::FlowOk(FlowOk { active: true })));
        raw.send(1, &channel(Channel::Flow(Flow { active: false })));
        assert_eq!(raw.closed().code, 540);
    });
}

#[test]
fn access_request_is_answered_with_a_ticket() {
    scenario(async |broker| {
        let mut raw = Raw::open(broker);
        let request = Request { realm: "/data".into(), active: true, ..Request::default() };
        let answer = raw.call(1, &AMQPClass::Access(access::AMQPMethod::Request(request)));
        assert!(matches!(answer, AMQPClass::Access(access::AMQPMethod::RequestOk(_))), "{answer:?}");
    });
}

#[test]
fn closing_a_channel_returns_its_unacked_messages() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "returned").await;
        for number in ["1", "2", "3"] {
            publish(&session, "", "returned", number).await;
        }
        let other = session.connection.create_channel().await.unwrap();
        let mut consumer = other
            .basic_consume("returned".into(), "".into(), BasicConsumeOptions::default(), FieldTable::default())
            .await
            .unwrap();
        for number in ["1", "2", "3"] {
            assert_eq!(body(&next(&mut consumer).await), number);
        }
        other.close(200, "done".into()).await.unwrap();
        assert_eq!(message_count(&session, "returned").await, 3);
        for number in ["1", "2", "3"] {
            let message = get(&session, "returned").await.expect("a message");
            assert_eq!((body(&message), message.redelivered), (number, true));
        }
    });
}

#[test]
fn methods_of_different_channels_may_interleave_with_content() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "interleaved").await;
        let mut raw = Raw::open(broker);
        raw.open_channel(2);
        let publish =
            amq_protocol::protocol::basic::Publish { routing_key: "interleaved".into(), ..Default::default() };
        raw.send(1, &basic(Basic::Publish(publish.clone())));
        raw.send(2, &basic(Basic::Publish(publish)));
        raw.header(2, 4);
        raw.header(1, 5);
        raw.frame(3, 1, b"fi");
        raw.frame(3, 2, b"seco");
        raw.frame(8, 0, b"");
        // The other channel goes on while the content of the first is not complete.
        let answer = raw.call(2, &basic(Basic::Qos(Qos::default())));
        assert!(matches!(answer, AMQPClass::Basic(Basic::QosOk(_))), "{answer:?}");
        raw.frame(3, 1, b"rst");
        let answer = raw.call(1, &basic(Basic::Qos(Qos::default())));
        assert!(matches!(answer, AMQPClass::Basic(Basic::QosOk(_))), "{answer:?}");
        // They were not confirmed: the queue may be on another shard, and get them later.
        while message_count(&session, "interleaved").await < 2 {}
        for expect in ["seco", "first"] {
            assert_eq!(body(&get(&session, "interleaved").await.expect("a message")), expect);
        }
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    scenario(async |broker| {
        let mut raw = Raw::open(broker);
        for number in 0..100 {
            let declare = Declare { queue: format!("pipelined-{number}").into(), ..Declare::default() };
            raw.send(1, &queue(Queue::Declare(declare)));
            raw.send(1, &basic(Basic::Qos(Qos::default())));
        }
        for number in 0..100 {
            let AMQPClass::Queue(Queue::DeclareOk(ok)) = raw.method(1) else { panic!("no declare-ok") };
            assert_eq!(ok.queue.as_str(), format!("pipelined-{number}"));
            assert!(matches!(raw.next(), Some(AMQPFrame::Method(1, AMQPClass::Basic(Basic::QosOk(_))))));
        }
    });
}

#[test]
fn what_a_channel_held_is_in_its_queues_when_the_close_is_answered() {
    scenario(async |broker| {
        let session = broker.open().await;
        // Some of them are on another shard than either connection.
        let names: Vec<String> = (0..8).map(|number| format!("held-{number}")).collect();
        for name in &names {
            declare(&session, name).await;
            publish(&session, "", name, "held").await;
            assert_eq!(message_count(&session, name).await, 1);
        }
        for round in 0..30 {
            let mut holder = Raw::open(broker);
            for name in &names {
                let taken = holder.call(1, &basic(Basic::Get(Get { queue: name.as_str().into(), no_ack: false })));
                assert!(matches!(taken, AMQPClass::Basic(Basic::GetOk(_))), "{name}, round {round}: {taken:?}");
                for _ in ["header", "body"] {
                    holder.next().expect("the rest of the message");
                }
            }
            match round % 3 {
                0 => drop(holder.call(1, &channel(Channel::Close(Close::default())))),
                1 => drop(holder.call(0, &connection(Connection::Close(ConnectionClose::default())))),
                _ => {
                    holder.send(1, &passive("nothing"));
                    assert_eq!(holder.channel_closed(1).code, 404);
                }
            }
            for name in &names {
                assert_eq!(message_count(&session, name).await, 1, "{name}, round {round}");
            }
        }
    });
}

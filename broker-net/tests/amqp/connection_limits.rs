//! The broker's limits of connections, channels and message sizes: refused with RabbitMQ's codes and texts.

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::channel::{AMQPMethod as Channel, Open};
use amq_protocol::protocol::connection::AMQPMethod as Connection;

use crate::harness::{Login, Raw, channel, own_process};

#[test]
fn one_connection_too_many_is_530() {
    own_process(&["--set", "connection_max = 1", "--shards", "2"], async |broker| {
        let first = Raw::open(broker);
        let answer = Raw::connect(broker).handshake(&Login::default());
        let AMQPClass::Connection(Connection::Close(close)) = answer else { panic!("{answer:?}") };
        assert_eq!(close.reply_code, 530);
        let text = close.reply_text.to_string();
        assert_eq!(text, "NOT_ALLOWED - connection refused: node connection limit (1) is reached");
        // The place is free once the connection is closed.
        drop(first);
        while !matches!(
            Raw::connect(broker).handshake(&Login::default()),
            AMQPClass::Connection(Connection::OpenOk(_))
        ) {}
    });
}

#[test]
fn one_channel_too_many_on_the_node_is_530() {
    own_process(&["--set", "channel_max_per_node = 2", "--shards", "2"], async |broker| {
        let mut first = Raw::open(broker);
        let mut second = Raw::open(broker);
        second.send(2, &channel(Channel::Open(Open {})));
        let closed = second.closed();
        assert_eq!(closed.code, 530);
        let text = closed.text;
        assert!(text.starts_with("NOT_ALLOWED - number of channels opened on node 'ringmq@"), "{text}");
        assert!(text.ends_with("' has reached the maximum allowed limit of 2"), "{text}");
        first.open_channel(2);
    });
}

#[test]
fn message_larger_than_max_message_size_is_406() {
    own_process(&["--set", "max_message_size = 1000"], async |broker| {
        let mut raw = Raw::open(broker);
        raw.publish(1, "nowhere", &[0; 1000]);
        raw.publish(1, "nowhere", &[0; 1001]);
        let closed = raw.channel_closed(1);
        assert_eq!(closed.code, 406);
        assert_eq!(closed.text, "PRECONDITION_FAILED - message size 1001 is larger than configured max size 1000");
    });
}

#[test]
fn tuning_is_configured() {
    let flags = ["--set", "frame_max = 8192", "--set", "channel_max = 3", "--set", "heartbeat = 7"];
    own_process(&flags, async |broker| {
        let mut raw = Raw::connect(broker);
        raw.write(b"AMQP\x00\x00\x09\x01");
        raw.method(0);
        raw.start_ok(&Login::default());
        let AMQPClass::Connection(Connection::Tune(tune)) = raw.method(0) else { panic!("no connection.tune") };
        assert_eq!((tune.frame_max, tune.channel_max, tune.heartbeat), (8192, 3, 7));
    });
}

#[test]
fn client_that_does_not_open_its_connection_in_time_is_dropped() {
    own_process(&["--set", "handshake_timeout = 100"], async |broker| {
        let mut raw = Raw::connect(broker);
        raw.write(b"AMQP\x00\x00\x09\x01");
        raw.method(0);
        assert_eq!(raw.rest(), b"");
    });
}

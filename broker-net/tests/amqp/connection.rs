//! Class connection: handshake, tuning, heartbeats, closing, and what a broken frame costs.

use amq_protocol::frame::AMQPFrame;
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::{AMQPMethod as Basic, Publish, Qos};
use amq_protocol::protocol::channel::{AMQPMethod as Channel, Open as ChannelOpen};
use amq_protocol::protocol::confirm::{AMQPMethod as Confirm, Select, SelectOk};
use amq_protocol::protocol::connection::{AMQPMethod as Connection, Close, Open, Start, TuneOk, UpdateSecret};
use amq_protocol::protocol::queue::{AMQPMethod as Queue, Declare};
use amq_protocol::types::{AMQPValue, FieldTable};

use crate::harness::{
    Broker, Closed, Login, Raw, basic, channel, connection, declare, error_of, get, message_count, own_process,
    publish, queue, scenario,
};

/// What the broker says first.
fn start(raw: &mut Raw) -> Start {
    raw.write(b"AMQP\x00\x00\x09\x01");
    match raw.method(0) {
        AMQPClass::Connection(Connection::Start(start)) => start,
        other => panic!("{other:?} is not connection.start"),
    }
}

/// Sends tune-ok with these values instead of the server's.
fn tune_refused(broker: &Broker, login: Login) {
    let mut raw = Raw::connect(broker);
    let AMQPClass::Connection(Connection::Close(close)) = raw.handshake(&login) else {
        panic!("tune-ok is not refused")
    };
    assert_eq!(close.reply_code, 530, "{}", close.reply_text);
}

#[test]
fn wrong_protocol_header_is_answered_with_ours_and_closed() {
    scenario(async |broker| {
        for header in [b"AMQP\x00\x00\x09\x02", b"AMQP\x00\x01\x00\x00", b"GET / HT"] {
            let mut raw = Raw::connect(broker);
            raw.write(header);
            assert_eq!(raw.rest(), b"AMQP\x00\x00\x09\x01");
        }
    });
}

#[test]
fn start_says_what_the_server_can() {
    scenario(async |broker| {
        let start = start(&mut Raw::connect(broker));
        assert_eq!((start.version_major, start.version_minor), (0, 9));
        let mechanisms = start.mechanisms.to_string();
        for mechanism in ["PLAIN", "AMQPLAIN"] {
            assert!(mechanisms.split(' ').any(|offered| offered == mechanism), "{mechanisms}");
        }
        let properties = start.server_properties.inner();
        assert_eq!(properties.get("product"), Some(&AMQPValue::LongString("RabbitMQ".into())));
        let Some(AMQPValue::FieldTable(capabilities)) = properties.get("capabilities") else {
            panic!("no capabilities")
        };
        for capability in [
            "publisher_confirms",
            "exchange_exchange_bindings",
            "basic.nack",
            "consumer_cancel_notify",
            "connection.blocked",
            "authentication_failure_close",
            "per_consumer_qos",
        ] {
            assert_eq!(capabilities.inner().get(capability), Some(&AMQPValue::Boolean(true)), "{capability}");
        }
    });
}

#[test]
fn amqplain_logs_in_too() {
    scenario(async |broker| {
        let mut response = b"\x05LOGINS\x00\x00\x00\x05guest".to_vec();
        response.extend_from_slice(b"\x08PASSWORDS\x00\x00\x00\x05guest");
        Raw::login(broker, &Login { mechanism: "AMQPLAIN", response, ..Login::default() });
    });
}

#[test]
fn wrong_password_is_told_403_to_clients_that_can_take_it() {
    scenario(async |broker| {
        let mut raw = Raw::connect(broker);
        start(&mut raw);
        raw.start_ok(&Login { response: b"\0guest\0wrong".to_vec(), ..Login::default() });
        let closed = raw.closed();
        assert_eq!(closed.code, 403);
        assert_eq!(
            closed.text,
            "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. \
             For details see the broker logfile."
        );
        let refused = broker.try_connect("nobody:guest", "%2f").await;
        assert_eq!(error_of(refused).0, 403);
    });
}

#[test]
fn wrong_password_without_the_capability_is_closed_silently() {
    scenario(async |broker| {
        let mut raw = Raw::connect(broker);
        start(&mut raw);
        let response = b"\0guest\0wrong".to_vec();
        raw.start_ok(&Login { response, capabilities: FieldTable::default(), ..Login::default() });
        assert_eq!(raw.rest(), b"");
    });
}

#[test]
fn unknown_mechanism_does_not_get_in() {
    scenario(async |broker| {
        let mut raw = Raw::connect(broker);
        start(&mut raw);
        raw.start_ok(&Login { mechanism: "MAGIC", ..Login::default() });
        if let Some(frame) = raw.next() {
            assert!(
                matches!(frame, AMQPFrame::Method(0, AMQPClass::Connection(Connection::Close(_)))),
                "{frame:?}"
            );
        }
    });
}

#[test]
fn missing_vhost_is_530() {
    scenario(async |broker| {
        let (code, text) = error_of(broker.try_connect("guest:guest", "nowhere").await);
        assert_eq!(code, 530);
        assert!(text.starts_with("NOT_ALLOWED - "), "{text}");
    });
}

#[test]
fn tune_ok_beyond_what_the_server_proposed_is_530() {
    scenario(async |broker| {
        tune_refused(broker, Login { frame_max: Some(1 << 20), ..Login::default() });
        tune_refused(broker, Login { frame_max: Some(4095), ..Login::default() });
        tune_refused(broker, Login { channel_max: Some(u16::MAX), ..Login::default() });
        // 0 is no limit, which is more than the server's.
        tune_refused(broker, Login { frame_max: Some(0), ..Login::default() });
        tune_refused(broker, Login { channel_max: Some(0), ..Login::default() });
    });
}

#[test]
fn frames_are_cut_to_the_negotiated_frame_max() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "cut").await;
        // 4096 is the least that AMQP allows.
        for (frame_max, pieces) in [(8192, &[8184, 8184, 3632][..]), (4096, &[4088, 4088, 4088, 4088, 3648])] {
            let mut raw = Raw::login(broker, &Login { frame_max: Some(frame_max), ..Login::default() });
            publish(&session, "", "cut", &"x".repeat(20_000)).await;
            assert_eq!(message_count(&session, "cut").await, 1);
            let get = amq_protocol::protocol::basic::Get { queue: "cut".into(), no_ack: true };
            raw.send(1, &basic(Basic::Get(get)));
            assert!(matches!(raw.next(), Some(AMQPFrame::Method(1, AMQPClass::Basic(Basic::GetOk(_))))));
            assert!(matches!(raw.next(), Some(AMQPFrame::Header(1, header)) if header.body_size == 20_000));
            for expect in pieces {
                let Some(AMQPFrame::Body(1, piece)) = raw.next() else { panic!("no body frame") };
                assert_eq!(piece.len(), *expect);
            }
        }
    });
}

/// Sends what `abuse` sends on a connection with channel 1 open; the broker closes it, and only it.
fn check_abuse(broker: &Broker, code: u16, abuse: impl FnOnce(&mut Raw)) -> Closed {
    let mut bystander = Raw::open(broker);
    let mut raw = Raw::open(broker);
    abuse(&mut raw);
    let closed = raw.closed();
    assert_eq!(closed.code, code, "{}", closed.text);
    bystander.open_channel(2);
    closed
}

#[test]
fn bad_frame_end_is_501() {
    scenario(async |broker| {
        let closed = check_abuse(broker, 501, |raw| raw.write(&[1, 0, 1, 0, 0, 0, 4, 0, 20, 0, 10, 0]));
        assert_eq!(closed.text, "FRAME_ERROR - type 1, all octets = <<0,20,0,10>>: {invalid_frame_end_marker,0}");
    });
}

#[test]
fn frame_beyond_frame_max_is_501() {
    scenario(async |broker| {
        let closed = check_abuse(broker, 501, |raw| raw.write(&[3, 0, 1, 0, 3, 0, 0]));
        assert_eq!(closed.text, "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,196608,131064}");
    });
}

#[test]
fn unknown_frame_type_is_501() {
    scenario(async |broker| {
        check_abuse(broker, 501, |raw| raw.frame(5, 0, b"hm"));
    });
}

#[test]
fn undecodable_method_is_501() {
    scenario(async |broker| {
        check_abuse(broker, 501, |raw| raw.frame(1, 1, &[0, 50, 0, 10, 0, 0, 200, b'q']));
    });
}

#[test]
fn unknown_method_ends_the_connection() {
    scenario(async |broker| {
        check_abuse(broker, 503, |raw| raw.frame(1, 1, &[0, 60, 0, 41]));
    });
}

#[test]
fn body_announced_beyond_512_mib_is_501() {
    scenario(async |broker| {
        check_abuse(broker, 501, |raw| {
            raw.send(1, &basic(Basic::Publish(Publish { routing_key: "q".into(), ..Publish::default() })));
            raw.header(1, (512 << 20) + 1);
        });
    });
}

#[test]
fn more_body_than_announced_is_501() {
    scenario(async |broker| {
        check_abuse(broker, 501, |raw| {
            raw.send(1, &basic(Basic::Publish(Publish { routing_key: "q".into(), ..Publish::default() })));
            raw.header(1, 3);
            raw.frame(3, 1, b"four");
        });
    });
}

#[test]
fn frames_out_of_place_are_505() {
    scenario(async |broker| {
        let publish = || basic(Basic::Publish(Publish { routing_key: "q".into(), ..Publish::default() }));
        check_abuse(broker, 505, |raw| raw.header(1, 3));
        // A heartbeat belongs on channel 0.
        check_abuse(broker, 505, |raw| raw.frame(8, 1, b""));
        check_abuse(broker, 505, |raw| raw.frame(3, 1, b"hm"));
        check_abuse(broker, 505, |raw| {
            raw.send(1, &publish());
            raw.send(1, &basic(Basic::Qos(Qos::default())));
        });
        check_abuse(broker, 505, |raw| {
            raw.send(1, &publish());
            raw.header(1, 3);
            raw.send(1, &basic(Basic::Qos(Qos::default())));
        });
        check_abuse(broker, 505, |raw| {
            raw.send(1, &publish());
            // The content header of another class.
            raw.frame(2, 1, &[0, 50, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
        });
    });
}

#[test]
fn method_on_a_channel_that_is_not_open_is_504() {
    scenario(async |broker| {
        let closed = check_abuse(broker, 504, |raw| raw.send(7, &basic(Basic::Qos(Qos::default()))));
        assert!(closed.text.starts_with("CHANNEL_ERROR - "), "{}", closed.text);
    });
}

#[test]
fn more_channels_than_channel_max_are_530_whatever_their_numbers() {
    scenario(async |broker| {
        let mut raw = Raw::login(broker, &Login { channel_max: Some(3), ..Login::default() });
        raw.open_channel(3);
        raw.open_channel(65_535);
        raw.send(4, &channel(Channel::Open(ChannelOpen {})));
        let closed = raw.closed();
        let text = "NOT_ALLOWED - number of channels opened (3) has reached the negotiated channel_max (3)";
        assert_eq!((closed.code, closed.text.as_str()), (530, text));
    });
}

#[test]
fn close_is_answered_and_then_nothing_comes() {
    scenario(async |broker| {
        let mut raw = Raw::open(broker);
        let close = Close { reply_code: 200, reply_text: "bye".into(), ..Close::default() };
        let answer = raw.call(0, &connection(Connection::Close(close)));
        assert!(matches!(answer, AMQPClass::Connection(Connection::CloseOk(_))), "{answer:?}");
        assert_eq!(raw.rest(), b"");
    });
}

#[test]
fn update_secret_is_answered() {
    scenario(async |broker| {
        let mut raw = Raw::open(broker);
        let update = UpdateSecret { new_secret: "guest".into(), reason: "renewed".into() };
        let answer = raw.call(0, &connection(Connection::UpdateSecret(update)));
        assert!(matches!(answer, AMQPClass::Connection(Connection::UpdateSecretOk(_))), "{answer:?}");
    });
}

#[test]
fn open_in_the_middle_of_a_connection_is_refused() {
    scenario(async |broker| {
        check_abuse(broker, 504, |raw| {
            raw.send(0, &connection(Connection::Open(Open { virtual_host: "/".into() })));
        });
    });
}

#[test]
fn tune_ok_before_start_ok_does_not_get_in() {
    scenario(async |broker| {
        let mut raw = Raw::connect(broker);
        start(&mut raw);
        raw.send(0, &connection(Connection::TuneOk(TuneOk::default())));
        if let Some(frame) = raw.next() {
            assert!(
                matches!(frame, AMQPFrame::Method(0, AMQPClass::Connection(Connection::Close(_)))),
                "{frame:?}"
            );
        }
    });
}

#[test]
fn silent_client_gets_heartbeats_and_is_dropped() {
    scenario(async |broker| {
        let mut raw = Raw::login(broker, &Login { heartbeat: 1, ..Login::default() });
        assert_eq!(raw.next(), None);
        assert!(raw.heartbeats >= 2, "{} heartbeats", raw.heartbeats);
    });
}

#[test]
fn stream_in_single_octets_is_understood() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "octets").await;
        let mut raw = Raw::open(broker);
        let select = AMQPClass::Confirm(Confirm::Select(Select { nowait: false }));
        assert_eq!(raw.call(1, &select), AMQPClass::Confirm(Confirm::SelectOk(SelectOk {})));
        let publish = b"\x00\x3c\x00\x28\x00\x00\x00\x06octets\x00";
        let mut bytes = vec![1, 0, 1, 0, 0, 0, u8::try_from(publish.len()).unwrap()];
        bytes.extend_from_slice(publish);
        bytes.push(206);
        bytes.extend_from_slice(&[2, 0, 1, 0, 0, 0, 14, 0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 206]);
        bytes.extend_from_slice(&[3, 0, 1, 0, 0, 0, 2, b'h', b'i', 206]);
        for octet in bytes {
            raw.write(&[octet]);
        }
        let AMQPClass::Basic(Basic::Ack(_)) = raw.method(1) else { panic!("no basic.ack") };
        let message = get(&session, "octets").await.expect("the message");
        assert_eq!(message.data, b"hi");
    });
}

#[test]
fn stopping_broker_closes_connections_with_320() {
    own_process(&[], async |broker| {
        let raw = Raw::open(broker);
        broker.terminate();
        let closed = raw.closed();
        assert_eq!(closed.code, 320);
        assert_eq!(closed.text, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'");
        assert!(broker.ended().await.success());
    });
}

#[test]
fn a_stop_ends_though_queues_go_with_their_connections() {
    // The shard without the connection may have ended before it hears that the queue is gone.
    for _ in 0..10 {
        own_process(&["--shards", "2"], async |broker| {
            let mut raw = Raw::open(broker);
            raw.call(1, &queue(Queue::Declare(Declare { exclusive: true, ..Declare::default() })));
            broker.terminate();
            assert_eq!(raw.closed().code, 320);
            assert!(broker.ended().await.success());
        });
    }
}

#[test]
fn client_that_does_not_answer_holds_up_a_stop_only_so_long() {
    own_process(&[], async |broker| {
        let _silent = Raw::open(broker);
        let _not_even_greeting = Raw::connect(broker);
        assert!(broker.stop().await.success());
    });
}

#[test]
fn start_ok_that_is_too_large_does_not_get_in() {
    scenario(async |broker| {
        let mut raw = Raw::connect(broker);
        start(&mut raw);
        let response = [b"\0guest\0".as_slice(), &vec![b'x'; 100_000]].concat();
        raw.start_ok(&Login { response, ..Login::default() });
        if let Some(frame) = raw.next() {
            assert!(
                matches!(frame, AMQPFrame::Method(0, AMQPClass::Connection(Connection::Close(_)))),
                "{frame:?}"
            );
        }
    });
}

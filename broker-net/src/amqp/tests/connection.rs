//! The life of a connection.

use amq_protocol::protocol::{AMQPClass, connection};

use super::client::{Client, frame_bytes, run};
use crate::amqp::InputState;

fn close() -> AMQPClass {
    AMQPClass::Connection(connection::AMQPMethod::Close(connection::Close::default()))
}

#[test]
fn wrong_protocol_header_is_answered_with_ours_and_the_end() {
    run(async |handle| {
        let mut client = Client::new(&handle);
        client.send_bytes(b"GET / HTTP/1.1\r\n");
        client.expect(0, "AMQP").await;
        assert_eq!(client.state, InputState::Closed);
    });
}

#[test]
fn wrong_password_closes_with_403_and_keeps_the_client_waiting() {
    run(async |handle| {
        let mut client = Client::new(&handle);
        client.send_bytes(b"AMQP\x00\x00\x09\x01");
        client.expect(0, "Start").await;
        client.send(0, super::client::start_ok("wrong"));
        client
            .expect(
                0,
                "close 403 ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. \
                 For details see the broker logfile. (0,0)",
            )
            .await;
        assert_eq!((client.state, client.connection.linger_ms()), (InputState::Closed, 3000));
    });
}

#[test]
fn missing_vhost_closes_with_530() {
    run(async |handle| {
        let mut client = Client::new(&handle);
        client.handshake("guest", "nowhere").await;
        client.expect(0, "close 530 NOT_ALLOWED - vhost nowhere not found (10,40)").await;
    });
}

#[test]
fn close_is_answered_with_close_ok() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        client.send(0, close());
        client.expect(0, "CloseOk").await;
        client.resume();
        assert_eq!(client.state, InputState::Closed);
    });
}

#[test]
fn everything_between_an_exception_and_close_ok_is_discarded() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        client.send_bytes(&frame_bytes(1, 1, &[0, 99, 0, 1]));
        client.declare(1, "late");
        client.expect(0, "close 503 COMMAND_INVALID - unimplemented method (99,1)").await;
        client.send(0, close());
        client.expect(0, "CloseOk").await;
        assert_eq!(client.state, InputState::NeedMore);
        let close_ok = connection::AMQPMethod::CloseOk(connection::CloseOk {});
        client.send(0, AMQPClass::Connection(close_ok));
        assert_eq!(client.state, InputState::Closed);
    });
}

#[test]
fn damaged_frame_ends_the_connection_with_501() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        client.send_bytes(&[1, 0, 1, 0, 0, 0, 4, 0, 50, 0, 10, 99]);
        client
            .expect(
                0,
                "close 501 FRAME_ERROR - type 1, all octets = <<0,50,0,10>>: {invalid_frame_end_marker,99} (0,0)",
            )
            .await;
        assert_eq!(client.state, InputState::Closed);
    });
}

#[test]
fn unfinished_handshake_is_given_up() {
    run(async |handle| {
        let mut client = Client::new(&handle);
        assert_eq!(client.connection.poll_timeout(), Some(10_000));
        let open = handle.enter(|shard, outputs| client.connection.handle_timeout(shard, outputs, 10_000));
        assert!(!open);
        client.resume();
        assert_eq!(client.state, InputState::Closed);
    });
}

#[test]
fn heartbeats_go_out_when_nothing_else_does_and_silence_ends_the_connection() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        let mut heartbeats = Vec::new();
        loop {
            let now_ms = client.connection.poll_timeout().unwrap();
            client.now_ms = now_ms;
            if !handle.enter(|shard, outputs| client.connection.handle_timeout(shard, outputs, now_ms)) {
                break;
            }
            client.resume();
            if let Some(frame) = client.take_received() {
                assert_eq!(frame, (0, "heartbeat".to_owned()));
                heartbeats.push(now_ms);
            }
        }
        // The handshake was traffic in the first interval, two silent ones followed; a heartbeat is
        // something written too.
        assert_eq!((heartbeats, client.now_ms), (vec![60_000, 120_000], 180_000));
    });
}

#[test]
fn shutdown_closes_with_320() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        handle.enter(|shard, outputs| client.connection.begin_shutdown(shard, outputs, 0));
        client
            .expect(
                0,
                "close 320 CONNECTION_FORCED - broker forced connection closure with reason 'shutdown' (0,0)",
            )
            .await;
    });
}

#[test]
fn finished_connection_leaves_nothing_behind() {
    run(async |handle| {
        let client = Client::open(&handle).await;
        let connection = client.connection;
        handle.enter(|shard, outputs| {
            assert_eq!((outputs.connections(), outputs.channels()), (1, 1));
            connection.finish(shard, outputs);
            assert_eq!((outputs.connections(), outputs.channels()), (0, 0));
            let stats = shard.stats_mut();
            assert_eq!((stats.connections, stats.channels), (0, 0));
        });
    });
}

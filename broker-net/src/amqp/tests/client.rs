//! A client without a socket: what it sends goes straight into a [`Connection`], what it receives is read from [`Outputs`].

use std::future::Future;
use std::sync::Arc;

use amq_protocol::protocol::{AMQPClass, basic, channel, connection, parse_class, queue};
use amq_protocol::types::{FieldTable, LongString, ShortString};
use broker_core::shard::driver::{self, ShardHandle};

use crate::amqp::codec::{ChannelId, FrameKind, next_frame, write_method};
use crate::amqp::{Connection, InputState, Node, Outputs, Peer};

/// Turns of the shard's loop after which a frame that did not come is given up.
const PATIENCE_TURNS: u32 = 3_000_000;

/// Tells how a scenario went when it is dropped: whether it panicked.
struct Outcome(flume::Sender<bool>);

impl Drop for Outcome {
    fn drop(&mut self) {
        let _ = self.0.send(std::thread::panicking());
    }
}

/// Runs a scenario on the one shard of a new broker.
pub(super) fn run<F>(scenario: impl Fn(ShardHandle<Outputs>) -> F + Clone + Send + 'static)
where
    F: Future<Output = ()> + 'static,
{
    let directory = tempfile::tempdir().unwrap();
    let config = driver::Config {
        data_dir: directory.path().into(),
        shards: 1,
        cpus: vec![0],
        defaults: driver::Defaults::default(),
    };
    let (done, finished) = flume::bounded(1);
    let serve = move |handle| {
        let scenario = scenario.clone();
        let outcome = Outcome(done.clone());
        async move {
            let _outcome = outcome;
            scenario(handle).await;
        }
    };
    let running = driver::start(&config, |_| Outputs::new(1), serve).unwrap();
    assert!(!finished.recv().unwrap(), "the scenario panicked");
    running.stop();
}

pub(super) struct Client {
    pub(super) handle: ShardHandle<Outputs>,
    pub(super) connection: Connection,
    /// Sent and not consumed.
    unconsumed: Vec<u8>,
    pub(super) state: InputState,
    /// Received and not looked at.
    received: Vec<u8>,
    /// Time that the connection is told.
    pub(super) now_ms: u64,
}

impl Client {
    /// A connection that has said nothing yet.
    pub(super) fn new(handle: &ShardHandle<Outputs>) -> Self {
        let peer = Peer::plain("127.0.0.1:40000".parse().unwrap());
        let node = Arc::new(Node::default());
        let connection = handle.enter(|_, outputs| Connection::new(peer, node, outputs, 0));
        Self {
            handle: handle.clone(),
            connection,
            unconsumed: Vec::new(),
            state: InputState::NeedMore,
            received: Vec::new(),
            now_ms: 0,
        }
    }

    /// An open connection with channel 1.
    pub(super) async fn open(handle: &ShardHandle<Outputs>) -> Self {
        let mut client = Self::new(handle);
        client.handshake("guest", "/").await;
        client.expect(0, "OpenOk").await;
        client.open_channel(1).await;
        client
    }

    pub(super) async fn handshake(&mut self, password: &str, vhost: &str) {
        self.send_bytes(b"AMQP\x00\x00\x09\x01");
        self.expect(0, "Start").await;
        self.send(0, start_ok(password));
        self.expect(0, "tune 2047 131072 60").await;
        let tune_ok = connection::TuneOk { channel_max: 2047, frame_max: 131_072, heartbeat: 60 };
        self.send(0, AMQPClass::Connection(connection::AMQPMethod::TuneOk(tune_ok)));
        let open = connection::Open { virtual_host: vhost.into() };
        self.send(0, AMQPClass::Connection(connection::AMQPMethod::Open(open)));
    }

    pub(super) async fn open_channel(&mut self, number: u16) {
        self.send(number, AMQPClass::Channel(channel::AMQPMethod::Open(channel::Open {})));
        self.expect(number, "OpenOk").await;
    }

    pub(super) fn send_bytes(&mut self, bytes: &[u8]) {
        self.unconsumed.extend_from_slice(bytes);
        self.resume();
    }

    pub(super) fn send(&mut self, number: u16, method: AMQPClass) {
        self.send_bytes(&method_bytes(number, &method));
    }

    pub(super) fn declare(&mut self, number: u16, queue: &str) {
        let declare = queue::Declare { queue: queue.into(), ..queue::Declare::default() };
        self.send(number, AMQPClass::Queue(queue::AMQPMethod::Declare(declare)));
    }

    pub(super) fn publish(&mut self, number: u16, routing_key: &str, body: &[u8]) {
        self.send_bytes(&publish_bytes(number, "", routing_key, false, body));
    }

    pub(super) fn consume(&mut self, number: u16, queue: &str, consumer_tag: &str, no_ack: bool) {
        let consume = basic::Consume {
            queue: queue.into(),
            consumer_tag: consumer_tag.into(),
            no_ack,
            ..basic::Consume::default()
        };
        self.send(number, AMQPClass::Basic(basic::AMQPMethod::Consume(consume)));
    }

    pub(super) fn ack(&mut self, number: u16, delivery_tag: u64, multiple: bool) {
        let ack = basic::Ack { delivery_tag, multiple };
        self.send(number, AMQPClass::Basic(basic::AMQPMethod::Ack(ack)));
    }

    /// The next frames are these, one content counting as part of its method. See [`describe`].
    pub(super) async fn expect(&mut self, number: u16, expected: &str) {
        let (channel, got) = self.receive().await;
        assert_eq!((channel, got.as_str()), (number, expected));
    }

    /// Nothing comes before the answer to a method that is answered at once.
    pub(super) async fn expect_nothing(&mut self, number: u16) {
        let qos = basic::Qos { prefetch_count: 0, global: false };
        self.send(number, AMQPClass::Basic(basic::AMQPMethod::Qos(qos)));
        self.expect(number, "QosOk").await;
    }

    /// The next method and its content.
    pub(super) async fn receive(&mut self) -> (u16, String) {
        for _ in 0..PATIENCE_TURNS {
            if let Some(found) = self.take_received() {
                return found;
            }
            self.handle.yield_now().await;
            self.resume();
        }
        panic!("nothing comes");
    }

    /// What the transport does with a connection that is ready.
    pub(super) fn resume(&mut self) {
        let now_ms = self.now_ms;
        self.handle.enter(|shard, outputs| {
            outputs.take_ready(&mut Vec::new());
            let input = self.connection.handle_input(&self.unconsumed, shard, outputs, now_ms);
            self.unconsumed.drain(..input.consumed);
            self.state = input.state;
            if let Some(bytes) = outputs.flush(self.connection.key()) {
                self.received.extend_from_slice(&bytes);
                outputs.written(self.connection.key(), bytes, shard);
            }
        });
    }

    /// What has come already.
    pub(super) fn take_received(&mut self) -> Option<(u16, String)> {
        if self.received.starts_with(b"AMQP") {
            self.received.drain(..8);
            return Some((0, "AMQP".to_owned()));
        }
        let (frame, mut length) = next_frame(&self.received, 131_072).unwrap()?;
        let number = frame.channel.0;
        if frame.kind == FrameKind::Heartbeat {
            self.received.drain(..length);
            return Some((number, "heartbeat".to_owned()));
        }
        assert_eq!(frame.kind, FrameKind::Method);
        let (_, class) = parse_class(frame.payload).unwrap();
        let mut text = describe(&class);
        if has_content(&class) {
            let (header, header_length) = next_frame(&self.received[length..], 131_072).unwrap()?;
            assert_eq!((header.kind, header.channel.0), (FrameKind::Header, number));
            let size = u64::from_be_bytes(header.payload[4..12].try_into().unwrap());
            length += header_length;
            let mut body = Vec::new();
            while (body.len() as u64) < size {
                let (frame, body_length) = next_frame(&self.received[length..], 131_072).unwrap()?;
                assert_eq!((frame.kind, frame.channel.0), (FrameKind::Body, number));
                body.extend_from_slice(frame.payload);
                length += body_length;
            }
            let shown = if size > 40 { format!("{size} bytes") } else { String::from_utf8(body).unwrap() };
            text = format!("{text} [{shown}]");
        }
        self.received.drain(..length);
        Some((number, text))
    }
}

pub(super) fn start_ok(password: &str) -> AMQPClass {
    let mut capabilities = FieldTable::default();
    for capability in ["authentication_failure_close", "consumer_cancel_notify", "connection.blocked"] {
        capabilities.insert(ShortString::from(capability), amq_protocol::types::AMQPValue::Boolean(true));
    }
    let mut client_properties = FieldTable::default();
    let capabilities = amq_protocol::types::AMQPValue::FieldTable(capabilities);
    client_properties.insert(ShortString::from("capabilities"), capabilities);
    let start_ok = connection::StartOk {
        client_properties,
        mechanism: "PLAIN".into(),
        response: LongString::from(format!("\0guest\0{password}")),
        locale: "en_US".into(),
    };
    AMQPClass::Connection(connection::AMQPMethod::StartOk(start_ok))
}

pub(super) fn method_bytes(number: u16, method: &AMQPClass) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_method(&mut bytes, ChannelId(number), method);
    bytes
}

pub(super) fn frame_bytes(kind: u8, number: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes.push(206);
    bytes
}

/// The frames of a publish of a transient message without properties, bodies cut at 100 000 bytes.
pub(super) fn publish_bytes(
    number: u16,
    exchange: &str,
    routing_key: &str,
    mandatory: bool,
    body: &[u8],
) -> Vec<u8> {
    let publish = basic::Publish {
        exchange: exchange.into(),
        routing_key: routing_key.into(),
        mandatory,
        ..basic::Publish::default()
    };
    let mut bytes = method_bytes(number, &AMQPClass::Basic(basic::AMQPMethod::Publish(publish)));
    bytes.extend_from_slice(&header_bytes(number, body.len() as u64));
    for piece in body.chunks(100_000) {
        bytes.extend_from_slice(&frame_bytes(3, number, piece));
    }
    bytes
}

pub(super) fn header_bytes(number: u16, body_size: u64) -> Vec<u8> {
    let mut header = vec![0, 60, 0, 0];
    header.extend_from_slice(&body_size.to_be_bytes());
    header.extend_from_slice(&[0, 0]);
    frame_bytes(2, number, &header)
}

fn has_content(class: &AMQPClass) -> bool {
    use basic::AMQPMethod::{Deliver, GetOk, Return};
    matches!(class, AMQPClass::Basic(Deliver(_) | GetOk(_) | Return(_)))
}

/// A method in short: the variant's name if nothing else is said of it.
fn describe(class: &AMQPClass) -> String {
    use basic::AMQPMethod as Basic;
    match class {
        AMQPClass::Connection(connection::AMQPMethod::Close(close)) => {
            let (class_id, method_id) = (close.class_id, close.method_id);
            format!("close {} {} ({class_id},{method_id})", close.reply_code, close.reply_text)
        }
        AMQPClass::Connection(connection::AMQPMethod::Blocked(blocked)) => {
            format!("blocked {}", blocked.reason)
        }
        AMQPClass::Connection(connection::AMQPMethod::Tune(tune)) => {
            format!("tune {} {} {}", tune.channel_max, tune.frame_max, tune.heartbeat)
        }
        AMQPClass::Channel(channel::AMQPMethod::Close(close)) => {
            let (class_id, method_id) = (close.class_id, close.method_id);
            format!("close {} {} ({class_id},{method_id})", close.reply_code, close.reply_text)
        }
        AMQPClass::Queue(queue::AMQPMethod::DeclareOk(ok)) => {
            format!("declare-ok {} {} {}", ok.queue, ok.message_count, ok.consumer_count)
        }
        AMQPClass::Basic(Basic::Deliver(deliver)) => {
            let redelivered = if deliver.redelivered { " redelivered" } else { "" };
            format!("deliver {} {}{redelivered}", deliver.consumer_tag, deliver.delivery_tag)
        }
        AMQPClass::Basic(Basic::GetOk(ok)) => format!("get-ok {} {}", ok.delivery_tag, ok.message_count),
        AMQPClass::Basic(Basic::Return(basic)) => format!("return {} {}", basic.reply_code, basic.reply_text),
        AMQPClass::Basic(Basic::ConsumeOk(ok)) => format!("consume-ok {}", ok.consumer_tag),
        AMQPClass::Basic(Basic::CancelOk(ok)) => format!("cancel-ok {}", ok.consumer_tag),
        AMQPClass::Basic(Basic::Cancel(cancel)) => format!("cancel {}", cancel.consumer_tag),
        AMQPClass::Basic(Basic::Ack(ack)) => {
            format!("ack {}{}", ack.delivery_tag, if ack.multiple { " multiple" } else { "" })
        }
        other => {
            let text = format!("{other:?}");
            let name = text.split(['(', ' ', '{']).nth(1).unwrap_or_default();
            name.to_owned()
        }
    }
}

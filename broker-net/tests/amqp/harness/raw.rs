//! A client that sends what it is told, frame by frame, for what well-behaved clients never do.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use amq_protocol::frame::{AMQPFrame, GenError, gen_frame, parse_frame};
use amq_protocol::protocol::{self, AMQPClass};
use amq_protocol::types::{AMQPValue, FieldTable};

use super::{Broker, table};

/// After this long without a byte the broker counts as stuck.
const STUCK: Duration = Duration::from_secs(20);

/// What a connection goes over.
pub(crate) trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

/// A connection to the broker.
pub(crate) struct Raw {
    stream: Box<dyn Stream>,
    /// Received and not read yet.
    input: Vec<u8>,
    /// Heartbeats received.
    pub(crate) heartbeats: u32,
}

/// What a client says of itself in the handshake.
pub(crate) struct Login {
    pub(crate) mechanism: &'static str,
    pub(crate) response: Vec<u8>,
    pub(crate) capabilities: FieldTable,
    /// Absent: whatever the server proposes.
    pub(crate) channel_max: Option<u16>,
    /// Absent: whatever the server proposes.
    pub(crate) frame_max: Option<u32>,
    pub(crate) heartbeat: u16,
    pub(crate) vhost: &'static str,
}

impl Default for Login {
    fn default() -> Self {
        Self {
            mechanism: "PLAIN",
            response: b"\0guest\0guest".to_vec(),
            capabilities: table([
                ("authentication_failure_close", AMQPValue::Boolean(true)),
                ("consumer_cancel_notify", AMQPValue::Boolean(true)),
                ("connection.blocked", AMQPValue::Boolean(true)),
            ]),
            channel_max: None,
            frame_max: None,
            heartbeat: 0,
            vhost: "/",
        }
    }
}

/// A `connection.close` or `channel.close` of the broker.
#[derive(Debug, PartialEq)]
pub(crate) struct Closed {
    pub(crate) code: u16,
    pub(crate) text: String,
    /// Class-id and method-id of the culprit.
    pub(crate) method: (u16, u16),
}

pub(crate) fn connection(method: protocol::connection::AMQPMethod) -> AMQPClass {
    AMQPClass::Connection(method)
}

pub(crate) fn channel(method: protocol::channel::AMQPMethod) -> AMQPClass {
    AMQPClass::Channel(method)
}

pub(crate) fn basic(method: protocol::basic::AMQPMethod) -> AMQPClass {
    AMQPClass::Basic(method)
}

pub(crate) fn queue(method: protocol::queue::AMQPMethod) -> AMQPClass {
    AMQPClass::Queue(method)
}

impl Raw {
    /// Connects and says nothing.
    pub(crate) fn connect(broker: &Broker) -> Self {
        Self::over(socket(broker.address))
    }

    /// Goes over a socket that is connected already.
    pub(crate) fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), input: Vec::new(), heartbeats: 0 }
    }

    /// Connects as guest to the virtual host `/` and opens channel 1.
    pub(crate) fn open(broker: &Broker) -> Self {
        Self::login(broker, &Login::default())
    }

    /// Connects and opens channel 1.
    pub(crate) fn login(broker: &Broker, login: &Login) -> Self {
        let mut raw = Self::connect(broker);
        let answer = raw.handshake(login);
        assert!(
            matches!(answer, AMQPClass::Connection(protocol::connection::AMQPMethod::OpenOk(_))),
            "{answer:?}"
        );
        raw.open_channel(1);
        raw
    }

    /// Goes through the handshake; the answer to `connection.open`, or what came instead of an earlier answer.
    pub(crate) fn handshake(&mut self, login: &Login) -> AMQPClass {
        use protocol::connection::{AMQPMethod, Open, TuneOk};
        self.write(b"AMQP\x00\x00\x09\x01");
        let start = self.method(0);
        assert!(matches!(start, AMQPClass::Connection(AMQPMethod::Start(_))), "{start:?}");
        self.start_ok(login);
        let tune = match self.method(0) {
            AMQPClass::Connection(AMQPMethod::Tune(tune)) => tune,
            other => return other,
        };
        self.send(
            0,
            &connection(AMQPMethod::TuneOk(TuneOk {
                channel_max: login.channel_max.unwrap_or(tune.channel_max),
                frame_max: login.frame_max.unwrap_or(tune.frame_max),
                heartbeat: login.heartbeat,
            })),
        );
        self.send(0, &connection(AMQPMethod::Open(Open { virtual_host: login.vhost.into() })));
        self.method(0)
    }

    pub(crate) fn start_ok(&mut self, login: &Login) {
        use protocol::connection::{AMQPMethod, StartOk};
        let client_properties = table([("capabilities", AMQPValue::FieldTable(login.capabilities.clone()))]);
        self.send(
            0,
            &connection(AMQPMethod::StartOk(StartOk {
                client_properties,
                mechanism: login.mechanism.into(),
                response: login.response.clone().into(),
                locale: "en_US".into(),
            })),
        );
    }

    pub(crate) fn open_channel(&mut self, id: u16) {
        use protocol::channel::{AMQPMethod, Open};
        let answer = self.call(id, &channel(AMQPMethod::Open(Open {})));
        assert!(matches!(answer, AMQPClass::Channel(AMQPMethod::OpenOk(_))), "{answer:?}");
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends a frame with any payload.
    pub(crate) fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&channel.to_be_bytes());
        bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes.push(206);
        self.write(&bytes);
    }

    pub(crate) fn send(&mut self, channel: u16, method: &AMQPClass) {
        self.write(&encode(&AMQPFrame::Method(channel, method.clone())));
    }

    /// Sends methods in one write, so that the broker has them all before it answers the first.
    pub(crate) fn send_together(&mut self, methods: &[(u16, AMQPClass)]) {
        let frames = methods.iter().map(|(channel, method)| AMQPFrame::Method(*channel, method.clone()));
        let bytes: Vec<u8> = frames.flat_map(|frame| encode(&frame)).collect();
        self.write(&bytes);
    }

    /// Sends a content header without properties.
    pub(crate) fn header(&mut self, channel: u16, body_size: u64) {
        let mut payload = vec![0, 60, 0, 0];
        payload.extend_from_slice(&body_size.to_be_bytes());
        payload.extend_from_slice(&[0, 0]);
        self.frame(2, channel, &payload);
    }

    /// Publishes through the default exchange.
    pub(crate) fn publish(&mut self, channel: u16, queue: &str, body: &[u8]) {
        use protocol::basic::{AMQPMethod, Publish};
        let method = Publish { routing_key: queue.into(), ..Publish::default() };
        self.send(channel, &basic(AMQPMethod::Publish(method)));
        self.header(channel, body.len() as u64);
        if !body.is_empty() {
            self.frame(3, channel, body);
        }
    }

    /// The next frame that is no heartbeat, or `None` if the broker has closed the connection.
    pub(crate) fn next(&mut self) -> Option<AMQPFrame> {
        loop {
            if let Ok((rest, frame)) = parse_frame(self.input.as_slice()) {
                self.input = rest.to_vec();
                match frame {
                    AMQPFrame::Heartbeat => self.heartbeats += 1,
                    other => return Some(other),
                }
            } else if self.fill() == 0 {
                return None;
            }
        }
    }

    /// Receives more; 0 if the broker has closed the connection.
    fn fill(&mut self) -> usize {
        let mut buffer = [0; 65_536];
        match self.stream.read(&mut buffer) {
            Ok(count) => {
                self.input.extend_from_slice(&buffer[..count]);
                count
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("the broker neither answers nor closes: {error}"),
        }
    }

    /// Receives something, and counts the heartbeats in it; there must be nothing else.
    pub(crate) fn fill_once(&mut self) {
        assert!(self.fill() > 0, "the broker has closed the connection");
        while let Ok((rest, AMQPFrame::Heartbeat)) = parse_frame(self.input.as_slice()) {
            self.input = rest.to_vec();
            self.heartbeats += 1;
        }
    }

    /// The octets that come until the broker closes the connection.
    pub(crate) fn rest(mut self) -> Vec<u8> {
        while self.fill() > 0 {}
        self.input
    }

    /// The next frame, which is a method on this channel.
    #[track_caller]
    pub(crate) fn method(&mut self, channel: u16) -> AMQPClass {
        match self.next() {
            Some(AMQPFrame::Method(at, method)) if at == channel => method,
            other => panic!("{other:?} is not a method on channel {channel}"),
        }
    }

    /// Sends a method and reads the answer to it.
    #[track_caller]
    pub(crate) fn call(&mut self, channel: u16, method: &AMQPClass) -> AMQPClass {
        self.send(channel, method);
        self.method(channel)
    }

    /// The broker closes the connection, now; answers it, and the broker hangs up.
    #[track_caller]
    pub(crate) fn closed(mut self) -> Closed {
        use protocol::connection::{AMQPMethod, CloseOk};
        let answer = self.method(0);
        let AMQPClass::Connection(AMQPMethod::Close(close)) = answer else {
            panic!("{answer:?} is not connection.close");
        };
        // The broker may have closed the socket for good, as after a frame error.
        let _ = self.stream.write_all(&encode(&AMQPFrame::Method(0, connection(AMQPMethod::CloseOk(CloseOk {})))));
        assert_eq!(self.rest(), b"");
        Closed {
            code: close.reply_code,
            text: close.reply_text.to_string(),
            method: (close.class_id, close.method_id),
        }
    }

    /// The broker closes this channel, now; answers it.
    #[track_caller]
    pub(crate) fn channel_closed(&mut self, id: u16) -> Closed {
        use protocol::channel::{AMQPMethod, CloseOk};
        let answer = self.method(id);
        let AMQPClass::Channel(AMQPMethod::Close(close)) = answer else {
            panic!("{answer:?} is not channel.close");
        };
        self.send(id, &channel(AMQPMethod::CloseOk(CloseOk {})));
        Closed {
            code: close.reply_code,
            text: close.reply_text.to_string(),
            method: (close.class_id, close.method_id),
        }
    }
}

/// A socket that does not wait for ever.
pub(crate) fn socket(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(STUCK)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn encode(frame: &AMQPFrame) -> Vec<u8> {
    let written: Result<_, GenError> = gen_frame(frame)(Vec::new().into());
    written.unwrap().write
}

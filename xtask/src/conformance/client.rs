//! A client that sends what a scenario says, frame by frame, and tells what comes back.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::method::{Arguments, Method, decode_header, shown};

const FRAME_METHOD: u8 = 1;
const FRAME_HEADER: u8 = 2;
const FRAME_BODY: u8 = 3;
const FRAME_HEARTBEAT: u8 = 8;
const FRAME_END: u8 = 206;

/// A body longer than this is shown by its first octets and its size.
const SHOWN_BODY: usize = 80;

/// A TCP connection to a broker.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    /// Received and not read yet.
    input: Vec<u8>,
    ended: bool,
}

/// What came from the broker.
#[derive(Debug)]
pub(super) enum Event {
    /// A method, with its content if it carries one.
    Method {
        channel: u16,
        method: &'static Method,
        arguments: Arguments,
        content: String,
    },
    Heartbeat,
    /// Octets that are no frame.
    Octets(Vec<u8>),
    /// The broker has closed the connection.
    End,
}

struct Frame {
    kind: u8,
    channel: u16,
    payload: Vec<u8>,
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("no broker at {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, input: Vec::new(), ended: false })
    }

    /// Sends octets. The broker may have hung up: what it said before is still to be read.
    pub(super) fn write(&mut self, octets: &[u8]) {
        let _ = self.stream.write_all(octets);
    }

    pub(super) fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) -> anyhow::Result<()> {
        let mut frame = vec![kind];
        frame.extend(channel.to_be_bytes());
        frame.extend(u32::try_from(payload.len())?.to_be_bytes());
        frame.extend(payload);
        frame.push(FRAME_END);
        self.write(&frame);
        Ok(())
    }

    pub(super) fn method(&mut self, channel: u16, method: &Method, arguments: &Arguments) -> anyhow::Result<()> {
        self.frame(FRAME_METHOD, channel, &method.encode(arguments)?)
    }

    pub(super) fn header(&mut self, channel: u16, payload: &[u8]) -> anyhow::Result<()> {
        self.frame(FRAME_HEADER, channel, payload)
    }

    /// Sends a body in frames of at most `frame_max` octets; an empty one is no frame at all.
    pub(super) fn body(&mut self, channel: u16, body: &[u8], frame_max: usize) -> anyhow::Result<()> {
        body.chunks(frame_max - 8).try_for_each(|chunk| self.frame(FRAME_BODY, channel, chunk))
    }

    /// The next event, or `None` if nothing comes in time.
    pub(super) fn next(&mut self, deadline: Instant) -> anyhow::Result<Option<Event>> {
        let frame = match self.next_frame(deadline)? {
            Received::Frame(frame) => frame,
            Received::Event(event) => return Ok(event),
        };
        if frame.kind == FRAME_HEARTBEAT {
            return Ok(Some(Event::Heartbeat));
        }
        ensure!(frame.kind == FRAME_METHOD, "frame of type {} without a method", frame.kind);
        let (method, arguments) = Method::decode(&frame.payload)?;
        let content = if method.content { self.content(frame.channel, deadline)? } else { String::new() };
        Ok(Some(Event::Method { channel: frame.channel, method, arguments, content }))
    }

    /// Reads the content that follows a method and shows it.
    fn content(&mut self, channel: u16, deadline: Instant) -> anyhow::Result<String> {
        let header = self.content_frame(FRAME_HEADER, channel, deadline)?;
        let (size, properties) = decode_header(&header)?;
        let size = usize::try_from(size)?;
        let mut body = Vec::new();
        while body.len() < size {
            let part = self.content_frame(FRAME_BODY, channel, deadline)?;
            ensure!(!part.is_empty(), "an empty body frame");
            body.extend(part);
        }
        ensure!(body.len() == size, "a body of {} octets where {size} were announced", body.len());
        let text = String::from_utf8_lossy(&body);
        let body = match text.char_indices().nth(SHOWN_BODY) {
            Some((end, _)) => format!("{:?}... of {size} octets", &text[..end]),
            None => format!("{text:?}"),
        };
        Ok(format!("{} body={body}", shown(&properties)))
    }

    fn content_frame(&mut self, kind: u8, channel: u16, deadline: Instant) -> anyhow::Result<Vec<u8>> {
        match self.next_frame(deadline)? {
            Received::Frame(frame) if frame.kind == kind && frame.channel == channel => Ok(frame.payload),
            Received::Frame(frame) => {
                anyhow::bail!("frame of type {} on channel {} inside a content", frame.kind, frame.channel)
            }
            Received::Event(event) => anyhow::bail!("{event:?} inside a content"),
        }
    }

    fn next_frame(&mut self, deadline: Instant) -> anyhow::Result<Received> {
        loop {
            if let Some(frame) = self.take_frame()? {
                return Ok(Received::Frame(frame));
            }
            if self.ended {
                let octets = std::mem::take(&mut self.input);
                let event = if octets.is_empty() { Event::End } else { Event::Octets(octets) };
                return Ok(Received::Event(Some(event)));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Received::Event(None));
            }
            self.fill(left)?;
        }
    }

    /// Takes a whole frame out of the input. A protocol header of the broker is no frame; it comes when the broker hangs up.
    fn take_frame(&mut self) -> anyhow::Result<Option<Frame>> {
        if self.input.starts_with(b"AMQP") {
            return Ok(None);
        }
        let Some(size) = self.input.get(3..7) else { return Ok(None) };
        let size = usize::try_from(u32::from_be_bytes(size.try_into()?))?;
        if self.input.len() < size + 8 {
            return Ok(None);
        }
        let frame: Vec<u8> = self.input.drain(..size + 8).collect();
        ensure!(frame[size + 7] == FRAME_END, "a frame without an end");
        let channel = u16::from_be_bytes([frame[1], frame[2]]);
        Ok(Some(Frame { kind: frame[0], channel, payload: frame[7..size + 7].to_vec() }))
    }

    /// Receives more, for at most this long.
    fn fill(&mut self, patience: Duration) -> anyhow::Result<()> {
        let mut buffer = [0; 65_536];
        self.stream.set_read_timeout(Some(patience))?;
        match self.stream.read(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(count) => self.input.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => self.ended = true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// A frame, or what came instead of one.
enum Received {
    Frame(Frame),
    Event(Option<Event>),
}

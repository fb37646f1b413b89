//! AMQP over WebSocket (RFC 6455): the bytes of the connection in binary messages, whose borders mean nothing.

use std::io::{self, Read, Write};
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, Bytes};
use futures_lite::future::poll_fn;
use tungstenite::handshake::HandshakeError;
use tungstenite::handshake::server::{ErrorResponse, Request, Response, ServerHandshake};
use tungstenite::http::HeaderValue;
use tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Message, WebSocket};

use super::stream::Stream;

/// The longest message of a client that has not logged in, in bytes, and the longest that is sent; a longer one ends the connection.
/// A message is received whole before any of it is looked at.
const MAX_EARLY_MESSAGE_BYTES: usize = 64 << 10;

/// The longest message of a client that has logged in, in bytes: clients send a whole publish as one, so it holds the largest body and
/// its frames.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// What a message may fill of the buffers of a connection, in bytes.
const BUFFER_BYTES: usize = 16 << 10;

/// A socket on which WebSocket is spoken.
pub(super) struct WebSocketStream {
    socket: WebSocket<Blocking>,
    /// What has been received and not been read.
    received: Bytes,
}

/// The socket below as the machine of the protocol wants it: what would wait is `WouldBlock`, and the task is woken later.
struct Blocking {
    stream: Stream,
    waker: Waker,
}

type Handshake = Result<WebSocket<Blocking>, HandshakeError<ServerHandshake<Blocking, Answer>>>;

type Answer = fn(&Request, Response) -> Result<Response, ErrorResponse>;

impl WebSocketStream {
    /// Answers the request that begins the protocol. Every path is taken.
    pub(super) async fn accept(stream: Stream) -> io::Result<Self> {
        let mut stream = Some(stream);
        let mut interrupted = None;
        let socket = poll_fn(|context| {
            let handshake: Handshake = match (stream.take(), interrupted.take()) {
                (Some(stream), _) => {
                    let blocking = Blocking { stream, waker: context.waker().clone() };
                    tungstenite::accept_hdr_with_config(blocking, answer as Answer, Some(config()))
                }
                // The handshake runs on one task: its waker stays the same.
                (None, Some(handshake)) => tungstenite::handshake::MidHandshake::handshake(handshake),
                (None, None) => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            };
            match handshake {
                Ok(socket) => Poll::Ready(Ok(socket)),
                Err(HandshakeError::Interrupted(handshake)) => {
                    interrupted = Some(handshake);
                    Poll::Pending
                }
                Err(HandshakeError::Failure(error)) => Poll::Ready(Err(into_io(error))),
            }
        })
        .await?;
        Ok(Self { socket, received: Bytes::new() })
    }

    /// The socket below.
    pub(super) fn stream(&self) -> &Stream {
        &self.socket.get_ref().stream
    }

    pub(super) fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.wakes(context);
        while self.received.is_empty() {
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => self.received = bytes,
                Ok(Message::Text(_)) => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                // Pings are answered and the end is agreed upon by the machine.
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => {}
                Err(error) => match into_io(error) {
                    error if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                    error if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(0)),
                    error => return Poll::Ready(Err(error)),
                },
            }
        }
        let length = self.received.len().min(buffer.len());
        self.received.copy_to_slice(&mut buffer[..length]);
        Poll::Ready(Ok(length))
    }

    pub(super) fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // One message at a time: the one before has to leave first.
        match self.poll_flush(context) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
        let length = bytes.len().min(MAX_EARLY_MESSAGE_BYTES);
        match self.socket.write(Message::Binary(Bytes::copy_from_slice(&bytes[..length]))).map_err(into_io) {
            // The machine has the message, whether or not the socket took it.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Poll::Ready(Err(error)),
            _ => match self.poll_flush(context) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Ready(Ok(length)),
            },
        }
    }

    /// Completes when the socket below has taken every message.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wakes(context);
        match self.socket.flush().map_err(into_io) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// The client has logged in: its messages may be long.
    pub(super) fn trust(&mut self) {
        self.socket.set_config(|config| {
            config.max_message_size = Some(MAX_MESSAGE_BYTES);
            config.max_frame_size = Some(MAX_MESSAGE_BYTES);
        });
    }

    /// Tells the client of the end, if the socket takes that at once, and ends the socket.
    pub(super) fn shut_down(&mut self) {
        let _ = self.socket.close(None);
        let _ = self.poll_flush(&mut Context::from_waker(Waker::noop()));
        self.socket.get_mut().stream.shut_down();
    }

    /// The task that is woken when the socket can go on.
    fn wakes(&mut self, context: &Context<'_>) {
        self.socket.get_mut().waker.clone_from(context.waker());
    }
}

impl Read for Blocking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        blocking(self.stream.poll_read(&mut Context::from_waker(&self.waker), buffer))
    }
}

impl Write for Blocking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        blocking(self.stream.poll_write(&mut Context::from_waker(&self.waker), bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        blocking(self.stream.poll_flush(&mut Context::from_waker(&self.waker)))
    }
}

fn blocking<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(MAX_EARLY_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_EARLY_MESSAGE_BYTES))
}

/// Chooses the subprotocol: the first of those offered that is AMQP. Without one, browsers do not connect when they have offered some.
#[expect(clippy::result_large_err, reason = "the type is the library's")]
#[expect(clippy::unnecessary_wraps, reason = "the type is the library's")]
fn answer(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offers = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
    let offered = offers.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    if let Some(amqp) = offered.map(str::trim).find(|protocol| protocol.starts_with("amqp"))
        && let Ok(value) = HeaderValue::from_str(amqp)
    {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, value);
    }
    Ok(response)
}

/// The end of the connection, in whatever way, is `UnexpectedEof`.
fn into_io(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            io::ErrorKind::UnexpectedEof.into()
        }
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

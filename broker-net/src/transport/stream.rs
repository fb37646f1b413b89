//! A socket, with TLS, with WebSocket, or with neither.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_lite::future::poll_fn;
use futures_lite::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use rustls::{ServerConfig, ServerConnection};

use super::websocket::WebSocketStream;

/// A socket and what is spoken on it below AMQP.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
    WebSocket(Box<WebSocketStream>),
}

/// A socket on which TLS is spoken. The TLS machine is rustls'; what it has to write goes out with the next read or write, as far
/// as the socket takes it.
pub(super) struct TlsStream {
    tcp: TcpStream,
    session: ServerConnection,
}

impl Stream {
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(context, buffer),
            Self::Tls(tls) => tls.poll_read(context, buffer),
            Self::WebSocket(socket) => socket.poll_read(context, buffer),
        }
    }

    pub(super) fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Self::Tls(tls) => tls.poll_write(context, bytes),
            Self::WebSocket(socket) => socket.poll_write(context, bytes),
        }
    }

    /// Completes when nothing that was written is left in the machines of TLS and WebSocket.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => tls.poll_flush(context),
            Self::WebSocket(socket) => socket.poll_flush(context),
        }
    }

    /// The client has logged in: limits for strangers end.
    pub(super) fn trust(&mut self) {
        if let Self::WebSocket(socket) = self {
            socket.trust();
        }
    }

    /// The broker's own end of the socket.
    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        let tcp = match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => &tls.tcp,
            Self::WebSocket(socket) => return socket.stream().local_addr(),
        };
        tcp.local_addr().map_err(io::Error::from)
    }

    /// Ends the socket in both directions, which ends whoever reads it.
    pub(super) fn shut_down(&mut self) {
        let tcp = match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => {
                // The client is told that nothing is cut off, if the socket takes that at once.
                tls.session.send_close_notify();
                let mut context = Context::from_waker(std::task::Waker::noop());
                let _ = tls.poll_flush(&mut context);
                &tls.tcp
            }
            Self::WebSocket(socket) => return socket.shut_down(),
        };
        // Glommio's shutdown is the system call and does not wait. A socket that is not connected any more needs none.
        let _ = futures_lite::future::block_on(tcp.shutdown(Shutdown::Both));
    }
}

impl TlsStream {
    pub(super) fn new(tcp: TcpStream, config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self { tcp, session: ServerConnection::new(config)? })
    }

    /// Goes through the handshake.
    pub(super) async fn handshake(&mut self) -> io::Result<()> {
        poll_fn(|context| {
            while self.session.is_handshaking() {
                match self.poll_receive(context) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            self.poll_flush(context)
        })
        .await
    }

    /// The client's certificate, if it has shown one.
    pub(super) fn peer_certificate(&self) -> Option<&[u8]> {
        self.session.peer_certificates()?.first().map(AsRef::as_ref)
    }

    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // A client that ends without saying so in TLS is gone all the same: AMQP has its own end.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(0)),
                result => return Poll::Ready(result),
            }
            match self.poll_receive(context) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(0)),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Gives the TLS machine what the socket has, and writes what it has to say; 0 when the socket has ended.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Err(error)) = self.poll_flush(context) {
            return Poll::Ready(Err(error));
        }
        let received = match self.session.read_tls(&mut Ready { tcp: &mut self.tcp, context }) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            result => result?,
        };
        let result = self.session.process_new_packets();
        // An alert, or the next part of the handshake.
        let flushed = self.poll_flush(context);
        if let Err(error) = result {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        match flushed {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(received)),
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // The machine takes up to its limit of buffered bytes: what it has must leave first.
        if self.poll_flush(context)?.is_pending() {
            return Poll::Pending;
        }
        let written = self.session.writer().write(bytes)?;
        match self.poll_flush(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(written)),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Ready { tcp: &mut self.tcp, context }) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The socket as rustls wants it: what would wait is `WouldBlock`, and the task is woken later.
struct Ready<'a, 'b, 'c> {
    tcp: &'a mut TcpStream,
    context: &'b mut Context<'c>,
}

fn blocking<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Read for Ready<'_, '_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        blocking(Pin::new(&mut *self.tcp).poll_read(self.context, buffer))
    }
}

impl Write for Ready<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        blocking(Pin::new(&mut *self.tcp).poll_write(self.context, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

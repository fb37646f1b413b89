//! A listener that has a limited number of connections open: the rest of the files belongs to AMQP clients.

use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};
use tokio_rustls::{Accept, TlsAcceptor};

use crate::tls::Acceptor;

/// A client that sends nothing and takes nothing for so long is disconnected, unless it waits for an answer: it takes the place of
/// another.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// Where it is.
    pub(super) address: SocketAddr,
    /// All of a request's body has come and its answer has not gone: the client has nothing to send.
    answering: Arc<AtomicBool>,
}

impl Peer {
    /// All of the body of its request has come.
    pub(super) fn has_sent_all(&self) {
        self.answering.store(true, Ordering::Relaxed);
    }
}

impl Connected<IncomingStream<'_, LimitedListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, LimitedListener>) -> Self {
        Self { address: *stream.remote_addr(), answering: Arc::clone(&stream.io().answering) }
    }
}

/// A request that has no answer yet.
struct UnderWay(Arc<AtomicBool>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Ends what [`Peer::has_sent_all`] began when a request has its answer, or nobody waits for it any more.
pub(super) async fn answer(ConnectInfo(peer): ConnectInfo<Peer>, request: Request, next: Next) -> Response {
    let _under_way = UnderWay(peer.answering);
    next.run(request).await
}

/// Accepts while fewer than the given number of its connections are open.
pub(super) struct LimitedListener {
    listener: TcpListener,
    acceptor: Option<Acceptor>,
    permits: Arc<Semaphore>,
}

/// A connection; makes room for another one when dropped.
pub(super) struct LimitedStream {
    stream: Socket,
    idle: Pin<Box<Sleep>>,
    answering: Arc<AtomicBool>,
    _permit: OwnedSemaphorePermit,
}

/// A socket, with TLS or without.
enum Socket {
    /// The handshake of TLS goes on with the first reads, so that a slow client holds up no accept.
    Handshake(Box<Accept<TcpStream>>),
    Open(Box<dyn Duplex>),
}

/// What can be read and written.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl LimitedListener {
    /// With an acceptor, TLS is spoken.
    pub(super) fn new(listener: TcpListener, acceptor: Option<Acceptor>, connections: usize) -> Self {
        Self { listener, acceptor, permits: Arc::new(Semaphore::new(connections)) }
    }
}

impl Socket {
    fn new(tcp: TcpStream, acceptor: Option<&Acceptor>) -> Self {
        match acceptor {
            None => Self::Open(Box::new(tcp)),
            Some(acceptor) => Self::Handshake(Box::new(TlsAcceptor::from(acceptor.config()).accept(tcp))),
        }
    }

    /// Completes when the handshake is over.
    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Pin<&mut dyn Duplex>>> {
        loop {
            match self {
                Self::Handshake(handshake) => {
                    let tls = ready!(Pin::new(handshake.as_mut()).poll(context))?;
                    *self = Self::Open(Box::new(tls));
                }
                Self::Open(stream) => return Poll::Ready(Ok(Pin::new(stream.as_mut()))),
            }
        }
    }
}

impl Listener for LimitedListener {
    type Io = LimitedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (LimitedStream, SocketAddr) {
        let permits = Arc::clone(&self.permits);
        let permit = permits.acquire_owned().await.expect("the semaphore is never closed");
        // This accept waits and retries when the process is out of files.
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        let stream = Socket::new(stream, self.acceptor.as_ref());
        let idle = Box::pin(sleep(IDLE_TIMEOUT));
        (LimitedStream { stream, idle, answering: Arc::default(), _permit: permit }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl AsyncRead for LimitedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = match self.stream.poll_open(context) {
            Poll::Ready(Ok(stream)) => stream.poll_read(context, buffer),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        if read.is_ready() {
            self.idle.as_mut().reset(Instant::now() + IDLE_TIMEOUT);
        }
        while read.is_pending() && self.idle.as_mut().poll(context).is_ready() {
            if !self.answering.load(Ordering::Relaxed) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.idle.as_mut().reset(Instant::now() + IDLE_TIMEOUT);
        }
        read
    }
}

impl AsyncWrite for LimitedStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(ready!(self.stream.poll_open(context))?.poll_write(context, bytes))?;
        self.idle.as_mut().reset(Instant::now() + IDLE_TIMEOUT);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.stream.poll_open(context))?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            // Nothing has been said that could be cut off.
            Socket::Handshake(_) => Poll::Ready(Ok(())),
            Socket::Open(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }
}

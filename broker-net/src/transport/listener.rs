//! Accepting connections.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::future::or;
use glommio::net::{TcpListener, TcpStream};

use super::gate::Pass;
use super::link::Link;
use super::stream::{Stream, TlsStream};
use super::websocket::WebSocketStream;
use super::{Transport, proxy};
use crate::amqp::Peer;
use crate::tls::user_name;

/// How long a listener pauses when a connection cannot be accepted (no file descriptors are left), in milliseconds.
const PAUSE_MS: u64 = 100;

/// An address that every shard listens on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listen {
    /// Where.
    pub(crate) address: SocketAddr,
    /// Connections start with a TLS handshake.
    pub(crate) tls: bool,
    /// AMQP is spoken inside of WebSocket.
    pub(crate) websocket: bool,
}

impl Listen {
    /// The flag that gives such an address.
    pub(crate) fn flag(self) -> &'static str {
        match (self.websocket, self.tls) {
            (false, false) => "--amqp",
            (false, true) => "--amqps",
            (true, false) => "--ws",
            (true, true) => "--wss",
        }
    }

    /// RabbitMQ's name of what is spoken there; it has none for AMQP over WebSocket.
    pub(crate) fn protocol(self) -> &'static str {
        match (self.websocket, self.tls) {
            (false, false) => "amqp",
            (false, true) => "amqp/ssl",
            (true, false) => "amqp/ws",
            (true, true) => "amqp/wss",
        }
    }
}

/// Binds one of the shard's listeners.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).map_err(io::Error::from)
}

/// Accepts connections until it is cancelled. There is one such task: an accept that is given up would lose a
/// connection.
pub(super) async fn accept(transport: Rc<Transport>, listener: TcpListener, listen: Listen) {
    loop {
        transport.gate.room(|| transport.unauthenticated_max()).await;
        match listener.accept().await {
            Ok(stream) => admit(&transport, stream, listen),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                glommio::timer::sleep(Duration::from_millis(PAUSE_MS)).await;
            }
        }
    }
}

fn admit(transport: &Rc<Transport>, tcp: TcpStream, listen: Listen) {
    // A client that is gone already has no address.
    let Ok(peer) = tcp.peer_addr().map_err(io::Error::from) else {
        return;
    };
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%peer, %error, "TCP_NODELAY was refused");
    }
    let pass = transport.gate.enter();
    if listen.tls || listen.websocket || transport.front.is_proxy(peer) {
        glommio::spawn_local(greet(Rc::clone(transport), tcp, peer, listen, pass)).detach();
    } else {
        Link::start(transport, Stream::Plain(tcp), Peer::plain(peer), pass);
    }
}

/// Goes through what comes before AMQP, in no more time than the whole handshake may take.
async fn greet(transport: Rc<Transport>, tcp: TcpStream, address: SocketAddr, listen: Listen, pass: Pass) {
    let limit = Duration::from_millis(transport.front.node.config().handshake_timeout_ms);
    let late = async {
        glommio::timer::sleep(limit).await;
        Err(io::ErrorKind::TimedOut.into())
    };
    match or(secure(&transport, tcp, address, listen), late).await {
        Ok((stream, peer)) => Link::start(&transport, stream, peer, pass),
        Err(error) => tracing::info!(peer = %address, %error, "a connection ended before it spoke AMQP"),
    }
}

/// The header of the PROXY protocol if a proxy connects, then the handshakes of TLS and WebSocket if they are spoken here.
async fn secure(
    transport: &Transport,
    mut tcp: TcpStream,
    address: SocketAddr,
    listen: Listen,
) -> io::Result<(Stream, Peer)> {
    let mut peer = Peer::plain(address);
    if transport.front.is_proxy(address) {
        peer.address = proxy::read_header(&mut tcp).await?.unwrap_or(address);
    }
    let stream = if listen.tls { encrypt(transport, tcp, &mut peer).await? } else { Stream::Plain(tcp) };
    if !listen.websocket {
        return Ok((stream, peer));
    }
    let socket = WebSocketStream::accept(stream).await?;
    Ok((Stream::WebSocket(Box::new(socket)), peer))
}

/// The handshake of TLS. The peer is known by its certificate afterwards, if it has shown one.
async fn encrypt(transport: &Transport, tcp: TcpStream, peer: &mut Peer) -> io::Result<Stream> {
    let acceptor = transport.front.acceptor.as_ref().expect("a listener with TLS has certificates");
    let mut stream = TlsStream::new(tcp, acceptor.config()).map_err(io::Error::other)?;
    stream.handshake().await?;
    peer.tls = true;
    let name =
        stream.peer_certificate().and_then(|certificate| user_name(certificate, &transport.front.node.config()));
    peer.certificate_name = name.map(Into::into);
    Ok(Stream::Tls(Box::new(stream)))
}

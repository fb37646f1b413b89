//! Accepting connections.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use glommio::net::{TcpListener, TcpStream};

use super::Transport;
use super::link::Link;
use crate::amqp::Peer;

/// How long a listener pauses when a connection cannot be accepted (no file descriptors are left), in milliseconds.
const PAUSE_MS: u64 = 100;

/// An address that every shard listens on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listen {
    /// Where.
    pub(crate) address: SocketAddr,
    /// Connections start with a TLS handshake.
    pub(crate) tls: bool,
}

impl Listen {
    /// The flag that gives such an address.
    pub(crate) fn flag(self) -> &'static str {
        if self.tls { "--amqps" } else { "--amqp" }
    }
}

/// Binds one of the shard's listeners.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).map_err(io::Error::from)
}

/// Accepts connections until it is cancelled. There is one such task: an accept that is given up would lose a
/// connection.
pub(super) async fn accept(transport: Rc<Transport>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok(stream) => admit(&transport, stream),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                glommio::timer::sleep(Duration::from_millis(PAUSE_MS)).await;
            }
        }
    }
}

fn admit(transport: &Rc<Transport>, stream: TcpStream) {
    // A client that is gone already has no address.
    let Ok(peer) = stream.peer_addr().map_err(io::Error::from) else {
        return;
    };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "TCP_NODELAY was refused");
    }
    Link::start(transport, stream, Peer::plain(peer));
}

//! Sockets: the listener of a shard, and the tasks that move bytes between its sockets and its connections.
//!
//! A connection has one task, its reader. All readers of a shard receive into one buffer: a connection that
//! is idle holds none, and a busy one always finds the buffer in the cache. What a turn of the loop has to write is
//! written by the shard's flusher, one write per connection; only for a socket that takes no more a task is
//! made that waits for it.

mod gate;
mod link;
mod listener;
mod proxy;
mod stream;
mod websocket;

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use broker_core::ids::ConnectionKey;
use broker_core::shard::driver::{ShardHandle, now_ms};
use ipnet::IpNet;
use rustc_hash::FxHashMap;

use self::gate::Gate;
use self::link::Link;
pub(crate) use self::listener::Listen;
use crate::amqp::{Node, Outputs};
use crate::tls::Acceptor;

/// Size of a shard's receive buffer beyond two of the largest frames, in bytes.
const RECEIVE_BYTES: usize = 32 * 1024;

/// Time between two looks at the deadlines of connections, in milliseconds.
const DEADLINES_MS: u64 = 500;

/// How long a stopping broker waits for its clients to answer `connection.close`, in milliseconds.
const STOP_MS: u64 = 3000;

/// What connections come in through.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    /// Where every shard listens.
    pub(crate) listens: Vec<Listen>,
    /// What all connections share.
    pub(crate) node: Arc<Node>,
    /// For the listeners with TLS.
    pub(crate) acceptor: Option<Acceptor>,
    /// Connections from these networks start with a header of the PROXY protocol.
    pub(crate) proxies: Arc<[IpNet]>,
    /// How many shards there are.
    pub(crate) shards: usize,
}

impl Front {
    /// A connection from there starts with a header of the PROXY protocol.
    fn is_proxy(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        self.proxies.iter().any(|network| network.contains(&ip))
    }
}

/// The sockets of one shard.
struct Transport {
    handle: ShardHandle<Outputs>,
    front: Front,
    receive_buffer: RefCell<Box<[u8]>>,
    links: RefCell<FxHashMap<ConnectionKey, Rc<Link>>>,
    /// Bounds the connections that are not open yet.
    gate: Rc<Gate>,
}

/// Listens on some addresses, together with the other shards, until the broker stops and the connections are closed. Says on
/// `listening` whether that works.
pub(crate) async fn serve(
    handle: ShardHandle<Outputs>,
    front: Front,
    listening: flume::Sender<Result<(), (Listen, io::Error)>>,
) {
    let config = front.node.config();
    handle.enter(|_, outputs| outputs.set_consumer_timeout(config.consumer_timeout_ms));
    let largest_frame = usize::try_from(config.frame_max.max(config.initial_frame_max)).unwrap_or_default();
    let transport = Rc::new(Transport {
        handle: handle.clone(),
        front,
        receive_buffer: RefCell::new(vec![0; RECEIVE_BYTES + 2 * largest_frame].into()),
        links: RefCell::default(),
        gate: Rc::default(),
    });
    let mut accepting = Vec::new();
    for listen in transport.front.listens.clone() {
        match listener::bind(listen.address) {
            Ok(listener) => {
                accepting.push(glommio::spawn_local(listener::accept(Rc::clone(&transport), listener, listen)));
            }
            Err(error) => {
                let _ = listening.send(Err((listen, error)));
                return;
            }
        }
    }
    let _ = listening.send(Ok(()));
    let flushing = glommio::spawn_local(flush(Rc::clone(&transport)));
    let deadlines = glommio::spawn_local(watch_deadlines(Rc::clone(&transport)));
    handle.stopping().await;
    for accepting in accepting {
        accepting.cancel().await;
    }
    transport.close_all().await;
    flushing.cancel().await;
    deadlines.cancel().await;
}

/// After each turn of the loop: lets connections go on that waited for a reply, and writes what there is to write.
async fn flush(transport: Rc<Transport>) {
    let mut ready = Vec::new();
    loop {
        transport.handle.output().await;
        transport.handle.enter(|_, outputs| outputs.take_ready(&mut ready));
        for key in ready.drain(..) {
            let link = transport.links.borrow().get(&key).cloned();
            if let Some(link) = link {
                link.resume(&transport);
                link.write(&transport).await;
            }
        }
    }
}

async fn watch_deadlines(transport: Rc<Transport>) {
    loop {
        glommio::timer::sleep(Duration::from_millis(DEADLINES_MS)).await;
        let now = now_ms();
        transport.handle.enter(|_, outputs| outputs.check_deliveries(now));
        for link in transport.all() {
            link.check_deadline(&transport, now);
        }
    }
}

impl Transport {
    fn all(&self) -> Vec<Rc<Link>> {
        self.links.borrow().values().cloned().collect()
    }

    /// Most connections of this shard that are not open yet.
    fn unauthenticated_max(&self) -> usize {
        self.front.node.config().unauthenticated_max.div_ceil(self.front.shards.max(1))
    }

    /// Tells every client that the broker stops and waits for them, but not forever.
    async fn close_all(self: &Rc<Self>) {
        for link in self.all() {
            link.begin_shutdown(self);
        }
        let deadline = now_ms() + STOP_MS;
        while !self.links.borrow().is_empty() && now_ms() < deadline {
            glommio::timer::sleep(Duration::from_millis(10)).await;
        }
        for link in self.all() {
            link.hang_up();
        }
    }
}

//! One socket and the connection on it.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use broker_core::ids::ConnectionKey;
use broker_core::shard::driver::now_ms;
use futures_lite::future::{poll_fn, poll_once};

use super::Transport;
use super::gate::Pass;
use super::stream::Stream;
use crate::amqp::{Connection, InputState, Peer};

/// What is kept of the buffer for unconsumed bytes between two reads, in bytes.
const KEPT_CARRY_BYTES: usize = 1024;

/// One socket and the connection on it.
pub(super) struct Link {
    key: ConnectionKey,
    stream: RefCell<Stream>,
    connection: RefCell<Option<Connection>>,
    /// Bytes that were received and not consumed.
    carry: RefCell<Vec<u8>>,
    state: Cell<InputState>,
    /// The reader, while it waits.
    reader: Cell<Option<Waker>>,
    /// A task is writing: others leave their bytes to it.
    writing: Cell<bool>,
    /// Until the connection is open.
    pass: Cell<Option<Pass>>,
}

/// What came of an attempt to read.
enum Received {
    /// Bytes, and they have been handled.
    Bytes,
    /// The socket is closed or broken.
    Gone,
}

impl Link {
    /// Makes the connection of an accepted socket and starts its reader.
    pub(super) fn start(transport: &Rc<Transport>, stream: Stream, peer: Peer, pass: Pass) {
        let node = Arc::clone(&transport.front.node);
        let local = stream.local_addr();
        let connection = transport.handle.enter(|_, outputs| {
            let connection = Connection::new(peer, node, outputs, now_ms());
            if let Ok(local) = local {
                outputs.set_local(connection.key(), local);
            }
            connection
        });
        let link = Rc::new(Self {
            key: connection.key(),
            stream: RefCell::new(stream),
            connection: RefCell::new(Some(connection)),
            carry: RefCell::default(),
            state: Cell::new(InputState::NeedMore),
            reader: Cell::new(None),
            writing: Cell::new(false),
            pass: Cell::new(Some(pass)),
        });
        transport.links.borrow_mut().insert(link.key, Rc::clone(&link));
        glommio::spawn_local(link.run(Rc::clone(transport))).detach();
    }

    async fn run(self: Rc<Self>, transport: Rc<Transport>) {
        self.read(&transport).await;
        if self.state.get() == InputState::Closed {
            self.linger(&transport).await;
        }
        let connection = self.connection.borrow_mut().take();
        if let Some(connection) = connection {
            transport.handle.enter(|shard, outputs| connection.finish(shard, outputs));
        }
        transport.links.borrow_mut().remove(&self.key);
        self.hang_up();
    }

    /// Reads until the connection is over or the socket is.
    async fn read(&self, transport: &Transport) {
        loop {
            self.until(|link| link.state.get() != InputState::Stalled).await;
            if self.state.get() == InputState::Closed {
                return;
            }
            if self.publishes() {
                transport.handle.decongested().await;
            }
            match poll_fn(|context| self.poll_receive(context, transport)).await {
                Received::Gone => return,
                // Others have their turn: what was published is delivered before more is read.
                Received::Bytes => transport.handle.yield_now().await,
            }
        }
    }

    /// Sees a connection that is over to its end: everything is written, and the client has time to read it.
    async fn linger(self: &Rc<Self>, transport: &Rc<Transport>) {
        self.write(transport).await;
        self.until(|link| !link.writing.get()).await;
        let linger_ms = self.connection.borrow().as_ref().map_or(0, Connection::linger_ms);
        if linger_ms == 0 {
            return;
        }
        let link = Rc::clone(self);
        let alarm = glommio::spawn_local(async move {
            glommio::timer::sleep(Duration::from_millis(linger_ms)).await;
            link.hang_up();
        });
        let discard = |context: &mut Context<'_>| {
            let mut buffer = transport.receive_buffer.borrow_mut();
            self.stream.borrow_mut().poll_read(context, &mut buffer)
        };
        while matches!(poll_fn(discard).await, Ok(1..)) {
            transport.handle.yield_now().await;
        }
        alarm.cancel().await;
    }

    /// Waits for a state that [`Self::wake_reader`] tells of. For the reader.
    async fn until(&self, reached: impl Fn(&Self) -> bool) {
        poll_fn(|context| {
            if reached(self) {
                return Poll::Ready(());
            }
            self.reader.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    fn publishes(&self) -> bool {
        self.connection.borrow().as_ref().is_some_and(Connection::publishes)
    }

    fn poll_receive(&self, context: &mut Context<'_>, transport: &Transport) -> Poll<Received> {
        if self.state.get() == InputState::Closed {
            return Poll::Ready(Received::Gone);
        }
        let mut buffer = transport.receive_buffer.borrow_mut();
        let kept = self.carry.borrow().len();
        let received = self.stream.borrow_mut().poll_read(context, &mut buffer[kept..]);
        match received {
            Poll::Pending => {
                self.reader.set(Some(context.waker().clone()));
                Poll::Pending
            }
            Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(Received::Gone),
            Poll::Ready(Ok(length)) => {
                buffer[..kept].copy_from_slice(&self.carry.borrow());
                self.handle(transport, &buffer[..kept + length], length);
                Poll::Ready(Received::Bytes)
            }
        }
    }

    /// Presents bytes to the connection and keeps what it does not consume. `new` of them came from the socket now.
    fn handle(&self, transport: &Transport, bytes: &[u8], new: usize) {
        let mut connection = self.connection.borrow_mut();
        let Some(connection) = connection.as_mut() else {
            return;
        };
        let input = transport.handle.enter(|shard, outputs| {
            let stats = shard.stats_mut();
            stats.socket_received_bytes += new as u64;
            stats.socket_reads += u64::from(new > 0);
            connection.handle_input(bytes, shard, outputs, now_ms())
        });
        let mut carry = self.carry.borrow_mut();
        carry.clear();
        if carry.capacity() > KEPT_CARRY_BYTES && input.consumed == bytes.len() {
            *carry = Vec::new();
        }
        carry.extend_from_slice(&bytes[input.consumed..]);
        self.state.set(input.state);
        if connection.is_open() && self.pass.take().is_some() {
            self.stream.borrow_mut().trust();
        }
    }

    /// Something happened that the connection may have waited for.
    pub(super) fn resume(&self, transport: &Transport) {
        if self.state.get() == InputState::Closed {
            return;
        }
        let bytes = self.carry.take();
        self.handle(transport, &bytes, 0);
        if self.state.get() != InputState::Stalled {
            self.wake_reader();
        }
    }

    fn wake_reader(&self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Does what the connection has to do by now.
    pub(super) fn check_deadline(&self, transport: &Transport, now_ms: u64) {
        let mut connection = self.connection.borrow_mut();
        let Some(connection) = connection.as_mut() else {
            return;
        };
        if connection.poll_timeout().is_none_or(|deadline| now_ms < deadline) {
            return;
        }
        if !transport.handle.enter(|shard, outputs| connection.handle_timeout(shard, outputs, now_ms)) {
            self.state.set(InputState::Closed);
            self.wake_reader();
        }
    }

    /// Tells the client that the broker stops.
    pub(super) fn begin_shutdown(&self, transport: &Transport) {
        if let Some(connection) = self.connection.borrow_mut().as_mut() {
            transport.handle.enter(|shard, outputs| connection.begin_shutdown(shard, outputs, now_ms()));
        }
        self.resume(transport);
    }

    /// Writes what the connection has to write, as far as the socket takes it at once; a task sees to the rest.
    pub(super) async fn write(self: &Rc<Self>, transport: &Rc<Transport>) {
        if self.writing.get() {
            return;
        }
        let Some(bytes) = self.take_output(transport) else {
            return;
        };
        let mut done = 0;
        match poll_once(self.write_all(&bytes, &mut done)).await {
            Some(result) => {
                self.written(transport, bytes, &result);
            }
            None => {
                self.writing.set(true);
                glommio::spawn_local(Rc::clone(self).keep_writing(Rc::clone(transport), bytes, done)).detach();
            }
        }
    }

    /// Writes until there is nothing more to write.
    async fn keep_writing(self: Rc<Self>, transport: Rc<Transport>, mut bytes: Vec<u8>, mut done: usize) {
        loop {
            let result = self.write_all(&bytes, &mut done).await;
            let more = self.written(&transport, bytes, &result).then(|| self.take_output(&transport)).flatten();
            let Some(next) = more else { break };
            bytes = next;
            done = 0;
        }
        self.writing.set(false);
        self.wake_reader();
    }

    fn take_output(&self, transport: &Transport) -> Option<Vec<u8>> {
        transport.handle.enter(|_, outputs| outputs.flush(self.key))
    }

    /// Writes from `done` on, and keeps it up to date.
    async fn write_all(&self, bytes: &[u8], done: &mut usize) -> io::Result<()> {
        while *done < bytes.len() {
            let rest = &bytes[*done..];
            let written = poll_fn(|context| self.stream.borrow_mut().poll_write(context, rest)).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            *done += written;
        }
        poll_fn(|context| self.stream.borrow_mut().poll_flush(context)).await
    }

    /// Gives a buffer back after it was written, or was not. Returns whether the socket still takes bytes.
    fn written(&self, transport: &Transport, bytes: Vec<u8>, result: &io::Result<()>) -> bool {
        let length = bytes.len() as u64;
        transport.handle.enter(|shard, outputs| {
            let stats = shard.stats_mut();
            stats.socket_sent_bytes += length;
            stats.socket_writes += 1;
            outputs.written(self.key, bytes, shard);
        });
        if result.is_err() {
            self.hang_up();
        }
        result.is_ok()
    }

    /// Ends the socket in both directions, which ends the reader.
    pub(super) fn hang_up(&self) {
        self.stream.borrow_mut().shut_down();
    }
}

//! How other threads wake an executor: by a byte through a socket that the executor reads like any other.
//!
//! Wakers of glommio 0.9 may be called on other threads, but such a wake-up can be lost. Its notice arrives on the ring whose
//! completions preempt tasks; when it arrives in the moment before a turn of the loop begins, the turn ends before it has run
//! anything, and the executor goes to sleep although tasks are ready. A preemption timer that fires in that moment does the same.
//! Hence two rules: executors run without a preemption timer (see the driver in broker-core), and nothing here calls a task's
//! waker on another thread. Threads leave what they have in a channel and ring.

use std::cell::RefCell;
use std::io::{self, Write};
use std::os::fd::{FromRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

use futures_lite::AsyncReadExt;
use futures_lite::future::poll_fn;
use glommio::net::UnixStream as RingStream;

/// Wakes an executor from any thread.
#[derive(Clone, Debug)]
pub struct Doorbell {
    /// It was rung and nobody has answered yet: another ring would say nothing new.
    rung: Arc<AtomicBool>,
    line: Arc<UnixStream>,
}

/// What an executor needs to hear its [`Doorbell`].
#[derive(Debug)]
pub struct Line {
    rung: Arc<AtomicBool>,
    line: UnixStream,
}

/// Tasks of an executor that wait for a ring of its [`Doorbell`].
#[derive(Clone, Debug, Default)]
pub struct Bell {
    waiting: Rc<RefCell<Vec<Waker>>>,
}

impl Doorbell {
    /// A doorbell and its line.
    ///
    /// # Errors
    /// Those of `socketpair(2)`: no file descriptors are left.
    pub fn new() -> io::Result<(Self, Line)> {
        let (near, far) = UnixStream::pair()?;
        near.set_nonblocking(true)?;
        let rung = Arc::new(AtomicBool::new(false));
        Ok((Self { rung: Arc::clone(&rung), line: Arc::new(near) }, Line { rung, line: far }))
    }

    /// Wakes the executor. What was sent to it before is found by the tasks that then run. One system call, or none if
    /// an earlier ring has not been answered yet.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // At most one byte is on its way, so there is room for it. An executor that has ended needs no wake-up.
            let _ = (&*self.line).write(&[1]);
        }
    }
}

impl Line {
    /// Listens on the executor of this thread until every [`Doorbell`] is gone.
    ///
    /// # Panics
    /// Outside of an executor.
    #[must_use]
    pub fn listen(self) -> Bell {
        let bell = Bell::default();
        let (rung, mut stream) = (self.rung, on_ring(self.line));
        let waiting = Rc::clone(&bell.waiting);
        glommio::spawn_local(async move {
            let mut bytes = [0; 8];
            while matches!(stream.read(&mut bytes).await, Ok(1..)) {
                // First this, then the tasks look: what is sent after they have looked rings again.
                rung.swap(false, Ordering::AcqRel);
                waiting.borrow_mut().drain(..).for_each(Waker::wake);
            }
        })
        .detach();
        bell
    }
}

#[expect(unsafe_code, reason = "glommio takes over a socket in no other way")]
fn on_ring(socket: UnixStream) -> RingStream {
    // SAFETY: the descriptor is open, and is owned by nobody else once it has been taken out of `socket`.
    unsafe { RingStream::from_raw_fd(socket.into_raw_fd()) }
}

impl Bell {
    /// Waits until `found` finds something. It is asked now and after each ring.
    pub async fn until<T>(&self, mut found: impl FnMut() -> Option<T>) -> T {
        poll_fn(|context| match found() {
            Some(found) => Poll::Ready(found),
            None => {
                let mut waiting = self.waiting.borrow_mut();
                if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                    waiting.push(context.waker().clone());
                }
                Poll::Pending
            }
        })
        .await
    }

    /// Receives from a channel whose senders ring after they have sent. `None` when they are gone.
    pub async fn recv<T>(&self, channel: &flume::Receiver<T>) -> Option<T> {
        self.until(|| match channel.try_recv() {
            Ok(item) => Some(Some(item)),
            Err(flume::TryRecvError::Empty) => None,
            Err(flume::TryRecvError::Disconnected) => Some(None),
        })
        .await
    }
}

//! A shard together with the connections on it, and the tasks that serve it.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use broker_store::doorbell::Bell;
use broker_store::fs::GlommioFs;
use futures_lite::future::{poll_fn, poll_once, yield_now};

use super::committer::CommitterEnds;
use super::mail::{Inbox, MAILBOX_BATCHES, Mailboxes, Outbox};
use super::{now_ms, now_us};
use crate::ids::ShardId;
use crate::session::Sessions;
use crate::shard::Shard;
use crate::shard::stats::ShardStats;

/// Turns that a stop waits for messages of the shard's own to reach their queues, and for changes to be applied, on shards that may have
/// ended. What has not arrived is published again after the start, and what has changed is in the catalog.
const SETTLING_TURNS: u32 = 200;

/// How long tasks that do not wait may keep the executor from its ring.
const RING_LATENCY: Duration = Duration::from_millis(1);

/// The shortest timer that is not over already when it is first polled.
const RING_TIMER: Duration = Duration::from_nanos(200);

/// Wakes one waiting task. A notification that nobody waits for is kept.
#[derive(Debug, Default)]
struct Signal {
    raised: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Signal {
    fn notify(&self) {
        if !self.raised.replace(true)
            && let Some(waker) = self.waker.borrow_mut().take()
        {
            waker.wake();
        }
    }

    async fn wait(&self) {
        poll_fn(|context| {
            if self.raised.replace(false) {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

#[derive(Debug)]
struct Inner<S> {
    id: ShardId,
    state: RefCell<(Shard, S)>,
    /// The shard may have something to do.
    work: Signal,
    /// Connections have something to write.
    output: Signal,
    /// The shard is to stop.
    stop: Signal,
    /// For each other shard: the way to it.
    outboxes: Vec<Option<Outbox>>,
    /// Connections that wait for congestion to end.
    congested: RefCell<Vec<Waker>>,
    /// What other shards have sent, for its depth.
    inboxes: Vec<Option<Inbox>>,
    /// How long the loop was not asleep, as far as glommio was asked.
    busy: Cell<Duration>,
    /// When the next tick is due, in milliseconds since the Unix epoch.
    tick_ms: Cell<Option<u64>>,
    io_in_flight: Cell<usize>,
    ring: RingLook,
}

/// Sees to it that the executor looks at its ring, which it does when no task is ready.
#[derive(Debug)]
struct RingLook {
    /// When it was last certain to have looked.
    at: Cell<Instant>,
    /// Tasks that yield wait until it has looked.
    due: Cell<bool>,
    wanted: Signal,
    waiting: RefCell<Vec<Waker>>,
}

/// A shard together with the connections on it, shared by the tasks of its executor.
#[derive(Debug)]
pub struct ShardHandle<S> {
    inner: Rc<Inner<S>>,
}

impl<S> Clone for ShardHandle<S> {
    fn clone(&self) -> Self {
        Self { inner: Rc::clone(&self.inner) }
    }
}

impl<S: Sessions + 'static> ShardHandle<S> {
    pub(super) fn new(shard: Shard, sessions: S, (outboxes, inboxes): Mailboxes) -> Self {
        let inner = Inner {
            id: shard.id,
            state: RefCell::new((shard, sessions)),
            work: Signal::default(),
            output: Signal::default(),
            stop: Signal::default(),
            outboxes,
            congested: RefCell::default(),
            inboxes,
            busy: Cell::default(),
            tick_ms: Cell::new(None),
            io_in_flight: Cell::new(0),
            ring: RingLook {
                at: Cell::new(Instant::now()),
                due: Cell::new(false),
                wanted: Signal::default(),
                waiting: RefCell::default(),
            },
        };
        Self { inner: Rc::new(inner) }
    }

    /// Which shard this is.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.inner.id
    }

    /// The one door to the shard's state. What the calls in `f` left to do (log operations, batches for other
    /// shards) is started by the pump, after the tasks that are ready now.
    ///
    /// # Panics
    /// If it is called from within `f`.
    pub fn enter<R>(&self, f: impl FnOnce(&mut Shard, &mut S) -> R) -> R {
        let result = self.quietly(|shard, sessions| {
            let now_us = now_us();
            shard.set_now_ms(now_us / 1000);
            sessions.set_now_us(now_us);
            f(shard, sessions)
        });
        self.inner.work.notify();
        result
    }

    /// Like [`enter`](Self::enter) without waking the pump.
    pub(super) fn quietly<R>(&self, f: impl FnOnce(&mut Shard, &mut S) -> R) -> R {
        let (shard, sessions) = &mut *self.inner.state.borrow_mut();
        let result = f(shard, sessions);
        if sessions.has_output() {
            self.inner.output.notify();
        }
        result
    }

    /// Waits until [`Sessions::has_output`] was true after somebody entered. For one task.
    pub async fn output(&self) {
        self.inner.output.wait().await;
    }

    /// Waits until the broker stops. For one task.
    pub async fn stopping(&self) {
        self.inner.stop.wait().await;
    }

    /// Waits until [`Shard::congested`] is false.
    pub async fn decongested(&self) {
        poll_fn(|context| {
            if !self.quietly(|shard, _| shard.congested()) {
                return Poll::Ready(());
            }
            self.inner.congested.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Lets the other tasks of the shard go on. To be called in every loop that can go round without waiting, so that the
    /// executor gets to look at its ring.
    pub async fn yield_now(&self) {
        let ring = &self.inner.ring;
        if !ring.due.get() && ring.at.get().elapsed() >= RING_LATENCY {
            ring.due.set(true);
            ring.wanted.notify();
        }
        if !ring.due.get() {
            return yield_now().await;
        }
        poll_fn(|context| {
            if !ring.due.get() {
                return Poll::Ready(());
            }
            ring.waiting.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// The task behind [`yield_now`](Self::yield_now).
    pub(super) async fn look_at_ring(self) {
        let ring = &self.inner.ring;
        loop {
            ring.wanted.wait().await;
            // Timers are looked at after the ring, when no task is ready. One that is over before it is first polled does not wait.
            let mut timer = pin!(glommio::timer::sleep(RING_TIMER));
            while poll_once(&mut timer).await.is_some() {
                timer.set(glommio::timer::sleep(RING_TIMER));
            }
            timer.await;
            ring.due.set(false);
            ring.at.set(Instant::now());
            ring.waiting.borrow_mut().drain(..).for_each(Waker::wake);
        }
    }

    /// After each turn: log operations to the ring, rows to the catalog, batches to the other shards.
    pub(super) async fn pump(self, fs: GlommioFs, catalog: Option<CommitterEnds>) {
        loop {
            self.inner.work.wait().await;
            self.quietly(|shard, sessions| shard.turn(sessions));
            while let Some((partition, kind, op)) = self.quietly(|shard, _| shard.poll_io()) {
                let (handle, fs) = (self.clone(), fs.clone());
                self.inner.io_in_flight.set(self.inner.io_in_flight.get() + 1);
                glommio::spawn_local(async move {
                    let done = broker_store::perform(&fs, op).await;
                    handle.inner.io_in_flight.set(handle.inner.io_in_flight.get() - 1);
                    handle.enter(|shard, _| shard.handle_io(partition, kind, done));
                })
                .detach();
            }
            self.commit(catalog.as_ref());
            self.post();
            self.schedule_tick();
            if self.quietly(|shard, _| shard.wants_turn()) {
                self.inner.work.notify();
                self.yield_now().await;
            }
        }
    }

    fn commit(&self, catalog: Option<&CommitterEnds>) {
        while let Some(rows) = self.quietly(|shard, _| shard.poll_commit()) {
            match catalog {
                Some(catalog) if !rows.is_empty() => catalog.commit(rows),
                _ => self.quietly(|shard, sessions| shard.committed(sessions, Ok(()))),
            }
        }
    }

    /// Receives the results of commits.
    pub(super) async fn committed(self, bell: Bell, results: flume::Receiver<Result<(), String>>) {
        while let Some(result) = bell.recv(&results).await {
            self.enter(|shard, sessions| shard.committed(sessions, result));
        }
    }

    /// Sends what there is for other shards. What does not fit waits in its batch.
    fn post(&self) {
        let congested = self.quietly(|shard, _| {
            for (batch, outbox) in shard.peers.batches.iter_mut().zip(&self.inner.outboxes) {
                if let Some(outbox) = outbox
                    && !batch.is_empty()
                {
                    match outbox.send(std::mem::take(batch)) {
                        Ok(()) => shard.stats.mailbox_batches += 1,
                        Err(unsent) => *batch = unsent,
                    }
                }
            }
            shard.congested()
        });
        if !congested {
            self.inner.congested.borrow_mut().drain(..).for_each(Waker::wake);
        }
    }

    /// Receives from the other shards. A ring of the doorbell also says that there is room in a channel that was full.
    pub(super) async fn receive(self, bell: Bell) {
        loop {
            let mut more = false;
            for (peer, inbox) in self.inner.inboxes.iter().enumerate() {
                let Some(inbox) = inbox else { continue };
                let peer = ShardId(u16::try_from(peer).unwrap_or(u16::MAX));
                let batches = std::iter::from_fn(|| inbox.recv()).take(MAILBOX_BATCHES);
                let received = batches
                    .map(|batch| self.enter(|shard, sessions| shard.handle_batch(sessions, peer, batch)))
                    .count();
                more |= received == MAILBOX_BATCHES;
            }
            if more {
                self.yield_now().await;
            } else {
                let mut rung = false;
                bell.until(|| std::mem::replace(&mut rung, true).then_some(())).await;
                self.inner.work.notify();
            }
        }
    }

    /// The shard's numbers without those of its queues.
    pub(super) fn stats(&self) -> ShardStats {
        let mut stats = self.quietly(|shard, sessions| {
            let mut stats = shard.own_stats();
            sessions.add_stats(&mut stats);
            stats
        });
        let inner = &self.inner;
        stats.mailbox_depth = inner.inboxes.iter().flatten().map(|inbox| inbox.len() as u64).sum();
        // glommio tells how long it was since it was asked last.
        inner.busy.set(inner.busy.get() + glommio::executor().executor_stats().total_runtime());
        stats.busy_us = u64::try_from(inner.busy.get().as_micros()).unwrap_or(u64::MAX);
        stats
    }

    fn schedule_tick(&self) {
        let Some(delay_ms) = self.quietly(|shard, _| shard.next_tick_ms()) else {
            return;
        };
        let tick_ms = now_ms() + delay_ms;
        if self.inner.tick_ms.get().is_some_and(|pending| pending <= tick_ms) {
            return;
        }
        self.inner.tick_ms.set(Some(tick_ms));
        let handle = self.clone();
        glommio::spawn_local(async move {
            glommio::timer::sleep(Duration::from_millis(delay_ms)).await;
            if handle.inner.tick_ms.get() == Some(tick_ms) {
                handle.inner.tick_ms.set(None);
            }
            handle.enter(|shard, sessions| shard.tick(sessions));
        })
        .detach();
    }

    /// Brings to disk what is staged. The connections are closed: nothing new comes but from other shards that close too.
    pub(super) async fn drain(&self) {
        let mut settling = SETTLING_TURNS;
        loop {
            let settled = self.enter(|shard, _| {
                shard.flush();
                shard.is_settled()
            });
            settling = if settled { 0 } else { settling.saturating_sub(1) };
            let idle = self.quietly(|shard, _| shard.is_idle()) && self.inner.io_in_flight.get() == 0;
            if idle && settling == 0 {
                return;
            }
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl<S> ShardHandle<S> {
    /// Lets [`stopping`](Self::stopping) return.
    pub(super) fn begin_stop(&self) {
        self.inner.stop.notify();
    }
}

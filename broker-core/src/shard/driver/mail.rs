//! Channels between shards: one bounded channel for each ordered pair, and a ring of the doorbell of whoever waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use broker_store::doorbell::Doorbell;

use crate::shard::mailbox::Batch;

/// Batches that may be on their way from one shard to another. What does not fit collects in the next batch.
pub(super) const MAILBOX_BATCHES: usize = 32;

/// Where a shard sends to one other.
#[derive(Debug)]
pub(super) struct Outbox {
    batches: flume::Sender<Batch>,
    receiver: Doorbell,
    /// The sender has found the channel full.
    waiting: Arc<AtomicBool>,
}

/// Where a shard receives from one other.
#[derive(Debug)]
pub(super) struct Inbox {
    batches: flume::Receiver<Batch>,
    sender: Doorbell,
    waiting: Arc<AtomicBool>,
}

/// The ends that one shard has, by peer; none for the shard itself.
pub(super) type Mailboxes = (Vec<Option<Outbox>>, Vec<Option<Inbox>>);

impl Outbox {
    /// Sends a batch, or gives it back: the channel is full, and this shard's doorbell will be rung when there is room.
    pub(super) fn send(&self, batch: Batch) -> Result<(), Batch> {
        let Err(batch) = self.try_send(batch) else {
            return Ok(());
        };
        self.waiting.store(true, Ordering::SeqCst);
        // The receiver may have made room before it could see that somebody waits.
        self.try_send(batch)
    }

    fn try_send(&self, batch: Batch) -> Result<(), Batch> {
        match self.batches.try_send(batch) {
            Ok(()) => {
                self.receiver.ring();
                Ok(())
            }
            Err(flume::TrySendError::Full(batch)) => Err(batch),
            // The other shard has ended: the broker stops.
            Err(flume::TrySendError::Disconnected(_)) => Ok(()),
        }
    }
}

impl Inbox {
    /// Batches that wait.
    pub(super) fn len(&self) -> usize {
        self.batches.len()
    }

    /// The next batch, if there is one.
    pub(super) fn recv(&self) -> Option<Batch> {
        let batch = self.batches.try_recv().ok()?;
        if self.waiting.load(Ordering::SeqCst) {
            self.waiting.store(false, Ordering::SeqCst);
            self.sender.ring();
        }
        Some(batch)
    }
}

/// The channels between shards with these doorbells, by shard.
pub(super) fn mailboxes(doorbells: &[Doorbell]) -> Vec<Mailboxes> {
    let shards = doorbells.len();
    let none = || -> Mailboxes { ((0..shards).map(|_| None).collect(), (0..shards).map(|_| None).collect()) };
    let mut all: Vec<Mailboxes> = (0..shards).map(|_| none()).collect();
    for from in 0..shards {
        for to in (0..shards).filter(|to| *to != from) {
            let (sender, batches) = flume::bounded(MAILBOX_BATCHES);
            let waiting = Arc::new(AtomicBool::new(false));
            let receiver = doorbells[to].clone();
            all[from].0[to] = Some(Outbox { batches: sender, receiver, waiting: Arc::clone(&waiting) });
            all[to].1[from] = Some(Inbox { batches, sender: doorbells[from].clone(), waiting });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::mailbox::Op;

    fn batch() -> Batch {
        let mut batch = Batch::default();
        batch.push(Op::DiskFull(false));
        batch
    }

    #[test]
    fn full_channel_gives_the_batch_back_and_takes_it_when_there_is_room() {
        let doorbells = [Doorbell::new().unwrap().0, Doorbell::new().unwrap().0];
        let mut all = mailboxes(&doorbells);
        let inbox = all[1].1[0].take().unwrap();
        let outbox = all[0].0[1].take().unwrap();
        for _ in 0..MAILBOX_BATCHES {
            outbox.send(batch()).unwrap();
        }
        let rest = outbox.send(batch()).unwrap_err();
        assert!(!rest.is_empty());
        assert!(inbox.recv().is_some());
        assert!(!outbox.waiting.load(Ordering::SeqCst), "the receiver has answered");
        outbox.send(rest).unwrap();
        assert_eq!(std::iter::from_fn(|| inbox.recv()).count(), MAILBOX_BATCHES);
    }
}

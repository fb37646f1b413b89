//! What other threads ask of running shards.

use std::fmt;

use broker_store::doorbell::Doorbell;

use crate::admin::{Admin, Call};
use crate::shard::Alarms;
use crate::shard::stats::ShardStats;

/// Asked of a shard by another thread.
pub(super) enum Control {
    Stats(flume::Sender<ShardStats>),
    Admin(Call),
    Alarms(Alarms),
    Stop,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stats(_) => "Stats",
            Self::Alarms(_) => "Alarms",
            Self::Admin(_) => "Admin",
            Self::Stop => "Stop",
        })
    }
}

/// The way to one shard.
#[derive(Clone, Debug)]
struct Line {
    control: flume::Sender<Control>,
    doorbell: Doorbell,
}

/// Asks running shards for their numbers, from any thread.
#[derive(Clone, Debug, Default)]
pub struct Probe {
    shards: Vec<Line>,
}

impl Probe {
    /// Adds a shard. Returns what it receives from; `doorbell` is rung for each request.
    pub(super) fn add(&mut self, doorbell: Doorbell) -> flume::Receiver<Control> {
        let (control, requests) = flume::unbounded();
        self.shards.push(Line { control, doorbell });
        requests
    }

    /// Asks every shard; one that has ended is left out.
    pub(super) fn ask(&self, mut request: impl FnMut() -> Control) {
        for shard in &self.shards {
            if shard.control.send(request()).is_ok() {
                shard.doorbell.ring();
            }
        }
    }

    /// Has every shard block its publishers while an alarm is set.
    pub fn set_alarms(&self, alarms: Alarms) {
        self.ask(|| Control::Alarms(alarms));
    }

    /// The numbers of each shard without those of its queues. Blocks the calling thread until every shard has answered; a shard that
    /// has ended is left out.
    #[must_use]
    pub fn stats(&self) -> Vec<ShardStats> {
        let (sender, receiver) = flume::bounded(self.shards.len());
        self.ask(|| Control::Stats(sender.clone()));
        drop(sender);
        receiver.iter().collect()
    }

    /// Asks one shard for its numbers without those of its queues. Nothing comes from one that has ended.
    pub(crate) fn stats_of(&self, shard: usize) -> flume::Receiver<ShardStats> {
        let (sender, receiver) = flume::bounded(1);
        self.send(shard, Control::Stats(sender));
        receiver
    }

    /// To administer the broker.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }

    /// Number of shards.
    pub(crate) fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Sends a call to a shard. What it holds is dropped if the shard has ended.
    pub(crate) fn call(&self, shard: usize, call: Call) {
        self.send(shard, Control::Admin(call));
    }

    fn send(&self, shard: usize, control: Control) {
        if let Some(shard) = self.shards.get(shard)
            && shard.control.send(control).is_ok()
        {
            shard.doorbell.ring();
        }
    }
}

//! One shard: the queues of its partitions, its copy of the topology, its batches to the other shards.
//!
//! [`Shard`] is a pure state machine: calls come in from the connections on the shard, from the other shards
//! and from the logs; answers go out through [`Sessions`], outgoing batches and log operations. Its methods
//! are spread over the files of this module by what they are about:
//!
//! | file | what |
//! | --- | --- |
//! | `access` | authentication, virtual hosts |
//! | `admin`, `listing`, `definitions` | administrators' requests and listings |
//! | `moves`, `held` | messages that administrators move, and those that they look at while an exchange holds them back |
//! | `publish` | a message on its way into queues |
//! | `delays`, `deduplication` | exchanges that hold messages back, exchanges and queues that take each message once |
//! | `history` | exchanges that keep their newest messages |
//! | `internal`, `dead_letter` | messages that the shard itself publishes |
//! | `timers` | queues that are to be looked at later |
//! | `submit` | commands of channels, closing of channels and connections |
//! | `ask` | what commands do to the queues of this shard |
//! | `stream` | the streams of this shard |
//! | `plan`, `topology`, `registrar` | changes of the topology |
//! | `turn` | what is done once per turn of the loop: logs, batches from other shards |
//! | `driver` | the executor; the only file that knows about threads, time and glommio |

use std::collections::BTreeMap;

use broker_store::{PartitionId, QueueId};
use rustc_hash::FxHashMap;
use slab::Slab;

use self::admin::Desk;
use self::dead_letter::DeadLetters;
use self::deduplication::Caches;
use self::delays::HeldBack;
use self::exchange_counts::ExchangeCounts;
use self::history::Histories;
use self::internal::Internal;
use self::mailbox::{Ask, Batch, Op};
use self::partition::Partition;
use self::placement::Placement;
use self::publish::NumberedTargets;
use self::registrar::Registrar;
use self::sampled::Sampled;
use self::stats::ShardStats;
use self::stream::Streams;
use self::timers::Timers;
use self::topology::Topology;
use crate::admin::QueueCounters;
use crate::ids::{ChannelKey, ConnectionKey, ShardId};
use crate::limits::MAILBOX_BYTES;
use crate::model::queue::consumer::ChannelAddress;
use crate::model::queue::{DeadMessage, Outlet, Queue};
use crate::session::{Delivery, Sessions};

mod access;
mod admin;
mod alarm;
mod ask;
mod catalog;
mod confirms;
mod dead_letter;
mod deduplication;
mod define;
mod definitions;
mod delays;
pub mod driver;
mod exchange_counts;
mod held;
pub mod histogram;
mod history;
mod internal;
mod listing;
mod mailbox;
mod moves;
mod name_lengths;
mod open;
mod partition;
mod placement;
mod plan;
mod publish;
mod publisher;
mod registrar;
mod reply_to;
mod sampled;
mod sender_selected;
pub mod stats;
mod stream;
mod submit;
mod timers;
mod topology;
mod transaction;
mod turn;

pub use alarm::Alarms;
pub use publisher::Publisher;
pub use transaction::Prepared;

/// The state of one shard.
#[derive(Debug)]
pub struct Shard {
    id: ShardId,
    placement: Placement,
    topology: Topology,
    /// Used on the registrar only.
    registrar: Registrar,
    partitions: BTreeMap<PartitionId, Partition>,
    queues: Slab<Hosted>,
    slots: FxHashMap<QueueId, u32>,
    streams: Streams,
    peers: Peers,
    /// Channels, here or elsewhere, that have consumers or messages of queues of this shard.
    interests: FxHashMap<ChannelAddress, Vec<QueueId>>,
    /// Shards that must hear when a channel of this shard closes.
    touched: FxHashMap<ChannelKey, Vec<ShardId>>,
    /// Connections of this shard that have asked for an exclusive queue.
    exclusive_owners: FxHashMap<ConnectionKey, ()>,
    /// `basic.get`s that wait for pages.
    waiting_gets: FxHashMap<QueueId, Vec<Ask>>,
    /// Shards, this one included, that have a partition whose disk is full.
    disk_full: Vec<ShardId>,
    /// What exchanges and queues remember that take each message once.
    caches: Caches,
    /// What exchanges hold back.
    held_back: HeldBack,
    /// The newest messages of exchanges that keep them.
    histories: Histories,
    /// What watches memory and disk has found.
    alarms: Alarms,
    /// What the shard itself publishes.
    internal: Internal,
    dead_letters: DeadLetters,
    timers: Timers,
    /// Queues that have more to do than fits in a turn.
    unfinished: Vec<QueueId>,
    /// Administrators' requests.
    desk: Desk,
    stats: ShardStats,
    /// What exchanges have counted.
    exchange_counts: ExchangeCounts,
    /// Milliseconds since the Unix epoch, as the driver has told last.
    now_ms: u64,
    scratch_queues: Vec<QueueId>,
    scratch_targets: NumberedTargets,
    scratch_special: Vec<u32>,
    scratch_message: Vec<u8>,
}

/// A queue of this shard.
#[derive(Debug)]
struct Hosted {
    id: QueueId,
    partition: PartitionId,
    machine: Queue,
    /// It is being deleted: it takes no more commands.
    closing: bool,
    /// When it is to be pumped without other reason; see [`timers`].
    armed_ms: u64,
    /// It is listed in [`Shard::unfinished`].
    unfinished: bool,
    counters: QueueCounters,
    sampled: Sampled,
}

/// The outgoing batches, one for each other shard.
#[derive(Debug)]
struct Peers {
    batches: Vec<Batch>,
}

impl Peers {
    fn new(shards: u16) -> Self {
        Self { batches: (0..shards).map(|_| Batch::default()).collect() }
    }

    fn batch(&mut self, shard: ShardId) -> &mut Batch {
        &mut self.batches[usize::from(shard.0)]
    }

    fn congested(&self) -> bool {
        self.batches.iter().any(|batch| batch.bytes() > MAILBOX_BYTES)
    }
}

/// Where the queues of this shard send their deliveries.
struct Out<'a, S> {
    sessions: &'a mut S,
    peers: &'a mut Peers,
    stats: &'a mut ShardStats,
    dead_letters: &'a mut DeadLetters,
    me: ShardId,
    /// The time, if the messages have waited in a queue.
    now_ms: Option<u64>,
}

impl<S: Sessions> Outlet for Out<'_, S> {
    fn deliver(&mut self, shard: ShardId, delivery: Delivery<'_>) {
        match delivery.token {
            None => self.stats.messages_delivered_consume_auto_ack += 1,
            Some(_) => self.stats.messages_delivered_consume_manual_ack += 1,
        }
        self.stats.messages_redelivered += u64::from(delivery.redelivered);
        if let (false, Some(now_ms)) = (delivery.redelivered, self.now_ms) {
            self.stats.waits.record(now_ms.saturating_sub(delivery.message.stamp.published_ms()));
        }
        if shard == self.me {
            return self.sessions.deliver(delivery);
        }
        let Delivery { channel, consumer, queue, token, redelivered, message } = delivery;
        let batch = self.peers.batch(shard);
        let message = batch.message(message);
        batch.push(Op::Deliver { channel, consumer, queue: queue.queue, token, redelivered, message });
    }

    fn takes_dead(&self) -> bool {
        self.dead_letters.has_room()
    }

    fn dead_letter(&mut self, dead: DeadMessage<'_>) {
        self.dead_letters.push(dead);
    }
}

impl Shard {
    /// A shard as it stands after recovery: its partitions have their logs, its topology is empty.
    fn new(id: ShardId, placement: Placement, partitions: Vec<Partition>) -> Self {
        Self {
            id,
            placement,
            topology: Topology::default(),
            registrar: Registrar::default(),
            partitions: partitions.into_iter().map(|partition| (partition.id, partition)).collect(),
            queues: Slab::new(),
            slots: FxHashMap::default(),
            streams: Streams::default(),
            peers: Peers::new(placement.shards()),
            interests: FxHashMap::default(),
            touched: FxHashMap::default(),
            exclusive_owners: FxHashMap::default(),
            waiting_gets: FxHashMap::default(),
            disk_full: Vec::new(),
            caches: Caches::default(),
            held_back: HeldBack::default(),
            histories: Histories::default(),
            alarms: Alarms::default(),
            internal: Internal::default(),
            dead_letters: DeadLetters::default(),
            timers: Timers::default(),
            unfinished: Vec::new(),
            desk: Desk::default(),
            stats: ShardStats::default(),
            exchange_counts: ExchangeCounts::default(),
            now_ms: 0,
            scratch_queues: Vec::new(),
            scratch_targets: NumberedTargets::new(),
            scratch_special: Vec::new(),
            scratch_message: Vec::new(),
        }
    }

    /// Time has come to `now_ms`, in milliseconds since the Unix epoch; it never goes back.
    pub(super) fn set_now_ms(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    /// The address of a channel of this shard.
    #[must_use]
    pub fn address(&self, channel: ChannelKey) -> ChannelAddress {
        ChannelAddress { shard: self.id, channel }
    }

    /// True while publishers on this shard must not be read: a mailbox or a log's staging area is at its limit.
    #[must_use]
    pub fn congested(&self) -> bool {
        self.peers.congested() || self.partitions.values().any(Partition::congested)
    }

    /// The counters of the connections on this shard, for them to count in.
    pub fn stats_mut(&mut self) -> &mut ShardStats {
        &mut self.stats
    }

    /// A copy of all numbers of this shard.
    #[must_use]
    pub fn stats(&self) -> ShardStats {
        let mut stats = self.own_stats();
        let mut from = Some(0);
        while let Some(place) = from {
            let (part, next) = self.queue_stats(place);
            stats.add(&part);
            from = next;
        }
        stats
    }

    /// The part of the numbers that takes no longer with many queues; the rest is [`Self::queue_stats`].
    pub(crate) fn own_stats(&self) -> ShardStats {
        let mut stats = self.stats;
        stats.queues = self.queues.len() as u64;
        stats.messages_delayed = self.held_back.message_count();
        stats.mailbox_bytes = self.peers.batches.iter().map(|batch| batch.bytes() as u64).sum();
        stats.congested = u64::from(self.congested());
        for partition in self.partitions.values() {
            partition.add_stats(&mut stats);
        }
        stats
    }
}

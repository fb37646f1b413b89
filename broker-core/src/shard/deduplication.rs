//! Exchanges and queues that take each message once, on the shard of their partition.
//!
//! An exchange decides in one place, whatever shard its publishers are on: the shard of the partition that a queue of its name
//! would be in. The message is sent there, published from there if it is new, and confirmed when its queues have it. A duplicate is
//! confirmed when the message that it repeats is.

use broker_store::{Entry, LogKind, QueueId, SegmentId, Seq};
use rustc_hash::FxHashMap;

use super::Shard;
use super::internal::Origin;
use super::mailbox::Op;
use super::publish::{Accepted, Confirm};
use super::publisher::Target;
use crate::ids::PartitionId;
use crate::model::deduplication::{Cache, Key, Seen};
use crate::model::exchange::delay;
use crate::model::message::{Message, Traits};
use crate::model::properties::Properties;
use crate::session::Sessions;

/// What the exchanges and queues of this shard's partitions remember.
#[derive(Debug, Default)]
pub(super) struct Caches {
    by_owner: FxHashMap<QueueId, Hosted>,
    /// Who waits for the confirm of a message that they have published again: by owner and number in its cache.
    followers: FxHashMap<(QueueId, u64), Vec<Confirm>>,
}

#[derive(Debug)]
struct Hosted {
    cache: Cache,
    partition: PartitionId,
}

/// A message that an exchange has taken, on its way to its queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Admitted {
    /// The store of the exchange.
    owner: QueueId,
    key: Key,
    number: u64,
    /// It is to be known after a restart.
    persistent: bool,
    /// Who published it.
    reply: Confirm,
}

impl Caches {
    /// Takes in the cache of an exchange or queue.
    pub(super) fn host(&mut self, partition: PartitionId, cache: Cache) {
        self.by_owner.insert(cache.lane().base(), Hosted { cache, partition });
    }

    /// True if one of the queues takes each message once.
    pub(super) fn watch(&self, targets: &[Target]) -> bool {
        !self.by_owner.is_empty() && targets.iter().any(|target| self.by_owner.contains_key(&target.queue))
    }

    pub(super) fn relocate(&mut self, lane: QueueId, kind: LogKind, segment: SegmentId, moved: &[Entry]) {
        if let Some(hosted) = self.by_owner.get_mut(&lane.base()) {
            hosted.cache.relocate(kind, segment, moved);
        }
    }

    /// Takes in the records that recovery found of a cache.
    pub(super) fn recovered(&mut self, lane: QueueId, next_seq: Seq, records: &[(Entry, Vec<u8>)]) {
        if let Some(hosted) = self.by_owner.get_mut(&lane.base()) {
            for (entry, record) in records {
                hosted.cache.recovered(entry.seq, entry.position, record);
            }
            hosted.cache.continue_at(next_seq);
        }
    }
}

impl Shard {
    /// The exchange or queue is gone: so is what it remembers.
    pub(super) fn drop_cache(&mut self, owner: QueueId) {
        if let Some(mut hosted) = self.caches.by_owner.remove(&owner)
            && let Some(partition) = self.partitions.get_mut(&hosted.partition)
        {
            hosted.cache.drop_records(&mut partition.logs);
        }
    }

    /// Gives a message to those of the queues that have not had it.
    pub(super) fn accept_once(
        &mut self,
        sessions: &mut impl Sessions,
        targets: &[Target],
        message: Message<'_>,
        traits: Traits,
        confirm: Confirm,
    ) -> Accepted {
        let properties = Properties::parse(message.properties).unwrap_or_default();
        let mut unseen = Vec::with_capacity(targets.len());
        let mut keys = Vec::new();
        let mut answer = Accepted::Now;
        for target in targets {
            let known = self.caches.by_owner.get(&target.queue).and_then(|hosted| {
                let (key, expires_ms) = hosted.cache.key(&properties, self.now_ms)?;
                Some((key, expires_ms, hosted.cache.seen(key, self.now_ms)))
            });
            match known {
                Some((_, _, Some(seen))) => answer = self.accept_seen(target.queue, seen, confirm),
                Some((key, expires_ms, None)) => {
                    keys.push((*target, key, expires_ms));
                    unseen.push(*target);
                }
                None => unseen.push(*target),
            }
        }
        if unseen.is_empty() {
            return answer;
        }
        // If some have had it, the confirm of the others covers theirs: it comes later.
        let accepted = self.accept_all(sessions, &unseen, message, traits, confirm);
        if matches!(accepted, Accepted::Now | Accepted::WhenDurable) {
            for (target, key, expires_ms) in keys {
                if let Some(number) = self.remember(target.queue, key, expires_ms) {
                    self.taken(target.queue, key, number, target.is_logged(traits.persistent));
                }
            }
        }
        accepted
    }

    /// Publishes a message from an exchange that takes each message once, or stores it there until it is due; nothing of the
    /// sort if it came before.
    pub(super) fn admit(
        &mut self,
        sessions: &mut impl Sessions,
        owner: QueueId,
        message: Message<'_>,
        traits: Traits,
        confirm: Confirm,
    ) -> Accepted {
        let properties = Properties::parse(message.properties).unwrap_or_default();
        let due = delay::due_at(&properties, message.stamp.published_ms());
        let (Some(hosted), Some(row)) = (self.caches.by_owner.get(&owner), self.topology.store(owner)) else {
            return self.admit_any(sessions, owner, message, traits, confirm);
        };
        let Some((key, expires_ms)) = hosted.cache.key(&properties, self.now_ms) else {
            return self.admit_any(sessions, owner, message, traits, confirm);
        };
        if let Some(seen) = hosted.cache.seen(key, self.now_ms) {
            return self.accept_seen(owner, seen, confirm);
        }
        let persistent = traits.persistent && row.durable;
        let from = (row.vhost.clone(), row.exchange.clone());
        let delays = due.is_some() && row.delays;
        let Some(number) = self.remember(owner, key, expires_ms) else {
            return Accepted::Refused;
        };
        let admitted = Admitted { owner, key, number, persistent, reply: confirm };
        let accepted = match delays {
            true => self.store_delayed(owner, message, traits, confirm),
            false => self.publish_admitted(sessions, (&from.0, &from.1), message, traits, admitted),
        };
        match accepted {
            Accepted::WhenDurable if !delays => {}
            Accepted::Now | Accepted::WhenDurable => self.taken(owner, key, number, persistent),
            Accepted::Refused | Accepted::Overflow => self.forget(owner, key),
        }
        accepted
    }

    /// Stores a message that the exchange knows by nothing until it is due, or passes it on if the exchange has a history and it is due.
    fn admit_any(
        &mut self,
        sessions: &mut impl Sessions,
        owner: QueueId,
        message: Message<'_>,
        traits: Traits,
        confirm: Confirm,
    ) -> Accepted {
        let delays = self.topology.store(owner).is_some_and(|row| row.delays);
        let properties = Properties::parse(message.properties).unwrap_or_default();
        let is_due = !delays || delay::due_at(&properties, message.stamp.published_ms()).is_none();
        if is_due && self.histories.has(owner) {
            return self.pass_on(sessions, owner, message, traits, confirm);
        }
        self.store_delayed(owner, message, traits, confirm)
    }

    /// [`Self::admitted_done`] follows if the queues do not have the message at once.
    fn publish_admitted(
        &mut self,
        sessions: &mut impl Sessions,
        from: (&str, &str),
        message: Message<'_>,
        traits: Traits,
        admitted: Admitted,
    ) -> Accepted {
        let published = self.publish_from(sessions, from, message, traits, Origin::Admitted(admitted));
        match (published.pending_confirms, published.refused) {
            (1.., _) => Accepted::WhenDurable,
            (0, true) => Accepted::Refused,
            (0, false) => Accepted::Now,
        }
    }

    /// The queues of a message that an exchange took have it, or one has refused it.
    pub(super) fn admitted_done(&mut self, sessions: &mut impl Sessions, admitted: Admitted, accepted: bool) {
        let Admitted { owner, key, number, persistent, reply } = admitted;
        if accepted {
            self.taken(owner, key, number, persistent);
        } else {
            self.forget(owner, key);
        }
        let followers = self.caches.followers.remove(&(owner, number)).unwrap_or_default();
        for confirm in std::iter::once(reply).chain(followers) {
            self.pass_confirm(sessions, confirm, accepted);
        }
    }

    /// Tells the publisher of a message what became of it.
    pub(super) fn pass_confirm(&mut self, sessions: &mut impl Sessions, confirm: Confirm, accepted: bool) {
        let Some((shard, channel, seq)) = confirm else { return };
        if shard == self.id {
            self.confirm_here(sessions, channel, seq, seq, accepted);
        } else {
            self.peers.batch(shard).push(Op::Confirm { channel, first: seq, last: seq, accepted });
        }
    }

    /// Answers a message that was taken before: like the one that it repeats.
    fn accept_seen(&mut self, owner: QueueId, seen: Seen, confirm: Confirm) -> Accepted {
        self.stats.messages_deduplicated += 1;
        let (Some((shard, channel, seq)), Some(hosted)) = (confirm, self.caches.by_owner.get(&owner)) else {
            return Accepted::Now;
        };
        match seen {
            Seen::Pending(number) => {
                self.caches.followers.entry((owner, number)).or_default().push(confirm);
                Accepted::WhenDurable
            }
            Seen::Taken(lsn) => match self.partitions.get_mut(&hosted.partition) {
                Some(partition) if lsn > partition.logs.durable.durable() => {
                    partition.confirms.wait_behind(lsn, shard, channel, seq);
                    Accepted::WhenDurable
                }
                _ => Accepted::Now,
            },
        }
    }

    fn remember(&mut self, owner: QueueId, key: Key, expires_ms: u64) -> Option<u64> {
        let hosted = self.caches.by_owner.get_mut(&owner)?;
        let partition = self.partitions.get_mut(&hosted.partition)?;
        Some(hosted.cache.insert(&mut partition.logs, key, expires_ms, self.now_ms))
    }

    fn taken(&mut self, owner: QueueId, key: Key, number: u64, persistent: bool) {
        if let Some(hosted) = self.caches.by_owner.get_mut(&owner)
            && let Some(partition) = self.partitions.get_mut(&hosted.partition)
        {
            hosted.cache.taken(&mut partition.logs, key, number, persistent);
        }
    }

    fn forget(&mut self, owner: QueueId, key: Key) {
        if let Some(hosted) = self.caches.by_owner.get_mut(&owner)
            && let Some(partition) = self.partitions.get_mut(&hosted.partition)
        {
            hosted.cache.remove(&mut partition.logs, key);
        }
    }
}

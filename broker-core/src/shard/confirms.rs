//! Which publisher confirms wait for which record of a partition's durable log.

use std::collections::VecDeque;

use broker_store::Lsn;

use crate::ids::ChannelKey;
use crate::ids::ShardId;

/// Sequence numbers of one channel that wait for the same sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// The last record waited for.
    pub lsn: Lsn,
    /// The shard of the channel.
    pub shard: ShardId,
    /// The channel.
    pub channel: ChannelKey,
    /// First sequence number.
    pub first: u64,
    /// Last sequence number.
    pub last: u64,
    write: u64,
}

/// The confirms that a partition owes, in the order of its log. Consecutive numbers of one channel that will be
/// written together are one entry, so a steady publisher costs an entry per write, not per message.
#[derive(Debug, Default)]
pub(super) struct Confirms {
    waiting: VecDeque<Waiting>,
    write: u64,
}

impl Confirms {
    /// Channel `channel`'s message `seq` is in the record `lsn`.
    pub(super) fn wait(&mut self, lsn: Lsn, shard: ShardId, channel: ChannelKey, seq: u64) {
        if let Some(last) = self.waiting.back_mut() {
            let same = last.channel == channel && last.shard == shard && last.write == self.write;
            if same && last.last + 1 == seq {
                last.last = seq;
                last.lsn = lsn;
                return;
            }
        }
        self.waiting.push_back(Waiting { lsn, shard, channel, first: seq, last: seq, write: self.write });
    }

    /// Like [`wait`](Self::wait), for a record before the last: the confirm comes with the last.
    pub(super) fn wait_behind(&mut self, lsn: Lsn, shard: ShardId, channel: ChannelKey, seq: u64) {
        let lsn = self.waiting.back().map_or(lsn, |last| last.lsn.max(lsn));
        self.wait(lsn, shard, channel, seq);
    }

    /// The log has begun to write: what comes now belongs to the next write.
    pub(super) fn write_started(&mut self) {
        self.write += 1;
    }

    /// The next entry that is on disk when everything up to `durable` is.
    pub(super) fn release(&mut self, durable: Lsn) -> Option<Waiting> {
        if self.waiting.front()?.lsn > durable {
            return None;
        }
        self.waiting.pop_front()
    }

    /// All entries: the log has failed, nothing more will reach the disk.
    pub(super) fn fail(&mut self) -> VecDeque<Waiting> {
        std::mem::take(&mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: ChannelKey = ChannelKey { slot: 1, epoch: 1 };

    #[test]
    fn consecutive_numbers_of_one_write_are_one_entry() {
        let mut confirms = Confirms::default();
        (1..=5).for_each(|n| confirms.wait(Lsn(n), ShardId(0), CHANNEL, n));
        confirms.write_started();
        (6..=7).for_each(|n| confirms.wait(Lsn(n), ShardId(0), CHANNEL, n));
        assert_eq!(confirms.release(Lsn(4)), None);
        let range = |waiting: Option<Waiting>| waiting.map(|waiting| (waiting.first, waiting.last));
        assert_eq!(range(confirms.release(Lsn(6))), Some((1, 5)));
        assert_eq!(range(confirms.release(Lsn(6))), None);
        assert_eq!(range(confirms.release(Lsn(7))), Some((6, 7)));
    }

    #[test]
    fn gaps_and_other_channels_start_an_entry() {
        let mut confirms = Confirms::default();
        let other = ChannelKey { slot: 2, epoch: 1 };
        confirms.wait(Lsn(1), ShardId(0), CHANNEL, 1);
        confirms.wait(Lsn(2), ShardId(0), other, 1);
        confirms.wait(Lsn(3), ShardId(0), CHANNEL, 3);
        assert_eq!(std::iter::from_fn(|| confirms.release(Lsn(3))).count(), 3);
    }
}

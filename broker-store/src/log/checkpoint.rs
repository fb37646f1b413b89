//! The checkpoint: which messages are dead, as one file. It makes the acks in older segments superfluous, so that a
//! dead segment can go although there are older ones whose messages it acks.
//!
//! **Invariant.** A queue that the checkpoint does not name has nothing live in a segment before [`Checkpoint::covers`].

use rustc_hash::FxHashMap;

use crate::attempts::Attempt;
use crate::dead::DeadSet;
use crate::ids::{QueueId, SegmentId};
use crate::queues::Queues;
use crate::segment::format::{len32, u32_at, u64_at};

/// Name of the file in the directory of the log.
pub(super) const CHECKPOINT: &str = "checkpoint";
const MAGIC: [u8; 8] = *b"RINGMQ\0c";
const FORMAT: u32 = 1;
const HEADER: usize = 24;
const QUEUE: usize = 32;

/// A checkpoint, decoded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// What segments before this one record is in here.
    pub(super) covers: SegmentId,
    pub(super) queues: FxHashMap<QueueId, CheckpointQueue>,
}

/// What is known of a queue that had live messages.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CheckpointQueue {
    pub(super) dead: DeadSet,
    pub(super) delivered: u64,
    /// How often messages were delivered and came back.
    pub(super) attempts: Vec<(u64, Attempt)>,
}

/// Writes down the queues that have live messages.
pub(super) fn encode(queues: &Queues, covers: SegmentId) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&covers.0.to_le_bytes());
    out.extend_from_slice(&len32(queues.live().count()).to_le_bytes());
    for (queue, state) in queues.live() {
        out.extend_from_slice(&queue.0.to_le_bytes());
        out.extend_from_slice(&state.delivered.to_le_bytes());
        out.extend_from_slice(&(state.dead.ranges().count() as u64).to_le_bytes());
        out.extend_from_slice(&(state.attempts().count() as u64).to_le_bytes());
        for (first, last) in state.dead.ranges() {
            out.extend_from_slice(&first.to_le_bytes());
            out.extend_from_slice(&last.to_le_bytes());
        }
        for (seq, attempt) in state.attempts() {
            out.extend_from_slice(&seq.to_le_bytes());
            out.extend_from_slice(&attempt.to_stored().to_le_bytes());
        }
    }
    let crc = crc32fast::hash(&out[16..]);
    out[12..16].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Why a checkpoint cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Of a newer format.
    Newer(u32),
    /// Not what was written.
    Damaged,
}

/// Reads a checkpoint.
pub(super) fn decode(bytes: &[u8]) -> Result<Checkpoint, Unreadable> {
    if bytes.len() < HEADER || bytes[..8] != MAGIC {
        return Err(Unreadable::Damaged);
    }
    if u32_at(bytes, 8) > FORMAT {
        return Err(Unreadable::Newer(u32_at(bytes, 8)));
    }
    if crc32fast::hash(&bytes[16..]) != u32_at(bytes, 12) {
        return Err(Unreadable::Damaged);
    }
    let mut checkpoint = Checkpoint { covers: SegmentId(u32_at(bytes, 16)), ..Checkpoint::default() };
    let mut rest = &bytes[HEADER..];
    for _ in 0..u32_at(bytes, 20) {
        let queue = rest.get(..QUEUE).ok_or(Unreadable::Damaged)?;
        let length = |at: usize| {
            let count = usize::try_from(u64_at(queue, at)).ok();
            count.and_then(|count| count.checked_mul(16)).ok_or(Unreadable::Damaged)
        };
        let (ranges, attempts) = (length(16)?, length(24)?);
        rest = &rest[QUEUE..];
        let (ranges, behind) = rest.split_at_checked(ranges).ok_or(Unreadable::Damaged)?;
        let (attempts, behind) = behind.split_at_checked(attempts).ok_or(Unreadable::Damaged)?;
        rest = behind;
        let mut dead = DeadSet::default();
        ranges.chunks_exact(16).for_each(|range| dead.insert(u64_at(range, 0), u64_at(range, 8)));
        let attempts = attempts
            .chunks_exact(16)
            .map(|attempt| (u64_at(attempt, 0), Attempt::from_stored(u64_at(attempt, 8))));
        let attempts = attempts.collect();
        let state = CheckpointQueue { dead, delivered: u64_at(queue, 8), attempts };
        checkpoint.queues.insert(QueueId(u64_at(queue, 0)), state);
    }
    Ok(checkpoint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seq;

    fn attempt(seq: u64) -> Attempt {
        Attempt { count: 3, ready_ms: 10 + seq }
    }

    #[test]
    fn a_checkpoint_reads_back_without_queues_that_have_nothing_live() {
        let mut queues = Queues::new(true);
        for seq in 1..=10 {
            queues.appended(QueueId(1), Seq(seq));
        }
        queues.appended(QueueId(2), Seq(1));
        for seq in [1, 2, 5, 7] {
            queues.acked(QueueId(1), Seq(seq));
        }
        queues.acked(QueueId(2), Seq(1));
        queues.delivered(QueueId(1), Seq(8));
        for seq in [4, 5, 6] {
            queues.attempted(QueueId(1), Seq(seq), attempt(seq));
        }
        let mut bytes = encode(&queues, SegmentId(4));
        let checkpoint = decode(&bytes).unwrap();
        assert_eq!((checkpoint.covers, checkpoint.queues.len()), (SegmentId(4), 1));
        let queue = &checkpoint.queues[&QueueId(1)];
        assert_eq!(queue.dead.ranges().collect::<Vec<_>>(), [(0, 2), (5, 5), (7, 7)]);
        assert_eq!(queue.delivered, 8);
        assert_eq!(queue.attempts, [(4, attempt(4)), (6, attempt(6))]);
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(decode(&bytes), Err(Unreadable::Damaged));
    }
}

//! Messages that the shard itself publishes (dead letters, delayed messages that are due), and what is to be done when
//! their queues have them.
//!
//! Such a message is confirmed like any other, to [`INTERNAL`] instead of a channel. What waits for the confirm is its *origin*: the message it was
//! made of must not leave its own queue before.

use rustc_hash::FxHashMap;

use super::Shard;
use super::deduplication::Admitted;
use super::publish::{Confirm, Routed};
use crate::ids::{ChannelKey, QueueId, RequestId, Seq};
use crate::model::message::{Message, Traits};
use crate::model::queue::{DeadToken, MoveToken};
use crate::session::{Published, Sessions};

/// The shard as a publisher: no channel has this key.
const INTERNAL: ChannelKey = ChannelKey { slot: u32::MAX, epoch: u32::MAX };

/// Messages that may wait for their confirms; at the limit queues keep their dead letters to themselves.
const MAX_IN_FLIGHT: usize = 4096;

/// What an internal message was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nothing: nobody waits for it.
    Nothing,
    /// A message that an exchange held back.
    HeldBack {
        /// The store of the exchange.
        store: QueueId,
        /// Its number there.
        seq: Seq,
    },
    /// A message that an exchange with a history has passed on, and who published it.
    PassedOn(Confirm),
    /// A message that an exchange found to be new.
    Admitted(Admitted),
    /// A message that an administrator moves.
    Moved {
        /// Out of this queue.
        queue: QueueId,
        /// Names the message there.
        token: MoveToken,
        /// The administrator's request.
        request: RequestId,
    },
    /// A message that died in a queue.
    DeadLetter {
        /// The queue.
        queue: QueueId,
        /// Names the message there.
        token: DeadToken,
        /// If the letter is refused, the message stays.
        at_least_once: bool,
    },
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    origin: Origin,
    /// Confirms that are missing.
    pending: u32,
    refused: bool,
}

/// Internal messages that are on their way.
#[derive(Debug, Default)]
pub(super) struct Internal {
    last_seq: u64,
    in_flight: FxHashMap<u64, InFlight>,
}

impl Internal {
    /// True if none is.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// True while no more should be published.
    pub(super) fn is_full(&self) -> bool {
        self.in_flight.len() >= MAX_IN_FLIGHT
    }
}

impl Shard {
    /// Gives a message to its queues, and to exchanges that hold it back. [`Self::origin_done`] follows, in this call or later.
    ///
    /// Not to be called while a queue is borrowed, and better not while [`Internal::is_full`] or [`Self::congested`].
    pub(super) fn publish_internally(
        &mut self,
        sessions: &mut impl Sessions,
        routed: &Routed,
        message: Message<'_>,
        traits: Traits,
        origin: Origin,
    ) {
        let published = self.publish_for(sessions, routed, message, traits, origin);
        if published.pending_confirms == 0 {
            self.origin_done(sessions, origin, !published.refused);
        }
    }

    /// Gives a message to its queues, and to exchanges that hold it back. [`Self::origin_done`] follows if confirms are pending, and
    /// only then.
    pub(super) fn publish_for(
        &mut self,
        sessions: &mut impl Sessions,
        routed: &Routed,
        message: Message<'_>,
        traits: Traits,
        origin: Origin,
    ) -> Published {
        self.internal.last_seq += 1;
        let seq = self.internal.last_seq;
        let published = self.hold_back(sessions, routed, message, traits, Some((self.id, INTERNAL, seq)));
        if published.pending_confirms > 0 {
            let waiting = InFlight { origin, pending: published.pending_confirms, refused: published.refused };
            self.internal.in_flight.insert(seq, waiting);
        }
        published
    }

    /// Confirms that are not a channel's. Returns whether they were for the shard.
    pub(super) fn confirm_internal(
        &mut self,
        sessions: &mut impl Sessions,
        channel: ChannelKey,
        first: u64,
        last: u64,
        accepted: bool,
    ) -> bool {
        if channel != INTERNAL {
            return false;
        }
        for seq in first..=last {
            let Some(waiting) = self.internal.in_flight.get_mut(&seq) else {
                continue;
            };
            waiting.pending -= 1;
            waiting.refused |= !accepted;
            if waiting.pending == 0 {
                let InFlight { origin, refused, .. } = *waiting;
                self.internal.in_flight.remove(&seq);
                self.origin_done(sessions, origin, !refused);
            }
        }
        true
    }

    /// All queues have the message (and durable ones on disk), or (`accepted` false) one has refused it.
    pub(super) fn origin_done(&mut self, sessions: &mut impl Sessions, origin: Origin, accepted: bool) {
        match origin {
            Origin::Nothing => {}
            Origin::HeldBack { store, seq } => self.released_arrived(store, seq, accepted),
            Origin::PassedOn(reply) => self.pass_confirm(sessions, reply, accepted),
            Origin::Admitted(admitted) => self.admitted_done(sessions, admitted, accepted),
            Origin::Moved { queue, token, request } => {
                self.moved_done(sessions, queue, token, request, accepted);
            }
            Origin::DeadLetter { queue, token, at_least_once } => {
                self.stats.dead_lettered_confirmed += u64::from(accepted && at_least_once);
                self.dead_letter_done(queue, Some(token), accepted || !at_least_once);
            }
        }
    }
}

//! Messages that administrators move from a queue to others.
//!
//! A move goes on a slice each turn, on the shard of the queue. **Invariant:** a message leaves its queue's log only after all queues that it was
//! moved to have confirmed it. So a crash in between may double it and never loses it.

use std::sync::Arc;

use super::Shard;
use super::admin::WaitingFor;
use super::internal::Origin;
use crate::admin::{AdminError, AdminMove, AdminReply, MoveTo, Reply};
use crate::error::{AmqpError, ChannelError};
use crate::ids::{QueueId, RequestId};
use crate::model::dead_letter::first_death;
use crate::model::exchange::DEFAULT_EXCHANGE;
use crate::model::message::{Message, Traits};
use crate::model::permission::Access;
use crate::model::properties::Properties;
use crate::model::queue::{MoveToken, TakeOut};
use crate::model::vhost::Resource;
use crate::session::Sessions;

/// Messages that a move takes out of its queue in one turn.
const SLICE: usize = 256;

/// Messages of a move that may be on their way.
const MAX_IN_FLIGHT: u32 = 1024;

/// Messages that a redrive may find to have no way back. They stay; at the limit it ends.
const MAX_KEPT: usize = 65_536;

/// A move that is going on.
#[derive(Debug)]
pub(super) struct Moving {
    user: Arc<str>,
    vhost: Arc<str>,
    queue: QueueId,
    to: MoveTo,
    /// Messages to be taken out still.
    left: u64,
    in_flight: u32,
    moved: u64,
    /// Messages that have no way back and stay.
    kept: Vec<MoveToken>,
    /// Why it ends before its time.
    reason: Option<String>,
}

impl Moving {
    fn takes_more(&self) -> bool {
        self.left > 0 && self.reason.is_none() && self.in_flight < MAX_IN_FLIGHT
    }

    fn stop(&mut self, reason: impl Into<String>) {
        self.reason.get_or_insert_with(|| reason.into());
    }

    fn is_redrive(&self) -> bool {
        matches!(self.to, MoveTo::FirstDeathQueue | MoveTo::FirstDeathExchange)
    }

    /// Exchange and routing key for a message; nothing if it does not say where it came from.
    fn way_of(&self, message: &Message<'_>, properties: &Properties<'_>) -> Option<(String, String)> {
        let default = || DEFAULT_EXCHANGE.to_owned();
        match &self.to {
            MoveTo::Queue(name) => Some((default(), name.clone())),
            MoveTo::Exchange { exchange, routing_key } => {
                let key = routing_key.as_deref().unwrap_or(message.routing_key);
                Some((exchange.clone(), key.to_owned()))
            }
            MoveTo::FirstDeathQueue => Some((default(), first_death(message, properties)?.queue)),
            MoveTo::FirstDeathExchange => {
                let death = first_death(message, properties)?;
                Some((death.exchange, death.routing_key))
            }
        }
    }
}

impl Shard {
    /// Begins to move messages of a queue of this shard.
    pub(super) fn begin_move(&mut self, order: AdminMove, reply: Reply) {
        match self.plan_move(order) {
            Ok(moving) => {
                let request = self.desk.open(reply, WaitingFor::Move(Some(Box::new(moving))));
                self.desk.go_on(request);
            }
            // The asker may have gone.
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    fn plan_move(&self, order: AdminMove) -> Result<Moving, AdminError> {
        let AdminMove { user, vhost, queue: name, to, count } = order;
        let (user, vhost) = self.caller(&user, &vhost)?;
        let resource = Resource::queue(&vhost, &name);
        let amqp = |error: ChannelError| AdminError::Amqp(error.into());
        let (queue, row) = self.topology.find_queue(&vhost, &name).ok_or_else(|| amqp(resource.not_found()))?;
        self.topology.permissions().check(&user, Access::Read, resource).map_err(amqp)?;
        if row.owner.is_some() {
            return Err(AdminError::BadRequest(format!("{resource} belongs to one connection")));
        }
        let Some(&slot) = self.slots.get(&queue) else {
            return Err(AdminError::BadRequest(format!("messages of {resource} cannot be moved: it is a stream")));
        };
        match &to {
            MoveTo::Queue(target) => {
                self.topology.may_publish(&user, &vhost, DEFAULT_EXCHANGE).map_err(amqp)?;
                let target = Resource::queue(&vhost, target);
                self.topology.find_queue(&vhost, target.name).ok_or_else(|| amqp(target.not_found()))?;
            }
            MoveTo::Exchange { exchange, .. } => {
                self.topology.may_publish(&user, &vhost, exchange).map_err(amqp)?;
            }
            MoveTo::FirstDeathQueue => {
                self.topology.may_publish(&user, &vhost, DEFAULT_EXCHANGE).map_err(amqp)?;
            }
            MoveTo::FirstDeathExchange => {}
        }
        let ready = self.queues[slot as usize].machine.message_count();
        let left = count.unwrap_or(u64::MAX).min(ready);
        Ok(Moving { user, vhost, queue, to, left, in_flight: 0, moved: 0, kept: Vec::new(), reason: None })
    }

    /// Takes some messages out of the queue and publishes them; ends the move if nothing is left to do.
    pub(super) fn continue_move(&mut self, sessions: &mut impl Sessions, request: RequestId) {
        let Some(WaitingFor::Move(place)) = self.desk.waits_for(request) else {
            return;
        };
        let Some(mut moving) = place.take() else { return };
        let mut stored = std::mem::take(&mut self.scratch_message);
        for _ in 0..SLICE {
            if !moving.takes_more() || self.internal.is_full() || self.congested() {
                break;
            }
            if self.held_back.is_stopped() {
                moving.stop("the broker stops");
                break;
            }
            stored.clear();
            match self.take_out(moving.queue, &mut stored) {
                None => moving.stop("the queue was deleted"),
                Some(TakeOut::Empty) => moving.left = 0,
                Some(TakeOut::Again) => {}
                Some(TakeOut::PageIn(_)) => break,
                Some(TakeOut::Taken(token)) => {
                    moving.left -= 1;
                    self.move_one(sessions, request, &mut moving, token, &stored);
                }
            }
        }
        self.scratch_message = stored;
        if moving.in_flight == 0 && (moving.left == 0 || moving.reason.is_some()) {
            return self.end_move(sessions, request, *moving);
        }
        if let Some(WaitingFor::Move(place)) = self.desk.waits_for(request) {
            *place = Some(moving);
            self.desk.go_on(request);
        }
    }

    fn take_out(&mut self, queue: QueueId, stored: &mut Vec<u8>) -> Option<TakeOut> {
        let hosted = &mut self.queues[*self.slots.get(&queue)? as usize];
        let partition = self.partitions.get_mut(&hosted.partition).expect("a hosted queue's partition is here");
        Some(hosted.machine.take_out(&mut partition.logs, self.now_ms, |message| {
            message.parts(&message.lengths()).iter().for_each(|part| stored.extend_from_slice(part));
        }))
    }

    fn move_one(
        &mut self,
        sessions: &mut impl Sessions,
        request: RequestId,
        moving: &mut Moving,
        token: MoveToken,
        stored: &[u8],
    ) {
        let message = Message::from_stored(stored).expect("it was read from the log as a message");
        let properties = Properties::parse(message.properties).unwrap_or_default();
        let Some((exchange, key)) = moving.way_of(&message, &properties) else {
            return self.keep(sessions, moving, token, "it was not dead-lettered");
        };
        let permitted = self
            .topology
            .may_publish(&moving.user, &moving.vhost, &exchange)
            .and_then(|()| self.topology.check_topic(&moving.user, &moving.vhost, Access::Write, &exchange, &key));
        let routed = permitted.map_err(AmqpError::from);
        let routed = routed.and_then(|()| self.route(&moving.vhost, &exchange, &[&key], &properties));
        let routed = match routed {
            Ok(routed) => routed,
            Err(error) => return self.keep(sessions, moving, token, &error.to_string()),
        };
        if routed.targets.is_empty() && routed.held_back.is_empty() {
            let reason = format!("exchange '{exchange}' has no queue for routing key '{key}'");
            return self.keep(sessions, moving, token, &reason);
        }
        let stamp = message.stamp.held_until(self.now_ms);
        let message = Message { stamp, exchange: &exchange, routing_key: &key, ..message };
        let origin = Origin::Moved { queue: moving.queue, token, request };
        let published = self.publish_for(sessions, &routed, message, Traits::of(&properties), origin);
        if published.pending_confirms > 0 {
            moving.in_flight += 1;
            return;
        }
        self.settle_move(sessions, moving.queue, token, !published.refused);
        match published.refused {
            false => moving.moved += 1,
            true => moving.stop("a queue has refused a message"),
        }
    }

    /// A message cannot go where it is to go: it stays. That ends a move, but no redrive.
    fn keep(&mut self, sessions: &mut impl Sessions, moving: &mut Moving, token: MoveToken, reason: &str) {
        if moving.is_redrive() && moving.kept.len() < MAX_KEPT {
            return moving.kept.push(token);
        }
        self.settle_move(sessions, moving.queue, token, false);
        moving.stop(reason);
    }

    /// The queues of a message that was moved have it, or one has refused it.
    pub(super) fn moved_done(
        &mut self,
        sessions: &mut impl Sessions,
        queue: QueueId,
        token: MoveToken,
        request: RequestId,
        accepted: bool,
    ) {
        self.settle_move(sessions, queue, token, accepted);
        if let Some(WaitingFor::Move(Some(moving))) = self.desk.waits_for(request) {
            moving.in_flight -= 1;
            match accepted {
                true => moving.moved += 1,
                false => moving.stop("a queue has refused a message"),
            }
        }
    }

    fn settle_move(&mut self, sessions: &mut impl Sessions, queue: QueueId, token: MoveToken, accepted: bool) {
        let Some(&slot) = self.slots.get(&queue) else {
            return;
        };
        let hosted = &mut self.queues[slot as usize];
        if accepted {
            let partition =
                self.partitions.get_mut(&hosted.partition).expect("a hosted queue's partition is here");
            hosted.machine.moved(&mut partition.logs, token);
        } else {
            hosted.machine.put_back(token);
            self.pump(sessions, slot);
        }
    }

    fn end_move(&mut self, sessions: &mut impl Sessions, request: RequestId, moving: Moving) {
        let kept = moving.kept.len();
        for token in moving.kept {
            self.settle_move(sessions, moving.queue, token, false);
        }
        let left =
            self.slots.get(&moving.queue).map_or(0, |slot| self.queues[*slot as usize].machine.message_count());
        let reason =
            moving.reason.or_else(|| (kept > 0).then(|| format!("{kept} messages have no way back: they stay")));
        let reply = AdminReply::Moved { moved: moving.moved, left, reason };
        let Some(&slot) = self.slots.get(&moving.queue) else {
            return self.finish(sessions, request, Ok(reply));
        };
        // Told that messages are moved, nobody finds them in both queues after a crash.
        if let Some(waiting) = self.desk.waits_for(request) {
            *waiting = WaitingFor::Synced(reply);
        }
        self.answer_when_recorded(request, self.queues[slot as usize].partition);
    }
}

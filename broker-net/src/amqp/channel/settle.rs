//! `basic.ack`, `basic.nack`, `basic.reject` and `basic.recover`: unacknowledged messages go back to their queues.

use broker_core::error::{AmqpError, ChannelCode};
use broker_core::session::Settlement;

use super::unacked::Entry;
use super::{Channel, Flow, Mode, Turn};
use crate::amqp::codec::DeliveryTag;

impl Channel {
    pub(super) fn settle(
        &mut self,
        turn: &mut Turn<'_>,
        delivery_tag: DeliveryTag,
        multiple: bool,
        settlement: Settlement,
    ) -> Result<Flow, AmqpError> {
        let mut settled = std::mem::take(&mut turn.outputs.scratch.settled);
        let result = match turn.outputs.channel_mut(self.key) {
            Some(channel) => channel.unacked.settle(delivery_tag.0, multiple, &mut settled),
            None => Ok(()),
        };
        match (&mut self.mode, result.is_ok()) {
            (Mode::Transaction(transaction), true) => transaction.add_settlement(settlement, &mut settled),
            _ => self.settle_entries(turn, &mut settled, settlement),
        }
        turn.outputs.scratch.settled = settled;
        result.map(|()| Flow::Done).map_err(|unknown| {
            ChannelCode::PreconditionFailed.error(format!("unknown delivery tag {}", unknown.0)).into()
        })
    }

    /// Requeues everything that is unacknowledged (`basic.recover`).
    pub(super) fn recover(&mut self, turn: &mut Turn<'_>) {
        let mut settled = std::mem::take(&mut turn.outputs.scratch.settled);
        if let Some(channel) = turn.outputs.channel_mut(self.key) {
            channel.unacked.settle_all(&mut settled);
        }
        self.settle_entries(turn, &mut settled, Settlement::Requeue);
        turn.outputs.scratch.settled = settled;
    }

    /// Settles messages with their queues, one call for each queue, oldest first; empties `settled`.
    pub(super) fn settle_entries(&self, turn: &mut Turn<'_>, settled: &mut Vec<Entry>, settlement: Settlement) {
        let Some(first) = settled.first() else { return };
        if let Some(channel) = turn.outputs.channel_mut(self.key) {
            channel.settled(settled);
            channel.deliveries.ack += if settlement == Settlement::Ack { settled.len() as u64 } else { 0 };
        }
        let queue = first.queue();
        if settled.iter().any(|entry| entry.queue() != queue) {
            settled.sort_by_key(|entry| entry.queue().queue);
        }
        let mut tokens = std::mem::take(&mut turn.outputs.scratch.tokens);
        for entries in settled.chunk_by(|left, right| left.queue() == right.queue()) {
            let Some(first) = entries.first() else { continue };
            tokens.clear();
            tokens.extend(entries.iter().map(|entry| entry.token));
            turn.shard.settle(turn.outputs, self.key, first.queue(), &tokens, settlement);
        }
        tokens.clear();
        turn.outputs.scratch.tokens = tokens;
        settled.clear();
        turn.outputs.release_held(self.key, turn.shard);
    }
}

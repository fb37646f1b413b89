//! The rest of the basic class: consume, cancel, get, qos, recover.

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::{self, AMQPMethod};
use broker_core::error::{AmqpError, ChannelCode, ConnectionCode};
use broker_core::ids::ConsumerId;
use broker_core::model::reply_to::{is_pseudo_queue, reply_name};
use broker_core::session::{Command, Settlement};

use super::{Asked, Channel, Flow, Turn, unimplemented_method};
use crate::amqp::codec::{MethodId, reply_text};
use crate::amqp::outputs::reply::RequestKind;

impl Channel {
    /// `payload` is that of the method's frame.
    pub(super) fn handle_basic(
        &mut self,
        turn: &mut Turn<'_>,
        method: AMQPMethod,
        payload: &[u8],
    ) -> Result<Flow, AmqpError> {
        if turn.waiting {
            return Ok(Flow::Stall);
        }
        match method {
            AMQPMethod::Consume(consume) => self.consume(turn, consume),
            AMQPMethod::Cancel(cancel) => self.cancel(turn, &cancel),
            AMQPMethod::Get(get) => {
                let queue = self.queue_name(get.queue.as_str())?;
                let command = Command::BasicGet { queue, no_ack: get.no_ack };
                let method = MethodId::new(60, 70);
                Ok(self.submit(turn, Asked { command, method, nowait: false, kind: RequestKind::Plain }))
            }
            AMQPMethod::Qos(qos) => self.qos(turn, &qos, prefetch_size(payload)),
            AMQPMethod::Recover(recover) => {
                check_requeue(recover.requeue)?;
                // Before what it brings back: clients drop the deliveries that they get until recover-ok.
                let flow = self.write(turn, AMQPClass::Basic(AMQPMethod::RecoverOk(basic::RecoverOk {})))?;
                self.recover(turn);
                Ok(flow)
            }
            AMQPMethod::RecoverAsync(recover) => {
                check_requeue(recover.requeue)?;
                self.recover(turn);
                Ok(Flow::Done)
            }
            _ => Err(unimplemented_method()),
        }
    }

    fn consume(&mut self, turn: &mut Turn<'_>, consume: basic::Consume) -> Result<Flow, AmqpError> {
        let queue = self.queue_name(consume.queue.as_str())?;
        let Some(channel) = turn.outputs.channel_mut(self.key) else {
            return Ok(Flow::Done);
        };
        let mut consumer_tag = String::from(consume.consumer_tag);
        if channel.has_consumer_tag(&consumer_tag) {
            return Err(ConnectionCode::NotAllowed
                .error(format!("attempt to reuse consumer tag '{consumer_tag}'"))
                .into());
        }
        if let Some(most) = turn.session.consumer_max
            && channel.consumer_count() as u64 >= most
        {
            let text = format!("reached maximum ({most}) of consumers per channel");
            return Err(ConnectionCode::NotAllowed.error(text).into());
        }
        if consumer_tag.is_empty() {
            consumer_tag = turn.outputs.names.generate("amq.ctag");
        }
        if is_pseudo_queue(queue.as_bytes()) {
            return self.consume_replies(turn, &consumer_tag, consume.no_ack, consume.nowait);
        }
        self.last_consumer += 1;
        let consumer = ConsumerId(self.last_consumer);
        let mut room = None;
        if let Some(channel) = turn.outputs.channel_mut(self.key) {
            channel.add_consumer(consumer, &consumer_tag, consume.no_ack);
            room = channel.room(consume.no_ack);
        }
        let command = Command::BasicConsume {
            queue,
            consumer,
            consumer_tag,
            no_ack: consume.no_ack,
            exclusive: consume.exclusive,
            prefetch_count: self.prefetch_count,
            room,
            arguments: consume.arguments,
        };
        let kind = RequestKind::Consume(consumer);
        Ok(self.submit(turn, Asked { command, method: MethodId::new(60, 20), nowait: consume.nowait, kind }))
    }

    /// Consumes the replies to the channel's requests (direct reply-to).
    fn consume_replies(
        &mut self,
        turn: &mut Turn<'_>,
        consumer_tag: &str,
        no_ack: bool,
        nowait: bool,
    ) -> Result<Flow, AmqpError> {
        let refused = |text| Err(ChannelCode::PreconditionFailed.error(text).into());
        let secret = turn.outputs.names.secret();
        let Some(channel) = turn.outputs.channel_mut(self.key) else {
            return Ok(Flow::Done);
        };
        if !no_ack {
            return refused("reply consumer cannot acknowledge");
        }
        if channel.reply_consumer_tag().is_some() {
            return refused("reply consumer already set");
        }
        let reply_name: Box<str> = reply_name(turn.shard.address(self.key), &secret).into();
        channel.set_reply_consumer(reply_name.clone(), consumer_tag);
        self.publisher.set_reply_name(Some(reply_name));
        if nowait {
            return Ok(Flow::Done);
        }
        let consumer_tag = reply_text(consumer_tag);
        self.write(turn, AMQPClass::Basic(AMQPMethod::ConsumeOk(basic::ConsumeOk { consumer_tag })))
    }

    fn cancel(&mut self, turn: &mut Turn<'_>, cancel: &basic::Cancel) -> Result<Flow, AmqpError> {
        let Some(channel) = turn.outputs.channel_mut(self.key) else {
            return Ok(Flow::Done);
        };
        if channel.reply_consumer_tag() == Some(cancel.consumer_tag.as_str()) {
            channel.remove_reply_consumer();
            self.publisher.set_reply_name(None);
        }
        let found = channel.consumer_by_tag(cancel.consumer_tag.as_str());
        let Some(at) = found.and_then(|consumer| {
            consumer.cancelled = true;
            consumer.at
        }) else {
            // The consumer is gone already, or never was: that is no error.
            let consumer_tag = reply_text(cancel.consumer_tag.as_str());
            let ok = AMQPClass::Basic(AMQPMethod::CancelOk(basic::CancelOk { consumer_tag }));
            return if cancel.nowait { Ok(Flow::Done) } else { self.write(turn, ok) };
        };
        let held = channel.take_held(at.consumer);
        for held in held.iter().filter(|held| held.token.is_none()) {
            // It has left its queue for good.
            turn.outputs.deliver_held(self.key, held);
        }
        let kind =
            RequestKind::Cancel { consumer: at.consumer, consumer_tag: cancel.consumer_tag.as_str().to_owned() };
        let command = Command::BasicCancel { consumer: at };
        let method = MethodId::new(60, 30);
        let flow = self.submit(turn, Asked { command, method, nowait: cancel.nowait, kind });
        let tokens: Vec<_> = held.iter().filter_map(|held| held.token).collect();
        if !tokens.is_empty() {
            // After the cancel, or they would come back to the same consumer.
            turn.shard.settle(turn.outputs, self.key, at.queue, &tokens, Settlement::Requeue);
        }
        turn.outputs.tell_room(self.key, turn.shard);
        Ok(flow)
    }

    /// As in RabbitMQ: without `global` the limit is that of each consumer created from now on, with it that
    /// of the whole channel.
    fn qos(&mut self, turn: &mut Turn<'_>, qos: &basic::Qos, prefetch_size: u32) -> Result<Flow, AmqpError> {
        if prefetch_size != 0 {
            return Err(ConnectionCode::NotImplemented
                .error(format!("prefetch_size!=0 ({prefetch_size})"))
                .into());
        }
        if qos.global {
            if let Some(channel) = turn.outputs.channel_mut(self.key) {
                channel.set_limit(qos.prefetch_count);
            }
            turn.outputs.release_held(self.key, turn.shard);
        } else {
            self.prefetch_count = qos.prefetch_count;
            if let Some(channel) = turn.outputs.channel_mut(self.key) {
                channel.prefetch_count = qos.prefetch_count;
            }
        }
        self.write(turn, AMQPClass::Basic(AMQPMethod::QosOk(basic::QosOk {})))
    }
}

/// The first argument of `basic.qos`, behind the ids. The parsed method does not have it.
fn prefetch_size(payload: &[u8]) -> u32 {
    payload.get(4..).and_then(|arguments| arguments.first_chunk()).map_or(0, |size| u32::from_be_bytes(*size))
}

fn check_requeue(requeue: bool) -> Result<(), AmqpError> {
    if requeue { Ok(()) } else { Err(ConnectionCode::NotImplemented.error("requeue=false").into()) }
}

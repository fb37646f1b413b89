//! The queue class: every method is a command for the shard, after empty names have been replaced.

use amq_protocol::protocol::queue::{AMQPMethod, Declare};
use broker_core::error::{AmqpError, ChannelCode, ChannelError};
use broker_core::session::Command;

use super::{Asked, Channel, Flow, Turn, clean_name, unimplemented_method};
use crate::amqp::codec::MethodId;
use crate::amqp::outputs::reply::RequestKind;

impl Channel {
    pub(super) fn handle_queue(&mut self, turn: &mut Turn<'_>, method: AMQPMethod) -> Result<Flow, AmqpError> {
        let (method_id, nowait, command) = match method {
            AMQPMethod::Declare(declare) => return self.declare(turn, declare),
            AMQPMethod::Bind(bind) => {
                let command = Command::QueueBind {
                    queue: self.queue_name(bind.queue.as_str())?,
                    exchange: clean_name(bind.exchange.as_str()),
                    routing_key: self.routing_key(bind.queue.as_str(), bind.routing_key.as_str()),
                    arguments: bind.arguments,
                };
                (20, bind.nowait, command)
            }
            AMQPMethod::Unbind(unbind) => {
                let command = Command::QueueUnbind {
                    queue: self.queue_name(unbind.queue.as_str())?,
                    exchange: clean_name(unbind.exchange.as_str()),
                    routing_key: self.routing_key(unbind.queue.as_str(), unbind.routing_key.as_str()),
                    arguments: unbind.arguments,
                };
                (50, false, command)
            }
            AMQPMethod::Purge(purge) => {
                let queue = self.queue_name(purge.queue.as_str())?;
                (30, purge.nowait, Command::QueuePurge { queue })
            }
            AMQPMethod::Delete(delete) => {
                let command = Command::QueueDelete {
                    queue: self.queue_name(delete.queue.as_str())?,
                    if_unused: delete.if_unused,
                    if_empty: delete.if_empty,
                };
                (40, delete.nowait, command)
            }
            _ => return Err(unimplemented_method()),
        };
        let method = MethodId::new(50, method_id);
        Ok(self.submit(turn, Asked { command, method, nowait, kind: RequestKind::Plain }))
    }

    /// The queue is the channel's last declared one from here on, whether the declare succeeds or not: if it
    /// does not, the channel is closed.
    fn declare(&mut self, turn: &mut Turn<'_>, declare: Declare) -> Result<Flow, AmqpError> {
        let name = clean_name(declare.queue.as_str());
        let generated = name.is_empty();
        let queue = if !generated {
            name
        } else if declare.passive {
            return Err(no_queue_without_name(&turn.session.vhost).into());
        } else {
            turn.outputs.names.generate("amq.gen")
        };
        let command = Command::QueueDeclare {
            queue: queue.clone(),
            generated,
            passive: declare.passive,
            durable: declare.durable,
            exclusive: declare.exclusive,
            auto_delete: declare.auto_delete,
            arguments: declare.arguments,
        };
        let method = MethodId::new(50, 10);
        let asked = Asked { command, method, nowait: declare.nowait, kind: RequestKind::Plain };
        let flow = self.submit(turn, asked);
        if flow == Flow::Done {
            self.last_queue = queue;
        }
        Ok(flow)
    }

    /// Without a queue name an empty routing key stands for the last declared queue too.
    fn routing_key(&self, queue: &str, routing_key: &str) -> String {
        if queue.is_empty() && routing_key.is_empty() { self.last_queue.clone() } else { routing_key.to_owned() }
    }
}

fn no_queue_without_name(vhost: &str) -> ChannelError {
    ChannelCode::NotFound.error(format!("no queue '' in vhost '{vhost}'"))
}

//! The exchange class: every method is a command for the shard.

use amq_protocol::protocol::exchange::AMQPMethod;
use broker_core::error::AmqpError;
use broker_core::session::Command;

use super::{Asked, Channel, Flow, Turn, clean_name, unimplemented_method};
use crate::amqp::codec::MethodId;
use crate::amqp::outputs::reply::RequestKind;

impl Channel {
    pub(super) fn handle_exchange(&mut self, turn: &mut Turn<'_>, method: AMQPMethod) -> Result<Flow, AmqpError> {
        let (method_id, nowait, command) = match method {
            AMQPMethod::Declare(declare) => {
                let command = Command::ExchangeDeclare {
                    exchange: clean_name(declare.exchange.as_str()),
                    kind: declare.kind.into(),
                    passive: declare.passive,
                    durable: declare.durable,
                    auto_delete: declare.auto_delete,
                    internal: declare.internal,
                    arguments: declare.arguments,
                };
                (10, declare.nowait, command)
            }
            AMQPMethod::Delete(delete) => {
                let exchange = clean_name(delete.exchange.as_str());
                (20, delete.nowait, Command::ExchangeDelete { exchange, if_unused: delete.if_unused })
            }
            AMQPMethod::Bind(bind) => {
                let command = Command::ExchangeBind {
                    destination: clean_name(bind.destination.as_str()),
                    source: clean_name(bind.source.as_str()),
                    routing_key: bind.routing_key.into(),
                    arguments: bind.arguments,
                };
                (30, bind.nowait, command)
            }
            AMQPMethod::Unbind(unbind) => {
                let command = Command::ExchangeUnbind {
                    destination: clean_name(unbind.destination.as_str()),
                    source: clean_name(unbind.source.as_str()),
                    routing_key: unbind.routing_key.into(),
                    arguments: unbind.arguments,
                };
                (40, unbind.nowait, command)
            }
            _ => return Err(unimplemented_method()),
        };
        let method = MethodId::new(40, method_id);
        Ok(self.submit(turn, Asked { command, method, nowait, kind: RequestKind::Plain }))
    }
}

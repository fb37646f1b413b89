//! What a command would do to a topology: the checks of RabbitMQ in its order, and the changes that follow.
//!
//! [`plan`] runs twice for most changes: on the shard of the connection, which answers what its copy can
//! answer (errors, things that exist already), and on the registrar, whose copy is ahead of all others.

use std::sync::Arc;

use amq_protocol::types::{AMQPValue, FieldTable};

use super::admin::ADMIN_CONNECTION;
use super::mailbox::Answer;
use super::placement::Placement;
use super::topology::{Change, Owner, QueueDefinition, QueueRow, Topology, ends_of};
use crate::admin::BROKER;
use crate::error::{AmqpError, ChannelCode, ChannelError, ConnectionCode};
use crate::ids::{ConnectionKey, PartitionId, QueueId, QueueRef, ShardId};
use crate::model::arguments::{check_field, type_name};
use crate::model::binding::BindingDefinition;
use crate::model::deduplication;
use crate::model::exchange::{
    ExchangeDefinition, ExchangeType, check_declared_name, check_deletable, check_not_default,
};
use crate::model::permission::Access;
use crate::model::properties::PropertiesError;
use crate::model::queue::settings::{self, QueueType};
use crate::model::vhost::{Resource, ResourceKind};
use crate::session::Command;

/// Who sent a command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who<'a> {
    pub(super) user: &'a Arc<str>,
    pub(super) vhost: &'a Arc<str>,
    pub(super) shard: ShardId,
    pub(super) connection: ConnectionKey,
}

/// Whether an end of a binding may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Refused,
    Ignored,
}

impl Missing {
    fn check(self, resource: Resource<'_>) -> Result<(), ChannelError> {
        match self {
            Self::Refused => Err(resource.not_found()),
            Self::Ignored => Ok(()),
        }
    }
}

impl Who<'_> {
    fn owner(&self) -> Owner {
        Owner { shard: self.shard, connection: self.connection }
    }
}

/// What there is to do for a command.
#[derive(Debug)]
pub(super) enum Plan {
    /// Nothing: it is so already.
    Done(Answer),
    /// To ask the queue: the counts for `queue.declare-ok`, or what else the command wants of it.
    Counts { queue: QueueRef, name: Arc<str> },
    /// To make these changes, and then to answer.
    Change { changes: Vec<Change>, answer: Answer },
}

type Planned = Result<Plan, AmqpError>;

pub(super) fn plan(topology: &Topology, placement: Placement, who: Who<'_>, command: &Command) -> Planned {
    let planner = Planner { topology, placement, who };
    match command {
        Command::ExchangeDeclare { passive: true, exchange, .. } => planner.exchange_declare_passive(exchange),
        Command::ExchangeDeclare { .. } => planner.exchange_declare(command),
        Command::ExchangeDelete { exchange, if_unused } => planner.exchange_delete(exchange, *if_unused),
        Command::ExchangeBind { destination, source, routing_key, arguments } => {
            let binding = definition(ResourceKind::Exchange, source, destination, routing_key, arguments);
            planner.bind(binding, Answer::ExchangeBindOk)
        }
        Command::ExchangeUnbind { destination, source, routing_key, arguments } => {
            let binding = definition(ResourceKind::Exchange, source, destination, routing_key, arguments);
            planner.unbind(binding, Answer::ExchangeUnbindOk)
        }
        Command::QueueDeclare { passive: true, queue, .. } => planner.queue_declare_passive(queue),
        Command::QueueDeclare { .. } => match planner.with_default_type(command) {
            Some(augmented) => planner.queue_declare(&augmented),
            None => planner.queue_declare(command),
        },
        Command::QueueBind { queue, exchange, routing_key, arguments } => {
            let binding = definition(ResourceKind::Queue, exchange, queue, routing_key, arguments);
            planner.bind(binding, Answer::QueueBindOk)
        }
        Command::QueueUnbind { queue, exchange, routing_key, arguments } => {
            let binding = definition(ResourceKind::Queue, exchange, queue, routing_key, arguments);
            planner.unbind(binding, Answer::QueueUnbindOk)
        }
        Command::QueueDelete { queue, if_unused, if_empty } => {
            planner.permit(Access::Configure, planner.queue(queue))?;
            let Some((_, row)) = planner.topology.find_queue(who.vhost, queue) else {
                return Ok(Plan::Done(Answer::QueueDeleteOk { message_count: 0 }));
            };
            let planned = planner.use_queue(queue)?;
            let condition = match row.kind {
                QueueType::Quorum if *if_unused => "if-unused",
                QueueType::Quorum if *if_empty => "if-empty",
                _ => return Ok(planned),
            };
            let text = format!(
                "cannot delete {}. queue.delete operations with {condition} flag set are not supported by quorum queues",
                planner.queue(queue)
            );
            Err(ConnectionCode::NotImplemented.error(text).into())
        }
        Command::BasicConsume { queue, room, .. } => {
            planner.permit(Access::Read, planner.queue(queue))?;
            let planned = planner.use_queue(queue)?;
            match topology.find_queue(who.vhost, queue) {
                Some((_, row)) if room.is_some() && row.kind != QueueType::Classic => {
                    let text = format!("{} does not support global qos", planner.queue(queue));
                    Err(ConnectionCode::NotImplemented.error(text).into())
                }
                _ => Ok(planned),
            }
        }
        Command::QueuePurge { queue } | Command::BasicGet { queue, .. } => {
            planner.permit(Access::Read, planner.queue(queue))?;
            planner.use_queue(queue)
        }
        Command::BasicCancel { .. } => Ok(Plan::Done(Answer::BasicCancelOk)),
    }
}

/// 501: the properties of a message cannot be read.
pub(super) fn malformed_properties(error: PropertiesError) -> AmqpError {
    ConnectionCode::FrameError.error(error.to_string()).into()
}

fn definition(
    destination_kind: ResourceKind,
    source: &str,
    destination: &str,
    routing_key: &str,
    arguments: &FieldTable,
) -> BindingDefinition {
    BindingDefinition {
        source: source.to_owned(),
        destination: destination.to_owned(),
        destination_kind,
        routing_key: routing_key.to_owned(),
        arguments: arguments.clone(),
    }
}

struct Planner<'a> {
    topology: &'a Topology,
    placement: Placement,
    who: Who<'a>,
}

impl<'a> Planner<'a> {
    fn queue<'n>(&self, name: &'n str) -> Resource<'n>
    where
        'a: 'n,
    {
        Resource::queue(self.who.vhost, name)
    }

    fn exchange<'n>(&self, name: &'n str) -> Resource<'n>
    where
        'a: 'n,
    {
        Resource::exchange(self.who.vhost, name)
    }

    fn permit(&self, access: Access, resource: Resource<'_>) -> Result<(), ChannelError> {
        // Only requests made within the process have this connection.
        if self.who.connection == ADMIN_CONNECTION && **self.who.user == *BROKER {
            return Ok(());
        }
        self.topology.permissions().check(self.who.user, access, resource)
    }

    fn exchange_declare_passive(&self, name: &str) -> Planned {
        check_not_default(name)?;
        match self.topology.find_exchange(self.who.vhost, name) {
            Some(_) => Ok(Plan::Done(Answer::ExchangeDeclareOk)),
            None => Err(self.exchange(name).not_found().into()),
        }
    }

    fn exchange_declare(&self, command: &Command) -> Planned {
        let Command::ExchangeDeclare { exchange, kind, durable, auto_delete, internal, arguments, .. } = command
        else {
            return Ok(Plan::Done(Answer::ExchangeDeclareOk));
        };
        let kind = kind.parse()?;
        check_not_default(exchange)?;
        self.permit(Access::Configure, self.exchange(exchange))?;
        let declared = ExchangeDefinition {
            name: exchange.clone(),
            kind,
            durable: *durable,
            auto_delete: *auto_delete,
            internal: *internal,
            arguments: arguments.clone(),
            store: None,
        };
        if let Some((_, existing)) = self.topology.find_exchange(self.who.vhost, exchange) {
            existing.check_equivalent(&declared, self.who.vhost)?;
            return Ok(Plan::Done(Answer::ExchangeDeclareOk));
        }
        check_declared_name(ResourceKind::Exchange, exchange)?;
        declared.check_arguments(self.who.vhost)?;
        if let Some(alternate) = declared.alternate_exchange() {
            self.permit(Access::Read, self.exchange(exchange))?;
            self.permit(Access::Write, self.exchange(alternate))?;
        }
        let vhost = Arc::clone(self.who.vhost);
        let changes = vec![Change::ExchangeDeclared { vhost, definition: declared }];
        Ok(Plan::Change { changes, answer: Answer::ExchangeDeclareOk })
    }

    fn exchange_delete(&self, name: &str, if_unused: bool) -> Planned {
        let resource = self.exchange(name);
        check_not_default(name)?;
        check_deletable(resource)?;
        self.permit(Access::Configure, resource)?;
        let Some((_, vhost)) = self.topology.vhost(self.who.vhost) else {
            return Ok(Plan::Done(Answer::ExchangeDeleteOk));
        };
        let Some(exchange) = vhost.routing.exchange(name) else {
            return Ok(Plan::Done(Answer::ExchangeDeleteOk));
        };
        if if_unused && vhost.routing.is_source(exchange) {
            return Err(ChannelCode::PreconditionFailed.error(format!("{resource} in use")).into());
        }
        let changes = vec![Change::ExchangeDeleted { vhost: Arc::clone(self.who.vhost), name: name.into() }];
        Ok(Plan::Change { changes, answer: Answer::ExchangeDeleteOk })
    }

    fn queue_declare_passive(&self, name: &str) -> Planned {
        self.use_queue(name)
    }

    fn queue_declare(&self, command: &Command) -> Planned {
        let Command::QueueDeclare { queue, generated, durable, exclusive, auto_delete, arguments, .. } = command
        else {
            return self.queue_declare_passive("");
        };
        let resource = self.queue(queue);
        self.permit(Access::Configure, resource)?;
        let owner = exclusive.then(|| self.who.owner());
        if let Some((id, row)) = self.topology.find_queue(self.who.vhost, queue) {
            self.check_equivalent(row, resource, command)?;
            return Ok(self.counts(id, row));
        }
        if !generated {
            check_declared_name(ResourceKind::Queue, queue)?;
        }
        self.check_queue_limit(queue)?;
        let kind = self.check_new_queue(resource, command)?;
        deduplication::check_arguments(resource, arguments)?;
        let definition = QueueDefinition {
            id: 0,
            vhost: self.who.vhost.to_string(),
            name: queue.clone(),
            durable: *durable && !exclusive,
            auto_delete: *auto_delete,
            kind,
            arguments: arguments.clone(),
            paused: false,
        };
        let changes = vec![Change::QueueDeclared { definition, partition: PartitionId(0), owner }];
        let answer = Answer::QueueDeclareOk { queue: queue.as_str().into(), message_count: 0, consumer_count: 0 };
        Ok(Plan::Change { changes, answer })
    }

    /// 406 if the virtual host may not have one more queue.
    fn check_queue_limit(&self, queue: &str) -> Result<(), ChannelError> {
        let Some((vhost, in_vhost)) = self.topology.vhost(self.who.vhost) else {
            return Ok(());
        };
        match in_vhost.limits.max_queues {
            Some(limit) if in_vhost.routing.queue_count() as u64 >= limit => Err(ChannelCode::PreconditionFailed
                .error(format!(
                    "cannot declare queue '{queue}': queue limit in vhost '{vhost}' ({limit}) is reached"
                ))),
            _ => Ok(()),
        }
    }

    /// A declare without `x-queue-type` asks for the type that is the virtual host's default, else the broker's, where that can be: durable, not
    /// exclusive, not auto-delete (RabbitMQ).
    fn with_default_type(&self, command: &Command) -> Option<Command> {
        let Command::QueueDeclare { durable: true, exclusive: false, auto_delete: false, arguments, .. } = command
        else {
            return None;
        };
        let (_, vhost) = self.topology.vhost(self.who.vhost)?;
        let of_vhost = vhost.definition.default_queue_type.as_deref();
        let kind = of_vhost.unwrap_or_else(|| self.topology.default_queue_type.name());
        if kind == QueueType::Classic.name() {
            return None;
        }
        if QueueType::from_name(kind).is_none() || arguments.inner().contains_key("x-queue-type") {
            return None;
        }
        let mut command = command.clone();
        if let Command::QueueDeclare { arguments, .. } = &mut command {
            arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
        }
        Some(command)
    }

    fn check_equivalent(
        &self,
        row: &QueueRow,
        resource: Resource<'_>,
        command: &Command,
    ) -> Result<(), ChannelError> {
        let Command::QueueDeclare { durable, exclusive, auto_delete, arguments, .. } = command else {
            return Ok(());
        };
        // An exclusive queue is its connection's alone, and stays what it is.
        let mine = row.owner == Some(self.who.owner());
        if (row.owner.is_some() && !mine) || *exclusive != row.owner.is_some() {
            return Err(locked(resource));
        }
        // An exclusive queue never is durable, whatever the declare says (RabbitMQ).
        check_field(resource, "durable", row.durable, *durable && !exclusive)?;
        check_field(resource, "auto_delete", row.auto_delete, *auto_delete)?;
        let none = FieldTable::default();
        settings::check_equivalent(resource, row.kind, row.arguments.as_deref().unwrap_or(&none), arguments)
    }

    /// What a queue that does not exist yet may be, in RabbitMQ's order: its name from the server, the permissions for its dead-letter exchange, the arguments, the
    /// properties.
    fn check_new_queue(&self, resource: Resource<'_>, command: &Command) -> Result<QueueType, ChannelError> {
        const DEAD_LETTER_EXCHANGE: &str = "x-dead-letter-exchange";
        let Command::QueueDeclare { generated, durable, exclusive, auto_delete, arguments, .. } = command else {
            return Ok(QueueType::default());
        };
        if let Some(kind) = QueueType::of(arguments).filter(|kind| *generated && *kind != QueueType::Classic) {
            let text = format!("Cannot declare a server-named queue for type {}", kind.module());
            return Err(ChannelCode::PreconditionFailed.error(text));
        }
        match arguments.inner().get(DEAD_LETTER_EXCHANGE) {
            None => {}
            Some(AMQPValue::LongString(exchange)) => {
                self.permit(Access::Read, resource)?;
                self.permit(Access::Write, self.exchange(&String::from_utf8_lossy(exchange.as_bytes())))?;
            }
            Some(value) => {
                let kind = type_name(value);
                let text = format!("invalid type '{kind}' for arg '{DEAD_LETTER_EXCHANGE}' in {resource}");
                return Err(ChannelCode::PreconditionFailed.error(text));
            }
        }
        let kind = settings::check_arguments(resource, arguments)?;
        settings::check_properties(resource, kind, arguments, *durable, *exclusive, *auto_delete)?;
        Ok(kind)
    }

    fn counts(&self, id: QueueId, row: &QueueRow) -> Plan {
        let queue = QueueRef { queue: id, shard: self.placement.shard_of(row.partition) };
        Plan::Counts { queue, name: Arc::clone(&row.name) }
    }

    /// A queue that must exist (404) and not be exclusive to another connection (405).
    fn use_queue(&self, name: &str) -> Planned {
        let resource = self.queue(name);
        let found = self.topology.find_queue(self.who.vhost, name);
        let (id, row) = found.ok_or_else(|| resource.not_found())?;
        self.check_unlocked(row, resource)?;
        Ok(self.counts(id, row))
    }

    fn check_unlocked(&self, row: &QueueRow, resource: Resource<'_>) -> Result<(), ChannelError> {
        match row.owner {
            Some(owner) if owner != self.who.owner() => Err(locked(resource)),
            _ => Ok(()),
        }
    }

    /// The checks that bind and unbind share: write on the destination, read on the source, the destination there and
    /// not exclusive to another connection.
    fn check_ends(&self, binding: &BindingDefinition, missing: Missing) -> Result<(), ChannelError> {
        let destination = match binding.destination_kind {
            ResourceKind::Queue => self.queue(&binding.destination),
            ResourceKind::Exchange => self.exchange(&binding.destination),
        };
        check_not_default(&binding.source)?;
        if binding.destination_kind == ResourceKind::Exchange {
            check_not_default(&binding.destination)?;
        }
        self.permit(Access::Write, destination)?;
        self.permit(Access::Read, self.exchange(&binding.source))?;
        let Who { user, vhost, .. } = self.who;
        self.topology.check_topic(user, vhost, Access::Read, &binding.source, &binding.routing_key)?;
        match binding.destination_kind {
            ResourceKind::Queue => match self.topology.find_queue(self.who.vhost, &binding.destination) {
                Some((_, row)) => self.check_unlocked(row, destination)?,
                None => missing.check(destination)?,
            },
            ResourceKind::Exchange => {
                if self.topology.find_exchange(self.who.vhost, &binding.destination).is_none() {
                    missing.check(destination)?;
                }
            }
        }
        Ok(())
    }

    fn bind(&self, binding: BindingDefinition, answer: Answer) -> Planned {
        self.check_ends(&binding, Missing::Refused)?;
        let source = self.exchange(&binding.source);
        let found = self.topology.find_exchange(self.who.vhost, &binding.source);
        let (_, exchange) = found.ok_or_else(|| source.not_found())?;
        exchange.check_binding(&binding)?;
        self.check_destination(exchange, &binding)?;
        if self.is_bound(&binding) {
            return Ok(Plan::Done(answer));
        }
        let changes = vec![Change::Bound { vhost: Arc::clone(self.who.vhost), binding }];
        Ok(Plan::Change { changes, answer })
    }

    /// 406, with RabbitMQ's text, for a queue that is no place for what an `x-local-random` exchange gives out.
    fn check_destination(
        &self,
        source: &ExchangeDefinition,
        binding: &BindingDefinition,
    ) -> Result<(), ChannelError> {
        if source.routing_type() != ExchangeType::LocalRandom || binding.destination_kind != ResourceKind::Queue {
            return Ok(());
        }
        match self.topology.find_queue(self.who.vhost, &binding.destination) {
            Some((_, row)) if row.kind != QueueType::Classic => {
                let text = format!("Queue type {} not valid for this exchange type", row.kind.module());
                Err(ChannelCode::PreconditionFailed.error(text))
            }
            _ => Ok(()),
        }
    }

    /// What is not there is not bound: as in RabbitMQ a missing queue or exchange is no error.
    fn unbind(&self, binding: BindingDefinition, answer: Answer) -> Planned {
        self.check_ends(&binding, Missing::Ignored)?;
        if !self.is_bound(&binding) {
            return Ok(Plan::Done(answer));
        }
        let changes = vec![Change::Unbound { vhost: Arc::clone(self.who.vhost), binding }];
        Ok(Plan::Change { changes, answer })
    }

    fn is_bound(&self, binding: &BindingDefinition) -> bool {
        let Some((_, vhost)) = self.topology.vhost(self.who.vhost) else {
            return false;
        };
        ends_of(&vhost.routing, binding).is_some_and(|(source, destination)| {
            vhost.routing.is_bound(source, destination, &binding.routing_key, &binding.arguments)
        })
    }
}

/// 405, for every use of a queue that is exclusive to another connection.
fn locked(queue: Resource<'_>) -> ChannelError {
    ChannelCode::ResourceLocked.error(format!(
        "cannot obtain exclusive access to locked {queue}. It could be originally declared on another connection or the \
         exclusive property value does not match that of the original declaration."
    ))
}

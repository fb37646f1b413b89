//! What exists, as every shard knows it: virtual hosts, exchanges, bindings, queues and where they are, users and permissions.
//!
//! A [`Topology`] changes only by [`Change`]s, which every shard applies in the registrar's order, so all copies go
//! through the same states. Each application gives a new version, by which what was derived from it (routes that
//! publishers remember) is known to be out of date.

use std::collections::BTreeMap;
use std::sync::Arc;

use amq_protocol::types::FieldTable;
use broker_store::{PartitionId, QueueId};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::admin::{Definition, DefinitionKey};
use crate::error::{AmqpError, ChannelCode, ChannelError};
use crate::ids::{ConnectionKey, ShardId};
use crate::model::binding::{BindingDefinition, Destination};
use crate::model::exchange::{ExchangeDefinition, ExchangeId, ExchangeType};
use crate::model::field_table;
use crate::model::limits::{UserLimits, VhostLimits};
use crate::model::parameter::{GlobalParameterDefinition, ParameterDefinition};
use crate::model::permission::{Access, Permissions};
use crate::model::policy::{Applicable, EffectivePolicy, Policies};
use crate::model::queue::settings::QueueType;
use crate::model::routing::{Removed, Routable, Route, RoutingTable};
use crate::model::user::UserDefinition;
use crate::model::vhost::{Resource, ResourceKind, VhostDefinition};

/// A queue as the catalog stores it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct QueueDefinition {
    /// Its number.
    pub id: u64,
    /// Its virtual host.
    pub vhost: String,
    /// Its name.
    pub name: String,
    /// It survives a restart.
    pub durable: bool,
    /// It is deleted when its last consumer has gone.
    pub auto_delete: bool,
    /// Its type.
    #[serde(default)]
    pub kind: QueueType,
    /// The arguments of the declare.
    #[serde(with = "field_table::exact")]
    pub arguments: FieldTable,
    /// It delivers nothing to consumers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
}

/// The connection that an exclusive queue belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    /// Its shard.
    pub shard: ShardId,
    /// The connection.
    pub connection: ConnectionKey,
}

/// A queue as all shards know it.
#[derive(Debug)]
pub(super) struct QueueRow {
    /// Its virtual host.
    pub vhost: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Where it is stored.
    pub partition: PartitionId,
    /// It survives a restart.
    pub durable: bool,
    /// It is deleted when its last consumer has gone.
    pub auto_delete: bool,
    /// Its type.
    pub kind: QueueType,
    /// The connection that it is exclusive to.
    pub owner: Option<Owner>,
    /// The arguments of the declare; most queues have none.
    pub arguments: Option<Box<FieldTable>>,
    /// What policies say; most queues have none.
    pub policy: Option<Arc<EffectivePolicy>>,
    /// It delivers nothing to consumers.
    pub paused: bool,
}

/// The store of an exchange, which is in the log as a queue is.
#[derive(Debug)]
pub(super) struct StoreRow {
    /// The virtual host of the exchange.
    pub vhost: Arc<str>,
    /// Name of the exchange; the store is in the partition that a queue of this name would be in.
    pub exchange: Arc<str>,
    /// The exchange survives a restart.
    pub durable: bool,
    /// The exchange holds back what is not due.
    pub delays: bool,
}

/// One step from a topology to the next.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Put(Definition),
    /// Of a virtual host or user whose queues, exchanges and permissions have been removed by changes before it.
    Delete(DefinitionKey),
    ExchangeDeclared {
        vhost: Arc<str>,
        definition: ExchangeDefinition,
    },
    /// A policy wants an exchange to hold messages back: this is where.
    ExchangeStored {
        vhost: Arc<str>,
        name: Arc<str>,
        store: u64,
    },
    ExchangeDeleted {
        vhost: Arc<str>,
        name: Arc<str>,
    },
    QueueDeclared {
        definition: QueueDefinition,
        partition: PartitionId,
        owner: Option<Owner>,
    },
    QueueDeleted {
        queue: QueueId,
    },
    QueuePaused {
        queue: QueueId,
        paused: bool,
    },
    Bound {
        vhost: Arc<str>,
        binding: BindingDefinition,
    },
    Unbound {
        vhost: Arc<str>,
        binding: BindingDefinition,
    },
}

/// What else an applied change did.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Bindings and auto-delete exchanges that went with what was removed.
    pub removed: Removed,
    /// The row of a deleted queue.
    pub queue: Option<QueueRow>,
    /// Queues for which other policies hold now.
    pub policy_changed: Vec<QueueId>,
    /// What the catalog is to hold of a queue from now on.
    pub redefined: Option<QueueDefinition>,
    /// The same of an exchange.
    pub redefined_exchange: Option<Arc<ExchangeDefinition>>,
}

/// A virtual host and what is in it.
#[derive(Debug)]
pub(super) struct Vhost {
    /// What it was made with.
    pub definition: VhostDefinition,
    /// Its limits.
    pub limits: VhostLimits,
    /// Its policies.
    pub policies: Policies,
    /// Its parameters, by component and name.
    pub parameters: BTreeMap<(String, String), ParameterDefinition>,
    /// Its exchanges, queue names and bindings.
    pub routing: RoutingTable,
}

/// One shard's copy of the topology.
#[derive(Debug, Default)]
pub(super) struct Topology {
    version: u64,
    pub(super) vhosts: FxHashMap<Arc<str>, Vhost>,
    pub(super) users: FxHashMap<Arc<str>, UserDefinition>,
    pub(super) user_limits: FxHashMap<Arc<str>, UserLimits>,
    pub(super) global_parameters: BTreeMap<String, GlobalParameterDefinition>,
    pub(super) permissions: Permissions,
    /// Of queues that are declared without a type, where the virtual host has no default of its own.
    pub(super) default_queue_type: QueueType,
    pub(super) queues: FxHashMap<QueueId, QueueRow>,
    stores: FxHashMap<QueueId, StoreRow>,
    exclusive: FxHashMap<Owner, Vec<QueueId>>,
    route: Route,
}

impl Topology {
    /// Rises with each change.
    #[must_use]
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// A virtual host, with its name as it is shared.
    #[must_use]
    pub(super) fn vhost(&self, name: &str) -> Option<(&Arc<str>, &Vhost)> {
        self.vhosts.get_key_value(name)
    }

    /// A user, with its name as it is shared.
    #[must_use]
    pub(super) fn user(&self, name: &str) -> Option<(&Arc<str>, &UserDefinition)> {
        self.users.get_key_value(name)
    }

    /// Number of users.
    #[must_use]
    pub(super) fn user_count(&self) -> usize {
        self.users.len()
    }

    /// Number of virtual hosts.
    #[must_use]
    pub(super) fn vhost_count(&self) -> usize {
        self.vhosts.len()
    }

    /// Who may do what.
    #[must_use]
    pub(super) fn permissions(&self) -> &Permissions {
        &self.permissions
    }

    /// A queue.
    #[must_use]
    pub(super) fn queue(&self, queue: QueueId) -> Option<&QueueRow> {
        self.queues.get(&queue)
    }

    /// The store of an exchange.
    #[must_use]
    pub(super) fn store(&self, store: QueueId) -> Option<&StoreRow> {
        self.stores.get(&store)
    }

    /// A queue by name.
    #[must_use]
    pub(super) fn find_queue(&self, vhost: &str, name: &str) -> Option<(QueueId, &QueueRow)> {
        let id = self.vhosts.get(vhost)?.routing.queue(name)?;
        Some((id, self.queues.get(&id)?))
    }

    /// An exchange by name.
    #[must_use]
    pub(super) fn find_exchange(&self, vhost: &str, name: &str) -> Option<(ExchangeId, &ExchangeDefinition)> {
        let routing = &self.vhosts.get(vhost)?.routing;
        let id = routing.exchange(name)?;
        Some((id, routing.exchange_definition(id)))
    }

    /// The exclusive queues of a connection.
    #[must_use]
    pub(super) fn exclusive_queues(&self, shard: ShardId, connection: ConnectionKey) -> Vec<QueueId> {
        self.exclusive.get(&Owner { shard, connection }).cloned().unwrap_or_default()
    }

    /// Whether a user may publish to an exchange: it exists (404), is not internal and the user may write to it (403).
    ///
    /// # Errors
    /// As RabbitMQ checks them: existence, permission, internal.
    pub(super) fn may_publish(&self, user: &str, vhost: &str, exchange: &str) -> Result<(), ChannelError> {
        let resource = Resource::exchange(vhost, exchange);
        self.permissions.check(user, Access::Write, resource)?;
        let (_, definition) = self.find_exchange(vhost, exchange).ok_or_else(|| resource.not_found())?;
        if definition.internal {
            let text = format!("cannot publish to internal {resource}");
            return Err(ChannelCode::AccessRefused.error(text));
        }
        Ok(())
    }

    /// 403 if topic permissions forbid the user the routing key. They are asked for at topic exchanges only.
    pub(super) fn check_topic(
        &self,
        user: &str,
        vhost: &str,
        access: Access,
        exchange: &str,
        routing_key: &str,
    ) -> Result<(), ChannelError> {
        if !self.permissions.has_topics() {
            return Ok(());
        }
        match self.find_exchange(vhost, exchange) {
            Some((_, definition)) if definition.kind == ExchangeType::Topic => {
                self.permissions.check_topic(user, vhost, access, exchange, routing_key)
            }
            _ => Ok(()),
        }
    }

    /// Whether a user may publish messages with somebody else's `user_id` (RabbitMQ's `impersonator` tag).
    #[must_use]
    pub(super) fn may_impersonate(&self, user: &str) -> bool {
        self.users.get(user).is_some_and(|user| user.has_tag("impersonator"))
    }

    /// Finds the way of a message.
    ///
    /// # Errors
    /// 404 if the exchange does not exist.
    pub(super) fn route(
        &mut self,
        vhost: &str,
        exchange: &str,
        message: &Routable<'_>,
    ) -> Result<&Route, AmqpError> {
        let missing = || Resource::exchange(vhost, exchange).not_found();
        let routing = &self.vhosts.get(vhost).ok_or_else(missing)?.routing;
        let exchange = routing.exchange(exchange).ok_or_else(missing)?;
        routing.route(exchange, message, &mut self.route);
        Ok(&self.route)
    }

    /// Applies a change.
    pub(super) fn apply(&mut self, change: &Change) -> Applied {
        self.version += 1;
        let applied = self.apply_change(change);
        for exchange in &applied.removed.exchanges {
            if let Some(store) = exchange.store {
                self.stores.remove(&QueueId(store));
            }
        }
        applied
    }

    fn apply_change(&mut self, change: &Change) -> Applied {
        match change {
            Change::Put(definition) => return self.put(definition),
            Change::Delete(key) => return self.delete(key),
            Change::ExchangeDeclared { vhost, definition } => {
                self.add_exchange(vhost, definition);
            }
            Change::ExchangeStored { vhost, name, store } => return self.store_exchange(vhost, name, *store),
            Change::ExchangeDeleted { vhost, name } => return self.delete_exchange(vhost, name),
            Change::QueueDeclared { definition, partition, owner } => {
                self.declare_queue(definition, *partition, *owner);
            }
            Change::QueueDeleted { queue } => return self.delete_queue(*queue),
            Change::QueuePaused { queue, paused } => return self.pause_queue(*queue, *paused),
            Change::Bound { vhost, binding } => self.bind(vhost, binding),
            Change::Unbound { vhost, binding } => return self.unbind(vhost, binding),
        }
        Applied::default()
    }

    fn add_exchange(&mut self, vhost: &Arc<str>, definition: &ExchangeDefinition) {
        let Some(in_vhost) = self.vhosts.get_mut(vhost) else {
            return;
        };
        let exchange = in_vhost.routing.add_exchange(definition.clone());
        let policy = in_vhost.policies.effective(&definition.name, Applicable::Exchange);
        in_vhost.routing.set_policy(exchange, policy);
        if let Some(store) = definition.store {
            let delays = in_vhost.routing.delays(exchange);
            let exchange = definition.name.as_str().into();
            let row = StoreRow { vhost: Arc::clone(vhost), exchange, durable: definition.durable, delays };
            self.stores.insert(QueueId(store), row);
        }
    }

    fn store_exchange(&mut self, vhost: &Arc<str>, name: &Arc<str>, store: u64) -> Applied {
        let Some(in_vhost) = self.vhosts.get_mut(vhost) else {
            return Applied::default();
        };
        let exchange = in_vhost.routing.exchange(name);
        let redefined_exchange = exchange.and_then(|exchange| in_vhost.routing.set_store(exchange, store));
        if let Some(definition) = &redefined_exchange {
            let (vhost, exchange) = (Arc::clone(vhost), Arc::clone(name));
            let row = StoreRow { vhost, exchange, durable: definition.durable, delays: true };
            self.stores.insert(QueueId(store), row);
        }
        Applied { redefined_exchange, ..Applied::default() }
    }

    /// True if a policy has an exchange that is about to be declared hold messages back.
    pub(super) fn is_delayed_by_policy(&mut self, vhost: &str, definition: &ExchangeDefinition) -> bool {
        let policies = self.vhosts.get_mut(vhost).map(|vhost| &mut vhost.policies);
        let effective = policies.and_then(|policies| policies.effective(&definition.name, Applicable::Exchange));
        effective.is_some_and(|policy| definition.is_delayed_by(&policy))
    }

    /// Finds anew which of the exchanges of a virtual host hold messages back.
    pub(super) fn delays_changed(&mut self, vhost: &str) {
        let Some(in_vhost) = self.vhosts.get(vhost) else {
            return;
        };
        for row in self.stores.values_mut().filter(|row| &*row.vhost == vhost) {
            let exchange = in_vhost.routing.exchange(&row.exchange);
            row.delays = exchange.is_some_and(|exchange| in_vhost.routing.delays(exchange));
        }
    }

    fn delete_exchange(&mut self, vhost: &str, name: &str) -> Applied {
        let Some(vhost) = self.vhosts.get_mut(vhost) else {
            return Applied::default();
        };
        let Some(exchange) = vhost.routing.exchange(name) else {
            return Applied::default();
        };
        Applied { removed: vhost.routing.remove_exchange(exchange), ..Applied::default() }
    }

    fn declare_queue(&mut self, definition: &QueueDefinition, partition: PartitionId, owner: Option<Owner>) {
        let Some((vhost_name, _)) = self.vhosts.get_key_value(definition.vhost.as_str()) else {
            return;
        };
        let vhost_name = Arc::clone(vhost_name);
        let id = QueueId(definition.id);
        let name: Arc<str> = definition.name.as_str().into();
        let mut policy = None;
        if let Some(vhost) = self.vhosts.get_mut(&vhost_name) {
            vhost.routing.add_queue(id, Arc::clone(&name));
            policy = vhost.policies.effective(&name, Applicable::Queue(definition.kind));
        }
        if let Some(owner) = owner {
            self.exclusive.entry(owner).or_default().push(id);
        }
        let arguments = &definition.arguments;
        let arguments = (!arguments.inner().is_empty()).then(|| Box::new(arguments.clone()));
        let QueueDefinition { durable, auto_delete, kind, paused, .. } = *definition;
        let vhost = vhost_name;
        let row =
            QueueRow { vhost, name, partition, durable, auto_delete, kind, owner, arguments, policy, paused };
        self.queues.insert(id, row);
    }

    fn pause_queue(&mut self, queue: QueueId, paused: bool) -> Applied {
        let redefined = self.queues.get_mut(&queue).map(|row| {
            row.paused = paused;
            QueueDefinition {
                id: queue.0,
                vhost: row.vhost.to_string(),
                name: row.name.to_string(),
                durable: row.durable,
                auto_delete: row.auto_delete,
                kind: row.kind,
                arguments: row.arguments.as_deref().cloned().unwrap_or_default(),
                paused,
            }
        });
        Applied { redefined, ..Applied::default() }
    }

    fn delete_queue(&mut self, queue: QueueId) -> Applied {
        let Some(row) = self.queues.remove(&queue) else {
            return Applied::default();
        };
        if let Some(owner) = row.owner
            && let Some(owned) = self.exclusive.get_mut(&owner)
        {
            owned.retain(|other| *other != queue);
            if owned.is_empty() {
                self.exclusive.remove(&owner);
            }
        }
        let removed = self.vhosts.get_mut(&row.vhost).map(|vhost| vhost.routing.remove_queue(queue));
        Applied { removed: removed.unwrap_or_default(), queue: Some(row), ..Applied::default() }
    }

    fn bind(&mut self, vhost: &str, binding: &BindingDefinition) {
        let Some(vhost) = self.vhosts.get_mut(vhost) else {
            return;
        };
        if let Some((source, destination)) = ends_of(&vhost.routing, binding) {
            vhost.routing.bind(source, destination, &binding.routing_key, &binding.arguments);
        }
    }

    fn unbind(&mut self, vhost: &str, binding: &BindingDefinition) -> Applied {
        let Some(vhost) = self.vhosts.get_mut(vhost) else {
            return Applied::default();
        };
        let Some((source, destination)) = ends_of(&vhost.routing, binding) else {
            return Applied::default();
        };
        let removed = vhost.routing.unbind(source, destination, &binding.routing_key, &binding.arguments);
        Applied { removed: removed.unwrap_or_default(), ..Applied::default() }
    }

    /// True if a binding is made to survive a restart: both its ends are.
    #[must_use]
    pub(super) fn is_durable_binding(&self, vhost: &str, binding: &BindingDefinition) -> bool {
        let source = self.find_exchange(vhost, &binding.source).is_some_and(|(_, exchange)| exchange.durable);
        let destination = match binding.destination_kind {
            ResourceKind::Queue => {
                self.find_queue(vhost, &binding.destination).is_some_and(|(_, queue)| queue.durable)
            }
            ResourceKind::Exchange => {
                self.find_exchange(vhost, &binding.destination).is_some_and(|(_, exchange)| exchange.durable)
            }
        };
        source && destination
    }
}

/// The ends of a binding, if both exist.
pub(super) fn ends_of(routing: &RoutingTable, binding: &BindingDefinition) -> Option<(ExchangeId, Destination)> {
    let destination = match binding.destination_kind {
        ResourceKind::Queue => Destination::Queue(routing.queue(&binding.destination)?),
        ResourceKind::Exchange => Destination::Exchange(routing.exchange(&binding.destination)?),
    };
    Some((routing.exchange(&binding.source)?, destination))
}

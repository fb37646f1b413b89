//! The topology in the catalog: one row for each durable thing, its key the names that identify it, its value
//! its definition as JSON.

use std::sync::Arc;

use broker_store::{Change as CatalogChange, QueueId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::placement::Placement;
use super::topology::{Applied, Change, QueueDefinition, Topology};
use crate::admin::{Definition, DefinitionKey};
use crate::model::binding::BindingDefinition;
use crate::model::vhost::ResourceKind;

const VHOST: &str = "vhost";
const USER: &str = "user";
const PERMISSION: &str = "permission";
const TOPIC_PERMISSION: &str = "topic_permission";
const POLICY: &str = "policy";
const OPERATOR_POLICY: &str = "operator_policy";
const PARAMETER: &str = "parameter";
const GLOBAL_PARAMETER: &str = "global_parameter";
const VHOST_LIMITS: &str = "vhost_limits";
const USER_LIMITS: &str = "user_limits";
const EXCHANGE: &str = "exchange";
const QUEUE: &str = "queue";
const BINDING: &str = "binding";
const META: &str = "meta";

/// Key in [`META`] of the first queue number that was not reserved yet.
const NEXT_QUEUE_ID: &str = "next_queue_id";

/// Queue numbers that are reserved at a time.
const RESERVED_QUEUE_IDS: u64 = 65_536;

/// Gives out queue numbers, none twice in the life of the data directory: records of a deleted queue may still be in a log.
///
/// Numbers are reserved in the catalog in blocks, by the durable queues that need them. A transient queue leaves no record in
/// a durable log, so its number need not be reserved.
#[derive(Debug)]
pub(super) struct QueueIds {
    next: u64,
    reserved: u64,
}

impl Default for QueueIds {
    fn default() -> Self {
        Self { next: 1, reserved: 1 }
    }
}

impl QueueIds {
    /// The next number, and a row if numbers must be reserved.
    ///
    /// # Panics
    /// After 2^40 queues: at a thousand a second that is thirty-five years.
    pub(super) fn next(&mut self, durable: bool, rows: &mut Vec<CatalogChange>) -> u64 {
        let id = self.next;
        assert!(id < QueueId::END, "numbers of queues have run out");
        self.next += 1;
        if durable && id >= self.reserved {
            self.reserved = id + RESERVED_QUEUE_IDS;
            rows.push(put(META, &[NEXT_QUEUE_ID], &self.reserved));
        }
        id
    }
}

/// What a catalog holds.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// The topology, as the changes that make it.
    pub(super) changes: Vec<Change>,
    /// Where queue numbers go on.
    pub(super) queue_ids: QueueIds,
}

/// A row that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the catalog's {kind} '{key}' cannot be read: {reason}")]
pub(super) struct BadRow {
    kind: String,
    key: String,
    reason: String,
}

/// Reads rows, in any order, into the changes that make the topology, in the order in which they can be applied.
#[derive(Debug, Default)]
pub(super) struct Loader {
    /// By rank: virtual hosts and users before what refers to them, policies before what they apply to, bindings last.
    ranked: [Vec<Change>; 4],
    queue_ids: QueueIds,
}

impl Loader {
    pub(super) fn row(
        &mut self,
        placement: Placement,
        kind: &str,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), BadRow> {
        let bad = |reason: String| BadRow {
            kind: kind.to_owned(),
            key: String::from_utf8_lossy(key).replace('\0', "/"),
            reason,
        };
        let vhost = || Arc::from(String::from_utf8_lossy(key.split(|byte| *byte == 0).next().unwrap_or_default()));
        let (rank, change) = match kind {
            VHOST => (0, Change::Put(Definition::Vhost(parse(value).map_err(bad)?))),
            USER => (0, Change::Put(Definition::User(parse(value).map_err(bad)?))),
            PERMISSION => (1, Change::Put(Definition::Permission(parse(value).map_err(bad)?))),
            TOPIC_PERMISSION => (1, Change::Put(Definition::TopicPermission(parse(value).map_err(bad)?))),
            POLICY => (1, Change::Put(Definition::Policy(parse(value).map_err(bad)?))),
            OPERATOR_POLICY => (1, Change::Put(Definition::OperatorPolicy(parse(value).map_err(bad)?))),
            PARAMETER => (1, Change::Put(Definition::Parameter(parse(value).map_err(bad)?))),
            GLOBAL_PARAMETER => (1, Change::Put(Definition::GlobalParameter(parse(value).map_err(bad)?))),
            VHOST_LIMITS => (1, Change::Put(Definition::VhostLimits(parse(value).map_err(bad)?))),
            USER_LIMITS => (1, Change::Put(Definition::UserLimits(parse(value).map_err(bad)?))),
            EXCHANGE => (2, Change::ExchangeDeclared { vhost: vhost(), definition: parse(value).map_err(bad)? }),
            QUEUE => {
                let definition: QueueDefinition = parse(value).map_err(bad)?;
                let partition = placement.partition_of(&definition.vhost, &definition.name);
                (2, Change::QueueDeclared { definition, partition, owner: None })
            }
            BINDING => (3, Change::Bound { vhost: vhost(), binding: parse(value).map_err(bad)? }),
            META => {
                let next = parse(value).map_err(bad)?;
                self.queue_ids = QueueIds { next, reserved: next };
                return Ok(());
            }
            other => return Err(bad(format!("unknown kind {other}"))),
        };
        self.ranked[rank].push(change);
        Ok(())
    }

    pub(super) fn finish(self) -> Loaded {
        Loaded { changes: self.ranked.into_iter().flatten().collect(), queue_ids: self.queue_ids }
    }
}

/// True if a change that is about to be applied makes or removes something durable.
pub(super) fn is_durable(topology: &Topology, change: &Change) -> bool {
    match change {
        Change::Put(_) | Change::Delete(_) => true,
        Change::ExchangeDeclared { definition, .. } => definition.durable,
        Change::QueueDeclared { definition, owner, .. } => definition.durable && owner.is_none(),
        Change::Bound { vhost, binding } | Change::Unbound { vhost, binding } => {
            topology.is_durable_binding(vhost, binding)
        }
        Change::ExchangeDeleted { vhost, name } | Change::ExchangeStored { vhost, name, .. } => {
            topology.find_exchange(vhost, name).is_some_and(|(_, exchange)| exchange.durable)
        }
        Change::QueueDeleted { queue } | Change::QueuePaused { queue, .. } => {
            topology.queue(*queue).is_some_and(|row| row.durable && row.owner.is_none())
        }
    }
}

/// The rows that a change puts and deletes; `durable` as [`is_durable`] saw it.
pub(super) fn write_rows(change: &Change, applied: &Applied, durable: bool, rows: &mut Vec<CatalogChange>) {
    if durable {
        match change {
            Change::Put(definition) => rows.push(put_definition(definition)),
            Change::Delete(key) => {
                let (kind, key) = row_key(key);
                rows.push(CatalogChange::Delete { kind, key });
            }
            Change::ExchangeDeclared { vhost, definition } => {
                rows.push(put(EXCHANGE, &[vhost, &definition.name], definition));
            }
            Change::QueueDeclared { definition, .. } => {
                rows.push(put(QUEUE, &[&definition.vhost, &definition.name], definition));
            }
            Change::Bound { vhost, binding } => rows.push(put_binding(vhost, binding)),
            Change::QueueDeleted { .. } => {
                if let Some(row) = &applied.queue {
                    rows.push(delete(QUEUE, &[&row.vhost, &row.name]));
                }
            }
            Change::ExchangeStored { vhost, name, .. } => {
                if let Some(definition) = &applied.redefined_exchange {
                    rows.push(put(EXCHANGE, &[vhost, name], &**definition));
                }
            }
            Change::QueuePaused { .. } => {
                if let Some(definition) = &applied.redefined {
                    rows.push(put(QUEUE, &[&definition.vhost, &definition.name], definition));
                }
            }
            Change::ExchangeDeleted { .. } | Change::Unbound { .. } => {}
        }
    }
    let vhost = match change {
        Change::ExchangeDeleted { vhost, .. } | Change::Unbound { vhost, .. } => vhost,
        Change::QueueDeleted { .. } => match &applied.queue {
            Some(row) => &row.vhost,
            None => return,
        },
        _ => return,
    };
    for exchange in applied.removed.exchanges.iter().filter(|exchange| exchange.durable) {
        rows.push(delete(EXCHANGE, &[vhost, &exchange.name]));
    }
    for binding in &applied.removed.bindings {
        rows.push(CatalogChange::Delete { kind: BINDING, key: binding_key(vhost, binding) });
    }
}

fn put_definition(definition: &Definition) -> CatalogChange {
    let (kind, key) = row_key(&definition.key());
    let value = match definition {
        Definition::Vhost(value) => json(value),
        Definition::User(value) => json(value),
        Definition::Permission(value) => json(value),
        Definition::TopicPermission(value) => json(value),
        Definition::Policy(value) | Definition::OperatorPolicy(value) => json(value),
        Definition::Parameter(value) => json(value),
        Definition::GlobalParameter(value) => json(value),
        Definition::VhostLimits(value) => json(value),
        Definition::UserLimits(value) => json(value),
    };
    CatalogChange::Put { kind, key, value }
}

/// Kind and key of the row of a definition.
fn row_key(key: &DefinitionKey) -> (&'static str, Vec<u8>) {
    match key {
        DefinitionKey::Vhost { name } => (VHOST, key_of(&[name])),
        DefinitionKey::User { name } => (USER, key_of(&[name])),
        DefinitionKey::Permission { user, vhost } => (PERMISSION, key_of(&[vhost, user])),
        DefinitionKey::TopicPermission { user, vhost, exchange } => {
            (TOPIC_PERMISSION, key_of(&[vhost, user, exchange]))
        }
        DefinitionKey::Policy { vhost, name } => (POLICY, key_of(&[vhost, name])),
        DefinitionKey::OperatorPolicy { vhost, name } => (OPERATOR_POLICY, key_of(&[vhost, name])),
        DefinitionKey::Parameter { vhost, component, name } => (PARAMETER, key_of(&[vhost, component, name])),
        DefinitionKey::GlobalParameter { name } => (GLOBAL_PARAMETER, key_of(&[name])),
        DefinitionKey::VhostLimits { vhost } => (VHOST_LIMITS, key_of(&[vhost])),
        DefinitionKey::UserLimits { user } => (USER_LIMITS, key_of(&[user])),
    }
}

fn put_binding(vhost: &str, binding: &BindingDefinition) -> CatalogChange {
    CatalogChange::Put { kind: BINDING, key: binding_key(vhost, binding), value: json(binding) }
}

fn binding_key(vhost: &str, binding: &BindingDefinition) -> Vec<u8> {
    let kind = match binding.destination_kind {
        ResourceKind::Queue => "q",
        ResourceKind::Exchange => "e",
    };
    let mut key = key_of(&[vhost, &binding.source, kind, &binding.destination, &binding.routing_key]);
    if !binding.arguments.inner().is_empty() {
        // The definition has the arguments in a form that is the same for equal arguments.
        key.push(0);
        key.extend(json(binding));
    }
    key
}

fn put(kind: &'static str, names: &[&str], value: &impl Serialize) -> CatalogChange {
    CatalogChange::Put { kind, key: key_of(names), value: json(value) }
}

fn delete(kind: &'static str, names: &[&str]) -> CatalogChange {
    CatalogChange::Delete { kind, key: key_of(names) }
}

fn key_of(names: &[&str]) -> Vec<u8> {
    names.join("\0").into_bytes()
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("definitions have string keys and finite numbers")
}

fn parse<T: DeserializeOwned>(value: &[u8]) -> Result<T, String> {
    serde_json::from_slice(value).map_err(|error| error.to_string())
}

//! Bindings: as definitions, and as the rows that a routing table keeps.
//!
//! A binding is identified by source, destination, routing key and arguments; binding twice is binding once.
//! Every list that holds a binding holds only its `BindingId`, and the binding knows its place in each
//! list, so a removal is a swap-remove: nothing is searched, however many bindings share a queue or a key.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use amq_protocol::types::FieldTable;
use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use serde::{Deserialize, Serialize};
use slab::Slab;

use crate::ids::QueueId;
use crate::model::exchange::ExchangeId;
use crate::model::field_table::{self, EncodedTable};
use crate::model::vhost::ResourceKind;

/// A binding by names, as the catalog stores it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BindingDefinition {
    /// Name of the exchange that messages come from.
    pub source: String,
    /// Name of the queue or exchange that they go to.
    pub destination: String,
    /// Whether `destination` is a queue or an exchange.
    pub destination_kind: ResourceKind,
    /// The routing key.
    pub routing_key: String,
    /// The arguments; the criteria of a binding from a headers exchange.
    #[serde(with = "field_table::exact")]
    pub arguments: FieldTable,
}

/// Where a binding sends messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// To a queue.
    Queue(QueueId),
    /// To another exchange (RabbitMQ's exchange-to-exchange bindings).
    Exchange(ExchangeId),
}

/// A binding inside one routing table. Reused after the binding is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BindingId(u32);

impl BindingId {
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// A binding by ids, with its places in the lists that hold it.
#[derive(Debug)]
pub(crate) struct Binding {
    pub(crate) source: ExchangeId,
    pub(crate) destination: Destination,
    pub(crate) routing_key: Arc<str>,
    pub(crate) arguments: EncodedTable,
    /// Place among the bindings of `source`.
    pub(crate) source_place: u32,
    /// Place among the bindings of `destination`.
    pub(crate) destination_place: u32,
    /// Place in the list of the source's index, for the exchange types that have lists.
    pub(crate) index_place: u32,
}

impl Binding {
    fn is(&self, source: ExchangeId, destination: Destination, key: &str, arguments: &EncodedTable) -> bool {
        self.source == source
            && self.destination == destination
            && *self.routing_key == *key
            && self.arguments == *arguments
    }
}

/// An unordered list of bindings. Most lists have one element, which takes no allocation.
#[derive(Debug, Default)]
pub(crate) enum BindingList {
    #[default]
    Empty,
    One(BindingId),
    Many(Vec<BindingId>),
}

impl BindingList {
    /// Adds a binding and returns its place.
    pub(crate) fn push(&mut self, id: BindingId) -> u32 {
        let place = self.as_slice().len();
        match self {
            Self::Empty => *self = Self::One(id),
            Self::One(first) => *self = Self::Many(vec![*first, id]),
            Self::Many(list) => list.push(id),
        }
        u32::try_from(place).expect("ids are 32 bits wide")
    }

    /// Removes the binding at `place`. The last one takes the place and is returned, to be told.
    pub(crate) fn swap_remove(&mut self, place: u32) -> Option<BindingId> {
        let Self::Many(list) = self else {
            *self = Self::Empty;
            return None;
        };
        let place = place as usize;
        list.swap_remove(place);
        let moved = list.get(place).copied();
        if let [last] = list[..] {
            *self = Self::One(last);
        } else if list.capacity() > 4 * list.len() {
            list.shrink_to(2 * list.len());
        }
        moved
    }

    pub(crate) fn as_slice(&self) -> &[BindingId] {
        match self {
            Self::Empty => &[],
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(list) => list,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

/// Every binding of a routing table, each once.
#[derive(Debug, Default)]
pub(crate) struct BindingSet {
    rows: Slab<Binding>,
    /// Finds a row by what identifies it.
    by_identity: HashTable<BindingId>,
}

impl BindingSet {
    pub(crate) fn find(
        &self,
        source: ExchangeId,
        destination: Destination,
        key: &str,
        arguments: &EncodedTable,
    ) -> Option<BindingId> {
        let hash = identity_hash(source, destination, key, arguments);
        let found = |id: &BindingId| self.rows[id.index()].is(source, destination, key, arguments);
        self.by_identity.find(hash, found).copied()
    }

    /// Adds a row that [`BindingSet::find`] has not found.
    pub(crate) fn insert(&mut self, binding: Binding) -> BindingId {
        let hash = row_hash(&binding);
        let id = BindingId(u32::try_from(self.rows.insert(binding)).expect("memory ends before 2^32 bindings"));
        let rows = &self.rows;
        self.by_identity.insert_unique(hash, id, |other| row_hash(&rows[other.index()]));
        id
    }

    pub(crate) fn remove(&mut self, id: BindingId) -> Binding {
        let binding = self.rows.remove(id.index());
        let entry = self.by_identity.find_entry(row_hash(&binding), |other| *other == id);
        entry.expect("each row is in the table").remove();
        binding
    }

    pub(crate) fn contains(&self, id: BindingId) -> bool {
        self.rows.contains(id.index())
    }

    pub(crate) fn get(&self, id: BindingId) -> &Binding {
        &self.rows[id.index()]
    }

    pub(crate) fn get_mut(&mut self, id: BindingId) -> &mut Binding {
        &mut self.rows[id.index()]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Binding> {
        self.rows.iter().map(|(_, binding)| binding)
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }
}

fn row_hash(binding: &Binding) -> u64 {
    identity_hash(binding.source, binding.destination, &binding.routing_key, &binding.arguments)
}

fn identity_hash(source: ExchangeId, destination: Destination, key: &str, arguments: &EncodedTable) -> u64 {
    FxBuildHasher.hash_one((source, destination, key, arguments))
}

#[cfg(test)]
pub(crate) mod tests {
    use amq_protocol::types::AMQPValue;
    use proptest::prelude::*;

    use super::*;

    /// An id for the tests of the indexes, which only hand ids around.
    pub(crate) fn binding_id(number: u32) -> BindingId {
        BindingId(number)
    }

    fn binding(queue: u64, key: &str, arguments: &FieldTable) -> Binding {
        Binding {
            source: ExchangeId::from_index(0),
            destination: Destination::Queue(QueueId(queue)),
            routing_key: key.into(),
            arguments: EncodedTable::new(arguments),
            source_place: 0,
            destination_place: 0,
            index_place: 0,
        }
    }

    #[test]
    fn arguments_are_part_of_the_identity() {
        let mut set = BindingSet::default();
        let plain = FieldTable::default();
        let mut other = FieldTable::default();
        other.insert("k".into(), AMQPValue::LongInt(1));
        let first = set.insert(binding(1, "k", &plain));
        let second = set.insert(binding(1, "k", &other));
        let row = binding(1, "k", &other);
        assert_eq!(set.find(row.source, row.destination, "k", &row.arguments), Some(second));
        set.remove(second);
        assert_eq!(set.find(row.source, row.destination, "k", &row.arguments), None);
        assert_eq!(set.find(row.source, row.destination, "k", &EncodedTable::new(&plain)), Some(first));
        assert_eq!(set.find(row.source, row.destination, "other", &EncodedTable::new(&plain)), None);
        assert_eq!(set.len(), 1);
    }

    proptest! {
        #[test]
        fn a_list_tells_who_moved(operations in prop::collection::vec((any::<bool>(), any::<u32>()), 0..200)) {
            let mut list = BindingList::default();
            let mut places: Vec<BindingId> = Vec::new();
            let mut next = 0;
            for (add, at) in operations {
                if add || places.is_empty() {
                    prop_assert_eq!(list.push(BindingId(next)) as usize, places.len());
                    places.push(BindingId(next));
                    next += 1;
                } else {
                    let place = at as usize % places.len();
                    places.swap_remove(place);
                    prop_assert_eq!(list.swap_remove(u32::try_from(place).unwrap()), places.get(place).copied());
                }
                prop_assert_eq!(list.as_slice(), &places[..]);
                prop_assert_eq!(list.is_empty(), places.is_empty());
            }
        }
    }

    #[test]
    fn definition_survives_json() {
        let mut arguments = FieldTable::default();
        arguments.insert("x-match".into(), AMQPValue::LongString("any".into()));
        let definition = BindingDefinition {
            source: "x".into(),
            destination: "q".into(),
            destination_kind: ResourceKind::Queue,
            routing_key: "a.#".into(),
            arguments,
        };
        let json = serde_json::to_string(&definition).unwrap();
        assert!(json.contains(r#""destination_kind":"queue""#), "{json}");
        assert_eq!(serde_json::from_str::<BindingDefinition>(&json).unwrap(), definition);
    }
}

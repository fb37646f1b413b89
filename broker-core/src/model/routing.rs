//! The routing table of one virtual host: exchanges, queue names, bindings, and where a message goes.
//!
//! Every shard holds a copy and applies the same changes in the same order. A change costs the same whatever the
//! number of queues and bindings; deleting a queue or an exchange costs as much as it has bindings.
//!
//! **Invariant.** The exchanges [`PREDECLARED`] always exist. The default exchange has no bindings: it finds
//! queues by name.

use std::sync::Arc;

use amq_protocol::types::FieldTable;
use rustc_hash::{FxHashMap, FxHashSet};
use slab::Slab;

use crate::ids::QueueId;
use crate::model::binding::{Binding, BindingDefinition, BindingId, BindingList, BindingSet, Destination};
use crate::model::exchange::{
    ALTERNATE_EXCHANGE, DEFAULT_EXCHANGE, ExchangeDefinition, ExchangeId, ExchangeIndex, ExchangeType, MatchInput,
    NewBinding, PREDECLARED, TopicScratch, hash,
};
use crate::model::field_table::EncodedTable;
use crate::model::policy::EffectivePolicy;
use crate::model::properties::Properties;
use crate::model::vhost::ResourceKind;

/// Exchanges, queue names and bindings of one virtual host.
#[derive(Debug)]
pub struct RoutingTable {
    exchanges: Slab<Exchange>,
    exchanges_by_name: FxHashMap<Arc<str>, ExchangeId>,
    queues: FxHashMap<QueueId, Queue>,
    queues_by_name: FxHashMap<Arc<str>, QueueId>,
    bindings: BindingSet,
}

#[derive(Debug)]
struct Exchange {
    definition: Arc<ExchangeDefinition>,
    index: ExchangeIndex,
    /// The header that messages are known by, of an exchange that takes each message once.
    known_by: Option<Box<str>>,
    /// The bindings from this exchange.
    outgoing: BindingList,
    /// The bindings to this exchange.
    incoming: BindingList,
    /// What policies say.
    policy: Option<Arc<EffectivePolicy>>,
}

impl Exchange {
    /// True if it holds back what is not due. Without a store it cannot.
    fn delays(&self) -> bool {
        self.definition.delays()
            || self.policy.as_ref().is_some_and(|policy| self.definition.is_delayed_by(policy))
    }

    /// Name of the exchange that gets what this one routes nowhere. The declarer's word counts before the policy's.
    fn alternate(&self) -> Option<&str> {
        let of_policy = || self.policy.as_ref()?.definition.get(ALTERNATE_EXCHANGE)?.as_str();
        self.definition.alternate_exchange().or_else(of_policy)
    }
}

#[derive(Debug)]
struct Queue {
    name: Arc<str>,
    /// The bindings to this queue.
    incoming: BindingList,
}

/// What went with an unbind or a delete, the thing deleted itself included if it is an exchange.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Removed {
    /// The bindings.
    pub bindings: Vec<BindingDefinition>,
    /// The exchanges: the one deleted, and those with `auto_delete` that lost their last binding.
    pub exchanges: Vec<Arc<ExchangeDefinition>>,
}

/// What decides where a message goes.
#[derive(Clone, Copy, Debug)]
pub struct Routable<'a> {
    /// Its routing key, and those of its CC and BCC headers.
    pub routing_keys: &'a [&'a str],
    /// Its properties.
    pub properties: &'a Properties<'a>,
    /// When it was published, in milliseconds since the Unix epoch.
    pub published_ms: u64,
    /// The exchange that it is routed from has held it back, or found that it is new: it does so no more.
    pub admitted: bool,
}

/// Where a message goes. Kept between calls of [`RoutingTable::route`] for its buffers.
#[derive(Debug, Default)]
pub struct Route {
    queues: Vec<QueueId>,
    held_back: Vec<QueueId>,
    /// The exchange that has taken the message already.
    admitted: Option<ExchangeId>,
    depends_on_message: bool,
    /// Source of random numbers, advanced with each message.
    random: u64,
    topic: TopicScratch,
    work: Vec<ExchangeId>,
    seen: FxHashSet<ExchangeId>,
}

impl Route {
    /// The queues, each once, in ascending order unless there is no more than one. Empty: unroutable.
    #[must_use]
    pub fn queues(&self) -> &[QueueId] {
        &self.queues
    }

    /// The stores of exchanges that hold the message back or are to find out whether it is new, each once.
    #[must_use]
    pub fn held_back(&self) -> &[QueueId] {
        &self.held_back
    }

    /// More than exchange and routing keys decided. If not, every message with the same ones goes to the same queues
    /// until the table changes.
    #[must_use]
    pub fn depends_on_message(&self) -> bool {
        self.depends_on_message
    }

    fn clear(&mut self) {
        self.queues.clear();
        self.held_back.clear();
        self.depends_on_message = false;
        self.work.clear();
        self.seen.clear();
    }

    /// Exchanges that are bound in a circle, or reached twice, do their work once.
    fn visit(&mut self, exchange: ExchangeId) {
        if self.seen.insert(exchange) {
            self.work.push(exchange);
        }
    }

    /// A queue may be reached by several bindings and gets the message once.
    fn deduplicate(&mut self) {
        if !self.queues.is_sorted_by(|one, next| one < next) {
            self.queues.sort_unstable();
            self.queues.dedup();
        }
    }
}

impl Default for RoutingTable {
    fn default() -> Self {
        let mut table = Self {
            exchanges: Slab::new(),
            exchanges_by_name: FxHashMap::default(),
            queues: FxHashMap::default(),
            queues_by_name: FxHashMap::default(),
            bindings: BindingSet::default(),
        };
        for (name, kind) in PREDECLARED {
            table.add_exchange(ExchangeDefinition::predeclared(name, kind));
        }
        table
    }
}

/// Exchanges and queues.
impl RoutingTable {
    /// The exchange with this name.
    #[must_use]
    pub fn exchange(&self, name: &str) -> Option<ExchangeId> {
        self.exchanges_by_name.get(name).copied()
    }

    /// The definition of an exchange of this table.
    #[must_use]
    pub fn exchange_definition(&self, exchange: ExchangeId) -> &Arc<ExchangeDefinition> {
        &self.exchanges[exchange.index()].definition
    }

    /// All exchanges, in no order.
    pub fn exchanges(&self) -> impl Iterator<Item = &Arc<ExchangeDefinition>> {
        self.exchanges.iter().map(|(_, exchange)| &exchange.definition)
    }

    /// All exchanges with what policies say of them, in no order.
    pub fn exchanges_with_policies(
        &self,
    ) -> impl Iterator<Item = (&Arc<ExchangeDefinition>, Option<&Arc<EffectivePolicy>>)> {
        self.exchanges.iter().map(|(_, exchange)| (&exchange.definition, exchange.policy.as_ref()))
    }

    /// Gives an exchange a store. Returns its definition with it.
    pub fn set_store(&mut self, exchange: ExchangeId, store: u64) -> Option<Arc<ExchangeDefinition>> {
        let exchange = self.exchanges.get_mut(exchange.index())?;
        Arc::make_mut(&mut exchange.definition).store = Some(store);
        Some(Arc::clone(&exchange.definition))
    }

    /// True if the exchange holds back what is not due.
    #[must_use]
    pub fn delays(&self, exchange: ExchangeId) -> bool {
        self.exchanges[exchange.index()].delays()
    }

    /// Exchanges that are to hold messages back and have no store to do it in.
    pub fn without_store(&self) -> impl Iterator<Item = &Arc<ExchangeDefinition>> {
        let exchanges = self.exchanges.iter().map(|(_, exchange)| exchange);
        let without = exchanges.filter(|exchange| exchange.definition.store.is_none() && exchange.delays());
        without.map(|exchange| &exchange.definition)
    }

    /// Tells an exchange what policies say of it.
    pub fn set_policy(&mut self, exchange: ExchangeId, policy: Option<Arc<EffectivePolicy>>) {
        if let Some(exchange) = self.exchanges.get_mut(exchange.index()) {
            exchange.policy = policy;
        }
    }

    /// Tells every exchange what policies say of it.
    pub fn set_policies(&mut self, mut policy: impl FnMut(&str) -> Option<Arc<EffectivePolicy>>) {
        for (_, exchange) in &mut self.exchanges {
            exchange.policy = policy(&exchange.definition.name);
        }
    }

    /// Adds an exchange. If one with this name exists it stays as it is.
    pub fn add_exchange(&mut self, definition: ExchangeDefinition) -> ExchangeId {
        if let Some(existing) = self.exchange(&definition.name) {
            return existing;
        }
        let name: Arc<str> = definition.name.as_str().into();
        let index = ExchangeIndex::new(&definition);
        let known_by = definition.cache(QueueId(0)).map(|cache| cache.header().into());
        let (outgoing, incoming) = (BindingList::Empty, BindingList::Empty);
        let definition = Arc::new(definition);
        let policy = None;
        let slot = self.exchanges.insert(Exchange { definition, index, known_by, outgoing, incoming, policy });
        let id = ExchangeId::from_index(slot);
        self.exchanges_by_name.insert(name, id);
        id
    }

    /// Deletes an exchange with all bindings from it and to it.
    pub fn remove_exchange(&mut self, exchange: ExchangeId) -> Removed {
        let mut removed = Removed::default();
        self.remove_exchanges(vec![exchange], &mut removed);
        removed
    }

    /// True if bindings lead from the exchange (what `if-unused` asks).
    #[must_use]
    pub fn is_source(&self, exchange: ExchangeId) -> bool {
        !self.exchanges[exchange.index()].outgoing.is_empty()
    }

    /// The queue with this name.
    #[must_use]
    pub fn queue(&self, name: &str) -> Option<QueueId> {
        self.queues_by_name.get(name).copied()
    }

    /// The name of a queue.
    #[must_use]
    pub fn queue_name(&self, queue: QueueId) -> Option<&Arc<str>> {
        Some(&self.queues.get(&queue)?.name)
    }

    /// All queues, in no order.
    pub fn queues(&self) -> impl Iterator<Item = (QueueId, &Arc<str>)> {
        self.queues.iter().map(|(id, queue)| (*id, &queue.name))
    }

    /// The number of queues.
    #[must_use]
    pub fn queue_count(&self) -> usize {
        self.queues.len()
    }

    /// Adds a queue. The caller has checked that neither name nor id is taken.
    pub fn add_queue(&mut self, queue: QueueId, name: Arc<str>) {
        let displaced = self.queues_by_name.insert(Arc::clone(&name), queue);
        assert!(displaced.is_none(), "a queue is added once");
        self.queues.insert(queue, Queue { name, incoming: BindingList::Empty });
    }

    /// Deletes a queue with all bindings to it.
    pub fn remove_queue(&mut self, queue: QueueId) -> Removed {
        let mut removed = Removed::default();
        let mut unused = Vec::new();
        let incoming = self.queues.get_mut(&queue).map(|queue| std::mem::take(&mut queue.incoming));
        for id in incoming.unwrap_or_default().as_slice() {
            self.remove_binding(*id, false, &mut removed, &mut unused);
        }
        if let Some(Queue { name, .. }) = self.queues.remove(&queue) {
            self.queues_by_name.remove(&name);
        }
        self.remove_exchanges(unused, &mut removed);
        removed
    }
}

/// Bindings.
impl RoutingTable {
    /// Binds; false if the binding exists. The caller has checked it with [`ExchangeDefinition::check_binding`] and that
    /// `source` is not the default exchange. Source and destination are of this table.
    pub fn bind(
        &mut self,
        source: ExchangeId,
        destination: Destination,
        routing_key: &str,
        arguments: &FieldTable,
    ) -> bool {
        let encoded = EncodedTable::new(arguments);
        if self.bindings.find(source, destination, routing_key, &encoded).is_some() {
            return false;
        }
        let name = self.name_of(destination);
        let exchange = &mut self.exchanges[source.index()];
        let routing_key = exchange.index.shared_key(routing_key).unwrap_or_else(|| routing_key.into());
        let id = self.bindings.insert(Binding {
            source,
            destination,
            routing_key: Arc::clone(&routing_key),
            arguments: encoded,
            source_place: 0,
            destination_place: 0,
            index_place: 0,
        });
        let new = NewBinding { id, routing_key: &routing_key, arguments, destination: &name };
        let index_place = exchange.index.insert(new);
        let source_place = exchange.outgoing.push(id);
        let destination_place =
            self.incoming_mut(destination).expect("a destination is not removed before its bindings").push(id);
        let binding = self.bindings.get_mut(id);
        binding.index_place = index_place;
        binding.source_place = source_place;
        binding.destination_place = destination_place;
        true
    }

    /// True if there is this binding.
    #[must_use]
    pub fn is_bound(
        &self,
        source: ExchangeId,
        destination: Destination,
        routing_key: &str,
        arguments: &FieldTable,
    ) -> bool {
        self.bindings.find(source, destination, routing_key, &EncodedTable::new(arguments)).is_some()
    }

    /// Unbinds; nothing if there is no such binding.
    pub fn unbind(
        &mut self,
        source: ExchangeId,
        destination: Destination,
        routing_key: &str,
        arguments: &FieldTable,
    ) -> Option<Removed> {
        let id = self.bindings.find(source, destination, routing_key, &EncodedTable::new(arguments))?;
        let mut removed = Removed::default();
        let mut unused = Vec::new();
        self.remove_binding(id, true, &mut removed, &mut unused);
        self.remove_exchanges(unused, &mut removed);
        Some(removed)
    }

    /// All bindings, in no order; the implicit ones of the default exchange are not among them.
    pub fn bindings(&self) -> impl Iterator<Item = BindingDefinition> {
        self.bindings.iter().map(|binding| self.binding_definition(binding))
    }

    /// The bindings from an exchange, in no order.
    pub fn bindings_from(&self, exchange: ExchangeId) -> impl Iterator<Item = BindingDefinition> {
        self.definitions(&self.exchanges[exchange.index()].outgoing)
    }

    /// The bindings to a queue or exchange, in no order.
    pub fn bindings_to(&self, destination: Destination) -> impl Iterator<Item = BindingDefinition> {
        let incoming = match destination {
            Destination::Queue(queue) => self.queues.get(&queue).map(|queue| &queue.incoming),
            Destination::Exchange(exchange) => Some(&self.exchanges[exchange.index()].incoming),
        };
        incoming.into_iter().flat_map(|list| self.definitions(list))
    }

    /// The number of bindings, those of the default exchange not counted.
    #[must_use]
    pub fn binding_count(&self) -> usize {
        self.bindings.len()
    }

    fn definitions(&self, list: &BindingList) -> impl Iterator<Item = BindingDefinition> {
        list.as_slice().iter().map(|id| self.binding_definition(self.bindings.get(*id)))
    }

    fn binding_definition(&self, binding: &Binding) -> BindingDefinition {
        let (destination_kind, destination) = match binding.destination {
            Destination::Queue(queue) => (ResourceKind::Queue, self.queues[&queue].name.to_string()),
            Destination::Exchange(exchange) => {
                (ResourceKind::Exchange, self.exchange_definition(exchange).name.clone())
            }
        };
        BindingDefinition {
            source: self.exchange_definition(binding.source).name.clone(),
            destination,
            destination_kind,
            routing_key: binding.routing_key.to_string(),
            arguments: binding.arguments.decode(),
        }
    }

    fn name_of(&self, destination: Destination) -> Arc<str> {
        match destination {
            Destination::Queue(queue) => Arc::clone(&self.queues[&queue].name),
            Destination::Exchange(exchange) => self.exchange_definition(exchange).name.as_str().into(),
        }
    }

    fn incoming_mut(&mut self, destination: Destination) -> Option<&mut BindingList> {
        match destination {
            Destination::Queue(queue) => self.queues.get_mut(&queue).map(|queue| &mut queue.incoming),
            Destination::Exchange(exchange) => {
                self.exchanges.get_mut(exchange.index()).map(|exchange| &mut exchange.incoming)
            }
        }
    }

    /// Takes one binding out of every list, that of its destination only if it is `listed` there still. A source
    /// with `auto_delete` that has no binding left goes into `unused`.
    fn remove_binding(
        &mut self,
        id: BindingId,
        listed: bool,
        removed: &mut Removed,
        unused: &mut Vec<ExchangeId>,
    ) {
        removed.bindings.push(self.binding_definition(self.bindings.get(id)));
        let binding = self.bindings.remove(id);
        if listed {
            let place = binding.destination_place;
            let incoming = self.incoming_mut(binding.destination);
            if let Some(moved) = incoming.and_then(|incoming| incoming.swap_remove(place)) {
                self.bindings.get_mut(moved).destination_place = place;
            }
        }
        let source = &mut self.exchanges[binding.source.index()];
        if let Some(moved) = source.index.remove(id, &binding.routing_key, binding.index_place) {
            self.bindings.get_mut(moved).index_place = binding.index_place;
        }
        if let Some(moved) = source.outgoing.swap_remove(binding.source_place) {
            self.bindings.get_mut(moved).source_place = binding.source_place;
        }
        if source.outgoing.is_empty() && source.definition.auto_delete {
            unused.push(binding.source);
        }
    }

    /// Deletes the exchanges `unused`, and those that lose their last binding by that.
    fn remove_exchanges(&mut self, mut unused: Vec<ExchangeId>, removed: &mut Removed) {
        while let Some(id) = unused.pop() {
            // An exchange can come here twice: it was deleted, or it deletes itself by a binding to itself.
            let Some(exchange) = self.exchanges.get(id.index()) else {
                continue;
            };
            let all = [exchange.outgoing.as_slice(), exchange.incoming.as_slice()].concat();
            for binding in all {
                // A binding of the exchange to itself is in both lists.
                if self.bindings.contains(binding) {
                    self.remove_binding(binding, true, removed, &mut unused);
                }
            }
            unused.retain(|other| *other != id);
            let Exchange { definition, .. } = self.exchanges.remove(id.index());
            self.exchanges_by_name.remove(definition.name.as_str());
            removed.exchanges.push(definition);
        }
    }
}

/// Routing.
impl RoutingTable {
    /// Finds the queues for a message published to `exchange`.
    pub fn route(&self, exchange: ExchangeId, message: &Routable<'_>, route: &mut Route) {
        route.clear();
        route.random = route.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let input = MatchInput::new(message, hash::mix(route.random));
        route.admitted = message.admitted.then_some(exchange);
        route.visit(exchange);
        while let Some(exchange) = route.work.pop() {
            self.route_one(exchange, &input, route);
        }
        route.deduplicate();
    }

    /// What one exchange does with the message: to its bindings, or to the alternate exchange if none matches.
    fn route_one(&self, id: ExchangeId, input: &MatchInput<'_>, route: &mut Route) {
        let exchange = &self.exchanges[id.index()];
        if exchange.definition.name == DEFAULT_EXCHANGE {
            route.queues.extend(input.routing_keys.iter().filter_map(|key| self.queue(key)));
            return;
        }
        route.depends_on_message |= exchange.index.depends_on_message();
        let mut matched = false;
        let mut taken_once = None;
        if let Some(store) = exchange.definition.store.map(QueueId) {
            route.depends_on_message = true;
            let admitted = route.admitted == Some(id);
            if !admitted && exchange.delays() && input.due_at().is_some() {
                return route.held_back.push(store);
            }
            if !admitted && exchange.definition.kind == ExchangeType::RecentHistory {
                return route.held_back.push(store);
            }
            let is_known_by = |name: &str| input.header(name).is_some();
            taken_once = (!admitted && exchange.known_by.as_deref().is_some_and(is_known_by)).then_some(store);
        }
        let mut topic = std::mem::take(&mut route.topic);
        exchange.index.find(input, exchange.outgoing.as_slice(), &mut topic, |bindings| {
            matched = true;
            if taken_once.is_some() {
                return;
            }
            for binding in bindings {
                match self.bindings.get(*binding).destination {
                    Destination::Queue(queue) => route.queues.push(queue),
                    Destination::Exchange(next) => route.visit(next),
                }
            }
        });
        route.topic = topic;
        if matched {
            route.held_back.extend(taken_once);
        }
        if !matched
            && let Some(alternate) = exchange.alternate()
            && let Some(alternate) = self.exchange(alternate)
        {
            route.visit(alternate);
        }
    }
}

#[cfg(test)]
mod tests;

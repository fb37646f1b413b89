use std::collections::BTreeSet;

use amq_protocol::types::AMQPValue;
use proptest::prelude::*;

use super::*;
use crate::model::exchange::{ALTERNATE_EXCHANGE, ExchangeType};

const NOWHERE: [u64; 0] = [];

/// A table in which queue `qN` has the id N.
struct Fixture {
    table: RoutingTable,
    route: Route,
}

impl Fixture {
    fn new(exchanges: &[(&str, ExchangeType)], queues: u64) -> Self {
        let mut table = RoutingTable::default();
        for (name, kind) in exchanges {
            table.add_exchange(ExchangeDefinition::predeclared(name, *kind));
        }
        for queue in 0..queues {
            table.add_queue(QueueId(queue), format!("q{queue}").into());
        }
        Self { table, route: Route::default() }
    }

    fn declare(&mut self, name: &str, kind: ExchangeType, change: impl FnOnce(&mut ExchangeDefinition)) {
        let mut definition = ExchangeDefinition::predeclared(name, kind);
        change(&mut definition);
        self.table.add_exchange(definition);
    }

    fn id(&self, exchange: &str) -> ExchangeId {
        self.table.exchange(exchange).unwrap()
    }

    /// A queue if there is one with the name, otherwise an exchange.
    fn destination(&self, name: &str) -> Destination {
        match self.table.queue(name) {
            Some(queue) => Destination::Queue(queue),
            None => Destination::Exchange(self.id(name)),
        }
    }

    fn bind(&mut self, source: &str, destination: &str, key: &str) -> bool {
        self.table.bind(self.id(source), self.destination(destination), key, &FieldTable::default())
    }

    fn unbind(&mut self, source: &str, destination: &str, key: &str) -> Option<Removed> {
        self.table.unbind(self.id(source), self.destination(destination), key, &FieldTable::default())
    }

    fn route(&mut self, exchange: &str, keys: &[&str]) -> Vec<u64> {
        let properties = &Properties::default();
        let message = Routable { routing_keys: keys, properties, published_ms: 0, admitted: false };
        self.table.route(self.id(exchange), &message, &mut self.route);
        self.route.queues().iter().map(|queue| queue.0).collect()
    }
}

fn alternate(name: &str) -> impl FnOnce(&mut ExchangeDefinition) {
    move |definition| {
        definition.arguments.insert(ALTERNATE_EXCHANGE.into(), AMQPValue::LongString(name.into()));
    }
}

fn names(removed: &Removed) -> Vec<&str> {
    removed.exchanges.iter().map(|definition| definition.name.as_str()).collect()
}

#[test]
fn the_predeclared_exchanges_are_there() {
    let table = RoutingTable::default();
    for (name, kind) in PREDECLARED {
        assert_eq!(table.exchange_definition(table.exchange(name).unwrap()).kind, kind);
    }
    assert_eq!(table.exchanges().count(), PREDECLARED.len());
}

#[test]
fn the_default_exchange_finds_queues_by_name() {
    let mut fixture = Fixture::new(&[], 2);
    assert_eq!(fixture.route("", &["q1"]), [1]);
    assert_eq!(fixture.route("", &["q1", "q0", "q1"]), [0, 1]);
    assert_eq!(fixture.route("", &["nobody"]), NOWHERE);
    fixture.table.remove_queue(QueueId(1));
    assert_eq!(fixture.route("", &["q1"]), NOWHERE);
}

#[test]
fn each_type_routes_by_its_rule() {
    let mut fixture = Fixture::new(&[], 3);
    fixture.bind("amq.direct", "q0", "k");
    fixture.bind("amq.fanout", "q1", "k");
    fixture.bind("amq.topic", "q2", "k.#");
    assert_eq!(fixture.route("amq.direct", &["k"]), [0]);
    assert_eq!(fixture.route("amq.direct", &["other"]), NOWHERE);
    assert_eq!(fixture.route("amq.fanout", &["other"]), [1]);
    assert_eq!(fixture.route("amq.topic", &["k.a.b"]), [2]);
    assert!(!fixture.route.depends_on_message());
}

#[test]
fn a_queue_gets_a_message_once() {
    let mut fixture = Fixture::new(&[("x", ExchangeType::Topic)], 2);
    for key in ["a.b", "a.*", "#"] {
        assert!(fixture.bind("x", "q1", key));
    }
    fixture.bind("x", "q0", "#.b");
    fixture.bind("x", "amq.fanout", "#");
    fixture.bind("amq.fanout", "q1", "");
    assert_eq!(fixture.route("x", &["a.b", "c.b"]), [0, 1]);
}

#[test]
fn binding_twice_is_binding_once() {
    let mut fixture = Fixture::new(&[], 1);
    assert!(fixture.bind("amq.direct", "q0", "k"));
    assert!(!fixture.bind("amq.direct", "q0", "k"));
    let mut arguments = FieldTable::default();
    arguments.insert("other".into(), AMQPValue::Boolean(true));
    let (source, queue) = (fixture.id("amq.direct"), fixture.destination("q0"));
    assert!(fixture.table.bind(source, queue, "k", &arguments));
    assert_eq!(fixture.table.binding_count(), 2);
    assert_eq!(fixture.route("amq.direct", &["k"]), [0]);
    assert!(fixture.unbind("amq.direct", "q0", "k").is_some());
    assert!(fixture.unbind("amq.direct", "q0", "k").is_none());
    assert_eq!(fixture.route("amq.direct", &["k"]), [0], "the binding with arguments is left");
    let removed = fixture.table.unbind(source, queue, "k", &arguments).unwrap();
    assert_eq!(removed.bindings[0].arguments, arguments);
    assert_eq!(fixture.route("amq.direct", &["k"]), NOWHERE);
}

#[test]
fn exchanges_bound_in_a_circle_end() {
    let mut fixture = Fixture::new(&[("a", ExchangeType::Fanout), ("b", ExchangeType::Direct)], 2);
    fixture.bind("a", "b", "");
    fixture.bind("b", "a", "k");
    fixture.bind("a", "a", "");
    fixture.bind("a", "q0", "");
    fixture.bind("b", "q1", "k");
    assert_eq!(fixture.route("a", &["k"]), [0, 1]);
    assert_eq!(fixture.route("b", &["k"]), [0, 1]);
    assert_eq!(fixture.route("b", &["other"]), NOWHERE);
}

#[test]
fn the_alternate_exchange_gets_what_matches_no_binding() {
    let mut fixture = Fixture::new(&[], 3);
    fixture.declare("last", ExchangeType::Fanout, |_| ());
    fixture.declare("middle", ExchangeType::Direct, alternate("last"));
    fixture.declare("first", ExchangeType::Direct, alternate("middle"));
    fixture.bind("first", "q0", "a");
    fixture.bind("middle", "q1", "b");
    assert_eq!(fixture.route("first", &["a"]), [0]);
    assert_eq!(fixture.route("first", &["b"]), [1]);
    assert_eq!(fixture.route("first", &["c"]), NOWHERE, "an alternate that routes nowhere is no route");
    fixture.bind("last", "q2", "");
    assert_eq!(fixture.route("first", &["c"]), [2]);
    assert_eq!(fixture.route("first", &["a", "c"]), [0], "one key that matches is enough");
}

#[test]
fn a_matching_binding_to_an_exchange_keeps_the_alternate_out() {
    let mut fixture = Fixture::new(&[("empty", ExchangeType::Direct)], 1);
    fixture.declare("x", ExchangeType::Fanout, alternate("amq.fanout"));
    fixture.bind("amq.fanout", "q0", "");
    assert_eq!(fixture.route("x", &["k"]), [0]);
    fixture.bind("x", "empty", "");
    assert_eq!(fixture.route("x", &["k"]), NOWHERE);
}

#[test]
fn alternates_may_be_missing_or_circular() {
    let mut fixture = Fixture::new(&[], 1);
    fixture.declare("lost", ExchangeType::Direct, alternate("nobody"));
    fixture.declare("self", ExchangeType::Direct, alternate("self"));
    assert_eq!(fixture.route("lost", &["k"]), NOWHERE);
    assert_eq!(fixture.route("self", &["k"]), NOWHERE);
}

#[test]
fn a_route_says_whether_more_than_the_keys_decided() {
    let mut fixture = Fixture::new(&[("hash", ExchangeType::ConsistentHash), ("any", ExchangeType::Random)], 2);
    fixture.bind("amq.fanout", "amq.headers", "");
    fixture.bind("amq.fanout", "amq.match", "");
    fixture.bind("amq.direct", "q1", "k");
    for (exchange, key) in [("amq.headers", ""), ("amq.match", ""), ("hash", "1"), ("any", "")] {
        fixture.bind(exchange, "q0", key);
    }
    let mut check = |exchange: &str, queue: u64| {
        assert_eq!(fixture.route(exchange, &["k"]), [queue]);
        fixture.route.depends_on_message()
    };
    assert!(!check("amq.direct", 1) && !check("hash", 0));
    assert!(check("amq.fanout", 0) && check("any", 0));
}

#[test]
fn a_random_exchange_picks_each_binding_sometimes() {
    let mut fixture = Fixture::new(&[("x", ExchangeType::Random)], 3);
    (0..3).for_each(|queue| assert!(fixture.bind("x", &format!("q{queue}"), "ignored")));
    let mut counts = [0; 3];
    for _ in 0..3000 {
        let [queue] = fixture.route("x", &["k"])[..] else { panic!("one queue gets the message") };
        counts[usize::try_from(queue).unwrap()] += 1;
    }
    assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    (0..3).for_each(|queue| drop(fixture.unbind("x", &format!("q{queue}"), "ignored").unwrap()));
    assert_eq!(fixture.route("x", &["k"]), NOWHERE);
}

#[test]
fn an_auto_delete_exchange_goes_with_its_last_binding() {
    let mut fixture = Fixture::new(&[("up", ExchangeType::Fanout)], 2);
    fixture.declare("auto", ExchangeType::Direct, |definition| definition.auto_delete = true);
    fixture.bind("up", "auto", "");
    assert!(fixture.table.exchange("auto").is_some(), "it had no binding yet");
    fixture.bind("auto", "q0", "a");
    fixture.bind("auto", "q1", "b");
    assert_eq!(names(&fixture.unbind("auto", "q0", "a").unwrap()), [""; 0]);
    let removed = fixture.table.remove_queue(QueueId(1));
    assert_eq!(names(&removed), ["auto"]);
    assert_eq!(removed.bindings.len(), 2, "the one to it goes too");
    assert_eq!(fixture.table.exchange("auto"), None);
    assert_eq!(fixture.table.binding_count(), 0);
    assert_eq!(fixture.route("up", &["k"]), NOWHERE);
}

#[test]
fn auto_deletion_goes_on_along_a_chain() {
    let mut fixture = Fixture::new(&[], 1);
    for name in ["a", "b", "c"] {
        fixture.declare(name, ExchangeType::Fanout, |definition| definition.auto_delete = true);
    }
    fixture.bind("a", "b", "");
    fixture.bind("b", "c", "");
    fixture.bind("c", "q0", "");
    fixture.bind("c", "c", "");
    assert_eq!(names(&fixture.table.remove_queue(QueueId(0))), [""; 0], "c is bound to itself still");
    let removed = fixture.unbind("c", "c", "").unwrap();
    assert_eq!(names(&removed), ["c", "b", "a"]);
    assert_eq!(removed.bindings.len(), 3);
}

#[test]
fn deleting_an_exchange_removes_bindings_on_both_sides() {
    let mut fixture = Fixture::new(&[("x", ExchangeType::Topic)], 2);
    fixture.bind("x", "q0", "a");
    fixture.bind("x", "x", "b");
    fixture.bind("amq.fanout", "x", "");
    fixture.bind("amq.fanout", "q1", "");
    assert!(fixture.table.is_source(fixture.id("x")));
    let removed = fixture.table.remove_exchange(fixture.id("x"));
    assert_eq!((removed.bindings.len(), names(&removed)), (3, vec!["x"]));
    assert_eq!(fixture.route("amq.fanout", &["a"]), [1]);
    assert_eq!(fixture.table.bindings_to(Destination::Queue(QueueId(0))).count(), 0);
    assert_eq!(fixture.table.bindings_from(fixture.id("amq.fanout")).count(), 1);
}

#[test]
fn bindings_are_listed_by_names() {
    let mut fixture = Fixture::new(&[], 1);
    fixture.bind("amq.topic", "q0", "a.#");
    fixture.bind("amq.topic", "amq.fanout", "b");
    let mut listed: Vec<_> = fixture.table.bindings_from(fixture.id("amq.topic")).collect();
    listed.sort_by(|one, other| one.routing_key.cmp(&other.routing_key));
    assert_eq!(listed[0].destination, "q0");
    assert_eq!(listed[0].destination_kind, ResourceKind::Queue);
    assert_eq!(listed[1].destination, "amq.fanout");
    assert_eq!(listed[1].destination_kind, ResourceKind::Exchange);
    assert_eq!(fixture.table.bindings().count(), 2);
    let to_fanout: Vec<_> = fixture.table.bindings_to(fixture.destination("amq.fanout")).collect();
    assert_eq!(to_fanout, listed[1..]);
}

#[test]
fn a_hundred_thousand_queues_on_one_exchange() {
    const QUEUES: u64 = 100_000;
    let mut fixture = Fixture::new(&[], QUEUES);
    for exchange in ["amq.direct", "amq.fanout", "amq.topic"] {
        for queue in 0..QUEUES {
            assert!(fixture.bind(exchange, &format!("q{queue}"), "same"));
        }
        assert_eq!(fixture.route(exchange, &["same"]).len(), 100_000);
    }
    for queue in (0..QUEUES).filter(|queue| queue % 3 != 0) {
        assert_eq!(fixture.table.remove_queue(QueueId(queue)).bindings.len(), 3);
    }
    let left: Vec<u64> = (0..QUEUES).filter(|queue| queue % 3 == 0).collect();
    for exchange in ["amq.direct", "amq.fanout", "amq.topic"] {
        assert_eq!(fixture.route(exchange, &["same"]), left);
    }
}

/// The rules again, on sets and without any index.
#[derive(Default)]
struct Model {
    bindings: BTreeSet<(usize, Target, &'static str)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Queue(u64),
    Exchange(usize),
}

#[derive(Clone, Debug)]
enum Change {
    Bind(usize, Target, &'static str),
    Unbind(usize, Target, &'static str),
    RemoveQueue(u64),
    AddQueue(u64),
}

const MODEL_EXCHANGES: [(&str, ExchangeType); 3] =
    [("x0", ExchangeType::Direct), ("x1", ExchangeType::Fanout), ("x2", ExchangeType::Topic)];
const MODEL_QUEUES: u64 = 4;

impl Model {
    fn route(&self, from: usize, key: &str) -> Vec<u64> {
        let (mut queues, mut seen, mut work) = (BTreeSet::new(), BTreeSet::from([from]), vec![from]);
        while let Some(exchange) = work.pop() {
            for (source, target, pattern) in &self.bindings {
                let matches = match MODEL_EXCHANGES[*source].1 {
                    ExchangeType::Direct => *pattern == key,
                    ExchangeType::Topic => {
                        *pattern == key || *pattern == "#" || (*pattern == "*" && !key.is_empty())
                    }
                    _ => true,
                };
                match *target {
                    _ if *source != exchange || !matches => {}
                    Target::Queue(queue) => drop(queues.insert(queue)),
                    Target::Exchange(next) if seen.insert(next) => work.push(next),
                    Target::Exchange(_) => {}
                }
            }
        }
        queues.into_iter().collect()
    }
}

fn any_change() -> impl Strategy<Value = Change> {
    let target = || {
        prop_oneof![
            3 => (0..MODEL_QUEUES).prop_map(Target::Queue),
            1 => (0..MODEL_EXCHANGES.len()).prop_map(Target::Exchange),
        ]
    };
    let key = || prop::sample::select(vec!["", "a", "b", "*", "#"]);
    prop_oneof![
        6 => (0..MODEL_EXCHANGES.len(), target(), key()).prop_map(|(x, t, k)| Change::Bind(x, t, k)),
        3 => (0..MODEL_EXCHANGES.len(), target(), key()).prop_map(|(x, t, k)| Change::Unbind(x, t, k)),
        1 => (0..MODEL_QUEUES).prop_map(Change::RemoveQueue),
        1 => (0..MODEL_QUEUES).prop_map(Change::AddQueue),
    ]
}

fn apply(fixture: &mut Fixture, model: &mut Model, change: Change) {
    let has = |fixture: &Fixture, queue: u64| fixture.table.queue_name(QueueId(queue)).is_some();
    let name = |target: Target| match target {
        Target::Queue(queue) => format!("q{queue}"),
        Target::Exchange(exchange) => MODEL_EXCHANGES[exchange].0.to_owned(),
    };
    match change {
        Change::Bind(_, Target::Queue(queue), _) | Change::Unbind(_, Target::Queue(queue), _)
            if !has(fixture, queue) => {}
        Change::Bind(source, target, key) => {
            let new = fixture.bind(MODEL_EXCHANGES[source].0, &name(target), key);
            assert_eq!(new, model.bindings.insert((source, target, key)));
        }
        Change::Unbind(source, target, key) => {
            let removed = fixture.unbind(MODEL_EXCHANGES[source].0, &name(target), key);
            assert_eq!(removed.is_some(), model.bindings.remove(&(source, target, key)));
        }
        Change::RemoveQueue(queue) => {
            let before = model.bindings.len();
            model.bindings.retain(|(_, target, _)| *target != Target::Queue(queue));
            let removed = fixture.table.remove_queue(QueueId(queue));
            assert_eq!(removed.bindings.len(), before - model.bindings.len());
        }
        Change::AddQueue(queue) if has(fixture, queue) => {}
        Change::AddQueue(queue) => fixture.table.add_queue(QueueId(queue), format!("q{queue}").into()),
    }
}

proptest! {
    #[test]
    fn agrees_with_the_rules_written_down_on_sets(changes in prop::collection::vec(any_change(), 0..80)) {
        let mut fixture = Fixture::new(&MODEL_EXCHANGES, MODEL_QUEUES);
        let mut model = Model::default();
        for change in changes {
            apply(&mut fixture, &mut model, change);
            for (exchange, (name, _)) in MODEL_EXCHANGES.iter().enumerate() {
                for key in ["", "a", "b", "c"] {
                    prop_assert_eq!(fixture.route(name, &[key]), model.route(exchange, key));
                }
            }
            prop_assert_eq!(fixture.table.binding_count(), model.bindings.len());
        }
    }
}

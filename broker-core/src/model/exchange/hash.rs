//! Exchanges that give each message to one binding, chosen by a hash: `x-consistent-hash` and `x-modulus-hash`
//! (RabbitMQ's plugins).
//!
//! The consistent hash is weighted rendezvous hashing: every destination draws a number from the hash of the message and
//! its own name, its weight bends the draw, and the best wins. So the same message goes to the same queue after a
//! restart and whatever the order of the binds; a destination gets exactly its share of weights; and when one comes or
//! goes, only what it gets or had moves. There is no ring in memory, so a weight may be any number. A destination that
//! is bound more than once counts with the largest of its weights.
//!
//! A message without the header or property that is hashed counts as one with an empty value.

use amq_protocol::types::{AMQPValue, FieldTable};

use crate::error::{ChannelCode, ChannelError};
use crate::model::arguments::{ErlangTerm, type_name};
use crate::model::binding::BindingId;
use crate::model::headers::HeaderValue;
use crate::model::vhost::Resource;

use super::MatchInput;

const HASH_HEADER: &str = "hash-header";
const HASH_PROPERTY: &str = "hash-property";
/// LavinMQ's name of [`HASH_HEADER`].
const X_HASH_ON: &str = "x-hash-on";
/// LavinMQ's choice of algorithm. Both names are accepted; neither changes what the client can rely on.
const X_ALGORITHM: &str = "x-algorithm";

/// What of a message is hashed.
#[derive(Debug, Default, PartialEq)]
enum HashOn {
    #[default]
    RoutingKey,
    Header(Box<str>),
    MessageId,
    CorrelationId,
    Timestamp,
}

/// The bindings of an `x-consistent-hash` exchange.
#[derive(Debug, Default)]
pub(crate) struct ConsistentHashIndex {
    on: HashOn,
    bindings: Vec<Weighted>,
}

#[derive(Debug)]
struct Weighted {
    id: BindingId,
    /// Hash of the destination's name.
    destination: u64,
    weight: f64,
}

impl ConsistentHashIndex {
    /// An index without bindings. Arguments that [`check_arguments`] refuses count as none.
    pub(crate) fn new(arguments: &FieldTable) -> Self {
        Self { on: hash_on(arguments), bindings: Vec::new() }
    }

    /// True if more than the routing key decides.
    pub(crate) fn depends_on_message(&self) -> bool {
        self.on != HashOn::RoutingKey
    }

    /// Adds a binding, whose key is its weight; returns its place.
    pub(crate) fn insert(&mut self, id: BindingId, routing_key: &str, destination: u64) -> u32 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "the share of a weight beyond 2^53 needs no such precision"
        )]
        let weight = parse_weight(routing_key).unwrap_or(1) as f64;
        self.bindings.push(Weighted { id, destination, weight });
        u32::try_from(self.bindings.len() - 1).expect("ids are 32 bits wide")
    }

    /// Removes the binding at `place`; returns the one that takes the place.
    pub(crate) fn remove(&mut self, place: u32) -> Option<BindingId> {
        self.bindings.swap_remove(place as usize);
        self.bindings.get(place as usize).map(|moved| moved.id)
    }

    pub(crate) fn find(&self, input: &MatchInput<'_>, found: impl FnOnce(&[BindingId])) {
        let hash = self.hash(input);
        let best = self.bindings.iter().min_by(|one, other| one.draw(hash).total_cmp(&other.draw(hash)));
        if let Some(best) = best {
            found(&[best.id]);
        }
    }

    fn hash(&self, input: &MatchInput<'_>) -> u64 {
        let properties = input.properties;
        match &self.on {
            HashOn::RoutingKey => hash_of(input.routing_key().as_bytes()),
            HashOn::Header(name) => {
                input.header(name).map_or_else(|| hash_of(&[]), |value: HeaderValue<'_>| value.with_key(hash_of))
            }
            HashOn::MessageId => hash_of(properties.message_id.unwrap_or_default()),
            HashOn::CorrelationId => hash_of(properties.correlation_id.unwrap_or_default()),
            HashOn::Timestamp => match properties.timestamp {
                Some(timestamp) => hash_of(timestamp.to_string().as_bytes()),
                None => hash_of(&[]),
            },
        }
    }
}

impl Weighted {
    /// A number, exponentially distributed with the weight as its rate: the smallest one of all bindings is this one's
    /// with a probability of its share of the weights.
    fn draw(&self, hash: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits are what a float has")]
        let uniform = ((mix(hash ^ self.destination) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        -uniform.ln() / self.weight
    }
}

/// The bindings of an `x-modulus-hash` exchange, in the order of their destinations' hashes.
#[derive(Debug, Default)]
pub(crate) struct ModulusHashIndex {
    bindings: Vec<(u64, BindingId)>,
}

impl ModulusHashIndex {
    pub(crate) fn insert(&mut self, id: BindingId, destination: u64) {
        let at = self.bindings.partition_point(|binding| *binding < (destination, id));
        self.bindings.insert(at, (destination, id));
    }

    pub(crate) fn remove(&mut self, id: BindingId) {
        self.bindings.retain(|(_, other)| *other != id);
    }

    pub(crate) fn find(&self, routing_key: &str, found: impl FnOnce(&[BindingId])) {
        if let Some(count) = std::num::NonZeroUsize::new(self.bindings.len()) {
            let hash = mix(hash_of(routing_key.as_bytes()));
            let at = hash % count.get() as u64;
            found(&[self.bindings[usize::try_from(at).unwrap_or_default()].1]);
        }
    }
}

/// FNV-1a, 64 bits. Where messages go after a restart depends on it.
pub(crate) fn hash_of(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The finalizer of splitmix64: each bit of the outcome depends on each of `bits`.
pub(crate) fn mix(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn hash_on(arguments: &FieldTable) -> HashOn {
    let text = |name: &str| match arguments.inner().get(name)? {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
        _ => None,
    };
    if let Some(header) = text(HASH_HEADER).or_else(|| text(X_HASH_ON)) {
        return HashOn::Header(header.into());
    }
    text(HASH_PROPERTY).and_then(property).unwrap_or_default()
}

fn property(name: &str) -> Option<HashOn> {
    match name {
        "message_id" => Some(HashOn::MessageId),
        "correlation_id" => Some(HashOn::CorrelationId),
        "timestamp" => Some(HashOn::Timestamp),
        _ => None,
    }
}

/// Checks the arguments of an `x-consistent-hash` exchange: 406, RabbitMQ's texts for RabbitMQ's arguments.
pub(crate) fn check_arguments(exchange: Resource<'_>, arguments: &FieldTable) -> Result<(), ChannelError> {
    let refused = |text: String| Err(ChannelCode::PreconditionFailed.error(text));
    for name in [HASH_HEADER, HASH_PROPERTY, X_HASH_ON, X_ALGORITHM] {
        match arguments.inner().get(name) {
            None | Some(AMQPValue::LongString(_)) => {}
            Some(value) => {
                return refused(format!("invalid type '{}' for arg '{name}' in {exchange}", type_name(value)));
            }
        }
    }
    let get = |name: &str| arguments.inner().get(name).and_then(AMQPValue::as_long_string);
    if let Some(name) = get(HASH_PROPERTY) {
        if get(HASH_HEADER).or_else(|| get(X_HASH_ON)).is_some() {
            return refused("hash-header and hash-property are mutually exclusive".to_owned());
        }
        let name = String::from_utf8_lossy(name.as_bytes());
        if property(&name).is_none() {
            return refused(format!("Unsupported property: {name}"));
        }
    }
    match get(X_ALGORITHM).map(|name| name.as_bytes()) {
        None | Some(b"ring" | b"jump") => Ok(()),
        Some(name) => refused(format!("Unsupported algorithm: {}", String::from_utf8_lossy(name))),
    }
}

/// Checks the key of a binding from an `x-consistent-hash` exchange, its weight: 406 with RabbitMQ's texts.
pub(crate) fn check_weight(routing_key: &str) -> Result<(), ChannelError> {
    let text = match parse_weight(routing_key) {
        Some(1..) => return Ok(()),
        Some(_) => "The binding key must be greater than 0".to_owned(),
        None => {
            let key = AMQPValue::LongString(routing_key.into());
            format!("The binding key must be an integer: {}", ErlangTerm(&key))
        }
    };
    Err(ChannelCode::PreconditionFailed.error(text))
}

/// An integer as Erlang reads it, cut off at the ends of 128 bits.
fn parse_weight(routing_key: &str) -> Option<i128> {
    let (negative, digits) = match routing_key.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, routing_key.strip_prefix('+').unwrap_or(routing_key)),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value = digits.parse::<i128>().unwrap_or(i128::MAX);
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::binding::tests::binding_id;
    use crate::model::properties::Properties;
    use crate::model::routing::Routable;

    fn index(weights: &[(&str, u32)]) -> ConsistentHashIndex {
        let mut index = ConsistentHashIndex::default();
        for (number, (name, weight)) in weights.iter().enumerate() {
            let id = binding_id(u32::try_from(number).unwrap());
            index.insert(id, &weight.to_string(), hash_of(name.as_bytes()));
        }
        index
    }

    fn chosen(index: &ConsistentHashIndex, key: &str) -> Option<BindingId> {
        let properties = Properties::default();
        let mut chosen = None;
        let message = Routable { routing_keys: &[key], properties: &properties, published_ms: 0, admitted: false };
        index.find(&MatchInput::new(&message, 0), |ids| chosen = Some(ids[0]));
        chosen
    }

    #[test]
    fn shares_are_those_of_the_weights() {
        let weights = [("a", 1), ("b", 1), ("c", 2), ("d", 4)];
        let index = index(&weights);
        let mut counts = [0_u32; 4];
        for number in 0..80_000 {
            let id = chosen(&index, &format!("key-{number}")).unwrap();
            let at = (0..4).find(|at| binding_id(*at) == id).unwrap();
            counts[at as usize] += 1;
        }
        for (count, (name, weight)) in counts.iter().zip(weights) {
            let expect = 10_000 * weight;
            assert!(count.abs_diff(expect) < expect / 20, "{name}: {count} of {expect}");
        }
    }

    #[test]
    fn where_a_message_goes_is_part_of_the_promise() {
        let index = index(&[("a", 1), ("b", 1), ("c", 1)]);
        let chosen: Vec<_> = ["1", "2", "3", "4", "5", "6"].map(|key| chosen(&index, key)).into();
        let expect: Vec<_> = EXPECTED.map(|number| Some(binding_id(number))).into();
        assert_eq!(chosen, expect);
    }

    const EXPECTED: [u32; 6] = [2, 0, 0, 0, 2, 2];

    proptest! {
        #[test]
        fn only_what_a_binding_had_moves_when_it_goes(
            weights in prop::collection::vec(1_u32..9, 2..9),
            gone in any::<prop::sample::Index>(),
        ) {
            let names: Vec<String> = (0..weights.len()).map(|number| format!("q{number}")).collect();
            let weighted: Vec<_> = names.iter().map(String::as_str).zip(weights).collect();
            let mut index = index(&weighted);
            let keys: Vec<String> = (0..200).map(|number| format!("k{number}")).collect();
            let before: Vec<_> = keys.iter().map(|key| chosen(&index, key)).collect();
            let place = u32::try_from(gone.index(weighted.len())).unwrap();
            index.remove(place);
            for (key, before) in keys.iter().zip(before) {
                if before != Some(binding_id(place)) {
                    prop_assert_eq!(chosen(&index, key), before);
                }
            }
        }

        #[test]
        fn the_order_of_binds_does_not_matter(keys in prop::collection::vec("[a-z]{0,5}", 1..50)) {
            let destinations = ["a", "b", "c", "d"].map(|name| hash_of(name.as_bytes()));
            let (mut one, mut other) = (ConsistentHashIndex::default(), ConsistentHashIndex::default());
            for number in 0..4_u32 {
                one.insert(binding_id(number), "2", destinations[number as usize]);
                other.insert(binding_id(3 - number), "2", destinations[3 - number as usize]);
            }
            for key in keys {
                prop_assert_eq!(chosen(&one, &key), chosen(&other, &key));
            }
        }
    }

    #[test]
    fn a_modulus_spreads_over_all_bindings() {
        let mut index = ModulusHashIndex::default();
        for (number, name) in (0..).zip(["a", "b", "c"]) {
            index.insert(binding_id(number), hash_of(name.as_bytes()));
        }
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..100 {
            index.find(&number.to_string(), |ids| {
                seen.insert(ids[0]);
            });
        }
        assert_eq!(seen.len(), 3);
        (0..3).for_each(|number| index.remove(binding_id(number)));
        index.find("k", |_| panic!("there is no binding"));
    }

    #[test]
    fn weights_are_integers_above_zero() {
        let check = |key: &str| check_weight(key).map_err(|error| error.explanation);
        assert_eq!(check("1"), Ok(()));
        assert_eq!(check("+3"), Ok(()));
        assert_eq!(check(&"9".repeat(60)), Ok(()));
        assert_eq!(check("0"), Err("The binding key must be greater than 0".into()));
        assert_eq!(check("-3"), Err("The binding key must be greater than 0".into()));
        assert_eq!(check("abc"), Err("The binding key must be an integer: <<\"abc\">>".into()));
        assert_eq!(check(""), Err("The binding key must be an integer: <<>>".into()));
        assert_eq!(check("1.5"), Err("The binding key must be an integer: <<\"1.5\">>".into()));
    }

    #[test]
    fn arguments_are_checked() {
        let check = |entries: &[(&str, AMQPValue)]| {
            let mut table = FieldTable::default();
            for (name, value) in entries {
                table.insert((*name).into(), value.clone());
            }
            check_arguments(Resource::exchange("/", "x"), &table).map_err(|error| error.explanation)
        };
        let text = |text: &str| AMQPValue::LongString(text.into());
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[(HASH_HEADER, text("h")), (X_ALGORITHM, text("ring"))]), Ok(()));
        assert_eq!(check(&[(X_HASH_ON, text("h")), (X_ALGORITHM, text("jump"))]), Ok(()));
        assert_eq!(
            check(&[(HASH_HEADER, text("h")), (HASH_PROPERTY, text("message_id"))]),
            Err("hash-header and hash-property are mutually exclusive".into())
        );
        assert_eq!(check(&[(HASH_PROPERTY, text("app_id"))]), Err("Unsupported property: app_id".into()));
        assert_eq!(check(&[(X_ALGORITHM, text("dice"))]), Err("Unsupported algorithm: dice".into()));
        assert_eq!(
            check(&[(HASH_HEADER, AMQPValue::LongInt(5))]),
            Err("invalid type 'signedint' for arg 'hash-header' in exchange 'x' in vhost '/'".into())
        );
    }
}

//! Caches on a log over a simulated disk.

use std::path::Path;

use amq_protocol::frame::WriteContext;
use amq_protocol::protocol::basic::{AMQPProperties, gen_properties};
use broker_store::fs::SimFs;
use broker_store::{LogOptions, recover};
use futures_lite::future::block_on;
use proptest::prelude::*;

use super::*;

const OWNER: QueueId = QueueId(3);
const NOW: u64 = 1000;

fn logs() -> Logs {
    let fs = SimFs::new(1);
    let log = |kind| {
        let opened = block_on(recover(&fs, Path::new(&format!("/{kind:?}")), LogOptions::new(kind), |_| true));
        opened.expect("an empty disk has nothing to trip over").0
    };
    Logs { durable: log(LogKind::Durable), volatile: log(LogKind::Volatile) }
}

fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert((*name).into(), value.clone());
    }
    table
}

fn properties(entries: &[(&str, AMQPValue)]) -> Vec<u8> {
    let properties = AMQPProperties::default().with_headers(table(entries));
    gen_properties(&properties)(WriteContext::from(Vec::new())).unwrap().into_inner().0
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn cache(entries: &[(&str, AMQPValue)]) -> Cache {
    let mut arguments = table(entries);
    arguments.insert(X_MESSAGE_DEDUPLICATION.into(), AMQPValue::Boolean(true));
    Cache::declared(OWNER, &arguments).unwrap()
}

fn key(cache: &Cache, id: &str, now: u64) -> (Key, u64) {
    let bytes = properties(&[(X_DEDUPLICATION_HEADER, text(id))]);
    cache.key(&Properties::parse(&bytes).unwrap(), now).unwrap()
}

/// Takes a message in; true if it is new.
fn take(cache: &mut Cache, logs: &mut Logs, id: &str, now: u64) -> bool {
    let (key, expires_ms) = key(cache, id, now);
    if cache.seen(key, now).is_some() {
        return false;
    }
    let number = cache.insert(logs, key, expires_ms, now);
    assert_eq!(cache.seen(key, now), Some(Seen::Pending(number)));
    cache.taken(logs, key, number, true);
    true
}

#[test]
fn a_value_is_taken_once_until_it_is_too_old_or_too_many_came() {
    let (mut cache, mut logs) = (cache(&[(X_CACHE_SIZE, AMQPValue::LongInt(2))]), logs());
    assert!(take(&mut cache, &mut logs, "a", NOW) && take(&mut cache, &mut logs, "b", NOW));
    assert!(!take(&mut cache, &mut logs, "a", NOW) && !take(&mut cache, &mut logs, "b", NOW));
    assert!(take(&mut cache, &mut logs, "c", NOW));
    assert!(take(&mut cache, &mut logs, "a", NOW), "a was the oldest");
    assert_eq!((cache.len(), logs.durable.figures().live_messages), (2, 2));
}

#[test]
fn values_expire_by_argument_or_header() {
    let (mut cache, mut logs) = (cache(&[(X_CACHE_TTL, AMQPValue::LongInt(100))]), logs());
    assert!(take(&mut cache, &mut logs, "a", NOW));
    assert!(!take(&mut cache, &mut logs, "a", NOW + 99));
    assert!(take(&mut cache, &mut logs, "a", NOW + 100));
    let bytes = properties(&[(X_DEDUPLICATION_HEADER, text("b")), (X_CACHE_TTL, AMQPValue::LongInt(7))]);
    assert_eq!(cache.key(&Properties::parse(&bytes).unwrap(), NOW).unwrap().1, NOW + 7);
}

#[test]
fn the_header_may_have_another_name_and_may_be_absent() {
    let cache = cache(&[(X_DEDUPLICATION_HEADER, text("id"))]);
    let of = |bytes: &[u8]| cache.key(&Properties::parse(bytes).unwrap(), NOW).map(|(key, _)| key);
    assert_eq!(of(&properties(&[(X_DEDUPLICATION_HEADER, text("a"))])), None);
    assert_eq!(of(&[0, 0]), None);
    let five = of(&properties(&[("id", AMQPValue::LongInt(5))]));
    assert!(five.is_some());
    assert_eq!(of(&properties(&[("id", AMQPValue::ShortShortUInt(5))])), five);
    assert_ne!(of(&properties(&[("id", text("6"))])), five);
}

#[test]
fn what_was_refused_is_new_again() {
    let (mut cache, mut logs) = (cache(&[]), logs());
    let (key, expires_ms) = key(&cache, "a", NOW);
    cache.insert(&mut logs, key, expires_ms, NOW);
    cache.remove(&mut logs, key);
    assert!(take(&mut cache, &mut logs, "a", NOW));
}

#[test]
fn records_read_back() {
    let (mut first, mut logs) = (cache(&[]), logs());
    assert!(take(&mut first, &mut logs, "a", NOW) && take(&mut first, &mut logs, "b", NOW));
    let mut again = cache(&[]);
    for id in ["a", "b"] {
        let (seq, position) = first.known[&key(&first, id, NOW).0].record.unwrap();
        again.recovered(seq, position, logs.durable.read(position).unwrap().unwrap());
    }
    assert!(!take(&mut again, &mut logs, "a", NOW) && !take(&mut again, &mut logs, "b", NOW));
    assert!(take(&mut again, &mut logs, "c", NOW));
    again.drop_records(&mut logs);
    assert_eq!(logs.durable.figures().live_messages, 0);
}

#[test]
fn arguments_are_checked() {
    let check = |name: &str, value: AMQPValue| {
        check_arguments(Resource::queue("/", "q"), &table(&[(name, value)])).map_err(|error| error.explanation)
    };
    assert_eq!(check(X_CACHE_SIZE, AMQPValue::LongInt(5)), Ok(()));
    assert_eq!(
        check(X_CACHE_SIZE, text("5")),
        Err("invalid type 'longstr' for arg 'x-cache-size' in queue 'q' in vhost '/'".into())
    );
    assert_eq!(
        check(X_CACHE_TTL, AMQPValue::LongInt(0)),
        Err("invalid arg 'x-cache-ttl' for queue 'q' in vhost '/': 0 is not a positive integer in range".into())
    );
    assert!(check(X_MESSAGE_DEDUPLICATION, AMQPValue::LongInt(1)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn memory_is_bounded(ids in prop::collection::vec((0_u8..40, any::<bool>()), 0..200)) {
        let (mut cache, mut logs) = (cache(&[(X_CACHE_SIZE, AMQPValue::LongInt(8))]), logs());
        for (id, refused) in ids {
            let (key, expires_ms) = key(&cache, &id.to_string(), NOW);
            if cache.seen(key, NOW).is_none() {
                let number = cache.insert(&mut logs, key, expires_ms, NOW);
                if refused {
                    cache.remove(&mut logs, key);
                } else {
                    cache.taken(&mut logs, key, number, true);
                }
            }
            prop_assert!(cache.len() <= 8 && cache.by_age.len() <= 2 * 8 + 64);
            prop_assert_eq!(logs.durable.figures().live_messages, cache.len() as u64);
        }
    }
}

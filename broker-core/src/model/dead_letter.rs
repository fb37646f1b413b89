//! What dying does to a message: the deaths in its headers, as RabbitMQ 4.0 writes them, and its routing keys.
//!
//! `x-death` is an array of tables, the most recent death first, one for each queue and reason: `queue`, `reason`, `count`, `time` (of the first),
//! `exchange`, `routing-keys`, and `original-expiration` if the message had one. `x-first-death-*` stays, `x-last-death-*` follows. What a publisher wrote
//! there itself is not believed: it is replaced by the first true death.

use amq_protocol::types::{AMQPValue, FieldArray, FieldTable};

use crate::model::field_table;
use crate::model::headers::sender_selected;
use crate::model::message::{Message, Stamp};
use crate::model::properties::{Properties, with_headers_and_no_expiration};
use crate::model::queue::DeathReason;

const DEATHS: &str = "x-death";

/// A message that died, ready to be published again.
#[derive(Debug)]
pub struct DeadLetter {
    /// Its properties, with the new death and without expiration.
    pub properties: Vec<u8>,
    /// The keys that it was last routed by.
    pub routing_keys: Vec<String>,
    /// Queue of each death and whether it was a rejection, the most recent first.
    deaths: Vec<(String, bool)>,
}

impl DeadLetter {
    /// Notes that `message` died in `queue` at `now_ms`.
    #[must_use]
    pub fn new(message: Message<'_>, queue: &str, reason: DeathReason, now_ms: u64) -> Self {
        let properties = Properties::parse(message.properties).unwrap_or_default();
        let routing_keys = routing_keys(&message, &properties);
        let mut headers = properties.parse_headers().unwrap_or_default();
        let mut deaths = if message.stamp.is_dead_lettered() { deaths_of(&headers) } else { Vec::new() };
        let earlier = deaths
            .iter()
            .position(|death| field(death, "queue") == queue && field(death, "reason") == reason.name());
        let latest = match earlier {
            Some(at) => again(deaths.remove(at)),
            None => new_death(&message, &properties, &routing_keys, queue, reason, now_ms),
        };
        let is_first = deaths.is_empty() && earlier.is_none();
        deaths.insert(0, latest);
        write_ends(&mut headers, &deaths[0], is_first, queue, reason);
        let names = deaths
            .iter()
            .map(|death| {
                (field(death, "queue").to_owned(), field(death, "reason") == DeathReason::Rejected.name())
            })
            .collect();
        let array: Vec<AMQPValue> = deaths.into_iter().map(AMQPValue::FieldTable).collect();
        headers.insert(DEATHS.into(), AMQPValue::FieldArray(array.into()));
        let properties = with_headers_and_no_expiration(message.properties, &field_table::encode(&headers));
        Self { properties, routing_keys, deaths: names }
    }

    /// True if the message has been in `queue` before and no consumer has rejected it since: nothing would ever stop it.
    #[must_use]
    pub fn is_cycle(&self, queue: &str) -> bool {
        match self.deaths.iter().position(|(name, _)| name == queue) {
            Some(at) => self.deaths[..=at].iter().all(|(_, rejected)| !rejected),
            None => false,
        }
    }

    /// The stamp of the new message. `rerouted` says that the keys of the old one do not count any more.
    #[must_use]
    pub fn stamp(&self, old: Stamp, now_ms: u64, rerouted: bool) -> Stamp {
        Stamp::dead_lettered_at(now_ms, rerouted || old.is_rerouted())
    }
}

/// Where a message was before it died for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstDeath {
    /// The queue in which it died.
    pub queue: String,
    /// The exchange that it had been published to.
    pub exchange: String,
    /// Its routing key there.
    pub routing_key: String,
}

/// The first death of a message, if it was dead-lettered here. What a publisher wrote into its headers is not believed.
#[must_use]
pub fn first_death(message: &Message<'_>, properties: &Properties<'_>) -> Option<FirstDeath> {
    if !message.stamp.is_dead_lettered() {
        return None;
    }
    let headers = properties.parse_headers().ok()?;
    let queue = field(&headers, "x-first-death-queue");
    let deaths = deaths_of(&headers);
    let death = deaths.iter().rfind(|death| field(death, "queue") == queue)?;
    let routing_key = match death.inner().get("routing-keys") {
        Some(AMQPValue::FieldArray(keys)) => match keys.as_slice().first() {
            Some(AMQPValue::LongString(key)) => String::from_utf8_lossy(key.as_bytes()).into_owned(),
            _ => String::new(),
        },
        _ => String::new(),
    };
    let exchange = field(&headers, "x-first-death-exchange").to_owned();
    Some(FirstDeath { queue: queue.to_owned(), exchange, routing_key })
}

/// The keys that a message was routed by: its own and those in CC, unless it has been given another since.
fn routing_keys(message: &Message<'_>, properties: &Properties<'_>) -> Vec<String> {
    let mut keys = vec![message.routing_key.to_owned()];
    if !message.stamp.is_rerouted()
        && let Some(headers) = properties.headers
        && let Ok(Some(selected)) = sender_selected(headers)
    {
        keys.extend(selected.routing_keys.into_iter().map(str::to_owned));
    }
    keys
}

fn deaths_of(headers: &FieldTable) -> Vec<FieldTable> {
    let Some(AMQPValue::FieldArray(deaths)) = headers.inner().get(DEATHS) else {
        return Vec::new();
    };
    let tables = deaths.as_slice().iter().filter_map(|death| match death {
        AMQPValue::FieldTable(table) => Some(table.clone()),
        _ => None,
    });
    tables.collect()
}

fn field<'a>(death: &'a FieldTable, name: &str) -> &'a str {
    match death.inner().get(name) {
        Some(AMQPValue::LongString(text)) => std::str::from_utf8(text.as_bytes()).unwrap_or_default(),
        _ => "",
    }
}

fn string(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn again(mut death: FieldTable) -> FieldTable {
    let count = match death.inner().get("count") {
        Some(AMQPValue::LongLongInt(count)) => count.saturating_add(1),
        _ => 1,
    };
    death.insert("count".into(), AMQPValue::LongLongInt(count));
    death
}

fn new_death(
    message: &Message<'_>,
    properties: &Properties<'_>,
    routing_keys: &[String],
    queue: &str,
    reason: DeathReason,
    now_ms: u64,
) -> FieldTable {
    let keys: FieldArray = routing_keys.iter().map(|key| string(key)).collect::<Vec<_>>().into();
    let mut death = FieldTable::default();
    death.insert("count".into(), AMQPValue::LongLongInt(1));
    death.insert("reason".into(), string(reason.name()));
    death.insert("queue".into(), string(queue));
    death.insert("time".into(), AMQPValue::Timestamp(now_ms / 1000));
    death.insert("exchange".into(), string(message.exchange));
    death.insert("routing-keys".into(), AMQPValue::FieldArray(keys));
    if let Some(expiration) = properties.expiration {
        death.insert("original-expiration".into(), string(expiration));
    }
    death
}

/// Writes `x-last-death-*`, and `x-first-death-*` with the first death.
fn write_ends(headers: &mut FieldTable, latest: &FieldTable, is_first: bool, queue: &str, reason: DeathReason) {
    let ends: &[&str] = if is_first { &["first", "last"] } else { &["last"] };
    for end in ends {
        headers.insert(format!("x-{end}-death-reason").into(), string(reason.name()));
        headers.insert(format!("x-{end}-death-queue").into(), string(queue));
        headers.insert(format!("x-{end}-death-exchange").into(), string(field(latest, "exchange")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
        let mut table = FieldTable::default();
        for (key, value) in entries {
            table.insert((*key).into(), value.clone());
        }
        table
    }

    fn properties(headers: &FieldTable, expiration: Option<&str>) -> Vec<u8> {
        let mut bytes = with_headers_and_no_expiration(&[0, 0], &field_table::encode(headers));
        if let Some(text) = expiration {
            bytes[0] |= 1;
            bytes.push(u8::try_from(text.len()).unwrap());
            bytes.extend(text.bytes());
        }
        bytes
    }

    fn message<'a>(stamp: Stamp, properties: &'a [u8]) -> Message<'a> {
        Message { stamp, exchange: "x", routing_key: "k", properties, body: b"body" }
    }

    fn headers_of(letter: &DeadLetter) -> FieldTable {
        let properties = Properties::parse(&letter.properties).unwrap();
        assert_eq!(properties.expiration, None);
        properties.parse_headers().unwrap()
    }

    fn summary(headers: &FieldTable) -> Vec<String> {
        let deaths = deaths_of(headers);
        let line = |death: &FieldTable| {
            let count = death.inner().get("count").unwrap();
            let AMQPValue::LongLongInt(count) = count else { panic!("{count:?}") };
            format!("{} {} {count}", field(death, "queue"), field(death, "reason"))
        };
        deaths.iter().map(line).collect()
    }

    #[test]
    fn only_the_brokers_word_says_where_a_message_died_first() {
        let none = [0, 0];
        let first = DeadLetter::new(message(Stamp::at(1), &none), "q", DeathReason::Expired, 1);
        let stamp = first.stamp(Stamp::at(1), 1, false);
        let in_dead = Message { exchange: "dlx", routing_key: "dead", ..message(stamp, &first.properties) };
        let second = DeadLetter::new(in_dead, "dead", DeathReason::Rejected, 2);
        let again = Message { exchange: "y", ..message(stamp, &second.properties) };
        let properties = Properties::parse(&second.properties).unwrap();
        let expected = FirstDeath { queue: "q".into(), exchange: "x".into(), routing_key: "k".into() };
        assert_eq!(first_death(&again, &properties), Some(expected));
        let forged = Message { stamp: Stamp::at(1), ..again };
        assert_eq!(first_death(&forged, &properties), None);
    }

    #[test]
    fn the_first_death_tells_where_the_message_came_from() {
        let cc = AMQPValue::FieldArray(vec![string("c")].into());
        let bytes = properties(&table(&[("CC", cc)]), Some("50"));
        let letter = DeadLetter::new(message(Stamp::at(1), &bytes), "q", DeathReason::Expired, 2_500);
        assert_eq!(letter.routing_keys, ["k", "c"]);
        let headers = headers_of(&letter);
        let expected = table(&[
            ("count", AMQPValue::LongLongInt(1)),
            ("reason", string("expired")),
            ("queue", string("q")),
            ("time", AMQPValue::Timestamp(2)),
            ("exchange", string("x")),
            ("routing-keys", AMQPValue::FieldArray(vec![string("k"), string("c")].into())),
            ("original-expiration", string("50")),
        ]);
        assert_eq!(deaths_of(&headers), [expected]);
        for end in ["first", "last"] {
            assert_eq!(field(&headers, &format!("x-{end}-death-queue")), "q");
            assert_eq!(field(&headers, &format!("x-{end}-death-reason")), "expired");
            assert_eq!(field(&headers, &format!("x-{end}-death-exchange")), "x");
        }
    }

    #[test]
    fn deaths_are_counted_and_the_latest_comes_first() {
        let mut bytes = vec![0, 0];
        let mut stamp = Stamp::at(1);
        let mut seen = Vec::new();
        for (queue, reason) in
            [("a", DeathReason::Rejected), ("b", DeathReason::Expired), ("a", DeathReason::Rejected)]
        {
            let letter = DeadLetter::new(message(stamp, &bytes), queue, reason, 1);
            stamp = letter.stamp(stamp, 1, false);
            seen.push(summary(&headers_of(&letter)));
            bytes.clone_from(&letter.properties);
        }
        assert_eq!(seen[2], ["a rejected 2", "b expired 1"]);
        let headers = Properties::parse(&bytes).unwrap().parse_headers().unwrap();
        assert_eq!(field(&headers, "x-first-death-queue"), "a");
        assert_eq!(field(&headers, "x-last-death-queue"), "a");
    }

    #[test]
    fn deaths_that_a_publisher_wrote_do_not_count() {
        let death =
            table(&[("queue", string("a")), ("reason", string("expired")), ("count", AMQPValue::LongLongInt(9))]);
        let deaths = AMQPValue::FieldArray(vec![AMQPValue::FieldTable(death)].into());
        let bytes = properties(&table(&[("x-death", deaths), ("x-first-death-queue", string("z"))]), None);
        let letter = DeadLetter::new(message(Stamp::at(1), &bytes), "a", DeathReason::Expired, 1);
        let headers = headers_of(&letter);
        assert_eq!(summary(&headers), ["a expired 1"]);
        assert_eq!(field(&headers, "x-first-death-queue"), "a");
    }

    #[test]
    fn a_cycle_without_rejection_is_one() {
        let letter = |deaths: &[(&str, bool)]| DeadLetter {
            properties: Vec::new(),
            routing_keys: Vec::new(),
            deaths: deaths.iter().map(|(queue, rejected)| ((*queue).to_owned(), *rejected)).collect(),
        };
        assert!(letter(&[("a", false), ("b", false)]).is_cycle("b"));
        assert!(!letter(&[("a", false), ("b", true)]).is_cycle("b"));
        assert!(letter(&[("a", false), ("b", true)]).is_cycle("a"));
        assert!(!letter(&[("a", false)]).is_cycle("c"));
    }

    #[test]
    fn a_message_that_was_given_another_key_has_that_one_only() {
        let cc = AMQPValue::FieldArray(vec![string("c")].into());
        let bytes = properties(&table(&[("CC", cc)]), None);
        let stamp = Stamp::dead_lettered_at(1, true);
        let letter = DeadLetter::new(message(stamp, &bytes), "q", DeathReason::Maxlen, 1);
        assert_eq!(letter.routing_keys, ["k"]);
        assert!(letter.stamp(stamp, 2, false).is_rerouted());
    }
}

//! Rates per second, from two looks at the same counters.
//!
//! The totals of the broker are looked at every [`INTERVAL`] and kept for ten minutes. What belongs to one object (a queue, a
//! channel, a connection) is looked at when somebody asks for it, so what nobody looks at costs nothing: the first look at an object
//! answers with a rate of 0.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use broker_core::shard::stats::ShardStats;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

/// Time between two looks, RabbitMQ's `collect_statistics_interval`.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);

/// Looks at the totals that are kept: ten minutes of them, RabbitMQ's first retention.
const HISTORY: usize = 121;

/// Objects that nobody has asked for in this time are forgotten.
const FORGET: Duration = Duration::from_secs(120);

/// Most samples of an answer, RabbitMQ's limit.
const MAX_SAMPLES: u64 = 500;

/// What counters belong to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Object {
    Queue {
        vhost: String,
        name: String,
    },
    /// By name.
    Connection(String),
    /// By name.
    Channel(String),
}

/// The last looks at everything.
#[derive(Debug, Default)]
pub(super) struct Rates {
    objects: HashMap<Object, Looks>,
    cleaned: Option<Instant>,
    history: VecDeque<Total>,
}

/// The numbers of all shards at one time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Total {
    /// Milliseconds since the Unix epoch.
    pub(super) at_ms: u64,
    pub(super) stats: ShardStats,
}

#[derive(Debug)]
struct Looks {
    older: Look,
    newer: Look,
}

#[derive(Clone, Debug)]
struct Look {
    at: Instant,
    counters: Box<[u64]>,
}

impl Look {
    /// What has happened since `older`, per second.
    fn since(&self, older: &Self) -> Vec<f64> {
        let seconds = self.at.duration_since(older.at).as_secs_f64();
        let pairs = self.counters.iter().zip(&older.counters);
        pairs.map(|(&newer, &older)| per_second(older, newer, seconds)).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate is a float")]
fn per_second(older: u64, newer: u64, seconds: f64) -> f64 {
    // An object of the same name may have been made anew: counters then begin at 0 again.
    if seconds > 0.0 && newer >= older { (newer - older) as f64 / seconds } else { 0.0 }
}

impl Rates {
    /// Looks at an object's counters, always the same ones in the same order, and returns their rates.
    pub(super) fn look(&mut self, object: Object, counters: &[u64], now: Instant) -> Vec<f64> {
        self.clean(now);
        let look = Look { at: now, counters: counters.into() };
        let Some(looks) = self.objects.get_mut(&object) else {
            self.objects.insert(object, Looks { older: look.clone(), newer: look });
            return vec![0.0; counters.len()];
        };
        if now.duration_since(looks.newer.at) >= INTERVAL {
            looks.older = std::mem::replace(&mut looks.newer, look);
        } else if looks.newer.at == looks.older.at {
            // Seen once so far, a short time ago.
            return look.since(&looks.older);
        }
        looks.newer.since(&looks.older)
    }

    fn clean(&mut self, now: Instant) {
        if self.cleaned.is_some_and(|cleaned| now.duration_since(cleaned) < FORGET) {
            return;
        }
        self.cleaned = Some(now);
        self.objects.retain(|_, looks| now.duration_since(looks.newer.at) < FORGET);
    }

    /// Keeps a look at the totals.
    pub(super) fn keep(&mut self, total: Total) {
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(total);
    }

    /// The rate of a number of the totals over the last interval, and its samples in `range`.
    #[expect(clippy::cast_precision_loss, reason = "a rate is a float")]
    pub(super) fn total(&self, number: fn(&ShardStats) -> u64, range: Option<Range>) -> Details {
        let seconds = |older: &Total, newer: &Total| newer.at_ms.saturating_sub(older.at_ms) as f64 / 1000.0;
        let mut newest = self.history.iter().rev();
        let rate = match (newest.next(), newest.next()) {
            (Some(newer), Some(older)) => {
                signed_rate(number(&older.stats), number(&newer.stats), seconds(older, newer))
            }
            _ => 0.0,
        };
        let Some(range) = range else { return Details { rate, samples: None } };
        let mut samples = Vec::new();
        let mut next = u64::MAX;
        let end = self.history.back().map_or(0, |total| total.at_ms);
        for total in self.history.iter().rev() {
            if total.at_ms > next {
                continue;
            }
            if end.saturating_sub(total.at_ms) > range.age_ms {
                break;
            }
            samples.push(Sample { sample: number(&total.stats), timestamp: total.at_ms });
            // Half an interval of tolerance: looks are never exactly as far apart as they should be.
            next = total.at_ms.saturating_sub(range.step_ms.saturating_sub(1250));
        }
        Details { rate, samples: Some(samples) }
    }
}

/// Gauges go down too.
#[expect(clippy::cast_precision_loss, reason = "a rate is a float")]
fn signed_rate(older: u64, newer: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { (newer as f64 - older as f64) / seconds } else { 0.0 }
}

/// What `*_age` and `*_incr` ask for, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    age_ms: u64,
    step_ms: u64,
}

impl Range {
    /// `None` if the range is empty or has too many samples.
    pub(super) fn new(age_s: u64, step_s: u64) -> Option<Self> {
        let samples = age_s.checked_div(step_s)?;
        let [age_ms, step_ms] = [age_s, step_s].map(|seconds| seconds.saturating_mul(1000));
        (age_s > 0 && samples <= MAX_SAMPLES).then_some(Self { age_ms, step_ms })
    }
}

/// A `*_details` object.
#[derive(Clone, Debug)]
pub(super) struct Details {
    pub(super) rate: f64,
    /// The newest first.
    pub(super) samples: Option<Vec<Sample>>,
}

/// A number at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Sample {
    pub(super) sample: u64,
    /// Milliseconds since the Unix epoch.
    pub(super) timestamp: u64,
}

impl From<f64> for Details {
    fn from(rate: f64) -> Self {
        Self { rate, samples: None }
    }
}

impl Serialize for Details {
    #[expect(clippy::cast_precision_loss, reason = "an average is a float")]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("rate", &self.rate)?;
        if let Some(samples) = &self.samples {
            map.serialize_entry("samples", samples)?;
            if let (Some(newest), Some(oldest)) = (samples.first(), samples.last()) {
                let seconds = newest.timestamp.saturating_sub(oldest.timestamp) as f64 / 1000.0;
                map.serialize_entry("avg_rate", &signed_rate(oldest.sample, newest.sample, seconds))?;
                let sum: u64 = samples.iter().map(|sample| sample.sample).sum();
                map.serialize_entry("avg", &(sum as f64 / samples.len() as f64))?;
            }
        }
        map.end()
    }
}

/// Numbers with their rates: `{"publish": 3, "publish_details": {"rate": 0.0}, ..}`.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers(Vec<(&'static str, u64, Details)>);

impl Numbers {
    /// Numbers under `names`, with `rates`.
    pub(super) fn new(names: &[&'static str], numbers: &[u64], rates: &[f64]) -> Self {
        let numbers = names.iter().zip(numbers).zip(rates);
        Self(numbers.map(|((&name, &number), &rate)| (name, number, rate.into())).collect())
    }

    pub(super) fn push(&mut self, name: &'static str, number: u64, details: Details) {
        self.0.push((name, number, details));
    }

    /// True if nothing has ever been counted.
    pub(super) fn is_zero(&self) -> bool {
        self.0.iter().all(|(_, number, _)| *number == 0)
    }
}

impl Serialize for Numbers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, number, details) in &self.0 {
            map.serialize_entry(name, number)?;
            map.serialize_entry(&format!("{name}_details"), details)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Object {
        Object::Queue { vhost: "/".to_owned(), name: "q".to_owned() }
    }

    #[test]
    fn a_rate_comes_from_two_looks() {
        let mut rates = Rates::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(rates.look(queue(), &[10], at(0)), [0.0]);
        assert_eq!(rates.look(queue(), &[14], at(2)), [2.0], "since the only look");
        assert_eq!(rates.look(queue(), &[110], at(10)), [10.0]);
        assert_eq!(rates.look(queue(), &[999], at(11)), [10.0], "until the interval is over");
        assert_eq!(rates.look(queue(), &[5], at(20)), [0.0], "made anew");
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten() {
        let mut rates = Rates::default();
        let start = Instant::now();
        rates.look(queue(), &[1], start);
        rates.look(Object::Channel("c".to_owned()), &[1], start + FORGET);
        assert_eq!(rates.objects.len(), 1);
    }

    #[test]
    fn totals_have_samples_from_the_newest_back() {
        let mut rates = Rates::default();
        for second in (0..60).step_by(5) {
            let stats = ShardStats { messages_received: second * 10, ..ShardStats::default() };
            rates.keep(Total { at_ms: second * 1000, stats });
        }
        let details = rates.total(|stats| stats.messages_received, Range::new(20, 10));
        let json = serde_json::to_value(&details).unwrap();
        let samples = serde_json::json!([
            {"sample": 550, "timestamp": 55_000}, {"sample": 450, "timestamp": 45_000},
            {"sample": 350, "timestamp": 35_000}
        ]);
        assert_eq!(json, serde_json::json!({"rate": 10.0, "samples": samples, "avg_rate": 10.0, "avg": 450.0}));
        assert_eq!(Range::new(0, 5), None);
        assert_eq!(Range::new(5, 0), None);
        assert_eq!(Range::new(10_000, 1), None);
    }
}

//! Rates per second and samples, from looks at the same counters again and again.
//!
//! All counters are looked at every [`INTERVAL`], in *rounds*; what a round finds unchanged since the one before is not kept, so
//! what is idle costs nothing. The rate of a number is what happened between the last two rounds; samples go back ten minutes.
//!
//! Memory is bounded: beyond [`MAX_LOOKS`] looks, an object keeps its last two only, enough for its rates.

mod details;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use broker_core::admin::ConnectionAddress;
use broker_core::ids::{ChannelKey, QueueId, ShardId};
use broker_core::shard::stats::ShardStats;

pub(super) use details::{Counts, Details, Later, Name, Numbers, Range, names};

/// Time between two rounds, RabbitMQ's `collect_statistics_interval`.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);

/// Rounds that are kept: ten minutes of them, RabbitMQ's first retention.
const HISTORY: usize = 121;

/// Looks at objects that are kept with the history of each: about 30 MB of them.
const MAX_LOOKS: usize = 200_000;

/// What counters belong to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Object {
    /// The process: figures of the operating system.
    Node,
    Queue(QueueId),
    Connection(ConnectionAddress),
    Channel(ShardId, ChannelKey),
    /// Virtual host and name.
    Exchange(Arc<str>, Arc<str>),
}

/// The rounds of the last ten minutes.
#[derive(Debug, Default)]
pub(super) struct Rates {
    /// The oldest first.
    rounds: VecDeque<Round>,
    /// Number of the newest round; they count from 1.
    newest: u64,
    series: HashMap<Object, Series>,
    looks: usize,
}

/// The numbers of all shards in one round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    /// Milliseconds since the Unix epoch.
    pub(super) at_ms: u64,
    pub(super) stats: ShardStats,
}

/// What is known of one object.
#[derive(Debug)]
struct Series {
    /// What the numbers were before the looks that are kept.
    base: Box<[u64]>,
    /// The oldest first; those rounds only in which something had changed.
    looks: VecDeque<Look>,
    /// When a round found it changed last, or new, in milliseconds since the Unix epoch.
    changed_ms: u64,
    /// The newest round in which it was there.
    kept: u64,
}

#[derive(Debug)]
struct Look {
    round: u64,
    values: Box<[u64]>,
}

impl Series {
    fn newest(&self) -> &[u64] {
        self.looks.back().map_or(&self.base, |look| &look.values)
    }

    /// A number as it was in a round.
    fn at(&self, round: u64, number: usize) -> u64 {
        let look = self.looks.iter().rev().find(|look| look.round <= round);
        look.map_or(&self.base, |look| &look.values).get(number).copied().unwrap_or_default()
    }
}

impl Rates {
    /// Begins a round. What has changed since the round before follows in calls of [`Self::keep`].
    pub(super) fn begin(&mut self, round: Round) {
        if self.rounds.len() == HISTORY {
            self.rounds.pop_front();
        }
        self.rounds.push_back(round);
        self.newest += 1;
        if self.newest.is_multiple_of(HISTORY as u64 / 4) || self.looks > MAX_LOOKS {
            self.forget();
        }
    }

    /// Keeps the numbers of an object, always the same ones in the same order. What is new counted from 0; in the first
    /// round everything is old.
    pub(super) fn keep(&mut self, object: Object, values: &[u64]) {
        let (round, first) = (self.newest, self.newest == 1);
        let changed_ms = self.rounds.back().map_or(0, |round| round.at_ms);
        let base = || if first { values.into() } else { vec![0; values.len()].into_boxed_slice() };
        let series = self.series.entry(object).or_insert_with(|| Series {
            base: base(),
            looks: VecDeque::with_capacity(2),
            changed_ms,
            kept: round,
        });
        series.kept = round;
        if series.newest() == values {
            return;
        }
        series.changed_ms = changed_ms;
        series.looks.push_back(Look { round, values: values.into() });
        self.looks += 1;
    }

    /// Forgets looks that are too old, and objects without any that the last round has not found either: they are gone, or idle, and then
    /// their numbers are what they have been all the time.
    fn forget(&mut self) {
        let oldest = (self.newest + 1).saturating_sub(self.rounds.len() as u64);
        let keep = if self.looks > MAX_LOOKS { 2 } else { HISTORY };
        self.looks = 0;
        for series in self.series.values_mut() {
            while series.looks.len() > keep || series.looks.front().is_some_and(|look| look.round < oldest) {
                if let Some(look) = series.looks.pop_front() {
                    series.base = look.values;
                }
            }
            self.looks += series.looks.len();
        }
        let last = self.newest.saturating_sub(1);
        self.series.retain(|_, series| !series.looks.is_empty() || series.kept >= last);
    }

    /// Forgets everything but the newest round, which the next one is compared with.
    pub(super) fn reset(&mut self) {
        let newest = self.rounds.pop_back();
        self.rounds.clear();
        self.rounds.extend(newest);
        self.forget();
    }

    /// What is known of an object.
    pub(super) fn of<'a>(&'a self, object: &Object) -> Seen<'a> {
        Seen { rates: self, series: self.series.get(object) }
    }

    /// The rate of a number of the totals over the last round, and its samples in `range`.
    pub(super) fn total(&self, number: fn(&ShardStats) -> u64, range: Option<Range>) -> Details {
        Details::new(self.rounds.iter().rev().map(|round| (round.at_ms, number(&round.stats))), range)
    }
}

/// What the last rounds have found of one object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    rates: &'a Rates,
    /// Absent if nothing has changed in all of them.
    series: Option<&'a Series>,
}

impl Seen<'_> {
    /// The rate of one of its numbers, and its samples in `range`. `now` is what the number is at present.
    pub(super) fn details(&self, number: usize, now: u64, range: Option<Range>) -> Details {
        let newest = self.rates.newest;
        let rounds = self.rates.rounds.iter().rev().zip(0..);
        let value = |back: u64| self.series.map_or(now, |series| series.at(newest - back, number));
        Details::new(rounds.map(|(round, back)| (round.at_ms, value(back))), range)
    }

    /// Since when its numbers have been what they are now, in milliseconds since the Unix epoch; none if they have changed since the last
    /// round. Of objects that every round finds.
    pub(super) fn idle_since_ms(&self, now: &[u64]) -> Option<u64> {
        self.series.filter(|series| series.newest() == now).map(|series| series.changed_ms)
    }

    /// The rate of one of its numbers.
    pub(super) fn rate(&self, number: usize) -> f64 {
        self.series.map_or(0.0, |_| self.details(number, 0, None).rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: Object = Object::Queue(QueueId(7));

    fn begin(rates: &mut Rates, second: u64) {
        let stats = ShardStats { messages_received: second * 10, ..ShardStats::default() };
        rates.begin(Round { at_ms: second * 1000, stats });
    }

    #[test]
    fn a_rate_is_what_happened_between_the_last_two_rounds() {
        let mut rates = Rates::default();
        begin(&mut rates, 0);
        rates.keep(QUEUE, &[1000]);
        assert_eq!(rates.of(&QUEUE).details(0, 1000, None).rate, 0.0, "what was there before");
        begin(&mut rates, 5);
        rates.keep(QUEUE, &[1050]);
        let new = Object::Queue(QueueId(8));
        rates.keep(new.clone(), &[20]);
        assert_eq!(rates.of(&QUEUE).rate(0), 10.0);
        assert_eq!(rates.of(&new).rate(0), 4.0, "what is new counted from 0");
        begin(&mut rates, 10);
        rates.keep(QUEUE, &[1040]);
        assert_eq!(rates.of(&QUEUE).rate(0), -2.0, "lengths go down");
        assert_eq!(rates.of(&new).rate(0), 0.0, "unchanged");
        assert_eq!(rates.of(&Object::Node).details(0, 5, None).rate, 0.0);
    }

    #[test]
    fn samples_go_back_from_the_newest() {
        let mut rates = Rates::default();
        for second in (0..60).step_by(5) {
            begin(&mut rates, second);
            rates.keep(QUEUE, &[if second < 50 { 0 } else { 3 }]);
        }
        let range = Range::new(Some(20), Some(10)).unwrap();
        let json = |details: Details| serde_json::to_value(details).unwrap();
        assert_eq!(
            json(rates.total(|stats| stats.messages_received, range)),
            serde_json::json!({"rate": 10.0, "avg_rate": 10.0, "avg": 450.0, "samples": [
                {"sample": 550, "timestamp": 55_000}, {"sample": 450, "timestamp": 45_000},
                {"sample": 350, "timestamp": 35_000}
            ]})
        );
        let samples = |details: Details| json(details)["samples"].as_array().unwrap().clone();
        let of_queue = samples(rates.of(&QUEUE).details(0, 3, range));
        assert_eq!(
            of_queue.iter().map(|sample| sample["sample"].as_u64().unwrap()).collect::<Vec<_>>(),
            [3, 0, 0]
        );
        let idle = samples(rates.of(&Object::Node).details(0, 9, range));
        assert!(idle.len() == 3 && idle.iter().all(|sample| sample["sample"] == 9));
    }

    #[test]
    fn what_is_idle_or_old_is_forgotten() {
        let mut rates = Rates::default();
        for second in 0..3 * HISTORY as u64 {
            begin(&mut rates, second);
            rates.keep(QUEUE, &[second]);
            rates.keep(Object::Queue(QueueId(9)), &[1]);
        }
        assert!(rates.looks <= HISTORY + HISTORY / 4, "{}", rates.looks);
        assert_eq!(rates.of(&QUEUE).rate(0), 1.0);
        for second in 3 * HISTORY as u64..5 * HISTORY as u64 {
            begin(&mut rates, second);
        }
        assert!(rates.series.is_empty() && rates.looks == 0);
    }

    #[test]
    fn what_every_round_finds_unchanged_is_idle_since_it_changed() {
        let mut rates = Rates::default();
        let channel = Object::Channel(ShardId(0), ChannelKey { slot: 1, epoch: 1 });
        for second in 1..4 * HISTORY as u64 {
            begin(&mut rates, second);
            rates.keep(channel.clone(), &[second.min(7)]);
        }
        assert_eq!(rates.of(&channel).idle_since_ms(&[7]), Some(7000));
        assert_eq!(rates.of(&channel).idle_since_ms(&[8]), None, "it has changed since the round");
        assert_eq!(rates.of(&QUEUE).idle_since_ms(&[0]), None);
    }

    #[test]
    fn beyond_the_limit_an_object_keeps_its_last_two_looks() {
        let mut rates = Rates::default();
        let objects = MAX_LOOKS as u64 / 4;
        for round in 0..8 {
            begin(&mut rates, round);
            for queue in 0..objects {
                rates.keep(Object::Queue(QueueId(queue)), &[round * 3]);
            }
        }
        assert!(rates.looks <= MAX_LOOKS + objects as usize, "{}", rates.looks);
        assert_eq!(rates.of(&Object::Queue(QueueId(5))).rate(0), 3.0);
    }
}

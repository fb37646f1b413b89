//! What the API shows of numbers: `"publish": 3, "publish_details": {"rate": 0.0}`.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::Seen;

/// Most samples of an answer, RabbitMQ's limit.
const MAX_SAMPLES: u64 = 500;

/// Rounds are never exactly as far apart as they should be: so many milliseconds of tolerance.
const TOLERANCE_MS: u64 = 1250;

/// What `*_age` and `*_incr` ask for, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct Range {
    age_ms: u64,
    step_ms: u64,
}

impl Range {
    /// None if one of them is missing or 0.
    ///
    /// # Errors
    /// RabbitMQ's text if the range has too many samples.
    pub(in crate::http) fn new(age_s: Option<u64>, step_s: Option<u64>) -> Result<Option<Self>, String> {
        let (Some(age_s), Some(step_s)) = (age_s.filter(|age| *age > 0), step_s.filter(|step| *step > 0)) else {
            return Ok(None);
        };
        if age_s / step_s > MAX_SAMPLES {
            return Err(format!("Invalid range parameters: age {age_s}, incr {step_s}"));
        }
        let [age_ms, step_ms] = [age_s, step_s].map(|seconds| seconds.saturating_mul(1000));
        Ok(Some(Self { age_ms, step_ms }))
    }
}

/// A `*_details` object.
#[derive(Clone, Debug)]
pub(in crate::http) struct Details {
    pub(super) rate: f64,
    /// The newest first.
    samples: Option<Vec<Sample>>,
}

/// A number at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Sample {
    sample: u64,
    /// Milliseconds since the Unix epoch.
    timestamp: u64,
}

impl From<f64> for Details {
    fn from(rate: f64) -> Self {
        Self { rate, samples: None }
    }
}

impl Details {
    /// From looks (milliseconds since the epoch, number), the newest first.
    pub(super) fn new(looks: impl Iterator<Item = (u64, u64)> + Clone, range: Option<Range>) -> Self {
        let mut newest = looks.clone();
        let rate = match (newest.next(), newest.next()) {
            (Some(newer), Some(older)) => rate(older, newer),
            _ => 0.0,
        };
        let samples = range.map(|Range { age_ms, step_ms }| {
            let end = looks.clone().next().map_or(0, |(at_ms, _)| at_ms);
            let mut next = u64::MAX;
            let mut samples = Vec::new();
            for (timestamp, sample) in looks {
                if end.saturating_sub(timestamp) > age_ms.saturating_add(TOLERANCE_MS) {
                    break;
                }
                if timestamp <= next {
                    samples.push(Sample { sample, timestamp });
                    next = timestamp.saturating_sub(step_ms.saturating_sub(TOLERANCE_MS));
                }
            }
            samples
        });
        Self { rate, samples }
    }
}

/// Per second. Lengths go down too.
#[expect(clippy::cast_precision_loss, reason = "a rate is a float")]
fn rate((older_ms, older): (u64, u64), (newer_ms, newer): (u64, u64)) -> f64 {
    let seconds = newer_ms.saturating_sub(older_ms) as f64 / 1000.0;
    if seconds > 0.0 { (newer as f64 - older as f64) / seconds } else { 0.0 }
}

impl Serialize for Details {
    #[expect(clippy::cast_precision_loss, reason = "an average is a float")]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("rate", &self.rate)?;
        if let Some(samples) = &self.samples {
            map.serialize_entry("samples", samples)?;
            if let (Some(newest), Some(oldest)) = (samples.first(), samples.last()) {
                let look = |sample: &Sample| (sample.timestamp, sample.sample);
                map.serialize_entry("avg_rate", &rate(look(oldest), look(newest)))?;
                let sum: u64 = samples.iter().map(|sample| sample.sample).sum();
                map.serialize_entry("avg", &(sum as f64 / samples.len() as f64))?;
            }
        }
        map.end()
    }
}

/// The name of a number and that of its details.
pub(in crate::http) type Name = (&'static str, &'static str);

/// `names!["publish"]` is `[("publish", "publish_details")]`.
macro_rules! names {
    ($($name:literal),* $(,)?) => { [$(($name, concat!($name, "_details"))),*] };
}
pub(in crate::http) use names;

/// Numbers of one object with their rates, put together as they are written.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Counts<'a, const N: usize> {
    pub(in crate::http) names: &'static [Name; N],
    pub(in crate::http) values: [u64; N],
    pub(in crate::http) seen: Seen<'a>,
    /// Number of the first of them in what has been seen.
    pub(in crate::http) first: usize,
    pub(in crate::http) range: Option<Range>,
}

impl<const N: usize> Counts<'_, N> {
    /// True if nothing has ever been counted.
    pub(in crate::http) fn is_zero(&self) -> bool {
        self.values.iter().all(|value| *value == 0)
    }

    /// Writes them among other fields.
    pub(in crate::http) fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        for (index, ((name, details), value)) in self.names.iter().zip(&self.values).enumerate() {
            map.serialize_entry(name, value)?;
            map.serialize_entry(details, &Later(|| self.seen.details(self.first + index, *value, self.range)))?;
        }
        Ok(())
    }
}

impl<const N: usize> Serialize for Counts<'_, N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.entries(&mut map)?;
        map.end()
    }
}

/// What is made only if it is written: rows are sorted by one field without the others.
pub(in crate::http) struct Later<F>(pub(in crate::http) F);

impl<T: Serialize, F: Fn() -> T> Serialize for Later<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.0)().serialize(serializer)
    }
}

/// Numbers with their rates that are known already.
#[derive(Clone, Debug, Default)]
pub(in crate::http) struct Numbers(Vec<(Name, u64, Details)>);

impl Numbers {
    pub(in crate::http) fn push(&mut self, name: Name, number: u64, details: Details) {
        self.0.push((name, number, details));
    }

    /// True if nothing has ever been counted.
    pub(in crate::http) fn is_zero(&self) -> bool {
        self.0.iter().all(|(_, number, _)| *number == 0)
    }
}

impl Serialize for Numbers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for ((name, name_of_details), number, details) in &self.0 {
            map.serialize_entry(name, number)?;
            map.serialize_entry(name_of_details, details)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_a_limited_number_of_samples() {
        assert_eq!(Range::new(Some(0), Some(5)), Ok(None));
        assert_eq!(Range::new(Some(5), None), Ok(None));
        let refused = "Invalid range parameters: age 10000, incr 1".to_owned();
        assert_eq!(Range::new(Some(10_000), Some(1)), Err(refused));
        assert!(Range::new(Some(600), Some(5)).is_ok_and(|range| range.is_some()));
    }
}

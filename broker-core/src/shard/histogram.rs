//! Distributions as fixed classes: plain numbers of one shard, added up when somebody asks.
//!
//! The bounds of each scale are part of what the metrics promise: a query over several brokers, or over an upgrade, needs the same ones.

/// Upper bounds of the sizes of message bodies, in bytes. They are RabbitMQ's, so that its dashboards draw the same picture.
pub const MESSAGE_SIZE_BOUNDS: [u64; 8] =
    [100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 50_000_000, 100_000_000];

/// Upper bounds of latencies, in microseconds: 50 us to 30 s.
pub const LATENCY_BOUNDS_US: [u64; 18] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// Upper bounds of the time that messages spend in queues, in milliseconds: 1 ms to a day.
pub const WAIT_BOUNDS_MS: [u64; 18] = [
    1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 60_000, 600_000, 3_600_000, 21_600_000,
    86_400_000,
];

/// Upper bounds of the records in a batch.
pub const BATCH_RECORDS_BOUNDS: [u64; 9] = [1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536];

/// Upper bounds of the bytes in a batch.
pub const BATCH_BYTES_BOUNDS: [u64; 9] =
    [256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216];

/// How many values fell into each of `N` classes, whose upper bounds are given with each value; one more class is unbounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram<const N: usize> {
    /// Values per class, each in one class only.
    pub classes: [u64; N],
    /// Values beyond the last bound.
    pub beyond: u64,
    /// Sum of the values.
    pub sum: u64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self { classes: [0; N], beyond: 0, sum: 0 }
    }
}

impl<const N: usize> Histogram<N> {
    /// Counts a value `times` times. `bounds` are the same at every call.
    #[inline]
    pub fn record(&mut self, bounds: &[u64; N], value: u64, times: u64) {
        let class = bounds.iter().take_while(|&&bound| value > bound).count();
        *self.classes.get_mut(class).unwrap_or(&mut self.beyond) += times;
        self.sum = self.sum.saturating_add(value.saturating_mul(times));
    }

    /// Number of values counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.classes.iter().sum::<u64>() + self.beyond
    }

    /// Adds what another shard has counted.
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in self.classes.iter_mut().zip(other.classes) {
            *sum += count;
        }
        self.beyond += other.beyond;
        self.sum = self.sum.saturating_add(other.sum);
    }
}

/// Counts the waits of messages. Messages that came together have waited equally long, so what is counted is runs of equal values:
/// a message costs a comparison and an addition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    counted: Histogram<{ WAIT_BOUNDS_MS.len() }>,
    run_ms: u64,
    run: u64,
}

impl Waits {
    /// A message has waited for `ms` milliseconds.
    #[inline]
    pub fn record(&mut self, ms: u64) {
        if ms != self.run_ms {
            self.counted.record(&WAIT_BOUNDS_MS, self.run_ms, self.run);
            (self.run_ms, self.run) = (ms, 0);
        }
        self.run += 1;
    }

    /// All waits so far, in milliseconds.
    #[must_use]
    pub fn histogram(&self) -> Histogram<{ WAIT_BOUNDS_MS.len() }> {
        let mut counted = self.counted;
        if self.run > 0 {
            counted.record(&WAIT_BOUNDS_MS, self.run_ms, self.run);
        }
        counted
    }

    /// Adds what another shard has counted.
    pub fn add(&mut self, other: &Self) {
        let mut counted = self.histogram();
        counted.add(&other.histogram());
        *self = Self { counted, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_the_class_whose_bound_they_do_not_exceed() {
        let mut sizes = Histogram::default();
        for bytes in [0, 100, 101, 100_000_000, 100_000_001] {
            sizes.record(&MESSAGE_SIZE_BOUNDS, bytes, 1);
        }
        assert_eq!((sizes.classes, sizes.beyond), ([2, 1, 0, 0, 0, 0, 0, 1], 1));
        assert_eq!((sizes.count(), sizes.sum), (5, 200_000_202));
    }

    #[test]
    fn bounds_ascend() {
        for bounds in [&MESSAGE_SIZE_BOUNDS[..], &LATENCY_BOUNDS_US, &WAIT_BOUNDS_MS, &BATCH_RECORDS_BOUNDS] {
            assert!(bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
        }
        assert!(BATCH_BYTES_BOUNDS.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn waits_are_counted_as_if_each_were_recorded_alone() {
        let mut waits = Waits::default();
        let mut each = Histogram::default();
        for ms in [0, 0, 3, 3, 3, 0, 100_000_000, 7] {
            waits.record(ms);
            each.record(&WAIT_BOUNDS_MS, ms, 1);
            assert_eq!(waits.histogram(), each);
        }
        let mut sum = waits;
        sum.add(&waits);
        each.add(&each.clone());
        assert_eq!((sum.histogram(), sum.histogram().count()), (each, 16));
    }
}

//! When a producer means to send: at once (closed loop), or by a timetable that no slow broker can shift (open loop).
//!
//! In the open loop message *n* is due at `start + n / rate`, and its latency counts from there, sent late or not. So a
//! broker that stalls is charged for every message that should have been sent meanwhile: no coordinated omission.

use anyhow::{Result, ensure};

/// Microseconds times microhertz that make one message.
const PERIOD: u128 = 1_000_000_000_000;

/// The timetable of one producer.
#[derive(Debug)]
pub(crate) enum Pace {
    /// Send as fast as broker and confirm window allow.
    Closed,
    Open {
        start_us: u64,
        rate_uhz: u64,
        sent: u64,
    },
}

impl Pace {
    /// A closed loop, or `rate` messages a second, at least one in 12 days and at most 1e9. Producer `index` of `of` begins that part
    /// of a period later, so that producers do not send in step.
    pub(crate) fn new(rate: Option<f64>, index: usize, of: usize) -> Result<Self> {
        let Some(rate) = rate else { return Ok(Self::Closed) };
        ensure!((1e-6..=1e9).contains(&rate), "a rate is between 1e-6 and 1e9 messages a second");
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 1e15")]
        let rate_uhz = (rate * 1e6) as u64;
        let offset_us = PERIOD * u128::try_from(index)? / u128::try_from(of.max(1))? / u128::from(rate_uhz);
        Ok(Self::Open { start_us: u64::try_from(offset_us)?, rate_uhz, sent: 0 })
    }

    /// Starts the timetable.
    pub(crate) fn begin(&mut self, now_us: u64) {
        if let Self::Open { start_us, .. } = self {
            *start_us += now_us;
        }
    }

    /// When the next message is due; nothing in the closed loop, where it always is.
    pub(crate) fn due_us(&self) -> Option<u64> {
        match self {
            Self::Closed => None,
            Self::Open { start_us, rate_uhz, sent } => {
                let after_us = u128::from(*sent) * PERIOD / u128::from(*rate_uhz);
                Some(start_us.saturating_add(u64::try_from(after_us).unwrap_or(u64::MAX)))
            }
        }
    }

    /// Takes the next message: its intended send time, if it is due.
    pub(crate) fn take(&mut self, now_us: u64) -> Option<u64> {
        let due = self.due_us().unwrap_or(now_us);
        if due > now_us {
            return None;
        }
        if let Self::Open { sent, .. } = self {
            *sent += 1;
        }
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(rate: f64, index: usize, of: usize) -> Pace {
        let mut pace = Pace::new(Some(rate), index, of).unwrap();
        pace.begin(1_000_000);
        pace
    }

    #[test]
    fn the_closed_loop_sends_now() {
        let mut pace = Pace::new(None, 0, 1).unwrap();
        assert_eq!((pace.due_us(), pace.take(42)), (None, Some(42)));
    }

    #[test]
    fn the_open_loop_waits_for_its_time() {
        let mut pace = open(1000.0, 0, 1);
        assert_eq!(pace.take(1_000_000), Some(1_000_000));
        assert_eq!(pace.take(1_000_999), None);
        assert_eq!(pace.take(1_001_000), Some(1_001_000));
    }

    #[test]
    fn a_stall_does_not_shift_the_timetable() {
        let mut pace = open(1000.0, 0, 1);
        let late: Vec<_> = std::iter::from_fn(|| pace.take(1_005_500)).collect();
        assert_eq!(late, [1_000_000, 1_001_000, 1_002_000, 1_003_000, 1_004_000, 1_005_000]);
    }

    #[test]
    fn periods_are_not_rounded_to_the_clock() {
        let mut pace = open(1_500_000.0, 0, 1);
        let sent = std::iter::from_fn(|| pace.take(2_000_000)).count();
        // Those due up to one second after the start, and one due within the same microsecond.
        assert_eq!(sent, 1_500_002);
    }

    #[test]
    fn producers_are_out_of_step() {
        assert_eq!(open(1000.0, 1, 4).due_us(), Some(1_000_250));
    }

    #[test]
    fn impossible_rates_are_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Pace::new(Some(rate), 0, 1).is_err());
        }
    }
}

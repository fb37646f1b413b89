//! Heartbeats in both directions, as deadlines (AMQP 0-9-1 section 4.2.7; the times are RabbitMQ's).
//!
//! Sending: twice per interval it is checked whether anything was written since the last check; if not, a heartbeat
//! frame is due. Receiving: once per interval it is checked whether anything came; after two silent checks, that is
//! between two and three intervals, the peer is gone.

/// What a check found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    /// A heartbeat frame is to be sent.
    pub(crate) send: bool,
    /// The peer has been silent for too long.
    pub(crate) dead: bool,
}

/// The two deadlines of a connection. Times are milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Heartbeat {
    /// 0 switches heartbeats off.
    interval_ms: u64,
    send_check_ms: u64,
    receive_check_ms: u64,
    silent_checks: u8,
    received: bool,
}

impl Heartbeat {
    /// Starts with what the client said in tune-ok.
    pub(crate) fn new(interval_s: u16, now_ms: u64) -> Self {
        let interval_ms = u64::from(interval_s) * 1000;
        Self {
            interval_ms,
            send_check_ms: now_ms + interval_ms / 2,
            receive_check_ms: now_ms + interval_ms,
            silent_checks: 0,
            received: false,
        }
    }

    /// Something came from the peer.
    pub(crate) fn received(&mut self) {
        self.received = true;
    }

    /// When the next check is due.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        (self.interval_ms > 0).then(|| self.send_check_ms.min(self.receive_check_ms))
    }

    /// Makes the checks that are due. `written` says whether anything was written to the socket since the last
    /// check that was due for sending, and is reset by one. While input is held back by the broker
    /// (`reading` is false) silence means nothing.
    pub(crate) fn check(&mut self, now_ms: u64, written: &mut bool, reading: bool) -> Due {
        let mut due = Due::default();
        if self.interval_ms == 0 {
            return due;
        }
        if now_ms >= self.send_check_ms {
            due.send = !std::mem::take(written);
            self.send_check_ms = now_ms + self.interval_ms / 2;
        }
        if now_ms >= self.receive_check_ms {
            let silent = reading && !std::mem::take(&mut self.received);
            self.silent_checks = if silent { self.silent_checks + 1 } else { 0 };
            due.dead = self.silent_checks >= 2;
            self.receive_check_ms = now_ms + self.interval_ms;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_peer_is_dead_after_two_silent_checks() {
        let mut heartbeat = Heartbeat::new(10, 0);
        heartbeat.received();
        let mut written = false;
        assert!(!heartbeat.check(10_000, &mut written, true).dead);
        assert!(!heartbeat.check(20_000, &mut written, true).dead);
        assert!(heartbeat.check(30_000, &mut written, true).dead);
    }

    #[test]
    fn peer_that_is_not_read_is_not_dead() {
        let mut heartbeat = Heartbeat::new(10, 0);
        for check in 1..10 {
            assert!(!heartbeat.check(check * 10_000, &mut false, false).dead);
        }
    }

    #[test]
    fn sends_at_half_the_interval_unless_something_was_written() {
        let mut heartbeat = Heartbeat::new(10, 0);
        assert_eq!(heartbeat.deadline_ms(), Some(5000));
        let mut written = true;
        assert!(!heartbeat.check(5000, &mut written, true).send);
        assert!(heartbeat.check(10_000, &mut written, true).send);
        assert!(!heartbeat.check(10_001, &mut written, true).send);
    }

    #[test]
    fn interval_of_zero_switches_off() {
        let mut heartbeat = Heartbeat::new(0, 0);
        assert_eq!(heartbeat.deadline_ms(), None);
        assert_eq!(heartbeat.check(u64::MAX, &mut false, true), Due::default());
    }
}

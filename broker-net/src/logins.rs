//! Attempts to log in, over AMQP and HTTP alike: how many there were, and which addresses have failed too often.
//!
//! It is pure: the time comes in. All shards and the management API share it; it is touched when somebody logs in, and never for a
//! message.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;

/// Addresses of which failures are remembered in one window. With more of them the older half is forgotten early.
pub const MAX_ADDRESSES: usize = 10_000;

/// How often an address may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginLimit {
    /// So many failures within a window are taken; those beyond are refused without looking at the password. `None`: any number.
    pub failures: Option<u64>,
    /// How long a failure counts at least, in milliseconds; it counts no longer than twice that.
    pub window_ms: u64,
}

impl Default for LoginLimit {
    fn default() -> Self {
        Self { failures: Some(30), window_ms: 60_000 }
    }
}

/// By what somebody logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginProtocol {
    /// AMQP 0-9-1.
    Amqp,
    /// The management API, where every request is a login.
    Http,
}

impl LoginProtocol {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Amqp, Self::Http];

    /// RabbitMQ's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Amqp => "amqp091",
            Self::Http => "http",
        }
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Logins {
    amqp: Tally,
    http: Tally,
    failures: Mutex<Failures>,
}

#[derive(Debug, Default)]
struct Tally {
    succeeded: AtomicU64,
    failed: AtomicU64,
}

/// Numbers of attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Those that were let in.
    pub succeeded: u64,
    /// Those that were not, refused ones included.
    pub failed: u64,
}

impl Attempts {
    /// How many there were.
    #[must_use]
    pub const fn all(self) -> u64 {
        self.succeeded + self.failed
    }
}

/// Failures by address, in two windows: the current one and the one before.
#[derive(Debug, Default)]
struct Failures {
    since_ms: u64,
    current: FxHashMap<IpAddr, u64>,
    before: FxHashMap<IpAddr, u64>,
}

impl Logins {
    /// May a login from there be tried at all?
    #[must_use]
    pub fn allows(&self, address: IpAddr, limit: LoginLimit, now_ms: u64) -> bool {
        let Some(most) = limit.failures else { return true };
        let mut failures = self.failures();
        failures.turn(limit.window_ms, now_ms);
        failures.of(network(address)) < most
    }

    /// Counts a login that succeeded.
    pub fn succeeded(&self, protocol: LoginProtocol) {
        self.tally(protocol).succeeded.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a login that failed.
    pub fn failed(&self, protocol: LoginProtocol, address: IpAddr, limit: LoginLimit, now_ms: u64) {
        self.refused(protocol);
        let mut failures = self.failures();
        failures.turn(limit.window_ms, now_ms);
        *failures.current.entry(network(address)).or_default() += 1;
    }

    /// Counts a login that was refused because of those before it.
    pub fn refused(&self, protocol: LoginProtocol) {
        self.tally(protocol).failed.fetch_add(1, Ordering::Relaxed);
    }

    /// How many attempts there were since the start, or since [`reset`](Self::reset).
    #[must_use]
    pub fn attempts(&self, protocol: LoginProtocol) -> Attempts {
        let tally = self.tally(protocol);
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Attempts { succeeded: load(&tally.succeeded), failed: load(&tally.failed) }
    }

    /// Addresses with failures that still count, and how many.
    #[must_use]
    pub fn failing(&self, limit: LoginLimit, now_ms: u64) -> Vec<(IpAddr, u64)> {
        let mut failures = self.failures();
        failures.turn(limit.window_ms, now_ms);
        let only_before = failures.before.keys().filter(|address| !failures.current.contains_key(*address));
        let addresses = failures.current.keys().chain(only_before);
        let mut rows: Vec<_> = addresses.map(|address| (*address, failures.of(*address))).collect();
        rows.sort_unstable();
        rows
    }

    /// Forgets everything.
    pub fn reset(&self) {
        for tally in [&self.amqp, &self.http] {
            tally.succeeded.store(0, Ordering::Relaxed);
            tally.failed.store(0, Ordering::Relaxed);
        }
        *self.failures() = Failures::default();
    }

    fn tally(&self, protocol: LoginProtocol) -> &Tally {
        match protocol {
            LoginProtocol::Amqp => &self.amqp,
            LoginProtocol::Http => &self.http,
        }
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        // Nobody panics while it is locked; numbers would still be numbers.
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failures {
    /// Begins a new window when the current one is over or full.
    fn turn(&mut self, window_ms: u64, now_ms: u64) {
        let age_ms = now_ms.saturating_sub(self.since_ms);
        if age_ms < window_ms && self.current.len() < MAX_ADDRESSES {
            return;
        }
        self.before = std::mem::take(&mut self.current);
        if age_ms >= window_ms.saturating_mul(2) {
            self.before = FxHashMap::default();
        }
        self.since_ms = now_ms;
    }

    fn of(&self, address: IpAddr) -> u64 {
        let count = |window: &FxHashMap<IpAddr, u64>| window.get(&address).copied().unwrap_or_default();
        count(&self.current) + count(&self.before)
    }
}

/// What counts as one address: of IPv6 the first 64 bits, for whoever has one of those has them all.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: LoginLimit = LoginLimit { failures: Some(2), window_ms: 1000 };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_that_fails_too_often_waits_for_the_window_to_pass() {
        let logins = Logins::default();
        let allows = |address: &str, now| logins.allows(ip(address), LIMIT, now);
        for now in [5000, 5001] {
            assert!(allows("192.0.2.1", now));
            logins.failed(LoginProtocol::Amqp, ip("192.0.2.1"), LIMIT, now);
        }
        assert!(!allows("192.0.2.1", 5002));
        assert!(!allows("::ffff:192.0.2.1", 5002), "it is the same address");
        assert!(allows("192.0.2.2", 5002));
        assert!(!allows("192.0.2.1", 6500), "failures count for a window at least");
        assert!(allows("192.0.2.1", 8000));
        assert_eq!(logins.attempts(LoginProtocol::Amqp), Attempts { succeeded: 0, failed: 2 });
        assert_eq!(logins.attempts(LoginProtocol::Http), Attempts::default());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_no_limit_is_none() {
        let logins = Logins::default();
        for host in ["2001:db8::1", "2001:db8::2"] {
            logins.failed(LoginProtocol::Http, ip(host), LIMIT, 5000);
        }
        assert!(!logins.allows(ip("2001:db8::3"), LIMIT, 5000));
        assert!(logins.allows(ip("2001:db8:0:1::3"), LIMIT, 5000));
        assert!(logins.allows(ip("2001:db8::3"), LoginLimit { failures: None, ..LIMIT }, 5000));
        assert_eq!(logins.failing(LIMIT, 5000), [(ip("2001:db8::"), 2)]);
        logins.reset();
        assert_eq!(logins.failing(LIMIT, 5000), []);
    }

    #[test]
    fn the_table_is_bounded() {
        let logins = Logins::default();
        for address in 0..3 * u32::try_from(MAX_ADDRESSES).unwrap() {
            logins.failed(LoginProtocol::Amqp, std::net::Ipv4Addr::from_bits(address).into(), LIMIT, 5000);
        }
        let failures = logins.failures();
        assert!(failures.current.len() <= MAX_ADDRESSES && failures.before.len() <= MAX_ADDRESSES);
    }
}

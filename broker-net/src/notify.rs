//! What the service manager is told: the protocol of `sd_notify`.
//!
//! Without `NOTIFY_SOCKET` in the environment nothing is sent. A message that cannot be sent is logged and otherwise ignored:
//! the manager then does what it does with a service that says nothing.

use std::io;
use std::thread;
use std::time::Duration;

use broker_core::shard::driver::Probe;
use sd_notify::NotifyState;

/// Says that the data directory is being read.
pub(crate) fn starting() {
    tell(&[NotifyState::Status("recovering the data directory")]);
}

/// Says that clients are served.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Says that the configuration is being read again; [`ready`] ends it.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager is not told of the reload"),
    }
}

/// Says that the broker is stopping.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("closing connections and syncing the logs")]);
}

/// Starts the watchdog if the service manager wants one: it is told that the broker is alive twice in each of its intervals, each
/// time after every shard has answered. A shard that does not answer ends the messages, and the manager does what its unit says.
pub(crate) fn watch(probe: Probe) -> io::Result<()> {
    let Some(interval) = sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero()) else {
        return Ok(());
    };
    tracing::info!(interval_ms = interval.as_millis(), "the service manager's watchdog is served");
    thread::Builder::new().name("ringmq-watchdog".to_owned()).spawn(move || watchdog(&probe, interval / 2))?;
    Ok(())
}

/// Ends when the shards have ended.
fn watchdog(probe: &Probe, pause: Duration) {
    while !probe.stats().is_empty() {
        tell(&[NotifyState::Watchdog]);
        thread::sleep(pause);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

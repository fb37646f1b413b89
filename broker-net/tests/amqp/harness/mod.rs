//! Starts brokers and talks to them.

mod broker;
mod lapin_client;
mod management;
mod raw;

use std::future::Future;
use std::time::Duration;

pub(crate) use broker::Broker;
pub(crate) use lapin_client::{
    Session, Settings, body, declare, error_of, get, long_string, message_count, next, persistent, publish,
    publish_persistent, table,
};
#[allow(unused_imports, reason = "for tests of what administrators define")]
pub(crate) use management::Management;
#[allow(unused_imports, reason = "not every test binary opens sockets of its own")]
pub(crate) use raw::{Closed, Login, Raw, basic, channel, connection, queue, socket};

/// After this long a test that waits for a broker that never answers fails. No test takes a tenth of it.
const STUCK: Duration = Duration::from_secs(60);

/// Runs a test against a fresh broker.
pub(crate) fn scenario(test: impl AsyncFnOnce(&mut Broker)) {
    scenario_with(&[], test);
}

/// Like [`scenario`], with flags for the broker.
pub(crate) fn scenario_with(flags: &[&str], test: impl AsyncFnOnce(&mut Broker)) {
    let mut broker = Broker::start(flags);
    run(test(&mut broker));
}

/// Like [`scenario`], for a test that kills or restarts its broker.
pub(crate) fn own_process(flags: &[&str], test: impl AsyncFnOnce(&mut Broker)) {
    if let Some(mut broker) = Broker::start_own(flags) {
        run(test(&mut broker));
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ended = runtime.block_on(async { tokio::time::timeout(STUCK, test).await });
    // A test that failed or is stuck may leave tasks behind that wait for the broker.
    runtime.shutdown_background();
    ended.expect("the broker answers");
}

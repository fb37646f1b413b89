//! The shards with their connections, as `server` sees them.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;

use broker_core::shard::driver::{self, Running};

use crate::amqp::{self, Outputs};
use crate::config::Config;
use crate::metrics::StatsSource;
use crate::startup::StartError;
use crate::transport;

/// The running shards.
#[derive(Debug)]
pub(crate) struct Broker {
    running: Running,
}

impl Broker {
    /// Recovers the data directory and starts the shards; when it returns, all of them listen on `amqp`.
    pub(crate) fn start(config: &Config, amqp: SocketAddr) -> Result<Self, StartError> {
        let core =
            driver::Config { data_dir: config.data_dir.clone(), shards: config.shards, cpus: config.cpus.clone() };
        let connections = Arc::new(amqp::Config::default());
        let (listening, listens) = flume::unbounded();
        let running = driver::start(
            &core,
            |shard| Outputs::new(random_seed(shard.0)),
            move |handle| transport::serve(handle, amqp, Arc::clone(&connections), listening.clone()),
        )?;
        // Every shard says once whether it listens.
        for result in listens.iter().take(config.shards) {
            result.map_err(|source| StartError::Listen { flag: "--amqp", address: amqp, source })?;
        }
        let recovery = running.recovery();
        tracing::info!(
            queues = recovery.queues,
            messages = recovery.messages,
            segments = recovery.segments,
            damaged = recovery.damaged,
            milliseconds = recovery.duration.as_millis(),
            "recovered"
        );
        Ok(Self { running })
    }

    /// Where the metrics get their numbers.
    pub(crate) fn stats(&self) -> StatsSource {
        let probe = self.running.probe();
        Arc::new(move || probe.stats())
    }

    /// Closes the connections with 320, syncs what is staged and ends the shards.
    pub(crate) fn stop(self) {
        self.running.stop();
    }
}

/// What the names that a shard generates are made from.
fn random_seed(shard: u16) -> u128 {
    let random = RandomState::new();
    let [high, low] = [0, 1].map(|half: u8| u128::from(random.hash_one((shard, half))));
    high << 64 | low
}

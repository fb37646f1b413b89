//! The shards with their connections, as `server` sees them.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use broker_core::admin::Admin;
use broker_core::shard::driver::{self, Probe, Running};

use crate::amqp::{self, Node, Outputs};
use crate::config::{Config, Settings};
use crate::startup::StartError;
use crate::tls::Acceptor;
use crate::transport::{self, Front, Listen};

/// The running shards.
#[derive(Debug)]
pub(crate) struct Broker {
    running: Running,
    node: Arc<Node>,
}

impl Broker {
    /// Recovers the data directory and starts the shards; when it returns, all of them listen. `name` is the node's.
    pub(crate) fn start(
        config: &Config,
        listens: &[Listen],
        acceptor: Option<Acceptor>,
        name: &str,
    ) -> Result<Self, StartError> {
        let core = driver::Config {
            data_dir: config.data_dir.clone(),
            shards: config.shards,
            cpus: config.cpus.clone(),
            defaults: defaults(&config.settings),
        };
        let node = Arc::new(Node::new(name, connections(&config.settings)));
        let proxies = if config.settings.proxy_protocol { &config.settings.proxy_sources[..] } else { &[] };
        let front = Front {
            listens: listens.to_vec(),
            node: Arc::clone(&node),
            acceptor,
            proxies: proxies.into(),
            shards: config.shards,
        };
        let of_outputs = Arc::clone(&node);
        let (listening, outcomes) = flume::unbounded();
        let running = driver::start(
            &core,
            move |shard| Outputs::new(random_seed(shard.0)).of_node(Arc::clone(&of_outputs)),
            move |handle| transport::serve(handle, front.clone(), listening.clone()),
        )?;
        // Every shard says once whether it listens.
        for result in outcomes.iter().take(config.shards) {
            result.map_err(|(listen, source)| StartError::Listen {
                flag: listen.flag(),
                address: listen.address,
                source,
            })?;
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
        Ok(Self { running, node })
    }

    /// What all connections share.
    pub(crate) fn node(&self) -> Arc<Node> {
        Arc::clone(&self.node)
    }

    /// Limits and the like for connections and channels that come from now on.
    pub(crate) fn reload(&self, settings: &Settings) {
        self.node.set_config(connections(settings));
    }

    /// To ask the shards from other threads.
    pub(crate) fn probe(&self) -> Probe {
        self.running.probe()
    }

    /// How administrators reach the shards.
    pub(crate) fn admin(&self) -> Admin {
        self.running.probe().admin()
    }

    /// Closes the connections with 320, syncs what is staged and ends the shards.
    pub(crate) fn stop(self) {
        self.running.stop();
    }
}

fn connections(settings: &Settings) -> amqp::Config {
    amqp::Config { consumer_timeout_ms: settings.consumer_timeout_ms, ..settings.connections.clone() }
}

fn defaults(settings: &Settings) -> driver::Defaults {
    driver::Defaults {
        // As RabbitMQ: who has definitions to load wants those, and not guest.
        seed: settings.load_definitions.is_none(),
        vhost: settings.default_vhost.clone(),
        user: settings.default_user.clone(),
        password: settings.default_pass.clone(),
        tags: settings.default_user_tags.clone(),
        permissions: settings.default_permissions.clone(),
        queue_type: settings.default_queue_type,
        consumer_timeout_ms: settings.consumer_timeout_ms,
    }
}

/// What the names that a shard generates are made from.
fn random_seed(shard: u16) -> u128 {
    let random = RandomState::new();
    let [high, low] = [0, 1].map(|half: u8| u128::from(random.hash_one((shard, half))));
    high << 64 | low
}

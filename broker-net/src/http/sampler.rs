//! Looks at all counters, round after round, for [`Rates`](super::rates::Rates). A shard says only which of its queues have changed
//! since the last round.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use broker_core::admin::{AdminError, ExchangeCounters};

use super::api::Api;
use super::rates::{INTERVAL, Object, Round};
use super::resource;
use crate::metrics::{Process, total};

/// Looks until the broker stops.
pub(super) async fn run(api: Arc<Api>) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if look(&api).await.is_err() {
            return;
        }
    }
}

/// One round.
async fn look(api: &Api) -> Result<(), AdminError> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let at_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let stats = total(&api.admin.stats().await?);
    let queues = api.admin.queue_samples().await?;
    let exchanges = exchange_counters(api).await?;
    let connections = api.admin.connections().await?;
    let channels = api.admin.channels().await?;
    let process = Process::read(&api.data_dir, api.started);
    let Ok(mut rates) = api.rates.lock() else { return Ok(()) };
    rates.begin(Round { at_ms, stats });
    rates.keep(Object::Node, &resource::node_numbers(&process, &stats));
    for sample in queues {
        rates.keep(Object::Queue(sample.queue), &resource::queue_numbers(&sample));
    }
    for ((vhost, exchange), counters) in exchanges {
        rates.keep(Object::Exchange(vhost, exchange), &resource::exchange_numbers(counters));
    }
    for connection in connections {
        rates.keep(Object::Connection(connection.address), &resource::connection_numbers(&connection));
    }
    for channel in channels {
        let object = Object::Channel(channel.connection.shard, channel.channel);
        rates.keep(object, &resource::channel_numbers(&channel));
    }
    Ok(())
}

/// What exchanges have counted on all shards together.
pub(super) async fn exchange_counters(
    api: &Api,
) -> Result<HashMap<(Arc<str>, Arc<str>), ExchangeCounters>, AdminError> {
    let mut sums: HashMap<_, ExchangeCounters> = HashMap::new();
    for count in api.admin.exchange_counts().await? {
        let sum = sums.entry((count.vhost, count.exchange)).or_default();
        sum.publish_in += count.counters.publish_in;
        sum.publish_out += count.counters.publish_out;
    }
    Ok(sums)
}

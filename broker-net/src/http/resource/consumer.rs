//! `/api/consumers`: who consumes from which queue.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use broker_core::admin::ConsumerInfo;
use broker_core::ids::{ChannelKey, ShardId};
use broker_core::model::queue::consumer::Activity;
use serde::Serialize;
use serde_json::{Map, Value};

use super::channel::{self, Named};
use crate::http::api::Api;
use crate::http::caller::Caller;
use crate::http::error::ApiResult;
use crate::http::listing::{Listing, Row};
use crate::http::table;

#[derive(Serialize)]
pub(super) struct Consumer {
    consumer_tag: Arc<str>,
    queue: QueueName,
    ack_required: bool,
    active: bool,
    activity_status: &'static str,
    exclusive: bool,
    prefetch_count: u16,
    arguments: Value,
    /// Milliseconds; none if a delivery may stay unacknowledged forever.
    consumer_timeout: Option<u64>,
    /// Empty if the channel has just gone.
    channel_details: Value,
}

#[derive(Serialize)]
struct QueueName {
    name: Arc<str>,
    vhost: Arc<str>,
}

#[derive(Serialize)]
struct ChannelDetails<'a> {
    name: &'a str,
    number: u16,
    user: &'a str,
    node: &'a str,
    connection_name: String,
    peer_host: String,
    peer_port: u16,
}

impl Row for ConsumerInfo {
    fn name(&self) -> &str {
        &self.queue
    }

    fn vhost(&self) -> &str {
        &self.vhost
    }
}

impl Consumer {
    fn new(info: ConsumerInfo, channels: &HashMap<(ShardId, ChannelKey), Named>, api: &Api) -> Self {
        let node = &*api.identity.node;
        let details = channels.get(&(info.shard, info.channel)).map(|channel| ChannelDetails {
            name: &channel.name,
            number: channel.info.number,
            user: &channel.connection.user,
            node,
            connection_name: channel.connection.name(),
            peer_host: channel.connection.peer.ip().to_canonical().to_string(),
            peer_port: channel.connection.peer.port(),
        });
        let details = details.and_then(|details| serde_json::to_value(details).ok());
        Self {
            consumer_tag: info.consumer_tag,
            queue: QueueName { name: info.queue, vhost: info.vhost },
            ack_required: info.ack_required,
            active: info.activity != Activity::Waiting,
            activity_status: info.activity.name(),
            exclusive: info.exclusive,
            prefetch_count: info.prefetch_count,
            arguments: info.arguments.map_or_else(|| Map::new().into(), |arguments| table::to_json(&arguments)),
            consumer_timeout: info.timeout_ms.or_else(|| api.node.config().consumer_timeout_ms),
            channel_details: details.unwrap_or_else(|| Value::Array(Vec::new())),
        }
    }
}

/// The consumers of a queue.
pub(super) async fn of_queue(api: &Api, vhost: &str, queue: &str) -> ApiResult<Vec<Consumer>> {
    let consumers = api.admin.consumers(Some(vhost)).await?.into_iter();
    of_where(api, consumers.filter(|consumer| *consumer.queue == *queue).collect()).await
}

/// The consumers of a channel.
pub(super) async fn of_channel(api: &Api, shard: ShardId, channel: ChannelKey) -> ApiResult<Vec<Consumer>> {
    let consumers = api.admin.consumers(None).await?.into_iter();
    of_where(api, consumers.filter(|consumer| (consumer.shard, consumer.channel) == (shard, channel)).collect())
        .await
}

async fn of_where(api: &Api, consumers: Vec<ConsumerInfo>) -> ApiResult<Vec<Consumer>> {
    if consumers.is_empty() {
        return Ok(Vec::new());
    }
    let channels = channel::by_key(api).await?;
    Ok(consumers.into_iter().map(|info| Consumer::new(info, &channels, api)).collect())
}

async fn list_in(api: &Api, caller: &Caller, vhost: Option<&str>, listing: &Listing) -> ApiResult {
    let mut rows = api.admin.consumers(vhost).await?;
    if !caller.is_monitor() {
        rows.retain(|consumer| caller.has_permission_in(&consumer.vhost));
    }
    let channels = channel::by_key(api).await?;
    listing.reply_all(rows, |info| Consumer::new(info, &channels, api))
}

pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller, listing: Listing) -> ApiResult {
    list_in(&api, &caller, None, &listing).await
}

/// Whoever may not see what is in the virtual host gets an empty list, as from RabbitMQ.
pub(super) async fn list_of_vhost(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(vhost): Path<String>,
    listing: Listing,
) -> ApiResult {
    caller.existing_vhost(&vhost)?;
    list_in(&api, &caller, Some(&vhost), &listing).await
}

//! `/api/channels`: the channels of connections.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Path, State};
use broker_core::admin::{ChannelCounters, ChannelInfo, ConnectionInfo};
use broker_core::ids::{ChannelKey, ShardId};
use serde::Serialize;

use super::consumer::{self, Consumer};
use crate::http::api::Api;
use crate::http::caller::Caller;
use crate::http::error::{ApiError, ApiResult};
use crate::http::listing::{Listing, Row};
use crate::http::rates::{Numbers, Object, Rates};

/// A channel with its connection.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) info: ChannelInfo,
    pub(super) connection: Arc<ConnectionInfo>,
}

impl Row for Named {
    fn name(&self) -> &str {
        &self.name
    }

    fn vhost(&self) -> &str {
        &self.connection.vhost
    }
}

/// The connection of a channel, as channels and consumers show it.
#[derive(Serialize)]
struct ConnectionDetails {
    name: String,
    peer_host: String,
    peer_port: u16,
}

#[derive(Serialize)]
struct Channel {
    name: String,
    number: u16,
    node: String,
    state: &'static str,
    user: Arc<str>,
    user_who_performed_action: Arc<str>,
    vhost: Arc<str>,
    confirm: bool,
    transactional: bool,
    prefetch_count: u16,
    global_prefetch_count: u16,
    consumer_count: u32,
    messages_unacknowledged: u64,
    messages_unconfirmed: u64,
    messages_uncommitted: u64,
    acks_uncommitted: u64,
    connection_details: ConnectionDetails,
    #[serde(skip_serializing_if = "Numbers::is_zero")]
    message_stats: Numbers,
}

#[derive(Serialize)]
struct ChannelWithConsumers {
    #[serde(flatten)]
    channel: Channel,
    consumer_details: Vec<Consumer>,
    deliveries: [(); 0],
    publishes: [(); 0],
}

const COUNTERS: [&str; 5] = ["publish", "confirm", "return_unroutable", "deliver_get", "ack"];

fn channel(named: Named, node: &str, rates: &mut Rates, now: Instant) -> Channel {
    let Named { name, info, connection } = named;
    let ChannelCounters { publish, confirm, return_unroutable, deliver_get, ack, .. } = info.counters;
    let counters = [publish, confirm, return_unroutable, deliver_get, ack];
    let rates = rates.look(Object::Channel(name.clone()), &counters, now);
    Channel {
        name,
        number: info.number,
        node: node.to_owned(),
        state: "running",
        user: Arc::clone(&connection.user),
        user_who_performed_action: Arc::clone(&connection.user),
        vhost: Arc::clone(&connection.vhost),
        confirm: info.confirm,
        transactional: info.transactional,
        prefetch_count: info.prefetch_count,
        global_prefetch_count: info.global_prefetch_count,
        consumer_count: info.consumers,
        messages_unacknowledged: info.messages_unacknowledged,
        messages_unconfirmed: info.messages_unconfirmed,
        messages_uncommitted: info.messages_uncommitted,
        acks_uncommitted: 0,
        connection_details: ConnectionDetails {
            name: connection.name(),
            peer_host: connection.peer.ip().to_canonical().to_string(),
            peer_port: connection.peer.port(),
        },
        message_stats: Numbers::new(&COUNTERS, &counters, &rates),
    }
}

/// All channels whose connection is still there.
pub(super) async fn all(api: &Api) -> ApiResult<Vec<Named>> {
    let connections = api.admin.connections().await?.into_iter();
    let connections: HashMap<_, _> = connections.map(|info| (info.address, Arc::new(info))).collect();
    let channels = api.admin.channels().await?.into_iter();
    let named = channels.filter_map(|info| {
        let connection = Arc::clone(connections.get(&info.connection)?);
        Some(Named { name: format!("{} ({})", connection.name(), info.number), info, connection })
    });
    Ok(named.collect())
}

/// All channels by what shards call them.
pub(super) async fn by_key(api: &Api) -> ApiResult<HashMap<(ShardId, ChannelKey), Named>> {
    let all = all(api).await?.into_iter();
    Ok(all.map(|named| ((named.info.connection.shard, named.info.channel), named)).collect())
}

async fn list_where(api: &Api, caller: &Caller, listing: &Listing, wanted: impl Fn(&Named) -> bool) -> ApiResult {
    let mut rows = all(api).await?;
    rows.retain(|named| wanted(named) && (caller.is_monitor() || *named.connection.user == *caller.name));
    let mut rates = api.rates.lock().map_err(|_| ApiError::unavailable("the statistics are lost"))?;
    let now = Instant::now();
    listing.reply(rows, |named| channel(named, &api.identity.node, &mut rates, now))
}

pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller, listing: Listing) -> ApiResult {
    list_where(&api, &caller, &listing, |_| true).await
}

pub(super) async fn list_of_vhost(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(vhost): Path<String>,
    listing: Listing,
) -> ApiResult {
    caller.require_visible_vhost(&vhost)?;
    list_where(&api, &caller, &listing, |named| *named.connection.vhost == *vhost).await
}

pub(super) async fn list_of_connection(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    listing: Listing,
) -> ApiResult {
    let connections = api.admin.connections().await?;
    let connection = connections.iter().find(|info| info.name() == name).ok_or_else(ApiError::not_found)?;
    caller.require_owner(&connection.user, true)?;
    list_where(&api, &caller, &listing, |named| named.info.connection == connection.address).await
}

pub(super) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    listing: Listing,
) -> ApiResult {
    let found = all(&api).await?.into_iter().find(|named| named.name == name).ok_or_else(ApiError::not_found)?;
    caller.require_owner(&found.connection.user, true)?;
    let (shard, key) = (found.info.connection.shard, found.info.channel);
    let consumer_details = consumer::of_channel(&api, shard, key).await?;
    let mut rates = api.rates.lock().map_err(|_| ApiError::unavailable("the statistics are lost"))?;
    let channel = channel(found, &api.identity.node, &mut rates, Instant::now());
    listing.reply_one(&ChannelWithConsumers { channel, consumer_details, deliveries: [], publishes: [] })
}

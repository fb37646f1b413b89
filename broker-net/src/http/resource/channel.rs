//! `/api/channels`: the channels of connections.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use broker_core::admin::{ChannelCounters, ChannelInfo, ConnectionInfo};
use broker_core::ids::{ChannelKey, ShardId};
use serde::Serialize;

use super::connection::ConnectionDetails;
use super::consumer::{self, Consumer};
use crate::http::api::Api;
use crate::http::caller::Caller;
use crate::http::date;
use crate::http::error::{ApiError, ApiResult};
use crate::http::listing::{Listing, Row, Stats};
use crate::http::rates::{Counts, Name, Object, Rates, names};

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

#[derive(Serialize)]
struct Channel<'a> {
    name: String,
    number: u16,
    node: &'a str,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_stats: Option<Counts<'a, { COUNTERS.len() }>>,
}

#[derive(Serialize)]
struct ChannelWithConsumers<'a> {
    #[serde(flatten)]
    channel: Channel<'a>,
    consumer_details: Vec<Consumer>,
    deliveries: [(); 0],
    publishes: [(); 0],
}

/// What a channel counts.
const COUNTERS: [Name; 12] = names![
    "publish",
    "confirm",
    "return_unroutable",
    "drop_unroutable",
    "deliver",
    "deliver_no_ack",
    "get",
    "get_no_ack",
    "get_empty",
    "redeliver",
    "ack",
    "deliver_get",
];

/// What the rates of a channel are taken from.
pub(in crate::http) fn channel_numbers(info: &ChannelInfo) -> [u64; COUNTERS.len()] {
    let ChannelCounters {
        publish,
        confirm,
        return_unroutable,
        drop_unroutable,
        deliver,
        deliver_no_ack,
        get,
        get_no_ack,
        get_empty,
        redeliver,
        ack,
    } = info.counters;
    let deliver_get = deliver + deliver_no_ack + get + get_no_ack;
    [
        publish,
        confirm,
        return_unroutable,
        drop_unroutable,
        deliver,
        deliver_no_ack,
        get,
        get_no_ack,
        get_empty,
        redeliver,
        ack,
        deliver_get,
    ]
}

fn channel<'a>(named: Named, node: &'a str, rates: &'a Rates, stats: Stats) -> Channel<'a> {
    let Named { name, info, connection } = named;
    let seen = rates.of(&Object::Channel(info.connection.shard, info.channel));
    let counts = Counts { names: &COUNTERS, values: channel_numbers(&info), seen, first: 0, range: stats.rates };
    Channel {
        name,
        number: info.number,
        node,
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
        connection_details: ConnectionDetails::new(&connection),
        idle_since: seen.idle_since_ms(&counts.values).filter(|_| !stats.disabled).map(date::milliseconds),
        message_stats: (!stats.disabled && !counts.is_zero()).then_some(counts),
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
    let rates = api.rates()?;
    listing.reply(rows, |named| channel(named, &api.identity.node, &rates, listing.stats))
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
    caller.require_vhost(&vhost)?;
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
    let rates = api.rates()?;
    let channel = channel(found, &api.identity.node, &rates, listing.stats);
    listing.reply_one(&ChannelWithConsumers { channel, consumer_details, deliveries: [], publishes: [] })
}

//! `/api/connections`: who is connected.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use broker_core::admin::{AdminRequest, ConnectionInfo};
use serde::Serialize;
use serde_json::Value;

use crate::http::api::Api;
use crate::http::caller::Caller;
use crate::http::error::{ApiError, ApiResult};
use crate::http::listing::{Listing, Row};
use crate::http::rates::{Numbers, Object, Rates};
use crate::http::{reply, table};

/// The reason of a connection that is closed without one being given, RabbitMQ's text.
const DEFAULT_REASON: &str = "Closed via management plugin";

/// A connection and its name, which listings sort by.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) info: ConnectionInfo,
}

impl From<ConnectionInfo> for Named {
    fn from(info: ConnectionInfo) -> Self {
        Self { name: info.name(), info }
    }
}

impl Row for Named {
    fn name(&self) -> &str {
        &self.name
    }

    fn vhost(&self) -> &str {
        &self.info.vhost
    }
}

#[derive(Serialize)]
struct Connection {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    protocol: &'static str,
    node: String,
    state: &'static str,
    user: Arc<str>,
    user_who_performed_action: Arc<str>,
    vhost: Arc<str>,
    auth_mechanism: Arc<str>,
    host: String,
    port: u16,
    peer_host: String,
    peer_port: u16,
    channels: u16,
    channel_max: u16,
    frame_max: u32,
    timeout: u16,
    connected_at: u64,
    client_properties: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_provided_name: Option<String>,
    ssl: bool,
    recv_cnt: u64,
    send_cnt: u64,
    send_pend: u64,
    #[serde(flatten)]
    octets: Numbers,
}

fn connection(named: Named, node: &str, rates: &mut Rates, now: Instant) -> Connection {
    let Named { name, info } = named;
    let client_properties = table::to_json(&info.client_properties);
    let counters = [info.socket.recv_oct, info.socket.send_oct];
    let rates = rates.look(Object::Connection(name.clone()), &counters, now);
    Connection {
        name,
        kind: "network",
        protocol: "AMQP 0-9-1",
        node: node.to_owned(),
        state: info.state.name(),
        user_who_performed_action: Arc::clone(&info.user),
        user: info.user,
        vhost: info.vhost,
        auth_mechanism: info.auth_mechanism,
        host: info.local.ip().to_canonical().to_string(),
        port: info.local.port(),
        peer_host: info.peer.ip().to_canonical().to_string(),
        peer_port: info.peer.port(),
        channels: info.channels,
        channel_max: info.channel_max,
        frame_max: info.frame_max,
        timeout: info.heartbeat_s,
        connected_at: info.connected_at_ms,
        user_provided_name: client_properties.get("connection_name").and_then(Value::as_str).map(str::to_owned),
        client_properties,
        ssl: info.tls,
        recv_cnt: info.socket.recv_cnt,
        send_cnt: info.socket.send_cnt,
        send_pend: info.socket.send_pend,
        octets: Numbers::new(&["recv_oct", "send_oct"], &counters, &rates),
    }
}

/// The connections that the caller may see and that are `wanted`.
async fn visible(api: &Api, caller: &Caller, wanted: impl Fn(&ConnectionInfo) -> bool) -> ApiResult<Vec<Named>> {
    let mut all = api.admin.connections().await?;
    all.retain(|info| wanted(info) && (caller.is_monitor() || *info.user == *caller.name));
    Ok(all.into_iter().map(Named::from).collect())
}

fn list_rows(api: &Api, rows: Vec<Named>, listing: &Listing) -> ApiResult {
    let mut rates = api.rates.lock().map_err(|_| ApiError::unavailable("the statistics are lost"))?;
    let now = Instant::now();
    listing.reply(rows, |named| connection(named, &api.identity.node, &mut rates, now))
}

pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller, listing: Listing) -> ApiResult {
    let rows = visible(&api, &caller, |_| true).await?;
    list_rows(&api, rows, &listing)
}

pub(super) async fn list_of_vhost(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(vhost): Path<String>,
    listing: Listing,
) -> ApiResult {
    caller.require_visible_vhost(&vhost)?;
    let rows = visible(&api, &caller, |info| *info.vhost == *vhost).await?;
    list_rows(&api, rows, &listing)
}

pub(super) async fn list_of_user(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(user): Path<String>,
    listing: Listing,
) -> ApiResult {
    let rows = visible(&api, &caller, |info| *info.user == *user).await?;
    list_rows(&api, rows, &listing)
}

async fn find(api: &Api, name: &str) -> ApiResult<Named> {
    let mut all = api.admin.connections().await?.into_iter().map(Named::from);
    all.find(|named| named.name == name).ok_or_else(ApiError::not_found)
}

pub(super) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    listing: Listing,
) -> ApiResult {
    let named = find(&api, &name).await?;
    caller.require_owner(&named.info.user, true)?;
    let mut rates = api.rates.lock().map_err(|_| ApiError::unavailable("the statistics are lost"))?;
    listing.reply_one(&connection(named, &api.identity.node, &mut rates, Instant::now()))
}

fn reason(headers: &HeaderMap) -> String {
    let given = headers.get("x-reason").and_then(|value| value.to_str().ok());
    given.filter(|reason| !reason.is_empty()).unwrap_or(DEFAULT_REASON).to_owned()
}

async fn close_one(api: &Api, info: &ConnectionInfo, reason: String) -> ApiResult<()> {
    api.request(AdminRequest::CloseConnection { connection: info.address, reason }).await.map(drop)
}

pub(super) async fn close(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> ApiResult {
    let named = find(&api, &name).await?;
    caller.require_owner(&named.info.user, false)?;
    close_one(&api, &named.info, reason(&headers)).await?;
    Ok(reply::done())
}

pub(super) async fn close_of_user(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(user): Path<String>,
    headers: HeaderMap,
) -> ApiResult {
    caller.require_owner(&user, false)?;
    let reason = reason(&headers);
    for named in visible(&api, &caller, |info| *info.user == *user).await? {
        close_one(&api, &named.info, reason.clone()).await?;
    }
    Ok(reply::done())
}

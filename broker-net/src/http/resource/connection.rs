//! `/api/connections`: who is connected.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use broker_core::admin::{AdminRequest, ConnectionAddress, ConnectionInfo};
use serde::Serialize;
use serde_json::{Value, json};

use crate::http::api::Api;
use crate::http::caller::Caller;
use crate::http::error::{ApiError, ApiResult};
use crate::http::listing::{Listing, Row, Stats};
use crate::http::rates::{Counts, Name, Object, Rates, Seen, names};
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

/// What a connection counts.
const COUNTERS: [Name; 2] = names!["recv_oct", "send_oct"];

/// The connection of a channel or of a queue, as those show it.
#[derive(Serialize)]
pub(super) struct ConnectionDetails {
    name: String,
    peer_host: String,
    peer_port: u16,
}

impl ConnectionDetails {
    pub(super) fn new(info: &ConnectionInfo) -> Self {
        let peer_host = info.peer.ip().to_canonical().to_string();
        Self { name: info.name(), peer_host, peer_port: info.peer.port() }
    }
}

/// What is said of a connection's TLS where there is none.
#[derive(Serialize)]
struct Plain {
    ssl_protocol: &'static str,
    ssl_key_exchange: &'static str,
    ssl_cipher: &'static str,
    ssl_hash: &'static str,
    peer_cert_subject: &'static str,
    peer_cert_issuer: &'static str,
    peer_cert_validity: &'static str,
}

const PLAIN: Plain = Plain {
    ssl_protocol: "",
    ssl_key_exchange: "",
    ssl_cipher: "",
    ssl_hash: "",
    peer_cert_subject: "",
    peer_cert_issuer: "",
    peer_cert_validity: "",
};

#[derive(Serialize)]
struct Connection<'a> {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    protocol: &'static str,
    node: &'a str,
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
    #[serde(flatten)]
    plain: Option<Plain>,
    #[serde(flatten)]
    traffic: Option<Traffic<'a>>,
}

/// What `disable_stats` leaves out.
#[derive(Serialize)]
struct Traffic<'a> {
    recv_cnt: u64,
    send_cnt: u64,
    send_pend: u64,
    #[serde(flatten)]
    octets: Counts<'a, { COUNTERS.len() }>,
}

/// What the rates of a connection are taken from.
pub(in crate::http) fn connection_numbers(info: &ConnectionInfo) -> [u64; COUNTERS.len()] {
    [info.socket.recv_oct, info.socket.send_oct]
}

fn connection<'a>(named: Named, node: &'a str, seen: Seen<'a>, stats: Stats) -> Connection<'a> {
    let Named { name, info } = named;
    let client_properties = table::to_json(&info.client_properties);
    let values = connection_numbers(&info);
    let octets = Counts { names: &COUNTERS, values, seen, first: 0, range: stats.data_rates };
    let (recv_cnt, send_cnt, send_pend) = (info.socket.recv_cnt, info.socket.send_cnt, info.socket.send_pend);
    Connection {
        name,
        kind: "network",
        protocol: "AMQP 0-9-1",
        node,
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
        plain: (!info.tls).then_some(PLAIN),
        traffic: (!stats.disabled).then_some(Traffic { recv_cnt, send_cnt, send_pend, octets }),
    }
}

/// The connections that the caller may see and that are `wanted`.
async fn visible(api: &Api, caller: &Caller, wanted: impl Fn(&ConnectionInfo) -> bool) -> ApiResult<Vec<Named>> {
    let mut all = api.admin.connections().await?;
    all.retain(|info| wanted(info) && (caller.is_monitor() || *info.user == *caller.name));
    Ok(all.into_iter().map(Named::from).collect())
}

fn seen<'a>(rates: &'a Rates, named: &Named) -> Seen<'a> {
    rates.of(&Object::Connection(named.info.address))
}

fn list_rows(api: &Api, rows: Vec<Named>, listing: &Listing) -> ApiResult {
    let rates = api.rates()?;
    listing.reply(rows, |named| {
        let seen = seen(&rates, &named);
        connection(named, &api.identity.node, seen, listing.stats)
    })
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
    caller.require_vhost(&vhost)?;
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
    listing.reply_all(rows, |Named { name, info }| {
        json!({"name": name, "vhost": info.vhost, "user": info.user, "node": api.identity.node})
    })
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
    let rates = api.rates()?;
    let seen = seen(&rates, &named);
    listing.reply_one(&connection(named, &api.identity.node, seen, listing.stats))
}

/// A connection, if it is still there.
pub(super) async fn at(api: &Api, address: ConnectionAddress) -> ApiResult<Option<ConnectionInfo>> {
    Ok(api.admin.connections().await?.into_iter().find(|info| info.address == address))
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

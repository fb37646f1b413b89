//! `/api/overview` and other facts about the broker as a whole.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Query, State};
use axum::response::Response;
use broker_core::admin::{AdminRequest, Definition};
use broker_core::model::parameter::GlobalParameterDefinition;
use broker_core::shard::stats::ShardStats;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::http::api::{Api, Listening, RABBITMQ_VERSION};
use crate::http::body::Fields;
use crate::http::caller::Caller;
use crate::http::error::{ApiError, ApiResult};
use crate::http::listener::Peer;
use crate::http::listing::Listing;
use crate::http::rates::{Numbers, Range};
use crate::http::reply;
use crate::metrics::total;

/// The parameter that holds the name of the cluster, where one has been set.
const CLUSTER_NAME: &str = "cluster_name";

#[derive(Serialize)]
struct Overview<'a> {
    management_version: &'static str,
    rates_mode: &'static str,
    product_name: &'static str,
    product_version: &'static str,
    rabbitmq_version: &'static str,
    cluster_name: String,
    cluster_tags: Map<String, Value>,
    node_tags: Map<String, Value>,
    node: &'a str,
    disable_stats: bool,
    enable_queue_totals: bool,
    is_op_policy_updating_enabled: bool,
    default_queue_type: &'static str,
    exchange_types: Vec<ExchangeType>,
    message_stats: Numbers,
    churn_rates: Numbers,
    queue_totals: Numbers,
    object_totals: ObjectTotals,
    statistics_db_event_queue: u64,
    listeners: Vec<Listener<'a>>,
    contexts: Vec<Context<'a>>,
}

/// A type of exchange, as `/api/overview` and `/api/nodes` list it.
#[derive(Serialize)]
pub(super) struct ExchangeType {
    name: &'static str,
    description: &'static str,
    enabled: bool,
}

#[derive(Serialize)]
struct ObjectTotals {
    connections: u64,
    channels: u64,
    consumers: u64,
    exchanges: usize,
    queues: u64,
}

#[derive(Serialize)]
struct Listener<'a> {
    node: &'a str,
    protocol: &'static str,
    ip_address: String,
    port: u16,
    socket_opts: Map<String, Value>,
}

/// A web application, as `/api/overview` and `/api/nodes` list it.
#[derive(Serialize)]
pub(super) struct Context<'a> {
    node: &'a str,
    description: &'static str,
    path: &'static str,
    ip: String,
    port: String,
}

/// Ranges of samples, in seconds.
#[derive(Deserialize)]
pub(super) struct Ranges {
    msg_rates_age: Option<u64>,
    msg_rates_incr: Option<u64>,
    lengths_age: Option<u64>,
    lengths_incr: Option<u64>,
}

type Number = (&'static str, fn(&ShardStats) -> u64);

const MESSAGE_STATS: [Number; 12] = [
    ("publish", |stats| stats.messages_received),
    ("confirm", |stats| stats.messages_confirmed),
    ("return_unroutable", |stats| stats.messages_unroutable_returned),
    ("drop_unroutable", |stats| stats.messages_unroutable_dropped),
    ("deliver", |stats| stats.messages_delivered_consume_manual_ack),
    ("deliver_no_ack", |stats| stats.messages_delivered_consume_auto_ack),
    ("get", |stats| stats.messages_delivered_get_manual_ack),
    ("get_no_ack", |stats| stats.messages_delivered_get_auto_ack),
    ("get_empty", |stats| stats.messages_get_empty),
    ("deliver_get", ShardStats::delivered),
    ("redeliver", |stats| stats.messages_redelivered),
    ("ack", |stats| stats.messages_acknowledged),
];

const CHURN_RATES: [Number; 7] = [
    ("connection_created", |stats| stats.connections_opened),
    ("connection_closed", |stats| stats.connections_closed),
    ("channel_created", |stats| stats.channels_opened),
    ("channel_closed", |stats| stats.channels_closed),
    ("queue_declared", |stats| stats.queues_declared),
    ("queue_created", |stats| stats.queues_created),
    ("queue_deleted", |stats| stats.queues_deleted),
];

const QUEUE_TOTALS: [Number; 3] = [
    ("messages", |stats| stats.messages_ready + stats.messages_unacked),
    ("messages_ready", |stats| stats.messages_ready),
    ("messages_unacknowledged", |stats| stats.messages_unacked),
];

fn numbers(api: &Api, stats: &ShardStats, of: &[Number], range: Option<Range>) -> ApiResult<Numbers> {
    let rates = api.rates.lock().map_err(|_| ApiError::unavailable("the statistics are lost"))?;
    let mut numbers = Numbers::default();
    for &(name, number) in of {
        numbers.push(name, number(stats), rates.total(number, range));
    }
    Ok(numbers)
}

/// The types of exchange that clients may declare.
pub(super) fn exchange_types() -> Vec<ExchangeType> {
    [
        ("direct", "AMQP direct exchange, as per the AMQP specification"),
        ("fanout", "AMQP fanout exchange, as per the AMQP specification"),
        ("headers", "AMQP headers exchange, as per the AMQP specification"),
        ("topic", "AMQP topic exchange, as per the AMQP specification"),
        ("x-consistent-hash", "Consistent Hashing Exchange"),
        ("x-delayed-message", "Delayed Message Exchange."),
        ("x-local-random", "Picks one random local binding (queue) to route via (to)."),
        ("x-modulus-hash", "Modulus Hashing Exchange"),
        ("x-random", "Randomly picks a binding (queue) to route via (to)."),
        ("x-recent-history", "Recent History Exchange."),
    ]
    .into_iter()
    .filter(|(name, _)| name.parse::<broker_core::model::exchange::ExchangeType>().is_ok())
    .map(|(name, description)| ExchangeType { name, description, enabled: true })
    .collect()
}

/// The web applications of the broker.
pub(super) fn contexts(api: &Api) -> Vec<Context<'_>> {
    let contexts = api.listeners.iter().filter_map(|Listening { protocol, address }| {
        let description = match *protocol {
            "http" => "RabbitMQ Management",
            "http/prometheus" => "RabbitMQ Prometheus",
            _ => return None,
        };
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        Some(Context { node: &api.identity.node, description, path: "/", ip, port })
    });
    contexts.collect()
}

fn name_of_cluster(api: &Api, caller: &Caller) -> String {
    let mut parameters = caller.defined.global_parameters.iter();
    let set = parameters.find(|parameter| parameter.name == CLUSTER_NAME);
    let set = set.and_then(|parameter| parameter.value.as_str());
    set.unwrap_or(&api.identity.cluster).to_owned()
}

pub(super) async fn overview(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(ranges): Query<Ranges>,
    listing: Listing,
) -> ApiResult {
    let stats = total(&api.admin.stats().await?);
    let mut exchanges = 0;
    for vhost in &caller.defined.vhosts {
        exchanges += api.admin.exchanges(&vhost.name).await?.len();
    }
    let range = |age: Option<u64>, step: Option<u64>| age.zip(step).and_then(|(age, step)| Range::new(age, step));
    let rates = range(ranges.msg_rates_age, ranges.msg_rates_incr);
    let lengths = range(ranges.lengths_age, ranges.lengths_incr);
    let node = api.identity.node.as_str();
    let listeners = api.listeners.iter().map(|Listening { protocol, address }| Listener {
        node,
        protocol,
        ip_address: address.ip().to_string(),
        port: address.port(),
        socket_opts: Map::new(),
    });
    listing.reply_one(&Overview {
        management_version: RABBITMQ_VERSION,
        rates_mode: "basic",
        product_name: "RingMQ",
        product_version: env!("CARGO_PKG_VERSION"),
        rabbitmq_version: RABBITMQ_VERSION,
        cluster_name: name_of_cluster(&api, &caller),
        cluster_tags: Map::new(),
        node_tags: Map::new(),
        node,
        disable_stats: false,
        enable_queue_totals: false,
        is_op_policy_updating_enabled: true,
        default_queue_type: api.default_queue_type,
        exchange_types: exchange_types(),
        message_stats: numbers(&api, &stats, &MESSAGE_STATS, rates)?,
        churn_rates: numbers(&api, &stats, &CHURN_RATES, rates)?,
        queue_totals: numbers(&api, &stats, &QUEUE_TOTALS, lengths)?,
        object_totals: ObjectTotals {
            connections: stats.connections,
            channels: stats.channels,
            consumers: stats.consumers,
            exchanges,
            queues: stats.queues,
        },
        statistics_db_event_queue: 0,
        listeners: listeners.collect(),
        contexts: contexts(&api),
    })
}

pub(super) async fn cluster_name(State(api): State<Arc<Api>>, caller: Caller) -> Response {
    reply::json(&json!({"name": name_of_cluster(&api, &caller)}))
}

pub(super) async fn set_cluster_name(State(api): State<Arc<Api>>, caller: Caller, fields: Fields) -> ApiResult {
    caller.require_administrator()?;
    let value = fields.required_text("name")?.into();
    let parameter = GlobalParameterDefinition { name: CLUSTER_NAME.to_owned(), value };
    api.request(AdminRequest::Put(Definition::GlobalParameter(parameter))).await?;
    Ok(reply::done())
}

pub(super) async fn version(_: Caller) -> Response {
    reply::json(&RABBITMQ_VERSION)
}

#[derive(Serialize)]
struct Whoami<'a> {
    name: &'a str,
    tags: &'a [String],
    is_internal_user: bool,
}

fn who(caller: &Caller) -> Response {
    reply::json(&Whoami { name: &caller.name, tags: &caller.tags, is_internal_user: true })
}

pub(super) async fn whoami(caller: Caller) -> Response {
    who(&caller)
}

#[derive(Deserialize)]
struct Login {
    username: String,
    password: String,
}

/// Answers a form with `username` and `password`: 200 if they are right.
pub(super) async fn login(
    State(api): State<Arc<Api>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    body: Bytes,
) -> ApiResult {
    let form = std::str::from_utf8(&body).ok().and_then(|form| format!("/?{form}").parse().ok());
    let form = form.and_then(|uri| Query::<Login>::try_from_uri(&uri).ok());
    let Query(Login { username, password }) = form.ok_or_else(ApiError::not_authenticated)?;
    Caller::log_in(&api, username, password.into_bytes(), peer.ip()).await?;
    Ok(reply::json(&"ok"))
}

/// There is no other way to log in than with a password.
pub(super) async fn auth() -> Response {
    reply::json(&json!({"oauth_enabled": false}))
}

pub(super) async fn extensions(_: Caller) -> Response {
    reply::json(&json!([{"javascript": "dispatcher.js"}]))
}

/// A list of what this broker does not have.
pub(super) async fn none(_: Caller) -> Response {
    reply::json(&[(); 0])
}

/// Time since the broker started, in milliseconds.
pub(super) fn uptime_ms(api: &Api) -> u64 {
    u64::try_from(Instant::now().duration_since(api.started).as_millis()).unwrap_or(u64::MAX)
}

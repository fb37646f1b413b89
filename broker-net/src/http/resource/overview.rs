//! `/api/overview` and other facts about the broker as a whole.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, Query, State};
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
use crate::http::listing::{Listing, Stats};
use crate::http::rates::{Name, Numbers, Range, Rates};
use crate::http::reply;
use crate::metrics::total;

/// The parameter that holds the name of the cluster, where one has been set.
const CLUSTER_NAME: &str = "cluster_name";

#[derive(Serialize)]
struct Overview<'a> {
    management_version: &'static str,
    rates_mode: &'static str,
    sample_retention_policies: Retention,
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

/// How long samples are kept, in seconds.
#[derive(Serialize)]
struct Retention {
    global: [u64; 1],
    basic: [u64; 1],
    detailed: [u64; 1],
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
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    description: &'static str,
    path: &'static str,
    ip: String,
    port: String,
}

/// A number of the broker as a whole.
pub(super) type Number = (Name, fn(&ShardStats) -> u64);

const MESSAGE_STATS: [Number; 14] = [
    (("publish", "publish_details"), |stats| stats.messages_received),
    (("confirm", "confirm_details"), |stats| stats.messages_confirmed),
    (("return_unroutable", "return_unroutable_details"), |stats| stats.messages_unroutable_returned),
    (("drop_unroutable", "drop_unroutable_details"), |stats| stats.messages_unroutable_dropped),
    (("deliver", "deliver_details"), |stats| stats.messages_delivered_consume_manual_ack),
    (("deliver_no_ack", "deliver_no_ack_details"), |stats| stats.messages_delivered_consume_auto_ack),
    (("get", "get_details"), |stats| stats.messages_delivered_get_manual_ack),
    (("get_no_ack", "get_no_ack_details"), |stats| stats.messages_delivered_get_auto_ack),
    (("get_empty", "get_empty_details"), |stats| stats.messages_get_empty),
    (("deliver_get", "deliver_get_details"), ShardStats::delivered),
    (("redeliver", "redeliver_details"), |stats| stats.messages_redelivered),
    (("ack", "ack_details"), |stats| stats.messages_acknowledged),
    // No message is read from or written to a file of its own: these are for tools that expect them.
    (("disk_reads", "disk_reads_details"), |_| 0),
    (("disk_writes", "disk_writes_details"), |stats| stats.log_records),
];

/// What comes and goes.
pub(super) const CHURN_RATES: [Number; 7] = [
    (("connection_created", "connection_created_details"), |stats| stats.connections_opened),
    (("connection_closed", "connection_closed_details"), |stats| stats.connections_closed),
    (("channel_created", "channel_created_details"), |stats| stats.channels_opened),
    (("channel_closed", "channel_closed_details"), |stats| stats.channels_closed),
    (("queue_declared", "queue_declared_details"), |stats| stats.queues_declared),
    (("queue_created", "queue_created_details"), |stats| stats.queues_created),
    (("queue_deleted", "queue_deleted_details"), |stats| stats.queues_deleted),
];

const QUEUE_TOTALS: [Number; 3] = [
    (("messages", "messages_details"), |stats| stats.messages_ready + stats.messages_unacked),
    (("messages_ready", "messages_ready_details"), |stats| stats.messages_ready),
    (("messages_unacknowledged", "messages_unacknowledged_details"), |stats| stats.messages_unacked),
];

pub(super) fn numbers(rates: &Rates, stats: &ShardStats, of: &[Number], range: Option<Range>) -> Numbers {
    let mut numbers = Numbers::default();
    for &(name, number) in of {
        numbers.push(name, number(stats), rates.total(number, range));
    }
    numbers
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
        ("x-jms-topic", "JMS selector exchange"),
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
        Some(Context { node: Some(&api.identity.node), description, path: "/", ip, port })
    });
    contexts.collect()
}

fn name_of_cluster(api: &Api, caller: &Caller) -> String {
    let mut parameters = caller.defined.global_parameters.iter();
    let set = parameters.find(|parameter| parameter.name == CLUSTER_NAME);
    let set = set.and_then(|parameter| parameter.value.as_str());
    set.unwrap_or(&api.identity.cluster).to_owned()
}

pub(super) async fn overview(State(api): State<Arc<Api>>, caller: Caller, listing: Listing) -> ApiResult {
    let stats = total(&api.admin.stats().await?);
    let mut exchanges = 0;
    for vhost in &caller.defined.vhosts {
        exchanges += api.admin.exchanges(&vhost.name).await?.len();
    }
    let Stats { disabled, rates, lengths, .. } = listing.stats;
    let seen = api.rates()?;
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
        sample_retention_policies: Retention { global: [600], basic: [600], detailed: [600] },
        product_name: "RingMQ",
        product_version: env!("CARGO_PKG_VERSION"),
        rabbitmq_version: RABBITMQ_VERSION,
        cluster_name: name_of_cluster(&api, &caller),
        cluster_tags: Map::new(),
        node_tags: Map::new(),
        node,
        disable_stats: disabled,
        enable_queue_totals: listing.stats.queue_totals,
        is_op_policy_updating_enabled: true,
        default_queue_type: api.default_queue_type,
        exchange_types: exchange_types(),
        message_stats: numbers(&seen, &stats, &MESSAGE_STATS, rates),
        churn_rates: numbers(&seen, &stats, &CHURN_RATES, rates),
        queue_totals: numbers(&seen, &stats, &QUEUE_TOTALS, lengths),
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
    ConnectInfo(Peer { address: peer, .. }): ConnectInfo<Peer>,
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

/// There are no feature flags, so none of them can be enabled.
pub(super) async fn enable_feature_flag(caller: Caller) -> ApiResult {
    caller.require_administrator()?;
    Err(ApiError::bad_request("unsupported"))
}

/// Forgets what rates and samples are made of. Counters go on.
pub(super) async fn reset(State(api): State<Arc<Api>>, caller: Caller) -> ApiResult {
    caller.require_administrator()?;
    api.rates()?.reset();
    Ok(reply::done())
}

pub(super) async fn reset_node(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(node): Path<String>,
) -> ApiResult {
    if node != api.identity.node {
        return Err(ApiError::not_found());
    }
    reset(State(api), caller).await
}

/// There is one node, so its queues are where they have to be.
pub(super) async fn rebalance(caller: Caller) -> ApiResult {
    caller.require_administrator()?;
    Ok(reply::done())
}

/// Time since the broker started, in milliseconds.
pub(super) fn uptime_ms(api: &Api) -> u64 {
    u64::try_from(Instant::now().duration_since(api.started).as_millis()).unwrap_or(u64::MAX)
}

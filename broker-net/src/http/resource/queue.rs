//! `/api/queues`: queues, their contents and what happens to them.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Path, Query, State};
use broker_core::admin::{AdminRequest, MessageBytes, QueueCounters, QueueInfo};
use broker_core::session::Command;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::consumer::{self, Consumer};
use super::vhost::DEFAULT_QUEUE_TYPE;
use crate::http::api::Api;
use crate::http::body::Fields;
use crate::http::caller::Caller;
use crate::http::error::{ApiError, ApiResult};
use crate::http::listing::{Listing, Row};
use crate::http::rates::{Numbers, Object, Rates};
use crate::http::{reply, table};

/// What a queue counts, as `message_stats` names it.
const COUNTERS: [&str; 9] =
    ["publish", "deliver", "deliver_no_ack", "get", "get_no_ack", "get_empty", "ack", "redeliver", "deliver_get"];

/// Counters whose rates are those of gauges, looked at together with [`COUNTERS`].
const GAUGES: usize = 3;

#[derive(Serialize)]
struct Queue {
    name: Arc<str>,
    vhost: Arc<str>,
    #[serde(rename = "type")]
    kind: String,
    durable: bool,
    auto_delete: bool,
    exclusive: bool,
    arguments: Value,
    node: String,
    state: &'static str,
    policy: Option<String>,
    operator_policy: Option<String>,
    effective_policy_definition: Map<String, Value>,
    consumers: u64,
    exclusive_consumer_tag: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Numbers::is_zero")]
    message_stats: Numbers,
    #[serde(flatten)]
    messages: Numbers,
    #[serde(flatten)]
    bytes: Option<Bytes>,
}

/// Bytes of the bodies in a queue.
#[derive(Serialize)]
struct Bytes {
    message_bytes: u64,
    message_bytes_ready: u64,
    message_bytes_unacknowledged: u64,
    message_bytes_persistent: u64,
}

impl From<MessageBytes> for Bytes {
    fn from(bytes: MessageBytes) -> Self {
        Self {
            message_bytes: bytes.ready + bytes.unacknowledged,
            message_bytes_ready: bytes.ready,
            message_bytes_unacknowledged: bytes.unacknowledged,
            message_bytes_persistent: bytes.persistent,
        }
    }
}

#[derive(Serialize)]
struct QueueWithConsumers {
    #[serde(flatten)]
    queue: Queue,
    consumer_details: Vec<Consumer>,
    deliveries: [(); 0],
    incoming: [(); 0],
}

impl Row for QueueInfo {
    fn name(&self) -> &str {
        &self.name
    }

    fn vhost(&self) -> &str {
        &self.vhost
    }
}

/// The type that the arguments name, or the default one.
pub(super) fn kind(info: &QueueInfo) -> String {
    let arguments = table::to_json(&info.arguments);
    arguments.get("x-queue-type").and_then(Value::as_str).unwrap_or(DEFAULT_QUEUE_TYPE).to_owned()
}

/// The arguments with the type, which RabbitMQ always shows.
pub(super) fn arguments(info: &QueueInfo) -> Value {
    let mut arguments = table::to_json(&info.arguments);
    if let Some(arguments) = arguments.as_object_mut() {
        arguments.entry("x-queue-type").or_insert_with(|| DEFAULT_QUEUE_TYPE.into());
    }
    arguments
}

fn counters(of: &QueueCounters) -> [u64; COUNTERS.len()] {
    let QueueCounters { publish, deliver, deliver_no_ack, get, get_no_ack, get_empty, ack, redeliver, .. } = *of;
    let deliver_get = deliver + deliver_no_ack + get + get_no_ack;
    [publish, deliver, deliver_no_ack, get, get_no_ack, get_empty, ack, redeliver, deliver_get]
}

fn queue(info: QueueInfo, node: &str, rates: &mut Rates, now: Instant) -> Queue {
    let counters = counters(&info.counters);
    let messages = info.messages_ready + info.messages_unacknowledged;
    let gauges: [u64; GAUGES] = [messages, info.messages_ready, info.messages_unacknowledged];
    let object = Object::Queue { vhost: info.vhost.to_string(), name: info.name.to_string() };
    let looked = [&counters[..], &gauges[..]].concat();
    let rates = rates.look(object, &looked, now);
    let (of_counters, of_gauges) = rates.split_at(COUNTERS.len());
    let kind = kind(&info);
    let effective = info.policy.as_deref();
    let name = |policy: Option<&Arc<broker_core::model::policy::PolicyDefinition>>| {
        policy.map(|policy| policy.name.clone())
    };
    Queue {
        kind,
        durable: info.durable,
        auto_delete: info.auto_delete,
        exclusive: info.exclusive,
        arguments: arguments(&info),
        node: node.to_owned(),
        state: if info.paused { "paused" } else { "running" },
        policy: name(effective.and_then(|effective| effective.policy.as_ref())),
        operator_policy: name(effective.and_then(|effective| effective.operator_policy.as_ref())),
        effective_policy_definition: effective.map(|effective| effective.definition.clone()).unwrap_or_default(),
        consumers: info.consumers,
        exclusive_consumer_tag: info.exclusive_consumer_tag,
        message_stats: Numbers::new(&COUNTERS, &counters, of_counters),
        messages: Numbers::new(&["messages", "messages_ready", "messages_unacknowledged"], &gauges, of_gauges),
        bytes: info.message_bytes.map(Bytes::from),
        name: info.name,
        vhost: info.vhost,
    }
}

fn list_rows(api: &Api, rows: Vec<QueueInfo>, listing: &Listing) -> ApiResult {
    let mut rates = api.rates.lock().map_err(|_| ApiError::unavailable("the statistics are lost"))?;
    let now = Instant::now();
    listing.reply(rows, |info| queue(info, &api.identity.node, &mut rates, now))
}

pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller, listing: Listing) -> ApiResult {
    let mut rows = api.admin.queues(None).await?;
    if !caller.is_administrator() {
        rows.retain(|queue| caller.has_permission_in(&queue.vhost));
    }
    list_rows(&api, rows, &listing)
}

pub(super) async fn list_of_vhost(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(vhost): Path<String>,
    listing: Listing,
) -> ApiResult {
    caller.require_visible_vhost(&vhost)?;
    let rows = api.admin.queues(Some(&vhost)).await?;
    list_rows(&api, rows, &listing)
}

async fn find(api: &Api, vhost: &str, name: &str) -> ApiResult<QueueInfo> {
    api.admin.queue(vhost, name).await?.ok_or_else(ApiError::not_found)
}

pub(super) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, name)): Path<(String, String)>,
    listing: Listing,
) -> ApiResult {
    caller.require_visible_vhost(&vhost)?;
    let info = find(&api, &vhost, &name).await?;
    let consumer_details = consumer::of_queue(&api, &vhost, &name).await?;
    let mut rates = api.rates.lock().map_err(|_| ApiError::unavailable("the statistics are lost"))?;
    let queue = queue(info, &api.identity.node, &mut rates, Instant::now());
    listing.reply_one(&QueueWithConsumers { queue, consumer_details, deliveries: [], incoming: [] })
}

pub(super) async fn put(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, name)): Path<(String, String)>,
    fields: Fields,
) -> ApiResult {
    if caller.defined.vhost(&vhost).is_none() {
        return Err(ApiError::missing("vhost_not_found"));
    }
    caller.require_vhost(&vhost)?;
    if let Some(node) = fields.text("node")?.filter(|node| *node != api.identity.node) {
        return Err(ApiError::bad_request(format!("Node {node} could not be contacted")));
    }
    let created = api.admin.queue(&vhost, &name).await?.is_none();
    let command = declare(name, &fields)?;
    api.request(AdminRequest::Command { user: caller.name.to_string(), vhost, command }).await?;
    Ok(reply::put(created))
}

/// `queue.declare` as requests and definitions describe it.
pub(super) fn declare(queue: String, fields: &Fields) -> ApiResult<Command> {
    Ok(Command::QueueDeclare {
        queue,
        generated: false,
        passive: false,
        durable: fields.flag("durable")?,
        exclusive: false,
        auto_delete: fields.flag("auto_delete")?,
        arguments: table::from_json(fields.get("arguments"))?,
    })
}

#[derive(Deserialize)]
pub(super) struct Conditions {
    #[serde(rename = "if-unused", default)]
    if_unused: bool,
    #[serde(rename = "if-empty", default)]
    if_empty: bool,
}

pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, queue)): Path<(String, String)>,
    Query(Conditions { if_unused, if_empty }): Query<Conditions>,
) -> ApiResult {
    caller.require_vhost(&vhost)?;
    find(&api, &vhost, &queue).await?;
    let command = Command::QueueDelete { queue, if_unused, if_empty };
    api.request(AdminRequest::Command { user: caller.name.to_string(), vhost, command }).await?;
    Ok(reply::done())
}

pub(super) async fn purge(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, queue)): Path<(String, String)>,
) -> ApiResult {
    caller.require_vhost(&vhost)?;
    find(&api, &vhost, &queue).await?;
    let command = Command::QueuePurge { queue };
    api.request(AdminRequest::Command { user: caller.name.to_string(), vhost, command }).await?;
    Ok(reply::done())
}

pub(super) async fn pause(state: State<Arc<Api>>, caller: Caller, path: Path<(String, String)>) -> ApiResult {
    set_paused(state, caller, path, true).await
}

pub(super) async fn resume(state: State<Arc<Api>>, caller: Caller, path: Path<(String, String)>) -> ApiResult {
    set_paused(state, caller, path, false).await
}

/// As LavinMQ has it: who may see the virtual host and configure the queue may pause it.
async fn set_paused(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, queue)): Path<(String, String)>,
    paused: bool,
) -> ApiResult {
    caller.require_vhost(&vhost)?;
    find(&api, &vhost, &queue).await?;
    let user = caller.name.to_string();
    api.request(AdminRequest::SetPaused { user, vhost, queue, paused }).await?;
    Ok(reply::done())
}

/// The actions that RabbitMQ once had were about mirrors.
pub(super) async fn action(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, queue)): Path<(String, String)>,
    fields: Fields,
) -> ApiResult {
    caller.require_administrator()?;
    caller.require_vhost(&vhost)?;
    find(&api, &vhost, &queue).await?;
    Err(ApiError::bad_request(json!(["unknown", fields.required_text("action")?])))
}

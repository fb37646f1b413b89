//! `/api/queues`: queues, their contents and what happens to them.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use broker_core::admin::{AdminRequest, MessageBytes, QueueCounters, QueueInfo, QueueSample};
use broker_core::model::queue::settings::QueueType;
use broker_core::session::Command;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::connection::{self, ConnectionDetails};
use super::consumer::{self, Consumer};
use crate::http::api::Api;
use crate::http::body::Fields;
use crate::http::caller::Caller;
use crate::http::error::{ApiError, ApiResult};
use crate::http::listing::{Listing, Row, Stats};
use crate::http::rates::{Counts, Later, Name, Object, Seen, names};
use crate::http::{date, reply, table};

/// What a queue counts, as `message_stats` names it.
const COUNTERS: [Name; 9] = names![
    "publish",
    "deliver",
    "deliver_no_ack",
    "get",
    "get_no_ack",
    "get_empty",
    "ack",
    "redeliver",
    "deliver_get"
];

/// How long it is; looked at together with [`COUNTERS`], behind them.
const LENGTHS: [Name; 3] = names!["messages", "messages_ready", "messages_unacknowledged"];

/// A row, put together as it is written.
struct Queue<'a> {
    info: QueueInfo,
    node: &'a str,
    seen: Seen<'a>,
    stats: Stats,
}

/// A queue by itself has more than a row of a list.
struct QueueWithConsumers<'a> {
    queue: Queue<'a>,
    consumer_details: Vec<Consumer>,
    /// Of an exclusive queue: its connection.
    owner: Option<ConnectionDetails>,
}

impl Row for QueueInfo {
    fn name(&self) -> &str {
        &self.name
    }

    fn vhost(&self) -> &str {
        &self.vhost
    }
}

/// The arguments with the type, which RabbitMQ always shows.
pub(super) fn arguments(info: &QueueInfo) -> Value {
    let mut arguments = table::to_json(&info.arguments);
    if let Some(arguments) = arguments.as_object_mut() {
        arguments.entry("x-queue-type").or_insert_with(|| info.kind.name().into());
    }
    arguments
}

fn counters(of: &QueueCounters) -> [u64; COUNTERS.len()] {
    let QueueCounters { publish, deliver, deliver_no_ack, get, get_no_ack, get_empty, ack, redeliver, .. } = *of;
    let deliver_get = deliver + deliver_no_ack + get + get_no_ack;
    [publish, deliver, deliver_no_ack, get, get_no_ack, get_empty, ack, redeliver, deliver_get]
}

fn lengths(ready: u64, unacknowledged: u64) -> [u64; LENGTHS.len()] {
    [ready + unacknowledged, ready, unacknowledged]
}

/// What the rates of a queue are taken from.
pub(in crate::http) fn queue_numbers(of: &QueueSample) -> [u64; COUNTERS.len() + LENGTHS.len()] {
    let mut numbers = [0; COUNTERS.len() + LENGTHS.len()];
    let (of_counters, of_lengths) = numbers.split_at_mut(COUNTERS.len());
    of_counters.copy_from_slice(&counters(&of.counters));
    of_lengths.copy_from_slice(&lengths(of.messages_ready, of.messages_unacknowledged));
    numbers
}

impl Queue<'_> {
    fn message_stats(&self) -> Counts<'_, { COUNTERS.len() }> {
        let values = counters(&self.info.counters);
        Counts { names: &COUNTERS, values, seen: self.seen, first: 0, range: self.stats.rates }
    }

    fn lengths(&self) -> Counts<'_, { LENGTHS.len() }> {
        let values = lengths(self.info.messages_ready, self.info.messages_unacknowledged);
        Counts { names: &LENGTHS, values, seen: self.seen, first: COUNTERS.len(), range: self.stats.lengths }
    }

    fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let info = &self.info;
        let effective = info.policy.as_deref();
        let policy = effective.and_then(|effective| effective.policy.as_deref()).map(|policy| &policy.name);
        map.serialize_entry("name", &info.name)?;
        map.serialize_entry("vhost", &info.vhost)?;
        map.serialize_entry("type", info.kind.name())?;
        map.serialize_entry("durable", &info.durable)?;
        map.serialize_entry("auto_delete", &info.auto_delete)?;
        map.serialize_entry("exclusive", &info.exclusive)?;
        map.serialize_entry("arguments", &Later(|| arguments(info)))?;
        map.serialize_entry("node", self.node)?;
        map.serialize_entry("state", if info.paused { "paused" } else { "running" })?;
        if info.kind != QueueType::Classic {
            map.serialize_entry("leader", self.node)?;
            map.serialize_entry("members", &[self.node])?;
            map.serialize_entry("online", &[self.node])?;
        }
        if !self.stats.disabled {
            map.serialize_entry("policy", &policy)?;
            return self.counting_entries(map);
        }
        if let Some(policy) = policy {
            map.serialize_entry("policy", policy)?;
        }
        if self.stats.queue_totals {
            for ((name, _), value) in LENGTHS.iter().zip(self.lengths().values) {
                map.serialize_entry(name, &value)?;
            }
        }
        Ok(())
    }

    /// What `disable_stats` leaves out.
    fn counting_entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let info = &self.info;
        let effective = info.policy.as_deref();
        let operator = effective.and_then(|effective| effective.operator_policy.as_deref());
        map.serialize_entry("operator_policy", &operator.map(|policy| &policy.name))?;
        let none = Map::new();
        let definition = effective.map_or(&none, |effective| &effective.definition);
        map.serialize_entry("effective_policy_definition", definition)?;
        map.serialize_entry("consumers", &info.consumers)?;
        map.serialize_entry("exclusive_consumer_tag", &info.exclusive_consumer_tag)?;
        map.serialize_entry("single_active_consumer_tag", &info.single_active_consumer_tag)?;
        if let Some(limit) = info.delivery_limit {
            map.serialize_entry("delivery_limit", &limit)?;
        }
        if let Some(idle_since_ms) = info.idle_since_ms {
            map.serialize_entry("idle_since", &date::milliseconds(idle_since_ms))?;
        }
        let message_stats = self.message_stats();
        if !message_stats.is_zero() {
            map.serialize_entry("message_stats", &message_stats)?;
        }
        if let Some(MessageBytes { ready, unacknowledged, persistent, .. }) = info.message_bytes {
            map.serialize_entry("message_bytes", &(ready + unacknowledged))?;
            map.serialize_entry("message_bytes_ready", &ready)?;
            map.serialize_entry("message_bytes_unacknowledged", &unacknowledged)?;
            map.serialize_entry("message_bytes_persistent", &persistent)?;
        }
        self.lengths().entries(map)
    }
}

impl Serialize for Queue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.entries(&mut map)?;
        map.end()
    }
}

impl Serialize for QueueWithConsumers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.queue.entries(&mut map)?;
        if !self.queue.stats.disabled {
            map.serialize_entry("consumer_details", &self.consumer_details)?;
            map.serialize_entry("deliveries", &[(); 0])?;
            map.serialize_entry("incoming", &[(); 0])?;
        }
        if let Some(owner) = &self.owner {
            map.serialize_entry("owner_pid_details", owner)?;
        }
        map.end()
    }
}

/// Answers with the queues of the virtual hosts that `sees` lets through; `only` is the one that they are all in.
async fn list_seen(api: &Api, listing: &Listing, only: Option<&str>, sees: impl Fn(&str) -> bool) -> ApiResult {
    let cut = if listing.is_page_by_name() {
        let names = api.queue_names().await?;
        Some(listing.cut_by_name(names.iter().filter(|queue| sees(&queue.vhost)))?)
    } else {
        None
    };
    let mut rows = match &cut {
        Some(cut) => api.admin.queues_called(&cut.rows).await?,
        None => api.admin.queues(only).await?,
    };
    rows.retain(|queue| sees(&queue.vhost));
    let rates = api.rates()?;
    let render = |info: QueueInfo| Queue {
        seen: rates.of(&Object::Queue(info.id)),
        info,
        node: &api.identity.node,
        stats: listing.stats,
    };
    match cut {
        Some(cut) => listing.reply_cut(&cut, rows, render),
        None => listing.reply(rows, render),
    }
}

pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller, listing: Listing) -> ApiResult {
    list_seen(&api, &listing, None, |vhost| caller.lists(vhost)).await
}

pub(super) async fn list_of_vhost(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(vhost): Path<String>,
    listing: Listing,
) -> ApiResult {
    caller.require_vhost(&vhost)?;
    list_seen(&api, &listing, Some(&vhost), |other| other == vhost).await
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
    caller.require_vhost(&vhost)?;
    let info = find(&api, &vhost, &name).await?;
    let consumer_details = consumer::of_queue(&api, &vhost, &name).await?;
    let owner = match info.owner {
        Some(owner) => connection::at(&api, owner).await?.map(|info| ConnectionDetails::new(&info)),
        None => None,
    };
    let rates = api.rates()?;
    let seen = rates.of(&Object::Queue(info.id));
    let queue = Queue { info, node: &api.identity.node, seen, stats: listing.stats };
    listing.reply_one(&QueueWithConsumers { queue, consumer_details, owner })
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

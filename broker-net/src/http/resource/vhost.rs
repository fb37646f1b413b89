//! `/api/vhosts`: virtual hosts.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use broker_core::admin::{Admin, AdminRequest, Definition, DefinitionKey, QueueInfo, QueueSample};
use broker_core::model::queue::settings::QueueType;
use broker_core::model::vhost::VhostDefinition;
use serde::Serialize;
use serde_json::Value;

use crate::http::api::Api;
use crate::http::body::Fields;
use crate::http::caller::Caller;
use crate::http::error::{ApiError, ApiResult};
use crate::http::listing::{Listing, Row};
use crate::http::rates::{Name, Numbers, Object, Rates, names};
use crate::http::{reply, sampler};

#[derive(Serialize)]
struct Vhost {
    name: String,
    description: String,
    tags: Vec<String>,
    default_queue_type: String,
    metadata: Metadata,
    tracing: bool,
    cluster_state: HashMap<String, &'static str>,
    #[serde(flatten)]
    totals: Numbers,
    #[serde(skip_serializing_if = "Numbers::is_zero")]
    message_stats: Numbers,
}

/// What definitions keep about a virtual host beside its name.
#[derive(Clone, Serialize)]
pub(super) struct Metadata {
    pub(super) description: String,
    pub(super) tags: Vec<String>,
    pub(super) default_queue_type: String,
}

/// What happens in a virtual host.
#[derive(Debug, Default)]
struct Contents {
    recv_oct: Sum,
    send_oct: Sum,
    lengths: [Sum; LENGTHS.len()],
    counters: [Sum; COUNTERS.len()],
}

/// A number and its rate, of several objects together.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    number: u64,
    rate: f64,
}

const LENGTHS: [Name; 3] = names!["messages", "messages_ready", "messages_unacknowledged"];

/// What `message_stats` has of a virtual host: `publish` comes from its exchanges, the others from its queues.
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

impl Metadata {
    pub(super) fn new(vhost: &VhostDefinition, api: &Api) -> Self {
        Self {
            description: vhost.description.clone(),
            tags: vhost.tags.clone(),
            default_queue_type: vhost
                .default_queue_type
                .clone()
                .unwrap_or_else(|| api.default_queue_type.to_owned()),
        }
    }
}

impl Row for VhostDefinition {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Sum {
    fn add(&mut self, number: u64, rate: f64) {
        self.number += number;
        self.rate += rate;
    }

    fn push(self, name: Name, numbers: &mut Numbers) {
        numbers.push(name, self.number, self.rate.into());
    }
}

impl Contents {
    fn add_queue(&mut self, queue: &QueueInfo, rates: &Rates) {
        let seen = rates.of(&Object::Queue(queue.id));
        let numbers = super::queue_numbers(&QueueSample {
            queue: queue.id,
            counters: queue.counters,
            messages_ready: queue.messages_ready,
            messages_unacknowledged: queue.messages_unacknowledged,
        });
        let sums = self.counters.iter_mut().chain(&mut self.lengths);
        // What comes into queues is not what was published.
        for (at, (sum, number)) in sums.zip(numbers).enumerate().skip(1) {
            sum.add(number, seen.rate(at));
        }
    }

    fn totals(&self) -> Numbers {
        let mut numbers = Numbers::default();
        self.recv_oct.push(("recv_oct", "recv_oct_details"), &mut numbers);
        self.send_oct.push(("send_oct", "send_oct_details"), &mut numbers);
        LENGTHS.iter().zip(self.lengths).for_each(|(name, sum)| sum.push(*name, &mut numbers));
        numbers
    }

    fn message_stats(&self) -> Numbers {
        let mut numbers = Numbers::default();
        COUNTERS.iter().zip(self.counters).for_each(|(name, sum)| sum.push(*name, &mut numbers));
        numbers
    }
}

/// What happens in all virtual hosts, or in one.
async fn contents(api: &Api, only: Option<&str>) -> ApiResult<HashMap<Arc<str>, Contents>> {
    let queues = api.admin.queues(only).await?;
    let exchanges = sampler::exchange_counters(api).await?;
    let connections = api.admin.connections().await?;
    let rates = api.rates()?;
    let mut all: HashMap<Arc<str>, Contents> = HashMap::new();
    for queue in &queues {
        all.entry(Arc::clone(&queue.vhost)).or_default().add_queue(queue, &rates);
    }
    for ((vhost, exchange), counters) in exchanges {
        let seen = rates.of(&Object::Exchange(Arc::clone(&vhost), exchange));
        let [publish, ..] = &mut all.entry(vhost).or_default().counters;
        publish.add(counters.publish_in, seen.rate(0));
    }
    for connection in connections {
        let seen = rates.of(&Object::Connection(connection.address));
        let contents = all.entry(Arc::clone(&connection.vhost)).or_default();
        contents.recv_oct.add(connection.socket.recv_oct, seen.rate(0));
        contents.send_oct.add(connection.socket.send_oct, seen.rate(1));
    }
    Ok(all)
}

fn vhost(api: &Api, vhost: &VhostDefinition, contents: &Contents) -> Vhost {
    let metadata = Metadata::new(vhost, api);
    Vhost {
        name: vhost.name.clone(),
        description: metadata.description.clone(),
        tags: metadata.tags.clone(),
        default_queue_type: metadata.default_queue_type.clone(),
        metadata,
        tracing: false,
        cluster_state: HashMap::from([(api.identity.node.clone(), "running")]),
        totals: contents.totals(),
        message_stats: contents.message_stats(),
    }
}

pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller, listing: Listing) -> ApiResult {
    let contents = contents(&api, None).await?;
    let none = Contents::default();
    let monitor = caller.is_monitor();
    let visible = |vhost: &&VhostDefinition| monitor || caller.has_permission_in(&vhost.name);
    let rows: Vec<VhostDefinition> = caller.defined.vhosts.iter().filter(visible).cloned().collect();
    listing.reply(rows, |row| vhost(&api, &row, contents.get(row.name.as_str()).unwrap_or(&none)))
}

pub(super) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    listing: Listing,
) -> ApiResult {
    caller.require_administrator()?;
    let definition = caller.defined.vhost(&name).ok_or_else(ApiError::not_found)?;
    let contents = contents(&api, Some(&name)).await?;
    let none = Contents::default();
    listing.reply_one(&vhost(&api, definition, contents.get(name.as_str()).unwrap_or(&none)))
}

pub(super) async fn put(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    mut fields: Fields,
) -> ApiResult {
    caller.require_administrator()?;
    let created = put_definition(&api.admin, &caller, name, &mut fields).await?;
    Ok(reply::put(created))
}

/// Makes a virtual host or changes it; description and tags that `fields` do not name are none. Who makes one may do everything in it.
/// As in RabbitMQ.
pub(super) async fn put_definition(
    admin: &Admin,
    caller: &Caller,
    name: String,
    fields: &mut Fields,
) -> ApiResult<bool> {
    let current = caller.defined.vhost(&name);
    let mut vhost = VhostDefinition::new(name);
    vhost.default_queue_type = current.and_then(|current| current.default_queue_type.clone());
    // Imported definitions say it twice; older ones only outside of `metadata`.
    let metadata = Fields::from(match fields.take("metadata") {
        Some(Value::Object(metadata)) => metadata,
        _ => serde_json::Map::new(),
    });
    for fields in [&metadata, fields] {
        if let Some(description) = fields.text("description")? {
            vhost.description = description.to_owned();
        }
        if let Some(tags) = fields.get("tags") {
            vhost.tags = super::user::parse_tags(tags)?;
        }
        if let Some(queue_type) = fields.text("default_queue_type")? {
            vhost.default_queue_type = default_queue_type(queue_type)?;
        }
    }
    let created = current.is_none();
    let name = vhost.name.clone();
    admin.request(AdminRequest::Put(Definition::Vhost(vhost))).await?;
    if created && !caller.is_broker() {
        let permission = broker_core::model::permission::PermissionDefinition::full(&caller.name, &name);
        admin.request(AdminRequest::Put(Definition::Permission(permission))).await?;
    }
    Ok(created)
}

/// The type of queues that say none; RabbitMQ writes `undefined` for what the node's configuration says.
fn default_queue_type(name: &str) -> ApiResult<Option<String>> {
    if name == "undefined" {
        return Ok(None);
    }
    let known = QueueType::from_name(name).is_some();
    let refused = || ApiError::bad_request(format!("Unsupported default queue type '{name}'"));
    if known { Ok(Some(name.to_owned())) } else { Err(refused()) }
}

pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
) -> ApiResult<Response> {
    caller.require_administrator()?;
    caller.defined.vhost(&name).ok_or_else(ApiError::not_found)?;
    api.request(AdminRequest::Delete(DefinitionKey::Vhost { name })).await?;
    Ok(reply::done())
}

/// Virtual hosts always run, on the only node.
pub(super) async fn start(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((name, node)): Path<(String, String)>,
) -> ApiResult<Response> {
    caller.require_administrator()?;
    caller.defined.vhost(&name).ok_or_else(ApiError::not_found)?;
    if node != api.identity.node {
        return Err(ApiError::bad_request(format!("Request to node {node} failed with nodedown")));
    }
    Ok(reply::done())
}

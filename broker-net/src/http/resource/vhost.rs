//! `/api/vhosts`: virtual hosts.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use broker_core::admin::{AdminRequest, Definition, DefinitionKey, QueueInfo};
use broker_core::model::vhost::VhostDefinition;
use serde::Serialize;
use serde_json::Value;

use crate::http::api::Api;
use crate::http::body::Fields;
use crate::http::caller::Caller;
use crate::http::error::{ApiError, ApiResult};
use crate::http::listing::{Listing, Row};
use crate::http::reply;

/// Type of queues that are declared without one, where the virtual host does not say.
pub(super) const DEFAULT_QUEUE_TYPE: &str = "classic";

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
    messages: Messages,
}

/// What definitions keep about a virtual host beside its name.
#[derive(Clone, Serialize)]
pub(super) struct Metadata {
    pub(super) description: String,
    pub(super) tags: Vec<String>,
    pub(super) default_queue_type: String,
}

#[derive(Clone, Copy, Default, Serialize)]
struct Messages {
    messages: u64,
    messages_ready: u64,
    messages_unacknowledged: u64,
}

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

impl Messages {
    fn add(&mut self, queue: &QueueInfo) {
        self.messages_ready += queue.messages_ready;
        self.messages_unacknowledged += queue.messages_unacknowledged;
        self.messages = self.messages_ready + self.messages_unacknowledged;
    }
}

fn vhost(api: &Api, vhost: &VhostDefinition, messages: Messages) -> Vhost {
    let metadata = Metadata::new(vhost, api);
    Vhost {
        name: vhost.name.clone(),
        description: metadata.description.clone(),
        tags: metadata.tags.clone(),
        default_queue_type: metadata.default_queue_type.clone(),
        metadata,
        tracing: false,
        cluster_state: HashMap::from([(api.identity.node.clone(), "running")]),
        messages,
    }
}

pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller, listing: Listing) -> ApiResult {
    let mut messages: HashMap<Arc<str>, Messages> = HashMap::new();
    for queue in api.admin.queues(None).await? {
        messages.entry(Arc::clone(&queue.vhost)).or_default().add(&queue);
    }
    let monitor = caller.is_monitor();
    let visible = |vhost: &&VhostDefinition| monitor || caller.has_permission_in(&vhost.name);
    let rows: Vec<VhostDefinition> = caller.defined.vhosts.iter().filter(visible).cloned().collect();
    listing.reply(rows, |row| vhost(&api, &row, messages.get(row.name.as_str()).copied().unwrap_or_default()))
}

pub(super) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    listing: Listing,
) -> ApiResult {
    if !caller.is_monitor() && !caller.has_permission_in(&name) {
        caller.require_administrator()?;
    }
    let definition = caller.defined.vhost(&name).ok_or_else(ApiError::not_found)?;
    let mut messages = Messages::default();
    api.admin.queues(Some(&name)).await?.iter().for_each(|queue| messages.add(queue));
    listing.reply_one(&vhost(&api, definition, messages))
}

pub(super) async fn put(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    mut fields: Fields,
) -> ApiResult {
    caller.require_administrator()?;
    let created = put_definition(&api, &caller, name, &mut fields).await?;
    Ok(reply::put(created))
}

/// Makes a virtual host, or changes what `fields` name. Who makes one may do everything in it, as in RabbitMQ.
pub(super) async fn put_definition(
    api: &Api,
    caller: &Caller,
    name: String,
    fields: &mut Fields,
) -> ApiResult<bool> {
    let current = caller.defined.vhost(&name);
    let mut vhost = current.cloned().unwrap_or_else(|| VhostDefinition::new(name));
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
            vhost.default_queue_type = Some(queue_type.to_owned()).filter(|name| name != "undefined");
        }
    }
    let created = current.is_none();
    let name = vhost.name.clone();
    api.request(AdminRequest::Put(Definition::Vhost(vhost))).await?;
    if created {
        let permission = broker_core::model::permission::PermissionDefinition::full(&caller.name, &name);
        api.request(AdminRequest::Put(Definition::Permission(permission))).await?;
    }
    Ok(created)
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

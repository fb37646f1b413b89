//! `/api/exchanges`: exchanges, and publishing to them.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use broker_core::admin::{AdminPublish, AdminReply, AdminRequest, ExchangeInfo};
use broker_core::session::Command;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::http::api::Api;
use crate::http::body::Fields;
use crate::http::caller::Caller;
use crate::http::error::{ApiError, ApiResult};
use crate::http::listing::{Listing, Row};
use crate::http::{reply, table};

/// Who made the exchanges that every virtual host has.
const INTERNAL_USER: &str = "rmq-internal";

#[derive(Serialize)]
struct Exchange {
    name: String,
    vhost: Arc<str>,
    #[serde(rename = "type")]
    kind: String,
    durable: bool,
    auto_delete: bool,
    internal: bool,
    arguments: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_who_performed_action: Option<&'static str>,
}

impl Row for ExchangeInfo {
    fn name(&self) -> &str {
        &self.definition.name
    }

    fn vhost(&self) -> &str {
        &self.vhost
    }
}

impl From<ExchangeInfo> for Exchange {
    fn from(info: ExchangeInfo) -> Self {
        let definition = &info.definition;
        let policy = info.policy.as_ref().and_then(|effective| effective.policy.as_ref());
        let predeclared = definition.name.is_empty() || definition.name.starts_with("amq.");
        Self {
            name: definition.name.clone(),
            vhost: Arc::clone(&info.vhost),
            kind: definition.kind.to_string(),
            durable: definition.durable,
            auto_delete: definition.auto_delete,
            internal: definition.internal,
            arguments: table::to_json(&definition.arguments),
            policy: policy.map(|policy| policy.name.clone()),
            user_who_performed_action: predeclared.then_some(INTERNAL_USER),
        }
    }
}

/// The name of an exchange from a path: the default exchange has none, which no path can say.
pub(super) fn named(name: String) -> String {
    if name == "amq.default" { String::new() } else { name }
}

/// An exchange that must be there.
pub(super) async fn find(api: &Api, vhost: &str, name: &str) -> ApiResult<ExchangeInfo> {
    let exchanges = api.admin.exchanges(vhost).await?;
    exchanges.into_iter().find(|exchange| exchange.definition.name == name).ok_or_else(ApiError::not_found)
}

pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller, listing: Listing) -> ApiResult {
    let mut rows = Vec::new();
    for vhost in caller.defined.vhosts.iter().filter(|vhost| caller.lists(&vhost.name)) {
        rows.extend(api.admin.exchanges(&vhost.name).await?);
    }
    listing.reply(rows, Exchange::from)
}

pub(super) async fn list_of_vhost(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(vhost): Path<String>,
    listing: Listing,
) -> ApiResult {
    caller.require_visible_vhost(&vhost)?;
    listing.reply(api.admin.exchanges(&vhost).await?, Exchange::from)
}

pub(super) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, name)): Path<(String, String)>,
    listing: Listing,
) -> ApiResult {
    caller.require_visible_vhost(&vhost)?;
    listing.reply_one(&Exchange::from(find(&api, &vhost, &named(name)).await?))
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
    let name = named(name);
    let created = find(&api, &vhost, &name).await.is_err();
    let command = declare(name, &fields)?;
    api.request(AdminRequest::Command { user: caller.name.to_string(), vhost, command }).await?;
    Ok(reply::put(created))
}

/// `exchange.declare` as requests and definitions describe it.
pub(super) fn declare(exchange: String, fields: &Fields) -> ApiResult<Command> {
    Ok(Command::ExchangeDeclare {
        exchange,
        kind: fields.text("type")?.unwrap_or("direct").to_owned(),
        passive: false,
        durable: fields.flag("durable")?,
        auto_delete: fields.flag("auto_delete")?,
        internal: fields.flag("internal")?,
        arguments: table::from_json(fields.get("arguments"))?,
    })
}

#[derive(Deserialize)]
pub(super) struct Conditions {
    #[serde(rename = "if-unused", default)]
    if_unused: bool,
}

pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, name)): Path<(String, String)>,
    Query(Conditions { if_unused }): Query<Conditions>,
) -> ApiResult {
    caller.require_vhost(&vhost)?;
    let exchange = find(&api, &vhost, &named(name)).await?.definition.name.clone();
    let command = Command::ExchangeDelete { exchange, if_unused };
    api.request(AdminRequest::Command { user: caller.name.to_string(), vhost, command }).await?;
    Ok(reply::done())
}

pub(super) async fn publish(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, name)): Path<(String, String)>,
    fields: Fields,
) -> ApiResult {
    caller.require_vhost(&vhost)?;
    let exchange = named(name);
    if find(&api, &vhost, &exchange).await.is_err() {
        return Err(ApiError::missing("exchange_not_found"));
    }
    fields.require(&["properties", "routing_key", "payload", "payload_encoding"])?;
    let payload = fields.required_text("payload")?;
    let body = match fields.required_text("payload_encoding")? {
        "string" => payload.as_bytes().to_vec(),
        "base64" => STANDARD.decode(payload).map_err(|_| ApiError::bad_request(json!(["not_base64", payload])))?,
        other => return Err(ApiError::bad_request(json!(["unsupported_encoding", other]))),
    };
    let publish = AdminPublish {
        user: caller.name.to_string(),
        vhost,
        exchange,
        routing_key: fields.required_text("routing_key")?.to_owned(),
        properties: table::properties_from_json(fields.get("properties"))?,
        body,
    };
    match api.request(AdminRequest::Publish(Box::new(publish))).await? {
        AdminReply::Published { routed } => Ok(reply::json(&json!({ "routed": routed }))),
        _ => Ok(reply::json(&Map::new())),
    }
}

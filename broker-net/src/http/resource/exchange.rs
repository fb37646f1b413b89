//! `/api/exchanges`: exchanges, and publishing to them.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard};

use axum::extract::{Path, Query, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use broker_core::admin::{AdminPublish, AdminReply, AdminRequest, ExchangeCounters, ExchangeInfo};
use broker_core::model::exchange::ExchangeType;
use broker_core::session::Command;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::http::api::Api;
use crate::http::body::Fields;
use crate::http::caller::Caller;
use crate::http::error::{ApiError, ApiResult};
use crate::http::listing::{Listing, Row, Stats};
use crate::http::rates::{Counts, Name, Object, Rates, names};
use crate::http::{reply, sampler, table};

/// Who made the exchanges that every virtual host has.
const INTERNAL_USER: &str = "rmq-internal";

/// What an exchange counts.
const COUNTERS: [Name; 2] = names!["publish_in", "publish_out"];

/// What the rates of an exchange are taken from.
pub(in crate::http) fn exchange_numbers(counters: ExchangeCounters) -> [u64; COUNTERS.len()] {
    [counters.publish_in, counters.publish_out]
}

/// What exchanges have counted, and how fast.
struct Counted<'a> {
    counters: HashMap<(Arc<str>, Arc<str>), ExchangeCounters>,
    rates: MutexGuard<'a, Rates>,
    stats: Stats,
}

#[derive(Serialize)]
struct Exchange<'a> {
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
    #[serde(skip_serializing_if = "Option::is_none")]
    message_stats: Option<Counts<'a, { COUNTERS.len() }>>,
}

/// An exchange by itself has more than a row of a list.
#[derive(Serialize)]
struct ExchangeAlone<'a> {
    #[serde(flatten)]
    exchange: Exchange<'a>,
    incoming: [(); 0],
    outgoing: [(); 0],
}

impl Row for ExchangeInfo {
    fn name(&self) -> &str {
        &self.definition.name
    }

    fn vhost(&self) -> &str {
        &self.vhost
    }
}

impl<'a> Counted<'a> {
    async fn new(api: &'a Api, stats: Stats) -> ApiResult<Self> {
        let counters = sampler::exchange_counters(api).await?;
        Ok(Self { counters, rates: api.rates()?, stats })
    }

    fn of(&self, info: &ExchangeInfo) -> Option<Counts<'_, { COUNTERS.len() }>> {
        let key = (Arc::clone(&info.vhost), info.definition.name.as_str().into());
        let counters = self.counters.get(&key).filter(|_| !self.stats.disabled)?;
        let seen = self.rates.of(&Object::Exchange(key.0, key.1));
        let values = exchange_numbers(*counters);
        Some(Counts { names: &COUNTERS, values, seen, first: 0, range: self.stats.rates })
    }

    fn exchange(&self, info: &ExchangeInfo) -> Exchange<'_> {
        let definition = &info.definition;
        let policy = info.policy.as_ref().and_then(|effective| effective.policy.as_ref());
        let predeclared = definition.name.is_empty() || definition.name.starts_with("amq.");
        Exchange {
            name: definition.name.clone(),
            vhost: Arc::clone(&info.vhost),
            kind: definition.kind.to_string(),
            durable: definition.durable,
            auto_delete: definition.auto_delete,
            internal: definition.internal,
            arguments: table::to_json(&definition.arguments),
            policy: policy.map(|policy| policy.name.clone()),
            user_who_performed_action: predeclared.then_some(INTERNAL_USER),
            message_stats: self.of(info),
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
    let counted = Counted::new(&api, listing.stats).await?;
    listing.reply(rows, |info| counted.exchange(&info))
}

pub(super) async fn list_of_vhost(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(vhost): Path<String>,
    listing: Listing,
) -> ApiResult {
    caller.require_vhost(&vhost)?;
    let rows = api.admin.exchanges(&vhost).await?;
    let counted = Counted::new(&api, listing.stats).await?;
    listing.reply(rows, |info| counted.exchange(&info))
}

pub(super) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, name)): Path<(String, String)>,
    listing: Listing,
) -> ApiResult {
    caller.require_vhost(&vhost)?;
    let info = find(&api, &vhost, &named(name)).await?;
    let counted = Counted::new(&api, listing.stats).await?;
    listing.reply_one(&ExchangeAlone { exchange: counted.exchange(&info), incoming: [], outgoing: [] })
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
    let kind = fields.text("type")?.unwrap_or("direct");
    if kind.parse::<ExchangeType>().is_err() {
        return Err(ApiError::bad_request(format!("invalid exchange type '{kind}'")));
    }
    Ok(Command::ExchangeDeclare {
        exchange,
        kind: kind.to_owned(),
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
    let payload = fields.get("payload").and_then(Value::as_str);
    let payload = payload.ok_or_else(|| ApiError::bad_request("payload_not_string"))?;
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

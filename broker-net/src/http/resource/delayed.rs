//! `/api/exchanges/{vhost}/{exchange}/delayed`: messages that an exchange holds back until they are due.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use broker_core::admin::{
    AdminReply, AdminRequest, CancelDelayed, DelayedMessage, DelayedPage, ListDelayed, MAX_DELAYED_PAGE,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::exchange::named;
use crate::http::api::Api;
use crate::http::caller::Caller;
use crate::http::error::ApiResult;
use crate::http::{reply, table};

/// Messages on a page, unless the request says how many.
const USUAL_PAGE: usize = 100;

#[derive(Deserialize)]
pub(super) struct Page {
    count: Option<usize>,
    after: Option<String>,
}

#[derive(Serialize)]
struct Item {
    id: String,
    due_ms: u64,
    published_ms: u64,
    exchange: String,
    routing_key: String,
    persistent: bool,
    payload_bytes: usize,
    properties: Value,
}

impl From<DelayedMessage> for Item {
    fn from(message: DelayedMessage) -> Self {
        Self {
            id: message.id,
            due_ms: message.due_ms,
            published_ms: message.published_ms,
            exchange: message.exchange,
            routing_key: message.routing_key,
            persistent: message.persistent,
            payload_bytes: message.body_bytes,
            properties: table::properties_to_json(&message.properties),
        }
    }
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, exchange)): Path<(String, String)>,
    Query(Page { count, after }): Query<Page>,
) -> ApiResult {
    caller.require_vhost(&vhost)?;
    let (user, exchange) = (caller.name.to_string(), named(exchange));
    let count = count.unwrap_or(USUAL_PAGE).min(MAX_DELAYED_PAGE);
    let list = ListDelayed { user, vhost, exchange, after, count };
    let page = match api.request(AdminRequest::ListDelayed(list)).await? {
        AdminReply::Delayed(page) => page,
        _ => DelayedPage::default(),
    };
    let items: Vec<Item> = page.messages.into_iter().map(Item::from).collect();
    Ok(reply::json(&json!({"total": page.total, "items": items, "next": page.next})))
}

async fn cancelled(
    api: &Api,
    caller: &Caller,
    vhost: String,
    exchange: String,
    id: Option<String>,
) -> ApiResult<u64> {
    caller.require_vhost(&vhost)?;
    let (user, exchange) = (caller.name.to_string(), named(exchange));
    match api.request(AdminRequest::CancelDelayed(CancelDelayed { user, vhost, exchange, id })).await? {
        AdminReply::Cancelled(count) => Ok(count),
        _ => Ok(0),
    }
}

pub(super) async fn cancel_all(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, exchange)): Path<(String, String)>,
) -> ApiResult {
    let count = cancelled(&api, &caller, vhost, exchange, None).await?;
    Ok(reply::json(&json!({"cancelled": count})))
}

pub(super) async fn cancel(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, exchange, id)): Path<(String, String, String)>,
) -> ApiResult {
    cancelled(&api, &caller, vhost, exchange, Some(id)).await?;
    Ok(reply::done())
}

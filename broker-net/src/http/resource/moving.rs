//! `/api/queues/{vhost}/{queue}/move` and `/redrive`: messages moved to other queues. RabbitMQ has no such requests.

use std::sync::Arc;

use axum::extract::{Path, State};
use broker_core::admin::{AdminMove, AdminReply, AdminRequest, MoveTo};
use serde_json::{Value, json};

use crate::http::api::Api;
use crate::http::body::Fields;
use crate::http::caller::Caller;
use crate::http::error::{ApiError, ApiResult};
use crate::http::reply;

/// The queue or the exchange that `destination` names.
fn destination(fields: &Fields) -> ApiResult<MoveTo> {
    let text = |name: &str| match fields.get("destination").and_then(|destination| destination.get(name)) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(ApiError::bad_request(json!(["not_string", other]))),
    };
    let routing_key = match text("routing-key")? {
        Some(key) => Some(key),
        None => text("routing_key")?,
    };
    match (text("queue")?, text("exchange")?) {
        (Some(queue), None) => Ok(MoveTo::Queue(queue)),
        (None, Some(exchange)) => Ok(MoveTo::Exchange { exchange, routing_key }),
        _ => Err(ApiError::bad_request("destination must name a queue or an exchange")),
    }
}

pub(super) async fn move_messages(
    state: State<Arc<Api>>,
    caller: Caller,
    path: Path<(String, String)>,
    fields: Fields,
) -> ApiResult {
    fields.require(&["destination"])?;
    let to = destination(&fields)?;
    carry_out(state, caller, path, &fields, to).await
}

pub(super) async fn redrive(
    state: State<Arc<Api>>,
    caller: Caller,
    path: Path<(String, String)>,
    fields: Fields,
) -> ApiResult {
    let to = match fields.text("to")? {
        None | Some("queue") => MoveTo::FirstDeathQueue,
        Some("exchange") => MoveTo::FirstDeathExchange,
        Some(_) => return Err(ApiError::bad_request("to must be queue or exchange")),
    };
    carry_out(state, caller, path, &fields, to).await
}

async fn carry_out(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, queue)): Path<(String, String)>,
    fields: &Fields,
    to: MoveTo,
) -> ApiResult {
    caller.require_vhost(&vhost)?;
    let count = match fields.integer("count")? {
        None => None,
        Some(count) => Some(u64::try_from(count).map_err(|_| ApiError::bad_request("count is out of range"))?),
    };
    let order = AdminMove { user: caller.name.to_string(), vhost, queue, to, count };
    match api.request(AdminRequest::Move(Box::new(order))).await? {
        AdminReply::Moved { moved, left, reason } => {
            Ok(reply::json(&json!({"moved": moved, "left": left, "reason": reason})))
        }
        _ => Ok(reply::done()),
    }
}

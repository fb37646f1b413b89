//! `/api/queues/{vhost}/{queue}/get`: messages taken from a queue, to look at them or to have them gone.

use std::sync::Arc;

use axum::extract::{Path, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use broker_core::admin::{AdminGet, AdminReply, AdminRequest, GotMessage};
use broker_core::session::Settlement;
use serde::Serialize;
use serde_json::{Value, json};

use crate::http::api::Api;
use crate::http::body::Fields;
use crate::http::caller::Caller;
use crate::http::error::{ApiError, ApiResult};
use crate::http::{reply, table};

#[derive(Serialize)]
struct Got {
    payload_bytes: usize,
    redelivered: bool,
    exchange: String,
    routing_key: String,
    message_count: u32,
    properties: Value,
    payload: String,
    payload_encoding: &'static str,
}

/// How payloads are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    /// As text if they are UTF-8.
    Auto,
    Base64,
}

impl Got {
    fn new(message: GotMessage, encoding: Encoding) -> Self {
        let GotMessage { exchange, routing_key, redelivered, message_count, properties, body_bytes, body } =
            message;
        let (payload, payload_encoding) = match String::from_utf8(body) {
            Ok(text) if encoding == Encoding::Auto => (text, "string"),
            Ok(text) => (STANDARD.encode(text), "base64"),
            Err(error) => (STANDARD.encode(error.into_bytes()), "base64"),
        };
        Self {
            payload_bytes: body_bytes,
            redelivered,
            exchange,
            routing_key,
            message_count,
            properties: table::properties_to_json(&properties),
            payload,
            payload_encoding,
        }
    }
}

fn settlement(ackmode: &str) -> ApiResult<Settlement> {
    match ackmode {
        "ack_requeue_true" | "reject_requeue_true" => Ok(Settlement::Requeue),
        "ack_requeue_false" => Ok(Settlement::Ack),
        "reject_requeue_false" => Ok(Settlement::Reject),
        other => Err(ApiError::bad_request(json!(["unknown_ackmode", other]))),
    }
}

pub(super) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, queue)): Path<(String, String)>,
    fields: Fields,
) -> ApiResult {
    caller.require_vhost(&vhost)?;
    if api.admin.queue(&vhost, &queue).await?.is_none() {
        return Err(ApiError::missing("queue_not_found"));
    }
    fields.require(&["count", "ackmode", "encoding"])?;
    let encoding = match fields.required_text("encoding")? {
        "auto" => Encoding::Auto,
        "base64" => Encoding::Base64,
        _ => return Err(ApiError::bad_request("Unsupported encoding. Please use auto or base64.")),
    };
    let settlement = settlement(fields.required_text("ackmode")?)?;
    // As RabbitMQ: less than nothing is nothing.
    let count = u32::try_from(fields.integer("count")?.unwrap_or_default().max(0)).unwrap_or(u32::MAX);
    let truncate = fields.integer("truncate")?.and_then(|bytes| usize::try_from(bytes).ok());
    let get = AdminGet { user: caller.name.to_string(), vhost, queue, count, truncate, settlement };
    match api.request(AdminRequest::Get(get)).await? {
        AdminReply::Got(messages) => {
            let messages: Vec<Got> = messages.into_iter().map(|message| Got::new(message, encoding)).collect();
            Ok(reply::json(&messages))
        }
        _ => Ok(reply::json(&[(); 0])),
    }
}

//! Settings of a node that hold until its configuration is read again or it ends: what rabbitmqctl's `set_log_level`,
//! `set_disk_free_limit` and `set_vm_memory_high_watermark` do. RabbitMQ has no such paths.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use serde_json::Value;

use super::super::api::Api;
use super::super::body::Fields;
use super::super::caller::Caller;
use super::super::error::{ApiError, ApiResult};
use crate::config::{Watermark, bytes, fraction, log_level, multiple};

/// `{"level": "debug"}`: what is logged, everywhere.
pub(super) async fn set_log_level(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(node): Path<String>,
    fields: Fields,
) -> ApiResult {
    check(&api, &caller, &node)?;
    let level = log_level(fields.required_text("level")?).map_err(ApiError::bad_request)?;
    api.adjustable.set_log_level(level);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `{"relative": 0.4}` or `{"absolute": "4GB"}`: where the memory alarm begins.
pub(super) async fn set_vm_memory_high_watermark(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(node): Path<String>,
    fields: Fields,
) -> ApiResult {
    check(&api, &caller, &node)?;
    looked(api.adjustable.set_memory(watermark(&fields, fraction)?)).await
}

/// `{"relative": 1.5}` or `{"absolute": "2GB"}`: where the disk alarm begins.
pub(super) async fn set_disk_free_limit(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(node): Path<String>,
    fields: Fields,
) -> ApiResult {
    check(&api, &caller, &node)?;
    looked(api.adjustable.set_disk(watermark(&fields, multiple)?)).await
}

fn check(api: &Api, caller: &Caller, node: &str) -> ApiResult<()> {
    caller.require_administrator()?;
    if node == api.identity.node { Ok(()) } else { Err(ApiError::not_found()) }
}

/// Answers when alarms are what the new threshold asks for.
async fn looked(done: flume::Receiver<()>) -> ApiResult {
    done.recv_async().await.map_err(|_| ApiError::unavailable("the broker stops"))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The one threshold that a body names, in bytes or relative to the memory.
fn watermark(fields: &Fields, relative: fn(&str) -> Result<u32, String>) -> ApiResult<Watermark> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    let watermark = match (fields.get("relative"), fields.get("absolute")) {
        (Some(value), None) => relative(&text(value)).map(Watermark::Relative),
        (None, Some(value)) => bytes(&text(value)).map(Watermark::Absolute),
        _ => Err("expected either \"relative\" or \"absolute\"".to_owned()),
    };
    watermark.map_err(ApiError::bad_request)
}

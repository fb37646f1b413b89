//! `/api/health/checks` and `/api/aliveness-test`: 200 if all is well, 503 if not.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use broker_core::admin::{AdminGet, AdminPublish, AdminReply, AdminRequest};
use broker_core::session::{Command, Settlement};
use serde_json::{Value, json};

use crate::http::api::Api;
use crate::http::caller::Caller;
use crate::http::error::{ApiError, ApiResult};
use crate::http::reply;
use crate::metrics::total;
use crate::tls;

/// The queue that the aliveness test publishes to and gets from, as RabbitMQ names it.
const ALIVENESS_QUEUE: &str = "aliveness-test";

fn healthy() -> Response {
    reply::json(&json!({"status": "ok"}))
}

fn failed(why: &Value) -> Response {
    let mut response = reply::json(why);
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

/// The shards answer: `Caller` has asked them.
pub(super) async fn ok(_: Caller) -> Response {
    healthy()
}

pub(super) async fn single_node(_: Caller) -> Response {
    reply::json(&json!({"status": "ok", "reason": "single node cluster"}))
}

/// Fails while an alarm is set, or while a log takes no more work.
pub(super) async fn alarms(State(api): State<Arc<Api>>, _: Caller) -> ApiResult {
    let stats = total(&api.admin.stats().await?);
    let resources = [("memory", stats.memory_alarm), ("disk", stats.disk_alarm + stats.log_poisoned)];
    let set = resources.into_iter().filter(|(_, shards)| *shards > 0);
    let alarms: Vec<Value> =
        set.map(|(resource, _)| json!({"node": api.identity.node, "resource": resource})).collect();
    if alarms.is_empty() {
        return Ok(healthy());
    }
    let reason = "There are alarms in effect in the cluster";
    Ok(failed(&json!({"status": "failed", "reason": reason, "alarms": alarms})))
}

pub(super) async fn alarms_of_node(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(node): Path<String>,
) -> ApiResult {
    if node != api.identity.node {
        return Err(ApiError::not_found());
    }
    alarms(State(api), caller).await
}

pub(super) async fn port_listener(State(api): State<Arc<Api>>, _: Caller, Path(port): Path<String>) -> ApiResult {
    let port: u16 = port.parse().map_err(|_| ApiError::bad_request("Invalid port"))?;
    if api.listeners.iter().any(|listener| listener.address.port() == port) {
        return Ok(reply::json(&json!({"status": "ok", "port": port})));
    }
    let ports: Vec<u16> = api.listeners.iter().map(|listener| listener.address.port()).collect();
    Ok(failed(&json!({"status": "failed", "reason": "No active listener", "missing": port, "ports": ports})))
}

pub(super) async fn protocol_listener(
    State(api): State<Arc<Api>>,
    _: Caller,
    Path(protocol): Path<String>,
) -> Response {
    let wanted = match protocol.as_str() {
        "amqp091" | "amqp0.9.1" | "amqp0-9-1" => "amqp",
        other => other,
    };
    if api.listeners.iter().any(|listener| listener.protocol == wanted) {
        return reply::json(&json!({"status": "ok", "protocol": protocol}));
    }
    let protocols: Vec<&str> = api.listeners.iter().map(|listener| listener.protocol).collect();
    failed(&json!({
        "status": "failed", "reason": "No active listener", "missing": protocol, "protocols": protocols
    }))
}

/// Declares a queue, publishes to it and gets the message back, on behalf of the caller.
pub(super) async fn aliveness(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(vhost): Path<String>,
) -> ApiResult {
    caller.require_vhost(&vhost)?;
    let user = caller.name.to_string();
    let command = Command::QueueDeclare {
        queue: ALIVENESS_QUEUE.to_owned(),
        generated: false,
        passive: false,
        durable: false,
        exclusive: false,
        auto_delete: false,
        arguments: Default::default(),
    };
    api.request(AdminRequest::Command { user: user.clone(), vhost: vhost.clone(), command }).await?;
    let publish = AdminPublish {
        user: user.clone(),
        vhost: vhost.clone(),
        exchange: String::new(),
        routing_key: ALIVENESS_QUEUE.to_owned(),
        properties: Default::default(),
        body: b"test_message".to_vec(),
    };
    api.request(AdminRequest::Publish(Box::new(publish))).await?;
    let get = AdminGet {
        user,
        vhost,
        queue: ALIVENESS_QUEUE.to_owned(),
        count: 1,
        truncate: None,
        settlement: Settlement::Ack,
    };
    match api.request(AdminRequest::Get(get)).await? {
        AdminReply::Got(messages) if !messages.is_empty() => Ok(healthy().into_response()),
        _ => Ok(failed(&json!({"status": "failed", "reason": "the message did not come back"}))),
    }
}

/// Fails if a certificate of the configuration ceases to be valid within the time.
pub(super) async fn certificate_expiration(
    State(api): State<Arc<Api>>,
    _: Caller,
    Path((within, unit)): Path<(String, String)>,
) -> ApiResult {
    let days = match unit.as_str() {
        "days" => 1,
        "weeks" => 7,
        "months" => 30,
        "years" => 365,
        _ => {
            let reason = "Time unit not recognised. Supported units: days, weeks, months, years.";
            return Err(ApiError::bad_request(reason));
        }
    };
    let within = within.parse::<u32>().map_err(|_| ApiError::bad_request("Invalid expiration value."))?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let end = i64::try_from(now).unwrap_or(i64::MAX).saturating_add(i64::from(within) * days * 24 * 3600);
    let mut expired = Vec::new();
    for (key, path) in &api.certificates {
        let expires_at = tls::expires_at(key, path).map_err(|error| ApiError::unavailable(error.to_string()))?;
        if expires_at <= end {
            expired.push(json!({"node": api.identity.node, "key": key, "file": path, "expires_at": expires_at}));
        }
    }
    if expired.is_empty() {
        return Ok(healthy());
    }
    Ok(failed(&json!({"status": "failed", "reason": "Certificates expiring", "expired": expired})))
}

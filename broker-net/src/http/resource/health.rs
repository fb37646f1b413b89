//! `/api/health/checks` and `/api/aliveness-test`: 200 if all is well, 503 if not.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use broker_core::admin::{AdminGet, AdminPublish, AdminReply, AdminRequest};
use broker_core::session::{Command, Settlement};
use serde_json::{Value, json};

use crate::http::api::{Api, Listening, Secured};
use crate::http::caller::Caller;
use crate::http::error::{ApiError, ApiResult};
use crate::http::{date, reply};
use crate::metrics::total;
use crate::tls::{self, Certified, Period, Validity};

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

/// Fails if a certificate in use, of AMQP, WebSockets or HTTP, is not valid now or ceases to be within the time.
pub(super) async fn certificate_expiration(
    State(api): State<Arc<Api>>,
    _: Caller,
    Path((within, unit)): Path<(String, String)>,
) -> ApiResult {
    const DAY: i64 = 24 * 3600;
    let seconds = match unit.to_ascii_lowercase().as_str() {
        "days" => DAY,
        "weeks" => 7 * DAY,
        "months" => 365 * DAY / 12,
        "years" => 365 * DAY,
        _ => {
            let reason = "Time unit not recognised. Supported units: days, weeks, months, years.";
            return Err(ApiError::bad_request(reason));
        }
    };
    let within = within.parse::<i64>().map_err(|_| ApiError::bad_request("Invalid expiration value."))?;
    let end = tls::now().saturating_add(within.saturating_mul(seconds));
    let expired: Vec<Value> = api.secured.iter().flat_map(|secured| expiring(&api, secured, end)).collect();
    if expired.is_empty() {
        return Ok(healthy());
    }
    Ok(failed(&json!({"status": "failed", "reason": "Certificates expiring", "expired": expired})))
}

/// What is wrong with a time of validity.
fn shown(period: &Period) -> String {
    if period.not_before > tls::now() {
        return format!("not valid before {}", date::seconds(period.not_before));
    }
    date::seconds(period.not_after)
}

/// The certificates of a listener that cease to be valid before `end`: one row for each that clients may get.
fn expiring(api: &Api, secured: &Secured, end: i64) -> Vec<Value> {
    let Secured { listening: Listening { protocol, address }, acceptor } = secured;
    let expires_on = |certified: &Certified| -> Vec<String> { certified.expiring(end).map(shown).collect() };
    let row = |validity: &Validity| {
        let certfile_expires_on = expires_on(&validity.own);
        let cacertfile_expires_on = validity.authorities.as_ref().map(expires_on).unwrap_or_default();
        if certfile_expires_on.is_empty() && cacertfile_expires_on.is_empty() {
            return None;
        }
        let mut row = json!({
            "node": api.identity.node,
            "protocol": protocol,
            "interface": address.ip().to_string(),
            "port": address.port(),
            "certfile": validity.own.file,
            "cacertfile": validity.authorities.as_ref().map(|authorities| &authorities.file),
            "certfile_expires_on": certfile_expires_on,
            "cacertfile_expires_on": cacertfile_expires_on,
        });
        if let Some(name) = &validity.server_name {
            row["server_name"] = name.as_str().into();
        }
        Some(row)
    };
    acceptor.validity().iter().filter_map(row).collect()
}

//! Attempts to log in: how many, and which addresses have failed.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use broker_core::shard::driver::now_ms;
use serde_json::{Value, json};

use super::super::api::Api;
use super::super::caller::Caller;
use super::super::error::{ApiError, ApiResult};
use super::super::reply::json as answer;
use crate::logins::LoginProtocol;

/// `GET /auth/attempts/NODE`: numbers by protocol.
pub(super) async fn list(caller: Caller, State(api): State<Arc<Api>>, Path(node): Path<String>) -> ApiResult {
    allowed(&caller, &api, &node)?;
    let rows = LoginProtocol::ALL.map(|protocol| {
        let attempts = api.node.logins.attempts(protocol);
        json!({
            "protocol": protocol.name(),
            "auth_attempts": attempts.all(),
            "auth_attempts_failed": attempts.failed,
            "auth_attempts_succeeded": attempts.succeeded,
        })
    });
    Ok(answer(&rows))
}

/// `GET /auth/attempts/NODE/source`: addresses whose failures still count.
pub(super) async fn list_sources(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(node): Path<String>,
) -> ApiResult {
    allowed(&caller, &api, &node)?;
    let failing = api.node.logins.failing(api.node.config().login_limit, now_ms());
    let rows: Vec<Value> = failing
        .into_iter()
        .map(|(address, failures)| {
            json!({
                "remote_address": address.to_string(),
                "auth_attempts": failures,
                "auth_attempts_failed": failures,
                "auth_attempts_succeeded": 0,
            })
        })
        .collect();
    Ok(answer(&rows))
}

/// `DELETE /auth/attempts/NODE` and `/source`: all numbers begin anew, and nobody is refused for what was.
pub(super) async fn reset(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(node): Path<String>,
) -> ApiResult<Response> {
    allowed(&caller, &api, &node)?;
    caller.require_administrator()?;
    api.node.logins.reset();
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn allowed(caller: &Caller, api: &Api, node: &str) -> ApiResult<()> {
    caller.require_monitor()?;
    if node == api.identity.node { Ok(()) } else { Err(ApiError::not_found()) }
}

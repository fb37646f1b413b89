//! `/api/vhost-limits` and `/api/user-limits`.

use std::sync::Arc;

use axum::extract::{Path, State};
use broker_core::admin::AdminRequest;
use broker_core::model::limits::{UserLimit, UserLimits, VhostLimit, VhostLimits};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::http::api::Api;
use crate::http::body::Fields;
use crate::http::caller::Caller;
use crate::http::error::{ApiError, ApiResult};
use crate::http::listing::{Listing, Row};
use crate::http::reply;

#[derive(Serialize)]
struct LimitsOfVhost {
    vhost: String,
    value: Map<String, Value>,
}

#[derive(Serialize)]
struct LimitsOfUser {
    user: String,
    value: Map<String, Value>,
}

impl Row for VhostLimits {
    fn name(&self) -> &str {
        &self.vhost
    }
}

impl Row for UserLimits {
    fn name(&self) -> &str {
        &self.user
    }
}

fn limits(pairs: [(&str, Option<u64>); 2]) -> Map<String, Value> {
    pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))).collect()
}

/// The limits of a virtual host by name.
pub(super) fn of_vhost(of: &VhostLimits) -> Map<String, Value> {
    limits([("max-connections", of.max_connections), ("max-queues", of.max_queues)])
}

/// The limits of a user by name.
pub(super) fn of_user(of: &UserLimits) -> Map<String, Value> {
    limits([("max-channels", of.max_channels), ("max-connections", of.max_connections)])
}

/// A limit of a virtual host by its name.
pub(super) fn vhost_limit(name: &str) -> Option<VhostLimit> {
    match name {
        "max-connections" => Some(VhostLimit::MaxConnections),
        "max-queues" => Some(VhostLimit::MaxQueues),
        _ => None,
    }
}

/// A limit of a user by its name.
pub(super) fn user_limit(name: &str) -> Option<UserLimit> {
    match name {
        "max-connections" => Some(UserLimit::MaxConnections),
        "max-channels" => Some(UserLimit::MaxChannels),
        _ => None,
    }
}

/// A value as Erlang prints it.
fn erlang(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), |text| format!("<<\"{text}\">>"))
}

/// The `value` of a request; a negative number is no limit.
fn value_of(fields: &Fields, name: &str) -> ApiResult<Option<u64>> {
    fields.require(&["value"])?;
    let value = fields.get("value").unwrap_or(&Value::Null);
    number(value).ok_or_else(|| not_a_number(name, value))
}

/// A limit's number; `Some(None)` is no limit.
pub(super) fn number(value: &Value) -> Option<Option<u64>> {
    let number = value.as_i64().or_else(|| value.as_str()?.parse().ok())?;
    Some(u64::try_from(number).ok())
}

fn not_a_number(name: &str, value: &Value) -> ApiError {
    let shown = erlang(value);
    ApiError::bad_request(format!("Validation failed\n\n{name} should be a number, actually was {shown}\n"))
}

pub(super) async fn list_of_vhosts(caller: Caller, listing: Listing) -> ApiResult {
    let rows = caller
        .defined
        .vhost_limits
        .iter()
        .filter(|limits| caller.is_monitor() || caller.lists(&limits.vhost))
        .cloned();
    listing.reply_all(rows.collect(), |row: VhostLimits| LimitsOfVhost { value: of_vhost(&row), vhost: row.vhost })
}

pub(super) async fn get_of_vhost(caller: Caller, Path(vhost): Path<String>, listing: Listing) -> ApiResult {
    caller.require_visible_vhost(&vhost)?;
    let rows = caller.defined.vhost_limits.iter().filter(|limits| limits.vhost == vhost).cloned();
    listing.reply_all(rows.collect(), |row: VhostLimits| LimitsOfVhost { value: of_vhost(&row), vhost: row.vhost })
}

pub(super) async fn put_of_vhost(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, name)): Path<(String, String)>,
    fields: Fields,
) -> ApiResult {
    caller.require_administrator()?;
    caller.defined.vhost(&vhost).ok_or_else(|| ApiError::missing("vhost_not_found"))?;
    let value = value_of(&fields, &name)?;
    let limit = vhost_limit(&name).ok_or_else(|| {
        let shown = erlang(fields.get("value").unwrap_or(&Value::Null));
        let text = format!("Unrecognised terms [{{<<\"{name}\">>,{shown}}}] in limits");
        ApiError::bad_request(format!("Validation failed\n\n{text}\n"))
    })?;
    api.request(AdminRequest::SetVhostLimit { vhost, limit, value }).await?;
    Ok(reply::done())
}

pub(super) async fn delete_of_vhost(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, name)): Path<(String, String)>,
) -> ApiResult {
    caller.require_administrator()?;
    caller.defined.vhost(&vhost).ok_or_else(ApiError::not_found)?;
    if let Some(limit) = vhost_limit(&name) {
        api.request(AdminRequest::SetVhostLimit { vhost, limit, value: None }).await?;
    }
    Ok(reply::done())
}

pub(super) async fn list_of_users(caller: Caller, listing: Listing) -> ApiResult {
    let rows = caller.defined.user_limits.to_vec();
    listing.reply_all(rows, |row| LimitsOfUser { value: of_user(&row), user: row.user })
}

pub(super) async fn get_of_user(caller: Caller, Path(user): Path<String>, listing: Listing) -> ApiResult {
    caller.defined.user(&user).ok_or_else(ApiError::not_found)?;
    let rows = caller.defined.user_limits.iter().filter(|limits| limits.user == user).cloned();
    listing.reply_all(rows.collect(), |row: UserLimits| LimitsOfUser { value: of_user(&row), user: row.user })
}

pub(super) async fn put_of_user(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((user, name)): Path<(String, String)>,
    fields: Fields,
) -> ApiResult {
    caller.require_administrator()?;
    let value = value_of(&fields, &name)?;
    let limit = user_limit(&name).ok_or_else(|| {
        let shown = erlang(fields.get("value").unwrap_or(&Value::Null));
        ApiError::bad_request(format!("Unrecognised terms [{{<<\"{name}\">>,{shown}}}] in user-limits"))
    })?;
    if caller.defined.user(&user).is_none() {
        return Err(ApiError::bad_request(json!(["no_such_user", user])));
    }
    api.request(AdminRequest::SetUserLimit { user, limit, value }).await?;
    Ok(reply::done())
}

pub(super) async fn delete_of_user(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((user, name)): Path<(String, String)>,
) -> ApiResult {
    caller.require_administrator()?;
    caller.defined.user(&user).ok_or_else(ApiError::not_found)?;
    if let Some(limit) = user_limit(&name) {
        api.request(AdminRequest::SetUserLimit { user, limit, value: None }).await?;
    }
    Ok(reply::done())
}

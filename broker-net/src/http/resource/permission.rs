//! `/api/permissions` and `/api/topic-permissions`: what users may do in virtual hosts.

use std::sync::Arc;

use axum::extract::{Path, State};
use broker_core::admin::{AdminRequest, Definition, DefinitionKey};
use broker_core::model::permission::{PermissionDefinition, TopicPermissionDefinition};

use crate::http::api::Api;
use crate::http::body::Fields;
use crate::http::caller::Caller;
use crate::http::defined::Defined;
use crate::http::error::{ApiError, ApiResult};
use crate::http::listing::{Listing, Row};
use crate::http::reply;

impl Row for PermissionDefinition {
    fn name(&self) -> &str {
        &self.user
    }

    fn vhost(&self) -> &str {
        &self.vhost
    }
}

impl Row for TopicPermissionDefinition {
    fn name(&self) -> &str {
        &self.user
    }

    fn vhost(&self) -> &str {
        &self.vhost
    }
}

fn list_where(caller: &Caller, listing: &Listing, wanted: impl Fn(&PermissionDefinition) -> bool) -> ApiResult {
    let rows = caller.defined.permissions.iter().filter(|row| wanted(row)).cloned().collect();
    listing.reply_all(rows, |row: PermissionDefinition| row)
}

fn list_topic_where(
    caller: &Caller,
    listing: &Listing,
    wanted: impl Fn(&TopicPermissionDefinition) -> bool,
) -> ApiResult {
    let rows = caller.defined.topic_permissions.iter().filter(|row| wanted(row)).cloned().collect();
    listing.reply_all(rows, |row: TopicPermissionDefinition| row)
}

pub(super) async fn list(caller: Caller, listing: Listing) -> ApiResult {
    caller.require_administrator()?;
    list_where(&caller, &listing, |_| true)
}

pub(super) async fn list_of_vhost(caller: Caller, Path(vhost): Path<String>, listing: Listing) -> ApiResult {
    caller.require_administrator()?;
    caller.require_vhost(&vhost)?;
    list_where(&caller, &listing, |permission| permission.vhost == vhost)
}

pub(super) async fn list_of_user(caller: Caller, Path(user): Path<String>, listing: Listing) -> ApiResult {
    caller.require_administrator()?;
    caller.defined.user(&user).ok_or_else(ApiError::not_found)?;
    list_where(&caller, &listing, |permission| permission.user == user)
}

pub(super) async fn get(
    caller: Caller,
    Path((vhost, user)): Path<(String, String)>,
    listing: Listing,
) -> ApiResult {
    caller.require_administrator()?;
    listing.reply_one(caller.defined.permission(&user, &vhost).ok_or_else(ApiError::not_found)?)
}

pub(super) async fn put(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, user)): Path<(String, String)>,
    fields: Fields,
) -> ApiResult {
    caller.require_administrator()?;
    require_both(&caller.defined, &vhost, &user)?;
    let created = caller.defined.permission(&user, &vhost).is_none();
    api.request(AdminRequest::Put(from_fields(vhost, user, &fields)?)).await?;
    Ok(reply::put(created))
}

fn require_both(defined: &Defined, vhost: &str, user: &str) -> ApiResult<()> {
    let there = defined.vhost(vhost).is_some() && defined.user(user).is_some();
    if there { Ok(()) } else { Err(ApiError::bad_request("vhost_or_user_not_found")) }
}

/// Permissions as requests and definitions describe them.
pub(super) fn from_fields(vhost: String, user: String, fields: &Fields) -> ApiResult<Definition> {
    fields.require(&["configure", "write", "read"])?;
    let [configure, write, read] = ["configure", "write", "read"].map(|name| fields.required_text(name));
    let (configure, write, read) = (configure?.to_owned(), write?.to_owned(), read?.to_owned());
    Ok(Definition::Permission(PermissionDefinition { user, vhost, configure, write, read }))
}

pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, user)): Path<(String, String)>,
) -> ApiResult {
    caller.require_administrator()?;
    caller.defined.permission(&user, &vhost).ok_or_else(ApiError::not_found)?;
    api.request(AdminRequest::Delete(DefinitionKey::Permission { user, vhost })).await?;
    Ok(reply::done())
}

pub(super) async fn list_topic(caller: Caller, listing: Listing) -> ApiResult {
    caller.require_administrator()?;
    list_topic_where(&caller, &listing, |_| true)
}

pub(super) async fn list_topic_of_vhost(caller: Caller, Path(vhost): Path<String>, listing: Listing) -> ApiResult {
    caller.require_administrator()?;
    caller.require_vhost(&vhost)?;
    list_topic_where(&caller, &listing, |permission| permission.vhost == vhost)
}

pub(super) async fn list_topic_of_user(caller: Caller, Path(user): Path<String>, listing: Listing) -> ApiResult {
    caller.require_administrator()?;
    caller.defined.user(&user).ok_or_else(ApiError::not_found)?;
    list_topic_where(&caller, &listing, |permission| permission.user == user)
}

/// The topic permissions of a user in a virtual host, one for each exchange. 404 if there is none.
pub(super) async fn get_topic(
    caller: Caller,
    Path((vhost, user)): Path<(String, String)>,
    listing: Listing,
) -> ApiResult {
    caller.require_administrator()?;
    require_topic(&caller.defined, &vhost, &user, None)?;
    list_topic_where(&caller, &listing, |permission| permission.vhost == vhost && permission.user == user)
}

pub(super) async fn get_topic_of_exchange(
    caller: Caller,
    Path((vhost, user, exchange)): Path<(String, String, String)>,
    listing: Listing,
) -> ApiResult {
    caller.require_administrator()?;
    let exchange = super::exchange::named(exchange);
    require_topic(&caller.defined, &vhost, &user, Some(&exchange))?;
    list_topic_where(&caller, &listing, |permission| {
        permission.vhost == vhost && permission.user == user && permission.exchange == exchange
    })
}

fn require_topic(defined: &Defined, vhost: &str, user: &str, exchange: Option<&str>) -> ApiResult<()> {
    let found = defined.topic_permissions.iter().any(|permission| {
        permission.vhost == vhost
            && permission.user == user
            && exchange.is_none_or(|exchange| permission.exchange == exchange)
    });
    if found { Ok(()) } else { Err(ApiError::not_found()) }
}

pub(super) async fn put_topic(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, user)): Path<(String, String)>,
    fields: Fields,
) -> ApiResult {
    caller.require_administrator()?;
    require_both(&caller.defined, &vhost, &user)?;
    fields.require(&["exchange", "write", "read"])?;
    let definition = topic_from_fields(vhost, user, &fields)?;
    let created = require_topic(&caller.defined, &definition.vhost, &definition.user, Some(&definition.exchange));
    api.request(AdminRequest::Put(Definition::TopicPermission(definition))).await?;
    Ok(reply::put(created.is_err()))
}

/// Topic permissions as requests and definitions describe them.
pub(super) fn topic_from_fields(
    vhost: String,
    user: String,
    fields: &Fields,
) -> ApiResult<TopicPermissionDefinition> {
    let exchange = super::exchange::named(fields.required_text("exchange")?.to_owned());
    let (write, read) = (fields.required_text("write")?.to_owned(), fields.required_text("read")?.to_owned());
    Ok(TopicPermissionDefinition { user, vhost, exchange, write, read })
}

pub(super) async fn delete_topic(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, user)): Path<(String, String)>,
) -> ApiResult {
    caller.require_administrator()?;
    require_topic(&caller.defined, &vhost, &user, None)?;
    let of_user = |permission: &&TopicPermissionDefinition| permission.vhost == vhost && permission.user == user;
    for permission in caller.defined.topic_permissions.iter().filter(of_user) {
        let (user, vhost, exchange) = (user.clone(), vhost.clone(), permission.exchange.clone());
        api.request(AdminRequest::Delete(DefinitionKey::TopicPermission { user, vhost, exchange })).await?;
    }
    Ok(reply::done())
}

pub(super) async fn delete_topic_of_exchange(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, user, exchange)): Path<(String, String, String)>,
) -> ApiResult {
    caller.require_administrator()?;
    let exchange = super::exchange::named(exchange);
    require_topic(&caller.defined, &vhost, &user, Some(&exchange))?;
    let key = DefinitionKey::TopicPermission { user, vhost, exchange };
    api.request(AdminRequest::Delete(key)).await?;
    Ok(reply::done())
}

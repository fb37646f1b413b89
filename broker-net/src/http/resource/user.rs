//! `/api/users`: users and their passwords.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use broker_core::admin::{AdminRequest, Definition, DefinitionKey};
use broker_core::model::user::{HashingAlgorithm, UserDefinition};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::limit;
use crate::http::api::Api;
use crate::http::body::Fields;
use crate::http::caller::Caller;
use crate::http::error::{ApiError, ApiResult};
use crate::http::listing::{Listing, Row};
use crate::http::reply;

#[derive(Serialize)]
pub(super) struct User {
    name: String,
    password_hash: String,
    hashing_algorithm: HashingAlgorithm,
    tags: Vec<String>,
    limits: Map<String, Value>,
}

impl Row for UserDefinition {
    fn name(&self) -> &str {
        &self.name
    }
}

impl User {
    pub(super) fn new(user: UserDefinition, caller: &Caller) -> Self {
        let limits = caller.defined.limits_of_user(&user.name).map(limit::of_user).unwrap_or_default();
        let UserDefinition { name, password_hash, hashing_algorithm, tags } = user;
        Self { name, password_hash, hashing_algorithm, tags, limits }
    }
}

pub(super) async fn list(caller: Caller, listing: Listing) -> ApiResult {
    caller.require_administrator()?;
    listing.reply(caller.defined.users.clone(), |user| User::new(user, &caller))
}

pub(super) async fn list_without_permissions(caller: Caller, listing: Listing) -> ApiResult {
    caller.require_administrator()?;
    let mut users = caller.defined.users.clone();
    users.retain(|user| !caller.defined.permissions.iter().any(|permission| permission.user == user.name));
    listing.reply(users, |user| User::new(user, &caller))
}

pub(super) async fn get(caller: Caller, Path(name): Path<String>, listing: Listing) -> ApiResult {
    caller.require_administrator()?;
    let user = caller.defined.user(&name).cloned().ok_or_else(ApiError::not_found)?;
    listing.reply_one(&User::new(user, &caller))
}

pub(super) async fn put(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    fields: Fields,
) -> ApiResult {
    caller.require_administrator()?;
    let created = caller.defined.user(&name).is_none();
    let user = from_fields(name, &fields)?;
    api.request(AdminRequest::Put(Definition::User(user))).await?;
    Ok(reply::put(created))
}

/// A user as requests and definitions describe one: `tags`, and `password`, `password_hash` or neither.
pub(super) fn from_fields(name: String, fields: &Fields) -> ApiResult<UserDefinition> {
    let tags = fields.get("tags").or_else(|| fields.get("administrator"));
    let tags = tags.ok_or_else(|| ApiError::bad_request("tags_not_present"))?;
    let mut hashing_algorithm: HashingAlgorithm = match fields.get("hashing_algorithm") {
        None => HashingAlgorithm::default(),
        Some(algorithm) => serde_json::from_value(algorithm.clone())
            .map_err(|_| ApiError::bad_request(json!(["unknown_hashing_algorithm", algorithm])))?,
    };
    let password_hash = match (fields.text("password_hash")?, fields.text("password")?) {
        (Some(hash), _) => {
            let refused = |reason: String| match reason.as_str() {
                "not base64" => ApiError::bad_request(json!(["not_base64", hash])),
                _ => ApiError::bad_request(format!("password_hash of user '{name}': {reason}")),
            };
            hashing_algorithm.check_hash(hash).map_err(refused)?;
            hash.to_owned()
        }
        (None, Some(password)) => {
            if hashing_algorithm == HashingAlgorithm::Bcrypt {
                hashing_algorithm = HashingAlgorithm::default();
            }
            hashing_algorithm.hash_password(password.as_bytes(), salt())
        }
        (None, None) => String::new(),
    };
    Ok(UserDefinition { name, password_hash, hashing_algorithm, tags: parse_tags(tags)? })
}

/// Tags are a list, or a text with commas.
pub(super) fn parse_tags(tags: &Value) -> ApiResult<Vec<String>> {
    let refused = || ApiError::bad_request(json!(["invalid_tags", tags]));
    let tags: Vec<String> = match tags {
        Value::String(text) => text.split(',').map(|tag| tag.trim().to_owned()).collect(),
        Value::Array(tags) => {
            let texts = tags.iter().map(|tag| tag.as_str().map(|tag| tag.trim().to_owned()));
            texts.collect::<Option<_>>().ok_or_else(refused)?
        }
        _ => return Err(refused()),
    };
    Ok(tags.into_iter().filter(|tag| !tag.is_empty()).collect())
}

/// Four bytes that nobody can foresee.
fn salt() -> [u8; 4] {
    let hash = RandomState::new().hash_one(()).to_le_bytes();
    hash.first_chunk().copied().unwrap_or_default()
}

pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
) -> ApiResult<Response> {
    caller.require_administrator()?;
    caller.defined.user(&name).ok_or_else(ApiError::not_found)?;
    api.request(AdminRequest::Delete(DefinitionKey::User { name })).await?;
    Ok(reply::done())
}

pub(super) async fn bulk_delete(State(api): State<Arc<Api>>, caller: Caller, fields: Fields) -> ApiResult {
    caller.require_administrator()?;
    fields.require(&["users"])?;
    let users: Vec<String> = fields
        .get("users")
        .and_then(|users| serde_json::from_value(users.clone()).ok())
        .ok_or_else(|| ApiError::bad_request("users is not a list of names"))?;
    for name in users {
        // Those that are not there are passed over.
        if caller.defined.user(&name).is_some() {
            api.request(AdminRequest::Delete(DefinitionKey::User { name })).await?;
        }
    }
    Ok(reply::done())
}

pub(super) async fn hash_password(caller: Caller, Path(password): Path<String>) -> ApiResult {
    caller.require_administrator()?;
    let hash = HashingAlgorithm::default().hash_password(password.as_bytes(), salt());
    Ok(reply::json(&json!({ "ok": hash })))
}

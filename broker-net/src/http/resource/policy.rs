//! `/api/policies` and `/api/operator-policies`.

use std::sync::Arc;

use axum::extract::{Path, State};
use broker_core::admin::{AdminRequest, Definition, DefinitionKey};
use broker_core::model::policy::{ApplyTo, PolicyDefinition};
use serde_json::{Map, Value};

use crate::http::api::Api;
use crate::http::body::Fields;
use crate::http::caller::Caller;
use crate::http::error::{ApiError, ApiResult};
use crate::http::listing::{Listing, Row};
use crate::http::reply;

impl Row for PolicyDefinition {
    fn name(&self) -> &str {
        &self.name
    }

    fn vhost(&self) -> &str {
        &self.vhost
    }
}

/// Which of the two kinds of policy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Policy,
    Operator,
}

impl Kind {
    fn all(self, caller: &Caller) -> &[PolicyDefinition] {
        match self {
            Self::Policy => &caller.defined.policies,
            Self::Operator => &caller.defined.operator_policies,
        }
    }

    fn find(self, caller: &Caller, vhost: &str, name: &str) -> Option<PolicyDefinition> {
        self.all(caller).iter().find(|policy| policy.vhost == vhost && policy.name == name).cloned()
    }

    /// The definition that puts a policy.
    pub(super) fn definition(self, policy: PolicyDefinition) -> Definition {
        match self {
            Self::Policy => Definition::Policy(policy),
            Self::Operator => Definition::OperatorPolicy(policy),
        }
    }

    /// The name of a policy.
    pub(super) fn key(self, vhost: String, name: String) -> DefinitionKey {
        match self {
            Self::Policy => DefinitionKey::Policy { vhost, name },
            Self::Operator => DefinitionKey::OperatorPolicy { vhost, name },
        }
    }

    fn list(self, caller: &Caller, listing: &Listing) -> ApiResult {
        let rows = self.all(caller).iter().filter(|policy| caller.lists(&policy.vhost)).cloned().collect();
        listing.reply_all(rows, |policy: PolicyDefinition| policy)
    }

    fn list_of_vhost(self, caller: &Caller, vhost: &str, listing: &Listing) -> ApiResult {
        caller.require_vhost(vhost)?;
        let rows = self.all(caller).iter().filter(|policy| policy.vhost == vhost).cloned().collect();
        listing.reply_all(rows, |policy: PolicyDefinition| policy)
    }

    fn get(self, caller: &Caller, vhost: &str, name: &str, listing: &Listing) -> ApiResult {
        caller.require_vhost(vhost)?;
        listing.reply_one(&self.find(caller, vhost, name).ok_or_else(ApiError::not_found)?)
    }

    /// Policies are the policymaker's, operator policies the administrator's.
    fn require(self, caller: &Caller, vhost: &str) -> ApiResult<()> {
        match self {
            Self::Policy => caller.require_policies_of(vhost),
            Self::Operator => caller.require_administrator(),
        }
    }

    async fn put(self, api: &Api, caller: &Caller, vhost: String, name: String, fields: Fields) -> ApiResult {
        match self.require(caller, &vhost) {
            Err(error) if error == ApiError::not_found() => return Err(ApiError::missing("vhost_not_found")),
            result => result?,
        }
        if caller.defined.vhost(&vhost).is_none() {
            return Err(ApiError::missing("vhost_not_found"));
        }
        let created = self.find(caller, &vhost, &name).is_none();
        let put = async {
            let policy = from_fields(vhost, name, fields)?;
            api.request(AdminRequest::Put(self.definition(policy))).await
        };
        match (self, put.await) {
            (_, Ok(_)) => Ok(reply::put(created)),
            // RabbitMQ writes these reasons, and only these, for a page.
            (Self::Policy, Err(error)) => Err(error.with_escaped_reason()),
            (Self::Operator, Err(error)) => Err(error),
        }
    }

    async fn delete(self, api: &Api, caller: &Caller, vhost: String, name: String) -> ApiResult {
        self.require(caller, &vhost)?;
        self.find(caller, &vhost, &name).ok_or_else(ApiError::not_found)?;
        api.request(AdminRequest::Delete(self.key(vhost, name))).await?;
        Ok(reply::done())
    }
}

/// A policy as requests and definitions describe one. What it sets is checked by the core.
pub(super) fn from_fields(vhost: String, name: String, mut fields: Fields) -> ApiResult<PolicyDefinition> {
    fields.require(&["pattern", "definition"])?;
    let pattern = fields.required_text("pattern")?.to_owned();
    let invalid = |text: String| ApiError::bad_request(format!("Validation failed\n\n{text}\n"));
    let apply_to = match fields.text("apply-to")? {
        None => ApplyTo::All,
        Some(text) => *ApplyTo::ALL.iter().find(|apply_to| apply_to.name() == text).ok_or_else(|| {
            invalid(format!(
                "apply-to '{text}' unrecognised; should be one of: 'queues', 'classic_queues',  'quorum_queues', \
                 'streams', 'exchanges', or 'all'"
            ))
        })?,
    };
    let priority = match fields.get("priority") {
        None => 0,
        Some(value) => value.as_i64().or_else(|| value.as_str()?.parse().ok()).ok_or_else(|| {
            let shown = value.as_str().map_or_else(|| value.to_string(), |text| format!("<<\"{text}\">>"));
            invalid(format!("priority should be a number, actually was {shown}"))
        })?,
    };
    let definition = match fields.take("definition") {
        Some(Value::Object(definition)) => definition,
        None => Map::new(),
        Some(Value::Array(items)) if items.is_empty() => Map::new(),
        Some(other) => return Err(invalid(format!("definition should be a proplist, actually was {other}"))),
    };
    Ok(PolicyDefinition { vhost, name, pattern, apply_to, definition, priority })
}

pub(super) async fn list(caller: Caller, listing: Listing) -> ApiResult {
    Kind::Policy.list(&caller, &listing)
}

pub(super) async fn list_of_vhost(caller: Caller, Path(vhost): Path<String>, listing: Listing) -> ApiResult {
    Kind::Policy.list_of_vhost(&caller, &vhost, &listing)
}

pub(super) async fn get(
    caller: Caller,
    Path((vhost, name)): Path<(String, String)>,
    listing: Listing,
) -> ApiResult {
    Kind::Policy.get(&caller, &vhost, &name, &listing)
}

pub(super) async fn put(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, name)): Path<(String, String)>,
    fields: Fields,
) -> ApiResult {
    Kind::Policy.put(&api, &caller, vhost, name, fields).await
}

pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, name)): Path<(String, String)>,
) -> ApiResult {
    Kind::Policy.delete(&api, &caller, vhost, name).await
}

pub(super) async fn list_operator(caller: Caller, listing: Listing) -> ApiResult {
    Kind::Operator.list(&caller, &listing)
}

pub(super) async fn list_operator_of_vhost(
    caller: Caller,
    Path(vhost): Path<String>,
    listing: Listing,
) -> ApiResult {
    Kind::Operator.list_of_vhost(&caller, &vhost, &listing)
}

pub(super) async fn get_operator(
    caller: Caller,
    Path((vhost, name)): Path<(String, String)>,
    listing: Listing,
) -> ApiResult {
    Kind::Operator.get(&caller, &vhost, &name, &listing)
}

pub(super) async fn put_operator(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, name)): Path<(String, String)>,
    fields: Fields,
) -> ApiResult {
    Kind::Operator.put(&api, &caller, vhost, name, fields).await
}

pub(super) async fn delete_operator(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, name)): Path<(String, String)>,
) -> ApiResult {
    Kind::Operator.delete(&api, &caller, vhost, name).await
}

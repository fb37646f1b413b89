//! `/api/parameters` and `/api/global-parameters`. Operator policies and limits of virtual hosts are parameters too, of the components
//! `operator_policy` and `vhost-limits`, as in RabbitMQ.

use std::sync::Arc;

use axum::extract::{Path, State};
use broker_core::admin::{AdminRequest, Definition, DefinitionKey};
use broker_core::model::limits::VhostLimits;
use broker_core::model::parameter::{GlobalParameterDefinition, ParameterDefinition};
use serde_json::{Value, json};

use super::{limit, policy};
use crate::http::api::Api;
use crate::http::body::Fields;
use crate::http::caller::Caller;
use crate::http::defined::Defined;
use crate::http::error::{ApiError, ApiResult};
use crate::http::listing::{Listing, Row};
use crate::http::reply;

/// The component of operator policies.
const OPERATOR_POLICY: &str = "operator_policy";

/// The component of limits of virtual hosts; its one parameter is called `limits`.
const VHOST_LIMITS: &str = "vhost-limits";

impl Row for ParameterDefinition {
    fn name(&self) -> &str {
        &self.name
    }

    fn vhost(&self) -> &str {
        &self.vhost
    }
}

impl Row for GlobalParameterDefinition {
    fn name(&self) -> &str {
        &self.name
    }
}

/// All parameters, those included that are kept as something else.
pub(super) fn all(defined: &Defined) -> Vec<ParameterDefinition> {
    let limits = defined.vhost_limits.iter().map(|limits| ParameterDefinition {
        vhost: limits.vhost.clone(),
        component: VHOST_LIMITS.to_owned(),
        name: "limits".to_owned(),
        value: limit::of_vhost(limits).into(),
    });
    let operator = defined.operator_policies.iter().map(|policy| ParameterDefinition {
        vhost: policy.vhost.clone(),
        component: OPERATOR_POLICY.to_owned(),
        name: policy.name.clone(),
        value: json!({
            "pattern": policy.pattern,
            "definition": policy.definition,
            "priority": policy.priority,
            "apply-to": policy.apply_to,
        }),
    });
    defined.parameters.iter().cloned().chain(limits).chain(operator).collect()
}

/// What puts a parameter: an operator policy or limits.
pub(super) fn definition(parameter: ParameterDefinition) -> ApiResult<Definition> {
    let ParameterDefinition { vhost, component, name, value } = parameter;
    match component.as_str() {
        "policy" => Err(ApiError::bad_request("policies may not be set using this method")),
        OPERATOR_POLICY => {
            let Value::Object(fields) = value else { return Err(ApiError::not_json()) };
            policy::from_fields(vhost, name, fields.into()).map(Definition::OperatorPolicy)
        }
        VHOST_LIMITS => {
            let mut limits = VhostLimits::none(&vhost);
            for (name, value) in value.as_object().into_iter().flatten() {
                let limit = limit::vhost_limit(name).zip(limit::number(value));
                let (limit, value) = limit.ok_or_else(|| {
                    let text = format!("Unrecognised terms [{{<<\"{name}\">>,{value}}}] in limits");
                    ApiError::bad_request(format!("Validation failed\n\n{text}\n"))
                })?;
                limits.set(limit, value);
            }
            Ok(Definition::VhostLimits(limits))
        }
        // Those of RabbitMQ's plugins, which are not here: nothing would act on them.
        _ => Err(ApiError::bad_request(format!("Validation failed\n\ncomponent {component} not found\n"))),
    }
}

fn key(vhost: String, component: String, name: String) -> DefinitionKey {
    match component.as_str() {
        OPERATOR_POLICY => DefinitionKey::OperatorPolicy { vhost, name },
        VHOST_LIMITS => DefinitionKey::VhostLimits { vhost },
        _ => DefinitionKey::Parameter { vhost, component, name },
    }
}

fn find(defined: &Defined, component: &str, vhost: &str, name: &str) -> ApiResult<ParameterDefinition> {
    let is = |parameter: &ParameterDefinition| {
        parameter.component == component && parameter.vhost == vhost && parameter.name == name
    };
    all(defined).into_iter().find(is).ok_or_else(ApiError::not_found)
}

fn list_where(caller: &Caller, listing: &Listing, wanted: impl Fn(&ParameterDefinition) -> bool) -> ApiResult {
    let mut rows = all(&caller.defined);
    rows.retain(|row| wanted(row) && caller.lists(&row.vhost));
    listing.reply_all(rows, |row| row)
}

pub(super) async fn list(caller: Caller, listing: Listing) -> ApiResult {
    caller.require_policymaker()?;
    list_where(&caller, &listing, |_| true)
}

pub(super) async fn list_of_component(
    caller: Caller,
    Path(component): Path<String>,
    listing: Listing,
) -> ApiResult {
    caller.require_policymaker()?;
    list_where(&caller, &listing, |parameter| parameter.component == component)
}

pub(super) async fn list_of_vhost(
    caller: Caller,
    Path((component, vhost)): Path<(String, String)>,
    listing: Listing,
) -> ApiResult {
    caller.require_policies_of(&vhost)?;
    list_where(&caller, &listing, |parameter| parameter.component == component && parameter.vhost == vhost)
}

pub(super) async fn get(
    caller: Caller,
    Path((component, vhost, name)): Path<(String, String, String)>,
    listing: Listing,
) -> ApiResult {
    caller.require_policies_of(&vhost)?;
    listing.reply_one(&find(&caller.defined, &component, &vhost, &name)?)
}

pub(super) async fn put(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((component, vhost, name)): Path<(String, String, String)>,
    mut fields: Fields,
) -> ApiResult {
    caller.require_policymaker()?;
    if caller.defined.vhost(&vhost).is_none() {
        return Err(ApiError::missing("vhost_not_found"));
    }
    caller.require_policies_of(&vhost)?;
    fields.require(&["value"])?;
    let created = find(&caller.defined, &component, &vhost, &name).is_err();
    let value = fields.take("value").unwrap_or_default();
    let definition = definition(ParameterDefinition { vhost, component, name, value })?;
    // An operator policy binds policymakers: they may not change it in this way either.
    caller.require_administrator()?;
    api.request(AdminRequest::Put(definition)).await?;
    Ok(reply::put(created))
}

pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((component, vhost, name)): Path<(String, String, String)>,
) -> ApiResult {
    caller.require_policies_of(&vhost)?;
    find(&caller.defined, &component, &vhost, &name)?;
    let key = key(vhost, component, name);
    if !matches!(key, DefinitionKey::Parameter { .. }) {
        caller.require_administrator()?;
    }
    api.request(AdminRequest::Delete(key)).await?;
    Ok(reply::done())
}

pub(super) async fn list_global(caller: Caller, listing: Listing) -> ApiResult {
    caller.require_policymaker()?;
    listing.reply_all(caller.defined.global_parameters.clone(), |row| row)
}

fn find_global<'a>(caller: &'a Caller, name: &str) -> ApiResult<&'a GlobalParameterDefinition> {
    let mut all = caller.defined.global_parameters.iter();
    all.find(|parameter| parameter.name == name).ok_or_else(ApiError::not_found)
}

pub(super) async fn get_global(caller: Caller, Path(name): Path<String>, listing: Listing) -> ApiResult {
    caller.require_policymaker()?;
    listing.reply_one(find_global(&caller, &name)?)
}

pub(super) async fn put_global(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    mut fields: Fields,
) -> ApiResult {
    caller.require_policymaker()?;
    fields.require(&["value"])?;
    let created = find_global(&caller, &name).is_err();
    let value = fields.take("value").unwrap_or_default();
    let definition = Definition::GlobalParameter(GlobalParameterDefinition { name, value });
    api.request(AdminRequest::Put(definition)).await?;
    Ok(reply::put(created))
}

pub(super) async fn delete_global(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
) -> ApiResult {
    caller.require_policymaker()?;
    find_global(&caller, &name)?;
    api.request(AdminRequest::Delete(DefinitionKey::GlobalParameter { name })).await?;
    Ok(reply::done())
}

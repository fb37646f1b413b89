//! What an administrator's definition would do to a topology: the checks of RabbitMQ, and the changes that follow.

use std::sync::Arc;

use super::topology::{Change, Topology};
use crate::admin::{AdminError, AdminReply, AdminRequest, Definition, DefinitionKey};
use crate::error::AmqpError;
use crate::limits::MAX_NAME_BYTES;
use crate::model::exchange::is_reserved;
use crate::model::limits::{UserLimits, VhostLimits};
use crate::model::pattern::Pattern;
use crate::model::permission::Access;
use crate::model::policy_settings;
use crate::model::queue::settings::QueueType;
use crate::model::vhost::Resource;

/// The changes that carry out a request, and the reply to it when they are done.
type Defined = Result<(Vec<Change>, AdminReply), AdminError>;

/// Plans the requests that make, replace and remove definitions.
pub(super) fn define(topology: &Topology, request: AdminRequest) -> Defined {
    match request {
        AdminRequest::Put(definition) => put(topology, definition),
        AdminRequest::Delete(key) => delete(topology, &key),
        AdminRequest::SetVhostLimit { vhost, limit, value } => {
            let (_, current) = topology.vhost(&vhost).ok_or_else(no_vhost)?;
            let mut limits = current.limits.clone();
            limits.set(limit, value);
            Ok((vec![vhost_limits(limits)], AdminReply::Done))
        }
        AdminRequest::SetUserLimit { user, limit, value } => {
            topology.user(&user).ok_or_else(|| no_user(&user))?;
            let mut limits = topology.user_limits(&user).cloned().unwrap_or_else(|| UserLimits::none(&user));
            limits.set(limit, value);
            Ok((vec![user_limits(limits)], AdminReply::Done))
        }
        AdminRequest::SetPaused { user, vhost, queue, paused } => {
            let found = topology.find_queue(&vhost, &queue);
            let (queue, row) = found.ok_or_else(|| AdminError::NotFound("Not Found".to_owned()))?;
            let resource = Resource::queue(&vhost, &row.name);
            topology.permissions().check(&user, Access::Configure, resource).map_err(AmqpError::from)?;
            if row.kind == QueueType::Stream {
                return Err(AdminError::BadRequest("a stream cannot be paused".to_owned()));
            }
            let changes = (row.paused != paused).then_some(Change::QueuePaused { queue, paused });
            Ok((changes.into_iter().collect(), AdminReply::Done))
        }
        _ => Err(AdminError::BadRequest("not a definition".to_owned())),
    }
}

fn put(topology: &Topology, definition: Definition) -> Defined {
    check(topology, &definition)?;
    let reply = match topology.definition(&definition.key()) {
        None => AdminReply::Created,
        Some(_) => AdminReply::Updated,
    };
    let change = match definition {
        Definition::VhostLimits(limits) => vhost_limits(limits),
        Definition::UserLimits(limits) => user_limits(limits),
        definition => Change::Put(definition),
    };
    Ok((vec![change], reply))
}

/// Limits of which none is left are no limits.
fn vhost_limits(limits: VhostLimits) -> Change {
    match limits.is_empty() {
        true => Change::Delete(DefinitionKey::VhostLimits { vhost: limits.vhost }),
        false => Change::Put(Definition::VhostLimits(limits)),
    }
}

fn user_limits(limits: UserLimits) -> Change {
    match limits.is_empty() {
        true => Change::Delete(DefinitionKey::UserLimits { user: limits.user }),
        false => Change::Put(Definition::UserLimits(limits)),
    }
}

fn no_vhost() -> AdminError {
    AdminError::NotFound("vhost_not_found".to_owned())
}

fn no_user(name: &str) -> AdminError {
    AdminError::NotFound(format!("no user '{name}'"))
}

/// Checks what a definition says, and that what it refers to is there.
fn check(topology: &Topology, definition: &Definition) -> Result<(), AdminError> {
    let vhost_exists = |name: &str| topology.vhost(name).map(|_| ()).ok_or_else(no_vhost);
    let both_exist = |vhost: &str, user: &str| match (topology.vhost(vhost), topology.user(user)) {
        (Some(_), Some(_)) => Ok(()),
        _ => Err(AdminError::BadRequest("vhost_or_user_not_found".to_owned())),
    };
    let user_exists = |name: &str| topology.user(name).map(|_| ()).ok_or_else(|| no_user(name));
    match definition {
        Definition::Vhost(vhost) => check_name(&vhost.name),
        Definition::User(user) => check_name(&user.name),
        Definition::Permission(permission) => {
            both_exist(&permission.vhost, &permission.user)?;
            permission.check().map_err(|(_, reason)| AdminError::BadRequest(reason))
        }
        Definition::TopicPermission(permission) => {
            both_exist(&permission.vhost, &permission.user)?;
            for pattern in [&permission.write, &permission.read] {
                Pattern::new(pattern).map_err(|error| AdminError::BadRequest(error.to_string()))?;
            }
            Ok(())
        }
        Definition::Policy(policy) | Definition::OperatorPolicy(policy) => {
            check_name(&policy.name)?;
            vhost_exists(&policy.vhost)?;
            let operator = matches!(definition, Definition::OperatorPolicy(_));
            policy_settings::check(operator, policy).map_err(AdminError::BadRequest)
        }
        Definition::Parameter(parameter) => vhost_exists(&parameter.vhost),
        Definition::GlobalParameter(parameter) => check_name(&parameter.name),
        Definition::VhostLimits(limits) => vhost_exists(&limits.vhost),
        Definition::UserLimits(limits) => user_exists(&limits.user),
    }
}

fn check_name(name: &str) -> Result<(), AdminError> {
    match name.len() {
        0 => Err(AdminError::BadRequest("the name is empty".to_owned())),
        1..=MAX_NAME_BYTES => Ok(()),
        _ => Err(AdminError::BadRequest(format!("the name is longer than {MAX_NAME_BYTES} bytes"))),
    }
}

fn delete(topology: &Topology, key: &DefinitionKey) -> Defined {
    if topology.definition(key).is_none() {
        return Err(AdminError::NotFound("Not Found".to_owned()));
    }
    let mut changes = match key {
        DefinitionKey::Vhost { name } => contents_of_vhost(topology, name),
        DefinitionKey::User { name } => definitions_where(topology, |key| match key {
            DefinitionKey::Permission { user, .. }
            | DefinitionKey::TopicPermission { user, .. }
            | DefinitionKey::UserLimits { user } => user == name,
            _ => false,
        }),
        _ => Vec::new(),
    };
    changes.push(Change::Delete(key.clone()));
    Ok((changes, AdminReply::Done))
}

/// The removal of everything in a virtual host: queues with their bindings, exchanges, the bindings that are left between
/// the exchanges of the server, definitions.
fn contents_of_vhost(topology: &Topology, name: &str) -> Vec<Change> {
    let Some((shared, vhost)) = topology.vhost(name) else {
        return Vec::new();
    };
    let mut changes: Vec<Change> =
        vhost.routing.queues().map(|(queue, _)| Change::QueueDeleted { queue }).collect();
    let own =
        vhost.routing.exchanges().filter(|exchange| !is_reserved(&exchange.name) && !exchange.name.is_empty());
    changes.extend(own.map(|exchange| Change::ExchangeDeleted {
        vhost: Arc::clone(shared),
        name: exchange.name.as_str().into(),
    }));
    let between_servers = vhost.routing.bindings().filter(|binding| {
        binding.destination_kind == crate::model::vhost::ResourceKind::Exchange
            && is_reserved(&binding.source)
            && is_reserved(&binding.destination)
    });
    changes.extend(between_servers.map(|binding| Change::Unbound { vhost: Arc::clone(shared), binding }));
    changes.extend(definitions_where(topology, |key| match key {
        DefinitionKey::Permission { vhost, .. }
        | DefinitionKey::TopicPermission { vhost, .. }
        | DefinitionKey::Policy { vhost, .. }
        | DefinitionKey::OperatorPolicy { vhost, .. }
        | DefinitionKey::Parameter { vhost, .. }
        | DefinitionKey::VhostLimits { vhost } => vhost == name,
        _ => false,
    }));
    changes
}

fn definitions_where(topology: &Topology, wanted: impl Fn(&DefinitionKey) -> bool) -> Vec<Change> {
    topology.definitions().map(|definition| definition.key()).filter(wanted).map(Change::Delete).collect()
}

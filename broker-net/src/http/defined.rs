//! What administrators have defined, sorted by kind, as one request sees it.

use broker_core::admin::Definition;
use broker_core::model::limits::{UserLimits, VhostLimits};
use broker_core::model::parameter::{GlobalParameterDefinition, ParameterDefinition};
use broker_core::model::permission::{PermissionDefinition, TopicPermissionDefinition};
use broker_core::model::policy::PolicyDefinition;
use broker_core::model::user::UserDefinition;
use broker_core::model::vhost::VhostDefinition;

/// Everything but exchanges, queues and bindings.
#[derive(Debug, Default)]
pub(super) struct Defined {
    pub(super) vhosts: Vec<VhostDefinition>,
    pub(super) users: Vec<UserDefinition>,
    pub(super) permissions: Vec<PermissionDefinition>,
    pub(super) topic_permissions: Vec<TopicPermissionDefinition>,
    pub(super) policies: Vec<PolicyDefinition>,
    pub(super) operator_policies: Vec<PolicyDefinition>,
    pub(super) parameters: Vec<ParameterDefinition>,
    pub(super) global_parameters: Vec<GlobalParameterDefinition>,
    pub(super) vhost_limits: Vec<VhostLimits>,
    pub(super) user_limits: Vec<UserLimits>,
}

impl From<Vec<Definition>> for Defined {
    fn from(definitions: Vec<Definition>) -> Self {
        let mut defined = Self::default();
        for definition in definitions {
            match definition {
                Definition::Vhost(vhost) => defined.vhosts.push(vhost),
                Definition::User(user) => defined.users.push(user),
                Definition::Permission(permission) => defined.permissions.push(permission),
                Definition::TopicPermission(permission) => defined.topic_permissions.push(permission),
                Definition::Policy(policy) => defined.policies.push(policy),
                Definition::OperatorPolicy(policy) => defined.operator_policies.push(policy),
                Definition::Parameter(parameter) => defined.parameters.push(parameter),
                Definition::GlobalParameter(parameter) => defined.global_parameters.push(parameter),
                Definition::VhostLimits(limits) => defined.vhost_limits.push(limits),
                Definition::UserLimits(limits) => defined.user_limits.push(limits),
            }
        }
        defined
    }
}

impl Defined {
    pub(super) fn vhost(&self, name: &str) -> Option<&VhostDefinition> {
        self.vhosts.iter().find(|vhost| vhost.name == name)
    }

    pub(super) fn user(&self, name: &str) -> Option<&UserDefinition> {
        self.users.iter().find(|user| user.name == name)
    }

    pub(super) fn permission(&self, user: &str, vhost: &str) -> Option<&PermissionDefinition> {
        self.permissions.iter().find(|permission| permission.user == user && permission.vhost == vhost)
    }

    pub(super) fn limits_of_vhost(&self, vhost: &str) -> Option<&VhostLimits> {
        self.vhost_limits.iter().find(|limits| limits.vhost == vhost)
    }

    pub(super) fn limits_of_user(&self, user: &str) -> Option<&UserLimits> {
        self.user_limits.iter().find(|limits| limits.user == user)
    }
}

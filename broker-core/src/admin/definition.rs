//! What administrators define, and what identifies it.

use serde::{Deserialize, Serialize};

use crate::model::limits::{UserLimits, VhostLimits};
use crate::model::parameter::{GlobalParameterDefinition, ParameterDefinition};
use crate::model::permission::{PermissionDefinition, TopicPermissionDefinition};
use crate::model::policy::PolicyDefinition;
use crate::model::user::UserDefinition;
use crate::model::vhost::VhostDefinition;

/// Something that an administrator puts: made if it is not there, replaced if it is.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the definitions say it")]
pub enum Definition {
    Vhost(VhostDefinition),
    User(UserDefinition),
    Permission(PermissionDefinition),
    TopicPermission(TopicPermissionDefinition),
    Policy(PolicyDefinition),
    OperatorPolicy(PolicyDefinition),
    Parameter(ParameterDefinition),
    GlobalParameter(GlobalParameterDefinition),
    /// Replaces all limits of the virtual host; none left is deletion.
    VhostLimits(VhostLimits),
    /// Replaces all limits of the user; none left is deletion.
    UserLimits(UserLimits),
}

/// What identifies a [`Definition`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are names")]
pub enum DefinitionKey {
    /// With all that is in it; its connections are closed.
    Vhost {
        name: String,
    },
    /// With its permissions and limits; its connections are closed.
    User {
        name: String,
    },
    Permission {
        user: String,
        vhost: String,
    },
    TopicPermission {
        user: String,
        vhost: String,
        exchange: String,
    },
    Policy {
        vhost: String,
        name: String,
    },
    OperatorPolicy {
        vhost: String,
        name: String,
    },
    Parameter {
        vhost: String,
        component: String,
        name: String,
    },
    GlobalParameter {
        name: String,
    },
    VhostLimits {
        vhost: String,
    },
    UserLimits {
        user: String,
    },
}

impl Definition {
    /// What identifies it.
    #[must_use]
    pub fn key(&self) -> DefinitionKey {
        match self {
            Self::Vhost(vhost) => DefinitionKey::Vhost { name: vhost.name.clone() },
            Self::User(user) => DefinitionKey::User { name: user.name.clone() },
            Self::Permission(PermissionDefinition { user, vhost, .. }) => {
                DefinitionKey::Permission { user: user.clone(), vhost: vhost.clone() }
            }
            Self::TopicPermission(TopicPermissionDefinition { user, vhost, exchange, .. }) => {
                let exchange = exchange.clone();
                DefinitionKey::TopicPermission { user: user.clone(), vhost: vhost.clone(), exchange }
            }
            Self::Policy(PolicyDefinition { vhost, name, .. }) => {
                DefinitionKey::Policy { vhost: vhost.clone(), name: name.clone() }
            }
            Self::OperatorPolicy(PolicyDefinition { vhost, name, .. }) => {
                DefinitionKey::OperatorPolicy { vhost: vhost.clone(), name: name.clone() }
            }
            Self::Parameter(ParameterDefinition { vhost, component, name, .. }) => {
                DefinitionKey::Parameter { vhost: vhost.clone(), component: component.clone(), name: name.clone() }
            }
            Self::GlobalParameter(parameter) => DefinitionKey::GlobalParameter { name: parameter.name.clone() },
            Self::VhostLimits(limits) => DefinitionKey::VhostLimits { vhost: limits.vhost.clone() },
            Self::UserLimits(limits) => DefinitionKey::UserLimits { user: limits.user.clone() },
        }
    }
}

//! Policies: settings that virtual hosts give to exchanges and queues by name, without their declarers.
//!
//! An object takes the matching policy with the highest priority, and of the operator policies likewise; of equal priorities
//! the first by name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a policy is for; the names are those of exported definitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApplyTo {
    /// Exchanges and queues.
    #[default]
    All,
    /// Exchanges.
    Exchanges,
    /// Queues of every type.
    Queues,
    /// Classic queues.
    ClassicQueues,
    /// Quorum queues.
    QuorumQueues,
    /// Streams.
    Streams,
}

impl ApplyTo {
    /// All values, in the order in which they are documented.
    pub const ALL: [Self; 6] =
        [Self::All, Self::Exchanges, Self::Queues, Self::ClassicQueues, Self::QuorumQueues, Self::Streams];

    /// The name in definitions.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Exchanges => "exchanges",
            Self::Queues => "queues",
            Self::ClassicQueues => "classic_queues",
            Self::QuorumQueues => "quorum_queues",
            Self::Streams => "streams",
        }
    }
}

impl fmt::Display for ApplyTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A policy or operator policy, as the catalog stores it and definitions export it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyDefinition {
    /// Its virtual host.
    pub vhost: String,
    /// Its name, unique in the virtual host among those of its kind.
    pub name: String,
    /// Regular expression that the name of an object must contain a match of.
    pub pattern: String,
    /// Which kinds of object.
    #[serde(rename = "apply-to", default)]
    pub apply_to: ApplyTo,
    /// The settings.
    pub definition: Map<String, Value>,
    /// The highest of the matching ones wins.
    #[serde(default)]
    pub priority: i64,
}

/// The policies that an object has taken, and what they come to.
#[derive(Clone, Debug, PartialEq)]
pub struct EffectivePolicy {
    /// The policy.
    pub policy: Option<Arc<PolicyDefinition>>,
    /// The operator policy.
    pub operator_policy: Option<Arc<PolicyDefinition>>,
    /// Their settings, merged.
    pub definition: Map<String, Value>,
}

/// The policies of one virtual host.
#[derive(Debug, Default)]
pub struct Policies {
    policies: BTreeMap<String, Arc<PolicyDefinition>>,
    operator_policies: BTreeMap<String, Arc<PolicyDefinition>>,
}

impl Policies {
    /// Sets or replaces a policy; false if there was one of that name.
    pub fn set(&mut self, operator: bool, definition: PolicyDefinition) -> bool {
        let name = definition.name.clone();
        self.of(operator).insert(name, Arc::new(definition)).is_none()
    }

    /// Removes a policy; false if there is none of that name.
    pub fn remove(&mut self, operator: bool, name: &str) -> bool {
        self.of(operator).remove(name).is_some()
    }

    /// The policies, or the operator policies, by name.
    pub fn iter(&self, operator: bool) -> impl Iterator<Item = &Arc<PolicyDefinition>> {
        match operator {
            false => self.policies.values(),
            true => self.operator_policies.values(),
        }
    }

    /// A policy by name.
    #[must_use]
    pub fn get(&self, operator: bool, name: &str) -> Option<&Arc<PolicyDefinition>> {
        match operator {
            false => self.policies.get(name),
            true => self.operator_policies.get(name),
        }
    }

    fn of(&mut self, operator: bool) -> &mut BTreeMap<String, Arc<PolicyDefinition>> {
        match operator {
            false => &mut self.policies,
            true => &mut self.operator_policies,
        }
    }
}

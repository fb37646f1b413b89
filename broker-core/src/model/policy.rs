//! Policies: settings that virtual hosts give to exchanges and queues by name, without their declarers.
//!
//! An object takes the matching policy with the highest priority, and of the operator policies likewise; of equal priorities
//! the first by name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::pattern::Pattern;
use crate::model::queue::settings::QueueType;

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

/// What a policy may apply to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applicable {
    /// An exchange.
    Exchange,
    /// A queue of this type.
    Queue(QueueType),
}

/// Settings that a type of queue does not know. A policy that has one of them does not apply to such a queue.
const fn unsupported(kind: QueueType) -> &'static [&'static str] {
    match kind {
        QueueType::Classic => &[
            "max-age",
            "stream-max-segment-size-bytes",
            "initial-cluster-size",
            "delivery-limit",
            "dead-letter-strategy",
            "max-in-memory-length",
            "max-in-memory-bytes",
            "target-group-size",
        ],
        QueueType::Quorum => &[
            "max-priority",
            "queue-mode",
            "single-active-consumer",
            "queue-master-locator",
            "max-age",
            "stream-max-segment-size-bytes",
            "initial-cluster-size",
        ],
        QueueType::Stream => &[
            "expires",
            "message-ttl",
            "dead-letter-exchange",
            "dead-letter-routing-key",
            "max-length",
            "max-in-memory-length",
            "max-in-memory-bytes",
            "max-priority",
            "overflow",
            "queue-mode",
            "single-active-consumer",
            "delivery-limit",
            "queue-master-locator",
            "dead-letter-strategy",
            "target-group-size",
        ],
    }
}

impl Applicable {
    fn is_meant(self, apply_to: ApplyTo) -> bool {
        match (apply_to, self) {
            (ApplyTo::All, _) | (ApplyTo::Exchanges, Self::Exchange) | (ApplyTo::Queues, Self::Queue(_)) => true,
            (ApplyTo::ClassicQueues, Self::Queue(kind)) => kind == QueueType::Classic,
            (ApplyTo::QuorumQueues, Self::Queue(kind)) => kind == QueueType::Quorum,
            (ApplyTo::Streams, Self::Queue(kind)) => kind == QueueType::Stream,
            _ => false,
        }
    }

    fn knows(self, definition: &Map<String, Value>) -> bool {
        match self {
            Self::Exchange => true,
            Self::Queue(kind) => !unsupported(kind).iter().any(|key| definition.contains_key(*key)),
        }
    }
}

#[derive(Debug)]
struct Policy {
    definition: Arc<PolicyDefinition>,
    /// None if it is malformed, which matches nothing.
    pattern: Option<Pattern>,
}

/// The policies of one virtual host.
#[derive(Debug, Default)]
pub struct Policies {
    policies: BTreeMap<String, Policy>,
    operator_policies: BTreeMap<String, Policy>,
    /// What has been merged since the last change: there are few pairs, and many objects that share them.
    merged: Vec<Arc<EffectivePolicy>>,
}

impl Policies {
    /// Sets or replaces a policy, or an operator policy.
    pub fn set(&mut self, operator: bool, definition: PolicyDefinition) {
        let name = definition.name.clone();
        let pattern = Pattern::new(&definition.pattern).ok();
        self.merged.clear();
        self.of(operator).insert(name, Policy { definition: Arc::new(definition), pattern });
    }

    /// Removes a policy, or an operator policy.
    pub fn remove(&mut self, operator: bool, name: &str) {
        self.merged.clear();
        self.of(operator).remove(name);
    }

    /// The policies, or the operator policies, by name.
    pub fn iter(&self, operator: bool) -> impl Iterator<Item = &Arc<PolicyDefinition>> {
        self.table(operator).values().map(|policy| &policy.definition)
    }

    /// A policy by name.
    #[must_use]
    pub fn get(&self, operator: bool, name: &str) -> Option<&Arc<PolicyDefinition>> {
        Some(&self.table(operator).get(name)?.definition)
    }

    /// What holds for an object, if any policy does.
    pub fn effective(&mut self, name: &str, object: Applicable) -> Option<Arc<EffectivePolicy>> {
        if self.policies.is_empty() && self.operator_policies.is_empty() {
            return None;
        }
        let policy = best(&self.policies, name, object);
        let operator_policy = best(&self.operator_policies, name, object);
        if policy.is_none() && operator_policy.is_none() {
            return None;
        }
        let same = |merged: &&Arc<EffectivePolicy>| {
            is_same(merged.policy.as_ref(), policy) && is_same(merged.operator_policy.as_ref(), operator_policy)
        };
        if let Some(known) = self.merged.iter().find(same) {
            return Some(Arc::clone(known));
        }
        let merged = Arc::new(EffectivePolicy {
            policy: policy.cloned(),
            operator_policy: operator_policy.cloned(),
            definition: merge(policy, operator_policy),
        });
        self.merged.push(Arc::clone(&merged));
        Some(merged)
    }

    fn table(&self, operator: bool) -> &BTreeMap<String, Policy> {
        match operator {
            false => &self.policies,
            true => &self.operator_policies,
        }
    }

    fn of(&mut self, operator: bool) -> &mut BTreeMap<String, Policy> {
        match operator {
            false => &mut self.policies,
            true => &mut self.operator_policies,
        }
    }
}

fn is_same(one: Option<&Arc<PolicyDefinition>>, other: Option<&Arc<PolicyDefinition>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        _ => false,
    }
}

/// The matching policy with the highest priority; of equals the first by name.
fn best<'a>(
    policies: &'a BTreeMap<String, Policy>,
    name: &str,
    object: Applicable,
) -> Option<&'a Arc<PolicyDefinition>> {
    let matching = policies.values().filter(|policy| {
        let PolicyDefinition { apply_to, definition, .. } = &*policy.definition;
        object.is_meant(*apply_to)
            && object.knows(definition)
            && policy.pattern.as_ref().is_some_and(|pattern| pattern.is_match(name))
    });
    matching
        .map(|policy| &policy.definition)
        .reduce(|best, next| if next.priority > best.priority { next } else { best })
}

/// Of a number that both have the lower counts, of anything else the operator's.
fn merge(policy: Option<&Arc<PolicyDefinition>>, operator: Option<&Arc<PolicyDefinition>>) -> Map<String, Value> {
    let mut merged = policy.map(|policy| policy.definition.clone()).unwrap_or_default();
    for (key, value) in operator.into_iter().flat_map(|operator| &operator.definition) {
        let lower = match (merged.get(key).and_then(Value::as_i64), value.as_i64()) {
            (Some(ours), Some(theirs)) => Value::from(ours.min(theirs)),
            _ => value.clone(),
        };
        merged.insert(key.clone(), lower);
    }
    merged
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(
        name: &str,
        pattern: &str,
        priority: i64,
        apply_to: ApplyTo,
        definition: &Value,
    ) -> PolicyDefinition {
        let definition = definition.as_object().unwrap().clone();
        let (name, pattern) = (name.to_owned(), pattern.to_owned());
        PolicyDefinition { vhost: "/".to_owned(), name, pattern, apply_to, definition, priority }
    }

    fn name_of(effective: Option<Arc<EffectivePolicy>>) -> Option<String> {
        Some(effective?.policy.as_ref()?.name.clone())
    }

    const CLASSIC: Applicable = Applicable::Queue(QueueType::Classic);

    #[test]
    fn the_matching_policy_with_the_highest_priority_applies() {
        let mut policies = Policies::default();
        policies.set(false, policy("b", "^q", 1, ApplyTo::All, &json!({"max-length": 1})));
        policies.set(false, policy("c", "^q", 1, ApplyTo::Queues, &json!({"max-length": 2})));
        policies.set(false, policy("d", "^qq", 2, ApplyTo::QuorumQueues, &json!({"max-length": 3})));
        assert_eq!(name_of(policies.effective("q1", CLASSIC)).as_deref(), Some("b"));
        assert_eq!(name_of(policies.effective("qq", Applicable::Queue(QueueType::Quorum))).as_deref(), Some("d"));
        assert_eq!(name_of(policies.effective("qq", CLASSIC)).as_deref(), Some("b"));
        assert_eq!(name_of(policies.effective("q", Applicable::Exchange)).as_deref(), Some("b"));
        assert!(policies.effective("other", CLASSIC).is_none());
        policies.remove(false, "b");
        assert_eq!(name_of(policies.effective("qq", CLASSIC)).as_deref(), Some("c"));
        assert!(policies.effective("q", Applicable::Exchange).is_none());
    }

    #[test]
    fn a_policy_with_a_setting_that_the_type_does_not_know_does_not_apply() {
        let mut policies = Policies::default();
        policies.set(false, policy("p", "", 0, ApplyTo::All, &json!({"delivery-limit": 1, "max-length": 1})));
        assert!(policies.effective("q", CLASSIC).is_none());
        assert!(policies.effective("q", Applicable::Queue(QueueType::Quorum)).is_some());
    }

    #[test]
    fn the_operator_policy_limits_the_policy() {
        let mut policies = Policies::default();
        let ours = json!({"max-length": 10, "expires": 5, "overflow": "drop-head", "dead-letter-exchange": "x"});
        policies.set(false, policy("p", "q", 0, ApplyTo::Queues, &ours));
        policies.set(
            true,
            policy(
                "o",
                "q",
                0,
                ApplyTo::Queues,
                &json!({"max-length": 3, "expires": 9, "overflow": "reject-publish"}),
            ),
        );
        let merged = policies.effective("q", CLASSIC).unwrap();
        assert_eq!(
            Value::from(merged.definition.clone()),
            json!({"max-length": 3, "expires": 5, "overflow": "reject-publish", "dead-letter-exchange": "x"})
        );
        assert!(Arc::ptr_eq(&merged, &policies.effective("q2", CLASSIC).unwrap()));
    }
}

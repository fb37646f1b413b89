//! What administrators define, in a shard's copy of the topology.

use super::topology::{Applied, Topology, Vhost};
use crate::admin::{Definition, DefinitionKey};
use crate::model::limits::{UserLimits, VhostLimits};
use crate::model::policy::{Applicable, Policies};
use crate::model::routing::RoutingTable;
use crate::model::vhost::VhostDefinition;

impl Topology {
    /// Makes or replaces something. What refers to a virtual host or user that is not there is left out.
    pub(super) fn put(&mut self, definition: &Definition) -> Applied {
        match definition {
            Definition::Vhost(definition) => self.put_vhost(definition),
            Definition::User(definition) => {
                self.users.insert(definition.name.as_str().into(), definition.clone());
            }
            Definition::Permission(definition) => self.permissions.set(definition.clone()),
            Definition::TopicPermission(definition) => self.permissions.set_topic(definition.clone()),
            Definition::Policy(definition) => {
                self.with_vhost(&definition.vhost, |vhost| vhost.policies.set(false, definition.clone()));
                return self.policies_changed(&definition.vhost);
            }
            Definition::OperatorPolicy(definition) => {
                self.with_vhost(&definition.vhost, |vhost| vhost.policies.set(true, definition.clone()));
                return self.policies_changed(&definition.vhost);
            }
            Definition::Parameter(definition) => {
                let key = (definition.component.clone(), definition.name.clone());
                self.with_vhost(&definition.vhost, |vhost| vhost.parameters.insert(key, definition.clone()));
            }
            Definition::GlobalParameter(definition) => {
                self.global_parameters.insert(definition.name.clone(), definition.clone());
            }
            Definition::VhostLimits(limits) => {
                self.with_vhost(&limits.vhost, |vhost| vhost.limits = limits.clone());
            }
            Definition::UserLimits(limits) => {
                self.user_limits.insert(limits.user.as_str().into(), limits.clone());
            }
        }
        Applied::default()
    }

    /// Removes something.
    pub(super) fn delete(&mut self, key: &DefinitionKey) -> Applied {
        match key {
            DefinitionKey::Vhost { name } => {
                self.vhosts.remove(name.as_str());
                self.permissions.remove_vhost(name);
            }
            DefinitionKey::User { name } => {
                self.users.remove(name.as_str());
                self.user_limits.remove(name.as_str());
                self.permissions.remove_user(name);
            }
            DefinitionKey::Permission { user, vhost } => {
                self.permissions.remove(user, vhost);
            }
            DefinitionKey::TopicPermission { user, vhost, exchange } => {
                self.permissions.remove_topic(user, vhost, exchange);
            }
            DefinitionKey::Policy { vhost, name } => {
                self.with_vhost(vhost, |vhost| vhost.policies.remove(false, name));
                return self.policies_changed(vhost);
            }
            DefinitionKey::OperatorPolicy { vhost, name } => {
                self.with_vhost(vhost, |vhost| vhost.policies.remove(true, name));
                return self.policies_changed(vhost);
            }
            DefinitionKey::Parameter { vhost, component, name } => {
                let key = (component.clone(), name.clone());
                self.with_vhost(vhost, |vhost| vhost.parameters.remove(&key));
            }
            DefinitionKey::GlobalParameter { name } => {
                self.global_parameters.remove(name);
            }
            DefinitionKey::VhostLimits { vhost: name } => {
                self.with_vhost(name, |vhost| vhost.limits = VhostLimits::none(name));
            }
            DefinitionKey::UserLimits { user } => {
                self.user_limits.remove(user.as_str());
            }
        }
        Applied::default()
    }

    /// Finds anew which policies hold for the exchanges and queues of a virtual host.
    fn policies_changed(&mut self, name: &str) -> Applied {
        let mut applied = Applied::default();
        let Some(Vhost { policies, routing, .. }) = self.vhosts.get_mut(name) else {
            return applied;
        };
        routing.set_policies(|exchange| policies.effective(exchange, Applicable::Exchange));
        for (queue, queue_name) in routing.queues() {
            let Some(row) = self.queues.get_mut(&queue) else {
                continue;
            };
            let policy = policies.effective(queue_name, Applicable::Queue(row.kind));
            if policy != row.policy {
                applied.policy_changed.push(queue);
            }
            row.policy = policy;
        }
        self.delays_changed(name);
        applied
    }

    /// The definition with this key.
    #[must_use]
    pub(super) fn definition(&self, key: &DefinitionKey) -> Option<Definition> {
        let vhost = |name: &str| self.vhosts.get(name);
        match key {
            DefinitionKey::Vhost { name } => Some(Definition::Vhost(vhost(name)?.definition.clone())),
            DefinitionKey::User { name } => Some(Definition::User(self.users.get(name.as_str())?.clone())),
            DefinitionKey::Permission { user, vhost } => {
                Some(Definition::Permission(self.permissions.get(user, vhost)?.clone()))
            }
            DefinitionKey::TopicPermission { user, vhost, exchange } => {
                Some(Definition::TopicPermission(self.permissions.topic(user, vhost, exchange)?.clone()))
            }
            DefinitionKey::Policy { vhost: name, name: policy } => {
                Some(Definition::Policy((**vhost(name)?.policies.get(false, policy)?).clone()))
            }
            DefinitionKey::OperatorPolicy { vhost: name, name: policy } => {
                Some(Definition::OperatorPolicy((**vhost(name)?.policies.get(true, policy)?).clone()))
            }
            DefinitionKey::Parameter { vhost: of, component, name } => {
                let key = (component.clone(), name.clone());
                Some(Definition::Parameter(vhost(of)?.parameters.get(&key)?.clone()))
            }
            DefinitionKey::GlobalParameter { name } => {
                Some(Definition::GlobalParameter(self.global_parameters.get(name)?.clone()))
            }
            DefinitionKey::VhostLimits { vhost: name } => {
                let limits = &vhost(name)?.limits;
                (!limits.is_empty()).then(|| Definition::VhostLimits(limits.clone()))
            }
            DefinitionKey::UserLimits { user } => {
                Some(Definition::UserLimits(self.user_limits.get(user.as_str())?.clone()))
            }
        }
    }

    /// All definitions: virtual hosts and users first, then what refers to them.
    pub(super) fn definitions(&self) -> impl Iterator<Item = Definition> {
        let vhosts = self.vhosts.values().map(|vhost| Definition::Vhost(vhost.definition.clone()));
        let users = self.users.values().cloned().map(Definition::User);
        let permissions = self.permissions.iter().cloned().map(Definition::Permission);
        let topics = self.permissions.topics().cloned().map(Definition::TopicPermission);
        let user_limits = self.user_limits.values().cloned().map(Definition::UserLimits);
        let global = self.global_parameters.values().cloned().map(Definition::GlobalParameter);
        let of_vhosts = self.vhosts.values().flat_map(definitions_of);
        vhosts.chain(users).chain(permissions).chain(topics).chain(user_limits).chain(global).chain(of_vhosts)
    }

    /// The limits of a user, if there are any.
    #[must_use]
    pub(super) fn user_limits(&self, user: &str) -> Option<&UserLimits> {
        self.user_limits.get(user)
    }

    fn put_vhost(&mut self, definition: &VhostDefinition) {
        if let Some(vhost) = self.vhosts.get_mut(definition.name.as_str()) {
            vhost.definition = definition.clone();
            return;
        }
        let vhost = Vhost {
            definition: definition.clone(),
            limits: VhostLimits::none(&definition.name),
            policies: Policies::default(),
            parameters: Default::default(),
            routing: RoutingTable::default(),
        };
        self.vhosts.insert(definition.name.as_str().into(), vhost);
    }

    fn with_vhost<R>(&mut self, name: &str, change: impl FnOnce(&mut Vhost) -> R) {
        if let Some(vhost) = self.vhosts.get_mut(name) {
            change(vhost);
        }
    }
}

/// What is defined in a virtual host.
fn definitions_of(vhost: &Vhost) -> impl Iterator<Item = Definition> {
    let policies = |operator| vhost.policies.iter(operator).map(|policy| (**policy).clone());
    let limits = Some(&vhost.limits).filter(|limits| !limits.is_empty());
    let limits = limits.cloned().map(Definition::VhostLimits).into_iter();
    let parameters = vhost.parameters.values().cloned().map(Definition::Parameter);
    let ordinary = policies(false).map(Definition::Policy);
    limits.chain(parameters).chain(ordinary).chain(policies(true).map(Definition::OperatorPolicy))
}

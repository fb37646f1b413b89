//! Direct exchanges (AMQP 0-9-1 section 3.1.3.1): a binding matches if its key equals the message's.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::model::binding::{BindingId, BindingList};

/// Bindings by routing key.
#[derive(Debug, Default)]
pub(crate) struct DirectIndex {
    by_key: FxHashMap<Arc<str>, BindingList>,
}

impl DirectIndex {
    pub(crate) fn shared_key(&self, routing_key: &str) -> Option<Arc<str>> {
        self.by_key.get_key_value(routing_key).map(|(key, _)| Arc::clone(key))
    }

    pub(crate) fn insert(&mut self, id: BindingId, routing_key: &Arc<str>) -> u32 {
        self.by_key.entry(Arc::clone(routing_key)).or_default().push(id)
    }

    pub(crate) fn remove(&mut self, routing_key: &str, place: u32) -> Option<BindingId> {
        let list = self.by_key.get_mut(routing_key)?;
        let moved = list.swap_remove(place);
        if list.is_empty() {
            self.by_key.remove(routing_key);
        }
        moved
    }

    pub(crate) fn find(&self, routing_keys: &[&str], mut found: impl FnMut(&[BindingId])) {
        for key in routing_keys {
            if let Some(list) = self.by_key.get(*key) {
                found(list.as_slice());
            }
        }
    }
}

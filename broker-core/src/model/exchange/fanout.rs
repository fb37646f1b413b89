//! Fanout exchanges (AMQP 0-9-1 section 3.1.3.2): every binding matches.

use crate::model::binding::BindingId;

/// There is no index: the exchange's own list of bindings is all it takes.
pub(crate) fn find(all: &[BindingId], mut found: impl FnMut(&[BindingId])) {
    if !all.is_empty() {
        found(all);
    }
}

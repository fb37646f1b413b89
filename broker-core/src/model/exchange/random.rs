//! Exchanges that give each message to one binding at random: `x-random` and `x-local-random` (RabbitMQ).

use crate::error::{ChannelCode, ChannelError};
use crate::model::binding::{BindingDefinition, BindingId};
use crate::model::vhost::ResourceKind;

/// There is no index: any of the exchange's bindings will do. `draw` is a random number.
pub(crate) fn find(draw: u64, all: &[BindingId], found: impl FnOnce(&[BindingId])) {
    if let Some(count) = std::num::NonZeroU64::new(all.len() as u64)
        && let Some(chosen) = usize::try_from(draw % count).ok().and_then(|at| all.get(at))
    {
        found(std::slice::from_ref(chosen));
    }
}

/// Checks a binding from an `x-local-random` exchange: to a queue, with an empty key. 406 with RabbitMQ's texts.
pub(crate) fn check_local_binding(binding: &BindingDefinition) -> Result<(), ChannelError> {
    let text = match (binding.routing_key.as_str(), binding.destination_kind) {
        ("", ResourceKind::Queue) => return Ok(()),
        ("", ResourceKind::Exchange) => "Destination not found".to_owned(),
        (key, _) => format!("Non empty binding '{key}' key not permitted"),
    };
    Err(ChannelCode::PreconditionFailed.error(text))
}

//! `x-jms-topic`: a binding's selector is evaluated over the message's headers.
//!
//! RabbitMQ's client for JMS translates a JMS selector into an Erlang term, and gives its text as the argument `rjms_erlang_selector`. Nothing else
//! decides: routing keys are not looked at. A selector is parsed when it is bound; a message costs no allocation.

use amq_protocol::types::FieldTable;
use rustc_hash::FxHashMap;

use super::MatchInput;
use crate::error::{ChannelCode, ChannelError};
use crate::model::binding::{BindingDefinition, BindingId};

mod compile;
mod like;
mod selector;
mod term;
mod value;

use selector::Selector;

/// The argument that has the text of the selector.
const SELECTOR: &str = "rjms_erlang_selector";

/// The selector of each binding.
#[derive(Debug, Default)]
pub(crate) struct JmsTopicIndex {
    bindings: FxHashMap<BindingId, Selector>,
}

impl JmsTopicIndex {
    /// A selector that [`check_binding`] refuses matches nothing.
    pub(crate) fn insert(&mut self, id: BindingId, arguments: &FieldTable) {
        if let Some(selector) = text(arguments).and_then(compile::compile) {
            self.bindings.insert(id, selector);
        }
    }

    pub(crate) fn remove(&mut self, id: BindingId) {
        self.bindings.remove(&id);
    }

    pub(crate) fn find(&self, input: &MatchInput<'_>, mut found: impl FnMut(&[BindingId])) {
        for (id, selector) in &self.bindings {
            if selector.matches(|name| input.header(name)) {
                found(std::slice::from_ref(id));
            }
        }
    }
}

fn text(arguments: &FieldTable) -> Option<&[u8]> {
    Some(arguments.inner().get(SELECTOR)?.as_long_string()?.as_bytes())
}

/// 406 for a binding without a selector, or with one that cannot be read.
pub(crate) fn check_binding(binding: &BindingDefinition) -> Result<(), ChannelError> {
    let text = text(&binding.arguments);
    if text.and_then(compile::compile).is_some() {
        return Ok(());
    }
    let shown = text.map_or_else(|| "error".to_owned(), |text| format!("\"{}\"", String::from_utf8_lossy(text)));
    let BindingDefinition { source, destination, .. } = binding;
    let text =
        format!("cannot parse selector '{shown}' binding destination '{destination}' to exchange '{source}'");
    Err(ChannelCode::PreconditionFailed.error(text))
}

#[cfg(test)]
mod tests;

//! Headers exchanges (AMQP 0-9-1 section 3.1.3.4): a binding's arguments are criteria for the message's headers.
//!
//! `x-match` says how many criteria must be met: `all` (the default) or `any`; criteria whose name starts with `x-`
//! count only with `all-with-x` and `any-with-x` (RabbitMQ extensions). A void criterion asks only that the header
//! is there. Values are equal if they are the same value of the same kind: integers of any width compare by value,
//! an integer never equals a string or a float. With no criteria `all` matches everything and `any` nothing.

use amq_protocol::types::{AMQPValue, FieldTable};
use rustc_hash::FxHashMap;

use crate::error::{ChannelCode, ChannelError};
use crate::model::arguments::{ErlangTerm, same_value, type_name};
use crate::model::binding::BindingId;

const X_MATCH: &str = "x-match";

/// The criteria of each binding.
#[derive(Debug, Default)]
pub(crate) struct HeadersIndex {
    bindings: FxHashMap<BindingId, Criteria>,
}

#[derive(Debug)]
struct Criteria {
    any: bool,
    /// Name and value; no value is void.
    criteria: Box<[(Box<str>, Option<AMQPValue>)]>,
}

impl HeadersIndex {
    pub(crate) fn insert(&mut self, id: BindingId, arguments: &FieldTable) {
        self.bindings.insert(id, Criteria::new(arguments));
    }

    pub(crate) fn remove(&mut self, id: BindingId) {
        self.bindings.remove(&id);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bindings.is_empty()
    }

    pub(crate) fn find(&self, headers: &FieldTable, mut found: impl FnMut(&[BindingId])) {
        for (id, criteria) in &self.bindings {
            if criteria.match_headers(headers) {
                found(std::slice::from_ref(id));
            }
        }
    }
}

impl Criteria {
    /// Arguments that [`check_binding`] refuses are read as `all`.
    fn new(arguments: &FieldTable) -> Self {
        let (any, with_x) = arguments.inner().get(X_MATCH).and_then(parse_x_match).unwrap_or((false, false));
        let criteria = arguments
            .inner()
            .iter()
            .map(|(name, value)| (name.as_str(), value))
            .filter(|(name, _)| *name != X_MATCH && (with_x || !name.starts_with("x-")))
            .map(|(name, value)| (name.into(), (*value != AMQPValue::Void).then(|| value.clone())))
            .collect();
        Self { any, criteria }
    }

    fn match_headers(&self, headers: &FieldTable) -> bool {
        let mut met = self.criteria.iter().map(|(name, wanted)| {
            let header = headers.inner().get(&**name);
            header.is_some_and(|value| wanted.as_ref().is_none_or(|wanted| same_value(wanted, value)))
        });
        if self.any { met.any(|met| met) } else { met.all(|met| met) }
    }
}

/// (any, with_x)
fn parse_x_match(value: &AMQPValue) -> Option<(bool, bool)> {
    match value.as_long_string()?.as_bytes() {
        b"all" => Some((false, false)),
        b"any" => Some((true, false)),
        b"all-with-x" => Some((false, true)),
        b"any-with-x" => Some((true, true)),
        _ => None,
    }
}

/// 406 for an `x-match` that is none of the four.
pub(crate) fn check_binding(arguments: &FieldTable) -> Result<(), ChannelError> {
    let Some(value) = arguments.inner().get(X_MATCH) else {
        return Ok(());
    };
    if parse_x_match(value).is_some() {
        return Ok(());
    }
    let term = ErlangTerm(value);
    Err(ChannelCode::PreconditionFailed.error(match value {
        AMQPValue::LongString(_) => {
            format!("Invalid x-match field value {term}; expected all, any, all-with-x, or any-with-x")
        }
        _ => {
            format!("Invalid x-match field type {} (value {term}); expected longstr", type_name(value))
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::binding::tests::binding_id;

    fn string(text: &str) -> AMQPValue {
        AMQPValue::LongString(text.into())
    }

    fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, value) in entries {
            table.insert((*name).into(), value.clone());
        }
        table
    }

    fn matches(arguments: &[(&str, AMQPValue)], headers: &[(&str, AMQPValue)]) -> bool {
        let arguments = table(arguments);
        check_binding(&arguments).unwrap();
        let mut index = HeadersIndex::default();
        index.insert(binding_id(0), &arguments);
        let mut hits = 0;
        index.find(&table(headers), |list| hits += list.len());
        hits == 1
    }

    #[test]
    fn all_is_the_default_and_wants_every_criterion() {
        let one = ("a", AMQPValue::LongInt(1));
        let two = ("b", string("two"));
        let criteria = [one.clone(), two.clone()];
        assert!(matches(&criteria, &criteria));
        assert!(matches(&criteria, &[one.clone(), two.clone(), ("c", AMQPValue::Void)]));
        assert!(!matches(&criteria, std::slice::from_ref(&one)));
        assert!(!matches(&criteria, &[]));
        assert!(!matches(&criteria, &[one.clone(), ("b", string("other"))]));
        let all = [one.clone(), two.clone(), ("x-match", string("all"))];
        assert!(matches(&all, &criteria));
        assert!(!matches(&all, &[one]));
    }

    #[test]
    fn any_wants_one_criterion() {
        let any = [("a", AMQPValue::LongInt(1)), ("b", string("two")), ("x-match", string("any"))];
        assert!(matches(&any, &[("b", string("two")), ("a", AMQPValue::LongInt(7))]));
        assert!(!matches(&any, &[("a", AMQPValue::LongInt(7))]));
        assert!(!matches(&any, &[]));
    }

    #[test]
    fn no_criteria_match_everything_with_all_and_nothing_with_any() {
        let headers = [("a", AMQPValue::LongInt(1))];
        assert!(matches(&[], &[]));
        assert!(matches(&[], &headers));
        assert!(matches(&[("x-match", string("all"))], &headers));
        assert!(!matches(&[("x-match", string("any"))], &headers));
        assert!(matches(&[("x-other", string("ignored"))], &[]));
    }

    #[test]
    fn x_criteria_count_only_in_the_with_x_forms() {
        let x = ("x-kind", string("blue"));
        assert!(matches(&[("x-match", string("all")), x.clone()], &[]));
        assert!(!matches(&[("x-match", string("any")), x.clone()], std::slice::from_ref(&x)));
        assert!(!matches(&[("x-match", string("all-with-x")), x.clone()], &[]));
        assert!(matches(&[("x-match", string("all-with-x")), x.clone()], std::slice::from_ref(&x)));
        assert!(matches(&[("x-match", string("any-with-x")), x.clone()], &[x]));
    }

    #[test]
    fn void_asks_for_presence() {
        let void = [("a", AMQPValue::Void)];
        assert!(matches(&void, &[("a", string("anything"))]));
        assert!(matches(&void, &void));
        assert!(!matches(&void, &[("b", AMQPValue::Void)]));
    }

    #[test]
    fn values_equal_only_values_of_their_kind() {
        let with = |value: AMQPValue| [("a", value)];
        assert!(!matches(&with(AMQPValue::LongInt(1)), &with(string("1"))));
        assert!(!matches(&with(AMQPValue::LongInt(1)), &with(AMQPValue::Double(1.0))));
        assert!(!matches(&with(AMQPValue::LongInt(1)), &with(AMQPValue::Boolean(true))));
        assert!(matches(&with(AMQPValue::LongInt(1)), &with(AMQPValue::LongLongInt(1))));
    }

    #[test]
    fn other_x_match_is_406() {
        assert_eq!(
            check_binding(&table(&[("x-match", string("some"))])).unwrap_err().to_string(),
            "PRECONDITION_FAILED - Invalid x-match field value <<\"some\">>; \
             expected all, any, all-with-x, or any-with-x"
        );
        assert_eq!(
            check_binding(&table(&[("x-match", AMQPValue::LongInt(1))])).unwrap_err().to_string(),
            "PRECONDITION_FAILED - Invalid x-match field type signedint (value 1); expected longstr"
        );
    }
}

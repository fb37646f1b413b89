//! What the parts of a selector evaluate to, compared in Erlang's order of terms: numbers, then atoms, then binaries.

use std::cmp::Ordering;

use crate::model::headers::HeaderValue;

/// A number; integers and floats compare by value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Integer(i128),
    /// Finite.
    Float(f64),
}

/// A value of a header, of a literal, or of an operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// The header is missing, or the operation has no result.
    Unknown,
    /// Also what is true or false.
    Atom(&'static str),
    Number(Number),
    Binary(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The value of a header. Arrays, tables and the like are as if they were not there.
    pub(super) fn of_header(header: HeaderValue<'a>) -> Self {
        if let Some(bytes) = header.as_bytes() {
            return Self::Binary(bytes);
        }
        if let Some(truth) = header.as_bool() {
            return truth.into();
        }
        match (header.as_integer(), header.as_float()) {
            (Some(integer), _) => Self::Number(Number::Integer(integer)),
            (_, Some(float)) => Self::float(float),
            _ => Self::Unknown,
        }
    }

    /// A float; what is not finite is unknown.
    pub(super) fn float(float: f64) -> Self {
        if float.is_finite() { Self::Number(Number::Float(float)) } else { Self::Unknown }
    }

    /// `None` if it is neither true nor false.
    pub(super) fn truth(self) -> Option<bool> {
        match self {
            Self::Atom("true") => Some(true),
            Self::Atom("false") => Some(false),
            _ => None,
        }
    }

    /// The order of two values; `None` if one is unknown.
    pub(super) fn order(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Unknown, _) | (_, Self::Unknown) => None,
            (Self::Number(one), Self::Number(two)) => Some(one.order(two)),
            (Self::Atom(one), Self::Atom(two)) => Some(one.cmp(two)),
            (Self::Binary(one), Self::Binary(two)) => Some(one.cmp(two)),
            _ => Some(self.rank().cmp(&other.rank())),
        }
    }

    fn rank(self) -> u8 {
        match self {
            Self::Unknown | Self::Number(_) => 0,
            Self::Atom(_) => 1,
            Self::Binary(_) => 2,
        }
    }
}

impl From<bool> for Value<'_> {
    fn from(truth: bool) -> Self {
        Self::Atom(if truth { "true" } else { "false" })
    }
}

impl From<Option<bool>> for Value<'_> {
    fn from(truth: Option<bool>) -> Self {
        truth.map_or(Self::Unknown, Self::from)
    }
}

impl Number {
    pub(super) fn as_float(self) -> f64 {
        match self {
            Self::Integer(integer) => integer as f64,
            Self::Float(float) => float,
        }
    }

    pub(super) fn order(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Integer(one), Self::Integer(two)) => one.cmp(&two),
            // Floats are finite, so they have an order.
            (Self::Float(one), Self::Float(two)) => one.partial_cmp(&two).unwrap_or(Ordering::Equal),
            (Self::Integer(one), Self::Float(two)) => integer_to_float(one, two),
            (Self::Float(one), Self::Integer(two)) => integer_to_float(two, one).reverse(),
        }
    }
}

/// Exact, where a conversion of the integer would round.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the fraction is compared apart; what is out of range becomes the nearest"
)]
fn integer_to_float(integer: i128, float: f64) -> Ordering {
    let whole = float.trunc();
    integer.cmp(&(whole as i128)).then_with(|| 0.0.partial_cmp(&(float - whole)).unwrap_or(Ordering::Equal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_by_value() {
        let check = |integer: i128, float: f64, expect: Ordering| {
            assert_eq!(Number::Integer(integer).order(Number::Float(float)), expect, "{integer} {float}");
            assert_eq!(Number::Float(float).order(Number::Integer(integer)), expect.reverse());
        };
        check(2, 2.0, Ordering::Equal);
        check(2, 2.5, Ordering::Less);
        check(-2, -2.5, Ordering::Greater);
        check(9_007_199_254_740_993, 9_007_199_254_740_992.0, Ordering::Greater);
        check(5, 1e300, Ordering::Less);
        check(0, -0.0, Ordering::Equal);
    }

    #[test]
    fn kinds_have_an_order() {
        let number = Value::Number(Number::Integer(5));
        assert_eq!(number.order(Value::Atom("true")), Some(Ordering::Less));
        assert_eq!(Value::Binary(b"").order(Value::Atom("true")), Some(Ordering::Greater));
        assert_eq!(Value::Binary(b"a").order(Value::Binary(b"b")), Some(Ordering::Less));
        assert_eq!(Value::from(false).order(Value::from(true)), Some(Ordering::Less));
        assert_eq!(Value::Unknown.order(number), None);
    }
}

//! Selectors that have been read, and their evaluation: true, false or unknown, as SQL has it. Only what is true matches.

use std::cmp::Ordering;

use super::like::Pattern;
use super::value::{Number, Value};
use crate::model::headers::HeaderValue;

/// A selector.
#[derive(Debug)]
pub(super) struct Selector(pub(super) Expression);

/// A part of a selector. It is nested as deep as the term that it was made of.
#[derive(Debug)]
pub(super) enum Expression {
    /// What has no meaning.
    Unknown,
    Atom(&'static str),
    Number(Number),
    Binary(Box<[u8]>),
    /// The value of a header.
    Ident(Box<str>),
    Not(Box<Self>),
    Negate(Box<Self>),
    Plus(Box<Self>),
    IsNull(Box<Self>),
    And(Box<[Self; 2]>),
    Or(Box<[Self; 2]>),
    Like(Box<Self>, Pattern),
    /// Value, lower bound, upper bound.
    Between(Box<[Self; 3]>),
    In(Box<Self>, Box<[Self]>),
    Compare(Comparison, Box<[Self; 2]>),
    Calculate(Arithmetic, Box<[Self; 2]>),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
}

impl Selector {
    /// True if a message with these headers is to be given to the binding.
    pub(super) fn matches<'a>(&'a self, header: impl Fn(&str) -> Option<HeaderValue<'a>>) -> bool {
        self.0.evaluate(&header).truth() == Some(true)
    }
}

impl Expression {
    fn evaluate<'a>(&'a self, header: &impl Fn(&str) -> Option<HeaderValue<'a>>) -> Value<'a> {
        let value = |part: &'a Self| part.evaluate(header);
        match self {
            Self::Unknown => Value::Unknown,
            Self::Atom(atom) => Value::Atom(atom),
            Self::Number(number) => Value::Number(*number),
            Self::Binary(bytes) => Value::Binary(bytes),
            Self::Ident(name) => header(name).map_or(Value::Unknown, Value::of_header),
            Self::Not(part) => value(part).truth().map(|truth| !truth).into(),
            Self::Negate(part) => negate(value(part)),
            Self::Plus(part) => match value(part) {
                number @ Value::Number(_) => number,
                _ => Value::Unknown,
            },
            Self::IsNull(part) => (value(part) == Value::Unknown).into(),
            Self::And(parts) => decide(parts.each_ref().map(|part| || value(part).truth()), false),
            Self::Or(parts) => decide(parts.each_ref().map(|part| || value(part).truth()), true),
            Self::Like(part, pattern) => match value(part) {
                Value::Binary(text) => pattern.matches(text).into(),
                _ => Value::Unknown,
            },
            Self::Between(parts) => between(parts.each_ref().map(value)),
            Self::In(part, list) => match value(part) {
                Value::Unknown => Value::Unknown,
                wanted => list.iter().any(|item| value(item) == wanted).into(),
            },
            Self::Compare(comparison, parts) => {
                let [one, two] = parts.each_ref().map(value);
                one.order(two).map(|order| comparison.holds(order)).into()
            }
            Self::Calculate(operation, parts) => match parts.each_ref().map(value) {
                [Value::Number(one), Value::Number(two)] => operation.of(one, two),
                _ => Value::Unknown,
            },
        }
    }
}

/// `or` if `wanted` is true, `and` if it is false: one part that is so decides, and the other then does not matter.
fn decide<'a, F: FnOnce() -> Option<bool>>([one, two]: [F; 2], wanted: bool) -> Value<'a> {
    let one = one();
    if one == Some(wanted) {
        return wanted.into();
    }
    match two() {
        Some(truth) if truth == wanted => wanted.into(),
        Some(_) if one.is_some() => (!wanted).into(),
        _ => Value::Unknown,
    }
}

fn negate(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Number(Number::Integer(integer)) => integer.checked_neg().map_or(Value::Unknown, integer_value),
        Value::Number(Number::Float(float)) => Value::float(-float),
        _ => Value::Unknown,
    }
}

fn between<'a>([value, low, high]: [Value<'a>; 3]) -> Value<'a> {
    let bounds = low.order(value).zip(value.order(high));
    bounds.map(|(low, high)| low != Ordering::Greater && high != Ordering::Greater).into()
}

fn integer_value<'a>(integer: i128) -> Value<'a> {
    Value::Number(Number::Integer(integer))
}

impl Comparison {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Greater => order.is_gt(),
            Self::Less => order.is_lt(),
            Self::GreaterOrEqual => order.is_ge(),
            Self::LessOrEqual => order.is_le(),
        }
    }
}

impl Arithmetic {
    /// An integer of integers, but for a quotient; unknown beyond 128 bits.
    fn of<'a>(self, one: Number, two: Number) -> Value<'a> {
        if let (Number::Integer(one), Number::Integer(two)) = (one, two) {
            let result = match self {
                Self::Add => one.checked_add(two),
                Self::Subtract => one.checked_sub(two),
                Self::Multiply => one.checked_mul(two),
                Self::Divide => return divide(Number::Integer(one), Number::Integer(two)),
            };
            return result.map_or(Value::Unknown, integer_value);
        }
        match self {
            Self::Add => Value::float(one.as_float() + two.as_float()),
            Self::Subtract => Value::float(one.as_float() - two.as_float()),
            Self::Multiply => Value::float(one.as_float() * two.as_float()),
            Self::Divide => divide(one, two),
        }
    }
}

/// A quotient by zero is an atom, and as such above all numbers.
fn divide<'a>(one: Number, two: Number) -> Value<'a> {
    let zero = Number::Integer(0);
    if two.order(zero).is_ne() {
        return Value::float(one.as_float() / two.as_float());
    }
    Value::Atom(match one.order(zero) {
        Ordering::Greater => "plus_infinity",
        Ordering::Less => "minus_infinity",
        Ordering::Equal => "nan",
    })
}

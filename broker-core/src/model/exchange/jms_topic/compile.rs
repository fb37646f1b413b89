//! Makes selectors of terms.

use super::like::Pattern;
use super::selector::{Arithmetic, Comparison, Expression, Selector};
use super::term::{self, Term};
use super::value::Number;

/// Reads a selector. `None` if it is no term, beyond the limits of terms, or has a pattern that cannot be.
pub(super) fn compile(text: &[u8]) -> Option<Selector> {
    expression(&term::parse(text)?).map(Selector)
}

/// What is a term but no operation is unknown; only patterns are refused.
fn expression(term: &Term) -> Option<Expression> {
    match term {
        Term::Atom(atom) => Some(Expression::Atom(atom)),
        Term::Integer(integer) => Some(Expression::Number(Number::Integer(*integer))),
        Term::Float(float) => Some(Expression::Number(Number::Float(*float))),
        Term::Binary(bytes) => Some(Expression::Binary(bytes.clone())),
        Term::List(_) => Some(Expression::Unknown),
        Term::Tuple(items) => match items.as_slice() {
            [Term::Atom(operator), operand] => unary(operator, operand),
            [Term::Atom(operator), one, Term::Tuple(range)] => match range.as_slice() {
                [Term::Atom("range"), two, three] => ternary(operator, one, two, three),
                [two, three] if matches!(*operator, "like" | "not_like") => ternary(operator, one, two, three),
                _ => binary(operator, one, &items[2]),
            },
            [Term::Atom(operator), one, two] => binary(operator, one, two),
            [Term::Atom(operator), one, two, three] => ternary(operator, one, two, three),
            _ => Some(Expression::Unknown),
        },
    }
}

fn boxed(term: &Term) -> Option<Box<Expression>> {
    expression(term).map(Box::new)
}

fn negated(expression: Expression) -> Expression {
    Expression::Not(Box::new(expression))
}

/// An operand that is not evaluated if it is an operation.
fn plain(term: &Term) -> Option<Expression> {
    match term {
        Term::Tuple(items) if items.first() != Some(&Term::Atom("ident")) => Some(Expression::Unknown),
        _ => expression(term),
    }
}

fn unary(operator: &str, operand: &Term) -> Option<Expression> {
    Some(match operator {
        "not" => Expression::Not(boxed(operand)?),
        "-" => Expression::Negate(boxed(operand)?),
        "+" => Expression::Plus(boxed(operand)?),
        "ident" => match operand {
            Term::Binary(name) => match std::str::from_utf8(name) {
                Ok(name) => Expression::Ident(name.into()),
                Err(_) => Expression::Unknown,
            },
            _ => Expression::Unknown,
        },
        "is_null" | "not_null" => match expression(operand)? {
            ident @ Expression::Ident(_) if operator == "is_null" => Expression::IsNull(Box::new(ident)),
            ident @ Expression::Ident(_) => negated(Expression::IsNull(Box::new(ident))),
            // Only a header can be missing.
            _ => Expression::Atom(if operator == "is_null" { "false" } else { "true" }),
        },
        _ => Expression::Unknown,
    })
}

fn binary(operator: &str, one: &Term, two: &Term) -> Option<Expression> {
    if let ("in" | "not_in", Term::List(items)) = (operator, two) {
        let items = items.iter().filter(|item| !matches!(item, Term::Tuple(_) | Term::List(_)));
        let within = Expression::In(boxed(one)?, items.map(expression).collect::<Option<_>>()?);
        return Some(if operator == "in" { within } else { negated(within) });
    }
    let parts = Box::new([expression(one)?, expression(two)?]);
    let comparison = match operator {
        "and" => return Some(Expression::And(parts)),
        "or" => return Some(Expression::Or(parts)),
        "+" => return Some(Expression::Calculate(Arithmetic::Add, parts)),
        "-" => return Some(Expression::Calculate(Arithmetic::Subtract, parts)),
        "*" => return Some(Expression::Calculate(Arithmetic::Multiply, parts)),
        "/" => return Some(Expression::Calculate(Arithmetic::Divide, parts)),
        "=" => Comparison::Equal,
        "<>" => Comparison::NotEqual,
        ">" => Comparison::Greater,
        "<" => Comparison::Less,
        ">=" => Comparison::GreaterOrEqual,
        "<=" => Comparison::LessOrEqual,
        _ => return Some(Expression::Unknown),
    };
    Some(Expression::Compare(comparison, parts))
}

fn ternary(operator: &str, one: &Term, two: &Term, three: &Term) -> Option<Expression> {
    let positive = match operator {
        "between" | "not_between" => {
            Expression::Between(Box::new([expression(one)?, expression(two)?, expression(three)?]))
        }
        "like" | "not_like" => Expression::Like(Box::new(plain(one)?), pattern(two, three)?),
        _ => return Some(Expression::Unknown),
    };
    Some(if operator.starts_with("not_") { negated(positive) } else { positive })
}

fn pattern(pattern: &Term, escape: &Term) -> Option<Pattern> {
    match (pattern, escape) {
        (Term::Atom("regex"), Term::Binary(pattern)) => Pattern::regex(pattern),
        (Term::Binary(pattern), Term::Atom("no_escape")) => Pattern::like(pattern, None),
        (Term::Binary(pattern), Term::Binary(escape)) => match **escape {
            [escape] => Pattern::like(pattern, Some(escape)),
            _ => None,
        },
        _ => None,
    }
}

//! Arguments of declares: whether a redeclare is equivalent to what exists, and how values are spelled in texts.
//!
//! The texts are RabbitMQ's to the letter, as clients match them; so values are written as Erlang writes them.

use std::fmt;

use amq_protocol::types::{AMQPValue, FieldTable};

use crate::error::{ChannelCode, ChannelError};
use crate::model::vhost::Resource;

/// 406 if a field of a redeclare (`durable`, `auto_delete`, `type`, ...) differs from what exists.
pub fn check_field<T: PartialEq + fmt::Display>(
    resource: Resource<'_>,
    field: &str,
    current: T,
    received: T,
) -> Result<(), ChannelError> {
    if current == received {
        return Ok(());
    }
    Err(inequivalent(resource, field, format_args!("'{received}'"), format_args!("'{current}'")))
}

/// 406 if one of the arguments `keys` of a redeclare differs from what exists. The first in the order of `keys` is
/// named. Integers of any width are equal if their values are.
pub fn check_arguments(
    resource: Resource<'_>,
    keys: &[&str],
    current: &FieldTable,
    received: &FieldTable,
) -> Result<(), ChannelError> {
    for key in keys {
        match (current.inner().get(*key), received.inner().get(*key)) {
            (Some(current), Some(received)) if !equivalent(current, received) => {
                let [current, received] = [Bare(current), Bare(received)];
                return Err(inequivalent(
                    resource,
                    key,
                    format_args!("'{received}'"),
                    format_args!("'{current}'"),
                ));
            }
            (Some(value), None) => {
                return Err(inequivalent(resource, key, format_args!("none"), format_args!("{}", Typed(value))));
            }
            (None, Some(value)) => {
                return Err(inequivalent(resource, key, format_args!("{}", Typed(value)), format_args!("none")));
            }
            _ => {}
        }
    }
    Ok(())
}

fn inequivalent(
    resource: Resource<'_>,
    key: &str,
    received: fmt::Arguments<'_>,
    current: fmt::Arguments<'_>,
) -> ChannelError {
    ChannelCode::PreconditionFailed
        .error(format!("inequivalent arg '{key}' for {resource}: received {received} but current is {current}"))
}

/// As RabbitMQ compares arguments: numbers of one class by value, everything else as the same value of one kind.
fn equivalent(one: &AMQPValue, other: &AMQPValue) -> bool {
    match (Kind::of(one), Kind::of(other)) {
        (Kind::Float(one), Kind::Float(other)) => one == other,
        _ => same_value(one, other),
    }
}

/// True for the same value of the same kind, as Erlang's `=:=` sees it: integers and timestamps of any width are one
/// kind, long strings and byte arrays another, single and double floats a third.
#[must_use]
pub fn same_value(one: &AMQPValue, other: &AMQPValue) -> bool {
    match (Kind::of(one), Kind::of(other)) {
        (Kind::Integer(one), Kind::Integer(other)) => one == other,
        (Kind::Float(one), Kind::Float(other)) => one.to_bits() == other.to_bits(),
        (Kind::Bytes(one), Kind::Bytes(other)) => one == other,
        (Kind::Other(one), Kind::Other(other)) => one == other,
        _ => false,
    }
}

enum Kind<'a> {
    Integer(i128),
    Float(f64),
    Bytes(&'a [u8]),
    Other(&'a AMQPValue),
}

impl<'a> Kind<'a> {
    fn of(value: &'a AMQPValue) -> Self {
        match value {
            AMQPValue::ShortShortInt(value) => Self::Integer((*value).into()),
            AMQPValue::ShortShortUInt(value) => Self::Integer((*value).into()),
            AMQPValue::ShortInt(value) => Self::Integer((*value).into()),
            AMQPValue::ShortUInt(value) => Self::Integer((*value).into()),
            AMQPValue::LongInt(value) => Self::Integer((*value).into()),
            AMQPValue::LongUInt(value) => Self::Integer((*value).into()),
            AMQPValue::LongLongInt(value) => Self::Integer((*value).into()),
            AMQPValue::Timestamp(value) => Self::Integer((*value).into()),
            AMQPValue::Float(value) => Self::Float((*value).into()),
            AMQPValue::Double(value) => Self::Float(*value),
            AMQPValue::ShortString(value) => Self::Bytes(value.as_str().as_bytes()),
            AMQPValue::LongString(value) => Self::Bytes(value.as_bytes()),
            AMQPValue::ByteArray(value) => Self::Bytes(value.as_slice()),
            AMQPValue::Boolean(_)
            | AMQPValue::DecimalValue(_)
            | AMQPValue::FieldArray(_)
            | AMQPValue::FieldTable(_)
            | AMQPValue::Void => Self::Other(value),
        }
    }
}

/// The value of an integer or timestamp of any width.
#[must_use]
pub fn integer(value: &AMQPValue) -> Option<i128> {
    match Kind::of(value) {
        Kind::Integer(value) => Some(value),
        _ => None,
    }
}

/// RabbitMQ's name of the value's type.
#[must_use]
pub const fn type_name(value: &AMQPValue) -> &'static str {
    match value {
        AMQPValue::Boolean(_) => "bool",
        AMQPValue::ShortShortInt(_) => "byte",
        AMQPValue::ShortShortUInt(_) => "unsignedbyte",
        AMQPValue::ShortInt(_) => "short",
        AMQPValue::ShortUInt(_) => "unsignedshort",
        AMQPValue::LongInt(_) => "signedint",
        AMQPValue::LongUInt(_) => "unsignedint",
        AMQPValue::LongLongInt(_) => "long",
        AMQPValue::Float(_) => "float",
        AMQPValue::Double(_) => "double",
        AMQPValue::DecimalValue(_) => "decimal",
        AMQPValue::ShortString(_) | AMQPValue::LongString(_) => "longstr",
        AMQPValue::FieldArray(_) => "array",
        AMQPValue::Timestamp(_) => "timestamp",
        AMQPValue::FieldTable(_) => "table",
        AMQPValue::ByteArray(_) => "binary",
        AMQPValue::Void => "void",
    }
}

/// `the value '10' of type 'signedint'`
struct Typed<'a>(&'a AMQPValue);

impl fmt::Display for Typed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the value '{}' of type '{}'", Bare(self.0), type_name(self.0))
    }
}

/// A value as it stands between quotes: strings as they are, everything else as an Erlang term.
struct Bare<'a>(&'a AMQPValue);

impl fmt::Display for Bare<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Kind::of(self.0) {
            Kind::Bytes(bytes) => f.write_str(&String::from_utf8_lossy(bytes)),
            _ => ErlangTerm(self.0).fmt(f),
        }
    }
}

/// A value as Erlang prints the term that it is in RabbitMQ.
#[derive(Debug)]
pub struct ErlangTerm<'a>(pub &'a AMQPValue);

impl fmt::Display for ErlangTerm<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Kind::of(self.0) {
            Kind::Integer(value) => value.fmt(f),
            Kind::Float(value) => write!(f, "{value:?}"),
            Kind::Bytes(bytes) => write_binary(f, bytes),
            Kind::Other(AMQPValue::Boolean(value)) => value.fmt(f),
            Kind::Other(AMQPValue::DecimalValue(value)) => write!(f, "{{{},{}}}", value.scale, value.value),
            Kind::Other(AMQPValue::FieldArray(values)) => {
                let values = values.as_slice().iter();
                write_list(f, values, |f, value| write!(f, "{{{},{}}}", type_name(value), ErlangTerm(value)))
            }
            Kind::Other(AMQPValue::FieldTable(table)) => write_list(f, table, |f, (name, value)| {
                f.write_str("{")?;
                write_binary(f, name.as_str().as_bytes())?;
                write!(f, ",{},{}}}", type_name(value), ErlangTerm(value))
            }),
            Kind::Other(_) => f.write_str("undefined"),
        }
    }
}

fn write_list<T>(
    f: &mut fmt::Formatter<'_>,
    items: impl IntoIterator<Item = T>,
    write_item: impl Fn(&mut fmt::Formatter<'_>, T) -> fmt::Result,
) -> fmt::Result {
    f.write_str("[")?;
    for (position, item) in items.into_iter().enumerate() {
        if position > 0 {
            f.write_str(",")?;
        }
        write_item(f, item)?;
    }
    f.write_str("]")
}

fn write_binary(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    match std::str::from_utf8(bytes) {
        Ok("") => f.write_str("<<>>"),
        Ok(text) if text.is_ascii() => write!(f, "<<\"{text}\">>"),
        Ok(text) => write!(f, "<<\"{text}\"/utf8>>"),
        Err(_) => {
            f.write_str("<<")?;
            for (position, byte) in bytes.iter().enumerate() {
                write!(f, "{}{byte}", if position > 0 { "," } else { "" })?;
            }
            f.write_str(">>")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: Resource<'_> = Resource::queue("/", "q");

    fn string(text: &str) -> AMQPValue {
        AMQPValue::LongString(text.into())
    }

    fn check(key: &str, current: Option<AMQPValue>, received: Option<AMQPValue>) -> String {
        let table = |value: Option<AMQPValue>| {
            let mut table = FieldTable::default();
            if let Some(value) = value {
                table.insert(key.into(), value);
            }
            table
        };
        match check_arguments(QUEUE, &[key], &table(current), &table(received)) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn fields_that_differ_are_named() {
        assert_eq!(check_field(QUEUE, "durable", true, true), Ok(()));
        assert_eq!(
            check_field(Resource::exchange("/", "x"), "durable", false, true).unwrap_err().to_string(),
            "PRECONDITION_FAILED - inequivalent arg 'durable' for exchange 'x' in vhost '/': \
             received 'true' but current is 'false'"
        );
    }

    #[test]
    fn arguments_that_differ_are_named_with_values() {
        let ten = || Some(AMQPValue::LongInt(10));
        let prefix = "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'q' in vhost '/': received ";
        assert_eq!(
            check("x-max-length", None, ten()),
            format!("{prefix}the value '10' of type 'signedint' but current is none")
        );
        assert_eq!(
            check("x-max-length", ten(), None),
            format!("{prefix}none but current is the value '10' of type 'signedint'")
        );
        assert_eq!(
            check("x-max-length", ten(), Some(AMQPValue::LongLongInt(20))),
            format!("{prefix}'20' but current is '10'")
        );
        assert_eq!(
            check("x-max-length", Some(string("drop-head")), ten()),
            format!("{prefix}'10' but current is 'drop-head'")
        );
        assert_eq!(
            check("x-max-length", None, Some(string("lazy"))),
            format!("{prefix}the value 'lazy' of type 'longstr' but current is none")
        );
    }

    #[test]
    fn numbers_are_compared_within_their_class() {
        assert_eq!(check("k", Some(AMQPValue::LongInt(5)), Some(AMQPValue::ShortShortUInt(5))), "");
        assert_eq!(check("k", Some(AMQPValue::Float(0.5)), Some(AMQPValue::Double(0.5))), "");
        assert_eq!(check("k", Some(string("5")), Some(string("5"))), "");
        assert_ne!(check("k", Some(AMQPValue::LongInt(1)), Some(AMQPValue::Double(1.0))), "");
        assert_ne!(check("k", Some(AMQPValue::LongInt(5)), Some(string("5"))), "");
        assert_ne!(check("k", Some(AMQPValue::Boolean(true)), Some(AMQPValue::LongInt(1))), "");
    }

    #[test]
    fn only_the_given_keys_are_compared() {
        let mut table = FieldTable::default();
        table.insert("x-unknown".into(), AMQPValue::Void);
        assert_eq!(check_arguments(QUEUE, &["x-expires"], &table, &FieldTable::default()), Ok(()));
    }

    #[test]
    fn values_are_written_as_erlang_terms() {
        let mut table = FieldTable::default();
        table.insert("a".into(), string("b"));
        table.insert("n".into(), AMQPValue::Double(1.0));
        assert_eq!(
            ErlangTerm(&AMQPValue::FieldTable(table)).to_string(),
            r#"[{<<"a">>,longstr,<<"b">>},{<<"n">>,double,1.0}]"#
        );
        let array = vec![AMQPValue::Boolean(true), AMQPValue::Void].into();
        assert_eq!(ErlangTerm(&AMQPValue::FieldArray(array)).to_string(), "[{bool,true},{void,undefined}]");
        assert_eq!(ErlangTerm(&AMQPValue::ByteArray(vec![255, 0].into())).to_string(), "<<255,0>>");
    }
}

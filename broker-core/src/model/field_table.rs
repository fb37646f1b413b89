//! Field tables: parsing with a limit on nesting, a compact canonical form, and an exact JSON form.
//!
//! The types and their encoding are those of `amq-protocol`; this file adds what a broker that keeps the
//! tables of strangers needs.

use amq_protocol::frame::WriteContext;
use amq_protocol::types::FieldTable;
use amq_protocol::types::generation::gen_field_table;
use amq_protocol::types::parsing::parse_field_table;

/// Tables and arrays may be nested this deep. A deeper table is refused: parsing it takes stack.
pub const MAX_TABLE_DEPTH: u32 = 32;

/// Why bytes are not a field table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldTableError {
    /// The bytes do not follow the grammar (AMQP 0-9-1 section 4.2.5.5, with RabbitMQ's type letters).
    #[error("malformed field table")]
    Malformed,
    /// Nested deeper than [`MAX_TABLE_DEPTH`].
    #[error("field table nested too deep")]
    TooDeep,
}

/// Parses a field table: four bytes of length and the entries, nothing behind them.
pub fn parse(bytes: &[u8]) -> Result<FieldTable, FieldTableError> {
    let entries = long_string(&mut { bytes })?;
    check_entries(entries, true, 0)?;
    match parse_field_table(bytes) {
        Ok(([], table)) => Ok(table),
        _ => Err(FieldTableError::Malformed),
    }
}

/// The bytes of a field table, its length included.
#[must_use]
pub fn encode(table: &FieldTable) -> Vec<u8> {
    let context = gen_field_table(table)(WriteContext::from(Vec::new()));
    context.expect("a vector takes every write").into_inner().0
}

/// Walks the entries of a table (`named`) or the values of an array without building anything, so that the
/// depth is known before a recursive parser sees them.
fn check_entries(mut entries: &[u8], named: bool, depth: u32) -> Result<(), FieldTableError> {
    if depth >= MAX_TABLE_DEPTH {
        return Err(FieldTableError::TooDeep);
    }
    while !entries.is_empty() {
        if named {
            take_name(&mut entries)?;
        }
        match take_value(&mut entries)? {
            (b'F', nested) => check_entries(nested, true, depth + 1)?,
            (b'A', nested) => check_entries(nested, false, depth + 1)?,
            _ => {}
        }
    }
    Ok(())
}

/// Takes the name of an entry.
pub(crate) fn take_name<'a>(entries: &mut &'a [u8]) -> Result<&'a [u8], FieldTableError> {
    let length = take(entries, 1)?[0];
    take(entries, usize::from(length))
}

/// Takes a value: its type letter and its bytes; of what has a length, what follows the length.
pub(crate) fn take_value<'a>(entries: &mut &'a [u8]) -> Result<(u8, &'a [u8]), FieldTableError> {
    let kind = take(entries, 1)?[0];
    let width = match kind {
        b't' | b'b' | b'B' => 1,
        b's' | b'U' | b'u' => 2,
        b'I' | b'i' | b'f' => 4,
        b'D' => 5,
        b'L' | b'l' | b'd' | b'T' => 8,
        b'V' => 0,
        b'S' | b'x' | b'F' | b'A' => return Ok((kind, long_string(entries)?)),
        _ => return Err(FieldTableError::Malformed),
    };
    Ok((kind, take(entries, width)?))
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], FieldTableError> {
    let (taken, rest) = bytes.split_at_checked(count).ok_or(FieldTableError::Malformed)?;
    *bytes = rest;
    Ok(taken)
}

fn long_string<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], FieldTableError> {
    let (length, rest) = bytes.split_first_chunk().ok_or(FieldTableError::Malformed)?;
    *bytes = rest;
    take(bytes, usize::try_from(u32::from_be_bytes(*length)).map_err(|_| FieldTableError::Malformed)?)
}

/// A field table in one allocation, or none if it is empty. Tables with the same entries of the same types have
/// the same bytes, as the entries are sorted by name; so it can be compared and hashed, floats included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EncodedTable(Option<Box<[u8]>>);

impl EncodedTable {
    /// Encodes a table.
    #[must_use]
    pub fn new(table: &FieldTable) -> Self {
        Self((!table.inner().is_empty()).then(|| encode(table).into_boxed_slice()))
    }

    /// The table.
    #[must_use]
    pub fn decode(&self) -> FieldTable {
        self.0.as_deref().map_or_else(FieldTable::default, |bytes| {
            let (_, table) = parse_field_table(bytes).expect("these bytes were encoded from a table");
            table
        })
    }
}

/// JSON that keeps the types: `{"x-max-length": {"signedint": 10}}`. For `#[serde(with)]` on a [`FieldTable`].
///
/// The names of types are RabbitMQ's. A long string is text if it is valid UTF-8 and base64 otherwise; floating
/// point numbers are their bits, as JSON has no NaN and decimal digits may round.
pub mod exact {
    use std::collections::BTreeMap;

    use amq_protocol::types::{AMQPValue, DecimalValue, FieldTable, ShortString};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Value {
        Bool(bool),
        Byte(i8),
        UnsignedByte(u8),
        Short(i16),
        UnsignedShort(u16),
        SignedInt(i32),
        UnsignedInt(u32),
        Long(i64),
        FloatBits(u32),
        DoubleBits(u64),
        Decimal { scale: u8, value: u32 },
        ShortStr(String),
        LongStr(String),
        LongStrBase64(String),
        Array(Vec<Self>),
        Timestamp(u64),
        Table(BTreeMap<String, Self>),
        BinaryBase64(String),
        Void,
    }

    /// Writes a table.
    pub fn serialize<S: Serializer>(table: &FieldTable, serializer: S) -> Result<S::Ok, S::Error> {
        tagged_table(table).serialize(serializer)
    }

    /// Reads a table; a name longer than 255 bytes or bad base64 is an error.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FieldTable, D::Error> {
        plain_table(BTreeMap::deserialize(deserializer)?).map_err(D::Error::custom)
    }

    fn tagged_table(table: &FieldTable) -> BTreeMap<String, Value> {
        table.inner().iter().map(|(name, value)| (name.to_string(), tagged(value))).collect()
    }

    fn tagged(value: &AMQPValue) -> Value {
        match value {
            AMQPValue::Boolean(value) => Value::Bool(*value),
            AMQPValue::ShortShortInt(value) => Value::Byte(*value),
            AMQPValue::ShortShortUInt(value) => Value::UnsignedByte(*value),
            AMQPValue::ShortInt(value) => Value::Short(*value),
            AMQPValue::ShortUInt(value) => Value::UnsignedShort(*value),
            AMQPValue::LongInt(value) => Value::SignedInt(*value),
            AMQPValue::LongUInt(value) => Value::UnsignedInt(*value),
            AMQPValue::LongLongInt(value) => Value::Long(*value),
            AMQPValue::Float(value) => Value::FloatBits(value.to_bits()),
            AMQPValue::Double(value) => Value::DoubleBits(value.to_bits()),
            AMQPValue::DecimalValue(DecimalValue { scale, value }) => {
                Value::Decimal { scale: *scale, value: *value }
            }
            AMQPValue::ShortString(value) => Value::ShortStr(value.to_string()),
            AMQPValue::LongString(value) => match std::str::from_utf8(value.as_bytes()) {
                Ok(text) => Value::LongStr(text.to_owned()),
                Err(_) => Value::LongStrBase64(STANDARD.encode(value.as_bytes())),
            },
            AMQPValue::FieldArray(values) => Value::Array(values.as_slice().iter().map(tagged).collect()),
            AMQPValue::Timestamp(value) => Value::Timestamp(*value),
            AMQPValue::FieldTable(table) => Value::Table(tagged_table(table)),
            AMQPValue::ByteArray(value) => Value::BinaryBase64(STANDARD.encode(value.as_slice())),
            AMQPValue::Void => Value::Void,
        }
    }

    fn plain_table(table: BTreeMap<String, Value>) -> Result<FieldTable, String> {
        let mut plain_table = FieldTable::default();
        for (name, value) in table {
            plain_table.insert(ShortString::try_new(name).map_err(|error| error.to_string())?, plain(value)?);
        }
        Ok(plain_table)
    }

    fn plain(value: Value) -> Result<AMQPValue, String> {
        let base64 = |text: String| STANDARD.decode(text).map_err(|error| error.to_string());
        Ok(match value {
            Value::Bool(value) => AMQPValue::Boolean(value),
            Value::Byte(value) => AMQPValue::ShortShortInt(value),
            Value::UnsignedByte(value) => AMQPValue::ShortShortUInt(value),
            Value::Short(value) => AMQPValue::ShortInt(value),
            Value::UnsignedShort(value) => AMQPValue::ShortUInt(value),
            Value::SignedInt(value) => AMQPValue::LongInt(value),
            Value::UnsignedInt(value) => AMQPValue::LongUInt(value),
            Value::Long(value) => AMQPValue::LongLongInt(value),
            Value::FloatBits(bits) => AMQPValue::Float(f32::from_bits(bits)),
            Value::DoubleBits(bits) => AMQPValue::Double(f64::from_bits(bits)),
            Value::Decimal { scale, value } => AMQPValue::DecimalValue(DecimalValue { scale, value }),
            Value::ShortStr(text) => {
                AMQPValue::ShortString(ShortString::try_new(text).map_err(|error| error.to_string())?)
            }
            Value::LongStr(text) => AMQPValue::LongString(text.into()),
            Value::LongStrBase64(text) => AMQPValue::LongString(base64(text)?.into()),
            Value::Array(values) => {
                let values: Result<Vec<_>, _> = values.into_iter().map(plain).collect();
                AMQPValue::FieldArray(values?.into())
            }
            Value::Timestamp(value) => AMQPValue::Timestamp(value),
            Value::Table(table) => AMQPValue::FieldTable(plain_table(table)?),
            Value::BinaryBase64(text) => AMQPValue::ByteArray(base64(text)?.into()),
            Value::Void => AMQPValue::Void,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use amq_protocol::types::{AMQPValue, DecimalValue};
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::*;

    /// Any value that can be on the wire.
    pub(crate) fn any_value() -> impl Strategy<Value = AMQPValue> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(AMQPValue::Boolean),
            any::<i8>().prop_map(AMQPValue::ShortShortInt),
            any::<u8>().prop_map(AMQPValue::ShortShortUInt),
            any::<i16>().prop_map(AMQPValue::ShortInt),
            any::<u16>().prop_map(AMQPValue::ShortUInt),
            any::<i32>().prop_map(AMQPValue::LongInt),
            any::<u32>().prop_map(AMQPValue::LongUInt),
            any::<i64>().prop_map(AMQPValue::LongLongInt),
            any::<f32>().prop_map(AMQPValue::Float),
            any::<f64>().prop_map(AMQPValue::Double),
            any::<(u8, u32)>().prop_map(|(scale, value)| AMQPValue::DecimalValue(DecimalValue { scale, value })),
            any::<Vec<u8>>().prop_map(|bytes| AMQPValue::LongString(bytes.into())),
            any::<String>().prop_map(|text| AMQPValue::LongString(text.into())),
            any::<u64>().prop_map(AMQPValue::Timestamp),
            any::<Vec<u8>>().prop_map(|bytes| AMQPValue::ByteArray(bytes.into())),
            Just(AMQPValue::Void),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(|values| AMQPValue::FieldArray(values.into())),
                table_of(inner).prop_map(AMQPValue::FieldTable),
            ]
        })
    }

    /// Any table that can be on the wire.
    pub(crate) fn any_table() -> impl Strategy<Value = FieldTable> {
        table_of(any_value())
    }

    fn table_of(value: impl Strategy<Value = AMQPValue>) -> impl Strategy<Value = FieldTable> {
        prop::collection::btree_map("[a-z-]{0,8}", value, 0..5).prop_map(|entries| {
            let mut table = FieldTable::default();
            for (name, value) in entries {
                table.insert(name.into(), value);
            }
            table
        })
    }

    #[derive(Serialize, Deserialize)]
    struct Holder(#[serde(with = "exact")] FieldTable);

    proptest! {
        #[test]
        fn bytes_and_json_keep_the_table(table in any_table()) {
            let bytes = encode(&table);
            prop_assert_eq!(encode(&parse(&bytes).unwrap()), bytes.clone());
            prop_assert_eq!(encode(&EncodedTable::new(&table).decode()), bytes.clone());
            let json = serde_json::to_vec(&Holder(table)).unwrap();
            let Holder(back) = serde_json::from_slice(&json).unwrap();
            prop_assert_eq!(encode(&back), bytes);
        }

        #[test]
        fn any_bytes_are_a_table_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut framed = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
            framed.extend(bytes);
            let _ = parse(&framed);
        }

        #[test]
        fn a_cut_table_is_an_error(table in any_table(), cut in any::<prop::sample::Index>()) {
            let bytes = encode(&table);
            prop_assert_eq!(parse(&bytes[..cut.index(bytes.len())]), Err(FieldTableError::Malformed));
        }
    }

    #[test]
    fn deep_nesting_is_refused_before_it_is_parsed() {
        let nested = |depth: u32| {
            let mut bytes = Vec::new();
            for _ in 0..depth {
                let mut outer = vec![b'A'];
                outer.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
                outer.extend(bytes);
                bytes = outer;
            }
            let mut table = u32::try_from(bytes.len() + 2).unwrap().to_be_bytes().to_vec();
            table.extend(b"\x01k");
            table.extend(bytes);
            table
        };
        assert!(parse(&nested(MAX_TABLE_DEPTH - 1)).is_ok());
        assert_eq!(parse(&nested(MAX_TABLE_DEPTH)), Err(FieldTableError::TooDeep));
        assert_eq!(parse(&nested(10_000)), Err(FieldTableError::TooDeep));
    }

    #[test]
    fn json_names_the_types() {
        let mut table = FieldTable::default();
        table.insert("n".into(), AMQPValue::LongInt(10));
        table.insert("s".into(), AMQPValue::LongString("lazy".into()));
        let json = serde_json::to_string(&Holder(table)).unwrap();
        assert_eq!(json, r#"{"n":{"signedint":10},"s":{"longstr":"lazy"}}"#);
    }

    #[test]
    fn an_empty_table_takes_no_allocation() {
        assert_eq!(EncodedTable::new(&FieldTable::default()), EncodedTable(None));
    }
}

//! The headers of a message, read in place: what the server itself looks at is found without building a table.

use crate::error::{ChannelCode, ChannelError};
use crate::model::field_table::{take_name, take_value};

/// Further routing keys of a message (RabbitMQ extension): an array of long strings, kept in the message.
pub const CC: &str = "CC";

/// As [`CC`], and taken out of the message before anybody sees it.
pub const BCC: &str = "BCC";

/// The entries of an encoded header table. What follows a malformed entry is not seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    entries: &'a [u8],
}

/// The value of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderValue<'a> {
    /// The type letter.
    kind: u8,
    /// Its bytes, without the length that some types have.
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    /// The entries of a table; `encoded` has its length in front.
    #[must_use]
    pub fn new(encoded: &'a [u8]) -> Self {
        Self { entries: encoded.get(4..).unwrap_or_default() }
    }

    /// The first header of this name.
    #[must_use]
    pub fn get(self, name: &str) -> Option<HeaderValue<'a>> {
        self.into_iter().find(|(found, _)| *found == name.as_bytes()).map(|(_, value)| value)
    }
}

impl<'a> IntoIterator for Headers<'a> {
    type Item = (&'a [u8], HeaderValue<'a>);
    type IntoIter = Entries<'a>;

    fn into_iter(self) -> Entries<'a> {
        Entries { rest: self.entries }
    }
}

/// Names and values, in the order of the table.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], HeaderValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let name = take_name(&mut self.rest).ok()?;
        let (kind, bytes) = take_value(&mut self.rest).ok()?;
        Some((name, HeaderValue { kind, bytes }))
    }
}

impl<'a> HeaderValue<'a> {
    /// The text of a long string, or the bytes of a byte array.
    #[must_use]
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        matches!(self.kind, b'S' | b'x').then_some(self.bytes)
    }

    /// An integer or timestamp of any width.
    #[must_use]
    pub fn as_integer(self) -> Option<i128> {
        let signed = match self.kind {
            b'b' | b's' | b'U' | b'I' | b'L' | b'l' => self.bytes.first().is_some_and(|first| *first >= 0x80),
            b'B' | b'u' | b'i' | b'T' => false,
            _ => return None,
        };
        let start = if signed { -1 } else { 0 };
        Some(self.bytes.iter().fold(start, |value: i128, byte| (value << 8) | i128::from(*byte)))
    }

    /// A float of either width.
    #[must_use]
    pub fn as_float(self) -> Option<f64> {
        match self.kind {
            b'f' => Some(f32::from_be_bytes(self.bytes.try_into().ok()?).into()),
            b'd' => Some(f64::from_be_bytes(self.bytes.try_into().ok()?)),
            _ => None,
        }
    }

    /// A boolean.
    #[must_use]
    pub fn as_bool(self) -> Option<bool> {
        (self.kind == b't').then(|| self.bytes != [0])
    }

    /// The long strings of an array; everything else in it is passed over.
    fn long_strings(self) -> Option<impl Iterator<Item = &'a [u8]>> {
        let mut rest = (self.kind == b'A').then_some(self.bytes)?;
        let values = std::iter::from_fn(move || take_value(&mut rest).ok());
        Some(values.filter(|(kind, _)| *kind == b'S').map(|(_, bytes)| bytes))
    }

    /// RabbitMQ's name of the type.
    #[must_use]
    pub fn type_name(self) -> &'static str {
        match self.kind {
            b't' => "bool",
            b'b' => "byte",
            b'B' => "unsignedbyte",
            b's' | b'U' => "short",
            b'u' => "unsignedshort",
            b'I' => "signedint",
            b'i' => "unsignedint",
            b'L' | b'l' => "long",
            b'f' => "float",
            b'd' => "double",
            b'D' => "decimal",
            b'S' => "longstr",
            b'A' => "array",
            b'T' => "timestamp",
            b'F' => "table",
            b'x' => "binary",
            _ => "void",
        }
    }

    /// Bytes that are equal for equal values: numbers of any width by their digits, everything else as it came.
    pub fn with_key<T>(self, then: impl FnOnce(&[u8]) -> T) -> T {
        match self.as_integer() {
            Some(number) => then(number.to_string().as_bytes()),
            None => then(self.bytes),
        }
    }
}

/// The routing keys that a message has in its headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SenderSelected<'a> {
    /// Keys of [`CC`] and [`BCC`].
    pub routing_keys: Vec<&'a str>,
    /// There is a [`BCC`] to be taken out: see [`without`].
    pub has_bcc: bool,
}

/// Finds the routing keys in an encoded header table; `None` if it has neither [`CC`] nor [`BCC`].
///
/// # Errors
/// 406 with RabbitMQ's text if one of them is no array. Keys that are no UTF-8 match nothing.
pub fn sender_selected(encoded: &[u8]) -> Result<Option<SenderSelected<'_>>, ChannelError> {
    let mut found: Option<SenderSelected<'_>> = None;
    for (name, value) in Headers::new(encoded) {
        let bcc = match name {
            b"CC" => false,
            b"BCC" => true,
            _ => continue,
        };
        let keys = value.long_strings().ok_or_else(|| {
            let (name, kind) = (if bcc { BCC } else { CC }, value.type_name());
            ChannelCode::PreconditionFailed
                .error(format!("invalid message: {{unacceptable_type_in_header,\"{name}\",{kind}}}"))
        })?;
        let found = found.get_or_insert_default();
        found.has_bcc |= bcc;
        found.routing_keys.extend(keys.filter_map(|key| std::str::from_utf8(key).ok()));
    }
    Ok(found)
}

/// `properties` with the header `name` taken out of the table `encoded`, which is a part of them.
#[must_use]
pub fn without(properties: &[u8], encoded: &[u8], name: &str) -> Vec<u8> {
    rewritten(properties, encoded, |found, _, entry, out| {
        if found != name.as_bytes() {
            out.extend_from_slice(entry);
        }
    })
}

/// `properties` with the table `encoded`, which is a part of them, written anew: `write` gets name, value and bytes of
/// each entry, and puts into the output what shall stand there.
pub fn rewritten(
    properties: &[u8],
    encoded: &[u8],
    mut write: impl FnMut(&[u8], HeaderValue<'_>, &[u8], &mut Vec<u8>),
) -> Vec<u8> {
    let start = encoded.as_ptr().addr() - properties.as_ptr().addr();
    let mut out = Vec::with_capacity(properties.len());
    out.extend_from_slice(&properties[..start + 4]);
    let mut entries = Headers::new(encoded).into_iter();
    let mut at = entries.rest;
    while let Some((name, value)) = entries.next() {
        let entry = &at[..at.len() - entries.rest.len()];
        write(name, value, entry, &mut out);
        at = entries.rest;
    }
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&properties[start + encoded.len()..]);
    out
}

#[cfg(test)]
mod tests {
    use amq_protocol::frame::WriteContext;
    use amq_protocol::protocol::basic::{AMQPProperties, gen_properties};
    use amq_protocol::types::{AMQPValue, FieldTable};
    use proptest::prelude::*;

    use super::*;
    use crate::model::field_table::{encode, tests::any_table};
    use crate::model::properties::Properties;

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

    fn array(values: &[AMQPValue]) -> AMQPValue {
        AMQPValue::FieldArray(values.to_vec().into())
    }

    #[test]
    fn cc_and_bcc_are_arrays_of_routing_keys() {
        let headers = encode(&table(&[
            ("CC", array(&[string("a"), AMQPValue::LongInt(5), string("b")])),
            ("BCC", array(&[string("c")])),
            ("other", string("d")),
        ]));
        let found = sender_selected(&headers).unwrap().unwrap();
        let mut keys = found.routing_keys.clone();
        keys.sort_unstable();
        assert_eq!((keys, found.has_bcc), (vec!["a", "b", "c"], true));
        assert_eq!(sender_selected(&encode(&table(&[("cc", string("x"))]))), Ok(None));
    }

    #[test]
    fn cc_that_is_no_array_is_406() {
        let check = |name: &str, value: AMQPValue| {
            sender_selected(&encode(&table(&[(name, value)]))).unwrap_err().to_string()
        };
        assert_eq!(
            check("CC", string("b")),
            "PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,\"CC\",longstr}"
        );
        assert_eq!(
            check("BCC", AMQPValue::LongInt(5)),
            "PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,\"BCC\",signedint}"
        );
    }

    #[test]
    fn integers_of_any_width_are_read() {
        for (value, expect) in [
            (AMQPValue::ShortShortInt(-3), Some(-3)),
            (AMQPValue::ShortShortUInt(250), Some(250)),
            (AMQPValue::ShortInt(-300), Some(-300)),
            (AMQPValue::ShortUInt(65_000), Some(65_000)),
            (AMQPValue::LongInt(-70_000), Some(-70_000)),
            (AMQPValue::LongUInt(4_000_000_000), Some(4_000_000_000)),
            (AMQPValue::LongLongInt(i64::MIN), Some(i128::from(i64::MIN))),
            (AMQPValue::Timestamp(u64::MAX), Some(i128::from(u64::MAX))),
            (AMQPValue::Boolean(true), None),
            (string("5"), None),
        ] {
            let encoded = encode(&table(&[("k", value)]));
            assert_eq!(Headers::new(&encoded).get("k").and_then(HeaderValue::as_integer), expect);
        }
    }

    proptest! {
        #[test]
        fn a_header_taken_out_leaves_the_others(headers in any_table(), id in "[a-z]{0,9}") {
            let mut with = headers.clone();
            with.insert("BCC".into(), array(&[string("k")]));
            let properties = |table: FieldTable| {
                let properties = AMQPProperties::default()
                    .with_content_type("t".into()).with_headers(table).with_message_id(id.as_str().into());
                gen_properties(&properties)(WriteContext::from(Vec::new())).unwrap().into_inner().0
            };
            let bytes = properties(with);
            let encoded = Properties::parse(&bytes).unwrap().headers.unwrap();
            prop_assert_eq!(without(&bytes, encoded, BCC), properties(headers));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = (sender_selected(&bytes), Headers::new(&bytes).get("x"));
        }
    }
}

//! Headers of a message, found and added without parsing the table: consumers of a stream read far more than was published.

use crate::model::field_table::{take_name, take_value};
use crate::model::properties::flag;

/// Finds a header in an encoded table (its four bytes of length included): the letter of its type and its value.
#[must_use]
pub fn find<'a>(table: &'a [u8], name: &str) -> Option<(u8, &'a [u8])> {
    let mut entries = table.get(4..)?;
    while !entries.is_empty() {
        let found = take_name(&mut entries).ok()?;
        let value = take_value(&mut entries).ok()?;
        if found == name.as_bytes() {
            return Some(value);
        }
    }
    None
}

/// Puts message properties into `out`, with the header `name` set to a signed 64-bit number. Properties that cannot be read
/// are put as they are; those of a stored message always can.
pub fn set_long(properties: &[u8], name: &str, value: i64, out: &mut Vec<u8>) {
    out.clear();
    out.reserve(properties.len() + name.len() + 16);
    if put(properties, name, value, out).is_none() {
        out.clear();
        out.extend_from_slice(properties);
    }
}

fn put(properties: &[u8], name: &str, value: i64, out: &mut Vec<u8>) -> Option<()> {
    let (words, list) = properties.split_at_checked(flag_bytes(properties)?)?;
    let (first, more) = words.split_first_chunk()?;
    let flags = u16::from_be_bytes(*first);
    let (before, list) = list.split_at_checked(strings_before_headers(flags, list)?)?;
    let (table, rest) = match flags & flag::HEADERS {
        0 => (&list[..0], list),
        _ => list.split_at_checked(4 + usize::try_from(u32::from_be_bytes(*list.first_chunk()?)).ok()?)?,
    };
    out.extend_from_slice(&(flags | flag::HEADERS).to_be_bytes());
    out.extend_from_slice(more);
    out.extend_from_slice(before);
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    put_others(table.get(4..).unwrap_or_default(), name, out)?;
    out.push(u8::try_from(name.len()).ok()?);
    out.extend_from_slice(name.as_bytes());
    out.push(b'l');
    out.extend_from_slice(&value.to_be_bytes());
    let length = u32::try_from(out.len() - start - 4).ok()?;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    out.extend_from_slice(rest);
    Some(())
}

/// Length of the flag words: the lowest bit of each says whether another follows.
fn flag_bytes(properties: &[u8]) -> Option<usize> {
    let last = properties.chunks_exact(2).position(|word| word[1] & 1 == 0)?;
    Some(2 * (last + 1))
}

/// Length of the properties that stand before the headers: content-type and content-encoding.
fn strings_before_headers(flags: u16, list: &[u8]) -> Option<usize> {
    let mut length = 0;
    for flag in [flag::CONTENT_TYPE, flag::CONTENT_ENCODING] {
        if flags & flag != 0 {
            length += 1 + usize::from(*list.get(length)?);
        }
    }
    Some(length)
}

/// Puts the entries of a table but one.
fn put_others(entries: &[u8], name: &str, out: &mut Vec<u8>) -> Option<()> {
    let mut rest = entries;
    while !rest.is_empty() {
        let entry = rest;
        let found = take_name(&mut rest).ok()?;
        take_value(&mut rest).ok()?;
        if found != name.as_bytes() {
            out.extend_from_slice(&entry[..entry.len() - rest.len()]);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use amq_protocol::protocol::basic::{AMQPProperties, gen_properties};
    use amq_protocol::types::{AMQPValue, FieldTable};
    use proptest::prelude::*;

    use super::*;
    use crate::model::properties::Properties;

    fn encode(properties: &AMQPProperties) -> Vec<u8> {
        let bytes = gen_properties(properties)(Vec::new().into());
        bytes.unwrap().into_inner().0
    }

    fn set(properties: &AMQPProperties, value: i64) -> Vec<u8> {
        let mut out = vec![9; 3];
        set_long(&encode(properties), "n", value, &mut out);
        out
    }

    fn table(entries: &[(&str, i64)]) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, value) in entries {
            table.insert((*name).into(), AMQPValue::LongLongInt(*value));
        }
        table
    }

    #[test]
    fn a_header_is_added_wherever_the_table_stands() {
        let bare = AMQPProperties::default();
        let around =
            bare.clone().with_content_type("text/plain".into()).with_delivery_mode(2).with_app_id("a".into());
        for properties in [bare, around] {
            let with = properties.clone().with_headers(table(&[("n", 5)]));
            assert_eq!(set(&properties, 5), encode(&with));
            let full = properties.clone().with_headers(table(&[("a", 1)]));
            assert_eq!(set(&full, 5), encode(&properties.with_headers(table(&[("a", 1), ("n", 5)]))));
        }
    }

    #[test]
    fn a_header_that_is_there_is_replaced() {
        let before = AMQPProperties::default().with_headers(table(&[("a", 1), ("n", 4)]));
        let bytes = set(&before, 5);
        let headers = Properties::parse(&bytes).unwrap().headers.unwrap();
        assert_eq!(find(headers, "n"), Some((b'l', &5_i64.to_be_bytes()[..])));
        assert_eq!(find(headers, "a"), Some((b'l', &1_i64.to_be_bytes()[..])));
        assert_eq!(find(headers, "b"), None);
        assert_eq!(Properties::parse(&bytes).unwrap().parse_headers().unwrap().inner().len(), 2);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut out = Vec::new();
            set_long(&bytes, "n", 1, &mut out);
            let _ = find(&bytes, "n");
        }
    }
}

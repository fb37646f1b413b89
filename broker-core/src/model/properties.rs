//! Message properties, read in place.
//!
//! The broker keeps and forwards the property flags and property list of a content header (AMQP 0-9-1 section
//! 4.2.6.1) as the bytes that the client sent. [`Properties::parse`] checks them and finds what the broker itself looks
//! at, without allocation.

use amq_protocol::types::FieldTable;

use crate::error::{ChannelCode, ChannelError};
use crate::model::field_table::{self, FieldTableError};

/// Longest time to live of a message, in milliseconds (RabbitMQ's limit: ten years).
pub const MAX_EXPIRATION_MS: u64 = 315_360_000_000;

/// Property flags from the highest bit down, in the order of the list (`basic` class).
pub(crate) mod flag {
    pub(crate) const CONTENT_TYPE: u16 = 1 << 15;
    pub(crate) const CONTENT_ENCODING: u16 = 1 << 14;
    pub(crate) const HEADERS: u16 = 1 << 13;
    pub(crate) const DELIVERY_MODE: u16 = 1 << 12;
    pub(crate) const PRIORITY: u16 = 1 << 11;
    pub(crate) const CORRELATION_ID: u16 = 1 << 10;
    pub(crate) const REPLY_TO: u16 = 1 << 9;
    pub(crate) const EXPIRATION: u16 = 1 << 8;
    pub(crate) const MESSAGE_ID: u16 = 1 << 7;
    pub(crate) const TIMESTAMP: u16 = 1 << 6;
    pub(crate) const TYPE: u16 = 1 << 5;
    pub(crate) const USER_ID: u16 = 1 << 4;
    pub(crate) const APP_ID: u16 = 1 << 3;
    pub(crate) const CLUSTER_ID: u16 = 1 << 2;
    pub(crate) const UNKNOWN: u16 = 1 << 1;
    /// Another word of flags follows; the class has no property there, so that one must be zero.
    pub(crate) const CONTINUED: u16 = 1;
}

/// Why bytes are not properties of the `basic` class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PropertiesError {
    /// The list ends inside a property.
    #[error("property list is cut short")]
    Short,
    /// Bytes are left behind the last property.
    #[error("bytes behind the property list")]
    Trailing,
    /// A flag is set that stands for no property.
    #[error("unknown property flag")]
    UnknownFlag,
    /// `expiration` or `user-id`, which the broker reads, is not UTF-8.
    #[error("property is not UTF-8")]
    NotUtf8,
}

/// The properties that mean something to a broker; content type, type, application and cluster are skipped. What is
/// not read as text may be any bytes, as clients send them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    /// The encoded field table, its four bytes of length included; not checked beyond the length.
    pub headers: Option<&'a [u8]>,
    /// 2 is persistent; anything else is not.
    pub delivery_mode: Option<u8>,
    /// Priority, 0 to 255.
    pub priority: Option<u8>,
    /// Joins a reply to its request.
    pub correlation_id: Option<&'a [u8]>,
    /// Where replies go.
    pub reply_to: Option<&'a [u8]>,
    /// Time to live as decimal milliseconds; see [`Properties::expiration_ms`].
    pub expiration: Option<&'a str>,
    /// Identifies the message to applications.
    pub message_id: Option<&'a [u8]>,
    /// Seconds since the Unix epoch.
    pub timestamp: Option<u64>,
    /// Who claims to have published it.
    pub user_id: Option<&'a str>,
}

impl<'a> Properties<'a> {
    /// Reads the bytes of a content header behind body-size, to its end.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PropertiesError> {
        match *bytes {
            [0, 0] => Ok(Self::default()),
            // Only delivery-mode: what most publishers of persistent messages send.
            [0x10, 0, delivery_mode] => Ok(Self { delivery_mode: Some(delivery_mode), ..Self::default() }),
            _ => Self::parse_list(bytes),
        }
    }

    fn parse_list(bytes: &'a [u8]) -> Result<Self, PropertiesError> {
        let mut rest = bytes;
        let flags = u16::from_be_bytes(array(&mut rest)?);
        let mut continued = flags & flag::CONTINUED != 0;
        if flags & flag::UNKNOWN != 0 {
            return Err(PropertiesError::UnknownFlag);
        }
        while continued {
            match u16::from_be_bytes(array(&mut rest)?) {
                0 => continued = false,
                flag::CONTINUED => {}
                _ => return Err(PropertiesError::UnknownFlag),
            }
        }
        let rest = &mut rest;
        let has = |property: u16| flags & property != 0;
        skip_short_strings(flags & (flag::CONTENT_TYPE | flag::CONTENT_ENCODING), rest)?;
        let mut properties = Self {
            headers: has(flag::HEADERS).then(|| table(rest)).transpose()?,
            delivery_mode: has(flag::DELIVERY_MODE).then(|| octet(rest)).transpose()?,
            priority: has(flag::PRIORITY).then(|| octet(rest)).transpose()?,
            correlation_id: has(flag::CORRELATION_ID).then(|| short_string(rest)).transpose()?,
            reply_to: has(flag::REPLY_TO).then(|| short_string(rest)).transpose()?,
            expiration: has(flag::EXPIRATION).then(|| text(rest)).transpose()?,
            message_id: has(flag::MESSAGE_ID).then(|| short_string(rest)).transpose()?,
            timestamp: has(flag::TIMESTAMP).then(|| array(rest).map(u64::from_be_bytes)).transpose()?,
            user_id: None,
        };
        skip_short_strings(flags & flag::TYPE, rest)?;
        if has(flag::USER_ID) {
            properties.user_id = Some(text(rest)?);
        }
        skip_short_strings(flags & (flag::APP_ID | flag::CLUSTER_ID), rest)?;
        if rest.is_empty() { Ok(properties) } else { Err(PropertiesError::Trailing) }
    }

    /// Parses the headers; empty if there are none.
    pub fn parse_headers(&self) -> Result<FieldTable, FieldTableError> {
        self.headers.map_or_else(|| Ok(FieldTable::default()), field_table::parse)
    }

    /// True for `delivery-mode` 2.
    #[must_use]
    pub fn is_persistent(&self) -> bool {
        self.delivery_mode == Some(2)
    }

    /// The time to live in milliseconds: 406 with RabbitMQ's text if `expiration` is not a decimal number from 0 to
    /// [`MAX_EXPIRATION_MS`].
    pub fn expiration_ms(&self) -> Result<Option<u64>, ChannelError> {
        let Some(text) = self.expiration else {
            return Ok(None);
        };
        let refused =
            |why: String| ChannelCode::PreconditionFailed.error(format!("invalid expiration '{text}': {why}"));
        let digits_at = usize::from(text.starts_with(['+', '-']));
        let digits_end = text[digits_at..]
            .find(|character: char| !character.is_ascii_digit())
            .map_or(text.len(), |length| digits_at + length);
        let (number, leftover) = text.split_at(digits_end);
        if digits_end == digits_at {
            return Err(refused("no_integer".to_owned()));
        }
        if !leftover.is_empty() {
            return Err(refused(format!("{{leftover_string,\"{leftover}\"}}")));
        }
        match number.parse::<i128>() {
            Ok(number) if number < 0 => Err(refused(format!("{{value_negative,{number}}}"))),
            Ok(number) => match u64::try_from(number) {
                Ok(number) if number <= MAX_EXPIRATION_MS => Ok(Some(number)),
                _ => Err(refused(format!("{{value_too_big,{number}}}"))),
            },
            Err(_) => Err(refused(format!("{{value_too_big,{number}}}"))),
        }
    }
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], PropertiesError> {
    let (taken, behind) = rest.split_first_chunk().ok_or(PropertiesError::Short)?;
    *rest = behind;
    Ok(*taken)
}

fn octet(rest: &mut &[u8]) -> Result<u8, PropertiesError> {
    array(rest).map(|[octet]| octet)
}

fn short_string<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], PropertiesError> {
    let length = usize::from(octet(rest)?);
    let (taken, behind) = rest.split_at_checked(length).ok_or(PropertiesError::Short)?;
    *rest = behind;
    Ok(taken)
}

/// Skips one short string for each flag that is set.
fn skip_short_strings(flags: u16, rest: &mut &[u8]) -> Result<(), PropertiesError> {
    (0..flags.count_ones()).try_for_each(|_| short_string(rest).map(drop))
}

fn text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, PropertiesError> {
    std::str::from_utf8(short_string(rest)?).map_err(|_| PropertiesError::NotUtf8)
}

/// A table with its length.
fn table<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], PropertiesError> {
    let length = rest.first_chunk().map(|length| u32::from_be_bytes(*length)).ok_or(PropertiesError::Short)?;
    let end = usize::try_from(length).ok().and_then(|length| length.checked_add(4));
    let (taken, behind) = end.and_then(|end| rest.split_at_checked(end)).ok_or(PropertiesError::Short)?;
    *rest = behind;
    Ok(taken)
}

/// The same properties with these headers (an encoded table) and without `expiration`. Bytes that are no properties stay as they are.
#[must_use]
pub fn with_headers_and_no_expiration(bytes: &[u8], headers: &[u8]) -> Vec<u8> {
    edited(bytes, headers).unwrap_or_else(|_| bytes.to_vec())
}

fn edited(bytes: &[u8], headers: &[u8]) -> Result<Vec<u8>, PropertiesError> {
    let mut rest = bytes;
    let flags = u16::from_be_bytes(array(&mut rest)?);
    let has = |property: u16| flags & property != 0;
    let mut out = Vec::with_capacity(bytes.len() + headers.len());
    out.extend_from_slice(&((flags | flag::HEADERS) & !flag::EXPIRATION).to_be_bytes());
    let mut copied = rest;
    let rest = &mut rest;
    let mut continued = has(flag::CONTINUED);
    while continued {
        continued = u16::from_be_bytes(array(rest)?) & flag::CONTINUED != 0;
    }
    skip_short_strings(flags & (flag::CONTENT_TYPE | flag::CONTENT_ENCODING), rest)?;
    out.extend_from_slice(&copied[..copied.len() - rest.len()]);
    out.extend_from_slice(headers);
    if has(flag::HEADERS) {
        table(rest)?;
    }
    copied = rest;
    for _ in 0..(flags & (flag::DELIVERY_MODE | flag::PRIORITY)).count_ones() {
        octet(rest)?;
    }
    skip_short_strings(flags & (flag::CORRELATION_ID | flag::REPLY_TO), rest)?;
    out.extend_from_slice(&copied[..copied.len() - rest.len()]);
    if has(flag::EXPIRATION) {
        short_string(rest)?;
    }
    out.extend_from_slice(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use amq_protocol::frame::WriteContext;
    use amq_protocol::protocol::basic::{AMQPProperties, gen_properties, parse_properties};
    use amq_protocol::types::{AMQPValue, ShortString};
    use proptest::prelude::*;

    use super::*;
    use crate::model::field_table::tests::any_table;

    fn encode(properties: &AMQPProperties) -> Vec<u8> {
        gen_properties(properties)(WriteContext::from(Vec::new())).unwrap().into_inner().0
    }

    fn any_properties() -> impl Strategy<Value = AMQPProperties> {
        let string = || prop::option::of("[a-z0-9é]{0,12}");
        let strings = (string(), string(), string(), string(), string(), string(), string(), string());
        let more = (string(), string(), prop::option::of(any::<u8>()), prop::option::of(any::<u8>()));
        let rest = (prop::option::of(any::<u64>()), prop::option::of(any_table()));
        (strings, more, rest).prop_map(|(s, m, r)| {
            let mut properties = AMQPProperties::default();
            macro_rules! set {
                ($value:expr, $with:ident) => {
                    if let Some(value) = $value {
                        properties = properties.$with(value.into());
                    }
                };
            }
            set!(s.0, with_content_type);
            set!(s.1, with_content_encoding);
            set!(s.2, with_correlation_id);
            set!(s.3, with_reply_to);
            set!(s.4, with_expiration);
            set!(s.5, with_message_id);
            set!(s.6, with_type);
            set!(s.7, with_user_id);
            set!(m.0, with_app_id);
            set!(m.1, with_cluster_id);
            set!(m.2, with_delivery_mode);
            set!(m.3, with_priority);
            set!(r.0, with_timestamp);
            if let Some(headers) = r.1 {
                properties = properties.with_headers(headers);
            }
            properties
        })
    }

    fn bytes_of(text: &Option<ShortString>) -> Option<&[u8]> {
        text.as_ref().map(|text| text.as_str().as_bytes())
    }

    proptest! {
        #[test]
        fn agrees_with_amq_protocol(expected in any_properties()) {
            let bytes = encode(&expected);
            let found = Properties::parse(&bytes).unwrap();
                    prop_assert_eq!(found.delivery_mode, *expected.delivery_mode());
            prop_assert_eq!(found.priority, *expected.priority());
            prop_assert_eq!(found.correlation_id, bytes_of(expected.correlation_id()));
            prop_assert_eq!(found.reply_to, bytes_of(expected.reply_to()));
            prop_assert_eq!(found.expiration.map(str::as_bytes), bytes_of(expected.expiration()));
            prop_assert_eq!(found.message_id, bytes_of(expected.message_id()));
            prop_assert_eq!(found.timestamp, *expected.timestamp());
                prop_assert_eq!(found.user_id.map(str::as_bytes), bytes_of(expected.user_id()));
                    let headers = expected.headers().clone().map(|table| field_table::encode(&table));
            prop_assert_eq!(found.headers, headers.as_deref());
        }

        #[test]
        fn headers_are_replaced_and_the_expiration_goes(properties in any_properties(), headers in any_table()) {
            let edited = with_headers_and_no_expiration(&encode(&properties), &field_table::encode(&headers));
            let mut expected = properties.clone().with_headers(headers);
            if properties.expiration().is_some() {
                let without = AMQPProperties::default();
                macro_rules! copy {
                    ($($field:ident $with:ident)*) => {
                        expected = without;
                        $(if let Some(value) = properties.$field().clone() {
                            expected = expected.$with(value);
                        })*
                    };
                }
                let headers = expected.headers().clone().unwrap_or_default();
                copy! {
                    content_type with_content_type content_encoding with_content_encoding
                    delivery_mode with_delivery_mode priority with_priority correlation_id with_correlation_id
                    reply_to with_reply_to message_id with_message_id timestamp with_timestamp kind with_type
                    user_id with_user_id app_id with_app_id cluster_id with_cluster_id
                }
                expected = expected.with_headers(headers);
            }
            prop_assert_eq!(edited, encode(&expected));
        }

        #[test]
        fn every_cut_is_an_error(properties in any_properties(), cut in any::<prop::sample::Index>()) {
            let bytes = encode(&properties);
            prop_assert_eq!(Properties::parse(&bytes[..cut.index(bytes.len())]), Err(PropertiesError::Short));
        }

        #[test]
        fn any_bytes_are_properties_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(properties) = Properties::parse(&bytes) {
                let _ = (properties.parse_headers(), properties.expiration_ms());
            } else if bytes.len() > 2 && bytes[1] & 3 == 0 {
                // What amq-protocol takes whole is taken here, too.
                let taken = parse_properties(&bytes[..]).is_ok_and(|(rest, _)| rest.is_empty());
                prop_assert!(!taken);
            }
        }
    }

    #[test]
    fn flags_without_property_are_refused() {
        assert_eq!(Properties::parse(&[]), Err(PropertiesError::Short));
        assert_eq!(Properties::parse(&[0, 2]), Err(PropertiesError::UnknownFlag));
        assert_eq!(Properties::parse(&[0, 1, 0, 0]), Ok(Properties::default()));
        assert_eq!(Properties::parse(&[0, 1, 0, 1, 0, 0]), Ok(Properties::default()));
        assert_eq!(Properties::parse(&[0, 1, 0x80, 0]), Err(PropertiesError::UnknownFlag));
        assert_eq!(Properties::parse(&[0, 0, 9]), Err(PropertiesError::Trailing));
    }

    #[test]
    fn strings_that_are_only_passed_on_may_be_any_bytes() {
        let correlation_id = Properties::parse(&[0x04, 0, 2, 0xff, 0]).unwrap().correlation_id;
        assert_eq!(correlation_id, Some(&[0xff, 0][..]));
        assert_eq!(Properties::parse(&[0x01, 0, 1, 0xff]), Err(PropertiesError::NotUtf8));
    }

    #[test]
    fn headers_are_parsed_on_demand() {
        let mut table = FieldTable::default();
        table.insert("a".into(), AMQPValue::LongInt(1));
        let bytes = encode(&AMQPProperties::default().with_headers(table.clone()));
        assert_eq!(Properties::parse(&bytes).unwrap().parse_headers(), Ok(table));
        assert_eq!(Properties::default().parse_headers(), Ok(FieldTable::default()));
    }

    #[test]
    fn expiration_is_a_number_of_milliseconds() {
        let check = |text: &str| {
            let expiration = Some(text);
            Properties { expiration, ..Properties::default() }.expiration_ms().map_err(|e| e.to_string())
        };
        let refused =
            |text: &str, why: &str| Err(format!("PRECONDITION_FAILED - invalid expiration '{text}': {why}"));
        assert_eq!(Properties::default().expiration_ms(), Ok(None));
        assert_eq!(check("0"), Ok(Some(0)));
        assert_eq!(check("60000"), Ok(Some(60_000)));
        assert_eq!(check("+5"), Ok(Some(5)));
        assert_eq!(check(""), refused("", "no_integer"));
        assert_eq!(check("abc"), refused("abc", "no_integer"));
        assert_eq!(check("-1"), refused("-1", "{value_negative,-1}"));
        assert_eq!(check("10s"), refused("10s", "{leftover_string,\"s\"}"));
        assert_eq!(check("315360000001"), refused("315360000001", "{value_too_big,315360000001}"));
        let huge = "9".repeat(60);
        assert_eq!(check(&huge), refused(&huge, &format!("{{value_too_big,{huge}}}")));
    }
}

//! Content headers (AMQP 0-9-1 section 4.2.6.1) and the properties in them.

use super::error::WireError;
use super::field_table;
use super::fields::Fields;

/// A content header frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentHeader<'a> {
    /// Must be the class of the method before it: the caller checks.
    pub class_id: u16,
    /// Octets of body that follow in body frames: the caller checks it against its limits.
    pub body_size: u64,
    /// Property flags and property list as the client sent them; [`Properties::parse`] checks them.
    pub properties: &'a [u8],
}

impl<'a> ContentHeader<'a> {
    /// Reads the payload of a header frame. The properties are not looked at.
    ///
    /// # Errors
    /// The payload is too short.
    #[inline]
    pub fn parse(payload: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(payload);
        let class_id = fields.u16()?;
        // The weight field is unused and must be zero. RabbitMQ does not look at it, so neither do we.
        fields.u16()?;
        let body_size = fields.u64()?;
        Ok(Self { class_id, body_size, properties: fields.rest() })
    }
}

/// The properties that a broker looks at, borrowed from the raw bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    /// The headers table as on the wire, its four octets of length included. `amq-protocol` parses it without error.
    pub headers: Option<&'a [u8]>,
    /// 2 is persistent.
    pub delivery_mode: Option<u8>,
    /// Priority of the message.
    pub priority: Option<u8>,
    /// Where answers go.
    pub reply_to: Option<&'a str>,
    /// Time to live in milliseconds, as decimal digits (not checked here).
    pub expiration: Option<&'a str>,
    /// The publisher, as it says (not checked here).
    pub user_id: Option<&'a str>,
}

const CONTENT_TYPE: u16 = 1 << 15;
const CONTENT_ENCODING: u16 = 1 << 14;
const HEADERS: u16 = 1 << 13;
const DELIVERY_MODE: u16 = 1 << 12;
const PRIORITY: u16 = 1 << 11;
const CORRELATION_ID: u16 = 1 << 10;
const REPLY_TO: u16 = 1 << 9;
const EXPIRATION: u16 = 1 << 8;
const MESSAGE_ID: u16 = 1 << 7;
const TIMESTAMP: u16 = 1 << 6;
const TYPE: u16 = 1 << 5;
const USER_ID: u16 = 1 << 4;
const APP_ID: u16 = 1 << 3;
const CLUSTER_ID: u16 = 1 << 2;
/// Bit 1 belongs to no property; bit 0 would announce more flags.
const UNUSED: u16 = 0b11;

impl<'a> Properties<'a> {
    /// Walks over the flags and the list. `raw` is [`ContentHeader::properties`].
    ///
    /// The short strings that only clients look at (correlation-id, message-id and so on) may be any bytes: they are
    /// passed on as they are.
    ///
    /// # Errors
    /// The list does not fit the flags, the headers are not a table, or a string that the broker looks at is not UTF-8.
    #[inline]
    pub fn parse(raw: &'a [u8]) -> Result<Self, WireError> {
        match raw {
            [0, 0] => Ok(Self::default()),
            // Nothing but a delivery mode.
            [0x10, 0, delivery_mode] => Ok(Self { delivery_mode: Some(*delivery_mode), ..Self::default() }),
            _ => Self::parse_list(raw),
        }
    }

    fn parse_list(raw: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(raw);
        let flags = fields.u16()?;
        if flags & UNUSED != 0 {
            return Err(WireError::BadField { offset: 0 });
        }
        let has = |flag: u16| flags & flag != 0;
        let mut properties = Self::default();
        let skip_short_strings = |fields: &mut Fields<'a>, mask: u16| {
            (0..(flags & mask).count_ones()).try_for_each(|_| fields.short_bytes().map(drop))
        };
        skip_short_strings(&mut fields, CONTENT_TYPE | CONTENT_ENCODING)?;
        if has(HEADERS) {
            properties.headers = Some(field_table::read(&mut fields)?);
        }
        if has(DELIVERY_MODE) {
            properties.delivery_mode = Some(fields.u8()?);
        }
        if has(PRIORITY) {
            properties.priority = Some(fields.u8()?);
        }
        skip_short_strings(&mut fields, CORRELATION_ID)?;
        if has(REPLY_TO) {
            properties.reply_to = Some(fields.short_string()?);
        }
        if has(EXPIRATION) {
            properties.expiration = Some(fields.short_string()?);
        }
        skip_short_strings(&mut fields, MESSAGE_ID)?;
        if has(TIMESTAMP) {
            fields.u64()?;
        }
        skip_short_strings(&mut fields, TYPE)?;
        if has(USER_ID) {
            properties.user_id = Some(fields.short_string()?);
        }
        skip_short_strings(&mut fields, APP_ID | CLUSTER_ID)?;
        fields.finish()?;
        Ok(properties)
    }

    /// The publisher wants the message to survive a restart.
    #[must_use]
    pub fn is_persistent(&self) -> bool {
        self.delivery_mode == Some(2)
    }
}

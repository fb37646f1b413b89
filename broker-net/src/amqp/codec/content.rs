//! Content headers (AMQP 0-9-1 section 4.2.6.1).

use super::error::WireError;
use super::fields::Fields;

/// A content header frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentHeader<'a> {
    /// Must be the class of the method before it: the caller checks.
    pub class_id: u16,
    /// Octets of body that follow in body frames: the caller checks it against its limits.
    pub body_size: u64,
    /// Property flags and property list as the client sent them; `broker_core::model::properties` reads them.
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

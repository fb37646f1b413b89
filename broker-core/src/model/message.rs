//! A message: where it was published, its properties as the bytes the client sent, its body.

use crate::limits::DELIVERY_OVERHEAD_BYTES;

/// A message, borrowed from a receive buffer, a mailbox batch or the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Name of the exchange it was published to; at most 255 bytes.
    pub exchange: &'a str,
    /// Routing key; at most 255 bytes.
    pub routing_key: &'a str,
    /// Property flags and property list exactly as in the content header frame (after body-size).
    pub properties: &'a [u8],
    /// The body.
    pub body: &'a [u8],
}

impl Message<'_> {
    /// What a delivery of this message takes of a consumer's window, in bytes.
    #[must_use]
    pub fn window_bytes(&self) -> u32 {
        u32::try_from(self.body.len() + self.properties.len())
            .unwrap_or(u32::MAX)
            .saturating_add(DELIVERY_OVERHEAD_BYTES)
    }
}

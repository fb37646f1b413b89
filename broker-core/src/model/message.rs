//! A message: where it was published, its properties as the bytes the client sent, its body; and its form in a
//! log record or in a batch between shards.
//!
//! Stored form, numbers little-endian: exchange length (u8), exchange, routing key length (u8), routing key,
//! properties length (u32), properties, body (the rest).

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

/// The three numbers of the stored form, as they stand between its strings.
#[derive(Debug)]
pub struct Lengths {
    exchange: [u8; 1],
    routing_key: [u8; 1],
    properties: [u8; 4],
}

impl<'a> Message<'a> {
    /// What a delivery of this message takes of a consumer's window, in bytes.
    #[must_use]
    pub fn window_bytes(&self) -> u32 {
        u32::try_from(self.body.len() + self.properties.len())
            .unwrap_or(u32::MAX)
            .saturating_add(DELIVERY_OVERHEAD_BYTES)
    }

    /// The numbers that [`Self::parts`] puts between the strings.
    ///
    /// # Panics
    /// If a name is longer than 255 bytes or the properties than 4 GiB: no frame can bring that.
    #[must_use]
    pub fn lengths(&self) -> Lengths {
        let short = |text: &str| [u8::try_from(text.len()).expect("a short string has at most 255 bytes")];
        let properties = u32::try_from(self.properties.len()).expect("properties fit in a frame");
        Lengths {
            exchange: short(self.exchange),
            routing_key: short(self.routing_key),
            properties: properties.to_le_bytes(),
        }
    }

    /// The stored form, in pieces.
    #[must_use]
    pub fn parts<'b>(&self, lengths: &'b Lengths) -> [&'b [u8]; 7]
    where
        'a: 'b,
    {
        [
            &lengths.exchange,
            self.exchange.as_bytes(),
            &lengths.routing_key,
            self.routing_key.as_bytes(),
            &lengths.properties,
            self.properties,
            self.body,
        ]
    }

    /// Length of the stored form, in bytes.
    #[must_use]
    pub fn stored_len(&self) -> usize {
        6 + self.exchange.len() + self.routing_key.len() + self.properties.len() + self.body.len()
    }

    /// Reads the stored form. `None` if `bytes` is not one.
    #[must_use]
    pub fn from_stored(bytes: &'a [u8]) -> Option<Self> {
        let (exchange, rest) = short_string(bytes)?;
        let (routing_key, rest) = short_string(rest)?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (properties, body) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        Some(Self { exchange, routing_key, properties, body })
    }
}

fn short_string(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn stored_form_reads_back(
            exchange in "\\PC{0,60}",
            routing_key in "\\PC{0,60}",
            properties in proptest::collection::vec(any::<u8>(), 0..50),
            body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let message = Message { exchange: &exchange, routing_key: &routing_key, properties: &properties, body: &body };
            let stored = message.parts(&message.lengths()).concat();
            prop_assert_eq!(stored.len(), message.stored_len());
            prop_assert_eq!(Message::from_stored(&stored), Some(message));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Message::from_stored(&bytes);
        }
    }
}

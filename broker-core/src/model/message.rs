//! A message: where it was published, its properties as the bytes the client sent, its body; and its form in a
//! log record or in a batch between shards.
//!
//! Stored form, numbers little-endian: stamp (u64), exchange length (u8), exchange, routing key length (u8), routing key,
//! properties length (u32), properties, body (the rest).

use crate::limits::DELIVERY_OVERHEAD_BYTES;
use crate::model::properties::Properties;

/// When a message came, and whether the broker has published it again since.
///
/// The lower 62 bits are milliseconds since the Unix epoch. The highest says that the message was dead-lettered: only then are the deaths in
/// its headers the broker's own word. The one below says that it was given another routing key then: the keys in CC do not count any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp(u64);

impl Stamp {
    const DEAD_LETTERED: u64 = 1 << 63;
    const REROUTED: u64 = 1 << 62;
    const MARKS: u64 = Self::DEAD_LETTERED | Self::REROUTED;

    /// A message that is published at `now_ms`.
    #[must_use]
    pub const fn at(now_ms: u64) -> Self {
        Self(now_ms & !Self::MARKS)
    }

    /// The same, of a message that a queue has dead-lettered.
    #[must_use]
    pub const fn dead_lettered_at(now_ms: u64, rerouted: bool) -> Self {
        Self((now_ms & !Self::MARKS) | Self::DEAD_LETTERED | if rerouted { Self::REROUTED } else { 0 })
    }

    /// The same marks at another time: of a message that was held back until `now_ms`.
    #[must_use]
    pub const fn held_until(self, now_ms: u64) -> Self {
        Self((self.0 & Self::MARKS) | (now_ms & !Self::MARKS))
    }

    /// Time of publishing, or of being dead-lettered, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn published_ms(self) -> u64 {
        self.0 & !Self::MARKS
    }

    /// True if the message has been dead-lettered.
    #[must_use]
    pub const fn is_dead_lettered(self) -> bool {
        self.0 & Self::DEAD_LETTERED != 0
    }

    /// True if a dead-letter routing key has replaced its routing keys.
    #[must_use]
    pub const fn is_rerouted(self) -> bool {
        self.0 & Self::REROUTED != 0
    }
}

/// A message, borrowed from a receive buffer, a mailbox batch or the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// When it came; set by the shard that takes it from its publisher.
    pub stamp: Stamp,
    /// Name of the exchange it was published to; at most 255 bytes.
    pub exchange: &'a str,
    /// Routing key; at most 255 bytes.
    pub routing_key: &'a str,
    /// Property flags and property list exactly as in the content header frame (after body-size).
    pub properties: &'a [u8],
    /// The body.
    pub body: &'a [u8],
}

/// What queues look at in the properties of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// `delivery-mode` is 2.
    pub persistent: bool,
    /// It has an `expiration`.
    pub expires: bool,
    /// `priority`, 0 if there is none.
    pub priority: u8,
}

impl Traits {
    /// The traits in these properties.
    #[must_use]
    pub fn of(properties: &Properties<'_>) -> Self {
        Self {
            persistent: properties.is_persistent(),
            expires: properties.expiration.is_some(),
            priority: properties.priority.unwrap_or(0),
        }
    }
}

/// The numbers of the stored form, as they stand between its strings.
#[derive(Debug)]
pub struct Lengths {
    stamp: [u8; 8],
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
            stamp: self.stamp.0.to_le_bytes(),
            exchange: short(self.exchange),
            routing_key: short(self.routing_key),
            properties: properties.to_le_bytes(),
        }
    }

    /// The stored form, in pieces.
    #[must_use]
    pub fn parts<'b>(&self, lengths: &'b Lengths) -> [&'b [u8]; 8]
    where
        'a: 'b,
    {
        [
            &lengths.stamp,
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
        14 + self.exchange.len() + self.routing_key.len() + self.properties.len() + self.body.len()
    }

    /// Length of the body of a stored form, in bytes; 0 if `bytes` is not one.
    #[must_use]
    pub fn stored_body_bytes(bytes: &[u8]) -> u32 {
        let body = Message::from_stored(bytes).map_or(0, |message| message.body.len());
        u32::try_from(body).unwrap_or(u32::MAX)
    }

    /// Reads the stored form. `None` if `bytes` is not one.
    #[must_use]
    pub fn from_stored(bytes: &'a [u8]) -> Option<Self> {
        let (stamp, rest) = bytes.split_first_chunk()?;
        let stamp = Stamp(u64::from_le_bytes(*stamp));
        let (exchange, rest) = short_string(rest)?;
        let (routing_key, rest) = short_string(rest)?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (properties, body) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        Some(Self { stamp, exchange, routing_key, properties, body })
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
            stamp in any::<u64>().prop_map(Stamp),
            exchange in "\\PC{0,60}",
            routing_key in "\\PC{0,60}",
            properties in proptest::collection::vec(any::<u8>(), 0..50),
            body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let message = Message { stamp, exchange: &exchange, routing_key: &routing_key, properties: &properties, body: &body };
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

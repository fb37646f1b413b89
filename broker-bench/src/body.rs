//! What a message body says about itself, so that its receiver can judge it.
//!
//! ```text
//!  0       4          6          11            16
//!  | crc32 | producer | sequence | intended us | padding ...
//! ```
//!
//! All integers are big-endian. The checksum covers the padding, then bytes 4 to 16: the padding of a run never changes,
//! so a producer hashes it once. Sequence numbers count the messages of one producer on one route, from 0. The intended send time
//! is the machine's monotonic clock in microseconds, modulo 2^40 (12 days), so that producers and consumers
//! may be different processes on one machine. A body shorter than the stamp is only counted.

use crc32fast::Hasher;

/// The least body that can carry a stamp, in bytes.
pub(crate) const STAMP_BYTES: usize = 16;

const FORTY_BITS: u64 = (1 << 40) - 1;

/// The identity of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) producer: u16,
    /// Less than 2^40.
    pub(crate) sequence: u64,
    /// When the message should have been sent, in microseconds modulo 2^40.
    pub(crate) intended_us: u64,
}

impl Stamp {
    /// The first bytes of a body whose padding has the checksum `padding_crc`.
    pub(crate) fn encode(self, padding_crc: u32) -> [u8; STAMP_BYTES] {
        let mut bytes = [0; STAMP_BYTES];
        bytes[4..6].copy_from_slice(&self.producer.to_be_bytes());
        bytes[6..11].copy_from_slice(&self.sequence.to_be_bytes()[3..]);
        bytes[11..].copy_from_slice(&self.intended_us.to_be_bytes()[3..]);
        let crc = continue_crc(padding_crc, &bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// Reads and checks a whole body; nothing if it is too short or its checksum is wrong.
    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let (stamp, padding) = body.split_first_chunk::<STAMP_BYTES>()?;
        let padding_crc = if padding.is_empty() { 0 } else { crc32fast::hash(padding) };
        let crc = u32::from_be_bytes([stamp[0], stamp[1], stamp[2], stamp[3]]);
        (continue_crc(padding_crc, &stamp[4..]) == crc).then(|| Self {
            producer: u16::from_be_bytes([stamp[4], stamp[5]]),
            sequence: forty_bits([stamp[6], stamp[7], stamp[8], stamp[9], stamp[10]]),
            intended_us: forty_bits([stamp[11], stamp[12], stamp[13], stamp[14], stamp[15]]),
        })
    }

    /// Microseconds from the intended send time to `now_us`; 0 if the clock says it is still to come.
    pub(crate) fn age_us(self, now_us: u64) -> u64 {
        let age = now_us.wrapping_sub(self.intended_us) & FORTY_BITS;
        if age > FORTY_BITS / 2 { 0 } else { age }
    }
}

/// The bytes after the stamp in a body of `size` bytes. Not constant, so that a byte moved within it is noticed.
pub(crate) fn padding(size: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(size.saturating_sub(STAMP_BYTES)).collect()
}

fn continue_crc(crc: u32, bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(crc);
    hasher.update(bytes);
    hasher.finalize()
}

fn forty_bits(bytes: [u8; 5]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(stamp: Stamp, size: usize) -> Vec<u8> {
        let padding = padding(size);
        let mut body = stamp.encode(crc32fast::hash(&padding)).to_vec();
        body.extend_from_slice(&padding);
        body
    }

    #[test]
    fn decode_returns_what_was_encoded_at_every_size() {
        let stamp = Stamp { producer: 65_535, sequence: FORTY_BITS, intended_us: 123_456_789_012 };
        for size in [16, 17, 42, 1024, 100_000] {
            let body = body(stamp, size);
            assert_eq!(body.len(), size);
            assert_eq!(Stamp::decode(&body), Some(stamp));
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let stamp = Stamp { producer: 3, sequence: 77, intended_us: 5 };
        let whole = body(stamp, 40);
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Stamp::decode(&damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn short_bodies_carry_no_stamp() {
        assert_eq!(Stamp::decode(&[0; STAMP_BYTES - 1]), None);
    }

    #[test]
    fn age_survives_the_wrap_of_the_clock() {
        let stamp = Stamp { producer: 0, sequence: 0, intended_us: FORTY_BITS - 4 };
        assert_eq!(stamp.age_us((1 << 40) + 5), 10);
        assert_eq!(stamp.age_us(FORTY_BITS - 10), 0);
    }
}

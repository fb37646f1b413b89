//! Frames: type, channel, size, payload, frame-end (AMQP 0-9-1 section 4.2.3), and the protocol header.

use super::ChannelId;
use super::error::{FrameStart, WireError};

/// Octets of a frame around its payload: type, channel, size and frame-end.
pub const FRAME_OVERHEAD: u32 = 8;

/// Smallest frame_max that peers may agree on, in octets (AMQP 0-9-1 section 4.2.3: frame-min-size).
pub const MIN_FRAME_MAX: u32 = 4096;

/// What a client of this version opens with, and what a client of another version is answered.
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";

/// The header of clients that speak the first form of 0-9, which RabbitMQ takes for 0-9-1 too.
const PROTOCOL_HEADER_0_9: [u8; 8] = *b"AMQP\x01\x01\x00\x09";

pub(super) const FRAME_METHOD: u8 = 1;
pub(super) const FRAME_HEADER: u8 = 2;
pub(super) const FRAME_BODY: u8 = 3;
pub(super) const FRAME_HEARTBEAT: u8 = 8;
pub(super) const FRAME_END: u8 = 206;

/// Octets before the payload.
const HEADER_BYTES: usize = 7;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A method's ids and arguments.
    Method,
    /// A content header: class, body-size, properties.
    Header,
    /// A piece of a body.
    Body,
    /// A sign of life; legal on channel 0 only.
    Heartbeat,
}

impl FrameKind {
    fn octet(self) -> u8 {
        match self {
            Self::Method => FRAME_METHOD,
            Self::Header => FRAME_HEADER,
            Self::Body => FRAME_BODY,
            Self::Heartbeat => FRAME_HEARTBEAT,
        }
    }
}

/// A whole frame, in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it carries.
    pub kind: FrameKind,
    /// The channel it belongs to.
    pub channel: ChannelId,
    /// What is between the frame header and the frame-end.
    pub payload: &'a [u8],
}

/// The frame at the start of `bytes` and the octets that it takes up, or `None` while a part of it is
/// missing. `frame_max` is the negotiated size of a whole frame in octets, at least [`MIN_FRAME_MAX`].
///
/// # Errors
/// The frame is larger than `frame_max`, of an unknown type, or not ended by frame-end. Which of these is
/// told, and when, is as in RabbitMQ: too large as soon as the header is there, the others when all is there.
#[inline]
pub fn next_frame(bytes: &[u8], frame_max: u32) -> Result<Option<(Frame<'_>, usize)>, WireError> {
    let Some((&[kind, c1, c2, s1, s2, s3, s4], rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let channel = ChannelId(u16::from_be_bytes([c1, c2]));
    let size = u32::from_be_bytes([s1, s2, s3, s4]);
    // A payload of frame_max octets is 8 too many. RabbitMQ lets clients get away with it, so some do it.
    if size > frame_max {
        let limit = frame_max.saturating_sub(FRAME_OVERHEAD);
        return Err(WireError::FrameTooLarge { frame: FrameStart::new(kind, channel, rest), size, limit });
    }
    let Some((payload, [end, ..])) = rest.split_at_checked(size as usize) else {
        return Ok(None);
    };
    if *end != FRAME_END {
        return Err(WireError::FrameEnd { frame: FrameStart::new(kind, channel, payload), octet: *end });
    }
    let kind = match kind {
        FRAME_METHOD => FrameKind::Method,
        FRAME_HEADER => FrameKind::Header,
        FRAME_BODY => FrameKind::Body,
        FRAME_HEARTBEAT => FrameKind::Heartbeat,
        _ => {
            return Err(WireError::FrameType { frame: FrameStart::new(kind, channel, payload) });
        }
    };
    Ok(Some((Frame { kind, channel, payload }, size as usize + FRAME_OVERHEAD as usize)))
}

/// The error for a frame that is sound but out of place: content where a method is expected, a method inside
/// content, a heartbeat on a channel (505).
#[must_use]
pub fn unexpected_frame(frame: &Frame<'_>) -> WireError {
    WireError::UnexpectedFrame { frame: FrameStart::new(frame.kind.octet(), frame.channel, frame.payload) }
}

/// What the first octets of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolHeader {
    /// Fewer octets than a protocol header, all of them fitting so far.
    NeedMore,
    /// A protocol header that this server speaks, [`PROTOCOL_HEADER`]`.len()` octets long.
    Supported,
    /// Anything else: answer [`PROTOCOL_HEADER`] and close.
    Unsupported,
}

/// Looks at the first octets of a connection.
///
/// A wrong start is refused at its first wrong octet: a client of another protocol may wait for us to speak.
#[must_use]
pub fn protocol_header(bytes: &[u8]) -> ProtocolHeader {
    let fits = |header: &[u8; 8]| header.iter().zip(bytes).all(|(expected, got)| expected == got);
    if !fits(&PROTOCOL_HEADER) && !fits(&PROTOCOL_HEADER_0_9) {
        ProtocolHeader::Unsupported
    } else if bytes.len() < PROTOCOL_HEADER.len() {
        ProtocolHeader::NeedMore
    } else {
        ProtocolHeader::Supported
    }
}

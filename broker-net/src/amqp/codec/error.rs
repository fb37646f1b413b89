//! What can be wrong with received bytes, and the reply code and text that the peer is told.

use std::fmt;

use broker_core::error::{ConnectionCode, ConnectionError};

use super::ChannelId;

/// A class-id and a method-id, as in `connection.close` and `channel.close`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MethodId {
    /// The class.
    pub class_id: u16,
    /// The method in its class.
    pub method_id: u16,
}

impl MethodId {
    /// A method's name as numbers.
    #[must_use]
    pub const fn new(class_id: u16, method_id: u16) -> Self {
        Self { class_id, method_id }
    }

    /// The ids at the start of a method frame's payload; `None` if it is too short to hold them. They need
    /// not belong to any method.
    #[must_use]
    pub fn of(payload: &[u8]) -> Option<Self> {
        let (&[c1, c2, m1, m2], _) = payload.split_first_chunk()?;
        Some(Self::new(u16::from_be_bytes([c1, c2]), u16::from_be_bytes([m1, m2])))
    }
}

/// Bytes that are not AMQP 0-9-1. Every one of these ends the connection; after the first three the place
/// where the next frame starts is unknown, so nothing more may be read.
///
/// Offsets count from the start of the frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// A frame header announces more payload than `limit` bytes.
    FrameTooLarge {
        /// The frame.
        frame: FrameStart,
        /// Octets of payload that were announced.
        size: u32,
        /// Octets of payload allowed.
        limit: u32,
    },
    /// The octet after the payload is not frame-end (206).
    FrameEnd {
        /// The frame.
        frame: FrameStart,
        /// What is there instead.
        octet: u8,
    },
    /// A frame of no known type.
    FrameType {
        /// The frame.
        frame: FrameStart,
    },
    /// A whole and well-formed frame that does not belong here (see [`unexpected_frame`]).
    ///
    /// [`unexpected_frame`]: super::unexpected_frame
    UnexpectedFrame {
        /// The frame.
        frame: FrameStart,
    },
    /// No method has these ids.
    UnknownMethod {
        /// The ids.
        id: MethodId,
    },
    /// A field reaches beyond the end of what holds it.
    Truncated {
        /// Where the field starts.
        offset: usize,
        /// Octets that it needs.
        need: usize,
        /// Octets that are there.
        have: usize,
    },
    /// Octets are left over after the last field.
    TrailingBytes {
        /// Where they start.
        offset: usize,
        /// How many there are.
        have: usize,
    },
    /// A field has a value that its type does not allow, such as an unknown letter for a field type.
    BadField {
        /// Where the field starts.
        offset: usize,
    },
    /// Tables and arrays nest deeper than [`MAX_TABLE_DEPTH`](super::MAX_TABLE_DEPTH).
    TableTooDeep {
        /// Where the table starts that is one too many.
        offset: usize,
    },
    /// A name or other short string is not UTF-8.
    NotUtf8 {
        /// Where the string starts.
        offset: usize,
    },
}

impl WireError {
    /// The exception that closes the connection, with RabbitMQ's text where it has one.
    #[must_use]
    pub fn to_connection_error(&self) -> ConnectionError {
        let code = match self {
            Self::UnknownMethod { .. } => ConnectionCode::CommandInvalid,
            Self::UnexpectedFrame { .. } => ConnectionCode::UnexpectedFrame,
            Self::NotUtf8 { .. } => ConnectionCode::SyntaxError,
            _ => ConnectionCode::FrameError,
        };
        code.error(self.to_string())
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FrameTooLarge { frame, size, limit } => {
                write!(f, "{frame}: {{frame_too_large,{size},{limit}}}")
            }
            Self::FrameEnd { frame, octet } => write!(f, "{frame}: {{invalid_frame_end_marker,{octet}}}"),
            Self::FrameType { frame } => write!(f, "{frame}: unknown_frame"),
            Self::UnexpectedFrame { frame } => frame.fmt(f),
            Self::UnknownMethod { .. } => f.write_str("unimplemented method"),
            Self::Truncated { offset, need, have } => {
                write!(f, "cannot decode field at offset {offset}: {need} octets needed, {have} there")
            }
            Self::TrailingBytes { offset, have } => {
                write!(f, "cannot decode: {have} octets left over at offset {offset}")
            }
            Self::BadField { offset } => write!(f, "cannot decode field at offset {offset}"),
            Self::TableTooDeep { offset } => {
                write!(f, "cannot decode table at offset {offset}: nested too deep")
            }
            Self::NotUtf8 { offset } => write!(f, "string at offset {offset} is not UTF-8"),
        }
    }
}

impl std::error::Error for WireError {}

/// Octets of a payload that a text shows.
const SNIPPET_BYTES: usize = 16;

/// A frame's header and the first octets of its payload, for texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameStart {
    /// The frame's type octet.
    pub kind: u8,
    /// The frame's channel.
    pub channel: ChannelId,
    snippet: [u8; SNIPPET_BYTES],
    payload_bytes: usize,
}

impl FrameStart {
    pub(super) fn new(kind: u8, channel: ChannelId, payload: &[u8]) -> Self {
        let mut snippet = [0; SNIPPET_BYTES];
        for (to, from) in snippet.iter_mut().zip(payload) {
            *to = *from;
        }
        Self { kind, channel, snippet, payload_bytes: payload.len() }
    }
}

/// As RabbitMQ shows a frame: `type 1, first 16 octets = <<1,2,3>>`.
impl fmt::Display for FrameStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let which = if self.payload_bytes <= SNIPPET_BYTES { "all" } else { "first 16" };
        write!(f, "type {}, {which} octets = ", self.kind)?;
        let shown = self.snippet.iter().take(self.payload_bytes);
        if self.payload_bytes > 0 && shown.clone().all(|octet| matches!(octet, b' '..=b'~')) {
            f.write_str("<<\"")?;
            for octet in shown {
                if matches!(octet, b'"' | b'\\') {
                    f.write_str("\\")?;
                }
                write!(f, "{}", char::from(*octet))?;
            }
            return f.write_str("\">>");
        }
        f.write_str("<<")?;
        for (index, octet) in shown.enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{octet}")?;
        }
        f.write_str(">>")
    }
}

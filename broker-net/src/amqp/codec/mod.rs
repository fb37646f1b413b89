//! The AMQP 0-9-1 codec: bytes to frames, methods and content headers, and back. Pure: no I/O, no state.
//!
//! Reading borrows from the receive buffer. [`next_frame`] finds a frame in place; [`Method::parse`] and
//! [`ContentHeader::parse`] look into its payload. The methods of the hot path
//! (publish, ack, nack, reject) are read by hand and allocate nothing; all others go through `amq-protocol`.
//! Writing appends whole frames to a `Vec<u8>`, which grows at most once per message.
//!
//! Anything that a peer can send is answered with a value or a [`WireError`], never with a panic.

#![warn(clippy::indexing_slicing)]

mod content;
mod error;
mod field_table;
mod fields;
mod frame;
mod method;
#[expect(clippy::indexing_slicing, reason = "writes at offsets of its own making")]
mod writer;

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic is a failed test")]
mod tests;

pub use content::ContentHeader;
pub use error::{FrameStart, MethodId, WireError};
pub use field_table::MAX_TABLE_DEPTH;
pub use frame::{
    FRAME_OVERHEAD, Frame, FrameKind, MIN_FRAME_MAX, PROTOCOL_HEADER, ProtocolHeader, next_frame, protocol_header,
    unexpected_frame,
};
pub use method::{Ack, Method, Nack, Publish, Reject};
pub use writer::{
    DeliverPrefix, reply_text, write_ack, write_deliver, write_get_ok, write_heartbeat, write_method, write_nack,
    write_return,
};

/// A channel's number on its connection; 0 is the connection itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(pub u16);

/// Names a delivery on its channel: 1, 2, 3 and so on. 0 with `multiple` means "all so far".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryTag(pub u64);

/// Class-id of `basic`, the only class with content.
pub const BASIC_CLASS_ID: u16 = 60;

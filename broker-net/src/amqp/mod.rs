//! AMQP 0-9-1 without I/O: the codec, and the machines of connections and channels.
//!
//! A [`Connection`] is the input half: it takes bytes from the socket, calls the shard and writes what it has to
//! say itself. [`Outputs`] holds the output halves of all connections of a shard: the shard's answers and
//! deliveries are encoded there. Both take the time as milliseconds and never wait.

pub mod codec;

mod census;
mod channel;
mod config;
mod connection;
mod names;
mod node;
mod outputs;
#[cfg(test)]
mod tests;

pub use census::Census;
pub use config::{CertLogin, Config, MIN_FRAME_MAX, Mechanism, SanType};
pub use connection::{Connection, Input, InputState, Peer};
pub use node::Node;
pub use outputs::Outputs;

/// Limits of one connection, each with what happens when it is reached.
pub(crate) mod limits {
    /// Bytes waiting to be written to the socket. Beyond it the connection is not read (deliveries are limited
    /// by their consumers' windows instead).
    pub(crate) const OUTPUT_BYTES: usize = 1024 * 1024;

    /// Bytes waiting to be written to the socket of a connection that consumes direct replies. Beyond it replies are lost, as
    /// they are when the connection is gone.
    pub(crate) const REPLY_BYTES: usize = 64 * 1024 * 1024;

    /// Commands submitted without a reply. Beyond it the connection is not read.
    pub(crate) const PIPELINED_REQUESTS: usize = 1024;

    /// Bytes of the messages in one transaction. Beyond it the channel is closed with 406.
    pub(crate) const TRANSACTION_BYTES: usize = 64 * 1024 * 1024;

    /// Bytes of a frame that are written before tuning. `connection.start` has less than a tenth of it.
    pub(crate) const INITIAL_FRAME_MAX: u32 = 8192;

    /// How long a client may take to answer `connection.close`, in milliseconds.
    pub(crate) const CLOSE_MS: u64 = 10_000;

    /// How long a refused client is kept waiting, in milliseconds, so that it cannot try many passwords.
    pub(crate) const REFUSED_LINGER_MS: u64 = 3000;

    /// How long the socket of a client that was told to go is still read, in milliseconds, so that the client
    /// can read why.
    pub(crate) const CLOSED_LINGER_MS: u64 = 1000;

    /// Buffers kept for reuse by a shard, and the largest of them in bytes. Others are freed.
    pub(crate) const POOLED_BUFFERS: usize = 64;
    pub(crate) const POOLED_BUFFER_BYTES: usize = 512 * 1024;

    /// Bytes that a channel keeps for collecting the content of messages between two of them.
    pub(crate) const KEPT_CONTENT_BYTES: usize = 4096;
}

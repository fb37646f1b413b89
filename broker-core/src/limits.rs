//! Every limit of the broker core, with what happens when it is reached.

/// Bytes (bodies and properties plus [`DELIVERY_OVERHEAD_BYTES`] each) that may be on their way from a queue
/// to a consumer's socket. At the limit the queue stops delivering to that consumer until its connection has
/// written some. A message larger than the window is sent alone.
pub const CONSUMER_WINDOW_BYTES: u32 = 256 * 1024;

/// The room of a channel without a limit of its own, in messages: more than are ever delivered.
pub const UNLIMITED_ROOM: i64 = i64::MAX / 2;

/// What a delivery takes of the window beyond its body and properties.
pub const DELIVERY_OVERHEAD_BYTES: u32 = 128;

/// Largest body accepted, in bytes; a record of the log must fit in a segment. RabbitMQ 3 accepted 128 MiB and RabbitMQ 4
/// accepts 16 MiB; clients' own tests send 20 MiB. A larger one closes its channel with 406 after it has been read.
pub const MAX_MESSAGE_BYTES: u64 = 32 * 1024 * 1024;

/// The most that [`MAX_MESSAGE_BYTES`] may be configured to, in bytes: a record of a segment of 64 MiB, with room for its
/// properties and the queues it goes to.
pub const LARGEST_MESSAGE_BYTES: u64 = 48 * 1024 * 1024;

/// Largest body-size that a content header may announce, in bytes; beyond it the connection ends with 501.
pub const MAX_BODY_SIZE_BYTES: u64 = 512 * 1024 * 1024;

/// Bytes that may wait in the batch for another shard. Beyond it connections that publish are not read.
pub const MAILBOX_BYTES: usize = 4 * 1024 * 1024;

/// Bytes staged for the log of a partition and not yet handed to the disk. Beyond it connections that publish are not read.
pub const STAGED_BYTES: usize = 8 * 1024 * 1024;

/// Bytes of bodies and properties that an administrator may get from a queue at a time. The message that reaches it is the last.
pub const ADMIN_GET_BYTES: usize = 32 * 1024 * 1024;

/// Bytes of the longest name of a queue, exchange, user or virtual host (a short string).
pub const MAX_NAME_BYTES: usize = 255;

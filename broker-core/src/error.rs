//! Reply codes and the two kinds of AMQP exception: those that close a channel and those that close the
//! connection (AMQP 0-9-1 section 1.2, reply-code domain; texts as RabbitMQ writes them).

use std::fmt;

macro_rules! reply_codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $code:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> u16 {
                match self { $(Self::$variant => $code,)* }
            }

            /// The name that opens the reply text.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

reply_codes! {
    /// Soft errors: the channel is closed, the connection lives.
    ChannelCode {
        /// The message is larger than the server accepts.
        ContentTooLarge = 311, "CONTENT_TOO_LARGE";
        /// A mandatory message could not be routed (also the code of `basic.return`).
        NoRoute = 312, "NO_ROUTE";
        /// An immediate message found no consumer.
        NoConsumers = 313, "NO_CONSUMERS";
        /// No permission, or a reserved name.
        AccessRefused = 403, "ACCESS_REFUSED";
        /// The named queue or exchange does not exist.
        NotFound = 404, "NOT_FOUND";
        /// The queue is exclusive to another connection.
        ResourceLocked = 405, "RESOURCE_LOCKED";
        /// An argument does not fit what exists, or a precondition does not hold.
        PreconditionFailed = 406, "PRECONDITION_FAILED";
    }
}

reply_codes! {
    /// Hard errors: the connection is closed.
    ConnectionCode {
        /// The server closes the connection for its own reasons (shutdown, administrator).
        ConnectionForced = 320, "CONNECTION_FORCED";
        /// Unknown virtual host path (kept for completeness; RabbitMQ answers 530).
        InvalidPath = 402, "INVALID_PATH";
        /// Authentication failed.
        AccessRefused = 403, "ACCESS_REFUSED";
        /// The frame cannot be decoded.
        FrameError = 501, "FRAME_ERROR";
        /// A field of the method is malformed.
        SyntaxError = 502, "SYNTAX_ERROR";
        /// The method makes no sense here.
        CommandInvalid = 503, "COMMAND_INVALID";
        /// The channel is not open, or open already.
        ChannelError = 504, "CHANNEL_ERROR";
        /// A frame that does not fit the content being received.
        UnexpectedFrame = 505, "UNEXPECTED_FRAME";
        /// A limit of the server is reached.
        ResourceError = 506, "RESOURCE_ERROR";
        /// Forbidden by rule or by a limit.
        NotAllowed = 530, "NOT_ALLOWED";
        /// Known but not done by this server.
        NotImplemented = 540, "NOT_IMPLEMENTED";
        /// The server failed.
        InternalError = 541, "INTERNAL_ERROR";
    }
}

/// Closes the channel. The text on the wire is `NAME - explanation`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelError {
    /// The reply code.
    pub code: ChannelCode,
    /// What follows `NAME - `.
    pub explanation: String,
}

/// Closes the connection. The text on the wire is `NAME - explanation`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionError {
    /// The reply code.
    pub code: ConnectionCode,
    /// What follows `NAME - `.
    pub explanation: String,
}

/// Either kind of exception, as a method's execution may raise both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AmqpError {
    /// Closes the channel.
    Channel(ChannelError),
    /// Closes the connection.
    Connection(ConnectionError),
}

impl ChannelCode {
    /// An error with this code.
    pub fn error(self, explanation: impl Into<String>) -> ChannelError {
        ChannelError { code: self, explanation: explanation.into() }
    }
}

impl ConnectionCode {
    /// An error with this code.
    pub fn error(self, explanation: impl Into<String>) -> ConnectionError {
        ConnectionError { code: self, explanation: explanation.into() }
    }
}

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} - {}", self.code.name(), self.explanation)
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} - {}", self.code.name(), self.explanation)
    }
}

impl fmt::Display for AmqpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel(error) => error.fmt(f),
            Self::Connection(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ChannelError {}
impl std::error::Error for ConnectionError {}
impl std::error::Error for AmqpError {}

impl From<ChannelError> for AmqpError {
    fn from(error: ChannelError) -> Self {
        Self::Channel(error)
    }
}

impl From<ConnectionError> for AmqpError {
    fn from(error: ConnectionError) -> Self {
        Self::Connection(error)
    }
}

//! Pure state machines of the AMQP model. Nothing in here reads a clock, a socket or a file.

pub mod arguments;
pub mod binding;
pub mod consume_arguments;
pub mod exchange;
pub mod field_table;
pub mod headers;
pub mod message;
pub mod permission;
pub mod properties;
pub mod queue;
pub mod routing;
pub mod stream;
pub mod user;
pub mod vhost;

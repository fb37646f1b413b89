//! Pure state machines of the AMQP model. Nothing in here reads a clock, a socket or a file.

pub mod arguments;
pub mod binding;
pub mod consume_arguments;
pub mod dead_letter;
pub mod deduplication;
pub mod exchange;
pub mod field_table;
pub mod headers;
pub mod limits;
pub mod message;
pub mod parameter;
pub mod pattern;
pub mod permission;
pub mod policy;
pub mod policy_settings;
pub mod properties;
pub mod queue;
pub mod reply_to;
pub mod routing;
pub mod stream;
pub mod user;
pub mod vhost;

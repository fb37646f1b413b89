//! Pure state machines of the AMQP model. Nothing in here reads a clock, a socket or a file.

pub mod message;

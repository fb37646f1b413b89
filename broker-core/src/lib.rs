//! The AMQP 0-9-1 model and the shards of the RingMQ broker.
//!
//! [`model`] holds pure state machines (exchanges, bindings, routing, queues, permissions): no clock, no
//! socket, no file. [`shard`] joins them into one shard's state and drives it on an executor. The wire
//! protocol lives in `broker-net`, which talks to a shard through [`session`].
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod admin;
pub mod error;
pub mod ids;
pub mod limits;
pub mod model;
pub mod secret;
pub mod session;
pub mod shard;

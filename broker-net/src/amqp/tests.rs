//! Scenarios: clients' bytes against the machines and a real shard, without sockets.

mod channel;
mod client;
mod connection;
mod consume;
mod publish;

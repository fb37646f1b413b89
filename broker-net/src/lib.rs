//! The AMQP 0-9-1 wire protocol, sockets and metrics of the RingMQ broker.

pub mod adjust;
mod alarm;
pub mod amqp;
mod broker;
pub mod config;
pub mod ctl;
pub mod http;
mod listeners;
pub mod logging;
pub mod logins;
pub mod metrics;
mod notify;
pub mod server;
pub mod startup;
mod tls;
mod transport;

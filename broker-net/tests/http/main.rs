//! The management API as tools see it: the real process, spoken to over HTTP. One file per resource.
//!
//! Texts and status codes are those that RabbitMQ 4.0.5 answers to the same requests.
#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

mod access;
mod binding;
mod certificate;
mod connection;
mod ctl;
mod ctl_recorded;
mod definitions;
mod harness;
mod health;
mod listing;
mod message;
mod metrics;
mod monitoring;
mod page;
mod policy;
mod queue;
mod refusal;
mod stats;
mod user;
mod vhost;

//! The broker as clients see it: the real process, spoken to by lapin and by raw frames.
//!
//! One file per AMQP class, and one for what survives a crash. Each test has a broker of its own. With
//! `RINGMQ_TEST_BROKER=ADDR:PORT` in the environment they run against a broker that is already there, which is
//! how the tests themselves are checked; `durability` and what else needs its own process is then left out.
#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

mod admin_limits;
mod alarm;
mod basic;
mod cc_bcc;
mod channel;
mod config;
mod confirm;
mod connection;
mod connection_limits;
mod consumer_priority;
mod consumer_timeout;
mod dead_letter;
mod deduplication;
mod delayed;
mod delayed_admin;
mod delayed_retry;
mod durability;
mod exchange;
mod harness;
mod hash_exchange;
mod jms_topic;
mod login;
mod moving;
mod notify;
mod pause;
mod permission;
mod policy;
mod priority;
mod queue;
mod queue_limits;
mod queue_ttl;
mod quorum;
mod recent_history;
mod reload;
mod reply_to;
mod sasl;
mod single_active;
mod stream;
mod tls;
mod tx;

//! The load generator of the RingMQ broker: a client of its own, independent of the broker's code.
//!
//! One thread runs all connections, so that one core can saturate a broker. What it receives it verifies: every message carries
//! producer, sequence number, intended send time and checksum ([`Load::size`] permitting).
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod body;
mod client;
mod consumer;
mod engine;
mod link;
mod load;
mod metrics;
mod options;
mod pace;
mod process;
mod producer;
mod report;
mod run;
mod scenario;
mod score;
mod verify;
mod wire;

pub use load::Load;
pub use options::Options;
pub use process::ProcessUse;
pub use report::{Interval, Observer, Report};
pub use run::run;
pub use scenario::{SCENARIOS, Scenario};
pub use score::Percentiles;

//! Storage of the RingMQ broker: the segmented log of one partition and the catalog of definitions.
//!
//! [`Log`] is a machine without input and output. Its owner calls it from one thread, in this order:
//!
//! - commands ([`Log::append`], [`Log::ack`], [`Log::page_in`], ...) and getters ([`Log::read`], [`Log::durable`]) at any time;
//! - [`Log::poll_io`] until it gives nothing: each [`IoOp`] is carried out by [`perform`], concurrently with the others, and
//!   its [`IoDone`] handed to [`Log::handle_io`];
//! - [`Log::poll_event`] until it gives nothing, after any of these, before any other command;
//! - [`Log::tick`] about every 5 ms while [`Log::wants_tick`].
//!
//! [`Fs`] is the seam to the disk. The [`Catalog`] and the [`DataDir`] block and belong on another thread.
#![warn(missing_docs)]

mod attempts;
mod catalog;
mod data_dir;
mod dead;
pub mod doorbell;
mod error;
pub mod fs;
mod ids;
mod log;
mod map;
mod queues;
mod segment;
mod window;

pub use attempts::Attempt;
pub use catalog::{Catalog, Change};
pub use data_dir::DataDir;
pub use error::StoreError;
pub use fs::Fs;
pub use ids::{Lsn, PartitionId, Position, QueueId, SegmentId, Seq};
pub use log::{
    Appended, Entry, Group, IoDone, IoOp, Load, Log, LogEvent, LogFigures, LogKind, LogOptions, Recovered,
    RecoveredQueue, Run, Written, perform, recover,
};
pub use map::Mapping;

//! Tests of the store through its public interface.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;
mod scenarios;
mod simulation;
mod uring;

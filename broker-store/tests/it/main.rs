//! Tests of the store through its public interface.

mod harness;
mod scenarios;
mod simulation;
mod uring;

//! The bare relay of the tests as a process: what the generator can do at most, and what sockets alone cost a broker.
//!
//! `cargo run --release -p broker-bench --example relay -- 127.0.0.1:5679`

#[path = "../tests/relay/mod.rs"]
#[expect(clippy::unwrap_used, dead_code, reason = "made for tests, which use the rest")]
mod relay;

use std::net::TcpListener;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let address = std::env::args().nth(1).context("an address is missing")?;
    relay::serve(TcpListener::bind(address)?, relay::Fault::None);
    Ok(())
}

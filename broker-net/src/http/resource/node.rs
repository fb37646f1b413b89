//! `/api/nodes`: this process.

use std::sync::Arc;

use axum::extract::{Path, State};
use serde::Serialize;

use super::overview::{self, Context, ExchangeType};
use crate::http::api::Api;
use crate::http::caller::Caller;
use crate::http::error::{ApiError, ApiResult};
use crate::http::listing::{Listing, Row};
use crate::metrics::{Process, total};

#[derive(Serialize)]
struct Node<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    running: bool,
    being_drained: bool,
    os_pid: String,
    uptime: u64,
    processors: usize,
    rates_mode: &'static str,
    mem_used: u64,
    mem_alarm: bool,
    mem_limit: u64,
    disk_free: u64,
    disk_free_alarm: bool,
    fd_used: u64,
    fd_total: u64,
    sockets_used: u64,
    partitions: [(); 0],
    exchange_types: Vec<ExchangeType>,
    auth_mechanisms: Vec<Mechanism>,
    applications: [Application; 1],
    contexts: Vec<Context<'a>>,
    enabled_plugins: [&'static str; 0],
    db_dir: String,
    config_files: [&'static str; 0],
    log_files: [&'static str; 1],
}

#[derive(Serialize)]
struct Mechanism {
    name: &'static str,
    description: &'static str,
    enabled: bool,
}

#[derive(Serialize)]
struct Application {
    name: &'static str,
    description: &'static str,
    version: &'static str,
}

impl Row for Node<'_> {
    fn name(&self) -> &str {
        self.name
    }
}

async fn node(api: &Api) -> ApiResult<Node<'_>> {
    let stats = total(&api.admin.stats().await?);
    let process = Process::read(&api.data_dir, api.started);
    let mechanism = |name, description| Mechanism { name, description, enabled: true };
    Ok(Node {
        name: &api.identity.node,
        kind: "disc",
        running: true,
        being_drained: false,
        os_pid: std::process::id().to_string(),
        uptime: overview::uptime_ms(api),
        processors: api.admin.shards(),
        rates_mode: "basic",
        mem_used: process.resident_bytes,
        mem_alarm: stats.memory_alarm > 0,
        mem_limit: process.memory_limit_bytes,
        disk_free: process.disk_available_bytes,
        disk_free_alarm: stats.disk_alarm + stats.log_poisoned > 0,
        fd_used: process.open_files,
        fd_total: process.max_files,
        sockets_used: stats.connections,
        partitions: [],
        exchange_types: overview::exchange_types(),
        auth_mechanisms: vec![
            mechanism("PLAIN", "SASL PLAIN authentication mechanism"),
            mechanism("AMQPLAIN", "QPid AMQPLAIN mechanism"),
        ],
        applications: [Application { name: "ringmq", description: "RingMQ", version: env!("CARGO_PKG_VERSION") }],
        contexts: overview::contexts(api),
        enabled_plugins: [],
        db_dir: api.data_dir.display().to_string(),
        config_files: [],
        log_files: ["<stderr>"],
    })
}

pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller, listing: Listing) -> ApiResult {
    caller.require_monitor()?;
    listing.reply_all(vec![node(&api).await?], |node| node)
}

pub(super) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    listing: Listing,
) -> ApiResult {
    caller.require_monitor()?;
    if name != api.identity.node {
        return Err(ApiError::not_found());
    }
    listing.reply_one(&node(&api).await?)
}

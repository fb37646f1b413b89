//! `/api/nodes`: this process.

use std::sync::{Arc, MutexGuard};

use axum::extract::{Path, State};
use broker_core::shard::stats::ShardStats;
use serde::Serialize;

use super::overview::{self, Context, ExchangeType};
use crate::http::api::Api;
use crate::http::caller::Caller;
use crate::http::error::{ApiError, ApiResult};
use crate::http::listing::{Listing, Row};
use crate::http::rates::{Counts, Name, Numbers, Object, Rates, names};
use crate::metrics::{Process, total};

/// Figures of the process, with their rates. `proc_used` counts threads, where RabbitMQ counts Erlang's processes.
const FIGURES: [Name; 8] = names![
    "mem_used",
    "disk_free",
    "fd_used",
    "sockets_used",
    "proc_used",
    "io_write_count",
    "io_write_bytes",
    "io_sync_count",
];

/// What the rates of the process are taken from.
pub(in crate::http) fn node_numbers(process: &Process, stats: &ShardStats) -> [u64; FIGURES.len()] {
    [
        process.resident_bytes,
        process.disk_available_bytes,
        process.open_files,
        stats.connections,
        process.threads,
        stats.log_writes,
        stats.log_written_bytes,
        stats.log_syncs,
    ]
}

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
    mem_alarm: bool,
    mem_limit: u64,
    mem_calculation_strategy: &'static str,
    disk_free_limit: u64,
    disk_free_alarm: bool,
    fd_total: u64,
    sockets_total: u64,
    proc_total: u64,
    run_queue: u64,
    #[serde(flatten)]
    figures: Counts<'a, { FIGURES.len() }>,
    #[serde(flatten)]
    churn: Numbers,
    io_sync_avg_time: f64,
    partitions: [(); 0],
    cluster_links: [(); 0],
    exchange_types: Vec<ExchangeType>,
    auth_mechanisms: Vec<Mechanism>,
    applications: [Application; 1],
    contexts: Vec<Context<'a>>,
    enabled_plugins: [&'static str; 0],
    db_dir: String,
    config_files: Vec<String>,
    log_files: Vec<String>,
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

fn node<'a>(api: &'a Api, looked: &'a Looked<'a>, listing: &Listing) -> Node<'a> {
    let Looked { process, stats, rates } = looked;
    let thresholds = api.thresholds.get();
    let mechanism = |name, description| Mechanism { name, description, enabled: true };
    let (values, seen) = (node_numbers(process, stats), rates.of(&Object::Node));
    Node {
        name: &api.identity.node,
        kind: "disc",
        running: true,
        being_drained: false,
        os_pid: std::process::id().to_string(),
        uptime: overview::uptime_ms(api),
        processors: api.admin.shards(),
        rates_mode: "basic",
        mem_alarm: stats.memory_alarm > 0,
        mem_limit: thresholds.memory,
        mem_calculation_strategy: "rss",
        disk_free_limit: thresholds.disk,
        disk_free_alarm: stats.disk_alarm + stats.log_poisoned > 0,
        fd_total: process.max_files,
        sockets_total: process.max_files,
        proc_total: process.max_threads,
        run_queue: 0,
        figures: Counts { names: &FIGURES, values, seen, first: 0, range: listing.stats.node },
        churn: overview::numbers(rates, stats, &overview::CHURN_RATES, listing.stats.rates),
        io_sync_avg_time: milliseconds(stats.sync_latencies.sum, stats.log_syncs),
        cluster_links: [],
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
        config_files: api.config_file.iter().map(|file| file.display().to_string()).collect(),
        log_files: api.log.names(),
    }
}

/// What an answer is made of.
struct Looked<'a> {
    process: Process,
    stats: ShardStats,
    rates: MutexGuard<'a, Rates>,
}

impl<'a> Looked<'a> {
    async fn new(api: &'a Api) -> ApiResult<Self> {
        let stats = total(&api.admin.stats().await?);
        Ok(Self { process: Process::read(&api.data_dir, api.started), stats, rates: api.rates()? })
    }
}

/// How long one of `times` took, in milliseconds.
#[expect(clippy::cast_precision_loss, reason = "an average is a float")]
fn milliseconds(micros: u64, times: u64) -> f64 {
    if times == 0 { 0.0 } else { micros as f64 / times as f64 / 1000.0 }
}

pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller, listing: Listing) -> ApiResult {
    caller.require_monitor()?;
    let looked = Looked::new(&api).await?;
    listing.reply_all(vec![node(&api, &looked, &listing)], |node| node)
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
    let looked = Looked::new(&api).await?;
    listing.reply_one(&node(&api, &looked, &listing))
}

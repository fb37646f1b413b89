//! The HTTP side of the broker, on a thread and a runtime of its own: a slow scrape slows no queue.
//!
//! Two servers: Prometheus' metrics, for everybody, and the management API, whose paths, fields, texts and status codes are
//! RabbitMQ's. What a handler needs to know it asks the shards, by message.
//!
//! | file | what |
//! | --- | --- |
//! | `resource/` | the paths of the API, one file per resource |
//! | `caller` | authentication, and who may do what |
//! | `answer` | what is done with every answer |
//! | `audit` | who changed what, for the log |
//! | `listing`, `body`, `table`, `reply`, `error` | pages, sorting and columns; requests; AMQP's types in JSON; answers |
//! | `rates`, `sampler` | rates from counters, and who looks at them |
//! | `date` | dates as RabbitMQ writes them |
//! | `pick` | the field that a list is sorted by |
//! | `directory` | the names of queues, for pages of them |
//! | `load` | definitions at start |
//! | `scrape` | the metrics |
//! | `listener` | a bounded number of connections |
//! | `page` | the web interface, whose files are in `broker-net/page/` |

mod answer;
mod api;
mod audit;
mod body;
mod caller;
mod date;
mod defined;
mod directory;
mod error;
mod listener;
mod listing;
mod load;
mod page;
mod pick;
mod rates;
mod reply;
mod resource;
mod sampler;
mod scrape;
pub(crate) mod table;

use std::future::IntoFuture as _;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use axum::routing::get;
use broker_core::admin::Admin;
use tokio::task::JoinSet;

use crate::adjust::Adjustable;
use crate::amqp::Node;
use crate::logging::Places;
use crate::metrics::{Identity, Metrics};
use crate::tls::Acceptor;
use api::Api;
pub use api::Listening;
pub(crate) use api::Secured;
use directory::Directory;
use listener::{LimitedListener, Peer};
pub use load::{LoadError, load};
use rates::Rates;
use scrape::Scraped;

/// Connections that each port of the metrics has open at the same time; more wait in the listener's backlog.
pub const MAX_SCRAPERS: usize = 64;

/// What the servers are about.
#[derive(Debug)]
pub struct Management {
    /// The way to the shards.
    pub admin: Admin,
    /// What the broker is called.
    pub identity: Identity,
    /// Where its data are.
    pub data_dir: PathBuf,
    /// All its ports.
    pub listeners: Vec<Listening>,
    /// Connections that each port of the API has open at the same time; more wait in the listener's backlog.
    pub connection_max: usize,
    /// Who may log in from where, and who tried to.
    pub node: Arc<Node>,
    /// The type of queues where neither a declare nor the virtual host says one.
    pub default_queue_type: &'static str,
    /// What administrators may change while the broker runs.
    pub adjustable: Arc<Adjustable>,
    /// The configuration file, if there is one.
    pub config_file: Option<PathBuf>,
    /// Where the log goes.
    pub log: Places,
    /// The listeners that speak TLS.
    pub(crate) secured: Vec<Secured>,
}

/// A port of one of the servers.
#[derive(Debug)]
pub(crate) struct HttpPort {
    /// The port.
    pub(crate) listener: TcpListener,
    /// Certificates, if HTTPS is spoken there.
    pub(crate) acceptor: Option<Acceptor>,
}

/// Niceness of the thread: where the shards want a CPU whole, it gets about a thirtieth, and a shard that has something to do
/// goes first. What it takes from CPUs that have time to spare is not limited.
const NICENESS: i32 = 15;

/// Serves the metrics and the management API until the process ends. Requests are served one after the other:
/// putting a large answer together holds the thread up, and only this one.
pub(crate) fn serve(
    metrics: (Vec<HttpPort>, Metrics),
    api: Vec<HttpPort>,
    management: Management,
) -> io::Result<()> {
    let (metrics_listeners, metrics) = metrics;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serve = async move {
        let scraped = Arc::new(Scraped { metrics, admin: management.admin.clone() });
        let metrics = Router::new()
            .route("/metrics", get(scrape::aggregated))
            .route("/metrics/per-object", get(scrape::per_object))
            .route("/metrics/detailed", get(scrape::detailed))
            .with_state(scraped);
        let metrics = serve_router(metrics_listeners, metrics, MAX_SCRAPERS);
        let connection_max = management.connection_max;
        let state = Arc::new(new_api(management));
        tokio::spawn(sampler::run(Arc::clone(&state)));
        let routes = resource::routes()
            .merge(page::routes())
            .layer(DefaultBodyLimit::max(body::MAX_BODY_BYTES))
            .layer(from_fn(answer::finish))
            .layer(from_fn(audit::audit))
            .with_state(state);
        tokio::try_join!(metrics, serve_router(api, routes, connection_max)).map(drop)
    };
    thread::Builder::new().name("ringmq-http".to_owned()).spawn(move || {
        // Linux knows no process here: without an id this is about the calling thread.
        if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
            tracing::warn!(%error, "the HTTP servers run with the priority of the shards");
        }
        if let Err(error) = runtime.block_on(serve) {
            tracing::error!(%error, "the HTTP servers ended");
        }
    })?;
    Ok(())
}

fn new_api(management: Management) -> Api {
    let Management { admin, identity, data_dir, listeners, node, .. } = management;
    let Management { default_queue_type, adjustable, config_file, log, secured, .. } = management;
    Api {
        admin,
        identity,
        data_dir,
        listeners,
        node,
        default_queue_type,
        thresholds: adjustable.thresholds(),
        adjustable,
        config_file,
        log,
        secured,
        started: Instant::now(),
        rates: Mutex::new(Rates::default()),
        directory: tokio::sync::Mutex::new(Directory::default()),
    }
}

/// Serves on every port, until one of them fails.
async fn serve_router(ports: Vec<HttpPort>, router: Router, connections: usize) -> io::Result<()> {
    let mut servers = JoinSet::new();
    for HttpPort { listener, acceptor } in ports {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let counted = router.clone().layer(from_fn(listener::answer));
        let service = counted.into_make_service_with_connect_info::<Peer>();
        let listener = LimitedListener::new(listener, acceptor, connections);
        servers.spawn(axum::serve(listener, service).into_future());
    }
    while let Some(ended) = servers.join_next().await {
        ended.map_err(io::Error::other)??;
    }
    Ok(())
}

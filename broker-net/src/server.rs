//! From a configuration to a running broker, and back when the process is told to stop.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::adjust::Adjustable;
use crate::broker::Broker;
use crate::config::{Config, CpuList};
use crate::http::{self, Listening, Management, Secured};
use crate::listeners::{self, Certificates, HttpPorts};
use crate::logging::Logging;
use crate::metrics::{Identity, Metrics};
use crate::notify;
use crate::startup::{self, StartError};

/// Exit code of a process that a second signal ends while it is stopping.
const EXIT_AT_ONCE: i32 = 1;

/// What the service manager shows of a broker that runs.
const SERVING: &str = "serving clients";

/// Runs the broker until SIGTERM or SIGINT, then stops it cleanly; a second signal ends the process at once.
/// Must be called before the process has started a thread.
pub fn run(mut config: Config, logging: Logging) -> Result<(), StartError> {
    startup::prepare(&config.cpus)?;
    let mut signals = stop_signals().map_err(|source| StartError::System { what: "signal handling", source })?;
    let (listens, claims) = listeners::listens(&config.settings)?;
    let certificates = Certificates::read(&config.settings)?;
    let http_ports = HttpPorts::bind(&config.settings, &certificates)?;

    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        data_dir = %config.data_dir.display(),
        shards = config.shards,
        cpus = %CpuList::new(config.cpus.iter().copied()).expect("a configuration has a CPU"),
        "starting RingMQ"
    );
    for sentence in &config.without_effect {
        tracing::warn!("{sentence}");
    }
    let identity = identity();
    notify::starting();
    let broker = Broker::start(&config, &listens, certificates.amqp.clone(), &identity.node)?;
    // All shards listen.
    drop(claims);
    let adjustable = Adjustable::start(logging, &config.settings, config.data_dir.clone(), broker.probe())
        .map_err(|source| StartError::System { what: "the watch of memory and disk", source })?;
    let adjustable = Arc::new(adjustable);
    if let Some(definitions) = &config.settings.load_definitions {
        http::load(&broker.admin(), definitions)?;
    }
    listeners::log_addresses(&listens, &http_ports);
    let reachable = listeners::reachable(&listens, &certificates, &http_ports);
    reachable
        .and_then(|reachable| {
            serve_http(&config, &broker, (identity, Arc::clone(&adjustable)), http_ports, reachable)
        })
        .map_err(|source| StartError::System { what: "the HTTP servers", source })?;
    notify::watch(broker.probe()).map_err(|source| StartError::System { what: "the watchdog", source })?;
    notify::ready(SERVING);

    let stop = signals.forever().find(|signal| {
        if *signal == SIGHUP {
            notify::reloading();
            reload(&mut config, &broker, &certificates, &adjustable);
            notify::ready(SERVING);
        }
        *signal != SIGHUP
    });
    tracing::info!(signal = stop, "stopping: a second signal ends the process at once");
    notify::stopping();
    broker.stop();
    tracing::info!("stopped");
    Ok(())
}

/// Reads the configuration again and puts into effect what can be. What cannot be read stays as it was.
fn reload(config: &mut Config, broker: &Broker, certificates: &Certificates, adjustable: &Adjustable) {
    let changes = match config.reread() {
        Ok(changes) => changes,
        Err(error) => {
            tracing::error!(%error, "the configuration cannot be read again: nothing has changed");
            return;
        }
    };
    if let Err(error) = certificates.reread(&config.settings) {
        tracing::error!(%error, "the certificates cannot be read again: the old ones stay in use");
    }
    adjustable.configure(&config.settings);
    broker.reload(&config.settings);
    for key in &changes.need_restart {
        tracing::warn!(key, "has changed in the configuration; the change needs a restart");
    }
    tracing::info!(
        changed = changes.applied.join(" "),
        "the configuration and the certificates have been read again"
    );
}

fn serve_http(
    config: &Config,
    broker: &Broker,
    (identity, adjustable): (Identity, Arc<Adjustable>),
    ports: HttpPorts,
    (listeners, secured): (Vec<Listening>, Vec<Secured>),
) -> io::Result<()> {
    let families = Metrics::new(identity.clone(), config.data_dir.clone(), adjustable.thresholds(), broker.node());
    let management = Management {
        admin: broker.admin(),
        identity,
        data_dir: config.data_dir.clone(),
        listeners,
        secured,
        connection_max: config.settings.management_connection_max,
        node: broker.node(),
        default_queue_type: config.settings.default_queue_type.name(),
        config_file: config.file().map(Path::to_owned),
        log: adjustable.places(),
        adjustable,
    };
    http::serve((ports.metrics, families), ports.management, management)
}

/// The signals that stop the broker, and SIGHUP. The first one that stops comes out of the iterator, the second one ends the
/// process.
fn stop_signals() -> io::Result<Signals> {
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // Handlers run in the order of registration: the first signal finds the flag down and puts it up.
        flag::register_conditional_shutdown(signal, EXIT_AT_ONCE, Arc::clone(&stopping))?;
        flag::register(signal, Arc::clone(&stopping))?;
    }
    Signals::new([SIGTERM, SIGINT, SIGHUP])
}

fn identity() -> Identity {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let node = format!("ringmq@{host}");
    Identity { cluster: node.clone(), node }
}

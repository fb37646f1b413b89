//! The HTTP side of the broker, on a thread and a runtime of its own: a slow scrape slows no queue.

mod listener;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::metrics::Metrics;
use listener::LimitedListener;

/// Connections served at the same time; more wait in the listener's backlog.
pub const MAX_HTTP_CONNECTIONS: usize = 64;

/// Serves `GET /metrics` on `listener` until the process ends, one scrape after the other: collecting the numbers holds the
/// thread up, and only this one.
pub fn serve_metrics(listener: TcpListener, metrics: Metrics) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let app = Router::new().route("/metrics", get(scrape)).with_state(Arc::new(metrics));
    let serve = async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        axum::serve(LimitedListener::new(listener, MAX_HTTP_CONNECTIONS), app).await
    };
    thread::Builder::new().name("ringmq-metrics".to_owned()).spawn(move || {
        if let Err(error) = runtime.block_on(serve) {
            tracing::error!(%error, "the metrics server ended");
        }
    })?;
    Ok(())
}

async fn scrape(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::path::PathBuf;

    use broker_core::shard::stats::ShardStats;

    use super::*;
    use crate::metrics::Identity;

    fn start() -> SocketAddr {
        let identity = Identity { node: "n".to_owned(), cluster: "n".to_owned() };
        let source = Arc::new(|| vec![ShardStats { queues: 3, ..ShardStats::default() }]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        serve_metrics(listener, Metrics::new(identity, PathBuf::from("/"), source).unwrap()).unwrap();
        address
    }

    fn request(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn metrics_are_served_as_text() {
        let answer = request(start(), "/metrics");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("content-type: text/plain; version=0.0.4\r\n"), "{answer}");
        assert!(answer.contains("\nrabbitmq_queues 3\n"), "{answer}");
    }

    #[test]
    fn another_path_is_not_found() {
        assert!(request(start(), "/").starts_with("HTTP/1.1 404 "));
    }

    #[test]
    fn a_connection_beyond_the_limit_is_served_when_another_ends() {
        let address = start();
        let mut idle: Vec<_> = (0..MAX_HTTP_CONNECTIONS).map(|_| TcpStream::connect(address).unwrap()).collect();
        let waiting = thread::spawn(move || request(address, "/metrics"));
        idle.pop();
        assert!(waiting.join().unwrap().starts_with("HTTP/1.1 200 OK\r\n"));
    }
}

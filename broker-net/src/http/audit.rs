//! Who changed what: one line of the log for each request that is to change something, with target `audit`.
//!
//! A line has the user that the request names, the address, method and path, the status of the answer, and the body if that is JSON of
//! up to [`MAX_DETAIL_BYTES`]: without what may be secret. Reading and publishing messages changes nothing that is administered, and
//! is not logged.

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::Value;

use super::caller::claimed_user;
use super::listener::Peer;
use crate::logging::AUDIT;

/// Bodies up to this size are in the line; of larger ones, definitions mostly, it is said that they are left out.
const MAX_DETAIL_BYTES: usize = 4096;

/// Members of objects whose names contain one of these are not logged. URIs hold passwords.
const SECRET: [&str; 5] = ["password", "secret", "token", "uri", "credential"];

/// Logs a request when it has been answered.
pub(super) async fn audit(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    if !changes(request.method(), &path) {
        return next.run(request).await;
    }
    let method = request.method().clone();
    let user = claimed_user(request.headers()).unwrap_or_default();
    let address = request.extensions().get::<ConnectInfo<Peer>>().map(|ConnectInfo(peer)| peer.address);
    let address = address.map(|address| address.to_string()).unwrap_or_default();
    let (request, detail) = with_detail(request).await;
    let response = next.run(request).await;
    let status = response.status().as_u16();
    tracing::info!(target: AUDIT, ?user, address, %method, path, status, detail, "administrative change");
    response
}

/// Whether a request is to change something that is administered.
fn changes(method: &Method, path: &str) -> bool {
    let words: Vec<_> = path.trim_end_matches('/').split('/').collect();
    let of_messages = matches!(
        words[..],
        ["", "api", "queues", _, _, "get"] | ["", "api", "exchanges", _, _, "publish"] | ["", "api", "login"]
    );
    matches!(*method, Method::PUT | Method::POST | Method::DELETE | Method::PATCH) && !of_messages
}

/// The body as the line shows it; the request is as it was.
async fn with_detail(request: Request) -> (Request, String) {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    match length {
        None | Some(0) => (request, String::new()),
        Some(length) if length > MAX_DETAIL_BYTES => (request, format!("{length} bytes")),
        Some(_) => {
            let (parts, body) = request.into_parts();
            // What is shorter than announced is no request, and answered as such.
            let bytes = to_bytes(body, MAX_DETAIL_BYTES).await.unwrap_or_default();
            let detail = shown(&bytes);
            (Request::from_parts(parts, Body::from(bytes)), detail)
        }
    }
}

fn shown(bytes: &[u8]) -> String {
    match serde_json::from_slice::<Value>(bytes) {
        Ok(mut value) => {
            hide(&mut value);
            value.to_string()
        }
        Err(_) => format!("{} bytes", bytes.len()),
    }
}

/// Takes what may be secret out of a value, at any depth.
fn hide(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let name = name.to_ascii_lowercase();
                if SECRET.iter().any(|secret| name.contains(secret)) {
                    *value = Value::from("********");
                } else {
                    hide(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(hide),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_from_reading_and_messages() {
        let post = |path| changes(&Method::POST, path);
        assert!(changes(&Method::PUT, "/api/users/al") && changes(&Method::DELETE, "/api/queues/%2F/q"));
        assert!(post("/api/definitions") && post("/api/bindings/%2F/e/a/q/b"));
        assert!(!changes(&Method::GET, "/api/users"));
        assert!(!post("/api/queues/%2F/q/get") && !post("/api/exchanges/%2F/e/publish") && !post("/api/login"));
    }

    #[test]
    fn secrets_are_hidden_at_any_depth() {
        let body = br#"{"password":"p1","tags":"administrator","value":{"src-uri":"amqp://u:p2@h","list":[{"password_hash":"p3"}]}}"#;
        let shown = shown(body);
        assert!(["p1", "p2", "p3"].iter().all(|secret| !shown.contains(secret)), "{shown}");
        assert!(shown.contains(r#""tags":"administrator""#), "{shown}");
        assert_eq!(super::shown(b"password=p1"), "11 bytes");
    }
}

//! What is done with every answer: refusals are JSON, whoever refuses, and `OPTIONS` says what a path understands.

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;

/// Longest path with its query, in bytes; RabbitMQ's limit is 8000 for a line of the request.
const MAX_URI_BYTES: usize = 8192;

/// Longest refusal of the router that is kept, in bytes.
const MAX_REFUSAL_BYTES: usize = 4096;

/// Wraps every handler.
pub(super) async fn finish(request: Request, next: Next) -> Response {
    let length = request.uri().path_and_query().map_or(0, |uri| uri.as_str().len());
    if length > MAX_URI_BYTES {
        let reason = format!("The path is longer than {MAX_URI_BYTES} bytes");
        return ApiError::refused(StatusCode::URI_TOO_LONG, reason).into_response();
    }
    let options = request.method() == Method::OPTIONS;
    let response = next.run(request).await;
    if options && response.status() == StatusCode::METHOD_NOT_ALLOWED {
        return allowed(response.headers());
    }
    let is_error = response.status().is_client_error() || response.status().is_server_error();
    let json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if is_error && !json { refusal(response).await } else { response }
}

/// The methods of a path, for everybody.
fn allowed(headers: &HeaderMap) -> Response {
    let methods = headers.get(header::ALLOW).and_then(|methods| methods.to_str().ok()).unwrap_or_default();
    let allow = HeaderValue::try_from(format!("{methods},OPTIONS")).unwrap_or(HeaderValue::from_static("OPTIONS"));
    (StatusCode::OK, [(header::ALLOW, allow)]).into_response()
}

/// The same refusal as JSON.
async fn refusal(response: Response) -> Response {
    let status = response.status();
    let allow = response.headers().get(header::ALLOW).cloned();
    let text = to_bytes(response.into_body(), MAX_REFUSAL_BYTES).await.unwrap_or_default();
    let reason = match String::from_utf8_lossy(&text) {
        text if text.is_empty() => status.canonical_reason().unwrap_or_default().to_owned(),
        text => text.into_owned(),
    };
    let mut refused = ApiError::refused(status, reason).into_response();
    if let Some(allow) = allow {
        refused.headers_mut().insert(header::ALLOW, allow);
    }
    refused
}

/// True if the client takes JSON, or does not say what it takes.
pub(super) fn accepts_json(headers: &HeaderMap) -> bool {
    let mut ranges = headers.get_all(header::ACCEPT).iter().peekable();
    if ranges.peek().is_none() {
        return true;
    }
    let ranges = ranges.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    ranges.map(str::trim).any(|range| {
        let (kind, parameters) = range.split_once(';').unwrap_or((range, ""));
        let refused = parameters.split(';').filter_map(|parameter| parameter.trim().strip_prefix("q="));
        let refused = refused.filter_map(|weight| weight.trim().parse::<f32>().ok()).any(|weight| weight == 0.0);
        let kind = kind.trim();
        !refused
            && ["application/json", "application/*", "*/*", "*"].iter().any(|json| kind.eq_ignore_ascii_case(json))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_take_json_are_recognised() {
        let check = |accept: &'static str, expect: bool| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(accepts_json(&headers), expect, "{accept}");
        };
        assert!(accepts_json(&HeaderMap::new()));
        for accept in [
            "*/*",
            "application/json",
            "text/html, application/json;q=0.9",
            "text/html,*/*; q=0.1",
            "application/*",
        ] {
            check(accept, true);
        }
        for accept in ["text/html", "///", "application/json;q=0", "text/html, */*;q=0.0"] {
            check(accept, false);
        }
    }
}

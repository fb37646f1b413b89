//! What the API answers when it refuses: RabbitMQ's `{"error": .., "reason": ..}` with RabbitMQ's status codes.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

/// Sent with every 401, so that browsers and tools ask for a name and a password.
pub(super) const REALM: HeaderValue = HeaderValue::from_static("Basic realm=\"RabbitMQ Management\"");

/// A refusal.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ApiError {
    status: StatusCode,
    error: &'static str,
    /// A text, or, where RabbitMQ answers with an Erlang tuple, an array.
    reason: Value,
}

/// The result of a handler.
pub(super) type ApiResult<T = Response> = Result<T, ApiError>;

impl ApiError {
    fn new(status: StatusCode, error: &'static str, reason: impl Into<Value>) -> Self {
        Self { status, error, reason: reason.into() }
    }

    /// 400: the request cannot be carried out as it stands.
    pub(super) fn bad_request(reason: impl Into<Value>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", reason)
    }

    /// 400 with an error of its own.
    pub(super) fn bad_request_as(error: &'static str, reason: impl Into<Value>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, reason)
    }

    /// 400: the body is not a JSON object.
    pub(super) fn not_json() -> Self {
        Self::bad_request("not_json")
    }

    /// 401: who asks could not be made sure of. A browser asks for a password.
    pub(super) fn not_authenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "not_authorized", "Not_Authorized")
    }

    /// 429: too many logins have failed, and this one is not tried.
    pub(super) fn too_many_failures() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "Too many failed logins from this address")
    }

    /// 401, as RabbitMQ has it (not 403): the user may not do this.
    pub(super) fn not_authorised(reason: impl Into<Value>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "not_authorised", reason)
    }

    /// 406: the client accepts nothing that there is.
    pub(super) fn not_acceptable() -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", "Answers are application/json")
    }

    /// 415: the body is of a type that is not understood.
    pub(super) fn unsupported_media_type() -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "Bodies are application/json")
    }

    /// What the router or the HTTP library refuses, which has no words of RabbitMQ.
    pub(super) fn refused(status: StatusCode, reason: String) -> Self {
        let error = match status {
            StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
            StatusCode::URI_TOO_LONG => "uri_too_long",
            _ => "bad_request",
        };
        Self::new(status, error, reason)
    }

    /// 404: no such path or object.
    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Object Not Found", "Not Found")
    }

    /// 404 that says what is missing.
    pub(super) fn missing(reason: impl Into<Value>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", reason)
    }

    /// 400 instead of 404: what an import names is part of the request.
    pub(super) fn or_bad_request(self) -> Self {
        match self.status {
            StatusCode::NOT_FOUND => Self::bad_request(self.reason),
            _ => self,
        }
    }

    /// What is wrong, in words.
    pub(super) fn reason(&self) -> String {
        self.reason.as_str().map_or_else(|| self.reason.to_string(), |reason| reason.trim_end().to_owned())
    }

    /// Says what the error is about.
    pub(super) fn with_context(self, what: &str) -> Self {
        match self.reason {
            Value::String(reason) => Self { reason: format!("{} {what}", reason.trim_end()).into(), ..self },
            _ => self,
        }
    }

    /// With the characters of its reason that mean something in HTML as entities.
    pub(super) fn with_escaped_reason(self) -> Self {
        match self.reason {
            Value::String(reason) => Self {
                reason: reason.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").into(),
                ..self
            },
            _ => self,
        }
    }

    /// 503: the broker stops, or a shard does not answer.
    pub(super) fn unavailable(reason: impl Into<Value>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "service_unavailable", reason)
    }
}

#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    reason: &'a Value,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&Body { error: self.error, reason: &self.reason }).unwrap_or_default();
        let mut response = (self.status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        if self.error == "not_authorized" {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, REALM);
        }
        response
    }
}

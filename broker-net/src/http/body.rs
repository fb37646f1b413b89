//! Request bodies: JSON objects, of limited size.

use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::{ConnectInfo, FromRequest, Request};
use axum::http::{HeaderValue, header};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::error::{ApiError, ApiResult};
use super::listener::Peer;

/// Largest body accepted, in bytes: RabbitMQ's `management.http.max_body_size`.
pub(super) const MAX_BODY_BYTES: usize = 10_000_000;

/// How long a body that is too large is read before it is refused.
const TOO_LARGE_PATIENCE: Duration = Duration::from_secs(1);

/// The fields of a request's body; none if the body is empty or `null`.
#[derive(Debug, Default)]
pub(super) struct Fields(Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> ApiResult<Self> {
        let content_type = request.headers().get(header::CONTENT_TYPE);
        // As RabbitMQ: any type will do, if it is one.
        if content_type.is_some_and(|value| !is_media_type(value)) {
            return Err(ApiError::unsupported_media_type());
        }
        Self::parse(&read(request, state).await?)
    }
}

/// A body that is JSON or the file of a form, and says which.
#[derive(Debug)]
pub(super) struct Document(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Document {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> ApiResult<Self> {
        let content_type = request.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        if !["application/json", "multipart/form-data"].iter().any(|known| kind.eq_ignore_ascii_case(known)) {
            return Err(ApiError::unsupported_media_type());
        }
        read(request, state).await.map(Self)
    }
}

/// Reads a body of limited size. One that is announced to be larger is not waited for much longer than it takes to send.
async fn read<S: Send + Sync>(request: Request, state: &S) -> ApiResult<Bytes> {
    let too_large = || ApiError::bad_request("Exceeded HTTP request body size limit");
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|length| length.parse().ok()).is_some_and(|length: usize| length > MAX_BODY_BYTES) {
        // A client that sends first and reads then gets to its answer.
        let _ = timeout(TOO_LARGE_PATIENCE, to_bytes(request.into_body(), MAX_BODY_BYTES)).await;
        return Err(too_large());
    }
    let peer = request.extensions().get::<ConnectInfo<Peer>>().cloned();
    let bytes = Bytes::from_request(request, state).await.map_err(|_| too_large())?;
    if let Some(ConnectInfo(peer)) = peer {
        peer.has_sent_all();
    }
    Ok(bytes)
}

/// `type/subtype`, with or without parameters.
fn is_media_type(value: &HeaderValue) -> bool {
    let text = value.to_str().unwrap_or_default();
    let names = text.split(';').next().and_then(|kind| kind.trim().split_once('/'));
    names.is_some_and(|(kind, subtype)| !kind.is_empty() && !subtype.is_empty())
}

impl From<Map<String, Value>> for Fields {
    fn from(fields: Map<String, Value>) -> Self {
        Self(fields)
    }
}

impl From<Fields> for Map<String, Value> {
    fn from(fields: Fields) -> Self {
        fields.0
    }
}

impl Fields {
    /// Reads a JSON object.
    pub(super) fn parse(bytes: &[u8]) -> ApiResult<Self> {
        if matches!(bytes.trim_ascii(), b"" | b"null" | b"undefined") {
            return Ok(Self::default());
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(Value::String(_)) => Err(ApiError::bad_request(
                "invalid payload: the request body JSON-decoded to a string. Is the input doubly-JSON-encoded?",
            )),
            _ => Err(ApiError::not_json()),
        }
    }

    /// Checks that the body has all of these fields; the error names those it has not.
    pub(super) fn require(&self, names: &[&str]) -> ApiResult<()> {
        let missing: Vec<String> = names
            .iter()
            .filter(|name| !self.0.contains_key(**name))
            .map(|name| format!("{{key_missing,{name}}}"))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(ApiError::bad_request(format!("[{}]", missing.join(","))))
    }

    /// A field, if it is there and not null.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Takes a field out.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    /// Puts a field in, in place of what it was.
    pub(super) fn insert(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    /// A text, if the field is there.
    pub(super) fn text(&self, name: &'static str) -> ApiResult<Option<&str>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(ApiError::bad_request(json!(["not_string", other]))),
        }
    }

    /// A text that has to be there.
    pub(super) fn required_text(&self, name: &'static str) -> ApiResult<&str> {
        self.require(&[name])?;
        self.text(name)?.ok_or_else(|| ApiError::bad_request(json!(["not_string", null])))
    }

    /// `true`, `"true"` and so on; false if the field is not there.
    pub(super) fn flag(&self, name: &str) -> ApiResult<bool> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) if text == "true" => Ok(true),
            Some(Value::String(text)) if text == "false" => Ok(false),
            Some(other) => Err(ApiError::bad_request(json!(["not_boolean", other]))),
        }
    }

    /// A whole number, which may be written as a text.
    pub(super) fn integer(&self, name: &str) -> ApiResult<Option<i64>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) if number.is_i64() => Ok(number.as_i64()),
            Some(Value::String(text)) if text.parse::<i64>().is_ok() => Ok(text.parse().ok()),
            Some(other) => Err(ApiError::bad_request(json!(["not_integer", other]))),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    #[test]
    fn an_empty_body_has_no_fields() {
        for body in ["", " ", "null", "undefined", "{}"] {
            assert_eq!(Fields::parse(body.as_bytes()).unwrap().get("x"), None);
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for body in ["x", "[1]", "3", "\"{}\"", "{"] {
            assert_eq!(Fields::parse(body.as_bytes()).unwrap_err().into_response().status(), 400);
        }
    }

    #[test]
    fn flags_and_numbers_may_be_texts() {
        let fields = Fields::parse(br#"{"a":"true","b":false,"c":"7","d":3.5}"#).unwrap();
        assert!(fields.flag("a").unwrap() && !fields.flag("b").unwrap() && !fields.flag("z").unwrap());
        assert_eq!(fields.integer("c").unwrap(), Some(7));
        assert!(fields.integer("d").is_err() && fields.flag("d").is_err());
        assert_eq!(
            fields.require(&["a", "x", "y"]).unwrap_err(),
            ApiError::bad_request("[{key_missing,x},{key_missing,y}]")
        );
    }
}

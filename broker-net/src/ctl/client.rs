//! The management API, as verbs use it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use ureq::Agent;
use ureq::http::{Method, Request, StatusCode, Uri};

use super::failure::Failure;

/// Speaks to one broker as one user.
pub(super) struct Client {
    agent: Agent,
    base: String,
    authorization: String,
}

/// A part of a path.
pub(super) fn quote(part: &str) -> String {
    let mut quoted = String::with_capacity(part.len());
    for byte in part.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => quoted.push(char::from(byte)),
            _ => quoted.push_str(&format!("%{byte:02X}")),
        }
    }
    quoted
}

/// A JSON document of the command line or a file.
pub(super) fn parse(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::Refused(format!("Could not parse JSON document: {error}")))
}

impl Client {
    pub(super) fn new(url: &str, user: &str, password: &str, timeout_s: u64) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(timeout_s)))
            .build();
        let authorization = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        Self { agent: config.new_agent(), base: format!("{}/api", url.trim_end_matches('/')), authorization }
    }

    /// The same broker as another user.
    pub(super) fn as_user(&self, user: &str, password: &str) -> Self {
        let authorization = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        Self { agent: self.agent.clone(), base: self.base.clone(), authorization }
    }

    /// The host that the API is on.
    pub(super) fn host(&self) -> Option<String> {
        let uri: Uri = self.base.parse().ok()?;
        Some(uri.host()?.trim_matches(['[', ']']).to_owned())
    }

    /// Sends a request; `path` begins with a slash.
    pub(super) fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        reason: Option<&str>,
    ) -> Result<(StatusCode, String), Failure> {
        let unavailable = |error: &dyn std::fmt::Display| Failure::Unavailable(error.to_string());
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("authorization", &self.authorization)
            .header("content-type", "application/json");
        if let Some(reason) = reason {
            request = request.header("x-reason", reason);
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(body).map_err(|error| Failure::Usage(error.to_string()))?;
        let mut response = self.agent.run(request).map_err(|error| unavailable(&error))?;
        let text = response.body_mut().with_config().limit(u64::MAX).read_to_string();
        Ok((response.status(), text.map_err(|error| unavailable(&error))?))
    }

    fn successful(&self, method: Method, path: &str, body: Option<&Value>) -> Result<String, Failure> {
        let (status, text) = self.call(method, path, body, None)?;
        if status.is_success() { Ok(text) } else { Err(refused(status, &text)) }
    }

    pub(super) fn get(&self, path: &str) -> Result<Value, Failure> {
        read(&self.successful(Method::GET, path, None)?)
    }

    /// What may not be there.
    pub(super) fn get_if_there(&self, path: &str) -> Result<Option<Value>, Failure> {
        match self.call(Method::GET, path, None, None)? {
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, text) if status.is_success() => read(&text).map(Some),
            (status, text) => Err(refused(status, &text)),
        }
    }

    pub(super) fn put(&self, path: &str, body: &Value) -> Result<(), Failure> {
        self.successful(Method::PUT, path, Some(body)).map(drop)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<(), Failure> {
        self.successful(Method::POST, path, Some(body)).map(drop)
    }

    /// A POST that is answered with JSON.
    pub(super) fn ask(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let text = self.successful(Method::POST, path, Some(body))?;
        serde_json::from_str(&text).map_err(|error| Failure::Unavailable(error.to_string()))
    }

    pub(super) fn delete(&self, path: &str) -> Result<(), Failure> {
        self.successful(Method::DELETE, path, None).map(drop)
    }

    /// Deletes what may not be there.
    pub(super) fn delete_if_there(&self, path: &str) -> Result<(), Failure> {
        match self.call(Method::DELETE, path, None, None)? {
            (StatusCode::NOT_FOUND, _) => Ok(()),
            (status, _) if status.is_success() => Ok(()),
            (status, text) => Err(refused(status, &text)),
        }
    }

    /// Limits as they are given on the command line.
    pub(super) fn limits(&self, definition: &str) -> Result<Map<String, Value>, Failure> {
        match parse(definition)? {
            Value::Object(limits) => Ok(limits),
            _ => Err(Failure::Refused("limits are an object: {\"max-connections\": 100}".to_owned())),
        }
    }

    /// Sets each of the limits; `path` is whose they are.
    pub(super) fn set_limits(&self, path: &str, limits: &Map<String, Value>) -> Result<(), Failure> {
        limits
            .iter()
            .try_for_each(|(limit, value)| self.put(&format!("{path}/{}", quote(limit)), &json!({"value": value})))
    }
}

fn read(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::Unavailable(error.to_string()))
}

/// The reason that the API gives.
pub(super) fn refused(status: StatusCode, text: &str) -> Failure {
    let body: Value = serde_json::from_str(text).unwrap_or_default();
    let reason = match body.get("reason") {
        Some(Value::String(reason)) => reason.clone(),
        Some(other) => other.to_string(),
        None => status.to_string(),
    };
    Failure::Refused(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_paths_are_quoted() {
        assert_eq!(quote("/"), "%2F");
        assert_eq!(quote("127.0.0.1:1 -> é~_"), "127.0.0.1%3A1%20-%3E%20%C3%A9~_");
    }

    #[test]
    fn refusals_say_why() {
        let failure = refused(StatusCode::BAD_REQUEST, r#"{"error":"bad_request","reason":["not_base64","x"]}"#);
        assert_eq!(failure.to_string(), "Error:\n[\"not_base64\",\"x\"]");
        assert_eq!(refused(StatusCode::NOT_FOUND, "").to_string(), "Error:\n404 Not Found");
    }

    #[test]
    fn the_host_is_that_of_the_address() {
        let host = |url| Client::new(url, "u", "p", 1).host();
        assert_eq!(host("http://[::1]:15672/").as_deref(), Some("::1"));
        assert_eq!(host("http://broker:15672").as_deref(), Some("broker"));
    }
}

//! A client of the management API.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use ureq::http::{Method, Request};

/// Speaks to the API as one user.
#[derive(Clone)]
pub(crate) struct Management {
    agent: ureq::Agent,
    address: SocketAddr,
    /// The value of the `Authorization` header.
    pub(crate) authorization: String,
}

/// What the API answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Null if the body is empty.
    pub(crate) body: Value,
    pub(crate) location: Option<String>,
}

impl Management {
    /// As `guest`.
    pub(crate) fn new(address: SocketAddr) -> Self {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        Self { agent, address, authorization: basic("guest", "guest") }
    }

    /// As somebody else.
    pub(crate) fn as_user(&self, name: &str, password: &str) -> Self {
        Self { authorization: basic(name, password), ..self.clone() }
    }

    /// `path` is what follows `/api/`.
    pub(crate) fn call(&self, method: Method, path: &str, body: &str) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}/api/{path}", self.address))
            .header("authorization", &self.authorization)
            .header("content-type", "application/json")
            .body(body.to_owned())
            .unwrap();
        let mut response = self.agent.run(request).unwrap();
        let text = response.body_mut().with_config().limit(u64::MAX).read_to_string().unwrap();
        Answer {
            status: response.status().as_u16(),
            location: response.headers().get("location").map(|value| value.to_str().unwrap().to_owned()),
            body: if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect(&text) },
        }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, "")
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::PUT, path, &body.to_string())
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, &body.to_string())
    }

    /// POST to a broker that may die meanwhile: the status, if it answers.
    pub(crate) fn try_post(&self, path: &str, body: &Value) -> Option<u16> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{}/api/{path}", self.address))
            .header("authorization", &self.authorization)
            .body(body.to_string())
            .unwrap();
        self.agent.run(request).ok().map(|response| response.status().as_u16())
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, "")
    }

    /// PUT that must succeed.
    #[track_caller]
    pub(crate) fn must_put(&self, path: &str, body: &Value) {
        let answer = self.put(path, body);
        assert!(matches!(answer.status, 201 | 204), "PUT {path}: {answer:?}");
    }
}

impl Answer {
    /// What a refusal gives as its reason.
    pub(crate) fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or_default()
    }
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

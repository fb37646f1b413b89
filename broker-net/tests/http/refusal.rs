//! Requests that are malformed, too large, or of somebody who may not: the right status, an error in JSON, and nothing else
//! happens.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::harness::{Served, check, check_refused};

const GUEST: &str = "Authorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\n";

/// Sends a request as it stands; the status and the body that came back.
fn send(api: &Served, request: &[u8]) -> (u16, Vec<u8>) {
    let mut socket = TcpStream::connect(api.broker.http).unwrap();
    // The broker may have answered and closed before it had read everything.
    let _ = socket.write_all(request);
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    let status = text.get(9..12).and_then(|status| status.parse().ok());
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let body = end.map(|end| answer[end + 4..].to_vec());
    (status.unwrap_or_else(|| panic!("{text}")), body.unwrap_or_default())
}

/// A request line and headers of `guest`, if nobody else is named, with a body.
fn request(line: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

#[track_caller]
fn refused(api: &Served, status: u16, request: &[u8]) {
    let shown = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
    let (answered, body) = send(api, request);
    assert_eq!(answered, status, "{shown}");
    let body: Value = serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{shown}: {error}"));
    assert!(body["error"].is_string() && !body["reason"].is_null(), "{shown}: {body}");
}

/// Everything that a request could have changed.
fn state(api: &Served) -> [Value; 2] {
    [check(api.get("definitions"), 200).body, check(api.get("queues?columns=name,messages"), 200).body]
}

#[test]
fn what_is_malformed_is_refused_and_changes_nothing() {
    let api = Served::start();
    api.must_put("queues/%2F/q", &json!({"durable": true}));
    let before = state(&api);
    let json = format!("{GUEST}Content-Type: application/json\r\n");
    for (status, line, headers, body) in [
        (400, "PUT /api/queues/%2F/bad", json.as_str(), &b"{"[..]),
        (400, "PUT /api/queues/%2F/bad", &json, b"[1]"),
        (400, "PUT /api/queues/%2F/bad", &json, b"\"{}\""),
        (400, "PUT /api/queues/%2F/bad", &json, b"{\"durable\":\"perhaps\"}"),
        (400, "PUT /api/queues/%2F/bad", &json, b"{\"arguments\":7}"),
        (400, "PUT /api/queues/%2F/bad", &json, b"{\"a\":\"\xff\"}"),
        (400, "PUT /api/queues/%2F/bad", &json, &nested(2000)),
        (400, "PUT /api/exchanges/%2F/bad", &json, b"{\"type\":\"nonsense\"}"),
        (400, "POST /api/exchanges/%2F/amq.default/publish", &json, b"{}"),
        (400, "POST /api/queues/%2F/q/get", &json, b"{}"),
        (400, "POST /api/definitions", &json, b"{\"queues\":7}"),
        (400, "POST /api/definitions", &json, b"nonsense"),
        (400, "GET /api/queues/%ff", &json, b""),
        (400, "GET /api/queues?page=x", &json, b""),
        (400, "GET /api/queues?page=1&use_regex=true&name=%28", &json, b""),
        (400, "GET /api/overview?lengths_age=100000&lengths_incr=1", &json, b""),
        (404, "GET /api/nonsense", &json, b""),
        (404, "DELETE /api/queues/%2F/missing", &json, b""),
        (405, "PATCH /api/queues/%2F/q", &json, b"{}"),
        (405, "DELETE /api/overview", &json, b""),
        (406, "GET /api/overview", &format!("{GUEST}Accept: text/html\r\n"), b""),
        (415, "POST /api/definitions", &format!("{GUEST}Content-Type: text/plain\r\n"), b"{}"),
        (415, "POST /api/definitions", GUEST, b"{}"),
        (415, "PUT /api/queues/%2F/bad", &format!("{GUEST}Content-Type: nonsense\r\n"), b"{}"),
    ] {
        refused(&api, status, &request(line, headers, body));
    }
    refused(&api, 414, &request(&format!("GET /api/queues/%2F/{}", "q".repeat(9000)), GUEST, b""));
    assert_eq!(state(&api), before);
    // Not HTTP: there is nobody to read JSON.
    for (status, bytes) in [
        (400, "nonsense\r\n\r\n".to_owned()),
        (400, format!("PUT /api/queues/%2F/bad HTTP/1.1\r\nHost: x\r\n{GUEST}Content-Length: many\r\n\r\n")),
        (431, format!("GET /api/version HTTP/1.1\r\nHost: x\r\n{GUEST}{}\r\n", "X: y\r\n".repeat(300))),
    ] {
        assert_eq!(send(&api, bytes.as_bytes()).0, status, "{bytes}");
    }
    assert_eq!(state(&api), before);
}

fn nested(depth: usize) -> Vec<u8> {
    format!("{{\"arguments\":{}1{}}}", "{\"a\":".repeat(depth), "}".repeat(depth)).into_bytes()
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    let api = Served::start();
    let before = state(&api);
    let json = format!("{GUEST}Content-Type: application/json\r\n");
    let large = [&b"{\"users\":["[..], &vec![b' '; 10_000_000], b"]}"].concat();
    for line in ["POST /api/definitions", "PUT /api/queues/%2F/bad", "POST /api/exchanges/%2F/amq.default/publish"]
    {
        refused(&api, 400, &request(line, &json, &large));
    }
    // Said to be large: it is not waited for.
    let head = format!(
        "PUT /api/queues/%2F/bad HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{json}Content-Length: 99999999\r\n\r\n"
    );
    refused(&api, 400, head.as_bytes());
    assert_eq!(state(&api), before);
}

#[test]
fn who_is_not_known_or_may_not_changes_nothing() {
    let api = Served::start_with(&["--set", "login_failures.max=infinity"]);
    api.must_put("users/u", &json!({"password": "p", "tags": "management"}));
    api.must_put("users/plain", &json!({"password": "p", "tags": ""}));
    api.must_put("permissions/%2F/u", &json!({"configure": "^$", "write": "^$", "read": "^$"}));
    api.must_put("queues/%2F/q", &json!({"durable": true}));
    let before = state(&api);
    let basic = |user: &str| format!("Authorization: {}\r\n", api.as_user(user, "p").authorization);
    for headers in [
        String::new(),
        "Authorization: nonsense\r\n".to_owned(),
        "Authorization: Basic %%%\r\n".to_owned(),
        "Authorization: Basic Z3Vlc3Q6d3Jvbmc=\r\n".to_owned(),
        "Authorization: Bearer Z3Vlc3Q6Z3Vlc3Q=\r\n".to_owned(),
        basic("nobody"),
        basic("plain"),
        basic("u"),
    ] {
        let headers = format!("{headers}Content-Type: application/json\r\n");
        let message = br#"{"properties":{},"routing_key":"q","payload":"x","payload_encoding":"string"}"#;
        for (line, body) in [
            ("PUT /api/queues/%2F/new", &b"{}"[..]),
            ("DELETE /api/queues/%2F/q", b""),
            ("DELETE /api/queues/%2F/q/contents", b""),
            ("POST /api/exchanges/%2F/amq.default/publish", message),
            ("POST /api/queues/%2F/q/get", br#"{"count":1,"ackmode":"ack_requeue_false","encoding":"auto"}"#),
            ("PUT /api/users/new", br#"{"password":"x","tags":"administrator"}"#),
            ("PUT /api/vhosts/new", b"{}"),
            ("PUT /api/policies/%2F/new", br#"{"pattern":"","definition":{"max-length":1}}"#),
            ("POST /api/definitions", b"{}"),
            ("GET /api/definitions", b""),
            ("DELETE /api/reset", b""),
        ] {
            refused(&api, 401, &request(line, &headers, body));
        }
    }
    assert_eq!(state(&api), before);
}

#[test]
fn names_that_no_frame_could_carry_are_refused() {
    let api = Served::start();
    let before = state(&api);
    let long = "n".repeat(256);
    let message =
        |key: &str| json!({"properties": {}, "routing_key": key, "payload": "x", "payload_encoding": "string"});
    let refused = "queue should be less than 255 bytes, actually was 256\n";
    check_refused(api.put(&format!("queues/%2F/{long}"), &json!({})), 400, refused);
    check(api.put(&format!("exchanges/%2F/{long}"), &json!({"type": "direct"})), 400);
    check(api.post("exchanges/%2F/amq.default/publish", &message(&long)), 400);
    check(api.post("bindings/%2F/e/amq.direct/e/amq.fanout", &json!({"routing_key": long})), 400);
    let definitions = json!({"queues": [{"name": long, "vhost": "/"}]});
    check(api.post("definitions", &definitions), 400);
    for path in [format!("users/{long}"), format!("vhosts/{long}"), format!("policies/%2F/{long}")] {
        let all = json!({"password": "x", "tags": "", "pattern": "", "definition": {"max-length": 1}});
        check(api.put(&path, &all), 400);
    }
    assert_eq!(state(&api), before);
    check(api.put(&format!("queues/%2F/{}", "n".repeat(255)), &json!({})), 201);
}

#[test]
fn a_path_says_what_it_understands() {
    let api = Served::start();
    let (status, _) = send(&api, &request("OPTIONS /api/queues/%2F/q", "", b""));
    assert_eq!(status, 200);
}

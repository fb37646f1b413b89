//! Who tries to get in: failures are counted and limited by address, those who say nothing are bounded, and no password is written
//! anywhere.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::time::Duration;

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::connection::AMQPMethod as Connection;
use amq_protocol::protocol::exchange::{self, AMQPMethod as Exchange};
use amq_protocol::protocol::queue::{AMQPMethod as Queue, Bind, Declare, Delete, Unbind};
use serde_json::{Value, json};

use crate::harness::{Broker, Login, Management, Raw, own_process, queue, socket};

const HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";

/// A broker that takes three failures from an address, and believes a proxy on this machine.
const LIMITED: &[&str] =
    &["--set", "login_failures.max=3", "--set", "proxy_protocol=true", "--set", "loopback_users=none"];

/// Tries to log in as somebody at `ip` with a password; the code of the refusal, if there is one.
fn login_from(broker: &Broker, ip: &str, password: &str) -> Option<u16> {
    let mut raw = Raw::connect(broker);
    raw.write(format!("PROXY TCP4 {ip} 127.0.0.1 40000 5672\r\n").as_bytes());
    raw.write(HEADER);
    raw.method(0);
    raw.start_ok(&Login { response: format!("\0guest\0{password}").into_bytes(), ..Login::default() });
    match raw.method(0) {
        AMQPClass::Connection(Connection::Tune(_)) => None,
        AMQPClass::Connection(Connection::Close(close)) => Some(close.reply_code),
        other => panic!("{other:?} does not answer start-ok"),
    }
}

/// The numbers of a protocol: all, failed, succeeded.
fn attempts(rows: &Value, protocol: &str) -> [u64; 3] {
    let row = rows.as_array().unwrap().iter().find(|row| row["protocol"] == protocol).unwrap();
    ["auth_attempts", "auth_attempts_failed", "auth_attempts_succeeded"].map(|field| row[field].as_u64().unwrap())
}

#[test]
fn an_address_that_fails_too_often_is_refused_whatever_its_password() {
    own_process(LIMITED, async |broker| {
        let api = Management::new(broker.http);
        let node = api.get("overview").body["node"].as_str().unwrap().to_owned();
        for _ in 0..3 {
            assert_eq!(login_from(broker, "192.0.2.7", "wrong"), Some(403));
        }
        assert_eq!(login_from(broker, "192.0.2.7", "guest"), Some(403), "the password is not looked at");
        assert_eq!(login_from(broker, "192.0.2.8", "guest"), None, "others are let in");
        let path = format!("auth/attempts/{node}");
        assert_eq!(attempts(&api.get(&path).body, "amqp091"), [5, 4, 1]);
        let sources = api.get(&format!("{path}/source")).body;
        assert_eq!(
            (&sources[0]["remote_address"], &sources[0]["auth_attempts_failed"]),
            (&json!("192.0.2.7"), &json!(3))
        );
        let mut metrics = ureq::get(format!("http://{}/metrics", broker.metrics)).call().unwrap();
        let metrics = metrics.body_mut().read_to_string().unwrap();
        assert!(metrics.contains("rabbitmq_auth_attempts_failed_total{protocol=\"amqp091\"} 4\n"), "{metrics}");
        assert!(metrics.contains("rabbitmq_auth_attempts_failed_total{protocol=\"http\"} 0\n"), "{metrics}");
        let requests = "rabbitmq_auth_attempts_succeeded_total{protocol=\"http\"} 3\n";
        assert!(metrics.contains(requests), "each request is a login: {metrics}");
        assert_eq!(api.delete(&path).status, 204);
        assert_eq!(login_from(broker, "192.0.2.7", "guest"), None);
        assert_eq!(attempts(&api.get(&path).body, "amqp091"), [1, 0, 1]);
    });
}

#[test]
fn failures_over_http_and_amqp_count_together() {
    own_process(&["--set", "login_failures.max=2"], async |broker| {
        let api = Management::new(broker.http);
        let wrong = api.as_user("guest", "wrong");
        assert_eq!(wrong.get("whoami").status, 401);
        let mut raw = Raw::connect(broker);
        raw.write(HEADER);
        raw.method(0);
        raw.start_ok(&Login { response: b"\0guest\0wrong".to_vec(), ..Login::default() });
        assert_eq!(raw.closed().code, 403);
        let answer = api.get("whoami");
        assert_eq!((answer.status, answer.reason()), (429, "Too many failed logins from this address"));
        let mut nobody = api.clone();
        nobody.authorization = String::new();
        assert_eq!(nobody.get("whoami").status, 401, "a request without a name is no login");
    });
}

#[test]
fn connections_that_say_nothing_leave_the_others_to_wait_until_they_go() {
    let flags = ["--shards", "1", "--set", "unauthenticated_connections_max=2", "--set", "handshake_timeout=10m"];
    own_process(&flags, async |broker| {
        // One that is open does not count.
        let _open = Raw::open(broker);
        let silent = [socket(broker.address), socket(broker.address)];
        let mut late = socket(broker.address);
        late.write_all(HEADER).unwrap();
        late.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut frame = [0; 7];
        let error = late.read_exact(&mut frame).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
        drop(silent);
        late.set_read_timeout(None).unwrap();
        late.read_exact(&mut frame).unwrap();
        assert_eq!(frame[..3], [1, 0, 0], "a method on channel 0: connection.start");
    });
}

#[test]
fn what_administrators_change_is_audited_and_no_password_is_written_anywhere() {
    let directory = tempfile::tempdir().unwrap();
    let (audit, log) = (directory.path().join("audit.log"), directory.path().join("ringmq.log"));
    let set = [format!("log.audit.file={}", audit.display()), format!("log.file={}", log.display())];
    let flags = ["--log", "debug", "--set", &set[0], "--set", &set[1], "--set", "default_pass=hunter0"];
    own_process(&flags, async |broker| {
        let api = Management::new(broker.http).as_user("guest", "hunter0");
        assert_eq!(api.put("users/al", &json!({"password": "hunter1", "tags": "management"})).status, 201);
        assert_eq!(api.as_user("al", "hunter1").delete("users/guest").status, 401);
        assert_eq!(api.as_user("al", "hunter2").get("whoami").status, 401);
        api.must_put("queues/%2F/q", &json!({"durable": true}));
        api.post("queues/%2F/q/get", &json!({"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"}));
        api.get("queues");
        let login = Login { response: b"\0guest\0hunter3".to_vec(), ..Login::default() };
        let answer = Raw::connect(broker).handshake(&login);
        assert!(matches!(answer, AMQPClass::Connection(Connection::Close(_))), "{answer:?}");
        let text = fs::read_to_string(&audit).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let fields = |line: &Value| ["user", "method", "path", "status"].map(|field| line[field].to_string());
        let found: Vec<_> = lines.iter().map(fields).collect();
        let expect = [
            [r#""\"guest\"""#, "\"PUT\"", "\"/api/users/al\"", "201"],
            [r#""\"al\"""#, "\"DELETE\"", "\"/api/users/guest\"", "401"],
            [r#""\"guest\"""#, "\"PUT\"", "\"/api/queues/%2F/q\"", "201"],
        ];
        assert_eq!(found, expect, "{text}");
        assert!(lines[0]["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{text}");
        assert!(lines[0]["detail"].as_str().unwrap().contains("\"tags\":\"management\""), "{text}");
        let everything = [text, fs::read_to_string(&log).unwrap(), broker.log()].concat();
        assert!(everything.contains("login refused"), "{everything}");
        assert!(!everything.contains("hunter"), "{everything}");
        assert!(!broker.log().contains("administrative change"), "it has a file of its own");
    });
}

fn declare_queue(name: &str) -> AMQPClass {
    queue(Queue::Declare(Declare { queue: name.into(), ..Declare::default() }))
}

#[test]
fn what_clients_change_is_audited_where_that_is_wanted_and_only_what_has_changed() {
    let directory = tempfile::tempdir().unwrap();
    let audit = directory.path().join("audit.log");
    let file = format!("log.audit.file={}", audit.display());
    own_process(&["--set", &file, "--set", "log.audit.amqp=true", "--shards", "2"], async |broker| {
        let mut raw = Raw::open(broker);
        let name = |name: &str| name.to_owned();
        for name in ["a", "a", "b", "c", "d"] {
            raw.call(1, &declare_queue(name));
        }
        for _ in 0..2 {
            let bind = Bind { queue: "a".into(), exchange: "amq.topic".into(), ..Bind::default() };
            raw.call(1, &queue(Queue::Bind(bind)));
        }
        for name in ["a", "a", "b"] {
            raw.call(1, &queue(Queue::Delete(Delete { queue: name.into(), ..Delete::default() })));
        }
        Management::new(broker.http).must_put("queues/%2F/of-http", &json!({}));
        let text = fs::read_to_string(&audit).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of_clients = lines.iter().filter(|line| line["message"] == "change by a client");
        let found: Vec<_> = of_clients
            .map(|line| {
                let detail: Value = serde_json::from_str(line["detail"].as_str().unwrap()).unwrap();
                assert!(line["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{text}");
                assert_eq!((&line["user"], &line["vhost"]), (&json!("\"guest\""), &json!("\"/\"")), "{text}");
                (name(line["method"].as_str().unwrap()), name(detail["queue"].as_str().unwrap()))
            })
            .collect();
        let declared = ["a", "b", "c", "d"].map(|queue| (name("queue.declare"), name(queue)));
        let others = [("queue.bind", "a"), ("queue.delete", "a"), ("queue.delete", "b")];
        let expect: Vec<_> =
            declared.into_iter().chain(others.map(|(method, queue)| (name(method), name(queue)))).collect();
        assert_eq!(found, expect, "{text}");
        assert!(text.contains("/api/queues/%2F/of-http"), "{text}");
    });
}

#[test]
fn what_clients_change_is_not_audited_unless_it_is_wanted() {
    let directory = tempfile::tempdir().unwrap();
    let audit = directory.path().join("audit.log");
    let file = format!("log.audit.file={}", audit.display());
    own_process(&["--set", &file], async |broker| {
        let mut raw = Raw::open(broker);
        raw.call(1, &declare_queue("a"));
        Management::new(broker.http).must_put("queues/%2F/of-http", &json!({}));
        let text = fs::read_to_string(&audit).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("of-http"), "{text}");
    });
}

#[test]
fn exchanges_and_unbinding_are_audited_too() {
    let directory = tempfile::tempdir().unwrap();
    let audit = directory.path().join("audit.log");
    let file = format!("log.audit.file={}", audit.display());
    own_process(&["--set", &file, "--set", "log.audit.amqp=true"], async |broker| {
        let mut raw = Raw::open(broker);
        let declare =
            exchange::Declare { exchange: "x".into(), kind: "topic".into(), ..exchange::Declare::default() };
        let (destination, source) = ("x".into(), "amq.direct".into());
        let bind = exchange::Bind { destination, source, routing_key: "k".into(), ..exchange::Bind::default() };
        let (destination, source) = ("x".into(), "amq.direct".into());
        let unbind =
            exchange::Unbind { destination, source, routing_key: "k".into(), ..exchange::Unbind::default() };
        let delete = exchange::Delete { exchange: "x".into(), ..exchange::Delete::default() };
        let methods =
            [Exchange::Declare(declare), Exchange::Bind(bind), Exchange::Unbind(unbind), Exchange::Delete(delete)];
        for method in methods {
            raw.call(1, &AMQPClass::Exchange(method));
        }
        raw.call(1, &declare_queue("q"));
        let ends = || ("q".into(), "amq.fanout".into());
        let (queue_name, exchange) = ends();
        raw.call(1, &queue(Queue::Bind(Bind { queue: queue_name, exchange, ..Bind::default() })));
        let (queue_name, exchange) = ends();
        raw.call(1, &queue(Queue::Unbind(Unbind { queue: queue_name, exchange, ..Unbind::default() })));
        let text = fs::read_to_string(&audit).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let methods: Vec<_> = lines.iter().map(|line| line["method"].as_str().unwrap()).collect();
        let expect = ["exchange.declare", "exchange.bind", "exchange.unbind", "exchange.delete"];
        assert_eq!(methods, [&expect[..], &["queue.declare", "queue.bind", "queue.unbind"]].concat(), "{text}");
        let detail = |line: usize| serde_json::from_str::<Value>(lines[line]["detail"].as_str().unwrap()).unwrap();
        assert_eq!(detail(0)["type"], "topic", "{text}");
        let bound = json!({"destination": "x", "source": "amq.direct", "routing_key": "k", "arguments": {}});
        assert_eq!([detail(1), detail(2)], [bound.clone(), bound], "{text}");
    });
}

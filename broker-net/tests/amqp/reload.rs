//! SIGHUP: what is put into effect while the broker runs, and what is said about the rest.

use std::fs;
use std::path::Path;

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::connection::AMQPMethod as Connection;
use serde_json::json;

use crate::harness::{Broker, Login, Management, Raw, own_process};

/// Runs a test against a broker with a configuration file.
fn configured(text: &str, test: impl AsyncFnOnce(&mut Broker, &Path)) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ringmq.toml");
    let text = text.replace("DIR", directory.path().to_str().unwrap());
    fs::write(&path, text).unwrap();
    own_process(&["--config", path.to_str().unwrap()], async |broker| test(broker, &path).await);
}

/// Waits for something that a reload brings; the test's own time limit ends the wait.
async fn until(reached: impl Fn() -> bool) {
    while !reached() {
        tokio::task::yield_now().await;
    }
}

fn reloads(broker: &Broker) -> usize {
    broker.log().matches("have been read again").count()
}

/// The code with which a connection is refused.
fn refusal(broker: &Broker) -> Option<u16> {
    match Raw::connect(broker).handshake(&Login::default()) {
        AMQPClass::Connection(Connection::Close(close)) => Some(close.reply_code),
        AMQPClass::Connection(Connection::OpenOk(_)) => None,
        other => panic!("{other:?} does not answer connection.open"),
    }
}

#[test]
fn limits_and_levels_change_and_what_needs_a_restart_is_named() {
    configured("connection_max = 1\nframe_max = 8192\n", async |broker, path| {
        let _first = Raw::open(broker);
        assert_eq!(refusal(broker), Some(530));
        fs::write(path, "connection_max = 9\nframe_max = 4096\nlog.default.level = 'debug'\n").unwrap();
        broker.reload();
        until(|| reloads(broker) == 1).await;
        assert_eq!(refusal(broker), None);
        let log = broker.log();
        assert!(
            log.contains("log.default.level connection_max") || log.contains("connection_max log.default.level"),
            "{log}"
        );
        assert!(log.contains("the change needs a restart key=\"frame_max\""), "{log}");
    });
}

#[test]
fn a_file_with_faults_changes_nothing() {
    configured("connection_max = 1\n", async |broker, path| {
        let _first = Raw::open(broker);
        fs::write(path, "connection_max = 9\nconection_max = 9\n").unwrap();
        broker.reload();
        until(|| broker.log().contains("cannot be read again")).await;
        let log = broker.log();
        assert!(log.contains("ringmq.toml:2: unknown key `conection_max`; is `connection_max` meant?"), "{log}");
        assert_eq!(refusal(broker), Some(530));
    });
}

#[test]
fn log_file_is_opened_again_and_may_be_json() {
    let text = "log.file.path = 'DIR/ringmq.log'\nlog.file.formatter = 'json'\nlog.console = true\n";
    configured(text, async |broker, path| {
        let (log, rotated) = (path.with_file_name("ringmq.log"), path.with_file_name("ringmq.log.1"));
        fs::rename(&log, &rotated).unwrap();
        broker.reload();
        let shown = || {
            let rows = Management::new(broker.http).get("nodes").body;
            ["log_files", "config_files"].map(|field| rows[0][field].clone())
        };
        let path = path.display().to_string();
        assert_eq!(shown(), [json!([log.display().to_string(), "<stderr>"]), json!([path])]);
        until(|| log.exists() && fs::read_to_string(&log).is_ok_and(|text| text.ends_with('\n'))).await;
        let before = fs::read_to_string(&rotated).unwrap();
        for line in before.lines() {
            assert!(serde_json::from_str::<serde_json::Value>(line).unwrap()["fields"]["message"].is_string());
        }
        assert!(before.contains("\"ready\""), "{before}");
        assert!(fs::read_to_string(&log).unwrap().contains("have been read again"));
    });
}

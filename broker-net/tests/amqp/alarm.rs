//! Resource alarms: who publishes is told and waits, everybody else goes on.

use std::fs;
use std::path::Path;

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::{AMQPMethod as Basic, Get};
use amq_protocol::protocol::connection::AMQPMethod as Connection;
use amq_protocol::types::FieldTable;
use serde_json::{Value, json};

use crate::harness::{Broker, Login, Management, Raw, basic, declare, message_count, own_process, publish};

/// Writes the configuration: both alarms are set, or only one, or none.
fn write_config(path: &Path, memory: bool, disk: bool) {
    let memory = if memory { "0" } else { "1TB" };
    let disk = if disk { "1000000TB" } else { "0" };
    let text =
        format!("vm_memory_high_watermark.absolute = \"{memory}\"\ndisk_free_limit.absolute = \"{disk}\"\n");
    fs::write(path, text).unwrap();
}

/// Runs a test against a broker whose configuration is that of [`write_config`].
fn alarmed(memory: bool, disk: bool, test: impl AsyncFnOnce(&mut Broker, &Path)) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ringmq.toml");
    write_config(&path, memory, disk);
    own_process(&["--config", path.to_str().unwrap()], async |broker| test(broker, &path).await);
}

fn blocked_reason(raw: &mut Raw) -> String {
    match raw.method(0) {
        AMQPClass::Connection(Connection::Blocked(blocked)) => blocked.reason.to_string(),
        other => panic!("{other:?} is not connection.blocked"),
    }
}

#[test]
fn publisher_is_told_why_it_waits_and_goes_on_when_the_alarm_clears() {
    alarmed(true, false, async |broker, path| {
        let observer = broker.open().await;
        declare(&observer, "q").await;
        let mut raw = Raw::open(broker);
        raw.publish(1, "q", b"waits");
        assert_eq!(blocked_reason(&mut raw), "low on memory");
        assert_eq!(message_count(&observer, "q").await, 0);
        write_config(path, false, false);
        broker.reload();
        assert!(matches!(raw.method(0), AMQPClass::Connection(Connection::Unblocked(_))));
        observer.wait_for_count("q", 1).await;
    });
}

#[test]
fn both_resources_are_named() {
    alarmed(true, true, async |broker, _| {
        let mut raw = Raw::open(broker);
        raw.publish(1, "q", b"waits");
        assert_eq!(blocked_reason(&mut raw), "low on disk & memory");
    });
}

#[test]
fn who_has_published_is_told_at_once_and_consumers_go_on() {
    alarmed(false, false, async |broker, path| {
        let session = broker.open().await;
        declare(&session, "q").await;
        publish(&session, "", "q", "before").await;
        let mut publisher = Raw::open(broker);
        publisher.publish(1, "q", b"before");
        write_config(path, false, true);
        broker.reload();
        assert_eq!(blocked_reason(&mut publisher), "low on disk");
        let mut consumer = Raw::open(broker);
        for _ in 0..2 {
            let answer = consumer.call(1, &basic(Basic::Get(Get { queue: "q".into(), no_ack: true })));
            assert!(matches!(answer, AMQPClass::Basic(Basic::GetOk(_))), "{answer:?}");
            consumer.next().unwrap();
            consumer.next().unwrap();
        }
    });
}

#[test]
fn client_that_cannot_be_told_just_waits_and_gets_heartbeats() {
    alarmed(true, false, async |broker, path| {
        let login = Login { capabilities: FieldTable::default(), heartbeat: 1, ..Login::default() };
        let mut raw = Raw::login(broker, &login);
        raw.publish(1, "q", b"waits");
        while raw.heartbeats < 4 {
            raw.fill_once();
        }
        write_config(path, false, false);
        broker.reload();
        raw.open_channel(2);
    });
}

#[test]
fn thresholds_of_administrators_hold_at_once_until_the_configuration_is_read_again() {
    alarmed(false, false, async |broker, _| {
        let mut raw = Raw::open(broker);
        raw.publish(1, "q", b"goes nowhere");
        raw.open_channel(2);
        let api = Management::new(broker.http);
        let node = api.get("overview").body["node"].as_str().unwrap().to_owned();
        let set = |setting: &str, body: Value| api.put(&format!("nodes/{node}/{setting}"), &body).status;
        let unblocked =
            |raw: &mut Raw| assert!(matches!(raw.method(0), AMQPClass::Connection(Connection::Unblocked(_))));
        assert_eq!(set("vm-memory-high-watermark", json!({"absolute": 0})), 204);
        assert_eq!(blocked_reason(&mut raw), "low on memory");
        assert_eq!(set("vm-memory-high-watermark", json!({"relative": 1.0})), 204);
        unblocked(&mut raw);
        assert_eq!(set("disk-free-limit", json!({"absolute": "1000000TB"})), 204);
        assert_eq!(blocked_reason(&mut raw), "low on disk");
        assert_eq!(
            api.get(&format!("nodes/{node}")).body["disk_free_limit"],
            json!(1_000_000_000_000_000_000_u64)
        );
        broker.reload();
        unblocked(&mut raw);
        assert_eq!(set("disk-free-limit", json!({"relative": 1000})), 204);
        assert_eq!(blocked_reason(&mut raw), "low on disk");
        broker.crash();
        assert_eq!(Management::new(broker.http).get(&format!("nodes/{node}")).body["disk_free_limit"], json!(0));
    });
}

//! The configuration as the operator meets it: a file, `--set`, and what is refused.

use std::process::{Command, Output};

use crate::harness::{Raw, own_process, socket};

fn ringmq(flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringmq")).args(flags).output().unwrap()
}

#[test]
fn unknown_key_stops_the_start_with_its_line() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "heartbeat = 5\n# fine so far\nhart_beat = 5\n").unwrap();
    let path = file.path().to_str().unwrap();
    let output = ringmq(&["--config", path]);
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error, format!("ringmq: {path}:3: unknown key `hart_beat`\n"));
}

#[test]
fn check_config_checks_and_ends() {
    assert!(ringmq(&["--check-config", "--set", "heartbeat = 5"]).status.success());
    assert!(!ringmq(&["--check-config", "--set", "heartbeat = often"]).status.success());
}

#[test]
fn every_listener_takes_connections() {
    own_process(&["--amqp", "127.0.0.1:0", "--amqp", "[::1]:0"], async |broker| {
        Raw::open(broker);
        for address in broker.listening() {
            let mut raw = Raw::over(socket(address));
            raw.write(b"AMQP\x00\x00\x09\x01");
            raw.method(0);
        }
    });
}

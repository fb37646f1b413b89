//! Promise: a run passes when every message arrived once, unharmed and in order, and fails when one did not.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod relay;

use std::{net::TcpListener, thread};

use broker_bench::{Load, Report, run};
use relay::{Fault, serve};

const MESSAGES: u64 = 1000;

/// A workload of 1000 messages a producer against a relay with that fault.
fn load(fault: Fault) -> Load {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("amqp://guest:guest@{}/%2f", listener.local_addr().unwrap());
    thread::spawn(move || serve(listener, fault));
    // What a fault has swallowed is not waited for long.
    let drain_seconds = if fault == Fault::None { 60.0 } else { 1.0 };
    Load { uri, publish_count: Some(MESSAGES), seconds: None, drain_seconds, ..Load::default() }
}

fn run_quietly(load: &Load) -> Report {
    run(load, &mut |_| {}).unwrap()
}

/// Runs a workload without faults, and expects every message in that many queues.
fn check_passes(load: &Load, fan_out: u64) -> Report {
    let report = run_quietly(load);
    let published = MESSAGES * u64::try_from(load.producers).unwrap();
    assert_eq!(report.failures, [""; 0]);
    assert_eq!(
        (report.published, report.received, report.expected),
        (published, published * fan_out, published * fan_out)
    );
    report
}

/// Runs a workload with a fault, and expects a failure that says so.
fn check_fails(fault: Fault, text: &str) {
    let load = Load { auto_ack: true, ..load(fault) };
    let report = run_quietly(&load);
    assert!(report.failures.iter().any(|failure| failure.contains(text)), "{:?}", report.failures);
}

fn queues(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("q{index}")).collect()
}

#[test]
fn one_producer_and_one_consumer_pass() {
    let report = check_passes(&load(Fault::None), 1);
    assert_eq!(report.deliver_latency_us.unwrap().count, MESSAGES);
    assert!(report.verified_by_body);
}

#[test]
fn confirms_are_counted_and_timed() {
    let load = Load { confirm_window: Some(7), persistent: true, ..load(Fault::None) };
    let report = check_passes(&load, 1);
    assert_eq!((report.confirmed, report.confirm_latency_us.unwrap().count), (MESSAGES, MESSAGES));
}

#[test]
fn bodies_of_every_size_pass() {
    for size in [0, 1, 15, 17, 1024, 131_064, 300_000] {
        let load = Load { size, confirm_window: Some(2), publish_count: Some(20), ..load(Fault::None) };
        let report = run_quietly(&load);
        assert_eq!((report.failures, report.received), (vec![], 20), "{size} bytes");
    }
}

#[test]
fn fan_out_to_many_queues_passes() {
    let load = Load {
        producers: 2,
        consumers: 3,
        queues: queues(10),
        exchange: Some("x".into()),
        exchange_type: "fanout".into(),
        ..load(Fault::None)
    };
    check_passes(&load, 10);
}

#[test]
fn many_queues_in_turn_and_many_connections_pass() {
    let load =
        Load { producers: 5, consumers: 40, queues: queues(20), spread: true, ack_every: 10, ..load(Fault::None) };
    check_passes(&load, 1);
}

#[test]
fn the_open_loop_publishes_what_is_due() {
    let load = Load { rate: Some(50_000.0), producers: 2, ..load(Fault::None) };
    check_passes(&load, 1);
}

#[test]
fn what_nobody_consumes_is_counted_in_the_queue() {
    let load = Load { consumers: 0, confirm_window: Some(100), ..load(Fault::None) };
    assert_eq!(run_quietly(&load).failures, [""; 0]);
    let load = Load { consumers: 0, confirm_window: Some(100), ..self::load(Fault::Drop(500)) };
    assert_eq!(run_quietly(&load).lost, 1);
}

#[test]
fn a_lost_message_fails_the_run() {
    check_fails(Fault::Drop(500), "1 messages did not arrive (the first: message 500 of producer 0, queue 0)");
}

#[test]
fn a_duplicate_fails_the_run() {
    check_fails(Fault::Duplicate(500), "1 messages arrived twice");
}

#[test]
fn a_reordered_message_fails_the_run() {
    check_fails(Fault::Swap(500), "1 messages arrived after a later one");
}

#[test]
fn a_damaged_message_fails_the_run() {
    check_fails(Fault::Damage(500), "1 messages arrived with a wrong checksum");
}

#[test]
fn a_marked_redelivery_is_no_failure() {
    let report = run_quietly(&load(Fault::Redeliver(500)));
    assert_eq!((report.failures, report.redelivered, report.received), (vec![], 1, MESSAGES));
}

#[test]
fn refused_messages_are_not_lost() {
    let report = run_quietly(&Load { confirm_window: Some(10), ..load(Fault::RefuseAll) });
    assert_eq!((report.failures, report.nacked, report.lost), (vec![], MESSAGES, 0));
}

#[test]
fn a_broker_that_is_not_there_is_an_error() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let load = Load { uri: format!("amqp://127.0.0.1:{port}"), ..Load::default() };
    assert!(run(&load, &mut |_| {}).is_err());
}

//! Limits of consumers: how long a delivery may stay unacknowledged, and how many consumers a channel may have.

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::AMQPMethod as Basic;
use lapin::options::QueueDeclareOptions;
use lapin::types::AMQPValue;

use crate::basic::{ack, raw_consume, raw_get};
use crate::harness::{Closed, Raw, body, declare, get, next, publish, scenario, scenario_with, table};

fn timed_out(timeout_ms: u32) -> Closed {
    let text = format!(
        "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: {timeout_ms} ms. \
         This timeout value can be configured, see consumers doc guide to learn more"
    );
    Closed { code: 406, text, method: (0, 0) }
}

/// Reads a message: method, header, body.
fn receive(raw: &mut Raw) {
    for _ in 0..3 {
        raw.next().expect("the message");
    }
}

#[test]
fn delivery_that_is_not_acknowledged_closes_its_channel() {
    scenario_with(&["--set", "consumer_timeout=600"], async |broker| {
        let session = broker.open().await;
        declare(&session, "slow").await;
        publish(&session, "", "slow", "1").await;
        publish(&session, "", "slow", "2").await;
        let mut raw = Raw::open(broker);
        raw.call(1, &raw_consume("slow", "tag"));
        receive(&mut raw);
        receive(&mut raw);
        raw.send(1, &ack(1, false));
        assert_eq!(raw.channel_closed(1), timed_out(600));
        // The queue may be on another shard, which hears of the channel's end after the client.
        let again = loop {
            if let Some(message) = get(&session, "slow").await {
                break message;
            }
        };
        assert_eq!((body(&again), again.redelivered), ("2", true));
    });
}

#[test]
fn message_that_was_fetched_times_out_too() {
    scenario_with(&["--set", "consumer_timeout=600"], async |broker| {
        let session = broker.open().await;
        declare(&session, "slow").await;
        publish(&session, "", "slow", "1").await;
        crate::harness::message_count(&session, "slow").await;
        let mut raw = Raw::open(broker);
        let got = raw.call(1, &raw_get("slow"));
        assert!(matches!(got, AMQPClass::Basic(Basic::GetOk(_))), "{got:?}");
        raw.next().expect("the header");
        raw.next().expect("the body");
        assert_eq!(raw.channel_closed(1), timed_out(600));
    });
}

#[test]
fn queue_may_have_a_timeout_of_its_own() {
    scenario(async |broker| {
        let session = broker.open().await;
        let arguments = table([("x-consumer-timeout", AMQPValue::LongInt(500))]);
        session.queue_declare("quick".into(), QueueDeclareOptions::default(), arguments).await.unwrap();
        declare(&session, "slow").await;
        let mut slow = crate::basic::consume(&session, "slow", "").await;
        publish(&session, "", "slow", "held").await;
        let held = next(&mut slow).await;
        publish(&session, "", "quick", "1").await;
        let mut raw = Raw::open(broker);
        raw.call(1, &raw_consume("quick", "tag"));
        receive(&mut raw);
        assert_eq!(raw.channel_closed(1), timed_out(500));
        // The other queue has the default of half an hour.
        held.ack(Default::default()).await.unwrap();
        publish(&session, "", "slow", "more").await;
        assert_eq!(body(&next(&mut slow).await), "more");
    });
}

#[test]
fn too_many_consumers_of_a_channel_are_530() {
    scenario_with(&["--set", "consumer_max_per_channel=2"], async |broker| {
        let session = broker.open().await;
        declare(&session, "queue").await;
        let mut raw = Raw::open(broker);
        raw.call(1, &raw_consume("queue", "one"));
        raw.call(1, &raw_consume("queue", "two"));
        raw.send(1, &raw_consume("queue", "three"));
        let closed = raw.closed();
        assert_eq!((closed.code, closed.method), (530, (60, 20)));
        assert_eq!(closed.text, "NOT_ALLOWED - reached maximum (2) of consumers per channel");
    });
}

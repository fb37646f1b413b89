//! Class confirm: every publish is confirmed exactly once, after what was promised has happened.

use std::collections::BTreeSet;

use amq_protocol::frame::AMQPFrame;
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::{AMQPMethod as Basic, Ack, Publish};
use amq_protocol::protocol::confirm::{AMQPMethod as Confirm, Select, SelectOk};
use amq_protocol::protocol::tx;
use lapin::Confirmation;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;

use crate::harness::{Broker, Raw, basic, declare, message_count, persistent, scenario, scenario_with};

fn select() -> AMQPClass {
    AMQPClass::Confirm(Confirm::Select(Select { nowait: false }))
}

/// A connection whose channel 1 is in confirm mode.
fn confirming(broker: &Broker) -> Raw {
    let mut raw = Raw::open(broker);
    assert_eq!(raw.call(1, &select()), AMQPClass::Confirm(Confirm::SelectOk(SelectOk {})));
    raw
}

/// Tags of publishes that are not confirmed yet.
struct Unconfirmed(BTreeSet<u64>);

impl Unconfirmed {
    /// Each tag must be acked exactly once, and an ack of many must cover some.
    fn take(&mut self, ack: &Ack) {
        if ack.multiple {
            let rest = self.0.split_off(&(ack.delivery_tag + 1));
            assert!(!self.0.is_empty(), "ack up to {} covers nothing", ack.delivery_tag);
            self.0 = rest;
        } else {
            assert!(self.0.remove(&ack.delivery_tag), "{} is acked twice", ack.delivery_tag);
        }
    }
}

/// Reads acks until each tag from `first` to `last` is acked.
fn read_acks(raw: &mut Raw, first: u64, last: u64) {
    let mut unconfirmed = Unconfirmed((first..=last).collect());
    while !unconfirmed.0.is_empty() {
        let AMQPClass::Basic(Basic::Ack(ack)) = raw.method(1) else { panic!("no basic.ack") };
        unconfirmed.take(&ack);
    }
}

#[test]
fn every_publish_is_acked_once_from_tag_1() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "acked").await;
        let mut raw = confirming(broker);
        for _ in 0..3000 {
            raw.publish(1, "acked", b"x");
        }
        read_acks(&mut raw, 1, 3000);
        // A second select is fine and counts on.
        assert_eq!(raw.call(1, &select()), AMQPClass::Confirm(Confirm::SelectOk(SelectOk {})));
        raw.publish(1, "acked", b"x");
        read_acks(&mut raw, 3001, 3001);
        assert_eq!(message_count(&session, "acked").await, 3001);
    });
}

#[test]
fn unroutable_publishes_are_acked_too() {
    scenario(async |broker| {
        let mut raw = confirming(broker);
        for _ in 0..10 {
            raw.publish(1, "nowhere", b"x");
        }
        read_acks(&mut raw, 1, 10);
    });
}

#[test]
fn return_comes_before_the_ack() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "somewhere").await;
        let mut raw = confirming(broker);
        for number in 1..=20_u64 {
            raw.publish(1, "somewhere", b"x");
            let publish = Publish { routing_key: "nowhere".into(), mandatory: true, ..Publish::default() };
            raw.send(1, &basic(Basic::Publish(publish)));
            raw.header(1, 2);
            raw.frame(3, 1, &number.to_be_bytes()[6..]);
        }
        let (mut returned, mut unconfirmed) = (0, Unconfirmed((1..=40).collect()));
        while !unconfirmed.0.is_empty() {
            match raw.next().expect("a frame") {
                AMQPFrame::Method(1, AMQPClass::Basic(Basic::Return(_))) => returned += 1,
                AMQPFrame::Method(1, AMQPClass::Basic(Basic::Ack(ack))) => {
                    unconfirmed.take(&ack);
                    // Even tags are those of returned messages.
                    if ack.multiple || ack.delivery_tag % 2 == 0 {
                        assert!(ack.delivery_tag / 2 <= returned, "{ack:?} after {returned} returns");
                    }
                }
                AMQPFrame::Header(..) | AMQPFrame::Body(..) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(returned, 20);
    });
}

#[test]
fn persistent_publishes_to_many_queues_are_confirmed_once() {
    scenario_with(&["--shards", "2"], async |broker| {
        let session = broker.open().await;
        session.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        for number in 0..8 {
            let name = format!("durable-{number}");
            let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            session.queue_declare(name.as_str().into(), options, FieldTable::default()).await.unwrap();
            session
                .queue_bind(
                    name.as_str().into(),
                    "amq.fanout".into(),
                    "".into(),
                    Default::default(),
                    FieldTable::default(),
                )
                .await
                .unwrap();
        }
        let mut confirms = Vec::new();
        for number in 0..100 {
            let (exchange, key) = if number % 2 == 0 { ("amq.fanout", "") } else { ("", "durable-3") };
            let options = BasicPublishOptions::default();
            confirms.push(
                session.basic_publish(exchange.into(), key.into(), options, b"x", persistent()).await.unwrap(),
            );
        }
        for confirm in confirms {
            assert_eq!(confirm.await.unwrap(), Confirmation::Ack(None));
        }
        assert_eq!(message_count(&session, "durable-3").await, 100);
        assert_eq!(message_count(&session, "durable-4").await, 50);
    });
}

#[test]
fn publish_to_a_missing_exchange_gets_no_confirm() {
    scenario(async |broker| {
        let mut raw = confirming(broker);
        raw.publish(1, "nowhere", b"x");
        read_acks(&mut raw, 1, 1);
        raw.send(1, &basic(Basic::Publish(Publish { exchange: "missing".into(), ..Publish::default() })));
        raw.header(1, 0);
        raw.publish(1, "nowhere", b"dropped");
        assert_eq!(raw.channel_closed(1).code, 404);
        raw.open_channel(1);
        assert_eq!(raw.call(1, &select()), AMQPClass::Confirm(Confirm::SelectOk(SelectOk {})));
        raw.publish(1, "nowhere", b"x");
        // The tags of the new channel begin again.
        read_acks(&mut raw, 1, 1);
    });
}

#[test]
fn confirm_mode_and_transactions_exclude_each_other() {
    scenario(async |broker| {
        let mut raw = Raw::open(broker);
        let tx_select = AMQPClass::Tx(tx::AMQPMethod::Select(tx::Select {}));
        raw.call(1, &tx_select);
        raw.send(1, &select());
        let closed = raw.channel_closed(1);
        assert_eq!(
            (closed.code, closed.text.as_str()),
            (406, "PRECONDITION_FAILED - cannot switch from tx to confirm mode")
        );
        let mut raw = confirming(broker);
        raw.send(1, &tx_select);
        let closed = raw.channel_closed(1);
        assert_eq!(
            (closed.code, closed.text.as_str()),
            (406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode")
        );
    });
}

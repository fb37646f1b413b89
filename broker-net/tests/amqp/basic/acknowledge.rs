//! Getting, acknowledging and giving back.

use super::{ack, consume, raw_consume, raw_get};
use crate::harness::{
    Raw, basic, body, declare, error_of, get, message_count, next, publish, scenario, scenario_with,
};
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::{AMQPMethod as Basic, Recover, RecoverAsync, Reject};
use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicNackOptions, BasicRecoverOptions, BasicRejectOptions,
};

#[test]
fn get_counts_what_is_left_and_says_empty() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "got").await;
        for number in ["1", "2", "3"] {
            publish(&session, "", "got", number).await;
        }
        for (number, left) in [("1", 2), ("2", 1), ("3", 0)] {
            let message = get(&session, "got").await.expect("a message");
            assert_eq!((body(&message), message.message_count), (number, left));
        }
        assert!(get(&session, "got").await.is_none());
        let options = BasicGetOptions::default();
        let missing = session.basic_get("missing".into(), options).await;
        assert_eq!(error_of(missing), (404, "NOT_FOUND - no queue 'missing' in vhost '/'".into()));
    });
}

#[test]
fn no_ack_get_settles_at_once() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "settled").await;
        publish(&session, "", "settled", "1").await;
        session.basic_get("settled".into(), BasicGetOptions { no_ack: true }).await.unwrap().expect("a message");
        session.connection.close(200, "bye".into()).await.unwrap();
        let session = broker.open().await;
        assert!(get(&session, "settled").await.is_none());
    });
}

#[test]
fn messages_of_a_lost_consumer_come_back_redelivered_in_order() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "lost").await;
        let worker = broker.open().await;
        let mut consumer = consume(&worker, "lost", "").await;
        for number in 0..10 {
            publish(&session, "", "lost", &number.to_string()).await;
        }
        for _ in 0..10 {
            next(&mut consumer).await;
        }
        let mut second = consume(&session, "lost", "").await;
        worker.connection.close(200, "gone".into()).await.unwrap();
        for number in 0..10 {
            let delivery = next(&mut second).await;
            assert_eq!((body(&delivery), delivery.redelivered), (number.to_string().as_str(), true));
        }
    });
}

#[test]
fn ack_multiple_settles_all_up_to_the_tag() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "multiple").await;
        for number in 0..10 {
            publish(&session, "", "multiple", &number.to_string()).await;
        }
        for _ in 0..10 {
            get(&session, "multiple").await.expect("a message");
        }
        session.basic_ack(7, BasicAckOptions { multiple: true }).await.unwrap();
        session.basic_recover(BasicRecoverOptions { requeue: true }).await.unwrap();
        assert_eq!(message_count(&session, "multiple").await, 3);
        for number in ["7", "8", "9"] {
            assert_eq!(body(&get(&session, "multiple").await.expect("a message")), number);
        }
        // Tag 0 means all; with none outstanding it is fine too.
        session.basic_ack(0, BasicAckOptions { multiple: true }).await.unwrap();
        session.basic_ack(0, BasicAckOptions { multiple: true }).await.unwrap();
        session.basic_recover(BasicRecoverOptions { requeue: true }).await.unwrap();
        assert_eq!(message_count(&session, "multiple").await, 0);
    });
}

#[test]
fn unknown_delivery_tag_is_406() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "tags").await;
        let mut raw = Raw::open(broker);
        let reject = basic(Basic::Reject(Reject { delivery_tag: 5, requeue: true }));
        for (method, tag, id) in
            [(ack(5, false), 5, 80), (ack(5, true), 5, 80), (ack(0, false), 0, 80), (reject, 5, 90)]
        {
            raw.send(1, &method);
            let closed = raw.channel_closed(1);
            assert_eq!((closed.code, closed.method), (406, (60, id)));
            assert_eq!(closed.text, format!("PRECONDITION_FAILED - unknown delivery tag {tag}"));
            raw.open_channel(1);
        }
        // Twice is once too many.
        raw.publish(1, "tags", b"1");
        raw.send(1, &raw_get("tags"));
        for _ in 0..3 {
            raw.next().expect("a message");
        }
        raw.send(1, &ack(1, false));
        raw.send(1, &ack(1, false));
        assert_eq!(raw.channel_closed(1).text, "PRECONDITION_FAILED - unknown delivery tag 1");
    });
}

#[test]
fn nack_with_requeue_puts_messages_back_in_order() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "back").await;
        for number in 0..6 {
            publish(&session, "", "back", &number.to_string()).await;
        }
        for _ in 0..4 {
            get(&session, "back").await.expect("a message");
        }
        let options = BasicNackOptions { multiple: true, requeue: true };
        session.basic_nack(3, options).await.unwrap();
        session.basic_reject(4, BasicRejectOptions { requeue: true }).await.unwrap();
        for number in 0..6 {
            let message = get(&session, "back").await.expect("a message");
            assert_eq!((body(&message), message.redelivered), (number.to_string().as_str(), number < 4));
        }
    });
}

#[test]
fn reject_without_requeue_drops_the_message() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "dropped").await;
        for number in ["1", "2", "3"] {
            publish(&session, "", "dropped", number).await;
        }
        for _ in 0..3 {
            get(&session, "dropped").await.expect("a message");
        }
        session.basic_reject(2, BasicRejectOptions { requeue: false }).await.unwrap();
        session.basic_nack(1, BasicNackOptions { multiple: false, requeue: false }).await.unwrap();
        session.basic_recover(BasicRecoverOptions { requeue: true }).await.unwrap();
        assert_eq!(message_count(&session, "dropped").await, 1);
        assert_eq!(body(&get(&session, "dropped").await.expect("a message")), "3");
    });
}

#[test]
fn recover_brings_back_all_unacked_messages() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "recovered").await;
        for number in 0..3 {
            publish(&session, "", "recovered", &number.to_string()).await;
        }
        let mut consumer = consume(&session, "recovered", "").await;
        for _ in 0..3 {
            next(&mut consumer).await;
        }
        session.basic_recover(BasicRecoverOptions { requeue: true }).await.unwrap();
        for number in 0..3 {
            let delivery = next(&mut consumer).await;
            assert_eq!((body(&delivery), delivery.redelivered), (number.to_string().as_str(), true));
            assert_eq!(delivery.delivery_tag, number + 4);
        }
        let mut raw = Raw::open(broker);
        raw.send(1, &basic(Basic::Recover(Recover { requeue: false })));
        assert_eq!(raw.closed().code, 540);
    });
}

#[test]
fn recover_ok_comes_before_the_messages_it_brings_back() {
    // lapin, for one, forgets what comes before recover-ok. With one shard the queue is at hand.
    scenario_with(&["--shards", "1"], async |broker| {
        let session = broker.open().await;
        declare(&session, "soon").await;
        let mut raw = Raw::open(broker);
        raw.call(1, &raw_consume("soon", "tag"));
        publish(&session, "", "soon", "1").await;
        for _ in 0..3 {
            raw.next().expect("the message");
        }
        let answer = raw.call(1, &basic(Basic::Recover(Recover { requeue: true })));
        assert!(matches!(answer, AMQPClass::Basic(Basic::RecoverOk(_))), "{answer:?}");
        let message = raw.method(1);
        assert!(matches!(message, AMQPClass::Basic(Basic::Deliver(_))), "{message:?}");
    });
}

#[test]
fn recover_async_brings_messages_back_without_an_answer() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "q").await;
        publish(&session, "", "q", "1").await;
        session.wait_for_count("q", 1).await;
        let mut raw = Raw::open(broker);
        raw.send(1, &raw_get("q"));
        for _ in 0..3 {
            raw.next().expect("the message");
        }
        raw.send(1, &basic(Basic::RecoverAsync(RecoverAsync { requeue: true })));
        // The queue may be on another shard than the connection.
        session.wait_for_count("q", 1).await;
        let message = get(&session, "q").await.expect("it is back");
        assert_eq!((body(&message), message.redelivered), ("1", true));
        raw.send(1, &basic(Basic::RecoverAsync(RecoverAsync { requeue: false })));
        assert_eq!(raw.closed().code, 540);
    });
}

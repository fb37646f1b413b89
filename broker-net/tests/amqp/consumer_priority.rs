//! `x-priority` of consumers: lower ones are served while all higher ones are blocked.

use lapin::Consumer;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::AMQPValue;

use crate::harness::{Session, body, declare, error_of, message_count, next, publish, scenario, table};

async fn consume(session: &Session, queue: &str, priority: i32) -> Consumer {
    let arguments = table([("x-priority", AMQPValue::LongInt(priority))]);
    let options = BasicConsumeOptions::default();
    session.basic_consume(queue.into(), "".into(), options, arguments).await.unwrap()
}

#[test]
fn lower_priority_gets_what_the_higher_cannot_take() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "ranked").await;
        session.basic_qos(2, BasicQosOptions::default()).await.unwrap();
        let mut low = consume(&session, "ranked", -1).await;
        let mut high = consume(&session, "ranked", 10).await;
        for number in 0..5 {
            publish(&session, "", "ranked", &number.to_string()).await;
        }
        let first = next(&mut high).await;
        assert_eq!(body(&first), "0");
        assert_eq!(body(&next(&mut high).await), "1");
        assert_eq!(body(&next(&mut low).await), "2");
        assert_eq!(body(&next(&mut low).await), "3");
        assert_eq!(message_count(&session, "ranked").await, 1);
        first.ack(BasicAckOptions::default()).await.unwrap();
        assert_eq!(body(&next(&mut high).await), "4");
    });
}

#[test]
fn equal_priorities_take_turns() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "equals").await;
        let mut idle = consume(&session, "equals", 1).await;
        let mut one = consume(&session, "equals", 7).await;
        let mut other = consume(&session, "equals", 7).await;
        for number in 0..4 {
            publish(&session, "", "equals", &number.to_string()).await;
        }
        assert_eq!((body(&next(&mut one).await), body(&next(&mut other).await)), ("0", "1"));
        assert_eq!((body(&next(&mut one).await), body(&next(&mut other).await)), ("2", "3"));
        // When both have gone, the lower one has its turn.
        for consumer in [one, other] {
            session.basic_cancel(consumer.tag(), Default::default()).await.unwrap();
        }
        publish(&session, "", "equals", "4").await;
        assert_eq!(body(&next(&mut idle).await), "4");
    });
}

#[test]
fn priority_that_is_no_integer_is_406() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "ranked").await;
        let arguments = table([("x-priority", AMQPValue::LongString("high".into()))]);
        let refused = session.basic_consume("ranked".into(), "".into(), Default::default(), arguments).await;
        let text = "PRECONDITION_FAILED - invalid arg 'x-priority' for queue 'ranked' in vhost '/': \
                    \"expected integer, got longstr\"";
        assert_eq!(error_of(refused), (406, text.to_owned()));
    });
}

#[test]
fn other_arguments_are_accepted_but_not_those_of_streams() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "classic").await;
        let arguments = table([
            ("x-cancel-on-ha-failover", AMQPValue::Boolean(true)),
            ("x-unheard-of", AMQPValue::LongInt(1)),
        ]);
        session.basic_consume("classic".into(), "".into(), Default::default(), arguments).await.unwrap();
        let arguments = table([("x-stream-offset", AMQPValue::LongString("first".into()))]);
        let refused = session.basic_consume("classic".into(), "".into(), Default::default(), arguments).await;
        let text = "PRECONDITION_FAILED - invalid arg 'x-stream-offset' for queue 'classic' in vhost '/' of queue \
                    type rabbit_classic_queue";
        assert_eq!(error_of(refused), (406, text.to_owned()));
    });
}

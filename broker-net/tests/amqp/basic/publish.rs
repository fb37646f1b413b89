//! Publishing: what arrives, what is returned, what is refused.

use super::{consume, consume_no_ack, raw_get};
use crate::harness::{
    Raw, basic, body, declare, error_of, get, message_count, next, publish, scenario, scenario_with, table,
};
use amq_protocol::frame::AMQPFrame;
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::{AMQPMethod as Basic, Publish, Qos};
use lapin::BasicProperties;
use lapin::options::{
    BasicAckOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
};
use lapin::types::{AMQPValue, FieldTable};

#[test]
fn hello_world() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "hello").await;
        publish(&session, "", "hello", "Hello World!").await;
        let mut consumer = consume(&session, "hello", "").await;
        let delivery = next(&mut consumer).await;
        assert_eq!(body(&delivery), "Hello World!");
        assert_eq!((delivery.exchange.as_str(), delivery.routing_key.as_str()), ("", "hello"));
        assert_eq!((delivery.delivery_tag, delivery.redelivered), (1, false));
        delivery.ack(BasicAckOptions::default()).await.unwrap();
        drop(session);
        let session = broker.open().await;
        assert_eq!(message_count(&session, "hello").await, 0);
    });
}

#[test]
fn order_holds_from_one_publisher_to_one_consumer() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "ordered").await;
        let mut consumer = consume_no_ack(&session, "ordered").await;
        let publisher = broker.open().await;
        for number in 0..5000 {
            publish(&publisher, "", "ordered", &number.to_string()).await;
        }
        for number in 0..5000 {
            let delivery = next(&mut consumer).await;
            assert_eq!((body(&delivery), delivery.delivery_tag), (number.to_string().as_str(), number + 1));
        }
    });
}

#[test]
fn bodies_of_all_sizes_arrive_whole() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "sizes").await;
        let mut consumer = consume_no_ack(&session, "sizes").await;
        for size in [0, 1, 131_063, 131_064, 131_065, 300_000, 5_000_000] {
            let sent: Vec<u8> = (0..size).map(|at: u32| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
            session
                .basic_publish(
                    "".into(),
                    "sizes".into(),
                    BasicPublishOptions::default(),
                    &sent,
                    BasicProperties::default(),
                )
                .await
                .unwrap();
            assert!(next(&mut consumer).await.data == sent, "{size} octets");
        }
    });
}

#[test]
fn properties_arrive_as_they_were_sent() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "properties").await;
        let properties = BasicProperties::default()
            .with_content_type("text/plain".into())
            .with_content_encoding("utf-8".into())
            .with_headers(table([
                ("x", AMQPValue::LongInt(-7)),
                ("nested", AMQPValue::FieldTable(table([("y", AMQPValue::LongString("z".into()))]))),
            ]))
            .with_delivery_mode(1)
            .with_priority(3)
            .with_correlation_id("c".into())
            .with_reply_to("r".into())
            .with_expiration("60000".into())
            .with_message_id("m".into())
            .with_timestamp(1_700_000_000)
            .with_type("t".into())
            .with_user_id("guest".into())
            .with_app_id("a".into());
        session
            .basic_publish("".into(), "properties".into(), BasicPublishOptions::default(), b"", properties.clone())
            .await
            .unwrap();
        assert_eq!(get(&session, "properties").await.expect("the message").properties, properties);
    });
}

#[test]
fn empty_body_is_sent_without_a_body_frame() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "empty").await;
        let mut raw = Raw::open(broker);
        raw.publish(1, "empty", b"");
        raw.send(1, &raw_get("empty"));
        raw.send(1, &basic(Basic::Qos(Qos::default())));
        assert!(matches!(raw.next(), Some(AMQPFrame::Method(1, AMQPClass::Basic(Basic::GetOk(_))))));
        assert!(matches!(raw.next(), Some(AMQPFrame::Header(1, header)) if header.body_size == 0));
        assert!(matches!(raw.next(), Some(AMQPFrame::Method(1, AMQPClass::Basic(Basic::QosOk(_))))));
    });
}

#[test]
fn unroutable_mandatory_message_is_returned() {
    scenario(async |broker| {
        let session = broker.open().await;
        session.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default().with_message_id("m".into());
        let confirmation = session
            .basic_publish("amq.direct".into(), "nowhere".into(), options, b"back", properties.clone())
            .await
            .unwrap()
            .await
            .unwrap();
        let returned = confirmation.take_message().expect("the message came back before its ack");
        assert_eq!((returned.reply_code, returned.reply_text.as_str()), (312, "NO_ROUTE"));
        assert_eq!((returned.exchange.as_str(), returned.routing_key.as_str()), ("amq.direct", "nowhere"));
        assert_eq!(
            (returned.delivery.data.as_slice(), &returned.delivery.properties),
            (&b"back"[..], &properties)
        );
    });
}

#[test]
fn publish_to_a_missing_exchange_closes_the_channel_404() {
    scenario(async |broker| {
        let mut raw = Raw::open(broker);
        let publish = Publish { exchange: "missing".into(), ..Publish::default() };
        raw.send(1, &basic(Basic::Publish(publish)));
        raw.header(1, 0);
        let closed = raw.channel_closed(1);
        assert_eq!((closed.code, closed.method), (404, (60, 40)));
        assert_eq!(closed.text, "NOT_FOUND - no exchange 'missing' in vhost '/'");
    });
}

#[test]
fn immediate_prefetch_size_and_large_messages_are_refused() {
    scenario(async |broker| {
        let mut raw = Raw::open(broker);
        let publish = Publish { immediate: true, ..Publish::default() };
        raw.send(1, &basic(Basic::Publish(publish)));
        raw.header(1, 0);
        assert_eq!(raw.closed().code, 540);
        let mut raw = Raw::open(broker);
        raw.send(1, &basic(Basic::Qos(Qos { prefetch_count: 1, global: false })));
        raw.method(1);
        raw.frame(1, 1, &[0, 60, 0, 10, 0, 0, 0, 9, 0, 0, 0]);
        assert_eq!(raw.closed().code, 540);
    });
}

#[test]
fn message_larger_than_the_limit_closes_the_channel_406() {
    scenario(async |broker| {
        let mut raw = Raw::open(broker);
        let size = (32 << 20) + 1;
        raw.send(1, &basic(Basic::Publish(Publish { routing_key: "q".into(), ..Publish::default() })));
        raw.header(1, size);
        let piece = vec![0; 131_064];
        let mut left = usize::try_from(size).unwrap();
        while left > 0 {
            let count = left.min(piece.len());
            raw.frame(3, 1, &piece[..count]);
            left -= count;
        }
        let closed = raw.channel_closed(1);
        assert_eq!(closed.code, 406);
        assert_eq!(
            closed.text,
            "PRECONDITION_FAILED - message size 33554433 is larger than configured max size 33554432"
        );
        raw.open_channel(1);
    });
}

#[test]
fn expiration_and_user_id_are_checked() {
    scenario(async |broker| {
        for (properties, text) in [
            (BasicProperties::default().with_expiration("soon".into()), "invalid expiration"),
            (BasicProperties::default().with_user_id("somebody".into()), "user_id property set to 'somebody'"),
        ] {
            let session = broker.open().await;
            session.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
            let refused = session
                .basic_publish("".into(), "q".into(), BasicPublishOptions::default(), b"", properties)
                .await
                .unwrap()
                .await;
            let (code, told) = error_of(refused);
            assert_eq!(code, 406);
            assert!(told.contains(text), "{told}");
        }
    });
}

#[test]
fn fan_out_reaches_every_queue_once() {
    scenario_with(&["--shards", "2"], async |broker| {
        let session = broker.open().await;
        let mut consumers = Vec::new();
        for number in 0..50 {
            let name = format!("fan-{number}");
            declare(&session, &name).await;
            for key in ["", "again"] {
                let options = QueueBindOptions::default();
                session
                    .queue_bind(
                        name.as_str().into(),
                        "amq.fanout".into(),
                        key.into(),
                        options,
                        FieldTable::default(),
                    )
                    .await
                    .unwrap();
            }
            consumers.push(consume_no_ack(&session, &name).await);
        }
        for number in 0..20 {
            publish(&session, "amq.fanout", "any", &number.to_string()).await;
        }
        for consumer in &mut consumers {
            for number in 0..20 {
                assert_eq!(body(&next(consumer).await), number.to_string());
            }
        }
    });
}

#[test]
fn queues_of_every_shard_are_reached_from_every_connection() {
    scenario_with(&["--shards", "2"], async |broker| {
        let declarer = broker.open().await;
        for number in 0..16 {
            declare(&declarer, &format!("spread-{number}")).await;
        }
        // Each of these may be accepted by another shard.
        for round in 0..6 {
            let session = broker.open().await;
            for number in 0..16 {
                publish(&session, "", &format!("spread-{number}"), &round.to_string()).await;
            }
            for number in 0..16 {
                assert_eq!(message_count(&session, &format!("spread-{number}")).await, round + 1);
            }
        }
        let mut consumers = Vec::new();
        for number in 0..16 {
            consumers.push(consume(&declarer, &format!("spread-{number}"), "").await);
        }
        for consumer in &mut consumers {
            for round in 0..6 {
                let delivery = next(consumer).await;
                assert_eq!(body(&delivery), round.to_string());
                delivery.ack(BasicAckOptions::default()).await.unwrap();
            }
        }
    });
}

#[test]
fn internal_exchange_takes_no_publish_403() {
    scenario(async |broker| {
        let session = broker.open().await;
        let options = ExchangeDeclareOptions { internal: true, ..ExchangeDeclareOptions::default() };
        session
            .exchange_declare("inside".into(), lapin::ExchangeKind::Fanout, options, FieldTable::default())
            .await
            .unwrap();
        let mut raw = Raw::open(broker);
        let publish = Publish { exchange: "inside".into(), ..Publish::default() };
        raw.send(1, &basic(Basic::Publish(publish)));
        raw.header(1, 0);
        let closed = raw.channel_closed(1);
        assert_eq!(
            (closed.code, closed.text.as_str()),
            (403, "ACCESS_REFUSED - cannot publish to internal exchange 'inside' in vhost '/'")
        );
    });
}

#[test]
fn a_message_longer_than_the_window_does_not_hold_up_its_publisher() {
    scenario(async |broker| {
        let long = "x".repeat(20 * 1024 * 1024);
        // The connection and the queue are on the same shard, or are not.
        for number in 0..4 {
            let session = broker.open().await;
            let queue = format!("q{number}");
            declare(&session, &queue).await;
            publish(&session, "", &queue, &long).await;
            publish(&session, "", &queue, "behind it").await;
            assert_eq!(body(&get(&session, &queue).await.expect("the long one")).len(), long.len());
            assert_eq!(body(&get(&session, &queue).await.expect("the short one")), "behind it");
        }
    });
}

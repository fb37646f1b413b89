//! Class tx: publishes and acknowledgements of a channel take effect at commit or never.

use amq_protocol::frame::AMQPFrame;
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::{AMQPMethod as Basic, Publish, Qos, Return};
use amq_protocol::protocol::queue::{AMQPMethod as Queue, Declare};
use amq_protocol::protocol::tx::{AMQPMethod as Tx, Commit, CommitOk, Rollback, Select, SelectOk};
use lapin::options::{
    BasicAckOptions, BasicPublishOptions, BasicRecoverOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, ExchangeKind};

use crate::harness::{
    Raw, Session, basic, body, declare, error_of, get, long_string, message_count, next, own_process, persistent,
    publish, queue, scenario, table,
};

#[test]
fn published_messages_appear_at_commit_in_order() {
    scenario(async |broker| {
        let session = broker.open().await;
        let observer = broker.open().await;
        declare(&observer, "q").await;
        session.tx_select().await.unwrap();
        for number in ["1", "2", "3"] {
            publish(&session, "", "q", number).await;
        }
        assert_eq!(message_count(&session, "q").await, 0);
        session.tx_commit().await.unwrap();
        assert_eq!(message_count(&observer, "q").await, 3);
        for number in ["1", "2", "3"] {
            assert_eq!(body(&get(&observer, "q").await.expect("a message")), number);
        }
    });
}

#[test]
fn rollback_forgets_publishes_and_keeps_messages_unacked() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "q").await;
        publish(&session, "", "q", "held").await;
        session.tx_select().await.unwrap();
        get(&session, "q").await.expect("a message");
        publish(&session, "", "q", "forgotten").await;
        session.basic_ack(1, BasicAckOptions::default()).await.unwrap();
        session.tx_rollback().await.unwrap();
        assert_eq!(message_count(&session, "q").await, 0);
        // The ack was undone: the message is still unacked and comes back with recover.
        session.basic_recover(BasicRecoverOptions { requeue: true }).await.unwrap();
        assert_eq!(body(&get(&session, "q").await.expect("a message")), "held");
        session.tx_commit().await.unwrap();
        assert_eq!(message_count(&session, "q").await, 0);
    });
}

#[test]
fn acks_take_effect_at_commit() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "q").await;
        publish(&session, "", "q", "1").await;
        publish(&session, "", "q", "2").await;
        session.tx_select().await.unwrap();
        for _ in 0..2 {
            get(&session, "q").await.expect("a message");
        }
        session.basic_ack(1, BasicAckOptions::default()).await.unwrap();
        session.tx_commit().await.unwrap();
        session.basic_ack(2, BasicAckOptions::default()).await.unwrap();
        session.connection.close(200, "without a commit".into()).await.unwrap();
        let session = broker.open().await;
        assert_eq!(message_count(&session, "q").await, 1);
        assert_eq!(body(&get(&session, "q").await.expect("a message")), "2");
    });
}

#[test]
fn closing_the_channel_rolls_back() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "q").await;
        let other = session.connection.create_channel().await.unwrap();
        other.tx_select().await.unwrap();
        publish(&other, "", "q", "lost").await;
        other.close(200, "bye".into()).await.unwrap();
        assert_eq!(message_count(&session, "q").await, 0);
    });
}

#[test]
fn select_twice_is_fine_and_commit_without_select_is_406() {
    scenario(async |broker| {
        let session = broker.open().await;
        session.tx_select().await.unwrap();
        session.tx_select().await.unwrap();
        let mut raw = Raw::open(broker);
        for (method, id) in [(Tx::Commit(Commit {}), 20), (Tx::Rollback(Rollback {}), 30)] {
            raw.send(1, &AMQPClass::Tx(method));
            let closed = raw.channel_closed(1);
            assert_eq!((closed.code, closed.method), (406, (90, id)));
            assert_eq!(closed.text, "PRECONDITION_FAILED - channel is not transactional");
            raw.open_channel(1);
        }
    });
}

#[test]
fn committed_persistent_messages_survive_kill_9() {
    own_process(&[], async |broker| {
        let session = broker.open().await;
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        session.queue_declare("q".into(), durable, FieldTable::default()).await.unwrap();
        session.tx_select().await.unwrap();
        for round in 0..3 {
            for number in 0..10 {
                let text = (round * 10 + number).to_string();
                let options = BasicPublishOptions::default();
                session
                    .basic_publish("".into(), "q".into(), options, text.as_bytes(), persistent())
                    .await
                    .unwrap();
            }
            session.tx_commit().await.unwrap();
        }
        broker.crash();
        let session = broker.open().await;
        for number in 0..30 {
            assert_eq!(body(&get(&session, "q").await.expect("a message")), number.to_string());
        }
    });
}

/// Publishes in a transaction that is then rolled back: the fault that was told before the rollback.
async fn fault(session: &Session, exchange: &str, key: &str, properties: BasicProperties) -> (u16, String) {
    session.tx_select().await.unwrap();
    let options = BasicPublishOptions::default();
    session.basic_publish(exchange.into(), key.into(), options, b"m", properties).await.unwrap();
    error_of(session.tx_rollback().await)
}

#[test]
fn what_is_wrong_with_a_publish_is_told_at_the_publish() {
    scenario(async |broker| {
        let session = broker.open().await;
        let options = ExchangeDeclareOptions { internal: true, ..ExchangeDeclareOptions::default() };
        let none = FieldTable::default();
        session.exchange_declare("internal".into(), ExchangeKind::Fanout, options, none).await.unwrap();
        let plain = BasicProperties::default;
        for (exchange, properties, code, text) in [
            ("missing", plain(), 404, "NOT_FOUND - no exchange 'missing' in vhost '/'"),
            (
                "internal",
                plain(),
                403,
                "ACCESS_REFUSED - cannot publish to internal exchange 'internal' in vhost '/'",
            ),
            (
                "",
                plain().with_expiration("soon".into()),
                406,
                "PRECONDITION_FAILED - invalid expiration 'soon': no_integer",
            ),
            (
                "",
                plain().with_user_id("other".into()),
                406,
                "PRECONDITION_FAILED - user_id property set to 'other' but authenticated user was 'guest'",
            ),
            (
                "",
                plain().with_headers(table([("CC", long_string("q"))])),
                406,
                "PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,\"CC\",longstr}",
            ),
            (
                "",
                plain().with_reply_to("amq.rabbitmq.reply-to".into()),
                406,
                "PRECONDITION_FAILED - fast reply consumer does not exist",
            ),
        ] {
            let session = broker.open().await;
            assert_eq!(fault(&session, exchange, "q", properties).await, (code, text.to_owned()));
        }
    });
}

#[test]
fn an_unknown_tag_is_told_at_the_ack() {
    scenario(async |broker| {
        let session = broker.open().await;
        session.tx_select().await.unwrap();
        session.basic_ack(7, BasicAckOptions::default()).await.unwrap();
        let text = "PRECONDITION_FAILED - unknown delivery tag 7".to_owned();
        assert_eq!(error_of(session.tx_rollback().await), (406, text));
    });
}

#[test]
fn a_message_goes_where_it_was_routed_when_it_was_published() {
    scenario(async |broker| {
        let session = broker.open().await;
        for name in ["before", "after"] {
            declare(&session, name).await;
        }
        let bind = async |name: &str| {
            let (options, none) = (QueueBindOptions::default(), FieldTable::default());
            session.queue_bind(name.into(), "amq.direct".into(), "k".into(), options, none).await.unwrap();
        };
        bind("before").await;
        session.tx_select().await.unwrap();
        publish(&session, "amq.direct", "k", "m").await;
        bind("after").await;
        session.tx_commit().await.unwrap();
        assert_eq!(message_count(&session, "before").await, 1);
        assert_eq!(message_count(&session, "after").await, 0);
    });
}

#[test]
fn a_classic_queue_that_is_deleted_before_the_commit_fails_it_406_and_others_get_the_message() {
    scenario(async |broker| {
        let other = broker.open().await;
        for (kind, text) in [("classic", Some("PRECONDITION_FAILED - partial tx completion")), ("quorum", None)] {
            declare(&other, "kept").await;
            let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            let arguments = table([("x-queue-type", long_string(kind))]);
            other.queue_declare("deleted".into(), options, arguments).await.unwrap();
            for name in ["kept", "deleted"] {
                let (options, none) = (QueueBindOptions::default(), FieldTable::default());
                other.queue_bind(name.into(), "amq.fanout".into(), "".into(), options, none).await.unwrap();
            }
            let session = broker.open().await;
            session.tx_select().await.unwrap();
            publish(&session, "amq.fanout", "k", kind).await;
            other.queue_delete("deleted".into(), QueueDeleteOptions::default()).await.unwrap();
            let committed = session.tx_commit().await;
            match text {
                Some(text) => assert_eq!(error_of(committed), (406, text.to_owned())),
                None => committed.unwrap(),
            }
            assert_eq!(other.drain("kept").await, [kind]);
        }
    });
}

#[test]
fn keys_of_cc_and_bcc_and_delays_take_part() {
    scenario(async |broker| {
        let session = broker.open().await;
        for name in ["a", "b", "c"] {
            declare(&session, name).await;
        }
        let arguments = table([("x-delayed-type", long_string("fanout"))]);
        let kind = ExchangeKind::Custom("x-delayed-message".into());
        let options = ExchangeDeclareOptions::default();
        session.exchange_declare("delayed".into(), kind, options, arguments).await.unwrap();
        let none = FieldTable::default();
        let options = QueueBindOptions::default();
        session.queue_bind("a".into(), "delayed".into(), "".into(), options, none).await.unwrap();
        session.tx_select().await.unwrap();
        let keys = |key: &str| AMQPValue::FieldArray(vec![long_string(key)].into());
        let headers = table([("CC", keys("b")), ("BCC", keys("c"))]);
        for (exchange, headers) in [("", headers), ("delayed", table([("x-delay", AMQPValue::LongInt(1))]))] {
            let options = BasicPublishOptions::default();
            let properties = BasicProperties::default().with_headers(headers);
            session.basic_publish(exchange.into(), "a".into(), options, b"m", properties).await.unwrap();
        }
        session.tx_commit().await.unwrap();
        session.wait_for_count("a", 2).await;
        for name in ["a", "b", "c"] {
            let message = get(&session, name).await.expect("a message");
            let headers = message.properties.headers().clone().unwrap();
            assert_eq!(headers, table([("CC", keys("b"))]), "{name}");
        }
    });
}

#[test]
fn a_request_has_the_reply_name_of_its_channel() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "questions").await;
        let mut replies = session.listen("amq.rabbitmq.reply-to").await;
        session.tx_select().await.unwrap();
        let properties = BasicProperties::default().with_reply_to("amq.rabbitmq.reply-to".into());
        let options = BasicPublishOptions::default();
        session.basic_publish("".into(), "questions".into(), options, b"?", properties).await.unwrap();
        session.tx_commit().await.unwrap();
        let question = get(&session, "questions").await.expect("a question");
        let reply_to = question.properties.reply_to().clone().expect("a reply name");
        publish(&session, "", reply_to.as_str(), "!").await;
        session.tx_commit().await.unwrap();
        assert_eq!(body(&next(&mut replies).await), "!");
    });
}

/// Channel 1 in a transaction, and the quorum queue `q`, whose messages have to reach the disk.
fn transactional(broker: &crate::harness::Broker) -> Raw {
    let mut raw = Raw::open(broker);
    let arguments = table([("x-queue-type", long_string("quorum"))]);
    let declare = Declare { queue: "q".into(), durable: true, arguments, ..Declare::default() };
    let declared = raw.call(1, &queue(Queue::Declare(declare)));
    assert!(matches!(declared, AMQPClass::Queue(Queue::DeclareOk(_))), "{declared:?}");
    let selected = raw.call(1, &AMQPClass::Tx(Tx::Select(Select {})));
    assert_eq!(selected, AMQPClass::Tx(Tx::SelectOk(SelectOk {})));
    raw
}

#[test]
fn other_commands_while_a_commit_is_under_way_are_504() {
    scenario(async |broker| {
        for (method, id) in [
            (basic(Basic::Qos(Qos { prefetch_count: 1, ..Qos::default() })), (60, 10)),
            (queue(Queue::Declare(Declare { queue: "other".into(), ..Declare::default() })), (50, 10)),
            (basic(Basic::Publish(Publish { routing_key: "q".into(), ..Publish::default() })), (60, 40)),
            (AMQPClass::Tx(Tx::Commit(Commit {})), (90, 20)),
        ] {
            let mut raw = transactional(broker);
            raw.publish(1, "q", b"m");
            raw.send_together(&[(1, AMQPClass::Tx(Tx::Commit(Commit {}))), (1, method)]);
            let closed = raw.closed();
            assert_eq!((closed.code, closed.method), (504, id));
            assert_eq!(closed.text, "CHANNEL_ERROR - unexpected command while processing 'tx.commit'");
        }
    });
}

#[test]
fn other_channels_go_on_after_a_commit_that_is_under_way() {
    scenario(async |broker| {
        let mut raw = transactional(broker);
        raw.open_channel(2);
        raw.publish(1, "q", b"m");
        let qos = basic(Basic::Qos(Qos { prefetch_count: 1, ..Qos::default() }));
        raw.send_together(&[(1, AMQPClass::Tx(Tx::Commit(Commit {}))), (2, qos)]);
        assert_eq!(raw.method(1), AMQPClass::Tx(Tx::CommitOk(CommitOk {})));
        assert!(matches!(raw.method(2), AMQPClass::Basic(Basic::QosOk(_))));
    });
}

#[test]
fn what_is_unroutable_is_returned_before_commit_ok() {
    scenario(async |broker| {
        let mut raw = transactional(broker);
        let publish = Publish { routing_key: "nowhere".into(), mandatory: true, ..Publish::default() };
        raw.send(1, &basic(Basic::Publish(publish)));
        raw.header(1, 1);
        raw.frame(3, 1, b"m");
        raw.send(1, &AMQPClass::Tx(Tx::Commit(Commit {})));
        let AMQPClass::Basic(Basic::Return(Return { reply_code: 312, .. })) = raw.method(1) else {
            panic!("the message is not returned")
        };
        assert!(matches!(raw.next(), Some(AMQPFrame::Header(1, _))));
        assert!(matches!(raw.next(), Some(AMQPFrame::Body(1, _))));
        assert_eq!(raw.method(1), AMQPClass::Tx(Tx::CommitOk(CommitOk {})));
    });
}

#[test]
fn a_full_queue_that_refuses_fails_the_commit_406() {
    scenario(async |broker| {
        let session = broker.open().await;
        let full = [("x-max-length", AMQPValue::LongInt(1)), ("x-overflow", long_string("reject-publish"))];
        session.declare_with("full", &full).await.unwrap();
        session.tx_select().await.unwrap();
        for number in ["1", "2"] {
            publish(&session, "", "full", number).await;
        }
        let text = "PRECONDITION_FAILED - partial tx completion".to_owned();
        assert_eq!(error_of(session.tx_commit().await), (406, text));
    });
}

#[test]
fn a_transaction_for_one_queue_is_there_whole_or_not_at_all_after_kill_9() {
    own_process(&["--shards", "2"], async |broker| {
        for round in ["1", "2", "3", "4"] {
            let mut raw = transactional(broker);
            for _ in 0..20 {
                raw.publish(1, "q", round.as_bytes());
            }
            raw.send(1, &AMQPClass::Tx(Tx::Commit(Commit {})));
            broker.crash();
            let session = broker.open().await;
            let count = session.drain("q").await.iter().filter(|body| *body == round).count();
            assert!(matches!(count, 0 | 20), "{count} of round {round}");
        }
    });
}

#[test]
fn what_is_taken_and_what_is_published_in_a_transaction_change_together() {
    own_process(&["--shards", "2"], async |broker| {
        let session = broker.open().await;
        let quorum = [("x-queue-type", long_string("quorum"))];
        session.declare_with("work", &quorum).await.unwrap();
        session.confirm().await;
        session.put("work", "todo", persistent()).await;
        let worker = broker.open().await;
        worker.tx_select().await.unwrap();
        let task = get(&worker, "work").await.expect("a task");
        worker.basic_ack(task.delivery_tag, BasicAckOptions::default()).await.unwrap();
        publish(&worker, "", "work", "done").await;
        worker.tx_commit().await.unwrap();
        broker.crash();
        assert_eq!(broker.open().await.drain("work").await, ["done"]);
    });
}

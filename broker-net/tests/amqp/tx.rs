//! Class tx: publishes and acknowledgements of a channel take effect at commit or never.

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::tx::{AMQPMethod as Tx, Commit, Rollback};
use lapin::options::{BasicAckOptions, BasicPublishOptions, BasicRecoverOptions, QueueDeclareOptions};
use lapin::types::FieldTable;

use crate::harness::{Raw, body, declare, get, message_count, own_process, persistent, publish, scenario};

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

//! Priorities of messages (`x-max-priority`).

use lapin::options::BasicRejectOptions;
use lapin::types::AMQPValue;

use crate::harness::{Session, body, get, message_count, own_process, persistent, scenario};

async fn declare(session: &Session, max_priority: u8, further: &[(&str, AMQPValue)]) {
    session.confirm().await;
    let priority = [("x-max-priority", AMQPValue::ShortShortUInt(max_priority))];
    session.declare_with("ranked", &[&priority[..], further].concat()).await.unwrap();
}

async fn put(session: &Session, body: &str, priority: Option<u8>) {
    let properties = match priority {
        Some(priority) => persistent().with_priority(priority),
        None => persistent(),
    };
    assert!(session.put("ranked", body, properties).await);
}

#[test]
fn higher_priorities_come_first_and_equal_ones_in_order() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, 10, &[]).await;
        for (body, priority) in
            [("none", None), ("1a", Some(1)), ("5a", Some(5)), ("1b", Some(1)), ("0", Some(0)), ("5b", Some(5))]
        {
            put(&session, body, priority).await;
        }
        assert_eq!(message_count(&session, "ranked").await, 6);
        assert_eq!(session.drain("ranked").await, ["5a", "5b", "1a", "1b", "none", "0"]);
    });
}

#[test]
fn what_is_above_the_highest_priority_has_the_highest() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, 3, &[]).await;
        for (body, priority) in [("3", 3), ("200", 200), ("2", 2)] {
            put(&session, body, Some(priority)).await;
        }
        assert_eq!(session.drain("ranked").await, ["3", "200", "2"]);
    });
}

#[test]
fn a_requeued_message_returns_to_its_place() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, 3, &[]).await;
        for (body, priority) in [("2a", 2), ("2b", 2), ("1", 1)] {
            put(&session, body, Some(priority)).await;
        }
        let first = get(&session, "ranked").await.expect("a message");
        assert_eq!(body(&first), "2a");
        put(&session, "3", Some(3)).await;
        first.acker.reject(BasicRejectOptions { requeue: true }).await.unwrap();
        assert_eq!(session.drain("ranked").await, ["3", "2a", "2b", "1"]);
    });
}

#[test]
fn a_full_queue_drops_its_head_whatever_the_priority() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, 5, &[("x-max-length", AMQPValue::LongInt(2))]).await;
        for (body, priority) in [("1", 1), ("5", 5), ("3", 3), ("0", 0)] {
            put(&session, body, Some(priority)).await;
        }
        assert_eq!(session.drain("ranked").await, ["1", "0"]);
    });
}

#[test]
fn priorities_survive_kill_9_and_go_on_in_order() {
    own_process(&["--shards", "2"], async |broker| {
        let session = broker.open().await;
        declare(&session, 255, &[]).await;
        for round in 0..20 {
            for priority in [0, 7, 255] {
                put(&session, &format!("{priority}-{round}"), Some(priority)).await;
            }
        }
        let taken = session.basic_get("ranked".into(), lapin::options::BasicGetOptions { no_ack: true }).await;
        assert_eq!(body(&taken.unwrap().expect("a message")), "255-0");
        session.connection.close(200, "bye".into()).await.unwrap();
        // A clean stop would hide what only a crash shows; the ack is on disk with the next confirmed message.
        let session = broker.open().await;
        session.confirm().await;
        put(&session, "7-20", Some(7)).await;
        broker.crash();
        let session = broker.open().await;
        session.confirm().await;
        put(&session, "255-20", Some(255)).await;
        let expected: Vec<String> = (1..=20)
            .map(|round| format!("255-{round}"))
            .chain((0..=20).map(|round| format!("7-{round}")))
            .chain((0..20).map(|round| format!("0-{round}")))
            .collect();
        assert_eq!(session.drain("ranked").await, expected);
    });
}

#[test]
fn purge_and_delete_take_all_priorities() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, 9, &[]).await;
        for priority in 0..10 {
            put(&session, "m", Some(priority)).await;
        }
        let purged = session.queue_purge("ranked".into(), lapin::options::QueuePurgeOptions::default()).await;
        assert_eq!(purged.unwrap(), 10);
        put(&session, "m", Some(9)).await;
        let deleted = session.queue_delete("ranked".into(), lapin::options::QueueDeleteOptions::default()).await;
        assert_eq!(deleted.unwrap(), 1);
    });
}

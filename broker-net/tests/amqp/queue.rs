//! Class queue: declare, bind, purge, delete, and the life of exclusive and auto-delete queues.

use amq_protocol::protocol::queue::{AMQPMethod as Queue, Bind, Declare, Delete};
use lapin::options::{
    BasicCancelOptions, BasicConsumeOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Consumer};

use crate::harness::{Raw, Session, body, declare, error_of, get, message_count, publish, queue, scenario, table};

fn options() -> QueueDeclareOptions {
    QueueDeclareOptions::default()
}

async fn declare_with(channel: &Channel, name: &str, options: QueueDeclareOptions) -> lapin::Result<lapin::Queue> {
    channel.queue_declare(name.into(), options, FieldTable::default()).await
}

async fn passive(channel: &Channel, name: &str) -> lapin::Result<lapin::Queue> {
    declare_with(channel, name, QueueDeclareOptions { passive: true, ..options() }).await
}

fn not_found(name: &str) -> (u16, String) {
    (404, format!("NOT_FOUND - no queue '{name}' in vhost '/'"))
}

fn locked(name: &str) -> (u16, String) {
    let text = format!(
        "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{name}' in vhost '/'. It could be \
         originally declared on another connection or the exclusive property value does not match that of the \
         original declaration."
    );
    (405, text)
}

/// Dropping the consumer cancels it.
async fn consume(session: &Session, name: &str, tag: &str) -> Consumer {
    let options = BasicConsumeOptions::default();
    session.basic_consume(name.into(), tag.into(), options, FieldTable::default()).await.unwrap()
}

#[test]
fn declare_tells_name_and_counts() {
    scenario(async |broker| {
        let session = broker.open().await;
        let queue = declare(&session, "q").await;
        assert_eq!((queue.name().as_str(), queue.message_count(), queue.consumer_count()), ("q", 0, 0));
        publish(&session, "", "q", "1").await;
        publish(&session, "", "q", "2").await;
        let queue = declare(&session, "q").await;
        assert_eq!((queue.message_count(), queue.consumer_count()), (2, 0));
        let other = broker.open().await;
        let _consumer = consume(&other, "q", "").await;
        let queue = passive(&session, "q").await.unwrap();
        assert_eq!(queue.consumer_count(), 1);
    });
}

#[test]
fn passive_declare_of_a_missing_queue_is_404() {
    scenario(async |broker| {
        let session = broker.open().await;
        assert_eq!(error_of(passive(&session, "missing").await), not_found("missing"));
    });
}

#[test]
fn queue_without_a_name_gets_one() {
    scenario(async |broker| {
        let session = broker.open().await;
        let first = declare(&session, "").await;
        let second = declare(&session, "").await;
        assert!(first.name().as_str().starts_with("amq.gen-"), "{}", first.name());
        assert_ne!(first.name(), second.name());
        publish(&session, "", second.name().as_str(), "here").await;
        assert_eq!(body(&get(&session, "").await.expect("the last declared queue has it")), "here");
        passive(&session, first.name().as_str()).await.unwrap();
    });
}

#[test]
fn reserved_name_is_403() {
    scenario(async |broker| {
        let session = broker.open().await;
        let refused = declare_with(&session, "amq.mine", options()).await;
        let text = "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'";
        assert_eq!(error_of(refused), (403, text.into()));
    });
}

#[test]
fn redeclare_with_other_attributes_is_406() {
    scenario(async |broker| {
        let first = broker.open().await;
        declare_with(&first, "q", QueueDeclareOptions { durable: true, ..options() }).await.unwrap();
        let refused = declare_with(&first, "q", options()).await;
        let text = "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': \
                    received 'false' but current is 'true'";
        assert_eq!(error_of(refused), (406, text.into()));
        let second = broker.open().await;
        let both = QueueDeclareOptions { durable: true, auto_delete: true, ..options() };
        let text = "PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue 'q' in vhost '/': \
                    received 'true' but current is 'false'";
        assert_eq!(error_of(declare_with(&second, "q", both).await), (406, text.into()));
        let third = broker.open().await;
        let exclusive = QueueDeclareOptions { durable: true, exclusive: true, ..options() };
        assert_eq!(error_of(declare_with(&third, "q", exclusive).await), locked("q"));
    });
}

#[test]
fn redeclare_with_other_arguments_is_406() {
    scenario(async |broker| {
        let session = broker.open().await;
        let ten = table([("x-max-length", AMQPValue::LongInt(10))]);
        session.queue_declare("q".into(), options(), ten.clone()).await.unwrap();
        session.queue_declare("q".into(), options(), ten).await.unwrap();
        let refused = session.queue_declare("q".into(), options(), FieldTable::default()).await;
        let text = "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'q' in vhost '/': \
                    received none but current is the value '10' of type 'signedint'";
        assert_eq!(error_of(refused), (406, text.into()));
    });
}

#[test]
fn exclusive_queue_is_locked_to_others_and_goes_with_its_connection() {
    scenario(async |broker| {
        let owner = broker.open().await;
        declare_with(&owner, "mine", QueueDeclareOptions { exclusive: true, ..options() }).await.unwrap();
        let refused = async |action: &str| {
            let other = broker.open().await;
            let arguments = FieldTable::default();
            error_of(match action {
                "declare" => passive(&other, "mine").await.map(drop),
                "consume" => other
                    .basic_consume("mine".into(), "".into(), BasicConsumeOptions::default(), arguments)
                    .await
                    .map(drop),
                "get" => {
                    other.basic_get("mine".into(), lapin::options::BasicGetOptions::default()).await.map(drop)
                }
                "purge" => other.queue_purge("mine".into(), QueuePurgeOptions::default()).await.map(drop),
                "bind" => {
                    let options = QueueBindOptions::default();
                    other.queue_bind("mine".into(), "amq.direct".into(), "k".into(), options, arguments).await
                }
                _ => other.queue_delete("mine".into(), QueueDeleteOptions::default()).await.map(drop),
            })
        };
        for action in ["declare", "consume", "get", "purge", "bind", "delete"] {
            assert_eq!(refused(action).await, locked("mine"), "{action}");
        }
        passive(&owner, "mine").await.unwrap();
        owner.connection.close(200, "bye".into()).await.unwrap();
        // The name is free when close-ok has come.
        let other = broker.open().await;
        declare(&other, "mine").await;
    });
}

#[test]
fn auto_delete_queue_goes_with_its_last_consumer() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare_with(&session, "auto", QueueDeclareOptions { auto_delete: true, ..options() }).await.unwrap();
        publish(&session, "", "auto", "1").await;
        // get is no consumer.
        get(&session, "auto").await.expect("a message");
        let _first = consume(&session, "auto", "first").await;
        let _second = consume(&session, "auto", "second").await;
        session.basic_cancel("first".into(), BasicCancelOptions::default()).await.unwrap();
        passive(&session, "auto").await.unwrap();
        session.basic_cancel("second".into(), BasicCancelOptions::default()).await.unwrap();
        assert_eq!(error_of(passive(&session, "auto").await), not_found("auto"));
    });
}

/// Names of queues, of which each shard has some.
fn everywhere() -> impl Iterator<Item = String> {
    (0..16).map(|number| format!("q{number}"))
}

#[test]
fn cancel_ok_says_that_an_auto_delete_queue_is_gone() {
    scenario(async |broker| {
        for name in everywhere() {
            let session = broker.open().await;
            session.confirm().await;
            declare_with(&session, &name, QueueDeclareOptions { auto_delete: true, ..options() }).await.unwrap();
            let _consumer = consume(&session, &name, "only").await;
            session.basic_cancel("only".into(), BasicCancelOptions::default()).await.unwrap();
            let mandatory = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let properties = BasicProperties::default();
            let published = session.basic_publish("".into(), name.as_str().into(), mandatory, b"x", properties);
            let confirm = published.await.unwrap().await.unwrap();
            assert!(confirm.take_message().is_some_and(|returned| returned.reply_code == 312), "{name}");
            let deleted = session.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await;
            assert_eq!(deleted.unwrap(), 0);
        }
    });
}

#[test]
fn delete_of_a_queue_that_another_deletes_is_ok() {
    scenario(async |broker| {
        let session = broker.open().await;
        let other = broker.open().await;
        for name in everywhere() {
            declare(&session, &name).await;
            let delete = async |channel: &Channel| {
                channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await
            };
            let (one, two) = tokio::join!(delete(&session), delete(&other));
            one.unwrap();
            two.unwrap();
        }
    });
}

#[test]
fn purge_removes_ready_messages_only() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "q").await;
        for number in 0..10 {
            publish(&session, "", "q", &number.to_string()).await;
        }
        let held = get(&session, "q").await.expect("a message");
        assert_eq!(session.queue_purge("q".into(), QueuePurgeOptions::default()).await.unwrap(), 9);
        assert_eq!(message_count(&session, "q").await, 0);
        held.reject(lapin::options::BasicRejectOptions { requeue: true }).await.unwrap();
        assert_eq!(body(&get(&session, "q").await.expect("the unacked one is back")), "0");
        let missing = session.queue_purge("missing".into(), QueuePurgeOptions::default()).await;
        assert_eq!(error_of(missing), not_found("missing"));
    });
}

#[test]
fn delete_counts_messages_and_takes_bindings_along() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "q").await;
        let bind = QueueBindOptions::default();
        session
            .queue_bind("q".into(), "amq.direct".into(), "k".into(), bind, FieldTable::default())
            .await
            .unwrap();
        for _ in 0..3 {
            publish(&session, "amq.direct", "k", "x").await;
        }
        let count = session.queue_delete("q".into(), QueueDeleteOptions::default()).await.unwrap();
        assert_eq!(count, 3);
        declare(&session, "q").await;
        publish(&session, "amq.direct", "k", "x").await;
        assert_eq!(message_count(&session, "q").await, 0);
        // Deleting what is not there is fine.
        assert_eq!(session.queue_delete("missing".into(), QueueDeleteOptions::default()).await.unwrap(), 0);
    });
}

#[test]
fn delete_respects_if_unused_and_if_empty() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "q").await;
        publish(&session, "", "q", "1").await;
        assert_eq!(message_count(&session, "q").await, 1);
        let refused = async |options: QueueDeleteOptions| {
            let other = broker.open().await;
            error_of(other.queue_delete("q".into(), options).await)
        };
        let if_empty = QueueDeleteOptions { if_empty: true, ..QueueDeleteOptions::default() };
        let text = "PRECONDITION_FAILED - queue 'q' in vhost '/' not empty";
        assert_eq!(refused(if_empty).await, (406, text.into()));
        let _consumer = consume(&session, "q", "").await;
        let if_unused = QueueDeleteOptions { if_unused: true, ..QueueDeleteOptions::default() };
        let text = "PRECONDITION_FAILED - queue 'q' in vhost '/' in use";
        assert_eq!(refused(if_unused).await, (406, text.into()));
    });
}

#[test]
fn empty_names_in_bind_mean_the_last_declared_queue() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "q").await;
        let bind = QueueBindOptions::default();
        session.queue_bind("".into(), "amq.direct".into(), "".into(), bind, FieldTable::default()).await.unwrap();
        publish(&session, "amq.direct", "q", "by name").await;
        assert_eq!(body(&get(&session, "q").await.expect("a message")), "by name");
        let mut raw = Raw::open(broker);
        raw.send(1, &queue(Queue::Bind(Bind { exchange: "amq.direct".into(), ..Bind::default() })));
        let closed = raw.channel_closed(1);
        assert_eq!((closed.code, closed.text.as_str()), (404, "NOT_FOUND - no previously declared queue"));
    });
}

#[test]
fn nowait_requests_are_done_without_an_answer() {
    scenario(async |broker| {
        let mut raw = Raw::open(broker);
        for _ in 0..2 {
            raw.send(1, &queue(Queue::Declare(Declare { queue: "q".into(), nowait: true, ..Declare::default() })));
        }
        let declare_q = queue(Queue::Declare(Declare { queue: "q".into(), passive: true, ..Declare::default() }));
        let answer = raw.call(1, &declare_q);
        assert!(matches!(answer, amq_protocol::protocol::AMQPClass::Queue(Queue::DeclareOk(_))), "{answer:?}");
        raw.send(1, &queue(Queue::Delete(Delete { queue: "q".into(), nowait: true, ..Delete::default() })));
        raw.send(1, &declare_q);
        assert_eq!(raw.channel_closed(1).code, 404);
    });
}

#[test]
fn names_may_be_any_text_of_255_octets() {
    scenario(async |broker| {
        let session = broker.open().await;
        for name in ["with space", "ünïcödé ✓", "a/b#c?d", &"n".repeat(255)] {
            let queue = declare(&session, name).await;
            assert_eq!(queue.name().as_str(), name);
            publish(&session, "", name, "here").await;
            assert_eq!(body(&get(&session, name).await.expect("a message")), "here");
        }
    });
}

#[test]
fn ends_of_lines_are_stripped_from_names() {
    scenario(async |broker| {
        let session = broker.open().await;
        assert_eq!(declare(&session, "a\nb\r").await.name().as_str(), "ab");
        assert!(session.try_passive("ab").await);
    });
}

#[test]
fn a_name_that_was_declared_is_the_default_of_its_own_channel_only() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "q").await;
        publish(&session, "", "q", "m").await;
        session.wait_for_count("q", 1).await;
        let other = session.connection.create_channel().await.unwrap();
        let refused = other.queue_purge("".into(), Default::default()).await;
        assert_eq!(error_of(refused), (404, "NOT_FOUND - no previously declared queue".to_owned()));
        assert_eq!(session.queue_purge("".into(), Default::default()).await.unwrap(), 1);
    });
}

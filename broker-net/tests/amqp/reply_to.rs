//! Direct reply-to: replies go to the channel that asked, whichever shard it is on.

use lapin::message::{BasicReturnMessage, Delivery};
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Consumer, Queue};

use crate::harness::{body, declare, error_of, get, next, publish, scenario, scenario_with};

const REPLY_TO: &str = "amq.rabbitmq.reply-to";

async fn consume_replies(channel: &Channel, queue: &str, no_ack: bool) -> lapin::Result<Consumer> {
    let options = BasicConsumeOptions { no_ack, ..BasicConsumeOptions::default() };
    channel.basic_consume(queue.into(), "replies".into(), options, FieldTable::default()).await
}

async fn ask(channel: &Channel, queue: &str, reply_to: &str) {
    let properties = BasicProperties::default().with_reply_to(reply_to.into()).with_correlation_id("7".into());
    let options = BasicPublishOptions::default();
    channel.basic_publish("".into(), queue.into(), options, b"question", properties).await.unwrap();
}

async fn passive(channel: &Channel, queue: &str) -> lapin::Result<Queue> {
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), options, FieldTable::default()).await
}

fn reply_to(request: &Delivery) -> String {
    request.properties.reply_to().clone().expect("a reply-to").to_string()
}

#[test]
fn replies_reach_the_channel_that_asked() {
    // With several shards the connections below are on different ones.
    scenario_with(&["--shards", "2"], async |broker| {
        let server = broker.open().await;
        declare(&server, "questions").await;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let mut questions =
            server.basic_consume("questions".into(), "".into(), options, FieldTable::default()).await.unwrap();
        for pseudo_queue in [REPLY_TO, "amq.direct.reply-to"] {
            for _ in 0..4 {
                let client = broker.open().await;
                let mut replies = consume_replies(&client, pseudo_queue, true).await.unwrap();
                ask(&client, "questions", pseudo_queue).await;
                let question = next(&mut questions).await;
                let reply_to = reply_to(&question);
                assert!(reply_to.starts_with("amq.rabbitmq.reply-to."), "{reply_to}");
                let declared = passive(&server, &reply_to).await.unwrap();
                assert_eq!((declared.message_count(), declared.consumer_count()), (0, 1));
                publish(&server, "", &format!("{reply_to}x"), "not to that name").await;
                publish(&server, "", &reply_to, "answer").await;
                let reply = next(&mut replies).await;
                assert_eq!((body(&reply), reply.redelivered), ("answer", false));
                assert_eq!((reply.exchange.as_str(), reply.routing_key.as_str()), ("", reply_to.as_str()));
            }
        }
    });
}

#[test]
fn reply_to_a_consumer_that_has_gone_is_lost() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "questions").await;
        let replies = consume_replies(&session, REPLY_TO, true).await.unwrap();
        ask(&session, "questions", REPLY_TO).await;
        let question = get(&session, "questions").await.expect("a question");
        let reply_to = reply_to(&question);
        session.basic_cancel(replies.tag(), Default::default()).await.unwrap();
        publish(&session, "", &reply_to, "late").await;
        let expect = (404, format!("NOT_FOUND - no queue '{reply_to}' in vhost '/'"));
        assert_eq!(error_of(passive(&session, &reply_to).await), expect);
    });
}

#[test]
fn to_its_publisher_a_reply_is_unroutable() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "questions").await;
        let mut replies = consume_replies(&session, REPLY_TO, true).await.unwrap();
        ask(&session, "questions", REPLY_TO).await;
        let reply_to = reply_to(&get(&session, "questions").await.expect("a question"));
        session.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let mandatory = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let confirm = session
            .basic_publish("".into(), reply_to.into(), mandatory, b"answer", BasicProperties::default())
            .await
            .unwrap()
            .await
            .unwrap();
        let returned: Option<BasicReturnMessage> = confirm.take_message();
        assert_eq!(returned.expect("the message comes back").reply_code, 312);
        assert_eq!(body(&next(&mut replies).await), "answer");
    });
}

#[test]
fn consumer_of_replies_is_one_and_does_not_acknowledge() {
    scenario(async |broker| {
        let session = broker.open().await;
        let acknowledging = consume_replies(&session, REPLY_TO, false).await;
        let text = "PRECONDITION_FAILED - reply consumer cannot acknowledge";
        assert_eq!(error_of(acknowledging), (406, text.to_owned()));
        let channel = session.connection.create_channel().await.unwrap();
        let _replies = consume_replies(&channel, REPLY_TO, true).await.unwrap();
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let second = channel.basic_consume(REPLY_TO.into(), "".into(), options, FieldTable::default()).await;
        assert_eq!(error_of(second), (406, "PRECONDITION_FAILED - reply consumer already set".to_owned()));
    });
}

#[test]
fn request_without_a_consumer_is_406() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "questions").await;
        ask(&session, "questions", REPLY_TO).await;
        let closed = passive(&session, "questions").await;
        let text = "PRECONDITION_FAILED - fast reply consumer does not exist";
        assert_eq!(error_of(closed), (406, text.to_owned()));
    });
}

#[test]
fn pseudo_queue_can_be_declared_and_is_no_queue() {
    scenario(async |broker| {
        let session = broker.open().await;
        let declared = declare(&session, REPLY_TO).await;
        assert_eq!((declared.message_count(), declared.consumer_count()), (0, 1));
        assert_eq!(passive(&session, REPLY_TO).await.unwrap().consumer_count(), 1);
        let purged = session.queue_purge(REPLY_TO.into(), Default::default()).await;
        assert_eq!(error_of(purged).1, "NOT_FOUND - no queue 'amq.rabbitmq.reply-to' in vhost '/'");
        let channel = session.connection.create_channel().await.unwrap();
        let forged = passive(&channel, "amq.rabbitmq.reply-to.0-0-0.guess").await;
        assert_eq!(error_of(forged).0, 404);
    });
}

//! Short forms for lapin.

use std::ops::Deref;
use std::time::Duration;

use futures_lite::StreamExt;
use lapin::message::{BasicGetMessage, Delivery};
use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer, Error, ErrorKind, Queue};

use super::Broker;

/// A connection with one channel. Closed without a word when it is dropped.
pub(crate) struct Session {
    pub(crate) connection: Connection,
    channel: Channel,
}

impl Deref for Session {
    type Target = Channel;

    fn deref(&self) -> &Channel {
        &self.channel
    }
}

impl Broker {
    /// Connects as guest to the virtual host `/`.
    pub(crate) async fn connect(&self) -> Connection {
        self.try_connect("guest:guest", "%2f").await.unwrap()
    }

    pub(crate) async fn try_connect(&self, credentials: &str, vhost: &str) -> lapin::Result<Connection> {
        let uri = format!("amqp://{credentials}@{}/{vhost}", self.address);
        Connection::connect(&uri, ConnectionProperties::default()).await
    }

    pub(crate) async fn open(&self) -> Session {
        let connection = self.connect().await;
        let channel = connection.create_channel().await.unwrap();
        Session { connection, channel }
    }
}

/// Code and text of the exception that ended a channel or connection.
#[track_caller]
pub(crate) fn error_of<T>(result: lapin::Result<T>) -> (u16, String) {
    let error: Error = result.err().expect("an exception");
    match error.kind() {
        ErrorKind::ProtocolError(error) => (error.get_id(), error.get_message().to_string()),
        other => panic!("{other:?} is not an exception of AMQP"),
    }
}

/// Declares a transient queue without arguments that everybody may use.
pub(crate) async fn declare(channel: &Channel, queue: &str) -> Queue {
    channel.queue_declare(queue.into(), QueueDeclareOptions::default(), FieldTable::default()).await.unwrap()
}

/// The arguments of a queue.
pub(crate) type Settings<'a> = &'a [(&'a str, AMQPValue)];

/// A long string.
pub(crate) fn long_string(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

impl Session {
    /// Declares a durable queue with arguments.
    pub(crate) async fn declare_with(&self, queue: &str, settings: Settings<'_>) -> lapin::Result<Queue> {
        let mut arguments = FieldTable::default();
        for (name, value) in settings {
            arguments.insert((*name).into(), value.clone());
        }
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.queue_declare(queue.into(), options, arguments).await
    }

    /// Publishes through the default exchange in confirm mode and waits: whether it was acked.
    pub(crate) async fn put(&self, queue: &str, body: &str, properties: BasicProperties) -> bool {
        let options = BasicPublishOptions::default();
        let confirm = self.basic_publish("".into(), queue.into(), options, body.as_bytes(), properties).await;
        confirm.unwrap().await.unwrap().is_ack()
    }

    /// Enters confirm mode.
    pub(crate) async fn confirm(&self) {
        self.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    }

    /// A consumer that need not acknowledge.
    pub(crate) async fn listen(&self, queue: &str) -> Consumer {
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        self.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await.unwrap()
    }

    /// Bodies of all ready messages, which are taken out.
    pub(crate) async fn drain(&self, queue: &str) -> Vec<String> {
        let mut bodies = Vec::new();
        while let Some(message) = self.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap() {
            bodies.push(body(&message).to_owned());
        }
        bodies
    }

    /// True while a queue exists, asked on a channel of its own.
    pub(crate) async fn try_passive(&self, queue: &str) -> bool {
        let channel = self.connection.create_channel().await.unwrap();
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let exists = channel.queue_declare(queue.into(), options, FieldTable::default()).await.is_ok();
        if exists {
            channel.close(200, "bye".into()).await.unwrap();
        }
        exists
    }

    /// Waits until a queue has this many ready messages.
    pub(crate) async fn wait_for_count(&self, queue: &str, count: u32) {
        while message_count(self, queue).await != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Publishes a transient message; does not wait.
pub(crate) async fn publish(channel: &Channel, exchange: &str, routing_key: &str, body: &str) {
    let options = BasicPublishOptions::default();
    let properties = BasicProperties::default();
    channel
        .basic_publish(exchange.into(), routing_key.into(), options, body.as_bytes(), properties)
        .await
        .unwrap();
}

/// Publishes a persistent message through the default exchange; does not wait for its confirm.
pub(crate) async fn publish_persistent(channel: &Channel, queue: &str, body: &str) {
    let options = BasicPublishOptions::default();
    channel.basic_publish("".into(), queue.into(), options, body.as_bytes(), persistent()).await.unwrap();
}

/// The properties of a persistent message.
pub(crate) fn persistent() -> BasicProperties {
    BasicProperties::default().with_delivery_mode(2)
}

/// Gets a message without acknowledging it.
pub(crate) async fn get(channel: &Channel, queue: &str) -> Option<BasicGetMessage> {
    channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap()
}

/// Ready messages in a queue.
pub(crate) async fn message_count(channel: &Channel, queue: &str) -> u32 {
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap().message_count()
}

/// The next message of a consumer that is not cancelled.
pub(crate) async fn next(consumer: &mut Consumer) -> Delivery {
    consumer.next().await.expect("the consumer lives").unwrap()
}

/// A body as text.
pub(crate) fn body(delivery: &Delivery) -> &str {
    std::str::from_utf8(&delivery.data).unwrap()
}

/// A field table.
pub(crate) fn table<const N: usize>(entries: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert(name.into(), value);
    }
    table
}

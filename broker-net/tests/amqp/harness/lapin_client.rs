//! Short forms for lapin.

use std::ops::Deref;

use futures_lite::StreamExt;
use lapin::message::{BasicGetMessage, Delivery};
use lapin::options::{BasicGetOptions, BasicPublishOptions, QueueDeclareOptions};
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

/// Publishes a transient message; does not wait.
pub(crate) async fn publish(channel: &Channel, exchange: &str, routing_key: &str, body: &str) {
    let options = BasicPublishOptions::default();
    let properties = BasicProperties::default();
    channel
        .basic_publish(exchange.into(), routing_key.into(), options, body.as_bytes(), properties)
        .await
        .unwrap();
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

//! Class basic: publish, consume, get, acknowledge, return.

mod acknowledge;
mod consume;
mod publish;

use crate::harness::basic;
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::{AMQPMethod as Basic, Ack, Consume, Get};
use lapin::options::BasicConsumeOptions;
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};

pub(crate) async fn consume(channel: &Channel, queue: &str, tag: &str) -> Consumer {
    let options = BasicConsumeOptions::default();
    channel.basic_consume(queue.into(), tag.into(), options, FieldTable::default()).await.unwrap()
}

pub(crate) async fn consume_no_ack(channel: &Channel, queue: &str) -> Consumer {
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await.unwrap()
}

pub(crate) fn raw_get(name: &str) -> AMQPClass {
    basic(Basic::Get(Get { queue: name.into(), no_ack: false }))
}

pub(crate) fn raw_consume(name: &str, tag: &str) -> AMQPClass {
    basic(Basic::Consume(Consume { queue: name.into(), consumer_tag: tag.into(), ..Consume::default() }))
}

pub(crate) fn ack(delivery_tag: u64, multiple: bool) -> AMQPClass {
    basic(Basic::Ack(Ack { delivery_tag, multiple }))
}

//! The client of the crash test: publishes with confirms, consumes with acknowledgements, and writes both into ledgers
//! before the broker can know of it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use futures_lite::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind, PublisherConfirm,
};
use tokio::task::JoinHandle;

use super::ledger::{Found, Ledger};

/// Exchanges, and the queues that get what is published to each. With the default exchange there is one queue; with the
/// fanout one record in the log stands for several.
const ROUTES: &[(&str, &[usize])] = &[("", &[0]), ("", &[1]), ("", &[2]), ("crash.fanout", &[3, 4, 5])];

/// Number of queues.
const QUEUES: usize = 6;

/// Queues that are consumed from during the load.
const CONSUMED: &[usize] = &[1, 4];

/// Unconfirmed messages per publisher.
const WINDOW: usize = 200;

/// Messages per acknowledgement.
const ACK_EVERY: usize = 20;

/// Each queue is emptied in every so manieth round; otherwise what was found stays for the next crash.
const EMPTIED_EVERY: usize = 4;

/// How long the client library may take to see that its connection is gone.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// After this time a message that a queue has is taken as never coming.
const PATIENCE: Duration = Duration::from_secs(30);

type Ledgers = Rc<[RefCell<Ledger>; QUEUES]>;

/// The client, which outlives the broker.
#[derive(Debug)]
pub(super) struct Client {
    uri: String,
    ledgers: Ledgers,
}

/// The load of one round.
#[derive(Debug)]
pub(super) struct Load {
    /// They end with an error when the broker is killed. A task's own result says that it saw something wrong.
    tasks: Vec<JoinHandle<anyhow::Result<()>>>,
    counts: Rc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    published: Cell<u64>,
    confirmed: Cell<u64>,
}

impl Client {
    pub(super) fn new(amqp: SocketAddr) -> Self {
        Self { uri: format!("amqp://guest:guest@{amqp}/%2f"), ledgers: Rc::default() }
    }

    async fn connect(&self) -> anyhow::Result<Connection> {
        Ok(Connection::connect(&self.uri, ConnectionProperties::default()).await?)
    }

    /// Declares the queues and the exchange, durable.
    pub(super) async fn declare(&self) -> anyhow::Result<()> {
        let connection = self.connect().await?;
        let channel = connection.create_channel().await?;
        for queue in 0..QUEUES {
            channel.queue_declare(name(queue).into(), durable(), FieldTable::default()).await?;
        }
        for (exchange, queues) in ROUTES.iter().filter(|(exchange, _)| !exchange.is_empty()) {
            let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
            let arguments = FieldTable::default();
            channel.exchange_declare((*exchange).into(), ExchangeKind::Fanout, options, arguments).await?;
            for &queue in *queues {
                let (queue, options) = (name(queue).into(), QueueBindOptions::default());
                channel.queue_bind(queue, (*exchange).into(), "".into(), options, FieldTable::default()).await?;
            }
        }
        connection.close(200, "OK".into()).await?;
        Ok(())
    }

    /// Starts a publisher per route and the consumers, each on a connection of its own.
    pub(super) async fn start_load(&self) -> anyhow::Result<Load> {
        let counts = Rc::new(Counts::default());
        let mut tasks = Vec::new();
        for &(exchange, queues) in ROUTES {
            let connection = self.connect().await?;
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            let route =
                Route { exchange, queues, channel, ledgers: Rc::clone(&self.ledgers), counts: Rc::clone(&counts) };
            tasks.push(tokio::task::spawn_local(async move {
                let published = route.publish().await;
                drop(connection);
                published
            }));
        }
        for &queue in CONSUMED {
            let connection = self.connect().await?;
            let ledgers = Rc::clone(&self.ledgers);
            tasks.push(tokio::task::spawn_local(async move { consume(&connection, queue, &ledgers).await }));
        }
        Ok(Load { tasks, counts })
    }

    /// Takes everything out of every queue and judges it. Most queues then get it back: for the next crash.
    pub(super) async fn judge(&self, round: u32) -> anyhow::Result<Found> {
        let connection = self.connect().await?;
        let mut sum = Found::default();
        for queue in 0..QUEUES {
            let channel = connection.create_channel().await?;
            let (content, last) = take_all(&channel, queue).await.with_context(|| name(queue))?;
            let emptied = (round as usize + queue).is_multiple_of(EMPTIED_EVERY);
            let found = self.judge_queue(queue, &content, emptied)?;
            sum.messages += found.messages;
            sum.acked_again += found.acked_again;
            sum.unconfirmed += found.unconfirmed;
            if let (true, Some(last)) = (emptied, last) {
                last.ack(BasicAckOptions { multiple: true }).await?;
            }
            channel.close(200, "OK".into()).await?;
        }
        connection.close(200, "OK".into()).await?;
        Ok(sum)
    }

    fn judge_queue(&self, queue: usize, content: &[u64], emptied: bool) -> anyhow::Result<Found> {
        let mut ledger = self.ledgers[queue].borrow_mut();
        let found = ledger.judge(content).map_err(|violation| anyhow!("{}: {violation}", name(queue)))?;
        if emptied {
            content.iter().for_each(|&sequence| ledger.ack(sequence));
        }
        Ok(found)
    }
}

impl Load {
    /// Waits for the end of every task after the broker has been killed. A task that does not see its connection end
    /// is ended: what it had not noted counts as neither confirmed nor received.
    pub(super) async fn finish(&mut self) -> anyhow::Result<()> {
        for mut task in self.tasks.drain(..) {
            match tokio::time::timeout(END_PATIENCE, &mut task).await {
                Ok(ended) => ended??,
                Err(_) => task.abort(),
            }
        }
        Ok(())
    }

    /// Messages published.
    pub(super) fn messages(&self) -> u64 {
        self.counts.published.get()
    }

    /// Messages whose confirm was seen.
    pub(super) fn confirms(&self) -> u64 {
        self.counts.confirmed.get()
    }
}

/// One publisher.
struct Route {
    exchange: &'static str,
    queues: &'static [usize],
    channel: Channel,
    ledgers: Ledgers,
    counts: Rc<Counts>,
}

impl Route {
    /// Publishes until the connection breaks.
    async fn publish(self) -> anyhow::Result<()> {
        let mut waiting = VecDeque::with_capacity(WINDOW);
        while let Ok(published) = self.publish_one().await {
            waiting.push_back(published);
            if waiting.len() >= WINDOW
                && let Some(oldest) = waiting.pop_front()
                && !self.confirm(oldest).await?
            {
                break;
            }
        }
        // Confirms that came before the crash count, wherever this task was.
        for published in waiting {
            self.confirm(published).await?;
        }
        Ok(())
    }

    async fn publish_one(&self) -> lapin::Result<(u64, PublisherConfirm)> {
        let mut sequence = 0;
        for &queue in self.queues {
            sequence = self.ledgers[queue].borrow_mut().publish();
        }
        let routing_key = if self.exchange.is_empty() { name(self.queues[0]) } else { String::new() };
        let properties = BasicProperties::default().with_delivery_mode(2);
        let options = BasicPublishOptions::default();
        let body = body(sequence);
        let publish =
            self.channel.basic_publish(self.exchange.into(), routing_key.into(), options, &body, properties);
        self.counts.published.set(self.counts.published.get() + 1);
        Ok((sequence, publish.await?))
    }

    /// Waits for a confirm; false if the connection broke before it came.
    async fn confirm(&self, (sequence, confirm): (u64, PublisherConfirm)) -> anyhow::Result<bool> {
        match confirm.await {
            Ok(Confirmation::Ack(None)) => {}
            Ok(other) => bail!("message {sequence} was not confirmed but answered with {other:?}"),
            Err(_) => return Ok(false),
        }
        for &queue in self.queues {
            self.ledgers[queue].borrow_mut().confirm(sequence);
        }
        self.counts.confirmed.set(self.counts.confirmed.get() + 1);
        Ok(true)
    }
}

/// Consumes a queue until the connection breaks, in order.
async fn consume(connection: &Connection, queue: usize, ledgers: &Ledgers) -> anyhow::Result<()> {
    let channel = connection.create_channel().await?;
    channel.basic_qos(100, BasicQosOptions::default()).await?;
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer = channel.basic_consume(name(queue).into(), "".into(), options, arguments).await?;
    let mut unacked = Vec::with_capacity(ACK_EVERY);
    let mut next = 0;
    while let Some(Ok(delivery)) = consumer.next().await {
        let sequence = sequence(&delivery.data)?;
        ensure!(sequence >= next, "{}: message {sequence} came after {}", name(queue), next - 1);
        next = sequence + 1;
        unacked.push(sequence);
        if unacked.len() == ACK_EVERY {
            unacked.drain(..).for_each(|sequence| ledgers[queue].borrow_mut().ack(sequence));
            if delivery.ack(BasicAckOptions { multiple: true }).await.is_err() {
                break;
            }
        }
    }
    Ok(())
}

/// Everything that a queue has, in order, unacknowledged; and the last delivery, by which it can be acknowledged.
async fn take_all(channel: &Channel, queue: usize) -> anyhow::Result<(Vec<u64>, Option<Delivery>)> {
    let passive = QueueDeclareOptions { passive: true, ..Default::default() };
    let declared = channel.queue_declare(name(queue).into(), passive, FieldTable::default()).await?;
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer = channel.basic_consume(name(queue).into(), "".into(), options, arguments).await?;
    let (mut content, mut last) = (Vec::new(), None);
    while content.len() < declared.message_count() as usize {
        let delivery = tokio::time::timeout(PATIENCE, consumer.next()).await;
        let delivery = delivery.with_context(|| {
            format!("the queue has {} messages and delivers {}", declared.message_count(), content.len())
        })?;
        let delivery = delivery.context("the consumer was cancelled")??;
        content.push(sequence(&delivery.data)?);
        last = Some(delivery);
    }
    Ok((content, last))
}

fn durable() -> QueueDeclareOptions {
    QueueDeclareOptions { durable: true, ..Default::default() }
}

fn name(queue: usize) -> String {
    format!("crash.{queue}")
}

/// The body of a message: its number, and up to 3 KB that follow from it.
fn body(sequence: u64) -> Vec<u8> {
    let mut body = sequence.to_le_bytes().to_vec();
    let [filling, ..] = sequence.to_le_bytes();
    body.resize(body.len() + usize::try_from(sequence * 37 % 3000).unwrap_or_default(), filling);
    body
}

/// The number of a message whose body is whole.
fn sequence(received: &[u8]) -> anyhow::Result<u64> {
    let number = received.first_chunk().map(|number| u64::from_le_bytes(*number));
    match number {
        Some(number) if body(number) == received => Ok(number),
        _ => bail!("a body of {} bytes is not one that was published", received.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_tells_its_number_unless_it_is_damaged() {
        for number in [0, 1, 77, 1 << 33] {
            assert_eq!(sequence(&body(number)).unwrap(), number);
        }
        let mut damaged = body(77);
        damaged[100] ^= 1;
        sequence(&damaged).unwrap_err();
        sequence(&body(77)[..70]).unwrap_err();
        sequence(b"").unwrap_err();
    }

    #[test]
    fn every_queue_belongs_to_one_route() {
        let mut queues: Vec<usize> = ROUTES.iter().flat_map(|(_, queues)| *queues).copied().collect();
        queues.sort_unstable();
        assert_eq!(queues, (0..QUEUES).collect::<Vec<_>>());
    }
}

//! Confirm mode, and transactions: the publishes and acks of a channel, kept until `tx.commit`.
//!
//! What is wrong with a publish or an ack is told at once, and a publish is routed at once, as in RabbitMQ; queues see both at
//! the commit. `tx.commit-ok` is sent once all its persistent messages are on disk. If all its messages are for queues of one
//! partition, a crash leaves all that are persistent or none.

use amq_protocol::protocol::{AMQPClass, confirm, tx};
use broker_core::error::{AmqpError, ChannelCode, ConnectionCode};
use broker_core::model::message::{Message, Stamp};
use broker_core::session::{Publish, Settlement};
use broker_core::shard::Prepared;

use super::confirm::Confirms;
use super::unacked::Entry;
use super::{Channel, Flow, Mode, Turn, caller};
use crate::amqp::codec::MethodId;
use crate::amqp::limits::TRANSACTION_BYTES;
use crate::amqp::outputs::reply::{Request, RequestKind};

/// What `tx.commit` will do.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    publishes: Vec<Buffered>,
    /// The strings of `publishes`, one message after the other.
    bytes: Vec<u8>,
    /// What `publishes` takes beside `bytes`.
    routes_bytes: usize,
    settlements: Vec<(Settlement, Vec<Entry>)>,
}

/// The lengths of a message's parts in [`Transaction::bytes`], and where it goes.
#[derive(Debug)]
struct Buffered {
    prepared: Prepared,
    exchange: u8,
    routing_key: u8,
    mandatory: bool,
    properties: u32,
    body: u32,
}

impl Transaction {
    /// Keeps a publish. 406 if the transaction gets larger than [`TRANSACTION_BYTES`].
    fn add_publish(
        &mut self,
        message: &Message<'_>,
        mandatory: bool,
        prepared: Prepared,
    ) -> Result<(), AmqpError> {
        let parts =
            [message.exchange.as_bytes(), message.routing_key.as_bytes(), message.properties, message.body];
        self.routes_bytes += prepared.heap_bytes() + size_of::<Buffered>();
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if self.bytes.len() + length + self.routes_bytes > TRANSACTION_BYTES {
            return Err(ChannelCode::PreconditionFailed
                .error(format!("transaction is larger than the maximum of {TRANSACTION_BYTES} bytes"))
                .into());
        }
        let too_long = |_| ConnectionCode::InternalError.error("message part too long for a transaction");
        self.publishes.push(Buffered {
            prepared,
            exchange: u8::try_from(message.exchange.len()).map_err(too_long)?,
            routing_key: u8::try_from(message.routing_key.len()).map_err(too_long)?,
            mandatory,
            properties: u32::try_from(message.properties.len()).map_err(too_long)?,
            body: u32::try_from(message.body.len()).map_err(too_long)?,
        });
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        Ok(())
    }

    /// Keeps a settlement; empties `settled`.
    pub(super) fn add_settlement(&mut self, settlement: Settlement, settled: &mut Vec<Entry>) {
        match self.settlements.last_mut() {
            Some((last, entries)) if *last == settlement => entries.append(settled),
            _ => self.settlements.push((settlement, std::mem::take(settled))),
        }
    }

    fn publishes(&self) -> impl Iterator<Item = (Message<'_>, &Buffered)> {
        let mut rest = self.bytes.as_slice();
        self.publishes.iter().map(move |buffered| {
            let mut part = |length: usize| {
                let (part, behind) = rest.split_at_checked(length).unwrap_or((rest, &[]));
                rest = behind;
                part
            };
            let exchange = part(buffered.exchange.into());
            let routing_key = part(buffered.routing_key.into());
            let properties = part(buffered.properties as usize);
            let body = part(buffered.body as usize);
            let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
            let (exchange, routing_key) = (text(exchange), text(routing_key));
            (Message { stamp: Stamp::default(), exchange, routing_key, properties, body }, buffered)
        })
    }
}

impl Channel {
    pub(super) fn handle_confirm(
        &mut self,
        turn: &mut Turn<'_>,
        method: &confirm::AMQPMethod,
    ) -> Result<Flow, AmqpError> {
        let confirm::AMQPMethod::Select(select) = method else {
            return Err(super::unimplemented_method());
        };
        match self.mode {
            Mode::Transaction(_) => {
                return Err(precondition_failed("cannot switch from tx to confirm mode"));
            }
            Mode::Confirm { .. } => {}
            Mode::Plain => {
                self.mode = Mode::Confirm { next_sequence: 1 };
                if let Some(channel) = turn.outputs.channel_mut(self.key) {
                    channel.confirms = Some(Box::default());
                }
            }
        }
        if select.nowait {
            return Ok(Flow::Done);
        }
        self.write(turn, AMQPClass::Confirm(confirm::AMQPMethod::SelectOk(confirm::SelectOk {})))
    }

    pub(super) fn handle_tx(&mut self, turn: &mut Turn<'_>, method: &tx::AMQPMethod) -> Result<Flow, AmqpError> {
        match (method, &mut self.mode) {
            (tx::AMQPMethod::Select(_), mode) => {
                match mode {
                    Mode::Confirm { .. } => {
                        return Err(precondition_failed("cannot switch from confirm to tx mode"));
                    }
                    Mode::Transaction(_) => {}
                    Mode::Plain => {
                        *mode = Mode::Transaction(Box::default());
                        if let Some(channel) = turn.outputs.channel_mut(self.key) {
                            channel.confirms = Some(Box::default());
                            channel.transactional = true;
                        }
                    }
                }
                self.write(turn, AMQPClass::Tx(tx::AMQPMethod::SelectOk(tx::SelectOk {})))
            }
            (tx::AMQPMethod::Commit(_), Mode::Transaction(transaction)) => {
                let transaction = std::mem::take(transaction.as_mut());
                Ok(self.commit(turn, transaction))
            }
            (tx::AMQPMethod::Rollback(_), Mode::Transaction(transaction)) => {
                let transaction = std::mem::take(transaction.as_mut());
                if let Some(channel) = turn.outputs.channel_mut(self.key) {
                    // The messages stay unacknowledged (they are not requeued).
                    let mut entries: Vec<Entry> =
                        transaction.settlements.into_iter().flat_map(|(_, entries)| entries).collect();
                    channel.unacked.restore(&mut entries);
                }
                self.write(turn, AMQPClass::Tx(tx::AMQPMethod::RollbackOk(tx::RollbackOk {})))
            }
            (tx::AMQPMethod::Commit(_) | tx::AMQPMethod::Rollback(_), _) => {
                Err(precondition_failed("channel is not transactional"))
            }
            _ => Err(super::unimplemented_method()),
        }
    }

    /// Checks and routes a publish, and keeps it for the commit.
    #[cold]
    pub(super) fn publish_at_commit(
        &mut self,
        turn: &mut Turn<'_>,
        message: Message<'_>,
        mandatory: bool,
    ) -> Result<(), AmqpError> {
        let Mode::Transaction(transaction) = &mut self.mode else {
            return Ok(());
        };
        let (prepared, rewritten) =
            turn.shard.prepare(caller(turn.session, self.key), &self.publisher, &message)?;
        let properties = rewritten.as_deref().unwrap_or(message.properties);
        transaction.add_publish(&Message { properties, ..message }, mandatory, prepared)
    }

    /// Publishes first, then acks, as RabbitMQ does. Until commit-ok no other channel of the connection is served.
    fn commit(&mut self, turn: &mut Turn<'_>, transaction: Transaction) -> Flow {
        let prepared = transaction.publishes.iter().map(|buffered| &buffered.prepared);
        let group = turn.shard.begin_commit(prepared, transaction.bytes.len());
        for (message, Buffered { prepared, mandatory, .. }) in transaction.publishes() {
            let confirm = turn
                .outputs
                .channel_mut(self.key)
                .and_then(|channel| channel.confirms.as_deref())
                .map(Confirms::next_sequence);
            let caller = caller(turn.session, self.key);
            let publish = Publish { message, mandatory: *mandatory, confirm };
            let published = turn.shard.publish_prepared(turn.outputs, caller, prepared, publish);
            self.published(turn, &message, *mandatory, published);
            turn.outputs.expect_confirm(self.key, published.pending_confirms, published.refused);
        }
        for (settlement, mut entries) in transaction.settlements {
            self.settle_entries(turn, &mut entries, settlement);
        }
        if let Some(partition) = group {
            turn.shard.end_commit(partition);
        }
        let request = Request {
            method: MethodId::new(90, 20),
            channel: self.key,
            number: self.number,
            nowait: false,
            kind: RequestKind::Plain,
            outcome: None,
        };
        let request = turn.outputs.expect_reply(turn.session.connection, request);
        turn.outputs.commit(self.key, request);
        Flow::Done
    }
}

fn precondition_failed(text: &str) -> AmqpError {
    ChannelCode::PreconditionFailed.error(text).into()
}

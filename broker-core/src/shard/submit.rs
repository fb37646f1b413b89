//! Commands of the channels of this shard: to the registrar if they change the topology, to the queue's owner
//! if they are about its contents. And the end of channels and connections.

use std::sync::Arc;

use super::Shard;
use super::mailbox::{Answer, Ask, Op, Question, ReplyTo};
use super::plan::{self, Plan, Who};
use super::registrar::{Action, ClientCommand, REGISTRAR, TopologyRequest};
use crate::ids::{ChannelKey, ConnectionKey, QueueRef, RequestId, ShardId};
use crate::model::queue::consumer::ChannelAddress;
use crate::session::{Caller, Command, Sessions};

impl Shard {
    /// Carries out a command. Exactly one [`Sessions::reply`] with `request` follows, in this call or later.
    /// `pipelined` says that replies to earlier commands of this connection are outstanding.
    pub fn submit(
        &mut self,
        sessions: &mut impl Sessions,
        caller: Caller<'_>,
        request: RequestId,
        command: Command,
        pipelined: bool,
    ) {
        let reply_to = ReplyTo { shard: self.id, connection: caller.connection, request };
        if let Command::QueueDeclare { exclusive: true, .. } = command {
            self.exclusive_owners.insert(caller.connection, ());
        }
        if let Command::QueueDeclare { queue, .. } = &command
            && self.declare_reply_queue(sessions, reply_to, caller.vhost, queue)
        {
            return;
        }
        if command.is_topology_change() && (pipelined || self.id == REGISTRAR) {
            return self.send_to_registrar(sessions, caller, reply_to, command);
        }
        let who = Who { user: caller.user, vhost: caller.vhost, shard: self.id, connection: caller.connection };
        match command {
            Command::BasicCancel { consumer } => {
                let queue = consumer.queue;
                let name = self.topology.queue(queue.queue).map(|row| Arc::clone(&row.name));
                match name {
                    Some(name) => {
                        self.put(sessions, caller, reply_to, (queue, name), Question::Cancel { consumer })
                    }
                    // The queue is gone, and the consumer with it.
                    None => self.answer(sessions, reply_to, Answer::BasicCancelOk),
                }
            }
            command => match plan::plan(&self.topology, self.placement, who, &command) {
                Err(error) => self.answer(sessions, reply_to, Answer::Failed(error)),
                Ok(Plan::Done(answer)) => self.answer(sessions, reply_to, answer),
                Ok(Plan::Change { .. }) => self.send_to_registrar(sessions, caller, reply_to, command),
                Ok(Plan::Counts { queue, name }) => {
                    let question = question_of(caller, command);
                    self.put(sessions, caller, reply_to, (queue, name), question);
                }
            },
        }
    }

    fn put(
        &mut self,
        sessions: &mut impl Sessions,
        caller: Caller<'_>,
        reply_to: ReplyTo,
        (queue, name): (QueueRef, Arc<str>),
        question: Question,
    ) {
        if queue.shard != self.id {
            self.touch(caller.channel, queue.shard);
        }
        let vhost = Arc::clone(caller.vhost);
        let ask = Ask { reply_to, channel: caller.channel, queue: queue.queue, vhost, name, question };
        self.ask(sessions, queue.shard, ask);
    }

    fn send_to_registrar(
        &mut self,
        sessions: &mut impl Sessions,
        caller: Caller<'_>,
        reply_to: ReplyTo,
        command: Command,
    ) {
        if self.id != REGISTRAR {
            self.touch(caller.channel, REGISTRAR);
        }
        let action = Action::Command(Box::new(client_command(caller, command)));
        self.request(sessions, TopologyRequest { reply_to: Some(reply_to), action });
    }

    /// The shard is to be told when the channel closes.
    fn touch(&mut self, channel: ChannelKey, shard: ShardId) {
        let shards = self.touched.entry(channel).or_default();
        if !shards.contains(&shard) {
            shards.push(shard);
        }
    }

    /// Ends a channel: its consumers go, its unacknowledged messages return to their queues. No delivery,
    /// confirm or reply for it has an effect after this. Returns the other shards that do their part of it later.
    pub fn close_channel(&mut self, sessions: &mut impl Sessions, channel: ChannelKey) -> Vec<ShardId> {
        let shards = self.touched.remove(&channel).unwrap_or_default();
        for shard in &shards {
            self.peers.batch(*shard).push(Op::CloseChannel { channel });
        }
        self.channel_closed(sessions, ChannelAddress { shard: self.id, channel });
        shards
    }

    /// Has another shard answer `request` with [`Reply::Done`](crate::session::Reply::Done) when it has done all that this shard has
    /// told it so far.
    pub fn ask_done(&mut self, shard: ShardId, connection: ConnectionKey, request: RequestId) {
        self.peers.batch(shard).push(Op::AskDone { connection, request });
    }

    /// A channel, here or elsewhere, is gone.
    pub(super) fn channel_closed(&mut self, sessions: &mut impl Sessions, address: ChannelAddress) {
        self.registrar.forget_channel(address);
        self.forget_channel(sessions, address);
    }

    /// Ends a connection whose channels have been closed: its exclusive queues are deleted. When that is
    /// done everywhere, `request` is answered with [`Reply::QueueDeleteOk`](crate::session::Reply::QueueDeleteOk)
    /// (RabbitMQ deletes them before `connection.close-ok`); without `request` nobody is told.
    pub fn close_connection(
        &mut self,
        sessions: &mut impl Sessions,
        connection: ConnectionKey,
        request: Option<RequestId>,
    ) {
        let shard = self.id;
        let reply_to = request.map(|request| ReplyTo { shard, connection, request });
        if self.exclusive_owners.remove(&connection).is_some() {
            let action = Action::CloseConnection { shard, connection };
            self.request(sessions, TopologyRequest { reply_to, action });
        } else if let Some(reply_to) = reply_to {
            self.answer(sessions, reply_to, Answer::QueueDeleteOk { message_count: 0 });
        }
    }
}

fn client_command(caller: Caller<'_>, command: Command) -> ClientCommand {
    ClientCommand {
        channel: caller.channel,
        user: Arc::clone(caller.user),
        vhost: Arc::clone(caller.vhost),
        command,
    }
}

/// What a command that got past [`plan::plan`] asks of its queue.
fn question_of(caller: Caller<'_>, command: Command) -> Question {
    match command {
        Command::BasicConsume {
            consumer,
            consumer_tag,
            no_ack,
            exclusive,
            prefetch_count,
            room,
            arguments,
            ..
        } => {
            let arguments = (!arguments.inner().is_empty()).then(|| Arc::new(arguments));
            let consumer_tag = consumer_tag.into();
            Question::Consume { consumer, consumer_tag, no_ack, exclusive, prefetch_count, room, arguments }
        }
        Command::BasicGet { no_ack, .. } => Question::Get { no_ack },
        Command::QueuePurge { .. } => Question::Purge,
        Command::QueueDelete { if_unused, if_empty, .. } => Question::Delete { if_unused, if_empty },
        Command::QueueDeclare { passive: false, .. } => {
            Question::Counts { declare: Some(Box::new(client_command(caller, command))) }
        }
        _ => Question::Counts { declare: None },
    }
}

//! What administrators ask of a shard; see [`crate::admin`].
//!
//! A request is carried out like what a connection asks, on behalf of a connection that does not exist: its key is
//! [`ADMIN_CONNECTION`], and each request has a channel of its own. What is answered to that connection comes to the *desk*,
//! which knows who waits.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use amq_protocol::frame::WriteContext;
use amq_protocol::protocol::basic::{AMQPProperties, gen_properties, parse_properties};
use rustc_hash::FxHashMap;

use super::Shard;
use super::define::define;
use super::held::Browsing;
use super::mailbox::{Answer, ReplyTo};
use super::moves::Moving;
use super::name_lengths::check_lengths;
use super::publisher::Publisher;
use crate::admin::{
    AdminError, AdminGet, AdminPublish, AdminReply, AdminRequest, BROKER, Call, GotMessage, Reply,
};
use crate::error::ConnectionCode;
use crate::ids::{ChannelKey, ConnectionKey, DeliveryToken, QueueRef, RequestId};
use crate::limits::ADMIN_GET_BYTES;
use crate::model::message::{Message, Stamp};
use crate::model::queue::Got;
use crate::session::{Caller, Command, Publish, Sessions};

/// The connection on whose behalf administrators' requests are carried out.
pub(super) const ADMIN_CONNECTION: ConnectionKey = ConnectionKey { slot: ADMIN_SLOT, epoch: 0 };

/// No connection or channel of a client has this slot.
pub(super) const ADMIN_SLOT: u32 = u32::MAX - 1;

/// Steps of requests that go on by themselves, in one turn of the loop.
const STEPS_PER_TURN: usize = 64;

/// The channel of a request.
pub(super) fn channel_of(request: RequestId) -> ChannelKey {
    ChannelKey { slot: ADMIN_SLOT, epoch: request.0 }
}

/// Who waits for what.
#[derive(Debug, Default)]
pub(super) struct Desk {
    waiting: FxHashMap<RequestId, Waiting>,
    last: u32,
    /// Requests that go on in the next turn.
    due: Vec<RequestId>,
    /// The same, one step in each turn.
    going: Vec<RequestId>,
}

#[derive(Debug)]
struct Waiting {
    reply: Reply,
    kind: WaitingFor,
}

#[derive(Debug)]
pub(super) enum WaitingFor {
    /// An answer, or the round of a change. The reply if the answer has no number in it.
    Answer(AdminReply),
    /// So many confirms of the queues that a message went to.
    Confirms {
        pending: u32,
        refused: bool,
    },
    Messages(Box<Getting>),
    /// What was done is to be on disk.
    Synced(AdminReply),
    /// Messages are on their way to other queues. Absent while it is being looked after.
    Move(Option<Box<Moving>>),
    /// Records of messages that are held back are being read.
    Held(Option<Box<Browsing>>),
}

/// A get that is going on: one message after the other.
#[derive(Debug)]
pub(super) struct Getting {
    get: AdminGet,
    user: Arc<str>,
    vhost: Arc<str>,
    queue: Option<QueueRef>,
    tokens: Vec<DeliveryToken>,
    got: Vec<GotMessage>,
    bytes: usize,
}

impl Getting {
    fn is_complete(&self) -> bool {
        self.got.len() >= self.get.count as usize || self.bytes >= ADMIN_GET_BYTES
    }
}

impl Desk {
    /// True if [`Shard::continue_requests`] has something to do.
    pub(super) fn has_due(&self) -> bool {
        !self.due.is_empty() || !self.going.is_empty()
    }

    pub(super) fn open(&mut self, reply: Reply, kind: WaitingFor) -> RequestId {
        loop {
            self.last = self.last.wrapping_add(1);
            let request = RequestId(self.last);
            if let Entry::Vacant(place) = self.waiting.entry(request) {
                place.insert(Waiting { reply, kind });
                return request;
            }
        }
    }

    /// The request goes on in the next turn.
    pub(super) fn go_on(&mut self, request: RequestId) {
        self.going.push(request);
    }

    /// What a request waits for.
    pub(super) fn waits_for(&mut self, request: RequestId) -> Option<&mut WaitingFor> {
        self.waiting.get_mut(&request).map(|waiting| &mut waiting.kind)
    }

    /// A message was got.
    pub(super) fn got(&mut self, request: RequestId, queue: QueueRef, got: &Got<'_>) {
        let Some(Waiting { kind: WaitingFor::Messages(getting), .. }) = self.waiting.get_mut(&request) else {
            return;
        };
        let Message { exchange, routing_key, properties, body, .. } = got.message;
        let kept = &body[..getting.get.truncate.unwrap_or(usize::MAX).min(body.len())];
        getting.queue = Some(queue);
        getting.tokens.extend(got.token);
        getting.bytes += kept.len() + properties.len();
        getting.got.push(GotMessage {
            exchange: exchange.to_owned(),
            routing_key: routing_key.to_owned(),
            redelivered: got.redelivered,
            message_count: super::ask::wire_count(got.message_count),
            properties: parse_properties(properties).map(|(_, properties)| properties).unwrap_or_default(),
            body_bytes: body.len(),
            body: kept.to_vec(),
        });
        self.due.push(request);
    }
}

impl Shard {
    /// Does what another thread asks.
    pub(super) fn handle_call(&mut self, sessions: &mut impl Sessions, call: Call) {
        match call {
            Call::Read(read) => read(self, sessions),
            Call::Request(request, reply) => self.administer(sessions, *request, reply),
        }
    }

    fn administer(&mut self, sessions: &mut impl Sessions, request: AdminRequest, reply: Reply) {
        if let Err(error) = check_lengths(&request) {
            // The asker may have gone.
            let _ = reply.send(Err(error));
            return;
        }
        let outcome = match request {
            AdminRequest::Authenticate { username, password } => {
                let user = self.authenticate(&username, password.expose());
                user.ok_or(AdminError::NotAuthorised).map(|name| {
                    let tags = self.topology.user(&name).map(|(_, user)| user.tags.clone());
                    AdminReply::User { name, tags: tags.unwrap_or_default() }
                })
            }
            AdminRequest::CloseConnection { connection, reason } => {
                sessions.close_connection(connection.connection, ConnectionCode::ConnectionForced.error(reason));
                Ok(AdminReply::Done)
            }
            AdminRequest::Command { user, vhost, command } => match self.caller(&user, &vhost) {
                Ok((user, vhost)) => return self.admin_command(sessions, &user, &vhost, command, reply),
                Err(error) => Err(error),
            },
            AdminRequest::Publish(publish) => match self.caller(&publish.user, &publish.vhost) {
                Ok((user, vhost)) => return self.admin_publish(sessions, &user, &vhost, &publish, reply),
                Err(error) => Err(error),
            },
            AdminRequest::Get(get) => match self.caller(&get.user, &get.vhost) {
                Ok((user, vhost)) => {
                    let (queue, tokens, got) = (None, Vec::new(), Vec::new());
                    let getting = Getting { get, user, vhost, queue, tokens, got, bytes: 0 };
                    let request = self.desk.open(reply, WaitingFor::Messages(Box::new(getting)));
                    self.desk.due.push(request);
                    return;
                }
                Err(error) => Err(error),
            },
            AdminRequest::Move(order) => return self.begin_move(*order, reply),
            AdminRequest::ListDelayed(list) => return self.list_delayed(list, reply),
            AdminRequest::CancelDelayed(cancel) => return self.cancel_delayed(cancel, reply),
            change => match define(&self.topology, change) {
                Ok((changes, answer)) => {
                    for change in changes {
                        self.change(sessions, change);
                    }
                    let request = self.desk.open(reply, WaitingFor::Answer(answer));
                    let reply_to = self.desk_address(request);
                    return self.answer_after_round(Some(reply_to), Answer::Applied);
                }
                Err(error) => Err(error),
            },
        };
        // The asker may have gone.
        let _ = reply.send(outcome);
    }

    fn desk_address(&self, request: RequestId) -> ReplyTo {
        ReplyTo { shard: self.id, connection: ADMIN_CONNECTION, request }
    }

    /// A user and a virtual host by their shared names.
    pub(super) fn caller(&self, user: &str, vhost: &str) -> Result<(Arc<str>, Arc<str>), AdminError> {
        let user = match user {
            BROKER => Arc::default(),
            user => Arc::clone(self.topology.user(user).ok_or(AdminError::NotAuthorised)?.0),
        };
        let (vhost, _) =
            self.topology.vhost(vhost).ok_or_else(|| AdminError::NotFound(format!("no vhost '{vhost}'")))?;
        Ok((user, Arc::clone(vhost)))
    }

    fn admin_command(
        &mut self,
        sessions: &mut impl Sessions,
        user: &Arc<str>,
        vhost: &Arc<str>,
        command: Command,
        reply: Reply,
    ) {
        let request = self.desk.open(reply, WaitingFor::Answer(AdminReply::Done));
        let caller = Caller { connection: ADMIN_CONNECTION, channel: channel_of(request), user, vhost };
        self.submit(sessions, caller, request, command, false);
    }

    fn admin_publish(
        &mut self,
        sessions: &mut impl Sessions,
        user: &Arc<str>,
        vhost: &Arc<str>,
        publish: &AdminPublish,
        reply: Reply,
    ) {
        let request = self.desk.open(reply, WaitingFor::Confirms { pending: 0, refused: false });
        let caller = Caller { connection: ADMIN_CONNECTION, channel: channel_of(request), user, vhost };
        let properties = encode(&publish.properties);
        let message = Message {
            stamp: Stamp::default(),
            exchange: &publish.exchange,
            routing_key: &publish.routing_key,
            properties: &properties,
            body: &publish.body,
        };
        let publish = Publish { message, mandatory: true, confirm: Some(1) };
        match self.publish(sessions, caller, &mut Publisher::default(), publish) {
            Err(error) => self.finish(sessions, request, Err(error.into())),
            Ok(published) if !published.routed => {
                self.finish(sessions, request, Ok(AdminReply::Published { routed: false }));
            }
            Ok(published) => {
                if let Some(waiting) = self.desk.waiting.get_mut(&request) {
                    let (pending, refused) = (published.pending_confirms, published.refused);
                    waiting.kind = WaitingFor::Confirms { pending, refused };
                }
                self.finish_publish(sessions, request);
            }
        }
    }

    /// One of the queues that a message went to has it, or does not take it.
    pub(super) fn desk_confirm(&mut self, sessions: &mut impl Sessions, channel: ChannelKey, accepted: bool) {
        let request = RequestId(channel.epoch);
        if let Some(Waiting { kind: WaitingFor::Synced(reply), .. }) = self.desk.waiting.get_mut(&request) {
            let outcome = match accepted {
                true => Ok(reply.clone()),
                false => Err(AdminError::Unavailable("a log of this server has failed".to_owned())),
            };
            return self.finish(sessions, request, outcome);
        }
        if let Some(Waiting { kind: WaitingFor::Confirms { pending, refused }, .. }) =
            self.desk.waiting.get_mut(&request)
        {
            *pending = pending.saturating_sub(1);
            *refused |= !accepted;
            self.finish_publish(sessions, request);
        }
    }

    fn finish_publish(&mut self, sessions: &mut impl Sessions, request: RequestId) {
        if let Some(Waiting { kind: WaitingFor::Confirms { pending: 0, refused }, .. }) =
            self.desk.waiting.get(&request)
        {
            let outcome = match refused {
                false => Ok(AdminReply::Published { routed: true }),
                true => Err(AdminError::BadRequest("the message was refused by a queue".to_owned())),
            };
            self.finish(sessions, request, outcome);
        }
    }

    /// The answer to a request of an administrator.
    pub(super) fn desk_answer(&mut self, sessions: &mut impl Sessions, request: RequestId, answer: Answer) {
        let Some(waiting) = self.desk.waiting.get_mut(&request) else {
            return;
        };
        let outcome = match (answer, &mut waiting.kind) {
            (Answer::BasicGetEmpty, WaitingFor::Messages(getting)) => {
                getting.get.count = 0;
                self.desk.due.push(request);
                return;
            }
            (Answer::Failed(error), _) => Err(AdminError::Amqp(error)),
            (
                Answer::QueueDeclareOk { message_count, .. }
                | Answer::QueuePurgeOk { message_count }
                | Answer::QueueDeleteOk { message_count },
                _,
            ) => Ok(AdminReply::Messages(message_count)),
            (_, WaitingFor::Answer(reply)) => Ok(reply.clone()),
            (_, _) => Ok(AdminReply::Done),
        };
        self.finish(sessions, request, outcome);
    }

    /// Goes on with requests that take several steps.
    pub(super) fn continue_requests(&mut self, sessions: &mut impl Sessions) {
        for request in std::mem::take(&mut self.desk.going) {
            match self.desk.waits_for(request) {
                Some(WaitingFor::Move(_)) => self.continue_move(sessions, request),
                Some(WaitingFor::Held(_)) => self.continue_browsing(sessions, request),
                _ => {}
            }
        }
        for _ in 0..STEPS_PER_TURN {
            let Some(request) = self.desk.due.pop() else {
                return;
            };
            self.continue_get(sessions, request);
        }
    }

    fn continue_get(&mut self, sessions: &mut impl Sessions, request: RequestId) {
        let Some(Waiting { kind: WaitingFor::Messages(getting), .. }) = self.desk.waiting.get_mut(&request) else {
            return;
        };
        if !getting.is_complete() {
            let command = Command::BasicGet { queue: getting.get.queue.clone(), no_ack: false };
            let (user, vhost) = (Arc::clone(&getting.user), Arc::clone(&getting.vhost));
            let caller =
                Caller { connection: ADMIN_CONNECTION, channel: channel_of(request), user: &user, vhost: &vhost };
            return self.submit(sessions, caller, request, command, false);
        }
        let got = std::mem::take(&mut getting.got);
        let tokens = std::mem::take(&mut getting.tokens);
        let settlement = getting.get.settlement;
        if let Some(queue) = getting.queue {
            self.settle(sessions, channel_of(request), queue, &tokens, settlement);
        }
        self.finish(sessions, request, Ok(AdminReply::Got(got)));
    }

    /// Tells the asker, and every shard that the request's channel is closed.
    pub(super) fn finish(
        &mut self,
        sessions: &mut impl Sessions,
        request: RequestId,
        outcome: Result<AdminReply, AdminError>,
    ) {
        self.close_channel(sessions, channel_of(request));
        if let Some(waiting) = self.desk.waiting.remove(&request) {
            // The asker may have gone.
            let _ = waiting.reply.send(outcome);
        }
    }
}

fn encode(properties: &AMQPProperties) -> Vec<u8> {
    let context = gen_properties(properties)(WriteContext::from(Vec::new()));
    context.expect("a vector takes every write").into_inner().0
}

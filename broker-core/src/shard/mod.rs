//! One shard: the queues of its partitions, its copy of the topology, its batches to the other shards.
//!
//! [`Shard`] is a pure state machine: calls come in from the connections on the shard, from the other shards
//! and from the log; answers go out through [`Sessions`], outgoing batches and log operations.

use std::net::IpAddr;
use std::sync::Arc;

use crate::error::{AmqpError, ConnectionError};
use crate::ids::{ChannelKey, ConnectionKey, ConsumerId, DeliveryToken, QueueRef, RequestId};
use crate::session::{Caller, Command, Publish, Published, Sessions, Settlement};

pub mod driver;
pub mod stats;

/// The state of one shard.
#[derive(Debug)]
pub struct Shard {}

/// What a publishing channel remembers between publishes so that the usual publish looks nothing up: the
/// permission and the queues of the last (exchange, routing key) pairs, valid for one topology version.
#[derive(Debug, Default)]
pub struct Publisher {}

/// Why authentication failed. The client is told the same text for each reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticationFailure {
    /// No such user, or the password is wrong.
    Credentials,
    /// The user may connect from loopback addresses only.
    LoopbackOnly,
}

impl Shard {
    /// Checks a user name and password. Returns the user's name as it is shared by all that refer to it.
    pub fn authenticate(
        &self,
        username: &str,
        password: &[u8],
        peer: IpAddr,
    ) -> Result<Arc<str>, AuthenticationFailure> {
        let _ = (username, password, peer);
        unreachable!()
    }

    /// Opens a virtual host for a connection (`connection.open`): 530 if it does not exist or the user has no
    /// permission in it.
    pub fn open_vhost(&mut self, connection: ConnectionKey, user: &Arc<str>, vhost: &str) -> Result<Arc<str>, ConnectionError> {
        let _ = (connection, user, vhost);
        unreachable!()
    }

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
        let _ = (sessions, caller, request, command, pipelined);
        unreachable!()
    }

    /// Routes a message and gives it to its queues.
    pub fn publish(
        &mut self,
        sessions: &mut impl Sessions,
        caller: Caller<'_>,
        publisher: &mut Publisher,
        publish: Publish<'_>,
    ) -> Result<Published, AmqpError> {
        let _ = (sessions, caller, publisher, publish);
        unreachable!()
    }

    /// Settles unacknowledged messages of one queue, in the order given.
    pub fn settle(
        &mut self,
        sessions: &mut impl Sessions,
        channel: ChannelKey,
        queue: QueueRef,
        tokens: &[DeliveryToken],
        settlement: Settlement,
    ) {
        let _ = (sessions, channel, queue, tokens, settlement);
        unreachable!()
    }

    /// Gives a consumer back the window of deliveries that its connection has written to the socket:
    /// the sum of their [`Delivery::window_bytes`](crate::session::Delivery::window_bytes).
    pub fn return_window(
        &mut self,
        sessions: &mut impl Sessions,
        channel: ChannelKey,
        consumer: ConsumerId,
        queue: QueueRef,
        bytes: u32,
    ) {
        let _ = (sessions, channel, consumer, queue, bytes);
        unreachable!()
    }

    /// Ends a channel: its consumers go, its unacknowledged messages return to their queues. No delivery,
    /// confirm or reply for it has an effect after this.
    pub fn close_channel(&mut self, sessions: &mut impl Sessions, channel: ChannelKey) {
        let _ = (sessions, channel);
        unreachable!()
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
        let _ = (sessions, connection, request);
        unreachable!()
    }

    /// True while publishers on this shard must not be read: a mailbox or a log's staging area is at its limit.
    #[must_use]
    pub fn congested(&self) -> bool {
        unreachable!()
    }

    /// The reason for which publishers are blocked, if they are (`connection.blocked`).
    #[must_use]
    pub fn blocked(&self) -> Option<&'static str> {
        unreachable!()
    }
}

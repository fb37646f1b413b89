//! How requests, transactions, channels and connections end.

use amq_protocol::protocol::{AMQPClass, channel, connection};
use broker_core::error::{AmqpError, ChannelCode, ChannelError, ConnectionError};
use broker_core::ids::{ChannelKey, ConnectionKey, RequestId};

use super::Outputs;
use super::half::Event;
use super::reply::{self, Outcome};
use crate::amqp::codec::{ChannelId, MethodId, reply_text, write_method};

impl Outputs {
    /// Has a channel closed with `channel.close`: the input half does it, which learns it as an [`Event`].
    pub(crate) fn fail_channel(&mut self, key: ChannelKey, method: MethodId, error: &ChannelError) {
        let Some(channel) = self.channels.get(key) else {
            return;
        };
        let (connection, number) = (channel.connection, channel.number);
        let close = channel::Close {
            reply_code: error.code.code(),
            reply_text: reply_text(&error.to_string()),
            class_id: method.class_id,
            method_id: method.method_id,
        };
        let close = AMQPClass::Channel(channel::AMQPMethod::Close(close));
        // Confirms that are due go out first.
        self.confirms_changed(key);
        self.write_confirms(connection);
        if let Some(connection) = self.connections.get_mut(connection) {
            connection.events.push(Event::ChannelFailed { number, channel: key, close: Box::new(close) });
            connection.mark_ready(&mut self.ready);
        }
        self.remove_channel(key);
    }

    /// Closes a connection with `connection.close`; the input half learns it as an [`Event`].
    pub(crate) fn fail_connection(&mut self, key: ConnectionKey, method: MethodId, error: &ConnectionError) {
        let close = connection::Close {
            reply_code: error.code.code(),
            reply_text: reply_text(&error.to_string()),
            class_id: method.class_id,
            method_id: method.method_id,
        };
        let close = AMQPClass::Connection(connection::AMQPMethod::Close(close));
        self.write_confirms(key);
        self.write_method(key, ChannelId(0), &close);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.flags.closing = true;
            connection.events.push(Event::ConnectionFailed);
        }
    }

    pub(super) fn confirms_changed(&mut self, key: ChannelKey) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        if channel.confirms_due || channel.transactional || channel.confirms.is_none() {
            return;
        }
        channel.confirms_due = true;
        if let Some(connection) = self.connections.get_mut(channel.connection) {
            connection.confirms_due.push(key);
            connection.mark_ready(&mut self.ready);
        }
    }

    /// Ends the `tx.commit` that waits on the channel, if all its publishes are confirmed now.
    pub(super) fn complete_commit(&mut self, key: ChannelKey) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        let (Some(request), Some(confirms)) = (channel.committing, &mut channel.confirms) else {
            return;
        };
        if !confirms.is_resolved() {
            return;
        }
        channel.committing = None;
        let outcome = if confirms.discard() {
            Outcome::Failed(ChannelCode::PreconditionFailed.error("partial tx completion").into())
        } else {
            let mut frames = Vec::new();
            write_method(&mut frames, channel.number, &reply::commit_ok());
            Outcome::Frames(frames)
        };
        let key = channel.connection;
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if let Some((request, _)) = connection.requests.get_mut(request) {
            request.outcome = Some(outcome);
            self.complete_requests(key);
        }
    }

    /// True between `tx.commit` and its answer: RabbitMQ takes no other command of the channel then.
    pub(crate) fn is_committing(&self, key: ChannelKey) -> bool {
        self.channels.get(key).is_some_and(|channel| channel.committing.is_some())
    }

    /// Makes the channel's commit wait with `request` until all publishes are confirmed.
    pub(crate) fn commit(&mut self, key: ChannelKey, request: RequestId) {
        if let Some(channel) = self.channels.get_mut(key) {
            channel.committing = Some(request);
        }
        self.complete_commit(key);
    }

    /// Ends the requests at the front whose outcome is known.
    pub(super) fn complete_requests(&mut self, key: ConnectionKey) {
        loop {
            let Some(connection) = self.connections.get_mut(key) else {
                return;
            };
            match connection.requests.waiting.front() {
                Some(request) if request.outcome.is_some() => {}
                _ => return,
            }
            let Some(request) = connection.requests.pop() else {
                return;
            };
            connection.mark_ready(&mut self.ready);
            match request.outcome {
                Some(Outcome::Frames(frames)) => self.write(key, |out| out.extend_from_slice(&frames)),
                Some(Outcome::Failed(error)) => self.fail(key, request.channel, request.method, &error),
                None => {}
            }
        }
    }

    fn fail(&mut self, connection: ConnectionKey, channel: ChannelKey, method: MethodId, error: &AmqpError) {
        match error {
            AmqpError::Channel(error) => self.fail_channel(channel, method, error),
            AmqpError::Connection(error) => self.fail_connection(connection, method, error),
        }
    }
}

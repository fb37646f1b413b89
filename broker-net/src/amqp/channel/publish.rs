//! `basic.publish`. The usual one, method, header and body in one piece in the receive buffer, is published
//! from there; others are collected first (see [`Content`]).

use std::cell::Cell;

use broker_core::error::{AmqpError, ChannelCode, ConnectionCode, ConnectionError};
use broker_core::limits::MAX_BODY_SIZE_BYTES;
use broker_core::model::message::{Message, Stamp};
use broker_core::session::{Publish, Published};

use super::content::{Content, Stage};
use super::{Channel, Failure, Flow, Mode, Turn, caller};
use crate::amqp::codec::{
    self, BASIC_CLASS_ID, ChannelId, ContentHeader, FrameKind, MethodId, next_frame, write_return,
};

/// Exceptions of content frames name the method that they belong to.
pub(super) fn failure(error: AmqpError) -> Failure {
    Failure { method: MethodId::new(60, 40), error }
}

impl Channel {
    #[inline]
    pub(super) fn handle_publish(
        &mut self,
        turn: &mut Turn<'_>,
        publish: &codec::Publish<'_>,
        behind: &[u8],
    ) -> Result<Flow, AmqpError> {
        if turn.outputs.hold_back_publisher(turn.session.connection) {
            return Ok(Flow::Stall);
        }
        if !self.has_published {
            self.has_published = true;
            turn.outputs.set_publisher(turn.session.connection);
            turn.shard.stats_mut().publishers += 1;
        }
        if let Some(content) = content_in_place(behind, self.number, turn.session.frame_max) {
            self.publish(turn, publish, content.properties, content.body)?;
            return Ok(Flow::DoneWith(content.length));
        }
        self.content.get_or_insert_default().start(publish);
        Ok(Flow::Done)
    }

    pub(super) fn handle_header(&mut self, turn: &mut Turn<'_>, payload: &[u8]) -> Result<Flow, AmqpError> {
        let Some(content) = self.content.as_mut().filter(|content| content.stage() == Stage::Header) else {
            return Err(unexpected(self.content.as_deref()).into());
        };
        if turn.waiting || turn.outputs.hold_back_publisher(turn.session.connection) {
            return Ok(Flow::Stall);
        }
        let header = ContentHeader::parse(payload).map_err(|error| error.to_connection_error())?;
        if header.class_id != BASIC_CLASS_ID {
            return Err(ConnectionCode::UnexpectedFrame
                .error(format!(
                    "expected content header for class 60, got one for class {} instead",
                    header.class_id
                ))
                .into());
        }
        if header.body_size > MAX_BODY_SIZE_BYTES {
            return Err(ConnectionCode::FrameError
                .error(format!(
                    "content body size {} exceeds maximum allowed size {MAX_BODY_SIZE_BYTES}",
                    header.body_size
                ))
                .into());
        }
        content.start_body(header.body_size, header.properties);
        if header.body_size > 0 {
            return Ok(Flow::Done);
        }
        self.publish_content(turn, &[])
    }

    pub(super) fn handle_body(&mut self, turn: &mut Turn<'_>, payload: &[u8]) -> Result<Flow, AmqpError> {
        let Some(content) = self.content.as_mut().filter(|content| content.stage() == Stage::Body) else {
            return Err(unexpected(self.content.as_deref()).into());
        };
        if turn.waiting || turn.outputs.hold_back_publisher(turn.session.connection) {
            return Ok(Flow::Stall);
        }
        let received = content.received + payload.len() as u64;
        if received > content.body_size {
            return Err(ConnectionCode::FrameError
                .error("content body frame exceeds remaining content size")
                .into());
        }
        if received == content.body_size && content.received == 0 {
            return self.publish_content(turn, payload);
        }
        content.received = received;
        if content.body_size <= turn.session.max_message_size {
            if content.body.is_empty() {
                content.body.reserve_exact(usize::try_from(content.body_size).unwrap_or_default());
            }
            content.body.extend_from_slice(payload);
        }
        if received < content.body_size {
            return Ok(Flow::Done);
        }
        let body = std::mem::take(&mut content.body);
        self.publish_content(turn, &body)
    }

    /// Publishes what was collected; the body comes apart, as it may still be in the receive buffer.
    fn publish_content(&mut self, turn: &mut Turn<'_>, body: &[u8]) -> Result<Flow, AmqpError> {
        let Some(mut content) = self.content.take() else {
            return Ok(Flow::Done);
        };
        let result = if content.body_size > turn.session.max_message_size {
            Err(too_large(content.body_size, turn.session.max_message_size))
        } else {
            self.publish(turn, &content.publish(), &content.properties, body)
        };
        content.finish();
        self.content = Some(content);
        result.map(|()| Flow::Done)
    }

    #[inline]
    fn publish(
        &mut self,
        turn: &mut Turn<'_>,
        publish: &codec::Publish<'_>,
        properties: &[u8],
        body: &[u8],
    ) -> Result<(), AmqpError> {
        if publish.immediate {
            return Err(ConnectionCode::NotImplemented.error("immediate=true").into());
        }
        if body.len() as u64 > turn.session.max_message_size {
            return Err(too_large(body.len() as u64, turn.session.max_message_size));
        }
        let message = Message {
            stamp: Stamp::default(),
            exchange: publish.exchange,
            routing_key: publish.routing_key,
            properties,
            body,
        };
        let confirm = match &self.mode {
            Mode::Plain => None,
            Mode::Confirm { next_sequence } => Some(*next_sequence),
            Mode::Transaction(_) => return self.publish_at_commit(turn, message, publish.mandatory),
        };
        let published = self.publish_now(turn, message, publish.mandatory, confirm)?;
        if let Mode::Confirm { next_sequence } = &mut self.mode {
            *next_sequence += 1;
            turn.outputs.expect_confirm(self.key, published.pending_confirms, published.refused);
        }
        Ok(())
    }

    /// Gives a message to the shard and returns it to the client if that is wanted.
    #[inline]
    fn publish_now(
        &mut self,
        turn: &mut Turn<'_>,
        message: Message<'_>,
        mandatory: bool,
        confirm: Option<u64>,
    ) -> Result<Published, AmqpError> {
        let published = turn.shard.publish(
            turn.outputs,
            caller(turn.session, self.key),
            &mut self.publisher,
            Publish { message, mandatory, confirm },
        )?;
        self.published(turn, &message, mandatory, published);
        Ok(published)
    }

    /// Counts a message that was published, and returns it if it is mandatory and reached no queue.
    #[inline]
    pub(super) fn published(
        &self,
        turn: &mut Turn<'_>,
        message: &Message<'_>,
        mandatory: bool,
        published: Published,
    ) {
        let count = |counter: &Cell<u64>| counter.set(counter.get() + 1);
        count(&self.publishes.received);
        if !published.routed {
            count(if mandatory { &self.publishes.returned } else { &self.publishes.dropped });
        }
        if mandatory && !published.routed {
            let (number, frame_max) = (self.number, turn.session.frame_max);
            let code = ChannelCode::NoRoute;
            turn.outputs.write(turn.session.connection, |out| {
                write_return(out, number, code.code(), code.name(), message, frame_max);
            });
        }
    }
}

/// A whole content behind its method.
struct InPlace<'a> {
    properties: &'a [u8],
    body: &'a [u8],
    /// Bytes of its frames.
    length: usize,
}

/// The content at the start of `bytes`, if it is all there, in one body frame at most, and nothing is wrong.
/// Otherwise the frames are handled one by one.
#[inline]
fn content_in_place(bytes: &[u8], number: ChannelId, frame_max: u32) -> Option<InPlace<'_>> {
    let (frame, header_length) = next_frame(bytes, frame_max).ok()??;
    if frame.kind != FrameKind::Header || frame.channel != number {
        return None;
    }
    let header = ContentHeader::parse(frame.payload).ok()?;
    if header.class_id != BASIC_CLASS_ID {
        return None;
    }
    if header.body_size == 0 {
        return Some(InPlace { properties: header.properties, body: &[], length: header_length });
    }
    let (frame, body_length) = next_frame(bytes.get(header_length..)?, frame_max).ok()??;
    let whole =
        frame.kind == FrameKind::Body && frame.channel == number && frame.payload.len() as u64 == header.body_size;
    whole.then(|| InPlace {
        properties: header.properties,
        body: frame.payload,
        length: header_length + body_length,
    })
}

/// The exception for a content frame that does not fit.
pub(super) fn unexpected(content: Option<&Content>) -> ConnectionError {
    let text =
        content.and_then(Content::expected).unwrap_or("expected method frame, got non method frame instead");
    ConnectionCode::UnexpectedFrame.error(text)
}

fn too_large(size: u64, limit: u64) -> AmqpError {
    ChannelCode::PreconditionFailed
        .error(format!("message size {size} is larger than configured max size {limit}"))
        .into()
}

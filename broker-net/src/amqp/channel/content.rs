//! The content of a publish that does not come as one method, one header and at most one body frame in one
//! piece: it is collected here.

use crate::amqp::codec::Publish;
use crate::amqp::limits::KEPT_CONTENT_BYTES;

/// A publish whose content is not complete, or the empty buffers of the last one.
#[derive(Debug, Default)]
pub(crate) struct Content {
    stage: Stage,
    exchange: String,
    routing_key: String,
    mandatory: bool,
    immediate: bool,
    pub(crate) properties: Vec<u8>,
    /// Bytes announced in the header.
    pub(crate) body_size: u64,
    /// Bytes of body that came.
    pub(crate) received: u64,
    /// What of the body is kept: all of it, unless the message is too large.
    pub(crate) body: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A method is expected.
    #[default]
    Method,
    Header,
    Body,
}

impl Content {
    pub(crate) fn start(&mut self, publish: &Publish<'_>) {
        self.stage = Stage::Header;
        self.exchange.clear();
        self.exchange.push_str(publish.exchange);
        self.routing_key.clear();
        self.routing_key.push_str(publish.routing_key);
        self.mandatory = publish.mandatory;
        self.immediate = publish.immediate;
    }

    pub(crate) fn start_body(&mut self, body_size: u64, properties: &[u8]) {
        self.stage = Stage::Body;
        self.body_size = body_size;
        self.received = 0;
        self.properties.clear();
        self.properties.extend_from_slice(properties);
        self.body.clear();
    }

    pub(crate) fn finish(&mut self) {
        self.stage = Stage::Method;
        for buffer in [&mut self.properties, &mut self.body] {
            buffer.clear();
            buffer.shrink_to(KEPT_CONTENT_BYTES);
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    /// What a method that comes now is told; nothing if one is expected.
    pub(crate) fn expected(&self) -> Option<&'static str> {
        match self.stage {
            Stage::Method => None,
            Stage::Header => Some("expected content header for class 60, got non content header frame instead"),
            Stage::Body => Some("expected content body, got non content body frame instead"),
        }
    }

    pub(crate) fn publish(&self) -> Publish<'_> {
        Publish {
            exchange: &self.exchange,
            routing_key: &self.routing_key,
            mandatory: self.mandatory,
            immediate: self.immediate,
        }
    }
}

//! Appends frames to an output buffer.
//!
//! Lengths in a [`Message`] are limited by what it was read from: names and keys by 255 octets, properties by a frame.

use std::mem;

use amq_protocol::frame::WriteContext;
use amq_protocol::protocol::{AMQPClass, gen_class};
use amq_protocol::types::ShortString;
use broker_core::model::message::Message;

use super::frame::{
    FRAME_BODY, FRAME_END, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD, FRAME_OVERHEAD, MIN_FRAME_MAX,
};
use super::{BASIC_CLASS_ID, ChannelId, DeliveryTag};

/// Longest short string, in octets.
const SHORT_STRING_BYTES: usize = 255;

const FRAME_OVERHEAD_BYTES: usize = FRAME_OVERHEAD as usize;

/// Octets of a content header's payload before the properties.
const CONTENT_HEADER_BYTES: usize = 12;

/// What every `basic.deliver` to one consumer has in common. Made once per consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliverPrefix {
    channel: ChannelId,
    /// The consumer tag as a short string, its length first.
    consumer_tag: Box<[u8]>,
}

impl DeliverPrefix {
    /// # Panics
    /// `consumer_tag` is longer than 255 octets; one that a client sent never is.
    #[must_use]
    pub fn new(channel: ChannelId, consumer_tag: &str) -> Self {
        let mut bytes = Vec::with_capacity(1 + consumer_tag.len());
        put_short_string(&mut bytes, consumer_tag);
        Self { channel, consumer_tag: bytes.into_boxed_slice() }
    }

    /// The channel of the consumer.
    #[must_use]
    pub fn channel(&self) -> ChannelId {
        self.channel
    }

    /// The consumer's tag.
    #[must_use]
    pub fn consumer_tag(&self) -> &str {
        self.consumer_tag.get(1..).and_then(|tag| std::str::from_utf8(tag).ok()).unwrap_or_default()
    }
}

/// `basic.deliver` with its content. `frame_max` is the negotiated size of a frame in octets.
pub fn write_deliver(
    out: &mut Vec<u8>,
    prefix: &DeliverPrefix,
    delivery_tag: DeliveryTag,
    redelivered: bool,
    message: &Message<'_>,
    frame_max: u32,
) {
    // consumer-tag, delivery-tag, redelivered, exchange, routing-key
    let arguments = prefix.consumer_tag.len() + 9 + names_bytes(message);
    reserve_content(out, arguments, message, frame_max);
    put_method_start(out, prefix.channel, 60, arguments);
    out.extend_from_slice(&prefix.consumer_tag);
    put_delivery(out, delivery_tag, redelivered);
    put_names(out, message);
    finish_with_content(out, prefix.channel, message, frame_max);
}

/// `basic.get-ok` with its content.
pub fn write_get_ok(
    out: &mut Vec<u8>,
    channel: ChannelId,
    delivery_tag: DeliveryTag,
    redelivered: bool,
    message_count: u32,
    message: &Message<'_>,
    frame_max: u32,
) {
    // delivery-tag, redelivered, exchange, routing-key, message-count
    let arguments = 9 + names_bytes(message) + 4;
    reserve_content(out, arguments, message, frame_max);
    put_method_start(out, channel, 71, arguments);
    put_delivery(out, delivery_tag, redelivered);
    put_names(out, message);
    out.extend_from_slice(&message_count.to_be_bytes());
    finish_with_content(out, channel, message, frame_max);
}

/// `basic.return` with its content. `reply_text` is cut at 255 octets.
pub fn write_return(
    out: &mut Vec<u8>,
    channel: ChannelId,
    reply_code: u16,
    reply_text: &str,
    message: &Message<'_>,
    frame_max: u32,
) {
    let reply_text = cut(reply_text, SHORT_STRING_BYTES);
    // reply-code, reply-text, exchange, routing-key
    let arguments = 2 + 1 + reply_text.len() + names_bytes(message);
    reserve_content(out, arguments, message, frame_max);
    put_method_start(out, channel, 50, arguments);
    out.extend_from_slice(&reply_code.to_be_bytes());
    put_short_string(out, reply_text);
    put_names(out, message);
    finish_with_content(out, channel, message, frame_max);
}

/// `basic.ack` to a publisher (a confirm).
pub fn write_ack(out: &mut Vec<u8>, channel: ChannelId, delivery_tag: DeliveryTag, multiple: bool) {
    write_outcome(out, channel, 80, delivery_tag, multiple);
}

/// `basic.nack` to a publisher (a refused message). `requeue` means nothing here and is sent as 0.
pub fn write_nack(out: &mut Vec<u8>, channel: ChannelId, delivery_tag: DeliveryTag, multiple: bool) {
    write_outcome(out, channel, 120, delivery_tag, multiple);
}

/// A heartbeat.
pub fn write_heartbeat(out: &mut Vec<u8>) {
    out.extend_from_slice(&[FRAME_HEARTBEAT, 0, 0, 0, 0, 0, 0, FRAME_END]);
}

/// Any method without content. The caller sees to it that it fits a frame; only tables could be too large.
pub fn write_method(out: &mut Vec<u8>, channel: ChannelId, method: &AMQPClass) {
    put_frame_start(out, FRAME_METHOD, channel, 0);
    let start = out.len();
    let context = gen_class(method)(WriteContext::from(mem::take(out)));
    *out = context.expect("memory takes every write").write;
    let payload = u32::try_from(out.len() - start).expect("a method is far smaller than 4 GiB");
    out[start - 4..start].copy_from_slice(&payload.to_be_bytes());
    out.push(FRAME_END);
}

/// A text for a `reply-text` field: one that is too long is cut as RabbitMQ does it, to 252 octets and dots.
#[must_use]
pub fn reply_text(text: &str) -> ShortString {
    if text.len() <= SHORT_STRING_BYTES {
        return ShortString::from(text);
    }
    ShortString::from(format!("{}...", cut(text, SHORT_STRING_BYTES - 3)))
}

fn write_outcome(out: &mut Vec<u8>, channel: ChannelId, method_id: u8, tag: DeliveryTag, multiple: bool) {
    put_method_start(out, channel, method_id, 9);
    out.extend_from_slice(&tag.0.to_be_bytes());
    out.extend_from_slice(&[u8::from(multiple), FRAME_END]);
}

/// Makes room for a method with `arguments` octets of arguments and its content, so that the buffer grows once.
fn reserve_content(out: &mut Vec<u8>, arguments: usize, message: &Message<'_>, frame_max: u32) {
    let body = message.body.len();
    let body_frames = body.div_ceil(body_frame_payload(frame_max));
    out.reserve(
        (FRAME_OVERHEAD_BYTES + 4 + arguments)
            + (FRAME_OVERHEAD_BYTES + CONTENT_HEADER_BYTES + message.properties.len())
            + (body_frames * FRAME_OVERHEAD_BYTES + body),
    );
}

/// Ends the method frame and writes the content: header frame and body frames, none of them for an empty body.
fn finish_with_content(out: &mut Vec<u8>, channel: ChannelId, message: &Message<'_>, frame_max: u32) {
    out.push(FRAME_END);
    put_frame_start(out, FRAME_HEADER, channel, CONTENT_HEADER_BYTES + message.properties.len());
    let [class_1, class_2] = BASIC_CLASS_ID.to_be_bytes();
    out.extend_from_slice(&[class_1, class_2, 0, 0]);
    out.extend_from_slice(&(message.body.len() as u64).to_be_bytes());
    out.extend_from_slice(message.properties);
    out.push(FRAME_END);
    for piece in message.body.chunks(body_frame_payload(frame_max)) {
        put_frame_start(out, FRAME_BODY, channel, piece.len());
        out.extend_from_slice(piece);
        out.push(FRAME_END);
    }
}

/// Octets of body in a full frame.
fn body_frame_payload(frame_max: u32) -> usize {
    // A smaller frame_max is never agreed on; this keeps the subtraction from wrapping.
    (frame_max.max(MIN_FRAME_MAX) - FRAME_OVERHEAD) as usize
}

/// Starts a frame with a method of class basic and `arguments` octets of arguments.
fn put_method_start(out: &mut Vec<u8>, channel: ChannelId, method_id: u8, arguments: usize) {
    put_frame_start(out, FRAME_METHOD, channel, 4 + arguments);
    let [class_1, class_2] = BASIC_CLASS_ID.to_be_bytes();
    out.extend_from_slice(&[class_1, class_2, 0, method_id]);
}

fn put_frame_start(out: &mut Vec<u8>, kind: u8, channel: ChannelId, payload: usize) {
    let [c1, c2] = channel.0.to_be_bytes();
    let [s1, s2, s3, s4] = u32::try_from(payload).expect("payloads are cut to frame_max").to_be_bytes();
    out.extend_from_slice(&[kind, c1, c2, s1, s2, s3, s4]);
}

fn put_delivery(out: &mut Vec<u8>, delivery_tag: DeliveryTag, redelivered: bool) {
    let [t1, t2, t3, t4, t5, t6, t7, t8] = delivery_tag.0.to_be_bytes();
    out.extend_from_slice(&[t1, t2, t3, t4, t5, t6, t7, t8, u8::from(redelivered)]);
}

/// Octets of exchange and routing-key as short strings.
fn names_bytes(message: &Message<'_>) -> usize {
    2 + message.exchange.len() + message.routing_key.len()
}

fn put_names(out: &mut Vec<u8>, message: &Message<'_>) {
    put_short_string(out, message.exchange);
    put_short_string(out, message.routing_key);
}

fn put_short_string(out: &mut Vec<u8>, text: &str) {
    out.push(u8::try_from(text.len()).expect("names are at most 255 octets long"));
    out.extend_from_slice(text.as_bytes());
}

/// At most `max` octets of `text`, cut between characters.
fn cut(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

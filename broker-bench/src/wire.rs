//! The frames of the hot path, read and written by hand: publish, deliver, ack. All others go through amq-protocol.
//!
//! Reading borrows from the receive buffer and allocates nothing. Whatever the broker sends, the answer is an error, never a panic.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use amq_protocol::{
    frame::{AMQPContentHeader, AMQPFrame, WriteContext, gen_frame, parse_frame},
    protocol::{AMQPClass, BasicProperties, basic, constants},
    types::{ChannelId, LongUInt, ShortString},
};
use anyhow::{Context, Result, anyhow, ensure};

/// Every connection of the generator has this one channel.
pub(crate) const CHANNEL: ChannelId = 1;
/// Type, channel, size and the end octet.
pub(crate) const FRAME_OVERHEAD: usize = 8;

const FRAME_HEAD: usize = 7;
const CLASS_BASIC: u16 = 60;

/// Class and method identifiers in one number, as they open a method's payload.
pub(crate) const BASIC_CONSUME_OK: u32 = 60 << 16 | 21;
pub(crate) const BASIC_RETURN: u32 = 60 << 16 | 50;
pub(crate) const BASIC_DELIVER: u32 = 60 << 16 | 60;
pub(crate) const BASIC_ACK: u32 = 60 << 16 | 80;
pub(crate) const BASIC_NACK: u32 = 60 << 16 | 120;
pub(crate) const BASIC_CANCEL: u32 = 60 << 16 | 30;
pub(crate) const CONNECTION_CLOSE: u32 = 10 << 16 | 50;
pub(crate) const CONNECTION_CLOSE_OK: u32 = 10 << 16 | 51;
pub(crate) const CONNECTION_BLOCKED: u32 = 10 << 16 | 60;
pub(crate) const CONNECTION_UNBLOCKED: u32 = 10 << 16 | 61;
pub(crate) const CHANNEL_CLOSE: u32 = 20 << 16 | 40;

/// One frame, still in the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// A method: its class and method identifiers, and its arguments.
    Method(u32, &'a [u8]),
    /// A content header: the body's size in bytes.
    Header(u64),
    Body(&'a [u8]),
    Heartbeat,
}

/// The first frame of `input` and what follows it; nothing while it is incomplete.
pub(crate) fn split_frame(input: &[u8], frame_max: u32) -> Result<Option<(Frame<'_>, &[u8])>> {
    let Some((&[kind, _, _, a, b, c, d], after_head)) = input.split_first_chunk::<FRAME_HEAD>() else {
        return Ok(None);
    };
    let size = usize::try_from(u32::from_be_bytes([a, b, c, d]))?;
    ensure!(size + FRAME_OVERHEAD <= usize::try_from(frame_max)?, "a frame of {size} bytes is over frame-max");
    let Some((payload, [end, rest @ ..])) = after_head.split_at_checked(size) else {
        return Ok(None);
    };
    ensure!(*end == constants::FRAME_END, "a frame ends in {end:#x} instead of 0xce");
    let frame = match kind {
        constants::FRAME_METHOD => {
            let (id, arguments) = payload.split_first_chunk().context("a method frame has no method")?;
            Frame::Method(u32::from_be_bytes(*id), arguments)
        }
        constants::FRAME_HEADER => {
            let size =
                payload.get(4..12).and_then(<[u8]>::first_chunk).context("a content header is too short")?;
            Frame::Header(u64::from_be_bytes(*size))
        }
        constants::FRAME_BODY => Frame::Body(payload),
        constants::FRAME_HEARTBEAT => Frame::Heartbeat,
        other => return Err(anyhow!("a frame of unknown type {other}")),
    };
    Ok(Some((frame, rest)))
}

/// What a consumer needs of basic.deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deliver<'a> {
    pub(crate) consumer_tag: &'a [u8],
    pub(crate) delivery_tag: u64,
    pub(crate) redelivered: bool,
}

/// Reads the arguments of basic.deliver as far as they matter here.
pub(crate) fn read_deliver(arguments: &[u8]) -> Result<Deliver<'_>> {
    (|| {
        let (&length, rest) = arguments.split_first()?;
        let (consumer_tag, rest) = rest.split_at_checked(usize::from(length))?;
        let (delivery_tag, rest) = rest.split_first_chunk()?;
        let redelivered = rest.first()? & 1 != 0;
        Some(Deliver { consumer_tag, delivery_tag: u64::from_be_bytes(*delivery_tag), redelivered })
    })()
    .context("basic.deliver is too short")
}

/// Reads delivery tag and `multiple` of basic.ack or basic.nack.
pub(crate) fn read_ack(arguments: &[u8]) -> Result<(u64, bool)> {
    let (tag, rest) = arguments.split_first_chunk().context("basic.ack is too short")?;
    let multiple = rest.first().context("basic.ack is too short")? & 1 != 0;
    Ok((u64::from_be_bytes(*tag), multiple))
}

/// Writes basic.ack.
pub(crate) fn write_ack(output: &mut Vec<u8>, delivery_tag: u64, multiple: bool) {
    output.extend_from_slice(&[constants::FRAME_METHOD, 0, 1, 0, 0, 0, 13, 0, 60, 0, 80]);
    output.extend_from_slice(&delivery_tag.to_be_bytes());
    output.extend_from_slice(&[u8::from(multiple), constants::FRAME_END]);
}

/// Writes a body that is `head` and then `tail`, in as many frames as `frame_max` asks for.
pub(crate) fn write_body(output: &mut Vec<u8>, head: &[u8], tail: &[u8], frame_max: u32) {
    let room = usize::try_from(frame_max).unwrap_or(usize::MAX).saturating_sub(FRAME_OVERHEAD);
    let (mut head, mut tail) = (head, tail);
    while !head.is_empty() || !tail.is_empty() {
        let (from_head, head_left) = head.split_at(head.len().min(room));
        let (from_tail, tail_left) = tail.split_at(tail.len().min(room - from_head.len()));
        let size = u32::try_from(from_head.len() + from_tail.len()).unwrap_or(u32::MAX);
        output.extend_from_slice(&[constants::FRAME_BODY, 0, 1]);
        output.extend_from_slice(&size.to_be_bytes());
        output.extend_from_slice(from_head);
        output.extend_from_slice(from_tail);
        output.push(constants::FRAME_END);
        (head, tail) = (head_left, tail_left);
    }
}

/// basic.publish and its content header, the same for every message of a producer on one route.
pub(crate) fn publish_head(
    publish: basic::Publish,
    properties: BasicProperties,
    body_size: usize,
) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    write_method(&mut head, CHANNEL, AMQPClass::Basic(basic::AMQPMethod::Publish(publish)))?;
    let header = AMQPContentHeader { class_id: CLASS_BASIC, body_size: u64::try_from(body_size)?, properties };
    write_frame(&mut head, &AMQPFrame::Header(CHANNEL, header))?;
    Ok(head)
}

/// Writes any method.
pub(crate) fn write_method(output: &mut Vec<u8>, channel: ChannelId, method: AMQPClass) -> Result<()> {
    write_frame(output, &AMQPFrame::Method(channel, method))
}

/// Writes any frame.
pub(crate) fn write_frame(output: &mut Vec<u8>, frame: &AMQPFrame) -> Result<()> {
    let written = gen_frame(frame)(WriteContext::from(Vec::new())).context("a frame cannot be encoded")?;
    output.extend_from_slice(&written.into_inner().0);
    Ok(())
}

/// The first method of `input`, decoded whole, and how many bytes it and frames of other kinds before it take.
pub(crate) fn take_method(input: &[u8], frame_max: LongUInt) -> Result<Option<(AMQPClass, usize)>> {
    let mut rest = input;
    while let Some((_, after)) = split_frame(rest, frame_max)? {
        let (frame, _) = rest.split_at(rest.len() - after.len());
        rest = after;
        let (_, frame) = parse_frame(frame).map_err(|e| anyhow!("a frame cannot be decoded: {e:?}"))?;
        if let AMQPFrame::Method(_, method) = frame {
            return Ok(Some((method, input.len() - rest.len())));
        }
    }
    Ok(None)
}

/// The error that a channel.close or connection.close from the broker amounts to.
pub(crate) fn read_close(arguments: &[u8]) -> anyhow::Error {
    let text = (|| {
        let (code, rest) = arguments.split_first_chunk()?;
        let (&length, rest) = rest.split_first()?;
        let (text, _) = rest.split_at_checked(usize::from(length))?;
        Some(format!("{} {}", u16::from_be_bytes(*code), String::from_utf8_lossy(text)))
    })();
    anyhow!("closed by the broker: {}", text.unwrap_or_else(|| "without a reason".into()))
}

/// A short string, or an error that names it.
pub(crate) fn short_string(what: &str, value: &str) -> Result<ShortString> {
    ShortString::try_new(value).map_err(|_| anyhow!("{what} is over 255 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deliver(consumer_tag: &str, delivery_tag: u64, redelivered: bool) -> Vec<u8> {
        let method = basic::AMQPMethod::Deliver(basic::Deliver {
            consumer_tag: consumer_tag.into(),
            delivery_tag,
            redelivered,
            exchange: "x".into(),
            routing_key: "key".into(),
        });
        let mut output = Vec::new();
        write_method(&mut output, CHANNEL, AMQPClass::Basic(method)).unwrap();
        output
    }

    #[test]
    fn deliver_is_read_as_amq_protocol_writes_it() {
        let bytes = deliver("17", 1 << 40, true);
        let (frame, rest) = split_frame(&bytes, 4096).unwrap().unwrap();
        let Frame::Method(BASIC_DELIVER, arguments) = frame else { panic!("{frame:?}") };
        let expected = Deliver { consumer_tag: b"17", delivery_tag: 1 << 40, redelivered: true };
        assert_eq!((read_deliver(arguments).unwrap(), rest), (expected, &[][..]));
    }

    #[test]
    fn ack_is_written_as_amq_protocol_reads_it() {
        let mut bytes = Vec::new();
        write_ack(&mut bytes, 99, true);
        let expected = AMQPClass::Basic(basic::AMQPMethod::Ack(basic::Ack { delivery_tag: 99, multiple: true }));
        assert_eq!(take_method(&bytes, 4096).unwrap(), Some((expected, bytes.len())));
        let (Frame::Method(BASIC_ACK, arguments), _) = split_frame(&bytes, 4096).unwrap().unwrap() else {
            panic!("not an ack")
        };
        assert_eq!(read_ack(arguments).unwrap(), (99, true));
    }

    #[test]
    fn every_prefix_of_a_frame_is_incomplete() {
        let bytes = deliver("0", 1, false);
        for length in 0..bytes.len() {
            assert_eq!(split_frame(&bytes[..length], 4096).unwrap(), None);
        }
    }

    #[test]
    fn frames_over_frame_max_and_with_a_wrong_end_are_errors() {
        assert!(split_frame(&[3, 0, 1, 0, 1, 0, 0], 4096).is_err());
        assert!(split_frame(&[3, 0, 1, 0, 0, 0, 0, 0xcd], 4096).is_err());
        assert!(split_frame(&[9, 0, 1, 0, 0, 0, 0, 0xce], 4096).is_err());
    }

    #[test]
    fn a_large_body_is_split_at_frame_max() {
        let mut bytes = Vec::new();
        write_body(&mut bytes, &[1; 16], &[2; 5000], 4096);
        let (Frame::Body(first), rest) = split_frame(&bytes, 4096).unwrap().unwrap() else { panic!() };
        let (Frame::Body(second), rest) = split_frame(rest, 4096).unwrap().unwrap() else { panic!() };
        assert_eq!((first.len(), second.len(), rest.len()), (4088, 928, 0));
        assert_eq!([first, second].concat(), [vec![1; 16], vec![2; 5000]].concat());
    }
}

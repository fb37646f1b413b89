//! Properties of the codec: what is written is read back, cuts in the stream change nothing, and no bytes panic.

use amq_protocol::frame::{AMQPFrame, GenError, gen_frame, parse_frame};
use amq_protocol::protocol::basic::{AMQPProperties, gen_properties};
use amq_protocol::protocol::{AMQPClass, basic, connection, exchange, queue};
use amq_protocol::types::parsing::parse_field_table;
use amq_protocol::types::{AMQPValue, FieldArray, FieldTable};
use broker_core::error::ConnectionCode;
use broker_core::model::message::{Message, Stamp};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const FRAME_MAX: u32 = 4096;

/// Every frame in `bytes`, which must hold whole frames only.
fn frames(mut bytes: &[u8], frame_max: u32) -> Vec<Frame<'_>> {
    let mut frames = Vec::new();
    while let Some((frame, consumed)) = next_frame(bytes, frame_max).unwrap() {
        frames.push(frame);
        bytes = &bytes[consumed..];
    }
    assert!(bytes.is_empty(), "{} octets after the last frame", bytes.len());
    frames
}

/// The peer's reading of our frames, by code that is not ours.
fn peer_frames(mut bytes: &[u8]) -> Vec<AMQPFrame> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (rest, frame) = parse_frame(bytes).unwrap();
        frames.push(frame);
        bytes = rest;
    }
    frames
}

fn encode(frame: &AMQPFrame) -> Vec<u8> {
    let written: Result<_, GenError> = gen_frame(frame)(Vec::new().into());
    written.unwrap().write
}

fn encode_properties(properties: &AMQPProperties) -> Vec<u8> {
    gen_properties(properties)(Vec::new().into()).unwrap().write
}

fn method_payload(class: AMQPClass) -> Vec<u8> {
    let bytes = encode(&AMQPFrame::Method(1, class));
    bytes[7..bytes.len() - 1].to_vec()
}

fn short_string() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z.#*]{0,12}", "\\PC{0,60}"]
}

fn field_value() -> impl Strategy<Value = AMQPValue> {
    let leaf = prop_oneof![
        Just(AMQPValue::Void),
        any::<bool>().prop_map(AMQPValue::Boolean),
        any::<i8>().prop_map(AMQPValue::ShortShortInt),
        any::<u8>().prop_map(AMQPValue::ShortShortUInt),
        any::<i16>().prop_map(AMQPValue::ShortInt),
        any::<u16>().prop_map(AMQPValue::ShortUInt),
        any::<i32>().prop_map(AMQPValue::LongInt),
        any::<u32>().prop_map(AMQPValue::LongUInt),
        any::<i64>().prop_map(AMQPValue::LongLongInt),
        any::<u64>().prop_map(AMQPValue::Timestamp),
        (-1e9..1e9f64).prop_map(AMQPValue::Double),
        vec(any::<u8>(), 0..20).prop_map(|bytes| AMQPValue::LongString(bytes.into())),
        vec(any::<u8>(), 0..20).prop_map(|bytes| AMQPValue::ByteArray(bytes.into())),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|values| AMQPValue::FieldArray(FieldArray::from(values))),
            vec((short_string(), inner), 0..4).prop_map(|entries| AMQPValue::FieldTable(table(entries))),
        ]
    })
}

fn table(entries: Vec<(String, AMQPValue)>) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert(name.into(), value);
    }
    table
}

fn field_table() -> impl Strategy<Value = FieldTable> {
    vec((short_string(), field_value()), 0..6).prop_map(table)
}

prop_compose! {
    fn properties()(
        strings in prop::array::uniform9(prop::option::of(short_string())),
        headers in prop::option::of(field_table()),
        delivery_mode in prop::option::of(any::<u8>()),
        priority in prop::option::of(any::<u8>()),
        timestamp in prop::option::of(any::<u64>()),
    ) -> AMQPProperties {
        let mut properties = AMQPProperties::default();
        let setters = [
            AMQPProperties::with_content_type, AMQPProperties::with_content_encoding,
            AMQPProperties::with_correlation_id, AMQPProperties::with_reply_to, AMQPProperties::with_expiration,
            AMQPProperties::with_message_id, AMQPProperties::with_user_id, AMQPProperties::with_app_id,
            AMQPProperties::with_cluster_id,
        ];
        for (set, string) in setters.into_iter().zip(strings) {
            properties = match string {
                Some(string) => set(properties, string.into()),
                None => properties,
            };
        }
        properties = match headers { Some(headers) => properties.with_headers(headers), None => properties };
        properties = match delivery_mode { Some(mode) => properties.with_delivery_mode(mode), None => properties };
        properties = match priority { Some(priority) => properties.with_priority(priority), None => properties };
        match timestamp { Some(timestamp) => properties.with_timestamp(timestamp), None => properties }
    }
}

/// A message of owned parts.
#[derive(Clone, Debug)]
struct Content {
    exchange: String,
    routing_key: String,
    properties: AMQPProperties,
    raw: Vec<u8>,
    body: Vec<u8>,
}

impl Content {
    fn message(&self) -> Message<'_> {
        Message {
            stamp: Stamp::default(),
            exchange: &self.exchange,
            routing_key: &self.routing_key,
            properties: &self.raw,
            body: &self.body,
        }
    }

    /// The frames after the method are this content, its body in full frames but for the last.
    fn check(&self, frames: &[AMQPFrame], channel: u16, frame_max: u32) {
        let (header, bodies) = frames.split_first().unwrap();
        let AMQPFrame::Header(at, header) = header else { panic!("{header:?} is not a content header") };
        assert_eq!((*at, header.class_id, header.body_size), (channel, 60, self.body.len() as u64));
        assert_eq!(header.properties, self.properties);
        let pieces: Vec<&[u8]> = bodies
            .iter()
            .map(|frame| match frame {
                AMQPFrame::Body(at, piece) if *at == channel => piece.as_slice(),
                other => panic!("{other:?} is not a body frame"),
            })
            .collect();
        let expect: Vec<&[u8]> = self.body.chunks(frame_max as usize - 8).collect();
        assert_eq!(pieces, expect);
    }
}

prop_compose! {
    fn content()(
        exchange in short_string(),
        routing_key in short_string(),
        properties in properties(),
        body in prop_oneof![vec(any::<u8>(), 0..40), vec(any::<u8>(), 4080..4100), vec(any::<u8>(), 0..20_000)],
    ) -> Content {
        let raw = encode_properties(&properties);
        Content { exchange, routing_key, properties, raw, body }
    }
}

proptest! {
    #[test]
    fn deliver_is_read_by_the_peer_as_written(
        content in content(),
        channel in 1..=u16::MAX,
        tag in any::<u64>(),
        redelivered in any::<bool>(),
        consumer_tag in short_string(),
        frame_max in prop_oneof![Just(4096), Just(131_072)],
    ) {
        let mut out = Vec::new();
        let prefix = DeliverPrefix::new(ChannelId(channel), &consumer_tag);
        prop_assert_eq!(prefix.consumer_tag(), &consumer_tag);
        write_deliver(&mut out, &prefix, DeliveryTag(tag), redelivered, &content.message(), frame_max);
        let frames = peer_frames(&out);
        prop_assert_eq!(&frames[0], &AMQPFrame::Method(channel, AMQPClass::Basic(basic::AMQPMethod::Deliver(
            basic::Deliver {
                consumer_tag: consumer_tag.into(),
                delivery_tag: tag,
                redelivered,
                exchange: content.exchange.clone().into(),
                routing_key: content.routing_key.clone().into(),
            },
        ))));
        content.check(&frames[1..], channel, frame_max);
    }

    #[test]
    fn get_ok_is_read_by_the_peer_as_written(
        content in content(), tag in any::<u64>(), redelivered in any::<bool>(), message_count in any::<u32>(),
    ) {
        let mut out = Vec::new();
        let message = content.message();
        write_get_ok(&mut out, ChannelId(3), DeliveryTag(tag), redelivered, message_count, &message, FRAME_MAX);
        let frames = peer_frames(&out);
        prop_assert_eq!(&frames[0], &AMQPFrame::Method(3, AMQPClass::Basic(basic::AMQPMethod::GetOk(
            basic::GetOk {
                delivery_tag: tag,
                redelivered,
                exchange: content.exchange.clone().into(),
                routing_key: content.routing_key.clone().into(),
                message_count,
            },
        ))));
        content.check(&frames[1..], 3, FRAME_MAX);
    }

    #[test]
    fn return_is_read_by_the_peer_as_written(content in content(), code in any::<u16>(), text in short_string()) {
        let mut out = Vec::new();
        write_return(&mut out, ChannelId(7), code, &text, &content.message(), FRAME_MAX);
        let frames = peer_frames(&out);
        prop_assert_eq!(&frames[0], &AMQPFrame::Method(7, AMQPClass::Basic(basic::AMQPMethod::Return(
            basic::Return {
                reply_code: code,
                reply_text: text.into(),
                exchange: content.exchange.clone().into(),
                routing_key: content.routing_key.clone().into(),
            },
        ))));
        content.check(&frames[1..], 7, FRAME_MAX);
    }

    #[test]
    fn publish_is_read_as_the_peer_wrote_it(
        exchange in short_string(), routing_key in short_string(), mandatory in any::<bool>(), immediate in any::<bool>(),
    ) {
        let payload = method_payload(AMQPClass::Basic(basic::AMQPMethod::Publish(basic::Publish {
            exchange: exchange.clone().into(),
            routing_key: routing_key.clone().into(),
            mandatory,
            immediate,
        })));
        let expect = Publish { exchange: &exchange, routing_key: &routing_key, mandatory, immediate };
        prop_assert_eq!(Method::parse(&payload), Ok(Method::Publish(expect)));
        // A method that is cut short is told so; one with more after it is not taken either.
        for cut in 0..payload.len() {
            let truncated = matches!(Method::parse(&payload[..cut]), Err(WireError::Truncated { .. }));
            prop_assert!(truncated, "cut at {}", cut);
        }
        let longer = [payload.as_slice(), &[0]].concat();
        let trailing = WireError::TrailingBytes { offset: payload.len(), have: 1 };
        prop_assert_eq!(Method::parse(&longer), Err(trailing));
    }

    #[test]
    fn settlements_are_read_as_the_peer_wrote_them(tag in any::<u64>(), multiple in any::<bool>(), requeue in any::<bool>()) {
        let delivery_tag = DeliveryTag(tag);
        let ack = basic::AMQPMethod::Ack(basic::Ack { delivery_tag: tag, multiple });
        let payload = method_payload(AMQPClass::Basic(ack));
        prop_assert_eq!(Method::parse(&payload),
            Ok(Method::Ack(Ack { delivery_tag, multiple }))
        );
        let nack = basic::AMQPMethod::Nack(basic::Nack { delivery_tag: tag, multiple, requeue });
        let payload = method_payload(AMQPClass::Basic(nack));
        prop_assert_eq!(Method::parse(&payload),
            Ok(Method::Nack(Nack { delivery_tag, multiple, requeue }))
        );
        let reject = basic::AMQPMethod::Reject(basic::Reject { delivery_tag: tag, requeue });
        let payload = method_payload(AMQPClass::Basic(reject));
        prop_assert_eq!(Method::parse(&payload),
            Ok(Method::Reject(Reject { delivery_tag, requeue }))
        );
    }

    #[test]
    fn confirms_are_read_back(tag in any::<u64>(), multiple in any::<bool>(), channel in any::<u16>()) {
        let (mut out, delivery_tag, channel) = (Vec::new(), DeliveryTag(tag), ChannelId(channel));
        write_ack(&mut out, channel, delivery_tag, multiple);
        write_nack(&mut out, channel, delivery_tag, multiple);
        write_heartbeat(&mut out);
        let read = frames(&out, FRAME_MAX);
        prop_assert_eq!(read.iter().map(|frame| frame.channel).collect::<Vec<_>>(), [channel, channel, ChannelId(0)]);
        prop_assert_eq!(Method::parse(read[0].payload), Ok(Method::Ack(Ack { delivery_tag, multiple })));
        let nack = Nack { delivery_tag, multiple, requeue: false };
        prop_assert_eq!(Method::parse(read[1].payload), Ok(Method::Nack(nack)));
        prop_assert_eq!((read[2].kind, read[2].payload), (FrameKind::Heartbeat, &[][..]));
    }

    #[test]
    fn other_methods_are_read_back(name in short_string(), key in short_string(), arguments in field_table()) {
        let methods = [
            AMQPClass::Queue(queue::AMQPMethod::Declare(queue::Declare {
                queue: name.clone().into(), durable: true, arguments: arguments.clone(), ..Default::default()
            })),
            AMQPClass::Queue(queue::AMQPMethod::Bind(queue::Bind {
                queue: name.clone().into(), routing_key: key.clone().into(), arguments: arguments.clone(),
                ..Default::default()
            })),
            AMQPClass::Queue(queue::AMQPMethod::Unbind(queue::Unbind {
                queue: name.clone().into(), arguments: arguments.clone(), ..Default::default()
            })),
            AMQPClass::Exchange(exchange::AMQPMethod::Declare(exchange::Declare {
                exchange: name.clone().into(), kind: key.clone().into(), arguments: arguments.clone(),
                ..Default::default()
            })),
            AMQPClass::Exchange(exchange::AMQPMethod::Unbind(exchange::Unbind {
                destination: name.clone().into(), source: key.clone().into(), arguments: arguments.clone(),
                ..Default::default()
            })),
            AMQPClass::Basic(basic::AMQPMethod::Consume(basic::Consume {
                consumer_tag: key.into(), queue: name.into(), no_ack: true, arguments: arguments.clone(),
                ..Default::default()
            })),
            AMQPClass::Connection(connection::AMQPMethod::StartOk(connection::StartOk {
                client_properties: arguments, response: "\0guest\0guest".into(), ..Default::default()
            })),
        ];
        let mut out = Vec::new();
        for method in methods {
            out.clear();
            write_method(&mut out, ChannelId(9), &method);
            prop_assert_eq!(peer_frames(&out), [AMQPFrame::Method(9, method.clone())]);
            let read = frames(&out, 1 << 20);
            let parsed = Method::parse(read[0].payload).unwrap();
            prop_assert_eq!(parsed.id(), MethodId::of(read[0].payload).unwrap());
            prop_assert_eq!(parsed, Method::Other(method));
        }
    }

    #[test]
    fn cuts_in_the_stream_change_nothing(contents in vec(content(), 1..4), cuts in vec(1..5_000usize, 1..40)) {
        let mut stream = Vec::new();
        let prefix = DeliverPrefix::new(ChannelId(1), "tag");
        for content in &contents {
            write_deliver(&mut stream, &prefix, DeliveryTag(1), false, &content.message(), FRAME_MAX);
            write_heartbeat(&mut stream);
        }
        let whole = frames(&stream, FRAME_MAX);
        let (mut seen, mut start, mut end) = (0, 0, 0);
        for cut in cuts.iter().cycle() {
            end = (end + cut).min(stream.len());
            while let Some((frame, consumed)) = next_frame(&stream[start..end], FRAME_MAX).unwrap() {
                prop_assert_eq!(frame, whole[seen]);
                seen += 1;
                start += consumed;
            }
            if end == stream.len() {
                break;
            }
        }
        prop_assert_eq!((seen, start), (whole.len(), stream.len()));
    }

    #[test]
    fn random_bytes_are_answered_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        survive(&bytes);
    }

    #[test]
    fn damaged_frames_are_answered_never_panic(
        name in short_string(), arguments in field_table(), content in content(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = Vec::new();
        let declare = queue::Declare { queue: name.into(), arguments, ..Default::default() };
        write_method(&mut bytes, ChannelId(1), &AMQPClass::Queue(queue::AMQPMethod::Declare(declare)));
        write_deliver(
            &mut bytes, &DeliverPrefix::new(ChannelId(1), ""), DeliveryTag(1), false, &content.message(), FRAME_MAX,
        );
        for (at, octet) in damage {
            let at = at.index(bytes.len());
            bytes[at] = octet;
        }
        survive(&bytes);
    }

    #[test]
    fn a_table_that_is_taken_is_parsed_by_amq_protocol(bytes in vec(any::<u8>(), 0..80)) {
        // The length fits, so that the entries are looked at.
        let raw = [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat();
        let mut fields = fields::Fields::new(&raw);
        if let Ok(read) = field_table::read(&mut fields) {
            prop_assert_eq!(read, raw.as_slice());
            prop_assert!(parse_field_table(raw.as_slice()).is_ok());
        }
    }
}

/// What a connection does with received bytes, as far as the codec goes.
fn survive(bytes: &[u8]) {
    let _ = protocol_header(bytes);
    let mut rest = bytes;
    loop {
        match next_frame(rest, FRAME_MAX) {
            Ok(Some((frame, consumed))) => {
                look_into(frame.payload);
                rest = &rest[consumed..];
            }
            Ok(None) => break,
            Err(error) => {
                let text = error.to_connection_error().to_string();
                assert!(text.starts_with("FRAME_ERROR - type "), "{text}");
                break;
            }
        }
    }
    look_into(bytes);
}

fn look_into(payload: &[u8]) {
    let _ = ContentHeader::parse(payload);
    if let Err(error) = Method::parse(payload) {
        assert!(reply_text(&error.to_connection_error().to_string()).as_str().len() <= 255);
    }
    // The same bytes as arguments of a method that exists.
    for ids in [[0, 60, 0, 40], [0, 50, 0, 10], [0, 10, 0, 11], [0, 60, 0, 20]] {
        let _ = Method::parse(&[&ids, payload].concat());
    }
}

fn check_frame_error(bytes: &[u8], code: ConnectionCode, text: &str) {
    let error = next_frame(bytes, FRAME_MAX).unwrap_err().to_connection_error();
    assert_eq!((error.code, error.explanation.as_str()), (code, text));
}

#[test]
fn broken_frames_are_told_as_rabbitmq_tells_them() {
    let frame_error = ConnectionCode::FrameError;
    check_frame_error(
        &[1, 0, 1, 0, 0, 0, 4, 1, 2, 3, 4, 0],
        frame_error,
        "type 1, all octets = <<1,2,3,4>>: {invalid_frame_end_marker,0}",
    );
    check_frame_error(
        &[7, 0, 0, 0, 0, 0, 2, b'h', b'i', 206],
        frame_error,
        "type 7, all octets = <<\"hi\">>: unknown_frame",
    );
    check_frame_error(
        &[3, 0, 1, 0, 0, 0x10, 1],
        frame_error,
        "type 3, all octets = <<>>: {frame_too_large,4097,4088}",
    );
    let long = [&[3, 0, 1, 0, 1, 0, 0][..], &[b'a'; 20]].concat();
    check_frame_error(
        &long,
        frame_error,
        "type 3, first 16 octets = <<\"aaaaaaaaaaaaaaaa\">>: {frame_too_large,65536,4088}",
    );
}

#[test]
fn a_payload_of_frame_max_is_taken_and_one_more_octet_is_not() {
    let mut bytes = vec![3, 0, 1, 0, 0, 0x10, 0];
    bytes.extend([7; 4096]);
    bytes.push(206);
    let (frame, consumed) = next_frame(&bytes, FRAME_MAX).unwrap().unwrap();
    assert_eq!((frame.payload.len(), consumed), (4096, 4104));
    assert!(matches!(next_frame(&bytes, FRAME_MAX - 1), Err(WireError::FrameTooLarge { .. })));
}

#[test]
fn out_of_place_frame_is_505() {
    let frame = Frame { kind: FrameKind::Body, channel: ChannelId(1), payload: b"hi" };
    let error = unexpected_frame(&frame).to_connection_error();
    assert_eq!(error.to_string(), "UNEXPECTED_FRAME - type 3, all octets = <<\"hi\">>");
}

#[test]
fn unknown_method_is_503_and_known_with_bad_arguments_501() {
    let unknown = Method::parse(&[0, 60, 0, 41, 0, 0]).unwrap_err();
    assert_eq!(unknown, WireError::UnknownMethod { id: MethodId::new(60, 41) });
    assert_eq!(unknown.to_connection_error().to_string(), "COMMAND_INVALID - unimplemented method");
    let short = Method::parse(&[0, 50, 0, 10, 0, 0, 5, b'q']).unwrap_err().to_connection_error();
    assert_eq!(short.code, ConnectionCode::FrameError);
}

#[test]
fn name_that_is_not_utf8_is_502() {
    for payload in [&[0, 60, 0, 40, 0, 0, 1, 0xff, 0, 0][..], &[0, 50, 0, 10, 0, 0, 1, 0xff, 0, 0, 0, 0, 0]] {
        assert_eq!(Method::parse(payload).unwrap_err().to_connection_error().code, ConnectionCode::SyntaxError);
    }
}

/// A queue.declare whose arguments are `depth` tables inside each other.
fn nested_declare(depth: usize) -> Vec<u8> {
    let mut table = vec![0, 0, 0, 0];
    for _ in 1..depth {
        let entry = [&[1, b'k', b'F'][..], &table].concat();
        table = [&u32::try_from(entry.len()).unwrap().to_be_bytes()[..], &entry].concat();
    }
    [&[0, 50, 0, 10, 0, 0, 1, b'q', 0][..], &table].concat()
}

#[test]
fn table_nested_to_the_limit_is_read_and_deeper_is_refused() {
    assert!(Method::parse(&nested_declare(MAX_TABLE_DEPTH)).is_ok());
    assert!(matches!(Method::parse(&nested_declare(MAX_TABLE_DEPTH + 1)), Err(WireError::TableTooDeep { .. })));
    assert!(matches!(Method::parse(&nested_declare(10_000)), Err(WireError::TableTooDeep { .. })));
}

#[test]
fn protocol_headers_are_told_apart() {
    let check = |bytes: &[u8], expect| assert_eq!(protocol_header(bytes), expect, "{bytes:?}");
    check(b"", ProtocolHeader::NeedMore);
    check(b"AMQP\x00", ProtocolHeader::NeedMore);
    check(b"AMQP\x00\x00\x09\x01", ProtocolHeader::Supported);
    check(b"AMQP\x01\x01\x00\x09", ProtocolHeader::Supported);
    check(b"AMQP\x00\x00\x09\x01\x01", ProtocolHeader::Supported);
    check(b"AMQP\x00\x01\x00\x00", ProtocolHeader::Unsupported);
    check(b"AMQP\x01\x01\x09\x01", ProtocolHeader::Unsupported);
    check(b"G", ProtocolHeader::Unsupported);
}

#[test]
fn long_reply_text_is_cut_between_characters() {
    assert_eq!(reply_text("short").as_str(), "short");
    let cut = reply_text(&"é".repeat(200));
    assert_eq!(cut.as_str(), format!("{}...", "é".repeat(126)));
}

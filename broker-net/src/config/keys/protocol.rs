//! What connections offer and enforce.

use broker_core::limits::LARGEST_MESSAGE_BYTES;
use broker_core::model::queue::settings::QueueType;

use super::super::value::{bytes, limit, milliseconds, number, seconds};
use super::{Key, Kind, RELOAD, RESTART, Set};
use crate::amqp::MIN_FRAME_MAX;

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "heartbeat",
        kind: Kind::Seconds,
        default: "60",
        meaning: "Heartbeat interval that is proposed to clients. 0 proposes none.",
        set: Set::One(|settings, _, value| {
            seconds(value, 0, u16::MAX).map(|seconds| settings.connections.heartbeat_s = seconds)
        }),
        ..RELOAD
    },
    Key {
        name: "frame_max",
        kind: Kind::Number,
        default: "131072",
        meaning: "Largest frame, in bytes, from 4096 on. A larger one ends the connection with 501.",
        set: Set::One(|settings, _, value| {
            number(value, MIN_FRAME_MAX, 131_072).map(|bytes| settings.connections.frame_max = bytes)
        }),
        ..RESTART
    },
    Key {
        name: "initial_frame_max",
        kind: Kind::Number,
        default: "8192",
        meaning: "Largest frame before tuning, in bytes.",
        set: Set::One(|settings, _, value| {
            number(value, MIN_FRAME_MAX, 131_072).map(|bytes| settings.connections.initial_frame_max = bytes)
        }),
        ..RESTART
    },
    Key {
        name: "handshake_timeout",
        kind: Kind::Milliseconds,
        default: "10000",
        meaning: "How long a client may take until its connection is open.",
        set: Set::One(|settings, _, value| {
            milliseconds(value, 1, 3_600_000).map(|time| settings.connections.handshake_timeout_ms = time)
        }),
        ..RELOAD
    },
    Key {
        name: "channel_max",
        kind: Kind::Number,
        default: "2047",
        meaning: "Highest channel number, and most channels of a connection. Beyond it the connection ends with 530.",
        set: Set::One(|settings, _, value| {
            number(value, 1, u16::MAX).map(|channels| settings.connections.channel_max = channels)
        }),
        ..RELOAD
    },
    Key {
        name: "channel_max_per_node",
        kind: Kind::Limit,
        default: "infinity",
        meaning: "Most channels of all connections. Beyond it the connection ends with 530.",
        set: Set::One(|settings, _, value| {
            limit(value).map(|most| settings.connections.channel_max_per_node = most)
        }),
        ..RELOAD
    },
    Key {
        name: "consumer_max_per_channel",
        kind: Kind::Limit,
        default: "infinity",
        meaning: "Most consumers of a channel. Beyond it the connection ends with 530.",
        set: Set::One(|settings, _, value| {
            limit(value).map(|most| settings.connections.consumer_max_per_channel = most)
        }),
        ..RELOAD
    },
    Key {
        name: "connection_max",
        kind: Kind::Limit,
        default: "infinity",
        meaning: "Most connections. Beyond it `connection.open` is refused with 530.",
        set: Set::One(|settings, _, value| limit(value).map(|most| settings.connections.connection_max = most)),
        ..RELOAD
    },
    Key {
        name: "max_message_size",
        kind: Kind::Bytes,
        default: "33554432",
        meaning: "Largest body of a message, up to 48 MiB. Beyond it the channel is closed with 406.",
        set: Set::One(|settings, _, value| match bytes(value)? {
            size @ 1..=LARGEST_MESSAGE_BYTES => {
                settings.connections.max_message_size = size;
                Ok(())
            }
            _ => Err(format!("expected 1 to {LARGEST_MESSAGE_BYTES} bytes")),
        }),
        ..RELOAD
    },
    Key {
        name: "consumer_timeout",
        kind: Kind::Milliseconds,
        default: "1800000",
        meaning: "How long a delivery may stay unacknowledged; then its channel is closed with 406. `undefined` or `infinity`: \
                  forever.",
        set: Set::One(|settings, _, value| {
            settings.consumer_timeout_ms = match value {
                "undefined" | "infinity" => None,
                _ => Some(milliseconds(value, 0, u64::MAX)?),
            };
            Ok(())
        }),
        ..RESTART
    },
    Key {
        name: "default_queue_type",
        default: "classic",
        meaning: "Type of durable queues that are declared without `x-queue-type`: `classic`, `quorum` or `stream`. Exclusive and \
                  auto-delete queues are classic all the same. A virtual host can have a default of its own.",
        set: Set::One(|settings, _, value| {
            let expected = || "expected classic, quorum or stream".to_owned();
            settings.default_queue_type = QueueType::from_name(value).ok_or_else(expected)?;
            Ok(())
        }),
        ..RESTART
    },
];

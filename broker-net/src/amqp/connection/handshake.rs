//! What the broker says and accepts before a connection is open: server properties, tuning.

use amq_protocol::protocol::connection;
use amq_protocol::types::{AMQPValue, FieldTable, LongString, ShortString};
use broker_core::error::{ConnectionCode, ConnectionError};

use crate::amqp::Config;
use crate::amqp::codec::MIN_FRAME_MAX;

/// What the broker can do beyond AMQP 0-9-1, under the names that clients look for.
const CAPABILITIES: [&str; 9] = [
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
];

/// What a client told about itself in `capabilities` of its properties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientCapabilities {
    pub(crate) authentication_failure_close: bool,
    pub(crate) consumer_cancel_notify: bool,
    pub(crate) connection_blocked: bool,
}

impl ClientCapabilities {
    pub(crate) fn new(client_properties: &FieldTable) -> Self {
        let has = |capability: &str| match client_properties.inner().get("capabilities") {
            Some(AMQPValue::FieldTable(table)) => table.inner().get(capability) == Some(&AMQPValue::Boolean(true)),
            _ => false,
        };
        Self {
            authentication_failure_close: has("authentication_failure_close"),
            consumer_cancel_notify: has("consumer_cancel_notify"),
            connection_blocked: has("connection.blocked"),
        }
    }
}

/// The `connection.start` of this broker, with the names of SASL mechanisms.
pub(crate) fn start(mechanisms: &str) -> connection::Start {
    let text = |value: &str| AMQPValue::LongString(LongString::from(value));
    let mut capabilities = FieldTable::default();
    for capability in CAPABILITIES {
        capabilities.insert(ShortString::from(capability), AMQPValue::Boolean(true));
    }
    let mut properties = FieldTable::default();
    for (name, value) in [
        ("capabilities", AMQPValue::FieldTable(capabilities)),
        ("cluster_name", text("ringmq")),
        ("copyright", text("Copyright the RingMQ contributors")),
        ("information", text("RingMQ speaks RabbitMQ's dialect of AMQP 0-9-1. Licensed under Apache-2.0.")),
        ("platform", text("RingMQ (Rust)")),
        // Clients choose RabbitMQ's meaning of basic.qos and others of its extensions by this name.
        ("product", text("RabbitMQ")),
        ("ringmq_version", text(env!("CARGO_PKG_VERSION"))),
        // The release of RabbitMQ whose dialect is spoken. Only numbers and dots: kombu, and with it Celery, takes no more.
        ("version", text("4.0.5")),
    ] {
        properties.insert(ShortString::from(name), value);
    }
    connection::Start {
        version_major: 0,
        version_minor: 9,
        server_properties: properties,
        mechanisms: LongString::from(mechanisms),
        locales: LongString::from("en_US"),
    }
}

/// The `connection.tune` of this broker.
pub(crate) fn tune(config: &Config) -> connection::Tune {
    connection::Tune {
        channel_max: config.channel_max,
        frame_max: config.frame_max,
        heartbeat: config.heartbeat_s,
    }
}

/// Checks what the client made of the broker's offer: 530 if a value is above the offer (0 means no limit) or
/// frame-max is below 4096.
pub(crate) fn check_tune_ok(tune_ok: &connection::TuneOk, config: &Config) -> Result<(), ConnectionError> {
    check_negotiated("frame_max", MIN_FRAME_MAX, config.frame_max, tune_ok.frame_max)?;
    check_negotiated("channel_max", 1, config.channel_max.into(), tune_ok.channel_max.into())
}

fn check_negotiated(field: &str, minimum: u32, offered: u32, value: u32) -> Result<(), ConnectionError> {
    let (order, end, bound) = if value != 0 && value < minimum {
        ("lower", "minimum", minimum)
    } else if offered != 0 && (value == 0 || value > offered) {
        ("higher", "maximum", offered)
    } else {
        return Ok(());
    };
    let no_limit = if value == 0 { " (no limit)" } else { "" };
    Err(ConnectionCode::NotAllowed.error(format!(
        "negotiated {field} = {value}{no_limit} is {order} than the {end} allowed value ({bound})"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(frame_max: u32, channel_max: u16, expect: Result<(), &str>) {
        let tune_ok = connection::TuneOk { channel_max, frame_max, heartbeat: 0 };
        let result = check_tune_ok(&tune_ok, &Config::default());
        assert_eq!(result.map_err(|error| error.to_string()), expect.map_err(str::to_owned));
    }

    #[test]
    fn tune_ok_must_stay_within_the_offer() {
        check(131_072, 2047, Ok(()));
        check(4096, 1, Ok(()));
        check(
            4095,
            1,
            Err("NOT_ALLOWED - negotiated frame_max = 4095 is lower than the minimum allowed value (4096)"),
        );
        check(
            131_073,
            1,
            Err("NOT_ALLOWED - negotiated frame_max = 131073 is higher than the maximum allowed value (131072)"),
        );
        check(
            0,
            1,
            Err(
                "NOT_ALLOWED - negotiated frame_max = 0 (no limit) is higher than the maximum allowed value (131072)",
            ),
        );
        check(
            4096,
            0,
            Err(
                "NOT_ALLOWED - negotiated channel_max = 0 (no limit) is higher than the maximum allowed value (2047)",
            ),
        );
        check(
            4096,
            2048,
            Err("NOT_ALLOWED - negotiated channel_max = 2048 is higher than the maximum allowed value (2047)"),
        );
    }

    #[test]
    fn capabilities_are_read_from_the_client_properties() {
        let mut capabilities = FieldTable::default();
        capabilities.insert(ShortString::from("consumer_cancel_notify"), AMQPValue::Boolean(true));
        capabilities.insert(ShortString::from("connection.blocked"), AMQPValue::Boolean(false));
        let mut properties = FieldTable::default();
        properties.insert(ShortString::from("capabilities"), AMQPValue::FieldTable(capabilities));
        let expected = ClientCapabilities { consumer_cancel_notify: true, ..ClientCapabilities::default() };
        assert_eq!(ClientCapabilities::new(&properties), expected);
        assert_eq!(ClientCapabilities::new(&FieldTable::default()), ClientCapabilities::default());
    }
}

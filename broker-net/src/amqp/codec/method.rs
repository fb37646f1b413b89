//! Methods: those of the hot path read by hand and borrowed, all others through `amq-protocol`.

use amq_protocol::protocol::{AMQPClass, parse_class};

use super::DeliveryTag;
use super::error::{MethodId, WireError};
use super::field_table;
use super::fields::Fields;

/// A method frame's payload.
#[derive(Clone, Debug, PartialEq)]
pub enum Method<'a> {
    /// `basic.publish`
    Publish(Publish<'a>),
    /// `basic.ack`
    Ack(Ack),
    /// `basic.nack`, a RabbitMQ extension.
    Nack(Nack),
    /// `basic.reject`
    Reject(Reject),
    /// Any other method; never one of the above.
    Other(AMQPClass),
}

/// `basic.publish`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the AMQP method")]
pub struct Publish<'a> {
    pub exchange: &'a str,
    pub routing_key: &'a str,
    pub mandatory: bool,
    pub immediate: bool,
}

/// `basic.ack`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the AMQP method")]
pub struct Ack {
    pub delivery_tag: DeliveryTag,
    pub multiple: bool,
}

/// `basic.nack`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the AMQP method")]
pub struct Nack {
    pub delivery_tag: DeliveryTag,
    pub multiple: bool,
    pub requeue: bool,
}

/// `basic.reject`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the AMQP method")]
pub struct Reject {
    pub delivery_tag: DeliveryTag,
    pub requeue: bool,
}

const BASIC_PUBLISH: MethodId = MethodId::new(60, 40);
const BASIC_ACK: MethodId = MethodId::new(60, 80);
const BASIC_REJECT: MethodId = MethodId::new(60, 90);
const BASIC_NACK: MethodId = MethodId::new(60, 120);

impl<'a> Method<'a> {
    /// Reads the payload of a method frame.
    ///
    /// # Errors
    /// No method has these ids ([`WireError::UnknownMethod`]), or the arguments cannot be decoded.
    #[inline]
    pub fn parse(payload: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(payload);
        let id = MethodId::new(fields.u16()?, fields.u16()?);
        let method = match id {
            BASIC_PUBLISH => Self::Publish(Publish::read(&mut fields)?),
            BASIC_ACK => {
                let delivery_tag = DeliveryTag(fields.u64()?);
                let [multiple, ..] = bits(fields.u8()?);
                Self::Ack(Ack { delivery_tag, multiple })
            }
            BASIC_NACK => {
                let delivery_tag = DeliveryTag(fields.u64()?);
                let [multiple, requeue] = bits(fields.u8()?);
                Self::Nack(Nack { delivery_tag, multiple, requeue })
            }
            BASIC_REJECT => {
                let delivery_tag = DeliveryTag(fields.u64()?);
                let [requeue, ..] = bits(fields.u8()?);
                Self::Reject(Reject { delivery_tag, requeue })
            }
            _ => return parse_other(payload, id, fields),
        };
        fields.finish()?;
        Ok(method)
    }

    /// The ids of this method.
    #[must_use]
    pub fn id(&self) -> MethodId {
        match self {
            Self::Publish(_) => BASIC_PUBLISH,
            Self::Ack(_) => BASIC_ACK,
            Self::Nack(_) => BASIC_NACK,
            Self::Reject(_) => BASIC_REJECT,
            Self::Other(class) => MethodId::new(class.get_amqp_class_id(), class.get_amqp_method_id()),
        }
    }
}

impl<'a> Publish<'a> {
    #[inline]
    fn read(fields: &mut Fields<'a>) -> Result<Self, WireError> {
        // The ticket of access.request, which means nothing since 0-9.
        fields.u16()?;
        let exchange = fields.short_string()?;
        let routing_key = fields.short_string()?;
        let [mandatory, immediate] = bits(fields.u8()?);
        Ok(Self { exchange, routing_key, mandatory, immediate })
    }
}

/// The two lowest bits of an octet of packed bits, lowest first. Unused bits are ignored.
fn bits(octet: u8) -> [bool; 2] {
    [octet & 1 != 0, octet & 2 != 0]
}

#[cold]
fn parse_other<'a>(payload: &'a [u8], id: MethodId, fields: Fields<'a>) -> Result<Method<'a>, WireError> {
    if !is_known(id) {
        return Err(WireError::UnknownMethod { id });
    }
    check_tables(id, fields)?;
    match parse_class(payload) {
        Ok(([], class)) => Ok(Method::Other(class)),
        Ok((rest, _)) => Err(WireError::TrailingBytes { offset: payload.len() - rest.len(), have: rest.len() }),
        Err(_) => Err(WireError::BadField { offset: fields.offset() }),
    }
}

/// True for the methods of 0-9-1 and RabbitMQ's extensions.
fn is_known(id: MethodId) -> bool {
    let methods: &[u16] = match id.class_id {
        10 => &[10, 11, 20, 21, 30, 31, 40, 41, 50, 51, 60, 61, 70, 71],
        20 => &[10, 11, 20, 21, 40, 41],
        30 | 85 => &[10, 11],
        // exchange.unbind-ok is 51, not 41.
        40 => &[10, 11, 20, 21, 30, 31, 40, 51],
        50 => &[10, 11, 20, 21, 30, 31, 40, 41, 50, 51],
        60 => &[10, 11, 20, 21, 30, 31, 40, 50, 60, 70, 71, 72, 80, 90, 100, 110, 111, 120],
        90 => &[10, 11, 20, 21, 30, 31],
        _ => &[],
    };
    methods.contains(&id.method_id)
}

/// Checks the field table among the arguments, if the method has one, before it is parsed by recursion.
/// No method has two, and only fixed fields and short strings come before it.
fn check_tables(id: MethodId, mut fields: Fields<'_>) -> Result<(), WireError> {
    let (fixed_before, short_strings, fixed_after) = match (id.class_id, id.method_id) {
        (10, 10) => (2, 0, 0),                 // connection.start: version-major, version-minor
        (10, 11) => (0, 0, 0),                 // connection.start-ok
        (40, 10) | (60, 20) => (2, 2, 1),      // exchange.declare, basic.consume: ticket, two names, bits
        (40, 30 | 40) | (50, 20) => (2, 3, 1), // exchange.bind, .unbind, queue.bind: ticket, three names, bits
        (50, 10) => (2, 1, 1),                 // queue.declare: ticket, name, bits
        (50, 50) => (2, 3, 0),                 // queue.unbind: ticket, three names
        _ => return Ok(()),
    };
    fields.bytes(fixed_before)?;
    for _ in 0..short_strings {
        fields.short_string()?;
    }
    fields.bytes(fixed_after)?;
    field_table::read(&mut fields).map(drop)
}

//! The methods of AMQP 0-9-1 with RabbitMQ's extensions, as a table: what is sent and read in a scenario follows it and not
//! the codec of the broker or of a client library.

use anyhow::{Context, bail, ensure};

use super::value::{Input, Table, Value, decode_table, encode_table, table_text};

/// A method: `class.method`, its ids, its fields as `name:type`, and the methods that answer it.
#[derive(Debug)]
pub(super) struct Method {
    pub(super) name: &'static str,
    class: u16,
    id: u16,
    fields: &'static str,
    pub(super) answers: &'static [&'static str],
    /// Whether a content follows.
    pub(super) content: bool,
}

const fn method(
    name: &'static str,
    ids: (u16, u16),
    fields: &'static str,
    answers: &'static [&'static str],
) -> Method {
    Method { name, class: ids.0, id: ids.1, fields, answers, content: false }
}

const fn content(name: &'static str, ids: (u16, u16), fields: &'static str) -> Method {
    Method { name, class: ids.0, id: ids.1, fields, answers: &[], content: true }
}

const CLOSE: &str = "reply-code:short reply-text:shortstr class-id:short method-id:short";
const BINDING: &str =
    "ticket:short destination:shortstr source:shortstr routing-key:shortstr no-wait:bit arguments:table";

/// Every method.
#[rustfmt::skip]
const METHODS: &[Method] = &[
    method("connection.start", (10, 10), "version-major:octet version-minor:octet server-properties:table mechanisms:longstr locales:longstr", &[]),
    method("connection.start-ok", (10, 11), "client-properties:table mechanism:shortstr response:longstr locale:shortstr", &["connection.tune", "connection.secure"]),
    method("connection.secure", (10, 20), "challenge:longstr", &[]),
    method("connection.secure-ok", (10, 21), "response:longstr", &["connection.tune", "connection.secure"]),
    method("connection.tune", (10, 30), "channel-max:short frame-max:long heartbeat:short", &[]),
    method("connection.tune-ok", (10, 31), "channel-max:short frame-max:long heartbeat:short", &[]),
    method("connection.open", (10, 40), "virtual-host:shortstr reserved-1:shortstr reserved-2:bit", &["connection.open-ok"]),
    method("connection.open-ok", (10, 41), "known-hosts:shortstr", &[]),
    method("connection.close", (10, 50), CLOSE, &["connection.close-ok"]),
    method("connection.close-ok", (10, 51), "", &[]),
    method("connection.blocked", (10, 60), "reason:shortstr", &[]),
    method("connection.unblocked", (10, 61), "", &[]),
    method("connection.update-secret", (10, 70), "new-secret:longstr reason:shortstr", &["connection.update-secret-ok"]),
    method("connection.update-secret-ok", (10, 71), "", &[]),
    method("channel.open", (20, 10), "out-of-band:shortstr", &["channel.open-ok"]),
    method("channel.open-ok", (20, 11), "channel-id:longstr", &[]),
    method("channel.flow", (20, 20), "active:bit", &["channel.flow-ok"]),
    method("channel.flow-ok", (20, 21), "active:bit", &[]),
    method("channel.close", (20, 40), CLOSE, &["channel.close-ok"]),
    method("channel.close-ok", (20, 41), "", &[]),
    method("access.request", (30, 10), "realm:shortstr exclusive:bit passive:bit active:bit write:bit read:bit", &["access.request-ok"]),
    method("access.request-ok", (30, 11), "ticket:short", &[]),
    method("exchange.declare", (40, 10), "ticket:short exchange:shortstr type:shortstr passive:bit durable:bit auto-delete:bit internal:bit no-wait:bit arguments:table", &["exchange.declare-ok"]),
    method("exchange.declare-ok", (40, 11), "", &[]),
    method("exchange.delete", (40, 20), "ticket:short exchange:shortstr if-unused:bit no-wait:bit", &["exchange.delete-ok"]),
    method("exchange.delete-ok", (40, 21), "", &[]),
    method("exchange.bind", (40, 30), BINDING, &["exchange.bind-ok"]),
    method("exchange.bind-ok", (40, 31), "", &[]),
    method("exchange.unbind", (40, 40), BINDING, &["exchange.unbind-ok"]),
    method("exchange.unbind-ok", (40, 51), "", &[]),
    method("queue.declare", (50, 10), "ticket:short queue:shortstr passive:bit durable:bit exclusive:bit auto-delete:bit no-wait:bit arguments:table", &["queue.declare-ok"]),
    method("queue.declare-ok", (50, 11), "queue:shortstr message-count:long consumer-count:long", &[]),
    method("queue.bind", (50, 20), "ticket:short queue:shortstr exchange:shortstr routing-key:shortstr no-wait:bit arguments:table", &["queue.bind-ok"]),
    method("queue.bind-ok", (50, 21), "", &[]),
    method("queue.purge", (50, 30), "ticket:short queue:shortstr no-wait:bit", &["queue.purge-ok"]),
    method("queue.purge-ok", (50, 31), "message-count:long", &[]),
    method("queue.delete", (50, 40), "ticket:short queue:shortstr if-unused:bit if-empty:bit no-wait:bit", &["queue.delete-ok"]),
    method("queue.delete-ok", (50, 41), "message-count:long", &[]),
    method("queue.unbind", (50, 50), "ticket:short queue:shortstr exchange:shortstr routing-key:shortstr arguments:table", &["queue.unbind-ok"]),
    method("queue.unbind-ok", (50, 51), "", &[]),
    method("basic.qos", (60, 10), "prefetch-size:long prefetch-count:short global:bit", &["basic.qos-ok"]),
    method("basic.qos-ok", (60, 11), "", &[]),
    method("basic.consume", (60, 20), "ticket:short queue:shortstr consumer-tag:shortstr no-local:bit no-ack:bit exclusive:bit no-wait:bit arguments:table", &["basic.consume-ok"]),
    method("basic.consume-ok", (60, 21), "consumer-tag:shortstr", &[]),
    method("basic.cancel", (60, 30), "consumer-tag:shortstr no-wait:bit", &["basic.cancel-ok"]),
    method("basic.cancel-ok", (60, 31), "consumer-tag:shortstr", &[]),
    content("basic.publish", (60, 40), "ticket:short exchange:shortstr routing-key:shortstr mandatory:bit immediate:bit"),
    content("basic.return", (60, 50), "reply-code:short reply-text:shortstr exchange:shortstr routing-key:shortstr"),
    content("basic.deliver", (60, 60), "consumer-tag:shortstr delivery-tag:longlong redelivered:bit exchange:shortstr routing-key:shortstr"),
    method("basic.get", (60, 70), "ticket:short queue:shortstr no-ack:bit", &["basic.get-ok", "basic.get-empty"]),
    content("basic.get-ok", (60, 71), "delivery-tag:longlong redelivered:bit exchange:shortstr routing-key:shortstr message-count:long"),
    method("basic.get-empty", (60, 72), "cluster-id:shortstr", &[]),
    method("basic.ack", (60, 80), "delivery-tag:longlong multiple:bit", &[]),
    method("basic.reject", (60, 90), "delivery-tag:longlong requeue:bit", &[]),
    method("basic.recover-async", (60, 100), "requeue:bit", &[]),
    method("basic.recover", (60, 110), "requeue:bit", &["basic.recover-ok"]),
    method("basic.recover-ok", (60, 111), "", &[]),
    method("basic.nack", (60, 120), "delivery-tag:longlong multiple:bit requeue:bit", &[]),
    method("tx.select", (90, 10), "", &["tx.select-ok"]),
    method("tx.select-ok", (90, 11), "", &[]),
    method("tx.commit", (90, 20), "", &["tx.commit-ok"]),
    method("tx.commit-ok", (90, 21), "", &[]),
    method("tx.rollback", (90, 30), "", &["tx.rollback-ok"]),
    method("tx.rollback-ok", (90, 31), "", &[]),
    method("confirm.select", (85, 10), "no-wait:bit", &["confirm.select-ok"]),
    method("confirm.select-ok", (85, 11), "", &[]),
];

/// The properties of class basic, in the order of their flags, from bit 15 down.
const PROPERTIES: &str = "content-type:shortstr content-encoding:shortstr headers:table delivery-mode:octet priority:octet \
    correlation-id:shortstr reply-to:shortstr expiration:shortstr message-id:shortstr timestamp:longlong type:shortstr \
    user-id:shortstr app-id:shortstr cluster-id:shortstr";

fn fields(list: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    list.split_whitespace().filter_map(|field| field.split_once(':'))
}

/// What a script gives for the fields of a method, or what was read.
pub(super) type Arguments = Table;

fn argument<'a>(arguments: &'a Arguments, name: &str) -> Option<&'a Value> {
    arguments.iter().find(|(given, _)| given == name).map(|(_, value)| value)
}

/// Whether a bit is given as true.
pub(super) fn is_set(arguments: &Arguments, name: &str) -> bool {
    argument(arguments, name) == Some(&Value::Bool(true))
}

impl Method {
    /// The method with this name.
    pub(super) fn named(name: &str) -> anyhow::Result<&'static Self> {
        METHODS.iter().find(|method| method.name == name).with_context(|| format!("there is no method {name}"))
    }

    /// The payload of a method frame. What is not given is zero, empty or false.
    pub(super) fn encode(&self, arguments: &Arguments) -> anyhow::Result<Vec<u8>> {
        for (name, _) in arguments {
            let known = fields(self.fields).chain(fields(PROPERTIES)).any(|(field, _)| field == name);
            ensure!(known || name == "body", "{} has no field {name}", self.name);
        }
        let mut payload = Vec::new();
        payload.extend(self.class.to_be_bytes());
        payload.extend(self.id.to_be_bytes());
        let mut bits: Option<(u8, u8)> = None;
        for (name, kind) in fields(self.fields) {
            if kind == "bit" {
                let (octet, count) = bits.unwrap_or_default();
                bits = Some((octet | u8::from(is_set(arguments, name)) << count, count + 1));
                continue;
            }
            payload.extend(bits.take().map(|(octet, _)| octet));
            encode_field(kind, argument(arguments, name), &mut payload).with_context(|| name.to_owned())?;
        }
        payload.extend(bits.map(|(octet, _)| octet));
        Ok(payload)
    }

    /// Reads the payload of a method frame.
    pub(super) fn decode(payload: &[u8]) -> anyhow::Result<(&'static Self, Arguments)> {
        let mut input = Input(payload);
        let ids = (input.short()?, input.short()?);
        let method = METHODS
            .iter()
            .find(|method| (method.class, method.id) == ids)
            .with_context(|| format!("there is no method {ids:?}"))?;
        let mut arguments = Vec::new();
        let mut bits: Option<(u8, u8)> = None;
        for (name, kind) in fields(method.fields) {
            if kind == "bit" {
                let (octet, count) = match bits {
                    Some(bits) => bits,
                    None => (input.octet()?, 0),
                };
                arguments.push((name.to_owned(), Value::Bool(octet >> count & 1 == 1)));
                bits = Some((octet, count + 1));
                continue;
            }
            bits = None;
            arguments.push((name.to_owned(), decode_field(kind, &mut input)?));
        }
        ensure!(input.0.is_empty(), "{} octets after {}", input.0.len(), method.name);
        Ok((method, arguments))
    }
}

/// The payload of a content header frame.
pub(super) fn encode_header(body_size: u64, properties: &Arguments) -> anyhow::Result<Vec<u8>> {
    let (mut flags, mut values) = (0u16, Vec::new());
    for (index, (name, kind)) in fields(PROPERTIES).enumerate() {
        if let Some(value) = argument(properties, name) {
            flags |= 1 << (15 - index);
            encode_field(kind, Some(value), &mut values).with_context(|| name.to_owned())?;
        }
    }
    let mut payload = vec![0, 60, 0, 0];
    payload.extend(body_size.to_be_bytes());
    payload.extend(flags.to_be_bytes());
    payload.extend(values);
    Ok(payload)
}

/// Reads the payload of a content header frame: the size of the body, and the properties.
pub(super) fn decode_header(payload: &[u8]) -> anyhow::Result<(u64, Arguments)> {
    let mut input = Input(payload);
    ensure!((input.short()?, input.short()?) == (60, 0), "not a content header of class basic");
    let body_size = input.long_long()?;
    let flags = input.short()?;
    let mut properties = Vec::new();
    for (index, (name, kind)) in fields(PROPERTIES).enumerate() {
        if flags >> (15 - index) & 1 == 1 {
            properties.push((name.to_owned(), decode_field(kind, &mut input)?));
        }
    }
    Ok((body_size, properties))
}

fn encode_field(kind: &str, value: Option<&Value>, output: &mut Vec<u8>) -> anyhow::Result<()> {
    let number = match value {
        Some(Value::Integer(_, number)) => *number,
        _ => 0,
    };
    // Numbers and booleans may be written where a string is wanted.
    let text = match value {
        None => String::new(),
        Some(Value::Text(_, text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    match kind {
        "octet" => output.push(u8::try_from(number)?),
        "short" => output.extend(u16::try_from(number)?.to_be_bytes()),
        "long" => output.extend(u32::try_from(number)?.to_be_bytes()),
        "longlong" => output.extend(u64::try_from(number)?.to_be_bytes()),
        "shortstr" => {
            output.push(u8::try_from(text.len())?);
            output.extend(text.as_bytes());
        }
        "longstr" => {
            output.extend(u32::try_from(text.len())?.to_be_bytes());
            output.extend(text.as_bytes());
        }
        "table" => match value {
            Some(Value::Table(table)) => encode_table(table, output)?,
            Some(_) => bail!("a table is wanted"),
            None => encode_table(&Vec::new(), output)?,
        },
        _ => bail!("unknown type {kind}"),
    }
    Ok(())
}

fn decode_field(kind: &str, input: &mut Input<'_>) -> anyhow::Result<Value> {
    let number = |number: u64| Value::Integer(b'I', number.into());
    Ok(match kind {
        "octet" => number(input.octet()?.into()),
        "short" => number(input.short()?.into()),
        "long" => number(input.long()?.into()),
        "longlong" => number(input.long_long()?),
        "shortstr" => Value::Text(b'S', input.short_string()?),
        "longstr" => Value::Text(b'S', input.long_string()?),
        "table" => Value::Table(decode_table(input)?),
        _ => bail!("unknown type {kind}"),
    })
}

/// Fields as in a script. False bits are left out.
pub(super) fn shown(arguments: &Arguments) -> String {
    let mut line = String::new();
    for (name, value) in arguments {
        match value {
            Value::Bool(false) => {}
            Value::Bool(true) => line.push_str(&format!(" {name}")),
            Value::Table(table) => line.push_str(&format!(" {name}={}", table_text(table))),
            value => line.push_str(&format!(" {name}={value}")),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_the_same_after_the_wire() {
        for method in METHODS {
            let (read, arguments) = Method::decode(&method.encode(&Vec::new()).unwrap()).unwrap();
            assert_eq!(read.name, method.name);
            assert_eq!(
                Method::decode(&method.encode(&arguments).unwrap()).unwrap().1,
                arguments,
                "{}",
                method.name
            );
        }
    }

    #[test]
    fn every_answer_is_a_method() {
        for answer in METHODS.iter().flat_map(|method| method.answers) {
            Method::named(answer).unwrap();
        }
    }
}

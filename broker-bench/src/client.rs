//! A blocking client for what happens before and after the load: connect, declare, purge, delete, close.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use amq_protocol::{
    protocol::{AMQPClass, basic, channel, confirm, connection, exchange, queue},
    types::{AMQPValue, ChannelId, FieldTable, LongString},
    uri::{AMQPScheme, AMQPUri},
};
use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::{
    load::{Load, field_table},
    wire::{CHANNEL, short_string, take_method, write_method},
};

const PROTOCOL_HEADER: &[u8; 8] = b"AMQP\0\0\x09\x01";
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
const FRAME_MAX: u32 = 131_072;
const READ_BYTES: usize = 64 * 1024;

/// A connection with one open channel.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    frame_max: u32,
}

impl Client {
    /// Connects, opens the connection without heartbeats, and opens the channel.
    pub(crate) fn connect(uri: &AMQPUri, name: &str) -> Result<Self> {
        ensure!(uri.scheme == AMQPScheme::AMQP, "only amqp:// is supported");
        let address = (uri.authority.host.as_str(), uri.authority.port);
        let stream = TcpStream::connect(address)
            .with_context(|| format!("cannot connect to {}:{}", uri.authority.host, uri.authority.port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
        let mut client = Self { stream, input: Vec::new(), frame_max: FRAME_MAX };
        client.handshake(uri, name)?;
        client.call(AMQPClass::Channel(channel::AMQPMethod::Open(channel::Open {})))?;
        Ok(client)
    }

    fn handshake(&mut self, uri: &AMQPUri, name: &str) -> Result<()> {
        self.stream.write_all(PROTOCOL_HEADER)?;
        let AMQPClass::Connection(connection::AMQPMethod::Start(_)) = self.receive()? else {
            bail!("the broker does not begin with connection.start");
        };
        let user = &uri.authority.userinfo;
        let start_ok = connection::StartOk {
            client_properties: client_properties(name),
            mechanism: "PLAIN".into(),
            response: LongString::from(format!("\0{}\0{}", user.username, user.password)),
            locale: "en_US".into(),
        };
        let tune = self.call_on(0, AMQPClass::Connection(connection::AMQPMethod::StartOk(start_ok)))?;
        let AMQPClass::Connection(connection::AMQPMethod::Tune(tune)) = tune else {
            bail!("the broker does not answer connection.start-ok with connection.tune");
        };
        if tune.frame_max != 0 {
            self.frame_max = tune.frame_max.min(FRAME_MAX);
        }
        let tune_ok =
            connection::TuneOk { channel_max: tune.channel_max, frame_max: self.frame_max, heartbeat: 0 };
        self.send(0, AMQPClass::Connection(connection::AMQPMethod::TuneOk(tune_ok)))?;
        let open = connection::Open { virtual_host: short_string("the virtual host", &uri.vhost)? };
        self.call_on(0, AMQPClass::Connection(connection::AMQPMethod::Open(open)))?;
        Ok(())
    }

    /// Sends a method on the channel and returns the next method the broker sends.
    pub(crate) fn call(&mut self, method: AMQPClass) -> Result<AMQPClass> {
        self.call_on(CHANNEL, method)
    }

    fn call_on(&mut self, channel: ChannelId, method: AMQPClass) -> Result<AMQPClass> {
        self.send(channel, method)?;
        self.receive()
    }

    fn send(&mut self, channel: ChannelId, method: AMQPClass) -> Result<()> {
        let mut bytes = Vec::new();
        write_method(&mut bytes, channel, method)?;
        Ok(self.stream.write_all(&bytes)?)
    }

    fn receive(&mut self) -> Result<AMQPClass> {
        loop {
            if self.input.starts_with(b"AMQP") {
                bail!("the broker speaks another version of AMQP");
            }
            if let Some((method, length)) = take_method(&self.input, self.frame_max)? {
                self.input.drain(..length);
                return not_closed(method);
            }
            let length = self.input.len();
            self.input.resize(length + READ_BYTES, 0);
            let read = self.stream.read(&mut self.input[length..]);
            self.input.truncate(length + read.as_ref().map_or(0, |read| *read));
            ensure!(read.context("no answer from the broker")? > 0, "the broker closed the connection");
        }
    }

    /// Declares the queue passively and returns how many messages are ready in it.
    pub(crate) fn message_count(&mut self, queue: &str) -> Result<u64> {
        let declare = queue::Declare {
            queue: short_string("a queue's name", queue)?,
            passive: true,
            durable: false,
            exclusive: false,
            auto_delete: false,
            nowait: false,
            arguments: FieldTable::default(),
        };
        match self.call(AMQPClass::Queue(queue::AMQPMethod::Declare(declare)))? {
            AMQPClass::Queue(queue::AMQPMethod::DeclareOk(ok)) => Ok(u64::from(ok.message_count)),
            other => Err(anyhow!("queue.declare is answered with {other:?}")),
        }
    }

    /// Makes exchange, queues and bindings as the workload asks, and empties the queues.
    pub(crate) fn prepare(&mut self, load: &Load) -> Result<()> {
        if !load.predeclared {
            self.declare(load)?;
        }
        if load.purge && !load.predeclared && load.producers > 0 {
            for queue in &load.queues {
                let purge = queue::Purge { queue: short_string("a queue's name", queue)?, nowait: false };
                self.call(AMQPClass::Queue(queue::AMQPMethod::Purge(purge)))?;
            }
        }
        Ok(())
    }

    fn declare(&mut self, load: &Load) -> Result<()> {
        if let Some(exchange) = &load.exchange {
            let declare = exchange::Declare {
                exchange: short_string("the exchange's name", exchange)?,
                kind: short_string("the exchange's type", &load.exchange_type)?,
                passive: false,
                durable: load.persistent,
                auto_delete: false,
                internal: false,
                nowait: false,
                arguments: field_table(&load.exchange_arguments)?,
            };
            self.call(AMQPClass::Exchange(exchange::AMQPMethod::Declare(declare)))?;
        }
        let arguments = field_table(&load.queue_arguments)?;
        for queue in &load.queues {
            let declare = queue::Declare {
                queue: short_string("a queue's name", queue)?,
                passive: false,
                durable: load.persistent,
                exclusive: false,
                auto_delete: load.auto_delete,
                nowait: false,
                arguments: arguments.clone(),
            };
            self.call(AMQPClass::Queue(queue::AMQPMethod::Declare(declare)))?;
        }
        self.bind(load)
    }

    fn bind(&mut self, load: &Load) -> Result<()> {
        let Some(exchange) = &load.exchange else {
            return Ok(());
        };
        for route in load.routes() {
            for queue in &route.queues {
                let bind = queue::Bind {
                    queue: short_string("a queue's name", &load.queues[*queue])?,
                    exchange: short_string("the exchange's name", exchange)?,
                    routing_key: short_string("the routing key", &route.routing_key)?,
                    nowait: false,
                    arguments: FieldTable::default(),
                };
                self.call(AMQPClass::Queue(queue::AMQPMethod::Bind(bind)))?;
            }
        }
        Ok(())
    }

    /// Deletes what `prepare` made.
    pub(crate) fn clean_up(&mut self, load: &Load) -> Result<()> {
        for queue in &load.queues {
            let delete = queue::Delete {
                queue: short_string("a queue's name", queue)?,
                if_unused: false,
                if_empty: false,
                nowait: false,
            };
            self.call(AMQPClass::Queue(queue::AMQPMethod::Delete(delete)))?;
        }
        if let Some(exchange) = &load.exchange {
            let exchange = short_string("the exchange's name", exchange)?;
            let delete = exchange::Delete { exchange, if_unused: false, nowait: false };
            self.call(AMQPClass::Exchange(exchange::AMQPMethod::Delete(delete)))?;
        }
        Ok(())
    }

    /// confirm.select.
    pub(crate) fn select_confirms(&mut self) -> Result<()> {
        self.call(AMQPClass::Confirm(confirm::AMQPMethod::Select(confirm::Select { nowait: false })))?;
        Ok(())
    }

    /// basic.qos.
    pub(crate) fn set_prefetch(&mut self, prefetch_count: u16, global: bool) -> Result<()> {
        self.call(AMQPClass::Basic(basic::AMQPMethod::Qos(basic::Qos { prefetch_count, global })))?;
        Ok(())
    }

    /// Largest frame agreed on, in bytes.
    pub(crate) fn frame_max(&self) -> u32 {
        self.frame_max
    }

    /// The socket, and what was read from it and not used.
    pub(crate) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.input)
    }

    /// connection.close, and its answer.
    pub(crate) fn close(mut self) -> Result<()> {
        self.stream.write_all(&close_frame()?)?;
        self.receive()?;
        Ok(())
    }
}

/// connection.close as bytes.
pub(crate) fn close_frame() -> Result<Vec<u8>> {
    let close = connection::Close { reply_code: 200, reply_text: "Goodbye".into(), class_id: 0, method_id: 0 };
    let mut bytes = Vec::new();
    write_method(&mut bytes, 0, AMQPClass::Connection(connection::AMQPMethod::Close(close)))?;
    Ok(bytes)
}

fn client_properties(name: &str) -> FieldTable {
    let text = |value: &str| AMQPValue::LongString(LongString::from(value));
    let mut capabilities = FieldTable::default();
    for capability in ["publisher_confirms", "basic.nack", "connection.blocked", "consumer_cancel_notify"] {
        capabilities.insert(capability.into(), AMQPValue::Boolean(true));
    }
    let mut properties = FieldTable::default();
    properties.insert("product".into(), text("ringmq-bench"));
    properties.insert("version".into(), text(env!("CARGO_PKG_VERSION")));
    properties.insert("connection_name".into(), text(name));
    properties.insert("capabilities".into(), AMQPValue::FieldTable(capabilities));
    properties
}

fn not_closed(method: AMQPClass) -> Result<AMQPClass> {
    match method {
        AMQPClass::Connection(connection::AMQPMethod::Close(close)) => {
            Err(anyhow!("the broker closed the connection: {} {}", close.reply_code, close.reply_text))
        }
        AMQPClass::Channel(channel::AMQPMethod::Close(close)) => {
            Err(anyhow!("the broker closed the channel: {} {}", close.reply_code, close.reply_text))
        }
        method => Ok(method),
    }
}

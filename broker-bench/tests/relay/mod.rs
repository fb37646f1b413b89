//! The least that the generator takes for a broker: parses publishes, writes deliveries, confirms at once. No limits, no
//! acknowledgements, no disk. It can do wrong on purpose, and shows how fast the generator is when nothing else costs.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use amq_protocol::{
    frame::{AMQPFrame, WriteContext, gen_frame, parse_frame},
    protocol::{AMQPClass, basic, channel, confirm, connection, exchange, queue},
    types::FieldTable,
};

const READ_BYTES: usize = 256 * 1024;
const FRAME_MAX: u32 = 131_072;
const BASIC_PUBLISH: &[u8] = &[0, 60, 0, 40];

/// What the relay does wrong, with the message of that index, counted over all queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Drop(usize),
    Duplicate(usize),
    Redeliver(usize),
    Swap(usize),
    Damage(usize),
    RefuseAll,
}

#[derive(Default)]
struct Relay {
    queues: HashMap<String, Queue>,
    bindings: HashMap<(String, String), Vec<String>>,
    routed: usize,
    held: Option<(String, Vec<u8>)>,
}

#[derive(Default)]
struct Queue {
    backlog: Vec<Vec<u8>>,
    consumers: Vec<(String, Arc<Mutex<Outlet>>)>,
    turn: usize,
}

/// The output half of a connection.
struct Outlet {
    stream: TcpStream,
    output: Vec<u8>,
    delivery_tag: u64,
}

struct Connection {
    outlet: Arc<Mutex<Outlet>>,
    publish: Option<(String, String)>,
    content: Vec<u8>,
    body_left: Option<usize>,
    published: u64,
    confirms: bool,
    fault: Fault,
}

/// Serves the listener's connections from a thread each, for ever.
pub(crate) fn serve(listener: TcpListener, fault: Fault) {
    let relay = Arc::new(Mutex::new(Relay::default()));
    for stream in listener.incoming().flatten() {
        let relay = Arc::clone(&relay);
        thread::spawn(move || {
            // The peer's end of the connection ends the thread.
            let _ = Connection::new(stream, fault).and_then(|(stream, mut it)| it.run(stream, &relay));
        });
    }
}

impl Connection {
    fn new(stream: TcpStream, fault: Fault) -> std::io::Result<(TcpStream, Self)> {
        stream.set_nodelay(true)?;
        let outlet = Outlet { stream: stream.try_clone()?, output: Vec::new(), delivery_tag: 0 };
        let outlet = Arc::new(Mutex::new(outlet));
        let (publish, content, body_left, published, confirms) = (None, Vec::new(), None, 0, false);
        Ok((stream, Self { outlet, publish, content, body_left, published, confirms, fault }))
    }

    fn run(&mut self, mut stream: TcpStream, relay: &Mutex<Relay>) -> std::io::Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        stream.read_exact(&mut buffer[..8])?;
        self.send(connection_start());
        lock(&self.outlet).flush()?;
        let mut held = 0;
        loop {
            let read = stream.read(&mut buffer[held..])?;
            if read == 0 {
                return Ok(());
            }
            held += read;
            let used = self.handle(&buffer[..held], &mut lock(relay))?;
            buffer.copy_within(used..held, 0);
            held -= used;
        }
    }

    /// Handles all whole frames and writes what they cause; returns how many bytes they are.
    fn handle(&mut self, input: &[u8], relay: &mut Relay) -> std::io::Result<usize> {
        let (mut used, confirmed) = (0, self.published);
        while let Some(&[kind, _, _, a, b, c, d]) = input[used..].first_chunk::<7>() {
            let end = used + 7 + u32::from_be_bytes([a, b, c, d]) as usize;
            if end >= input.len() {
                break;
            }
            let payload = &input[used + 7..end];
            match kind {
                1 if payload.starts_with(BASIC_PUBLISH) => self.publish = Some(read_publish(&payload[6..])),
                1 => self.method(&input[used..=end], relay),
                2 => self.header(payload, relay),
                3 => self.body(payload, relay),
                _ => {}
            }
            used = end + 1;
        }
        if self.confirms && self.published > confirmed {
            let ack = if self.fault == Fault::RefuseAll {
                basic::AMQPMethod::Nack(basic::Nack {
                    delivery_tag: self.published,
                    multiple: true,
                    requeue: false,
                })
            } else {
                basic::AMQPMethod::Ack(basic::Ack { delivery_tag: self.published, multiple: true })
            };
            self.send(AMQPClass::Basic(ack));
        }
        for (_, consumer) in relay.queues.values().flat_map(|queue| &queue.consumers) {
            let _ = lock(consumer).flush();
        }
        lock(&self.outlet).flush()?;
        Ok(used)
    }

    fn header(&mut self, payload: &[u8], relay: &mut Relay) {
        let size = usize::try_from(u64::from_be_bytes(*payload[4..].first_chunk().unwrap())).unwrap();
        self.content.clear();
        write_frame_head(&mut self.content, 2, payload.len());
        self.content.extend_from_slice(payload);
        self.content.push(0xce);
        self.body_left = Some(size);
        self.route_if_whole(relay);
    }

    fn body(&mut self, payload: &[u8], relay: &mut Relay) {
        write_frame_head(&mut self.content, 3, payload.len());
        self.content.extend_from_slice(payload);
        self.content.push(0xce);
        self.body_left = self.body_left.map(|left| left - payload.len());
        self.route_if_whole(relay);
    }

    fn route_if_whole(&mut self, relay: &mut Relay) {
        if self.body_left != Some(0) {
            return;
        }
        self.body_left = None;
        self.published += 1;
        let Some((exchange, routing_key)) = self.publish.take() else {
            return;
        };
        if self.fault == Fault::RefuseAll {
            return;
        }
        if exchange.is_empty() {
            relay.enqueue(&routing_key, &self.content, self.fault);
        } else if let Some(queues) = relay.bindings.get(&(exchange, routing_key)).cloned() {
            for queue in queues {
                relay.enqueue(&queue, &self.content, self.fault);
            }
        }
    }

    fn send(&self, method: AMQPClass) {
        let channel = u16::from(!matches!(method, AMQPClass::Connection(_)));
        lock(&self.outlet).frame(&AMQPFrame::Method(channel, method));
    }

    fn method(&mut self, frame: &[u8], relay: &mut Relay) {
        let Ok((_, AMQPFrame::Method(_, method))) = parse_frame(frame) else {
            return;
        };
        let answer = match method {
            AMQPClass::Connection(method) => connection_answer(method),
            AMQPClass::Channel(_) => Some(AMQPClass::Channel(channel::AMQPMethod::OpenOk(channel::OpenOk {}))),
            AMQPClass::Exchange(exchange::AMQPMethod::Declare(_)) => {
                Some(AMQPClass::Exchange(exchange::AMQPMethod::DeclareOk(exchange::DeclareOk {})))
            }
            AMQPClass::Exchange(_) => {
                Some(AMQPClass::Exchange(exchange::AMQPMethod::DeleteOk(exchange::DeleteOk {})))
            }
            AMQPClass::Queue(method) => Some(AMQPClass::Queue(relay.queue_answer(method))),
            AMQPClass::Confirm(_) => {
                self.confirms = true;
                Some(AMQPClass::Confirm(confirm::AMQPMethod::SelectOk(confirm::SelectOk {})))
            }
            AMQPClass::Basic(basic::AMQPMethod::Qos(_)) => {
                Some(AMQPClass::Basic(basic::AMQPMethod::QosOk(basic::QosOk {})))
            }
            AMQPClass::Basic(basic::AMQPMethod::Consume(consume)) => {
                let consumer_tag = consume.consumer_tag;
                let ok = basic::ConsumeOk { consumer_tag: consumer_tag.clone() };
                self.send(AMQPClass::Basic(basic::AMQPMethod::ConsumeOk(ok)));
                relay.consume(consume.queue.as_str(), consumer_tag.as_str(), &self.outlet);
                None
            }
            _ => None,
        };
        if let Some(answer) = answer {
            self.send(answer);
        }
    }
}

impl Relay {
    fn queue_answer(&mut self, method: queue::AMQPMethod) -> queue::AMQPMethod {
        match method {
            queue::AMQPMethod::Declare(declare) => {
                let queue = self.queues.entry(declare.queue.as_str().into()).or_default();
                let message_count = u32::try_from(queue.backlog.len()).unwrap();
                queue::AMQPMethod::DeclareOk(queue::DeclareOk {
                    queue: declare.queue,
                    message_count,
                    consumer_count: 0,
                })
            }
            queue::AMQPMethod::Bind(bind) => {
                let key = (bind.exchange.as_str().into(), bind.routing_key.as_str().into());
                self.bindings.entry(key).or_default().push(bind.queue.as_str().into());
                queue::AMQPMethod::BindOk(queue::BindOk {})
            }
            queue::AMQPMethod::Delete(delete) => {
                self.queues.remove(delete.queue.as_str());
                queue::AMQPMethod::DeleteOk(queue::DeleteOk { message_count: 0 })
            }
            _ => queue::AMQPMethod::PurgeOk(queue::PurgeOk { message_count: 0 }),
        }
    }

    fn consume(&mut self, queue: &str, tag: &str, outlet: &Arc<Mutex<Outlet>>) {
        let queue = self.queues.entry(queue.into()).or_default();
        queue.consumers.push((tag.into(), Arc::clone(outlet)));
        for content in std::mem::take(&mut queue.backlog) {
            queue.deliver(&content, false);
        }
    }

    fn enqueue(&mut self, queue_name: &str, content: &[u8], fault: Fault) {
        let index = self.routed;
        self.routed += 1;
        let Some(queue) = self.queues.get_mut(queue_name) else {
            return;
        };
        match fault {
            Fault::Drop(at) if at == index => return,
            Fault::Swap(at) if at == index => {
                self.held = Some((queue_name.into(), content.into()));
                return;
            }
            Fault::Damage(at) if at == index => {
                let mut damaged = content.to_vec();
                let last = damaged.len() - 2;
                damaged[last] ^= 1;
                queue.deliver(&damaged, false);
                return;
            }
            _ => queue.deliver(content, false),
        }
        if fault == Fault::Duplicate(index) || fault == Fault::Redeliver(index) {
            queue.deliver(content, fault == Fault::Redeliver(index));
        }
        if let Some((_, content)) = self.held.take_if(|(held, _)| held == queue_name) {
            queue.deliver(&content, false);
        }
    }
}

impl Queue {
    fn deliver(&mut self, content: &[u8], redelivered: bool) {
        if self.consumers.is_empty() {
            return self.backlog.push(content.into());
        }
        self.turn = (self.turn + 1) % self.consumers.len();
        let (tag, outlet) = &self.consumers[self.turn];
        let outlet = &mut *lock(outlet);
        outlet.delivery_tag += 1;
        write_frame_head(&mut outlet.output, 1, 4 + 1 + tag.len() + 8 + 1 + 2);
        outlet.output.extend_from_slice(&[0, 60, 0, 60, u8::try_from(tag.len()).unwrap()]);
        outlet.output.extend_from_slice(tag.as_bytes());
        outlet.output.extend_from_slice(&outlet.delivery_tag.to_be_bytes());
        // Exchange and routing key stay empty.
        outlet.output.extend_from_slice(&[u8::from(redelivered), 0, 0, 0xce]);
        outlet.output.extend_from_slice(content);
    }
}

impl Outlet {
    fn frame(&mut self, frame: &AMQPFrame) {
        let written = gen_frame(frame)(WriteContext::from(Vec::new())).unwrap();
        self.output.extend_from_slice(&written.into_inner().0);
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let result = if self.output.is_empty() { Ok(()) } else { self.stream.write_all(&self.output) };
        self.output.clear();
        result
    }
}

fn connection_start() -> AMQPClass {
    AMQPClass::Connection(connection::AMQPMethod::Start(connection::Start {
        version_major: 0,
        version_minor: 9,
        server_properties: FieldTable::default(),
        mechanisms: "PLAIN".into(),
        locales: "en_US".into(),
    }))
}

fn connection_answer(method: connection::AMQPMethod) -> Option<AMQPClass> {
    let answer = match method {
        connection::AMQPMethod::StartOk(_) => {
            connection::AMQPMethod::Tune(connection::Tune { channel_max: 1, frame_max: FRAME_MAX, heartbeat: 60 })
        }
        connection::AMQPMethod::Open(_) => connection::AMQPMethod::OpenOk(connection::OpenOk {}),
        connection::AMQPMethod::Close(_) => connection::AMQPMethod::CloseOk(connection::CloseOk {}),
        _ => return None,
    };
    Some(AMQPClass::Connection(answer))
}

/// Exchange and routing key.
fn read_publish(arguments: &[u8]) -> (String, String) {
    let (length, rest) = arguments.split_first().unwrap();
    let (exchange, rest) = rest.split_at(usize::from(*length));
    let (length, rest) = rest.split_first().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.into()).unwrap();
    (text(exchange), text(&rest[..usize::from(*length)]))
}

fn write_frame_head(output: &mut Vec<u8>, kind: u8, size: usize) {
    output.extend_from_slice(&[kind, 0, 1]);
    output.extend_from_slice(&u32::try_from(size).unwrap().to_be_bytes());
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Plays a scenario against a broker and writes down the answers.
//!
//! | step | does |
//! | --- | --- |
//! | `open a [user=.. password=.. vhost=.. frame-max=.. channel-max=.. heartbeat=.. capabilities={..}]` | connects as `a`, opens channel 1 |
//! | `connect a`, `greet a` | connects and says nothing, or the protocol header and takes `connection.start` |
//! | `a1 queue.declare queue=~q` | sends a method on channel 1; waits for its answer, unless it has none |
//! | `a1 basic.publish routing-key=~q body=text delivery-mode=2` | sends method, content header and body |
//! | `a1 header body-size=5`, `a1 body text` | sends one frame of a content |
//! | `a1 frame 1 000a0028`, `a octets 414d5150` | sends a frame with this payload, or any octets |
//! | `a read 2` | waits for two events; `a read 2 sorted` when their order is free |
//! | `a confirms 3` | waits until three publishes are confirmed, in any order and grouping |
//! | `a quiet` | nothing comes for a while |
//! | `close a`, `drop a` | closes the connection, with or without a word |
//! | `pause 20` | lets milliseconds pass |

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::client::{Client, Event};
use super::method::{Arguments, Method, encode_header, is_set, shown};
use super::names::Names;
use super::script::Scenario;
use super::value::{self, Value};

/// After this long a broker that does not answer is taken as never answering.
const PATIENCE: Duration = Duration::from_secs(8);

/// How long nothing must come for `quiet`.
const QUIET: Duration = Duration::from_millis(120);

/// The largest frame that is sent, in octets, whatever was negotiated: the smallest maximum there is.
const FRAME_MAX: usize = 4096;

/// Plays a scenario. The answers to each step, in order.
pub(super) fn play(scenario: &Scenario, broker: SocketAddr, prefix: String) -> anyhow::Result<Vec<Vec<String>>> {
    let mut player = Player {
        broker,
        clients: BTreeMap::new(),
        names: Names::new(prefix),
        first_unconfirmed: BTreeMap::new(),
        declared: Vec::new(),
    };
    let mut answers = Vec::new();
    for step in &scenario.steps {
        let lines = player
            .step(&player.names.reveal(&step.line))
            .with_context(|| format!("{}, line {}: {}", scenario.title, step.number, step.line))?;
        answers.push(lines.iter().map(|line| player.names.hide(line)).collect());
    }
    player.clean_up()?;
    Ok(answers)
}

struct Player {
    broker: SocketAddr,
    clients: BTreeMap<String, Client>,
    names: Names,
    /// Per connection the first publish on its confirming channel that waits for a confirm.
    first_unconfirmed: BTreeMap<String, i128>,
    /// Class and name of what the scenario declares.
    declared: Vec<(&'static str, String)>,
}

/// What ends a step.
enum Until<'a> {
    /// One of these methods on this channel.
    Answer(u16, &'a [&'static str]),
    /// So many events.
    Events(usize),
    /// So many confirmed publishes.
    Confirms(u64),
}

impl Player {
    fn step(&mut self, line: &str) -> anyhow::Result<Vec<String>> {
        let (first, rest) = line.split_once(' ').with_context(|| format!("{line}: what is to be done?"))?;
        match first {
            "open" => return self.open(rest),
            "connect" => {
                self.clients.insert(rest.to_owned(), Client::connect(self.broker)?);
                return Ok(Vec::new());
            }
            "greet" => {
                let mut client = Client::connect(self.broker)?;
                client.write(b"AMQP\x00\x00\x09\x01");
                self.clients.insert(rest.to_owned(), client);
                let start = self.read(rest, &Until::Events(1), PATIENCE)?;
                ensure!(start.iter().any(|line| line.contains("connection.start")), "{start:?}");
                return Ok(Vec::new());
            }
            "drop" => {
                self.clients.remove(rest).context("no such connection")?;
                return Ok(Vec::new());
            }
            "close" => {
                let answers = self.send(rest, 0, "connection.close", "")?;
                self.clients.remove(rest);
                return Ok(answers);
            }
            "pause" => {
                thread::sleep(Duration::from_millis(rest.parse()?));
                return Ok(Vec::new());
            }
            _ => {}
        }
        let name = first.trim_end_matches(|c: char| c.is_ascii_digit());
        let channel = first[name.len()..].parse().unwrap_or(0);
        let (verb, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        self.talk(name, channel, verb, rest)
    }

    /// A step on a connection that is there.
    fn talk(&mut self, name: &str, channel: u16, verb: &str, rest: &str) -> anyhow::Result<Vec<String>> {
        match verb {
            "read" => {
                let (count, sorted) = rest.split_once(' ').unwrap_or((rest, ""));
                let mut lines = self.read(name, &Until::Events(count.parse()?), PATIENCE)?;
                if sorted == "sorted" {
                    lines.sort();
                }
                return Ok(lines);
            }
            "confirms" => return self.read(name, &Until::Confirms(rest.parse()?), PATIENCE),
            "quiet" => return self.read(name, &Until::Events(1), QUIET),
            _ => {}
        }
        if verb.contains('.') {
            return self.send(name, channel, verb, rest);
        }
        let client = self.client(name)?;
        match verb {
            "octets" => client.write(&hexadecimal(rest)?),
            "frame" => {
                let (kind, payload) = rest.split_once(' ').unwrap_or((rest, ""));
                client.frame(kind.parse()?, channel, &hexadecimal(payload)?)?;
            }
            "header" => {
                let arguments = arguments(rest)?;
                let size = match arguments.iter().find(|(name, _)| name == "body-size") {
                    Some((_, Value::Integer(_, size))) => u64::try_from(*size)?,
                    _ => bail!("a header has a body-size"),
                };
                client.header(channel, &encode_header(size, &arguments)?)?;
            }
            "body" => client.body(channel, rest.as_bytes(), FRAME_MAX)?,
            _ => bail!("there is no step {verb}"),
        }
        Ok(Vec::new())
    }

    /// Sends a method, with its content, and reads until it is answered.
    fn send(&mut self, name: &str, channel: u16, method: &str, rest: &str) -> anyhow::Result<Vec<String>> {
        let method = Method::named(method)?;
        let arguments = arguments(rest)?;
        if let Some((class @ ("queue" | "exchange"), "declare")) = method.name.split_once('.')
            && let Some((_, Value::Text(_, name))) = arguments.iter().find(|(field, _)| field == class)
        {
            self.declared.push((class, name.clone()));
        }
        let client = self.client(name)?;
        client.method(channel, method, &arguments)?;
        if let Some((_, body)) = arguments.iter().find(|(name, _)| name == "body") {
            let body = match body {
                Value::Text(_, text) => text.clone(),
                other => other.to_string(),
            };
            let body = repeated(&body);
            client.header(channel, &encode_header(body.len() as u64, &arguments)?)?;
            client.body(channel, body.as_bytes(), FRAME_MAX)?;
        }
        if method.answers.is_empty() || is_set(&arguments, "no-wait") {
            return Ok(Vec::new());
        }
        self.read(name, &Until::Answer(channel, method.answers), PATIENCE)
    }

    /// Reads events. What the broker closes is answered as AMQP wants it.
    fn read(&mut self, name: &str, until: &Until<'_>, patience: Duration) -> anyhow::Result<Vec<String>> {
        let deadline = Instant::now() + patience;
        let client = self.clients.get_mut(name).with_context(|| format!("no connection {name}"))?;
        let (mut lines, mut confirmed) = (Vec::new(), BTreeMap::new());
        let first_unconfirmed = self.first_unconfirmed.entry(name.to_owned()).or_insert(1);
        loop {
            let done = match until {
                Until::Events(count) => lines.len() >= *count,
                Until::Confirms(count) => confirmed.len() as u64 >= *count,
                Until::Answer(..) => false,
            };
            if done {
                break;
            }
            let Some(event) = client.next(deadline)? else {
                if patience == PATIENCE {
                    lines.push(format!("{name} nothing comes"));
                }
                break;
            };
            let Event::Method { channel, method, arguments, content } = event else {
                match event {
                    Event::Heartbeat => continue,
                    Event::Octets(octets) => lines.push(format!("{name} octets {}", shown_octets(&octets))),
                    _ => {
                        lines.push(format!("{name} end"));
                        break;
                    }
                }
                continue;
            };
            if matches!(until, Until::Confirms(_)) && matches!(method.name, "basic.ack" | "basic.nack") {
                confirm(method.name, &arguments, first_unconfirmed, &mut confirmed)?;
                continue;
            }
            let selected = if method.name == "connection.start" { start_shown(&arguments) } else { arguments };
            lines.push(format!("{name}{channel} {}{}{content}", method.name, shown(&selected)));
            if let "channel.close" | "connection.close" = method.name {
                client.method(channel, Method::named(&format!("{}-ok", method.name))?, &Vec::new())?;
            }
            if let Until::Answer(on, answers) = until
                && (method.name == "connection.close"
                    || channel == *on && (answers.contains(&method.name) || method.name == "channel.close"))
            {
                break;
            }
        }
        lines.extend(confirmed.iter().map(|(tag, how)| format!("{name} {how} {tag}")));
        Ok(lines)
    }

    /// Connects, goes through the handshake and opens channel 1; tells only what fails.
    fn open(&mut self, rest: &str) -> anyhow::Result<Vec<String>> {
        let (name, options) = rest.split_once(' ').unwrap_or((rest, ""));
        let options = arguments(options)?;
        let option = |wanted: &str, default: &str| {
            let given = options.iter().find(|(name, _)| name == wanted);
            given.map_or_else(|| default.to_owned(), |(_, value)| plain(value))
        };
        let default = "{authentication_failure_close: true, consumer_cancel_notify: true, connection.blocked: true, basic.nack: true, publisher_confirms: true}";
        self.step(&format!("greet {name}"))?;
        let start_ok = [
            (
                "client-properties",
                value::parse(&format!("{{capabilities: {}}}", option("capabilities", default)))?.0,
            ),
            ("mechanism", text("PLAIN")),
            ("response", text(&format!("\0{}\0{}", option("user", "guest"), option("password", "guest")))),
            ("locale", text("en_US")),
        ];
        let start_ok = start_ok.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let method = Method::named("connection.start-ok")?;
        self.client(name)?.method(0, method, &start_ok)?;
        let tune = self.read(name, &Until::Answer(0, method.answers), PATIENCE)?;
        if !tune.last().is_some_and(|line| line.contains("connection.tune")) {
            return Ok(tune);
        }
        let (channel_max, frame_max) = (option("channel-max", "2047"), option("frame-max", "131072"));
        let heartbeat = option("heartbeat", "0");
        self.send(
            name,
            0,
            "connection.tune-ok",
            &format!("channel-max={channel_max} frame-max={frame_max} heartbeat={heartbeat}"),
        )?;
        let open = self.send(name, 0, "connection.open", &format!("virtual-host=\"{}\"", option("vhost", "/")))?;
        if !open.last().is_some_and(|line| line.contains("connection.open-ok")) {
            return Ok(open);
        }
        self.send(name, 1, "channel.open", "").map(|_| Vec::new())
    }

    fn client(&mut self, name: &str) -> anyhow::Result<&mut Client> {
        self.clients.get_mut(name).with_context(|| format!("no connection {name}"))
    }

    /// Hangs up everywhere and deletes what was declared.
    fn clean_up(&mut self) -> anyhow::Result<()> {
        for (_, mut client) in std::mem::take(&mut self.clients) {
            client.method(0, Method::named("connection.close")?, &Vec::new())?;
            // Until the broker hangs up, what was exclusive to the connection may still be there.
            let deadline = Instant::now() + QUIET;
            while !matches!(client.next(deadline), Ok(Some(Event::End) | None) | Err(_)) {}
        }
        self.open("cleaner")?;
        for (class, name) in std::mem::take(&mut self.declared) {
            let closed = self.send("cleaner", 1, &format!("{class}.delete"), &format!("{class}=\"{name}\""))?;
            if closed.iter().any(|line| line.contains(".close")) {
                self.open("cleaner")?;
            }
        }
        self.send("cleaner", 0, "connection.close", "").map(drop)
    }
}

/// Counts the publishes that an ack or a nack confirms.
fn confirm(
    how: &'static str,
    arguments: &Arguments,
    first_unconfirmed: &mut i128,
    confirmed: &mut BTreeMap<i128, &'static str>,
) -> anyhow::Result<()> {
    let Some((_, Value::Integer(_, tag))) = arguments.first() else { bail!("a confirm without a tag") };
    let first = if is_set(arguments, "multiple") { *first_unconfirmed } else { *tag };
    for tag in first..=*tag {
        if is_set(arguments, "multiple") && confirmed.contains_key(&tag) {
            continue;
        }
        ensure!(confirmed.insert(tag, how).is_none(), "publish {tag} is confirmed twice");
    }
    while confirmed.contains_key(first_unconfirmed) {
        *first_unconfirmed += 1;
    }
    Ok(())
}

/// What of `connection.start` is the protocol's and not the product's.
fn start_shown(arguments: &Arguments) -> Arguments {
    let mut shown = arguments.clone();
    for (name, value) in &mut shown {
        match value {
            Value::Table(table) => table.retain(|(name, _)| name == "capabilities"),
            Value::Text(_, mechanisms) if name == "mechanisms" => {
                let mut names: Vec<&str> = mechanisms.split(' ').collect();
                names.sort_unstable();
                *mechanisms = names.join(" ");
            }
            _ => {}
        }
    }
    shown
}

/// The arguments of a step: `name=value`, or a name alone for true.
fn arguments(mut rest: &str) -> anyhow::Result<Arguments> {
    let mut arguments = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(arguments);
        }
        let end = rest.find(['=', ' ']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let Some(after) = after.strip_prefix('=') else {
            arguments.push((name.to_owned(), Value::Bool(true)));
            rest = after;
            continue;
        };
        let value;
        if after.starts_with(['{', '[', '"']) {
            (value, rest) = value::parse(after)?;
        } else {
            let end = after.find(' ').unwrap_or(after.len());
            value = match after[..end].parse() {
                Ok(number) => Value::Integer(b'I', number),
                Err(_) => text(&after[..end]),
            };
            rest = &after[end..];
        }
        arguments.push((name.to_owned(), value));
    }
}

fn text(text: &str) -> Value {
    Value::Text(b'S', text.to_owned())
}

/// A value where a script wants no quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::Text(_, text) => text.clone(),
        other => other.to_string(),
    }
}

/// `x*1000` is a thousand times `x`.
fn repeated(body: &str) -> String {
    match body.rsplit_once('*').and_then(|(text, count)| Some((text, count.parse::<usize>().ok()?))) {
        Some((text, count)) => text.repeat(count),
        None => body.to_owned(),
    }
}

fn hexadecimal(text: &str) -> anyhow::Result<Vec<u8>> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    ensure!(digits.len().is_multiple_of(2), "an odd number of digits");
    let octets = digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16));
    octets.collect::<Result<_, _>>().context("hexadecimal digits are wanted")
}

fn shown_octets(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

//! One publishing connection: when it may send, what it sends, and which confirms it waits for. No I/O.

use std::collections::VecDeque;

use amq_protocol::protocol::{BasicProperties, basic};
use anyhow::{Context, Result, bail};

use crate::{
    body::{STAMP_BYTES, Stamp, padding},
    load::{Load, Route, field_table},
    pace::Pace,
    score::Score,
    wire::{
        BASIC_ACK, BASIC_NACK, BASIC_RETURN, CONNECTION_BLOCKED, CONNECTION_UNBLOCKED, Frame, publish_head,
        read_ack, short_string, write_body,
    },
};

/// A producer encodes until its connection has this many bytes to write: large enough that the system call does not count,
/// small enough to stay in the cache, and that the time of a burst is the time of its messages.
const BURST_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Producer {
    id: u16,
    routes: Vec<Target>,
    /// The route of the next message.
    cursor: usize,
    size: usize,
    padding: Vec<u8>,
    padding_crc: u32,
    frame_max: u32,
    confirms: Option<Confirms>,
    pace: Pace,
    left: u64,
    /// By connection.blocked.
    blocked: bool,
    running: bool,
}

#[derive(Debug)]
struct Target {
    route: usize,
    fan_out: u64,
    /// basic.publish and content header.
    head: Vec<u8>,
}

impl Producer {
    pub(crate) fn new(load: &Load, routes: &[Route], index: usize, frame_max: u32) -> Result<Self> {
        let targets = load.routes_of_producer(index, routes.len()).into_iter();
        let padding = padding(load.size);
        Ok(Self {
            id: u16::try_from(index)?,
            routes: targets.map(|route| Target::new(load, routes, route)).collect::<Result<_>>()?,
            cursor: 0,
            size: load.size,
            padding_crc: crc32fast::hash(&padding),
            padding,
            frame_max,
            confirms: load.confirm_window.map(Confirms::new).transpose()?,
            pace: Pace::new(load.rate, index, load.producers)?,
            left: load.publish_count.unwrap_or(u64::MAX),
            blocked: false,
            running: false,
        })
    }

    /// Starts publishing.
    pub(crate) fn begin(&mut self, now_us: u64) {
        self.pace.begin(now_us);
        self.running = true;
    }

    /// Publishes nothing more.
    pub(crate) fn stop(&mut self) {
        self.running = false;
    }

    /// True when every message it may send is sent.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.left == 0
    }

    /// Messages that are not confirmed yet.
    pub(crate) fn unconfirmed(&self) -> usize {
        self.confirms.as_ref().map_or(0, |confirms| confirms.open)
    }

    /// When it will have something to send, if that depends on time alone; 0 is at once.
    pub(crate) fn wakes_at_us(&self) -> Option<u64> {
        let window_open = self.confirms.as_ref().is_none_or(Confirms::has_room);
        (self.running && !self.blocked && self.left > 0 && window_open).then(|| self.pace.due_us().unwrap_or(0))
    }

    /// Writes what may be sent now, up to a burst.
    pub(crate) fn fill(&mut self, now_us: u64, output: &mut Vec<u8>, score: &mut Score) {
        while output.len() < BURST_BYTES && self.wakes_at_us().is_some() {
            let Some(intended_us) = self.pace.take(now_us) else {
                return;
            };
            self.publish(intended_us, output, score);
            score.first_published_us.get_or_insert(now_us);
            score.last_published_us = now_us;
        }
    }

    fn publish(&mut self, intended_us: u64, output: &mut Vec<u8>, score: &mut Score) {
        let target = &self.routes[self.cursor];
        self.cursor = if self.cursor + 1 == self.routes.len() { 0 } else { self.cursor + 1 };
        let sequence = score.verifier.sent(target.route, self.id, target.fan_out);
        let stamp = Stamp { producer: self.id, sequence, intended_us }.encode(self.padding_crc);
        output.extend_from_slice(&target.head);
        let stamp = if self.size < STAMP_BYTES { &stamp[..self.size] } else { &stamp[..] };
        write_body(output, stamp, &self.padding, self.frame_max);
        if let Some(confirms) = &mut self.confirms {
            confirms.sent(intended_us);
        }
        score.counts.published += 1;
        self.left -= 1;
    }

    pub(crate) fn handle_frame(&mut self, frame: Frame<'_>, now_us: u64, score: &mut Score) -> Result<()> {
        match frame {
            Frame::Method(BASIC_ACK, arguments) => {
                let (tag, multiple) = read_ack(arguments)?;
                self.confirms()?
                    .settle(tag, multiple, |sent_us| score.confirmed(now_us.saturating_sub(sent_us)))?;
            }
            Frame::Method(BASIC_NACK, arguments) => {
                let (tag, multiple) = read_ack(arguments)?;
                self.confirms()?.settle(tag, multiple, |_| score.counts.nacked += 1)?;
            }
            Frame::Method(BASIC_RETURN, _) => score.counts.returned += 1,
            Frame::Method(CONNECTION_BLOCKED, _) => self.blocked = true,
            Frame::Method(CONNECTION_UNBLOCKED, _) => self.blocked = false,
            Frame::Method(id, _) => bail!("a producer was sent method {}.{}", id >> 16, id & 0xffff),
            // The content of a returned message.
            Frame::Header(_) | Frame::Body(_) | Frame::Heartbeat => {}
        }
        Ok(())
    }

    fn confirms(&mut self) -> Result<&mut Confirms> {
        self.confirms.as_mut().context("a confirm without confirm.select")
    }
}

impl Target {
    fn new(load: &Load, routes: &[Route], route: usize) -> Result<Self> {
        let publish = basic::Publish {
            exchange: short_string("the exchange's name", load.exchange.as_deref().unwrap_or_default())?,
            routing_key: short_string("the routing key", &routes[route].routing_key)?,
            mandatory: load.mandatory,
            immediate: false,
        };
        let properties = BasicProperties::default();
        let properties = if load.persistent { properties.with_delivery_mode(2) } else { properties };
        let headers = (!load.headers.is_empty()).then(|| field_table(&load.headers)).transpose()?;
        let properties = headers.into_iter().fold(properties, BasicProperties::with_headers);
        let fan_out = u64::try_from(routes[route].queues.len())?;
        Ok(Self { route, fan_out, head: publish_head(publish, properties, load.size)? })
    }
}

/// The messages of a channel that are not confirmed, in order of their delivery tags.
#[derive(Debug)]
struct Confirms {
    window: usize,
    /// The delivery tag of the first entry.
    first_tag: u64,
    /// When each was meant to be sent; `None` once it is settled.
    sent_us: VecDeque<Option<u64>>,
    /// Entries that are not settled.
    open: usize,
}

impl Confirms {
    fn new(window: u32) -> Result<Self> {
        Ok(Self { window: usize::try_from(window)?, first_tag: 1, sent_us: VecDeque::new(), open: 0 })
    }

    fn has_room(&self) -> bool {
        self.open < self.window
    }

    fn sent(&mut self, intended_us: u64) {
        self.sent_us.push_back(Some(intended_us));
        self.open += 1;
    }

    /// Settles one delivery tag, or all up to it; each is reported once.
    fn settle(&mut self, tag: u64, multiple: bool, mut each: impl FnMut(u64)) -> Result<()> {
        let index = tag.checked_sub(self.first_tag).and_then(|index| usize::try_from(index).ok());
        let index = match index {
            Some(index) if index < self.sent_us.len() => index,
            // All up to it are settled already.
            None if multiple && tag > 0 => return Ok(()),
            _ => bail!("a confirm for delivery tag {tag}, which is not waiting for one"),
        };
        let first = if multiple { 0 } else { index };
        for entry in self.sent_us.range_mut(first..=index) {
            if let Some(sent_us) = entry.take() {
                self.open -= 1;
                each(sent_us);
            } else if !multiple {
                bail!("a second confirm for delivery tag {tag}");
            }
        }
        while self.sent_us.front() == Some(&None) {
            self.sent_us.pop_front();
            self.first_tag += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(confirms: &mut Confirms, tag: u64, multiple: bool) -> Result<Vec<u64>> {
        let mut all = Vec::new();
        confirms.settle(tag, multiple, |sent_us| all.push(sent_us))?;
        Ok(all)
    }

    #[test]
    fn confirms_settle_in_any_order_and_once() {
        let mut confirms = Confirms::new(4).unwrap();
        for intended_us in [10, 20, 30, 40] {
            confirms.sent(intended_us);
        }
        assert!(!confirms.has_room());
        assert_eq!(settled(&mut confirms, 2, false).unwrap(), [20]);
        assert!(settled(&mut confirms, 2, false).is_err());
        assert_eq!(settled(&mut confirms, 3, true).unwrap(), [10, 30]);
        assert_eq!((confirms.open, confirms.first_tag), (1, 4));
        assert!(settled(&mut confirms, 3, true).unwrap().is_empty());
        assert!(settled(&mut confirms, 5, false).is_err());
        assert_eq!(settled(&mut confirms, 4, false).unwrap(), [40]);
        assert_eq!((confirms.open, confirms.first_tag), (0, 5));
    }
}

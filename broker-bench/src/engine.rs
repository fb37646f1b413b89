//! The event loop: one thread, one epoll, all connections. It runs the phases of a load and decides when the run is over.
//!
//! epoll reports changes only (edge-triggered), so each link remembers whether its socket may be read and written. A turn
//! services every link that can do something, once, with bounded work each: no connection starves another.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, Event, EventData, EventFlags},
    fd::OwnedFd,
    io::Errno,
    time::{ClockId, Timespec, clock_gettime},
};

use crate::{
    link::{Link, Role},
    load::Load,
    process::Watch,
    report::{Interval, Observer},
    score::{Counts, Score},
};

const READ_BUFFER_BYTES: usize = 512 * 1024;
const EVENTS: usize = 1024;
const INTERVAL_US: u64 = 1_000_000;
const START_TIMEOUT_US: u64 = 60_000_000;
/// Without any progress for so long after the producers stopped, what is missing counts as lost.
const IDLE_LIMIT_US: u64 = 10_000_000;

/// What the run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Consumers wait for basic.consume-ok.
    Starting {
        until_us: u64,
    },
    Running {
        until_us: Option<u64>,
    },
    /// Producers have stopped; what is on its way arrives.
    Draining {
        until_us: u64,
        progress: Counts,
        idle_since_us: u64,
    },
    Over,
}

#[derive(Debug)]
pub(crate) struct Engine<'a> {
    load: &'a Load,
    epoll: OwnedFd,
    links: Vec<Link>,
    /// Links to service in the next turn, each at most once.
    active: Vec<usize>,
    is_active: Vec<bool>,
    buffer: Vec<u8>,
    phase: Phase,
    pub(crate) score: Score,
    pub(crate) broker: Option<Watch>,
    pub(crate) generator: Watch,
    pub(crate) started_us: u64,
    interval_began_us: u64,
    interval_counts: Counts,
}

/// The machine's monotonic clock, in microseconds.
pub(crate) fn now_us() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    part(time.tv_sec) * 1_000_000 + part(time.tv_nsec) / 1000
}

impl<'a> Engine<'a> {
    pub(crate) fn new(load: &'a Load, links: Vec<Link>, score: Score) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        for (index, link) in links.iter().enumerate() {
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            epoll::add(&epoll, link.stream(), EventData::new_u64(u64::try_from(index)?), flags)?;
        }
        let now_us = now_us();
        Ok(Self {
            load,
            epoll,
            active: (0..links.len()).collect(),
            is_active: vec![true; links.len()],
            links,
            buffer: vec![0; READ_BUFFER_BYTES],
            phase: Phase::Starting { until_us: now_us + START_TIMEOUT_US },
            score,
            broker: None,
            generator: Watch::start(std::process::id())?,
            started_us: now_us,
            interval_began_us: now_us,
            interval_counts: Counts::default(),
        })
    }

    /// Runs the load to its end. An error is the broker's: the connections are no longer usable.
    pub(crate) fn run(&mut self, observer: &mut Observer<'_>) -> Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        while self.phase != Phase::Over {
            self.wait(&mut events)?;
            let turn_us = now_us();
            self.wake_due_producers(turn_us);
            for index in std::mem::take(&mut self.active) {
                self.is_active[index] = false;
                self.service(index)?;
            }
            self.advance(now_us())?;
            self.end_interval(now_us(), observer)?;
        }
        self.close()?;
        self.sample()
    }

    fn wait(&mut self, events: &mut Vec<Event>) -> Result<()> {
        let timeout = self.timeout();
        let timeout =
            Timespec { tv_sec: i64::try_from(timeout.as_secs())?, tv_nsec: i64::from(timeout.subsec_nanos()) };
        events.clear();
        match epoll::wait(&self.epoll, spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e).context("epoll_wait"),
        }
        for event in events.iter() {
            let flags = event.flags;
            let ended = EventFlags::HUP | EventFlags::RDHUP | EventFlags::ERR;
            let index = usize::try_from(event.data.u64())?;
            self.links[index]
                .wake(flags.intersects(EventFlags::IN | ended), flags.intersects(EventFlags::OUT | ended));
            self.activate(index);
        }
        Ok(())
    }

    /// How long to sleep. epoll counts milliseconds, so what is due sooner is waited for awake: an open loop is punctual.
    fn timeout(&self) -> Duration {
        if !self.active.is_empty() {
            return Duration::ZERO;
        }
        let now_us = now_us();
        let tick_us = (self.interval_began_us + INTERVAL_US).saturating_sub(now_us).max(1000);
        let due_us = self.producers_due_us().map_or(u64::MAX, |due_us| due_us.saturating_sub(now_us));
        let until_us = match self.phase {
            Phase::Running { until_us: Some(until_us) } => until_us.saturating_sub(now_us).max(1000),
            _ => u64::MAX,
        };
        Duration::from_millis(tick_us.min(due_us).min(until_us) / 1000)
    }

    /// When the next message of an open loop is due.
    fn producers_due_us(&self) -> Option<u64> {
        self.load.rate?;
        self.producers().filter_map(|(_, link)| runs_at_us(link)).min()
    }

    fn producers(&self) -> impl Iterator<Item = (usize, &Link)> {
        // They come first.
        self.links.iter().enumerate().take(self.load.producers)
    }

    fn wake_due_producers(&mut self, now_us: u64) {
        if self.load.rate.is_none() {
            return;
        }
        for index in 0..self.load.producers {
            if self.links[index].is_runnable(now_us) {
                self.activate(index);
            }
        }
    }

    fn activate(&mut self, index: usize) {
        if !std::mem::replace(&mut self.is_active[index], true) {
            self.active.push(index);
        }
    }

    fn service(&mut self, index: usize) -> Result<()> {
        let link = &mut self.links[index];
        let result = link
            .read(&mut self.buffer, now_us, &mut self.score)
            .and_then(|()| link.write(now_us(), &mut self.score));
        result.with_context(|| match index.checked_sub(self.load.producers) {
            None => format!("producer {index}"),
            Some(consumer) => format!("consumer {consumer}"),
        })?;
        if self.links[index].is_runnable(now_us()) {
            self.activate(index);
        }
        Ok(())
    }

    /// Goes to the next phase if it is time.
    fn advance(&mut self, now_us: u64) -> Result<()> {
        match self.phase {
            Phase::Starting { until_us } => {
                let ready = |link: &Link| !matches!(&link.role, Role::Consumer(consumer) if !consumer.is_ready());
                if self.links.iter().all(ready) {
                    self.begin(now_us)?;
                } else if now_us > until_us {
                    bail!("basic.consume was not answered");
                }
            }
            Phase::Running { until_us } => {
                if until_us.is_some_and(|until_us| now_us >= until_us) || self.is_complete() {
                    self.stop(now_us);
                }
            }
            Phase::Draining { until_us, progress, idle_since_us } => {
                let counts = self.score.counts;
                if self.is_drained() || now_us > until_us.min(idle_since_us + IDLE_LIMIT_US) {
                    self.phase = Phase::Over;
                } else if counts != progress {
                    self.phase = Phase::Draining { until_us, progress: counts, idle_since_us: now_us };
                }
            }
            Phase::Over => {}
        }
        Ok(())
    }

    fn begin(&mut self, now_us: u64) -> Result<()> {
        self.broker = self.load.pid.map(Watch::start).transpose()?;
        self.generator = Watch::start(std::process::id())?;
        (self.started_us, self.interval_began_us) = (now_us, now_us);
        let micros = |seconds| u64::try_from(Duration::from_secs_f64(seconds).as_micros()).unwrap_or(u64::MAX);
        self.phase =
            Phase::Running { until_us: self.load.seconds.map(|seconds| now_us.saturating_add(micros(seconds))) };
        for index in 0..self.links.len() {
            if let Role::Producer(producer) = &mut self.links[index].role {
                producer.begin(now_us);
            }
            self.activate(index);
        }
        Ok(())
    }

    fn stop(&mut self, now_us: u64) {
        for link in &mut self.links {
            if let Role::Producer(producer) = &mut link.role {
                producer.stop();
            }
        }
        let drain_us =
            u64::try_from(Duration::from_secs_f64(self.load.drain_seconds).as_micros()).unwrap_or(u64::MAX);
        let progress = self.score.counts;
        let until_us = now_us.saturating_add(drain_us);
        self.phase = Phase::Draining { until_us, progress, idle_since_us: now_us };
    }

    /// Whether all counts that the workload sets are reached.
    fn is_complete(&self) -> bool {
        let counts =
            [(self.load.publish_count, self.load.producers), (self.load.consume_count, self.load.consumers)];
        if counts.iter().all(|(count, links)| count.is_none() || *links == 0) {
            return false;
        }
        self.links.iter().all(|link| match &link.role {
            Role::Producer(producer) => self.load.publish_count.is_none() || producer.is_exhausted(),
            Role::Consumer(consumer) => self.load.consume_count.is_none() || consumer.is_finished(),
        })
    }

    /// Whether everything that was sent has arrived, as far as it is to arrive.
    fn is_drained(&self) -> bool {
        let settled = self.links.iter().all(|link| match &link.role {
            Role::Producer(producer) => link.is_flushed() && producer.unconfirmed() == 0,
            Role::Consumer(_) => true,
        });
        settled && (self.load.consumers == 0 || self.load.consume_count.is_some() || self.unaccounted() == 0)
    }

    /// Messages that are missing, less those that the broker said it would not deliver.
    pub(crate) fn unaccounted(&self) -> u64 {
        let counts = self.score.counts;
        self.score.verifier.missing().saturating_sub(counts.nacked + counts.returned)
    }

    /// Messages that are not confirmed.
    pub(crate) fn unconfirmed(&self) -> usize {
        let unconfirmed = |(_, link): (usize, &Link)| match &link.role {
            Role::Producer(producer) => producer.unconfirmed(),
            Role::Consumer(_) => 0,
        };
        self.producers().map(unconfirmed).sum()
    }

    fn end_interval(&mut self, now_us: u64, observer: &mut Observer<'_>) -> Result<()> {
        if now_us < self.interval_began_us + INTERVAL_US && self.phase != Phase::Over
            || matches!(self.phase, Phase::Starting { .. })
        {
            return Ok(());
        }
        let counts = self.score.counts;
        let confirm_latency_us = self.score.confirm_latency.end_interval()?;
        let deliver_latency_us = self.score.deliver_latency.end_interval()?;
        if let Some(metrics) = &self.score.metrics {
            metrics.update(&counts);
        }
        self.sample()?;
        let seconds = Duration::from_micros(now_us - self.interval_began_us).as_secs_f64();
        observer(&Interval {
            elapsed_seconds: Duration::from_micros(now_us - self.started_us).as_secs_f64(),
            published_per_second: per_second(counts.published - self.interval_counts.published, seconds),
            confirmed_per_second: per_second(counts.confirmed - self.interval_counts.confirmed, seconds),
            delivered_per_second: per_second(counts.delivered - self.interval_counts.delivered, seconds),
            confirm_latency_us,
            deliver_latency_us,
        });
        (self.interval_began_us, self.interval_counts) = (now_us, counts);
        Ok(())
    }

    fn sample(&mut self) -> Result<()> {
        self.generator.sample()?;
        self.broker.as_mut().map_or(Ok(()), Watch::sample)
    }

    /// Closes all connections, so that the broker has handled everything that was sent to it.
    fn close(&mut self) -> Result<()> {
        self.links.iter_mut().try_for_each(Link::begin_close)?;
        self.links.iter_mut().try_for_each(|link| link.end_close(&mut self.buffer))
    }
}

/// Messages a second.
#[expect(clippy::cast_precision_loss, reason = "a count of messages is far below 2^52")]
pub(crate) fn per_second(messages: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { messages as f64 / seconds } else { 0.0 }
}

/// When a producer whose socket takes bytes has something to send.
fn runs_at_us(link: &Link) -> Option<u64> {
    match &link.role {
        Role::Producer(producer) if link.is_flushed() => producer.wakes_at_us(),
        _ => None,
    }
}

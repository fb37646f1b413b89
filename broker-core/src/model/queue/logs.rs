//! The two logs of a partition, as its queues use them.

use broker_store::{Log, LogKind, Position};

use super::backlog::Entry;
use crate::model::message::{Message, Stamp};

/// The two logs of a partition.
#[derive(Debug)]
pub struct Logs {
    /// Persistent messages of durable queues.
    pub durable: Log,
    /// Everything else; lost at a restart.
    pub volatile: Log,
}

impl Logs {
    /// The log of this kind.
    pub fn of(&mut self, kind: LogKind) -> &mut Log {
        match kind {
            LogKind::Durable => &mut self.durable,
            LogKind::Volatile => &mut self.volatile,
        }
    }

    /// The message that an entry stands for.
    pub(super) fn read(&self, entry: &Entry) -> Read<'_> {
        self.read_at(entry.log(), entry.position)
    }

    /// When the message came that an entry stands for, if its record is in memory.
    pub(super) fn stamp_of(&self, entry: &Entry) -> Option<Stamp> {
        let log = match entry.log() {
            LogKind::Durable => &self.durable,
            LogKind::Volatile => &self.volatile,
        };
        Some(Message::from_stored(log.glance(entry.position)?)?.stamp)
    }

    /// The message whose record is at `position` in a log.
    pub(crate) fn read_at(&self, log: LogKind, position: Position) -> Read<'_> {
        let log = match log {
            LogKind::Durable => &self.durable,
            LogKind::Volatile => &self.volatile,
        };
        match log.read(position) {
            Ok(Some(payload)) => Message::from_stored(payload).map_or(Read::Lost, Read::Message),
            Ok(None) => Read::Elsewhere,
            Err(_) => Read::Lost,
        }
    }
}

/// What there is of a message.
pub(crate) enum Read<'a> {
    /// Its bytes.
    Message(Message<'a>),
    /// Its bytes are on disk only.
    Elsewhere,
    /// Its bytes are damaged: the log has reported it.
    Lost,
}

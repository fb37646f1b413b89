//! `basic.get`.

use broker_store::LogKind;

use super::Queue;
use super::consumer::ChannelAddress;
use super::logs::{Logs, Read};
use super::retry::Return;
use super::special::DeathReason;
use super::unacked::{Held, Holder};
use crate::ids::DeliveryToken;
use crate::model::message::Message;

/// A message taken by `basic.get`.
#[derive(Debug)]
pub struct Got<'a> {
    /// To settle it with; absent for `no_ack`.
    pub token: Option<DeliveryToken>,
    /// It was delivered before.
    pub redelivered: bool,
    /// Ready messages left behind.
    pub message_count: u64,
    /// The message.
    pub message: Message<'a>,
}

/// How `basic.get` went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Get {
    /// The queue has no ready message.
    Empty,
    /// Its oldest message is not in memory: to be asked again when the log has paged something in.
    PageIn(LogKind),
    /// The message was shown to the caller's closure.
    Done,
}

impl Queue {
    /// Takes the oldest ready message for `basic.get` and shows it to `reply`. Prefetch does not count.
    pub fn get(
        &mut self,
        logs: &mut Logs,
        address: ChannelAddress,
        no_ack: bool,
        now_ms: u64,
        reply: impl FnOnce(Got<'_>),
    ) -> Get {
        self.touch();
        loop {
            let entry = match self.load_head(logs) {
                Ok(Some(entry)) => entry,
                Ok(None) => return Get::Empty,
                Err(kind) => return Get::PageIn(kind),
            };
            let message = match logs.read(&entry) {
                Read::Message(message) => message,
                Read::Elsewhere => {
                    logs.of(entry.log()).page_in(entry.position);
                    return Get::PageIn(entry.log());
                }
                Read::Lost => {
                    self.lose(logs, entry);
                    continue;
                }
            };
            if self.may_expire && self.expiry_ms(&message).is_some_and(|expiry| expiry <= now_ms) {
                self.pop(entry);
                self.bury(logs, entry, DeathReason::Expired);
                continue;
            }
            self.pop(entry);
            let message = if self.may_expire {
                // What expired behind it is not counted (RabbitMQ). What is left undone is done when the queue is pumped.
                let _ = self.drop_expired(logs, now_ms);
                match logs.read(&entry) {
                    Read::Message(message) => message,
                    Read::Elsewhere | Read::Lost => {
                        self.come_back(logs, entry, Return::Released);
                        logs.of(entry.log()).page_in(entry.position);
                        return Get::PageIn(entry.log());
                    }
                }
            } else {
                message
            };
            self.lane_mut(entry.lane).since_ms = message.stamp.published_ms();
            let holder = Holder { address, consumer: None };
            let token = (!no_ack).then(|| self.hold(Held { entry, holder }));
            let counted = self.counted_properties(entry, message.properties);
            let message = match &counted {
                Some(properties) => Message { properties, ..message },
                None => message,
            };
            reply(Got { token, redelivered: entry.redelivered(), message_count: self.message_count(), message });
            self.after_delivery(logs, entry, no_ack);
            return Get::Done;
        }
    }
}

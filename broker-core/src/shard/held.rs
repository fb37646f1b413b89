//! What administrators ask about messages that an exchange holds back, on the shard of its partition.

use amq_protocol::protocol::basic::parse_properties;
use broker_store::{LogKind, PartitionId, QueueId};

use super::Shard;
use super::admin::{WaitingFor, channel_of};
use crate::admin::{
    AdminError, AdminReply, CancelDelayed, DelayedMessage, DelayedPage, ListDelayed, MAX_DELAYED_PAGE, Reply,
};
use crate::error::ChannelError;
use crate::ids::RequestId;
use crate::model::exchange::delay::{Held, HeldId, Place};
use crate::model::permission::Access;
use crate::model::vhost::Resource;
use crate::session::Sessions;

/// Messages that are looked at in one turn.
const SLICE: usize = 64;

/// Turns in which a page of the log may fail to come before the request is given up.
const MAX_WAITS: u32 = 4000;

/// A request that reads what an exchange holds back.
#[derive(Debug)]
pub(super) struct Browsing {
    store: QueueId,
    after: Option<Place>,
    left: usize,
    page: DelayedPage,
    /// The message that is to be forgotten, if one is.
    cancel: Option<HeldId>,
    waits: u32,
}

impl Shard {
    /// The store of an exchange; nothing if it holds nothing back.
    fn store_for(
        &self,
        (user, vhost): (&str, &str),
        exchange: &str,
        access: Access,
    ) -> Result<Option<QueueId>, AdminError> {
        let (user, vhost) = self.caller(user, vhost)?;
        let resource = Resource::exchange(&vhost, exchange);
        let amqp = |error: ChannelError| AdminError::Amqp(error.into());
        let found = self.topology.find_exchange(&vhost, exchange);
        let (_, definition) = found.ok_or_else(|| amqp(resource.not_found()))?;
        self.topology.permissions().check(&user, access, resource).map_err(amqp)?;
        Ok(definition.store.map(QueueId).filter(|store| self.is_store(*store)))
    }

    /// Begins to list messages.
    pub(super) fn list_delayed(&mut self, list: ListDelayed, reply: Reply) {
        let ListDelayed { user, vhost, exchange, after, count } = list;
        let outcome = self.store_for((&user, &vhost), &exchange, Access::Read).and_then(|store| {
            let after = after.map(|place| place.parse::<Place>()).transpose();
            let after = after.map_err(|()| AdminError::BadRequest("after is no place in the list".to_owned()))?;
            Ok((store, after))
        });
        // The asker may have gone.
        match outcome {
            Err(error) => drop(reply.send(Err(error))),
            Ok((None, _)) => drop(reply.send(Ok(AdminReply::Delayed(DelayedPage::default())))),
            Ok((Some(store), after)) => {
                let left = count.min(MAX_DELAYED_PAGE);
                let page = DelayedPage::default();
                self.browse(Browsing { store, after, left, page, cancel: None, waits: 0 }, reply);
            }
        }
    }

    /// Has one message or all forgotten.
    pub(super) fn cancel_delayed(&mut self, cancel: CancelDelayed, reply: Reply) {
        let CancelDelayed { user, vhost, exchange, id } = cancel;
        let none = || AdminError::NotFound("Not Found".to_owned());
        let outcome = self.store_for((&user, &vhost), &exchange, Access::Configure).and_then(|store| {
            let id = id.map(|id| id.parse::<HeldId>().map_err(|()| none())).transpose()?;
            Ok((store, id))
        });
        // The asker may have gone.
        match outcome {
            Err(error) => drop(reply.send(Err(error))),
            Ok((None, Some(_))) => drop(reply.send(Err(none()))),
            Ok((None, None)) => drop(reply.send(Ok(AdminReply::Cancelled(0)))),
            Ok((Some(store), Some(id))) => {
                let page = DelayedPage::default();
                self.browse(Browsing { store, after: None, left: 0, page, cancel: Some(id), waits: 0 }, reply);
            }
            Ok((Some(store), None)) => {
                let (machine, partition) = self.held_back.hosted_mut(store).expect("it was found to be here");
                let logs =
                    &mut self.partitions.get_mut(&partition).expect("a hosted store's partition is here").logs;
                let count = machine.cancel_all(logs);
                let request = self.desk.open(reply, WaitingFor::Synced(AdminReply::Cancelled(count)));
                self.desk.go_on(request);
                self.answer_when_recorded(request, partition);
            }
        }
    }

    fn browse(&mut self, browsing: Browsing, reply: Reply) {
        let request = self.desk.open(reply, WaitingFor::Held(Some(Box::new(browsing))));
        self.desk.go_on(request);
    }

    /// The request is answered when what was acked so far is on disk.
    pub(super) fn answer_when_recorded(&mut self, request: RequestId, partition: PartitionId) {
        let me = self.id;
        let partition = self.partitions.get_mut(&partition).expect("the caller has found it here");
        // Without room for the acks they are recorded when there is some: then the answer is early.
        let lsn = partition.logs.durable.record_acks().unwrap_or_else(|| partition.logs.durable.durable());
        partition.confirms.wait_behind(lsn, me, channel_of(request), 1);
    }

    /// Reads some more of what an exchange holds back.
    pub(super) fn continue_browsing(&mut self, sessions: &mut impl Sessions, request: RequestId) {
        let Some(WaitingFor::Held(place)) = self.desk.waits_for(request) else {
            return;
        };
        let Some(mut browsing) = place.take() else { return };
        let store = browsing.store;
        let Some((machine, partition)) = self.held_back.hosted_mut(store) else {
            let error = AdminError::NotFound("Not Found".to_owned());
            return self.finish(sessions, request, Err(error));
        };
        let logs = &mut self.partitions.get_mut(&partition).expect("a hosted store's partition is here").logs;
        let outcome = match browsing.cancel {
            Some(id) => machine.cancel(logs, id).map(|found| found.then_some(AdminReply::Cancelled(1))),
            None => read_slice(&mut browsing, |browsing, after, max| {
                machine.browse(logs, after, max, |held| browsing.page.messages.push(delayed_message(&held)))
            })
            .map(|ended| {
                browsing.page.total = machine.len();
                ended.then(|| AdminReply::Delayed(std::mem::take(&mut browsing.page)))
            }),
        };
        match outcome {
            Ok(Some(reply)) if browsing.cancel.is_some() => {
                if let Some(waiting) = self.desk.waits_for(request) {
                    *waiting = WaitingFor::Synced(reply);
                }
                return self.answer_when_recorded(request, partition);
            }
            Ok(Some(reply)) => return self.finish(sessions, request, Ok(reply)),
            Ok(None) if browsing.cancel.is_some() => {
                let error = AdminError::NotFound("Not Found".to_owned());
                return self.finish(sessions, request, Err(error));
            }
            Ok(None) => browsing.waits = 0,
            Err(_) => browsing.waits += 1,
        }
        if browsing.waits > MAX_WAITS {
            let error = AdminError::Unavailable("the log cannot be read".to_owned());
            return self.finish(sessions, request, Err(error));
        }
        if let Some(WaitingFor::Held(place)) = self.desk.waits_for(request) {
            *place = Some(browsing);
            self.desk.go_on(request);
        }
    }
}

/// Reads at most a slice of the page. Returns whether the page is complete.
fn read_slice(
    browsing: &mut Browsing,
    read: impl FnOnce(&mut Browsing, &mut Option<Place>, usize) -> Result<usize, LogKind>,
) -> Result<bool, LogKind> {
    let before = browsing.page.messages.len();
    let max = browsing.left.min(SLICE);
    let mut after = browsing.after;
    let outcome = read(browsing, &mut after, max);
    browsing.after = after;
    browsing.left = browsing.left.saturating_sub(browsing.page.messages.len() - before);
    let shown = outcome?;
    let last = shown < max;
    if browsing.left == 0 && !last {
        browsing.page.next = browsing.after.map(|place| place.to_string());
    }
    Ok(last || browsing.left == 0)
}

fn delayed_message(held: &Held<'_>) -> DelayedMessage {
    let message = &held.message;
    DelayedMessage {
        id: held.id.to_string(),
        due_ms: held.id.due_ms,
        published_ms: message.stamp.published_ms(),
        exchange: message.exchange.to_owned(),
        routing_key: message.routing_key.to_owned(),
        persistent: held.durable,
        properties: parse_properties(message.properties).map(|(_, properties)| properties).unwrap_or_default(),
        body_bytes: message.body.len(),
    }
}

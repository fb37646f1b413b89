//! The registrar: one shard that orders all changes of the topology.
//!
//! A request is checked against the registrar's own copy, which is ahead of everybody's. Its changes are applied there at once and
//! collected in a *round* with the answers that depend on them. One round at a time is committed to the catalog, which makes its durable
//! changes durable together; then the round is sent to the other shards, and when all have applied it the answers go out.
//! So a client that has its answer sees the change from any shard, and after a crash.

use std::collections::VecDeque;
use std::sync::Arc;

use broker_store::Change as CatalogChange;
use rustc_hash::FxHashSet;

use super::admin::ADMIN_CONNECTION;
use super::catalog::{self, QueueIds};
use super::mailbox::{Answer, Op, Question, ReplyTo};
use super::plan::{self, Plan};
use super::topology::Change;
use super::{Ask, Shard};
use crate::admin::{Definition, DefinitionKey};
use crate::error::ConnectionCode;
use crate::ids::{ChannelKey, ConnectionKey, QueueId, ShardId};
use crate::model::queue::consumer::ChannelAddress;
use crate::session::{Command, Sessions, TopologyChange};

/// The shard that is the registrar.
pub(super) const REGISTRAR: ShardId = ShardId(0);

/// Names a round. Rounds are applied in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Round(pub u64);

/// Something that the registrar is to do.
#[derive(Clone, Debug)]
pub(super) struct TopologyRequest {
    /// Whom to answer, if anybody.
    pub reply_to: Option<ReplyTo>,
    /// What to do.
    pub action: Action,
}

/// What the registrar can be asked to do.
#[derive(Clone, Debug)]
pub(super) enum Action {
    /// A client's command.
    Command(Box<ClientCommand>),
    /// The owner of a queue has ended it.
    RemoveQueue {
        /// The queue.
        queue: QueueId,
        /// What is told when it is gone everywhere.
        answer: Answer,
    },
    /// A connection has ended: its exclusive queues go.
    CloseConnection {
        /// The shard of the connection.
        shard: ShardId,
        /// The connection.
        connection: ConnectionKey,
    },
}

/// A command as a channel submitted it.
#[derive(Clone, Debug)]
pub(super) struct ClientCommand {
    /// The channel.
    pub channel: ChannelKey,
    /// Its user.
    pub user: Arc<str>,
    /// Its virtual host.
    pub vhost: Arc<str>,
    /// The command.
    pub command: Command,
}

/// What has been decided and not been told yet.
#[derive(Debug, Default)]
struct Pending {
    changes: Vec<Change>,
    rows: Vec<CatalogChange>,
    answers: Vec<(ReplyTo, Answer)>,
}

#[derive(Debug)]
struct Applying {
    round: Round,
    /// Shards that have not applied it yet.
    missing: usize,
    answers: Vec<(ReplyTo, Answer)>,
}

/// The registrar's own state.
#[derive(Debug, Default)]
pub(super) struct Registrar {
    staged: Pending,
    committing: Option<Pending>,
    applying: VecDeque<Applying>,
    last_round: u64,
    /// Channels whose last command failed: what they sent after it is not carried out.
    failed: FxHashSet<ChannelAddress>,
    pub(super) queue_ids: QueueIds,
    /// The catalog failed; the topology cannot be changed any more.
    broken: Option<String>,
}

impl Registrar {
    pub(super) fn forget_channel(&mut self, address: ChannelAddress) {
        self.failed.remove(&address);
    }

    /// True if every change has been committed and sent out.
    pub(super) fn is_idle(&self) -> bool {
        let Pending { changes, answers, .. } = &self.staged;
        changes.is_empty() && answers.is_empty() && self.committing.is_none()
    }

    /// True if every change has been applied everywhere.
    pub(super) fn is_settled(&self) -> bool {
        self.applying.is_empty()
    }

    /// Starts the next commit, if there is something to tell and none is under way. Returns the rows for the catalog; none
    /// are needed for a round without durable changes, but [`Shard::committed`] must be called all the same.
    pub(super) fn poll_commit(&mut self) -> Option<Vec<CatalogChange>> {
        if self.committing.is_some() || (self.staged.answers.is_empty() && self.staged.changes.is_empty()) {
            return None;
        }
        let mut round = std::mem::take(&mut self.staged);
        let rows = std::mem::take(&mut round.rows);
        self.committing = Some(round);
        Some(rows)
    }
}

impl Shard {
    /// Sends a request to the registrar, or is the registrar and carries it out.
    pub(super) fn request(&mut self, sessions: &mut impl Sessions, request: TopologyRequest) {
        if self.id == REGISTRAR {
            self.execute(sessions, request);
        } else {
            self.peers.batch(REGISTRAR).push(Op::Request(Box::new(request)));
        }
    }

    pub(super) fn execute(&mut self, sessions: &mut impl Sessions, request: TopologyRequest) {
        if let (Some(reason), Some(reply_to)) = (&self.registrar.broken, request.reply_to) {
            let error = ConnectionCode::InternalError.error(format!("the catalog has failed: {reason}"));
            return self.answer(sessions, reply_to, Answer::Failed(error.into()));
        }
        match request.action {
            Action::Command(command) => {
                let Some(reply_to) = request.reply_to else { return };
                self.execute_command(sessions, reply_to, *command);
            }
            Action::RemoveQueue { queue, answer } => {
                if let (Some(reply_to), Answer::QueueDeleteOk { .. }) = (request.reply_to, &answer)
                    && let Some(row) = self.topology.queue(queue)
                {
                    let (vhost, queue) = (Arc::clone(&row.vhost), row.name.to_string());
                    let command = Command::QueueDelete { queue, if_unused: false, if_empty: false };
                    self.record(sessions, reply_to, || TopologyChange { user: None, vhost, command });
                }
                self.remove_queues(sessions, &[queue]);
                self.answer_after_round(request.reply_to, answer);
            }
            Action::CloseConnection { shard, connection } => {
                let queues = self.topology.exclusive_queues(shard, connection);
                self.remove_queues(sessions, &queues);
                self.answer_after_round(request.reply_to, Answer::QueueDeleteOk { message_count: 0 });
            }
        }
    }

    fn execute_command(&mut self, sessions: &mut impl Sessions, reply_to: ReplyTo, command: ClientCommand) {
        let address = ChannelAddress { shard: reply_to.shard, channel: command.channel };
        if self.registrar.failed.contains(&address) {
            let error = ConnectionCode::ChannelError.error("the channel is closed");
            return self.answer_after_round(Some(reply_to), Answer::Failed(error.into()));
        }
        let who = plan::Who {
            user: &command.user,
            vhost: &command.vhost,
            shard: reply_to.shard,
            connection: reply_to.connection,
        };
        match plan::plan(&self.topology, self.placement, who, &command.command) {
            Err(error) => {
                self.registrar.failed.insert(address);
                self.answer_after_round(Some(reply_to), Answer::Failed(error));
            }
            Ok(Plan::Done(answer)) => self.answer_after_round(Some(reply_to), answer),
            Ok(Plan::Counts { queue, name }) => {
                let ask = Ask {
                    reply_to,
                    channel: command.channel,
                    queue: queue.queue,
                    vhost: Arc::clone(&command.vhost),
                    name,
                    question: Question::Counts { declare: Some(Box::new(command)) },
                };
                self.ask(sessions, queue.shard, ask);
            }
            Ok(Plan::Change { changes, answer }) => {
                for change in changes {
                    self.change(sessions, change);
                }
                let ClientCommand { user, vhost, command, .. } = command;
                self.record(sessions, reply_to, || TopologyChange { user: Some(user), vhost, command });
                self.answer_after_round(Some(reply_to), answer);
            }
        }
    }

    /// Tells a client's connection before it has its answer what its command has changed, if that is recorded there. What
    /// administrators change is recorded elsewhere.
    fn record(&mut self, sessions: &impl Sessions, to: ReplyTo, change: impl FnOnce() -> TopologyChange) {
        if to.connection != ADMIN_CONNECTION && sessions.records_changes() {
            self.answer_after_round(Some(to), Answer::Changed(Box::new(change())));
        }
    }

    fn remove_queues(&mut self, sessions: &mut impl Sessions, queues: &[QueueId]) {
        for &queue in queues {
            if self.topology.queue(queue).is_some() {
                self.change(sessions, Change::QueueDeleted { queue });
            }
        }
    }

    /// Applies a change here and stages it for the catalog and the other shards.
    pub(super) fn change(&mut self, sessions: &mut impl Sessions, mut change: Change) {
        if let Change::QueueDeclared { definition, partition, .. } = &mut change {
            definition.id = self.registrar.queue_ids.next(definition.durable, &mut self.registrar.staged.rows);
            *partition = self.placement.partition_of(&definition.vhost, &definition.name);
        }
        if let Change::ExchangeDeclared { vhost, definition } = &mut change
            && (definition.has_store() || self.topology.is_delayed_by_policy(vhost, definition))
        {
            let store = self.registrar.queue_ids.next(definition.durable, &mut self.registrar.staged.rows);
            definition.store = Some(store);
        }
        let durable = catalog::is_durable(&self.topology, &change);
        let applied = self.apply(sessions, &change);
        catalog::write_rows(&change, &applied, durable, &mut self.registrar.staged.rows);
        let policy_of = policy_of(&change).map(Arc::from);
        self.registrar.staged.changes.push(change);
        if let Some(vhost) = policy_of {
            self.provide_stores(sessions, &vhost);
        }
    }

    /// Gives a store to each exchange that a policy wants to hold messages back.
    fn provide_stores(&mut self, sessions: &mut impl Sessions, vhost: &Arc<str>) {
        let without = self.topology.vhost(vhost).into_iter().flat_map(|(_, vhost)| vhost.routing.without_store());
        let without: Vec<(Arc<str>, bool)> =
            without.map(|definition| (definition.name.as_str().into(), definition.durable)).collect();
        for (name, durable) in without {
            let store = self.registrar.queue_ids.next(durable, &mut self.registrar.staged.rows);
            self.change(sessions, Change::ExchangeStored { vhost: Arc::clone(vhost), name, store });
        }
    }

    pub(super) fn answer_after_round(&mut self, reply_to: Option<ReplyTo>, answer: Answer) {
        if let Some(reply_to) = reply_to {
            self.registrar.staged.answers.push((reply_to, answer));
        }
    }

    /// The rows of the last [`poll_commit`](Registrar::poll_commit) are durable, or could not be made so.
    pub(super) fn committed(&mut self, sessions: &mut impl Sessions, result: Result<(), String>) {
        let Some(mut round) = self.registrar.committing.take() else {
            return;
        };
        if let Err(reason) = result {
            round.answers.retain(|(_, answer)| !matches!(answer, Answer::Changed(_)));
            for (_, answer) in &mut round.answers {
                let error = ConnectionCode::InternalError.error(format!("the catalog has failed: {reason}"));
                *answer = Answer::Failed(error.into());
            }
            self.registrar.broken = Some(reason);
        }
        let others = usize::from(self.placement.shards()) - 1;
        let mut missing = 0;
        self.registrar.last_round += 1;
        let id = Round(self.registrar.last_round);
        if others > 0 && !round.changes.is_empty() {
            missing = others;
            let changes: Arc<[Change]> = round.changes.into();
            for shard in (0..self.placement.shards()).map(ShardId).filter(|shard| *shard != REGISTRAR) {
                self.peers.batch(shard).push(Op::Apply { round: id, changes: Arc::clone(&changes) });
            }
        }
        self.registrar.applying.push_back(Applying { round: id, missing, answers: round.answers });
        self.tell_finished(sessions);
    }

    /// A shard has applied a round.
    pub(super) fn applied(&mut self, sessions: &mut impl Sessions, round: Round) {
        if let Some(applying) = self.registrar.applying.iter_mut().find(|applying| applying.round == round) {
            applying.missing -= 1;
        }
        self.tell_finished(sessions);
    }

    fn tell_finished(&mut self, sessions: &mut impl Sessions) {
        while self.registrar.applying.front().is_some_and(|applying| applying.missing == 0) {
            let Some(finished) = self.registrar.applying.pop_front() else {
                return;
            };
            for (reply_to, answer) in finished.answers {
                self.answer(sessions, reply_to, answer);
            }
        }
    }
}

/// The virtual host whose policies a change concerns.
fn policy_of(change: &Change) -> Option<&str> {
    match change {
        Change::Put(Definition::Policy(policy)) => Some(&policy.vhost),
        Change::Delete(DefinitionKey::Policy { vhost, .. }) => Some(vhost),
        _ => None,
    }
}

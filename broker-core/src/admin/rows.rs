//! What listings are made of. Names are shared with the shard's own tables, so a row costs no copy of them.

use std::net::SocketAddr;
use std::sync::Arc;

use amq_protocol::types::FieldTable;

use crate::ids::{ChannelKey, ConnectionKey, ConsumerId, PartitionId, QueueId, ShardId};
use crate::model::exchange::ExchangeDefinition;
use crate::model::policy::EffectivePolicy;
use crate::model::queue::consumer::Activity;
use crate::model::queue::settings::QueueType;

/// A connection, whichever shard it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionAddress {
    /// The shard of the socket.
    pub shard: ShardId,
    /// The connection there.
    pub connection: ConnectionKey,
}

/// An exchange.
#[derive(Clone, Debug)]
pub struct ExchangeInfo {
    /// Its virtual host.
    pub vhost: Arc<str>,
    /// What its declarer said.
    pub definition: Arc<ExchangeDefinition>,
    /// What policies say.
    pub policy: Option<Arc<EffectivePolicy>>,
}

/// What an exchange counts since it was made or the broker started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExchangeCounters {
    /// Messages that were published to it.
    pub publish_in: u64,
    /// Copies of them that went to queues; what other exchanges route further counts here.
    pub publish_out: u64,
}

/// What an exchange has counted on one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeCount {
    /// Its virtual host.
    pub vhost: Arc<str>,
    /// Its name.
    pub exchange: Arc<str>,
    /// What it has counted for the publishers of the shard.
    pub counters: ExchangeCounters,
}

/// What a queue counts since it was made or the broker started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounters {
    /// Messages that came in.
    pub publish: u64,
    /// Messages delivered to consumers that acknowledge.
    pub deliver: u64,
    /// Messages delivered to consumers that do not.
    pub deliver_no_ack: u64,
    /// Messages taken by `basic.get`, to be acknowledged.
    pub get: u64,
    /// Messages taken by `basic.get` without acknowledgement.
    pub get_no_ack: u64,
    /// `basic.get`s that found nothing.
    pub get_empty: u64,
    /// Acknowledgements.
    pub ack: u64,
    /// Deliveries and gets of messages that were delivered before.
    pub redeliver: u64,
}

impl QueueCounters {
    /// Adds the counters of another queue.
    pub fn add(&mut self, other: &Self) {
        self.publish += other.publish;
        self.deliver += other.deliver;
        self.deliver_no_ack += other.deliver_no_ack;
        self.get += other.get;
        self.get_no_ack += other.get_no_ack;
        self.get_empty += other.get_empty;
        self.ack += other.ack;
        self.redeliver += other.redeliver;
    }
}

/// A look at the numbers of a queue that has changed since the look before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSample {
    /// The queue; see [`QueueInfo::id`].
    pub queue: QueueId,
    /// What it has counted.
    pub counters: QueueCounters,
    /// Messages ready to be delivered.
    pub messages_ready: u64,
    /// Messages delivered and not settled.
    pub messages_unacknowledged: u64,
}

impl QueueSample {
    /// Another number when the sample is another one: counters go up only, so their sum tells all of them but the lengths.
    #[must_use]
    pub(crate) fn fingerprint(&self) -> u64 {
        let QueueCounters { publish, deliver, deliver_no_ack, get, get_no_ack, get_empty, ack, redeliver, .. } =
            self.counters;
        let counted = publish + deliver + deliver_no_ack + get + get_no_ack + get_empty + ack + redeliver;
        let lengths = self.messages_ready.rotate_left(42) ^ self.messages_unacknowledged.rotate_left(21);
        counted.wrapping_add(lengths)
    }
}

/// What a queue is called, and which shard runs it.
#[derive(Clone, Debug)]
pub struct QueueName {
    /// The queue; see [`QueueInfo::id`].
    pub id: QueueId,
    /// Its virtual host.
    pub vhost: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The shard that runs it.
    pub shard: ShardId,
}

/// A queue, as the shard that runs it sees it.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not states")]
pub struct QueueInfo {
    /// Names it; a queue that is made anew with the same name has another.
    pub id: QueueId,
    /// Its type.
    pub kind: QueueType,
    /// Its virtual host.
    pub vhost: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// It survives a restart.
    pub durable: bool,
    /// It goes when its last consumer has gone.
    pub auto_delete: bool,
    /// It belongs to one connection.
    pub exclusive: bool,
    /// That connection.
    pub owner: Option<ConnectionAddress>,
    /// The arguments of its declare.
    pub arguments: FieldTable,
    /// What policies say.
    pub policy: Option<Arc<EffectivePolicy>>,
    /// The shard that runs it.
    pub shard: ShardId,
    /// Where it is stored.
    pub partition: PartitionId,
    /// It is being deleted.
    pub deleting: bool,
    /// It delivers nothing to consumers.
    pub paused: bool,
    /// Messages ready to be delivered.
    pub messages_ready: u64,
    /// Messages delivered and not settled.
    pub messages_unacknowledged: u64,
    /// When its oldest ready message was published, in milliseconds since the Unix epoch. Where that message has to be read from
    /// disk first, the time of the one before it or, after a restart, of the start. None for streams.
    pub oldest_ms: Option<u64>,
    /// Bytes of their bodies; nobody counts those of a stream.
    pub message_bytes: Option<MessageBytes>,
    /// Its consumers.
    pub consumers: u64,
    /// One of them is the only one allowed (`basic.consume` with `exclusive`): its tag.
    pub exclusive_consumer_tag: Option<Arc<str>>,
    /// One of them is the single active one (`x-single-active-consumer`): its tag.
    pub single_active_consumer_tag: Option<Arc<str>>,
    /// Times that a message may come back before it is dropped or dead-lettered, if that is limited.
    pub delivery_limit: Option<u32>,
    /// What it has counted.
    pub counters: QueueCounters,
    /// When its numbers changed last, in milliseconds since the Unix epoch, as far as looks at them tell ([`Admin::queue_samples`]); none if
    /// they have changed since the last look.
    ///
    /// [`Admin::queue_samples`]: super::Admin::queue_samples
    pub idle_since_ms: Option<u64>,
}

/// Bytes of the bodies in a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageBytes {
    /// Of ready messages.
    pub ready: u64,
    /// Of messages delivered and not settled.
    pub unacknowledged: u64,
    /// Of both that survive a restart.
    pub persistent: u64,
}

/// A consumer of a queue.
#[derive(Clone, Debug)]
pub struct ConsumerInfo {
    /// The virtual host of its queue.
    pub vhost: Arc<str>,
    /// Its queue.
    pub queue: Arc<str>,
    /// The shard of its connection; names its channel together with `channel`.
    pub shard: ShardId,
    /// Its channel there.
    pub channel: ChannelKey,
    /// Its number on the channel.
    pub consumer: ConsumerId,
    /// Its tag.
    pub consumer_tag: Arc<str>,
    /// What it gets has to be acknowledged.
    pub ack_required: bool,
    /// No other consumer may be on the queue.
    pub exclusive: bool,
    /// Unacknowledged messages it may hold; 0 is no limit.
    pub prefetch_count: u16,
    /// How long a delivery to it may stay unacknowledged, if its queue says so, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// What it is to the queue now.
    pub activity: Activity,
    /// The arguments of `basic.consume`; absent if there were none, and for streams.
    pub arguments: Option<Arc<FieldTable>>,
}

/// What the sockets of a connection have moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketCounters {
    /// Bytes read.
    pub recv_oct: u64,
    /// Reads.
    pub recv_cnt: u64,
    /// Bytes written.
    pub send_oct: u64,
    /// Writes.
    pub send_cnt: u64,
    /// Bytes waiting to be written.
    pub send_pend: u64,
}

/// Where a connection is in its life; [`Self::name`] is RabbitMQ's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionState {
    /// The handshake is not over.
    Starting,
    /// Open.
    Running,
    /// Open and not read, because its publishing is to stop for a while.
    Flow,
    /// A resource alarm is on: its next publish will block it.
    Blocking,
    /// Not read because of a resource alarm.
    Blocked,
    /// Being closed.
    Closing,
}

impl ConnectionState {
    /// The word in listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Flow => "flow",
            Self::Blocking => "blocking",
            Self::Blocked => "blocked",
            Self::Closing => "closing",
        }
    }
}

/// A connection.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Names it.
    pub address: ConnectionAddress,
    /// The client's end.
    pub peer: SocketAddr,
    /// The broker's end.
    pub local: SocketAddr,
    /// Who logged in. Empty before.
    pub user: Arc<str>,
    /// The virtual host that was opened. Empty before.
    pub vhost: Arc<str>,
    /// The SASL mechanism used.
    pub auth_mechanism: Arc<str>,
    /// Where it is in its life.
    pub state: ConnectionState,
    /// Open channels.
    pub channels: u16,
    /// Channels it may open.
    pub channel_max: u16,
    /// Bytes of a frame.
    pub frame_max: u32,
    /// Heartbeat timeout, in seconds; 0 is none.
    pub heartbeat_s: u16,
    /// What the client said about itself.
    pub client_properties: Arc<FieldTable>,
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub connected_at_ms: u64,
    /// It is encrypted.
    pub tls: bool,
    /// What its socket has moved.
    pub socket: SocketCounters,
}

impl ConnectionInfo {
    /// RabbitMQ's name of a connection: `127.0.0.1:50000 -> 127.0.0.1:5672`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} -> {}", end(self.peer), end(self.local))
    }
}

/// Address and port as RabbitMQ writes them: without brackets around IPv6 addresses.
fn end(address: SocketAddr) -> String {
    format!("{}:{}", address.ip().to_canonical(), address.port())
}

/// What a channel counts since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelCounters {
    /// Messages received.
    pub publish: u64,
    /// Messages confirmed.
    pub confirm: u64,
    /// Messages returned as unroutable.
    pub return_unroutable: u64,
    /// Messages dropped as unroutable.
    pub drop_unroutable: u64,
    /// Messages delivered to consumers that acknowledge.
    pub deliver: u64,
    /// Messages delivered to consumers that do not.
    pub deliver_no_ack: u64,
    /// Messages taken by `basic.get`, to be acknowledged.
    pub get: u64,
    /// Messages taken by `basic.get` without acknowledgement.
    pub get_no_ack: u64,
    /// `basic.get`s that found nothing.
    pub get_empty: u64,
    /// Deliveries and gets of messages that were delivered before.
    pub redeliver: u64,
    /// Messages acknowledged.
    pub ack: u64,
}

/// A channel.
#[derive(Clone, Debug)]
pub struct ChannelInfo {
    /// Its connection.
    pub connection: ConnectionAddress,
    /// Names it on the connection's shard.
    pub channel: ChannelKey,
    /// Its number.
    pub number: u16,
    /// In confirm mode.
    pub confirm: bool,
    /// In transactional mode.
    pub transactional: bool,
    /// `basic.qos` for consumers to come; 0 is no limit.
    pub prefetch_count: u16,
    /// `basic.qos` with `global`; 0 is no limit.
    pub global_prefetch_count: u16,
    /// Consumers.
    pub consumers: u32,
    /// Messages delivered and not settled.
    pub messages_unacknowledged: u64,
    /// Messages received and not confirmed.
    pub messages_unconfirmed: u64,
    /// Messages published in the transaction.
    pub messages_uncommitted: u64,
    /// What it has counted.
    pub counters: ChannelCounters,
}

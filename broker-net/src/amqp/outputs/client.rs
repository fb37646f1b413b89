//! Who is at the other end of a connection, for administrators to see, and the listings of connections and channels.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use amq_protocol::types::FieldTable;
use broker_core::admin::{
    ChannelCounters, ChannelInfo, ConnectionAddress, ConnectionInfo, ConnectionState, SocketCounters,
};
use broker_core::ids::{ChannelKey, ConnectionKey, ShardId};

use super::Outputs;
use super::channel::{ChannelOutput, DeliveryCounts};
use super::half::ConnectionOutput;
use crate::amqp::Peer;

/// What a connection learns of its client from accept to `connection.open`.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) peer: SocketAddr,
    /// The broker's end of the socket.
    pub(crate) local: SocketAddr,
    /// Empty before authentication.
    pub(crate) user: Arc<str>,
    /// Empty before `connection.open`.
    pub(crate) vhost: Arc<str>,
    pub(crate) auth_mechanism: Arc<str>,
    pub(crate) client_properties: Arc<FieldTable>,
    pub(crate) channel_max: u16,
    pub(crate) heartbeat_s: u16,
    pub(crate) tls: bool,
    /// Milliseconds since the Unix epoch.
    pub(crate) connected_at_ms: u64,
    pub(crate) socket: SocketCounters,
}

impl Client {
    pub(crate) fn new(peer: &Peer, now_ms: u64) -> Self {
        Self {
            peer: peer.address,
            local: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            user: Arc::default(),
            vhost: Arc::default(),
            auth_mechanism: Arc::default(),
            client_properties: Arc::default(),
            channel_max: 0,
            heartbeat_s: 0,
            tls: peer.tls,
            connected_at_ms: now_ms,
            socket: SocketCounters::default(),
        }
    }
}

impl Outputs {
    /// To note what is learnt of a client; nothing if its connection is gone.
    pub(crate) fn client_mut(&mut self, key: ConnectionKey) -> Option<&mut Client> {
        Some(&mut self.connections.get_mut(key)?.client)
    }

    /// The broker's end of a connection's socket.
    pub fn set_local(&mut self, key: ConnectionKey, local: SocketAddr) {
        if let Some(client) = self.client_mut(key) {
            client.local = local;
        }
    }

    pub(super) fn connection_rows(
        &self,
        shard: ShardId,
        from: usize,
        limit: usize,
    ) -> (Vec<ConnectionInfo>, Option<usize>) {
        self.connections.slice(from, limit, |_: ConnectionKey, connection| self.connection_info(shard, connection))
    }

    pub(super) fn channel_rows(
        &self,
        shard: ShardId,
        from: usize,
        limit: usize,
    ) -> (Vec<ChannelInfo>, Option<usize>) {
        self.channels.slice(from, limit, |key, channel| channel_info(shard, key, channel))
    }

    fn connection_info(&self, shard: ShardId, connection: &ConnectionOutput) -> ConnectionInfo {
        let client = &connection.client;
        ConnectionInfo {
            address: ConnectionAddress { shard, connection: connection.key },
            peer: client.peer,
            local: client.local,
            user: Arc::clone(&client.user),
            vhost: Arc::clone(&client.vhost),
            auth_mechanism: Arc::clone(&client.auth_mechanism),
            state: self.state_of(connection),
            channels: connection.channels,
            channel_max: client.channel_max,
            frame_max: connection.frame_max,
            heartbeat_s: client.heartbeat_s,
            client_properties: Arc::clone(&client.client_properties),
            connected_at_ms: client.connected_at_ms,
            tls: client.tls,
            socket: SocketCounters { send_pend: connection.buffer.len() as u64, ..client.socket },
        }
    }

    fn state_of(&self, connection: &ConnectionOutput) -> ConnectionState {
        let flags = connection.flags;
        if flags.closing {
            ConnectionState::Closing
        } else if connection.client.vhost.is_empty() {
            ConnectionState::Starting
        } else if self.blocked.is_some() {
            if flags.held_back { ConnectionState::Blocked } else { ConnectionState::Blocking }
        } else {
            ConnectionState::Running
        }
    }
}

fn channel_info(shard: ShardId, key: ChannelKey, channel: &ChannelOutput) -> ChannelInfo {
    let confirms = channel.confirms.as_deref();
    let (confirm, transactional) = (confirms.is_some() && !channel.transactional, channel.transactional);
    let numbered = confirms.map_or(0, |confirms| confirms.next_sequence() - 1);
    let unconfirmed = confirms.map_or(0, |confirms| confirms.waiting_count() as u64);
    let unacked = channel.unacked.len() as u64;
    let DeliveryCounts { deliver_no_ack, get, get_no_ack, get_empty, redeliver, ack } = channel.deliveries;
    let others = deliver_no_ack + get + get_no_ack;
    ChannelInfo {
        connection: ConnectionAddress { shard, connection: channel.connection },
        channel: key,
        number: channel.number.0,
        confirm,
        transactional,
        prefetch_count: channel.prefetch_count,
        global_prefetch_count: channel.global_prefetch_count(),
        consumers: u32::try_from(channel.consumer_count()).unwrap_or(u32::MAX),
        messages_unacknowledged: unacked,
        messages_unconfirmed: channel.unconfirmed(),
        messages_uncommitted: if transactional { unconfirmed } else { 0 },
        counters: ChannelCounters {
            publish: channel.publishes.received.get(),
            confirm: if confirm { numbered - unconfirmed } else { 0 },
            return_unroutable: channel.publishes.returned.get(),
            drop_unroutable: channel.publishes.dropped.get(),
            deliver: channel.delivered_count().saturating_sub(others),
            deliver_no_ack,
            get,
            get_no_ack,
            get_empty,
            redeliver,
            ack,
        },
    }
}

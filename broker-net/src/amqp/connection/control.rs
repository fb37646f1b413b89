//! Channel 0: the methods of the connection class, from start-ok to close.

use std::sync::Arc;

use amq_protocol::protocol::{AMQPClass, connection};
use broker_core::error::{ConnectionCode, ConnectionError};
use broker_core::shard::Shard;

use super::heartbeat::Heartbeat;
use super::{ClientCapabilities, Connection, State, handshake, sasl};
use crate::amqp::Config;
use crate::amqp::census::ConnectionLimits;
use crate::amqp::channel::{Failure, Session};
use crate::amqp::codec::{ChannelId, Frame, FrameKind, Method, MethodId, unexpected_frame};
use crate::amqp::limits;
use crate::amqp::outputs::Outputs;
use crate::amqp::outputs::reply::{NO_CHANNEL, Request, RequestKind, close_ok};
use crate::logins::LoginProtocol;

impl Connection {
    /// A frame on channel 0. False if it has to wait.
    #[cold]
    pub(super) fn handle_control(
        &mut self,
        frame: &Frame<'_>,
        shard: &mut Shard,
        outputs: &mut Outputs,
        now_ms: u64,
    ) -> Result<bool, Failure> {
        let stopping = matches!(self.state, State::Closing | State::Ending);
        match frame.kind {
            FrameKind::Heartbeat => return Ok(true),
            FrameKind::Method => {}
            _ if stopping => return Ok(true),
            _ => return Err(unexpected_frame(frame).to_connection_error().into()),
        }
        let id = MethodId::of(frame.payload).unwrap_or_default();
        let failure = |error: ConnectionError| Failure { method: id, error: error.into() };
        let method = match Method::parse(frame.payload) {
            Ok(Method::Other(AMQPClass::Connection(method))) => method,
            _ if stopping => return Ok(true),
            Ok(_) => return Err(failure(self.unexpected_method())),
            Err(error) => return Err(failure(error.to_connection_error())),
        };
        if stopping {
            self.handle_while_stopping(&method, outputs);
            return Ok(true);
        }
        if outputs.waiting(self.key) > 0 {
            return Ok(false);
        }
        self.handle_connection_method(method, shard, outputs, now_ms).map_err(failure)?;
        Ok(true)
    }

    fn handle_while_stopping(&mut self, method: &connection::AMQPMethod, outputs: &mut Outputs) {
        match method {
            connection::AMQPMethod::Close(_) if self.state == State::Closing => {
                outputs.write_late_close_ok(self.key);
            }
            connection::AMQPMethod::CloseOk(_) if self.state == State::Closing => self.set_closed(0),
            _ => {}
        }
    }

    fn handle_connection_method(
        &mut self,
        method: connection::AMQPMethod,
        shard: &mut Shard,
        outputs: &mut Outputs,
        now_ms: u64,
    ) -> Result<(), ConnectionError> {
        use connection::AMQPMethod::{Close, Open, StartOk, TuneOk, UpdateSecret};
        match (method, &self.state) {
            (StartOk(start_ok), State::Starting) => self.handle_start_ok(&start_ok, shard, outputs, now_ms),
            (TuneOk(tune_ok), State::Tuning { user }) => {
                let user = Arc::clone(user);
                self.handle_tune_ok(&tune_ok, user, outputs, now_ms)
            }
            (Open(open), State::Opening { user }) => {
                let user = Arc::clone(user);
                self.handle_open(open.virtual_host.as_str(), user, shard, outputs)
            }
            (Close(_), State::Running) => {
                self.handle_close(shard, outputs, now_ms);
                Ok(())
            }
            (Close(_), _) => {
                outputs.write_method(self.key, ChannelId(0), &close_ok());
                self.set_closed(limits::CLOSED_LINGER_MS);
                Ok(())
            }
            (UpdateSecret(_), State::Running) => {
                // Passwords do not expire: there is nothing to renew.
                let ok = connection::AMQPMethod::UpdateSecretOk(connection::UpdateSecretOk {});
                outputs.write_method(self.key, ChannelId(0), &AMQPClass::Connection(ok));
                Ok(())
            }
            _ => Err(self.unexpected_method()),
        }
    }

    fn unexpected_method(&self) -> ConnectionError {
        let text = format!("unexpected method in connection state {}", self.state.name());
        ConnectionCode::ChannelError.error(text)
    }

    fn handle_start_ok(
        &mut self,
        start_ok: &connection::StartOk,
        shard: &mut Shard,
        outputs: &mut Outputs,
        now_ms: u64,
    ) -> Result<(), ConnectionError> {
        self.capabilities = ClientCapabilities::new(&start_ok.client_properties);
        outputs.set_client(self.key, self.capabilities);
        let mechanism = start_ok.mechanism.as_str();
        let config = self.node.config();
        let claim = sasl::claim(mechanism, start_ok.response.as_bytes(), &config, &self.peer)?;
        match self.log_in(claim, &config, shard, now_ms) {
            Ok(user) => {
                if let Some(client) = outputs.client_mut(self.key) {
                    client.user = Arc::clone(&user);
                    client.auth_mechanism = mechanism.into();
                    client.client_properties = Arc::new(start_ok.client_properties.clone());
                }
                self.state = State::Tuning { user };
                let tune = connection::AMQPMethod::Tune(handshake::tune(&config));
                outputs.write_method(self.key, ChannelId(0), &AMQPClass::Connection(tune));
            }
            Err(reason) => {
                tracing::warn!(peer = %self.peer.address, mechanism, reason, "login refused");
                if self.capabilities.authentication_failure_close {
                    let error = ConnectionCode::AccessRefused.error(format!(
                        "Login was refused using authentication mechanism {mechanism}. For details see the \
                         broker logfile."
                    ));
                    outputs.fail_connection(self.key, MethodId::default(), &error);
                }
                self.set_closed(limits::REFUSED_LINGER_MS);
            }
        }
        Ok(())
    }

    /// The user that a client is, or why it is not let in (for the log: the client is not told).
    fn log_in(
        &self,
        claim: sasl::Claim<'_>,
        config: &Config,
        shard: &Shard,
        now_ms: u64,
    ) -> Result<Arc<str>, String> {
        let (logins, address, limit) = (&self.node.logins, self.peer.address.ip(), config.login_limit);
        if !logins.allows(address, limit, now_ms) {
            logins.refused(LoginProtocol::Amqp);
            return Err("too many logins from there have failed".to_owned());
        }
        let result = self.authenticate(claim, config, shard);
        match result {
            Ok(_) => logins.succeeded(LoginProtocol::Amqp),
            Err(_) => logins.failed(LoginProtocol::Amqp, address, limit, now_ms),
        }
        result
    }

    fn authenticate(&self, claim: sasl::Claim<'_>, config: &Config, shard: &Shard) -> Result<Arc<str>, String> {
        let refused = |username: &str| format!("user '{username}' - invalid credentials");
        let user = match claim {
            sasl::Claim::Password { username, password } => {
                shard.authenticate(username, password).ok_or_else(|| refused(username))?
            }
            sasl::Claim::Certificate => {
                let name = self.peer.certificate_name.as_deref().unwrap_or_default();
                shard.user(name).ok_or_else(|| refused(name))?
            }
            sasl::Claim::Anonymous => {
                let name = config.anonymous_user.as_deref().unwrap_or_default();
                shard.authenticate(name, config.anonymous_pass.expose()).ok_or_else(|| refused(name))?
            }
        };
        let loopback = self.peer.address.ip().to_canonical().is_loopback();
        if !loopback && config.loopback_users.iter().any(|name| **name == *user) {
            return Err(format!("user '{user}' can only connect via localhost"));
        }
        Ok(user)
    }

    fn handle_tune_ok(
        &mut self,
        tune_ok: &connection::TuneOk,
        user: Arc<str>,
        outputs: &mut Outputs,
        now_ms: u64,
    ) -> Result<(), ConnectionError> {
        handshake::check_tune_ok(tune_ok, &self.node.config())?;
        self.frame_max = tune_ok.frame_max;
        self.channel_max = tune_ok.channel_max;
        self.heartbeat = Heartbeat::new(tune_ok.heartbeat, now_ms);
        outputs.set_frame_max(self.key, tune_ok.frame_max);
        if let Some(client) = outputs.client_mut(self.key) {
            client.channel_max = tune_ok.channel_max;
            client.heartbeat_s = tune_ok.heartbeat;
        }
        self.state = State::Opening { user };
        Ok(())
    }

    fn handle_open(
        &mut self,
        vhost: &str,
        user: Arc<str>,
        shard: &mut Shard,
        outputs: &mut Outputs,
    ) -> Result<(), ConnectionError> {
        let vhost = shard.open_vhost(&user, vhost)?;
        let (vhost_limit, user_limit) = shard.connection_limits(&user, &vhost);
        let config = self.node.config();
        let limits = ConnectionLimits { node: config.connection_max, vhost: vhost_limit, user: user_limit };
        self.node.census.open_connection(&user, &vhost, limits)?;
        if let Some(client) = outputs.client_mut(self.key) {
            client.vhost = Arc::clone(&vhost);
        }
        self.session = Some(Box::new(Session {
            connection: self.key,
            user,
            vhost,
            frame_max: self.frame_max,
            max_message_size: config.max_message_size,
            consumer_max: config.consumer_max_per_channel,
        }));
        self.state = State::Running;
        self.deadline_ms = None;
        let stats = shard.stats_mut();
        stats.connections += 1;
        stats.connections_opened += 1;
        let open_ok = connection::AMQPMethod::OpenOk(connection::OpenOk {});
        outputs.write_method(self.key, ChannelId(0), &AMQPClass::Connection(open_ok));
        Ok(())
    }

    /// The client closes: close-ok follows when what its channels held is in its queues again and its exclusive queues are gone.
    fn handle_close(&mut self, shard: &mut Shard, outputs: &mut Outputs, now_ms: u64) {
        let others = self.close_channels(shard, outputs);
        outputs.wait_for_shards(self.key, shard, &others);
        self.close_session(shard);
        self.state = State::Ending;
        self.deadline_ms = Some(now_ms + limits::CLOSE_MS);
        let request = Request {
            method: MethodId::new(10, 50),
            channel: NO_CHANNEL,
            number: ChannelId(0),
            nowait: false,
            kind: RequestKind::Close,
            outcome: None,
        };
        let request = outputs.expect_reply(self.key, request);
        shard.close_connection(outputs, self.key, Some(request));
        self.handle_events(shard, outputs, now_ms);
    }
}

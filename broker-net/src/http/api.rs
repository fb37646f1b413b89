//! What every handler has at hand: the way to the shards, and what this process is called.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use broker_core::admin::{Admin, AdminError, AdminReply, AdminRequest, QueueName};
use broker_core::error::{AmqpError, ChannelCode, ConnectionCode};

use super::directory::Directory;
use super::error::{ApiError, ApiResult};
use super::rates::Rates;
use crate::adjust::Adjustable;
use crate::amqp::Node;
use crate::logging::Places;
use crate::metrics::{Identity, SharedThresholds};
use crate::tls::Acceptor;

/// The version of RabbitMQ whose API this is.
pub(super) const RABBITMQ_VERSION: &str = "4.0.5";

/// State of the management server.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) admin: Admin,
    pub(super) identity: Identity,
    pub(super) data_dir: PathBuf,
    pub(super) listeners: Vec<Listening>,
    /// Who may log in from where, and who tried to.
    pub(super) node: Arc<Node>,
    /// The type of queues where neither a declare nor the virtual host says one.
    pub(super) default_queue_type: &'static str,
    /// Where alarms begin.
    pub(super) thresholds: SharedThresholds,
    /// What administrators may change while the broker runs.
    pub(super) adjustable: Arc<Adjustable>,
    /// The configuration file, if there is one.
    pub(super) config_file: Option<PathBuf>,
    /// Where the log goes.
    pub(super) log: Places,
    /// The listeners that speak TLS.
    pub(super) secured: Vec<Secured>,
    pub(super) started: Instant,
    pub(super) rates: Mutex<Rates>,
    /// What queues are called; held while shards are asked.
    pub(super) directory: tokio::sync::Mutex<Directory>,
}

/// A port of the broker.
#[derive(Clone, Debug)]
pub struct Listening {
    /// RabbitMQ's name of the protocol: `amqp`, `http`, `http/prometheus`.
    pub protocol: &'static str,
    /// Where.
    pub address: SocketAddr,
}

/// A port that speaks TLS.
#[derive(Clone, Debug)]
pub(crate) struct Secured {
    pub(crate) listening: Listening,
    pub(crate) acceptor: Acceptor,
}

impl Api {
    /// What rounds have found.
    pub(super) fn rates(&self) -> ApiResult<MutexGuard<'_, Rates>> {
        self.rates.lock().map_err(|_| ApiError::unavailable("the statistics are lost"))
    }

    /// The names of all queues, by virtual host and name.
    pub(super) async fn queue_names(&self) -> ApiResult<Arc<Vec<QueueName>>> {
        Ok(self.directory.lock().await.names(&self.admin).await?)
    }

    /// Has a request carried out.
    pub(super) async fn request(&self, request: AdminRequest) -> ApiResult<AdminReply> {
        Ok(self.admin.request(request).await?)
    }
}

/// RabbitMQ's translation: what a channel would be closed with becomes 400, 401 or 404.
impl From<AdminError> for ApiError {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::BadRequest(reason) => Self::bad_request(reason),
            AdminError::NotFound(reason) => Self::missing(reason),
            AdminError::NotAuthorised => Self::not_authenticated(),
            AdminError::Amqp(error) => error.into(),
            AdminError::Unavailable(reason) => Self::unavailable(reason),
        }
    }
}

impl From<AmqpError> for ApiError {
    fn from(error: AmqpError) -> Self {
        match error {
            AmqpError::Channel(error) => match error.code {
                ChannelCode::NotFound => Self::missing(error.explanation),
                ChannelCode::AccessRefused => Self::not_authorised("Access refused."),
                _ => Self::bad_request(error.explanation),
            },
            AmqpError::Connection(error) => match error.code {
                ConnectionCode::AccessRefused | ConnectionCode::NotAllowed => {
                    Self::not_authorised("Access refused.")
                }
                // RabbitMQ's API does so for what closes its connection, and only for that.
                code => Self::bad_request(format!("{} {}", code.code(), error.explanation)),
            },
        }
    }
}

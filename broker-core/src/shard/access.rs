//! Who may come in: user name and password, virtual host.

use std::net::IpAddr;
use std::sync::Arc;

use super::Shard;
use super::topology::{Change, Topology};
use crate::error::{ConnectionCode, ConnectionError};
use crate::model::permission::PermissionDefinition;
use crate::model::user::UserDefinition;
use crate::model::vhost::{DEFAULT_VHOST, VhostDefinition};

/// The user of a new data directory, and its password. It may connect from loopback addresses only.
pub(super) const DEFAULT_USER: &str = "guest";

/// Why authentication failed. The client is told the same text for each reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticationFailure {
    /// No such user, or the password is wrong.
    Credentials,
    /// The user may connect from loopback addresses only.
    LoopbackOnly,
}

impl Shard {
    /// Checks a user name and password. Returns the user's name as it is shared by all that refer to it.
    ///
    /// # Errors
    /// See [`AuthenticationFailure`].
    pub fn authenticate(
        &self,
        username: &str,
        password: &[u8],
        peer: IpAddr,
    ) -> Result<Arc<str>, AuthenticationFailure> {
        let (name, user) = self.topology.user(username).ok_or(AuthenticationFailure::Credentials)?;
        if !user.verify_password(password) {
            return Err(AuthenticationFailure::Credentials);
        }
        if username == DEFAULT_USER && !peer.to_canonical().is_loopback() {
            return Err(AuthenticationFailure::LoopbackOnly);
        }
        Ok(Arc::clone(name))
    }

    /// Opens a virtual host for a connection (`connection.open`). Returns its name as it is shared.
    ///
    /// # Errors
    /// 530 if it does not exist or the user has no permission in it.
    pub fn open_vhost(&self, user: &Arc<str>, vhost: &str) -> Result<Arc<str>, ConnectionError> {
        let Some((name, _)) = self.topology.vhost(vhost) else {
            return Err(ConnectionCode::NotAllowed.error(format!("vhost {vhost} not found")));
        };
        if self.topology.permissions().get(user, vhost).is_none() {
            let text = format!("access to vhost '{vhost}' refused for user '{user}'");
            return Err(ConnectionCode::NotAllowed.error(text));
        }
        Ok(Arc::clone(name))
    }
}

/// What a new data directory starts with: the virtual host `/` and the user guest, who may do everything there.
pub(super) fn defaults(salt: [u8; 4]) -> [Change; 3] {
    let user = UserDefinition::with_password(DEFAULT_USER, DEFAULT_USER.as_bytes(), salt, &["administrator"]);
    [
        Change::VhostAdded(VhostDefinition::new(DEFAULT_VHOST)),
        Change::UserAdded(user),
        Change::PermissionSet(PermissionDefinition::full(DEFAULT_USER, DEFAULT_VHOST)),
    ]
}

/// True for a topology in which nobody could connect.
pub(super) fn is_new(topology: &Topology) -> bool {
    topology.user_count() == 0 && topology.vhost_count() == 0
}

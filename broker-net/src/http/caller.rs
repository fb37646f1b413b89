//! Who asks, and what RabbitMQ lets them do: HTTP basic authentication, user tags, permissions.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use broker_core::admin::{AdminError, AdminReply, AdminRequest, BROKER};
use broker_core::shard::driver::now_ms;

use super::answer::accepts_json;
use super::api::Api;
use super::defined::Defined;
use super::error::{ApiError, ApiResult};
use super::listener::Peer;
use crate::logins::LoginProtocol;

/// Without one of these tags, a user has no business here.
const MANAGEMENT_TAGS: [&str; 4] = ["administrator", "monitoring", "policymaker", "management"];

const NO_VHOST_ACCESS: &str = "User not authorised to access virtual host";
const NO_OBJECT_ACCESS: &str = "User not authorised to access object";

/// The user of a request, with what was defined when the request came.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) name: Arc<str>,
    pub(super) tags: Vec<String>,
    pub(super) defined: Defined,
}

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> ApiResult<Self> {
        let credentials = parts.headers.get(header::AUTHORIZATION).and_then(|value| basic(value.as_bytes()));
        let (username, password) = credentials.ok_or_else(ApiError::not_authenticated)?;
        let peer = parts.extensions.get::<ConnectInfo<Peer>>().map(|ConnectInfo(peer)| peer.address.ip());
        let peer = peer.ok_or_else(ApiError::not_authenticated)?;
        let caller = Self::log_in(api, username, password, peer).await?;
        if !accepts_json(&parts.headers) {
            return Err(ApiError::not_acceptable());
        }
        Ok(caller)
    }
}

/// The user that a request says it comes from, if it says so.
pub(super) fn claimed_user(headers: &HeaderMap) -> Option<String> {
    basic(headers.get(header::AUTHORIZATION)?.as_bytes()).map(|(name, _)| name)
}

/// Name and password of a basic authorization.
fn basic(value: &[u8]) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = value.split_first_chunk::<6>()?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    let name = String::from_utf8(decoded.get(..colon)?.to_vec()).ok()?;
    Some((name, decoded.get(colon + 1..)?.to_vec()))
}

impl Caller {
    /// Checks a password, and that the user may use the API at all.
    pub(super) async fn log_in(api: &Api, username: String, password: Vec<u8>, peer: IpAddr) -> ApiResult<Self> {
        let (logins, config) = (&api.node.logins, api.node.config());
        if !logins.allows(peer, config.login_limit, now_ms()) {
            logins.refused(LoginProtocol::Http);
            return Err(ApiError::too_many_failures());
        }
        let reply = api.admin.request(AdminRequest::Authenticate { username, password: password.into() }).await;
        let (name, tags) = match reply {
            Ok(AdminReply::User { name, tags }) => (name, tags),
            Err(error @ AdminError::Unavailable(_)) => return Err(error.into()),
            Ok(_) | Err(_) => {
                logins.failed(LoginProtocol::Http, peer, config.login_limit, now_ms());
                return Err(ApiError::not_authenticated());
            }
        };
        let local = peer.to_canonical().is_loopback();
        if !local && config.loopback_users.iter().any(|user| **user == *name) {
            logins.failed(LoginProtocol::Http, peer, config.login_limit, now_ms());
            return Err(ApiError::not_authorised("User can only log in via localhost"));
        }
        logins.succeeded(LoginProtocol::Http);
        let caller = Self { name, tags, defined: api.admin.definitions().await?.into() };
        if !caller.has_any(&MANAGEMENT_TAGS) {
            return Err(ApiError::not_authorised("Not management user"));
        }
        Ok(caller)
    }

    /// The broker itself, who may do everything.
    pub(super) fn broker(defined: Defined) -> Self {
        Self { name: BROKER.into(), tags: vec!["administrator".to_owned()], defined }
    }

    /// See [`Self::broker`].
    pub(super) fn is_broker(&self) -> bool {
        *self.name == *BROKER
    }

    fn has_any(&self, tags: &[&str]) -> bool {
        self.tags.iter().any(|tag| tags.contains(&tag.as_str()))
    }

    /// May do everything.
    pub(super) fn is_administrator(&self) -> bool {
        self.has_any(&["administrator"])
    }

    /// May see what belongs to others.
    pub(super) fn is_monitor(&self) -> bool {
        self.has_any(&["administrator", "monitoring"])
    }

    fn is_policymaker(&self) -> bool {
        self.has_any(&["administrator", "policymaker"])
    }

    /// 401 unless an administrator asks.
    pub(super) fn require_administrator(&self) -> ApiResult<()> {
        allow(self.is_administrator(), "Not administrator user")
    }

    /// 401 unless an administrator or a monitor asks.
    pub(super) fn require_monitor(&self) -> ApiResult<()> {
        allow(self.is_monitor(), "Not monitor user")
    }

    /// 401 unless an administrator or a policymaker asks.
    pub(super) fn require_policymaker(&self) -> ApiResult<()> {
        allow(self.is_policymaker(), NO_OBJECT_ACCESS)
    }

    /// May log in to the virtual host: has permissions there.
    pub(super) fn has_permission_in(&self, vhost: &str) -> bool {
        self.defined.permission(&self.name, vhost).is_some()
    }

    /// Sees what is in the virtual host in listings.
    pub(super) fn lists(&self, vhost: &str) -> bool {
        self.is_administrator() || self.has_permission_in(vhost)
    }

    /// 401 if the virtual host exists and the user has no permissions there, 404 if it does not exist.
    pub(super) fn require_vhost(&self, vhost: &str) -> ApiResult<()> {
        self.allow_vhost(vhost, self.is_administrator())?;
        self.existing_vhost(vhost)
    }

    /// As [`require_vhost`](Self::require_vhost) for what monitors may read of every virtual host: its limits, not what is in it.
    pub(super) fn require_visible_vhost(&self, vhost: &str) -> ApiResult<()> {
        self.allow_vhost(vhost, self.is_monitor())?;
        self.existing_vhost(vhost)
    }

    /// As [`require_vhost`](Self::require_vhost), and policymaker.
    pub(super) fn require_policies_of(&self, vhost: &str) -> ApiResult<()> {
        self.require_policymaker()?;
        let exists = self.defined.vhost(vhost).is_some();
        allow(self.is_administrator() || !exists || self.has_permission_in(vhost), NO_OBJECT_ACCESS)?;
        self.existing_vhost(vhost)
    }

    /// 401 unless the object is the user's own, or the user may see (`monitor`) or change what belongs to others.
    pub(super) fn require_owner(&self, owner: &str, monitor: bool) -> ApiResult<()> {
        let others = if monitor { self.is_monitor() } else { self.is_administrator() };
        allow(others || *self.name == *owner, NO_OBJECT_ACCESS)
    }

    fn allow_vhost(&self, vhost: &str, anyway: bool) -> ApiResult<()> {
        let exists = self.defined.vhost(vhost).is_some();
        allow(anyway || !exists || self.has_permission_in(vhost), NO_VHOST_ACCESS)
    }

    /// 404 if there is no such virtual host.
    pub(super) fn existing_vhost(&self, vhost: &str) -> ApiResult<()> {
        self.defined.vhost(vhost).map(drop).ok_or_else(ApiError::not_found)
    }
}

fn allow(allowed: bool, otherwise: &'static str) -> ApiResult<()> {
    if allowed { Ok(()) } else { Err(ApiError::not_authorised(otherwise)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_from_the_header() {
        let check = |value: &str, expect: Option<(&str, &str)>| {
            let expect = expect.map(|(name, password)| (name.to_owned(), password.as_bytes().to_vec()));
            assert_eq!(basic(value.as_bytes()), expect, "{value}");
        };
        check("Basic Z3Vlc3Q6Z3Vlc3Q=", Some(("guest", "guest")));
        check("basic Z3Vlc3Q6YTpi", Some(("guest", "a:b")));
        check("Basic Z3Vlc3Q6", Some(("guest", "")));
        for refused in ["", "Basic", "Basic ", "Basic Z3Vlc3Q=", "Basic %%%", "Bearer Z3Vlc3Q6Z3Vlc3Q="] {
            check(refused, None);
        }
    }
}

//! `/api/bindings`: which exchange sends what where.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, BuildHasherDefault};
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use broker_core::admin::AdminRequest;
use broker_core::model::binding::BindingDefinition;
use broker_core::model::field_table;
use broker_core::model::vhost::ResourceKind;
use broker_core::session::Command;
use rustc_hash::FxHasher;
use serde::Serialize;
use serde_json::Value;

use super::exchange;
use crate::http::api::Api;
use crate::http::body::Fields;
use crate::http::caller::Caller;
use crate::http::error::{ApiError, ApiResult};
use crate::http::listing::{Listing, Row};
use crate::http::{reply, table};

/// A binding and its virtual host.
pub(super) struct Bound {
    vhost: Arc<str>,
    binding: BindingDefinition,
}

#[derive(Serialize)]
struct Binding {
    source: String,
    vhost: Arc<str>,
    destination: String,
    destination_type: ResourceKind,
    routing_key: String,
    arguments: Value,
    properties_key: String,
}

impl Row for Bound {
    /// RabbitMQ sorts bindings by their source, then by what they are bound to.
    fn name(&self) -> &str {
        &self.binding.source
    }

    fn vhost(&self) -> &str {
        &self.vhost
    }
}

impl From<Bound> for Binding {
    fn from(Bound { vhost, binding }: Bound) -> Self {
        let properties_key = properties_key(&binding);
        let BindingDefinition { source, destination, destination_kind, routing_key, arguments } = binding;
        Self {
            source,
            vhost,
            destination,
            destination_type: destination_kind,
            routing_key,
            arguments: table::to_json(&arguments),
            properties_key,
        }
    }
}

/// Names a binding among those of the same source and destination: `~` if it has no routing key and no arguments.
fn properties_key(binding: &BindingDefinition) -> String {
    let key = quote(&binding.routing_key);
    if binding.arguments.inner().is_empty() {
        return if key.is_empty() { "~".to_owned() } else { key };
    }
    let hash = BuildHasherDefault::<FxHasher>::default().hash_one(field_table::encode(&binding.arguments));
    let [.., a, b, c, d] = hash.to_be_bytes();
    format!("{key}~{}", URL_SAFE_NO_PAD.encode([a, b, c, d]))
}

/// Percent-encoding of everything but letters, digits, `.` and `-`; a space becomes a plus sign.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' => quoted.push(char::from(byte)),
            b' ' => quoted.push('+'),
            _ => quoted.push_str(&format!("%{byte:02X}")),
        }
    }
    quoted
}

/// What [`quote`] made a text of. RabbitMQ takes names of bindings that are quoted in paths once (the text itself) and twice.
fn unquote(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().iter();
    let mut unquoted = Vec::with_capacity(text.len());
    while let Some(&byte) = bytes.next() {
        let code = bytes.as_slice().first_chunk::<2>().filter(|_| byte == b'%');
        let code = code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match (byte, code) {
            (_, Some(code)) => {
                unquoted.push(code);
                bytes.nth(1);
            }
            (b'+', None) => unquoted.push(b' '),
            (_, None) => unquoted.push(byte),
        }
    }
    unquoted
}

/// The bindings of a virtual host, with the one that every queue has to the default exchange.
pub(super) async fn of_vhost(api: &Api, vhost: &str) -> ApiResult<Vec<Bound>> {
    let name: Arc<str> = vhost.into();
    let bound = |binding| Bound { vhost: Arc::clone(&name), binding };
    let implicit = api.admin.queues(Some(vhost)).await?.into_iter().map(|queue| {
        bound(BindingDefinition {
            source: String::new(),
            destination: queue.name.to_string(),
            destination_kind: ResourceKind::Queue,
            routing_key: queue.name.to_string(),
            arguments: Default::default(),
        })
    });
    let mut all: Vec<Bound> = implicit.collect();
    all.extend(api.admin.bindings(vhost).await?.into_iter().map(bound));
    let order = |bound: &Bound| {
        let BindingDefinition { source, destination, routing_key, .. } = &bound.binding;
        let has_arguments = !bound.binding.arguments.inner().is_empty();
        (source.clone(), destination.clone(), routing_key.clone(), has_arguments)
    };
    all.sort_by_cached_key(order);
    Ok(all)
}

async fn list_where(
    api: &Api,
    caller: &Caller,
    vhost: &str,
    listing: &Listing,
    wanted: impl Fn(&BindingDefinition) -> bool,
) -> ApiResult {
    caller.require_vhost(vhost)?;
    let mut rows = of_vhost(api, vhost).await?;
    rows.retain(|bound| wanted(&bound.binding));
    listing.reply_all(rows, Binding::from)
}

pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller, listing: Listing) -> ApiResult {
    let mut rows = Vec::new();
    let visible: HashSet<&str> = caller
        .defined
        .vhosts
        .iter()
        .map(|vhost| vhost.name.as_str())
        .filter(|vhost| caller.lists(vhost))
        .collect();
    for vhost in visible {
        rows.extend(of_vhost(&api, vhost).await?);
    }
    listing.reply_all(rows, Binding::from)
}

pub(super) async fn list_of_vhost(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(vhost): Path<String>,
    listing: Listing,
) -> ApiResult {
    list_where(&api, &caller, &vhost, &listing, |_| true).await
}

pub(super) async fn list_of_source(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, name)): Path<(String, String)>,
    listing: Listing,
) -> ApiResult {
    let name = exchange::named(name);
    caller.require_vhost(&vhost)?;
    exchange::find(&api, &vhost, &name).await?;
    list_where(&api, &caller, &vhost, &listing, |binding| binding.source == name).await
}

pub(super) async fn list_of_destination(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, name)): Path<(String, String)>,
    listing: Listing,
) -> ApiResult {
    let name = exchange::named(name);
    caller.require_vhost(&vhost)?;
    exchange::find(&api, &vhost, &name).await?;
    let wanted = |binding: &BindingDefinition| {
        binding.destination_kind == ResourceKind::Exchange && binding.destination == name
    };
    list_where(&api, &caller, &vhost, &listing, wanted).await
}

pub(super) async fn list_of_queue(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, name)): Path<(String, String)>,
    listing: Listing,
) -> ApiResult {
    caller.require_vhost(&vhost)?;
    api.admin.queue(&vhost, &name).await?.ok_or_else(ApiError::not_found)?;
    let wanted = |binding: &BindingDefinition| {
        binding.destination_kind == ResourceKind::Queue && binding.destination == name
    };
    list_where(&api, &caller, &vhost, &listing, wanted).await
}

/// A source and a destination, as paths name them: `{source}/q/{queue}` or `{source}/e/{exchange}`.
struct Between {
    source: String,
    kind: ResourceKind,
    destination: String,
}

impl Between {
    fn new(source: String, kind: &str, destination: String) -> ApiResult<Self> {
        let source = exchange::named(source);
        match kind {
            "q" => Ok(Self { source, kind: ResourceKind::Queue, destination }),
            "e" => Ok(Self { source, kind: ResourceKind::Exchange, destination: exchange::named(destination) }),
            _ => Err(ApiError::not_found()),
        }
    }

    fn is_of(&self, binding: &BindingDefinition) -> bool {
        binding.source == self.source
            && binding.destination_kind == self.kind
            && binding.destination == self.destination
    }

    /// 404 in the words of a channel if either end is not there.
    async fn require_ends(&self, api: &Api, vhost: &str) -> ApiResult<()> {
        exchange::find(api, vhost, &self.source).await?;
        match self.kind {
            ResourceKind::Exchange => exchange::find(api, vhost, &self.destination).await.map(drop),
            ResourceKind::Queue => {
                api.admin.queue(vhost, &self.destination).await?.map(drop).ok_or_else(ApiError::not_found)
            }
        }
    }

    fn bind(self, routing_key: String, arguments: amq_protocol::types::FieldTable) -> Command {
        let Self { source, kind, destination } = self;
        match kind {
            ResourceKind::Queue => {
                Command::QueueBind { queue: destination, exchange: source, routing_key, arguments }
            }
            ResourceKind::Exchange => Command::ExchangeBind { destination, source, routing_key, arguments },
        }
    }

    fn unbind(self, routing_key: String, arguments: amq_protocol::types::FieldTable) -> Command {
        let Self { source, kind, destination } = self;
        match kind {
            ResourceKind::Queue => {
                Command::QueueUnbind { queue: destination, exchange: source, routing_key, arguments }
            }
            ResourceKind::Exchange => Command::ExchangeUnbind { destination, source, routing_key, arguments },
        }
    }
}

/// `queue.bind` or `exchange.bind` as definitions describe it.
pub(super) fn bind_command(fields: &Fields) -> ApiResult<Command> {
    let kind = match fields.required_text("destination_type")? {
        "queue" => ResourceKind::Queue,
        "exchange" => ResourceKind::Exchange,
        other => return Err(ApiError::bad_request(format!("unknown destination_type {other}"))),
    };
    let source = fields.required_text("source")?.to_owned();
    let destination = fields.required_text("destination")?.to_owned();
    let routing_key = fields.text("routing_key")?.unwrap_or_default().to_owned();
    let arguments = table::from_json(fields.get("arguments"))?;
    Ok(Between { source, kind, destination }.bind(routing_key, arguments))
}

pub(super) async fn list_between(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, source, kind, destination)): Path<(String, String, String, String)>,
    listing: Listing,
) -> ApiResult {
    let between = Between::new(source, &kind, destination)?;
    caller.require_vhost(&vhost)?;
    between.require_ends(&api, &vhost).await?;
    list_where(&api, &caller, &vhost, &listing, |binding| between.is_of(binding)).await
}

pub(super) async fn bind(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, source, kind, destination)): Path<(String, String, String, String)>,
    fields: Fields,
) -> ApiResult {
    let between = Between::new(source, &kind, destination)?;
    caller.require_vhost(&vhost)?;
    let routing_key = fields.text("routing_key")?.unwrap_or_default().to_owned();
    let arguments = table::from_json(fields.get("arguments"))?;
    let location = {
        let key = properties_key(&BindingDefinition {
            source: between.source.clone(),
            destination: between.destination.clone(),
            destination_kind: between.kind,
            routing_key: routing_key.clone(),
            arguments: arguments.clone(),
        });
        format!("{}/{}", quote(&between.destination), quote(&key).replace("%7E", "~"))
    };
    let command = between.bind(routing_key, arguments);
    api.request(AdminRequest::Command { user: caller.name.to_string(), vhost, command }).await?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)]).into_response())
}

async fn find(api: &Api, vhost: &str, between: &Between, properties: &str) -> ApiResult<Bound> {
    let mut all = of_vhost(api, vhost).await?.into_iter();
    let unquoted = unquote(properties);
    all.find(|bound| between.is_of(&bound.binding) && unquote(&properties_key(&bound.binding)) == unquoted)
        .ok_or_else(ApiError::not_found)
}

type BindingPath = Path<(String, String, String, String, String)>;

pub(super) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, source, kind, destination, properties)): BindingPath,
    listing: Listing,
) -> ApiResult {
    let between = Between::new(source, &kind, destination)?;
    caller.require_vhost(&vhost)?;
    listing.reply_one(&Binding::from(find(&api, &vhost, &between, &properties).await?))
}

pub(super) async fn unbind(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((vhost, source, kind, destination, properties)): BindingPath,
) -> ApiResult {
    let between = Between::new(source, &kind, destination)?;
    caller.require_vhost(&vhost)?;
    let binding = find(&api, &vhost, &between, &properties).await?.binding;
    let command = between.unbind(binding.routing_key, binding.arguments);
    api.request(AdminRequest::Command { user: caller.name.to_string(), vhost, command }).await?;
    Ok(reply::done())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(routing_key: &str, arguments: Value, expect: &str) {
        let binding = BindingDefinition {
            source: "x".to_owned(),
            destination: "q".to_owned(),
            destination_kind: ResourceKind::Queue,
            routing_key: routing_key.to_owned(),
            arguments: table::from_json(Some(&arguments)).unwrap(),
        };
        let key = properties_key(&binding);
        assert!(key == expect || (expect.ends_with('~') && key.len() == expect.len() + 6), "{key} {expect}");
    }

    #[test]
    fn quoted_names_are_unquoted() {
        for text in ["", "a ~_#*", "k~x-Y_1", "100%", "%zz", "%4"] {
            assert_eq!(unquote(&quote(text)), text.as_bytes(), "{text}");
        }
        assert_eq!(unquote("a b%"), b"a b%");
    }

    #[test]
    fn a_binding_is_named_by_its_key_and_a_hash_of_its_arguments() {
        check("", json!({}), "~");
        check("a.b", json!({}), "a.b");
        check("a ~_#*", json!({}), "a+%7E%5F%23%2A");
        check("k", json!({"a": 1}), "k~");
    }
}

//! `/api/definitions`: everything that administrators and clients have defined, exported and imported in RabbitMQ's format.
//!
//! An import makes what is not there and replaces what is, but for queues and exchanges, which stay what they are; nothing is deleted, and
//! doing it twice is as doing it once.

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::{Path, State};
use broker_core::admin::{Admin, AdminError, AdminReply, AdminRequest, BROKER, Definition};
use broker_core::model::parameter::{GlobalParameterDefinition, ParameterDefinition};
use broker_core::session::Command;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::vhost::Metadata;
use super::{binding, exchange, limit, parameter, permission, policy, queue, user, vhost};
use crate::http::api::{Api, RABBITMQ_VERSION};
use crate::http::body::{Document, Fields};
use crate::http::caller::Caller;
use crate::http::error::{ApiError, ApiResult};
use crate::http::{reply, table};

#[derive(Serialize)]
struct Exported {
    rabbit_version: &'static str,
    rabbitmq_version: &'static str,
    product_name: &'static str,
    product_version: &'static str,
    #[serde(flatten)]
    scope: Scope,
    parameters: Vec<Value>,
    policies: Vec<Value>,
    queues: Vec<Value>,
    exchanges: Vec<Value>,
    bindings: Vec<Value>,
}

/// What an export has beyond the contents of virtual hosts.
#[derive(Serialize)]
#[serde(tag = "rabbitmq_definition_format", rename_all = "snake_case")]
enum Scope {
    Cluster {
        original_cluster_name: String,
        explanation: String,
        users: Vec<user::User>,
        vhosts: Vec<Value>,
        permissions: Vec<Value>,
        topic_permissions: Vec<Value>,
        global_parameters: Vec<Value>,
    },
    SingleVirtualHost {
        original_vhost_name: String,
        explanation: String,
        description: String,
        default_queue_type: String,
        metadata: Metadata,
        limits: Map<String, Value>,
    },
}

/// The contents of virtual hosts, each with its `vhost` or, in the export of one, without.
struct Contents<'a> {
    api: &'a Api,
    caller: &'a Caller,
    only: Option<&'a str>,
}

impl Contents<'_> {
    fn row(&self, object: impl Serialize) -> Value {
        let mut value = serde_json::to_value(object).unwrap_or_default();
        if self.only.is_some()
            && let Some(fields) = value.as_object_mut()
        {
            fields.remove("vhost");
        }
        value
    }

    fn rows<T: Serialize>(&self, objects: impl IntoIterator<Item = T>, vhost: impl Fn(&T) -> &str) -> Vec<Value> {
        let wanted = |object: &T| self.only.is_none_or(|only| vhost(object) == only);
        objects.into_iter().filter(wanted).map(|object| self.row(object)).collect()
    }

    async fn export(&self, scope: Scope) -> ApiResult<Exported> {
        let defined = &self.caller.defined;
        let (mut exchanges, mut bindings) = (Vec::new(), Vec::new());
        let vhosts = defined.vhosts.iter().map(|vhost| vhost.name.as_str());
        for vhost in vhosts.filter(|vhost| self.only.is_none_or(|only| only == *vhost)) {
            exchanges.extend(self.exchanges(vhost).await?);
            bindings.extend(self.bindings(vhost).await?);
        }
        Ok(Exported {
            rabbit_version: RABBITMQ_VERSION,
            rabbitmq_version: RABBITMQ_VERSION,
            product_name: "RingMQ",
            product_version: env!("CARGO_PKG_VERSION"),
            scope,
            parameters: self.rows(parameter::all(defined), |parameter| &parameter.vhost),
            policies: self.rows(&defined.policies, |policy| &policy.vhost),
            queues: self.queues().await?,
            exchanges,
            bindings,
        })
    }

    /// Without those that belong to a connection: they cannot be made by somebody else.
    async fn queues(&self) -> ApiResult<Vec<Value>> {
        let mut queues = self.api.admin.queues(self.only).await?;
        queues.retain(|queue| !queue.exclusive);
        queues.sort_by(|one, other| (&one.vhost, &one.name).cmp(&(&other.vhost, &other.name)));
        let rows = queues.iter().map(|queue| {
            self.row(json!({
                "name": queue.name, "vhost": queue.vhost, "durable": queue.durable, "auto_delete": queue.auto_delete,
                "arguments": queue::arguments(queue),
            }))
        });
        Ok(rows.collect())
    }

    /// Without those that every virtual host has.
    async fn exchanges(&self, vhost: &str) -> ApiResult<Vec<Value>> {
        let mut exchanges = self.api.admin.exchanges(vhost).await?;
        exchanges.retain(|exchange| {
            let name = &exchange.definition.name;
            !name.is_empty() && !name.starts_with("amq.")
        });
        exchanges.sort_by(|one, other| one.definition.name.cmp(&other.definition.name));
        let rows = exchanges.iter().map(|exchange| {
            let definition = &exchange.definition;
            self.row(json!({
                "name": definition.name, "vhost": vhost, "type": definition.kind.to_string(),
                "durable": definition.durable, "auto_delete": definition.auto_delete,
                "internal": definition.internal, "arguments": table::to_json(&definition.arguments),
            }))
        });
        Ok(rows.collect())
    }

    async fn bindings(&self, vhost: &str) -> ApiResult<Vec<Value>> {
        let bindings = self.api.admin.bindings(vhost).await?;
        let rows = bindings.iter().map(|binding| {
            self.row(json!({
                "source": binding.source, "vhost": vhost, "destination": binding.destination,
                "destination_type": binding.destination_kind, "routing_key": binding.routing_key,
                "arguments": table::to_json(&binding.arguments),
            }))
        });
        Ok(rows.collect())
    }
}

pub(super) async fn export(State(api): State<Arc<Api>>, caller: Caller) -> ApiResult {
    caller.require_administrator()?;
    let cluster = &api.identity.cluster;
    let defined = &caller.defined;
    let contents = Contents { api: &api, caller: &caller, only: None };
    let vhosts = defined.vhosts.iter().map(|vhost| {
        let metadata = Metadata::new(vhost, &api);
        json!({
            "name": vhost.name, "description": metadata.description, "tags": metadata.tags,
            "default_queue_type": metadata.default_queue_type, "metadata": metadata,
        })
    });
    let scope = Scope::Cluster {
        original_cluster_name: cluster.clone(),
        explanation: format!("Definitions of cluster '{cluster}'"),
        users: defined.users.iter().cloned().map(|user| user::User::new(user, &caller)).collect(),
        vhosts: vhosts.collect(),
        permissions: contents.rows(&defined.permissions, |permission| &permission.vhost),
        topic_permissions: contents.rows(&defined.topic_permissions, |permission| &permission.vhost),
        global_parameters: contents.rows(&defined.global_parameters, |_| ""),
    };
    Ok(reply::json(&contents.export(scope).await?))
}

pub(super) async fn export_vhost(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
) -> ApiResult {
    caller.require_administrator()?;
    let vhost = caller.defined.vhost(&name).ok_or_else(|| ApiError::bad_request("vhost_not_found"))?;
    let metadata = Metadata::new(vhost, &api);
    let scope = Scope::SingleVirtualHost {
        original_vhost_name: name.clone(),
        explanation: format!("Definitions of virtual host '{name}'"),
        description: metadata.description.clone(),
        default_queue_type: metadata.default_queue_type.clone(),
        metadata,
        limits: caller.defined.limits_of_vhost(&name).map(limit::of_vhost).unwrap_or_default(),
    };
    let contents = Contents { api: &api, caller: &caller, only: Some(&name) };
    Ok(reply::json(&contents.export(scope).await?))
}

pub(super) async fn import(State(api): State<Arc<Api>>, caller: Caller, Document(body): Document) -> ApiResult {
    caller.require_administrator()?;
    let mut fields = parse(&body)?;
    Import { admin: &api.admin, caller: &caller, vhost: None }.run(&mut fields).await?;
    Ok(reply::done())
}

pub(super) async fn import_vhost(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(vhost): Path<String>,
    Document(body): Document,
) -> ApiResult {
    caller.require_administrator()?;
    caller.defined.vhost(&vhost).ok_or_else(|| ApiError::missing("vhost_not_found"))?;
    let mut fields = parse(&body)?;
    Import { admin: &api.admin, caller: &caller, vhost: Some(&vhost) }.run(&mut fields).await?;
    Ok(reply::done())
}

/// Definitions as JSON, or as the file of a form (`multipart/form-data`), which is what RabbitMQ's page and `curl -F` send.
fn parse(body: &[u8]) -> ApiResult<Fields> {
    let json = if body.starts_with(b"--") { file_of_form(body).unwrap_or_default() } else { body };
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    Fields::parse(json).map_err(|_| ApiError::bad_request("failed_to_parse_json"))
}

/// The first part of a form that is a JSON object. Only the object's braces are looked for: no part's boundary can be in a JSON document.
fn file_of_form(body: &[u8]) -> Option<&[u8]> {
    let separator = body.split(|&byte| byte == b'\r' || byte == b'\n').next()?;
    let positions = body.windows(separator.len()).enumerate().filter(|(_, window)| *window == separator);
    let positions: Vec<usize> = positions.map(|(position, _)| position).collect();
    positions.windows(2).find_map(|part| {
        let part = body.get(part.first()? + separator.len()..*part.last()?)?;
        let blank = part.windows(4).position(|window| window == b"\r\n\r\n")?;
        let content = part.get(blank + 4..)?.trim_ascii();
        content.starts_with(b"{").then_some(content)
    })
}

/// Imports a file of definitions, as if an administrator did, on behalf of the broker.
///
/// # Errors
/// What the API would answer.
pub(in crate::http) async fn load(admin: &Admin, json: &[u8]) -> ApiResult<()> {
    let caller = Caller::broker(admin.definitions().await?.into());
    Import { admin, caller: &caller, vhost: None }.run(&mut parse(json)?).await
}

/// An import in progress.
struct Import<'a> {
    admin: &'a Admin,
    caller: &'a Caller,
    /// Where everything goes, whatever the definitions say.
    vhost: Option<&'a str>,
}

impl Import<'_> {
    async fn run(&self, fields: &mut Fields) -> ApiResult<()> {
        self.require_vhosts(fields)?;
        if self.vhost.is_none() {
            self.import_cluster(fields).await?;
        }
        for fields in objects(fields, "parameters")? {
            self.parameter(fields).await?;
        }
        for fields in objects(fields, "policies")? {
            let (vhost, name) = (self.vhost_of(&fields)?, fields.required_text("name")?.to_owned());
            let shown = format!("({vhost}/{name})");
            let policy = policy::from_fields(vhost, name, with_object(fields))?;
            let put = self.put(Definition::Policy(policy)).await;
            put.map_err(|error| error.with_context(&shown))?;
        }
        let mut window = Window::default();
        let (exchanges, queues) = (objects(fields, "exchanges")?, objects(fields, "queues")?);
        let there = if exchanges.is_empty() { HashSet::new() } else { self.exchanges().await? };
        for fields in exchanges {
            let (vhost, name) = (self.vhost_of(&fields)?, fields.required_text("name")?.to_owned());
            if !is_reserved(&name) && !there.contains(&(vhost, name.clone())) {
                window.push(self.command(&fields, exchange::declare(name, &fields)?)?).await?;
            }
        }
        let there = if queues.is_empty() { HashSet::new() } else { self.queues().await? };
        for fields in queues {
            let (vhost, name) = (self.vhost_of(&fields)?, fields.required_text("name")?.to_owned());
            if !is_reserved(&name) && !there.contains(&(vhost, name.clone())) {
                window.push(self.command(&fields, queue::declare(name, &fields)?)?).await?;
            }
        }
        // What is bound has to be there.
        window.settle(0).await?;
        for fields in objects(fields, "bindings")? {
            // The bindings to the default exchange are there with their queues.
            if !fields.required_text("source")?.is_empty() {
                window.push(self.command(&fields, binding::bind_command(&fields)?)?).await?;
            }
        }
        window.settle(0).await
    }

    /// Virtual hosts and names of the exchanges that are there: an import leaves them alone, as RabbitMQ does.
    async fn exchanges(&self) -> ApiResult<HashSet<(String, String)>> {
        let mut names = HashSet::new();
        for vhost in self.caller.defined.vhosts.iter().map(|vhost| &vhost.name) {
            if self.vhost.is_none_or(|only| only == vhost) {
                let exchanges = self.admin.exchanges(vhost).await?.into_iter();
                names.extend(exchanges.map(|exchange| (vhost.clone(), exchange.definition.name.clone())));
            }
        }
        Ok(names)
    }

    /// The same of queues.
    async fn queues(&self) -> ApiResult<HashSet<(String, String)>> {
        let queues = self.admin.queues(self.vhost).await?.into_iter();
        Ok(queues.map(|queue| (queue.vhost.to_string(), queue.name.to_string())).collect())
    }

    /// 400 if something is to be put into a virtual host that neither exists nor is defined here.
    fn require_vhosts(&self, fields: &Fields) -> ApiResult<()> {
        if self.vhost.is_some() {
            return Ok(());
        }
        let named = |list: &str, field: &str| -> HashSet<String> {
            let objects = fields.get(list).and_then(Value::as_array).into_iter().flatten();
            objects.filter_map(|object| Some(object.get(field)?.as_str()?.to_owned())).collect()
        };
        let brought = named("vhosts", "name");
        for list in ["queues", "exchanges", "bindings", "permissions", "policies", "parameters"] {
            let exists = |vhost: &String| brought.contains(vhost) || self.caller.defined.vhost(vhost).is_some();
            if let Some(vhost) = named(list, "vhost").into_iter().find(|vhost| !exists(vhost)) {
                let reason = format!("Please create virtual host \"{vhost}\" prior to importing definitions.");
                return Err(ApiError::bad_request(reason));
            }
        }
        Ok(())
    }

    async fn import_cluster(&self, fields: &mut Fields) -> ApiResult<()> {
        for fields in objects(fields, "users")? {
            let name = fields.required_text("name")?.to_owned();
            let user = user::from_fields(name.clone(), &fields)?;
            self.put(Definition::User(user)).await?;
            for (limit, value) in fields.get("limits").and_then(Value::as_object).into_iter().flatten() {
                if let (Some(limit), Some(value)) = (limit::user_limit(limit), limit::number(value)) {
                    let user = name.clone();
                    self.admin.request(AdminRequest::SetUserLimit { user, limit, value }).await?;
                }
            }
        }
        for mut fields in objects(fields, "vhosts")? {
            let name = fields.required_text("name")?.to_owned();
            vhost::put_definition(self.admin, self.caller, name, &mut fields).await?;
        }
        for fields in objects(fields, "permissions")? {
            let (vhost, user) = (self.vhost_of(&fields)?, fields.required_text("user")?.to_owned());
            self.put(permission::from_fields(vhost, user, &fields)?).await?;
        }
        for fields in objects(fields, "topic_permissions")? {
            let (vhost, user) = (self.vhost_of(&fields)?, fields.required_text("user")?.to_owned());
            let definition = permission::topic_from_fields(vhost, user, &fields)?;
            self.put(Definition::TopicPermission(definition)).await?;
        }
        for mut fields in objects(fields, "global_parameters")? {
            let name = fields.required_text("name")?.to_owned();
            let value = fields.take("value").unwrap_or_default();
            self.put(Definition::GlobalParameter(GlobalParameterDefinition { name, value })).await?;
        }
        Ok(())
    }

    async fn parameter(&self, mut fields: Fields) -> ApiResult<()> {
        let vhost = self.vhost_of(&fields)?;
        let component = fields.required_text("component")?.to_owned();
        let name = fields.required_text("name")?.to_owned();
        let value = match fields.take("value").unwrap_or_default() {
            Value::Object(fields) => Value::Object(with_object(fields.into()).into()),
            value => value,
        };
        self.put(parameter::definition(ParameterDefinition { vhost, component, name, value })?).await
    }

    async fn put(&self, definition: Definition) -> ApiResult<()> {
        imported(self.admin.request(AdminRequest::Put(definition)).await)
    }

    /// Declares or binds. An administrator's import needs no permissions in the virtual host.
    fn command(&self, fields: &Fields, command: Command) -> ApiResult<Answer> {
        let vhost = self.vhost_of(fields)?;
        let request = AdminRequest::Command { user: BROKER.to_owned(), vhost, command };
        Ok(Box::pin(self.admin.begin(request)))
    }

    /// Where an object goes. What the definitions themselves bring is there by now.
    fn vhost_of(&self, fields: &Fields) -> ApiResult<String> {
        match self.vhost {
            Some(vhost) => Ok(vhost.to_owned()),
            None => Ok(fields.required_text("vhost")?.to_owned()),
        }
    }
}

/// Objects of an import that are on their way at the same time: the catalog commits them together.
const WINDOW: usize = 1024;

/// The answer to a request, yet to come.
type Answer = Pin<Box<dyn Future<Output = Result<AdminReply, AdminError>> + Send>>;

/// Requests that have no answer yet, in order.
#[derive(Default)]
struct Window(VecDeque<Answer>);

impl Window {
    async fn push(&mut self, answer: Answer) -> ApiResult<()> {
        self.0.push_back(answer);
        self.settle(WINDOW).await
    }

    /// Waits until at most `left` have no answer. An error is that of the first that was refused.
    async fn settle(&mut self, left: usize) -> ApiResult<()> {
        while self.0.len() > left {
            let Some(answer) = self.0.pop_front() else { break };
            imported(answer.await)?;
        }
        Ok(())
    }
}

/// Names that nobody may declare: RabbitMQ's imports pass over them.
fn is_reserved(name: &str) -> bool {
    name.is_empty() || name.starts_with("amq.")
}

/// A policy whose `definition` is an object: rabbitmqctl exports those of operator policies as lists of pairs, which RabbitMQ itself cannot
/// import.
fn with_object(mut policy: Fields) -> Fields {
    if let Some(Value::Array(pairs)) = policy.get("definition") {
        let pair = |item: &Value| match item.as_array()?.as_slice() {
            [name, value] => Some((name.as_str()?.to_owned(), value.clone())),
            _ => None,
        };
        if let Some(definition) = pairs.iter().map(pair).collect::<Option<Map<_, _>>>() {
            policy.insert("definition", definition.into());
        }
    }
    policy
}

fn imported(reply: Result<AdminReply, AdminError>) -> ApiResult<()> {
    reply.map(drop).map_err(|error| ApiError::from(error).or_bad_request())
}

/// The objects of a list of the definitions; none if the list is not there.
fn objects(fields: &mut Fields, name: &str) -> ApiResult<Vec<Fields>> {
    let refused = || ApiError::bad_request(format!("{name} is not a list of objects"));
    match fields.take(name) {
        None => Ok(Vec::new()),
        Some(Value::Array(items)) => items
            .into_iter()
            .map(|item| match item {
                Value::Object(fields) => Ok(fields.into()),
                _ => Err(refused()),
            })
            .collect(),
        Some(_) => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_may_come_as_the_file_of_a_form() {
        let form = "--x1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.json\"\r\n\r\n\
                    {\"users\":[]}\r\n--x1--\r\n";
        assert!(parse(form.as_bytes()).unwrap().get("users").is_some());
        assert!(parse(b"\xef\xbb\xbf{\"users\":[]}").unwrap().get("users").is_some());
        assert!(parse(b"{").is_err());
        assert!(parse(b"--").unwrap().get("users").is_none());
    }
}

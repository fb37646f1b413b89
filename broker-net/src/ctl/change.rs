//! Verbs that change something else than users.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _, stdin};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::http::{Method, StatusCode};

use super::client::{Client, parse, quote, refused};
use super::failure::Failure;
use super::output::Printer;
use super::verb::{DefinitionsFormat, Metadata, Policy, Verb};
use super::{Options, messages, setting};

/// Carries out a verb that changes something; gives back any other.
pub(super) fn execute(
    client: &Client,
    printer: &mut Printer,
    options: &Options,
    verb: Verb,
) -> Result<Option<Verb>, Failure> {
    let Some(verb) = vhosts(client, printer, verb)? else { return Ok(None) };
    let Some(verb) = limits(client, printer, options, verb)? else { return Ok(None) };
    let Some(verb) = policies(client, printer, options, verb)? else { return Ok(None) };
    let Some(verb) = parameters(client, printer, options, verb)? else { return Ok(None) };
    let Some(verb) = queues(client, printer, options, verb)? else { return Ok(None) };
    let Some(verb) = messages::execute(client, printer, options, verb)? else { return Ok(None) };
    let Some(verb) = setting::execute(client, printer, verb)? else { return Ok(None) };
    let Some(verb) = connections(client, printer, options, verb)? else { return Ok(None) };
    definitions(client, printer, verb)
}

fn vhosts(client: &Client, printer: &mut Printer, verb: Verb) -> Result<Option<Verb>, Failure> {
    let path = |name: &str| format!("/vhosts/{}", quote(name));
    let existing = |name: &str| {
        let vhost = client.get_if_there(&path(name))?;
        vhost.ok_or_else(|| Failure::Data(format!("Virtual host '{name}' does not exist")))
    };
    match verb {
        Verb::AddVhost { vhost_name, metadata } => {
            if vhost_name.is_empty() {
                return Err(Failure::Invalid("virtual host name cannot be an empty string".to_owned()));
            }
            printer.say(&format!("Adding vhost \"{vhost_name}\" ..."))?;
            client.put(&path(&vhost_name), &metadata.over(json!({"description": "", "tags": ""})))?;
        }
        Verb::UpdateVhostMetadata { vhost_name, metadata } => {
            printer.say(&format!("Updating metadata of vhost \"{vhost_name}\" ..."))?;
            let old = existing(&vhost_name)?;
            client.put(&path(&vhost_name), &metadata.over(kept(&old)))?;
        }
        Verb::SetVhostTags { vhost_name, tags } => {
            let shown = tags.join(", ");
            printer.say(&format!("Setting tags for virtual host \"{vhost_name}\" to [{shown}] ..."))?;
            let mut body = kept(&existing(&vhost_name)?);
            body["tags"] = tags.join(",").into();
            client.put(&path(&vhost_name), &body)?;
        }
        Verb::DeleteVhost { vhost_name } => {
            printer.say(&format!("Deleting vhost \"{vhost_name}\" ..."))?;
            existing(&vhost_name)?;
            client.delete(&path(&vhost_name))?;
        }
        Verb::EnableVhostProtectionFromDeletion { vhost_name } => {
            printer.say(&format!("Enabling deletion protection for virtual host '{vhost_name}'..."))?;
            existing(&vhost_name)?;
            client.post(&format!("{}/deletion/protection", path(&vhost_name)), &json!({}))?;
        }
        Verb::DisableVhostProtectionFromDeletion { vhost_name } => {
            printer.say(&format!("Disabling deletion protection for virtual host '{vhost_name}'..."))?;
            existing(&vhost_name)?;
            client.delete(&format!("{}/deletion/protection", path(&vhost_name)))?;
        }
        Verb::SetClusterName { name } => {
            printer.say(&format!("Setting cluster name to {name} ..."))?;
            client.put("/cluster-name", &json!({"name": name}))?;
        }
        other => return Ok(Some(other)),
    }
    Ok(None)
}

/// What a virtual host keeps when something of it is changed.
fn kept(vhost: &Value) -> Value {
    let mut kept = json!({"description": vhost["description"], "tags": vhost["tags"]});
    if let Some(queue_type) = vhost["default_queue_type"].as_str().filter(|name| *name != "undefined") {
        kept["default_queue_type"] = queue_type.into();
    }
    kept
}

impl Metadata {
    fn over(self, mut old: Value) -> Value {
        let Self { description, tags, default_queue_type } = self;
        let given = [("description", description), ("tags", tags), ("default_queue_type", default_queue_type)];
        for (name, value) in given {
            if let Some(value) = value {
                old[name] = value.into();
            }
        }
        old
    }
}

fn limits(client: &Client, printer: &mut Printer, options: &Options, verb: Verb) -> Result<Option<Verb>, Failure> {
    let vhost = &options.vhost;
    match verb {
        Verb::SetVhostLimits { definition } => {
            printer.say(&format!("Setting vhost limits to \"{definition}\" for vhost \"{vhost}\" ..."))?;
            let limits = client.limits(&definition)?;
            client.set_limits(&format!("/vhost-limits/{}", quote(vhost)), &limits)?;
        }
        Verb::ClearVhostLimits => {
            printer.say(&format!("Clearing vhost \"{vhost}\" limits ..."))?;
            for limit in ["max-connections", "max-queues"] {
                client.delete_if_there(&format!("/vhost-limits/{}/{limit}", quote(vhost)))?;
            }
        }
        other => return Ok(Some(other)),
    }
    Ok(None)
}

fn policies(
    client: &Client,
    printer: &mut Printer,
    options: &Options,
    verb: Verb,
) -> Result<Option<Verb>, Failure> {
    let vhost = &options.vhost;
    match verb {
        Verb::SetPolicy(policy) => {
            printer.say(&format!("Setting policy {} for vhost \"{vhost}\" ...", policy.shown()))?;
            client.put(&policy_path("policies", vhost, &policy.name), &policy.body()?)?;
        }
        Verb::ClearPolicy { name } => {
            printer.say(&format!("Clearing policy \"{name}\" on vhost \"{vhost}\" ..."))?;
            delete_parameter(client, &policy_path("policies", vhost, &name))?;
        }
        Verb::SetOperatorPolicy(policy) => {
            printer
                .say(&format!("Setting operator policy override {} for vhost \"{vhost}\" ...", policy.shown()))?;
            client.put(&policy_path("operator-policies", vhost, &policy.name), &policy.body()?)?;
        }
        Verb::ClearOperatorPolicy { name } => {
            printer.say(&format!("Clearing operator policy \"{name}\" on vhost \"{vhost}\" ..."))?;
            delete_parameter(client, &policy_path("operator-policies", vhost, &name))?;
        }
        other => return Ok(Some(other)),
    }
    Ok(None)
}

fn policy_path(kind: &str, vhost: &str, name: &str) -> String {
    format!("/{kind}/{}/{}", quote(vhost), quote(name))
}

impl Policy {
    fn shown(&self) -> String {
        let Self { name, pattern, definition, priority, .. } = self;
        format!("\"{name}\" for pattern \"{pattern}\" to \"{definition}\" with priority \"{priority}\"")
    }

    fn body(&self) -> Result<Value, Failure> {
        let definition = parse(&self.definition)?;
        let priority: i64 =
            self.priority.parse().map_err(|_| Failure::Refused("Priority must be an integer".to_owned()))?;
        Ok(json!({
            "pattern": self.pattern, "definition": definition, "priority": priority, "apply-to": self.apply_to
        }))
    }
}

fn delete_parameter(client: &Client, path: &str) -> Result<(), Failure> {
    match client.call(Method::DELETE, path, None, None)? {
        (status, _) if status.is_success() => Ok(()),
        (StatusCode::NOT_FOUND, _) => Err(Failure::Refused("Parameter does not exist".to_owned())),
        (status, text) => Err(refused(status, &text)),
    }
}

fn parameters(
    client: &Client,
    printer: &mut Printer,
    options: &Options,
    verb: Verb,
) -> Result<Option<Verb>, Failure> {
    let vhost = &options.vhost;
    let path =
        |component: &str, name: &str| format!("/parameters/{}/{}/{}", quote(component), quote(vhost), quote(name));
    match verb {
        Verb::SetParameter { component, name, value } => {
            printer.say(&format!(
                "Setting runtime parameter \"{name}\" for component \"{component}\" to \"{value}\" in vhost \"{vhost}\" ..."
            ))?;
            client.put(&path(&component, &name), &json!({"value": parse(&value)?}))?;
        }
        Verb::ClearParameter { component, name } => {
            printer.say(&format!(
                "Clearing runtime parameter \"{name}\" for component \"{component}\" on vhost \"{vhost}\" ..."
            ))?;
            delete_parameter(client, &path(&component, &name))?;
        }
        Verb::SetGlobalParameter { name, value } => {
            printer.say(&format!("Setting global runtime parameter \"{name}\" to \"{value}\" ..."))?;
            client.put(&format!("/global-parameters/{}", quote(&name)), &json!({"value": parse(&value)?}))?;
        }
        Verb::ClearGlobalParameter { name } => {
            printer.say(&format!("Clearing global runtime parameter \"{name}\" ..."))?;
            delete_parameter(client, &format!("/global-parameters/{}", quote(&name)))?;
        }
        other => return Ok(Some(other)),
    }
    Ok(None)
}

fn queues(client: &Client, printer: &mut Printer, options: &Options, verb: Verb) -> Result<Option<Verb>, Failure> {
    let vhost = &options.vhost;
    let path = |name: &str| format!("/queues/{}/{}", quote(vhost), quote(name));
    match verb {
        Verb::DeleteQueue { queue_name, if_empty, if_unused } => {
            let conditions = match (if_empty, if_unused) {
                (false, false) => "",
                (true, false) => " if queue is empty",
                (false, true) => " if queue is unused",
                (true, true) => " if queue is empty and unused",
            };
            printer.say(&format!("Deleting queue '{queue_name}' on vhost '{vhost}'{conditions} ..."))?;
            let path = path(&queue_name);
            if client.get_if_there(&path)?.is_none() {
                return Err(Failure::Queue("Queue not found".to_owned()));
            }
            let messages = client.get(&format!("{path}?columns=messages"))?;
            client.delete(&format!("{path}?if-empty={if_empty}&if-unused={if_unused}"))?;
            let messages = messages["messages"].as_u64().unwrap_or_default();
            printer.message(&format!("Queue was successfully deleted with {messages} ready messages"))?;
        }
        Verb::PurgeQueue { queue_name } => {
            printer.say(&format!("Purging queue '{queue_name}' in vhost '{vhost}' ..."))?;
            let path = path(&queue_name);
            if client.get_if_there(&path)?.is_none() {
                return Err(Failure::Data("Object (queue, stream, exchange, etc) was not found".to_owned()));
            }
            client.delete(&format!("{path}/contents"))?;
        }
        other => return Ok(Some(other)),
    }
    Ok(None)
}

fn connections(
    client: &Client,
    printer: &mut Printer,
    options: &Options,
    verb: Verb,
) -> Result<Option<Verb>, Failure> {
    let vhost = &options.vhost;
    match verb {
        Verb::CloseConnection { connection, explanation } => {
            printer.say(&format!("Closing connection {connection}, reason: {explanation}..."))?;
            close(client, &connection, &explanation)?;
        }
        Verb::CloseAllConnections { explanation, global, limit, per_connection_delay } => {
            let (which, path) = if global {
                ("across all vhosts".to_owned(), "/connections".to_owned())
            } else {
                (format!("in vhost {vhost}"), format!("/vhosts/{}/connections", quote(vhost)))
            };
            let most = if limit == 0 { "all connections".to_owned() } else { format!("{limit} connections") };
            printer.say(&format!("Closing {most} {which}, reason: {explanation}..."))?;
            let limit = if limit == 0 { usize::MAX } else { limit };
            let pause = Duration::from_millis(per_connection_delay);
            let closed = close_all(client, &path, &explanation, limit, pause)?;
            printer.message(&format!("Closed {closed} connections"))?;
        }
        Verb::CloseAllUserConnections { username, explanation } => {
            printer.say(&format!("Closing connections of user {username}, reason: {explanation}..."))?;
            let path = format!("/connections/username/{}", quote(&username));
            close_all(client, &path, &explanation, usize::MAX, Duration::ZERO)?;
        }
        other => return Ok(Some(other)),
    }
    Ok(None)
}

fn close(client: &Client, name: &str, reason: &str) -> Result<(), Failure> {
    let path = format!("/connections/{}", quote(name));
    match client.call(Method::DELETE, &path, None, Some(reason))? {
        (status, _) if status.is_success() => Ok(()),
        (StatusCode::NOT_FOUND, _) => Err(Failure::Refused(format!("there is no connection {name}"))),
        (status, text) => Err(refused(status, &text)),
    }
}

fn close_all(client: &Client, path: &str, reason: &str, limit: usize, pause: Duration) -> Result<usize, Failure> {
    let connections = client.get_if_there(&format!("{path}?columns=name"))?.unwrap_or_default();
    let names = connections.as_array().into_iter().flatten().filter_map(|connection| connection["name"].as_str());
    let mut closed = 0;
    for name in names.take(limit) {
        // It may have closed meanwhile.
        if close(client, name, reason).is_ok() {
            closed += 1;
            thread::sleep(pause);
        }
    }
    Ok(closed)
}

fn definitions(client: &Client, printer: &mut Printer, verb: Verb) -> Result<Option<Verb>, Failure> {
    match verb {
        Verb::ExportDefinitions { path, format } => {
            only_json(format)?;
            let standard_output = path == Path::new("-");
            let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
            if let Some(directory) = directory.filter(|directory| !directory.is_dir()) {
                return Err(Failure::Invalid(format!("Directory {} does not exist", directory.display())));
            }
            if !standard_output {
                printer.say(&format!("Exporting definitions in JSON to a file at \"{}\" ...", path.display()))?;
            }
            let definitions = client.get("/definitions")?;
            let text = serde_json::to_string_pretty(&definitions).unwrap_or_default();
            if standard_output {
                printer.line(&text)?;
            } else {
                private(&path)?.write_all(text.as_bytes())?;
            }
        }
        Verb::ImportDefinitions { path, format, skip_if_unchanged: _ } => {
            only_json(format)?;
            let path = path.filter(|path| path != Path::new("-"));
            let text = match path {
                Some(path) => {
                    if !path.is_file() {
                        return Err(Failure::Invalid(format!("File {} does not exist", path.display())));
                    }
                    let path_shown = path.display();
                    printer.say(&format!("Importing definitions in JSON from a file at \"{path_shown}\" ..."))?;
                    fs::read_to_string(&path)?
                }
                None => {
                    printer.say("Importing definitions in JSON from standard input ...")?;
                    let mut text = String::new();
                    stdin().read_to_string(&mut text)?;
                    text
                }
            };
            client.post("/definitions", &parse(&text)?)?;
            let says =
                "Successfully started definition import. This process is asynchronous and can take some time.";
            printer.say(says)?;
        }
        other => return Ok(Some(other)),
    }
    Ok(None)
}

fn only_json(format: DefinitionsFormat) -> Result<(), Failure> {
    if format == DefinitionsFormat::Erlang {
        return Err(Failure::Usage("definitions are written and read as JSON: --format json".to_owned()));
    }
    Ok(())
}

/// Definitions hold the hashes of passwords.
fn private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

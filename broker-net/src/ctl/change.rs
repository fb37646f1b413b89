//! Verbs that change something.

use std::fs;
use std::io::{Read as _, stdin};
use std::path::Path;

use serde_json::{Value, json};
use ureq::http::{Method, StatusCode};

use super::client::{Client, quote, refused};
use super::output::Printer;
use super::verb::Verb;
use super::{Failure, Options, messages};

/// Carries out a verb that changes something; gives back any other.
pub(super) fn execute(
    client: &Client,
    printer: &mut Printer,
    options: &Options,
    verb: Verb,
) -> Result<Option<Verb>, Failure> {
    let Some(verb) = users(client, printer, verb)? else { return Ok(None) };
    let Some(verb) = permissions(client, printer, options, verb)? else { return Ok(None) };
    let Some(verb) = vhosts(client, printer, options, verb)? else { return Ok(None) };
    let Some(verb) = policies(client, printer, options, verb)? else { return Ok(None) };
    let Some(verb) = messages::execute(client, printer, options, verb)? else { return Ok(None) };
    contents(client, printer, options, verb)
}

fn parse(what: &str, text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::Usage(format!("{what} is not JSON: {error}")))
}

/// Puts a user again with its present password and the changes.
fn change_user(client: &Client, username: &str, changes: Value) -> Result<(), Failure> {
    let path = format!("/users/{}", quote(username));
    let (status, text) = client.call(Method::GET, &path, None, None)?;
    if status == StatusCode::NOT_FOUND {
        return Err(Failure::Refused(format!("User \"{username}\" does not exist")));
    }
    if !status.is_success() {
        return Err(refused(status, &text));
    }
    let mut user = parse("the answer", &text)?;
    for (name, value) in changes.as_object().into_iter().flatten() {
        if name == "password" {
            user.as_object_mut().and_then(|user| user.remove("password_hash"));
        }
        user[name] = value.clone();
    }
    client.put(&path, &user)
}

fn users(client: &Client, printer: &mut Printer, verb: Verb) -> Result<Option<Verb>, Failure> {
    match verb {
        Verb::AddUser { username, password } => {
            printer.say(&format!("Adding user \"{username}\" ..."))?;
            let path = format!("/users/{}", quote(&username));
            if client.get(&path).is_ok() {
                return Err(Failure::Refused(format!("User \"{username}\" already exists")));
            }
            client.put(&path, &json!({"password": password, "tags": ""}))?;
            printer.say(
                "Done. Don't forget to grant the user permissions to some virtual hosts! \
                 See 'ringmqctl help set_permissions' to learn more.",
            )?;
        }
        Verb::DeleteUser { username } => {
            printer.say(&format!("Deleting user \"{username}\" ..."))?;
            client.delete_if_there(&format!("/users/{}", quote(&username)))?;
        }
        Verb::ChangePassword { username, password } => {
            printer.say(&format!("Changing password for user \"{username}\" ..."))?;
            change_user(client, &username, json!({"password": password}))?;
        }
        Verb::ClearPassword { username } => {
            printer.say(&format!("Clearing password for user \"{username}\" ..."))?;
            change_user(client, &username, json!({"password_hash": ""}))?;
        }
        Verb::SetUserTags { username, tags } => {
            printer.say(&format!("Setting tags for user \"{username}\" to [{}] ...", tags.join(", ")))?;
            change_user(client, &username, json!({"tags": tags}))?;
        }
        Verb::AuthenticateUser { username, password } => {
            printer.say(&format!("Authenticating user \"{username}\" ..."))?;
            let (status, text) = client.as_user(&username, &password).call(Method::GET, "/whoami", None, None)?;
            // A user without a tag of management is refused for that, after the password was found right.
            if !status.is_success() && !text.contains("Not management user") {
                let reason = format!("Error: failed to authenticate user \"{username}\"");
                return Err(Failure::Refused(format!("{reason}\nuser '{username}' - invalid credentials")));
            }
            printer.say("Success")?;
        }
        Verb::HashPassword { password } => {
            let hash = client.get(&format!("/auth/hash_password/{}", quote(&password)))?;
            printer.say("Will hash password")?;
            printer.line(hash["ok"].as_str().unwrap_or_default())?;
        }
        other => return Ok(Some(other)),
    }
    Ok(None)
}

fn permissions(
    client: &Client,
    printer: &mut Printer,
    options: &Options,
    verb: Verb,
) -> Result<Option<Verb>, Failure> {
    let vhost = &options.vhost;
    let quoted = quote(vhost);
    match verb {
        Verb::SetPermissions { username, configure, write, read } => {
            printer.say(&format!("Setting permissions for user \"{username}\" in vhost \"{vhost}\" ..."))?;
            let body = json!({"configure": configure, "write": write, "read": read});
            client.put(&format!("/permissions/{quoted}/{}", quote(&username)), &body)?;
        }
        Verb::ClearPermissions { username } => {
            printer.say(&format!("Clearing permissions for user \"{username}\" in vhost \"{vhost}\" ..."))?;
            client.delete_if_there(&format!("/permissions/{quoted}/{}", quote(&username)))?;
        }
        Verb::SetTopicPermissions { username, exchange, write, read } => {
            printer.say(&format!(
                "Setting topic permissions on \"{exchange}\" for user \"{username}\" in vhost \"{vhost}\" ..."
            ))?;
            let body = json!({"exchange": exchange, "write": write, "read": read});
            client.put(&format!("/topic-permissions/{quoted}/{}", quote(&username)), &body)?;
        }
        Verb::ClearTopicPermissions { username, exchange } => {
            printer
                .say(&format!("Clearing topic permissions for user \"{username}\" in vhost \"{vhost}\" ..."))?;
            let exchange = exchange.map(|exchange| format!("/{}", quote(&exchange))).unwrap_or_default();
            client.delete_if_there(&format!("/topic-permissions/{quoted}/{}{exchange}", quote(&username)))?;
        }
        Verb::SetUserLimits { username, definition } => {
            printer.say(&format!("Setting user limits to \"{definition}\" for user \"{username}\" ..."))?;
            set_limits(client, &format!("/user-limits/{}", quote(&username)), &definition)?;
        }
        Verb::ClearUserLimits { username, limit } => {
            printer.say(&format!("Clearing user limits for user \"{username}\" ..."))?;
            let limits =
                if limit == "all" { vec!["max-connections", "max-channels"] } else { vec![limit.as_str()] };
            for limit in limits {
                client.delete_if_there(&format!("/user-limits/{}/{limit}", quote(&username)))?;
            }
        }
        other => return Ok(Some(other)),
    }
    Ok(None)
}

fn set_limits(client: &Client, path: &str, definition: &str) -> Result<(), Failure> {
    let limits = parse("the definition", definition)?;
    let limits = limits.as_object().ok_or_else(|| Failure::Usage("the definition is no object".to_owned()))?;
    for (limit, value) in limits {
        client.put(&format!("{path}/{}", quote(limit)), &json!({"value": value}))?;
    }
    Ok(())
}

fn vhosts(client: &Client, printer: &mut Printer, options: &Options, verb: Verb) -> Result<Option<Verb>, Failure> {
    let vhost = &options.vhost;
    match verb {
        Verb::AddVhost { vhost_name, description, tags, default_queue_type } => {
            printer.say(&format!("Adding vhost \"{vhost_name}\" ..."))?;
            let mut body = json!({"description": description, "tags": tags});
            if let Some(queue_type) = default_queue_type {
                body["default_queue_type"] = queue_type.into();
            }
            client.put(&format!("/vhosts/{}", quote(&vhost_name)), &body)?;
        }
        Verb::DeleteVhost { vhost_name } => {
            printer.say(&format!("Deleting vhost \"{vhost_name}\" ..."))?;
            let missing = |_| Failure::Refused(format!("Virtual host '{vhost_name}' does not exist"));
            let path = format!("/vhosts/{}", quote(&vhost_name));
            client.get(&path).map_err(missing)?;
            client.delete(&path)?;
        }
        Verb::SetVhostLimits { definition } => {
            printer.say(&format!("Setting vhost limits to \"{definition}\" for vhost \"{vhost}\" ..."))?;
            set_limits(client, &format!("/vhost-limits/{}", quote(vhost)), &definition)?;
        }
        Verb::ClearVhostLimits => {
            printer.say(&format!("Clearing vhost \"{vhost}\" limits ..."))?;
            for limit in ["max-connections", "max-queues"] {
                client.delete(&format!("/vhost-limits/{}/{limit}", quote(vhost)))?;
            }
        }
        Verb::SetClusterName { name } => {
            printer.say(&format!("Setting cluster name to {name} ..."))?;
            client.put("/cluster-name", &json!({"name": name}))?;
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
    let quoted = quote(vhost);
    let body = |pattern: &str, definition: &str, priority: i64, apply_to: &str| {
        let definition = parse("the definition", definition)?;
        Ok::<_, Failure>(json!({
            "pattern": pattern, "definition": definition, "priority": priority, "apply-to": apply_to
        }))
    };
    match verb {
        Verb::SetPolicy { name, pattern, definition, priority, apply_to } => {
            printer.say(&format!(
                "Setting policy \"{name}\" for pattern \"{pattern}\" to \"{definition}\" with priority \"{priority}\" \
                 for vhost \"{vhost}\" ..."
            ))?;
            let body = body(&pattern, &definition, priority, &apply_to)?;
            client.put(&format!("/policies/{quoted}/{}", quote(&name)), &body)?;
        }
        Verb::ClearPolicy { name } => {
            printer.say(&format!("Clearing policy \"{name}\" on vhost \"{vhost}\" ..."))?;
            client.delete(&format!("/policies/{quoted}/{}", quote(&name)))?;
        }
        Verb::SetOperatorPolicy { name, pattern, definition, priority, apply_to } => {
            printer.say(&format!(
                "Setting operator policy override \"{name}\" for pattern \"{pattern}\" to \"{definition}\" with priority \
                 \"{priority}\" for vhost \"{vhost}\" ..."
            ))?;
            let body = body(&pattern, &definition, priority, &apply_to)?;
            client.put(&format!("/operator-policies/{quoted}/{}", quote(&name)), &body)?;
        }
        Verb::ClearOperatorPolicy { name } => {
            printer.say(&format!("Clearing operator policy \"{name}\" on vhost \"{vhost}\" ..."))?;
            client.delete(&format!("/operator-policies/{quoted}/{}", quote(&name)))?;
        }
        Verb::SetParameter { component, name, value } => {
            printer.say(&format!(
                "Setting runtime parameter \"{name}\" for component \"{component}\" to \"{value}\" in vhost \"{vhost}\" ..."
            ))?;
            let body = json!({"value": parse("the value", &value)?});
            client.put(&format!("/parameters/{}/{quoted}/{}", quote(&component), quote(&name)), &body)?;
        }
        Verb::ClearParameter { component, name } => {
            printer.say(&format!(
                "Clearing runtime parameter \"{name}\" for component \"{component}\" on vhost \"{vhost}\" ..."
            ))?;
            client.delete(&format!("/parameters/{}/{quoted}/{}", quote(&component), quote(&name)))?;
        }
        Verb::SetGlobalParameter { name, value } => {
            printer.say(&format!("Setting global runtime parameter \"{name}\" to \"{value}\" ..."))?;
            let body = json!({"value": parse("the value", &value)?});
            client.put(&format!("/global-parameters/{}", quote(&name)), &body)?;
        }
        Verb::ClearGlobalParameter { name } => {
            printer.say(&format!("Clearing global runtime parameter \"{name}\" ..."))?;
            client.delete(&format!("/global-parameters/{}", quote(&name)))?;
        }
        other => return Ok(Some(other)),
    }
    Ok(None)
}

fn contents(
    client: &Client,
    printer: &mut Printer,
    options: &Options,
    verb: Verb,
) -> Result<Option<Verb>, Failure> {
    let vhost = &options.vhost;
    let quoted = quote(vhost);
    match verb {
        Verb::DeleteQueue { queue_name, if_empty, if_unused } => {
            printer.say(&format!("Deleting queue '{queue_name}' on vhost '{vhost}' ..."))?;
            let queue = format!("/queues/{quoted}/{}", quote(&queue_name));
            client.get(&queue).map_err(|_| Failure::Refused("Queue not found".to_owned()))?;
            client.delete(&format!("{queue}?if-empty={if_empty}&if-unused={if_unused}"))?;
        }
        Verb::PurgeQueue { queue_name } => {
            printer.say(&format!("Purging queue '{queue_name}' in vhost '{vhost}' ..."))?;
            client.delete(&format!("/queues/{quoted}/{}/contents", quote(&queue_name)))?;
        }
        Verb::CloseConnection { connection, explanation } => {
            printer.say(&format!("Closing connection {connection}, reason: {explanation}..."))?;
            close(client, &connection, &explanation)?;
        }
        Verb::CloseAllConnections { explanation } => {
            printer.say(&format!("Closing all connections in vhost {vhost}, reason: {explanation}..."))?;
            close_all(client, &format!("/vhosts/{quoted}/connections?columns=name"), &explanation)?;
        }
        Verb::CloseAllUserConnections { username, explanation } => {
            printer.say(&format!("Closing connections of user {username}, reason: {explanation}..."))?;
            close_all(client, &format!("/connections/username/{}?columns=name", quote(&username)), &explanation)?;
        }
        Verb::ExportDefinitions { path } => {
            let definitions = client.get("/definitions")?;
            let text = serde_json::to_string_pretty(&definitions).unwrap_or_default();
            if path == Path::new("-") {
                printer.line(&text)?;
            } else {
                printer.say(&format!("Exporting definitions in JSON to a file at \"{}\" ...", path.display()))?;
                fs::write(&path, text)?;
            }
        }
        Verb::ImportDefinitions { path } => {
            let mut text = String::new();
            if path == Path::new("-") {
                stdin().read_to_string(&mut text)?;
            } else {
                printer
                    .say(&format!("Importing definitions in JSON from a file at \"{}\" ...", path.display()))?;
                text = fs::read_to_string(&path)?;
            }
            client.post("/definitions", &parse("the file", &text)?)?;
            printer.say("Successfully imported definitions")?;
        }
        other => return Ok(Some(other)),
    }
    Ok(None)
}

fn close(client: &Client, name: &str, reason: &str) -> Result<(), Failure> {
    let path = format!("/connections/{}", quote(name));
    match client.call(Method::DELETE, &path, None, Some(reason))? {
        (status, _) if status.is_success() => Ok(()),
        (status, text) => Err(refused(status, &text)),
    }
}

fn close_all(client: &Client, path: &str, reason: &str) -> Result<(), Failure> {
    let connections = client.get(path)?;
    for connection in connections.as_array().into_iter().flatten() {
        if let Some(name) = connection["name"].as_str() {
            // It may have closed meanwhile.
            let _ = close(client, name, reason);
        }
    }
    Ok(())
}

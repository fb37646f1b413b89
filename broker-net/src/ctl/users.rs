//! Verbs that change users, and what users may do.

use serde_json::{Value, json};
use ureq::http::{Method, StatusCode};

use super::Options;
use super::client::{Client, quote, refused};
use super::failure::Failure;
use super::output::Printer;
use super::password;
use super::verb::Verb;

/// Carries out a verb that changes users or permissions; gives back any other.
pub(super) fn execute(
    client: &Client,
    printer: &mut Printer,
    options: &Options,
    verb: Verb,
) -> Result<Option<Verb>, Failure> {
    let Some(verb) = users(client, printer, verb)? else { return Ok(None) };
    let Some(verb) = passwords(client, printer, verb)? else { return Ok(None) };
    let Some(verb) = permissions(client, printer, options, verb)? else { return Ok(None) };
    let Some(verb) = topic_permissions(client, printer, options, verb)? else { return Ok(None) };
    limits(client, printer, verb)
}

fn user_path(username: &str) -> String {
    format!("/users/{}", quote(username))
}

fn not_empty(what: &str, name: &str) -> Result<(), Failure> {
    if name.is_empty() {
        return Err(Failure::Invalid(format!("{what} cannot be an empty string")));
    }
    Ok(())
}

/// The user, who has to be there.
fn existing(client: &Client, username: &str) -> Result<Value, Failure> {
    let user = client.get_if_there(&user_path(username))?;
    user.ok_or_else(|| Failure::NoUser(format!("User \"{username}\" does not exist")))
}

/// Puts a user again with its present password and the changes.
fn change_user(client: &Client, username: &str, changes: Value) -> Result<(), Failure> {
    let mut user = existing(client, username)?;
    for (name, value) in changes.as_object().into_iter().flatten() {
        if name == "password" {
            user.as_object_mut().and_then(|user| user.remove("password_hash"));
        }
        user[name] = value.clone();
    }
    client.put(&user_path(username), &user)
}

fn users(client: &Client, printer: &mut Printer, verb: Verb) -> Result<Option<Verb>, Failure> {
    match verb {
        Verb::AddUser { username, password, pre_hashed_password } => {
            not_empty("user", &username)?;
            printer.say(&format!("Adding user \"{username}\" ..."))?;
            let password = password::given_or_read(password)?;
            if client.get_if_there(&user_path(&username))?.is_some() {
                return Err(Failure::Exists(format!("User \"{username}\" already exists")));
            }
            let field = if pre_hashed_password { "password_hash" } else { "password" };
            client.put(&user_path(&username), &json!({field: password, "tags": ""}))?;
            printer.say(
                "Done. Don't forget to grant the user permissions to some virtual hosts! \
                 See 'ringmqctl help set_permissions' to learn more.",
            )?;
        }
        Verb::DeleteUser { username } => {
            printer.say(&format!("Deleting user \"{username}\" ..."))?;
            client.delete_if_there(&user_path(&username))?;
        }
        Verb::SetUserTags { username, tags } => {
            printer.say(&format!("Setting tags for user \"{username}\" to [{}] ...", tags.join(", ")))?;
            change_user(client, &username, json!({"tags": tags}))?;
        }
        other => return Ok(Some(other)),
    }
    Ok(None)
}

fn passwords(client: &Client, printer: &mut Printer, verb: Verb) -> Result<Option<Verb>, Failure> {
    match verb {
        Verb::ChangePassword { username, password } => {
            printer.say(&format!("Changing password for user \"{username}\" ..."))?;
            let password = password::given_or_read(password)?;
            change_user(client, &username, json!({"password": password}))?;
        }
        Verb::ClearPassword { username } => {
            printer.say(&format!("Clearing password for user \"{username}\" ..."))?;
            change_user(client, &username, json!({"password_hash": ""}))?;
        }
        Verb::AuthenticateUser { username, password } => {
            printer.say(&format!("Authenticating user \"{username}\" ..."))?;
            let password = password::given_or_read(password)?;
            let (status, text) = client.as_user(&username, &password).call(Method::GET, "/whoami", None, None)?;
            // A user without a tag of management is refused for that, after the password was found right.
            if !status.is_success() && !text.contains("Not management user") {
                return Err(Failure::Data(format!(
                    "Error:\nError: failed to authenticate user \"{username}\"\n\
                     user '{username}' - invalid credentials"
                )));
            }
            printer.message("Success")?;
        }
        Verb::HashPassword { password } => {
            let password = password::given_or_read(password)?;
            // rabbitmqctl says the password here, and should not.
            printer.say("Will hash password")?;
            let hash = client.get(&format!("/auth/hash_password/{}", quote(&password)))?;
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
    match verb {
        Verb::SetPermissions { username, configure, write, read } => {
            printer.say(&format!("Setting permissions for user \"{username}\" in vhost \"{vhost}\" ..."))?;
            let body = json!({"configure": configure, "write": write, "read": read});
            grant(client, vhost, &username, "permissions", &body)?;
        }
        Verb::SetPermissionsGlobally { username, configure, write, read } => {
            printer.say(&format!("Setting permissions for user \"{username}\" in all virtual hosts ..."))?;
            let body = json!({"configure": configure, "write": write, "read": read});
            let vhosts = client.get("/vhosts?columns=name")?;
            for vhost in vhosts.as_array().into_iter().flatten().filter_map(|vhost| vhost["name"].as_str()) {
                grant(client, vhost, &username, "permissions", &body)?;
            }
        }
        Verb::ClearPermissions { username } => {
            printer.say(&format!("Clearing permissions for user \"{username}\" in vhost \"{vhost}\" ..."))?;
            client.delete_if_there(&format!("/permissions/{}/{}", quote(vhost), quote(&username)))?;
        }
        other => return Ok(Some(other)),
    }
    Ok(None)
}

fn topic_permissions(
    client: &Client,
    printer: &mut Printer,
    options: &Options,
    verb: Verb,
) -> Result<Option<Verb>, Failure> {
    let vhost = &options.vhost;
    match verb {
        Verb::SetTopicPermissions { username, exchange, write, read } => {
            printer.say(&format!(
                "Setting topic permissions on \"{exchange}\" for user \"{username}\" in vhost \"{vhost}\" ..."
            ))?;
            let body = json!({"exchange": exchange, "write": write, "read": read});
            grant(client, vhost, &username, "topic-permissions", &body)?;
        }
        Verb::ClearTopicPermissions { username, exchange } => {
            let on = exchange.as_ref().map(|exchange| format!(" on \"{exchange}\"")).unwrap_or_default();
            printer.say(&format!(
                "Clearing topic permissions{on} for user \"{username}\" in vhost \"{vhost}\" ..."
            ))?;
            let exchange = exchange.map(|exchange| format!("/{}", quote(&exchange))).unwrap_or_default();
            let path = format!("/topic-permissions/{}/{}{exchange}", quote(vhost), quote(&username));
            client.delete_if_there(&path)?;
        }
        other => return Ok(Some(other)),
    }
    Ok(None)
}

/// Puts permissions, and says which of the two is not there if one is not.
fn grant(client: &Client, vhost: &str, username: &str, kind: &str, body: &Value) -> Result<(), Failure> {
    let path = format!("/{kind}/{}/{}", quote(vhost), quote(username));
    let (status, text) = client.call(Method::PUT, &path, Some(body), None)?;
    if status.is_success() {
        return Ok(());
    }
    if matches!(status, StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST) {
        if client.get_if_there(&user_path(username))?.is_none() {
            return Err(Failure::NoUser(format!("User {username} does not exist")));
        }
        if client.get_if_there(&format!("/vhosts/{}", quote(vhost)))?.is_none() {
            return Err(Failure::Refused(format!("Virtual host {vhost} does not exist")));
        }
    }
    Err(refused(status, &text))
}

fn limits(client: &Client, printer: &mut Printer, verb: Verb) -> Result<Option<Verb>, Failure> {
    match verb {
        Verb::SetUserLimits { username, definition } => {
            printer.say(&format!("Setting user limits to \"{definition}\" for user \"{username}\" ..."))?;
            let limits = client.limits(&definition)?;
            existing(client, &username).map_err(no_such_user(&username))?;
            client.set_limits(&format!("/user-limits/{}", quote(&username)), &limits)?;
        }
        Verb::ClearUserLimits { username, limit } => {
            let limits = if limit == "all" {
                printer.say(&format!("Clearing all limits for user \"{username}\" ..."))?;
                vec!["max-connections", "max-channels"]
            } else {
                printer.say(&format!("Clearing \"{limit}\" limit for user \"{username}\" ..."))?;
                vec![limit.as_str()]
            };
            existing(client, &username).map_err(no_such_user(&username))?;
            for limit in limits {
                client.delete_if_there(&format!("/user-limits/{}/{}", quote(&username), quote(limit)))?;
            }
        }
        other => return Ok(Some(other)),
    }
    Ok(None)
}

/// rabbitmqctl counts this one among the refusals.
fn no_such_user(username: &str) -> impl Fn(Failure) -> Failure {
    move |failure| match failure {
        Failure::NoUser(_) => Failure::Refused(format!("User \"{username}\" does not exist")),
        other => other,
    }
}

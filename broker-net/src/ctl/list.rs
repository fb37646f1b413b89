//! Verbs that print a table.

use serde_json::{Map, Value, json};

use super::client::{Client, quote};
use super::output::Printer;
use super::verb::Verb;
use super::{Failure, Options};

/// A listing: where its rows come from, what is said about it, its columns.
struct Listing {
    path: String,
    says: String,
    columns: Vec<String>,
    /// What rabbitmqctl calls a field and the API calls otherwise.
    names: &'static [(&'static str, &'static str)],
}

fn listing(path: String, says: String, columns: Vec<String>, default: &[&str]) -> Listing {
    let columns = if columns.is_empty() { default.iter().map(|&name| name.to_owned()).collect() } else { columns };
    Listing { path, says, columns, names: &[] }
}

/// Carries out a verb that lists something; gives back any other.
pub(super) fn execute(
    client: &Client,
    printer: &mut Printer,
    options: &Options,
    verb: Verb,
) -> Result<Option<Verb>, Failure> {
    let listing = match contents(options, verb) {
        Ok(listing) => listing,
        Err(verb) => match defined(options, verb) {
            Ok(listing) => listing,
            Err(Verb::ListUserLimits) => {
                printer.say("Listing limits for all users ...")?;
                return limits(client, printer, "/user-limits", "user").map(|()| None);
            }
            Err(Verb::ListVhostLimits) => {
                printer.say(&format!("Listing limits for vhost \"{}\" ...", options.vhost))?;
                let path = format!("/vhost-limits/{}", quote(&options.vhost));
                return limits(client, printer, &path, "vhost").map(|()| None);
            }
            Err(verb) => return Ok(Some(verb)),
        },
    };
    printer.say(&listing.says)?;
    let rows = match client.get(&listing.path)? {
        Value::Array(rows) => rows,
        Value::Object(mut page) if page.contains_key("items") => match page.remove("items") {
            Some(Value::Array(rows)) => rows,
            _ => Vec::new(),
        },
        other => vec![other],
    };
    let rows: Vec<Vec<Value>> = rows.iter().map(|row| listing.row(row)).collect::<Result<_, _>>()?;
    printer.table(&listing.columns, &rows)?;
    Ok(None)
}

impl Listing {
    fn named(self, names: &'static [(&'static str, &'static str)]) -> Self {
        Self { names, ..self }
    }

    fn row(&self, row: &Value) -> Result<Vec<Value>, Failure> {
        self.columns.iter().map(|column| self.field(row, column)).collect()
    }

    fn field(&self, row: &Value, column: &str) -> Result<Value, Failure> {
        let renamed = self.names.iter().find(|(name, _)| *name == column).map(|(_, field)| *field);
        let found = renamed.unwrap_or(column).split('.').try_fold(row, |value, name| value.get(name));
        match found {
            Some(value) => Ok(value.clone()),
            // The API leaves out what a row does not have.
            None if column.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => Ok(Value::Null),
            None => Err(Failure::Usage(format!("Info key {column} is not supported"))),
        }
    }
}

/// What clients have made, and clients.
fn contents(options: &Options, verb: Verb) -> Result<Listing, Verb> {
    let vhost = &options.vhost;
    let quoted = quote(vhost);
    Ok(match verb {
        Verb::ListQueues { columns } => {
            let says = format!("Listing queues for vhost {vhost} ...");
            listing(format!("/queues/{quoted}"), says, columns, &["name", "messages"])
                .named(&[("pid", "node"), ("leader", "node")])
        }
        Verb::ListExchanges { columns } => {
            let says = format!("Listing exchanges for vhost {vhost} ...");
            listing(format!("/exchanges/{quoted}"), says, columns, &["name", "type"])
        }
        Verb::ListBindings { columns } => {
            let says = format!("Listing bindings for vhost {vhost}...");
            let default =
                ["source_name", "source_kind", "destination_name", "destination_kind", "routing_key", "arguments"];
            listing(format!("/bindings/{quoted}"), says, columns, &default).named(&[
                ("source_name", "source"),
                ("destination_name", "destination"),
                ("destination_kind", "destination_type"),
            ])
        }
        Verb::ListDelayedMessages { exchange_name, count, columns } => {
            let says = format!("Listing delayed messages of exchange '{exchange_name}' in vhost {vhost} ...");
            let path = format!("/exchanges/{quoted}/{}/delayed?count={count}", quote(&exchange_name));
            listing(path, says, columns, &["id", "due_ms", "routing_key", "payload_bytes"])
        }
        Verb::ListConnections { columns } => {
            let says = "Listing connections ...".to_owned();
            listing("/connections".to_owned(), says, columns, &["user", "peer_host", "peer_port", "state"])
                .named(&[("pid", "name")])
        }
        Verb::ListChannels { columns } => {
            let says = "Listing channels ...".to_owned();
            let default = ["pid", "user", "consumer_count", "messages_unacknowledged"];
            listing("/channels".to_owned(), says, columns, &default)
                .named(&[("pid", "name"), ("connection", "connection_details.name")])
        }
        Verb::ListConsumers { columns } => {
            let says = format!("Listing consumers in vhost {vhost} ...");
            let default =
                ["queue_name", "channel_pid", "consumer_tag", "ack_required", "prefetch_count", "active"];
            listing(format!("/consumers/{quoted}"), says, columns, &default)
                .named(&[("queue_name", "queue.name"), ("channel_pid", "channel_details.name")])
        }
        other => return Err(other),
    })
}

/// What administrators have defined.
fn defined(options: &Options, verb: Verb) -> Result<Listing, Verb> {
    let vhost = &options.vhost;
    let quoted = quote(vhost);
    let none = Vec::new;
    Ok(match verb {
        Verb::ListVhosts { columns } => {
            listing("/vhosts".to_owned(), "Listing vhosts ...".to_owned(), columns, &["name"])
        }
        Verb::ListUsers => listing("/users".to_owned(), "Listing users ...".to_owned(), none(), &["user", "tags"])
            .named(&[("user", "name")]),
        Verb::ListPermissions => {
            let says = format!("Listing permissions for vhost \"{vhost}\" ...");
            listing(format!("/vhosts/{quoted}/permissions"), says, none(), &["user", "configure", "write", "read"])
        }
        Verb::ListUserPermissions { username } => {
            let says = format!("Listing permissions for user \"{username}\" ...");
            let path = format!("/users/{}/permissions", quote(&username));
            listing(path, says, none(), &["vhost", "configure", "write", "read"])
        }
        Verb::ListTopicPermissions => {
            let says = format!("Listing topic permissions for vhost \"{vhost}\" ...");
            let path = format!("/vhosts/{quoted}/topic-permissions");
            listing(path, says, none(), &["user", "exchange", "write", "read"])
        }
        Verb::ListPolicies => policies("policies", format!("Listing policies for vhost \"{vhost}\" ..."), &quoted),
        Verb::ListOperatorPolicies => {
            let says = format!("Listing operator policy overrides for vhost \"{vhost}\" ...");
            policies("operator-policies", says, &quoted)
        }
        Verb::ListParameters => {
            let says = format!("Listing runtime parameters for vhost \"{vhost}\" ...");
            listing("/parameters".to_owned(), says, none(), &["component", "name", "value"])
        }
        Verb::ListGlobalParameters => {
            let says = "Listing global runtime parameters ...".to_owned();
            listing("/global-parameters".to_owned(), says, none(), &["name", "value"])
        }
        other => return Err(other),
    })
}

fn policies(kind: &str, says: String, vhost: &str) -> Listing {
    let columns = ["vhost", "name", "pattern", "apply-to", "definition", "priority"];
    listing(format!("/{kind}/{vhost}"), says, Vec::new(), &columns)
}

/// Limits are printed as one JSON object, or one for each user.
fn limits(client: &Client, printer: &mut Printer, path: &str, of: &str) -> Result<(), Failure> {
    let rows = client.get(path)?;
    let rows = rows.as_array().into_iter().flatten();
    let value = |row: &Value, name: &str| row.get(name).cloned().unwrap_or_else(|| json!(Map::new()));
    let rows: Vec<Vec<Value>> = rows.map(|row| vec![value(row, of), value(row, "value")]).collect();
    printer.table(&[of.to_owned(), "limits".to_owned()], &rows)?;
    Ok(())
}

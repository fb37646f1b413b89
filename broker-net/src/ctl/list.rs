//! Verbs that print a table.

use serde_json::{Map, Value, json};

use super::Options;
use super::client::{Client, quote};
use super::failure::Failure;
use super::output::{Formatter, Printer};
use super::verb::Verb;

/// A listing: what is said about it, its columns.
struct Listing {
    /// Where its rows come from; empty if there are none.
    path: String,
    says: String,
    columns: Vec<String>,
    /// Columns that may be asked for, whether a row has them or not; all that the API has can be asked for too.
    known: &'static str,
    /// What rabbitmqctl calls a field and the API calls otherwise.
    names: &'static [(&'static str, &'static str)],
    kind: Kind,
}

/// How a listing behaves where rabbitmqctl has no one rule.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// What clients have made, and clients: streamed, without a word if there is nothing.
    Contents,
    /// What administrators have defined: an empty line if there is nothing.
    Defined,
}

const QUEUE: &str = "name durable auto_delete exclusive arguments policy operator_policy effective_policy_definition pid owner_pid \
    exclusive_consumer_pid exclusive_consumer_tag messages_ready messages_unacknowledged messages messages_ready_ram \
    messages_unacknowledged_ram messages_ram messages_persistent message_bytes message_bytes_ready message_bytes_unacknowledged \
    message_bytes_ram message_bytes_persistent head_message_timestamp disk_reads disk_writes consumers consumer_utilisation \
    consumer_capacity memory state type leader members online open_files slave_pids synchronised_slave_pids mirror_pids \
    synchronised_mirror_pids messages_paged_out message_bytes_paged_out segments readers committed_offset";
const EXCHANGE: &str = "name type durable auto_delete internal arguments policy";
const BINDING: &str = "source_name source_kind destination_name destination_kind routing_key arguments vhost";
const CONNECTION: &str = "pid name port host peer_port peer_host ssl ssl_protocol ssl_key_exchange ssl_cipher ssl_hash \
    peer_cert_subject peer_cert_issuer peer_cert_validity state channels protocol auth_mechanism user vhost timeout frame_max \
    channel_max client_properties recv_oct recv_cnt send_oct send_cnt send_pend connected_at";
const CHANNEL: &str = "pid connection name number user vhost transactional confirm consumer_count messages_unacknowledged \
    messages_uncommitted acks_uncommitted messages_unconfirmed prefetch_count global_prefetch_count";
const CONSUMER: &str =
    "queue_name channel_pid consumer_tag ack_required prefetch_count active activity_status arguments";
const DELAYED: &str = "id due_ms published_ms exchange routing_key persistent payload_bytes properties";
const VHOST: &str =
    "name tracing description tags default_queue_type metadata cluster_state protected_from_deletion";

/// Carries out a verb that lists something; gives back any other.
pub(super) fn execute(
    client: &Client,
    printer: &mut Printer,
    options: &Options,
    verb: Verb,
) -> Result<Option<Verb>, Failure> {
    let listing = contents(options, verb).or_else(|verb| defined(options, verb));
    let listing = match listing {
        Ok(listing) => listing,
        Err(verb) => return limits(client, printer, options, verb),
    };
    let known: Vec<&str> = listing.known.split_whitespace().collect();
    let unknown = |column: &&String| !known.is_empty() && !known.contains(&column.as_str());
    // Before anything is said, as rabbitmqctl does, and only names that no field of the API can have.
    if let Some(column) = listing.columns.iter().find(|column| unknown(column) && !is_field(column)) {
        return Err(not_supported(column));
    }
    let rows = match listing.path.as_str() {
        "" => Some(json!([])),
        path => client.get_if_there(path)?.map(items),
    };
    if let Some(Value::Array(rows)) = &rows
        && let Some(column) = listing
            .columns
            .iter()
            .find(|column| unknown(column) && !rows.iter().any(|row| listing.field(row, column).is_some()))
    {
        return Err(not_supported(column));
    }
    printer.say(&listing.says)?;
    let rows = match rows {
        Some(Value::Array(rows)) => rows,
        None if listing.kind == Kind::Contents => Vec::new(),
        None => return Err(listing.missing(options)),
        Some(other) => vec![other],
    };
    let rows: Vec<Vec<Value>> = rows.iter().map(|row| listing.row(row)).collect();
    if rows.is_empty() && listing.kind == Kind::Defined {
        printer.nothing()?;
    }
    printer.table(&listing.columns, &rows)?;
    Ok(None)
}

/// The rows of a page, or what is not one.
fn items(mut answer: Value) -> Value {
    answer.get_mut("items").map(Value::take).unwrap_or(answer)
}

fn is_field(column: &str) -> bool {
    column.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'.'))
}

fn not_supported(column: &str) -> Failure {
    Failure::Usage(format!("Info key(s) {column} are not supported"))
}

impl Listing {
    fn named(self, names: &'static [(&'static str, &'static str)]) -> Self {
        Self { names, ..self }
    }

    fn row(&self, row: &Value) -> Vec<Value> {
        self.columns.iter().map(|column| self.cell(row, column)).collect()
    }

    fn cell(&self, row: &Value, column: &str) -> Value {
        match (column, self.field(row, column)) {
            // RabbitMQ keeps these as text.
            ("definition" | "value", Some(value)) => value.to_string().into(),
            (_, Some(value)) => value.clone(),
            // Only exchanges are bound from.
            ("source_kind", None) => "exchange".into(),
            // The API leaves out what a row does not have.
            (_, None) => Value::Null,
        }
    }

    fn field<'a>(&self, row: &'a Value, column: &str) -> Option<&'a Value> {
        let renamed = self.names.iter().find(|(name, _)| *name == column).map(|(_, field)| *field);
        renamed.unwrap_or(column).split('.').try_fold(row, |value, name| value.get(name))
    }

    /// Why there is nothing to list.
    fn missing(&self, options: &Options) -> Failure {
        match self.path.strip_prefix("/users/") {
            Some(user) => {
                let user = user.split('/').next().unwrap_or_default();
                Failure::Refused(format!("{{:no_such_user, \"{user}\"}}"))
            }
            None => Failure::Data(format!("Virtual host '{}' does not exist", options.vhost)),
        }
    }
}

/// A listing of something that clients have made; the columns may be chosen.
fn chosen(path: String, says: String, columns: Vec<String>, default: &[&str], known: &'static str) -> Listing {
    let split = columns.iter().flat_map(|column| column.split(',')).map(str::trim).filter(|name| !name.is_empty());
    let mut columns: Vec<String> = split.map(str::to_owned).collect();
    if columns.is_empty() {
        columns = default.iter().map(|&name| name.to_owned()).collect();
    }
    Listing { path, says, columns, known, names: &[], kind: Kind::Contents }
}

/// A listing of something that administrators have defined.
fn fixed(path: String, says: String, columns: &[&str]) -> Listing {
    let columns = columns.iter().map(|&name| name.to_owned()).collect();
    Listing { path, says, columns, known: "", names: &[], kind: Kind::Defined }
}

/// What clients have made, and clients.
fn contents(options: &Options, verb: Verb) -> Result<Listing, Verb> {
    let vhost = &options.vhost;
    let quoted = quote(vhost);
    let patience = format!("Timeout: {}.0 seconds ...", options.timeout);
    Ok(match verb {
        Verb::ListQueues { columns, online: _, offline, local: _ } => {
            let says = format!("{patience}\nListing queues for vhost {vhost} ...");
            // No queue is ever away.
            let path = if offline { String::new() } else { format!("/queues/{quoted}") };
            chosen(path, says, columns, &["name", "messages"], QUEUE).named(&[("pid", "node"), ("leader", "node")])
        }
        Verb::ListExchanges { columns } => {
            let says = format!("Listing exchanges for vhost {vhost} ...");
            chosen(format!("/exchanges/{quoted}"), says, columns, &["name", "type"], EXCHANGE)
        }
        Verb::ListBindings { columns } => {
            let says = format!("Listing bindings for vhost {vhost}...");
            let default =
                ["source_name", "source_kind", "destination_name", "destination_kind", "routing_key", "arguments"];
            chosen(format!("/bindings/{quoted}"), says, columns, &default, BINDING).named(&[
                ("source_name", "source"),
                ("destination_name", "destination"),
                ("destination_kind", "destination_type"),
            ])
        }
        Verb::ListDelayedMessages { exchange_name, count, columns } => {
            let says = format!("Listing delayed messages of exchange '{exchange_name}' in vhost {vhost} ...");
            let path = format!("/exchanges/{quoted}/{}/delayed?count={count}", quote(&exchange_name));
            chosen(path, says, columns, &["id", "due_ms", "routing_key", "payload_bytes"], DELAYED)
        }
        Verb::ListConnections { columns } => {
            let default = ["user", "peer_host", "peer_port", "state"];
            let says = "Listing connections ...".to_owned();
            chosen("/connections".to_owned(), says, columns, &default, CONNECTION).named(&[("pid", "name")])
        }
        Verb::ListChannels { columns } => {
            let default = ["pid", "user", "consumer_count", "messages_unacknowledged"];
            let says = "Listing channels ...".to_owned();
            chosen("/channels".to_owned(), says, columns, &default, CHANNEL)
                .named(&[("pid", "name"), ("connection", "connection_details.name")])
        }
        Verb::ListConsumers { columns } => {
            let says = format!("Listing consumers in vhost {vhost} ...");
            let default = [
                "queue_name",
                "channel_pid",
                "consumer_tag",
                "ack_required",
                "prefetch_count",
                "active",
                "arguments",
            ];
            chosen(format!("/consumers/{quoted}"), says, columns, &default, CONSUMER)
                .named(&[("queue_name", "queue.name"), ("channel_pid", "channel_details.name")])
        }
        Verb::ListVhosts { columns } => {
            chosen("/vhosts".to_owned(), "Listing vhosts ...".to_owned(), columns, &["name"], VHOST)
        }
        other => return Err(other),
    })
}

/// What administrators have defined.
fn defined(options: &Options, verb: Verb) -> Result<Listing, Verb> {
    let vhost = &options.vhost;
    let quoted = quote(vhost);
    Ok(match verb {
        Verb::ListUsers => fixed("/users".to_owned(), "Listing users ...".to_owned(), &["user", "tags"])
            .named(&[("user", "name")]),
        Verb::ListPermissions => {
            let says = format!("Listing permissions for vhost \"{vhost}\" ...");
            fixed(format!("/vhosts/{quoted}/permissions"), says, &["user", "configure", "write", "read"])
        }
        Verb::ListUserPermissions { username } => {
            let says = format!("Listing permissions for user \"{username}\" ...");
            let path = format!("/users/{}/permissions", quote(&username));
            fixed(path, says, &["vhost", "configure", "write", "read"])
        }
        Verb::ListTopicPermissions => {
            let says = format!("Listing topic permissions for vhost \"{vhost}\" ...");
            let path = format!("/vhosts/{quoted}/topic-permissions");
            fixed(path, says, &["user", "exchange", "write", "read"])
        }
        Verb::ListUserTopicPermissions { username } => {
            let says = format!("Listing topic permissions for user \"{username}\" ...");
            let path = format!("/users/{}/topic-permissions", quote(&username));
            fixed(path, says, &["vhost", "exchange", "write", "read"])
        }
        Verb::ListPolicies => policies("policies", format!("Listing policies for vhost \"{vhost}\" ..."), &quoted),
        Verb::ListOperatorPolicies => {
            let says = format!("Listing operator policy overrides for vhost \"{vhost}\" ...");
            policies("operator-policies", says, &quoted)
        }
        Verb::ListParameters => {
            let says = format!("Listing runtime parameters for vhost \"{vhost}\" ...");
            fixed(format!("/parameters?vhost={quoted}"), says, &["component", "name", "value"])
        }
        Verb::ListGlobalParameters => {
            let says = "Listing global runtime parameters ...".to_owned();
            fixed("/global-parameters".to_owned(), says, &["name", "value"])
        }
        Verb::ListFeatureFlags { .. } => {
            fixed("/feature-flags".to_owned(), "Listing feature flags ...".to_owned(), &["name", "state"])
        }
        Verb::ListDeprecatedFeatures { .. } => {
            let says = "Listing deprecated features ...".to_owned();
            fixed("/deprecated-features".to_owned(), says, &["name", "deprecation_phase"])
        }
        other => return Err(other),
    })
}

fn policies(kind: &str, says: String, vhost: &str) -> Listing {
    fixed(format!("/{kind}/{vhost}"), says, &["vhost", "name", "pattern", "apply-to", "definition", "priority"])
}

/// Limits of one are one JSON object, limits of all a table.
fn limits(client: &Client, printer: &mut Printer, options: &Options, verb: Verb) -> Result<Option<Verb>, Failure> {
    match verb {
        Verb::ListUserLimits { global: true, .. } => {
            printer.say("Listing limits for all users ...")?;
            all_limits(client, printer, "/user-limits", "user")?;
        }
        Verb::ListVhostLimits { global: true } => {
            printer.say("Listing limits for all vhosts ...")?;
            all_limits(client, printer, "/vhost-limits", "vhost")?;
        }
        Verb::ListUserLimits { user, global: false } => {
            printer.say(&format!("Listing limits for user \"{user}\" ..."))?;
            let limits = limits_of(client, &format!("/user-limits/{}", quote(&user)))?;
            print_limits(printer, options, &limits.unwrap_or_else(|| json!({})))?;
        }
        Verb::ListVhostLimits { global: false } => {
            printer.say(&format!("Listing limits for vhost \"{}\" ...", options.vhost))?;
            match limits_of(client, &format!("/vhost-limits/{}", quote(&options.vhost)))? {
                Some(limits) => print_limits(printer, options, &limits)?,
                None => printer.nothing()?,
            }
        }
        Verb::ListUnresponsiveQueues { .. } => {
            printer.say(&format!("Listing unresponsive queues for vhost {} ...", options.vhost))?;
            // The listing asks the shards of all queues: if it comes, all have answered.
            client.get_if_there(&format!("/queues/{}?columns=name", quote(&options.vhost)))?;
            printer.table(&["name".to_owned()], &[])?;
        }
        other => return Ok(Some(other)),
    }
    Ok(None)
}

fn print_limits(printer: &mut Printer, options: &Options, limits: &Value) -> Result<(), Failure> {
    if options.formatter == Formatter::Json {
        return Ok(printer.line(&json!({"result": "ok", "value": limits.to_string()}).to_string())?);
    }
    Ok(printer.line(&limits.to_string())?)
}

fn limits_of(client: &Client, path: &str) -> Result<Option<Value>, Failure> {
    let rows = client.get_if_there(path)?;
    Ok(rows.as_ref().and_then(|rows| rows.get(0)).and_then(|row| row.get("value")).cloned())
}

fn all_limits(client: &Client, printer: &mut Printer, path: &str, of: &str) -> Result<(), Failure> {
    let rows = client.get(path)?;
    let rows = rows.as_array().into_iter().flatten();
    let value = |row: &Value, name: &str| row.get(name).cloned().unwrap_or_else(|| json!(Map::new()));
    let rows: Vec<Vec<Value>> =
        rows.map(|row| vec![value(row, of), value(row, "value").to_string().into()]).collect();
    if rows.is_empty() {
        printer.nothing()?;
    }
    Ok(printer.table(&[of.to_owned(), "limits".to_owned()], &rows)?)
}

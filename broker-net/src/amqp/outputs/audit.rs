//! What clients have changed, for the audit log: one line for each change, as for those of administrators.

use amq_protocol::types::FieldTable;
use broker_core::session::{Command, TopologyChange};
use serde_json::{Value, json};

use super::client::Client;
use crate::http::table::to_json;
use crate::logging::AUDIT;

/// Logs a change. Without the client its connection has gone meanwhile.
pub(super) fn record(client: Option<&Client>, change: &TopologyChange) {
    let TopologyChange { user, vhost, command } = change;
    let user = user.as_deref().or_else(|| client.map(|client| &*client.user)).unwrap_or_default();
    let address = client.map(|client| client.peer.to_string()).unwrap_or_default();
    let (method, detail) = described(command);
    let detail = detail.to_string();
    tracing::info!(target: AUDIT, ?user, address, method, ?vhost, detail, "change by a client");
}

/// The method and its arguments.
fn described(command: &Command) -> (&'static str, Value) {
    match command {
        Command::ExchangeDeclare { exchange, kind, durable, auto_delete, internal, arguments, .. } => {
            let arguments = to_json(arguments);
            let detail = json!({
                "exchange": exchange, "type": kind, "durable": durable, "auto_delete": auto_delete,
                "internal": internal, "arguments": arguments,
            });
            ("exchange.declare", detail)
        }
        Command::ExchangeDelete { exchange, .. } => ("exchange.delete", json!({"exchange": exchange})),
        Command::ExchangeBind { destination, source, routing_key, arguments } => {
            ("exchange.bind", binding("destination", destination, source, routing_key, arguments))
        }
        Command::ExchangeUnbind { destination, source, routing_key, arguments } => {
            ("exchange.unbind", binding("destination", destination, source, routing_key, arguments))
        }
        Command::QueueDeclare { queue, durable, exclusive, auto_delete, arguments, .. } => {
            let arguments = to_json(arguments);
            let detail = json!({
                "queue": queue, "durable": durable, "exclusive": exclusive, "auto_delete": auto_delete,
                "arguments": arguments,
            });
            ("queue.declare", detail)
        }
        Command::QueueBind { queue, exchange, routing_key, arguments } => {
            ("queue.bind", binding("queue", queue, exchange, routing_key, arguments))
        }
        Command::QueueUnbind { queue, exchange, routing_key, arguments } => {
            ("queue.unbind", binding("queue", queue, exchange, routing_key, arguments))
        }
        Command::QueueDelete { queue, .. } => ("queue.delete", json!({"queue": queue})),
        Command::QueuePurge { .. }
        | Command::BasicConsume { .. }
        | Command::BasicCancel { .. }
        | Command::BasicGet { .. } => unreachable!("these change nothing that exists"),
    }
}

/// `kind` is what the destination is called in the method.
fn binding(kind: &str, destination: &str, source: &str, routing_key: &str, arguments: &FieldTable) -> Value {
    let arguments = to_json(arguments);
    json!({kind: destination, "source": source, "routing_key": routing_key, "arguments": arguments})
}

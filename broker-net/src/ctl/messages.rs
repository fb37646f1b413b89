//! Verbs about the messages in queues and exchanges, and whether they flow. rabbitmqctl has none of them.

use serde_json::{Value, json};

use super::client::{Client, quote};
use super::output::Printer;
use super::verb::Verb;
use super::{Failure, Options};

/// Carries out a verb about messages; gives back any other.
pub(super) fn execute(
    client: &Client,
    printer: &mut Printer,
    options: &Options,
    verb: Verb,
) -> Result<Option<Verb>, Failure> {
    let vhost = &options.vhost;
    let queue = |name: &str, what: &str| format!("/queues/{}/{}/{what}", quote(vhost), quote(name));
    let delayed = |name: &str| format!("/exchanges/{}/{}/delayed", quote(vhost), quote(name));
    match verb {
        Verb::PauseQueue { queue_name } => {
            printer.say(&format!("Pausing queue '{queue_name}' in vhost '{vhost}' ..."))?;
            client.put(&queue(&queue_name, "pause"), &Value::Null)?;
        }
        Verb::ResumeQueue { queue_name } => {
            printer.say(&format!("Resuming queue '{queue_name}' in vhost '{vhost}' ..."))?;
            client.put(&queue(&queue_name, "resume"), &Value::Null)?;
        }
        Verb::MoveMessages { queue_name, to_queue, to_exchange, routing_key, count } => {
            printer.say(&format!("Moving messages of queue '{queue_name}' in vhost '{vhost}' ..."))?;
            let destination = match to_queue {
                Some(name) => json!({"queue": name}),
                None => json!({"exchange": to_exchange, "routing-key": routing_key}),
            };
            let body = json!({"destination": destination, "count": count});
            say_moved(printer, &client.ask(&queue(&queue_name, "move"), &body)?)?;
        }
        Verb::RedriveMessages { queue_name, to, count } => {
            printer.say(&format!("Moving dead letters of queue '{queue_name}' in vhost '{vhost}' back ..."))?;
            let body = json!({"to": to, "count": count});
            say_moved(printer, &client.ask(&queue(&queue_name, "redrive"), &body)?)?;
        }
        Verb::CancelDelayedMessage { exchange_name, id } => {
            printer.say(&format!("Cancelling message {id} of exchange '{exchange_name}' ..."))?;
            client.delete(&format!("{}/{}", delayed(&exchange_name), quote(&id)))?;
        }
        Verb::CancelDelayedMessages { exchange_name } => {
            printer.say(&format!("Cancelling the delayed messages of exchange '{exchange_name}' ..."))?;
            client.delete(&delayed(&exchange_name))?;
        }
        other => return Ok(Some(other)),
    }
    Ok(None)
}

fn say_moved(printer: &mut Printer, answer: &Value) -> Result<(), Failure> {
    printer.line(&answer["moved"].to_string())?;
    match answer["reason"].as_str() {
        Some(reason) => Err(Failure::Refused(reason.to_owned())),
        None => Ok(()),
    }
}

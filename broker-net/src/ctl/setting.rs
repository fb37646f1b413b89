//! Verbs that change settings of a broker that runs. What they set holds until the configuration is read again or the broker ends.

use serde_json::{Value, json};

use super::check::node;
use super::client::{Client, quote};
use super::failure::Failure;
use super::output::Printer;
use super::verb::Verb;
use crate::config::{bytes, fraction, multiple};

/// The levels that rabbitmqctl knows.
const LEVELS: [&str; 9] =
    ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency", "none"];

/// Carries out a verb that changes a setting; gives back any other.
pub(super) fn execute(client: &Client, printer: &mut Printer, verb: Verb) -> Result<Option<Verb>, Failure> {
    match verb {
        Verb::SetLogLevel { log_level } => {
            if !LEVELS.contains(&&*log_level) {
                return Err(Failure::Refused(format!(
                    "level {log_level} is not supported. Try one of debug, info, warning, error, critical, none"
                )));
            }
            printer.say(&format!("Setting log level to \"{log_level}\" ..."))?;
            put(client, &node(client)?, "log-level", &json!({"level": log_level}))?;
        }
        Verb::SetDiskFreeLimit { limit } => {
            let (body, says) = match words(&limit)[..] {
                ["mem_relative"] => return Err(not_enough()),
                ["mem_relative", factor] => {
                    (relative(factor, multiple)?, format!("{factor} times the total RAM ..."))
                }
                [size] => (absolute(size)?, format!("{size} bytes ...")),
                _ => return Err(too_many()),
            };
            let node = node(client)?;
            printer.say(&format!("Setting disk free limit on {node} to {says}"))?;
            put(client, &node, "disk-free-limit", &body)?;
        }
        Verb::SetVmMemoryHighWatermark { threshold } => {
            let (body, says) = match words(&threshold)[..] {
                ["absolute"] => return Err(not_enough()),
                ["absolute", size] => (absolute(size)?, format!("{size} bytes ...")),
                [part] => (relative_to_all(part)?, format!("{part} ...")),
                _ => return Err(too_many()),
            };
            let node = node(client)?;
            printer.say(&format!("Setting memory threshold on {node} to {says}"))?;
            put(client, &node, "vm-memory-high-watermark", &body)?;
        }
        other => return Ok(Some(other)),
    }
    Ok(None)
}

fn words(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

fn put(client: &Client, node: &str, setting: &str, body: &Value) -> Result<(), Failure> {
    client.put(&format!("/nodes/{}/{setting}", quote(node)), body)
}

fn absolute(size: &str) -> Result<Value, Failure> {
    bytes(size).map_or(Err(Failure::BadArgument), |size| Ok(json!({"absolute": size})))
}

fn relative(text: &str, read: fn(&str) -> Result<u32, String>) -> Result<Value, Failure> {
    read(text).map_or(Err(Failure::BadArgument), |_| Ok(json!({"relative": text})))
}

/// A part of the memory, which cannot be more than all of it.
fn relative_to_all(text: &str) -> Result<Value, Failure> {
    match relative(text, fraction) {
        Err(_) if text.parse::<f64>().is_ok() => {
            Err(Failure::Invalid("The threshold should be a fraction between 0.0 and 1.0".to_owned()))
        }
        other => other,
    }
}

fn not_enough() -> Failure {
    Failure::Usage("not enough arguments.".to_owned())
}

fn too_many() -> Failure {
    Failure::Usage("too many arguments.".to_owned())
}

//! Names of requests of administrators that no frame of AMQP could carry. Clients' names come in such frames, so they are never
//! too long.

use crate::admin::{AdminError, AdminRequest, MoveTo};
use crate::session::Command;

/// Bytes of a short string of AMQP.
const MAX_NAME_BYTES: usize = 255;

/// Refuses a request with a name or key that is too long, in RabbitMQ's words.
pub(super) fn check_lengths(request: &AdminRequest) -> Result<(), AdminError> {
    match request {
        AdminRequest::Command { command, .. } => check_command(command),
        AdminRequest::Publish(publish) => {
            check("exchange", &publish.exchange)?;
            check("routing_key", &publish.routing_key)
        }
        AdminRequest::Get(get) => check("queue", &get.queue),
        AdminRequest::Move(order) => match &order.to {
            MoveTo::Queue(queue) => check("queue", queue),
            MoveTo::Exchange { exchange, routing_key } => {
                check("exchange", exchange)?;
                check("routing_key", routing_key.as_deref().unwrap_or_default())
            }
            MoveTo::FirstDeathQueue | MoveTo::FirstDeathExchange => Ok(()),
        },
        _ => Ok(()),
    }
}

fn check_command(command: &Command) -> Result<(), AdminError> {
    match command {
        Command::ExchangeDeclare { exchange, kind, .. } => {
            check("exchange", exchange)?;
            check("type", kind)
        }
        Command::ExchangeDelete { exchange, .. } => check("exchange", exchange),
        Command::ExchangeBind { destination, source, routing_key, .. }
        | Command::ExchangeUnbind { destination, source, routing_key, .. } => {
            check("exchange", destination)?;
            check("exchange", source)?;
            check("routing_key", routing_key)
        }
        Command::QueueBind { queue, exchange, routing_key, .. }
        | Command::QueueUnbind { queue, exchange, routing_key, .. } => {
            check("queue", queue)?;
            check("exchange", exchange)?;
            check("routing_key", routing_key)
        }
        Command::QueueDeclare { queue, .. }
        | Command::QueuePurge { queue }
        | Command::QueueDelete { queue, .. }
        | Command::BasicConsume { queue, .. }
        | Command::BasicGet { queue, .. } => check("queue", queue),
        Command::BasicCancel { .. } => Ok(()),
    }
}

fn check(what: &str, name: &str) -> Result<(), AdminError> {
    let bytes = name.len();
    if bytes <= MAX_NAME_BYTES {
        return Ok(());
    }
    Err(AdminError::BadRequest(format!("{what} should be less than 255 bytes, actually was {bytes}\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_255_bytes_at_most() {
        let purge = |bytes: usize| AdminRequest::Command {
            user: "u".to_owned(),
            vhost: "/".to_owned(),
            command: Command::QueuePurge { queue: "q".repeat(bytes) },
        };
        assert_eq!(check_lengths(&purge(255)), Ok(()));
        let refused = "queue should be less than 255 bytes, actually was 256\n".to_owned();
        assert_eq!(check_lengths(&purge(256)), Err(AdminError::BadRequest(refused)));
    }
}

//! `/metrics`, `/metrics/per-object` and `/metrics/detailed`: what Prometheus scrapes. For everybody, as in RabbitMQ.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use broker_core::admin::{Admin, AdminError, Definition};

use crate::metrics::{Metrics, ObjectFamily, Objects};

/// The metrics and the way to the objects.
#[derive(Debug)]
pub(super) struct Scraped {
    pub(super) metrics: Metrics,
    pub(super) admin: Admin,
}

/// Aggregated metrics that `/metrics/per-object` has for each object instead.
const REPLACED: [&str; 2] = ["rabbitmq_queue_messages_ready", "rabbitmq_queue_messages_unacked"];

/// What every endpoint has, for dashboards to join on.
const IDENTITY: [&str; 2] = ["rabbitmq_identity_info", "rabbitmq_build_info"];

type Scrape = State<Arc<Scraped>>;

pub(super) async fn aggregated(State(scraped): Scrape) -> Response {
    answer(scraped.metrics.encode(|_| true))
}

pub(super) async fn per_object(State(scraped): Scrape) -> Response {
    let families = ObjectFamily::PER_OBJECT;
    match read(&scraped.admin, &families, &[]).await {
        Ok(objects) => answer(scraped.metrics.encode(|name| !REPLACED.contains(&name)).map(|mut text| {
            text.push_str(&objects.encode("rabbitmq_", &families));
            text
        })),
        Err(error) => unavailable(&error),
    }
}

pub(super) async fn detailed(State(scraped): Scrape, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let values = |name: &str| -> Vec<String> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| decode(value)).collect()
    };
    let families: Vec<_> = values("family").iter().filter_map(|name| ObjectFamily::named(name)).collect();
    match read(&scraped.admin, &families, &values("vhost")).await {
        Ok(objects) => answer(scraped.metrics.encode(|name| IDENTITY.contains(&name)).map(|mut text| {
            text.push_str(&objects.encode("rabbitmq_detailed_", &families));
            text
        })),
        Err(error) => unavailable(&error),
    }
}

/// Percent-decoding; what is not encoded correctly stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let hex = behind.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (byte, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(decoded)) => {
                bytes.push(decoded);
                rest = behind.get(2..).unwrap_or_default();
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(byte),
        }
        rest = behind;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Lists what the families need, in the virtual hosts that are named, or in all if none is.
async fn read(admin: &Admin, families: &[ObjectFamily], vhosts: &[String]) -> Result<Objects, AdminError> {
    let mut objects = Objects::default();
    let wanted = |vhost: &str| vhosts.is_empty() || vhosts.iter().any(|wanted| wanted == vhost);
    if families.iter().any(|family| family.is_of_queues()) {
        objects.queues = admin.queues(None).await?;
        objects.queues.retain(|queue| wanted(&queue.vhost));
    }
    let of_channels = families.contains(&ObjectFamily::Channel);
    if of_channels
        || families.contains(&ObjectFamily::Connection)
        || families.contains(&ObjectFamily::ConnectionCoarse)
    {
        objects.connections = admin.connections().await?;
    }
    if of_channels {
        let names = objects.connections.iter().map(|connection| (connection.address, connection.name()));
        let names: HashMap<_, _> = names.collect();
        let channels = admin.channels().await?.into_iter();
        let named = channels.filter_map(|channel| {
            let name = format!("{} ({})", names.get(&channel.connection)?, channel.number);
            Some((name, channel))
        });
        objects.channels = named.collect();
    }
    if families.contains(&ObjectFamily::Vhosts) || families.contains(&ObjectFamily::Exchanges) {
        let definitions = admin.definitions().await?.into_iter();
        let names = definitions.filter_map(|definition| match definition {
            Definition::Vhost(vhost) => Some(vhost.name),
            _ => None,
        });
        objects.vhosts = names.collect();
    }
    if families.contains(&ObjectFamily::Exchanges) {
        for vhost in objects.vhosts.iter().filter(|vhost| wanted(vhost)) {
            let exchanges = admin.exchanges(vhost).await?.into_iter();
            let named = exchanges.filter(|exchange| !exchange.definition.name.is_empty()).map(|exchange| {
                (vhost.clone(), exchange.definition.name.clone(), exchange.definition.kind.to_string())
            });
            objects.exchanges.extend(named);
        }
    }
    Ok(objects)
}

fn answer(text: prometheus::Result<String>) -> Response {
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn unavailable(error: &AdminError) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        assert_eq!(decode("%2Fa+b%zz%2"), "/a b%zz%2");
    }
}

//! `/metrics`, `/metrics/per-object` and `/metrics/detailed`: what Prometheus scrapes. For everybody, as in RabbitMQ.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use broker_core::admin::{Admin, AdminError, Definition};

use crate::metrics::{DETAILED_PREFIX, ExchangeRow, Metrics, ObjectFamily, Objects};

/// The metrics and the way to the objects.
#[derive(Debug)]
pub(super) struct Scraped {
    pub(super) metrics: Metrics,
    pub(super) admin: Admin,
}

type Scrape = State<Arc<Scraped>>;

pub(super) async fn aggregated(State(scraped): Scrape) -> Response {
    let stats = match scraped.admin.stats().await {
        Ok(stats) => stats,
        Err(error) => return unavailable(&error),
    };
    let metrics = &scraped.metrics;
    answer([metrics.encode_identity("aggregated"), metrics.encode(&stats, |_| true)], "")
}

pub(super) async fn per_object(State(scraped): Scrape) -> Response {
    let families = ObjectFamily::PER_OBJECT;
    let read = async { Ok((scraped.admin.stats().await?, read(&scraped.admin, &families, &[]).await?)) };
    let (stats, objects) = match read.await {
        Ok(read) => read,
        Err(error) => return unavailable(&error),
    };
    let metrics = &scraped.metrics;
    let others = metrics.encode(&stats, |name| !ObjectFamily::has_per_object(name));
    answer([metrics.encode_identity("per-object"), others], &objects.encode("rabbitmq_", &families))
}

pub(super) async fn detailed(State(scraped): Scrape, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let values = |name: &str| -> Vec<String> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| decode(value)).collect()
    };
    let asked = values("family");
    let families: Vec<_> = asked.iter().filter_map(|name| ObjectFamily::named(name)).collect();
    let vhosts = values("vhost");
    let read = async { Ok((scraped.admin.stats().await?, read(&scraped.admin, &families, &vhosts).await?)) };
    let (stats, objects) = match read.await {
        Ok(read) => read,
        Err(error) => return unavailable(&error),
    };
    let metrics = &scraped.metrics;
    let parts = [metrics.encode_identity("detailed"), metrics.encode_detailed(&stats, &asked)];
    answer(parts, &objects.encode(DETAILED_PREFIX, &families))
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
    let of_channels = families.iter().any(|family| family.is_of_channels());
    if of_channels || families.iter().any(|family| family.is_of_connections()) {
        objects.connections = admin.connections().await?;
        objects.connections.retain(|connection| wanted(&connection.vhost));
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
    let of_exchanges = families.iter().any(|family| family.is_of_exchanges());
    if of_exchanges || families.contains(&ObjectFamily::Vhosts) {
        let definitions = admin.definitions().await?.into_iter();
        let names = definitions.filter_map(|definition| match definition {
            Definition::Vhost(vhost) => Some(vhost.name),
            _ => None,
        });
        objects.vhosts = names.collect();
    }
    if of_exchanges {
        for vhost in objects.vhosts.iter().filter(|vhost| wanted(vhost)) {
            objects.exchanges.extend(exchanges(admin, vhost).await?);
        }
    }
    Ok(objects)
}

/// The exchanges of a virtual host that have a name.
async fn exchanges(admin: &Admin, vhost: &str) -> Result<Vec<ExchangeRow>, AdminError> {
    let mut bindings: HashMap<String, u64> = HashMap::new();
    for binding in admin.bindings(vhost).await? {
        *bindings.entry(binding.source).or_default() += 1;
    }
    let exchanges = admin.exchanges(vhost).await?.into_iter();
    let named = exchanges.filter(|exchange| !exchange.definition.name.is_empty()).map(|exchange| {
        let definition = &exchange.definition;
        ExchangeRow {
            vhost: vhost.to_owned(),
            bindings: bindings.get(&definition.name).copied().unwrap_or_default(),
            name: definition.name.clone(),
            kind: definition.kind.to_string(),
        }
    });
    Ok(named.collect())
}

fn answer(parts: [prometheus::Result<String>; 2], objects: &str) -> Response {
    match parts {
        [Ok(identity), Ok(text)] => {
            ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], [&identity, &text, objects].concat())
                .into_response()
        }
        [Err(error), _] | [_, Err(error)] => {
            (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
        }
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

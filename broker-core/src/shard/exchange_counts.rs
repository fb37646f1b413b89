//! What exchanges have counted for the publishers of this shard. A publishing channel remembers the place of its exchange's
//! counters, so that counting a message looks nothing up.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use slab::Slab;

use crate::admin::{ExchangeCount, ExchangeCounters};

/// The counters of the exchanges that were published to, one row for each of them that still exists.
#[derive(Debug, Default)]
pub(super) struct ExchangeCounts {
    rows: Slab<ExchangeCount>,
    places: FxHashMap<Arc<str>, FxHashMap<Arc<str>, u32>>,
}

impl ExchangeCounts {
    /// The place of an exchange's counters. It holds until the topology changes.
    pub(super) fn place(&mut self, vhost: &Arc<str>, exchange: &str) -> u32 {
        let places = self.places.entry(Arc::clone(vhost)).or_default();
        if let Some(place) = places.get(exchange) {
            return *place;
        }
        let name: Arc<str> = exchange.into();
        let row = ExchangeCount {
            vhost: Arc::clone(vhost),
            exchange: Arc::clone(&name),
            counters: ExchangeCounters::default(),
        };
        let place = u32::try_from(self.rows.insert(row)).unwrap_or(u32::MAX);
        places.insert(name, place);
        place
    }

    /// Counts a message that came in and went to so many queues.
    #[inline]
    pub(super) fn count(&mut self, place: u32, queues: usize) {
        if let Some(row) = self.rows.get_mut(place as usize) {
            row.counters.publish_in += 1;
            row.counters.publish_out += queues as u64;
        }
    }

    /// Forgets an exchange that was deleted.
    pub(super) fn remove(&mut self, vhost: &str, exchange: &str) {
        if let Some(place) = self.places.get_mut(vhost).and_then(|places| places.remove(exchange)) {
            self.rows.try_remove(place as usize);
        }
    }

    /// Forgets the exchanges of a virtual host that was deleted.
    pub(super) fn remove_vhost(&mut self, vhost: &str) {
        for place in self.places.remove(vhost).unwrap_or_default().into_values() {
            self.rows.try_remove(place as usize);
        }
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &ExchangeCount> {
        self.rows.iter().map(|(_, row)| row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_is_counted_until_it_is_deleted() {
        let mut counts = ExchangeCounts::default();
        let (one, two): (Arc<str>, Arc<str>) = ("one".into(), "two".into());
        let place = counts.place(&one, "x");
        assert_ne!(counts.place(&two, "x"), place);
        counts.count(place, 2);
        counts.count(counts.places["one"]["x"], 0);
        let counted = |counts: &ExchangeCounts| {
            let mut rows: Vec<_> = counts
                .iter()
                .map(|row| (row.vhost.to_string(), row.counters.publish_in, row.counters.publish_out))
                .collect();
            rows.sort();
            rows
        };
        assert_eq!(counted(&counts), [("one".to_owned(), 2, 2), ("two".to_owned(), 0, 0)]);
        counts.remove("one", "x");
        counts.count(place, 1);
        assert_eq!(counted(&counts), [("two".to_owned(), 0, 0)]);
        counts.remove_vhost("two");
        assert_eq!(counts.iter().count(), 0);
        assert_eq!(counts.place(&two, "x"), counts.places["two"]["x"], "made anew");
    }
}

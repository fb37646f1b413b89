//! How lists are answered: filtered by name, sorted, cut to a page, reduced to columns.
//!
//! The query parameters are RabbitMQ's: `page`, `page_size`, `name`, `use_regex`, `sort`, `sort_reverse`, `columns`. Rows are
//! turned into JSON as late as possible: a page of a hundred thousand queues costs the JSON of one page.

use std::collections::HashMap;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use regex::{Regex, RegexBuilder};
use serde::Serialize;
use serde_json::{Map, Value};

use super::error::{ApiError, ApiResult};
use super::pick::SortKey;
use super::rates::Range;
use super::reply;

/// Rows of a page when `page_size` is not given.
const DEFAULT_PAGE_SIZE: usize = 100;

/// Most rows of a page.
const MAX_PAGE_SIZE: usize = 500;

/// Largest program that a `use_regex` name may compile to, in bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// One row of a list, cheap to filter and sort by what it is called.
pub(super) trait Row {
    /// The name that `name=` filters by.
    fn name(&self) -> &str;
    /// The virtual host, empty for what is in none.
    fn vhost(&self) -> &str {
        ""
    }
}

/// What a request asks of a list.
#[derive(Debug, Default)]
pub(super) struct Listing {
    page: Option<Page>,
    sort: Option<String>,
    reverse: bool,
    columns: Option<Columns>,
    pub(super) stats: Stats,
}

/// What a request asks of numbers: samples, or none of them at all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stats {
    /// `disable_stats=true`: what is, and nothing that counts.
    pub(super) disabled: bool,
    /// `enable_queue_totals=true`: the lengths of queues all the same.
    pub(super) queue_totals: bool,
    /// `msg_rates_age` and `msg_rates_incr`.
    pub(super) rates: Option<Range>,
    /// `lengths_age` and `lengths_incr`.
    pub(super) lengths: Option<Range>,
    /// `data_rates_age` and `data_rates_incr`.
    pub(super) data_rates: Option<Range>,
    /// `node_stats_age` and `node_stats_incr`.
    pub(super) node: Option<Range>,
}

impl Stats {
    fn new(query: &HashMap<String, String>) -> ApiResult<Self> {
        // As RabbitMQ: what is no number is as good as missing.
        let seconds = |key: String| query.get(&key).and_then(|text| text.parse().ok());
        let range = |of: &str| {
            let range = Range::new(seconds(format!("{of}_age")), seconds(format!("{of}_incr")));
            range.map_err(ApiError::bad_request)
        };
        let is_set = |key: &str| query.get(key).is_some_and(|value| value == "true");
        Ok(Self {
            disabled: is_set("disable_stats"),
            queue_totals: is_set("enable_queue_totals"),
            rates: range("msg_rates")?,
            lengths: range("lengths")?,
            data_rates: range("data_rates")?,
            node: range("node_stats")?,
        })
    }
}

/// The rows of a page, and how many there are before it is cut out.
#[derive(Debug)]
pub(super) struct Cut<R> {
    pub(super) rows: Vec<R>,
    filtered_count: usize,
    total_count: usize,
}

#[derive(Debug)]
struct Page {
    number: usize,
    size: usize,
    name: Option<NameFilter>,
}

#[derive(Debug)]
enum NameFilter {
    /// Lower case.
    Contains(String),
    Matches(Regex),
}

/// The fields that `columns=` keeps: `name,message_stats.publish`.
#[derive(Debug, Default)]
struct Columns(HashMap<String, Option<Self>>);

impl<S: Sync> FromRequestParts<S> for Listing {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        let query = Query::<HashMap<String, String>>::try_from_uri(&parts.uri);
        let Query(query) = query.map_err(|error| ApiError::bad_request(error.to_string()))?;
        Self::new(&query)
    }
}

impl Listing {
    fn new(query: &HashMap<String, String>) -> ApiResult<Self> {
        let columns = query.get("columns").filter(|columns| !columns.is_empty());
        Ok(Self {
            page: Page::new(query)?,
            sort: query.get("sort").filter(|sort| !sort.is_empty()).cloned(),
            reverse: query.get("sort_reverse").is_some_and(|reverse| reverse == "true"),
            columns: columns.map(|columns| Columns::parse(columns)),
            stats: Stats::new(query)?,
        })
    }

    /// A list that may be asked for in pages.
    pub(super) fn reply<R: Row, T: Serialize>(&self, rows: Vec<R>, render: impl FnMut(R) -> T) -> ApiResult {
        self.answer(rows, self.page.as_ref(), render)
    }

    /// A list that RabbitMQ does not cut into pages.
    pub(super) fn reply_all<R: Row, T: Serialize>(&self, rows: Vec<R>, render: impl FnMut(R) -> T) -> ApiResult {
        self.answer(rows, None, render)
    }

    /// One object, reduced to the columns asked for.
    pub(super) fn reply_one(&self, object: &impl Serialize) -> ApiResult {
        match &self.columns {
            None => Ok(reply::json(object)),
            Some(columns) => Ok(reply::json(&columns.keep(to_value(object)?))),
        }
    }

    /// True if a page is asked for that names alone decide: which rows are on it can be told before anything else is known.
    pub(super) fn is_page_by_name(&self) -> bool {
        self.page.is_some() && (self.sort.is_none() || self.sorts_by_name())
    }

    /// The rows of such a page. `rows` come by virtual host and name.
    pub(super) fn cut_by_name<'r, R: Row + Clone + 'r>(
        &self,
        rows: impl Iterator<Item = &'r R>,
    ) -> ApiResult<Cut<R>> {
        let mut rows: Vec<&R> = rows.collect();
        let total_count = rows.len();
        let page = self.page.as_ref();
        if let Some(filter) = page.and_then(|page| page.name.as_ref()) {
            rows.retain(|row| filter.matches(row.name()));
        }
        let filtered_count = rows.len();
        let (first, size) = page.map_or(Ok((0, filtered_count)), |page| page.bounds(filtered_count))?;
        if self.sorts_by_name() && rows.first().map(|row| row.vhost()) != rows.last().map(|row| row.vhost()) {
            rows.sort_by_key(|row| row.name());
        }
        if self.reverse {
            rows.reverse();
        }
        let rows = rows.into_iter().skip(first).take(size).cloned().collect();
        Ok(Cut { rows, filtered_count, total_count })
    }

    /// Answers a page with what was found to its rows, in any order.
    pub(super) fn reply_cut<R, F: Row, T: Serialize>(
        &self,
        cut: &Cut<R>,
        found: Vec<F>,
        render: impl FnMut(F) -> T,
    ) -> ApiResult {
        let order = self.order_by_name(&found);
        let items = self.cut(found, order, 0, usize::MAX).map(render).collect();
        self.finish(items, self.page.as_ref(), cut.filtered_count, cut.total_count)
    }

    fn answer<R: Row, T: Serialize>(
        &self,
        mut rows: Vec<R>,
        page: Option<&Page>,
        render: impl FnMut(R) -> T,
    ) -> ApiResult {
        let total_count = rows.len();
        if let Some(filter) = page.and_then(|page| page.name.as_ref()) {
            rows.retain(|row| filter.matches(row.name()));
        }
        let filtered_count = rows.len();
        let (first, size) = page.map_or(Ok((0, filtered_count)), |page| page.bounds(filtered_count))?;
        let order = self.order_by_name(&rows);
        let items = match self.sort.as_deref() {
            None | Some("name") => self.cut(rows, order, first, size).map(render).collect(),
            Some(field) => {
                let items: Vec<T> = pick(rows, order).map(render).collect();
                let mut order: Vec<(usize, SortKey)> =
                    items.iter().map(|item| SortKey::of(item, field)).enumerate().collect();
                order.sort_by(|one, other| one.1.order(&other.1));
                let order = order.into_iter().map(|(at, _)| at).collect();
                self.cut(items, order, first, size).collect()
            }
        };
        self.finish(items, page, filtered_count, total_count)
    }

    /// The places of the rows in the order of their names, which is by virtual host first where no sorting is asked for. Places are
    /// sorted, not rows: those are large.
    fn order_by_name<R: Row>(&self, rows: &[R]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by(|&one, &other| {
            let key = |at: usize| rows.get(at).map(|row| (row.vhost(), row.name()));
            key(one).cmp(&key(other))
        });
        if self.sorts_by_name() {
            order.sort_by(|&one, &other| {
                let key = |at: usize| rows.get(at).map(Row::name);
                key(one).cmp(&key(other))
            });
        }
        order
    }

    fn sorts_by_name(&self) -> bool {
        self.sort.as_deref() == Some("name")
    }

    fn finish<T: Serialize>(
        &self,
        items: Vec<T>,
        page: Option<&Page>,
        filtered_count: usize,
        total_count: usize,
    ) -> ApiResult {
        let items = self.reduced(Items::Rows(items))?;
        let Some(page) = page else {
            return Ok(reply::json(&items));
        };
        Ok(reply::json(&Paged {
            filtered_count,
            item_count: items.len(),
            items,
            page: page.number,
            page_count: filtered_count.div_ceil(page.size),
            page_size: page.size,
            total_count,
        }))
    }

    /// The items of a page, from the end if the list is reversed.
    fn cut<T>(&self, items: Vec<T>, mut order: Vec<usize>, first: usize, size: usize) -> impl Iterator<Item = T> {
        if self.reverse {
            order.reverse();
        }
        pick(items, order.into_iter().skip(first).take(size).collect())
    }

    fn reduced<T: Serialize>(&self, items: Items<T>) -> ApiResult<Items<T>> {
        let Some(columns) = &self.columns else { return Ok(items) };
        let values = match items {
            Items::Rows(rows) => rows.iter().map(to_value).collect::<ApiResult<Vec<_>>>()?,
            Items::Values(values) => values,
        };
        Ok(Items::Values(values.into_iter().map(|value| columns.keep(value)).collect()))
    }
}

/// The items at these places.
fn pick<T>(items: Vec<T>, order: Vec<usize>) -> impl Iterator<Item = T> {
    let mut items: Vec<Option<T>> = items.into_iter().map(Some).collect();
    order.into_iter().filter_map(move |at| items.get_mut(at)?.take())
}

fn to_value(of: &impl Serialize) -> ApiResult<Value> {
    serde_json::to_value(of).map_err(|error| ApiError::unavailable(error.to_string()))
}

#[derive(Serialize)]
#[serde(untagged)]
enum Items<T> {
    Rows(Vec<T>),
    Values(Vec<Value>),
}

impl<T> Items<T> {
    fn len(&self) -> usize {
        match self {
            Self::Rows(rows) => rows.len(),
            Self::Values(values) => values.len(),
        }
    }
}

#[derive(Serialize)]
struct Paged<R> {
    filtered_count: usize,
    item_count: usize,
    items: Items<R>,
    page: usize,
    page_count: usize,
    page_size: usize,
    total_count: usize,
}

impl Page {
    fn new(query: &HashMap<String, String>) -> ApiResult<Option<Self>> {
        let number = |key| match query.get(key).map(|text| text.parse::<i64>()) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) => Err(ApiError::bad_request("Pagination parameters are invalid")),
        };
        let (page, page_size) = (number("page")?, number("page_size")?);
        let Some(page) = page else { return Ok(None) };
        let size = match page_size {
            None => Some(DEFAULT_PAGE_SIZE),
            Some(size) => usize::try_from(size).ok().filter(|size| (1..=MAX_PAGE_SIZE).contains(size)),
        };
        let (Some(number), Some(size)) = (usize::try_from(page).ok().filter(|&page| page > 0), size) else {
            let size = page_size.map_or_else(|| "undefined".to_owned(), |size| size.to_string());
            let reason = format!("Invalid pagination parameters: page number {page}, page size {size}");
            return Err(ApiError::bad_request_as("invalid_pagination_parameters", reason));
        };
        let name = query.get("name").filter(|name| !name.is_empty());
        let regex = query.get("use_regex").is_some_and(|value| value == "true");
        let name = name.map(|name| NameFilter::new(name, regex)).transpose()?;
        Ok(Some(Self { number, size, name }))
    }
}

impl Page {
    /// Number of the first row, and how many there may be.
    fn bounds(&self, rows: usize) -> ApiResult<(usize, usize)> {
        let first = (self.number - 1).saturating_mul(self.size);
        if first >= rows.max(1) {
            let Self { number, size, .. } = self;
            let reason = format!("Page out of range, page: {number} page size: {size}, len: {rows}");
            return Err(ApiError::bad_request_as("page_out_of_range", reason));
        }
        Ok((first, self.size))
    }
}

impl NameFilter {
    fn new(name: &str, regex: bool) -> ApiResult<Self> {
        if !regex {
            return Ok(Self::Contains(name.to_lowercase()));
        }
        let regex = RegexBuilder::new(name).case_insensitive(true).size_limit(MAX_REGEX_BYTES).build();
        let invalid = |_| ApiError::bad_request("Pagination parameters are invalid");
        regex.map(Self::Matches).map_err(invalid)
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Contains(part) => name.to_lowercase().contains(part),
            Self::Matches(regex) => regex.is_match(name),
        }
    }
}

impl Columns {
    fn parse(text: &str) -> Self {
        let mut columns = Self::default();
        for column in text.split(',') {
            columns.add(column.trim());
        }
        columns
    }

    fn add(&mut self, column: &str) {
        match column.split_once('.') {
            None => {
                self.0.insert(column.to_owned(), None);
            }
            Some((first, rest)) => {
                let below = self.0.entry(first.to_owned()).or_insert_with(|| Some(Self::default()));
                // Without below, the whole field is wanted already.
                if let Some(below) = below {
                    below.add(rest);
                }
            }
        }
    }

    fn keep(&self, value: Value) -> Value {
        match value {
            Value::Object(fields) => {
                let mut kept = Map::new();
                for (name, value) in fields {
                    match self.0.get(&name) {
                        None => {}
                        Some(None) => drop(kept.insert(name, value)),
                        Some(Some(below)) => drop(kept.insert(name, below.keep(value))),
                    }
                }
                Value::Object(kept)
            }
            Value::Array(items) => items.into_iter().map(|item| self.keep(item)).collect(),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use serde_json::json;

    use super::*;

    #[derive(Clone)]
    struct Queue(&'static str, u64);

    impl Row for Queue {
        fn name(&self) -> &str {
            self.0
        }
    }

    fn check(query: &str, expect: Value) {
        let query: HashMap<String, String> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let rows = vec![Queue("b", 5), Queue("a", 10), Queue("ab", 1)];
        let render =
            |Queue(name, messages)| json!({"name": name, "messages": messages, "stats": {"ack": 1, "get": 2}});
        let listing = Listing::new(&query);
        if let Ok(listing) = &listing
            && listing.is_page_by_name()
        {
            let mut names = rows.clone();
            names.sort_by_key(|queue| queue.0);
            let found = listing.cut_by_name(names.iter());
            let answer = found.and_then(|cut| listing.reply_cut(&cut, cut.rows.clone(), render));
            assert_eq!(body_of(answer), expect);
        }
        assert_eq!(body_of(listing.and_then(|listing| listing.reply(rows, render))), expect);
    }

    fn body_of(answer: ApiResult) -> Value {
        let response = match answer {
            Ok(response) => response,
            Err(error) => axum::response::IntoResponse::into_response(error),
        };
        let bytes = futures_lite::future::block_on(to_bytes(response.into_body(), usize::MAX)).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn rows_are_sorted_by_name_or_by_a_field() {
        check("columns=name", json!([{"name": "a"}, {"name": "ab"}, {"name": "b"}]));
        check("columns=name&sort=messages", json!([{"name": "ab"}, {"name": "b"}, {"name": "a"}]));
        let reversed = json!([{"name": "b"}, {"name": "ab"}, {"name": "a"}]);
        check("columns=name&sort=name&sort_reverse=true", reversed);
        check(
            "columns=stats.ack,name&sort=stats.get&page=1&page_size=1",
            json!({
                "filtered_count": 3, "item_count": 1, "items": [{"name": "a", "stats": {"ack": 1}}],
                "page": 1, "page_count": 3, "page_size": 1, "total_count": 3
            }),
        );
    }

    #[test]
    fn a_page_counts_what_the_name_leaves() {
        let found = |items: Value| {
            let count = items.as_array().unwrap().len();
            json!({"filtered_count": count, "item_count": count, "items": items, "page": 1,
                   "page_count": count.div_ceil(100), "page_size": 100, "total_count": 3})
        };
        check("page=1&name=A&columns=name", found(json!([{"name": "a"}, {"name": "ab"}])));
        check("page=1&name=%5Ea$&columns=name", found(json!([])));
        check("page=1&name=^a$&use_regex=true&columns=name", found(json!([{"name": "a"}])));
        check("page=1&name=zzz", found(json!([])));
        check(
            "page=1&sort=name&sort_reverse=true&columns=name",
            found(json!([{"name": "b"}, {"name": "ab"}, {"name": "a"}])),
        );
    }

    #[test]
    fn pages_that_do_not_exist_are_refused_in_rabbitmqs_words() {
        let refused = |error: &str, reason: &str| json!({"error": error, "reason": reason});
        let out = "Page out of range, page: 3 page size: 2, len: 3";
        check("page=3&page_size=2", refused("page_out_of_range", out));
        let invalid = "Invalid pagination parameters: page number 0, page size undefined";
        check("page=0", refused("invalid_pagination_parameters", invalid));
        let invalid = "Invalid pagination parameters: page number 1, page size 1000";
        check("page=1&page_size=1000", refused("invalid_pagination_parameters", invalid));
        check("page=x", refused("bad_request", "Pagination parameters are invalid"));
    }
}

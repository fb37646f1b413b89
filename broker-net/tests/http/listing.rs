//! Pages, sorting, columns.

use serde_json::{Value, json};

use crate::harness::{Served, check, check_refused};

fn names(answer: &Value) -> Vec<&str> {
    answer.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect()
}

#[test]
fn lists_are_cut_into_pages() {
    let api = Served::start();
    for number in 0..25 {
        api.must_put(&format!("queues/%2F/q{number:02}"), &json!({}));
    }
    let page = check(api.get("queues?page=3&page_size=10&columns=name"), 200).body;
    let counts = ["filtered_count", "item_count", "page", "page_count", "page_size", "total_count"];
    assert_eq!(counts.map(|count| page[count].as_u64().unwrap()), [25, 5, 3, 3, 10, 25]);
    assert_eq!(names(&page["items"]), ["q20", "q21", "q22", "q23", "q24"]);
    let page =
        check(api.get("queues/%2F?page=1&name=%5Eq0%5B12%5D&use_regex=true&sort=name&sort_reverse=true"), 200)
            .body;
    assert_eq!(names(&page["items"]), ["q02", "q01"]);
    assert_eq!((&page["filtered_count"], &page["total_count"]), (&json!(2), &json!(25)));
    let reason = "Page out of range, page: 9 page size: 10, len: 25";
    check_refused(api.get("queues?page=9&page_size=10"), 400, reason);
    check_refused(api.get("queues?page=x"), 400, "Pagination parameters are invalid");
    check(api.get("queues?page=1&name=%28&use_regex=true"), 400);
}

#[test]
fn lists_are_sorted_by_any_field() {
    let api = Served::start();
    for (queue, messages) in [("a", 1), ("b", 3), ("c", 2)] {
        api.must_put(&format!("queues/%2F/{queue}"), &json!({}));
        let message =
            json!({"properties": {}, "routing_key": queue, "payload": "x", "payload_encoding": "string"});
        for _ in 0..messages {
            check(api.post("exchanges/%2F/amq.default/publish", &message), 200);
        }
    }
    let sorted = check(api.get("queues?sort=messages&sort_reverse=true&columns=name,messages"), 200).body;
    let expect = json!([{"name": "b", "messages": 3}, {"name": "c", "messages": 2}, {"name": "a", "messages": 1}]);
    assert_eq!(sorted, expect);
    let below = check(api.get("queues?sort=arguments.x-queue-type&columns=name,arguments.x-queue-type"), 200).body;
    assert_eq!(below[0], json!({"name": "a", "arguments": {"x-queue-type": "classic"}}));
}

#[test]
fn pages_of_queues_follow_what_is_made_and_removed() {
    let api = Served::start();
    api.must_put("vhosts/other", &json!({}));
    api.must_put("permissions/other/guest", &json!({"configure": ".*", "write": ".*", "read": ".*"}));
    for (path, arguments) in [
        ("queues/%2F/b", json!({})),
        ("queues/%2F/d", json!({"x-queue-type": "stream"})),
        ("queues/other/a", json!({})),
        ("queues/other/c", json!({"x-queue-type": "quorum"})),
    ] {
        api.must_put(path, &json!({"durable": true, "arguments": arguments}));
    }
    let page = |query: &str| {
        let page = check(api.get(query), 200).body;
        (names(&page["items"]).join(" "), page["total_count"].as_u64().unwrap())
    };
    assert_eq!(page("queues?page=1"), ("b d a c".to_owned(), 4));
    assert_eq!(page("queues?page=1&sort=name"), ("a b c d".to_owned(), 4));
    assert_eq!(page("queues?page=1&page_size=3&sort=name&sort_reverse=true"), ("d c b".to_owned(), 4));
    assert_eq!(page("queues/other?page=1"), ("a c".to_owned(), 2));
    check(api.delete("queues/%2F/d"), 204);
    check(api.delete("queues/other/a"), 204);
    assert_eq!(page("queues?page=1"), ("b c".to_owned(), 2));
    api.must_put("queues/%2F/e", &json!({}));
    assert_eq!(page("queues?page=1"), ("b e c".to_owned(), 3));
}

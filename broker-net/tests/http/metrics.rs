//! Prometheus' metrics.

use serde_json::json;

use crate::harness::Served;

pub(crate) fn scrape(api: &Served, path: &str) -> String {
    let url = format!("http://{}{path}", api.broker.metrics);
    ureq::get(&url).call().unwrap().body_mut().read_to_string().unwrap()
}

#[track_caller]
pub(crate) fn check_line(text: &str, line: &str) {
    assert!(text.lines().any(|other| other == line), "no `{line}` in\n{text}");
}

#[test]
fn aggregated_metrics_are_sums() {
    let api = Served::start();
    api.must_put("queues/%2F/a", &json!({}));
    api.must_put("queues/%2F/b", &json!({}));
    let text = scrape(&api, "/metrics");
    check_line(&text, "rabbitmq_queues 2");
    check_line(&text, "# TYPE rabbitmq_queues gauge");
    assert!(text.contains("rabbitmq_identity_info{"), "{text}");
}

#[test]
fn objects_have_metrics_of_their_own() {
    let api = Served::start();
    api.must_put("vhosts/v", &json!({}));
    api.must_put("queues/%2F/a", &json!({}));
    api.must_put("queues/v/b", &json!({}));
    let message = json!({"properties": {}, "routing_key": "a", "payload": "x", "payload_encoding": "string"});
    api.post("exchanges/%2F/amq.default/publish", &message);
    let text = scrape(&api, "/metrics/per-object");
    check_line(&text, "rabbitmq_queue_messages_ready{vhost=\"/\",queue=\"a\"} 1");
    check_line(&text, "rabbitmq_queue_messages_ready{vhost=\"v\",queue=\"b\"} 0");
    check_line(&text, "rabbitmq_queues 2");
    let heads = text.lines().filter(|line| *line == "# TYPE rabbitmq_queue_messages_ready gauge");
    assert_eq!(heads.count(), 1);
}

#[test]
fn detailed_metrics_are_asked_for_by_family_and_virtual_host() {
    let api = Served::start();
    api.must_put("vhosts/v", &json!({}));
    api.must_put("queues/%2F/a", &json!({}));
    api.must_put("queues/v/b", &json!({}));
    let text = scrape(&api, "/metrics/detailed?vhost=v&family=queue_coarse_metrics&family=vhost_status");
    check_line(&text, "rabbitmq_detailed_queue_messages{vhost=\"v\",queue=\"b\"} 0");
    check_line(&text, "rabbitmq_cluster_vhost_status{vhost=\"/\"} 1");
    assert!(
        !text.contains("queue=\"a\"") && !text.contains("rabbitmq_queues") && !text.contains("_consumers"),
        "{text}"
    );
}

#[test]
fn a_connection_beyond_the_limit_is_served_when_another_ends() {
    let api = Served::start();
    let address = api.broker.metrics;
    let limit = broker_net::http::MAX_SCRAPERS;
    let mut idle: Vec<_> = (0..limit).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| scrape(&api, "/metrics"));
        idle.pop();
        check_line(&waiting.join().unwrap(), "rabbitmq_queues 0");
    });
}

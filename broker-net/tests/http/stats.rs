//! Message counts and their rates.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::{Value, json};

use crate::harness::{Served, check};

async fn connect(api: &Served) -> Connection {
    Connection::connect(&format!("amqp://{}/%2f", api.broker.address), ConnectionProperties::default())
        .await
        .unwrap()
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

/// Publishes and waits for the confirm.
async fn publish(channel: &Channel, exchange: &str, key: &str) {
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let confirm = channel.basic_publish(exchange.into(), key.into(), options, b"x", properties).await.unwrap();
    confirm.await.unwrap();
}

fn rate(row: &Value, of: &str) -> f64 {
    row["message_stats"][format!("{of}_details")]["rate"].as_f64().unwrap_or_else(|| panic!("{of}: {row}"))
}

/// Publishes until it is dropped.
struct Publisher {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    fn start(api: &Served) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, address) = (Arc::clone(&stop), api.broker.address);
        let publish = async move {
            let uri = format!("amqp://{address}/%2f");
            let connection = Connection::connect(&uri, ConnectionProperties::default()).await.unwrap();
            let channel = connection.create_channel().await.unwrap();
            channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
            while !stopped.load(Ordering::Relaxed) {
                publish(&channel, "x", "k").await;
            }
        };
        Self { stop, thread: Some(std::thread::spawn(move || run(publish))) }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A panic in it has failed the test already, or fails it by what is missing.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Waits until something that was not idle since `before` is; the time since when.
fn idle_since(api: &Served, path: &str, before: Option<&str>) -> String {
    loop {
        let row = check(api.get(path), 200).body;
        let since = row["idle_since"].as_str().map(str::to_owned);
        if let Some(since) = since.filter(|since| Some(since.as_str()) != before) {
            return since;
        }
    }
}

#[test]
fn queues_and_channels_are_idle_since_they_did_something_last() {
    let api = Served::start();
    run(async {
        let connection = connect(&api).await;
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        channel.queue_declare("q".into(), QueueDeclareOptions::default(), FieldTable::default()).await.unwrap();
        let of_channel = check(api.get("channels"), 200).body[0]["name"].as_str().unwrap().replace(' ', "%20");
        let paths = ["queues/%2F/q".to_owned(), format!("channels/{}", of_channel.replace('>', "%3E"))];
        let first = paths.each_ref().map(|path| idle_since(&api, path, None));
        publish(&channel, "", "q").await;
        for (path, first) in paths.iter().zip(&first) {
            let second = idle_since(&api, path, Some(first));
            assert!(second > *first, "{path}: {second} after {first}");
            assert!(second.starts_with("20") && second.ends_with("+00:00"), "{second}");
        }
    });
}

/// Nobody asks for the queue before the overview shows that messages were counted.
#[test]
fn a_rate_is_right_at_the_first_request() {
    let api = Served::start();
    api.must_put("queues/%2F/q", &json!({}));
    api.must_put("exchanges/%2F/x", &json!({"type": "fanout"}));
    check(api.post("bindings/%2F/e/x/q/q", &json!({})), 201);
    let publisher = Publisher::start(&api);
    while rate(&check(api.get("overview"), 200).body, "publish") <= 0.0 {}
    let samples = "msg_rates_age=60&msg_rates_incr=5&lengths_age=60&lengths_incr=5";
    let queue = check(api.get(&format!("queues/%2F/q?{samples}")), 200).body;
    assert!(rate(&queue, "publish") > 0.0, "{queue}");
    assert!(queue["messages_details"]["rate"].as_f64().unwrap() > 0.0, "{queue}");
    for details in [&queue["message_stats"]["publish_details"], &queue["messages_details"]] {
        let counted = details["samples"].as_array().unwrap().iter();
        let counted: Vec<u64> = counted.map(|sample| sample["sample"].as_u64().unwrap()).collect();
        assert!(counted.len() > 1 && counted.is_sorted_by(|newer, older| newer >= older), "{queue}");
    }
    assert!(rate(&check(api.get("exchanges/%2F/x"), 200).body, "publish_in") > 0.0);
    assert!(rate(&check(api.get("channels"), 200).body[0], "publish") > 0.0);
    assert!(rate(&check(api.get("vhosts/%2F"), 200).body, "publish") > 0.0);
    let received = check(api.get("connections"), 200).body[0]["recv_oct_details"]["rate"].as_f64().unwrap();
    assert!(received > 0.0);
    drop(publisher);
    check(api.delete("reset"), 204);
    let queue = check(api.get(&format!("queues/%2F/q?{samples}")), 200).body;
    let left = queue["message_stats"]["publish_details"]["samples"].as_array().unwrap().len();
    assert!(left < 3, "{queue}");
}

#[test]
fn channels_and_exchanges_count_what_they_did() {
    let api = Served::start();
    api.must_put("queues/%2F/q", &json!({}));
    run(async {
        let connection = connect(&api).await;
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        for _ in 0..5 {
            publish(&channel, "amq.direct", "nowhere").await;
            publish(&channel, "", "q").await;
        }
        let got = channel.basic_get("q".into(), BasicGetOptions::default()).await.unwrap().unwrap();
        got.acker.ack(BasicAckOptions::default()).await.unwrap();
        channel.basic_get("q".into(), BasicGetOptions { no_ack: true }).await.unwrap().unwrap();
        let purge = lapin::options::QueuePurgeOptions::default();
        channel.queue_purge("q".into(), purge).await.unwrap();
        assert!(channel.basic_get("q".into(), BasicGetOptions::default()).await.unwrap().is_none());
        let shown = check(api.get("channels"), 200).body[0]["message_stats"].clone();
        for (counter, count) in [
            ("publish", 10),
            ("confirm", 10),
            ("drop_unroutable", 5),
            ("return_unroutable", 0),
            ("get", 1),
            ("get_no_ack", 1),
            ("get_empty", 1),
            ("ack", 1),
            ("deliver", 0),
            ("deliver_get", 2),
        ] {
            assert_eq!(shown[counter], count, "{counter} of {shown}");
        }
        let counted = |exchange: &str| {
            check(api.get(&format!("exchanges/%2F/{exchange}")), 200).body["message_stats"].clone()
        };
        assert_eq!(
            (&counted("amq.direct")["publish_in"], &counted("amq.direct")["publish_out"]),
            (&json!(5), &json!(0))
        );
        assert_eq!(counted("amq.default")["publish_out"], 5);
        assert_eq!(counted("amq.fanout"), Value::Null);
    });
}

#[test]
fn consumers_say_what_they_are_to_their_queue() {
    let api = Served::start();
    api.must_put("queues/%2F/q", &json!({"arguments": {"x-single-active-consumer": true}}));
    run(async {
        let connection = connect(&api).await;
        let channel = connection.create_channel().await.unwrap();
        let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        channel.queue_declare("mine".into(), exclusive, FieldTable::default()).await.unwrap();
        let mut arguments = FieldTable::default();
        arguments.insert("x-priority".into(), AMQPValue::LongInt(0));
        // A consumer that is dropped is cancelled.
        let mut kept = Vec::new();
        for tag in ["one", "two"] {
            let options = BasicConsumeOptions::default();
            kept.push(channel.basic_consume("q".into(), tag.into(), options, arguments.clone()).await.unwrap());
        }
        let queue = check(api.get("queues/%2F/q"), 200).body;
        assert_eq!(queue["single_active_consumer_tag"], "one");
        let consumers = queue["consumer_details"].as_array().unwrap();
        let of = |tag: &str| consumers.iter().find(|consumer| consumer["consumer_tag"] == tag).unwrap();
        assert_eq!((&of("one")["active"], &of("one")["activity_status"]), (&json!(true), &json!("single_active")));
        assert_eq!((&of("two")["active"], &of("two")["activity_status"]), (&json!(false), &json!("waiting")));
        assert_eq!(of("two")["arguments"], json!({"x-priority": 0}));
        let mine = check(api.get("queues/%2F/mine"), 200).body;
        assert_eq!(mine["owner_pid_details"]["name"], check(api.get("connections"), 200).body[0]["name"]);
    });
}

#[test]
fn what_counts_is_left_out_if_nobody_wants_it() {
    let api = Served::start();
    api.must_put("queues/%2F/q", &json!({"durable": true, "arguments": {"x-queue-type": "quorum"}}));
    let plain = json!({
        "name": "q", "vhost": "/", "type": "quorum", "durable": true, "auto_delete": false, "exclusive": false,
        "arguments": {"x-queue-type": "quorum"}, "state": "running"
    });
    let shown = |query: &str| {
        let mut queue = check(api.get(&format!("queues?{query}")), 200).body[0].clone();
        for node in ["node", "leader", "members", "online"] {
            assert!(queue.as_object_mut().unwrap().remove(node).is_some(), "{node}");
        }
        queue
    };
    assert_eq!(shown("disable_stats=true"), plain);
    let totals = shown("disable_stats=true&enable_queue_totals=true");
    assert_eq!((&totals["messages"], totals.get("message_stats")), (&json!(0), None));
    let full = shown("");
    assert_eq!((&full["delivery_limit"], &full["messages_details"]), (&json!(20), &json!({"rate": 0.0})));
}

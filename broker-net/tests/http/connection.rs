//! Connections, channels and consumers.

use lapin::options::{BasicConsumeOptions, BasicQosOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use serde_json::json;

use crate::harness::{Served, check};

async fn connect(api: &Served, name: &str) -> Connection {
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    Connection::connect(&format!("amqp://{}/%2f", api.broker.address), properties).await.unwrap()
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

fn quote(name: &str) -> String {
    name.replace(' ', "%20").replace('>', "%3E")
}

#[test]
fn a_connection_its_channels_and_consumers_are_shown() {
    let api = Served::start();
    run(async {
        let connection = connect(&api, "mine").await;
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        channel.queue_declare("q".into(), options, FieldTable::default()).await.unwrap();
        channel.basic_qos(7, BasicQosOptions::default()).await.unwrap();
        let consume = BasicConsumeOptions::default();
        channel.basic_consume("q".into(), "tag".into(), consume, FieldTable::default()).await.unwrap();

        let all = check(api.get("connections"), 200).body;
        assert_eq!(all.as_array().unwrap().len(), 1);
        let name = all[0]["name"].as_str().unwrap().to_owned();
        let expect = [
            ("user", json!("guest")),
            ("vhost", json!("/")),
            ("state", json!("running")),
            ("channels", json!(1)),
            ("protocol", json!("AMQP 0-9-1")),
            ("type", json!("network")),
            ("user_provided_name", json!("mine")),
            ("auth_mechanism", json!("PLAIN")),
            ("ssl", json!(false)),
            ("peer_host", json!("127.0.0.1")),
            ("port", json!(api.broker.address.port())),
        ];
        let shown = check(api.get(&format!("connections/{}", quote(&name))), 200).body;
        for (field, value) in expect {
            assert_eq!(all[0][field], value, "{field}");
            assert_eq!(shown[field], value, "{field}");
        }
        assert!(shown["send_oct"].as_u64().unwrap() > 0, "{shown}");
        assert_eq!(check(api.get("vhosts/%2F/connections?columns=name"), 200).body, json!([{"name": name}]));
        assert_eq!(check(api.get("connections/username/guest"), 200).body.as_array().unwrap().len(), 1);
        assert_eq!(check(api.get("connections/username/other"), 200).body, json!([]));

        let channel_name = format!("{name} (1)");
        let shown = check(api.get(&format!("channels/{}", quote(&channel_name))), 200).body;
        for (field, value) in [
            ("name", json!(channel_name)),
            ("number", json!(1)),
            ("confirm", json!(true)),
            ("user", json!("guest")),
            ("consumer_count", json!(1)),
            ("prefetch_count", json!(7)),
        ] {
            assert_eq!(shown[field], value, "{field}");
        }
        let consumer = check(api.get("consumers/%2F"), 200).body[0].clone();
        assert_eq!(consumer["consumer_tag"], "tag");
        assert_eq!(consumer["queue"], json!({"name": "q", "vhost": "/"}));
        assert_eq!(consumer["channel_details"]["name"], channel_name);
        assert_eq!(consumer["prefetch_count"], 7);
        assert_eq!(consumer["consumer_timeout"], 1_800_000);
        let queue = check(api.get("queues/%2F/q"), 200).body;
        assert_eq!(queue["consumer_details"], json!([consumer]));
        assert_eq!((&queue["exclusive"], &queue["consumers"]), (&json!(true), &json!(1)));
    });
}

#[test]
fn a_connection_is_closed_by_its_name() {
    let api = Served::start();
    run(async {
        let connection = connect(&api, "mine").await;
        let mut events = connection.events_listener();
        let name = check(api.get("connections"), 200).body[0]["name"].as_str().unwrap().to_owned();
        api.must_put("users/u", &json!({"password": "p", "tags": "monitoring"}));
        let monitor = api.as_user("u", "p");
        check(monitor.get(&format!("connections/{}", quote(&name))), 200);
        check(monitor.delete(&format!("connections/{}", quote(&name))), 401);
        check(api.delete(&format!("connections/{}", quote(&name))), 204);
        let error = loop {
            match futures_lite::StreamExt::next(&mut events).await {
                Some(lapin::Event::Error(error)) => break error,
                Some(_) => {}
                None => panic!("the connection ended without an error"),
            }
        };
        assert!(error.to_string().contains("CONNECTION_FORCED - Closed via management plugin"), "{error}");
        // The broker forgets the connection when the client has answered.
        while api.get(&format!("connections/{}", quote(&name))).status == 200 {
            tokio::task::yield_now().await;
        }
        check(api.delete(&format!("connections/{}", quote(&name))), 404);
    });
}

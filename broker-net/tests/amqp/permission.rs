//! Permissions and topic permissions: 403 with RabbitMQ's texts, at once on connections that are open.

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::{AMQPMethod as Basic, Publish};
use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, ExchangeBindOptions, ExchangeDeclareOptions, ExchangeDeleteOptions,
    QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use serde_json::json;

use crate::harness::{
    Broker, Closed, Login, Management, Raw, basic, declare, error_of, long_string, message_count, own_process,
    publish, scenario, table,
};

/// Lets `u` with the password `p` do this in `/`.
fn permit(broker: &Broker, configure: &str, write: &str, read: &str) {
    let api = Management::new(broker.http);
    api.must_put("users/u", &json!({"password": "p", "tags": ""}));
    api.must_put("permissions/%2F/u", &json!({"configure": configure, "write": write, "read": read}));
}

async fn connect(broker: &Broker) -> Connection {
    let uri = format!("amqp://u:p@{}/%2f", broker.address);
    Connection::connect(&uri, ConnectionProperties::default()).await.unwrap()
}

fn login() -> Login {
    Login { response: b"\0u\0p".to_vec(), ..Login::default() }
}

/// Publishes as `u` with the routing key; how the channel is closed.
fn publish_refused(broker: &Broker, exchange: &str, routing_key: &str) -> Closed {
    let mut raw = Raw::login(broker, &login());
    publish_raw(&mut raw, exchange, routing_key);
    raw.channel_closed(1)
}

fn publish_raw(raw: &mut Raw, exchange: &str, routing_key: &str) {
    let publish = Publish { exchange: exchange.into(), routing_key: routing_key.into(), ..Publish::default() };
    raw.send(1, &basic(Basic::Publish(publish)));
    raw.header(1, 0);
}

#[test]
fn a_user_without_permissions_cannot_open_the_virtual_host_530() {
    scenario(async |broker| {
        Management::new(broker.http).must_put("users/u", &json!({"password": "p", "tags": ""}));
        let refused = broker.try_connect("u:p", "%2f").await;
        let text = "NOT_ALLOWED - access to vhost '/' refused for user 'u'";
        assert_eq!(error_of(refused), (530, text.to_owned()));
    });
}

#[test]
fn configure_is_asked_by_declare_and_delete() {
    scenario(async |broker| {
        permit(broker, "^mine", ".*", ".*");
        let guest = broker.open().await;
        declare(&guest, "other").await;
        let connection = connect(broker).await;
        let channel = connection.create_channel().await.unwrap();
        declare(&channel, "mine-q").await;
        let options = ExchangeDeclareOptions::default();
        let kind = ExchangeKind::Direct;
        channel.exchange_declare("mine-x".into(), kind.clone(), options, FieldTable::default()).await.unwrap();
        let refused = |what: &str| {
            (403, format!("ACCESS_REFUSED - configure access to {what} in vhost '/' refused for user 'u'"))
        };
        let options_q = QueueDeclareOptions::default();
        let denied = channel.queue_declare("other".into(), options_q, FieldTable::default()).await;
        assert_eq!(error_of(denied), refused("queue 'other'"));
        let channel = connection.create_channel().await.unwrap();
        let denied = channel.queue_delete("other".into(), QueueDeleteOptions::default()).await;
        assert_eq!(error_of(denied), refused("queue 'other'"));
        let channel = connection.create_channel().await.unwrap();
        let denied = channel.exchange_declare("x".into(), kind, options, FieldTable::default()).await;
        assert_eq!(error_of(denied), refused("exchange 'x'"));
        let channel = connection.create_channel().await.unwrap();
        let denied = channel.exchange_delete("amq.direct".into(), ExchangeDeleteOptions::default()).await;
        assert_eq!(error_of(denied).0, 403);
    });
}

#[test]
fn write_is_asked_by_publish_and_by_the_destination_of_a_binding() {
    scenario(async |broker| {
        permit(broker, ".*", "^mine", ".*");
        let refused =
            |what: &str| format!("ACCESS_REFUSED - write access to {what} in vhost '/' refused for user 'u'");
        let closed = publish_refused(broker, "amq.direct", "k");
        assert_eq!((closed.code, closed.method), (403, (60, 40)));
        assert_eq!(closed.text, refused("exchange 'amq.direct'"));
        assert_eq!(publish_refused(broker, "", "q").text, refused("exchange 'amq.default'"));
        let guest = broker.open().await;
        declare(&guest, "q").await;
        let connection = connect(broker).await;
        let channel = connection.create_channel().await.unwrap();
        let none = FieldTable::default;
        let denied = channel
            .queue_bind("q".into(), "amq.direct".into(), "k".into(), QueueBindOptions::default(), none())
            .await;
        assert_eq!(error_of(denied), (403, refused("queue 'q'")));
        let channel = connection.create_channel().await.unwrap();
        let options = ExchangeBindOptions::default();
        let denied =
            channel.exchange_bind("amq.topic".into(), "amq.direct".into(), "k".into(), options, none()).await;
        assert_eq!(error_of(denied), (403, refused("exchange 'amq.topic'")));
    });
}

#[test]
fn read_is_asked_by_get_consume_purge_and_by_the_source_of_a_binding() {
    scenario(async |broker| {
        permit(broker, ".*", ".*", "^mine");
        let guest = broker.open().await;
        declare(&guest, "q").await;
        let refused = |what: &str| {
            (403, format!("ACCESS_REFUSED - read access to {what} in vhost '/' refused for user 'u'"))
        };
        let connection = connect(broker).await;
        let open = async || connection.create_channel().await.unwrap();
        let denied = open().await.basic_get("q".into(), BasicGetOptions::default()).await;
        assert_eq!(error_of(denied), refused("queue 'q'"));
        let (options, none) = (BasicConsumeOptions::default(), FieldTable::default);
        let denied = open().await.basic_consume("q".into(), "".into(), options, none()).await;
        assert_eq!(error_of(denied), refused("queue 'q'"));
        let denied = open().await.queue_purge("q".into(), QueuePurgeOptions::default()).await;
        assert_eq!(error_of(denied), refused("queue 'q'"));
        let options = QueueBindOptions::default();
        let denied = open().await.queue_bind("q".into(), "amq.direct".into(), "k".into(), options, none()).await;
        assert_eq!(error_of(denied), refused("exchange 'amq.direct'"));
        let denied = open().await.queue_unbind("q".into(), "amq.direct".into(), "k".into(), none()).await;
        assert_eq!(error_of(denied), refused("exchange 'amq.direct'"));
    });
}

#[test]
fn where_dead_letters_and_what_is_not_routed_go_asks_at_the_declare() {
    scenario(async |broker| {
        permit(broker, ".*", "^mine", ".*");
        let connection = connect(broker).await;
        let channel: Channel = connection.create_channel().await.unwrap();
        let dead = table([("x-dead-letter-exchange", long_string("other"))]);
        let denied = channel.queue_declare("mine".into(), QueueDeclareOptions::default(), dead).await;
        let text = "ACCESS_REFUSED - write access to exchange 'other' in vhost '/' refused for user 'u'";
        assert_eq!(error_of(denied), (403, text.to_owned()));
        let channel = connection.create_channel().await.unwrap();
        let alternate = table([("alternate-exchange", long_string("other"))]);
        let options = ExchangeDeclareOptions::default();
        let denied = channel.exchange_declare("mine".into(), ExchangeKind::Fanout, options, alternate).await;
        assert_eq!(error_of(denied), (403, text.to_owned()));
    });
}

#[test]
fn a_permission_that_is_taken_away_is_gone_on_open_channels() {
    scenario(async |broker| {
        permit(broker, ".*", ".*", ".*");
        let guest = broker.open().await;
        declare(&guest, "q").await;
        let mut raw = Raw::login(broker, &login());
        raw.publish(1, "q", b"allowed");
        guest.wait_for_count("q", 1).await;
        permit(broker, ".*", "^$", ".*");
        raw.publish(1, "q", b"refused");
        assert_eq!(raw.channel_closed(1).code, 403);
        assert_eq!(message_count(&guest, "q").await, 1);
    });
}

#[test]
fn a_user_id_of_another_needs_the_tag_impersonator() {
    scenario(async |broker| {
        permit(broker, ".*", ".*", ".*");
        let api = Management::new(broker.http);
        api.must_put("users/u", &json!({"password": "p", "tags": "impersonator"}));
        let connection = connect(broker).await;
        let channel = connection.create_channel().await.unwrap();
        declare(&channel, "q").await;
        let properties = BasicProperties::default().with_user_id("other".into());
        channel.basic_publish("".into(), "q".into(), Default::default(), b"m", properties).await.unwrap();
        let message = channel.basic_get("q".into(), BasicGetOptions { no_ack: true }).await.unwrap().expect("it");
        assert_eq!(message.properties.user_id().as_ref().unwrap().as_str(), "other");
    });
}

/// Topic permissions of `u` for an exchange of `/`.
fn permit_topic(broker: &Broker, exchange: &str, write: &str, read: &str) {
    let body = json!({"exchange": exchange, "write": write, "read": read});
    Management::new(broker.http).must_put("topic-permissions/%2F/u", &body);
}

fn topic_refused(access: &str, key: &str) -> String {
    format!(
        "ACCESS_REFUSED - {access} access to topic '{key}' in exchange 'amq.topic' in vhost '/' refused for user 'u'"
    )
}

#[test]
fn topic_permissions_look_at_the_routing_key_and_know_user_and_vhost() {
    scenario(async |broker| {
        permit(broker, ".*", ".*", ".*");
        permit_topic(broker, "amq.topic", "^{username}\\.", "^({username}|{vhost})\\.");
        let guest = broker.open().await;
        declare(&guest, "q").await;
        let connection = connect(broker).await;
        let channel = connection.create_channel().await.unwrap();
        let bind = async |channel: &Channel, key: &str| {
            let (options, none) = (QueueBindOptions::default(), FieldTable::default());
            channel.queue_bind("q".into(), "amq.topic".into(), key.into(), options, none).await
        };
        bind(&channel, "u.#").await.unwrap();
        bind(&channel, "/.#").await.unwrap();
        assert_eq!(error_of(bind(&channel, "other.#").await), (403, topic_refused("read", "other.#")));
        let mut raw = Raw::login(broker, &login());
        publish_raw(&mut raw, "amq.topic", "u.mine");
        guest.wait_for_count("q", 1).await;
        let closed = publish_refused(broker, "amq.topic", "other.mine");
        assert_eq!((closed.code, closed.text), (403, topic_refused("write", "other.mine")));
        // The same key on an exchange that is no topic exchange, or has no topic permissions, is free.
        permit_topic(broker, "amq.direct", "^none$", "^none$");
        publish_raw(&mut raw, "amq.direct", "other.mine");
        publish(&guest, "amq.topic", "u.guest", "m").await;
        guest.wait_for_count("q", 2).await;
        raw.open_channel(2);
    });
}

#[test]
fn further_keys_of_cc_and_bcc_need_the_topic_permission_too() {
    scenario(async |broker| {
        permit(broker, ".*", ".*", ".*");
        permit_topic(broker, "amq.topic", "^u\\.", "");
        for header in ["CC", "BCC"] {
            let connection = connect(broker).await;
            let channel = connection.create_channel().await.unwrap();
            let keys = AMQPValue::FieldArray(vec![long_string("other.k")].into());
            let properties = BasicProperties::default().with_headers(table([(header, keys)]));
            let options = lapin::options::BasicPublishOptions::default();
            channel.basic_publish("amq.topic".into(), "u.k".into(), options, b"m", properties).await.unwrap();
            let closed = channel.queue_declare("q".into(), Default::default(), FieldTable::default()).await;
            assert_eq!(error_of(closed), (403, topic_refused("write", "other.k")), "{header}");
        }
    });
}

#[test]
fn permissions_hold_after_kill_9() {
    own_process(&[], async |broker| {
        permit(broker, "^mine", ".*", ".*");
        permit_topic(broker, "amq.topic", "^u\\.", ".*");
        broker.crash();
        assert_eq!(publish_refused(broker, "amq.topic", "other.k").text, topic_refused("write", "other.k"));
        let channel = connect(broker).await.create_channel().await.unwrap();
        let denied = channel.queue_declare("other".into(), Default::default(), FieldTable::default()).await;
        assert_eq!(error_of(denied).0, 403);
        let mut raw = Raw::login(broker, &login());
        publish_raw(&mut raw, "amq.topic", "u.k");
        let opened = raw.call(
            2,
            &AMQPClass::Channel(amq_protocol::protocol::channel::AMQPMethod::Open(
                amq_protocol::protocol::channel::Open {},
            )),
        );
        assert!(matches!(opened, AMQPClass::Channel(_)), "{opened:?}");
    });
}

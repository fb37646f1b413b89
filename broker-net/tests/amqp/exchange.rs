//! Class exchange: declare, delete, bind, unbind, and how each type routes.

use lapin::options::{
    BasicPublishOptions, ExchangeBindOptions, ExchangeDeclareOptions, ExchangeDeleteOptions,
    ExchangeUnbindOptions, QueueBindOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, ExchangeKind};

use crate::harness::{body, declare, error_of, get, message_count, publish, scenario, table};

async fn declare_exchange(channel: &Channel, name: &str, kind: ExchangeKind) {
    let options = ExchangeDeclareOptions::default();
    channel.exchange_declare(name.into(), kind, options, FieldTable::default()).await.unwrap();
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) {
    bind_with(channel, queue, exchange, key, FieldTable::default()).await;
}

async fn bind_with(channel: &Channel, queue: &str, exchange: &str, key: &str, arguments: FieldTable) {
    let options = QueueBindOptions::default();
    channel.queue_bind(queue.into(), exchange.into(), key.into(), options, arguments).await.unwrap();
}

/// Publishes one message for each key, its body the key; the bodies in the queue must be these.
async fn check_routing(channel: &Channel, exchange: &str, keys: &[&str], queue: &str, expect: &[&str]) {
    for key in keys {
        publish(channel, exchange, key, key).await;
    }
    for key in expect {
        assert_eq!(body(&get(channel, queue).await.expect("a message")), *key);
    }
    assert!(get(channel, queue).await.is_none(), "too many messages in {queue}");
}

#[test]
fn predeclared_exchanges_are_there() {
    scenario(async |broker| {
        let session = broker.open().await;
        for (name, kind) in [
            ("amq.direct", ExchangeKind::Direct),
            ("amq.fanout", ExchangeKind::Fanout),
            ("amq.topic", ExchangeKind::Topic),
            ("amq.headers", ExchangeKind::Headers),
            ("amq.match", ExchangeKind::Headers),
        ] {
            let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
            session.exchange_declare(name.into(), kind.clone(), passive, FieldTable::default()).await.unwrap();
            // Declaring one as it is is allowed, reserved name or not.
            let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            session.exchange_declare(name.into(), kind, durable, FieldTable::default()).await.unwrap();
        }
    });
}

#[test]
fn direct_routes_by_equal_key() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare_exchange(&session, "d", ExchangeKind::Direct).await;
        declare(&session, "q").await;
        bind(&session, "q", "d", "a").await;
        bind(&session, "q", "d", "b").await;
        check_routing(&session, "d", &["a", "b", "c", "A", "a.b", ""], "q", &["a", "b"]).await;
    });
}

#[test]
fn fanout_ignores_the_key() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare_exchange(&session, "f", ExchangeKind::Fanout).await;
        declare(&session, "q").await;
        bind(&session, "q", "f", "some").await;
        check_routing(&session, "f", &["", "other"], "q", &["", "other"]).await;
    });
}

#[test]
fn topic_matches_words() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare_exchange(&session, "t", ExchangeKind::Topic).await;
        for (queue, pattern, expect) in [
            ("star", "a.*", &["a.b", "a."][..]),
            ("hash", "a.#", &["a", "a.b", "a.b.c", "a.", "a..b"]),
            ("ends", "#.c", &["a.b.c", "c"]),
            ("all", "#", &["a", "a.b", "a.b.c", "", "c", "a.", "b", "a..b", "."]),
            ("word", "*", &["a", "c", "b"]),
            ("literal", "a#", &[]),
            // An empty word is a word.
            ("empty", "a.*.b", &["a..b"]),
            ("two", "*.*", &["a.b", "a.", "."]),
        ] {
            declare(&session, queue).await;
            bind(&session, queue, "t", pattern).await;
            let keys = ["a", "a.b", "a.b.c", "", "c", "a.", "b", "a..b", "."];
            check_routing(&session, "t", &keys, queue, expect).await;
            session.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
        }
    });
}

#[test]
fn headers_match_all_or_any() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare_exchange(&session, "h", ExchangeKind::Headers).await;
        let text = |text: &str| AMQPValue::LongString(text.into());
        for (queue, x_match) in [("all", Some("all")), ("any", Some("any")), ("default", None)] {
            declare(&session, queue).await;
            let mut arguments = table([("a", AMQPValue::LongInt(1)), ("b", text("2"))]);
            if let Some(x_match) = x_match {
                arguments.insert("x-match".into(), text(x_match));
            }
            bind_with(&session, queue, "h", "", arguments).await;
        }
        let messages = [
            ("both", table([("a", AMQPValue::LongInt(1)), ("b", text("2")), ("c", text("3"))])),
            ("one", table([("a", AMQPValue::LongInt(1))])),
            ("other type", table([("a", text("1")), ("b", text("2"))])),
            ("none", FieldTable::default()),
        ];
        for (name, headers) in messages {
            let properties = BasicProperties::default().with_headers(headers);
            let options = BasicPublishOptions::default();
            session.basic_publish("h".into(), "".into(), options, name.as_bytes(), properties).await.unwrap();
        }
        for (queue, expect) in
            [("all", &["both"][..]), ("default", &["both"]), ("any", &["both", "one", "other type"])]
        {
            for name in expect {
                assert_eq!(body(&get(&session, queue).await.expect("a message")), *name, "{queue}");
            }
            assert!(get(&session, queue).await.is_none(), "{queue}");
        }
    });
}

#[test]
fn message_reaches_a_queue_once_whatever_the_bindings() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare_exchange(&session, "t", ExchangeKind::Topic).await;
        declare(&session, "q").await;
        for pattern in ["#", "a.#", "*.b", "a.b"] {
            bind(&session, "q", "t", pattern).await;
        }
        check_routing(&session, "t", &["a.b"], "q", &["a.b"]).await;
    });
}

#[test]
fn exchange_to_exchange_bindings_route_and_cycles_end() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare_exchange(&session, "source", ExchangeKind::Topic).await;
        declare_exchange(&session, "destination", ExchangeKind::Fanout).await;
        declare(&session, "q").await;
        bind(&session, "q", "destination", "").await;
        let options = ExchangeBindOptions::default();
        for (destination, source, key) in [("destination", "source", "a.*"), ("source", "destination", "#")] {
            session
                .exchange_bind(destination.into(), source.into(), key.into(), options, FieldTable::default())
                .await
                .unwrap();
        }
        check_routing(&session, "source", &["a.b", "b.b"], "q", &["a.b"]).await;
        session
            .exchange_unbind(
                "destination".into(),
                "source".into(),
                "a.*".into(),
                ExchangeUnbindOptions::default(),
                FieldTable::default(),
            )
            .await
            .unwrap();
        check_routing(&session, "source", &["a.b"], "q", &[]).await;
    });
}

#[test]
fn alternate_exchange_takes_what_is_not_routed() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare_exchange(&session, "alternate", ExchangeKind::Fanout).await;
        declare(&session, "unrouted").await;
        declare(&session, "routed").await;
        bind(&session, "unrouted", "alternate", "").await;
        let arguments = table([("alternate-exchange", AMQPValue::LongString("alternate".into()))]);
        session
            .exchange_declare("main".into(), ExchangeKind::Direct, ExchangeDeclareOptions::default(), arguments)
            .await
            .unwrap();
        bind(&session, "routed", "main", "a").await;
        check_routing(&session, "main", &["a", "b"], "routed", &["a"]).await;
        assert_eq!(body(&get(&session, "unrouted").await.expect("a message")), "b");
        assert!(get(&session, "unrouted").await.is_none());
    });
}

#[test]
fn auto_delete_exchange_goes_with_its_last_binding() {
    scenario(async |broker| {
        let session = broker.open().await;
        let options = ExchangeDeclareOptions { auto_delete: true, ..ExchangeDeclareOptions::default() };
        session
            .exchange_declare("auto".into(), ExchangeKind::Direct, options, FieldTable::default())
            .await
            .unwrap();
        declare(&session, "q").await;
        bind(&session, "q", "auto", "1").await;
        bind(&session, "q", "auto", "2").await;
        let unbind = async |key: &str| {
            session.queue_unbind("q".into(), "auto".into(), key.into(), FieldTable::default()).await.unwrap();
        };
        let passive = async || {
            let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
            session.exchange_declare("auto".into(), ExchangeKind::Direct, options, FieldTable::default()).await
        };
        unbind("1").await;
        passive().await.unwrap();
        unbind("2").await;
        let gone = (404, "NOT_FOUND - no exchange 'auto' in vhost '/'".to_owned());
        assert_eq!(error_of(passive().await), gone);
    });
}

#[test]
fn redeclare_with_other_attributes_is_406() {
    scenario(async |broker| {
        for (kind, options, text) in [
            (
                ExchangeKind::Fanout,
                ExchangeDeclareOptions::default(),
                "inequivalent arg 'type' for exchange 'x' in vhost '/': received 'fanout' but current is 'direct'",
            ),
            (
                ExchangeKind::Direct,
                ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() },
                "inequivalent arg 'durable' for exchange 'x' in vhost '/': received 'true' but current is 'false'",
            ),
            (
                ExchangeKind::Direct,
                ExchangeDeclareOptions { auto_delete: true, ..ExchangeDeclareOptions::default() },
                "inequivalent arg 'auto_delete' for exchange 'x' in vhost '/': received 'true' but current is 'false'",
            ),
            (
                ExchangeKind::Direct,
                ExchangeDeclareOptions { internal: true, ..ExchangeDeclareOptions::default() },
                "inequivalent arg 'internal' for exchange 'x' in vhost '/': received 'true' but current is 'false'",
            ),
        ] {
            let session = broker.open().await;
            declare_exchange(&session, "x", ExchangeKind::Direct).await;
            declare_exchange(&session, "x", ExchangeKind::Direct).await;
            let refused = session.exchange_declare("x".into(), kind, options, FieldTable::default()).await;
            assert_eq!(error_of(refused), (406, format!("PRECONDITION_FAILED - {text}")));
        }
    });
}

#[test]
fn declare_of_what_cannot_be_is_refused() {
    scenario(async |broker| {
        let refused = async |name: &str, kind: ExchangeKind, options: ExchangeDeclareOptions| {
            let session = broker.open().await;
            error_of(session.exchange_declare(name.into(), kind, options, FieldTable::default()).await)
        };
        let plain = ExchangeDeclareOptions::default();
        let passive = ExchangeDeclareOptions { passive: true, ..plain };
        let reserved = "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'";
        assert_eq!(refused("amq.mine", ExchangeKind::Direct, plain).await, (403, reserved.into()));
        let missing = "NOT_FOUND - no exchange 'missing' in vhost '/'";
        assert_eq!(refused("missing", ExchangeKind::Direct, passive).await, (404, missing.into()));
        let default = "ACCESS_REFUSED - operation not permitted on the default exchange";
        assert_eq!(refused("", ExchangeKind::Direct, plain).await, (403, default.into()));
        let (code, text) = refused("x", ExchangeKind::Custom("x-nonsense".into()), plain).await;
        assert!((code, text.contains("x-nonsense")) == (406, true), "{code} {text}");
    });
}

#[test]
fn delete_forgets_the_bindings() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare_exchange(&session, "x", ExchangeKind::Direct).await;
        declare(&session, "q").await;
        bind(&session, "q", "x", "k").await;
        session.exchange_delete("x".into(), ExchangeDeleteOptions::default()).await.unwrap();
        declare_exchange(&session, "x", ExchangeKind::Direct).await;
        check_routing(&session, "x", &["k"], "q", &[]).await;
        // Deleting what is not there is fine.
        session.exchange_delete("missing".into(), ExchangeDeleteOptions::default()).await.unwrap();
    });
}

#[test]
fn delete_is_refused_for_exchanges_in_use_and_for_predeclared_ones() {
    scenario(async |broker| {
        let refused = async |name: &str, options: ExchangeDeleteOptions| {
            let session = broker.open().await;
            error_of(session.exchange_delete(name.into(), options).await)
        };
        let session = broker.open().await;
        declare_exchange(&session, "x", ExchangeKind::Direct).await;
        declare(&session, "q").await;
        bind(&session, "q", "x", "k").await;
        let if_unused = ExchangeDeleteOptions { if_unused: true, ..ExchangeDeleteOptions::default() };
        let in_use = "PRECONDITION_FAILED - exchange 'x' in vhost '/' in use";
        assert_eq!(refused("x", if_unused).await, (406, in_use.into()));
        let default = "ACCESS_REFUSED - operation not permitted on the default exchange";
        assert_eq!(refused("", ExchangeDeleteOptions::default()).await, (403, default.into()));
        let reserved = "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not allowed";
        assert_eq!(refused("amq.direct", ExchangeDeleteOptions::default()).await, (403, reserved.into()));
    });
}

#[test]
fn bindings_of_what_is_missing_are_404_and_of_the_default_exchange_403() {
    scenario(async |broker| {
        let refused = async |queue: &str, exchange: &str| {
            let session = broker.open().await;
            declare(&session, "q").await;
            let options = QueueBindOptions::default();
            let result = session
                .queue_bind(queue.into(), exchange.into(), "k".into(), options, FieldTable::default())
                .await;
            error_of(result)
        };
        let no_exchange = "NOT_FOUND - no exchange 'missing' in vhost '/'";
        assert_eq!(refused("q", "missing").await, (404, no_exchange.into()));
        let no_queue = "NOT_FOUND - no queue 'missing' in vhost '/'";
        assert_eq!(refused("missing", "amq.direct").await, (404, no_queue.into()));
        let default = "ACCESS_REFUSED - operation not permitted on the default exchange";
        assert_eq!(refused("q", "").await, (403, default.into()));
    });
}

#[test]
fn binding_twice_is_one_binding_and_unbinding_what_is_not_bound_is_fine() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare_exchange(&session, "x", ExchangeKind::Direct).await;
        declare(&session, "q").await;
        bind(&session, "q", "x", "k").await;
        bind(&session, "q", "x", "k").await;
        let unbind = async |key: &str| {
            session.queue_unbind("q".into(), "x".into(), key.into(), FieldTable::default()).await.unwrap();
        };
        unbind("k").await;
        check_routing(&session, "x", &["k"], "q", &[]).await;
        unbind("k").await;
        assert_eq!(message_count(&session, "q").await, 0);
    });
}

#[test]
fn headers_with_x_in_front_count_only_where_x_match_says_so() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare_exchange(&session, "h", ExchangeKind::Headers).await;
        let text = |text: &str| AMQPValue::LongString(text.into());
        let one = AMQPValue::LongInt(1);
        for (queue, x_match, criteria) in [
            ("all", "all", vec![("x-a", one.clone()), ("b", one.clone())]),
            ("any", "any", vec![("x-a", one.clone()), ("b", one.clone())]),
            ("all-with-x", "all-with-x", vec![("x-a", one.clone()), ("b", one.clone())]),
            ("any-with-x", "any-with-x", vec![("x-a", one.clone()), ("b", one.clone())]),
            ("present", "all", vec![("b", AMQPValue::Void)]),
            ("all-of-none", "all", vec![]),
            ("any-of-none", "any", vec![]),
        ] {
            declare(&session, queue).await;
            let mut arguments = table([("x-match", text(x_match))]);
            for (name, value) in criteria {
                arguments.insert(name.into(), value);
            }
            bind_with(&session, queue, "h", "", arguments).await;
        }
        for (name, headers) in [
            ("x-a", table([("x-a", one.clone())])),
            ("b", table([("b", one.clone())])),
            ("both", table([("x-a", one.clone()), ("b", one.clone())])),
            ("other b", table([("b", text("1"))])),
            ("none", FieldTable::default()),
        ] {
            let properties = BasicProperties::default().with_headers(headers);
            let options = BasicPublishOptions::default();
            session.basic_publish("h".into(), "".into(), options, name.as_bytes(), properties).await.unwrap();
        }
        for (queue, expect) in [
            ("all", &["b", "both"][..]),
            ("any", &["b", "both"]),
            ("all-with-x", &["both"]),
            ("any-with-x", &["x-a", "b", "both"]),
            ("present", &["b", "both", "other b"]),
            ("all-of-none", &["x-a", "b", "both", "other b", "none"]),
            ("any-of-none", &[]),
        ] {
            assert_eq!(session.drain(queue).await, expect, "{queue}");
        }
        let refused = session
            .queue_bind(
                "all".into(),
                "h".into(),
                "".into(),
                QueueBindOptions::default(),
                table([("x-match", text("some"))]),
            )
            .await;
        assert_eq!(error_of(refused).0, 406);
    });
}

#[test]
fn a_message_is_returned_if_the_alternate_exchange_routes_it_nowhere() {
    scenario(async |broker| {
        let session = broker.open().await;
        session.confirm().await;
        declare_exchange(&session, "alternate", ExchangeKind::Direct).await;
        declare(&session, "unrouted").await;
        bind(&session, "unrouted", "alternate", "a").await;
        let arguments = table([("alternate-exchange", AMQPValue::LongString("alternate".into()))]);
        let options = ExchangeDeclareOptions::default();
        session.exchange_declare("main".into(), ExchangeKind::Direct, options, arguments).await.unwrap();
        let mandatory = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        for (key, returned) in [("a", false), ("b", true)] {
            let properties = BasicProperties::default();
            let confirm =
                session.basic_publish("main".into(), key.into(), mandatory, b"m", properties).await.unwrap();
            assert_eq!(confirm.await.unwrap().take_message().is_some(), returned, "{key}");
        }
    });
}

#[test]
fn deleting_a_missing_exchange_is_fine() {
    scenario(async |broker| {
        let session = broker.open().await;
        session.exchange_delete("missing".into(), ExchangeDeleteOptions::default()).await.unwrap();
        let options = ExchangeUnbindOptions::default();
        let none = FieldTable::default();
        session
            .exchange_unbind("amq.fanout".into(), "amq.direct".into(), "k".into(), options, none)
            .await
            .unwrap();
    });
}

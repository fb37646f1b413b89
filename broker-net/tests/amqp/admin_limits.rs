//! Limits of virtual hosts and users, and the default queue type of a virtual host, as clients meet them.

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use serde_json::json;

use amq_protocol::protocol::channel::{AMQPMethod as Channel, Open};

use crate::harness::{
    Broker, Login, Management, Raw, channel, declare, error_of, long_string, own_process, scenario, scenario_with,
};

/// The virtual host `v` and the user `u` with the password `p`, who may do everything there and in `/`.
fn prepare(broker: &Broker) -> Management {
    let api = Management::new(broker.http);
    api.must_put("vhosts/v", &json!({}));
    api.must_put("users/u", &json!({"password": "p", "tags": ""}));
    for vhost in ["v", "%2F"] {
        let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
        api.must_put(&format!("permissions/{vhost}/u"), &all);
    }
    api
}

#[test]
fn a_vhost_takes_only_so_many_connections_530() {
    // With two shards the connections below are on different ones.
    scenario_with(&["--shards", "2"], async |broker| {
        let api = prepare(broker);
        api.must_put("vhost-limits/v/max-connections", &json!({"value": 2}));
        let first = broker.try_connect("u:p", "v").await.unwrap();
        let _second = broker.try_connect("guest:guest", "v").await.unwrap();
        let text = "NOT_ALLOWED - access to vhost 'v' refused for user 'u': connection limit (2) is reached";
        assert_eq!(error_of(broker.try_connect("u:p", "v").await), (530, text.to_owned()));
        broker.try_connect("u:p", "%2f").await.unwrap();
        first.close(200, "bye".into()).await.unwrap();
        let again = broker.try_connect("u:p", "v").await.unwrap();
        again.close(200, "bye".into()).await.unwrap();
        // 0 is none at all, and a negative limit is no limit.
        api.must_put("vhost-limits/v/max-connections", &json!({"value": 0}));
        assert_eq!(error_of(broker.try_connect("u:p", "v").await).0, 530);
        api.must_put("vhost-limits/v/max-connections", &json!({"value": -1}));
        broker.try_connect("u:p", "v").await.unwrap();
    });
}

#[test]
fn a_vhost_takes_only_so_many_queues_406() {
    scenario(async |broker| {
        let api = prepare(broker);
        api.must_put("vhost-limits/%2F/max-queues", &json!({"value": 2}));
        let session = broker.open().await;
        declare(&session, "one").await;
        declare(&session, "two").await;
        // A redeclare is fine.
        declare(&session, "two").await;
        let refused =
            session.queue_declare("three".into(), QueueDeclareOptions::default(), FieldTable::default()).await;
        let text = "PRECONDITION_FAILED - cannot declare queue 'three': queue limit in vhost '/' (2) is reached";
        assert_eq!(error_of(refused), (406, text.to_owned()));
        let session = broker.open().await;
        session.queue_delete("one".into(), Default::default()).await.unwrap();
        declare(&session, "three").await;
    });
}

#[test]
fn a_user_has_only_so_many_connections_and_channels_530() {
    scenario_with(&["--shards", "2"], async |broker| {
        let api = prepare(broker);
        api.must_put("user-limits/u/max-connections", &json!({"value": 2}));
        api.must_put("user-limits/u/max-channels", &json!({"value": 3}));
        let login = || Login { response: b"\0u\0p".to_vec(), ..Login::default() };
        let mut first = Raw::login(broker, &login());
        let mut second = Raw::login(broker, &login());
        let text = "NOT_ALLOWED - connection refused for user 'u': user connection limit (2) is reached";
        assert_eq!(error_of(broker.try_connect("u:p", "v").await), (530, text.to_owned()));
        first.open_channel(2);
        second.send(2, &channel(Channel::Open(Open {})));
        let closed = second.closed();
        let text = "NOT_ALLOWED - number of channels opened for user 'u' has reached the maximum allowed user limit of (3)";
        assert_eq!((closed.code, closed.text.as_str()), (530, text));
        // Others have theirs, and what is closed is free.
        broker.open().await;
        first.open_channel(3);
    });
}

#[test]
fn limits_hold_after_kill_9() {
    own_process(&[], async |broker| {
        let api = prepare(broker);
        api.must_put("vhost-limits/v/max-connections", &json!({"value": 0}));
        api.must_put("vhost-limits/%2F/max-queues", &json!({"value": 1}));
        api.must_put("user-limits/u/max-channels", &json!({"value": 1}));
        let session = broker.open().await;
        session.declare_with("durable", &[]).await.unwrap();
        broker.crash();
        assert_eq!(error_of(broker.try_connect("u:p", "v").await).0, 530);
        let session = broker.open().await;
        assert_eq!(error_of(session.declare_with("second", &[]).await).0, 406);
        let mut raw = Raw::login(broker, &Login { response: b"\0u\0p".to_vec(), ..Login::default() });
        raw.send(2, &channel(Channel::Open(Open {})));
        assert_eq!(raw.closed().code, 530);
    });
}

#[test]
fn a_vhost_has_a_default_queue_type() {
    scenario(async |broker| {
        let api = prepare(broker);
        api.must_put("vhosts/v", &json!({"default_queue_type": "quorum"}));
        let connection = broker.try_connect("u:p", "v").await.unwrap();
        let opened = connection.create_channel().await.unwrap();
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        opened.queue_declare("q".into(), durable, FieldTable::default()).await.unwrap();
        assert_eq!(api.get("queues/v/q").body["type"], "quorum");
        // A queue that cannot be a quorum queue is none.
        opened.queue_declare("transient".into(), Default::default(), FieldTable::default()).await.unwrap();
        assert_eq!(api.get("queues/v/transient").body["type"], "classic");
        let classic = crate::harness::table([("x-queue-type", long_string("classic"))]);
        opened.queue_declare("c".into(), durable, classic).await.unwrap();
        assert_eq!(api.get("queues/v/c").body["type"], "classic");
        // Declared again without a type, it is what it was.
        opened.queue_declare("q".into(), durable, FieldTable::default()).await.unwrap();
    });
}

#[test]
fn the_brokers_default_queue_type_holds_where_the_vhost_has_none() {
    own_process(&["--set", "default_queue_type = quorum"], async |broker| {
        let api = Management::new(broker.http);
        api.must_put("vhosts/own", &json!({"default_queue_type": "classic"}));
        api.must_put("permissions/own/guest", &json!({"configure": ".*", "write": ".*", "read": ".*"}));
        assert_eq!(api.get("vhosts/%2F").body["default_queue_type"], "quorum");
        assert_eq!(api.get("overview").body["default_queue_type"], "quorum");
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        for (vhost, path, expect) in [("/", "%2F", "quorum"), ("own", "own", "classic")] {
            let connection = broker.try_connect("guest:guest", vhost).await.unwrap();
            let opened = connection.create_channel().await.unwrap();
            opened.queue_declare("q".into(), durable, FieldTable::default()).await.unwrap();
            assert_eq!(api.get(&format!("queues/{path}/q")).body["type"], expect);
        }
    });
}

#[test]
fn a_deleted_vhost_or_user_closes_its_connections_320() {
    scenario(async |broker| {
        let api = prepare(broker);
        let raw = Raw::login(broker, &Login { vhost: "v", ..Login::default() });
        assert_eq!(api.delete("vhosts/v").status, 204);
        let closed = raw.closed();
        assert_eq!((closed.code, closed.text.as_str()), (320, "CONNECTION_FORCED - vhost 'v' is deleted"));
        let raw = Raw::login(broker, &Login { response: b"\0u\0p".to_vec(), ..Login::default() });
        assert_eq!(api.delete("users/u").status, 204);
        let closed = raw.closed();
        assert_eq!((closed.code, closed.text.as_str()), (320, "CONNECTION_FORCED - user 'u' is deleted"));
    });
}

//! Administration of running shards: what is put is there on every shard, applies to what exists, and is there after a restart.

use std::path::Path;

use amq_protocol::protocol::basic::AMQPProperties;
use amq_protocol::types::FieldTable;
use broker_core::admin::{
    Admin, AdminError, AdminGet, AdminPublish, AdminReply, AdminRequest, ChannelInfo, ConnectionInfo, Definition,
    DefinitionKey,
};
use broker_core::error::ConnectionError;
use broker_core::ids::{ChannelKey, ConnectionKey, ConsumerId, RequestId, ShardId};
use broker_core::model::limits::VhostLimit;
use broker_core::model::message::Message;
use broker_core::model::permission::{PermissionDefinition, TopicPermissionDefinition};
use broker_core::model::policy::{ApplyTo, PolicyDefinition};
use broker_core::model::user::UserDefinition;
use broker_core::model::vhost::VhostDefinition;
use broker_core::session::{Command, Delivery, Reply, Sessions, Settlement};
use broker_core::shard::driver::{self, Running, ShardHandle};
use futures_lite::future::block_on;
use serde_json::{Value, json};

/// A broker without connections.
#[derive(Debug)]
struct Nobody;

impl Sessions for Nobody {
    fn deliver(&mut self, _: Delivery<'_>) {}
    fn deliver_reply(&mut self, _: ChannelKey, _: Message<'_>) -> bool {
        false
    }
    fn consumes_replies(&self, _: ChannelKey, _: &str) -> bool {
        false
    }
    fn confirm(&mut self, _: ChannelKey, _: u64, _: u64, _: bool) {}
    fn reply(&mut self, _: ConnectionKey, _: RequestId, _: Reply<'_>) {}
    fn consumer_cancelled(&mut self, _: ChannelKey, _: ConsumerId) {}
    fn blocked(&mut self, _: Option<&'static str>) {}
    fn has_output(&self) -> bool {
        false
    }
    fn list_connections(&self, _: ShardId, _: usize, _: usize) -> (Vec<ConnectionInfo>, Option<usize>) {
        (Vec::new(), None)
    }
    fn list_channels(&self, _: ShardId, _: usize, _: usize) -> (Vec<ChannelInfo>, Option<usize>) {
        (Vec::new(), None)
    }
    fn close_connections(&mut self, _: &dyn Fn(&str, &str) -> bool, _: &ConnectionError) {}
    fn close_connection(&mut self, _: ConnectionKey, _: ConnectionError) {}
}

fn start(directory: &Path) -> (Running, Admin) {
    let config = driver::Config {
        data_dir: directory.into(),
        shards: 2,
        cpus: vec![0],
        defaults: driver::Defaults::default(),
    };
    let serve = |handle: ShardHandle<Nobody>| async move { handle.stopping().await };
    let running = driver::start(&config, |_| Nobody, serve).expect("a new directory can be opened");
    let admin = running.probe().admin();
    (running, admin)
}

fn put(admin: &Admin, definition: Definition) -> Result<AdminReply, AdminError> {
    admin.request_blocking(AdminRequest::Put(definition))
}

fn run(admin: &Admin, vhost: &str, command: Command) -> Result<AdminReply, AdminError> {
    admin.request_blocking(AdminRequest::Command { user: "guest".into(), vhost: vhost.into(), command })
}

fn declare(queue: &str) -> Command {
    Command::QueueDeclare {
        queue: queue.into(),
        generated: false,
        passive: false,
        durable: true,
        exclusive: false,
        auto_delete: false,
        arguments: FieldTable::default(),
    }
}

fn policy(name: &str, pattern: &str, definition: &Value) -> PolicyDefinition {
    PolicyDefinition {
        vhost: "v".into(),
        name: name.into(),
        pattern: pattern.into(),
        apply_to: ApplyTo::All,
        definition: definition.as_object().expect("an object").clone(),
        priority: 0,
    }
}

fn publish(admin: &Admin, exchange: &str, routing_key: &str, body: &[u8]) -> Result<AdminReply, AdminError> {
    admin.request_blocking(AdminRequest::Publish(Box::new(AdminPublish {
        user: "guest".into(),
        vhost: "v".into(),
        exchange: exchange.into(),
        routing_key: routing_key.into(),
        properties: AMQPProperties::default().with_delivery_mode(2),
        body: body.to_vec(),
    })))
}

fn get(admin: &Admin, queue: &str, count: u32, settlement: Settlement) -> Vec<(Vec<u8>, bool)> {
    let (user, vhost, queue) = ("guest".into(), "v".into(), queue.into());
    let get = AdminGet { user, vhost, queue, count, truncate: None, settlement };
    match admin.request_blocking(AdminRequest::Get(get)) {
        Ok(AdminReply::Got(messages)) => {
            messages.into_iter().map(|message| (message.body, message.redelivered)).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// The name of the policy in force, and the length limit that all policies come to.
fn in_force(admin: &Admin, queue: &str) -> (Option<String>, Option<i64>) {
    let info = block_on(admin.queue("v", queue)).expect("it runs").expect("the queue exists");
    let Some(effective) = info.policy else {
        return (None, None);
    };
    let name = effective.policy.as_ref().map(|policy| policy.name.clone());
    (name, effective.definition.get("max-length").and_then(Value::as_i64))
}

fn vhost_v(admin: &Admin) {
    assert!(matches!(put(admin, Definition::Vhost(VhostDefinition::new("v"))), Ok(AdminReply::Created)));
    assert!(matches!(put(admin, Definition::Vhost(VhostDefinition::new("v"))), Ok(AdminReply::Updated)));
    put(admin, Definition::Permission(PermissionDefinition::full("guest", "v"))).expect("user and vhost exist");
}

#[test]
fn policies_apply_to_what_exists_and_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (running, admin) = start(directory.path());
    vhost_v(&admin);
    // Some of them on each shard.
    for number in 0..8 {
        run(&admin, "v", declare(&format!("q{number}"))).unwrap();
    }
    put(&admin, Definition::Policy(policy("p", "^q", &json!({"max-length": 5})))).unwrap();
    put(&admin, Definition::OperatorPolicy(policy("o", "^q[0-3]", &json!({"max-length": 2})))).unwrap();
    let wrong = put(&admin, Definition::Policy(policy("p", "^q", &json!({"max-length": "x"})))).unwrap_err();
    assert_eq!(wrong.to_string(), "Validation failed\n\n<<\"x\">> is not a valid maximum length\n");

    let check = |admin: &Admin| {
        for number in 0..8 {
            let limit = if number < 4 { 2 } else { 5 };
            assert_eq!(in_force(admin, &format!("q{number}")), (Some("p".to_owned()), Some(limit)));
        }
    };
    check(&admin);
    for body in [b"1", b"2", b"3"] {
        assert!(matches!(publish(&admin, "", "q1", body), Ok(AdminReply::Published { routed: true })));
    }
    let kept = [(b"2".to_vec(), false), (b"3".to_vec(), false)];
    assert_eq!(get(&admin, "q1", 10, Settlement::Requeue), kept, "the oldest made room");
    running.stop();

    let (running, admin) = start(directory.path());
    check(&admin);
    assert_eq!(get(&admin, "q1", 1, Settlement::Ack), [(b"2".to_vec(), true)]);
    assert_eq!(get(&admin, "q1", 10, Settlement::Reject).len(), 1);
    assert_eq!(get(&admin, "q1", 10, Settlement::Requeue), []);
    let key = DefinitionKey::Policy { vhost: "v".into(), name: "p".into() };
    admin.request_blocking(AdminRequest::Delete(key)).unwrap();
    assert_eq!(in_force(&admin, "q1"), (None, Some(2)));
    assert_eq!(in_force(&admin, "q5"), (None, None));
    running.stop();
}

#[test]
fn an_alternate_exchange_may_come_from_a_policy() {
    let directory = tempfile::tempdir().unwrap();
    let (running, admin) = start(directory.path());
    vhost_v(&admin);
    run(&admin, "v", declare("q")).unwrap();
    let (exchange, routing_key) = ("amq.fanout".to_owned(), String::new());
    let bind = Command::QueueBind { queue: "q".into(), exchange, routing_key, arguments: FieldTable::default() };
    run(&admin, "v", bind).unwrap();
    let publish = || publish(&admin, "amq.direct", "nowhere", b"x");
    assert!(matches!(publish(), Ok(AdminReply::Published { routed: false })));
    let alternate = json!({"alternate-exchange": "amq.fanout"});
    put(&admin, Definition::Policy(policy("ae", "^amq\\.direct$", &alternate))).unwrap();
    assert!(matches!(publish(), Ok(AdminReply::Published { routed: true })));
    running.stop();
}

#[test]
fn a_deleted_vhost_takes_everything_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let (running, admin) = start(directory.path());
    vhost_v(&admin);
    run(&admin, "v", declare("q")).unwrap();
    put(&admin, Definition::Policy(policy("p", "", &json!({"max-length": 5})))).unwrap();
    admin.request_blocking(AdminRequest::Delete(DefinitionKey::Vhost { name: "v".into() })).unwrap();
    let empty = |admin: &Admin| {
        assert_eq!(block_on(admin.queues(None)).unwrap().len(), 0);
        assert!(block_on(admin.exchanges("v")).unwrap().is_empty());
        let definitions = block_on(admin.definitions()).unwrap();
        assert_eq!(definitions.len(), 3, "the first vhost, user and permission: {definitions:?}");
        assert!(matches!(run(admin, "v", declare("q")), Err(AdminError::NotFound(_))));
    };
    empty(&admin);
    running.stop();
    let (running, admin) = start(directory.path());
    empty(&admin);
    running.stop();
}

#[test]
fn limits_and_permissions_hold_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let (running, admin) = start(directory.path());
    vhost_v(&admin);
    let limit = |value| AdminRequest::SetVhostLimit { vhost: "v".into(), limit: VhostLimit::MaxQueues, value };
    admin.request_blocking(limit(Some(1))).unwrap();
    run(&admin, "v", declare("q1")).unwrap();
    run(&admin, "v", declare("q1")).unwrap();
    assert_eq!(
        run(&admin, "v", declare("q2")).unwrap_err().to_string(),
        "PRECONDITION_FAILED - cannot declare queue 'q2': queue limit in vhost 'v' (1) is reached"
    );
    admin.request_blocking(limit(None)).unwrap();
    run(&admin, "v", declare("q2")).unwrap();

    let topic = |write: &str| TopicPermissionDefinition {
        user: "guest".into(),
        vhost: "v".into(),
        exchange: "amq.topic".into(),
        write: write.into(),
        read: "^r".into(),
    };
    put(&admin, Definition::TopicPermission(topic("^{username}\\."))).unwrap();
    publish(&admin, "amq.topic", "guest.a", b"").unwrap();
    publish(&admin, "amq.direct", "other.a", b"").unwrap();
    assert_eq!(
        publish(&admin, "amq.topic", "other.a", b"").unwrap_err().to_string(),
        "ACCESS_REFUSED - write access to topic 'other.a' in exchange 'amq.topic' in vhost 'v' refused for user 'guest'"
    );
    put(&admin, Definition::TopicPermission(topic(".*"))).unwrap();
    publish(&admin, "amq.topic", "other.a", b"").unwrap();

    let mut permission = PermissionDefinition::full("guest", "v");
    permission.configure = "^(?!secret)".into();
    put(&admin, Definition::Permission(permission.clone())).unwrap();
    run(&admin, "v", declare("open")).unwrap();
    assert!(matches!(run(&admin, "v", declare("secret.q")), Err(AdminError::Amqp(_))));
    permission.user = "nobody".into();
    let error = put(&admin, Definition::Permission(permission)).unwrap_err();
    assert_eq!(error, AdminError::BadRequest("vhost_or_user_not_found".into()));
    running.stop();
}

#[test]
fn users_are_who_they_say() {
    let directory = tempfile::tempdir().unwrap();
    let (running, admin) = start(directory.path());
    let user = UserDefinition::with_password("ann", b"secret", [1, 2, 3, 4], &["management"]);
    put(&admin, Definition::User(user)).unwrap();
    let login = |password: &str| {
        let (username, password) = ("ann".to_owned(), password.as_bytes().to_vec().into());
        admin.request_blocking(AdminRequest::Authenticate { username, password })
    };
    assert!(matches!(login("secret"), Ok(AdminReply::User { tags, .. }) if tags == ["management"]));
    assert_eq!(login("wrong").unwrap_err(), AdminError::NotAuthorised);
    let ann = || AdminRequest::Delete(DefinitionKey::User { name: "ann".into() });
    admin.request_blocking(ann()).unwrap();
    assert_eq!(login("secret").unwrap_err(), AdminError::NotAuthorised);
    assert!(matches!(admin.request_blocking(ann()), Err(AdminError::NotFound(_))));
    running.stop();
}

#[test]
fn a_stop_does_not_wait_for_a_shard_that_has_ended() {
    let directory = tempfile::tempdir().unwrap();
    let names = ["one", "two", "three", "four", "five"];
    for name in names {
        let (running, admin) = start(directory.path());
        let vhost = Definition::Vhost(VhostDefinition::new(name));
        // The other shard has ended when this is in the catalog, and does not apply it any more.
        drop(admin.begin(AdminRequest::Put(vhost)));
        running.stop();
    }
    let (running, admin) = start(directory.path());
    let definitions = block_on(admin.definitions()).unwrap();
    let has = |name: &str| {
        definitions.iter().any(|definition| matches!(definition, Definition::Vhost(vhost) if vhost.name == name))
    };
    assert!(names.into_iter().all(has), "{definitions:?}");
    running.stop();
}

//! Channels, replies in order, transactions.

use amq_protocol::protocol::{AMQPClass, basic, channel, confirm, queue, tx};

use super::client::{Client, publish_bytes, run};

fn passive(queue: &str) -> AMQPClass {
    let declare = queue::Declare { queue: queue.into(), passive: true, ..queue::Declare::default() };
    AMQPClass::Queue(queue::AMQPMethod::Declare(declare))
}

fn select() -> AMQPClass {
    AMQPClass::Tx(tx::AMQPMethod::Select(tx::Select {}))
}

fn get(queue: &str) -> AMQPClass {
    AMQPClass::Basic(basic::AMQPMethod::Get(basic::Get { queue: queue.into(), no_ack: true }))
}

#[test]
fn pipelined_declares_are_answered_in_the_order_asked() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        for index in 0..50 {
            client.declare(1, &format!("q{index}"));
        }
        client.send(1, passive("q7"));
        client.publish(1, "q49", b"after");
        client.send(1, get("q49"));
        for index in 0..50 {
            client.expect(1, &format!("declare-ok q{index} 0 0")).await;
        }
        client.expect(1, "declare-ok q7 0 0").await;
        client.expect(1, "get-ok 1 0 [after]").await;
    });
}

#[test]
fn failed_command_closes_the_channel_and_what_follows_on_it_is_discarded() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        client.open_channel(2).await;
        client.send(1, passive("missing"));
        client.declare(1, "discarded");
        client.publish(1, "discarded", b"x");
        client.declare(2, "kept");
        client.expect(1, "close 404 NOT_FOUND - no queue 'missing' in vhost '/' (50,10)").await;
        client.expect(2, "declare-ok kept 0 0").await;
        let close_ok = channel::AMQPMethod::CloseOk(channel::CloseOk {});
        client.send(1, AMQPClass::Channel(close_ok));
        client.open_channel(1).await;
        client.send(1, passive("discarded"));
        client.expect(1, "close 404 NOT_FOUND - no queue 'discarded' in vhost '/' (50,10)").await;
    });
}

#[test]
fn empty_queue_name_is_the_last_declared_one() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        client.declare(1, "last");
        client.publish(1, "last", b"x");
        client.expect(1, "declare-ok last 0 0").await;
        client.send(1, get(""));
        client.expect(1, "get-ok 1 0 [x]").await;
        client.open_channel(2).await;
        client.send(2, get(""));
        client.expect(2, "close 404 NOT_FOUND - no previously declared queue (60,70)").await;
    });
}

#[test]
fn unnamed_queue_gets_a_generated_name() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        client.declare(1, "");
        let (_, reply) = client.receive().await;
        assert!(reply.starts_with("declare-ok amq.gen-") && reply.len() == 45, "{reply}");
    });
}

#[test]
fn method_on_a_channel_that_is_not_open_closes_the_connection_with_504() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        client.declare(7, "q");
        client.expect(0, "close 504 CHANNEL_ERROR - expected 'channel.open' (50,10)").await;
    });
}

#[test]
fn more_channels_than_the_negotiated_maximum_close_with_530_whatever_their_numbers() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        let open = || AMQPClass::Channel(channel::AMQPMethod::Open(channel::Open {}));
        for id in 3000..3000 + 2046 {
            client.send(id, open());
            client.expect(id, "OpenOk").await;
        }
        client.send(2048, open());
        let expected = "close 530 NOT_ALLOWED - number of channels opened (2047) has reached the negotiated \
                        channel_max (2047) (0,0)";
        client.expect(0, expected).await;
    });
}

#[test]
fn flow_can_be_switched_on_but_not_off() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        let flow = |active| AMQPClass::Channel(channel::AMQPMethod::Flow(channel::Flow { active }));
        client.send(1, flow(true));
        client.expect(1, "FlowOk").await;
        client.send(1, flow(false));
        client.expect(0, "close 540 NOT_IMPLEMENTED - active=false (20,20)").await;
    });
}

#[test]
fn transaction_is_invisible_until_commit_and_gone_after_rollback() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        client.declare(1, "q");
        client.expect(1, "declare-ok q 0 0").await;
        client.send(1, select());
        client.expect(1, "SelectOk").await;
        client.publish(1, "q", b"one");
        client.send(1, passive("q"));
        client.expect(1, "declare-ok q 0 0").await;
        client.send(1, AMQPClass::Tx(tx::AMQPMethod::Commit(tx::Commit {})));
        client.expect(1, "CommitOk").await;
        client.publish(1, "q", b"two");
        client.send(1, AMQPClass::Tx(tx::AMQPMethod::Rollback(tx::Rollback {})));
        client.expect(1, "RollbackOk").await;
        client.send(1, passive("q"));
        client.expect(1, "declare-ok q 1 0").await;
    });
}

#[test]
fn ack_that_is_rolled_back_can_be_given_again() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        client.declare(1, "q");
        client.publish(1, "q", b"x");
        client.expect(1, "declare-ok q 0 0").await;
        client.send(1, select());
        client.expect(1, "SelectOk").await;
        client.consume(1, "q", "c", false);
        client.expect(1, "consume-ok c").await;
        client.expect(1, "deliver c 1 [x]").await;
        client.ack(1, 1, false);
        client.send(1, AMQPClass::Tx(tx::AMQPMethod::Rollback(tx::Rollback {})));
        client.expect(1, "RollbackOk").await;
        client.ack(1, 1, false);
        client.send(1, AMQPClass::Tx(tx::AMQPMethod::Commit(tx::Commit {})));
        client.expect(1, "CommitOk").await;
        client.ack(1, 1, false);
        client.expect(1, "close 406 PRECONDITION_FAILED - unknown delivery tag 1 (60,80)").await;
    });
}

#[test]
fn confirm_mode_and_transactions_exclude_each_other() {
    run(async |handle| {
        let confirm = || AMQPClass::Confirm(confirm::AMQPMethod::Select(confirm::Select { nowait: false }));
        let mut client = Client::open(&handle).await;
        client.open_channel(2).await;
        client.send(1, confirm());
        client.expect(1, "SelectOk").await;
        client.send(1, select());
        let text = "close 406 PRECONDITION_FAILED - cannot switch from confirm to tx mode (90,10)";
        client.expect(1, text).await;
        client.send(2, select());
        client.expect(2, "SelectOk").await;
        client.send(2, confirm());
        let text = "close 406 PRECONDITION_FAILED - cannot switch from tx to confirm mode (85,10)";
        client.expect(2, text).await;
    });
}

#[test]
fn publish_to_a_missing_exchange_closes_the_channel_and_drops_what_follows() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        let mut bytes = publish_bytes(1, "nowhere", "k", false, b"x");
        bytes.extend_from_slice(&publish_bytes(1, "nowhere", "k", false, &[0; 250_000]));
        client.send_bytes(&bytes);
        client.expect(1, "close 404 NOT_FOUND - no exchange 'nowhere' in vhost '/' (60,40)").await;
        client.send(1, AMQPClass::Channel(channel::AMQPMethod::CloseOk(channel::CloseOk {})));
        client.open_channel(1).await;
        client.expect_nothing(1).await;
    });
}

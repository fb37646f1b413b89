//! Consumers: order of frames, prefetch, cancel, redelivery.

use amq_protocol::protocol::{AMQPClass, basic, channel, queue};

use super::client::{Client, run};

fn qos(prefetch_count: u16, global: bool) -> AMQPClass {
    AMQPClass::Basic(basic::AMQPMethod::Qos(basic::Qos { prefetch_count, global }))
}

fn cancel(consumer_tag: &str) -> AMQPClass {
    let cancel = basic::Cancel { consumer_tag: consumer_tag.into(), nowait: false };
    AMQPClass::Basic(basic::AMQPMethod::Cancel(cancel))
}

/// Channel 1 and a queue with this many messages: 1, 2, 3 and so on.
async fn filled(client: &mut Client, messages: u32) {
    client.declare(1, "q");
    client.expect(1, "declare-ok q 0 0").await;
    for message in 1..=messages {
        client.publish(1, "q", message.to_string().as_bytes());
    }
}

#[test]
fn consume_ok_comes_before_the_first_delivery() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        filled(&mut client, 2).await;
        client.consume(1, "q", "c", true);
        client.expect(1, "consume-ok c").await;
        client.expect(1, "deliver c 1 [1]").await;
        client.expect(1, "deliver c 2 [2]").await;
    });
}

#[test]
fn prefetch_count_limits_each_consumer_created_after_it() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        filled(&mut client, 3).await;
        client.send(1, qos(1, false));
        client.expect(1, "QosOk").await;
        client.consume(1, "q", "a", false);
        client.expect(1, "consume-ok a").await;
        client.expect(1, "deliver a 1 [1]").await;
        client.expect_nothing(1).await;
        client.consume(1, "q", "b", false);
        client.expect(1, "consume-ok b").await;
        client.expect(1, "deliver b 2 [2]").await;
        client.expect(1, "deliver b 3 [3]").await;
    });
}

#[test]
fn global_prefetch_holds_deliveries_of_all_consumers_until_acks_make_room() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        client.send(1, qos(2, true));
        client.expect(1, "QosOk").await;
        filled(&mut client, 5).await;
        client.consume(1, "q", "c", false);
        client.expect(1, "consume-ok c").await;
        client.expect(1, "deliver c 1 [1]").await;
        client.expect(1, "deliver c 2 [2]").await;
        client.expect_nothing(1).await;
        client.ack(1, 2, true);
        client.expect(1, "deliver c 3 [3]").await;
        client.expect(1, "deliver c 4 [4]").await;
        client.expect_nothing(1).await;
        client.send(1, qos(0, true));
        // What was held comes before the answer.
        client.expect(1, "deliver c 5 [5]").await;
        client.expect(1, "QosOk").await;
    });
}

#[test]
fn what_a_full_channel_could_not_take_stays_in_the_queue() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        client.send(1, qos(1, true));
        client.expect(1, "QosOk").await;
        filled(&mut client, 3).await;
        client.consume(1, "q", "c", false);
        client.expect(1, "consume-ok c").await;
        client.expect(1, "deliver c 1 [1]").await;
        client.send(1, cancel("c"));
        client.expect(1, "cancel-ok c").await;
        client.open_channel(2).await;
        client.consume(2, "q", "d", true);
        client.expect(2, "consume-ok d").await;
        client.expect(2, "deliver d 1 [2]").await;
        client.expect(2, "deliver d 2 [3]").await;
    });
}

#[test]
fn unacknowledged_messages_of_a_closed_channel_come_back_redelivered_and_in_order() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        filled(&mut client, 3).await;
        client.consume(1, "q", "c", false);
        client.expect(1, "consume-ok c").await;
        for message in 1..=3 {
            client.expect(1, &format!("deliver c {message} [{message}]")).await;
        }
        client.ack(1, 2, false);
        client.send(1, AMQPClass::Channel(channel::AMQPMethod::Close(channel::Close::default())));
        client.expect(1, "CloseOk").await;
        client.open_channel(1).await;
        client.consume(1, "q", "d", true);
        client.expect(1, "consume-ok d").await;
        client.expect(1, "deliver d 1 redelivered [1]").await;
        client.expect(1, "deliver d 2 redelivered [3]").await;
    });
}

#[test]
fn recover_requeues_everything_and_tags_are_not_used_again() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        filled(&mut client, 1).await;
        client.consume(1, "q", "c", false);
        client.expect(1, "consume-ok c").await;
        client.expect(1, "deliver c 1 [1]").await;
        let recover = basic::AMQPMethod::RecoverAsync(basic::RecoverAsync { requeue: true });
        client.send(1, AMQPClass::Basic(recover));
        client.expect(1, "deliver c 2 redelivered [1]").await;
        client.ack(1, 1, false);
        client.expect(1, "close 406 PRECONDITION_FAILED - unknown delivery tag 1 (60,80)").await;
    });
}

#[test]
fn consumer_tag_in_use_closes_the_connection_with_530() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        filled(&mut client, 0).await;
        client.consume(1, "q", "c", false);
        client.expect(1, "consume-ok c").await;
        client.consume(1, "q", "c", false);
        client.expect(0, "close 530 NOT_ALLOWED - attempt to reuse consumer tag 'c' (60,20)").await;
    });
}

#[test]
fn cancel_of_an_unknown_tag_is_ok() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        client.send(1, cancel("nobody"));
        client.expect(1, "cancel-ok nobody").await;
    });
}

#[test]
fn consumer_of_a_deleted_queue_is_told() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        filled(&mut client, 0).await;
        client.consume(1, "q", "c", false);
        client.expect(1, "consume-ok c").await;
        let delete = queue::Delete { queue: "q".into(), ..queue::Delete::default() };
        client.send(1, AMQPClass::Queue(queue::AMQPMethod::Delete(delete)));
        client.expect(1, "DeleteOk").await;
        client.expect(1, "cancel c").await;
    });
}

#[test]
fn prefetch_size_is_not_implemented() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        client.send_bytes(&super::client::frame_bytes(1, 1, &[0, 60, 0, 10, 0, 0, 0, 9, 0, 1, 0]));
        client.expect(0, "close 540 NOT_IMPLEMENTED - prefetch_size!=0 (9) (60,10)").await;
    });
}

#[test]
fn slow_reader_gets_no_more_than_its_window() {
    run(async |handle| {
        let mut client = Client::open(&handle).await;
        client.declare(1, "q");
        client.expect(1, "declare-ok q 0 0").await;
        client.consume(1, "q", "c", true);
        client.expect(1, "consume-ok c").await;
        let key = client.connection.key();
        let mut publisher = Client::open(&handle).await;
        for _ in 0..100 {
            publisher.publish(1, "q", &[7; 10_000]);
        }
        let unwritten = handle.enter(|_, outputs| outputs.flush(key)).unwrap();
        assert!((200_000..300_000).contains(&unwritten.len()), "{}", unwritten.len());
        handle.enter(|shard, outputs| outputs.written(key, unwritten, shard));
        client.resume();
        let (_, delivered) = client.receive().await;
        assert!(delivered.ends_with("[10000 bytes]"), "{delivered}");
    });
}

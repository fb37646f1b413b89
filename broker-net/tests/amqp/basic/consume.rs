//! Consuming: tags, prefetch, turns, cancelling.

use super::{consume, consume_no_ack, raw_consume, raw_get};
use crate::harness::{Raw, basic, body, declare, error_of, get, message_count, next, publish, queue, scenario};
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::{AMQPMethod as Basic, Cancel, Consume, ConsumeOk};
use amq_protocol::protocol::queue::{AMQPMethod as Queue, Delete};
use futures_lite::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;

#[test]
fn prefetch_limits_what_a_consumer_holds() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "window").await;
        for number in 0..10 {
            publish(&session, "", "window", &number.to_string()).await;
        }
        session.basic_qos(3, BasicQosOptions::default()).await.unwrap();
        let mut consumer = consume(&session, "window", "").await;
        for expect in 0..3 {
            assert_eq!(body(&next(&mut consumer).await), expect.to_string());
        }
        assert_eq!(message_count(&session, "window").await, 7);
        session.basic_ack(2, BasicAckOptions { multiple: true }).await.unwrap();
        for expect in 3..5 {
            assert_eq!(body(&next(&mut consumer).await), expect.to_string());
        }
        assert_eq!(message_count(&session, "window").await, 5);
        // get does not count.
        assert_eq!(body(&get(&session, "window").await.expect("a message")), "5");
    });
}

#[test]
fn what_a_channel_at_its_global_prefetch_cannot_take_is_for_others() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "q").await;
        session.basic_qos(2, BasicQosOptions { global: true }).await.unwrap();
        let mut limited = consume(&session, "q", "limited").await;
        for number in ["1", "2", "3", "4", "5"] {
            publish(&session, "", "q", number).await;
        }
        let first = next(&mut limited).await;
        assert_eq!((body(&first), body(&next(&mut limited).await)), ("1", "2"));
        session.wait_for_count("q", 3).await;
        assert_eq!(body(&get(&session, "q").await.expect("a message")), "3");
        first.acker.ack(BasicAckOptions::default()).await.unwrap();
        assert_eq!(body(&next(&mut limited).await), "4");
        let other = broker.open().await;
        let mut unlimited = consume(&other, "q", "unlimited").await;
        let message = next(&mut unlimited).await;
        assert_eq!((body(&message), message.redelivered), ("5", false));
    });
}

#[test]
fn a_channel_at_its_global_prefetch_gets_nothing_for_no_ack_consumers_either() {
    scenario(async |broker| {
        let session = broker.open().await;
        for queue in ["held", "free"] {
            declare(&session, queue).await;
        }
        session.basic_qos(1, BasicQosOptions { global: true }).await.unwrap();
        let mut held = consume(&session, "held", "held").await;
        publish(&session, "", "held", "1").await;
        let message = next(&mut held).await;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let free = session.basic_consume("free".into(), "free".into(), options, FieldTable::default());
        let mut free = free.await.unwrap();
        for number in ["2", "3", "4"] {
            publish(&session, "", "free", number).await;
        }
        session.wait_for_count("free", 3).await;
        message.acker.ack(BasicAckOptions::default()).await.unwrap();
        // They do not count, and there is no limit for them while the channel has room.
        for number in ["2", "3", "4"] {
            assert_eq!(body(&next(&mut free).await), number);
        }
        publish(&session, "", "held", "5").await;
        assert_eq!(body(&next(&mut held).await), "5");
    });
}

#[test]
fn all_consumers_of_a_channel_at_its_global_prefetch_get_their_turn() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "q").await;
        session.basic_qos(1, BasicQosOptions { global: true }).await.unwrap();
        let mut first = consume(&session, "q", "first").await;
        let mut second = consume(&session, "q", "second").await;
        for number in 1..=10 {
            publish(&session, "", "q", &number.to_string()).await;
        }
        for _ in 0..5 {
            for consumer in [&mut first, &mut second] {
                next(consumer).await.acker.ack(BasicAckOptions::default()).await.unwrap();
            }
        }
    });
}

#[test]
fn global_prefetch_limits_the_channel() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "global").await;
        session.basic_qos(3, BasicQosOptions { global: true }).await.unwrap();
        let mut first = consume(&session, "global", "first").await;
        let mut second = consume(&session, "global", "second").await;
        for number in 0..10 {
            publish(&session, "", "global", &number.to_string()).await;
        }
        let mut tags = Vec::new();
        for _ in 0..3 {
            let delivery = futures_lite::future::or(next(&mut first), next(&mut second)).await;
            tags.push(delivery.delivery_tag);
        }
        tags.sort_unstable();
        assert_eq!(tags, [1, 2, 3]);
        session.basic_ack(3, BasicAckOptions { multiple: true }).await.unwrap();
        for _ in 0..3 {
            let delivery = futures_lite::future::or(next(&mut first), next(&mut second)).await;
            tags.push(delivery.delivery_tag);
        }
        tags.sort_unstable();
        assert_eq!(tags, [1, 2, 3, 4, 5, 6]);
    });
}

#[test]
fn consumers_share_a_queue_by_turns() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "shared").await;
        let mut first = consume_no_ack(&session, "shared").await;
        let mut second = consume_no_ack(&session, "shared").await;
        for number in 0..20 {
            publish(&session, "", "shared", &number.to_string()).await;
        }
        let (mut seen, mut counts) = (Vec::new(), [0, 0]);
        for consumer in [&mut first, &mut second].into_iter().enumerate() {
            for _ in 0..10 {
                seen.push(body(&next(consumer.1).await).parse::<u32>().unwrap());
                counts[consumer.0] += 1;
            }
        }
        seen.sort_unstable();
        assert_eq!((seen, counts), ((0..20).collect(), [10, 10]));
    });
}

#[test]
fn prefetch_one_gives_the_fast_worker_more() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "fair").await;
        let (slow, fast) = (broker.open().await, broker.open().await);
        for worker in [&slow, &fast] {
            worker.basic_qos(1, BasicQosOptions::default()).await.unwrap();
        }
        let mut slow_consumer = consume(&slow, "fair", "").await;
        let mut fast_consumer = consume(&fast, "fair", "").await;
        for number in 0..20 {
            publish(&session, "", "fair", &number.to_string()).await;
        }
        // The slow one works on its first message all the time.
        let held = next(&mut slow_consumer).await;
        for _ in 0..19 {
            next(&mut fast_consumer).await.ack(BasicAckOptions::default()).await.unwrap();
        }
        held.ack(BasicAckOptions::default()).await.unwrap();
    });
}

#[test]
fn cancelled_consumer_gets_nothing_more_and_keeps_what_it_has() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "cancelled").await;
        let mut consumer = consume(&session, "cancelled", "tag").await;
        publish(&session, "", "cancelled", "1").await;
        let held = next(&mut consumer).await;
        session.basic_cancel("tag".into(), BasicCancelOptions::default()).await.unwrap();
        publish(&session, "", "cancelled", "2").await;
        assert_eq!(message_count(&session, "cancelled").await, 1);
        held.ack(BasicAckOptions::default()).await.unwrap();
        assert!(consumer.next().await.is_none());
        session.basic_cancel("unknown".into(), BasicCancelOptions::default()).await.unwrap();
    });
}

#[test]
fn consumer_is_told_when_its_queue_is_deleted() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "deleted").await;
        let mut raw = Raw::open(broker);
        let answer = raw.call(1, &raw_consume("deleted", "tag"));
        assert_eq!(answer, basic(Basic::ConsumeOk(ConsumeOk { consumer_tag: "tag".into() })));
        session.queue_delete("deleted".into(), QueueDeleteOptions::default()).await.unwrap();
        let notice = raw.method(1);
        assert_eq!(notice, basic(Basic::Cancel(Cancel { consumer_tag: "tag".into(), nowait: true })));
    });
}

#[test]
fn consume_without_a_tag_gets_one() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "tagged").await;
        let first = consume(&session, "tagged", "").await;
        let second = consume(&session, "tagged", "").await;
        assert!(first.tag().as_str().starts_with("amq.ctag-"), "{}", first.tag());
        assert_ne!(first.tag(), second.tag());
    });
}

#[test]
fn consumer_tag_in_use_is_530() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "twice").await;
        let mut raw = Raw::open(broker);
        raw.call(1, &raw_consume("twice", "tag"));
        raw.send(1, &raw_consume("twice", "tag"));
        let closed = raw.closed();
        assert_eq!((closed.code, closed.method), (530, (60, 20)));
        assert_eq!(closed.text, "NOT_ALLOWED - attempt to reuse consumer tag 'tag'");
    });
}

#[test]
fn exclusive_consumer_is_alone() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "alone").await;
        let exclusive = BasicConsumeOptions { exclusive: true, ..BasicConsumeOptions::default() };
        let arguments = FieldTable::default();
        let _alone = session.basic_consume("alone".into(), "".into(), exclusive, arguments.clone()).await.unwrap();
        let other = broker.open().await;
        let shared = BasicConsumeOptions::default();
        let refused = other.basic_consume("alone".into(), "".into(), shared, arguments.clone()).await;
        let expect = (403, "ACCESS_REFUSED - queue 'alone' in vhost '/' in exclusive use".to_owned());
        assert_eq!(error_of(refused), expect);
        declare(&session, "not alone").await;
        let _shared = consume(&session, "not alone", "").await;
        let refused = session.basic_consume("not alone".into(), "".into(), exclusive, arguments).await;
        assert_eq!(error_of(refused).0, 403);
    });
}

#[test]
fn consume_from_a_missing_queue_is_404() {
    scenario(async |broker| {
        let session = broker.open().await;
        let options = BasicConsumeOptions::default();
        let missing = session.basic_consume("missing".into(), "".into(), options, FieldTable::default()).await;
        assert_eq!(error_of(missing), (404, "NOT_FOUND - no queue 'missing' in vhost '/'".into()));
    });
}

#[test]
fn backlog_of_a_slow_consumer_does_not_hold_up_others() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "slow").await;
        declare(&session, "quick").await;
        // This one asks for deliveries and never reads its socket.
        let mut stuck = Raw::open(broker);
        stuck.call(1, &raw_consume("slow", "stuck"));
        let body_bytes = "x".repeat(100_000);
        for _ in 0..200 {
            publish(&session, "", "slow", &body_bytes).await;
        }
        let mut consumer = consume_no_ack(&session, "quick").await;
        publish(&session, "", "quick", "through").await;
        assert_eq!(body(&next(&mut consumer).await), "through");
        // What its window does not take stays in the queue.
        assert!(message_count(&session, "slow").await > 100);
    });
}

#[test]
fn nowait_consume_and_cancel_send_no_answer() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "nowait").await;
        publish(&session, "", "nowait", "1").await;
        assert_eq!(message_count(&session, "nowait").await, 1);
        let mut raw = Raw::open(broker);
        let consume = Consume {
            queue: "nowait".into(),
            consumer_tag: "tag".into(),
            nowait: true,
            no_ack: true,
            ..Consume::default()
        };
        raw.send(1, &basic(Basic::Consume(consume)));
        let first = raw.method(1);
        assert!(matches!(first, AMQPClass::Basic(Basic::Deliver(_))), "{first:?}");
        for _ in 0..2 {
            raw.next().expect("the content");
        }
        raw.send(1, &basic(Basic::Cancel(Cancel { consumer_tag: "tag".into(), nowait: true })));
        raw.open_channel(2);
        // A request that fails is told although nobody waits for its answer.
        let consume = Consume { queue: "missing".into(), nowait: true, ..Consume::default() };
        raw.send(1, &basic(Basic::Consume(consume)));
        assert_eq!(raw.channel_closed(1).code, 404);
    });
}

#[test]
fn empty_queue_name_is_the_last_declared_one() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "first").await;
        declare(&session, "last").await;
        publish(&session, "", "last", "1").await;
        assert_eq!(body(&get(&session, "").await.expect("a message")), "1");
        let mut raw = Raw::open(broker);
        for (method, id) in [
            (raw_get(""), (60, 70)),
            (raw_consume("", ""), (60, 20)),
            (queue(Queue::Delete(Delete::default())), (50, 40)),
        ] {
            raw.send(1, &method);
            let closed = raw.channel_closed(1);
            assert_eq!((closed.code, closed.method), (404, id));
            assert_eq!(closed.text, "NOT_FOUND - no previously declared queue");
            raw.open_channel(1);
        }
    });
}

#[test]
fn prefetch_binds_neither_get_nor_consumers_that_do_not_acknowledge() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "q").await;
        session.basic_qos(1, BasicQosOptions::default()).await.unwrap();
        for number in 0..6 {
            publish(&session, "", "q", &number.to_string()).await;
        }
        for number in 0..3 {
            assert_eq!(body(&get(&session, "q").await.expect("a message")), number.to_string());
        }
        let mut consumer = consume_no_ack(&session, "q").await;
        for number in 3..6 {
            assert_eq!(body(&next(&mut consumer).await), number.to_string());
        }
    });
}

#[test]
fn prefetch_is_that_of_the_time_when_the_consumer_came() {
    scenario(async |broker| {
        let session = broker.open().await;
        for queue in ["before", "after"] {
            declare(&session, queue).await;
            for number in 0..3 {
                publish(&session, "", queue, &number.to_string()).await;
            }
        }
        session.basic_qos(1, BasicQosOptions::default()).await.unwrap();
        let mut before = consume(&session, "before", "").await;
        session.basic_qos(2, BasicQosOptions::default()).await.unwrap();
        let mut after = consume(&session, "after", "").await;
        next(&mut before).await;
        for _ in 0..2 {
            next(&mut after).await;
        }
        assert_eq!(message_count(&session, "before").await, 2);
        assert_eq!(message_count(&session, "after").await, 1);
    });
}

#[test]
fn consume_ok_comes_before_the_first_message() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "q").await;
        publish(&session, "", "q", "waits").await;
        assert_eq!(message_count(&session, "q").await, 1);
        let mut raw = Raw::open(broker);
        let answer = raw.call(1, &raw_consume("q", "tag"));
        assert!(matches!(answer, AMQPClass::Basic(Basic::ConsumeOk(_))), "{answer:?}");
        let message = raw.method(1);
        assert!(matches!(message, AMQPClass::Basic(Basic::Deliver(_))), "{message:?}");
    });
}

#[test]
fn client_without_the_capability_is_not_told_of_a_cancel() {
    scenario(async |broker| {
        let session = broker.open().await;
        declare(&session, "deleted").await;
        let login = crate::harness::Login { capabilities: FieldTable::default(), ..Default::default() };
        let mut raw = Raw::login(broker, &login);
        raw.call(1, &raw_consume("deleted", "tag"));
        session.queue_delete("deleted".into(), QueueDeleteOptions::default()).await.unwrap();
        // What comes next is the answer.
        raw.open_channel(2);
        raw.send(1, &raw_consume("deleted", "tag"));
        assert_eq!(raw.channel_closed(1).code, 404);
    });
}

use super::*;

fn consumer(id: u32, prefetch_count: u16) -> Consumer {
    Consumer {
        address: ChannelAddress { shard: ShardId(0), channel: ChannelKey { slot: 0, epoch: 0 } },
        id: ConsumerId(id),
        consumer_tag: "t".into(),
        no_ack: false,
        exclusive: false,
        prefetch_count,
        priority: 0,
        timeout_ms: None,
        arguments: None,
    }
}

fn with_priority(id: u32, prefetch_count: u16, priority: i64) -> Consumer {
    Consumer { priority, ..consumer(id, prefetch_count) }
}

fn order(consumers: &mut Consumers, turns: usize) -> Vec<u32> {
    (0..turns).filter_map(|_| turn(consumers)).map(|(_, id)| id).collect()
}

fn turn(consumers: &mut Consumers) -> Option<(ConsumerSlot, u32)> {
    let (slot, id) = consumers.next().map(|(slot, consumer)| (slot, consumer.id.0))?;
    consumers.took(1);
    Some((slot, id))
}

#[test]
fn consumers_take_turns() {
    let mut consumers = Consumers::default();
    for id in 1..=3 {
        consumers.add(consumer(id, 0));
    }
    assert_eq!(order(&mut consumers, 6), [1, 2, 3, 1, 2, 3]);
}

#[test]
fn prefetch_takes_a_consumer_out_until_it_settles() {
    let mut consumers = Consumers::default();
    consumers.add(consumer(1, 1));
    consumers.add(consumer(2, 2));
    assert_eq!(order(&mut consumers, 5), [1, 2, 2]);
    assert!(!consumers.any_active());
    let address = consumer(1, 1).address;
    assert!(consumers.settled(ConsumerSlot(0), address, ConsumerId(1)));
    assert_eq!(turn(&mut consumers).map(|(_, id)| id), Some(1));
}

#[test]
fn window_takes_a_consumer_out_until_it_is_returned() {
    let mut consumers = Consumers::default();
    let slot = consumers.add(consumer(1, 0));
    consumers.took(CONSUMER_WINDOW_BYTES + 5);
    assert!(!consumers.any_active());
    let address = consumer(1, 0).address;
    assert!(!consumers.return_window(slot, address, ConsumerId(1), 5));
    assert!(consumers.return_window(slot, address, ConsumerId(1), 1));
    assert!(consumers.any_active());
}

#[test]
fn lower_priority_is_served_while_the_higher_ones_are_blocked() {
    let mut consumers = Consumers::default();
    consumers.add(with_priority(1, 0, -1));
    let second = consumers.add(with_priority(2, 1, 5));
    consumers.add(with_priority(3, 1, 5));
    consumers.add(with_priority(4, 1, 0));
    assert_eq!(order(&mut consumers, 6), [2, 3, 4, 1, 1, 1]);
    assert!(consumers.settled(second, consumer(2, 0).address, ConsumerId(2)));
    assert_eq!(order(&mut consumers, 2), [2, 1]);
}

#[test]
fn consumer_in_the_middle_of_a_ring_can_go() {
    let mut consumers = Consumers::default();
    let slots: Vec<_> = (1..=4).map(|id| consumers.add(consumer(id, 0))).collect();
    let address = consumer(1, 0).address;
    assert_eq!(order(&mut consumers, 1), [1]);
    assert!(consumers.remove(slots[2], address, ConsumerId(3)).is_some());
    assert!(consumers.remove(slots[2], address, ConsumerId(3)).is_none());
    assert_eq!(order(&mut consumers, 4), [2, 4, 1, 2]);
    // The slot has a new owner, whom the old one's numbers do not find.
    assert_eq!(consumers.add(consumer(5, 0)), slots[2]);
    assert!(!consumers.settled(slots[2], address, ConsumerId(3)));
    assert_eq!(consumers.remove_channel(address), 4);
    assert!(!consumers.any_active() && consumers.is_empty());
}

#[test]
fn single_active_consumer_is_followed_by_the_first_of_the_highest_priority() {
    let mut consumers = Consumers::default();
    consumers.set_single_active(true, false);
    let first = consumers.add(consumer(1, 0));
    consumers.add(consumer(2, 0));
    let third = consumers.add(with_priority(3, 1, 9));
    consumers.add(with_priority(4, 0, 9));
    let address = consumer(1, 0).address;
    let active = |consumers: &Consumers| {
        let single = |(consumer, activity): (&Consumer, Activity)| {
            (activity == Activity::SingleActive).then_some(consumer.id.0)
        };
        consumers.activities().find_map(single)
    };
    assert_eq!(order(&mut consumers, 3), [1, 1, 1]);
    assert_eq!(active(&consumers), Some(1));
    consumers.remove(first, address, ConsumerId(1));
    // A blocked one stays the active one.
    assert_eq!(order(&mut consumers, 3), [3]);
    assert_eq!(active(&consumers), Some(3));
    consumers.remove(third, address, ConsumerId(3));
    assert_eq!(order(&mut consumers, 2), [4, 4]);
    consumers.remove_channel(address);
    consumers.add(consumer(6, 0));
    assert_eq!(order(&mut consumers, 1), [6]);
}

#[test]
fn single_active_consumer_makes_way_when_what_it_holds_is_settled() {
    let mut consumers = Consumers::default();
    consumers.set_single_active(true, true);
    let address = consumer(1, 0).address;
    let first = consumers.add(consumer(1, 0));
    assert_eq!(order(&mut consumers, 2), [1, 1]);
    let second = consumers.add(with_priority(2, 0, 5));
    assert!(!consumers.any_active());
    assert!(!consumers.settled(first, address, ConsumerId(1)));
    assert!(!consumers.return_window(first, address, ConsumerId(1), 1));
    assert!(consumers.settled(first, address, ConsumerId(1)));
    assert_eq!(order(&mut consumers, 1), [2]);
    // Nobody makes way for an equal one, or one that goes before it has taken over.
    consumers.add(with_priority(3, 0, 5));
    assert_eq!(order(&mut consumers, 1), [2]);
    let fourth = consumers.add(with_priority(4, 0, 9));
    assert!(!consumers.any_active());
    consumers.remove(fourth, address, ConsumerId(4));
    assert_eq!(order(&mut consumers, 1), [2]);
    consumers.remove(second, address, ConsumerId(2));
    assert_eq!(order(&mut consumers, 1), [3]);
}

"""How a queue shares its messages among consumers, and in which order."""


def collect(channel, queue, into, **options):
    """Consumes into a list of (delivery tag, body, redelivered)."""
    return channel.basic_consume(
        queue, lambda _, method, __, body: into.append((method.delivery_tag, body, method.redelivered)), **options
    )


def test_prefetch_count_1_gives_the_work_to_whoever_is_free(connect, name, eventually):
    queue = name()
    slow, fast = connect(), connect()
    slow_channel, fast_channel = slow.channel(), fast.channel()
    slow_channel.queue_declare(queue)
    slow_work, fast_work = [], []
    for channel, work in [(slow_channel, slow_work), (fast_channel, fast_work)]:
        channel.basic_qos(prefetch_count=1)
        collect(channel, queue, work)
    for number in range(20):
        slow_channel.basic_publish("", queue, str(number).encode())
    eventually([slow, fast], lambda: slow_work and fast_work)

    # The slow one is still at its first message while the fast one does all the others, one at a time.
    for done in range(19):
        eventually([slow, fast], lambda: len(fast_work) > done)
        assert len(fast_work) == done + 1
        fast_channel.basic_ack(fast_work[done][0])
    assert len(slow_work) == 1
    slow_channel.basic_ack(slow_work[0][0])
    bodies = sorted(int(body) for _, body, _ in slow_work + fast_work)
    assert bodies == list(range(20))


def test_without_prefetch_messages_go_round(connect, name, eventually):
    queue = name()
    connection = connect()
    channel = connection.channel()
    channel.queue_declare(queue)
    first, second = [], []
    collect(channel, queue, first, auto_ack=True)
    collect(channel, queue, second, auto_ack=True)
    for number in range(10):
        channel.basic_publish("", queue, str(number).encode())
    eventually([connection], lambda: len(first) + len(second) == 10)
    assert (len(first), len(second)) == (5, 5)


def test_one_consumer_receives_in_the_order_published(connect, name, eventually):
    queue = name()
    consumer, producer = connect(), connect()
    receiving = consumer.channel()
    receiving.queue_declare(queue, durable=True)
    receiving.basic_qos(prefetch_count=50)
    received = []

    def work(channel, method, properties, body):
        received.append(int(body))
        if len(received) % 10 == 0:
            channel.basic_ack(method.delivery_tag, multiple=True)

    receiving.basic_consume(queue, work)
    sending = producer.channel()
    for number in range(3000):
        sending.basic_publish("", queue, str(number).encode())
    eventually([consumer], lambda: len(received) == 3000)
    assert received == list(range(3000))


def test_requeued_messages_return_to_their_place(connect, name, eventually):
    queue = name()
    connection = connect()
    channel = connection.channel()
    channel.queue_declare(queue)
    for number in range(5):
        channel.basic_publish("", queue, str(number).encode())
    tags = [channel.basic_get(queue)[0].delivery_tag for _ in range(4)]
    channel.basic_nack(tags[2], requeue=True)
    channel.basic_nack(tags[0], requeue=True)
    channel.basic_reject(tags[3], requeue=True)
    seen = []
    collect(channel, queue, seen, auto_ack=True)
    eventually([connection], lambda: len(seen) == 4)
    assert [(body, redelivered) for _, body, redelivered in seen] == [
        (b"0", True),
        (b"2", True),
        (b"3", True),
        (b"4", False),
    ]


def test_rejected_messages_are_gone(channel, name):
    queue = name()
    channel.queue_declare(queue)
    for body in (b"a", b"b", b"c"):
        channel.basic_publish("", queue, body)
    tags = [channel.basic_get(queue)[0].delivery_tag for _ in range(3)]
    channel.basic_reject(tags[0], requeue=False)
    channel.basic_nack(tags[2], multiple=True, requeue=False)
    assert channel.queue_declare(queue, passive=True).method.message_count == 0
    assert channel.basic_get(queue) == (None, None, None)


def test_recover_gives_every_unacknowledged_message_back(channel, name):
    queue = name()
    channel.queue_declare(queue)
    for number in range(3):
        channel.basic_publish("", queue, str(number).encode())
    for _ in range(3):
        assert not channel.basic_get(queue)[0].redelivered
    channel.basic_recover(requeue=True)
    again = [channel.basic_get(queue, auto_ack=True) for _ in range(3)]
    assert [(method.redelivered, body) for method, _, body in again] == [(True, b"0"), (True, b"1"), (True, b"2")]


def test_cancel_stops_deliveries_and_keeps_what_is_unacknowledged(connect, name, eventually):
    queue = name()
    connection = connect()
    channel = connection.channel()
    channel.queue_declare(queue)
    seen = []
    tag = collect(channel, queue, seen)
    channel.basic_publish("", queue, b"first")
    eventually([connection], lambda: seen)
    channel.basic_cancel(tag)
    channel.basic_publish("", queue, b"second")
    assert channel.basic_get(queue, auto_ack=True)[2] == b"second"
    channel.basic_ack(seen[0][0])
    assert [body for _, body, _ in seen] == [b"first"]


def test_a_consumer_is_told_when_its_queue_is_deleted(connect, name, eventually):
    queue = name()
    consumer = connect()
    channel = consumer.channel()
    channel.queue_declare(queue)
    cancelled = []
    channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
    tag = channel.basic_consume(queue, lambda *_: None)
    connect().channel().queue_delete(queue)
    eventually([consumer], lambda: cancelled)
    assert cancelled == [tag]
    assert channel.is_open

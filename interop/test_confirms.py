"""Publisher confirms, returns of mandatory messages, transactions."""

import pika
import pytest


def test_every_publish_is_confirmed(channel, name):
    queue = name()
    channel.queue_declare(queue, durable=True)
    channel.confirm_delivery()
    for number in range(100):
        # pika waits for the ack of each; a nack would raise.
        channel.basic_publish("", queue, str(number).encode(), pika.BasicProperties(delivery_mode=2))
    assert channel.queue_declare(queue, passive=True).method.message_count == 100


def test_confirms_cover_every_sequence_number_once(shared_broker, name):
    queue = name()
    published = 500
    acked, nacked = [], []

    def on_open(connection):
        connection.channel(on_open_callback=on_channel)

    def on_channel(channel):
        channel.queue_declare(queue, durable=True, callback=lambda _: on_queue(channel))

    def on_queue(channel):
        channel.confirm_delivery(lambda frame: on_confirm(channel, frame.method), lambda _: publish(channel))

    def publish(channel):
        for number in range(published):
            # Every third one is routed nowhere: it is confirmed as well, and counts.
            key = queue if number % 3 else "interop.no.such.queue"
            channel.basic_publish("", key, b"x" * number, pika.BasicProperties(delivery_mode=2))

    def on_confirm(channel, method):
        into = acked if isinstance(method, pika.spec.Basic.Ack) else nacked
        if method.multiple:
            into.extend(set(range(1, method.delivery_tag + 1)) - set(acked) - set(nacked))
        else:
            into.append(method.delivery_tag)
        if len(acked) + len(nacked) >= published:
            channel.connection.close()

    loop = pika.SelectConnection(shared_broker.parameters(), on_open, on_close_callback=lambda c, _: c.ioloop.stop())
    loop.ioloop.start()
    assert sorted(acked) == list(range(1, published + 1))
    assert nacked == []


def test_a_mandatory_message_without_a_queue_is_returned_before_its_confirm(channel):
    channel.confirm_delivery()
    with pytest.raises(pika.exceptions.UnroutableError) as error:
        channel.basic_publish("", "interop.no.such.queue", b"lost?", mandatory=True)
    (returned,) = error.value.messages
    assert (returned.method.reply_code, returned.method.reply_text) == (312, "NO_ROUTE")
    assert (returned.method.exchange, returned.method.routing_key) == ("", "interop.no.such.queue")
    assert returned.body == b"lost?"


def test_a_message_without_a_queue_that_is_not_mandatory_is_confirmed(channel):
    channel.confirm_delivery()
    channel.basic_publish("", "interop.no.such.queue", b"dropped")


def test_a_mandatory_message_is_returned_without_confirms_too(connect, eventually):
    connection = connect()
    channel = connection.channel()
    returned = []
    channel.add_on_return_callback(lambda *message: returned.append(message))
    channel.basic_publish("amq.direct", "nobody", b"back", mandatory=True)
    eventually([connection], lambda: returned)
    assert returned[0][3] == b"back"


def test_a_transaction_is_seen_after_its_commit_only(connect, name):
    queue = name()
    channel, observer = connect().channel(), connect().channel()
    channel.queue_declare(queue, durable=True)
    channel.tx_select()
    for body in (b"a", b"b"):
        channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2))
    # A synchronous method of the same channel: the publishes have been read by now.
    channel.queue_declare(queue, passive=True)
    assert observer.queue_declare(queue, passive=True).method.message_count == 0
    channel.tx_commit()
    assert observer.queue_declare(queue, passive=True).method.message_count == 2


def test_a_rollback_forgets_publishes_and_acks(connect, name):
    queue = name()
    channel, observer = connect().channel(), connect().channel()
    channel.queue_declare(queue)
    channel.basic_publish("", queue, b"kept")
    channel.tx_select()
    method, _, _ = channel.basic_get(queue)
    channel.basic_ack(method.delivery_tag)
    channel.basic_publish("", queue, b"forgotten")
    channel.tx_rollback()
    assert observer.queue_declare(queue, passive=True).method.message_count == 0
    # The message is still unacknowledged: this ack is a valid one.
    channel.basic_ack(method.delivery_tag)
    channel.tx_commit()
    channel.close()
    assert observer.queue_declare(queue, passive=True).method.message_count == 0


def test_closing_the_channel_rolls_back(connect, name):
    queue = name()
    connection = connect()
    channel = connection.channel()
    channel.queue_declare(queue)
    channel.tx_select()
    channel.basic_publish("", queue, b"never")
    channel.close()
    assert connection.channel().queue_declare(queue, passive=True).method.message_count == 0

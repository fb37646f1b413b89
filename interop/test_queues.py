"""Declaring, sharing and ending queues."""

import pika
import pytest


def gone(channel, queue):
    """True if the queue does not exist. Closes the channel if so."""
    try:
        channel.queue_declare(queue, passive=True)
    except pika.exceptions.ChannelClosedByBroker as error:
        assert error.reply_code == 404
        return True
    return False


def test_an_exclusive_queue_belongs_to_its_connection_and_ends_with_it(connect):
    owner, other = connect(), connect()
    queue = owner.channel().queue_declare("", exclusive=True).method.queue
    assert queue.startswith("amq.gen-")
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as error:
        other.channel().basic_get(queue)
    assert error.value.reply_code == 405
    owner.close()
    assert gone(other.channel(), queue)


def test_an_auto_delete_queue_ends_with_its_last_consumer(connect, name):
    queue = name()
    connection = connect()
    channel = connection.channel()
    channel.queue_declare(queue, auto_delete=True)
    tags = [channel.basic_consume(queue, lambda *_: None) for _ in range(2)]
    channel.basic_cancel(tags[0])
    assert not gone(channel, queue)
    channel.basic_cancel(tags[1])
    assert gone(channel, queue)


def test_a_server_named_queue_is_the_default_of_its_channel(channel):
    channel.queue_declare("", exclusive=True)
    channel.queue_bind("", "amq.direct", "interop.default")
    channel.basic_publish("amq.direct", "interop.default", b"x")
    assert channel.basic_get("", auto_ack=True)[2] == b"x"


def test_declare_tells_the_number_of_messages_and_consumers(connect, name):
    queue = name()
    channel = connect().channel()
    assert channel.queue_declare(queue).method.message_count == 0
    for _ in range(3):
        channel.basic_publish("", queue, b"x")
    channel.basic_get(queue)
    other = connect().channel()
    other.basic_qos(prefetch_count=1)
    other.basic_consume(queue, lambda *_: None)
    told = channel.queue_declare(queue, passive=True).method
    # One is unacknowledged by the get, one is at the consumer.
    assert (told.queue, told.message_count, told.consumer_count) == (queue, 1, 1)


def test_purge_removes_ready_messages_only(channel, name):
    queue = name()
    channel.queue_declare(queue)
    for _ in range(4):
        channel.basic_publish("", queue, b"x")
    method, _, _ = channel.basic_get(queue)
    assert channel.queue_purge(queue).method.message_count == 3
    channel.basic_nack(method.delivery_tag, requeue=True)
    assert channel.basic_get(queue, auto_ack=True)[0].redelivered
    assert channel.basic_get(queue) == (None, None, None)


def test_delete_tells_how_many_messages_went_and_is_idempotent(channel, name):
    queue = name()
    channel.queue_declare(queue)
    channel.basic_publish("", queue, b"x")
    assert channel.queue_delete(queue).method.message_count == 1
    assert channel.queue_delete(queue).method.message_count == 0


def test_redeclaring_with_the_same_arguments_is_fine(channel, name):
    queue = name()
    for _ in range(2):
        channel.queue_declare(queue, durable=True, arguments={"x-max-length": 10})


def test_queues_are_per_virtual_host_and_a_missing_one_is_refused(connect):
    with pytest.raises(pika.exceptions.AMQPConnectionError) as error:
        connect(virtual_host="interop.missing")
    # pika gives the text of connection.close with the exception or as its cause.
    assert "530" in repr(error.value) and "vhost interop.missing not found" in repr(error.value)

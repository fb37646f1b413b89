"""A message through the default exchange arrives, and is gone only when the consumer has said that it is done."""

import socket

import pika


def test_hello_world_is_received_and_acknowledged_after_the_work(connect, name):
    queue = name()
    producer = connect()
    sending = producer.channel()
    sending.queue_declare(queue=queue)
    sending.basic_publish(exchange="", routing_key=queue, body="Hello World!")
    producer.close()

    consumer = connect()
    receiving = consumer.channel()
    assert receiving.queue_declare(queue=queue, passive=True).method.message_count == 1
    done = []

    def work(channel, method, properties, body):
        assert (method.exchange, method.routing_key, method.redelivered) == ("", queue, False)
        done.append(body)
        channel.basic_ack(method.delivery_tag)
        channel.stop_consuming()

    receiving.basic_consume(queue, work)
    receiving.start_consuming()
    assert done == [b"Hello World!"]
    consumer.close()
    assert connect().channel().queue_declare(queue=queue, passive=True).method.message_count == 0


def test_a_consumer_that_dies_before_its_ack_leaves_the_message_to_another(connect, name, eventually):
    queue = name()
    first = connect()
    channel = first.channel()
    channel.queue_declare(queue=queue)
    channel.basic_publish("", queue, b"work")
    unfinished = []
    channel.basic_consume(queue, lambda *delivery: unfinished.append(delivery))
    eventually([first], lambda: unfinished)
    assert not unfinished[0][1].redelivered

    second = connect()
    other = second.channel()
    finished = []
    other.basic_consume(queue, lambda *delivery: finished.append(delivery))
    # The process of the consumer is gone: its socket is closed without a word.
    first._impl._transport._sock.shutdown(socket.SHUT_RDWR)
    eventually([second], lambda: finished)
    _, method, _, body = finished[0]
    assert (body, method.redelivered) == (b"work", True)
    other.basic_ack(method.delivery_tag)
    assert other.queue_declare(queue=queue, passive=True).method.message_count == 0


def test_properties_and_headers_come_back_unchanged(channel, name):
    queue = name()
    channel.queue_declare(queue)
    sent = pika.BasicProperties(
        content_type="application/json",
        content_encoding="utf-8",
        headers={"text": "ä", "number": 7, "big": 1 << 40, "yes": True, "list": [1, "two"], "table": {"a": None}},
        delivery_mode=2,
        priority=3,
        correlation_id="c",
        reply_to="r",
        expiration="60000",
        message_id="m",
        timestamp=1_700_000_000,
        type="t",
        user_id="guest",
        app_id="a",
    )
    channel.basic_publish("", queue, b"{}", sent)
    method, received, body = channel.basic_get(queue, auto_ack=True)
    assert (method.message_count, body) == (0, b"{}")
    assert received == sent


def test_bodies_of_any_size_come_back_unchanged(channel, name):
    queue = name()
    channel.queue_declare(queue)
    # Around the largest body of one frame (frame_max 131072 less 8), and many frames.
    sizes = [0, 1, 131_063, 131_064, 131_065, 262_129, 3_000_000]
    for size in sizes:
        channel.basic_publish("", queue, bytes([size % 251]) * size)
    for size in sizes:
        _, _, body = channel.basic_get(queue, auto_ack=True)
        assert len(body) == size
        assert body == bytes([size % 251]) * size

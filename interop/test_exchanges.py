"""Exchange types and bindings, as a client sees them: which queue gets which message."""

import pika
import pytest


def bound_queue(channel, exchange, routing_key="", arguments=None):
    """A new exclusive queue with one binding."""
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, exchange, routing_key, arguments)
    return queue


def bodies(channel, queue):
    """Takes all messages of a queue."""
    taken = []
    while (message := channel.basic_get(queue, auto_ack=True))[0] is not None:
        taken.append(message[2].decode())
    return taken


def test_a_direct_exchange_compares_the_routing_key(channel):
    red, both = bound_queue(channel, "amq.direct", "interop.red"), bound_queue(channel, "amq.direct", "interop.red")
    channel.queue_bind(both, "amq.direct", "interop.blue")
    for key in ("interop.red", "interop.blue", "interop.green"):
        channel.basic_publish("amq.direct", key, key)
    assert bodies(channel, red) == ["interop.red"]
    assert bodies(channel, both) == ["interop.red", "interop.blue"]


def test_a_fanout_exchange_ignores_the_routing_key(channel, name):
    exchange = name("exchange")
    channel.exchange_declare(exchange, "fanout")
    queues = [bound_queue(channel, exchange, key) for key in ("", "a", "b")]
    channel.basic_publish(exchange, "whatever", b"all")
    assert [bodies(channel, queue) for queue in queues] == [["all"]] * 3


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("#", ["", "quick", "quick.orange", "quick.orange.rabbit", "lazy..fox"]),
        ("*", ["quick"]),
        ("quick.#", ["quick", "quick.orange", "quick.orange.rabbit"]),
        ("*.orange.*", ["quick.orange.rabbit"]),
        ("*.*", ["quick.orange"]),
        ("lazy.*.fox", ["lazy..fox"]),
        ("#.rabbit", ["quick.orange.rabbit"]),
        ("quick.orange", ["quick.orange"]),
        ("quick#", []),
    ],
)
def test_a_topic_exchange_matches_words(channel, name, pattern, expected):
    exchange = name("exchange")
    channel.exchange_declare(exchange, "topic")
    queue = bound_queue(channel, exchange, pattern)
    for key in ("", "quick", "quick.orange", "quick.orange.rabbit", "lazy..fox"):
        channel.basic_publish(exchange, key, key)
    assert bodies(channel, queue) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"x-match": "all", "a": 1, "b": "two"}, ["both"]),
        ({"a": 1, "b": "two"}, ["both"]),
        ({"x-match": "any", "a": 1, "b": "two"}, ["both", "a", "b"]),
        ({"x-match": "all", "a": None}, ["both", "a", "text"]),
        ({"x-match": "all"}, ["both", "a", "b", "text", "x", "none"]),
        ({"x-match": "any"}, []),
        ({"x-match": "all", "x-kind": 1}, ["both", "a", "b", "text", "x", "none"]),
        ({"x-match": "all-with-x", "x-kind": 1}, ["x"]),
        ({"x-match": "any-with-x", "x-kind": 1, "b": "two"}, ["both", "b", "x"]),
    ],
)
def test_a_headers_exchange_compares_headers(channel, name, arguments, expected):
    exchange = name("exchange")
    channel.exchange_declare(exchange, "headers")
    queue = bound_queue(channel, exchange, "", arguments)
    messages = {
        "both": {"a": 1, "b": "two"},
        "a": {"a": 1},
        "b": {"b": "two"},
        "text": {"a": "1"},
        "x": {"x-kind": 1},
        "none": None,
    }
    for body, headers in messages.items():
        channel.basic_publish(exchange, "", body, pika.BasicProperties(headers=headers))
    assert bodies(channel, queue) == expected


def test_a_message_reaches_a_queue_once_however_many_bindings_match(channel, name):
    exchange = name("exchange")
    channel.exchange_declare(exchange, "topic")
    queue = bound_queue(channel, exchange, "a.*")
    channel.queue_bind(queue, exchange, "#")
    channel.basic_publish(exchange, "a.b", b"once")
    assert bodies(channel, queue) == ["once"]


def test_exchanges_bind_to_exchanges_and_a_cycle_ends(channel, name):
    first, second = name("exchange"), name("exchange")
    for exchange in (first, second):
        channel.exchange_declare(exchange, "fanout")
    channel.exchange_bind(second, first)
    channel.exchange_bind(first, second)
    queue = bound_queue(channel, second)
    channel.basic_publish(first, "", b"through")
    assert bodies(channel, queue) == ["through"]
    channel.exchange_unbind(second, first)
    channel.basic_publish(first, "", b"not any more")
    assert bodies(channel, queue) == []


def test_an_alternate_exchange_gets_what_is_not_routed(channel, name):
    exchange, alternate = name("exchange"), name("exchange")
    channel.exchange_declare(alternate, "fanout")
    channel.exchange_declare(exchange, "direct", arguments={"alternate-exchange": alternate})
    rest, known = bound_queue(channel, alternate), bound_queue(channel, exchange, "known")
    channel.confirm_delivery()
    for key in ("known", "unknown"):
        # Routed by the alternate exchange is routed: nothing is returned.
        channel.basic_publish(exchange, key, key, mandatory=True)
    assert (bodies(channel, known), bodies(channel, rest)) == (["known"], ["unknown"])


def test_an_auto_delete_exchange_goes_with_its_last_binding(connect, name):
    exchange = name("exchange")
    connection = connect()
    channel = connection.channel()
    channel.exchange_declare(exchange, "direct", auto_delete=True)
    queue = bound_queue(channel, exchange, "k")
    channel.queue_unbind(queue, exchange, "k")
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as error:
        channel.exchange_declare(exchange, passive=True)
    assert error.value.reply_code == 404


def test_the_predeclared_exchanges_exist(channel):
    for kind in ("direct", "fanout", "topic", "headers"):
        channel.exchange_declare(f"amq.{kind}", kind, passive=True)
        channel.exchange_declare(f"amq.{kind}", kind, durable=True)
    channel.exchange_declare("amq.match", "headers", durable=True)

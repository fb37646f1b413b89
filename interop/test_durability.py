"""What was confirmed is there after a restart, by SIGTERM as by SIGKILL, in order; what is transient is not."""

import signal

import pika
import pytest

PERSISTENT = pika.BasicProperties(delivery_mode=2)
RESTARTS = pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL], ids=["sigterm", "sigkill"])


def take_all(channel, queue):
    """All messages of a queue as (body, redelivered)."""
    taken = []
    while (message := channel.basic_get(queue, auto_ack=True))[0] is not None:
        taken.append((message[2], message[0].redelivered))
    return taken


@RESTARTS
def test_a_persistent_message_in_a_durable_queue_survives(own_broker, by):
    channel = own_broker.connect().channel()
    channel.queue_declare("durable", durable=True)
    channel.queue_declare("transient")
    channel.confirm_delivery()
    for queue in ("durable", "transient"):
        channel.basic_publish("", queue, b"persistent", PERSISTENT)
    channel.basic_publish("", "durable", b"not persistent")

    own_broker.restart(by)
    connection = own_broker.connect()
    channel = connection.channel()
    assert take_all(channel, "durable") == [(b"persistent", False)]
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as error:
        channel.queue_declare("transient", passive=True)
    assert error.value.reply_code == 404


@RESTARTS
def test_durable_exchanges_and_bindings_survive(own_broker, by):
    channel = own_broker.connect().channel()
    channel.exchange_declare("durable", "topic", durable=True)
    channel.exchange_declare("next", "fanout", durable=True)
    channel.exchange_declare("transient", "topic")
    channel.queue_declare("q", durable=True, arguments={"x-max-length": 1000})
    channel.exchange_bind("next", "durable", "a.#")
    channel.queue_bind("q", "next")

    own_broker.restart(by)
    connection = own_broker.connect()
    channel = connection.channel()
    channel.queue_declare("q", durable=True, arguments={"x-max-length": 1000})
    channel.basic_publish("durable", "a.b", b"routed")
    assert take_all(channel, "q") == [(b"routed", False)]
    with pytest.raises(pika.exceptions.ChannelClosedByBroker):
        channel.exchange_declare("transient", passive=True)


@RESTARTS
def test_order_survives_and_messages_that_were_out_are_marked(own_broker, by):
    channel = own_broker.connect().channel()
    channel.queue_declare("q", durable=True)
    channel.confirm_delivery()
    for number in range(200):
        channel.basic_publish("", "q", str(number).encode(), PERSISTENT)
    for _ in range(3):
        channel.basic_get("q")

    own_broker.restart(by)
    taken = take_all(own_broker.connect().channel(), "q")
    assert [int(body) for body, _ in taken] == list(range(200))
    # A crash may forget how far deliveries went, but what was never out is never marked.
    marked = [int(body) for body, redelivered in taken if redelivered]
    assert marked == ([0, 1, 2] if by == signal.SIGTERM else marked)
    assert set(marked) <= {0, 1, 2}


def test_acknowledged_messages_do_not_come_back_after_a_clean_stop(own_broker):
    channel = own_broker.connect().channel()
    channel.queue_declare("q", durable=True)
    channel.confirm_delivery()
    for number in range(10):
        channel.basic_publish("", "q", str(number).encode(), PERSISTENT)
    tags = [channel.basic_get("q")[0].delivery_tag for _ in range(6)]
    channel.basic_ack(tags[1])
    channel.basic_ack(tags[4])
    channel.queue_declare("q", passive=True)

    own_broker.restart()
    taken = [int(body) for body, _ in take_all(own_broker.connect().channel(), "q")]
    assert taken == [0, 2, 3, 5, 6, 7, 8, 9]


def test_a_deleted_queue_stays_deleted_and_its_name_starts_empty(own_broker):
    channel = own_broker.connect().channel()
    channel.confirm_delivery()
    channel.queue_declare("q", durable=True)
    channel.basic_publish("", "q", b"old", PERSISTENT)
    channel.queue_delete("q")
    own_broker.restart(signal.SIGKILL)
    channel = own_broker.connect().channel()
    assert channel.queue_declare("q", durable=True).method.message_count == 0
    own_broker.restart(signal.SIGKILL)
    assert take_all(own_broker.connect().channel(), "q") == []


def test_a_fanout_to_many_durable_queues_survives_in_each(own_broker):
    channel = own_broker.connect().channel()
    channel.confirm_delivery()
    queues = [f"q{number}" for number in range(20)]
    for queue in queues:
        channel.queue_declare(queue, durable=True)
        channel.queue_bind(queue, "amq.fanout")
    for number in range(5):
        channel.basic_publish("amq.fanout", "", str(number).encode(), PERSISTENT)
    own_broker.restart(signal.SIGKILL)
    channel = own_broker.connect().channel()
    for queue in queues:
        assert [body for body, _ in take_all(channel, queue)] == [b"0", b"1", b"2", b"3", b"4"]


def test_a_committed_transaction_survives_and_an_open_one_does_not(own_broker):
    channel = own_broker.connect().channel()
    channel.queue_declare("q", durable=True)
    channel.tx_select()
    channel.basic_publish("", "q", b"committed", PERSISTENT)
    channel.tx_commit()
    channel.basic_publish("", "q", b"open", PERSISTENT)
    own_broker.restart(signal.SIGKILL)
    assert take_all(own_broker.connect().channel(), "q") == [(b"committed", False)]


def test_the_data_directory_opens_with_another_number_of_shards(unstarted):
    broker = unstarted("--shards", "1")
    broker.start()
    channel = broker.connect().channel()
    channel.confirm_delivery()
    for number in range(8):
        channel.queue_declare(f"q{number}", durable=True)
        channel.basic_publish("", f"q{number}", str(number).encode(), PERSISTENT)
    for shards in ("3", "2", "1"):
        broker.stop()
        broker.flags = ["--shards", shards]
        broker.start()
        channel = broker.connect().channel()
        assert channel.queue_declare("q0", passive=True).method.message_count == 1
    for number in range(8):
        assert take_all(channel, f"q{number}") == [(str(number).encode(), False)]

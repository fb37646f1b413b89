"""Reply codes and texts: clients match on them. Each case closes the channel (or the connection) with one code."""

import pika
import pytest


def refused(channel, call):
    """The (code, text) with which the broker closes the channel for a call."""
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as error:
        call(channel)
    return error.value.reply_code, error.value.reply_text


def disconnected(channel, call):
    """The (code, text) with which the broker closes the connection for a call."""
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as error:
        call(channel)
    return error.value.reply_code, error.value.reply_text


def test_a_wrong_password_is_refused_with_403(connect):
    with pytest.raises(pika.exceptions.ProbableAuthenticationError) as error:
        connect(credentials=pika.PlainCredentials("guest", "wrong"))
    text = (
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. "
        "For details see the broker logfile."
    )
    assert f"(403) '{text}'" in str(error.value)


def test_missing_queues_and_exchanges_are_404(connect):
    connection = connect()
    for call, text in [
        (lambda c: c.queue_declare("interop.none", passive=True), "no queue 'interop.none' in vhost '/'"),
        (lambda c: c.basic_get("interop.none"), "no queue 'interop.none' in vhost '/'"),
        (lambda c: c.basic_consume("interop.none", print), "no queue 'interop.none' in vhost '/'"),
        (lambda c: c.queue_purge("interop.none"), "no queue 'interop.none' in vhost '/'"),
        (lambda c: c.queue_bind("interop.none", "amq.direct", "k"), "no queue 'interop.none' in vhost '/'"),
        (lambda c: c.exchange_declare("interop.none", passive=True), "no exchange 'interop.none' in vhost '/'"),
    ]:
        assert refused(connection.channel(), call) == (404, f"NOT_FOUND - {text}")


def test_a_publish_to_a_missing_exchange_closes_the_channel_with_404(connect):
    def publish(channel):
        channel.basic_publish("interop.none", "k", b"x")
        channel.queue_declare("", exclusive=True)

    text = "NOT_FOUND - no exchange 'interop.none' in vhost '/'"
    assert refused(connect().channel(), publish) == (404, text)


def test_an_unknown_delivery_tag_is_406(connect):
    def ack(channel):
        channel.basic_ack(77)
        channel.queue_declare("", exclusive=True)

    assert refused(connect().channel(), ack) == (406, "PRECONDITION_FAILED - unknown delivery tag 77")


def test_redeclaring_differently_is_406_and_says_what_differs(connect, name):
    queue, exchange = name(), name("exchange")
    connection = connect()
    channel = connection.channel()
    channel.queue_declare(queue, durable=True, arguments={"x-max-length": 10})
    channel.exchange_declare(exchange, "direct")
    of = f"for queue '{queue}' in vhost '/'"
    for call, text in [
        (
            lambda c: c.queue_declare(queue, arguments={"x-max-length": 10}),
            f"inequivalent arg 'durable' {of}: received 'false' but current is 'true'",
        ),
        (
            lambda c: c.queue_declare(queue, durable=True),
            f"inequivalent arg 'x-max-length' {of}: received none but current is the value '10' of type 'signedint'",
        ),
        (
            lambda c: c.queue_declare(queue, durable=True, arguments={"x-max-length": 11}),
            f"inequivalent arg 'x-max-length' {of}: received '11' but current is '10'",
        ),
        (
            lambda c: c.queue_declare(queue, durable=True, auto_delete=True, arguments={"x-max-length": 10}),
            f"inequivalent arg 'auto_delete' {of}: received 'true' but current is 'false'",
        ),
        (
            lambda c: c.exchange_declare(exchange, "topic"),
            f"inequivalent arg 'type' for exchange '{exchange}' in vhost '/': "
            "received 'topic' but current is 'direct'",
        ),
        (
            lambda c: c.exchange_declare(exchange, "direct", durable=True),
            f"inequivalent arg 'durable' for exchange '{exchange}' in vhost '/': "
            "received 'true' but current is 'false'",
        ),
    ]:
        assert refused(connection.channel(), call) == (406, f"PRECONDITION_FAILED - {text}")


def test_conditional_deletes_are_406(connect, name):
    queue = name()
    connection = connect()
    channel = connection.channel()
    channel.queue_declare(queue)
    channel.basic_publish("", queue, b"x")
    assert refused(connection.channel(), lambda c: c.queue_delete(queue, if_empty=True)) == (
        406,
        f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' not empty",
    )
    channel.basic_consume(queue, lambda *_: None)
    assert refused(connection.channel(), lambda c: c.queue_delete(queue, if_unused=True)) == (
        406,
        f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' in use",
    )


def test_reserved_names_are_403(connect):
    connection = connect()
    code, text = refused(connection.channel(), lambda c: c.queue_declare("amq.mine"))
    assert code == 403
    assert text == "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'"
    code, text = refused(connection.channel(), lambda c: c.exchange_declare("amq.mine", "direct"))
    assert code == 403
    assert text == "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'"
    code, _ = refused(connection.channel(), lambda c: c.exchange_delete("amq.direct"))
    assert code == 403
    code, text = refused(connection.channel(), lambda c: c.queue_bind("interop.none", "", "k"))
    assert (code, text) == (403, "ACCESS_REFUSED - operation not permitted on the default exchange")


def test_another_connections_exclusive_queue_is_405(connect, name):
    queue = name()
    connect().channel().queue_declare(queue, exclusive=True)
    other = connect()
    for call in (
        lambda c: c.queue_declare(queue, exclusive=True),
        lambda c: c.queue_declare(queue, passive=True),
        lambda c: c.queue_bind(queue, "amq.direct", "k"),
        lambda c: c.basic_consume(queue, print),
        lambda c: c.queue_purge(queue),
        lambda c: c.queue_delete(queue),
    ):
        code, text = refused(other.channel(), call)
        assert code == 405
        assert text.startswith(
            f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{queue}' in vhost '/'."
        )


def test_an_exclusive_consumer_is_alone(connect, name):
    queue = name()
    connection = connect()
    channel = connection.channel()
    channel.queue_declare(queue)
    channel.basic_consume(queue, lambda *_: None, exclusive=True)
    code, text = refused(connection.channel(), lambda c: c.basic_consume(queue, lambda *_: None))
    assert (code, text) == (403, f"ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use")


def test_confirm_and_transaction_exclude_each_other(connect):
    connection = connect()

    def confirm_then_tx(channel):
        channel.confirm_delivery()
        channel.tx_select()

    def tx_then_confirm(channel):
        channel.tx_select()
        channel.confirm_delivery()

    text = "PRECONDITION_FAILED - cannot switch from confirm to tx mode"
    assert refused(connection.channel(), confirm_then_tx) == (406, text)
    text = "PRECONDITION_FAILED - cannot switch from tx to confirm mode"
    assert refused(connection.channel(), tx_then_confirm) == (406, text)
    assert refused(connection.channel(), lambda c: c.tx_commit()) == (
        406,
        "PRECONDITION_FAILED - channel is not transactional",
    )


def test_prefetch_size_and_immediate_are_540_for_the_connection(connect):
    code, text = disconnected(connect().channel(), lambda c: c.basic_qos(prefetch_size=1))
    assert code == 540
    assert text == "NOT_IMPLEMENTED - prefetch_size!=0 (1)"


def test_an_unknown_exchange_type_is_refused(connect, name):
    with pytest.raises((pika.exceptions.ChannelClosedByBroker, pika.exceptions.ConnectionClosedByBroker)) as error:
        connect().channel().exchange_declare(name("exchange"), "no-such-type")
    assert error.value.reply_text.endswith("'no-such-type'")


def test_an_error_on_one_channel_leaves_the_others_alone(connect, name):
    queue = name()
    connection = connect()
    good, bad = connection.channel(), connection.channel()
    good.queue_declare(queue)
    refused(bad, lambda c: c.basic_get("interop.none"))
    good.basic_publish("", queue, b"still here")
    assert good.basic_get(queue, auto_ack=True)[2] == b"still here"
    # The number of the closed channel can be used again.
    assert connection.channel(bad.channel_number).is_open

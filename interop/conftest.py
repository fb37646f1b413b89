"""Fixtures. `RINGMQ_INTEROP_BINARY` names the broker's binary; `RINGMQ_INTEROP_AMQP=host:port` names a broker that
runs already instead (RabbitMQ, to check the tests themselves); tests that need a process of their own are skipped then."""

import contextlib
import itertools
import os
import time

import pika
import pytest

from broker import PATIENCE, Broker, RunningBroker

_names = itertools.count()


def _binary():
    binary = os.environ.get("RINGMQ_INTEROP_BINARY")
    if binary is None:
        pytest.skip("RINGMQ_INTEROP_BINARY is not set: this test needs a broker process of its own")
    return binary


@pytest.fixture(scope="session")
def shared_broker(tmp_path_factory):
    """One broker for all tests that do not stop it."""
    if address := os.environ.get("RINGMQ_INTEROP_AMQP"):
        yield RunningBroker(address)
        return
    broker = Broker(_binary(), str(tmp_path_factory.mktemp("shared") / "data"))
    yield broker.start()
    assert broker.stop() == 0, broker.log()


@pytest.fixture
def own_broker(tmp_path):
    """A broker that this test may stop, started."""
    broker = Broker(_binary(), str(tmp_path / "data"))
    yield broker.start()
    if broker.process is not None:
        broker.kill()


@pytest.fixture
def unstarted(tmp_path):
    """Makes brokers that have not been started: `unstarted(*flags)`."""
    made = []

    def make(*flags):
        directory = tmp_path / str(len(made))
        directory.mkdir()
        made.append(Broker(_binary(), str(directory / "data"), *flags))
        return made[-1]

    yield make
    for broker in made:
        if broker.process is not None:
            broker.kill()


@pytest.fixture
def name(shared_broker):
    """Makes names that no other test uses; a queue or exchange of such a name is deleted at the end."""
    made = []

    def make(what="queue"):
        made.append(f"interop.{what}.{os.getpid()}.{next(_names)}")
        return made[-1]

    yield make
    with shared_broker.connect() as connection:
        cleaner = connection.channel()
        for entity in made:
            cleaner.queue_delete(entity)
            cleaner.exchange_delete(entity)


@pytest.fixture
def connect(shared_broker, name):
    """Makes connections to the shared broker and closes those that are still open at the end, before `name` cleans up."""
    connections = []

    def make(**overrides):
        connections.append(shared_broker.connect(**overrides))
        return connections[-1]

    yield make
    for connection in connections:
        if connection.is_open:
            with contextlib.suppress(pika.exceptions.AMQPError):
                connection.close()


@pytest.fixture
def channel(connect):
    """A channel on a connection of its own."""
    return connect().channel()


@pytest.fixture
def eventually():
    """`eventually(connections, condition)` serves the connections until the condition holds."""

    def wait(connections, condition):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "it never happened"
            for connection in connections:
                connection.process_data_events(time_limit=0.01)

    return wait

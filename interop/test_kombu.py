"""kombu: a small task queue of its own, with a topic exchange, priorities and requeues."""

import socket

import kombu
import pytest
from kombu.mixins import ConsumerProducerMixin

from broker import PATIENCE


class Server(ConsumerProducerMixin):
    """Answers requests to their `reply_to`; the first attempt at each is requeued."""

    def __init__(self, connection, queue, count):
        self.connection = connection
        self.queue = queue
        self.left = count

    def get_consumers(self, consumer, channel):
        return [consumer(queues=[self.queue], on_message=self.answer, prefetch_count=1)]

    def answer(self, message):
        if not message.delivery_info["redelivered"]:
            message.requeue()
            return
        reply = {"square": message.payload["number"] ** 2}
        properties = message.properties
        self.producer.publish(
            reply, exchange="", routing_key=properties["reply_to"], correlation_id=properties["correlation_id"]
        )
        message.ack()
        self.left -= 1
        self.should_stop = self.left == 0


def test_requests_and_replies(shared_broker, name):
    exchange = kombu.Exchange(name("exchange"), type="topic", durable=True)
    queue = kombu.Queue(name(), exchange, routing_key="math.#", max_priority=5)
    with kombu.Connection(f"amqp://guest:guest@{shared_broker.host}:{shared_broker.port}//") as client:
        replies = kombu.Queue(name(), exclusive=True)
        answered = {}
        producer = client.Producer()
        with client.Consumer([replies], accept=["json"], no_ack=True) as consumer:
            consumer.register_callback(lambda body, message: answered.update({message.properties["correlation_id"]: body}))
            for number in range(10):
                producer.publish(
                    {"number": number}, exchange=exchange, routing_key="math.square", declare=[queue],
                    reply_to=replies.name, correlation_id=str(number), priority=number % 6, retry=True,
                )
            with kombu.Connection(client.as_uri(include_password=True)) as server:
                for _ in Server(server, queue, 10).consume(limit=None, timeout=PATIENCE):
                    pass
            while len(answered) < 10:
                client.drain_events(timeout=PATIENCE)
        assert answered == {str(number): {"square": number**2} for number in range(10)}
        with pytest.raises(socket.timeout):
            client.drain_events(timeout=0.1)

"""aio-pika: a robust connection goes on by itself when the broker has been restarted."""

import asyncio

import aio_pika

from broker import PATIENCE


def test_a_robust_connection_survives_a_restart(own_broker):
    asyncio.run(asyncio.wait_for(scenario(own_broker), 3 * PATIENCE))


async def scenario(broker):
    url = f"amqp://guest:guest@{broker.host}:{broker.port}/?reconnect_interval=0.1"
    connection = await aio_pika.connect_robust(url)
    async with connection:
        channel = await connection.channel(publisher_confirms=True)
        await channel.set_qos(prefetch_count=5)
        exchange = await channel.declare_exchange("jobs", aio_pika.ExchangeType.DIRECT, durable=True)
        queue = await channel.declare_queue("jobs", durable=True)
        await queue.bind(exchange, "job")
        received = asyncio.Queue()
        await queue.consume(lambda message: received.put(message))
        reconnected = asyncio.Event()
        connection.reconnect_callbacks.add(lambda *_: reconnected.set())

        await publish(exchange, "before")
        before = await received.get()
        assert before.body == b"before"
        await asyncio.to_thread(broker.kill)
        await asyncio.to_thread(broker.start)
        await reconnected.wait()
        # It was not acknowledged: it comes again, to the consumer that the client has made anew.
        again = await received.get()
        assert (again.body, again.redelivered) == (b"before", True)
        await again.ack()
        await publish(exchange, "after")
        after = await received.get()
        assert after.body == b"after"
        await after.ack()


async def publish(exchange, body):
    message = aio_pika.Message(body.encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    await exchange.publish(message, routing_key="job", timeout=PATIENCE)

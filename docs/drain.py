#!/usr/bin/env python3
"""Moves the messages of queues from one AMQP broker to another, in order: drain.py --from URL --to URL QUEUE...

Needs pika. A batch is acknowledged at the old broker after the new one has committed it, so a message may come twice if this is
interrupted, and is never lost. It ends when a queue has been empty for as long as --idle says; without --idle it goes on until it is
interrupted, which is how the last clients of the old broker are waited for."""

import argparse
import sys

import pika

#: What quorum queues say of a delivery; the new broker counts for itself.
OF_THE_DELIVERY = {"x-delivery-count", "x-acquired-count"}


def drain(old, new, queue, batch, idle):
    """Moves messages until the queue stays empty; returns how many."""
    moved = 0
    lost = []
    new.add_on_return_callback(lambda _channel, method, _properties, _body: lost.append(method.reply_text))
    new.tx_select()
    old.basic_qos(prefetch_count=batch)
    waiting = 0
    tag = None
    for method, properties, body in old.consume(queue, inactivity_timeout=idle if idle else 1.0):
        if method is not None:
            headers = {name: value for name, value in (properties.headers or {}).items() if name not in OF_THE_DELIVERY}
            properties.headers = headers or None
            # The default exchange: it is the queue that is copied, not what was routed to it.
            new.basic_publish("", queue, body, properties, mandatory=True)
            waiting, tag = waiting + 1, method.delivery_tag
        if waiting and (method is None or waiting == batch):
            new.tx_commit()
            if lost:
                sys.exit(f"{queue}: the new broker has no such queue: {lost[0]}")
            old.basic_ack(tag, multiple=True)
            moved, waiting = moved + waiting, 0
            print(f"{queue}: {moved} messages", flush=True)
        elif method is None and idle:
            break
    old.cancel()
    return moved


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--from", dest="old", required=True, metavar="URL")
    parser.add_argument("--to", dest="new", required=True, metavar="URL")
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--idle", type=float, help="seconds without a message after which a queue is done")
    parser.add_argument("queues", nargs="+", metavar="QUEUE")
    arguments = parser.parse_args()
    old = pika.BlockingConnection(pika.URLParameters(arguments.old))
    new = pika.BlockingConnection(pika.URLParameters(arguments.new))
    for queue in arguments.queues:
        moved = drain(old.channel(), new.channel(), queue, arguments.batch, arguments.idle)
        print(f"{queue}: done, {moved} messages")


if __name__ == "__main__":
    main()

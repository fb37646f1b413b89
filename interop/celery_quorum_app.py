"""Celery as its manual has it for RabbitMQ 4: quorum queues, and tasks of the future kept in the broker by queues with times to live.

Results are files, because chords need a place where all workers find them; `RINGMQ_INTEROP_RESULTS` names the directory."""

import os

from celery import Celery

QUEUE = "interop.celery.quorum"

app = Celery("interop_quorum", broker=os.environ.get("RINGMQ_INTEROP_URL"))
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={"confirm_publish": True},
    result_backend=f"file://{os.environ.get('RINGMQ_INTEROP_RESULTS', '/nonexistent')}",
    result_chord_retry_interval=0.1,
    task_acks_late=True,
    task_default_exchange=QUEUE,
    task_default_exchange_type="topic",
    task_default_queue=QUEUE,
    task_default_queue_type="quorum",
    task_default_routing_key=QUEUE,
    task_reject_on_worker_lost=True,
    worker_detect_quorum_queues=True,
)


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task(bind=True)
def die_once(self, attempts):
    """Kills its own process at the first attempt, as running out of memory would."""
    with open(attempts, "a", encoding="utf-8") as file:
        print("attempt", file=file)
    if not self.request.delivery_info["redelivered"]:
        os.kill(os.getpid(), 9)
    return "done"

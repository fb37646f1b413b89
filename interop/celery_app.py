"""The Celery application of `test_celery.py`: its workers import it, the test sends its tasks."""

import os
import time
from datetime import datetime, timezone

from celery import Celery
from kombu import Queue

app = Celery("interop", broker=os.environ.get("RINGMQ_INTEROP_URL"), backend="rpc://")
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_default_queue="interop.celery",
    task_queues=[Queue("interop.celery"), Queue("interop.celery.priority", queue_arguments={"x-max-priority": 10})],
    task_send_sent_event=True,
    worker_prefetch_multiplier=1,
    worker_send_task_events=True,
)


@app.task
def add(x, y):
    return x + y


@app.task(bind=True, max_retries=5, default_retry_delay=0)
def succeed_on_attempt(self, attempt):
    """Fails until this attempt, counted from 1."""
    if self.request.retries + 1 < attempt:
        raise self.retry()
    return self.request.retries + 1


@app.task(bind=True)
def early(self):
    """Seconds by which the task runs before its time; negative if after it."""
    return (datetime.fromisoformat(self.request.eta) - datetime.now(timezone.utc)).total_seconds()


@app.task
def note(path, line):
    """Appends a line to a file."""
    with open(path, "a", encoding="utf-8") as file:
        print(line, file=file)


@app.task(bind=True, acks_late=True)
def outlive(self, started, release):
    """Says who runs it and ends when the file `release` is there."""
    with open(started, "a", encoding="utf-8") as file:
        print(self.request.hostname, file=file)
    while not os.path.exists(release):
        time.sleep(0.02)
    return self.request.hostname

"""Celery's promises, kept over this broker: real workers with prefork pools, results through `rpc://`.

`RINGMQ_INTEROP_TASKS` is the number of tasks of the last test."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
from celery import chain, group

import celery_app
from broker import PATIENCE
from celery_app import add, app, early, note, outlive, succeed_on_attempt

TASKS = int(os.environ.get("RINGMQ_INTEROP_TASKS", "1000"))
WAIT = 3 * PATIENCE


def celery(url, log, *arguments):
    """Starts a `celery` command in a process group of its own."""
    environment = dict(os.environ, RINGMQ_INTEROP_URL=url, PYTHONUNBUFFERED="1", C_FORCE_ROOT="1")
    command = [sys.executable, "-m", "celery", "-A", "celery_app", *arguments]
    with open(log, "ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)


def end(process, by=signal.SIGKILL):
    """Ends a process with all its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, by)
    process.wait(WAIT)


def until(condition, what):
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, f"{what}: it never happened"
        time.sleep(0.02)


def lines(path):
    return path.read_text().split() if path.exists() else []


@pytest.fixture(scope="module")
def url(shared_broker):
    url = f"amqp://guest:guest@{shared_broker.host}:{shared_broker.port}//"
    app.conf.broker_url = url
    return url


@pytest.fixture
def worker(url, tmp_path):
    """Starts workers: `worker(name, *flags)`; they are ended with the test."""
    started = []

    def start(name, *flags):
        flags = ("--pool", "prefork", "--loglevel", "INFO", "-n", f"{name}@interop", *flags)
        process = celery(url, tmp_path / f"{name}.log", "worker", *flags)
        started.append(process)
        ready = f"{name}@interop ready."
        until(lambda: ready in (tmp_path / f"{name}.log").read_text() or process.poll() is not None, f"worker {name}")
        assert process.poll() is None, (tmp_path / f"{name}.log").read_text()
        return process

    yield start
    for process in started:
        end(process)
    with app.connection_for_write() as connection:
        for queue in app.conf.task_queues:
            connection.default_channel.queue_delete(queue.name)


def test_results_retries_times_groups_chains_control(worker):
    worker("one", "--concurrency", "2", "-Q", "interop.celery")
    assert add.delay(2, 3).get(timeout=WAIT) == 5
    assert succeed_on_attempt.delay(3).get(timeout=WAIT) == 3
    assert early.apply_async(countdown=0.3).get(timeout=WAIT) <= 0
    assert group(add.s(i, i) for i in range(20))().get(timeout=WAIT) == [2 * i for i in range(20)]
    assert chain(add.s(1, 2), add.s(10), add.s(100))().get(timeout=WAIT) == 113
    inspect = app.control.inspect(timeout=PATIENCE, limit=1)
    assert inspect.ping() == {"one@interop": {"ok": "pong"}}
    assert "one@interop" in inspect.stats()


def test_active_tasks_are_told(worker, tmp_path):
    worker("one", "--concurrency", "1", "-Q", "interop.celery")
    started, release = tmp_path / "started", tmp_path / "release"
    result = outlive.delay(str(started), str(release))
    until(lambda: lines(started), "the task starts")
    active = app.control.inspect(timeout=PATIENCE, limit=1).active()
    assert [task["id"] for task in active["one@interop"]] == [result.id]
    release.touch()
    assert result.get(timeout=WAIT) == "one@interop"


def test_higher_priorities_run_first(worker, tmp_path):
    order = tmp_path / "order"
    with app.connection_for_write() as connection:
        app.amqp.queues["interop.celery.priority"](connection.default_channel).declare()
    for priority in (0, 5, 9, 1, 7):
        note.apply_async((str(order), str(priority)), queue="interop.celery.priority", priority=priority)
    worker("one", "--concurrency", "1", "-Q", "interop.celery.priority")
    until(lambda: len(lines(order)) == 5, "five tasks")
    assert lines(order) == ["9", "7", "5", "1", "0"]


def test_events_are_dumped(url, worker, tmp_path):
    worker("one", "--concurrency", "1", "-Q", "interop.celery", "-E")
    log = tmp_path / "events.log"
    dump = celery(url, log, "events", "--dump")
    try:
        # The dump's queue is there when the first heartbeat of the worker arrives.
        until(lambda: "one@interop" in log.read_text(), "a heartbeat")
        result = add.delay(1, 1)
        assert result.get(timeout=WAIT) == 2
        for event in ("task received", "task started", "task succeeded"):
            until(lambda: any(event in line and result.id in line for line in log.read_text().splitlines()), event)
    finally:
        end(dump)


def test_a_killed_workers_task_is_done_by_another(worker, tmp_path):
    started, release = tmp_path / "started", tmp_path / "release"
    first = worker("one", "--concurrency", "1", "-Q", "interop.celery")
    result = outlive.delay(str(started), str(release))
    until(lambda: lines(started) == ["one@interop"], "the task starts")
    end(first)
    worker("two", "--concurrency", "1", "-Q", "interop.celery")
    until(lambda: lines(started) == ["one@interop", "two@interop"], "the task starts again")
    release.touch()
    assert result.get(timeout=WAIT) == "two@interop"


@pytest.mark.timeout(600)
def test_no_task_is_lost(worker):
    worker("one", "--concurrency", "2", "-Q", "interop.celery", "--prefetch-multiplier", "50")
    results = [add.delay(i, 1) for i in range(TASKS)]
    assert [result.get(timeout=300) for result in results] == [i + 1 for i in range(TASKS)]
    assert celery_app.app.control.inspect(timeout=PATIENCE, limit=1).reserved() == {"one@interop": []}

"""Celery's promises, kept over this broker: real workers with prefork pools, results through `rpc://`; chords, whose results are
files, on quorum queues.

`RINGMQ_INTEROP_TASKS` is the number of tasks of the last test."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import kombu
import pytest
from celery import chain, chord, group
from kombu.transport.native_delayed_delivery import CELERY_DELAYED_DELIVERY_EXCHANGE, MAX_LEVEL, level_name

import celery_app
import celery_quorum_app
from broker import PATIENCE
from celery_app import add, app, early, note, outlive, succeed_on_attempt

TASKS = int(os.environ.get("RINGMQ_INTEROP_TASKS", "1000"))
WAIT = 3 * PATIENCE


def celery(url, log, *arguments, application="celery_app", **variables):
    """Starts a `celery` command in a process group of its own."""
    environment = dict(os.environ, RINGMQ_INTEROP_URL=url, PYTHONUNBUFFERED="1", C_FORCE_ROOT="1", **variables)
    command = [sys.executable, "-m", "celery", "-A", application, *arguments]
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
def worker_at(tmp_path):
    """Starts workers: `worker_at(url, name, *flags)`; they are ended with the test."""
    started = []

    def start(url, name, *flags, **how):
        flags = ("--pool", "prefork", "--loglevel", "INFO", "-n", f"{name}@interop", *flags)
        log = tmp_path / f"{name}.log"
        process = celery(url, log, "worker", *flags, **how)
        started.append(process)
        until(lambda: f"{name}@interop ready." in log.read_text() or process.poll() is not None, f"worker {name}")
        assert process.poll() is None, log.read_text()
        return process

    yield start
    for process in started:
        end(process)


@pytest.fixture
def worker(url, worker_at):
    """Starts workers at the shared broker: `worker(name, *flags)`."""
    yield lambda name, *flags: worker_at(url, name, *flags)
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


def test_the_command_line_controls_a_worker(url, worker, tmp_path):
    worker("one", "--concurrency", "1", "-Q", "interop.celery")

    def command(*arguments):
        log = tmp_path / "command.log"
        process = celery(url, log, *arguments, "--timeout", str(PATIENCE), "--destination", "one@interop")
        assert process.wait(WAIT) == 0, log.read_text()
        return log.read_text()

    assert "pong" in command("inspect", "ping")
    assert "celery_app.add" in command("inspect", "registered")
    # A queue more, while the worker runs.
    with app.connection_for_write() as connection:
        app.amqp.queues["interop.celery.priority"](connection.default_channel).declare()
    command("control", "add_consumer", "interop.celery.priority")
    assert "interop.celery.priority" in command("inspect", "active_queues")
    assert add.apply_async((4, 5), queue="interop.celery.priority").get(timeout=WAIT) == 9


def test_a_revoked_task_is_not_run(worker, tmp_path):
    worker("one", "--concurrency", "1", "-Q", "interop.celery", "--prefetch-multiplier", "4")
    order = tmp_path / "order"
    later = note.apply_async((str(order), "revoked"), countdown=3600)
    inspect = app.control.inspect(timeout=PATIENCE, limit=1)
    until(lambda: [task["request"]["id"] for task in inspect.scheduled()["one@interop"]] == [later.id], "it is scheduled")
    assert app.control.revoke(later.id, reply=True, timeout=PATIENCE, limit=1)
    assert inspect.revoked() == {"one@interop": [later.id]}
    assert add.delay(1, 2).get(timeout=WAIT) == 3
    assert lines(order) == []


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


@pytest.mark.timeout(180)
def test_a_worker_goes_on_when_the_broker_has_been_killed(own_broker, worker_at, tmp_path):
    url = f"amqp://guest:guest@{own_broker.host}:{own_broker.port}//"
    done = tmp_path / "done"

    def send(*numbers):
        with kombu.Connection(url, transport_options={"confirm_publish": True}) as connection:
            for number in numbers:
                note.apply_async((str(done), str(number)), connection=connection, ignore_result=True)

    worker_at(url, "one", "--concurrency", "2", "-Q", "interop.celery")
    send(*range(100))
    until(lambda: lines(done), "the first task")
    own_broker.kill()
    own_broker.start()
    send(100)
    # What was not acknowledged is done again.
    until(lambda: set(lines(done)) == {str(number) for number in range(101)}, "all tasks")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The directory of the results of tasks on quorum queues."""
    directory = str(tmp_path_factory.mktemp("results"))
    celery_quorum_app.app.conf.result_backend = f"file://{directory}"
    return directory


@pytest.fixture
def quorum_worker(url, worker_at, results):
    """Starts workers for quorum queues: `quorum_worker(name, *flags)`."""
    celery_quorum_app.app.conf.broker_url = url
    how = {"application": "celery_quorum_app", "RINGMQ_INTEROP_RESULTS": results}
    yield lambda name, *flags: worker_at(url, name, *flags, **how)
    with kombu.Connection(url) as connection:
        channel = connection.default_channel
        levels = [level_name(level) for level in range(MAX_LEVEL + 1)]
        for queue in (celery_quorum_app.QUEUE, *levels):
            channel.queue_delete(queue)
        for exchange in (celery_quorum_app.QUEUE, CELERY_DELAYED_DELIVERY_EXCHANGE, *levels):
            channel.exchange_delete(exchange)


def test_chords_on_quorum_queues(quorum_worker):
    quorum_worker("one", "--concurrency", "2")
    numbers = [celery_quorum_app.add.s(i, i) for i in range(20)]
    assert chord(numbers)(celery_quorum_app.total.s()).get(timeout=WAIT) == 2 * sum(range(20))
    nested = chord([chain(celery_quorum_app.add.s(1, 1), celery_quorum_app.add.s(1))] * 2, celery_quorum_app.total.s())
    assert (nested | celery_quorum_app.add.s(4)).delay().get(timeout=WAIT) == 10


def test_a_task_whose_process_dies_is_delivered_again(quorum_worker, tmp_path):
    quorum_worker("one", "--concurrency", "1")
    attempts = tmp_path / "attempts"
    assert celery_quorum_app.die_once.delay(str(attempts)).get(timeout=WAIT) == "done"
    assert lines(attempts) == ["attempt", "attempt"]


def test_the_broker_keeps_tasks_of_the_future_on_quorum_queues(url, quorum_worker):
    quorum_worker("one", "--concurrency", "1")
    result = celery_quorum_app.add.apply_async((1, 2), countdown=3)
    distant = celery_quorum_app.add.apply_async((1, 2), countdown=5 * 60)
    with kombu.Connection(url) as connection:
        channel = connection.default_channel

        def waiting(level):
            return channel.queue_declare(level_name(level), passive=True).message_count

        # Three seconds are two and one, five minutes begin with 256 seconds. The worker knows of neither.
        until(lambda: waiting(8) == 1, "a task waits in its queue")
        scheduled = celery_quorum_app.app.control.inspect(timeout=PATIENCE, limit=1).scheduled()
        assert scheduled == {"one@interop": []}
        assert result.get(timeout=WAIT) == 3
        assert not distant.ready() and waiting(8) == 1


@pytest.mark.timeout(600)
def test_no_task_is_lost(worker):
    worker("one", "--concurrency", "2", "-Q", "interop.celery", "--prefetch-multiplier", "50")
    results = [add.delay(i, 1) for i in range(TASKS)]
    assert [result.get(timeout=300) for result in results] == [i + 1 for i in range(TASKS)]
    assert celery_app.app.control.inspect(timeout=PATIENCE, limit=1).reserved() == {"one@interop": []}

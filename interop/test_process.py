"""The process: how it starts, refuses to start, stops, and what it tells of itself."""

import contextlib
import ctypes
import glob
import os
import resource
import signal
import socket
import struct
import subprocess

import pika
import pytest

from broker import PATIENCE


def failure(broker, before=None):
    """Runs a broker that must not start; returns what it says on standard error besides its log."""
    ended = subprocess.run(
        broker.command(), capture_output=True, text=True, timeout=PATIENCE, preexec_fn=before, check=False
    )
    assert ended.returncode == 1, ended
    (sentence,) = [line for line in ended.stderr.splitlines() if line.startswith("ringmq: ")]
    return sentence


def test_sigterm_closes_connections_with_320_and_ends_with_0(own_broker):
    connection = own_broker.connect()
    channel = connection.channel()
    channel.queue_declare("q")
    assert own_broker.stop(signal.SIGTERM) == 0
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as error:
        channel.queue_declare("q")
    assert error.value.reply_code == 320
    assert error.value.reply_text.startswith("CONNECTION_FORCED - ")


def test_sigint_stops_it_too(own_broker):
    assert own_broker.stop(signal.SIGINT) == 0


def test_the_start_up_log_says_what_runs_where(own_broker):
    log = own_broker.log()
    for part in ("version=", "shards=", own_broker.data_dir, str(own_broker.port), str(own_broker.metrics_port)):
        assert part in log, log


def test_a_port_that_is_taken_is_named(own_broker, unstarted):
    second = unstarted()
    second.port = own_broker.port
    assert failure(second) == f"ringmq: --amqp 127.0.0.1:{second.port}: the port is taken by another process"


def test_a_data_directory_in_use_is_refused(own_broker, unstarted):
    second = unstarted()
    second.data_dir = own_broker.data_dir
    assert failure(second) == f"ringmq: data directory {own_broker.data_dir} is in use by another broker"


def test_too_little_locked_memory_is_explained(unstarted):
    def little():
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (64 << 10, 64 << 10))

    sentence = failure(unstarted(), little)
    assert "64 KiB" in sentence and "512 KiB" in sentence and "ulimit -l" in sentence


def test_a_kernel_without_io_uring_is_explained(unstarted):
    sentence = failure(unstarted(), lambda: forbid_system_call(425, errno=38))
    assert "io_uring" in sentence and "Linux 5.8" in sentence


def test_a_machine_without_sys_will_do(unstarted):
    hidden = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /sys && exec "$@"', "sh"]
    if subprocess.run([*hidden, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("only root hides /sys")
    broker = unstarted("--shards", "2")
    command = broker.command()
    broker.command = lambda: [*hidden, *command]
    broker.start()
    channel = broker.connect().channel()
    channel.confirm_delivery()
    channel.queue_declare("q", durable=True)
    channel.basic_publish("", "q", b"kept", pika.BasicProperties(delivery_mode=2))
    broker.restart(signal.SIGKILL)
    assert not os.listdir(f"/proc/{broker.process.pid}/root/sys")
    assert broker.connect().channel().basic_get("q")[2] == b"kept"


def test_a_newer_data_directory_is_refused(unstarted):
    broker = unstarted()
    broker.start()
    broker.stop()
    path = f"{broker.data_dir}/ringmq.format"
    with open(path, encoding="utf-8") as file:
        text = file.read()
    assert "format 1\n" in text
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace("format 1\n", "format 999\n"))
    sentence = failure(broker)
    assert path in sentence and "format 999" in sentence and "up to format 1" in sentence


def test_no_thread_leaves_the_cpus_it_was_given(unstarted):
    broker = unstarted("--cpus", "0", "--shards", "2")
    broker.start()
    channel = broker.connect().channel()
    channel.queue_declare("q", durable=True)
    channel.confirm_delivery()
    channel.basic_publish("", "q", b"x", pika.BasicProperties(delivery_mode=2))
    broker.metric("rabbitmq_queues")
    lists = set()
    for status in glob.glob(f"/proc/{broker.process.pid}/task/*/status"):
        with open(status, encoding="utf-8") as file:
            lists |= {line.split()[1] for line in file if line.startswith("Cpus_allowed_list:")}
    assert lists == {"0"}


def test_metrics_count_what_clients_do(own_broker):
    connection = own_broker.connect()
    channel = connection.channel()
    channel.queue_declare("q", durable=True)
    channel.confirm_delivery()
    before = {
        name: own_broker.metric(name)
        for name in ("rabbitmq_global_messages_received_total", "rabbitmq_global_messages_confirmed_total")
    }
    for _ in range(5):
        channel.basic_publish("", "q", b"x", pika.BasicProperties(delivery_mode=2))
    channel.basic_get("q")
    channel.queue_declare("q", passive=True)
    assert own_broker.metric("rabbitmq_connections") == 1
    assert own_broker.metric("rabbitmq_channels") == 1
    assert own_broker.metric("rabbitmq_queues") == 1
    assert own_broker.metric("rabbitmq_queue_messages_ready") == 4
    assert own_broker.metric("rabbitmq_queue_messages_unacked") == 1
    for name, value in before.items():
        assert own_broker.metric(name) == value + 5
    assert own_broker.metric("rabbitmq_global_messages_delivered_get_manual_ack_total") == 1
    assert own_broker.metric("ringmq_log_syncs_total") >= 1


def test_the_watchdog_starves_while_a_shard_stands_still(unstarted, tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "100000")
        broker = unstarted("--shards", "2")
        broker.start()
        while notified.recv(4096) != b"WATCHDOG=1\n":
            pass
        with stopped_thread(broker.process.pid, "ringmq-shard"):
            notified.settimeout(1)
            with pytest.raises(TimeoutError):
                # At most the one that was due when the thread was stopped, and those not read yet.
                for _ in range(1000):
                    notified.recv(4096)
        notified.settimeout(PATIENCE)
        assert notified.recv(4096) == b"WATCHDOG=1\n"


@contextlib.contextmanager
def stopped_thread(pid, name):
    """Stops one thread of a child of this process, as a debugger does."""
    seize, interrupt, detach = 0x4206, 0x4207, 17
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long] * 4

    def ptrace(request):
        assert libc.ptrace(request, thread, 0, 0) == 0, os.strerror(ctypes.get_errno())

    threads = []
    for path in glob.glob(f"/proc/{pid}/task/*/comm"):
        with open(path, encoding="utf-8") as file:
            if file.read().startswith(name):
                threads.append(int(path.split("/")[4]))
    # The shard itself is older than the thread that it has for blocking calls.
    thread = min(threads)
    ptrace(seize)
    ptrace(interrupt)
    os.waitpid(thread, 0x40000000)  # __WALL
    try:
        yield
    finally:
        ptrace(detach)


def forbid_system_call(number, errno):
    """Makes a system call of this process and its children fail, by a seccomp filter."""
    load, jump_if_equal, give = 0x20, 0x15, 0x06
    program = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in [
            (load, 0, 0, 0),
            (jump_if_equal, 0, 1, number),
            (give, 0, 0, 0x0005_0000 | errno),
            (give, 0, 0, 0x7FFF_0000),
        ]
    )
    text = ctypes.create_string_buffer(program)
    filter_program = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(text))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, filter_program, 0, 0) == 0

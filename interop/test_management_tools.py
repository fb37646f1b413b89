"""Tools that were made for RabbitMQ's management API: the Python rabbitmqadmin, and Celery's Flower.

What rabbitmqadmin says is compared with what it says of RabbitMQ 4.0.5, command by command; see rabbitmqadmin_commands.py.
"""

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

import rabbitmqadmin_commands
from broker import PATIENCE, free_port

RABBITMQADMIN = os.environ.get("RINGMQ_INTEROP_RABBITMQADMIN")
HERE = os.path.dirname(__file__)

#: What RingMQ answers with other words than RabbitMQ; the exit codes are the same.
OTHER_WORDS = {
    "declare permission vhost=admin.v user=admin.u configure=* write=.* read=.*": "the words of another regex library",
    "@ get queue=q ackmode=nonsense": "RabbitMQ answers 500",
}


def check(answers, recorded):
    """Compares the answers of the broker with those recorded from RabbitMQ."""
    with open(os.path.join(HERE, recorded), encoding="utf-8") as file:
        expected = json.load(file)
    assert list(answers) == list(expected)
    for command, expect in expected.items():
        answer = answers[command]
        if command.split(" ", 1)[1] in OTHER_WORDS:
            assert answer["exit"] == expect["exit"], (command, answer)
        else:
            assert answer == expect, command


@pytest.mark.timeout(300)
@pytest.mark.skipif(RABBITMQADMIN is None, reason="rabbitmqadmin of Debian's rabbitmq-server is needed")
def test_rabbitmqadmin_v1(own_broker):
    address = own_broker.management().removeprefix("http://")
    check(rabbitmqadmin_commands.v1(RABBITMQADMIN, address), "rabbitmqadmin_v1.json")


def fetch(url):
    """The text at an address; empty while nobody answers there."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return answer.read().decode()
    except (urllib.error.URLError, ConnectionError):
        return ""


def test_flower_shows_the_queues(own_broker, tmp_path):
    with own_broker.connect() as connection:
        channel = connection.channel()
        channel.queue_declare("celery", durable=True)
        for _ in range(7):
            channel.basic_publish("", "celery", b"x")
    port = free_port()
    url = f"amqp://guest:guest@{own_broker.host}:{own_broker.port}//"
    command = [sys.executable, "-m", "celery", f"--broker={url}", "flower"]
    command += [f"--port={port}", f"--address={own_broker.host}"]
    command += [f"--broker-api={own_broker.management().replace('http://', 'http://guest:guest@')}/api/"]
    with open(tmp_path / "log", "w+", encoding="utf-8") as log:
        flower = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
        try:
            deadline = time.monotonic() + 3 * PATIENCE
            row = None
            while row is None:
                # Each look at the page asks the management API anew.
                page = fetch(f"http://{own_broker.host}:{port}/broker")
                row = re.search(r"<td>\s*celery\s*</td>(.*?)</tr>", page, re.DOTALL)
                if row is None:
                    assert flower.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
                    time.sleep(0.2)
            numbers = re.findall(r"<td[^>]*>\s*(\d+)\s*</td>", row.group(1))
            assert numbers == ["7", "0", "7", "0"], row.group(0)
        finally:
            flower.kill()
            flower.wait()

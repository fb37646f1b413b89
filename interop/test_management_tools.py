"""Tools that were made for RabbitMQ's management API: rabbitmqadmin, that in Python and version 2, and Celery's Flower.

What rabbitmqadmin says is compared with what it says of RabbitMQ 4.0.5, command by command; see rabbitmqadmin_commands.py and
rabbitmqadmin_v2_commands.py.
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
import rabbitmqadmin_v2_commands
from broker import PATIENCE, free_port

RABBITMQADMIN = os.environ.get("RINGMQ_INTEROP_RABBITMQADMIN")
HERE = os.path.dirname(__file__)

#: What RingMQ answers with other words than RabbitMQ; the exit codes are the same.
OTHER_WORDS = {
    "declare permission vhost=admin.v user=admin.u configure=* write=.* read=.*": "the words of another regex library",
    "@ get queue=q ackmode=nonsense": "RabbitMQ answers 500",
}


#: The same of version 2.
OTHER_WORDS_V2 = {
    "plugins list_all": "there are no plugins",
    "plugins list_on_node --node {node}": "there are no plugins",
    "feature_flags list": "there are none",
    "list feature_flags": "there are none",
    "deprecated_features list": "there are none",
    "list deprecated_features": "there are none",
    "vhosts declare --name admin.odd --default-queue-type nonsense": "RabbitMQ answers 500",
    "vhosts enable_deletion_protection --name admin.v": "404, where RabbitMQ 4.0 answers 405",
    "vhosts disable_deletion_protection --name admin.v": "404, where RabbitMQ 4.0 answers 405",
    "vhosts enable_deletion_protection --name admin.missing": "404, where RabbitMQ 4.0 answers 405",
    "@ permissions declare --username admin.u --configure * --read .* --write .*": "the words of another regex library",
    "@ exchanges declare --name plugin --type x-delayed-message": "the type is there, and wants an argument",
    "@ get messages --queue q --ack-mode nonsense": "RabbitMQ answers 500",
    """@ policies declare --name wrong --pattern ( --apply-to queues --definition '{"max-length":1}'""": "another regex library",
    '@ exchanges delete --name ""': "RabbitMQ answers without a body",
}

#: What works with RabbitMQ and fails here, and why.
ABSENT_V2 = {
    "show memory_breakdown_in_bytes --node {node}": "it is about an Erlang node",
    "feature_flags enable --name quorum_queue": "there are no feature flags",
}


def check(answers, recorded, other_words, absent=()):
    """Compares the answers of the broker with those recorded from RabbitMQ."""
    with open(os.path.join(HERE, recorded), encoding="utf-8") as file:
        expected = json.load(file)
    assert list(answers) == list(expected)
    for command, expect in expected.items():
        answer, line = answers[command], command.split(" ", 1)[1]
        if line in absent:
            assert expect["exit"] == 0 and answer["exit"] != 0, (command, answer)
        elif line in other_words:
            assert answer["exit"] == expect["exit"], (command, answer)
            assert answer != expect, f"{command} need not be an exception any more"
        else:
            assert answer == expect, command


@pytest.mark.timeout(300)
@pytest.mark.skipif(RABBITMQADMIN is None, reason="rabbitmqadmin of Debian's rabbitmq-server is needed")
def test_rabbitmqadmin_v1(own_broker):
    address = own_broker.management().removeprefix("http://")
    check(rabbitmqadmin_commands.v1(RABBITMQADMIN, address), "rabbitmqadmin_v1.json", OTHER_WORDS)


@pytest.mark.timeout(600)
def test_rabbitmqadmin_v2(own_broker):
    address = own_broker.management().removeprefix("http://")
    program = os.environ["RINGMQ_INTEROP_RABBITMQADMIN_V2"]
    check(rabbitmqadmin_v2_commands.v2(program, address), "rabbitmqadmin_v2.json", OTHER_WORDS_V2, ABSENT_V2)


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

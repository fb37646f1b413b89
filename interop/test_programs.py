"""Programs that are not Python's: Node's amqplib, and the command line tools of rabbitmq-c."""

import os
import shutil
import subprocess

import pytest

from broker import PATIENCE

MODULES = os.environ.get("RINGMQ_INTEROP_NODE_MODULES")


@pytest.fixture
def url(shared_broker):
    return f"amqp://guest:guest@{shared_broker.host}:{shared_broker.port}"


@pytest.mark.skipif(MODULES is None, reason="npm is needed (Debian: nodejs, npm)")
def test_amqplib(url, name):
    program = os.path.join(os.path.dirname(__file__), "amqplib_program.js")
    environment = dict(os.environ, NODE_PATH=MODULES)
    done = subprocess.run(["node", program, url, name("amqplib.")], env=environment, timeout=2 * PATIENCE, check=False)
    assert done.returncode == 0


@pytest.mark.skipif(shutil.which("amqp-publish") is None, reason="amqp-publish is needed (Debian: amqp-tools)")
def test_amqp_tools(url, name):
    def tool(program, *arguments, given=None, ends_with=0):
        command = [f"amqp-{program}", "--url", url, *arguments]
        done = subprocess.run(command, input=given, capture_output=True, timeout=2 * PATIENCE, check=False)
        assert done.returncode == ends_with, done.stderr
        return done.stdout

    queue = name()
    assert tool("declare-queue", "-q", queue).strip() == queue.encode()
    tool("publish", "-r", queue, "-b", "hello", "-p", "-C", "text/plain")
    assert tool("get", "-q", queue) == b"hello"
    tool("get", "-q", queue, ends_with=2)
    numbers = b"".join(b"%d\n" % number for number in range(20))
    tool("publish", "-r", queue, "-l", given=numbers)
    assert b"".join(tool("consume", "-q", queue, "-c", "20", "cat").split()) == numbers.replace(b"\n", b"")
    tool("delete-queue", "-q", queue)

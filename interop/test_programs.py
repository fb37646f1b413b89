"""Programs that are not Python's: Node's amqplib, Go's amqp091, the Java client, and the command line tools of rabbitmq-c."""

import os
import shutil
import subprocess

import pytest

from broker import PATIENCE

HERE = os.path.dirname(__file__)
MODULES = os.environ.get("RINGMQ_INTEROP_NODE_MODULES")
#: Where Debian's packages put the sources of Go's libraries and the jars of Java's.
GO_PATH = "/usr/share/gocode"
JARS = [f"/usr/share/java/{name}.jar" for name in ("amqp-client", "slf4j-api", "slf4j-nop")]


@pytest.fixture
def url(shared_broker):
    return f"amqp://guest:guest@{shared_broker.host}:{shared_broker.port}"


@pytest.mark.skipif(MODULES is None, reason="npm is needed (Debian: nodejs, npm)")
def test_amqplib(url, name):
    program = os.path.join(HERE, "amqplib_program.js")
    environment = dict(os.environ, NODE_PATH=MODULES)
    done = subprocess.run(["node", program, url, name("amqplib.")], env=environment, timeout=2 * PATIENCE, check=False)
    assert done.returncode == 0


@pytest.mark.skipif(
    shutil.which("go") is None or not os.path.isdir(f"{GO_PATH}/src/github.com/rabbitmq/amqp091-go"),
    reason="Go and its client are needed (Debian: golang-go, golang-github-rabbitmq-amqp091-go-dev)",
)
@pytest.mark.timeout(600)
def test_go(url, name, tmp_path):
    program = str(tmp_path / "program")
    offline = {"GO111MODULE": "off", "GOPATH": GO_PATH, "GOFLAGS": "", "GOCACHE": str(tmp_path / "cache")}
    source = os.path.join(HERE, "amqp091_program.go")
    subprocess.run(["go", "build", "-o", program, source], env=dict(os.environ, **offline), check=True)
    done = subprocess.run([program, url, name("go.")], timeout=5 * PATIENCE, check=False)
    assert done.returncode == 0


def java(url, prefix, what, **options):
    program = os.path.join(HERE, "JavaClientProgram.java")
    return subprocess.Popen(["java", "-cp", ":".join(JARS), program, url, prefix, what], **options)


needs_java = pytest.mark.skipif(
    shutil.which("javac") is None or not all(map(os.path.exists, JARS)),
    reason="Java and its client are needed (Debian: default-jdk-headless, librabbitmq-client-java, libslf4j-java)",
)


@needs_java
@pytest.mark.timeout(300)
def test_java(url, name):
    assert java(url, name("java."), "work").wait(10 * PATIENCE) == 0


@needs_java
@pytest.mark.timeout(300)
def test_java_recovers_when_the_broker_has_been_killed(own_broker):
    url = f"amqp://guest:guest@{own_broker.host}:{own_broker.port}"
    program = java(url, "java.", "recover", stdout=subprocess.PIPE)
    assert program.stdout.readline().strip() == b"ready"
    own_broker.kill()
    own_broker.start()
    assert program.wait(10 * PATIENCE) == 0


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

"""The broker under test: a process of ours on free loopback ports, or one that runs already."""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request

import pika

#: Seconds after which something that has not happened is taken as never happening. No test measures time.
PATIENCE = 20


class Broker:
    """One ringmq process and its data directory. `restart` and `kill` keep the data and the ports."""

    def __init__(self, binary, data_dir, *flags):
        self.binary = binary
        self.data_dir = data_dir
        self.flags = list(flags)
        self.host = "127.0.0.1"
        self.port = free_port()
        self.metrics_port = free_port()
        self.log_path = os.path.join(os.path.dirname(data_dir), "broker.log")
        self.process = None

    def start(self):
        """Starts the process and returns when it accepts AMQP connections."""
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while True:
            if self.process.poll() is not None:
                raise AssertionError(f"the broker ended with {self.process.returncode}:\n{self.log()}")
            try:
                self.connect().close()
                return self
            except pika.exceptions.AMQPConnectionError:
                if time.monotonic() > deadline:
                    raise AssertionError(f"the broker does not accept connections:\n{self.log()}") from None
                time.sleep(0.02)

    def command(self):
        """The command line that `start` runs."""
        addresses = ["--amqp", f"{self.host}:{self.port}", "--metrics", f"{self.host}:{self.metrics_port}"]
        return [self.binary, "--data-dir", self.data_dir, *addresses, "--http", f"{self.host}:0", *self.flags]

    def stop(self, by=signal.SIGTERM):
        """Sends the process a signal and returns its exit code."""
        if self.process is None:
            return None
        process, self.process = self.process, None
        process.send_signal(by)
        try:
            return process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the broker did not end after {signal.Signals(by).name}:\n{self.log()}") from None

    def kill(self):
        """Ends the process as a crash would."""
        return self.stop(signal.SIGKILL)

    def restart(self, by=signal.SIGTERM):
        """Stops the process by a signal and starts it again on the same data."""
        self.stop(by)
        return self.start()

    def log(self):
        """What the process has logged so far."""
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def management(self):
        """The address of the management port: `http://host:port`."""
        deadline = time.monotonic() + PATIENCE
        while not (ready := re.findall(r" ready .*http=(\S+)", self.log())):
            assert time.monotonic() < deadline, f"the broker is not ready:\n{self.log()}"
            time.sleep(0.02)
        return f"http://{ready[-1]}"

    def api(self, method, path, body=None, user="guest"):
        """Asks the management API as a user whose password is the name; the answer, parsed."""
        authorization = base64.b64encode(f"{user}:{user}".encode()).decode()
        request = urllib.request.Request(
            f"{self.management()}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"Basic {authorization}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def metric(self, name):
        """The sum of a metric over its labels."""
        with urllib.request.urlopen(f"http://{self.host}:{self.metrics_port}/metrics", timeout=PATIENCE) as answer:
            text = answer.read().decode()
        values = re.findall(rf"^{re.escape(name)}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
        assert values, f"no metric {name} in\n{text}"
        return sum(float(value) for value in values)

    def parameters(self, **overrides):
        """pika's connection parameters for this broker."""
        overrides.setdefault("credentials", pika.PlainCredentials("guest", "guest"))
        return pika.ConnectionParameters(self.host, self.port, **overrides)

    def connect(self, **overrides):
        """A new blocking connection."""
        return pika.BlockingConnection(self.parameters(**overrides))


class RunningBroker(Broker):
    """A broker that somebody else started: tests that stop it or read its metrics cannot run."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.host = host
        self.port = int(port)
        self.process = None


def free_port():
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

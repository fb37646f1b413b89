"""The dashboards, as Grafana would draw them: a Prometheus server scrapes a broker at work with our configuration, and every
expression has to have values."""

import contextlib
import json
import math
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pika
import pytest

from broker import PATIENCE, Broker, free_port

pytestmark = [
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is needed (Debian: prometheus)"),
    # Rates need several scrapes, a second apart.
    pytest.mark.timeout(180),
]

DEPLOY = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "deploy")

#: What the panels of RabbitMQ-Overview draw, by how: rates, changes over the time that is shown, and gauges.
OVERVIEW = {
    "rate({}[60s])": [
        *(f"rabbitmq_global_messages_{what}_total" for what in (
            "received", "received_confirm", "confirmed", "routed", "unroutable_dropped", "unroutable_returned", "delivered",
            "delivered_consume_auto_ack", "delivered_consume_manual_ack", "delivered_get_auto_ack", "delivered_get_manual_ack",
            "get_empty", "redelivered", "acknowledged",
        )),
        *(f"rabbitmq_{what}_total" for what in (
            "queues_declared", "queues_created", "queues_deleted", "channels_opened", "channels_closed",
            "connections_opened", "connections_closed",
        )),
        # Editions for RabbitMQ before 3.9.
        *(f"rabbitmq_channel_messages_{what}_total" for what in (
            "published", "confirmed", "unroutable_dropped", "unroutable_returned", "delivered", "delivered_ack",
            "redelivered", "acked",
        )),
        "rabbitmq_channel_get_total", "rabbitmq_channel_get_ack_total", "rabbitmq_channel_get_empty_total",
        "rabbitmq_queue_messages_published_total", "rabbitmq_channel_messages_unconfirmed",
    ],
    "increase({}[5m])": [
        "rabbitmq_message_size_bytes_sum",
        "rabbitmq_message_size_bytes_count",
        *(f'rabbitmq_message_size_bytes_bucket{{le="{bound}"}}' for bound in (
            "100", "1000", "10000", "100000", "1000000", "10000000", "50000000", "100000000", "+Inf",
        )),
    ],
    "{}": [
        "rabbitmq_queue_messages_ready", "rabbitmq_queue_messages_unacked", "rabbitmq_queues", "rabbitmq_connections",
        "rabbitmq_channels", "rabbitmq_channel_consumers", "rabbitmq_global_publishers", "rabbitmq_global_consumers",
        "rabbitmq_resident_memory_limit_bytes", "rabbitmq_process_resident_memory_bytes",
        "rabbitmq_disk_space_available_bytes", "rabbitmq_process_max_fds", "rabbitmq_process_open_fds",
        "rabbitmq_build_info", "rabbitmq_erlang_uptime_seconds",
    ],
}


class Prometheus:
    """A server with the configuration of deploy/, which scrapes a broker every second."""

    def __init__(self, directory, broker):
        self.port = free_port()
        with open(os.path.join(DEPLOY, "prometheus", "prometheus.yml"), encoding="utf-8") as file:
            text = file.read()
        text = re.sub(r"(interval): \d+s", r"\1: 1s", text).replace("localhost:15692", f"{broker.host}:{broker.metrics_port}")
        assert str(broker.metrics_port) in text
        (directory / "prometheus.yml").write_text(text, encoding="utf-8")
        shutil.copy(os.path.join(DEPLOY, "prometheus", "ringmq-alerts.yml"), directory)
        command = [
            "prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/tsdb",
            f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=error",
        ]
        with open(directory / "log", "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def wait(self):
        """Returns when it answers."""
        deadline = time.monotonic() + 2 * PATIENCE
        while not self.is_ready():
            assert self.process.poll() is None and time.monotonic() < deadline, "Prometheus does not answer"
            time.sleep(0.1)

    def is_ready(self):
        """Whether it answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=PATIENCE):
                return True
        except OSError:
            return False

    def get(self, path, **parameters):
        """An answer of the API."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def values(self, expression):
        """The values of an expression now that are numbers."""
        result = self.get("query", query=expression)["result"]
        return [value for value in (float(series["value"][1]) for series in result) if not math.isnan(value)]

    def label(self, metric, label):
        """The one value of a label of a metric: Grafana's `label_values`."""
        (value,) = self.get(f"label/{label}/values", **{"match[]": metric})
        return value

    def stop(self):
        """Ends the server."""
        self.process.terminate()
        self.process.wait(PATIENCE)


class Load:
    """A client that does a little of everything."""

    def __init__(self, broker):
        self.broker = broker
        self.connection = broker.connect()
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()
        self.channel.queue_declare("work", durable=True)
        self.consuming = self.connection.channel()
        self.consuming.queue_declare("eager")
        self.consuming.basic_qos(prefetch_count=1)
        self.consuming.basic_consume("work", lambda channel, method, *_: channel.basic_ack(method.delivery_tag))
        self.consuming.basic_consume("eager", lambda *_: None, auto_ack=True)

    def work(self):
        """One round."""
        persistent = pika.BasicProperties(delivery_mode=2)
        for _ in range(5):
            self.channel.basic_publish("", "work", b"x" * 200, persistent)
            self.channel.basic_publish("", "eager", b"x")
        self.channel.basic_publish("", "nowhere", b"x")
        with pytest.raises(pika.exceptions.UnroutableError):
            self.channel.basic_publish("", "nowhere", b"x", mandatory=True)
        with self.broker.connect() as other:
            channel = other.channel()
            channel.queue_declare("brief")
            channel.basic_publish("", "brief", b"x")
            channel.basic_publish("", "brief", b"x")
            channel.basic_get("brief", auto_ack=True)
            channel.basic_nack(channel.basic_get("brief")[0].delivery_tag)
            channel.basic_ack(channel.basic_get("brief")[0].delivery_tag)
            channel.basic_get("brief")
            channel.queue_delete("brief")
        self.connection.process_data_events(time_limit=0.1)

    def until(self, condition, what):
        """Works until a condition holds."""
        deadline = time.monotonic() + 4 * PATIENCE
        while not condition():
            assert time.monotonic() < deadline, what()
            self.work()


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A broker at work, and the Prometheus that watches it."""
    binary = os.environ.get("RINGMQ_INTEROP_BINARY")
    if binary is None:
        pytest.skip("RINGMQ_INTEROP_BINARY is not set: this test needs a broker process of its own")
    with contextlib.ExitStack() as ending:
        broker = Broker(binary, str(tmp_path_factory.mktemp("watched") / "data")).start()
        ending.callback(broker.kill)
        prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), broker)
        ending.callback(prometheus.stop)
        prometheus.wait()
        load = Load(broker)
        ending.callback(load.connection.close)
        # By both jobs, and often enough for rates.
        scraped = "count(count_over_time(rabbitmq_identity_info[1m]) > 2) == 2"
        load.until(lambda: prometheus.values(scraped), lambda: "the broker is never scraped")
        yield prometheus, load


def all_have_values(watched, expressions):
    """Works until every expression has values."""
    prometheus, load = watched
    empty = set(expressions)

    def ready():
        empty.difference_update([expression for expression in empty if prometheus.values(expression)])
        return not empty

    load.until(ready, lambda: "without values:\n" + "\n".join(sorted(empty)))


def test_every_panel_of_our_dashboard_has_values(watched):
    prometheus, _ = watched
    with open(os.path.join(DEPLOY, "grafana", "ringmq.json"), encoding="utf-8") as file:
        dashboard = json.load(file)
    variables = {"__rate_interval": "30s"}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            query = replaced(variable["definition"], variables)
            metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)", query).groups()
            variables[variable["name"]] = prometheus.label(metric, label)
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    expressions = [replaced(target["expr"], variables) for panel in panels for target in panel["targets"]]
    assert len(expressions) >= len(panels) > 20
    all_have_values(watched, expressions)


def replaced(text, variables):
    """A text with the values of its variables."""
    text = re.sub(r"\$(\w+)", lambda name: variables[name[1]], text)
    assert "$" not in text
    return text


def test_what_rabbitmqs_dashboard_draws_has_values(watched):
    prometheus, _ = watched
    cluster = prometheus.label("rabbitmq_identity_info", "rabbitmq_cluster")
    # No broker has a label `namespace` unless it is in Kubernetes; the dashboard asks for an empty one then.
    identity = f'rabbitmq_identity_info{{rabbitmq_cluster="{cluster}", namespace="", rabbitmq_endpoint="aggregated"}}'
    join = "* on(instance, job) group_left(rabbitmq_cluster, rabbitmq_node)"
    expressions = [
        f"sum({how.format(metric)} {join} {identity}) by(rabbitmq_node)"
        for how, metrics in OVERVIEW.items() for metric in metrics
    ]
    # Two counters of one panel are added and subtracted series by series: their labels have to be the same.
    for one, two, sign in (
        ("messages_delivered_consume_auto_ack", "messages_delivered_consume_manual_ack", "+"),
        ("messages_received_confirm", "messages_confirmed", "-"),
    ):
        sides = [f"rate(rabbitmq_global_{name}_total[60s]) {join} {identity}" for name in (one, two)]
        expressions.append(f"sum({sides[0]} {sign} {sides[1]}) by(rabbitmq_node)")
    expressions.append(
        "rabbitmq_erlang_uptime_seconds * on(instance, job) group_left(rabbitmq_version, erlang_version) rabbitmq_build_info "
        f"{join} {identity}"
    )
    all_have_values(watched, expressions)

"""TLS and WebSocket: pika and amqplib over TLS with and without client certificates, certificates by server name, HTTPS, and
cloudamqp's amqp-client over WebSocket, encrypted or not."""

import http.client
import os
import shutil
import ssl
import subprocess
import urllib.request

import pika
import pytest

from broker import PATIENCE, free_port

MODULES = os.environ.get("RINGMQ_INTEROP_NODE_MODULES")

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is needed (Debian: openssl)")
needs_node = pytest.mark.skipif(MODULES is None, reason="npm is needed (Debian: nodejs, npm)")


class Authority:
    """A certificate authority in a directory."""

    def __init__(self, directory):
        self.directory = directory
        self.run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                 "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")

    def run(self, *arguments):
        command = ["openssl", *arguments]
        done = subprocess.run(command, cwd=self.directory, capture_output=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, done.stderr

    def path(self, name):
        return os.path.join(self.directory, name)

    def issue(self, name, *hosts):
        """Makes NAME.pem and NAME.key for a common name and DNS names or addresses."""
        names = ",".join(f"IP:{host}" if host[0].isdigit() else f"DNS:{host}" for host in hosts) or "DNS:none.invalid"
        with open(self.path("extensions"), "w", encoding="ascii") as extensions:
            extensions.write(f"subjectAltName={names}\n")
        self.run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
                 "-keyout", f"{name}.key", "-out", f"{name}.csr")
        self.run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                 "-extfile", "extensions", "-out", f"{name}.pem")

    def context(self, client=None):
        """What a client needs to believe the authority, and its own certificate."""
        context = ssl.create_default_context(cafile=self.path("ca.pem"))
        if client is not None:
            context.load_cert_chain(self.path(f"{client}.pem"), self.path(f"{client}.key"))
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    made = Authority(tmp_path_factory.mktemp("authority"))
    made.issue("server", "localhost", "127.0.0.1")
    made.issue("other", "other.example.com")
    made.issue("wild", "*.wild.example.com")
    made.issue("guest")
    return made


@pytest.fixture
def encrypted(authority, unstarted):
    """Starts a broker that speaks everything over TLS and tells its ports by name; more configuration is given by name."""

    def start(**more):
        ports = {name: free_port() for name in ("amqps", "ws", "wss", "https")}
        options = {
            "ssl_options.cacertfile": authority.path("ca.pem"),
            "ssl_options.certfile": authority.path("server.pem"),
            "ssl_options.keyfile": authority.path("server.key"),
            **more,
        }
        flags = [flag for name, port in ports.items() for flag in (f"--{name}", f"127.0.0.1:{port}")]
        for key, value in options.items():
            flags += ["--set", f"{key}={value}"]
        unstarted(*flags).start()
        return ports

    return start


def connect(port, context, host="localhost", **parameters):
    options = pika.SSLOptions(context, host)
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port, ssl_options=options, **parameters))


def test_pika_over_tls(authority, encrypted):
    port = encrypted()["amqps"]
    with connect(port, authority.context()) as connection:
        channel = connection.channel()
        channel.queue_declare("q", durable=True)
        channel.confirm_delivery()
        for size in (0, 1, 16_384, 1_000_000):
            channel.basic_publish("", "q", b"x" * size, pika.BasicProperties(delivery_mode=2))
            assert channel.basic_get("q", auto_ack=True)[2] == b"x" * size
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(port, ssl.create_default_context())


def test_pika_logs_in_by_its_certificate(authority, encrypted):
    port = encrypted(**{
        "ssl_options.verify": "verify_peer",
        "ssl_options.fail_if_no_peer_cert": "true",
        "ssl_cert_login_from": "common_name",
        "auth_mechanisms": "EXTERNAL,PLAIN",
    })["amqps"]
    with connect(port, authority.context("guest"), credentials=pika.credentials.ExternalCredentials()) as connection:
        connection.channel().queue_declare("q")
    # TLS 1.3 tells a client only after its handshake that a certificate was missing.
    with pytest.raises((pika.exceptions.AMQPConnectionError, OSError)):
        connect(port, authority.context())


def test_certificates_are_chosen_by_the_name_that_is_asked_for(authority, encrypted):
    names = {"other.example.com": "other", "*.wild.example.com": "wild"}
    more = {
        f'ssl_options.server_names."{name}".{what}': authority.path(f"{file}.{ending}")
        for name, file in names.items()
        for what, ending in (("certfile", "pem"), ("keyfile", "key"))
    }
    port = encrypted(**more)["amqps"]
    for host in ("localhost", "other.example.com", "a.wild.example.com"):
        connect(port, authority.context(), host).close()
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(port, authority.context(), "a.b.wild.example.com")


def test_https(authority, encrypted):
    port = encrypted()["https"]
    request = urllib.request.Request(f"https://localhost:{port}/api/whoami")
    request.add_header("Authorization", "Basic Z3Vlc3Q6Z3Vlc3Q=")
    with urllib.request.urlopen(request, context=authority.context(), timeout=PATIENCE) as answer:
        assert b'"guest"' in answer.read()
    with pytest.raises((OSError, http.client.HTTPException)):
        urllib.request.urlopen(f"http://localhost:{port}/api/whoami", timeout=PATIENCE)


def node(program, *arguments, authority):
    environment = dict(os.environ, NODE_PATH=MODULES, NODE_EXTRA_CA_CERTS=authority.path("ca.pem"))
    command = ["node", os.path.join(os.path.dirname(__file__), program), *arguments]
    done = subprocess.run(command, env=environment, timeout=2 * PATIENCE, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@needs_node
def test_amqplib_over_tls(authority, encrypted):
    node("amqplib_program.js", f"amqps://guest:guest@localhost:{encrypted()['amqps']}", "tls.", authority=authority)


@needs_node
def test_amqp_client_over_websocket(authority, encrypted):
    ports = encrypted()
    node("websocket_program.js", f"ws://localhost:{ports['ws']}/ws/amqp", authority=authority)
    node("websocket_program.js", f"wss://localhost:{ports['wss']}/ws/amqp", authority=authority)

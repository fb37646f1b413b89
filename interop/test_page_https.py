"""The web interface over HTTPS, with a certificate that nobody but itself has signed."""

import os
import shutil
import subprocess

import pytest

import browser
from broker import PATIENCE, free_port

pytestmark = [
    pytest.mark.skipif(not browser.installed(), reason="chromium and chromedriver are not installed"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is needed (Debian: openssl)"),
    # A browser on a busy machine takes its time.
    pytest.mark.timeout(300),
]


@pytest.fixture
def address(tmp_path, unstarted):
    """Where a broker serves the page over HTTPS."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True)
    port = free_port()
    broker = unstarted(
        "--https", f"127.0.0.1:{port}",
        "--set", f"management.ssl.certfile={certificate}", "--set", f"management.ssl.keyfile={key}",
    )
    broker.start()
    broker.api("PUT", "queues/%2F/over-https", {"durable": True})
    return f"https://127.0.0.1:{port}"


@pytest.fixture
def driver(tmp_path):
    """Starts browsers."""
    driver = browser.Driver(tmp_path / "driver.log")
    yield driver
    driver.stop()


def window(driver, tmp_path, trusting):
    profile = tmp_path / f"profile-{trusting}"
    return browser.Browser(driver, profile, os.environ.get("RINGMQ_INTEROP_SHOTS"), trusting=trusting)


def test_who_trusts_the_certificate_logs_in_and_works(address, driver, tmp_path):
    page = window(driver, tmp_path, trusting=True)
    page.open(f"{address}/#/queues")
    page.type(page.label("User name"), "guest")
    page.type(page.label("Password"), "guest")
    page.button("Log in")
    page.find("//h1[contains(., 'Queues')]")
    page.link("over-https")
    page.find("//h1[contains(., 'over-https')]")
    page.shot("https")
    assert page.script("return [location.protocol, isSecureContext]") == ["https:", True]
    assert page.complaints() == []
    page.close()


def test_who_does_not_trust_the_certificate_sees_no_page(address, driver, tmp_path):
    page = window(driver, tmp_path, trusting=False)
    page.open(address)
    page.shows("ERR_CERT_AUTHORITY_INVALID")
    assert not page.all("//input[@type='password']")
    page.close()

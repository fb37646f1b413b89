"""Chromium, driven through the W3C WebDriver protocol: a client of chromedriver, which needs nothing but Python."""

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request

from broker import PATIENCE, free_port

#: The protocol's name of an element's identifier.
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"

#: Keys as the protocol writes them.
TAB, ENTER, ESCAPE, SPACE, SHIFT = "\ue004", "\ue007", "\ue00c", " ", "\ue008"

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


def installed():
    """Whether there is a browser and its driver."""
    return shutil.which("chromium") is not None and shutil.which("chromedriver") is not None


class Driver:
    """A chromedriver process."""

    def __init__(self, log_path):
        self.port = free_port()
        with open(log_path, "ab") as log:
            command = ["chromedriver", f"--port={self.port}", "--allowed-ips=127.0.0.1"]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if self.call("GET", "/status")["ready"]:
                    return
            except OSError:
                pass
            assert self.process.poll() is None, f"chromedriver ended, see {log_path}"
            assert time.monotonic() < deadline, "chromedriver does not answer"
            time.sleep(0.05)

    def call(self, method, path, body=None):
        """One command; what it answers, or an `AssertionError` with what the driver says."""
        data = None if method == "GET" else json.dumps(body or {}).encode()
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, data=data, method=method, headers={"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            value = json.load(error)["value"]
            raise Refused(value["error"], value["message"]) from None

    def stop(self):
        """Ends the process, and the browsers with it."""
        self.process.terminate()
        self.process.wait(PATIENCE)


class Refused(AssertionError):
    """What the driver could not do."""

    def __init__(self, error, message):
        super().__init__(f"{error}: {message}")
        self.error = error


class Browser:
    """One window of a browser with no history."""

    def __init__(self, driver, profile, shots, width=1360, height=900, dark=False, trusting=False):
        self.driver = driver
        self.shots = shots
        # What is longer than the window is wanted whole in a screenshot: the page itself does not care.
        args = [*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        options = {"args": args, "prefs": {"download.default_directory": str(profile)}}
        capabilities = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        # Certificates that nobody has signed are believed.
        capabilities["acceptInsecureCerts"] = trusting
        session = driver.call("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self.path = f"/session/{session['sessionId']}"
        self.command("Page.setDownloadBehavior", behavior="allow", downloadPath=str(profile))
        self.resize(width, height)
        self.scheme(dark)

    def call(self, method, path, body=None):
        """One command of this window."""
        return self.driver.call(method, self.path + path, body)

    def command(self, name, **params):
        """A command of the browser's own protocol."""
        return self.call("POST", "/goog/cdp/execute", {"cmd": name, "params": params})

    def resize(self, width, height, phone=False):
        """Makes the window so large, or a phone of this size of it."""
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)

    def scheme(self, dark):
        """Has the reader prefer dark or light pages."""
        value = "dark" if dark else "light"
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": value}])

    def open(self, url):
        """Goes to an address."""
        self.call("POST", "/url", {"url": url})

    def close(self):
        """Ends the browser."""
        self.call("DELETE", "")

    def script(self, text, *args):
        """Runs a function body in the page."""
        return self.call("POST", "/execute/sync", {"script": text, "args": list(args)})

    def find(self, xpath):
        """The element, once it is there; an `AssertionError` if it never is."""
        found = []

        def there():
            found[:] = self.all(xpath)
            return bool(found)

        self.until(there, xpath)
        return found[0]

    def all(self, xpath):
        """All elements that are there now."""
        return [item[ELEMENT] for item in self.call("POST", "/elements", {"using": "xpath", "value": xpath})]

    def gone(self, xpath):
        """Waits until nothing is there any more."""
        self.until(lambda: not self.all(xpath), f"not {xpath}")

    def until(self, condition, what, why=()):
        """Waits until a condition holds. An element may be drawn anew while it is looked at."""
        deadline = time.monotonic() + 2 * PATIENCE
        while True:
            try:
                if condition():
                    return
            except IndexError:
                pass
            except Refused as refused:
                if refused.error not in ("stale element reference", "no such element"):
                    raise
            if time.monotonic() > deadline:
                self.shot("failed")
                raise AssertionError(f"it never happened: {what} {[*why]}\n{self.text()}")
            time.sleep(0.05)

    def click(self, xpath):
        """Clicks an element, once it is there and nothing is over it."""

        self.find(xpath)
        refusals = []

        def clicked():
            try:
                element = self.all(xpath)[0]
                # The driver scrolls just far enough, which may be below the bar at the top.
                self.script("arguments[0].scrollIntoView({ block: 'center' })", {ELEMENT: element})
                self.call("POST", f"/element/{element}/click")
            except Refused as refused:
                if refused.error in ("element click intercepted", "element not interactable"):
                    refusals[:] = [str(refused)]
                    return False
                raise
            return True

        self.until(clicked, f"click {xpath}", refusals)

    def button(self, text, within=""):
        """Clicks a button by its text or label."""
        self.click(f"{within}//button[normalize-space()='{text}' or @aria-label='{text}']")

    def link(self, text):
        """Clicks a link by its text."""
        self.click(f"//a[normalize-space()='{text}']")

    def label(self, text, within=""):
        """The XPath of the field with this label."""
        return f"{within}//*[@id=//label[normalize-space()='{text}']/@for]"

    def type(self, xpath, text):
        """Replaces what is in a field."""
        element = self.find(xpath)
        self.call("POST", f"/element/{element}/clear")
        self.call("POST", f"/element/{element}/value", {"text": text})

    def choose(self, xpath, value):
        """Chooses an option by its value."""
        self.click(f"{xpath}//option[@value='{value}']")

    def keys(self, *keys, held=None):
        """Presses keys one after the other, wherever the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        if held:
            actions = [{"type": "keyDown", "value": held}, *actions, {"type": "keyUp", "value": held}]
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def text(self, xpath="//body"):
        """What can be read."""
        return self.call("GET", f"/element/{self.find(xpath)}/text")

    def shows(self, text):
        """Waits until a text can be read."""
        self.until(lambda: text in self.text(), text)

    def shot(self, name, whole=True):
        """Keeps a picture for people to look at."""
        if not self.shots:
            return
        os.makedirs(self.shots, exist_ok=True)
        params = {}
        if whole:
            size = self.command("Page.getLayoutMetrics")["cssContentSize"]
            params = {"captureBeyondViewport": True, "clip": {**size, "scale": 1}}
        picture = self.command("Page.captureScreenshot", format="png", **params)
        with open(os.path.join(self.shots, f"{name}.png"), "wb") as file:
            file.write(base64.b64decode(picture["data"]))

    def complaints(self):
        """What the browser has complained about since the last time."""
        entries = self.call("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

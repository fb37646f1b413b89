"""The web interface, as somebody with a browser sees it. Pictures are kept in `RINGMQ_INTEROP_SHOTS`, for people to look at."""

import json
import os

import pytest

import browser
from browser import ENTER, ESCAPE, SHIFT, TAB
from broker import Broker

pytestmark = [
    pytest.mark.skipif(not browser.installed(), reason="chromium and chromedriver are not installed"),
    # A browser on a busy machine takes its time.
    pytest.mark.timeout(300),
]

SHOTS = os.environ.get("RINGMQ_INTEROP_SHOTS")

#: Queues that are paged through.
QUEUES = int(os.environ.get("RINGMQ_INTEROP_PAGE_QUEUES", "1200"))


#: The texts whose colour is too near to that of their ground: less than 4.5 to 1, as WCAG counts it.
PALE = """
const light = (c) => { const [r, g, b] = c.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
const rgba = (text) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
const ground = (e) => { for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor); if (c[3] === 255) return c; } return [255, 255, 255]; };
const faint = (e) => { for (; e; e = e.parentElement) if (getComputedStyle(e).opacity < 1) return true; return false; };
const found = [];
for (const e of document.querySelectorAll('body *')) {
  const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  if (!own || !e.checkVisibility() || faint(e) || e.closest('option, .hidden, noscript')) continue;
  const style = getComputedStyle(e);
  const [one, other] = [light(rgba(e.namespaceURI.endsWith('svg') ? style.fill : style.color).slice(0, 3)), light(ground(e).slice(0, 3))].sort((a, b) => b - a);
  const ratio = (one + 0.05) / (other + 0.05);
  if (ratio < 4.5) found.push(`${e.tagName}.${e.className?.baseVal ?? e.className} ${e.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
}
return [...new Set(found)];
"""


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """A broker that has only what these tests have made."""
    binary = os.environ.get("RINGMQ_INTEROP_BINARY")
    if binary is None:
        pytest.skip("RINGMQ_INTEROP_BINARY is not set: this test needs a broker process of its own")
    broker = Broker(binary, str(tmp_path_factory.mktemp("page") / "data"))
    yield broker.start()
    broker.kill()


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """Starts browsers."""
    driver = browser.Driver(tmp_path_factory.mktemp("driver") / "log")
    yield driver
    driver.stop()


@pytest.fixture
def window(driver, tmp_path):
    """A browser in which nobody is logged in."""
    window = browser.Browser(driver, tmp_path, SHOTS)
    yield window
    window.close()


@pytest.fixture
def page(window, broker):
    """The page, logged in as guest. What the browser complains about fails the test."""
    log_in(window, broker)
    yield window
    assert window.complaints() == []


def log_in(window, broker, name="guest", place=""):
    window.open(f"{broker.management()}/#/{place}")
    window.type(window.label("User name"), name)
    window.type(window.label("Password"), name)
    window.button("Log in")
    window.find("//nav[@aria-label='Main']")


def go(window, place, heading):
    """Goes to a place by its address."""
    window.script("location.hash = arguments[0]", f"#/{place}")
    window.find(f"//h1[contains(., '{heading}')]")


def figure(name):
    """The XPath of a large number."""
    return f"//dl[@class='figures']/div[dt='{name}']/dd"


def becomes(window, xpath, text):
    window.until(lambda: window.text(xpath) == text, f"{xpath} is {text}")


def test_nobody_sees_anything_without_a_password(window, broker):
    window.open(broker.management())
    window.type(window.label("User name"), "guest")
    window.type(window.label("Password"), "wrong")
    window.button("Log in")
    window.shows("This name and password are not accepted.")
    window.shot("login-refused")
    assert not window.all("//nav")

    window.type(window.label("Password"), "guest")
    window.keys(ENTER)
    window.shows("Queues and streams")
    assert "guest" not in json.dumps(window.script("return [document.cookie, {...localStorage}]"))
    # The tab remembers, and forgets when told to.
    window.open(f"{broker.management()}/#/users")
    window.find("//h1[.='Users']")
    window.button("Log out")
    window.find("//input[@type='password']")
    assert window.script("return sessionStorage.length") == 0


def test_a_user_without_a_tag_is_told_why_not(window, broker):
    broker.api("PUT", "users/plain", {"password": "plain", "tags": ""})
    window.open(broker.management())
    window.type(window.label("User name"), "plain")
    window.type(window.label("Password"), "plain")
    window.button("Log in")
    window.shows("Not management user")


def test_a_user_who_is_gone_has_to_log_in_again(window, broker):
    broker.api("PUT", "users/leaving", {"password": "leaving", "tags": "monitoring"})
    log_in(window, broker, "leaving")
    window.choose("//label[span='Refresh']/select", "1000")
    broker.api("DELETE", "users/leaving")
    window.shows("You are logged out")
    window.find("//input[@type='password']")


def test_menus_show_what_a_user_may_do(window, broker):
    broker.api("PUT", "users/watcher", {"password": "watcher", "tags": "monitoring"})
    log_in(window, broker, "watcher")
    window.find("//nav[@aria-label='Main']//a[.='Virtual hosts']")
    assert not window.all("//nav[@aria-label='Main']//a[.='Users' or .='Policies']")
    go(window, "users", "Users")
    window.shows("Not administrator user")


def test_a_queue_is_declared_filled_read_purged_and_deleted(page):
    go(page, "queues", "Queues")
    page.button("Add queue")
    page.type(page.label("Name"), "page.orders")
    page.button("Max priority")
    page.type("//input[@aria-label='Value']", "5")
    page.shot("queue-add", whole=False)
    page.button("Add queue", within="//dialog")
    page.link("page.orders")
    page.find("//h1[contains(., 'page.orders')]")
    page.find("//abbr[.='Pri']")

    page.choose("//label[span='Refresh']/select", "1000")
    lines = "//figure[.//span='Queued messages']//*[name()='path']"
    page.type(page.label("Payload"), '{"order": "<b>7</b>"}')
    for published in range(1, 4):
        page.button("Publish message")
        becomes(page, figure("Ready"), str(published))
    # The line of what is ready goes from one side to the other and up.
    page.until(lambda: page.script("return document.querySelectorAll('path.line').length") >= 3, "lines")
    drawn = page.script("return document.querySelector('path.line.hue-1').getAttribute('d')")
    page.until(lambda: page.script("return document.querySelector('path.line.hue-1').getAttribute('d')") != drawn, lines)
    heights = page.script(
        "return document.querySelector('path.line.hue-1').getAttribute('d').slice(1).split('L').map((p) => +p.split(' ')[1])"
    )
    assert min(heights) < max(heights), "messages came: the line goes up"

    page.button("Get messages")
    page.shows('{"order": "<b>7</b>"}')
    page.find("//article[@class='message']//dd[.='page.orders' or code='page.orders']")
    page.shot("queue")
    page.choose(page.label("What becomes of them"), "ack_requeue_false")
    page.button("Get messages")
    becomes(page, figure("Ready"), "2")

    page.button("Purge")
    page.find("//dialog[contains(., '2 ready messages')]")
    page.button("Cancel", within="//dialog")
    page.gone("//dialog")
    becomes(page, figure("Ready"), "2")
    page.button("Purge")
    page.button("Purge messages")
    becomes(page, figure("Ready"), "0")

    page.button("Delete")
    page.button("Delete queue", within="//dialog")
    page.find("//h1[.='Queues and streams']")
    page.gone("//a[.='page.orders']")


def test_dead_letters_are_redriven_and_messages_moved(page, broker):
    letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "page.dead", "x-message-ttl": 1}
    broker.api("PUT", "queues/%2F/page.dead", {"durable": True})
    broker.api("PUT", "queues/%2F/page.other", {"durable": True})
    broker.api("PUT", "queues/%2F/page.source", {"durable": True, "arguments": letters})
    message = {"routing_key": "page.source", "payload": "x", "payload_encoding": "string", "properties": {}}
    broker.api("POST", "exchanges/%2F/amq.default/publish", message)
    page.choose("//label[span='Refresh']/select", "1000")
    go(page, "queues/%2F/page.dead", "page.dead")
    becomes(page, figure("Ready"), "1")
    # It dies again at once, so it comes back.
    page.button("Move messages")
    page.choose(page.label("Where"), "redrive")
    page.button("Move messages", within="//dialog")
    page.shows("1 message moved")
    becomes(page, figure("Ready"), "1")
    page.button("Move messages")
    page.type(page.label("Queue"), "page.other")
    page.shot("move", whole=False)
    page.button("Move messages", within="//dialog")
    becomes(page, figure("Ready"), "0")
    go(page, "queues/%2F/page.other", "page.other")
    becomes(page, figure("Ready"), "1")
    page.button("Pause")
    page.button("Pause", within="//dialog")
    page.find("//span[contains(@class, 'state') and .='paused']")
    page.button("Resume")
    page.button("Resume", within="//dialog")
    page.find("//span[contains(@class, 'state') and .='running']")
    for queue in ("source", "dead", "other"):
        broker.api("DELETE", f"queues/%2F/page.{queue}")


def test_delayed_messages_are_listed_and_cancelled(page, broker):
    broker.api("PUT", "exchanges/%2F/page.later", {"type": "x-delayed-message", "durable": True, "arguments": {"x-delayed-type": "fanout"}})
    for key in ("first", "second"):
        properties = {"headers": {"x-delay": 3_600_000}, "delivery_mode": 2}
        message = {"routing_key": key, "payload": "x", "payload_encoding": "string", "properties": properties}
        broker.api("POST", "exchanges/%2F/page.later/publish", message)
    go(page, "exchanges/%2F/page.later", "page.later")
    page.find("//td/code[.='second']")
    page.shot("delayed")
    page.button("Cancel first")
    page.button("Cancel delivery")
    page.gone("//td/code[.='first']")
    page.find("//td/code[.='second']")
    page.button("Cancel all")
    page.button("Cancel delivery")
    page.shows("Nothing is held back.")
    broker.api("DELETE", "exchanges/%2F/page.later")


def test_what_names_and_messages_hold_stays_text(page, broker):
    name = "<img src=x onerror=document.title=1>"
    broker.api("PUT", "queues/%2F/%3Cimg%20src=x%20onerror=document.title=1%3E", {"durable": False})
    go(page, "queues", "Queues")
    page.type("//input[@type='search']", "<img")
    page.find(f"//td/a[.='{name}']")
    page.gone("//td/a[not(contains(., '<img'))]")
    assert not page.all("//img")
    page.link(name)
    page.find(f"//h1[contains(., '{name}')]")
    broker.api("DELETE", "queues/%2F/%3Cimg%20src=x%20onerror=document.title=1%3E")


def test_an_exchange_is_declared_bound_published_to_and_deleted(page, broker):
    broker.api("PUT", "queues/%2F/page.bound", {"durable": True})
    go(page, "exchanges", "Exchanges")
    page.button("Add exchange")
    page.type(page.label("Name"), "page.topic")
    page.choose(page.label("Type"), "topic")
    page.button("Add exchange", within="//dialog")
    page.link("page.topic")
    page.shows("Nothing is bound to this exchange")
    page.button("Publish message")
    page.shows("not routed")
    page.button("Dismiss")

    page.button("Add binding")
    page.type(page.label("Name", within="//dialog"), "page.bound")
    page.type(page.label("Routing key", within="//dialog"), "a/b.#")
    page.button("Bind", within="//dialog")
    page.find("//td/code[.='a/b.#']")
    page.type(page.label("Routing key"), "a/b.c")
    page.button("Publish message")
    page.shows("Message published.")
    page.shot("exchange")
    page.link("page.bound")
    becomes(page, figure("Ready"), "1")

    page.button("Unbind page.bound from page.topic")
    page.button("Unbind", within="//dialog")
    page.gone("//td/code[.='a/b.#']")
    go(page, "exchanges/%2F/page.topic", "page.topic")
    page.button("Delete")
    page.button("Delete exchange", within="//dialog")
    page.find("//h1[.='Exchanges']")
    page.gone("//a[.='page.topic']")
    broker.api("DELETE", "queues/%2F/page.bound")


def test_refusals_are_shown_with_their_reason(window, broker):
    broker.api("PUT", "queues/%2F/page.there", {"durable": True})
    log_in(window, broker, place="queues")
    window.button("Add queue")
    window.type(window.label("Name"), "page.there")
    window.choose(window.label("Durability"), "false")
    window.button("Add queue", within="//dialog")
    window.shows("inequivalent arg 'durable' for queue 'page.there'")
    window.find("//dialog//p[@role='alert']")
    window.keys(ESCAPE)
    window.gone("//dialog")
    go(window, "queues/%2F/page.missing", "page.missing")
    window.shows("There is nothing of this name.")
    broker.api("DELETE", "queues/%2F/page.there")


def test_connections_and_channels_are_listed_and_closed(page, broker):
    with broker.connect(heartbeat=0, client_properties={"connection_name": "page-client"}) as connection:
        channel = connection.channel()
        channel.queue_declare("page.consumed", auto_delete=True)
        channel.basic_qos(prefetch_count=7)
        channel.basic_consume("page.consumed", lambda *_: None, consumer_tag="page-consumer")
        go(page, "channels", "Channels")
        page.find("//tr[td='7']")
        go(page, "queues/%2F/page.consumed", "page.consumed")
        page.find("//td[.='page-consumer']")
        go(page, "connections", "Connections")
        page.click("//tr[.//small='page-client']//a")
        page.shows("page-client")
        page.shot("connection")
        page.button("Close connection")
        page.type(page.label("Reason"), "test is over")
        page.button("Close connection", within="//dialog")
        page.find("//h1[.='Connections']")
        page.gone("//small[.='page-client']")
        with pytest.raises(Exception) as closed:
            channel.queue_declare("page.consumed", passive=True)
        assert "test is over" in repr(closed.value)


def test_users_permissions_policies_virtual_hosts_and_limits(page, broker):
    go(page, "vhosts", "Virtual hosts")
    page.button("Add virtual host")
    page.type(page.label("Name"), "page-vhost")
    page.type(page.label("Description"), "made by a test")
    page.button("Add virtual host", within="//dialog")
    page.find("//td/a[.='page-vhost']")
    page.find("//option[.='page-vhost']")

    go(page, "users", "Users")
    page.button("Add user")
    page.type(page.label("Name"), "page-user")
    page.type(page.label("Password"), "secret")
    page.type(page.label("Tags"), "policymaker, monitoring")
    page.button("Add user", within="//dialog")
    page.link("page-user")
    page.shows("no permissions in any virtual host")
    page.button("Set permission")
    page.choose(page.label("Virtual host", within="//dialog"), "page-vhost")
    page.type(page.label("Write", within="//dialog"), "^page\\.")
    page.button("Set permission", within="//dialog")
    page.find("//td/code[.='^page\\.']")
    page.button("Set topic permission")
    page.choose(page.label("Virtual host", within="//dialog"), "page-vhost")
    page.button("Set topic permission", within="//dialog")
    page.find("//td[.='amq.topic']")
    page.button("Set limit")
    page.type(page.label("Value", within="//dialog"), "12")
    page.button("Set limit", within="//dialog")
    page.find("//td[.='max-connections']/following-sibling::td[.='12']")
    page.shot("user")
    before = broker.api("GET", "users/page-user")["password_hash"]
    page.button("Change")
    page.type(page.label("Tags", within="//dialog"), "management")
    page.button("Change user", within="//dialog")
    page.find("//abbr[.='management']")
    assert broker.api("GET", "users/page-user")["password_hash"] == before, "the password is kept"

    go(page, "policies", "Policies")
    page.button("Add policy")
    page.choose(page.label("Virtual host", within="//dialog"), "page-vhost")
    page.type(page.label("Name", within="//dialog"), "page-policy")
    page.type(page.label("Pattern", within="//dialog"), "^page")
    page.choose(page.label("Apply to", within="//dialog"), "queues")
    page.button("Message TTL")
    page.type("//dialog//input[@aria-label='Value']", "60000")
    page.button("Add policy", within="//dialog")
    page.find("//tr[td='page-policy']//dt[.='message-ttl']")
    page.button("Add operator policy")
    page.choose(page.label("Virtual host", within="//dialog"), "page-vhost")
    page.type(page.label("Name", within="//dialog"), "page-operator")
    page.type(page.label("Pattern", within="//dialog"), "^page")
    page.button("Max length")
    page.type("//dialog//input[@aria-label='Value']", "1000")
    page.button("Add operator policy", within="//dialog")
    page.find("//tr[td='page-operator']//dt[.='max-length']")
    page.shot("policies")
    broker.api("PUT", "queues/page-vhost/page.q", {"durable": True})
    go(page, "queues/page-vhost/page.q", "page.q")
    page.find("//abbr[.='page-policy']")

    # Only one virtual host in lists.
    page.choose("//label[span='Virtual host']/select", "page-vhost")
    go(page, "queues", "Queues")
    page.find("//span[@class='counted' and .='1 queue']")
    page.choose("//label[span='Virtual host']/select", "")

    go(page, "limits", "Limits")
    page.button("Clear max-connections of page-user")
    page.shows("No user is limited.")
    go(page, "permissions", "Permissions")
    page.button("Clear page-user in page-vhost")
    page.button("Clear", within="//dialog")
    page.gone("//td/code[.='^page\\.']")
    go(page, "users/page-user", "page-user")
    page.button("Delete")
    page.button("Delete user", within="//dialog")
    page.find("//h1[.='Users']")
    page.gone("//a[.='page-user']")
    go(page, "vhosts/page-vhost", "page-vhost")
    page.button("Delete")
    page.button("Delete virtual host", within="//dialog")
    page.find("//h1[.='Virtual hosts']")
    page.gone("//td/a[.='page-vhost']")


def test_definitions_go_out_and_come_back(page, broker, tmp_path):
    broker.api("PUT", "queues/%2F/page.kept", {"durable": True})
    go(page, "definitions", "Definitions")
    page.type(page.label("File name"), "all.json")
    page.button("Download definitions")
    file = tmp_path / "all.json"
    page.until(file.exists, "the file is there")
    assert "page.kept" in [queue["name"] for queue in json.loads(file.read_text())["queues"]]
    broker.api("DELETE", "queues/%2F/page.kept")
    upload = page.find("//input[@type='file']")
    page.call("POST", f"/element/{upload}/value", {"text": str(file)})
    page.button("Upload definitions")
    page.shows("are imported")
    assert broker.api("GET", "queues/%2F/page.kept")["durable"] is True
    broker.api("DELETE", "queues/%2F/page.kept")


def test_everything_can_be_reached_with_the_keyboard(page):
    go(page, "queues", "Queues")
    active = "return document.activeElement.textContent.trim() || document.activeElement.getAttribute('aria-label') || ''"

    def tab_to(text, key=TAB, held=None):
        for _ in range(80):
            page.keys(key, held=held)
            if page.script(active) == text:
                shown = page.script("return getComputedStyle(document.activeElement).outlineStyle")
                assert shown != "none", f"one sees that {text} has the focus"
                return
        raise AssertionError(f"no way to {text}")

    page.script("document.activeElement.blur(); window.focus()")
    page.keys(TAB)
    # The first stop leads past the menu.
    page.script("document.querySelector('.skip').focus()")
    page.keys(ENTER)
    assert page.script("return document.activeElement.id") == "main"
    tab_to("Add queue")
    page.keys(ENTER)
    page.find("//dialog")
    # The focus stays in the dialog, and comes back when it is closed.
    for _ in range(40):
        page.keys(TAB)
        assert page.script("const e = document.activeElement; return e === document.body || !!e.closest('dialog')")
    page.keys(ESCAPE)
    page.gone("//dialog")
    assert page.script(active) == "Add queue"
    page.keys(ENTER)
    page.script("document.querySelector('dialog [name=name]').focus()")
    page.keys(*"page.keys", ENTER)
    page.gone("//dialog")
    page.find("//a[.='page.keys']")
    tab_to("page.keys")
    page.keys(ENTER)
    page.find("//h1[contains(., 'page.keys')]")
    assert page.script("return document.activeElement.id") == "main", "a new view is read from its beginning"
    tab_to("Delete")
    tab_to("Purge", held=SHIFT)
    tab_to("Delete")
    page.keys(ENTER)
    page.find("//dialog")
    tab_to("Delete queue")
    page.keys(ENTER)
    page.find("//h1[.='Queues and streams']")
    page.gone("//a[.='page.keys']")


def test_texts_can_be_read_and_everything_has_a_name(page, broker):
    broker.api("PUT", "queues/%2F/page.named", {"durable": True, "arguments": {"x-max-length": 5}})
    places = [("", "Overview"), ("queues", "Queues"), ("queues/%2F/page.named", "page.named"), ("exchanges/%2F/amq.topic", "amq.topic")]
    places += [(place, place.capitalize()) for place in ("connections", "channels", "users", "permissions", "policies", "limits", "definitions")]
    for place, heading in places:
        go(page, place, heading)
        page.gone("//*[@aria-busy='true']")
        for dark in (False, True):
            page.scheme(dark)
            assert page.script(PALE) == [], f"{place}, {'dark' if dark else 'light'}"
        roles = ("button", "link", "textbox", "searchbox", "combobox", "checkbox", "spinbutton", "img")
        tree = page.command("Accessibility.getFullAXTree")["nodes"]
        nameless = [
            node["role"]["value"]
            for node in tree
            if not node["ignored"] and node["role"]["value"] in roles and not node.get("name", {}).get("value")
        ]
        assert nameless == [], place
    broker.api("DELETE", "queues/%2F/page.named")


def test_a_user_of_one_virtual_host_sees_that_one(window, broker):
    broker.api("PUT", "vhosts/page-own", {})
    broker.api("PUT", "users/own", {"password": "own", "tags": "management"})
    broker.api("PUT", "permissions/page-own/own", {"configure": "", "write": "", "read": ""})
    broker.api("PUT", "queues/page-own/page.mine", {"durable": True})
    broker.api("PUT", "queues/%2F/page.theirs", {"durable": True})
    log_in(window, broker, "own")
    window.find("//figure[.//span='Message rates']")
    assert not window.all("//nav[@aria-label='Main']//h2")
    go(window, "queues", "Queues")
    window.find("//a[.='page.mine']")
    assert not window.all("//a[.='page.theirs']")
    window.link("page.mine")
    window.button("Delete")
    window.button("Delete queue", within="//dialog")
    window.find("//dialog//p[@role='alert' and contains(., 'ccess')]")
    window.keys(ESCAPE)
    window.find("//h1[contains(., 'page.mine')]")
    broker.api("DELETE", "queues/%2F/page.theirs")
    broker.api("DELETE", "vhosts/page-own")


def test_typing_and_focus_survive_refreshes(page):
    page.choose("//label[span='Refresh']/select", "1000")
    go(page, "exchanges/%2F/amq.topic", "amq.topic")
    page.type(page.label("Payload"), "half a mess")
    refreshes = "return performance.getEntriesByName(arguments[0]).length"
    url = page.script("return new URL('api/exchanges/%2F/amq.topic', location).href")
    before = page.script(refreshes, url)
    page.until(lambda: page.script(refreshes, url) > before + 1, "refreshes")
    assert page.script("return document.activeElement.name") == "payload"
    page.keys(*"age")
    assert page.script("return document.activeElement.value") == "half a message"


def test_many_queues_are_filtered_sorted_and_paged_by_the_broker(window, broker):
    log_in(window, broker)
    # Nobody serves the connection while the browser is looked at.
    with broker.connect(heartbeat=0) as connection:
        channel = connection.channel()
        for number in range(QUEUES):
            channel.queue_declare(f"many.{number:06}")
        channel.basic_publish("", "many.000777", b"x")
        go(window, "queues?name=many", "Queues")
        window.find(f"//span[@class='counted']/b[starts-with(., '{QUEUES:,} of')]")
        assert len(window.all("//tbody/tr")) == 100
        window.link("Next ›")
        window.find("//a[.='many.000100']")
        window.gone("//a[.='many.000000']")
        window.button("Ready")
        window.find("//tbody/tr[1]//a[.='many.000777']")
        window.shot("queues-many")
        window.type("//input[@type='search']", "many.0000[01]7$")
        window.click("//label[contains(., 'Regex')]/input")
        window.until(lambda: len(window.all("//tbody/tr")) == 2, "two queues match")
        # What is not finished is refused, and one goes on typing.
        window.type("//input[@type='search']", "many.0000[01")
        window.find("//p[@class='problem']")
        search = window.find("//input[@type='search']")
        window.call("POST", f"/element/{search}/value", {"text": "]7$"})
        window.gone("//p[@class='problem']")
        window.until(lambda: len(window.all("//tbody/tr")) == 2, "two queues match again")
        window.find("//a[.='many.000017']")
        go(window, "queues?name=many&page_size=25&page=2", "Queues")
        window.until(lambda: len(window.all("//tbody/tr")) == 25, "25 rows")
        for number in range(QUEUES):
            channel.queue_delete(f"many.{number:06}")
    # The page that was looked at is no longer there.
    window.shows("No queue has a name like this.")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_a_phone_and_follows_the_readers_colours(driver, broker, tmp_path, dark):
    broker.api("PUT", "queues/%2F/page.small", {"durable": True, "arguments": {"x-max-length": 5}})
    scheme = "dark" if dark else "light"
    window = browser.Browser(driver, tmp_path, SHOTS, 390, 844, dark)
    window.resize(390, 844, phone=True)
    log_in(window, broker)
    ground = window.script("return getComputedStyle(document.documentElement).backgroundColor")
    darkness = sum(int(part) for part in ground.strip("rgba()").split(",")[:3])
    assert (darkness < 200) == dark, ground
    window.find("//figure//*[name()='svg']")
    for place, heading in [("", "Overview"), ("queues", "Queues"), ("queues/%2F/page.small", "page.small"), ("users", "Users"), ("policies", "Policies")]:
        go(window, place, heading)
        window.gone("//*[@aria-busy='true']")
        assert window.script("return document.documentElement.scrollWidth") == 390, f"{place} is wider than the phone"
        window.shot(f"phone-{scheme}-{heading.lower()}")
    # The menu is folded away until it is asked for.
    assert not window.script("return document.querySelector('#menu').checkVisibility()")
    window.button("Menu")
    window.link("Virtual hosts")
    window.find("//h1[.='Virtual hosts']")
    assert window.complaints() == []
    window.close()
    broker.api("DELETE", "queues/%2F/page.small")


def test_alarms_are_above_every_view(window, unstarted):
    # More than any disk has.
    broker = unstarted("--set", "disk_free_limit.absolute=1000000GB").start()
    log_in(window, broker, place="exchanges")
    window.find("//p[@class='banner' and contains(., 'Disk space alarm')]")
    window.shot("alarm")


def test_a_broker_that_does_not_answer_is_seen(window, broker, own_broker):
    log_in(window, own_broker)
    window.choose("//label[span='Refresh']/select", "1000")
    own_broker.kill()
    window.shows("The broker does not answer.")
    window.find("//h1[.='Overview']")

#!/usr/bin/env python3
"""The room's page in a real browser: chromium, headless, driven by playwright.

    tests/browser/run.py [--long] [NAME...]

CHAT_BINARY is the program under test (target/checked/chat), CHROMIUM the browser (the one in PATH).
CHAT_PAGE=web serves the page's files from there instead of those in the program, to work on them
without a build. Without NAMEs all short tests run; --long adds those that need root or minutes. With
CHAT_REQUIRE_ALL=1 a missing browser fails, else everything is skipped. Failures leave a screenshot
in target/browser/.
"""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
import unicodedata

try:
    from playwright.sync_api import expect, sync_playwright
except ImportError:
    sync_playwright = None

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("CHAT_BINARY", str(ROOT / "target/checked/chat"))
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
PAGE = os.environ.get("CHAT_PAGE")
SHOTS = ROOT / "target/browser"
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
DESKTOP = {"viewport": {"width": 1200, "height": 800}}
# The keyboard of a phone takes about so much.
KEYBOARD_PX = 330
MAX_ELEMENTS = 1000
# 40 kB, of 1,024 bytes each.
MAX_PAGE_BYTES = 40 * 1024

TESTS = {}
LONG = set()


def test(run):
    TESTS[run.__name__] = run
    return run


def long(run):
    LONG.add(run.__name__)
    return test(run)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """The server under test, on ports that stay its own when it is started again."""

    def __init__(self, *options, host="127.0.0.1", prefix=(), scheme="http"):
        self.host, self.options, self.prefix, self.scheme = host, options, prefix, scheme
        self.port, self.web = free_port(), free_port()
        self.process = None
        self.start()

    def start(self):
        command = [
            *self.prefix,
            BINARY,
            "server",
            self.host,
            str(self.port),
            "--web",
            str(self.web),
            *self.options,
        ]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        # Where it keeps the key that it makes for TLS.
        environment = {**os.environ, "XDG_STATE_HOME": str(SHOTS / "state")}
        self.process = subprocess.Popen(command, env=environment, **quiet)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                for port in (self.port, self.web):
                    socket.create_connection((self.host, port), 1).close()
                return
            time.sleep(0.02)

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(10)

    def end(self):
        self.process.kill()
        self.process.wait()

    @property
    def url(self):
        return f"{self.scheme}://{self.host}:{self.web}/"

    def nc(self, *lines):
        """Somebody who reads and writes text."""
        peer = Peer(self.host, self.port)
        peer.say(*lines)
        return peer


class Peer:
    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port), 10)
        self.heard = ""

    def say(self, *lines):
        self.socket.sendall("".join(line + "\n" for line in lines).encode())

    def hear(self, words):
        """Reads until `words` have come, and returns what was heard since the last call."""
        while words not in self.heard:
            data = self.socket.recv(65536)
            assert data, f"the end, before {words!r}: {self.heard!r}"
            self.heard += data.decode()
        heard, words, self.heard = self.heard.partition(words)
        return heard + words

    def close(self):
        self.socket.close()


class Page:
    """One tab, as a user sees it."""

    def __init__(self, context, url):
        self.tab = context.new_page()
        self.errors = []
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on(
            "console",
            lambda message: (
                self.errors.append(message.text)
                if message.type == "error" and "WebSocket" not in message.text
                else None
            ),
        )
        self.tab.goto(url)

    def say(self, text):
        self.tab.fill("#line", text)
        self.tab.press("#line", "Enter")

    def sees(self, text, where="#log"):
        expect(self.tab.locator(where)).to_contain_text(text, timeout=15_000)

    def item(self, text):
        return self.tab.locator(".item", has_text=text).last

    def name(self, name):
        self.say(f"/nick {name}")
        expect(self.tab.locator("#name")).to_have_text(name)

    def lines(self, mark=""):
        """The texts of the messages that are shown and begin with `mark`."""
        texts = self.tab.locator("#log .message .text").all_inner_texts()
        return [text for text in texts if text.startswith(mark)]

    def answered(self):
        """Waits until the room has answered everything."""
        expect(self.tab.locator("#name")).not_to_be_empty()
        expect(self.tab.locator("#pending .item")).to_have_count(0, timeout=30_000)

    def is_at_end(self):
        return self.tab.evaluate(
            "() => { const s = document.getElementById('scroller'); return s.scrollHeight - s.scrollTop - s.clientHeight < 24 }"
        )

    def evaluate(self, script, argument=None):
        """`script` with the exports of the page's own module."""
        return self.tab.evaluate(
            f"async argument => {{ const page = await import('/chat.js'); return ({script}) }}", argument
        )


def serve(route):
    """Answers with a file of PAGE, under the headers of the server."""
    name = route.request.url.split("/")[-1] or "index.html"
    route.fulfill(response=route.fetch(), body=(pathlib.Path(PAGE) / name).read_bytes())


class World:
    """The browser, and what a test has opened."""

    def __init__(self, browser):
        self.browser = browser
        self.cleanup = contextlib.ExitStack()
        self.pages = []

    def server(self, *options, **more):
        server = Server(*options, **more)
        self.cleanup.callback(server.end)
        return server

    def context(self, **options):
        context = self.browser.new_context(**{**DESKTOP, **options})
        self.cleanup.callback(context.close)
        if PAGE:
            context.route(re.compile(r"/(chat\.(js|css)|icon\.svg)?$"), serve)
        return context

    def page(self, server, context=None, **options):
        page = Page(context or self.context(**options), server.url)
        self.pages.append(page)
        return page


# ---- What runs in CI


@test
def two_pages_and_an_nc_talk(world):
    server = world.server("--welcome", "Be kind.")
    ann, bob = world.page(server), world.page(server, **PHONE)
    ann.sees("Be kind.")
    ann.name("ann")
    bob.name("bob")
    nc = server.nc("/nick carol")
    nc.hear("you are now carol")
    ann.say("hello, Bob and carol: https://example.org/a_(b).")
    bob.sees("hello, Bob and carol")
    nc.hear("<ann> hello, Bob")
    expect(bob.item("hello, Bob").locator("mark")).to_have_text("Bob")
    link = bob.item("hello, Bob").locator("a")
    expect(link).to_have_attribute("href", "https://example.org/a_(b)")
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    nc.say("/me waves", "/msg ann psst", "// and a slash")
    ann.sees("carol to you alone")
    ann.sees("/ and a slash")
    expect(bob.tab.locator("#log")).not_to_contain_text("psst")
    bob.say("/msg carol a secret\nand something for all")
    nc.hear("[bob] a secret")
    nc.hear("<bob> and something for all")
    bob.say("/dance")
    trouble = bob.item("/dance")
    expect(trouble.locator(".why")).to_contain_text("/help")
    trouble.locator("button").click()
    expect(bob.tab.locator("#line")).to_have_value("/dance")
    ann.answered()
    bob.answered()


@test
def a_name_is_asked_for_where_one_types_and_kept(world):
    server = world.server()
    context = world.context(**PHONE)
    page = world.page(server, context)
    page.say("I need no name")
    page.sees("I need no name")
    nc = server.nc("/nick zoe")
    nc.hear("you are now zoe")
    page.tab.fill("#wanted", "zoe")
    page.tab.tap("#naming input + button")
    page.sees("zoe is", "#refusal")
    page.tab.fill("#wanted", "Zoë B")
    page.tab.tap("#naming input + button")
    page.sees("Spaces will not do. Zoë_B?", "#refusal")
    expect(page.tab.locator("#wanted")).to_have_value("Zoë_B")
    page.tab.fill("#wanted", "ann")
    page.tab.tap("#naming input + button")
    expect(page.tab.locator("#name")).to_have_text("ann")
    expect(page.tab.locator("#naming")).to_be_hidden()
    # A second tab is a second member, with a name of its own.
    other = world.page(server, context)
    expect(other.tab.locator("#name")).to_have_text("ann2")
    other.say("two of us")
    page.sees("two of us")
    expect(page.item("two of us").locator(".name")).to_have_text("ann2")


@test
def a_name_that_comes_later_is_told(world):
    server = world.server()
    nc = server.nc("/nick zoe")
    nc.hear("you are now zoe")
    page = world.page(server)
    page.answered()
    page.say("/nick zoe")
    page.sees("in use from your own address")
    nc.close()
    page.sees("You are now zoe.")
    # It is the wanted one from now on.
    server.stop()
    server.start()
    page.sees("Back in the room, as zoe.")
    # Whoever asks is told, though nothing changes.
    page.say("/nick zoe")
    expect(page.tab.locator("#log .note", has_text="You are now zoe.")).to_have_count(2)


@test
def answers_are_told_from_what_is_said(world):
    server = world.server()
    page = world.page(server)
    page.name("ann")
    page.say("one")
    page.say("two")
    page.say("/last 2")
    page.sees("Last 2 lines:")
    expect(page.tab.locator("#log .isPast")).to_have_count(3)
    expect(page.item("two").locator(".who")).to_be_visible()
    page.say("three")
    page.sees("three")
    expect(page.item("three")).not_to_have_class(re.compile("isPast|isMore"))
    page.say("/me types")
    page.sees("ann types")
    page.say("/help")
    page.sees("/unignore NAME")
    font = "e => getComputedStyle(e).fontFamily"
    assert page.item("/unignore NAME").locator(".text").evaluate(font) == "monospace"
    page.say("/last")
    expect(page.item("/last").locator(".why")).to_contain_text("usage: /last N")


@test
def many_lines_repeat_their_name(world):
    server = world.server()
    page = world.page(server)
    page.answered()
    nc = server.nc("/nick bob", *(f"line {nth}" for nth in range(25)))
    page.sees("line 24")
    are_more = "all => all.map(one => +one.matches('.isMore')).join('')"
    hides = page.tab.locator("#log .message").evaluate_all(are_more)
    assert len(hides) == 25 and "1" in hides and "1" * 10 not in hides, hides
    nc.close()


@test
def a_reload_keeps_the_session(world):
    server = world.server()
    context = world.context()
    page = world.page(server, context)
    page.name("ann")
    nc = server.nc("/nick bob", "one")
    page.sees("one")
    page.say("two")
    nc.hear("<ann> two")
    nc.say("/msg ann just you")
    page.sees("just you")
    page.tab.fill("#line", "a draft")
    page.tab.reload()
    page.sees("just you")
    expect(page.item("two").locator(".name")).to_have_text("You")
    expect(page.tab.locator("#line")).to_have_value("a draft")
    page.say("three")
    heard = nc.hear("<ann> three")
    assert "left" not in heard and "joined" not in heard, heard
    # What was on its way when the page went is said once.
    server.process.send_signal(signal.SIGSTOP)
    page.say("on its way")
    page.sees("on its way", "#pending")
    page.tab.goto("about:blank")
    server.process.send_signal(signal.SIGCONT)
    page.tab.goto(server.url)
    page.sees("on its way")
    page.answered()
    page.say("and then")
    assert nc.hear("<ann> and then").count("on its way") == 1
    assert page.lines("on its way") == ["on its way"]
    assert page.tab.locator(".why").count() == 0
    # A tab that is duplicated has a copy of the session, and must not take it.
    copy = page.tab.evaluate("() => sessionStorage.session")
    other = context.new_page()
    other.add_init_script(f"sessionStorage.session ||= {copy!r}")
    other.goto(server.url)
    expect(other.locator("#name")).to_have_text("ann2")
    page.say("four")
    nc.hear("<ann> four")
    page.answered()
    expect(page.tab.locator("#status")).to_be_hidden()


@test
def nothing_is_lost_or_said_twice_when_the_server_is_killed(world):
    server = world.server()
    page = world.page(server)
    page.name("ann")
    page.say("before")
    page.answered()
    server.stop(signal.SIGKILL)
    page.sees("Offline", "#status")
    page.say("while it is gone")
    page.sees("while it is gone", "#pending")
    server.start()
    nc = server.nc()
    page.sees("while it is gone")
    page.answered()
    expect(page.tab.locator("#name")).to_have_text("ann")
    nc.say("after")
    page.sees("after")
    assert page.lines("while it is gone") == ["while it is gone"]
    # An orderly end says so, and when to come back.
    server.stop()
    page.sees("The room has closed; trying again.", "#status")
    expect(page.tab.locator("#status button")).to_have_text("Try now")
    expect(page.tab.locator("#people h2")).to_have_text("")
    server.start()
    page.say("again")
    page.sees("again")
    page.sees("Back in the room, as ann.")
    expect(page.tab.locator("#people h2")).to_have_text("1 here")


@test
def a_line_in_doubt_is_told(world):
    server = world.server()
    page = world.page(server)
    page.say("heard")
    page.answered()
    server.process.send_signal(signal.SIGSTOP)
    page.say("perhaps")
    page.sees("perhaps", "#pending")
    server.stop(signal.SIGKILL)
    server.start()
    expect(page.item("perhaps").locator(".why")).to_contain_text("Not known", timeout=15_000)
    page.answered()


@test
def farewells_say_what_to_do(world):
    server = world.server("--idle-timeout", "2")
    page = world.page(server)
    page.say("hi")
    status = page.tab.locator("#status")
    expect(status).to_contain_text("said nothing for too long", timeout=15_000)
    # Longer than it takes others to come back.
    page.tab.wait_for_timeout(700)
    expect(status).to_contain_text("said nothing for too long")
    status.locator("button").click()
    page.say("/quit")
    expect(status).to_contain_text("goodbye")
    status.locator("button").click()
    page.say("back")
    page.sees("back")
    token = page.tab.evaluate("() => JSON.parse(sessionStorage.session).session.token")
    other = server.nc("/json", f"/resume {token} 0")
    other.hear('"resumed":true')
    expect(status).to_contain_text("another tab")
    expect(status.locator("button")).to_have_text("Join again")


@test
def the_log_stays_where_it_is_read(world):
    server = world.server("--history", "400")
    nc = server.nc("/nick bob")
    nc.say(*(f"line {nth}" for nth in range(400)))
    nc.say("/last 1")
    nc.hear("-- last")
    page = world.page(server, **PHONE)
    page.sees("line 399")
    assert page.is_at_end()
    expect(page.tab.locator("#log")).to_have_attribute("aria-live", "polite")
    scroller = page.tab.locator("#scroller")
    # Up to the oldest, page by page.
    for _ in range(400):
        scroller.evaluate("s => { s.scrollTop -= 500 }")
        page.tab.wait_for_timeout(20)
        if page.lines()[:1] == ["line 0"] and scroller.evaluate("s => s.scrollTop") == 0:
            break
    assert page.lines()[0] == "line 0", page.lines()[:3]
    shown = [int(text.split()[1]) for text in page.lines("line")]
    assert shown == list(range(shown[0], shown[0] + len(shown))), "a hole"
    scroller.evaluate("s => { s.scrollTop = 300 }")
    page.tab.wait_for_timeout(100)
    place = "() => [...document.querySelectorAll('.item')].map(i => [i.innerText, i.getBoundingClientRect().top]).find(([, top]) => top > 100)"
    before = page.tab.evaluate(place)
    nc.say("new 1", "new 2", "new 3")
    expect(page.tab.locator("#down")).to_have_text("↓ 3 new")
    assert page.tab.title().startswith("(3) "), page.tab.title()
    after = page.tab.evaluate(place)
    assert before[0] == after[0] and abs(before[1] - after[1]) < 2, (before, after)
    page.tab.tap("#down")
    page.sees("new 3")
    assert page.is_at_end()
    expect(page.tab.locator("#down")).to_be_hidden()
    expect(page.item("new 1").locator(".new")).to_have_count(1)
    assert not page.tab.title().startswith("("), page.tab.title()
    assert page.tab.locator("#log *").count() <= MAX_ELEMENTS


@test
def five_thousand_lines(world):
    server = world.server()
    page = world.page(server, **PHONE)
    page.name("ann")
    nc = server.nc("/nick bob")
    nc.say(*(f"line {nth} of many, ann, see http://a.example/{nth}" for nth in range(5000)))
    page.sees("line 4999")
    page.tab.wait_for_timeout(300)
    assert page.is_at_end()
    assert page.tab.locator("#log *").count() <= MAX_ELEMENTS
    page.say("and still here")
    nc.hear("<ann> and still here")
    page.answered()


@test
def nothing_said_becomes_markup_or_leaves_its_line(world):
    server = world.server()
    page = world.page(server, **PHONE)
    page.name("ann")
    nc = server.nc("/nick mallory")
    attacks = [
        "<img src=x onerror=\"document.title='owned'\">",
        "<script>document.title='owned'</script>",
        'javascript:alert(1) http://a"onmouseover="x data:text/html,x',
        "\u202e reversed \u2066 and \u200f marks",
        "שלום http://example.org/\u05d0 abc",
        "x" * 3000,
        "a" + " " * 300 + "22:00 ann said this",
        "Z" + "\u0301" * 500,
        "http://" + ")" * 3000,
        "ann " * 900,
    ]
    nc.say(*attacks, "the end")
    page.sees("the end")
    assert "owned" not in page.tab.title()
    assert page.tab.locator("#log img, #log script, #log iframe, #log style").count() == 0
    for link in page.tab.locator("#log a").all():
        assert re.match(r"https?://", link.get_attribute("href"))
    assert page.tab.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    # No row of a text begins where names and times do, however it wraps.
    inset = page.tab.evaluate("""() => [...document.querySelectorAll('#log .text')].map(text => {
        const range = document.createRange();
        range.selectNodeContents(text);
        return Math.min(...[...range.getClientRects()].map(box => box.left)) - text.parentElement.getBoundingClientRect().left;
    })""")
    assert min(inset) >= 50, inset
    # A name that is written from right to left stays in its place.
    hebrew = server.nc("/nick אבג", "abc: 123")
    page.sees("abc: 123")
    assert page.tab.locator("#log .who bdi").count() > 0
    assert page.tab.locator("#log *").count() <= MAX_ELEMENTS
    hebrew.close()


@test
def a_phone_and_its_keyboard(world):
    server = world.server()
    page = world.page(server, **PHONE)
    tab = page.tab
    nc = server.nc("/nick bob", *(f"line {nth}" for nth in range(60)))
    page.sees("line 59")
    assert tab.evaluate(
        "() => [...document.querySelectorAll('input, textarea')].every(e => parseFloat(getComputedStyle(e).fontSize) >= 16)"
    )
    # From the QR code to the first line: a tap on the field, and one on the button.
    tab.tap("#line")
    tab.set_viewport_size({"width": 390, "height": 844 - KEYBOARD_PX})
    tab.keyboard.type("hello from a phone")
    page.tab.wait_for_timeout(100)
    assert page.is_at_end()
    assert tab.locator("#send").bounding_box()["y"] < 844 - KEYBOARD_PX
    tab.tap("#send")
    nc.hear("hello from a phone")
    assert tab.evaluate("() => document.activeElement.id") == "line", "the keyboard would close"
    tab.set_viewport_size({"width": 390, "height": 844})
    # The field grows with what is typed, to a bound.
    low = tab.locator("#line").bounding_box()["height"]
    tab.fill("#line", "row\n" * 4)
    high = tab.locator("#line").bounding_box()["height"]
    tab.fill("#line", "row\n" * 100)
    highest = tab.locator("#line").bounding_box()["height"]
    assert low < high < highest < 844 / 2, (low, high, highest)
    tab.fill("#line", "")
    # The address of the room is whole, though no name is shorter.
    assert tab.evaluate(
        """() => {
            document.getElementById('host').textContent = '192.168.178.31:8080';
            document.querySelector('#name bdi').textContent = '192.168.178.120';
            const { scrollWidth, clientWidth } = document.getElementById('host');
            return scrollWidth <= clientWidth;
        }"""
    )
    # Everything that is tapped is large enough.
    for button in ["#here", "#name", "#send"]:
        assert min(tab.locator(button).bounding_box()["height"], 41) >= 41, button
    tab.tap("#here")
    expect(tab.locator("#people")).to_be_visible()
    tab.tap("#people li button:has-text('bob')")
    expect(tab.locator("#line")).to_have_value("/msg bob ")
    tab.keyboard.type("psst")
    tab.tap("#send")
    nc.hear("] psst")
    tab.tap("#here")
    # Beside the drawer.
    tab.touchscreen.tap(20, 400)
    expect(tab.locator("#people")).not_to_be_visible()
    # iOS lays its keyboard over the page, and says so.
    box = tab.evaluate("""() => {
        Object.defineProperties(visualViewport, { height: { value: 500 }, offsetTop: { value: 60 } });
        visualViewport.dispatchEvent(new Event('resize'));
        const { top, height } = document.body.getBoundingClientRect();
        return [top, height];
    }""")
    assert box == [60, 500], box


@test
def the_keyboard_alone(world):
    server = world.server()
    page = world.page(server)
    page.name("ann")
    nc = server.nc("/nick alice", "hi")
    nc2 = server.nc("/nick alf", "hi")
    page.sees("alf")
    keys = page.tab.keyboard
    page.tab.focus("#line")
    keys.type("al")
    keys.press("Tab")
    expect(page.tab.locator("#line")).to_have_value("alf: ")
    keys.press("Tab")
    expect(page.tab.locator("#line")).to_have_value("alice: ")
    keys.press("Shift+Tab")
    expect(page.tab.locator("#line")).to_have_value("alf: ")
    keys.type("one")
    keys.press("Shift+Enter")
    keys.type("two")
    keys.press("Enter")
    nc.hear("<ann> two")
    keys.press("ArrowUp")
    expect(page.tab.locator("#line")).to_have_value("alf: one\ntwo")
    page.tab.fill("#line", "")
    keys.type("/ign")
    keys.press("Tab")
    keys.type("Alf")
    keys.press("Enter")
    page.sees("ignoring alf; /unignore NAME ends that")
    nc2.say("unheard", "/nick alf2", "unheard, too")
    nc.say("heard")
    page.sees("heard")
    nc2.say("/msg ann unheard as well")
    nc2.hear("sent to ann")
    nc.say("heard, too")
    page.sees("heard, too")
    assert not page.lines("unheard")
    # Tab leaves the field, and every control is reached.
    page.tab.fill("#line", "")
    reached = set()
    for _ in range(12):
        keys.press("Tab")
        reached.add(
            page.tab.evaluate("() => document.activeElement.id || document.activeElement.closest('[id]')?.id")
        )
    assert {"name", "scroller", "people", "line"} <= reached, reached


@test
def presence_is_folded(world):
    server = world.server()
    page = world.page(server)
    page.say("here")
    page.answered()
    guests = []
    for nth in range(3):
        guests.append(server.nc(f"/nick guest{nth}"))
        page.sees(f"guest{nth}")
    page.sees("guest0, guest1, guest2 joined")
    guests.pop().close()
    page.sees("guest2 came and went; guest0, guest1 joined")
    assert " ;" not in page.tab.locator("#log .presence").inner_text()
    come_to = lambda *changes: "; ".join(
        ", ".join(map(str, names)) + words + "".join(further)
        for names, words, *further in page.evaluate(
            "page.presence(argument)", [{"left": [], "renamed": [], "joined": [], **one} for one in changes]
        )
    )
    left, joined = lambda *some: {"left": some}, lambda *some: {"joined": some}
    cleo, eva, dan = [1, "cleo"], [2, "eva"], [3, "dan"]
    assert come_to(left(cleo), joined([4, "cleo"], [5, "anna"])) == "cleo came back; anna joined"
    assert come_to(left(cleo), joined([4, "cleo"]), left([4, "cleo"])) == "cleo left"
    assert come_to({"left": [dan], "kicked": [eva]}) == "dan left; eva was kicked"
    assert come_to({"left": [eva, dan], "kicked": [eva, dan]}) == "eva, dan were kicked"
    assert come_to({"left": [], "left_count": 9, "kicked": [eva]}) == "8 left; eva was kicked"
    assert come_to(joined(*([nth, f"g{nth}"] for nth in range(6)))) == "6 joined"
    assert come_to({"joined": [], "joined_count": 312}, joined(dan)) == "313 joined"
    renamed = lambda *some: {"renamed": some}
    assert come_to(renamed([1, "cleo", "leo"]), renamed([1, "leo", "theo"])) == "cleo is now theo"
    assert come_to(renamed([1, "cleo", "leo"]), renamed([1, "leo", "cleo"])) == "cleo is still cleo"
    assert come_to(joined([6, "10.0.0.6"]), renamed([6, "10.0.0.6", "fritz"])) == "fritz joined"
    # A name that is free again may be another's.
    assert come_to(left(cleo), renamed([2, "eva", "cleo"])) == "cleo left; eva is now cleo"


@test
def a_password_is_asked_for_and_kept_in_memory(world):
    with tempfile.NamedTemporaryFile("w", suffix=".password") as file:
        file.write("green tea\n")
        file.flush()
        server = world.server("--password-file", file.name, "--tls", "--welcome", "Be kind.", scheme="https")
        nc = server.nc("/pass green tea", "/nick carol", "before")
        nc.hear("you are now carol")
        context = world.context(ignore_https_errors=True)
        page = world.page(server, context)
        secret = page.tab.locator("#lock input")

        def is_locked():
            expect(secret).to_be_focused()
            expect(page.tab.locator("#line")).to_be_hidden()
            expect(page.tab.locator("#wanted")).to_be_hidden()

        def typed(text):
            """Without a look at where the focus is."""
            page.tab.keyboard.type(text)
            page.tab.keyboard.press("Enter")

        def is_in():
            expect(secret).to_be_hidden()
            expect(page.tab.locator("#line")).to_be_focused()
            expect(page.tab.locator("#log")).not_to_contain_text("password")

        is_locked()
        assert page.tab.locator("#log .item").count() == 0
        typed("green teapot")
        page.sees("wrong password", "#status")
        is_locked()
        # What is clicked does not keep the focus.
        page.tab.keyboard.type("green kettle")
        page.tab.click("#lock button")
        expect(secret).to_have_value("")
        is_locked()
        typed("green tea")
        page.sees("before")
        page.sees("Be kind.")
        is_in()
        # Somebody without a name is asked for one.
        expect(page.tab.locator("#wanted")).to_be_visible()
        typed("hello")
        heard = nc.hear("> hello")
        assert "green" not in heard, heard
        # After a loss it is given again; the server has forgotten the session.
        server.stop(signal.SIGKILL)
        server.start()
        page.say("after a restart")
        expect(page.item("after a restart").locator("xpath=ancestor::*[@id='log']")).to_be_visible()
        page.answered()
        is_in()
        stored = page.tab.evaluate("() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }])")
        assert "green" not in stored, stored
        page.tab.fill("#line", "a draft\nof two lines")
        page.tab.reload()
        is_locked()
        typed("green tea")
        is_in()
        expect(page.tab.locator("#line")).to_have_value("a draft\nof two lines")
        assert page.tab.evaluate("() => line.scrollHeight <= line.offsetHeight")
        # While somebody writes, the room comes back with another password.
        server.stop()
        file.seek(0)
        file.write("black tea\n")
        file.flush()
        page.sees("The room has closed", "#status")
        page.tab.keyboard.press("End")
        server.start()
        is_locked()
        # The connection goes while it asks.
        server.stop(signal.SIGKILL)
        page.sees("Try now", "#status")
        expect(page.tab.locator("#line")).to_be_hidden()
        typed("black tea")
        server.start()
        nc = server.nc("/pass black tea", "/nick carol")
        nc.hear("you are now carol")
        is_locked()
        typed("black tea")
        is_in()
        page.answered()
        page.say("the end")
        heard = nc.hear("the end")
        assert "black" not in heard, heard


@test
def the_page_is_small_and_alone(world):
    page = world.page(world.server())
    page.answered()
    loaded = page.tab.evaluate(
        "() => performance.getEntriesByType('resource').map(one => new URL(one.name).pathname)"
    )
    assert set(loaded) <= {"/chat.js", "/chat.css", "/icon.svg"}, loaded
    bodies = [
        page.tab.request.get(page.tab.url + name).body() for name in ["", "chat.js", "chat.css", "icon.svg"]
    ]
    if PAGE:
        bodies = [file.read_bytes() for file in pathlib.Path(PAGE).iterdir()]
    assert sum(map(len, bodies)) <= MAX_PAGE_BYTES, [len(body) for body in bodies]
    policy = page.tab.request.get(page.tab.url).headers["content-security-policy"]
    assert "default-src 'none'" in policy and "require-trusted-types-for 'script'" in policy, policy


@test
def over_tls_it_is_the_same_page(world):
    server = world.server("--tls", scheme="https")
    page = world.page(server, ignore_https_errors=True)
    page.name("ann")
    with page.tab.expect_websocket() as opened:
        page.tab.reload()
    assert opened.value.url == f"wss://{server.host}:{server.web}/ws", opened.value.url
    expect(page.tab.locator("#name")).to_have_text("ann")
    nc = server.nc()
    page.say("in secret, as far as the room")
    nc.hear("<ann> in secret")
    nc.say("and back")
    page.sees("and back")
    # A page that others could change is none of this room's.
    plain = page.tab.request.get(f"http://{server.host}:{server.web}/")
    assert "wss:" not in plain.headers["content-security-policy"]
    server.stop(signal.SIGKILL)
    page.say("held until it is back")
    server.start()
    nc = server.nc()
    nc.hear("held until it is back")
    page.answered()


@test
def pieces_and_colours(world):
    server = world.server()
    page = world.page(server)
    pieces = lambda text: [
        (one.get("kind"), one["text"]) for one in page.evaluate("page.pieces(argument, 'Zoë')", text)
    ]
    assert pieces("zoë: and @ZOË, a_zoë zoë.com") == [
        ("mention", "zoë"),
        (None, ": and @"),
        ("mention", "ZOË"),
        (None, ", a_zoë zoë.com"),
    ]
    assert pieces("(see http://a.b/c_(d)), x") == [
        (None, "(see "),
        ("link", "http://a.b/c_(d)"),
        (None, "), x"),
    ]
    assert pieces("ftp://a javascript:x") == [(None, "ftp://a javascript:x")]

    # An oracle of its own.
    def color(name):
        value = 0x811C9DC5
        for byte in unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold()).encode():
            value = ((value ^ byte) * 0x01000193) % 2**32
        return (value ^ (value >> 16)) % 16

    names = ["alice", "Alice", "zoë", "ZOË", "straße", "Σίσυφος", "אבג", "名前", "192.168.1.31", "a-b_c.d9"]
    assert page.evaluate("argument.map(page.colorOf)", names) == [f"#{INKS[color(name)]}" for name in names]
    for scheme in ["light", "dark"]:
        page.tab.emulate_media(color_scheme=scheme)
        worst = page.tab.evaluate(CONTRAST, INKS)
        assert worst >= 4.5, (scheme, worst)


@test
def each_line_is_said_once_in_order_or_its_user_is_told(world):
    page = world.page(world.server())
    for seed in range(int(os.environ.get("CHAT_BROWSER_SEEDS", "300"))):
        fault = page.evaluate(f"({PLAY})(page.newSession, argument)", seed)
        assert not fault, f"seed {seed}: {fault}"


# A server with one session, a network that breaks, and a page that says numbers. Returns what went
# wrong. (As the property test of src/client/pending.rs.)
PLAY = """(newSession, seed) => {
  const random = most => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % most;
  };
  const log = [];         // What the server has said, in all its lives.
  const shown = [];
  const told = [];
  let events = [], epoch = 0, seq = 0, heard = 0, you = 0, isKnown = false, isUp = false, way = [], answers = [];
  const hello = resumed => ({ kind: 'hello', epoch: `e${epoch}`, seq, you, token: `${you}.t`, resumed, heard: resumed ? heard : 0,
    lost: 0, name: '10.0.0.1', here: 1, people: [], max_line: 4096 });
  const room = {
    people: { are() {}, spoke() {}, changed() {} },
    tell(item) {
      if (item.kind === 'message') shown.push(+item.text);
      if (item.kind === 'trouble') told.push(+item.text);
    },
    insert() {}, last() {}, changed() {}, named() {}, wished() {}, unnamed() {}, refused() {}, ended() {},
    write(text) {
      for (const line of text.split('\\n').filter(line => line)) {
        if (line === '/json') {
          you++;
          answers.push(hello(false));
        } else if (line.startsWith('/resume ')) {
          const [, token, after] = line.split(' ');
          if (isKnown && token === room.token) {
            you--;
            answers = [hello(false), hello(true), ...events.filter(event => event.seq > after)];
          } else {
            answers.push(hello(false));
          }
        } else {
          way.push(line);
        }
      }
    },
  };
  const session = newSession(room, null);
  const serve = () => {
    const line = way.shift();
    if (line === undefined) return;
    const n = ++heard;
    if (line.startsWith('/')) return void answers.push({ kind: 'reply', n, to: 'last' });
    log.push(+line);
    const event = { seq: ++seq, time: '2026-11-27T13:51:23.123Z', kind: 'message', from: you, n, name: '10.0.0.1', text: line };
    events.push(event);
    answers.push(event);
  };
  const read = () => {
    const answer = answers.shift();
    if (!answer) return;
    if (answer.kind === 'hello' && (answer.resumed || !session.token || !isKnown)) {
      if (!answer.resumed) heard = 0;
      isKnown = true;
      room.token = answer.token;
    }
    session.take(JSON.stringify(answer));
  };
  const lose = isOurDoing => {
    if (!isUp) return;
    isUp = false;
    way = [];
    answers = [];
    session.lost(isOurDoing);
  };
  const connect = () => {
    if (isUp) return;
    isUp = true;
    session.connected();
    // Hellos come before anything is served: the room answers them in order.
    while (answers.length && !session.isOpen) read();
  };
  let said = 0;
  const acts = [
    () => session.say(`${said++}`), () => session.say(`${said++}`), serve, serve, read, read,
    () => lose(random(2)), () => { serve(); lose(0); }, connect, connect,
    () => { lose(0); isKnown = false; epoch++; events = []; seq = 0; },
  ];
  for (let step = 0; step < 200; step++) acts[random(acts.length)]();
  for (let round = 0; round < 4; round++) {
    lose(1);
    connect();
    for (let step = 0; step < 500; step++) { serve(); read(); }
  }
  if (session.pending.lines.length) return `pending: ${JSON.stringify(session.pending.lines)}`;
  if (log.some((line, nth) => nth && line <= log[nth - 1])) return `out of order or twice: ${log}`;
  for (let line = 0; line < said; line++) {
    const times = shown.filter(one => one === line).length;
    if (times > 1) return `${line} is shown ${times} times`;
    if (!log.includes(line) && !told.includes(line)) return `${line} is lost`;
    if (log.includes(line) && !times && !told.includes(line)) return `${line} is not shown`;
    if (times && !log.includes(line)) return `${line} is shown and was not said`;
  }
  return '';
}"""

# NAME_COLORS of src/client/style.rs, as xterm's colour cube has them.
INKS = [
    "af5f00",
    "d75f00",
    "878700",
    "5f8700",
    "008700",
    "00875f",
    "008787",
    "0087af",
    "0087d7",
    "005fff",
    "5f5fff",
    "875fff",
    "af00ff",
    "af5faf",
    "d700d7",
    "d70087",
]

# The least contrast of any text on any ground on which it may stand (WCAG 2.2, section 1.4.3).
CONTRAST = """inks => {
  const canvas = document.createElement('canvas').getContext('2d');
  const probe = document.body.appendChild(document.createElement('b'));
  const light = color => {
    probe.style.color = color;
    canvas.fillStyle = getComputedStyle(probe).color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(v => v / 255)
      .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b + .05;
  };
  const grounds = ['--page', '--bar', '--own', '--private', '--mention'].map(name => light(`var(${name})`));
  const texts = ['--dim', '--error', '--accent', '--text'].map(name => light(`var(${name})`));
  probe.className = 'name';
  for (const ink of inks) {
    probe.style.setProperty('--ink', '#' + ink);
    texts.push(light(''));
  }
  probe.remove();
  return Math.min(...texts.flatMap(text => grounds.map(ground => Math.max(text, ground) / Math.min(text, ground))));
}"""


# ---- What takes longer, or is to be looked at


class Cable:
    """A network namespace for a server, and the link to it."""

    def __init__(self, world):
        # Both names are of this process: several may run.
        self.space, self.link = f"chat-page-{os.getpid()}", f"cp{os.getpid() % 100000}"
        self.host, self.ours = "10.213.77.2", "10.213.77.1"
        self.prefix = ("ip", "netns", "exec", self.space)
        world.cleanup.callback(subprocess.run, ["ip", "netns", "del", self.space])
        world.cleanup.callback(subprocess.run, ["ip", "link", "del", self.link])
        for command in [
            f"ip netns add {self.space}",
            f"ip link add {self.link} type veth peer name eth0 netns {self.space}",
            f"ip addr add {self.ours}/30 dev {self.link}",
            f"ip link set {self.link} up",
            f"ip -n {self.space} addr add {self.host}/30 dev eth0",
            f"ip -n {self.space} link set eth0 up",
            f"ip -n {self.space} link set lo up",
        ]:
            subprocess.run(command.split(), check=True)

    def set(self, state):
        subprocess.run(["ip", "-n", self.space, "link", "set", "eth0", state], check=True)


@long
def a_cable_is_pulled_for_half_a_minute(world):
    cable = Cable(world)
    server = world.server(host=cable.host, prefix=cable.prefix)
    page = world.page(server)
    page.name("ann")
    page.answered()
    cable.set("down")
    page.say("into the void")
    page.tab.wait_for_timeout(26_000)
    page.sees("Offline", "#status")
    page.say("and after it")
    cable.set("up")
    # An attempt that was begun before is given ten seconds.
    expect(page.item("and after it").locator(".who")).to_be_visible(timeout=40_000)
    page.answered()
    expect(page.tab.locator("#name")).to_have_text("ann")
    nc = server.nc("/last 10")
    nc.hear("into the void")
    assert "into the void" not in nc.hear("and after it")
    assert page.lines() == ["into the void", "and after it"], page.lines()
    assert page.tab.locator(".why").count() == 0


class Relay:
    """A way to a server that can be cut, at both ends at once."""

    def __init__(self, world, port):
        self.port, self.ends, self.listener = port, [], None
        self.mend()
        world.cleanup.callback(self.cut)
        self.address = self.listener.getsockname()

    def mend(self):
        self.listener = socket.create_server(getattr(self, "address", ("127.0.0.1", 0)))
        threading.Thread(target=self.accept, args=[self.listener], daemon=True).start()

    def cut(self):
        # Wakes whoever accepts or reads.
        for end in [self.listener, *self.ends]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.ends.clear()

    def accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                near, far = listener.accept()[0], socket.create_connection(("127.0.0.1", self.port))
                self.ends += [near, far]
                for source, sink in [(near, far), (far, near)]:
                    threading.Thread(target=self.pump, args=[source, sink], daemon=True).start()

    @staticmethod
    def pump(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@long
def an_absence_longer_than_a_session(world):
    server = world.server("--history", "5")
    relay = Relay(world, server.web)
    page = world.page(types.SimpleNamespace(url=f"http://127.0.0.1:{relay.address[1]}/"))
    page.name("ann")
    page.say("before")
    page.answered()
    server.process.send_signal(signal.SIGSTOP)
    page.say("perhaps")
    page.sees("perhaps", "#pending")
    relay.cut()
    server.process.send_signal(signal.SIGCONT)
    nc = server.nc("/nick bob")
    nc.hear("ann left")
    nc.say(*(f"missed {n}" for n in range(9)))
    # The session's hold, and some.
    page.tab.wait_for_timeout(62_000)
    page.say("held for the name")
    relay.mend()
    expect(page.item("perhaps").locator(".why")).to_contain_text("Not known", timeout=40_000)
    page.sees("held for the name")
    page.sees("some lines may be missing")
    expect(page.tab.locator("#name")).to_have_text("ann", timeout=15_000)
    page.answered()
    said = ["before", *(f"missed {n}" for n in range(4, 9)), "held for the name"]
    assert page.lines() == said, page.lines()


@long
def screenshots(world):
    server = world.server("--welcome", "Welcome to the workshop. Coffee is on the left.")
    carol = server.nc("/nick carol", "is the projector free this afternoon?")
    bob = server.nc("/nick bob", "until three, I think", "then the 3D printer people have it")
    bob.say("/who")
    bob.hear("carol")
    page = world.page(server)
    page.sees("printer people")
    page.name("alice")
    page.say("thanks! I only need ten minutes")
    dora = server.nc("/nick dora")
    page.sees("dora")
    carol.say("Alice, take the small one: https://wiki.example/rooms#small")
    bob.say("/me brings the adapter", "/msg alice the password is on the back of the door")
    page.sees("back of the door")
    dora.say("مرحبا، أنا في الطابق الثاني")
    page.sees("مرحبا")
    page.say("/dance")
    page.sees("unknown command")
    page.say("found it, thank you all")
    page.answered()
    page.tab.fill("#line", "")
    for scheme in ["light", "dark"]:
        page.tab.emulate_media(color_scheme=scheme)
        for name, size in [("phone", PHONE["viewport"]), ("desktop", {"width": 960, "height": 640})]:
            page.tab.set_viewport_size(size)
            page.tab.wait_for_timeout(200)
            page.tab.screenshot(path=SHOTS / f"page-{name}-{scheme}.png")
    page.tab.set_viewport_size(PHONE["viewport"])
    page.tab.click("#here")
    page.tab.screenshot(path=SHOTS / "people.png")
    page.tab.keyboard.press("Escape")
    server.stop()
    page.say("held until it is back")
    page.tab.wait_for_timeout(700)
    page.tab.screenshot(path=SHOTS / "offline.png")
    server.start()
    first = world.page(server, **PHONE)
    first.answered()
    first.tab.wait_for_timeout(500)
    first.tab.screenshot(path=SHOTS / "first.png")


def main():
    names = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    chosen = [
        run
        for name, run in TESTS.items()
        if name in names or (not names and (name not in LONG or "--long" in sys.argv))
    ]
    if not (sync_playwright and CHROMIUM and chosen):
        print("skipped: playwright, chromium or a test of that name is missing", file=sys.stderr)
        return 1 if os.environ.get("CHAT_REQUIRE_ALL") or names else 0
    SHOTS.mkdir(parents=True, exist_ok=True)
    failed = 0
    with sync_playwright() as playwright:
        # Root may not use the sandbox.
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        if PAGE:
            # What playwright serves counts as a public page.
            flags.append("--disable-features=LocalNetworkAccessChecks")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        for run in chosen:
            begun = time.monotonic()
            world = World(browser)
            try:
                run(world)
                errors = [error for page in world.pages for error in page.errors]
                assert not errors, errors
                print(f"ok    {run.__name__} ({time.monotonic() - begun:.1f} s)", flush=True)
            except Exception as error:
                failed += 1
                print(f"FAILED {run.__name__}: {str(error)[:600]}", flush=True)
                for nth, page in enumerate(world.pages):
                    with contextlib.suppress(Exception):
                        page.tab.screenshot(path=SHOTS / f"{run.__name__}-{nth}.png")
                    print("  errors:", page.errors)
            finally:
                world.cleanup.close()
        browser.close()
    print(f"{len(chosen) - failed} of {len(chosen)} passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

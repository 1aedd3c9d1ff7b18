"""The live page in a real browser."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from edge_runtime.errors import ConfigError
from edge_runtime.web.server import WebPage

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
EVENT = {
    "schema": 1, "seq": 1, "type": "track_start", "time": "2026-11-24T03:30:32.123Z", "media_s": 4.4,
    "track": {"id": 17, "label": "person", "score": 0.91, "box": [1, 2, 3, 4], "age_s": 0.3},
    "zone": None, "line": None, "slot": None, "dwell_s": None, "direction": None, "kind": None, "state": None,
    "name": None, "snapshot": None,
}  # fmt: skip
STATS = {
    "fps": 12.5, "frames_processed": 1234, "frames_dropped": 3, "regions_per_frame": 1.5, "crops_per_frame": 1.25,
    "budget_overflow": 0, "tracks_started": 2, "events": 9, "stages": {"attention": {"p50_ms": 1.9, "p95_ms": 2.5}},
    "puback_ms": {"count": 9, "p50": 34.2, "p95": 52.1},
}  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine (./test installs it)")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


class Shower:
    """Shows a picture that gets brighter, for as long as it is entered, as the pipeline's thread would."""

    def __init__(self, page: WebPage) -> None:
        self._page, self._stop = page, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)

    def _run(self) -> None:
        shade = 0
        while not self._stop.wait(0.02):
            if self._page.wants_picture():
                shade = (shade + 7) % 256
                self._page.show(np.full((180, 320, 3), shade, np.uint8))


def until(page: Page, true: Callable[[], bool], within_s: float = 10.0) -> None:
    """Wait until it is true; the page's policy forbids the browser's own waiting by evaluated texts."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        page.wait_for_timeout(50)


def pixel(page: Page) -> int:
    """The red of the picture's middle."""
    return int(
        page.evaluate(
            """() => { const image = document.getElementById('picture'), canvas = document.createElement('canvas');
            canvas.width = canvas.height = 1;
            const context = canvas.getContext('2d');
            context.drawImage(image, 100, 100, 1, 1, 0, 0, 1, 1);
            return context.getImageData(0, 0, 1, 1).data[0]; }"""
        )
    )


def test_it_shows_the_picture_the_events_and_the_counters(browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    requested: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    with WebPage("0", 20) as server, Shower(server):
        server.tell([json.dumps(EVENT).encode()])
        server.count(STATS)
        page.goto(server.url)
        page.wait_for_selector("#state[data-state=live]")
        until(page, lambda: page.evaluate("document.getElementById('picture').naturalWidth") == 320)
        first = pixel(page)
        until(page, lambda: pixel(page) != first)
        assert page.inner_text("#events li .what") == "track start"
        assert "person 17, score 0.91" in page.inner_text("#events li .why")
        assert page.inner_text("#events li .watched") == "watched for 0.30 s, from 4.10 s to 4.40 s of the clip"
        server.tell([json.dumps(EVENT | {"seq": 2, "type": "track_end"}).encode()])
        page.wait_for_selector("#events li.track_end")
        known = {
            "state": "known",
            "name": "Anna",
            "confidence": 0.625,
            "why": "Anna: 3 views, nearest is Anna at 0.412 of 0.550",
        }
        server.tell([json.dumps(EVENT | {"seq": 3, "type": "identity"} | known).encode()])
        page.wait_for_selector("#events li.identity")
        assert page.inner_text("#events li.identity .what") == "identity: Anna"
        assert "nearest is Anna at 0.412 of 0.550, confidence 0.63" in page.inner_text("#events li.identity .why")
        until(page, lambda: "1,234" in page.inner_text("#counters"))
        assert "attention" in page.inner_text("#stages")
        assert page.inner_text("#stages tbody tr:last-child").split("\t") == ["sensor to PUBACK", "34.20", "52.10"]
        wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1], "nothing overflows on a phone"
        assert all(url.startswith(server.url) for url in requested), "no request leaves the node"
        assert complaints == []
    page.wait_for_selector("#state[data-state=gone]", timeout=15_000)
    assert "gone" in page.inner_text("#state")
    page.close()


ENTER = {"type": "zone_enter", "zone": "path", "why": "zone_enter: inside for 0.33 s, score 0.47"}
LEAVE = {"type": "zone_leave", "zone": "path", "dwell_s": 3.0, "why": "zone_leave: the zone ends, after 3.00 s inside"}
CROSS = {
    "type": "line_cross",
    "line": "gate",
    "direction": "in",
    "why": "line_cross in: from left to right, score 0.71",
}
SLOT = {
    "type": "slot_occupied", "slot": "14", "state": "occupied", "dwell_s": 12.0, "track": None,
    "why": "slot_occupied: has looked occupied for 6.00 s, probability of a car 0.93; min_dwell_s = 5.0",
}  # fmt: skip


@pytest.mark.parametrize(
    ("event", "heading", "why"),
    [
        (ENTER, "zone enter: path", "person 17 entered zone path: inside for 0.33 s, score 0.47"),
        (LEAVE, "zone leave: path", "person 17 left zone path: the zone ends, after 3.00 s inside, score 0.91"),
        (CROSS, "line cross: gate, in", "person 17 crossed line gate, in: from left to right, score 0.71"),
        (
            SLOT,
            "slot occupied: 14",
            "slot 14: has looked occupied for 6.00 s, probability of a car 0.93; min_dwell_s = 5.0; "
            "before that free for 12.0 s",
        ),
    ],
)
def test_an_event_gives_the_reason_of_its_rule(
    browser: Browser, event: dict[str, object], heading: str, why: str
) -> None:
    page = browser.new_page(viewport={"width": 320, "height": 700})
    with WebPage("0", 20) as server:
        server.tell([json.dumps(EVENT | {"media_s": None} | event).encode()])
        page.goto(server.url)
        page.wait_for_selector("#events li .why")
        assert (page.inner_text("#events li .what"), page.inner_text("#events li .why")) == (heading, why)
        if event.get("track", EVENT["track"]):
            assert page.inner_text("#events li .watched").startswith("watched for 0.30 s, from ")
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.close()


def test_health_says_how_the_node_stands_and_the_top_of_the_page_what_is_wrong(browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 320, "height": 700})
    broker = {"name": "mqtt://a-broker-with-a-rather-long-name.example:1883", "trouble": None}
    standing = {"broker": broker, "events_waiting": 0, "tamper": [], "temperature_c": 54.2, "uptime_s": 7500.0}
    with WebPage("0", 20) as server:
        server.count(STATS | standing)
        page.goto(server.url)
        until(page, lambda: page.inner_text("#standing dd >> nth=0") == "connected")
        shown = page.inner_text("#standing")
        for text in ("none seen", "54.2 °C", "(2\u00a0h\u00a05\u00a0min)"):
            assert text in shown
        assert page.inner_text("#trouble") == ""
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        term = page.query_selector("#standing dt")
        broken = {"broker": broker | {"trouble": "no connection (Connection refused)"}}
        server.count(STATS | standing | broken | {"events_waiting": 12, "tamper": ["covered"], "temperature_c": None})
        until(page, lambda: "covered" in page.inner_text("#trouble"))
        assert "no connection (Connection refused). Events are kept here" in page.inner_text("[role=status]#trouble")
        assert page.locator("#standing .bad").all_inner_texts() == ["not connected", "covered"]
        assert "12" in page.inner_text("#standing") and "not told" in page.inner_text("#standing")
        assert term is not None and term.evaluate("node => node.isConnected"), "what stays is not made anew each second"
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.close()


def test_without_a_viewer_no_picture_is_wanted() -> None:
    with WebPage("0", 10) as server:
        assert not server.wants_picture()


def brightest(url: str) -> int:
    """Of the first picture that a new viewer gets."""
    with urllib.request.urlopen(f"{url}stream.mjpg", timeout=10) as stream:
        while not (line := stream.readline()).startswith(b"Content-Length"):
            assert line, "the stream has ended"
        stream.readline()
        picture = cv2.imdecode(np.frombuffer(stream.read(int(line.split(b":")[1])), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return int(picture.max())


def test_what_is_hidden_is_not_shown_to_whoever_comes_later_nor_to_whoever_looks() -> None:
    with WebPage("0", 10) as server:
        server.hide()
        server.show(np.full((90, 160, 3), 200, np.uint8))
        assert brightest(server.url) > 190
        server.hide()
        assert brightest(server.url) < 10, "no frame need come first"
        server.show(np.full((90, 160, 3), 200, np.uint8))
        server.hide((160, 90))
        assert brightest(server.url) < 10
        server.show(np.full((90, 160, 3), 200, np.uint8))
        assert brightest(server.url) > 190


def test_only_loopback_names_and_only_get_are_served() -> None:
    with WebPage("0", 10) as server:
        with urllib.request.urlopen(server.url) as answer:
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        for request in (
            urllib.request.Request(server.url, headers={"Host": "evil.example"}),
            urllib.request.Request(server.url, data=b"x", method="POST"),
        ):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request)
            assert refused.value.code in (403, 405)


def test_a_taken_port_and_a_nonsense_address_are_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="cannot be used"):
            WebPage(str(taken.getsockname()[1]), 10).__enter__()
    for listen in ("http", "1.2.3.4", "99999", "host:"):
        with pytest.raises(ConfigError, match=r"web\.listen"):
            WebPage(listen, 10)

"""Zones drawn on the picture in a real browser, saved with comments kept and in force at once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.edge_runtime.test_web_access import Served
from tests.end_to_end.test_page import browser as browser  # the same fixture

START_S, WAIT_MS = 240.0, 120_000.0
"""A node starts within seconds and a page answers at once; a busy machine takes its time."""
ROOT = Path(__file__).resolve().parents[2]
FILE = """# our house
[camera]
source = "demo"  # the shipped clip, again and again

[[zones]]
name = "old"   # the path to the door
points = [[0.02, 0.02], [0.1, 0.02], [0.1, 0.1]]

# the end
"""


@contextmanager
def node(tmp_path: Path, text: str, *options: str) -> Iterator[tuple[str, Path]]:
    """A running node on the demo clip: the page's address as it was printed, and the configuration file."""
    file = tmp_path / "edge.toml"
    file.write_text(text)
    command = [sys.executable, "-m", "edge_runtime.cli", "--config", str(file), "--state", str(tmp_path / "state")]
    log = tmp_path / "log"
    with log.open("w") as out:
        done = subprocess.Popen([*command, "--web", "0", *options], cwd=ROOT, stderr=out, stdout=out, env=os.environ)
    try:
        deadline = time.monotonic() + START_S
        while not (found := re.search(r"page: (\S+)", log.read_text())):
            assert time.monotonic() < deadline and done.poll() is None, log.read_text()
            time.sleep(0.1)
        yield found[1], file
    finally:
        done.terminate()
        done.wait(60)
        assert "Traceback" not in log.read_text()


def tap(page: Page, x: float, y: float) -> None:
    box = page.locator("#stage").bounding_box()
    assert box is not None
    at = box["x"] + x * box["width"], box["y"] + y * box["height"]
    if page.evaluate("navigator.maxTouchPoints"):
        page.touchscreen.tap(*at)
    else:
        page.mouse.click(*at)


def tap_twice(page: Page, x: float, y: float) -> None:
    """Two taps 200 ms apart by the time stamps of the touches, however busy the machine is."""
    box = page.locator("#stage").bounding_box()
    assert box is not None
    at = [{"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}]
    screen, now_s = page.context.new_cdp_session(page), time.time() + 1
    for after_s in (0.0, 0.2):
        for kind, points in (("touchStart", at), ("touchEnd", [])):
            screen.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points, "timestamp": now_s + after_s})


def draw(page: Page, kind: str, name: str, *corners: tuple[float, float]) -> None:
    """Draw and name it; where there are corners enough, the first is tapped again."""
    page.click(f"#add-{kind}")
    for corner in corners if kind == "lines" else (*corners, corners[0]):
        tap(page, *corner)
    page.wait_for_selector("#stage:not(.drawing)")
    page.fill("#name", name)


def save(page: Page) -> None:
    page.click("#save")
    page.wait_for_selector("#form", state="hidden")


def opened(browser: Browser, url: str, width: int = 1280) -> Page:
    touch = width < 600
    page = browser.new_page(viewport={"width": width, "height": 900}, has_touch=touch, is_mobile=touch)
    page.set_default_timeout(WAIT_MS)
    page.goto(url)
    page.wait_for_selector("#list button")
    page.wait_for_selector("#state[data-state=live]")
    page.wait_for_timeout(1500)
    return page


def shot(page: Page, name: str) -> None:
    """For whoever wants to look: EDGE_SCREENSHOTS names a folder."""
    if folder := os.environ.get("EDGE_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def test_a_zone_is_drawn_saved_with_comments_and_tells_of_who_enters(browser: Browser, tmp_path: Path) -> None:
    with node(tmp_path, FILE) as (url, file):
        page = opened(browser, url)
        draw(page, "zones", "everywhere", (0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98))
        shot(page, "editing-1280")
        save(page)
        text = file.read_text()
        assert text.startswith(FILE.partition("\n# the end")[0]) and text.endswith("\n# the end\n")
        assert [zone["name"] for zone in tomllib.loads(text)["zones"]] == ["old", "everywhere"]
        page.wait_for_selector("#events li.zone_enter")
        why = page.inner_text("#events li.zone_enter .why >> nth=0")
        assert re.fullmatch(r"\w+ \d+ entered zone everywhere: inside for \d+\.\d\d s, score 0\.\d\d", why)
        watched = page.inner_text("#events li.zone_enter .watched >> nth=0")
        assert re.fullmatch(r"watched for \d+\.\d\d s, (from \d+\.\d\d s )?to \d+\.\d\d s of the clip", watched)
        shot(page, "timeline-1280")
        page.set_viewport_size({"width": 390, "height": 844})
        page.wait_for_timeout(600)
        shot(page, "timeline-390")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.close()


def test_a_self_crossing_zone_and_a_taken_name_are_refused_in_place(browser: Browser, tmp_path: Path) -> None:
    with node(tmp_path, FILE) as (url, file):
        page = opened(browser, url, 390)
        draw(page, "zones", "bow", (0.2, 0.2), (0.8, 0.8), (0.8, 0.2), (0.2, 0.8))
        page.click("#save")
        page.wait_for_selector("#error:not([hidden])")
        assert "the sides 0-1 and 2-3 cross or touch" in page.inner_text("#error")
        assert [handle.inner_text() for handle in page.query_selector_all(".handle:not(.between)")] == list("0123")
        shot(page, "refused-390")
        page.click("#cancel")
        page.click("#add-zones")
        page.click("#ready-made")
        page.fill("#name", "old")
        page.click("#save")
        page.wait_for_selector("#error:not([hidden])")
        assert "give it another" in page.inner_text("#error")
        assert page.get_attribute("#name", "aria-invalid") == "true"
        assert file.read_text() == FILE
        page.close()


def test_lines_and_slots_drawn_by_finger_are_in_force_without_a_restart(browser: Browser, tmp_path: Path) -> None:
    with node(tmp_path, FILE) as (url, file):
        page = opened(browser, url, 390)
        draw(page, "slots", "14", (0.35, 0.45), (0.55, 0.45), (0.55, 0.75), (0.35, 0.75))
        save(page)
        draw(page, "lines", "gate", (0.02, 0.5), (0.98, 0.5))
        save(page)
        page.wait_for_selector("#events li.line_cross")
        assert "crossed line gate, " in page.inner_text("#timeline")
        page.wait_for_selector("#events li.slot_free, #events li.slot_occupied")
        page.once("dialog", lambda dialog: dialog.accept())
        page.click("#list button.slots")
        page.click("#delete")
        page.wait_for_selector("#list button.slots", state="detached")
        written = tomllib.loads(file.read_text())
        assert ([line["name"] for line in written["lines"]], written.get("slots", [])) == (["gate"], [])
        page.close()


def test_a_corner_is_moved_by_the_keyboard_alone(browser: Browser, tmp_path: Path) -> None:
    with node(tmp_path, FILE) as (url, file):
        page = opened(browser, url)
        page.focus("#list button")
        page.keyboard.press("Enter")
        page.focus("#handles .handle")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Shift+ArrowRight")
        page.focus("#name")
        page.keyboard.press("Enter")
        page.wait_for_selector("#form", state="hidden")
        page.wait_for_timeout(500)
        page.click("#list button")
        page.keyboard.press("Escape")
        page.wait_for_selector("#form", state="hidden")
        assert file.read_text() == FILE.replace("[[0.02, 0.02]", "[[0.021, 0.03]")
        page.close()


def test_corners_are_taken_back_put_in_between_and_removed_and_a_stale_page_is_told(browser: Browser) -> None:
    with Served("0") as served:
        page = browser.new_page(viewport={"width": 390, "height": 900}, has_touch=True, is_mobile=True)
        page.set_default_timeout(WAIT_MS)
        page.goto(served.page.url)
        page.wait_for_selector("#rules")
        page.click("#add-zones")
        for corner in ((0.2, 0.2), (0.8, 0.2), (0.9, 0.9)):
            tap(page, *corner)
        page.click("#undo")
        for corner in ((0.8, 0.8), (0.2, 0.8), (0.2, 0.2)):
            tap(page, *corner)
        corners = page.locator(".handle:not(.between)")
        assert corners.count() == 4
        tap(page, 0.5, 0.2)
        assert corners.count() == 5
        tap_twice(page, 0.8, 0.8)
        assert corners.count() == 4
        save(page)
        assert served.zones == ["zone-1"]
        other = browser.new_page()
        other.goto(served.page.url)
        other.click("#list button")
        page.click("#list button")
        page.fill("#name", "first")
        save(page)
        other.fill("#name", "second")
        other.click("#save")
        other.wait_for_selector("#error:not([hidden])")
        assert "changed elsewhere" in other.inner_text("#error")
        assert served.zones == ["first"]
        other.close()
        page.close()


def test_beyond_loopback_the_page_asks_for_the_password_once(browser: Browser, tmp_path: Path) -> None:
    with node(tmp_path, FILE, "--web", "0.0.0.0:0") as (printed, _):
        url, _, token = printed.partition("?token=")
        assert len(token) >= 20
        for path in ("rules.json", "stream.mjpg", "events", "stats.json", "app.js"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(url + path)
            assert refused.value.code == 401
        bearer = {"Authorization": f"Bearer {token}"}
        with urllib.request.urlopen(urllib.request.Request(url + "rules.json", headers=bearer)) as answer:
            assert answer.status == 200
        page = browser.new_page()
        page.goto(url)
        page.fill("#token", "wrong")
        page.click("button")
        page.wait_for_url("**/login#wrong")
        assert page.is_visible("#wrong")
        page.fill("#token", token)
        page.click("button")
        page.wait_for_selector("#list button")
        page.context.clear_cookies()
        page.goto(printed)
        page.wait_for_selector("#list button")
        assert page.url == url
        page.close()

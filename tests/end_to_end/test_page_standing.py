"""The page of a running node says how it stands, over an outage of its broker, and why its events came."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.end_to_end.test_page import browser as browser  # the same fixture
from tests.end_to_end.test_page import until
from tests.end_to_end.test_page_editing import node, opened, shot
from tests.mosquitto import BINARY, Mosquitto

WAIT_S = 60.0
"""Two rounds of the demo clip."""
FILE = """[camera]
source = "demo"

[[zones]]
name = "everywhere"
points = [
  [0.01, 0.01],  # by the tree
  [0.99, 0.01],
  [0.99, 0.99],
  [0.01, 0.99],
]
"""


@pytest.mark.skipif(BINARY is None, reason="no Mosquitto on this machine (./test installs it)")
def test_an_outage_of_the_broker_is_said_at_the_top_and_its_end_too(browser: Browser, tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, node(tmp_path, FILE, "--broker", broker.url) as (url, _):
        page = opened(browser, url, 320)
        state, waiting = page.locator("#standing dd >> nth=0"), page.locator("#standing dd >> nth=1")
        until(page, lambda: state.inner_text() == "connected", WAIT_S)
        assert page.inner_text("#trouble") == ""
        broker.stop()
        until(page, lambda: state.inner_text() == "not connected", WAIT_S)
        assert page.inner_text("#trouble").startswith(f"Broker {broker.url}: ")
        page.wait_for_selector("#events li.zone_enter, #events li.zone_leave")
        until(page, lambda: int(waiting.inner_text()) > 0, WAIT_S)
        shot(page, "outage-320")
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        broker.start()
        page.wait_for_selector("#trouble:empty", state="attached")
        until(page, lambda: state.inner_text() == "connected" and waiting.inner_text() == "0", WAIT_S)
        page.close()


def test_an_edit_keeps_comments_and_who_is_inside_and_a_leaving_by_deleting_is_told_as_such(
    browser: Browser, tmp_path: Path
) -> None:
    with node(tmp_path, FILE) as (url, file):
        page = opened(browser, url)
        page.click("#list button")
        page.focus("#handles .handle")
        page.keyboard.press("ArrowRight")
        entered, left = page.locator("#events li.zone_enter"), page.locator("#events li.zone_leave")
        until(page, lambda: entered.count() > left.count(), WAIT_S)  # somebody is inside now
        page.click("#save")
        page.wait_for_selector("#form", state="hidden")
        assert file.read_text() == FILE.replace("[0.01, 0.01],  #", "[0.02, 0.01],  #")
        until(page, lambda: entered.count() > left.count(), WAIT_S)
        assert "the zone ends" not in page.inner_text("#timeline"), "it goes on with other corners"
        page.once("dialog", lambda dialog: dialog.accept())
        page.click("#list button")
        page.click("#delete")
        until(page, lambda: "left zone everywhere: the zone ends, after " in page.inner_text("#timeline"), WAIT_S)
        page.close()

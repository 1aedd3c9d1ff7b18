"""A node at a real Mosquitto, beside its events: counts, switches, discovery."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.publish as single
import pytest

from tests.mosquitto import BINARY, Mosquitto
from tests.subscriber import Subscriber

pytestmark = [
    pytest.mark.skipif(BINARY is None, reason="no mosquitto on this machine (./test installs it)"),
    pytest.mark.timeout(600),
]
START_S = 240.0
"""A node starts within seconds; a busy machine takes its time."""

WHOLE = "points = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]"
NAMES = '[node]\nname = "porch"\n[camera]\nname = "front"\n'
LOT = f'[[zones]]\nname = "lot"\n{WHOLE}\nlabels = ["vehicle", "person"]\n'
DOOR = f'[[zones]]\nname = "door"\n{WHOLE}\nlabels = ["person"]\n'
DEVICE = "homeassistant/device/porch/config"


@pytest.fixture
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


def node(tmp_path: Path, url: str, zones: str, *options: str) -> list[str]:
    """The command that runs it on the demo clip."""
    config = tmp_path / "edge.toml"
    config.write_text(NAMES + zones)
    return [
        sys.executable, "-m", "edge_runtime.cli", "--camera", "demo", "--config", str(config), "--broker", url,
        "--state", str(tmp_path / "state"), *options,
    ]  # fmt: skip


def retained(port: int, topic: str) -> dict[str, bytes]:
    """What a subscriber that comes later is told."""
    with Subscriber(port, topic) as late:
        time.sleep(0.5)
        return {topic: payload for topic, payload, kept in late.heard if kept}


def payloads(subscriber: Subscriber, topic: str) -> list[bytes]:
    return [payload for heard, payload, _ in subscriber.heard if heard == topic]


def device(subscriber: Subscriber) -> dict[str, Any]:
    payload = subscriber.last(DEVICE)
    assert payload is not None
    found: dict[str, Any] = json.loads(payload)
    return found


def test_counts_follow_the_events_and_are_right_after_the_clip(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with Subscriber(mosquitto.port) as heard:
        done = subprocess.run(
            node(tmp_path, mosquitto.url, LOT, "--once", "--fast"), capture_output=True, text=True, timeout=START_S
        )
        assert done.returncode == 0, done.stderr
        assert heard.wait(lambda s: s.last("/status") == b"offline")
    inside = {"vehicle": 0, "person": 0}
    seen = {label: [0] for label in inside}
    told = [json.loads(payload) for payload in payloads(heard, "edge/porch/events")]
    first = {key: told[0][key] for key in ("type", "seq", "camera", "track")}
    assert first == {"type": "node_online", "seq": 1, "camera": None, "track": None}
    assert [event["type"] for event in told].count("node_online") == 1
    for topic, payload, _ in heard.heard:
        label = topic.rpartition("/")[2]
        if topic.endswith("/events"):
            event = json.loads(payload)
            if event["type"] in ("zone_enter", "zone_leave"):
                group = "person" if event["track"]["label"] == "person" else "vehicle"
                inside[group] += 1 if event["type"] == "zone_enter" else -1
        elif topic.startswith("edge/porch/front/lot/"):
            seen[label].append(int(payload))
    assert inside == {"vehicle": 0, "person": 0}, "whoever entered has left, at the latest with the clip's end"
    assert max(seen["vehicle"]) >= 1, "two cars drive in; see models/demo.md"
    kept = retained(mosquitto.port, "edge/porch/front/#")
    assert kept["edge/porch/front/lot/vehicle"] == kept["edge/porch/front/lot/person"] == b"0"
    assert json.loads(kept["edge/porch/front/tamper"])["kinds"] in ([], ["frozen"])


def test_a_removed_zone_is_taken_back_and_a_returning_home_assistant_is_told_again(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    first = node(tmp_path, mosquitto.url, LOT + DOOR, "--once", "--fast")
    assert subprocess.run(first, capture_output=True, timeout=START_S).returncode == 0
    assert "edge/porch/front/door/person" in retained(mosquitto.port, "edge/#")
    with Subscriber(mosquitto.port, "#") as heard:
        second = subprocess.Popen(node(tmp_path, mosquitto.url, LOT), stderr=subprocess.DEVNULL)
        try:
            assert heard.wait(lambda s: s.last("/status") == b"online", START_S)
            assert heard.wait(lambda s: "door.person" in device(s)["components"])
            assert device(heard)["components"]["door.person"] == {"platform": "binary_sensor"}
            assert "edge/porch/front/door/person" not in retained(mosquitto.port, "edge/#")
            before = len(payloads(heard, DEVICE))
            assert heard.wait(lambda s: s.last("/health") is not None, START_S), "frames flow"
            single.single("homeassistant/status", "online", port=mosquitto.port)
            assert heard.wait(lambda s: len(payloads(s, DEVICE)) > before, 30)
            assert "lot.person" in device(heard)["components"]
        finally:
            second.terminate()
            second.wait(30)


def test_detection_off_ends_what_goes_on_stops_events_and_holds_over_a_restart(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    command = node(tmp_path, mosquitto.url, LOT, "--realtime")
    with Subscriber(mosquitto.port) as heard:
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            assert heard.wait(lambda s: any(e["type"] == "zone_enter" for e in s.events()), START_S)
            single.single("edge/porch/set/detection", "OFF", port=mosquitto.port)
            assert heard.wait(lambda s: s.last("porch/detection") == b"OFF")
            time.sleep(1.5)  # the frame under way, and its events
            told = len(heard.events())
            started = {e["track"]["id"] for e in heard.events() if e["type"] == "track_start"}
            ended = {e["track"]["id"] for e in heard.events() if e["type"] == "track_end"}
            assert started == ended
            assert heard.last("lot/vehicle") == heard.last("lot/person") == b"0"
            time.sleep(5)
            assert [e for e in heard.events()[told:] if e["track"] is not None] == []
            assert heard.last("/status") == b"online", "it can be switched on again"
            single.single("edge/porch/set/detection", "ON", port=mosquitto.port)
            assert heard.wait(lambda s: any(e["type"] == "track_start" for e in s.events()[told:]), START_S)
            single.single("edge/porch/set/detection", "OFF", port=mosquitto.port)
            assert heard.wait(lambda s: s.last("porch/detection") == b"OFF")
        finally:
            process.terminate()
            process.wait(30)
    with Subscriber(mosquitto.port) as heard:
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            assert heard.wait(lambda s: payloads(s, "edge/porch/status")[-1:] == [b"online"], START_S)
            assert heard.wait(lambda s: s.last("/health") is not None, START_S)
            assert heard.last("porch/detection") == b"OFF"
            assert [e for e in heard.events() if e["track"] is not None] == []
        finally:
            process.terminate()
            process.wait(30)

"""A real Home Assistant beside a real node and a real Mosquitto: what it takes up, and what its automations do."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import paho.mqtt.publish as single
import pytest

from edge_runtime.datatypes import Event, TrackFacts
from edge_runtime.publishing.payload import encode
from tests.home_assistant import INSTALLED, HomeAssistant
from tests.mosquitto import BINARY, Mosquitto
from tests.subscriber import Subscriber

pytestmark = [
    pytest.mark.skipif(BINARY is None, reason="no mosquitto on this machine (./test installs it)"),
    pytest.mark.skipif(not INSTALLED, reason="no Home Assistant: ./test installs it where there is Python 3.13"),
    pytest.mark.timeout(900),
]

WHOLE = "points = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]"
LOT = f'[[zones]]\nname = "lot"\n{WHOLE}\nlabels = ["vehicle", "person"]\n'
CONFIG = f"""
[node]
name = "porch"
[camera]
name = "front"
[privacy]
level = "snapshots"
{LOT}
[[lines]]
name = "gate"
points = [[0.5, 0.0], [0.5, 1.0]]
[[slots]]
name = "14"
points = [[0.1, 0.5], [0.3, 0.5], [0.3, 0.8], [0.1, 0.8]]
"""
AUTOMATIONS = [
    {
        "alias": "tell",
        "use_blueprint": {
            "path": "edge_runtime/notify_with_snapshot.yaml",
            "input": {"events_topic": "edge/porch/events", "notify_action": "notify.phone", "quiet_s": 0},
        },
    },
    {
        "alias": "gate",
        "use_blueprint": {
            "path": "edge_runtime/open_gate.yaml",
            "input": {
                "events_topic": "edge/gate/events",
                "open_actions": [{"action": "test.open", "data": {"plate": "{{ plate }}"}}],
                "near_actions": [{"action": "notify.phone", "data": {"message": "nearly {{ plate }}"}}],
            },
        },
    },
]


@pytest.fixture(scope="module")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture(scope="module")
def home(mosquitto: Mosquitto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HomeAssistant]:
    with HomeAssistant(tmp_path_factory.mktemp("home"), mosquitto.port, AUTOMATIONS) as home:
        yield home


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("node")


class Node:
    """The demo clip, over and over, at its own pace."""

    def __init__(self, folder: Path, url: str, config: str) -> None:
        path = folder / "edge.toml"
        path.write_text(config)
        self._command = [
            sys.executable, "-m", "edge_runtime.cli", "--camera", "demo", "--config", str(path), "--broker", url,
            "--state", str(folder / "state"),
        ]  # fmt: skip

    def __enter__(self) -> None:
        self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)


def announced(port: int) -> dict[str, dict[str, Any]]:
    """The components of the node's retained announcement by unique id, those taken back left out."""
    with Subscriber(port, "homeassistant/device/porch/config") as heard:
        assert heard.wait(lambda s: bool(s.heard))
    components = json.loads(heard.heard[-1][1])["components"]
    return {c["unique_id"]: c for c in components.values() if "unique_id" in c}


def test_it_takes_up_all_that_a_node_announces_and_follows_what_it_sees(
    home: HomeAssistant, mosquitto: Mosquitto, folder: Path
) -> None:
    with Node(folder, mosquitto.url, CONFIG):
        assert home.wait(lambda h: h.state("binary_sensor.porch_connectivity") == "on")
        wanted = announced(mosquitto.port)
        assert home.wait(lambda h: len(h.states()) >= len(wanted), 30)
        states = home.states()
        assert {s["unique_id"]: entity for entity, s in states.items()} == {
            unique_id: component["default_entity_id"] for unique_id, component in wanted.items()
        }
        assert states["sensor.porch_slots_free"]["attributes"]["state_class"] == "measurement"
        assert [(d["name"], d["maker"]) for d in home.devices() if ["mqtt", "edge_porch"] in d["identifiers"]] == [
            ("porch", "edge-runtime")
        ]
        assert home.wait(lambda h: h.state("binary_sensor.porch_lot_vehicle") == "on")
        assert int(home.state("sensor.porch_lot_vehicle_count") or "") >= 1
        assert home.wait(lambda h: h.state("sensor.porch_fps") not in (None, "unknown", "0"), 60)
        assert home.wait(lambda h: h.state("binary_sensor.porch_slot_14") == "off", 60)
        home.call("switch.turn_off", entity_id="switch.porch_detection")
        assert home.wait(lambda h: h.state("switch.porch_detection") == "off", 30)
        assert home.wait(lambda h: h.state("binary_sensor.porch_lot_vehicle") == "off", 30)
        home.call("switch.turn_on", entity_id="switch.porch_detection")
        assert home.wait(lambda h: h.state("switch.porch_detection") == "on", 30)
        assert home.wait(lambda h: h.state("binary_sensor.porch_lot_vehicle") == "on")
    assert home.wait(lambda h: h.state("binary_sensor.porch_connectivity") == "off", 60)
    assert home.state("binary_sensor.porch_lot_vehicle") == "unavailable"
    assert home.complaints() == []


def test_the_notification_of_its_blueprint_shows_the_very_object(
    home: HomeAssistant, mosquitto: Mosquitto, folder: Path
) -> None:
    before = len(notifications(home))
    with Node(folder, mosquitto.url, CONFIG):
        assert home.wait(lambda h: any(told["data"]["image"] for told in notifications(h)[before:]))
        told = next(t for t in notifications(home)[before:] if t["data"]["image"])
        assert told["title"] == "porch"
        assert ", lot, " in told["message"]
        picture = cv2.imdecode(np.frombuffer(home.picture(told["data"]["image"]), np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None and min(picture.shape[:2]) > 20
    assert home.complaints() == []


def notifications(home: HomeAssistant) -> list[dict[str, Any]]:
    return [call for call in home.calls() if call["action"] == "notify.phone" and call.get("title") == "porch"]


def test_an_allowed_plate_opens_the_gate_and_one_character_off_does_not(
    home: HomeAssistant, mosquitto: Mosquitto
) -> None:
    for state, plate in (("near", "AB123CE"), ("unknown", "ZZ999ZZ"), ("allowed", "AB123CD")):
        single.single("edge/gate/events", plate_event(state, plate), qos=1, port=mosquitto.port)
    assert home.wait(lambda h: any(c["action"] == "test.open" for c in h.calls()), 30)
    assert home.wait(lambda h: any(c.get("message", "").startswith("nearly") for c in h.calls()), 30)
    time.sleep(0.5)
    assert [c["plate"] for c in home.calls() if c["action"] == "test.open"] == ["AB123CD"]
    assert [c["message"] for c in home.calls() if c.get("message", "").startswith("nearly")] == ["nearly AB123CE"]
    assert home.complaints() == []


def plate_event(state: str, plate: str) -> bytes:
    track = TrackFacts(7, "car", 0.9, (10.0, 20.0, 60.0, 120.0), 2.0)
    event = Event("plate", 0, None, (640, 480), track, state=state, name=plate)  # type: ignore[arg-type]
    return encode(
        event, node="gate", camera="front", boot="0b9f8a3e-0000-4000-8000-000000000001", seq=1,
        event_id="01M86R1KAWYGCP7H3YHW31279G", wall=datetime.now(UTC), clock_synced=True, latency_ms=40.0,
    )  # fmt: skip


def test_a_zone_that_is_gone_is_gone_there_too_and_the_rest_stays(
    home: HomeAssistant, mosquitto: Mosquitto, folder: Path
) -> None:
    before = home.states()
    assert "binary_sensor.porch_lot_vehicle" in before
    with Node(folder, mosquitto.url, CONFIG.replace(LOT, "")):
        assert home.wait(lambda h: not any("_lot_" in entity for entity in h.states()))
        assert home.wait(lambda h: h.state("binary_sensor.porch_connectivity") == "on")
        kept = {entity: s["unique_id"] for entity, s in before.items() if "_lot_" not in entity}
        assert {entity: s["unique_id"] for entity, s in home.states().items()} == kept
    assert home.complaints() == []

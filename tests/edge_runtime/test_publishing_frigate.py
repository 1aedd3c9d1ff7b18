"""The profile `frigate`: messages as Frigate documents them, from our events."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.publishing.frigate import QUEUE, FrigatePublisher
from edge_runtime.publishing.frigate_objects import FrigateObjects
from edge_runtime.publishing.outbox import Row
from tests.mosquitto import BINARY, Mosquitto
from tests.subscriber import Subscriber

needs_mosquitto = pytest.mark.skipif(BINARY is None, reason="no mosquitto on this machine (./test installs it)")

NUMBER, TEXT, FLAG = {"type": "number"}, {"type": "string"}, {"type": "boolean"}
WHOLE, ZONES = {"type": "integer"}, {"type": "array", "items": {"type": "string"}}
FOUR = {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4}
OBJECT = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": r"^\d+\.\d{6}-[a-z0-9]{6}$"},
        "camera": TEXT,
        "frame_time": NUMBER,
        "snapshot": {"type": ["object", "null"]},
        "label": TEXT,
        "sub_label": {"type": ["array", "null"]},
        "top_score": NUMBER,
        "false_positive": FLAG,
        "start_time": NUMBER,
        "end_time": {"type": ["number", "null"]},
        "score": NUMBER,
        "box": FOUR,
        "area": WHOLE,
        "ratio": NUMBER,
        "region": FOUR,
        "active": FLAG,
        "stationary": FLAG,
        "motionless_count": WHOLE,
        "position_changes": WHOLE,
        "current_zones": ZONES,
        "entered_zones": ZONES,
        "has_clip": FLAG,
        "has_snapshot": FLAG,
        "attributes": {"type": "object"},
        "current_attributes": {"type": "array"},
        "pending_loitering": FLAG,
        "max_severity": {"type": ["string", "null"]},
        "current_estimated_speed": NUMBER,
        "average_estimated_speed": NUMBER,
        "velocity_angle": NUMBER,
        "path_data": {"type": "array"},
        "recognized_license_plate": {"type": ["string", "null"]},
        "recognized_license_plate_score": {"type": ["number", "null"]},
    },
}
OBJECT["required"] = list(OBJECT["properties"])  # type: ignore[call-overload]
DOCUMENTED = {
    "type": "object",
    "properties": {"type": {"enum": ["new", "update", "end"]}, "before": OBJECT, "after": OBJECT},
    "required": ["type", "before", "after"],
    "additionalProperties": False,
}
DOCUMENT = jsonschema.Draft202012Validator(DOCUMENTED)
"""https://docs.frigate.video/integrations/mqtt, `frigate/events`, and the fields of Frigate's own to_dict."""


def event(kind: str, track: int = 1, at_s: float = 10.0, zone: str | None = None, x: float = 100.0) -> dict[str, Any]:
    """As published, schema 1: a person 100 x 200 pixels large at `x`, in a frame of 1000 x 500."""
    return {
        "type": kind,
        "boot": "0b9f8a3e-0000-4000-8000-000000000001",
        "camera": "front",
        "time": f"2026-11-24T03:{int(at_s // 60):02}:{at_s % 60:06.3f}Z",
        "zone": zone,
        "track": {
            "id": track,
            "label": "person",
            "score": 0.9,
            "box": [x, 200.0, x + 100, 400.0],
            "box_norm": [x / 1000, 0.4, x / 1000 + 0.1, 0.8],
            "age_s": 0.4,
        },
    }


def test_a_track_becomes_new_update_and_end() -> None:
    objects = FrigateObjects()
    told = [
        objects.translate(event("track_start", at_s=10)),
        objects.translate(event("zone_enter", at_s=11, zone="path")),
        objects.translate(event("zone_leave", at_s=12, zone="path")),
        objects.translate(event("track_end", at_s=13)),
    ]
    assert [t["type"] for t in told if t] == ["new", "update", "update", "end"]
    for t in told:
        DOCUMENT.validate(t)
    new, entered, left, end = (t for t in told if t)
    assert len({t["after"]["id"] for t in told if t}) == 1
    assert new["before"]["false_positive"] and not new["after"]["false_positive"]
    assert (entered["before"]["current_zones"], entered["after"]["current_zones"]) == ([], ["path"])
    assert (left["after"]["current_zones"], left["after"]["entered_zones"]) == ([], ["path"])
    assert end["before"]["end_time"] is None
    assert end["after"]["end_time"] == end["after"]["frame_time"]
    assert end["after"]["start_time"] == pytest.approx(end["after"]["end_time"] - 3.4, abs=1e-3)


def test_boxes_are_whole_pixels_and_the_ratio_is_width_by_height() -> None:
    told = FrigateObjects().translate(event("track_start"))
    assert told is not None
    after = told["after"]
    assert (after["box"], after["area"], after["ratio"]) == ([100, 200, 200, 400], 20000, 0.5)


def test_an_object_that_stands_still_becomes_stationary_and_moves_again() -> None:
    objects = FrigateObjects()
    objects.translate(event("track_start", at_s=0))
    for at_s in (2, 4, 6, 8, 10):
        still = objects.translate(event("track_update", at_s=at_s))
        assert still and still["after"]["active"]
    still = objects.translate(event("track_update", at_s=12))
    assert still and still["after"]["stationary"] and still["after"]["motionless_count"] == 60
    moved = objects.translate(event("track_update", at_s=14, x=300))
    assert moved and moved["after"]["active"]
    assert moved["after"]["position_changes"] == 1


def test_a_parked_car_does_not_make_messages_grow() -> None:
    objects = FrigateObjects()
    objects.translate(event("track_start", at_s=0))
    sizes = [len(json.dumps(objects.translate(event("track_update", at_s=2.0 * i)))) for i in range(1, 500)]
    assert max(sizes) - min(sizes) < 50


def test_events_that_are_about_no_track_are_not_frigates() -> None:
    objects = FrigateObjects()
    assert objects.translate(event("tamper") | {"track": None}) is None
    assert objects.translate(event("track_end")) is None, "nor the end of what was never told of"


def test_objects_are_counted_by_camera_and_zone() -> None:
    objects = FrigateObjects()
    objects.translate(event("track_start", 1))
    objects.translate(event("track_start", 2))
    objects.translate(event("zone_enter", 2, zone="path"))
    assert objects.counts() == {
        ("front", "person"): 2, ("front", "all"): 2, ("path", "person"): 1, ("path", "all"): 1,
    }  # fmt: skip
    objects.translate(event("track_end", 2))
    assert objects.counts() == {("front", "person"): 1, ("front", "all"): 1}


kinds = st.sampled_from(["track_start", "track_update", "zone_enter", "zone_leave", "dwell", "line_cross", "track_end"])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(kinds, st.integers(1, 3), st.sampled_from(["a", "b"]), st.integers(0, 900)), max_size=25))
def test_every_object_has_one_new_one_end_and_no_gap_between_before_and_after(steps: list[Any]) -> None:
    objects, last, ended = FrigateObjects(), dict[str, dict[str, Any]](), set[str]()
    for i, (kind, track, zone, x) in enumerate(steps):
        at = event(kind, track, float(i), zone if kind.startswith("zone") else None, float(x))
        told = objects.translate(at | {"track": at["track"] | {"age_s": 0.0}})
        if told is None:
            continue
        DOCUMENT.validate(told)
        name = told["after"]["id"]
        assert name not in ended
        assert (told["type"] == "new") == (name not in last)
        if told["type"] != "new":
            assert told["before"] == last[name]
        last[name] = told["after"]
        if told["type"] == "end":
            ended.add(name)
    assert objects.counts()["front", "all"] == len(last) - len(ended)


@pytest.fixture
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@needs_mosquitto
def test_over_a_real_broker(mosquitto: Mosquitto, tmp_path: Path) -> None:
    switched: list[bool] = []
    with Subscriber(mosquitto.port, "frigate/#") as heard:
        node = FrigatePublisher(
            mosquitto.url, root="frigate", node="porch", camera="front", keepalive_s=5, on_detect=switched.append
        )
        assert heard.wait(lambda s: s.last("frigate/available") == b"offline"), "no frame has been processed yet"
        node.say_online(True)
        assert heard.wait(lambda s: s.last("frigate/available") == b"online")
        node.show_detection(True)
        for seq, kind in enumerate(("track_start", "zone_enter", "track_end"), 1):
            node.announce(Row(seq, json.dumps(event(kind, at_s=seq, zone="path")).encode()))
        assert heard.wait(lambda s: len(s.events()) == 3)
        assert [e["type"] for e in heard.events()] == ["new", "update", "end"]
        assert heard.wait(lambda s: s.last("frigate/path/person") == b"0")
        assert next(payload for topic, payload, _ in heard.heard if topic == "frigate/path/person") == b"1"
        assert heard.last("frigate/front/detect/state") == b"ON"
        heard._client.publish("frigate/front/detect/set", "OFF")
        assert heard.wait(lambda _: switched == [False])
        node.close()
        assert heard.wait(lambda s: s.last("frigate/available") == b"offline")


def available(heard: Subscriber) -> list[str]:
    return [payload.decode() for topic, payload, _ in heard.heard if topic == "frigate/available"]


def publisher(mosquitto: Mosquitto) -> FrigatePublisher:
    return FrigatePublisher(
        mosquitto.url, root="frigate", node="porch", camera="front", keepalive_s=5, on_detect=lambda _: None
    )


@needs_mosquitto
def test_available_follows_the_frames_also_through_an_outage_that_fills_the_queue(mosquitto: Mosquitto) -> None:
    with Subscriber(mosquitto.port, "frigate/#") as heard:
        node = publisher(mosquitto)
        node.say_online(True)
        assert heard.wait(lambda s: bool(available(s)) and available(s)[-1] == "online")
        mosquitto.stop()
        for seq in range(1, 2 * QUEUE):
            node.announce(Row(seq, json.dumps(event("track_start", track=seq)).encode()))
        node.say_online(False)
        mosquitto.start()
        assert heard.wait(lambda s: len(s.events()) >= QUEUE, 30)
        node.say_online(True)
        node.say_online(False)
        time.sleep(1)
        with Subscriber(mosquitto.port, "frigate/available") as late:
            assert late.wait(lambda s: available(s) == ["offline"])
        node.say_online(True)
        assert heard.wait(lambda s: available(s)[-1] == "online")
        node.close()
        with Subscriber(mosquitto.port, "frigate/available") as late:
            assert late.wait(lambda s: available(s) == ["offline"])

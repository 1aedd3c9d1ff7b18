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
        "sub_label": {"type": ["array", "null"], "prefixItems": [TEXT, {"type": ["number", "null"]}], "maxItems": 2},
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
        "name": None,
        "confidence": None,
        "snapshot": None,
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
        *objects.translate(event("track_start", at_s=10)),
        *objects.translate(event("zone_enter", at_s=11, zone="path")),
        *objects.translate(event("zone_leave", at_s=12, zone="path")),
        *objects.translate(event("track_end", at_s=13)),
    ]
    assert [t["type"] for t in told] == ["new", "update", "update", "end"]
    for t in told:
        DOCUMENT.validate(t)
    new, entered, left, end = told
    assert len({t["after"]["id"] for t in told}) == 1
    assert new["before"]["false_positive"] and not new["after"]["false_positive"]
    assert (entered["before"]["current_zones"], entered["after"]["current_zones"]) == ([], ["path"])
    assert (left["after"]["current_zones"], left["after"]["entered_zones"]) == ([], ["path"])
    assert end["before"]["end_time"] is None
    assert end["after"]["end_time"] == end["after"]["frame_time"]
    assert end["after"]["start_time"] == pytest.approx(end["after"]["end_time"] - 3.4, abs=1e-3)


def test_boxes_are_whole_pixels_and_the_ratio_is_width_by_height() -> None:
    after = FrigateObjects().translate(event("track_start"))[0]["after"]
    assert (after["box"], after["area"], after["ratio"]) == ([100, 200, 200, 400], 20000, 0.5)


def test_an_object_that_stands_still_becomes_stationary_and_moves_again() -> None:
    objects = FrigateObjects()
    objects.translate(event("track_start", at_s=0))
    for at_s in (2, 4, 6, 8, 10):
        (still,) = objects.translate(event("track_update", at_s=at_s))
        assert still["after"]["active"]
    (still,) = objects.translate(event("track_update", at_s=12))
    assert still["after"]["stationary"] and still["after"]["motionless_count"] == 60
    (moved,) = objects.translate(event("track_update", at_s=14, x=300))
    assert moved["after"]["active"]
    assert moved["after"]["position_changes"] == 1


def test_a_parked_car_does_not_make_messages_grow() -> None:
    objects = FrigateObjects()
    objects.translate(event("track_start", at_s=0))
    sizes = [len(json.dumps(objects.translate(event("track_update", at_s=2.0 * i)))) for i in range(1, 500)]
    assert max(sizes) - min(sizes) < 50


def test_events_that_are_about_no_track_are_not_frigates() -> None:
    objects = FrigateObjects()
    assert objects.translate(event("tamper") | {"track": None}) == []
    assert objects.translate(event("track_end")) == [], "nor the end of what was never told of"
    assert objects.translate(event("identity")) == []


def face(kind: str, at_s: float, x: float = 130.0, **more: Any) -> dict[str, Any]:
    """An event of a face at `x`, as those of a person at 100 bear it."""
    whole = event(kind, 7, at_s)
    box = {"label": "face", "box": [x, 210.0, x + 30, 250.0], "box_norm": [x / 1000, 0.42, x / 1000 + 0.03, 0.5]}
    return whole | more | {"track": whole["track"] | box}


def after(told: list[dict[str, Any]]) -> dict[str, Any]:
    """The newest `after`, by label."""
    for message in told:
        DOCUMENT.validate(message)
    return {message["after"]["label"]: message["after"] for message in told}


def test_a_face_that_is_known_becomes_the_sub_label_of_its_person() -> None:
    objects = FrigateObjects()
    objects.translate(event("track_start", 1))
    objects.translate(event("track_start", 2, x=500.0))
    objects.translate(face("track_start", 10.2))
    told = objects.translate(face("identity", 11, state="known", name="Anna", confidence=0.81))
    assert [(t["type"], t["after"]["label"], t["after"]["sub_label"]) for t in told] == [
        ("update", "face", ["Anna", 0.81]), ("update", "person", ["Anna", 0.81]),
    ]  # fmt: skip
    assert told[1]["before"]["sub_label"] is None
    assert told[1]["after"]["box"] == [100, 200, 200, 400], "the one who bears it, not the other"
    assert after(objects.translate(event("track_update", 2, 12, x=500.0)))["person"]["sub_label"] is None
    assert after(objects.translate(event("track_end", 1, 13)))["person"]["sub_label"] == ["Anna", 0.81]


def test_a_person_who_is_told_of_after_the_face_is_named_too() -> None:
    objects = FrigateObjects()
    objects.translate(face("track_start", 10))
    assert len(objects.translate(face("identity", 11, state="known", name="Anna", confidence=0.81))) == 1
    assert after(objects.translate(event("track_start", 1, 12)))["person"]["sub_label"] == ["Anna", 0.81]


def test_an_unknown_face_and_one_whose_name_is_kept_back_give_no_sub_label() -> None:
    objects = FrigateObjects()
    objects.translate(event("track_start", 1))
    objects.translate(face("track_start", 10.2))
    for state in ("unknown", "known"):
        told = objects.translate(face("identity", 11, state=state))
        assert [t["after"]["sub_label"] for t in told] == [None], "and nothing is news about the person"


def test_a_picture_under_one_label_is_no_snapshot_of_the_object_under_another() -> None:
    objects = FrigateObjects()
    picture = {"snapshot": "edge/porch/front/snapshot/person"}
    assert after(objects.translate(event("track_start", 1, 10) | picture))["person"]["has_snapshot"]
    other = event("track_update", 1, 11)
    other["track"]["label"] = "car"
    assert not after(objects.translate(other | picture))["car"]["has_snapshot"]
    assert after(objects.translate(event("track_update", 1, 12)))["person"]["has_snapshot"]


def test_an_object_has_a_snapshot_once_its_picture_was_published() -> None:
    objects = FrigateObjects()
    first = objects.translate(event("track_start", 1, 10))
    assert not after(first)["person"]["has_snapshot"]
    picture = {"snapshot": "edge/porch/front/snapshot/person"}
    assert after(objects.translate(event("zone_enter", 1, 11, zone="path") | picture))["person"]["has_snapshot"]
    assert after(objects.translate(event("track_update", 1, 12)))["person"]["has_snapshot"]
    objects.translate(face("track_start", 12))
    bearers = objects.translate(face("identity", 13, state="unknown") | picture)
    assert not after(bearers)["face"]["has_snapshot"], "its person's is not its own"


def test_a_plate_that_was_read_is_told() -> None:
    objects = FrigateObjects()
    objects.translate(event("track_start"))
    told = after(objects.translate(event("plate") | {"name": "ABC123", "state": "allowed", "confidence": 0.93}))
    assert told["person"]["recognized_license_plate"] == "ABC123"
    assert told["person"]["recognized_license_plate_score"] == 0.93
    kept_back = after(objects.translate(event("plate") | {"state": "unknown", "confidence": 0.7}))
    assert kept_back["person"]["recognized_license_plate"] is None
    assert kept_back["person"]["recognized_license_plate_score"] is None, "a score of nothing that is told"


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


kinds = st.sampled_from(
    ["track_start", "track_update", "zone_enter", "zone_leave", "dwell", "line_cross", "identity", "track_end"]
)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(kinds, st.integers(1, 3), st.sampled_from(["a", "b"]), st.integers(0, 900)), max_size=25))
def test_every_object_has_one_new_one_end_and_no_gap_between_before_and_after(steps: list[Any]) -> None:
    objects, last, ended = FrigateObjects(), dict[str, dict[str, Any]](), set[str]()
    for i, (kind, track, zone, x) in enumerate(steps):
        at = event(kind, track, float(i), zone if kind.startswith("zone") else None, float(x))
        facts = at["track"] | {"age_s": 0.0}
        if track == 3:  # somebody's face, or nobody's
            facts |= {"label": "face", "box": [x + 30.0, 210.0, x + 60.0, 250.0]}
        named = {"name": "Anna" if x % 2 else None} if kind == "identity" else {}
        for told in objects.translate(at | named | {"track": facts}):
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
        node.show("person", b"a picture")
        assert heard.wait(lambda s: s.last("frigate/front/person/snapshot") == b"a picture")
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
        # An answer that the stop cut off takes a place in the queue, and what comes before this subscriber is back is
        # kept in the broker's queue, which holds as many: some of the thousand may be lost, as with Frigate itself.
        assert heard.wait(lambda s: len(s.events()) >= QUEUE - 20, 30)
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

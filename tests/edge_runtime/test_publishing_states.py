"""Retained states follow the events and the counts, and are said only when they change."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from edge_runtime.config import (
    CameraConfig,
    Config,
    IdentityConfig,
    LineConfig,
    NodeConfig,
    SlotConfig,
    TamperConfig,
    ZoneConfig,
)
from edge_runtime.datatypes import Event
from edge_runtime.events.identity import Verdict
from edge_runtime.health import board_temperature_c
from edge_runtime.publishing.states import States
from edge_runtime.publishing.topics import topics_of
from tests.builders import NAMES

CORNERS = ((0.1, 0.5), (0.6, 0.5), (0.6, 1.0), (0.1, 1.0))
LOT = Config(
    node=NodeConfig(name="porch"),
    camera=CameraConfig(name="front"),
    zones=(ZoneConfig("path", CORNERS, ("person", "vehicle")), ZoneConfig("door", CORNERS)),
    lines=(LineConfig("gate", ((0.2, 0.5), (0.8, 0.5))),),
    slots=(SlotConfig("14", CORNERS), SlotConfig("15", CORNERS)),
)


class Said:
    def __init__(self, config: Config = LOT) -> None:
        self.all: list[tuple[str, str]] = []
        self.states = States(config, topics_of(config), NAMES, lambda topic, payload: self.all.append((topic, payload)))

    def take(self) -> list[tuple[str, str]]:
        taken = [(topic.removeprefix("edge/porch/front/"), payload) for topic, payload in self.all]
        self.all.clear()
        return taken


def test_at_the_start_nobody_is_there_and_slots_are_not_known() -> None:
    said = dict(Said().take())
    assert said["path/person"] == said["path/vehicle"] == "0"
    all_but_faces = {f"door/{label}" for label in NAMES if label != "face"}
    assert {topic for topic in said if topic.startswith("door/")} == all_but_faces, (
        "without labels: what the zone counts"
    )
    assert json.loads(said["lines/gate"]) == {"in": 0, "out": 0}
    assert json.loads(said["tamper"]) == {"state": "OFF", "kinds": []}
    assert not any(topic.startswith("slots") for topic in said)


def test_a_count_is_said_when_it_changes() -> None:
    said = Said()
    said.take()
    said.states.counts({("path", "person"): 2, ("path", "vehicle"): 0})
    assert said.take() == [("path/person", "2")]
    said.states.counts({("path", "person"): 2})
    assert said.take() == []
    said.states.counts({})
    assert said.take() == [("path/person", "0")]


def test_crossings_are_counted_by_direction() -> None:
    said = Said()
    said.take()
    for way in ("in", "in", "out"):
        said.states.update([Event("line_cross", 0, line="gate", direction=way)])  # type: ignore[arg-type]
    assert json.loads(said.take()[-1][1]) == {"in": 2, "out": 1}


def test_slots_are_said_one_by_one_and_together() -> None:
    said = Said()
    said.take()
    said.states.slots({"14": "occupied", "15": "free"})
    assert said.take()[-1] == ("slots", '{"free": 1, "occupied": 1}')
    said.states.update([Event("slot_free", 0, slot="14")])
    assert said.take() == [("slots/14", "free"), ("slots", '{"free": 2, "occupied": 0}')]


def test_tamper_is_on_until_the_last_kind_is_cleared() -> None:
    said = Said()
    said.take()
    said.states.update([Event("tamper", 0, kind="covered"), Event("tamper", 0, kind="frozen")])
    said.states.update([Event("tamper_clear", 0, kind="covered")])
    assert json.loads(said.take()[-1][1]) == {"state": "ON", "kinds": ["frozen"]}
    said.states.update([Event("tamper_clear", 0, kind="frozen")])
    assert json.loads(said.take()[-1][1]) == {"state": "OFF", "kinds": []}


def test_what_keeps_its_name_keeps_its_state_when_rules_are_edited() -> None:
    said = Said()
    said.states.counts({("path", "person"): 2})
    said.states.update([Event("line_cross", 0, line="gate", direction="in"), Event("tamper", 0, kind="covered")])
    said.states.slots({"14": "occupied", "15": "free"})
    said.take()
    door, gate = LOT.zones[1], LineConfig("gate", ((0.3, 0.5), (0.8, 0.5)))
    side = LineConfig("side", ((0.3, 0.1), (0.8, 0.1)))
    said.states.apply(replace(LOT, zones=(LOT.zones[0], ZoneConfig("hall", CORNERS, ("person",))), lines=(gate, side)))
    assert said.take() == [("hall/person", "0"), ("lines/side", '{"in": 0, "out": 0}')], "nothing goes to and fro"
    assert not any("door" in topic for topic in said.states.topics)
    said.states.apply(replace(LOT, zones=(door,), slots=LOT.slots[:1]))
    assert dict(said.take())["slots"] == '{"free": 0, "occupied": 1}'
    said.states.update([Event("line_cross", 0, line="gate", direction="in"), Event("tamper_clear", 0, kind="covered")])
    taken = dict(said.take())
    assert json.loads(taken["lines/gate"]) == {"in": 2, "out": 0}
    assert json.loads(taken["tamper"]) == {"state": "OFF", "kinds": []}


def test_no_tamper_topic_where_tampering_is_not_looked_for() -> None:
    off = Config(tamper=TamperConfig(enabled=False))
    assert "tamper" not in dict(Said(off).take())


def test_the_temperature_is_unknown_where_the_board_does_not_tell_it() -> None:
    assert board_temperature_c(Path("/nowhere")) is None


def test_who_is_there_is_said_until_the_face_is_gone() -> None:
    said = Said(replace(LOT, identity=IdentityConfig(enabled=True)))
    assert json.loads(dict(said.take())["identity"]) == {"known": 0, "unknown": 0, "names": []}
    said.states.faces([Verdict("unknown"), Verdict("known", "Žofie")])
    assert said.take() == [("identity", '{"known": 1, "unknown": 1, "names": ["Žofie"]}')]
    said.states.apply(replace(LOT, zones=(), identity=IdentityConfig(enabled=True)))
    assert not any(topic == "identity" for topic, _ in said.take()), "other rules send nobody away"
    said.states.faces([Verdict("known", "Anna"), Verdict("known", "Žofie")])
    assert json.loads(said.take()[-1][1]) == {"known": 2, "unknown": 0, "names": ["Anna", "Žofie"]}
    said.states.faces([])
    assert json.loads(said.take()[-1][1]) == {"known": 0, "unknown": 0, "names": []}


def test_of_names_that_are_kept_back_only_their_number_is_said() -> None:
    said = Said(replace(LOT, identity=IdentityConfig(enabled=True, tell_names=False)))
    said.states.faces([Verdict("known")])
    assert json.loads(said.take()[-1][1]) == {"known": 1, "unknown": 0, "names": []}


def test_without_the_rule_nothing_is_said_of_persons() -> None:
    said = Said()
    said.states.faces([])
    assert not any(topic == "identity" for topic, _ in said.take())

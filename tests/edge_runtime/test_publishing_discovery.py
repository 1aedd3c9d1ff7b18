"""Home Assistant finds one device, with what stands in the configuration, and nothing that is gone."""

from __future__ import annotations

import json
import random
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.config import Config, IdentityConfig, LineConfig, MqttConfig, NodeConfig, SlotConfig, ZoneConfig
from edge_runtime.errors import ConfigError
from edge_runtime.publishing.announcement import Announcement
from edge_runtime.publishing.discovery import config_topic, device_config
from edge_runtime.publishing.states import counted_labels
from edge_runtime.publishing.topics import topics_of
from tests.builders import NAMES

CORNERS = ((0.1, 0.5), (0.6, 0.5), (0.6, 1.0), (0.1, 1.0))
TOPIC = "homeassistant/device/porch/config"
SECOND = 1_000_000_000

COMMON = {
    "platform", "name", "unique_id", "default_entity_id", "device_class", "icon", "entity_category", "availability",
    "value_template", "json_attributes_topic", "expire_after",
}  # fmt: skip
DOCUMENTED = {
    "binary_sensor": {"required": {"state_topic"}, "more": {"payload_on", "payload_off"}},
    "sensor": {
        "required": {"state_topic"},
        "more": {"state_class", "unit_of_measurement", "suggested_display_precision"},
    },
    "switch": {"required": {"command_topic"}, "more": {"state_topic"}},
    "image": {"required": {"image_topic"}, "more": {"content_type"}},
    "button": {"required": {"command_topic"}, "more": {"payload_press"}},
}
"""Of https://www.home-assistant.io/integrations/{binary_sensor,sensor,switch,image,button}.mqtt: what we may use."""


def home(*zones: str, node: str = "porch", **mqtt: str) -> Config:
    return Config(
        node=NodeConfig(name=node),
        zones=tuple(ZoneConfig(name, CORNERS, ("person", "vehicle")) for name in zones),
        lines=(LineConfig("gate", ((0.2, 0.5), (0.8, 0.5))),),
        slots=(SlotConfig("14", CORNERS),),
        mqtt=MqttConfig(**mqtt),  # type: ignore[arg-type]
    )


def message(config: Config, pictures: tuple[str, ...] = ()) -> dict[str, Any]:
    return device_config(
        config, topics_of(config), counted_labels(config, NAMES), version="1.2.3", pictures=pictures
    )  # fmt: skip


def test_one_device_has_everything_that_stands_in_the_configuration() -> None:
    device = message(home("path"))
    assert device["device"]["identifiers"] == ["edge_porch"]
    assert {c["default_entity_id"] for c in device["components"].values()} == {
        "binary_sensor.porch_path_person",
        "sensor.porch_path_person_count",
        "binary_sensor.porch_path_vehicle",
        "sensor.porch_path_vehicle_count",
        "sensor.porch_gate_in",
        "sensor.porch_gate_out",
        "binary_sensor.porch_slot_14",
        "sensor.porch_slots_free",
        "binary_sensor.porch_tamper",
        "binary_sensor.porch_connectivity",
        "sensor.porch_fps",
        "sensor.porch_temperature",
        "switch.porch_detection",
        "switch.porch_privacy",
    }


def knowing(**identity: bool) -> Config:
    return replace(home("path"), identity=IdentityConfig(enabled=True, **identity))


def test_a_node_that_knows_persons_has_a_sensor_for_them_and_one_for_the_unknown() -> None:
    found = {
        key: c
        for key, c in message(knowing())["components"].items()
        if c.get("state_topic") == "edge/porch/camera/identity"
    }
    assert {key: c["default_entity_id"] for key, c in found.items()} == {
        "identity.unknown": "binary_sensor.porch_identity_unknown",
        "identity.known": "sensor.porch_identity_known",
    }
    assert "names" in found["identity.known"]["value_template"]
    assert "names" not in message(knowing(tell_names=False))["components"]["identity.known"]["value_template"]


def test_every_field_is_one_that_home_assistant_documents() -> None:
    for component in message(knowing(), ("person",))["components"].values():
        rules = DOCUMENTED[component["platform"]]
        assert rules["required"] <= set(component)
        assert set(component) <= COMMON | rules["required"] | rules["more"]


def test_ids_are_unique_and_hold_no_blanks() -> None:
    components = message(home("path", "path-2"), ("person", "car"))["components"]
    assert len({c["unique_id"] for c in components.values()}) == len(components)
    assert not any(" " in key for key in components)


def test_all_but_connectivity_become_unavailable_with_the_node() -> None:
    device = message(home("path"))
    assert device["availability"][0]["topic"] == "edge/porch/status"
    own = [key for key, c in device["components"].items() if "availability" in c]
    assert own == ["connectivity"]
    assert device["components"]["connectivity"]["availability"] == []


def test_there_are_no_pictures_unless_pixels_may_leave() -> None:
    assert not {"image", "button"} & {c["platform"] for c in message(home("path"))["components"].values()}
    shown = message(home("path"), ("person",))["components"]
    assert shown["snapshot.person"]["image_topic"] == "edge/porch/camera/snapshot/person"
    assert shown["snapshot.now"]["command_topic"] == "edge/porch/set/snapshot"


@pytest.mark.parametrize(
    ("mqtt", "wrong"),
    [
        ({"root": "homeassistant"}, "mqtt.discovery 'homeassistant' and mqtt.root 'homeassistant'"),
        ({"root": "homeassistant/edge"}, "one stands below the other"),
        ({"discovery": "edge/ha"}, "one stands below the other"),
        ({"profile": "frigate", "frigate_root": "edge"}, "mqtt.frigate_root 'edge' and mqtt.root 'edge'"),
        ({"discovery": "home#"}, "must not hold"),
        ({"discovery": "/home"}, "an empty level"),
    ],
)
def test_prefixes_that_overlap_are_refused(mqtt: dict[str, str], wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        topics_of(home(**mqtt))


def test_names_that_only_begin_alike_do_not_overlap() -> None:
    assert topics_of(home(root="home", discovery="homeassistant")).base == "home/porch"


@pytest.mark.parametrize("zone", ["identity", "slots", "lines", "snapshot", "tamper"])
def test_a_zone_is_not_called_as_another_topic(zone: str) -> None:
    with pytest.raises(ConfigError, match=rf'^zones\[1\]\.name = "{zone}": .*; choose another name$'):
        topics_of(home("path", zone))


def test_no_zone_nor_line_is_called_as_slots_are_in_home_assistant() -> None:
    lines = (LineConfig("gate", ((0.2, 0.5), (0.8, 0.5))), LineConfig("slot", ((0.2, 0.6), (0.8, 0.6))))
    for config, field in ((home("slot"), "zones[0].name"), (replace(home(), lines=lines), "lines[1].name")):
        with pytest.raises(ConfigError, match=re.escape(field) + ' = "slot": .*; choose another name'):
            topics_of(config)


names = st.lists(st.sampled_from(["slot", "slots", "person", "in", "out", "free", "now", "tamper", "a"]), unique=True)


@given(names, st.data())
def test_whatever_rules_are_called_they_are_refused_or_each_has_components_of_its_own(
    called: list[str], what: st.DataObject
) -> None:
    kinds = [what.draw(st.sampled_from(["zones", "lines", "slots"])) for _ in called]
    zones, lines, slots = (
        [n for n, k in zip(called, kinds, strict=True) if k == kind] for kind in ("zones", "lines", "slots")
    )
    config = replace(
        home(*zones), lines=tuple(LineConfig(n, ((0.2, 0.5), (0.8, 0.5))) for n in lines),
        slots=tuple(SlotConfig(n, CORNERS) for n in slots),
    )  # fmt: skip
    try:
        found = message(config, ("person", "car"))["components"]
    except ConfigError:
        return
    bare = message(replace(home(), lines=(), slots=()), ("person", "car"))["components"]
    assert len(found) == len(bare) + 4 * len(zones) + 2 * len(lines) + len(slots) + bool(slots)


def test_in_the_profile_frigate_no_zone_is_called_as_the_camera() -> None:
    with pytest.raises(ConfigError, match=r'zones\[1\]\.name = "camera": the camera has that name.*; choose another'):
        topics_of(home("path", "camera", profile="frigate"))
    assert topics_of(home("path", "camera")).camera == "camera", "ours stand below it"


def test_a_node_without_a_letter_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"node\.name"):
        config_topic("homeassistant", "門")


class Broker:
    """Retained messages, and everything said, in order."""

    def __init__(self) -> None:
        self.retained: dict[str, str] = {}
        self.said: list[tuple[str, str]] = []
        self.assistant: Assistant | None = None

    def put(self, topic: str, payload: str | bytes) -> None:
        assert isinstance(payload, str)
        self.said.append((topic, payload))
        self.retained[topic] = payload
        if self.assistant is not None and topic.endswith("/config"):
            self.assistant.hear(topic, payload)

    def devices(self) -> list[dict[str, Any]]:
        return [json.loads(payload) for topic, payload in self.said if topic == TOPIC and payload]


class Assistant:
    """Home Assistant as its discovery code behaves: it removes only what it has set up since it started."""

    def __init__(self, registry: set[tuple[str, str]]) -> None:
        self.registry = registry
        self._set_up: set[tuple[str, str]] = set()

    def hear(self, topic: str, payload: str) -> None:
        components = json.loads(payload)["components"] if payload else {}
        if not payload:
            components = {key: {"platform": "x"} for where, key in self._set_up if where == topic}
        for key, component in components.items():
            if set(component) == {"platform"}:
                if (topic, key) in self._set_up:
                    self._set_up.discard((topic, key))
                    self.registry.discard((topic, key))
            else:
                self._set_up.add((topic, key))
                self.registry.add((topic, key))


def start(broker: Broker, folder: Path, config: Config) -> Announcement:
    """A run of the node: it announces itself, and has a connection."""
    prefix = config.mqtt.discovery
    node = Announcement(
        config_topic(prefix, config.node.name) if prefix else None,
        memory=folder / "announced.json",
        put=broker.put,
        rng=random.Random(7),
    )
    states = {topics_of(config).count(zone.name, "person") for zone in config.zones}
    for state in states:
        broker.put(state, "0")
    node.announce(message(config), states)
    node.tick(SECOND, connected=True)
    return node


def test_it_is_announced_again_after_home_assistant_came_online(tmp_path: Path) -> None:
    broker = Broker()
    node = start(broker, tmp_path, home("path"))
    node.heard("homeassistant/status", b"online", False)
    for ms in range(0, 1001, 100):
        node.tick(10 * SECOND + ms * 1_000_000, connected=True)
    assert len(broker.devices()) == 1, "not at once: a random delay of 1 to 10 s"
    node.tick(21 * SECOND, connected=True)
    node.tick(60 * SECOND, connected=True)
    assert len(broker.devices()) == 2


def test_home_assistant_going_offline_changes_nothing(tmp_path: Path) -> None:
    broker = Broker()
    node = start(broker, tmp_path, home("path"))
    node.heard("homeassistant/status", b"offline", False)
    node.tick(60 * SECOND, connected=True)
    assert len(broker.devices()) == 1


def test_a_zone_that_is_gone_after_a_restart_is_withdrawn_and_its_topics_cleared(tmp_path: Path) -> None:
    broker = Broker()
    start(broker, tmp_path, home("path", "porch"))
    start(broker, tmp_path, home("path"))
    components = broker.devices()[-1]["components"]
    assert components["porch.person"] == {"platform": "binary_sensor"}
    assert components["porch.person.count"] == {"platform": "sensor"}
    assert components["path.person"]["unique_id"] == "edge_porch_camera_path.person"
    assert broker.retained["edge/porch/camera/porch/person"] == ""
    assert broker.retained["edge/porch/camera/path/person"] == "0"


def test_a_zone_that_is_removed_while_it_runs_is_withdrawn(tmp_path: Path) -> None:
    broker = Broker()
    node = start(broker, tmp_path, home("path", "porch"))
    node.announce(message(home("path")), ["edge/porch/camera/path/person"])
    assert broker.devices()[-1]["components"]["porch.person"] == {"platform": "binary_sensor"}
    assert broker.retained["edge/porch/camera/porch/person"] == ""


def test_what_was_removed_while_home_assistant_was_off_is_shown_once_more_and_withdrawn(tmp_path: Path) -> None:
    broker = Broker()
    start(broker, tmp_path, home("path", "porch"))
    node = start(broker, tmp_path, home("path"))
    node.heard("homeassistant/status", b"online", False)
    node.tick(10 * SECOND, connected=True)
    node.tick(21 * SECOND, connected=True)
    assert "unique_id" in broker.devices()[-1]["components"]["porch.person"]
    node.tick(27 * SECOND, connected=True)
    assert broker.devices()[-1]["components"]["porch.person"] == {"platform": "binary_sensor"}
    node.tick(28 * SECOND, connected=True)
    start(broker, tmp_path, home("path"))
    assert "porch.person" not in broker.devices()[-1]["components"], "and forgotten"


def test_without_a_connection_nothing_is_forgotten(tmp_path: Path) -> None:
    broker = Broker()
    start(broker, tmp_path, home("path", "porch"))
    offline = Announcement(TOPIC, memory=tmp_path / "announced.json", put=Broker().put, rng=random.Random(7))
    offline.announce(message(home("path")), [])
    offline.tick(SECOND, connected=False)
    start(broker, tmp_path, home("path"))
    assert broker.devices()[-1]["components"]["porch.person"] == {"platform": "binary_sensor"}


@pytest.mark.parametrize("changed", [home("path", discovery=""), home("path", discovery="ha"), home("path", node="b")])
def test_an_old_announcement_is_cleared_when_it_moves_or_ends(tmp_path: Path, changed: Config) -> None:
    broker = Broker()
    start(broker, tmp_path, home("path"))
    start(broker, tmp_path, changed)
    assert broker.retained[TOPIC] == ""


def test_a_torn_memory_is_as_none(tmp_path: Path) -> None:
    (tmp_path / "announced.json").write_text('{"topic": "homeas')
    broker = Broker()
    start(broker, tmp_path, home("path"))
    assert set(broker.devices()[-1]["components"]) == set(message(home("path"))["components"])


steps = st.lists(
    st.one_of(
        st.tuples(st.just("restart"), st.sets(st.sampled_from(["a", "b", "c"]))),
        st.tuples(st.just("edit"), st.sets(st.sampled_from(["a", "b", "c"]))),
        st.tuples(st.just("assistant"), st.booleans()),
        st.tuples(st.just("wait"), st.integers(0, 20)),
    ),
    max_size=8,
)


def ticking() -> Iterator[int]:
    now_s = 1
    while True:
        now_s += 1
        yield now_s * SECOND


@settings(max_examples=60, deadline=None)
@given(steps=steps)
def test_home_assistant_ends_with_what_is_configured_whatever_happened(steps: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check_home_assistant_ends_with_what_is_configured(Path(folder), steps)


def check_home_assistant_ends_with_what_is_configured(folder: Path, steps: list[tuple[str, Any]]) -> None:
    broker, registry = Broker(), set[tuple[str, str]]()
    config, clock = home("a"), ticking()
    node = start(broker, folder, config)

    def switch_on() -> None:
        broker.assistant = Assistant(registry)
        broker.assistant.hear(TOPIC, broker.retained[TOPIC])
        node.heard("homeassistant/status", b"online", False)

    def wait(seconds: int) -> None:
        for _ in range(seconds):
            node.tick(next(clock), connected=True)

    for what, value in steps:
        if what == "restart":
            config = home(*sorted(value))
            node = start(broker, folder, config)
        elif what == "edit":
            config = home(*sorted(value))
            node.announce(message(config), [])
        elif what == "wait":
            wait(value)
        elif value:
            switch_on()
        else:
            broker.assistant = None
            node.heard("homeassistant/status", b"offline", False)
    switch_on()
    wait(20)
    assert registry == {(TOPIC, key) for key in message(config)["components"]}


def test_the_whole_configuration_can_be_taken_away(tmp_path: Path) -> None:
    broker = Broker()
    start(broker, tmp_path, home("path"))
    bare = replace(home(), lines=(), slots=())
    start(broker, tmp_path, bare)
    gone = [key for key, c in broker.devices()[-1]["components"].items() if set(c) == {"platform"}]
    assert sorted(gone) == [
        "gate.in", "gate.out", "path.person", "path.person.count", "path.vehicle", "path.vehicle.count",
        "slot.14", "slots.free",
    ]  # fmt: skip

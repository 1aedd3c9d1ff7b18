"""Home Assistant's blueprints, their templates rendered over events as the node publishes them."""

from __future__ import annotations

import ast
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2.sandbox import ImmutableSandboxedEnvironment

from edge_runtime.config import Config, NodeConfig
from edge_runtime.datatypes import Event, TrackFacts
from edge_runtime.publishing.discovery import device_config
from edge_runtime.publishing.payload import encode
from edge_runtime.publishing.topics import topics_of

FOLDER = Path(__file__).resolve().parents[2] / "deploy/homeassistant/blueprints/automation/edge_runtime"
NOW = datetime(2026, 11, 24, 22, 30, tzinfo=UTC)
PICTURES = {"image.front_porch_snapshot_person": "/api/image_proxy/image.front_porch_snapshot_person?token=1"}


class _Input(str):
    """The name of an input: YAML's `!input`."""


class _Loader(yaml.SafeLoader):
    pass


_Loader.add_constructor("!input", lambda loader, node: _Input(loader.construct_scalar(node)))


class Blueprint:
    """One verb: `run`; what an automation made from the blueprint would do, as far as its templates decide.

    The functions are those of https://www.home-assistant.io/docs/configuration/templating that it may use.
    """

    def __init__(self, name: str, **inputs: Any) -> None:
        self.document = yaml.load((FOLDER / name).read_text(), _Loader)
        declared = self.document["blueprint"]["input"]
        assert set(inputs) <= set(declared)
        self._inputs = {key: inputs.get(key, spec.get("default")) for key, spec in declared.items()}
        self._jinja = ImmutableSandboxedEnvironment()
        self._jinja.filters["slugify"] = lambda text: re.sub("[^a-z0-9]+", "_", text.lower()).strip("_")
        self._jinja.globals["now"] = lambda: NOW
        self._jinja.globals["as_datetime"] = datetime.fromisoformat
        self._jinja.globals["state_attr"] = lambda entity, _name: PICTURES.get(entity)

    def _rendered(self, value: Any, variables: dict[str, Any]) -> Any:
        if isinstance(value, _Input):
            return self._rendered(self._inputs[value], variables)
        if isinstance(value, dict):
            return {key: self._rendered(part, variables) for key, part in value.items()}
        if isinstance(value, list):
            return [self._rendered(part, variables) for part in value]
        if isinstance(value, str) and "{{" in value:
            result = self._jinja.from_string(value).render(**variables).strip()
            try:
                return ast.literal_eval(result)  # a template's result is whatever it reads as
            except (ValueError, SyntaxError):
                return result
        return value

    def run(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        """The actions for an event that was published; none where a condition does not hold."""
        variables: dict[str, Any] = {"trigger": {"payload_json": event}}
        for key, value in self.document.get("variables", {}).items():
            variables[key] = self._rendered(value, variables)
        conditions = [self._rendered(c["value_template"], variables) for c in self.document["conditions"]]
        if not all(c is True for c in conditions):
            assert all(isinstance(c, bool) for c in conditions), conditions
            return []
        done = []
        for action in self.document["actions"]:
            if "variables" in action:
                for key, value in action["variables"].items():
                    variables[key] = self._rendered(value, variables)
            elif "choose" in action:
                for choice in action["choose"]:
                    if all(self._rendered(c["value_template"], variables) is True for c in choice["conditions"]):
                        done += self._rendered(choice["sequence"], variables)
                        break
            elif "if" in action:
                if all(self._rendered(c["value_template"], variables) is True for c in action["if"]):
                    done += self._rendered(action["then"], variables)
            else:
                done.append(self._rendered(action, variables))
        return done


def published(type_: str, *, age_s: float = 1.0, synced: bool = True, label: str = "person", **more: Any) -> Any:
    """The JSON of an event of the node "Front Porch"."""
    facts = None if type_ == "tamper" else TrackFacts(7, label, 0.9, (10.0, 20.0, 60.0, 120.0), 2.0)
    return json.loads(
        encode(
            Event(type_, 0, None, (640, 480), facts, **more),  # type: ignore[arg-type]
            node="Front Porch",
            camera="front",
            boot="0b9f8a3e-0000-4000-8000-000000000001",
            seq=1,
            event_id="01M86R1KAWYGCP7H3YHW31279G",
            wall=NOW - timedelta(seconds=age_s),
            clock_synced=synced,
            latency_ms=40.0,
        )
    )


def notification(event: dict[str, Any], **inputs: Any) -> dict[str, Any] | None:
    done = Blueprint("notify_with_snapshot.yaml", notify_action="notify.phone", **inputs).run(event)
    told = [action for action in done if action.get("action") == "notify.phone"]
    assert len(told) <= 1
    return told[0]["data"] if told else None


PERSON = "edge/Front Porch/front/snapshot/person"


def test_a_notification_carries_the_picture_that_the_event_names() -> None:
    told = notification(published("zone_enter", zone="path", snapshot=PERSON))
    assert told is not None
    assert (told["title"], told["message"]) == ("Front Porch", "Person, path, 22:30:00")
    assert told["data"]["image"] == PICTURES["image.front_porch_snapshot_person"]


def test_the_picture_is_looked_for_under_the_id_that_discovery_gives_it() -> None:
    config = Config(node=NodeConfig(name="Front Porch"))
    device = device_config(config, topics_of(config), [], version="1", pictures=["person"])
    assert device["components"]["snapshot.person"]["default_entity_id"] in PICTURES


def test_an_event_without_a_picture_is_told_without_one() -> None:
    told = notification(published("zone_enter", zone="path"))
    assert told is not None and told["data"]["image"] == ""


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (published("identity", state="unknown"), "Unknown person, 22:30:00"),
        (published("identity", state="known", name="Anna"), "Anna, 22:30:00"),
        (published("identity", state="known"), "Known person, 22:30:00"),
        (published("tamper", kind="covered"), "Covered, 22:30:00"),
        (published("line_cross", line="gate", direction="in", label="car"), "Car, gate, 22:30:00"),
    ],
)
def test_whatever_is_asked_for_is_told_in_words(event: dict[str, Any], message: str) -> None:
    types = ["dwell", "line_cross", "unknown", "known", "tamper"]
    told = notification(event, types=types, labels=["person", "car"], places=["gate"])
    assert told is not None and told["message"] == message
    assert notification(event) is None, "zone_enter alone is told of unless more is asked for"


@pytest.mark.parametrize(
    "event",
    [
        published("zone_enter", zone="garden"),
        published("zone_enter", zone="path", label="car"),
        published("zone_enter", zone="path", age_s=60.0),
        published("zone_enter", zone="path", synced=False),
        published("track_start"),
        published("identity", state="known", name="Anna"),
    ],
)
def test_other_places_labels_and_old_events_are_silent(event: dict[str, Any]) -> None:
    assert notification(event, places=["path"], labels=["person"], types=["zone_enter", "unknown"]) is None


@pytest.mark.parametrize(
    ("from_time", "to_time", "told"),
    [("22:00:00", "06:00:00", True), ("06:00:00", "22:00:00", False), ("00:00:00", "00:00:00", True)],
)
def test_hours_may_go_over_midnight(from_time: str, to_time: str, told: bool) -> None:
    event = published("zone_enter", zone="path")
    assert (notification(event, from_time=from_time, to_time=to_time) is not None) == told


@pytest.mark.parametrize(
    ("state", "age_s", "what"),
    [("allowed", 1.0, ["open"]), ("near", 1.0, ["near ABC123"]), ("unknown", 1.0, []), ("allowed", 60.0, [])],
)
def test_only_an_allowed_plate_that_was_just_read_opens_the_gate(state: str, age_s: float, what: list[str]) -> None:
    gate = Blueprint("open_gate.yaml", open_actions=[{"action": "open"}], near_actions=[{"action": "near {{ plate }}"}])
    event = published("plate", label="car", state=state, name="ABC123", age_s=age_s)
    assert [a["action"] for a in gate.run(event)] == what
    assert gate.run(published("zone_enter", zone="path")) == []


@pytest.mark.parametrize("name", sorted(p.name for p in FOLDER.glob("*.yaml")))
def test_every_input_is_declared_and_used(name: str) -> None:
    text = (FOLDER / name).read_text()
    declared = set(Blueprint(name).document["blueprint"]["input"])
    assert set(re.findall(r"!input (\w+)", text)) == declared

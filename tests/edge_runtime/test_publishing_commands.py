"""Switches are set over MQTT, answer with their state, and hold over a restart where they should."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime.publishing.commands import Commands, Switches
from edge_runtime.publishing.side_topics import Listener
from edge_runtime.publishing.topics import Topics


class Node:
    """Switches and their topics, with what was said."""

    def __init__(self, folder: Path | None) -> None:
        self.retained: dict[str, str | bytes] = {}
        self.said: list[str] = []
        self.listeners: dict[str, Listener] = {}
        self.switches = Switches(None if folder is None else folder / "switches.json", self.said.append)
        Commands(self.switches, Topics("edge", "porch", "front"), self, self.said.append)

    def put(self, topic: str, payload: str | bytes) -> None:
        self.retained[topic] = payload

    def listen(self, topic: str, listener: Listener) -> None:
        self.listeners[topic] = listener

    def hears(self, name: str, payload: bytes, *, retained: bool = False) -> None:
        self.listeners["edge/porch/set/+"](f"edge/porch/set/{name}", payload, retained)


def test_a_new_node_looks_and_shows(tmp_path: Path) -> None:
    node = Node(tmp_path)
    assert node.retained == {"edge/porch/detection": "ON", "edge/porch/privacy": "OFF", "edge/porch/motion": "ON"}


def test_a_command_switches_and_is_answered(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.hears("detection", b"OFF")
    node.hears("privacy", b"on")
    assert (node.switches.detection, node.switches.privacy) == (False, True)
    assert node.retained["edge/porch/detection"] == "OFF"
    assert node.retained["edge/porch/privacy"] == "ON"


def test_detection_and_privacy_hold_over_a_restart_and_motion_does_not(tmp_path: Path) -> None:
    node = Node(tmp_path)
    for name, word in (("detection", b"OFF"), ("privacy", b"ON"), ("motion", b"OFF")):
        node.hears(name, word)
    again = Node(tmp_path)
    assert again.retained == {"edge/porch/detection": "OFF", "edge/porch/privacy": "ON", "edge/porch/motion": "ON"}


def test_a_retained_command_is_ignored_since_it_would_come_again_with_each_connection(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.hears("detection", b"OFF", retained=True)
    assert node.switches.detection
    assert "retained" in node.said[-1]


def test_a_picture_is_asked_for_once(tmp_path: Path) -> None:
    node = Node(tmp_path)
    assert not node.switches.pressed()
    node.hears("snapshot", b"PRESS")
    assert node.switches.pressed() and not node.switches.pressed()
    node.hears("snapshot", b"PRESS", retained=True)
    assert not node.switches.pressed()


@pytest.mark.parametrize(
    ("name", "payload", "said"),
    [
        ("detektion", b"OFF", "known: detection, privacy, motion, snapshot"),
        ("detection", b"off please", "neither ON nor OFF"),
        ("detection", b"", "neither ON nor OFF"),
        ("detection", b"\xff\x00" * 500, "neither ON nor OFF"),
    ],
)
def test_what_is_no_command_changes_nothing_and_is_told(tmp_path: Path, name: str, payload: bytes, said: str) -> None:
    node = Node(tmp_path)
    node.hears(name, payload)
    assert node.switches.detection
    assert said in node.said[-1]
    assert len(node.said[-1]) < 200


@pytest.mark.parametrize("torn", ["", "{", "[1]", '{"privacy": '])
def test_with_a_torn_memory_privacy_is_on_until_it_is_switched(tmp_path: Path, torn: str) -> None:
    (tmp_path / "switches.json").write_text(torn)
    node = Node(tmp_path)
    assert node.switches.privacy
    assert node.switches.detection
    node.hears("privacy", b"OFF")
    assert not Node(tmp_path).switches.privacy


def test_a_switch_that_cannot_be_kept_is_switched_all_the_same(tmp_path: Path) -> None:
    node = Node(tmp_path / "missing")
    node.hears("privacy", b"ON")
    assert node.switches.privacy
    assert any("not kept" in line for line in node.said)

"""Edits of the rules: checked as at the start, in force between two frames; one that was refused leaves no trace."""

from __future__ import annotations

import dataclasses
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime import config as configuration
from edge_runtime.config import Config
from edge_runtime.errors import BundleError, ConfigError, EdgeRuntimeError, StorageError
from edge_runtime.web.editor import RulesEditor, refusal
from tests.builders import NAMES

FILE = """# our house
[mqtt]
broker = "mqtt://me:secret@hub"  # the hub

[[zones]]
name = "path"  # to the door
points = [[0.1, 0.1], [0.4, 0.1], [0.4, 0.4]]
labels = ["person"]

[[slots]]
name = "14"
points = [[0.5, 0.5], [0.9, 0.5], [0.9, 0.9]]
"""


class Node:
    """What an editor serves: rules in force, and a frame loop that takes others between two frames."""

    def __init__(self, folder: Path, refuses: Callable[[Config], None] = lambda _: None) -> None:
        self.file = folder / "edge.toml"
        self.file.write_text(FILE)
        self.file.chmod(0o600)
        self.config, self._refuses = configuration.load(self.file), refuses
        self.asked_to_apply: list[Config] = []
        self.editor = RulesEditor(self.config, self.file, NAMES)

    def apply(self, config: Config) -> None:
        self.asked_to_apply.append(config)
        self._refuses(config)
        self.config = config

    def save(self, asked: Any) -> None:
        waiting = self.editor.propose(asked)
        self.editor.settle(self.apply)
        waiting.result(0)

    def asked(self, **changes: Any) -> dict[str, Any]:
        """What the page sends after `changes` to the zone."""
        described = json.loads(json.dumps(self.editor.described()))
        rules = {kind: [row | {"was": row["name"]} for row in rows] for kind, rows in described["rules"].items()}
        rules["zones"][0] |= changes
        return {"revision": described["revision"], "rules": rules}


def test_an_edit_is_in_force_and_in_the_file_which_keeps_the_rest_and_its_mode(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.save(node.asked(name="door", dwell_s=20))
    assert (node.config.zones[0].name, node.config.zones[0].dwell_s) == ("door", 20.0)
    assert node.config.mqtt.broker == "mqtt://me:secret@hub"
    assert node.file.read_text() == FILE.replace('"path"', '"door"').replace(
        'labels = ["person"]\n', 'labels = ["person"]\ndwell_s = 20.0\n'
    )
    assert configuration.load(node.file) == node.config
    assert stat.S_IMODE(node.file.stat().st_mode) == 0o600, "it holds a password"
    assert [path.name for path in tmp_path.iterdir()] == ["edge.toml"]


@pytest.mark.parametrize(
    ("changes", "field", "remedy"),
    [
        ({"points": [[0, 0], [1, 1], [1, 0], [0, 1]]}, "points", "list the corners in their order"),
        ({"points": [[0.5, 0.5], [1.2, 0.5], [0.8, 0.9]]}, "points", "divide pixels by the frame's size"),
        ({"points": [[0.5, 0.5], [0.6, 0.5]]}, "points", "add corners"),
        ({"points": [[i / 300, (i % 2) / 2] for i in range(300)]}, "points", "leave some out"),
        ({"points": "everywhere"}, "points", "must be a list"),
        ({"name": "14"}, "name", "give it another"),
        ({"name": "Front Door"}, "name", "front-door"),
        ({"name": "slots"}, "name", "choose another name"),
        ({"name": "slot"}, "name", "choose another name"),
        ({"labels": ["persn"]}, "labels", "did you mean person?"),
        ({"labels": "person"}, "labels", "must be a list"),
        ({"dwell_s": "soon"}, "dwell_s", "must be a number"),
        ({"dwell_s": -1}, "dwell_s", "at least 0"),
        ({"dwell_s": float("inf")}, "dwell_s", "must be a finite number"),
        ({"dwell_s": 10**400}, "dwell_s", "must be a finite number"),
        ({"active": "25:00-26:00"}, "active", "25:00"),
        ({"colour": "red"}, "colour", "unknown key"),
    ],
)
def test_a_bad_edit_is_refused_by_field_with_its_remedy_and_the_last_good_rules_stay(
    tmp_path: Path, changes: dict[str, Any], field: str | None, remedy: str
) -> None:
    node = Node(tmp_path)
    good = node.config
    with pytest.raises(ConfigError) as refused:
        node.save(node.asked(**changes))
    said = refusal(refused.value)
    assert remedy in said["error"]
    if field is not None:
        assert said["where"]["field"] == field
    assert node.file.read_text() == FILE
    assert (node.config, node.asked_to_apply) == (good, [])


def test_of_two_who_edit_at_once_the_later_is_told_and_changes_nothing(tmp_path: Path) -> None:
    node = Node(tmp_path)
    first, second = node.asked(name="first"), node.asked(name="second")
    waiting = [node.editor.propose(first), node.editor.propose(second)]
    node.editor.settle(node.apply)
    waiting[0].result(0)
    with pytest.raises(ConfigError, match="changed elsewhere"):
        waiting[1].result(0)
    with pytest.raises(ConfigError, match="changed elsewhere"):
        node.save(second)
    assert node.config.zones[0].name == "first"
    assert '"second"' not in node.file.read_text()


def test_a_page_left_open_over_a_restart_does_not_undo_what_was_written_by_hand(tmp_path: Path) -> None:
    node = Node(tmp_path)
    stale = node.asked(name="stale")
    by_hand = FILE.replace("0.1], [0.4, 0.4]", "0.2], [0.4, 0.4]")
    node.file.write_text(by_hand)
    with pytest.raises(ConfigError, match="changed by hand"):
        node.save(stale)
    node.editor = RulesEditor(configuration.load(node.file), node.file, NAMES)
    with pytest.raises(ConfigError, match="changed elsewhere"):
        node.save(stale)
    assert node.file.read_text() == by_hand


def test_rules_that_cannot_be_written_are_not_in_force_either(tmp_path: Path) -> None:
    node = Node(tmp_path)
    good = node.config
    (tmp_path / "edge.toml.new").mkdir()  # as good as a full disk, also for root
    with pytest.raises(StorageError, match="nothing was changed"):
        node.save(node.asked(name="door"))
    assert (node.config, node.file.read_text()) == (good, FILE)
    assert node.asked_to_apply == [], "or what slots and zones know of the time before would be lost"
    (tmp_path / "edge.toml.new").rmdir()
    node.save(node.asked(name="door"))
    assert node.config.zones[0].name == "door"


def test_rules_that_the_node_refuses_are_not_written(tmp_path: Path) -> None:
    def full(config: Config) -> None:
        if config.zones[0].name == "door":
            raise StorageError("the disk is full")

    node = Node(tmp_path, refuses=full)
    good = node.config
    with pytest.raises(StorageError, match="full"):
        node.save(node.asked(name="door"))
    assert (node.config, node.file.read_text()) == (good, FILE)


def test_a_node_that_can_take_no_rules_any_more_goes_on_by_those_it_has(tmp_path: Path) -> None:
    def broken(_: Config) -> None:
        raise BundleError("slot_classifier: cannot be opened")

    node = Node(tmp_path, refuses=broken)
    waiting = node.editor.propose(node.asked(name="door"))
    assert node.editor.settle(node.apply) is None
    with pytest.raises(BundleError, match="cannot be opened"):
        waiting.result(0)
    assert len(node.asked_to_apply) == 1
    assert node.file.read_text() == FILE


def test_rules_that_are_refused_and_cannot_be_written_back_are_told_of(tmp_path: Path) -> None:
    def broken(_: Config) -> None:
        (tmp_path / "edge.toml.new").mkdir()
        raise BundleError("slot_classifier: cannot be opened")

    node = Node(tmp_path, refuses=broken)
    with pytest.raises(StorageError, match=r"cannot be opened.*correct the file by hand"):
        node.save(node.asked(name="door"))


def test_settling_tells_what_is_in_force_from_now_on(tmp_path: Path) -> None:
    node = Node(tmp_path)
    assert node.editor.settle(node.apply) is None
    node.editor.propose(node.asked(name="door"))
    assert node.editor.settle(node.apply) == node.config
    assert node.config.zones[0].name == "door"


def test_without_a_file_edits_last_until_the_end_and_can_be_copied(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.editor = RulesEditor(node.config, None, NAMES)
    node.save(node.asked(name="door"))
    assert node.config.zones[0].name == "door"
    assert node.file.read_text() == FILE
    described = node.editor.described()
    assert described["file"] is None
    (tmp_path / "copied.toml").write_text(described["text"])
    copied = configuration.load(tmp_path / "copied.toml")
    assert (copied.zones, copied.slots) == (node.config.zones, node.config.slots)


def test_an_edit_that_nobody_waits_for_any_more_is_left_out(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.editor.propose(node.asked(name="door")).cancel()
    node.editor.settle(node.apply)
    assert node.config.zones[0].name == "path"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
fields = st.sampled_from(["was", *(f.name for f in dataclasses.fields(configuration.ZoneConfig))])


@settings(max_examples=60, deadline=None)
@given(what=st.data())
def test_whatever_is_sent_is_refused_in_words_or_reads_back_from_the_file(
    tmp_path_factory: pytest.TempPathFactory, what: st.DataObject
) -> None:
    node = Node(tmp_path_factory.mktemp("node"))
    asked: Any = node.asked()
    way = what.draw(st.sampled_from(["all", "rules", "kind", "row", "field"]))
    if way == "all":
        asked = what.draw(json_values)
    elif way == "rules":
        asked["rules"] = what.draw(json_values)
    elif way == "kind":
        asked["rules"][what.draw(st.sampled_from(["zones", "lines", "slots", "mqtt"]))] = what.draw(json_values)
    elif way == "row":
        asked["rules"]["zones"][0] = what.draw(json_values)
    else:
        asked["rules"]["zones"][0][what.draw(fields)] = what.draw(json_values)
    try:
        node.save(asked)
    except EdgeRuntimeError as error:
        assert refusal(error)["error"]
        assert node.file.read_text() == FILE
    loaded = configuration.load(node.file)
    assert {*loaded.zones} == {*node.config.zones}
    assert loaded.mqtt.broker == "mqtt://me:secret@hub"
    json.loads(json.dumps(node.editor.described(), allow_nan=False))

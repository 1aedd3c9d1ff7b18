"""Slots know their states again after a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime.config import ParkingConfig, SlotConfig
from edge_runtime.events.appearance import Moment
from edge_runtime.events.parking import Parking
from edge_runtime.publishing.slot_memory import SlotMemory

SLOTS = (
    SlotConfig("1", ((0.1, 0.1), (0.3, 0.1), (0.3, 0.3), (0.1, 0.3))),
    SlotConfig("2", ((0.4, 0.1), (0.6, 0.1), (0.6, 0.3), (0.4, 0.3))),
)


def started(path: Path, slots: tuple[SlotConfig, ...], said: list[str]) -> tuple[Parking, SlotMemory]:
    parking = Parking(slots, ParkingConfig(min_dwell_s=1))
    return parking, SlotMemory(path, slots, parking, said.append)


def a_day(path: Path) -> None:
    """One run in which slot 1 is found occupied and slot 2 free."""
    parking, memory = started(path, SLOTS, [])
    for at_s in range(4):
        memory.update(parking.update([0.9, 0.1], Moment(at_s * 10**9, None, (640, 480))))


def test_a_restart_restores_the_states(tmp_path: Path) -> None:
    a_day(tmp_path / "state" / "slots.json")
    said: list[str] = []
    parking, _ = started(tmp_path / "state" / "slots.json", SLOTS, said)
    assert parking.states() == {"1": "occupied", "2": "free"}
    assert said == []
    assert [p.name for p in (tmp_path / "state").iterdir()] == ["slots.json"]


def test_a_slot_that_was_drawn_anew_is_looked_at_anew(tmp_path: Path) -> None:
    a_day(tmp_path / "slots.json")
    moved = SlotConfig("1", ((0.2, 0.1), (0.4, 0.1), (0.4, 0.3), (0.2, 0.3)))
    parking, _ = started(tmp_path / "slots.json", (moved, SLOTS[1]), [])
    assert parking.states() == {"2": "free"}


def test_slots_drawn_while_it_runs_are_kept_as_drawn(tmp_path: Path) -> None:
    path = tmp_path / "slots.json"
    parking, memory = started(path, SLOTS, [])
    moved = SlotConfig("2", ((0.2, 0.5), (0.4, 0.5), (0.4, 0.8), (0.2, 0.8)))
    new = SlotConfig("3", ((0.6, 0.5), (0.8, 0.5), (0.8, 0.8), (0.6, 0.8)))
    now = (new, SLOTS[0], moved)
    parking.apply(now)
    memory.apply(now)
    for at_s in range(4):
        memory.update(parking.update([0.9, 0.1, 0.9], Moment(at_s * 10**9, None, (640, 480))))
    assert started(path, now, [])[0].states() == {"3": "occupied", "1": "free", "2": "occupied"}
    assert started(path, SLOTS, [])[0].states() == {"1": "free"}


def test_a_new_node_knows_nothing_and_says_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    parking, _ = started(tmp_path / "slots.json", SLOTS, said)
    assert (parking.states(), said) == ({}, [])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"1": 3}', '{"1": {"state": "full", "points": ""}}', '{"1": {}}'])
def test_a_torn_file_is_reported_and_the_slots_are_looked_at_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "slots.json").write_text(text)
    said: list[str] = []
    parking, _ = started(tmp_path / "slots.json", SLOTS, said)
    assert parking.states() == {}
    assert len(said) == 1
    assert "looked at anew" in said[0]


def test_a_full_disk_is_reported_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said: list[str] = []
    parking, memory = started(tmp_path / "file" / "slots.json", SLOTS, said)
    for at_s in range(4):
        memory.update(parking.update([0.9, 0.1], Moment(at_s * 10**9, None, (640, 480))))
    assert parking.states() == {"1": "occupied", "2": "free"}
    assert all("not kept over a restart" in text for text in said)
    assert said

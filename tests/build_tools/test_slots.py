"""Parking frames: occupied slots are cars, free ones are empty, the rest is unknown unless nothing hints at a car."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from build_tools.data.coco import LABELS, Sample
from build_tools.data.slots import clear_around, read_slots
from build_tools.errors import DataError
from tests.build_tools.packs import boxes_of

OCCUPIED = (32, 32, 64, 96)
FREE = (160, 32, 192, 96)
FAR = (240, 160, 248, 168)


def slot(box: tuple[int, int, int, int], occupied: bool) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    return {"polygon": [[x1, y1], [x2, y1], [x2, y2], [x1, y2]], "occupied": occupied}


def read(folder: Path, *slots: dict[str, Any]) -> Sample:
    frame = {"source": "lot", "file": "f.jpg", "width": 320, "height": 240, "slots": list(slots)}
    path = folder / "slots.json"
    path.write_text(json.dumps({"frames": [frame, frame | {"source": "other"}]}))
    (one,) = read_slots(path, folder, "lot")
    return one


def clear_map(one: Sample) -> np.ndarray[Any, np.dtype[np.bool_]]:
    there = np.zeros((one.size_wh[1], one.size_wh[0]), np.bool_)
    for x1, y1, x2, y2 in one.clear.astype(int):
        there[y1:y2, x1:x2] = True
    return there


def test_occupied_slots_become_cars(tmp_path: Path) -> None:
    one = read(tmp_path, slot(OCCUPIED, True))
    assert one.boxes.tolist() == [list(OCCUPIED)]
    assert [LABELS[i] for i in one.labels] == ["car"]
    assert not len(one.clear)


def test_the_heart_of_a_free_slot_is_clear(tmp_path: Path) -> None:
    one = read(tmp_path, slot(FREE, False))
    assert not len(one.boxes)
    assert one.clear.tolist() == [[168, 48, 184, 80]]


def test_vehicles_elsewhere_and_persons_are_not_known(tmp_path: Path) -> None:
    one = read(tmp_path, slot(OCCUPIED, True))
    whole = (one.ignore == boxes_of([(0, 0, 320, 240)])).all(1)
    assert {LABELS[i] for i in one.ignore_labels[whole]} == {"car", "truck", "bus", "motorcycle", "bicycle"}
    assert one.unknown == {"person", "license_plate"}


def test_slots_too_far_away_are_neither_cars_nor_clear(tmp_path: Path) -> None:
    one = read(tmp_path, slot(FAR, True), slot(FAR, False))
    assert not len(one.boxes)
    assert not len(one.clear)


def test_what_no_slot_and_no_suspicion_is_near_becomes_clear(tmp_path: Path) -> None:
    there = clear_map(clear_around(read(tmp_path, slot(OCCUPIED, True)), boxes_of([])))
    assert there[128:, :].all()
    assert there[:, 96:].all()


def test_the_surroundings_of_slots_stay_unknown(tmp_path: Path) -> None:
    one = read(tmp_path, slot(OCCUPIED, True), slot(FREE, False))
    there = clear_map(clear_around(one, boxes_of([])))
    assert not there[7:121, 20:76].any()  # 0.4 of its sides around the occupied slot
    there[48:80, 168:184] = False  # the heart of the free slot is known
    assert not there[7:121, 148:204].any()


def test_a_far_slot_with_a_car_in_it_never_becomes_background(tmp_path: Path) -> None:
    there = clear_map(clear_around(read(tmp_path, slot(FAR, True)), boxes_of([])))
    assert not there[157:171, 237:251].any()
    assert there[:144].all()


def test_suspicions_stay_unknown(tmp_path: Path) -> None:
    there = clear_map(clear_around(read(tmp_path, slot(OCCUPIED, True)), boxes_of([(-5, 180, 33, 250)])))
    assert not there[180:, :33].any()
    assert there[180:, 48:].all()


def test_clear_places_stay_within_a_frame_of_odd_size(tmp_path: Path) -> None:
    frame = {"source": "lot", "file": "f.jpg", "width": 101, "height": 67, "slots": []}
    path = tmp_path / "slots.json"
    path.write_text(json.dumps({"frames": [frame]}))
    (one,) = read_slots(path, tmp_path, "lot")
    clear = clear_around(one, boxes_of([])).clear
    assert clear.max(0).tolist()[2:] == [101, 67]


@pytest.mark.parametrize("text", ['{"frames": [{"source": "lot"}]}', '{"frames"', "[]", '{"frames": [3]}'])
def test_a_broken_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "slots.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"slots\.json: not a file of slots"):
        read_slots(path, tmp_path, "lot")


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"slots\.json: cannot be read"):
        read_slots(tmp_path / "slots.json", tmp_path, "lot")

"""Reading COCO-form packs: what is known of a picture, what is not, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from build_tools.data.coco import LABELS, read_pack, split, turned
from build_tools.errors import DataError
from tests.build_tools.packs import boxes_of, sample


def write(folder: Path, **changes: Any) -> Path:
    pack = {
        "images": [{"id": 7, "file_name": "a.jpg", "width": 320, "height": 240}],
        "annotations": [{"image_id": 7, "category_id": 1, "bbox": [10, 20, 30, 40]}],
        "categories": [{"id": 1, "name": "face"}, {"id": 2, "name": "person"}],
    }
    path = folder / "labels.json"
    path.write_text(json.dumps(pack | changes))
    return path


def test_boxes_become_corners(tmp_path: Path) -> None:
    (one,) = read_pack(write(tmp_path), tmp_path / "images")
    assert one.boxes.tolist() == [[10, 20, 40, 60]]
    assert [LABELS[i] for i in one.labels] == ["face"]
    assert one.path == tmp_path / "images" / "a.jpg"
    assert one.size_wh == (320, 240)


def test_without_labelled_the_files_categories_are_known_and_all_others_unknown(tmp_path: Path) -> None:
    (one,) = read_pack(write(tmp_path), tmp_path)
    assert one.unknown == {"car", "truck", "bus", "motorcycle", "bicycle", "license_plate"}


def test_labelled_narrows_what_is_known(tmp_path: Path) -> None:
    image = {"id": 7, "file_name": "a.jpg", "width": 320, "height": 240, "labelled": [2]}
    (one,) = read_pack(write(tmp_path, images=[image], annotations=[]), tmp_path)
    assert "face" in one.unknown
    assert "person" not in one.unknown


def test_crowds_become_places_to_ignore(tmp_path: Path) -> None:
    rows = [
        {"image_id": 7, "category_id": 2, "bbox": [0, 0, 100, 50], "iscrowd": 1},
        {"image_id": 7, "category_id": 2, "bbox": [5, 5, 10, 10], "iscrowd": 0},
    ]
    (one,) = read_pack(write(tmp_path, annotations=rows), tmp_path)
    assert one.ignore.tolist() == [[0, 0, 100, 50]]
    assert [LABELS[i] for i in one.ignore_labels] == ["person"]
    assert one.boxes.tolist() == [[5, 5, 15, 15]]


def test_the_joint_category_vehicle_is_left_out(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "vehicle"}, {"id": 2, "name": "car"}]
    (one,) = read_pack(write(tmp_path, categories=categories), tmp_path)
    assert not len(one.boxes)
    assert "car" not in one.unknown


def test_a_strange_category_is_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, categories=[{"id": 1, "name": "zebra"}])
    with pytest.raises(DataError, match=r"labels\.json: category zebra is not one of face, person"):
        read_pack(path, tmp_path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.json: cannot be read"):
        read_pack(tmp_path / "nowhere.json", tmp_path)


def test_a_torn_file_is_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text()[:-40])
    with pytest.raises(DataError, match=r"labels\.json: not a COCO file of boxes"):
        read_pack(path, tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"images": [{"id": 7}]},
        {"images": "many"},
        {"annotations": [{"image_id": 7, "category_id": 1}]},
        {"annotations": [{"image_id": 7, "category_id": 1, "bbox": [1, 2, 3]}]},
        {"annotations": [{"image_id": 7, "category_id": 1, "bbox": ["x", 2, 3, 4]}]},
        {"categories": None},
    ],
)
def test_a_file_of_another_form_is_refused_by_name(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"labels\.json: not a COCO file of boxes"):
        read_pack(write(tmp_path, **changes), tmp_path)


NAMES = [f"{i:05}.jpg" for i in range(2000)]


def test_split_is_by_file_name_whatever_the_folder_and_order() -> None:
    samples = [sample(path=Path("here") / n) for n in NAMES]
    moved = [sample(path=Path("elsewhere/deep") / n) for n in reversed(NAMES)]
    held = {s.path.name for s in split(samples, 0.1)[1]}
    assert held == {s.path.name for s in split(moved, 0.1)[1]}
    assert 150 < len(held) < 250


def test_split_keeps_a_picture_on_its_side_as_the_pack_grows() -> None:
    samples = [sample(path=Path(n)) for n in NAMES]
    few, many = split(samples[:500], 0.1)[1], split(samples, 0.1)[1]
    assert {s.path for s in few} <= {s.path for s in many}
    assert split(samples, 0.0) == (samples, [])


numbers = st.floats(0, 200, width=32)
rows = st.lists(st.tuples(numbers, numbers, numbers, numbers), max_size=5)


@given(boxes=rows, ignore=rows, clear=rows, size_wh=st.tuples(st.integers(200, 900), st.integers(200, 900)))
def test_four_quarter_turns_change_nothing(
    boxes: list[Any], ignore: list[Any], clear: list[Any], size_wh: tuple[int, int]
) -> None:
    start = sample([("car", b) for b in boxes], [("bus", b) for b in ignore], size_wh=size_wh, clear=clear)
    end = turned(turned(turned(turned(start))))
    assert (end.size_wh, end.turns % 4) == (size_wh, 0)
    for name in ("boxes", "ignore", "clear"):
        np.testing.assert_allclose(getattr(end, name), getattr(start, name), atol=1e-3)


def test_a_quarter_turn_is_clockwise() -> None:
    one = turned(sample([("car", (0, 0, 10, 20))], size_wh=(100, 50)))
    assert one.size_wh == (50, 100)
    np.testing.assert_array_equal(one.boxes, boxes_of([(30, 0, 50, 10)]))

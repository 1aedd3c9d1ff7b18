"""Teachers: what they say is asked once, and fills in only what a pack left open."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from build_tools.data.coco import LABELS, Sample
from build_tools.data.teacher import Found, Teacher, TeacherConfig, ask, complete
from build_tools.errors import DataError, ModelError
from tests.build_tools.packs import boxes_of, label_ids, sample

CONFIG = TeacherConfig("yolox.onnx", "yolox", (32, 32), ("person", "car"), accept=0.5, doubt=0.2)


def found(*rows: tuple[str, tuple[float, float, float, float], float]) -> Found:
    return (
        boxes_of([box for _, box, _ in rows]),
        np.array([score for *_, score in rows], np.float32),
        label_ids([name for name, *_ in rows]),
    )


def named(labels: NDArray[np.int32], boxes: NDArray[np.float32]) -> list[tuple[str, list[float]]]:
    return [(LABELS[i], box.tolist()) for i, box in zip(labels, boxes, strict=True)]


def test_an_unlabelled_class_gets_the_sure_boxes_and_ignores_the_doubtful() -> None:
    said = found(("person", (0, 0, 20, 40), 0.9), ("person", (50, 0, 70, 40), 0.3))
    full = complete(sample(unknown=["person", "bus"]), said, CONFIG)
    assert named(full.labels, full.boxes) == [("person", [0, 0, 20, 40])]
    assert named(full.ignore_labels, full.ignore) == [("person", [50, 0, 70, 40])]
    assert full.unknown == {"bus"}


def test_labelled_boxes_stay_and_what_only_the_teacher_sees_is_ignored() -> None:
    own = sample([("person", (0, 0, 20, 40))])
    said = found(
        ("person", (1, 0, 21, 40), 0.9), ("person", (100, 0, 120, 40), 0.8), ("person", (200, 0, 220, 40), 0.4)
    )
    full = complete(own, said, CONFIG)
    assert named(full.labels, full.boxes) == [("person", [0, 0, 20, 40])]
    assert named(full.ignore_labels, full.ignore) == [("person", [100, 0, 120, 40])]


def test_loose_boxes_give_way_to_the_teachers_and_are_ignored() -> None:
    own = sample([("car", (0, 0, 50, 50)), ("face", (5, 5, 9, 9))], loose=True)
    full = complete(own, found(("car", (4, 6, 44, 40), 0.7)), CONFIG)
    assert sorted(named(full.labels, full.boxes)) == [("car", [4, 6, 44, 40]), ("face", [5, 5, 9, 9])]
    assert named(full.ignore_labels, full.ignore) == [("car", [0, 0, 50, 50])]


def test_labels_the_teacher_is_not_asked_for_are_left_alone() -> None:
    said = found(("bus", (0, 0, 20, 40), 0.9))
    full = complete(sample(unknown=["bus"]), said, CONFIG)
    assert full.unknown == {"bus"}
    assert not len(full.boxes)
    assert not len(full.ignore)


def write_yolox(folder: Path) -> None:
    """A network of YOLOX's form for 32x32 that always sees one person and, unsure, one car."""
    rows = np.zeros((1, 21, 85), np.float32)  # 16 cells at stride 8, 4 at 16, 1 at 32
    rows[0, 5, :6] = [
        0.50007,
        0.5,
        math.log(2),
        math.log(1),
        0.9,
        0.80007,
    ]  # around (12, 12), 16x8
    rows[0, 20, :5], rows[0, 20, 5 + 2] = [0.5, 0.5, 0, 0, 0.5], 0.6
    graph = helper.make_graph(
        [helper.make_node("Constant", [], ["out"], value=onnx.numpy_helper.from_array(rows))],
        "yolox",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 21, 85])],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / CONFIG.model
    )


class Counting:
    """A teacher that counts how often it is asked."""

    def __init__(self, teacher: Teacher) -> None:
        self.path, self.config, self.teacher, self.calls = teacher.path, teacher.config, teacher, 0

    def __call__(self, bgr: NDArray[np.uint8]) -> Found:
        self.calls += 1
        return self.teacher(bgr)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Sample]:
    write_yolox(tmp_path)
    samples = [sample(path=tmp_path / f"{i}.jpg", size_wh=(64, 48)) for i in range(3)]
    for one in samples:
        cv2.imwrite(str(one.path), np.zeros((48, 64, 3), np.uint8))
    return samples


def counting(folder: Path) -> Counting:
    return Counting(Teacher(CONFIG, folder))


def asked(teacher: Counting, samples: list[Sample], cache: Path) -> list[Found]:
    said = ask(teacher, samples, cache, lambda _: None)  # type: ignore[arg-type]
    return list(said.values())


def test_what_it_says_is_in_picture_pixels_and_within_the_picture(pictures: list[Sample], tmp_path: Path) -> None:
    boxes, scores, labels = asked(counting(tmp_path), pictures[:1], tmp_path / "cache")[0]
    assert [LABELS[i] for i in labels] == ["person", "car"]
    np.testing.assert_allclose(boxes, [[8, 16, 40, 32], [0, 0, 64, 48]], atol=0.01)
    np.testing.assert_allclose(scores, [0.72, 0.3], atol=0.001)


def test_it_is_asked_once_for_each_picture_and_says_the_same_afterwards(pictures: list[Sample], tmp_path: Path) -> None:
    first, second = counting(tmp_path), counting(tmp_path)
    said = asked(first, pictures[:2], tmp_path / "cache")
    again = asked(second, pictures, tmp_path / "cache")
    assert (first.calls, second.calls) == (2, 1)
    for one, other in zip(said, again, strict=False):
        for a, b in zip(one, other, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def test_other_thresholds_ask_anew(pictures: list[Sample], tmp_path: Path) -> None:
    asked(counting(tmp_path), pictures, tmp_path / "cache")
    strict = TeacherConfig("yolox.onnx", "yolox", (32, 32), ("person",), accept=0.5, doubt=0.4)
    other = Counting(Teacher(strict, tmp_path))
    assert [len(scores) for _, scores, _ in asked(other, pictures, tmp_path / "cache")] == [1, 1, 1]
    assert other.calls == 3


def test_a_cache_torn_by_a_kill_is_mended(pictures: list[Sample], tmp_path: Path) -> None:
    asked(counting(tmp_path), pictures, tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    file.write_text(file.read_text()[:-25])
    second, third = counting(tmp_path), counting(tmp_path)
    assert len(asked(second, pictures, tmp_path / "cache")) == 3
    assert len(asked(third, pictures, tmp_path / "cache")) == 3
    assert (second.calls, third.calls) == (1, 0)


def test_a_missing_picture_is_refused_by_name(pictures: list[Sample], tmp_path: Path) -> None:
    pictures[1].path.unlink()
    with pytest.raises(DataError, match=r"1\.jpg: cannot be read as a picture"):
        asked(counting(tmp_path), pictures, tmp_path / "cache")


def test_a_missing_teacher_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"yolox\.onnx: no such teacher; check `teachers\.model`"):
        Teacher(CONFIG, tmp_path)


def test_a_torn_teacher_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / CONFIG.model).write_bytes(b"torn")
    with pytest.raises(ModelError, match=r"yolox\.onnx: not a usable model"):
        Teacher(CONFIG, tmp_path)


def test_cell_by_cell_it_answers_everywhere_however_unsure(tmp_path: Path) -> None:
    write_yolox(tmp_path)
    boxes, scores, labels = Teacher(CONFIG, tmp_path).dense(np.zeros((32, 32, 3), np.uint8))
    assert (boxes.shape, scores.shape, labels.shape) == ((21, 4), (21,), (21,))
    np.testing.assert_allclose(boxes[5], [4, 8, 20, 16], atol=0.01)
    assert np.flatnonzero(scores > 0.1).tolist() == [5, 20]


def test_cell_by_cell_a_teacher_of_another_fixed_size_is_refused(tmp_path: Path) -> None:
    write_yolox(tmp_path)
    with pytest.raises(ModelError, match=r"yolox\.onnx: takes no picture of 64x32; if its graph holds one size"):
        Teacher(CONFIG, tmp_path).dense(np.zeros((32, 64, 3), np.uint8))


def test_a_teacher_exported_for_one_size_answers_at_any_if_its_graph_allows(tmp_path: Path) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 21, 85])
    shape = helper.make_tensor("shape", TensorProto.INT64, [3], [1, 85, -1])
    nodes, rows = [], []
    for stride in (8, 16, 32):
        w = helper.make_tensor(f"w{stride}", TensorProto.FLOAT, [85, 3, 1, 1], np.full(255, 1e-3, np.float32))
        nodes += [
            helper.make_node("Constant", [], [f"w{stride}"], value=w),
            helper.make_node("Conv", ["x", f"w{stride}"], [f"c{stride}"], strides=[stride, stride]),
            helper.make_node("Reshape", [f"c{stride}", "shape"], [f"r{stride}"]),
        ]
        rows.append(f"r{stride}")
    nodes += [
        helper.make_node("Concat", rows, ["all"], axis=2),
        helper.make_node("Transpose", ["all"], ["y"], perm=[0, 2, 1]),
    ]
    graph = helper.make_graph(nodes, "one size", [x], [y], [shape])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), tmp_path / CONFIG.model
    )
    wide = np.full((32, 64, 3), 100, np.uint8)
    with pytest.raises(ModelError, match=r"takes no picture of 64x32"):
        Teacher(CONFIG, tmp_path).dense(wide)
    boxes, scores, _ = Teacher(CONFIG, tmp_path, any_size=True).dense(wide)
    assert (len(boxes), len(scores)) == (42, 42)
    square = np.full((32, 32, 3), 100, np.uint8)
    for told, known in zip(
        Teacher(CONFIG, tmp_path, any_size=True).dense(square), Teacher(CONFIG, tmp_path).dense(square), strict=True
    ):
        np.testing.assert_array_equal(told, known)

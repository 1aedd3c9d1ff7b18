"""Dense targets: what a teacher answers comes back cell by cell, and trusted boxes are put in and added."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from build_tools.data.augment import Classes, Example
from build_tools.data.coco import LABEL_ID
from build_tools.data.decoders import Found, yolox, yunet
from build_tools.nets.pyramid import STRIDES
from build_tools.training.dense_targets import ADDED_SCORE, LOWEST_DISTANCE, SURE_SCORE, DenseTargets, cells
from edge_runtime.decoding import decode_levels
from tests.build_tools.packs import Box, boxes_of, label_ids

F32 = NDArray[np.float32]
SIZE_WH = (160, 128)
CLASSES = Classes(("face", "person"), ((LABEL_ID["face"],), (LABEL_ID["person"],)))
CENTRES, STRIDE = cells(SIZE_WH)


def cell(x: float, y: float, stride: int) -> int:
    """Number of the cell around a point."""
    return int(np.flatnonzero(np.equal(STRIDE, stride) & (np.abs(CENTRES - (x, y)).max(1) <= stride / 2))[0])


class Teller:
    """A teacher that answers at some cells and says background elsewhere.

    Args:
        answers: cell, score, box and label.
        labels: what it is asked for.
    """

    def __init__(self, answers: Sequence[tuple[int, float, Box, str]], labels: Sequence[str] = ("face",)) -> None:
        self._answers, self.label_ids = answers, label_ids(labels)

    def dense(self, canvas: NDArray[np.uint8]) -> Found:
        n = len(cells((canvas.shape[1], canvas.shape[0]))[1])
        boxes, scores = np.zeros((n, 4), np.float32), np.full(n, 0.001, np.float32)
        labels = np.full(n, self.label_ids[0], np.int32)
        for i, score, box, label in self._answers:
            boxes[i], scores[i], labels[i] = box, score, LABEL_ID[label]
        return boxes, scores, labels


def example(
    trusted: Sequence[tuple[str, Box]] = (), ignore: Sequence[tuple[str, Box]] = (), clear: Sequence[Box] = ()
) -> Example:
    return Example(
        np.zeros((SIZE_WH[1], SIZE_WH[0], 3), np.uint8),
        boxes_of([box for _, box in trusted]),
        CLASSES.number(label_ids([name for name, _ in trusted])),
        boxes_of([box for _, box in ignore]),
        CLASSES.number(label_ids([name for name, _ in ignore])),
        boxes_of(clear),
    )


def targets(teachers: Sequence[Teller], given: Example) -> tuple[F32, ...]:
    """Scores [cells, 2], their weights, boxes [cells, 4] and their weights."""
    return DenseTargets(teachers, CLASSES)(given, 2)


def corners(boxes: F32, i: int) -> list[float]:
    """The box of a cell in pixels."""
    (x, y), s = CENTRES[i], STRIDE[i]
    left, top, right, bottom = boxes[i] * s
    return [x - left, y - top, x + right, y + bottom]


def as_maps(scores: F32, boxes: F32, size_wh: tuple[int, int] = SIZE_WH) -> list[F32]:
    """The outputs of a network that has learned these targets by heart."""
    with np.errstate(divide="ignore"):
        rows = np.concatenate([np.log(scores) - np.log1p(-scores), np.log(boxes)], 1)
    maps, start = [], 0
    for stride in STRIDES:
        w, h = size_wh[0] // stride, size_wh[1] // stride
        maps.append(rows[start : start + w * h].T.reshape(-1, h, w))
        start += w * h
    return maps


@settings(max_examples=30, deadline=None)
@given(w=st.integers(1, 6), h=st.integers(1, 6))
def test_cells_come_in_the_order_in_which_teachers_answer(w: int, h: int) -> None:
    centres, stride = cells((32 * w, 32 * h))
    counts = [16 * w * h, 4 * w * h, w * h]
    middle = [np.concatenate([np.full((1, n, 2), 0.5), np.zeros((1, n, 2))], 2).astype(np.float32) for n in counts]
    sure = [np.ones((1, n, 1), np.float32) for n in counts]
    rows = np.concatenate([np.concatenate(middle, 1), np.ones((1, sum(counts), 81), np.float32)], 2)
    for boxes, scores, _ in (yunet([*sure, *sure, *middle], 32 * w, 32 * h), yolox([rows], 32 * w, 32 * h)):
        assert len(scores) == len(stride)
        np.testing.assert_allclose((boxes[:, :2] + boxes[:, 2:]) / 2, centres)
        np.testing.assert_allclose(boxes[:, 2] - boxes[:, 0], stride)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_teachers_boxes_come_back_through_targets_and_decoding(data: st.DataObject) -> None:
    chosen = data.draw(st.sets(st.integers(0, len(STRIDE) - 1), min_size=1, max_size=6))
    answers = []
    for i in sorted(chosen):
        left, top, right, bottom = data.draw(st.tuples(*[st.floats(LOWEST_DISTANCE, 6)] * 4))
        (x, y), s = CENTRES[i].tolist(), float(STRIDE[i])
        box = (x - left * s, y - top * s, x + right * s, y + bottom * s)
        answers.append((i, data.draw(st.floats(0.1, 0.95)), box, "face"))
    scores, weights, boxes, box_weights = targets([Teller(answers)], example())
    found, sure, labels = decode_levels(as_maps(scores, boxes), STRIDES, 0.05, 1.0)
    best_first = sorted(answers, key=lambda a: -np.float32(a[1]))
    np.testing.assert_allclose(sure, [a[1] for a in best_first], rtol=1e-4)
    by_score = sorted(zip(sure.round(4).tolist(), found.round(2).tolist(), strict=True))
    for (_, box), told in zip(by_score, sorted(best_first, key=lambda a: a[1]), strict=True):
        if sum(abs(a[1] - told[1]) < 2e-4 for a in answers) == 1:  # of equal scores either may come first
            np.testing.assert_allclose(box, told[2], atol=0.05)
    assert set(labels.tolist()) == {0}
    assert (weights == 1).all()
    assert np.flatnonzero(box_weights).tolist() == sorted(chosen)


def test_the_surer_of_two_teachers_tells_a_cells_box_and_both_score_it() -> None:
    i = cell(44, 44, 8)
    unsure = Teller([(i, 0.3, (40, 40, 50, 50), "face")])
    sure = Teller([(i, 0.7, (30, 30, 60, 90), "person")], ["person"])
    for teachers in ([unsure, sure], [sure, unsure]):
        scores, _, boxes, weights = targets(teachers, example())
        assert scores[i].tolist() == pytest.approx([0.3, 0.7])
        assert corners(boxes, i) == pytest.approx([30, 30, 60, 90])
        assert weights[i] == pytest.approx(0.7)


def test_a_teacher_teaches_only_the_labels_it_is_asked_for() -> None:
    i = cell(44, 44, 8)
    scores, _, _, weights = targets([Teller([(i, 0.9, (40, 40, 50, 50), "person")], ["face"])], example())
    assert not scores.any()
    assert not weights.any()


def test_doubtful_answers_are_background() -> None:
    scores, weights, _, box_weights = targets([Teller([(3, 0.04, (0, 0, 9, 9), "face")])], example())
    assert not scores.any()
    assert (weights == 1).all()
    assert not box_weights.any()


@pytest.mark.parametrize(
    ("side", "stride"), [(8, 8), (40, 8), (42, 16), (96, 16), (98, 32)]
)  # fmt: skip
def test_a_trusted_box_that_no_teacher_knows_is_added_at_its_centre_at_its_level(side: float, stride: int) -> None:
    middle = (79.0, 61.0)
    box = (middle[0] - side / 2, middle[1] - side / 2, middle[0] + side / 2, middle[1] + side / 2)
    scores, _, boxes, box_weights = targets([Teller([])], example([("face", box)]))
    (i,) = np.flatnonzero(scores[:, 0])
    assert i == cell(*middle, stride)
    assert scores[i].tolist() == pytest.approx([ADDED_SCORE, 0])
    assert corners(boxes, i) == pytest.approx(box)
    assert np.flatnonzero(box_weights).tolist() == [i]
    found, _, _ = decode_levels(as_maps(scores, boxes), STRIDES, 0.5, 0.5)
    np.testing.assert_allclose(found, [box], atol=1e-3)


def test_the_level_goes_by_area_so_that_tall_boxes_do_not_land_high_up() -> None:
    scores, *_ = targets([Teller([])], example([("face", (70, 10, 82, 110))]))  # area's root: 34.6
    assert STRIDE[np.flatnonzero(scores[:, 0])].tolist() == [8]


def test_a_trusted_box_of_a_class_without_a_teacher_is_told_by_the_cells_around_its_centre() -> None:
    box = (41.0, 43.0, 81.0, 67.0)
    scores, weights, boxes, _ = targets([Teller([])], example([("person", box)], [("person", (0, 0, 160, 128))]))
    beside = sorted(cell(x, y, 8) for x in (60, 68, 52) for y in (52, 60))  # 61, 55 is the middle; 68 is 7 px away
    told = np.flatnonzero(scores[:, 1]).tolist()
    assert told == [i for i in beside if np.abs(CENTRES[i] - (61, 55)).max() <= 8]
    assert len(told) == 4
    assert scores[told, 1].tolist() == pytest.approx([ADDED_SCORE] * 4)
    assert weights[told, 1].tolist() == [1] * 4
    for i in told:
        assert corners(boxes, i) == pytest.approx(box)


def test_boxes_too_small_to_be_seen_are_not_added() -> None:
    scores, *_ = targets([Teller([])], example([("face", (50, 50, 56, 70))]))
    assert not scores.any()


def test_a_trusted_box_that_agrees_takes_the_place_of_the_teachers() -> None:
    near, unsure, far = cell(44, 44, 8), cell(52, 44, 8), cell(124, 100, 8)
    teller = Teller(
        [
            (near, 0.9, (30, 30, 60, 60), "face"),
            (unsure, 0.2, (33, 29, 63, 59), "face"),
            (far, 0.8, (110, 90, 140, 110), "face"),
        ]
    )
    scores, _, boxes, weights = targets([teller], example([("face", (32, 31, 62, 63))]))
    assert corners(boxes, near) == corners(boxes, unsure) == pytest.approx([32, 31, 62, 63])
    assert corners(boxes, far) == pytest.approx([110, 90, 140, 110])
    assert scores[[near, unsure, far], 0].tolist() == pytest.approx([0.9, 0.2, 0.8])
    assert np.count_nonzero(scores) == 3  # known: no cell is added
    assert weights[[near, unsure, far]].tolist() == pytest.approx([0.9, 0.2, 0.8])


def test_a_trusted_box_that_the_teacher_doubts_gets_a_cell_of_its_own() -> None:
    aside = cell(36, 36, 8)
    teller = Teller([(aside, 0.2, (30, 30, 60, 60), "face")])
    scores, _, boxes, _ = targets([teller], example([("face", (32, 31, 62, 63))]))
    centre = cell(47, 47, 8)
    assert scores[[aside, centre], 0].tolist() == pytest.approx([0.2, ADDED_SCORE])
    assert corners(boxes, aside) == corners(boxes, centre) == pytest.approx([32, 31, 62, 63])


def test_a_trusted_box_makes_sure_of_what_a_teacher_half_believes() -> None:
    middle, aside = cell(44, 44, 8), cell(52, 44, 8)
    teller = Teller([(middle, 0.5, (30, 30, 60, 60), "face"), (aside, 0.3, (33, 29, 63, 59), "face")])
    scores, weights, _, box_weights = targets([teller], example([("face", (32, 31, 62, 63))]))
    assert scores[[middle, aside], 0].tolist() == pytest.approx([SURE_SCORE, 0.3 * SURE_SCORE / 0.5])
    assert box_weights[[middle, aside]].tolist() == pytest.approx([SURE_SCORE, 0.3 * SURE_SCORE / 0.5])
    assert (weights == 1).all()


def test_a_trusted_box_says_which_of_a_teachers_classes_it_is() -> None:
    i = cell(44, 44, 8)
    teller = Teller([(i, 0.9, (30, 30, 60, 60), "face")], ["face", "person"])
    scores, _, boxes, _ = targets([teller], example([("person", (32, 31, 62, 63))]))
    assert scores[i].tolist() == pytest.approx([0, 0.9])
    assert corners(boxes, i) == pytest.approx([32, 31, 62, 63])
    assert np.count_nonzero(scores) == 1


def test_another_teachers_class_with_the_same_box_does_not_agree() -> None:
    i = cell(44, 44, 8)
    teller = Teller([(i, 0.9, (30, 30, 60, 60), "face")])
    _, _, boxes, _ = targets([teller], example([("person", (32, 31, 62, 63))]))
    assert corners(boxes, i) == pytest.approx([30, 30, 60, 60])


def test_of_two_trusted_boxes_a_cell_keeps_the_one_its_teacher_means() -> None:
    left, right = (20.0, 20.0, 60.0, 60.0), (34.0, 20.0, 74.0, 60.0)  # they overlap by 0.48
    a, b = cell(36, 44, 8), cell(60, 44, 8)
    teller = Teller([(a, 0.9, (22, 20, 62, 60), "face"), (b, 0.9, (33, 20, 73, 60), "face")])
    _, _, boxes, _ = targets([teller], example([("face", left), ("face", right)]))
    assert corners(boxes, a) == pytest.approx(left)
    assert corners(boxes, b) == pytest.approx(right)


def test_places_to_ignore_weigh_nothing_for_classes_that_no_teacher_knows() -> None:
    place = (32.0, 32.0, 96.0, 96.0)
    _, weights, _, _ = targets([Teller([])], example(ignore=[("face", place), ("person", place)]))
    inside = ((CENTRES >= 32) & (CENTRES < 96)).all(1)
    assert inside.sum() == 64 + 16 + 4
    assert (weights[:, 0] == 1).all()  # the teacher knows faces
    assert (weights[:, 1] == np.where(inside, 0, 1)).all()


def test_of_a_frame_labelled_in_places_only_what_a_teacher_says_counts_not_its_silence() -> None:
    whole, empty = (0.0, 0.0, 160.0, 128.0), (32.0, 32.0, 64.0, 64.0)
    i = cell(100, 100, 8)
    teller = Teller([(i, 0.5, (90, 90, 110, 110), "face")])
    _, weights, _, _ = targets([teller], example(ignore=[("face", whole)], clear=[empty]))
    known = ((CENTRES >= 32) & (CENTRES < 64)).all(1)
    known[i] = True
    assert (weights[:, 0] == known).all()
    assert (weights[:, 1] == 1).all()


def test_a_cell_held_by_another_class_does_not_learn_that_a_trusted_box_is_none() -> None:
    i = cell(60, 60, 8)
    teller = Teller([(i, 0.8, (52, 52, 68, 68), "face")], ["face", "person"])
    scores, weights, boxes, _ = targets([teller], example([("person", (46, 40, 74, 80))]))
    assert scores[i].tolist() == pytest.approx([0.8, 0])
    assert weights[i].tolist() == [1, 0]
    assert corners(boxes, i) == pytest.approx([52, 52, 68, 68])


def test_a_trusted_box_counts_within_a_place_to_ignore() -> None:
    whole = (0.0, 0.0, 160.0, 128.0)
    scores, weights, _, _ = targets([], example([("person", (40, 40, 60, 60))], [("person", whole)]))
    told = np.flatnonzero(scores[:, 1]).tolist()
    assert cell(50, 50, 8) in told
    assert np.flatnonzero(weights[:, 1]).tolist() == told


def test_without_teachers_and_labels_everything_is_background() -> None:
    scores, weights, boxes, box_weights = targets([], example())
    assert not scores.any()
    assert (weights == 1).all()
    assert (boxes >= LOWEST_DISTANCE).all()
    assert not box_weights.any()
    assert all(a.dtype == np.float32 for a in (scores, weights, boxes, box_weights))
    assert math.isclose(len(scores), 160 * 128 * (1 / 64 + 1 / 256 + 1 / 1024))

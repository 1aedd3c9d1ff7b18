"""Levels of maps become boxes: the same as cell by cell in plain Python, best first, one for each object."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_runtime.decoding import LOG_SIDE_MAX, MAX_CELLS, decode, decode_centres, decode_levels

F32 = NDArray[np.float32]
Row = tuple[float, int, list[float]]
"""Score, class, box."""


def levels(
    size_wh: tuple[int, int] = (64, 64), classes: int = 1, strides: Sequence[int] = (8, 16, 32)
) -> dict[int, F32]:
    """Maps by stride that see nothing: logits of -9, sides of one cell each way."""
    maps = {}
    for stride in strides:
        values = np.full((classes + 4, size_wh[1] // stride, size_wh[0] // stride), -9, np.float32)
        values[-4:] = 0
        maps[stride] = values
    return maps


def rows_reference(maps: dict[int, F32], score_min: float) -> list[Row]:
    """Every cell of every class that scores enough, one number at a time."""
    rows = []
    for stride, values in maps.items():
        for k in range(len(values) - 4):
            for y in range(values.shape[1]):
                for x in range(values.shape[2]):
                    score = 1 / (1 + math.exp(-float(values[k, y, x])))
                    if score < score_min:
                        continue
                    left, top, right, bottom = (
                        math.exp(min(float(values[len(values) - 4 + i, y, x]), LOG_SIDE_MAX)) for i in range(4)
                    )
                    cx, cy = x + 0.5, y + 0.5
                    box = [(cx - left) * stride, (cy - top) * stride, (cx + right) * stride, (cy + bottom) * stride]
                    rows.append((score, k, box))
    return rows


def iou_reference(a: list[float], b: list[float]) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(w, 0.0) * max(h, 0.0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def decode_levels_reference(maps: dict[int, F32], score_min: float, iou_max: float) -> list[Row]:
    """The boxes that stay: from the best on, each that no better one of its class overlaps too much."""
    kept: list[Row] = []
    for score, k, box in sorted(rows_reference(maps, score_min), key=lambda row: -row[0]):
        if all(k != other or iou_reference(box, better) <= iou_max for _, other, better in kept):
            kept.append((score, k, box))
    return kept


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(1, 3), iou_max=st.sampled_from([0.3, 0.5, 0.9]))
def test_levels_are_read_as_cell_by_cell_in_plain_python(seed: int, classes: int, iou_max: float) -> None:
    rng = np.random.default_rng(seed)
    maps = levels(classes=classes)
    for values in maps.values():
        values[:-4] = rng.normal(-3, 2, values[:-4].shape)
        values[-4:] = rng.uniform(-2, 1.5, values[-4:].shape)
    boxes, scores, labels = decode_levels(list(maps.values()), list(maps), 0.1, iou_max)
    expected = decode_levels_reference(maps, 0.1, iou_max)
    assert labels.tolist() == [k for _, k, _ in expected]
    np.testing.assert_allclose(scores, [score for score, _, _ in expected], rtol=1e-5)
    np.testing.assert_allclose(boxes, np.array([box for _, _, box in expected]).reshape(-1, 4), rtol=1e-4, atol=1e-4)


def test_a_cell_becomes_a_box_around_its_centre() -> None:
    maps = levels(classes=2)
    maps[16][:, 2, 1] = [-9, 2, math.log(1), math.log(2), math.log(3), math.log(0.5)]
    boxes, scores, labels = decode_levels(list(maps.values()), list(maps), 0.5, 0.5)
    np.testing.assert_allclose(boxes, [[(1.5 - 1) * 16, (2.5 - 2) * 16, (1.5 + 3) * 16, (2.5 + 0.5) * 16]])
    assert scores.tolist() == pytest.approx([1 / (1 + math.exp(-2))])
    assert labels.tolist() == [1]


def test_two_levels_that_tell_the_same_object_give_one_box() -> None:
    maps = levels()
    maps[8][0, 3, 3], maps[8][-4:, 3, 3] = 1.0, math.log(1.5)  # centre (28, 28), 12 px each way
    maps[16][:, 1, 1] = [2.0, *(math.log(side / 16) for side in (8, 8, 16, 16))]  # centre (24, 24): the same box
    boxes, scores, _ = decode_levels(list(maps.values()), list(maps), 0.1, 0.5)
    np.testing.assert_allclose(boxes, [[16, 16, 40, 40]], atol=1e-4)
    assert scores.tolist() == pytest.approx([1 / (1 + math.exp(-2))])


def test_one_cell_may_tell_of_two_classes() -> None:
    maps = levels(classes=2)
    maps[8][:2, 0, 0] = 1.0, 2.0
    _, _, labels = decode_levels(list(maps.values()), list(maps), 0.1, 0.5)
    assert labels.tolist() == [1, 0]


def test_scores_of_one_kind_count_together_for_its_surest_class() -> None:
    maps = levels(classes=4)
    logits = np.log([0.3, 0.45, 0.2, 0.6]) - np.log1p([-0.3, -0.45, -0.2, -0.6])
    maps[8][:4, 2, 3] = logits
    _, scores, labels = decode_levels(list(maps.values()), list(maps), 0.1, 0.5, kinds=(5, 5, 2, 0))
    assert labels.tolist() == [3, 1, 2]
    np.testing.assert_allclose(scores, [0.6, np.hypot(0.3, 0.45), 0.2], rtol=1e-4)
    np.testing.assert_array_equal(maps[8][:4, 2, 3], logits.astype(np.float32))  # the maps are the engine's


@given(
    scores=st.lists(st.floats(0.002, 0.999), min_size=1, max_size=5),
    kinds=st.lists(st.integers(0, 2), min_size=5, max_size=5),
)
def test_kinds_never_lower_a_score_and_tell_one_class_each(scores: list[float], kinds: list[int]) -> None:
    maps = levels(classes=len(scores))
    maps[8][: len(scores), 2, 3] = np.log(scores) - np.log1p(-np.array(scores))
    mine = kinds[: len(scores)]
    _, told, labels = decode_levels(list(maps.values()), list(maps), 1e-3, 0.5, kinds=mine)
    assert sorted(mine[k] for k in labels.tolist()) == sorted(set(mine))
    for k, score in zip(labels.tolist(), told.tolist(), strict=True):
        its = [s for s, kind in zip(scores, mine, strict=True) if kind == mine[k]]
        assert score == pytest.approx(min(np.linalg.norm(its), 0.999), rel=1e-3)
        assert scores[k] == max(its)


def test_nothing_seen_gives_empty_arrays_of_the_right_kind() -> None:
    maps = levels()
    boxes, scores, labels = decode_levels(list(maps.values()), list(maps), 0.1, 0.5)
    assert (boxes.shape, scores.shape, labels.shape) == ((0, 4), (0,), (0,))
    assert (boxes.dtype, scores.dtype, labels.dtype) == (np.float32, np.float32, np.int32)


def test_of_too_many_cells_the_best_are_looked_at() -> None:
    maps = levels((256, 256), strides=(8,))
    maps[8][0] = np.linspace(1, 3, 32 * 32).reshape(32, 32)
    maps[8][-4:] = math.log(0.4)  # smaller than a cell: none suppresses another
    _, scores, _ = decode_levels(list(maps.values()), list(maps), 0.1, 0.5)
    assert len(scores) == MAX_CELLS
    assert scores[0] == pytest.approx(1 / (1 + math.exp(-3)))
    assert scores.min() > 1 / (1 + math.exp(-1.99))


def test_absurd_sides_stay_finite() -> None:
    maps = levels()
    maps[8][:, 1, 1] = [3, 500, 500, 500, 500]
    boxes, _, _ = decode_levels(list(maps.values()), list(maps), 0.1, 0.5)
    assert np.isfinite(boxes).all()


@pytest.mark.parametrize(("score_min", "seen"), [(0.0, 84), (0.4999, 84), (0.5001, 0), (1.0, 0)])
def test_the_lowest_score_holds_to_both_ends_of_its_range(score_min: float, seen: int) -> None:
    maps = levels()
    for values in maps.values():
        values[0], values[-4:] = 0, math.log(0.4)
    _, scores, _ = decode_levels(list(maps.values()), list(maps), score_min, 1.0)
    assert len(scores) == seen


def test_each_family_of_networks_is_read_in_its_own_way() -> None:
    maps, strides = levels(), (8, 16, 32)
    maps[32][0, 0, 1] = 4.0
    levels_maps = list(maps.values())
    heat, box = np.zeros((1, 8, 8), np.float32), np.ones((4, 8, 8), np.float32)
    heat[0, 2, 5] = 0.8
    for mine, other in (
        (decode("levels", levels_maps, strides, 0.1, 0.5), decode_levels(levels_maps, strides, 0.1, 0.5)),
        (decode("centre-map", [heat, box], (8,), 0.1, 0.5), decode_centres(heat, box, 8, 0.1, 0.5)),
    ):
        assert len(mine[1]) == 1
        for a, b in zip(mine, other, strict=True):
            np.testing.assert_array_equal(a, b)

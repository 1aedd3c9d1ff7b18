"""Geometry of boxes against plain references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_runtime.geometry import Boxes, iou, non_maximum_suppression


def greedy(boxes: Boxes, scores: NDArray[np.float32], labels: NDArray[np.int32], iou_max: float) -> list[int]:
    """Suppression as a textbook has it."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable").tolist():
        rivals = [j for j in kept if labels[j] == labels[i]]
        if all(iou(boxes[i : i + 1], boxes[j : j + 1])[0, 0] <= iou_max for j in rivals):
            kept.append(i)
    return kept


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(0, 60), iou_max=st.sampled_from([0.3, 0.45, 0.6]))
def test_suppression_keeps_what_a_plain_loop_keeps_best_first(seed: int, count: int, iou_max: float) -> None:
    rng = np.random.default_rng(seed)
    corners, sides = rng.uniform(-20, 100, (count, 2)), rng.uniform(1, 60, (count, 2))
    boxes = np.concatenate([corners, corners + sides], 1).astype(np.float32)
    scores = rng.choice(np.array([0.0, 0.2, 0.2000001, 0.5, 0.9, 1.0], np.float32), count)  # ties stay in order
    labels = rng.integers(0, 3, count).astype(np.int32)
    kept = non_maximum_suppression(boxes, scores, labels, iou_max)
    assert kept.tolist() == greedy(boxes, scores, labels, iou_max)


@pytest.mark.parametrize("count", [0, 1, 3000])
def test_none_one_and_thousands_of_boxes(count: int) -> None:
    boxes = np.tile(np.array([[5, 5, 9, 9]], np.float32), (count, 1))
    kept = non_maximum_suppression(
        boxes, np.linspace(0.1, 0.9, count, dtype=np.float32), np.zeros(count, np.int32), 0.5
    )
    assert kept.tolist() == ([count - 1] if count else [])


def test_labels_never_meet_even_left_of_the_picture() -> None:
    boxes = np.array([[60, 60, 100, 100], [-40, -40, 0, 0]], np.float32)
    kept = non_maximum_suppression(boxes, np.array([0.9, 0.8], np.float32), np.array([0, 1], np.int32), 0.3)
    assert kept.tolist() == [0, 1]


def test_inverted_boxes_suppress_nobody_and_do_no_harm() -> None:
    boxes = np.array([[50, 50, 10, 10], [10, 10, 50, 50], [12, 10, 50, 50]], np.float32)
    kept = non_maximum_suppression(boxes, np.array([0.9, 0.8, 0.7], np.float32), np.zeros(3, np.int32), 0.5)
    assert kept.tolist() == [0, 1]

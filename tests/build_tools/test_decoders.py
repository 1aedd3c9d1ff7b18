"""Outputs of detectors by others become boxes: one object laid into each, by hand, comes out where it lies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from build_tools.data.coco import LABEL_ID
from build_tools.data.decoders import DECODERS

F32 = NDArray[np.float32]
COCO_CAR = 2


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def best(decoder: str, outputs: list[F32], w: int, h: int) -> tuple[list[float], float, int]:
    """Box, score and label of the best answer."""
    boxes, scores, labels = DECODERS[decoder][0](outputs, w, h)
    assert len(boxes) == len(scores) == len(labels)
    i = int(scores.argmax())
    return boxes[i].tolist(), float(scores[i]), int(labels[i])


def test_yoloface_tells_sides_relative_to_its_anchors() -> None:
    raw = np.full((1, 18, 4, 6), -9, np.float32)
    # The second anchor, 12x17, at column 2, row 1: the middle of the cell, twice as wide as the anchor.
    raw[0, 6:12, 1, 2] = [0, 0, math.log(2), 0, logit(0.9), logit(0.8)]
    box, score, label = best("yoloface", [raw], 48, 32)
    assert box == pytest.approx([20 - 12, 12 - 8.5, 20 + 12, 12 + 8.5], abs=1e-3)
    assert (score, label) == (pytest.approx(0.72), LABEL_ID["face"])


@pytest.mark.parametrize(("row", "centre"), [(2 * (16 * 3 + 5) + 1, (44, 28)), (512 + 6 * (8 * 2 + 1) + 4, (24, 40))])
def test_blazeface_counts_two_anchors_a_cell_and_then_six(row: int, centre: tuple[int, int]) -> None:
    boxes, scores = np.zeros((1, 896, 16), np.float32), np.full((1, 896, 1), -9, np.float32)
    boxes[0, row, :4], scores[0, row] = [3, -2, 20, 30], logit(0.7)
    box, score, label = best("blazeface", [boxes, scores], 128, 128)
    x, y = centre[0] + 3, centre[1] - 2
    assert box == pytest.approx([x - 10, y - 15, x + 10, y + 15], abs=1e-3)
    assert (score, label) == (pytest.approx(0.7), LABEL_ID["face"])


def test_fastestdet_tells_sides_as_shares_of_the_picture() -> None:
    raw = np.zeros((1, 85, 22, 22), np.float32)
    raw[0, :5, 3, 7] = [0.8, math.atanh(0.5), math.atanh(-0.25), logit(0.25), logit(0.5)]
    raw[0, 5 + COCO_CAR, 3, 7] = 0.6
    box, score, label = best("fastestdet", [raw], 352, 352)
    assert box == pytest.approx([120 - 44, 44 - 88, 120 + 44, 44 + 88], abs=1e-3)
    assert (score, label) == (pytest.approx(0.8**0.6 * 0.6**0.4), LABEL_ID["car"])


def test_nanodet_reads_each_side_as_the_mean_of_its_distribution() -> None:
    outputs = []
    for cells in (400, 1600, 100):  # told apart by shape, in any order
        outputs += [np.zeros((1, cells, 32), np.float32), np.zeros((1, cells, 80), np.float32)]
    sides = np.full((4, 8), -99, np.float32)
    sides[0, 1] = sides[1, 2] = sides[2, 3] = 0  # one, two and three cells
    sides[3, 4] = sides[3, 5] = 0  # as sure of four as of five
    cell = 20 * 6 + 4
    outputs[0][0, cell], outputs[1][0, cell, COCO_CAR] = sides.ravel(), 0.55
    box, score, label = best("nanodet", outputs, 320, 320)
    x, y = 4 * 16 + 7.5, 6 * 16 + 7.5
    assert box == pytest.approx([x - 16, y - 32, x + 48, y + 72], abs=1e-3)
    assert (score, label) == (pytest.approx(0.55), LABEL_ID["car"])


def test_classes_of_coco_that_we_do_not_know_win_nothing() -> None:
    raw = np.zeros((1, 85, 22, 22), np.float32)
    raw[0, 0, 3, 7], raw[0, 5 + COCO_CAR, 3, 7], raw[0, 5 + 60, 3, 7] = 1, 0.3, 0.9  # 60: dining table
    _, score, label = best("fastestdet", [raw], 352, 352)
    assert (score, label) == (pytest.approx(0.3**0.4), LABEL_ID["car"])

"""A teacher that sees twice as much: its answers land in the cells of the smaller picture."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from build_tools.data.decoders import Found
from build_tools.training.closer_teacher import CloserTeacher
from build_tools.training.dense_targets import cells
from tests.build_tools.packs import Box


class CellsWithObjects:
    """Says of some cells of the pictures it sees that an object is there, of all others that none is."""

    label_ids = np.array([2], np.int32)

    def __init__(self, objects: list[tuple[float, tuple[float, float], Box, float]]) -> None:
        self.objects = objects
        self.sizes_wh: list[tuple[int, int]] = []

    def dense(self, canvas: NDArray[np.uint8]) -> Found:
        """Stride, centre, box and score of each object, in the pixels of `canvas`."""
        self.sizes_wh.append((canvas.shape[1], canvas.shape[0]))
        centres, stride = cells(self.sizes_wh[-1])
        boxes, scores = np.zeros((len(stride), 4), np.float32), np.zeros(len(stride), np.float32)
        for level, at, box, score in self.objects:
            (cell,) = np.flatnonzero((stride == level) & (centres == at).all(1))
            boxes[cell], scores[cell] = box, score
        return boxes, scores, np.full(len(stride), 2, np.int32)


def told(objects: list[tuple[float, tuple[float, float], Box, float]]) -> list[tuple[float, list[float], list[float]]]:
    """Score, centre and stride of the cell, and box, of all that is told of a picture of 128x96."""
    teacher = CellsWithObjects(objects)
    boxes, scores, labels = CloserTeacher(teacher).dense(np.zeros((96, 128, 3), np.uint8))
    assert teacher.sizes_wh == [(256, 192)]
    centres, stride = cells((128, 96))
    assert len(boxes) == len(scores) == len(labels) == len(stride)
    return [
        (round(float(scores[i]), 3), [*centres[i].tolist(), float(stride[i])], boxes[i].tolist())
        for i in np.flatnonzero(scores)
    ]


@pytest.mark.parametrize(("stride", "at", "cell"), [(16, (40, 72), [20, 36, 8]), (32, (48, 80), [24, 40, 16])])
def test_cells_of_coarse_strides_are_those_of_half_the_stride(
    stride: int, at: tuple[float, float], cell: list[float]
) -> None:
    assert told([(stride, at, (32, 64, 56, 88), 0.7)]) == [(0.7, cell, [16, 32, 28, 44])]


def test_the_surest_of_four_fine_cells_speaks_for_a_cell_unless_a_coarser_one_is_surer() -> None:
    four = [(8, (36, 68), (32, 64, 40, 72), 0.5), (8, (44, 76), (40, 72, 48, 80), 0.6)]
    assert told(four) == [(0.6, [20, 36, 8], [20, 36, 24, 40])]  # type: ignore[arg-type]
    assert told([*four, (16, (40, 72), (32, 64, 48, 80), 0.8)]) == [(0.8, [20, 36, 8], [16, 32, 24, 40])]  # type: ignore[list-item]


def test_large_objects_are_told_at_the_coarsest_stride_too() -> None:
    found = told([(32, (48, 80), (0, 0, 160, 160), 0.9), (32, (80, 80), (64, 64, 96, 96), 0.95)])
    assert (0.9, [16, 48, 32], [0, 0, 80, 80]) in found
    assert [f for f in found if f[1][2] == 16] == [
        (0.9, [24, 40, 16], [0, 0, 80, 80]), (0.95, [40, 40, 16], [32, 32, 48, 48]),
    ]  # fmt: skip
    assert len(found) == 3


def test_it_is_asked_for_what_its_teacher_is_asked_for() -> None:
    assert CloserTeacher(CellsWithObjects([])).label_ids.tolist() == [2]

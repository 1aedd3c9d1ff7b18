"""A teacher that sees pictures twice as large as its student does, and so is surer, above all of what is small.

Its cells at strides 16 and 32 of the larger picture are the student's at strides 8 and 16. What it says at stride 8 is
gathered in the student's cells of stride 8, four into one, and what it says of large objects at stride 32 in those of
stride 32: of answers that meet in a cell, the surest stays.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from build_tools.data.augment import Bgr
from build_tools.data.decoders import Found
from build_tools.nets.pyramid import STRIDES
from build_tools.training.dense_targets import CellTeacher

SCALE = 2
LARGE_PX = 64.0
"""Side (square root of the area) from which an object is told at the student's stride 32, too."""


class CloserTeacher:
    """Answers for a picture as `teacher` does for one twice as large; a `CellTeacher`."""

    def __init__(self, teacher: CellTeacher) -> None:
        self._teacher = teacher

    @property
    def label_ids(self) -> NDArray[np.int32]:
        """Numbers of the labels it is asked for."""
        return self._teacher.label_ids

    def dense(self, canvas: Bgr) -> Found:
        """Box, score and label at each cell of strides 8, 16 and 32 of a picture whose sides are multiples of 32.

        Raises:
            ModelError: the teacher takes no picture of twice its size.
        """
        h, w = canvas.shape[:2]
        larger = cv2.resize(canvas, (SCALE * w, SCALE * h), interpolation=cv2.INTER_LINEAR)
        boxes, scores, labels = self._teacher.dense(np.asarray(larger, np.uint8))
        boxes = boxes / np.float32(SCALE)
        counts = [SCALE * w // s * (SCALE * h // s) for s in STRIDES]
        fine, middle, coarse = np.split(np.arange(sum(counts)), np.cumsum(counts)[:2])
        large = scores * (np.sqrt(np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(1)) >= LARGE_PX)
        gathered = _surest_of_four(fine, scores, SCALE * w // STRIDES[0])
        finest = np.where(scores[gathered] > scores[middle], gathered, middle)
        coarsest = _surest_of_four(coarse, large, SCALE * w // STRIDES[2])
        told = np.concatenate([scores[finest], scores[coarse], large[coarsest]])
        chosen = np.concatenate([finest, coarse, coarsest])
        return boxes[chosen], told, labels[chosen]


def _surest_of_four(cells: NDArray[np.intp], scores: NDArray[np.float32], columns: int) -> NDArray[np.intp]:
    """Of each square of four cells of a grid, row by row, the one of the highest score."""
    squares = cells.reshape(-1, 2, columns // 2, 2).transpose(0, 2, 1, 3).reshape(-1, 4)
    return np.take_along_axis(squares, scores[squares].argmax(1)[:, None], 1)[:, 0]

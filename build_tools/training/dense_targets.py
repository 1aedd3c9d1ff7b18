"""What a pyramid network should answer at every cell: what teachers answer there, and what labels add.

A teacher with the same strides scores the same cells of the same picture. Its scores are the target, soft as they are
(Hinton et al. 2015): they say which cells suit an object, how sure one can be of it, and what merely resembles one, and
they need no assignment of objects to cells, which takes a network long to settle. A trusted box (from a pack, or from a
teacher at high resolution) that agrees with a cell's box replaces it, says which class it is, and makes sure of it: a
teacher is unsure of what is rare, and its student would never tell it. A box that no cell knows gets the cell at its
centre, and those beside it where no teacher knows its class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from build_tools.data.augment import Bgr, Classes, Example
from build_tools.data.decoders import Found
from build_tools.nets.pyramid import STRIDES
from edge_runtime.geometry import iou

F32 = NDArray[np.float32]

SCORE_MIN = 0.05
"""Answers below this are background."""
KNOWN_SCORE = 0.4
"""A trusted box is known when a cell of at least this score tells it."""
SURE_SCORE = 0.8
"""Target of the surest cell of a trusted box that is known."""
ADDED_SCORE = 0.6
"""Target of the cell at the centre of a trusted box that no teacher knows: not every label can be seen."""
ADDED_SIDE_PX = 7.0
"""Shorter side from which a trusted box is added."""
LEVEL_SIDES_PX = (40.0, 96.0)
"""Sides (square root of the area) up to which added boxes belong to the first and the second level."""
UNTAUGHT_REACH = 1.0
"""A box of a class that no teacher knows is told by the cells so near to its centre, in cells."""
LOWEST_DISTANCE = 0.05
"""Of a cell's centre from a side, in cells; centres just outside of a box count as on its border."""


class CellTeacher(Protocol):
    """A detector that answers at the cells of `cells`; see `data.teacher.Teacher`."""

    @property
    def label_ids(self) -> NDArray[np.int32]:
        """Numbers of the labels it is asked for."""

    def dense(self, canvas: Bgr) -> Found:
        """Box, score and label at each cell of a picture whose sides are multiples of 32."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What is to be answered at each of the cells, in the making.

    Attributes:
        centres: float32 [cells, 2] in pixels; stride: float32 [cells].
        scores: float32 [cells, classes]; weights: the same shape.
        boxes: float32 [cells, 4] xyxy in pixels; best: float32 [cells], how sure each is.
    """

    centres: F32
    stride: F32
    scores: F32
    weights: F32
    boxes: F32
    best: F32

    def add(self, box: F32, k: int, reach: float) -> None:
        """Put a box of class `k` at the cell of its centre, and at those within `reach` cells whose centre it holds."""
        side = box[2:] - box[:2]
        if side.min() < ADDED_SIDE_PX:
            return
        level = STRIDES[int(np.searchsorted(LEVEL_SIDES_PX, np.sqrt(side.prod())))]
        away = np.where(self.stride == level, np.abs(self.centres - (box[:2] + box[2:]) / 2).max(1), np.inf)
        around = (away <= reach * level) & _inside(self.centres, box)
        for cell in {int(away.argmin()), *np.flatnonzero(around).tolist()}:
            self.weights[cell, k] = 1
            if self.best[cell] < ADDED_SCORE:
                self.scores[cell, k] = max(self.scores[cell, k], ADDED_SCORE)
                self.boxes[cell], self.best[cell] = box, ADDED_SCORE
            elif self.scores[cell, k] < ADDED_SCORE:
                self.weights[cell, k] = (
                    0  # an object of another class holds the cell: it must not learn that this is none
                )


class DenseTargets:
    """Asks the teachers and turns answers and labels into arrays for the loss.

    Args:
        teachers: networks with strides 8, 16 and 32; none: only labels teach.
        classes: the recipe's.
    """

    def __init__(self, teachers: Sequence[CellTeacher], classes: Classes) -> None:
        self._teachers, self._classes = teachers, classes

    def __call__(self, example: Example, classes: int) -> tuple[NDArray[np.float32], ...]:
        """Targets of one picture, before its light is changed, whose sides are multiples of 32.

        Cells are those of all levels, one after the other.

        Returns:
            Scores float32 [cells, classes], 0 to 1; their weights, 0 where nothing is known; boxes float32 [cells, 4]:
            distances left, top, right, bottom from the cell's centre, in cells, positive; weights float32 [cells].
        """
        centres, stride = cells((example.bgr.shape[1], example.bgr.shape[0]))
        scores = np.zeros((len(stride), classes), np.float32)
        boxes = np.zeros((len(stride), 4), np.float32)
        best, told = np.zeros(len(stride), np.float32), np.full(len(stride), -1)
        tellers = np.full(classes, -1)
        for i, teacher in enumerate(self._teachers):
            its_boxes, its_scores, its_labels = teacher.dense(example.bgr)
            number = np.where(np.isin(its_labels, teacher.label_ids), self._classes.number(its_labels), -1)
            tellers[[k for k in self._classes.number(teacher.label_ids) if k >= 0]] = i
            sure = np.flatnonzero((its_scores >= SCORE_MIN) & (number >= 0))
            scores[sure, number[sure]] = np.maximum(scores[sure, number[sure]], its_scores[sure])
            better = sure[its_scores[sure] > best[sure]]
            boxes[better], best[better], told[better] = its_boxes[better], its_scores[better], number[better]
        weights = np.ones_like(scores)
        # A teacher knows better than to ignore, but of frames that are labelled in places only: what it says there
        # counts, what it is silent about does not (seen from above, it knows no car).
        partly = len(example.clear) > 0
        for box, k in zip(example.ignore, example.ignore_labels, strict=True):
            if k >= 0 and (partly or tellers[k] < 0):
                weights[_inside(centres, box) & (scores[:, k] == 0), k] = 0
        for box in example.clear:
            weights[_inside(centres, box)] = 1
        answers = Answers(centres, stride, scores, weights, boxes, best)
        known = self._confirm(example, answers, told, tellers)
        for box, k in zip(example.boxes[~known], example.labels[~known], strict=True):
            answers.add(box, int(k), UNTAUGHT_REACH if tellers[k] < 0 else 0.0)
        low, high = centres - boxes[:, :2], boxes[:, 2:] - centres
        distances = np.concatenate([low, high], 1) / stride[:, None]
        return scores, weights, np.maximum(distances, LOWEST_DISTANCE).astype(np.float32), best

    @staticmethod
    def _confirm(
        example: Example, answers: Answers, told: NDArray[np.int64], tellers: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Put trusted boxes in place of teachers' for the same objects; [n], which of them teachers know.

        Args:
            example: with the trusted boxes [n, 4].
            answers: changed in place.
            told: class of the surest answer at each cell, -1 where there is none.
            tellers: number of the teacher of each class, -1 without one.
        """
        a, there = answers, np.flatnonzero(told >= 0)
        overlaps = iou(a.boxes[there], example.boxes)
        nearest = overlaps >= overlaps.max(1, keepdims=True, initial=0) - 1e-6
        known = np.zeros(len(example.boxes), np.bool_)
        for i, (box, k) in enumerate(zip(example.boxes, example.labels, strict=True)):
            # A teacher takes one of its classes for another, a lorry for a car; a face is never its person.
            same = (overlaps[:, i] >= 0.5) & nearest[:, i] & (tellers[told[there]] == tellers[k])
            cells_of = there[same]
            if not len(cells_of):
                continue
            a.boxes[cells_of] = box
            said = a.scores[cells_of, told[cells_of]]
            mistaken = cells_of[told[cells_of] != k]
            a.scores[mistaken, told[mistaken]] = 0
            a.scores[cells_of, k] = np.maximum(a.scores[cells_of, k], said)
            surest = float(a.scores[cells_of, k].max())
            known[i] = surest >= KNOWN_SCORE
            if known[i] and surest < SURE_SCORE:
                a.scores[cells_of, k] *= SURE_SCORE / surest
            a.best[cells_of] = np.maximum(a.best[cells_of], a.scores[cells_of, k])
        return known


def cells(size_wh: tuple[int, int]) -> tuple[F32, F32]:
    """Centres [cells, 2] in pixels and strides [cells] of all levels' cells, row by row."""
    centres, strides = [], []
    for stride in STRIDES:
        w, h = size_wh[0] // stride, size_wh[1] // stride
        y, x = np.mgrid[0:h, 0:w].astype(np.float32)
        centres.append(np.stack([x.ravel() + 0.5, y.ravel() + 0.5], 1) * stride)
        strides.append(np.full(w * h, stride, np.float32))
    return np.concatenate(centres), np.concatenate(strides)


def _inside(centres: F32, box: F32) -> NDArray[np.bool_]:
    return np.asarray(((centres >= box[:2]) & (centres < box[2:])).all(1))

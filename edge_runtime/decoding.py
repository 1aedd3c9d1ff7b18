"""Reads boxes from the maps of our two families of networks.

- Centre maps: where a class's heat peaks there is an object, and the box map tells its sides. Peaks are the cells that
  equal the maximum of their 3x3 neighbourhood (Zhou et al. 2019, "Objects as Points", section 4).
- Levels: every cell of every level that scores enough tells a box (Tian et al. 2019, "FCOS").

A suppression of overlapping boxes afterwards leaves one for each object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.geometry import Boxes, non_maximum_suppression

F32 = NDArray[np.float32]
Found = tuple[Boxes, F32, NDArray[np.int32]]
"""Boxes [n, 4] xyxy in input pixels, scores [n] and classes [n], best first."""
Decoding = Literal["centre-map", "levels", "probability", "points", "steps"]
"""`probability`: no boxes, one number a class for each patch; read by `detection.classifier`.
`points`: x and y for each class, as fractions of the patch; read by `identity.landmarks`.
`steps`: the probability of each class, and of none, at each step along a row; read by `plates.reading`."""
DECODINGS: tuple[Decoding, ...] = ("centre-map", "levels", "probability", "points", "steps")

MAX_PEAKS = 128
"""Peaks looked at, best first: more are not objects, and suppression is quadratic."""
MAX_CELLS = 512
"""Cells of levels looked at, best first; an object has several."""
SURE_MAX = 0.999
"""What scores of one kind come to at the most."""
LOG_SIDE_MAX = 6.0
"""A side of e^6 cells is longer than any picture."""


def decode(
    how: Decoding, maps: Sequence[F32], strides: Sequence[int], score_min: float, iou_max: float,
    kinds: Sequence[int] = (),
) -> Found:  # fmt: skip
    """Boxes, scores and classes of one picture's maps, whichever family made them; `kinds`: see `decode_levels`."""
    if how == "levels":
        return decode_levels(maps, strides, score_min, iou_max, kinds)
    heat, box = maps
    return decode_centres(heat, box, strides[0], score_min, iou_max)


def decode_centres(heat: F32, box: F32, stride: int, score_min: float, iou_max: float) -> Found:
    """Boxes, scores and classes of one picture's centre maps.

    Args:
        heat: float32 [classes, h, w], 0 to 1.
        box: float32 [4, h, w], distances left, top, right, bottom from the cell's centre, in cells.
        stride: input pixels a cell.
        score_min: peaks below this are dropped.
        iou_max: overlap beyond which the weaker of two boxes of one class goes.
    """
    classes, h, w = heat.shape
    around = cv2.dilate(np.ascontiguousarray(heat.transpose(1, 2, 0)), np.ones((3, 3), np.uint8))
    around = around.reshape(h, w, classes).transpose(2, 0, 1)
    k, y, x = np.nonzero((heat >= score_min) & (heat >= around))
    best = _best(heat[k, y, x], MAX_PEAKS)
    k, y, x = k[best], y[best], x[best]
    return _one_each(_corners(x, y, box[:, y, x], stride), heat[k, y, x], k.astype(np.int32), iou_max)


def decode_levels(
    maps: Sequence[F32], strides: Sequence[int], score_min: float, iou_max: float, kinds: Sequence[int] = ()
) -> Found:
    """Boxes, scores and classes of one picture's levels.

    Args:
        maps: for each stride float32 [classes + 4, h, w]: score logits, then the logarithms of the distances left, top,
            right and bottom from the cell's centre, in cells.
        strides: input pixels a cell.
        score_min: cells below this are dropped.
        iou_max: overlap beyond which the weaker of two boxes of one class goes.
        kinds: the kind of each class; a thing is one of its kind's classes at most, so what they score counts together:
            what may be a car or a lorry is rather surely a vehicle. Empty: each is its own kind.
    """
    with np.errstate(divide="ignore"):  # 0 and 1 have logits too: minus and plus infinity
        logit_min = np.log(np.float64(score_min)) - np.log1p(-np.float64(score_min))
    shared = [k for kind in dict.fromkeys(kinds) if len(k := np.flatnonzero(np.equal(kinds, kind))) > 1]
    columns: list[tuple[Boxes, F32, NDArray[np.int32]]] = []
    for values, stride in zip(maps, strides, strict=True):
        told = _together(values[:-4], shared)
        k, y, x = np.nonzero(told >= logit_min)
        sides = np.exp(np.minimum(values[-4:, y, x], LOG_SIDE_MAX))
        columns.append((_corners(x, y, sides, stride), told[k, y, x], k.astype(np.int32)))
    boxes, logits, labels = (np.concatenate(column) for column in zip(*columns, strict=True))
    best = _best(logits, MAX_CELLS)
    scores = 1 / (1 + np.exp(-logits[best]))
    return _one_each(boxes[best], scores, labels[best], iou_max)


def _together(logits: F32, shared: Sequence[NDArray[np.intp]]) -> F32:
    """Logits [classes, h, w] where at each cell the surest class of a kind speaks for all of it, and the others not.

    `shared` has the classes of each kind that has several.

    Their scores come to the root of the sum of squares: on pictures held out vehicles had an average precision of 0.57
    by it, 0.55 by the sum, which makes much of haze that is a little of everything, and 0.54 by the best alone.
    """
    told = logits.copy() if shared else logits
    for mine in shared:
        scores = 1 / (1 + np.exp(-logits[mine].astype(np.float64)))
        total = np.minimum(np.sqrt(np.square(scores).sum(0)), SURE_MAX)
        with np.errstate(divide="ignore"):
            together = np.log(total) - np.log1p(-total)
        surest = logits[mine].argmax(0)
        for place, k in enumerate(mine):
            told[k] = np.where(surest == place, together, -np.inf)
    return told


def _best(scores: F32, most: int) -> NDArray[np.intp]:
    """Indices of the `most` highest scores."""
    return np.argsort(-scores, kind="stable")[:most]


def _corners(x: NDArray[np.intp], y: NDArray[np.intp], sides: F32, stride: int) -> Boxes:
    """Boxes [n, 4] in input pixels around cells whose centres lie `sides` [4, n] cells from them."""
    cx, cy = x + np.float32(0.5), y + np.float32(0.5)
    return np.asarray(np.stack([cx - sides[0], cy - sides[1], cx + sides[2], cy + sides[3]], 1) * stride, np.float32)


def _one_each(boxes: Boxes, scores: F32, labels: NDArray[np.int32], iou_max: float) -> Found:
    kept = non_maximum_suppression(boxes, scores, labels, iou_max)
    return boxes[kept], scores[kept].astype(np.float32), labels[kept]

"""Reads centre maps: where a class's heat peaks there is an object, and the box map tells its sides.

Peaks are the cells that equal the maximum of their 3x3 neighbourhood (Zhou et al. 2019, "Objects as Points",
section 4); a suppression of overlapping boxes afterwards takes the doubles that two near peaks of one large object
leave.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.geometry import Boxes, non_maximum_suppression

MAX_PEAKS = 128
"""Peaks looked at, best first: more are not objects, and suppression is quadratic."""


def decode_centres(
    heat: NDArray[np.float32], box: NDArray[np.float32], stride: int, score_min: float, iou_max: float
) -> tuple[Boxes, NDArray[np.float32], NDArray[np.int32]]:
    """Boxes, scores and classes of one picture's maps.

    Args:
        heat: float32 [classes, h, w], 0 to 1.
        box: float32 [4, h, w], distances left, top, right, bottom from the cell's centre, in cells.
        stride: input pixels a cell.
        score_min: peaks below this are dropped.
        iou_max: overlap beyond which the weaker of two boxes of one class goes.

    Returns:
        float32 [n, 4] xyxy in input pixels, float32 [n] and int32 [n], best first.
    """
    classes, h, w = heat.shape
    around = cv2.dilate(np.ascontiguousarray(heat.transpose(1, 2, 0)), np.ones((3, 3), np.uint8))
    around = around.reshape(h, w, classes).transpose(2, 0, 1)
    k, y, x = np.nonzero((heat >= score_min) & (heat >= around))
    scores = heat[k, y, x]
    if len(scores) > MAX_PEAKS:
        best = np.argsort(-scores, kind="stable")[:MAX_PEAKS]
        k, y, x, scores = k[best], y[best], x[best], scores[best]
    sides = box[:, y, x]
    cx, cy = x + np.float32(0.5), y + np.float32(0.5)
    corners = np.stack([cx - sides[0], cy - sides[1], cx + sides[2], cy + sides[3]], 1)
    boxes = np.asarray(corners * stride, np.float32)
    labels = k.astype(np.int32)
    kept = non_maximum_suppression(boxes, scores, labels, iou_max)
    return boxes[kept], scores[kept].astype(np.float32), labels[kept]

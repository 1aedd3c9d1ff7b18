"""Boxes as arrays: areas, intersections, overlaps, unions.

One coordinate frame everywhere: xyxy, half-open, float32, in full-frame pixels unless a name says otherwise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]
"""float32 [n, 4], xyxy, half-open: the box covers x1 <= x < x2."""


def area(boxes_xyxy: Boxes) -> NDArray[np.float32]:
    """Area [n] of each box; 0 for an inverted or empty one."""
    sides = np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0.0)
    return np.asarray(sides[:, 0] * sides[:, 1], np.float32)


def intersection(a_xyxy: Boxes, b_xyxy: Boxes) -> NDArray[np.float32]:
    """Area [n, m] that each box of `a` [n, 4] shares with each box of `b` [m, 4]."""
    sides = np.minimum(a_xyxy[:, None, 2:], b_xyxy[None, :, 2:]) - np.maximum(a_xyxy[:, None, :2], b_xyxy[None, :, :2])
    sides = np.maximum(sides, 0.0)
    return np.asarray(sides[..., 0] * sides[..., 1], np.float32)


def iou(a_xyxy: Boxes, b_xyxy: Boxes) -> NDArray[np.float32]:
    """Intersection over union [n, m]; 0 where both boxes are empty."""
    shared = intersection(a_xyxy, b_xyxy)
    union = area(a_xyxy)[:, None] + area(b_xyxy)[None, :] - shared
    return np.asarray(shared / np.maximum(union, 1e-6), np.float32)


def share_inside(a_xyxy: Boxes, b_xyxy: Boxes) -> NDArray[np.float32]:
    """Share [n, m] of each box of `a` that lies inside each box of `b`, 0 to 1."""
    return np.asarray(intersection(a_xyxy, b_xyxy) / np.maximum(area(a_xyxy)[:, None], 1e-6), np.float32)


def clip(boxes_xyxy: Boxes, size_wh: tuple[int, int]) -> Boxes:
    """The boxes cut off at the borders of a picture of `size_wh` pixels."""
    limit = np.array((size_wh[0], size_wh[1]) * 2, np.float32)
    return np.asarray(np.clip(boxes_xyxy, 0.0, limit), np.float32)


def letterbox_scale(from_wh: tuple[int, int], into_wh: tuple[int, int]) -> float:
    """The factor that fits `from_wh` whole into `into_wh` at its own aspect."""
    return min(into_wh[0] / from_wh[0], into_wh[1] / from_wh[1])


def non_maximum_suppression(
    boxes_xyxy: Boxes, scores: NDArray[np.float32], labels: NDArray[np.int32], iou_max: float
) -> NDArray[np.intp]:
    """Greedy suppression per label: indices kept, best score first.

    Args:
        boxes_xyxy: float32 [n, 4].
        scores: float32 [n].
        labels: int32 [n]; boxes of different labels never suppress each other.
        iou_max: a box goes when it overlaps a better one of its label by more than this.
    """
    import cv2  # only here: the command line starts without it

    # By OpenCV, 5 to 30 times as fast as the whole matrix of overlaps from a dozen boxes on. It sorts by scores of
    # its own precision, so it is given ranks.
    order = np.argsort(-scores, kind="stable")
    if len(order) < 2:
        return order
    ranked = boxes_xyxy[order].astype(np.float64)
    ranked[:, 2:] = np.maximum(ranked[:, 2:] - ranked[:, :2], 0.0)
    ranked[:, :2] -= ranked[:, :2].min(0)  # it keeps labels apart by moving each beyond the last one's far corner
    ranks = np.linspace(1.0, 0.5, len(order), dtype=np.float32)
    kept = cv2.dnn.NMSBoxesBatched(ranked.tolist(), ranks.tolist(), labels[order].tolist(), 0.0, iou_max)
    return order[np.sort(np.asarray(kept, np.intp).ravel())]

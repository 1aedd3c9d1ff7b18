"""Cars cut out of the slots of a picture and put into others, or anywhere."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Quad = NDArray[np.float32]
"""float32 [4, 2], corners in pixels, clockwise on the picture, beginning at the one that is uppermost left."""
CAR_PX = 64
CAR_MARGIN = 0.35
"""A car is cut out with this much around its slot, and fades out there."""
_SQUARE = np.array([[0, 0], [CAR_PX, 0], [CAR_PX, CAR_PX], [0, CAR_PX]], np.float32)
_RAMP = np.clip(np.minimum(np.arange(CAR_PX), np.arange(CAR_PX)[::-1]) / (0.12 * CAR_PX), 0, 1)
_ALPHA = np.minimum(_RAMP[:, None], _RAMP[None, :]).astype(np.float32)


def quad_of(points: Sequence[tuple[float, float]]) -> Quad:
    """A slot's four corners, listed so that cars that are moved from slot to slot stay as upright as can be."""
    corners = np.array(points, np.float32)
    (x1, y1), (x2, y2) = corners[2] - corners[0], corners[3] - corners[1]
    if x1 * y2 - y1 * x2 < 0:
        corners = corners[::-1]
    turns = [np.roll(corners, -i, axis=0) for i in range(4)]
    return np.ascontiguousarray(max(turns, key=_uprightness))


def car_of(bgr: Image, quad: Quad) -> Image:
    """The car in a slot, with a margin: uint8 [64, 64, 3]."""
    matrix = cv2.getPerspectiveTransform(_expanded(quad), _SQUARE)
    return np.asarray(cv2.warpPerspective(bgr, matrix, (CAR_PX, CAR_PX), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def paste_car(bgr: Image, quad: Quad, car: Image) -> None:
    """Put a car into a slot, or wherever a quadrilateral is."""
    target = _expanded(quad)
    low = np.maximum(np.floor(target.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(target.max(0)).astype(int) + 1, bgr.shape[1::-1])
    if (high <= low).any():
        return
    matrix = cv2.getPerspectiveTransform(_SQUARE, (target - low).astype(np.float32))
    size = tuple((high - low).tolist())
    warped = cv2.warpPerspective(car, matrix, size).astype(np.float32)
    alpha = cv2.warpPerspective(_ALPHA, matrix, size)[:, :, None]
    part = bgr[low[1] : high[1], low[0] : high[0]]
    part[:] = (part + alpha * (warped - part)).astype(np.uint8)


def _expanded(quad: Quad) -> Quad:
    """The quadrilateral grown about its centre by `CAR_MARGIN` of its sides on each side."""
    centre = quad.mean(0)
    return np.asarray(centre + (quad - centre) * (1 + 2 * CAR_MARGIN), np.float32)


def _uprightness(corners: Quad) -> float:
    """How far the first side's middle lies above the third's, as a share of the distance between them."""
    rise = corners[[3, 2]].mean(0) - corners[[0, 1]].mean(0)
    return float(rise[1] / max(float(np.hypot(*rise)), 1e-6))

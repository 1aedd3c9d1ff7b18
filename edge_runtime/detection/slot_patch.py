"""Cuts parking slots out of a frame: each slot's quadrilateral, with a margin, becomes a small square patch.

Training and the node cut alike, by this one function.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.datatypes import BgrImage, Picture, Yuv420
from edge_runtime.imaging.part import part_bgr
from edge_runtime.polygons import Point

Quad = NDArray[np.float32]
"""float32 [4, 2], corners in pixels, clockwise on the picture, beginning at the one that is uppermost left."""

PATCH_PX = 32
MARGIN = 0.3
"""Share of a slot's sides that is seen on each side of it: a car is higher than the ground it stands on."""
OUTSIDE = 96
"""Grey level of what lies beyond the frame."""


def quad_of(points: Sequence[Point]) -> Quad:
    """The slot's quadrilateral: its own corners where it has four, else the smallest rectangle around it.

    The corners begin where the patch stands as upright as a quarter turn allows: cars rise towards the picture's top.

    Args:
        points: three corners or more, in pixels.
    """
    corners = np.array(points, np.float32)
    if len(corners) != 4 or not cv2.isContourConvex(corners):
        corners = np.asarray(cv2.boxPoints(cv2.minAreaRect(corners)), np.float32)
    (x1, y1), (x2, y2) = corners[2] - corners[0], corners[3] - corners[1]
    if x1 * y2 - y1 * x2 < 0:
        corners = corners[::-1]
    turns = [np.roll(corners, -i, axis=0) for i in range(4)]
    return np.ascontiguousarray(max(turns, key=_uprightness))


def expanded(quad: Quad, margin: float = MARGIN) -> Quad:
    """The quadrilateral grown about its centre by `margin` of its sides on each side."""
    centre = quad.mean(0)
    return np.asarray(centre + (quad - centre) * (1 + 2 * margin), np.float32)


def cut(picture: Picture, quad: Quad, side_px: int = PATCH_PX) -> BgrImage:
    """What lies inside `quad` (see `expanded`), warped to a square: uint8 [side_px, side_px, 3].

    Large slots are first shrunk, pixels averaged over their area, so that fine patterns fade instead of flickering.

    Args:
        picture: the frame at native pixels; only the slot's part of it is converted.
        quad: in the frame's pixels; it may reach beyond the frame.
        side_px: of the patch.
    """
    plane = picture.y if isinstance(picture, Yuv420) else picture
    height, width = plane.shape[:2]
    # Two pixels more, and even: chroma planes are halves.
    low = np.clip(np.floor(quad.min(0)) - 2, 0, (max(width - 2, 0), max(height - 2, 0))).astype(int) // 2 * 2
    high = np.clip(np.ceil(quad.max(0)) + 2, low + 2, (width, height)).astype(int)
    part = part_bgr(picture, (int(low[0]), int(low[1])), (int(high[0]), int(high[1])))
    corners = quad - low.astype(np.float32)
    sides = np.linalg.norm(np.roll(quad, -1, axis=0) - quad, axis=1)
    # Never below one and a half pixels of the picture for one of the patch: its shorter side keeps what it has.
    shrink = min(1.0, 1.5 * side_px / max(float(sides.min()), 1.0))
    if shrink < 1.0:
        size = (max(1, round(part.shape[1] * shrink)), max(1, round(part.shape[0] * shrink)))
        scale = np.array((size[0] / part.shape[1], size[1] / part.shape[0]), np.float32)
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
        corners = corners * scale
    square = np.array([[0, 0], [side_px, 0], [side_px, side_px], [0, side_px]], np.float32)
    # Corners are edges of pixels, OpenCV counts from their centres.
    matrix = cv2.getPerspectiveTransform((corners - 0.5).astype(np.float32), square - np.float32(0.5))
    return np.asarray(
        cv2.warpPerspective(part, matrix, (side_px, side_px), flags=cv2.INTER_LINEAR, borderValue=(OUTSIDE,) * 3),
        np.uint8,
    )


def _uprightness(corners: Quad) -> float:
    """How far the first side's middle lies above the third's, as a share of the distance between them."""
    rise = corners[[3, 2]].mean(0) - corners[[0, 1]].mean(0)
    return float(rise[1] / max(float(np.hypot(*rise)), 1e-6))

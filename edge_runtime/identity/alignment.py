"""Turns a face upright: moves five points of it as near to a template's as a similarity transform can."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.datatypes import BgrImage

Points = NDArray[np.float32]
"""float32 [5, 2], x and y in pixels of a picture whose upper left corner is 0, 0: the eye on the picture's left, the
one on its right, the tip of the nose, the corner of the mouth on the left, the one on the right."""

SHRINK_BELOW = 0.5
"""A face that becomes smaller than this share is first averaged down: bilinear sampling would skip its pixels."""


def similarity(points: Points, template: Points) -> NDArray[np.float64]:
    """The rotation, scale and shift, float64 [2, 3], that brings `points` nearest to `template` by least squares.

    Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns", without
    reflection. In the plane, points as complex numbers p and q about their means, his solution is the one factor
    sum(conj(p) q) / sum(|p|^2).

    Args:
        points: float [n, 2].
        template: float [n, 2].

    Raises:
        ValueError: all points are one.
    """
    p = points[:, 0].astype(np.float64) + 1j * points[:, 1]
    q = template[:, 0].astype(np.float64) + 1j * template[:, 1]
    about_p, about_q = p - p.mean(), q - q.mean()
    spread = float(np.sum(np.abs(about_p) ** 2))
    if not spread > 0.0:
        raise ValueError("points: all of them are one point, which has no direction")
    turn = complex(np.sum(np.conj(about_p) * about_q)) / spread
    shift = complex(q.mean()) - turn * complex(p.mean())
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def align(picture: BgrImage, points: Points, template: Points, size: int) -> BgrImage:
    """The face as a square of `size` pixels, its points where the template's are.

    Args:
        picture: uint8 [h, w, 3], any order of colours.
        points: float32 [5, 2] in its pixels.
        template: float32 [5, 2] in pixels of the result.
        size: side of the result.

    Returns:
        uint8 [size, size, 3]; what lies outside the picture repeats its border.

    Raises:
        ValueError: all points are one.
    """
    matrix = similarity(points, template)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < SHRINK_BELOW:
        # Only what the result shows, or the whole frame would be averaged.
        part, corner = _seen(picture, matrix, size)
        height, width = part.shape[:2]
        small_wh = max(1, round(width * scale / SHRINK_BELOW)), max(1, round(height * scale / SHRINK_BELOW))
        picture = np.asarray(cv2.resize(part, small_wh, interpolation=cv2.INTER_AREA), np.uint8)
        matrix[:, 2] += matrix[:, :2] @ corner
        matrix[:, :2] *= (width / small_wh[0], height / small_wh[1])
    # OpenCV counts from the centres of pixels, points from their corners.
    matrix[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    warped = cv2.warpAffine(picture, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.uint8)


def _seen(picture: BgrImage, matrix: NDArray[np.float64], size: int) -> tuple[BgrImage, NDArray[np.float64]]:
    """The part of the picture that the result shows, and its upper left corner; one pixel of it where it shows none."""
    back = np.linalg.inv(matrix[:, :2])
    edges = np.array([[0, 0], [size, 0], [0, size], [size, size]], np.float64)
    there = (edges - matrix[:, 2]) @ back.T
    limit = np.array(picture.shape[1::-1])
    low = np.clip(np.floor(there.min(0)) - 1, 0, limit - 1).astype(int)
    high = np.clip(np.ceil(there.max(0)) + 1, low + 1, limit).astype(int)
    return picture[low[1] : high[1], low[0] : high[0]], low.astype(np.float64)

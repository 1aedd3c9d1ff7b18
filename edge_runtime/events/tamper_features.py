"""What the small picture tells of the camera itself: its structure, sharpness, noise and light, cell by cell.

Structure is the field of gradients on a quarter-size picture with doubled angles (Granlund, "In search of a general
picture processing operator", 1978): an edge stays the same vector when bright and dark change sides, as under
infrared light, and a change of exposure scales the field without turning it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.datatypes import BgrImage

F32 = NDArray[np.float32]

CELLS_WH = (8, 6)
"""Columns and rows of cells the picture is judged in, so that what moves in one corner outvotes nobody."""
COARSE = 4
"""The small picture's side to the coarse picture's: noise is averaged away there, and moderate blur hardly shows."""
WHITE_LEVEL = 250
NOISE_TO_CHANGE = 5.05
"""Mean absolute change of the Laplacian for noise of standard deviation 1: sqrt(2 * 20) * sqrt(2 / pi)."""
DETAIL_PER_NOISE = 20.0
"""Mean square of the Laplacian for noise of variance 1: 4 * 4 + 4 * 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What one small picture looks like.

    Attributes:
        grey: uint8 [h, w], to see whether the next picture is another one.
        laplacian: float32 [h, w], to tell noise from texture in the next picture.
        field: float32 [2, h / 4, w / 4], gradients with doubled angles, in grey levels.
        structure: float32 [6, 8], mean square of the field in each cell.
        detail: float32 [6, 8], mean square of the Laplacian in each cell, what noise adds taken off.
        noise: standard deviation of what changed since the previous picture and is no edge, grey levels, the
            median of the cells; None without a previous picture.
        brightness: mean grey level, 0 to 255.
        white_share: share of pixels at the white end.
        repeated: whether every pixel is the previous picture's.
    """

    grey: NDArray[np.uint8]
    laplacian: F32
    field: F32
    structure: F32
    detail: F32
    noise: float | None
    brightness: float
    white_share: float
    repeated: bool


def features(lores_bgr: BgrImage, previous: Features | None) -> Features:
    """The features of a small picture.

    Args:
        lores_bgr: uint8 [h, w, 3], the small picture.
        previous: of the picture looked at before; of another size, it counts for none.
    """
    grey = np.asarray(cv2.cvtColor(lores_bgr, cv2.COLOR_BGR2GRAY), np.uint8)
    if previous is not None and previous.grey.shape != grey.shape:
        previous = None
    laplacian = np.asarray(cv2.Laplacian(grey, cv2.CV_16S), np.float32)
    noise = None if previous is None else _noise(laplacian, previous.laplacian)
    detail = _pool(laplacian * laplacian)
    field = _field(grey)
    return Features(
        grey,
        laplacian,
        field,
        energy(field),
        np.maximum(detail - DETAIL_PER_NOISE * (noise or 0.0) ** 2, 0.0),
        noise,
        float(cv2.mean(grey)[0]),
        float(np.count_nonzero(grey >= WHITE_LEVEL)) / grey.size,
        previous is not None and np.array_equal(grey, previous.grey),
    )


def energy(field: F32) -> F32:
    """Mean square of a field [2, h, w] in each cell, float32 [6, 8]."""
    return _pool(_dot(field, field))


def correlation(field: F32, other: F32) -> F32:
    """How alike two fields [2, h, w] are in each cell: their normalised correlation, float32 [6, 8], -1 to 1."""
    product, own, its = _pool(_dot(field, other)), energy(field), energy(other)
    return np.asarray(product / np.sqrt(own * its + 1e-6), np.float32)


def _noise(laplacian: F32, before: F32) -> float:
    """Standard deviation of the noise in grey levels (Immerkaer's idea, 1996, on the difference of two pictures).

    Texture that stands still cancels out, and what moves is outvoted as long as it fills less than half the cells.
    """
    changed = _pool(np.asarray(cv2.absdiff(laplacian, before), np.float32))
    return float(np.median(changed)) / NOISE_TO_CHANGE


def _field(grey: NDArray[np.uint8]) -> F32:
    """Gradients of the coarse picture with doubled angles, float32 [2, h / 4, w / 4], as long as the gradient."""
    h, w = grey.shape
    small = cv2.resize(grey, (max(w // COARSE, 8), max(h // COARSE, 6)), interpolation=cv2.INTER_AREA)
    dx, dy = (np.asarray(cv2.Sobel(small, cv2.CV_32F, *d, scale=1 / 8), np.float32) for d in ((1, 0), (0, 1)))
    length = np.sqrt(dx * dx + dy * dy) + np.float32(1e-6)
    return np.stack(((dx * dx - dy * dy) / length, 2 * dx * dy / length))


def _dot(field: F32, other: F32) -> F32:
    """Scalar products of two fields [2, h, w], float32 [h, w]."""
    return np.asarray(field[0] * other[0] + field[1] * other[1], np.float32)


def _pool(values: F32) -> F32:
    """The mean of each cell, float32 [6, 8]."""
    return np.asarray(cv2.resize(values, CELLS_WH, interpolation=cv2.INTER_AREA), np.float32)

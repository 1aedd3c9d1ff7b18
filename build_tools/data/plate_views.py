"""Plates as cameras give them: moved, leant, seen from the side, far, blurred, noisy, in all lights, compressed."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Bgr = NDArray[np.uint8]


def varied(rng: np.random.Generator, bgr: Bgr, size_wh: tuple[int, int], strength: float) -> Bgr:
    """A crop seen differently.

    Args:
        rng: of everything random.
        bgr: uint8 [h, w, 3].
        size_wh: of the result.
        strength: 1 for a plate that is drawn upright and sharp; less for a photo, which has seen some of this.
    """
    share = float(rng.uniform(0.36, 1.0)) if rng.random() < 0.55 * strength + 0.1 else 1.0
    small_wh = max(24, round(size_wh[0] * share)), max(10, round(size_wh[1] * share))
    out = _warped(rng, bgr, small_wh, strength)
    if rng.random() < 0.25 * strength:
        out = _motion(rng, out)
    if rng.random() < 0.35 * strength:
        out = np.asarray(cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.3, 1.3))), np.uint8)
    if rng.random() < 0.3 + 0.2 * strength:
        grain = rng.normal(0, rng.uniform(1, 12), out.shape).astype(np.float32)
        out = np.clip(out + grain, 0, 255).astype(np.uint8)
    if rng.random() < 0.5 * strength:
        _, code = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 92))])
        out = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)
    if rng.random() < 0.3:
        out = np.asarray(cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR), np.uint8)
    return np.asarray(cv2.resize(out, size_wh, interpolation=cv2.INTER_LINEAR), np.uint8)


def _warped(rng: np.random.Generator, bgr: Bgr, to_wh: tuple[int, int], strength: float) -> Bgr:
    """Its corners moved: shear, turn, perspective, and the box around it drawn a little off."""
    h, w = bgr.shape[:2]
    if to_wh[1] * 2 < h:  # warpPerspective has no area filter
        scale = to_wh[1] * 1.5 / h
        bgr = np.asarray(cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        h, w = bgr.shape[:2]
    corners = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
    unit: NDArray[np.float32] = np.asarray(corners / np.array([w, h], np.float32) - 0.5)  # about its middle
    slant, turn = float(rng.normal(0, 0.10 * strength + 0.01)), float(rng.normal(0, 0.13 * strength + 0.02))
    zoom = 1 + rng.uniform(-0.06, 0.10, 2) * (0.4 + 0.6 * strength)
    moved = np.stack([unit[:, 0] * zoom[0] + slant * unit[:, 1] * h / w, unit[:, 1] * zoom[1] + turn * unit[:, 0]], 1)
    moved += rng.normal(0, 0.02 + 0.015 * strength, (4, 2)) * np.array([0.5, 1.0])
    moved += rng.normal(0, 0.015, 2)
    there = ((moved + 0.5) * np.array([w, h])).astype(np.float32)
    target: NDArray[np.float32] = np.asarray((unit + 0.5) * np.array(to_wh, np.float32))
    matrix = cv2.getPerspectiveTransform(there, target)
    return np.asarray(
        cv2.warpPerspective(bgr, matrix, to_wh, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def _motion(rng: np.random.Generator, bgr: Bgr) -> Bgr:
    reach = int(rng.integers(2, 5))
    kernel = np.zeros((2 * reach - 1, 2 * reach - 1), np.float32)
    angle = rng.uniform(0, np.pi)
    far = np.array([np.cos(angle), np.sin(angle)]) * (reach - 1)
    middle = np.array([reach - 1, reach - 1])
    ends = [tuple(np.rint(middle + side * far).astype(int).tolist()) for side in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0)
    return np.asarray(cv2.filter2D(bgr, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE), np.uint8)

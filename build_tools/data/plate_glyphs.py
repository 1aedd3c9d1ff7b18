"""Letters and digits as strokes of a pen, in the plain styles of number plates; every drawing varies them.

Fonts of plates are protected or not free to hand on in many countries, and few of them are packed anywhere. What they
have in common are strokes of one thickness, which are written down here: points on a grid of 4 by 8, `x,y` each, `-`
between the points of a stroke, blanks between strokes. A stroke's inner points round it off (Chaikin 1974, "An
algorithm for high-speed curve generation"); a sharp corner is the end of two strokes; a stroke that ends where it
began is rounded all the way.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
GRID_WH = (4.0, 8.0)
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ROUND = "0,2-0,0-4,0-4,2-4,6-4,8-0,8-0,6-0,2"
SHAPES: dict[str, tuple[str, ...]] = {
    "0": (_ROUND, _ROUND, "0.3,2-0.3,0-3.7,0-3.7,2-3.7,6-3.7,8-0.3,8-0.3,6-0.3,2", _ROUND + " 3.4,1.6-0.6,6.4"),
    "1": (
        "2.2,0-2.2,8",
        "0.8,1.8-2.3,0 2.3,0-2.3,8",
        "1.2,1.2-2.2,0 2.2,0-2.2,8 0.8,8-3.6,8",
        "1,1.4-2.4,1 2.4,0-2.4,8",
    ),
    "2": ("0,2.2-0,0-4,0-4,2.6-3.4,4.2-0,8 0,8-4,8", "0.2,1.6-0.8,0-4,0-4,3-2.6,4-0,6-0,8 0,8-4,8"),
    "3": (
        "0.1,1.8-0.1,0-4,0-4,3.8-1.6,3.8 1.6,3.8-4,3.8-4,8-0,8-0,6",
        "0.2,0-4,0 4,0-1.7,3.2 1.7,3.2-4,3.2-4,8-0,8-0,6",
        "0.1,1.6-0.4,0-3.8,0-3.8,3.8-1.4,3.8 1.4,3.8-4,3.8-4,8-0.2,8-0,6.4",
    ),
    "4": (
        "3.1,8-3.1,0 3.1,0-0,5.9 0,5.9-4,5.9",
        "2,0-0,5.9 0,5.9-4,5.9 3,3.6-3,8",
        "3,8-3,0 3,0-2.6,0 2.6,0-0,5.4 0,5.4-4,5.4",
    ),
    "5": (
        "3.8,0-0.5,0 0.5,0-0.3,3.7 0.3,3.7-1,2.8-4,2.8-4,8-0,8-0,6.3",
        "3.6,0-0.3,0 0.3,0-0.3,3.5 0.3,3.5-4,2.9-4,5.4-4,8-0,8-0,6.4",
    ),
    "6": (
        "3.9,1.9-3.8,0-0,0-0,2-0,6-0,8-4,8-4,6-4,3.3-0.4,3.3-0,5",
        "2.9,0-0.3,4.6-0,5.5-0,8-4,8-4,5.6-4,3.4-1,3.4-0.2,4.8",
        "2.6,0-1.6,1.2-0,4-0,6-0,8-4,8-4,5.6-4,3.4-0,3.4-0,5.8",
    ),
    "7": ("0,0-4,0 4,0-1.5,8", "0,0-4,0 4,0-2,3.6-1.4,8", "0,1-0,0 0,0-4,0 4,0-1.8,4-1.5,8"),
    "8": (
        "2,0-0.3,0-0.3,3.8-3.7,3.8-3.7,0-2,0 2,3.8-0,3.8-0,8-4,8-4,3.8-2,3.8",
        "2,0-0,0-0,3.9-4,3.9-4,0-2,0 2,3.9-0,3.9-0,8-4,8-4,3.9-2,3.9",
    ),
    "A": (
        "2,0-0,8 2,0-4,8 0.7,5.5-3.3,5.5",
        "2,0-0,8 2,0-4,8 0.5,6-3.5,6",
        "1.7,0-0,8 2.3,0-4,8 1.7,0-2.3,0 0.7,5.2-3.3,5.2",
    ),
    "B": (
        "0,0-0,8 0,0-2,0-3.8,0-3.8,3.8-2,3.8-0,3.8 0,3.8-2,3.8-4,3.8-4,8-2,8-0,8",
        "0,0-0,8 0,0-3.8,0-3.8,3.9-0,3.9 0,3.9-4,3.9-4,8-0,8",
    ),
    "C": ("4,2.3-4,0-0,0-0,2-0,6-0,8-4,8-4,5.7", "3.9,1.5-3.4,0-0,0-0,3-0,5-0,8-3.4,8-3.9,6.5"),
    "D": ("0,0-0,8 0,0-2,0-4,0-4,2.5-4,5.5-4,8-2,8-0,8", "0,0-0,8 0,0-4,0-4,8-0,8"),
    "E": ("0,0-0,8 0,0-3.9,0 0,3.9-3.4,3.9 0,8-3.9,8",),
    "F": ("0,0-0,8 0,0-3.9,0 0,4-3.4,4",),
    "G": (
        "4,2.2-4,0-0,0-0,2-0,6-0,8-4,8-4,5.6-4,4.5 4,4.5-2.3,4.5",
        "4,2.2-4,0-0,0-0,2-0,6-0,8-3,8-4,6.8 4,8-4,4.4 4,4.4-2.2,4.4",
    ),
    "H": ("0,0-0,8 4,0-4,8 0,4-4,4",),
    "I": ("2,0-2,8", "2,0-2,8 0.7,0-3.3,0 0.7,8-3.3,8", "2,0-2,8 1,0-3,0 1,8-3,8"),
    "J": (
        "3.8,0-3.8,5.6-3.8,8-0,8-0,5.8",
        "3.6,0-3.6,6-3.6,8-0.4,8-0.2,6.6",
        "1.4,0-3.6,0 3.6,0-3.6,5.6-3.6,8-0,8-0,6",
    ),
    "K": ("0,0-0,8 4,0-0,5.2 1.2,3.8-4,8", "0,0-0,8 4,0-0.2,4.1 0.6,3.6-4,8"),
    "L": ("0,0-0,8 0,8-3.9,8",),
    "M": (
        "0,8-0,0 0,0-2,5.4 2,5.4-4,0 4,0-4,8",
        "0,8-0,0 0,0-2,7.6 2,7.6-4,0 4,0-4,8",
        "0,8-0.2,0 0.2,0-2,4 2,4-3.8,0 3.8,0-4,8",
    ),
    "N": ("0,8-0,0 0,0-4,8 4,8-4,0",),
    "O": (_ROUND, _ROUND, "2,0-0,0-0,4-0,8-2,8-4,8-4,4-4,0-2,0"),
    "P": ("0,0-0,8 0,0-2,0-4,0-4,4.4-2,4.4-0,4.4", "0,0-0,8 0,0-4,0-4,4.6-0,4.6"),
    "Q": (
        _ROUND + " 2.3,5.9-4.2,8.3",
        _ROUND + " 2.4,6.4-3.8,8.4",
        "2,0-0,0-0,4-0,8-2,8-4,8-4,4-4,0-2,0 2.2,5.6-4.1,8.1",
    ),
    "R": ("0,0-0,8 0,0-2,0-4,0-4,4.4-2,4.4-0,4.4 2,4.4-4,8", "0,0-0,8 0,0-4,0-4,4.3-0,4.3 1.7,4.3-4,8"),
    "S": (
        "3.9,2-3.9,0-0.1,0-0.1,3.4-2,3.9-4,4.4-4,8-0,8-0,6",
        "3.8,1.5-3.4,0-0.1,0-0.1,3.6-4,4.2-4,8-0.4,8-0,6.3",
    ),
    "T": ("0,0-4,0 2,0-2,8",),
    "U": ("0,0-0,5.5-0,8-4,8-4,5.5-4,0",),
    "V": ("0,0-2,8 2,8-4,0", "0,0-1.8,8 1.8,8-2.2,8 2.2,8-4,0"),
    "W": (
        "0,0-1,8 1,8-2,2.4 2,2.4-3,8 3,8-4,0",
        "0,0-0.9,8 0.9,8-2,0.4 2,0.4-3.1,8 3.1,8-4,0",
        "0,0-0.3,8 0.3,8-2,4.4 2,4.4-3.7,8 3.7,8-4,0",
    ),
    "X": ("0,0-4,8 4,0-0,8",),
    "Y": ("0,0-2,4 4,0-2,4 2,4-2,8", "0,0-2,4.8 4,0-2,4.8 2,4.8-2,8"),
    "Z": ("0,0-4,0 4,0-0,8 0,8-4,8",),
}  # fmt: skip
_SHIFT = 4
"""Bits of a pixel that OpenCV draws to."""


@dataclass(frozen=True, slots=True)
class Pen:
    """How one plate's characters are written.

    Attributes:
        width: of a character over its height.
        thickness: of a stroke over the height.
        lean: how far the top stands to the right, over the height.
        rounds: how often corners are cut.
        choice: which shape of each character, 0 to 1.
    """

    width: float
    thickness: float
    lean: float
    rounds: int
    choice: float

    @staticmethod
    def drawn(rng: np.random.Generator) -> Pen:
        """A pen at random."""
        lean = float(rng.normal(0, 0.02))
        return Pen(
            float(rng.uniform(0.38, 0.68)), float(rng.uniform(0.07, 0.19)), lean, int(rng.integers(1, 4)),
            float(rng.random()),
        )  # fmt: skip


def _nine() -> None:
    """A nine is a six on its head."""
    w, h = GRID_WH
    turned = []
    for shape in SHAPES["6"]:
        strokes = [[p.split(",") for p in stroke.split("-")] for stroke in shape.split(" ")]
        turned.append(" ".join("-".join(f"{w - float(x):g},{h - float(y):g}" for x, y in s) for s in strokes))
    SHAPES["9"] = tuple(turned)


_nine()


def strokes(character: str, pen: Pen) -> list[F32]:
    """The strokes [n, 2] of a character, x from 0 to the pen's width and y from 0 (top) to 1."""
    shapes = SHAPES[character]
    shape = shapes[int(pen.choice * 97) % len(shapes)]
    return [_scaled(_rounded(_points(s), pen.rounds), pen) for s in shape.split(" ")]


def write(canvas: NDArray[np.uint8], character: str, at_xy: tuple[float, float], height: float, pen: Pen) -> None:
    """Write a character into `canvas` [h, w] in white, its upper left corner at `at_xy` in pixels."""
    for stroke in strokes(character, pen):
        put(canvas, stroke * np.float32(height) + np.array(at_xy, np.float32), pen.thickness * height)


def put(canvas: NDArray[np.uint8], points: F32, thickness_px: float) -> None:
    """Draw a stroke through `points` [n, 2] in white."""
    fixed = np.rint(points * (1 << _SHIFT)).astype(np.int32)
    cv2.polylines(canvas, [fixed], False, 255, max(1, round(thickness_px)), cv2.LINE_AA, _SHIFT)


def _points(stroke: str) -> F32:
    return np.array([p.split(",") for p in stroke.split("-")], np.float32)


def _rounded(points: F32, rounds: int) -> F32:
    closed = len(points) > 3 and bool((points[0] == points[-1]).all())
    for _ in range(rounds if len(points) > 2 else 0):
        near = points[:-1] * 0.75 + points[1:] * 0.25
        far = points[:-1] * 0.25 + points[1:] * 0.75
        inner = np.stack([near, far], 1).reshape(-1, 2)
        points = np.concatenate([inner, inner[:1]] if closed else [points[:1], inner, points[-1:]])
    return points


def _scaled(points: F32, pen: Pen) -> F32:
    unit = points / np.array(GRID_WH, np.float32)
    return np.asarray(np.stack([unit[:, 0] * pen.width + pen.lean * (0.5 - unit[:, 1]), unit[:, 1]], 1), np.float32)

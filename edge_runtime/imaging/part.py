"""Cuts a square window out of a picture and brings it to a size; beyond the picture its border is repeated."""

from __future__ import annotations

import cv2
import numpy as np

from edge_runtime.datatypes import BgrImage, Picture, Yuv420
from edge_runtime.imaging.colour import to_bgr

Window = tuple[int, int, int, int]
"""xyxy in whole pixels, half-open."""


def part_bgr(picture: Picture, low: tuple[int, int], high: tuple[int, int]) -> BgrImage:
    """The part of the picture between two points inside it, as BGR; only that part of a YUV picture is converted.

    Args:
        picture: the frame at native pixels.
        low: its upper left corner; even numbers, since chroma planes are halves.
        high: its lower right corner.
    """
    rows, columns = slice(low[1], high[1]), slice(low[0], high[0])
    if not isinstance(picture, Yuv420):
        return picture[rows, columns]
    half_rows, half_columns = slice(low[1] // 2, -(-high[1] // 2)), slice(low[0] // 2, -(-high[0] // 2))
    return to_bgr(
        Yuv420(picture.y[rows, columns], picture.u[half_rows, half_columns], picture.v[half_rows, half_columns])
    )


def square_bgr(picture: Picture, window: Window, side_px: int) -> BgrImage:
    """What the window shows: uint8 [side_px, side_px, 3]; averaged where it shrinks, bilinear where it grows.

    Args:
        picture: the frame at native pixels.
        window: a square, in its pixels; it may reach beyond it.
        side_px: of the result.
    """
    x1, y1, x2, y2 = window
    plane = picture.y if isinstance(picture, Yuv420) else picture
    height, width = plane.shape[:2]
    # At least one pixel of the picture, also where the window lies beside it.
    left, top = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    right, bottom = max(min(x2, width), left + 1), max(min(y2, height), top + 1)
    even = left // 2 * 2, top // 2 * 2
    part = part_bgr(picture, even, (right, bottom))[top - even[1] :, left - even[0] :]
    beyond = (max(top - y1, 0), max(y2 - bottom, 0), max(left - x1, 0), max(x2 - right, 0))
    if any(beyond):
        part = np.asarray(cv2.copyMakeBorder(part, *beyond, cv2.BORDER_REPLICATE), np.uint8)[: y2 - y1, : x2 - x1]
    how = cv2.INTER_AREA if x2 - x1 > side_px else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, (side_px, side_px), interpolation=how), np.uint8)

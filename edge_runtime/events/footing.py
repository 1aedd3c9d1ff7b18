"""Where a track stands in the frame."""

from __future__ import annotations

from edge_runtime.datatypes import Track
from edge_runtime.polygons import Point

BORDER_PX = 0.5
"""A box may reach beyond the frame; it stands at the last pixel's middle then, inside a zone drawn to the border."""


def ground_point(track: Track, frame_wh: tuple[int, int]) -> Point:
    """Middle of the lower edge of its box, full-frame pixels, inside the frame."""
    x1, _, x2, y2 = track.box
    w, h = frame_wh
    x, y = (x1 + x2) / 2, y2
    return min(max(x, BORDER_PX), w - BORDER_PX), min(max(y, BORDER_PX), h - BORDER_PX)


def side_px(track: Track) -> float:
    """The shorter side of its box in pixels."""
    x1, y1, x2, y2 = track.box
    return min(x2 - x1, y2 - y1)


def extent_px(track: Track) -> float:
    """Geometric mean of the sides of its box in pixels: the unit in which it jitters and moves."""
    x1, y1, x2, y2 = track.box
    return (max(x2 - x1, 1.0) * max(y2 - y1, 1.0)) ** 0.5

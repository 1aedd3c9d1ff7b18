"""Where a track stands in the frame."""

from __future__ import annotations

from edge_runtime.datatypes import Track
from edge_runtime.polygons import Point

BORDER_PX = 0.5
"""A box may reach beyond the frame; it stands at the last pixel's middle then, inside a zone drawn to the border."""

EDGE_SHARE = 0.01
"""A box that ends within this share of the frame's sides from its border is cut off there."""
OUTWARD = 0.03
"""A forecast that moved so many extents towards that border went through it; one that stood there did not."""


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
    return float((max(x2 - x1, 1.0) * max(y2 - y1, 1.0)) ** 0.5)


def went_out(seen: Track, forecast: Track, frame_wh: tuple[int, int]) -> bool:
    """Whether a lost track left through the border of the frame: it was cut off there, and on its way out.

    Args:
        seen: the track as it was last seen.
        forecast: the same, lost.
        frame_wh: size of the frame.
    """
    x1, y1, x2, y2 = seen.box
    (w, h), least = frame_wh, OUTWARD * extent_px(seen)
    dx, dy = ((forecast.box[i] + forecast.box[i + 2] - seen.box[i] - seen.box[i + 2]) / 2 for i in (0, 1))
    return (
        (x1 <= EDGE_SHARE * w and dx <= -least)
        or (y1 <= EDGE_SHARE * h and dy <= -least)
        or (x2 >= (1 - EDGE_SHARE) * w and dx >= least)
        or (y2 >= (1 - EDGE_SHARE) * h and dy >= least)
    )

"""Whose face it is: which of the persons in a picture bears a face that was found by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

UPPER = 0.5
"""A face's middle is in the upper so much of its person's box; of one who is seen to the hips, at half of it."""
HEAD = 0.12
"""And about here, as a share of the box's height, where the whole body is seen."""


def bearer_of(face: Sequence[float], persons: Mapping[int, Sequence[float]]) -> int | None:
    """The person in whose box the face is, the nearest where boxes overlap; None: nobody's.

    Args:
        face: xyxy.
        persons: boxes by id, in the same unit.
    """
    x, y = (face[0] + face[2]) / 2, (face[1] + face[3]) / 2
    best: tuple[float, int] | None = None
    for id_, (x1, y1, x2, y2) in persons.items():
        if x1 <= x < x2 and y1 <= y < y1 + UPPER * (y2 - y1):
            distance = math.hypot((x - (x1 + x2) / 2), y - (y1 + HEAD * (y2 - y1))) / (x2 - x1)
            if best is None or (distance, id_) < best:
                best = distance, id_
    return None if best is None else best[1]

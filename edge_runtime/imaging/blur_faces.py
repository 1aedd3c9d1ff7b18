"""Makes the faces on a picture unrecognisable: every face that was found, and where a person's head must be.

`blur_areas` serves for plates, too, which `plates.hiding` finds.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edge_runtime.datatypes import BgrImage, Detections, Track

Area = tuple[float, float, float, float]

HEAD_SHARE, HEAD_WIDTHS = 0.3, 0.8
"""The head of a person is in the upper so much of the box, or so many of its widths where less than a whole body is
seen, also where no face is found in it."""
MARGIN = 0.25
"""A face's box is widened by so much of its sides on each side: hair and ears tell, too."""
CELLS = 4
"""What is left of a face, across its shorter side. YuNet's smallest faces have 8 px; nobody is known by 4."""


def hidden_areas(detections: Detections, tracks: Sequence[Track]) -> list[Area]:
    """What must not be seen: faces, and the heads of persons.

    Args:
        detections: of this frame, weak ones, too: a wrong blur costs less than a face.
        tracks: live ones, where they are expected if this frame does not show them.

    Returns:
        xyxy in full-frame pixels.
    """
    things = [(detections.name(i), (*box,)) for i, box in enumerate(detections.boxes.tolist())]
    found = []
    for label, (x1, y1, x2, y2) in [*things, *((t.label, t.box) for t in tracks)]:
        w, h = x2 - x1, y2 - y1
        if label == "face":
            found.append((x1 - MARGIN * w, y1 - MARGIN * h, x2 + MARGIN * w, y2 + MARGIN * h))
        elif label == "person":
            found.append((x1, y1 - 0.05 * h, x2, y1 + min(h, max(HEAD_SHARE * h, HEAD_WIDTHS * w))))
    return found


def blur_areas(bgr: BgrImage, areas: Sequence[Area], cells: int = CELLS) -> BgrImage:
    """A copy of the picture in which each area is reduced to a few cells of mean colour.

    Args:
        bgr: uint8 [h, w, 3].
        areas: xyxy in its pixels; they may reach beyond it.
        cells: what is left across an area's shorter side.
    """
    out = bgr.copy()
    height, width = out.shape[:2]
    for x1, y1, x2, y2 in areas:
        left, top = max(int(np.floor(x1)), 0), max(int(np.floor(y1)), 0)
        right, bottom = min(int(np.ceil(x2)), width), min(int(np.ceil(y2)), height)
        if right <= left or bottom <= top:
            continue
        part = out[top:bottom, left:right]
        cell = max(1.0, min(part.shape[:2]) / cells)
        few_wh = max(1, round(part.shape[1] / cell)), max(1, round(part.shape[0] / cell))
        few = cv2.resize(part, few_wh, interpolation=cv2.INTER_AREA)
        part[:] = cv2.resize(few, part.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return out

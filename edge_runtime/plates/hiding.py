"""Where plates are on a picture that leaves the node, so that none can be read there.

Unlike `finder.plate_in`, which wants the one plate that is to be read, this takes whatever may be a plate: a wrong blur
costs less than a plate that is shown.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_runtime.datatypes import Detections, Picture, Track
from edge_runtime.geometry import iou
from edge_runtime.imaging.blur_faces import Area
from edge_runtime.plates.finder import AROUND, LABEL, SUGGESTED, Box, Finder, closer, look
from edge_runtime.plates.looker import LABELS

MARGIN = 0.2
"""A plate's box is widened by so much of its width on each side, and by twice as much of its height."""
CELLS = 1
"""What is left of a plate, across its height: of more cells, a text in a known font could be guessed back."""
SAME_IOU = 0.6
"""Two boxes of vehicles that overlap so much are looked at as one."""
VEHICLE_MIN_PX = 48
"""On narrower vehicles no plate can be read: it has three pixels a character."""


def plate_areas(
    picture: Picture, window: Area, detections: Detections, tracks: Sequence[Track], finder: Finder
) -> list[Area]:
    """What may be a plate on a part of the picture: looked for on each vehicle there, and on the part as a whole.

    Args:
        picture: the frame at native pixels.
        window: the part that is shown, xyxy in its pixels.
        detections: of this frame, weak ones, too.
        tracks: live ones, lost ones, too: where they are expected is looked at.
        finder: the network.

    Returns:
        xyxy in full-frame pixels, with a margin.

    Raises:
        InferenceError: the network failed.
    """
    plates: list[Box] = []
    looked: list[Box] = [np.asarray(window, np.float32)]
    for label, box in [
        *((detections.name(i), detections.boxes[i]) for i in range(len(detections))),
        *((t.label, np.asarray(t.box, np.float32)) for t in tracks),
    ]:
        if label == LABEL:  # of a detector that knows them
            plates.append(box)
        inside = (np.minimum(box[2:], window[2:]) > np.maximum(box[:2], window[:2])).all()
        if label not in LABELS or not inside or box[2] - box[0] < VEHICLE_MIN_PX:
            continue
        if (iou(np.stack(looked[1:] or [np.zeros(4, np.float32)]), box[None]) < SAME_IOU).all():
            looked.append(box)
    for place in looked:
        plates += _plates(picture, place, finder)
    return [_widened(box) for box in plates]


def _plates(picture: Picture, place: Box, finder: Finder) -> list[Box]:
    """The boxes of both looks: the first sees more plates, the second sees them tighter."""
    boxes, _ = look(picture, [float(edge) for edge in place], AROUND, finder)
    found = list(boxes)
    for box in boxes[:SUGGESTED]:
        near, _ = look(picture, [float(edge) for edge in closer(box)], 0.0, finder)
        found += [one for one in near if iou(one[None], box[None])[0, 0] > 0]
    return found


def _widened(box: Box) -> Area:
    x1, y1, x2, y2 = (float(edge) for edge in box)
    w, h = MARGIN * (x2 - x1), 2 * MARGIN * (y2 - y1)
    return x1 - w, y1 - h, x2 + w, y2 + h

"""Finds faces with the face cropper: on a photo, or once more near where another network saw one."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.attention.network import AttentionNetwork
from edge_runtime.config import AttentionConfig
from edge_runtime.datatypes import BgrImage, Detections, Frame, Picture
from edge_runtime.engine import Engine
from edge_runtime.geometry import iou, share_inside
from edge_runtime.imaging.part import square_bgr

NEAR = 2.0
"""A second look sees a square of so many times the face's longer side,"""
NEAR_PX = 128
"""at so many pixels: the cropper's scores are best where a face fills half of its input."""
NEAR_SCORE = 0.45
"""There is a face where the second look scores this: faces of LFW score 0.5 to 0.95, a wreath on a door 0.27."""
NEAR_IOU = 0.25
"""It is the same face where the boxes overlap so much."""
PHOTO_PX = (320, 128)
"""Longer side at which a photo is looked at: for faces that fill a part of it, and for those that fill all of it."""
PHOTO_SCORE = 0.3
NESTED_SHARE = 0.6
"""Of two boxes on a photo one goes when so much of it lies inside a better one."""

Box = NDArray[np.float32]
"""float32 [4], xyxy in the picture's pixels."""


class FaceFinder:
    """Two verbs: `near` and `on_photo`.

    Args:
        engine: the face cropper.
    """

    def __init__(self, engine: Engine) -> None:
        self._network = AttentionNetwork(engine, AttentionConfig(score_min=PHOTO_SCORE))

    def near(self, picture: Picture, box: Sequence[float]) -> Box | None:
        """The face near `box` on a second, closer look; None where there is none.

        A detector now and then holds a thing for a face, and goes on doing so: nobody should be told that a door's
        wreath is an unknown person.

        Args:
            picture: the frame at native pixels.
            box: of what was taken for a face, xyxy.

        Raises:
            InferenceError: the network failed.
        """
        longest = max(box[2] - box[0], box[3] - box[1])
        side = max(2, round(NEAR * longest))
        x, y = round((box[0] + box[2] - side) / 2), round((box[1] + box[3] - side) / 2)
        crop = square_bgr(picture, (x, y, x + side, y + side), NEAR_PX)
        found = self._network(Frame(crop, crop, 0, 0))
        sure = found.select(found.scores >= NEAR_SCORE)
        if not len(sure):
            return None
        boxes = sure.boxes * np.float32(side / NEAR_PX) + np.array([x, y, x, y], np.float32)
        overlap = iou(boxes, np.array([box], np.float32))[:, 0]
        best = int(np.argmax(overlap))
        return boxes[best] if overlap[best] >= NEAR_IOU else None

    def on_photo(self, bgr: BgrImage) -> list[Box]:
        """The faces on a photo, surest first.

        Args:
            bgr: uint8 [h, w, 3].

        Raises:
            InferenceError: the network failed.
        """
        longest = max(bgr.shape[:2])
        looks = [self._look(bgr, min(1.0, px / longest)) for px in PHOTO_PX if px < longest or px == PHOTO_PX[0]]
        boxes = np.concatenate([look.boxes for look in looks])
        order = np.argsort(-np.concatenate([look.scores for look in looks]), kind="stable")
        faces: list[Box] = []
        for box in boxes[order]:
            face = self.near(bgr, [float(edge) for edge in box])
            if face is not None and not any(_one(face, other) for other in faces):
                faces.append(face)
        return faces

    def _look(self, bgr: BgrImage, scale: float) -> Detections:
        size_wh = max(1, round(bgr.shape[1] * scale)), max(1, round(bgr.shape[0] * scale))
        small = np.asarray(cv2.resize(bgr, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
        return self._network(Frame(bgr, small, 0, 0))


def _one(a: Box, b: Box) -> bool:
    """Whether two boxes are of one face."""
    both = float(share_inside(a[None], b[None])[0, 0]), float(share_inside(b[None], a[None])[0, 0])
    return max(both) > NESTED_SHARE

"""Finds five points on a face whose box is known: the eyes, the tip of the nose, the corners of the mouth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from edge_runtime.datatypes import Picture
from edge_runtime.engine import Engine, OnnxEngine
from edge_runtime.errors import FormatError
from edge_runtime.identity.alignment import Points
from edge_runtime.imaging.part import Window, square_bgr

TASK = "landmarks"
NAMES = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
"""The network's classes; left and right as the picture shows them."""
CONTEXT = 1.3
"""The network sees a square whose side is this many times the box's longer side."""


def face_window(box: Sequence[float], context: float = CONTEXT) -> Window:
    """The square that the network sees of a face, in whole pixels; training and the node cut alike by it.

    Args:
        box: of the face, xyxy in pixels.
        context: side of the square as a multiple of the box's longer side.
    """
    side = max(2, round(context * max(box[2] - box[0], box[3] - box[1])))
    x, y = round((box[0] + box[2] - side) / 2), round((box[1] + box[3] - side) / 2)
    return x, y, x + side, y + side


class Landmarks(Protocol):
    """Finds the five points of a face; `LandmarkHead` does."""

    def points(self, picture: Picture, box: Sequence[float]) -> Points:
        """The five points, float32 [5, 2], in the picture's pixels, of the face at `box` (xyxy)."""


class LandmarkHead:
    """One verb: `points` of one face.

    Args:
        engine: a network whose one output is `points` [n, 10, 1, 1]: x and y of each point in the order of `NAMES`,
            as fractions of the crop; or the path of one.

    Raises:
        FormatError: a network for something else.
    """

    def __init__(self, engine: Engine | Path) -> None:
        self._engine = OnnxEngine(engine, TASK) if isinstance(engine, Path) else engine
        facts = self._engine.facts
        if facts.decoding != "points" or facts.classes != NAMES or facts.size_wh[0] != facts.size_wh[1]:
            raise FormatError(
                f"{facts.name}: gives {facts.decoding} of {', '.join(facts.classes)} for {facts.size_wh}; "
                f"a landmark network gives the points {', '.join(NAMES)} of a square crop"
            )
        self._side_px = facts.size_wh[0]
        self._batch = np.zeros((1, 3, self._side_px, self._side_px), np.float32)

    def points(self, picture: Picture, box: Sequence[float]) -> Points:
        """The five points, float32 [5, 2], in the picture's pixels; they may lie beyond it where the face does.

        Args:
            picture: the frame at native pixels.
            box: of the face, xyxy in its pixels.

        Raises:
            InferenceError: the network failed.
        """
        window = face_window(box)
        self._batch[0] = square_bgr(picture, window, self._side_px).transpose(2, 0, 1)
        (said,) = self._engine.run(self._batch)
        low, side = np.array(window[:2], np.float32), np.float32(window[2] - window[0])
        return np.asarray(low + said.reshape(len(NAMES), 2) * side, np.float32)

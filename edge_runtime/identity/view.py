"""One look at a face: turned upright, and how much it is worth for telling who it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from edge_runtime.datatypes import BgrImage, Picture, Yuv420
from edge_runtime.identity.alignment import Points, align, similarity
from edge_runtime.identity.embedder import AdapterConfig
from edge_runtime.identity.landmarks import Landmarks, face_window
from edge_runtime.imaging.part import part_bgr

SHARP_PX = 96
"""Sharpness is measured at this size, so that it is the same for all embedders and sinks with the face's size, too."""
SHARP_NOISE_PX = 1.0
"""Noise finer than this is no sharpness: the Laplacian of an 8-bit picture's mere rounding looks like detail."""
SHARP_GOOD, SHARP_LEAST = 0.03, 0.006
"""Faces of LFW have 0.05 (median; 1st percentile 0.013), shrunk to 37 px 0.032, to 21 px 0.021. Blurred by 2 px of 70
they have 0.017, by 3 px 0.0105: of these the original embedder knows three in five no more."""
LEAN_GOOD, LEAN_MOST = 0.02, 0.075
"""How far points are off the template's, as a share of the square: 0.016 is LFW's median, 0.031 its 99th percentile. A
man before a door who looks down and aside has 0.03 to 0.08; from there on he is not known by his other views."""
SIDE_GOOD_PX = 64.0


@dataclass(frozen=True, slots=True, eq=False)
class FaceView:
    """An upright face and its measures.

    Attributes:
        upright: uint8 [s, s, 3] BGR, as the embedder wants it.
        side_px: shorter side of the face in the picture.
        sharpness: of its fine structure, over its contrast.
        lean: distance of its points from the template's after the best turn, as a share of the square: it grows as the
            head turns away.
    """

    upright: BgrImage
    side_px: float
    sharpness: float
    lean: float

    @property
    def usable(self) -> bool:
        """Whether it is sharp and frontal enough to tell anything; size is for the configuration to judge."""
        return self.sharpness >= SHARP_LEAST and self.lean <= LEAN_MOST

    @property
    def quality(self) -> float:
        """0 to 1: the better, the more it tells of who it is."""
        frontal = min(1.0, max(0.0, (LEAN_MOST - self.lean) / (LEAN_MOST - LEAN_GOOD)))
        return min(1.0, self.side_px / SIDE_GOOD_PX) * min(1.0, self.sharpness / SHARP_GOOD) * frontal


def view_of(picture: Picture, box: Sequence[float], head: Landmarks, adapter: AdapterConfig) -> FaceView | None:
    """The face at `box`; None where its points are no face's.

    Args:
        picture: the frame at native pixels.
        box: of the face, xyxy in its pixels.
        head: finds its points.
        adapter: how the embedder wants it.

    Raises:
        InferenceError: the network failed.
    """
    points = head.points(picture, box)
    template = np.array(adapter.template, np.float32)
    if not np.isfinite(points).all() or np.ptp(points) == 0:
        return None
    lean = _misfit(points, template) / adapter.input_px
    part, corner = _around(picture, box)
    upright = align(part, points - corner, template, adapter.input_px)
    return FaceView(upright, float(min(box[2] - box[0], box[3] - box[1])), sharpness(upright), lean)


def sharpness(upright: BgrImage) -> float:
    """Variance of the Laplacian of Gaussian over that of the grey levels, in the middle of the face."""
    grey = cv2.cvtColor(cv2.resize(upright, (SHARP_PX, SHARP_PX), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    edge = SHARP_PX // 6
    smooth = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), SHARP_NOISE_PX)
    middle = smooth[edge:-edge, edge:-edge]
    return float(cv2.Laplacian(middle, cv2.CV_32F).var() / max(float(middle.var()), 1.0))


def _misfit(points: Points, template: Points) -> float:
    """Root mean square distance, in pixels of the template, that is left between the points once they are turned."""
    matrix = similarity(points, template)
    left = points @ matrix[:, :2].T + matrix[:, 2] - template
    return float(np.sqrt((left**2).sum(1).mean()))


def _around(picture: Picture, box: Sequence[float]) -> tuple[BgrImage, Points]:
    """What of the picture an upright face may show, as BGR, and its upper left corner."""
    plane = picture.y if isinstance(picture, Yuv420) else picture
    height, width = plane.shape[:2]
    x1, y1, x2, y2 = face_window(box)
    more = (x2 - x1) // 2
    left, top = (min(max(v - more, 0), limit - 1) // 2 * 2 for v, limit in ((x1, width), (y1, height)))
    right, bottom = max(min(x2 + more, width), left + 1), max(min(y2 + more, height), top + 1)
    return part_bgr(picture, (left, top), (right, bottom)), np.array([left, top], np.float32)

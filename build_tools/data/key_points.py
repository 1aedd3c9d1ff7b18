"""Five points of each face of a picture, as YuNet sees them: what the landmark head is taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from build_tools.data.decoders import yunet
from build_tools.data.teacher import open_session
from build_tools.errors import ModelError
from edge_runtime.geometry import non_maximum_suppression
from edge_runtime.identity.landmarks import face_window
from edge_runtime.imaging.part import square_bgr

F32 = NDArray[np.float32]
STRIDES = (8, 16, 32)
POINT_MAPS = 9
"""The first of the three outputs with points, after those of classes, objects and boxes."""
IOU_MAX = 0.45
MIRRORED = (1, 0, 2, 4, 3)
"""Which point of a picture each point of its mirror image is."""
AGAIN_PX, AGAIN_CONTEXT = 192, 2.0
"""For its final answer it sees the face twice as wide as its box, in so many pixels."""
MOSTLY = ((0.31, 0.38), (0.69, 0.38), (0.5, 0.57), (0.34, 0.75), (0.66, 0.75))
"""Where points are on most faces, as shares of the box."""
AGREEMENT = 0.05
"""Share of a face's longer side by which answers for a face and for its mirror image may differ on average."""


@dataclass(frozen=True, slots=True, eq=False)
class FacePoints:
    """Faces of a picture, best first.

    Attributes:
        boxes: float32 [n, 4] xyxy, pixels.
        scores: float32 [n].
        points: float32 [n, 5, 2], pixels: eye on the picture's left, eye on its right, nose, corners of the mouth.
    """

    boxes: F32
    scores: F32
    points: F32


class PointTeacher:
    """YuNet (Wu et al. 2023) with its key points.

    Args:
        path: of its ONNX.
        accept: faces scored lower are none.

    Raises:
        ModelError: not a usable model, or not YuNet.
    """

    def __init__(self, path: Path, accept: float) -> None:
        self.path, self._accept = path, accept
        self._session = open_session(path)
        if len(self._session.get_outputs()) != POINT_MAPS + len(STRIDES):
            raise ModelError(f"{path}: has {len(self._session.get_outputs())} outputs; YuNet has 12")

    def faces(self, bgr: NDArray[np.uint8]) -> FacePoints:
        """The faces of uint8 [h, w, 3] at its own size."""
        h, w = bgr.shape[:2]
        canvas = np.zeros((h + -h % 32, w + -w % 32, 3), np.uint8)
        canvas[:h, :w] = bgr
        blob = np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], np.float32)
        outputs = self._session.run(None, {self._session.get_inputs()[0].name: blob})
        boxes, scores, labels = yunet(outputs, canvas.shape[1], canvas.shape[0])
        points = np.concatenate(
            [_points(o[0], canvas.shape[1] // s, s) for o, s in zip(outputs[POINT_MAPS:], STRIDES, strict=True)]
        )
        likely = np.flatnonzero(scores >= self._accept)
        kept = likely[non_maximum_suppression(boxes[likely], scores[likely], labels[likely], IOU_MAX)]
        return FacePoints(boxes[kept], scores[kept], points[kept])

    def sure_faces(self, bgr: NDArray[np.uint8], side_min_px: float) -> FacePoints:
        """The faces on whose points it agrees with itself: each seen again, large, as it is and mirrored.

        Args:
            bgr: uint8 [h, w, 3].
            side_min_px: faces whose longer side is smaller are left out.
        """
        found = self.faces(bgr)
        sure = []
        for box in found.boxes:
            side = max(box[2] - box[0], box[3] - box[1])
            seen = self._again(bgr, box.tolist(), float(side)) if side >= side_min_px else None
            if seen is not None:
                sure.append(seen)
        if not sure:
            return FacePoints(*(np.zeros(shape, np.float32) for shape in ((0, 4), (0,), (0, 5, 2))))
        boxes, scores, points = (np.stack(column).astype(np.float32) for column in zip(*sure, strict=True))
        return FacePoints(boxes, scores, points)

    def _again(self, bgr: NDArray[np.uint8], box: list[float], side: float) -> tuple[F32, np.float32, F32] | None:
        """Box, score and points of the face around `box`, or None where two looks differ."""
        window = face_window(box, AGAIN_CONTEXT)
        part = square_bgr(bgr, window, AGAIN_PX)
        plain, mirrored = self.middle(part), self.middle(np.ascontiguousarray(part[:, ::-1]))
        if plain is None or mirrored is None:
            return None
        back = mirror_points(mirrored[2], AGAIN_PX)
        px = window[2] - window[0]
        apart = float(np.linalg.norm(back - plain[2], axis=1).mean()) * px / AGAIN_PX
        if apart > AGREEMENT * side:
            return None
        scale, corner = np.float32(px / AGAIN_PX), np.array(window[:2], np.float32)
        points = np.asarray((plain[2] + back) / 2 * scale + corner, np.float32)
        return np.asarray(plain[0] * scale + np.tile(corner, 2), np.float32), plain[1], points

    def middle(self, part: NDArray[np.uint8]) -> tuple[F32, np.float32, F32] | None:
        """The face whose centre is nearest to the middle, when it is about as large as it should be."""
        found = self.faces(part)
        if not len(found.boxes):
            return None
        away = np.abs((found.boxes[:, :2] + found.boxes[:, 2:]) / 2 - AGAIN_PX / 2).max(1)
        best = int(away.argmin())
        side = float((found.boxes[best, 2:] - found.boxes[best, :2]).max())
        expected = AGAIN_PX / AGAIN_CONTEXT
        if away[best] > 0.3 * expected or not 0.6 < side / expected < 1.6:
            return None
        return found.boxes[best], found.scores[best], found.points[best]


class TeacherHead:
    """YuNet in the place of a landmark head: slower, for calibration and to compare with.

    Args:
        teacher: whose points are taken.
    """

    def __init__(self, teacher: PointTeacher) -> None:
        self._teacher = teacher

    def points(self, picture: NDArray[np.uint8], box: Sequence[float]) -> F32:
        """Five points, float32 [5, 2] in the picture's pixels, of the face in `box`; see `LandmarkHead`.

        Where the teacher sees no face they are where they are on most faces.
        """
        corner, sides = np.array(box[:2], np.float32), np.array(box[2:], np.float32) - np.array(box[:2], np.float32)
        window = face_window(box, AGAIN_CONTEXT)
        found = self._teacher.middle(square_bgr(picture, window, AGAIN_PX))
        if found is None:
            return np.asarray(corner + np.array(MOSTLY, np.float32) * sides, np.float32)
        scale = np.float32((window[2] - window[0]) / AGAIN_PX)
        return np.asarray(found[2] * scale + np.array(window[:2], np.float32), np.float32)


def mirror_points(points: F32, width: float) -> F32:
    """Points [..., 5, 2] as they are on the mirror image of a picture `width` wide."""
    back = points[..., list(MIRRORED), :].copy()
    back[..., 0] = np.float32(width) - back[..., 0]
    return back


def _points(offsets: F32, columns: int, stride: int) -> F32:
    """Points [cells, 5, 2] in pixels: each cell tells them from its corner, in cells."""
    cell = np.arange(len(offsets))
    corner = np.stack([cell % columns, cell // columns], 1).astype(np.float32)
    return np.asarray((offsets.reshape(-1, 5, 2) + corner[:, None]) * stride, np.float32)

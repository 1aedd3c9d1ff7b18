"""Faces turned upright for an embedder: their points, by a landmark head, are moved to the embedder's template."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from build_tools.data.coco import LABEL_ID, read_pack
from build_tools.data.key_points import PointTeacher, TeacherHead
from build_tools.data.persons import Person
from build_tools.data.pictures import drawn, read_picture
from build_tools.errors import DataError, RecipeError
from edge_runtime.identity.alignment import align
from edge_runtime.identity.embedder import AdapterConfig
from edge_runtime.identity.landmarks import LandmarkHead
from edge_runtime.settings import build, read_toml

FACE_BOX = (0.165, 0.097, 0.843, 0.965)
"""Where the face is on a picture of an identity pack, as shares of its sides: medians over its train part by YuNet."""
YUNET_ACCEPT = 0.3
FACE_MIN_PX = 48.0
"""Of other packs, faces whose shorter side is smaller are not taken."""


class PointFinder(Protocol):
    """What finds five points of a face; see `identity.landmarks.LandmarkHead`."""

    def points(self, picture: NDArray[np.uint8], box: Sequence[float]) -> NDArray[np.float32]:
        """Five points, float32 [5, 2] in the picture's pixels, of the face in `box`."""


def open_adapter(path: Path) -> AdapterConfig:
    """How an embedder wants its faces.

    Raises:
        RecipeError: missing, not TOML, a key that is unknown, missing or out of range.
    """
    return build(AdapterConfig, read_toml(path, RecipeError), str(path), RecipeError)


def open_landmarks(path: Path) -> PointFinder:
    """A landmark head, or YuNet in its place.

    Raises:
        FormatError, ModelError: no such file, or a network for something else.
    """
    if path.suffix == ".onnx" and path.is_file() and path.stem.startswith("yunet"):
        return TeacherHead(PointTeacher(path, YUNET_ACCEPT))
    return LandmarkHead(path)


def person_faces(
    people: Sequence[Person], head: PointFinder, adapter: AdapterConfig, face_px: int | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All pictures of these persons, aligned: BGR uint8 [n, size, size, 3], and whose each is, [n], by index.

    Args:
        people: of an identity pack, whose pictures show one face in their middle.
        head: finds the points.
        adapter: how the embedder wants them.
        face_px: first the picture is shrunk until the longer side of its face has so many pixels; None: it is not.
    """
    template = np.array(adapter.template, np.float32)
    faces, whose = [], []
    for index, person in enumerate(people):
        for path in person.pictures:
            bgr = read_picture(path)
            box = face_box(bgr)
            if face_px is not None:
                share = face_px / max(box[2] - box[0], box[3] - box[1])
                size_wh = (max(2, round(bgr.shape[1] * share)), max(2, round(bgr.shape[0] * share)))
                how = cv2.INTER_AREA if share < 1 else cv2.INTER_LINEAR
                bgr = np.asarray(cv2.resize(bgr, size_wh, interpolation=how), np.uint8)
                box = face_box(bgr)
            faces.append(align(bgr, head.points(bgr, box), template, adapter.input_px))
            whose.append(index)
    return np.stack(faces), np.array(whose, np.int64)


def pack_faces(
    labels: Path, images: Path, head: PointFinder, adapter: AdapterConfig, count: int, seed: int
) -> NDArray[np.uint8]:
    """At most so many faces of a COCO-form pack, one of a picture, aligned: BGR uint8 [n, size, size, 3].

    Raises:
        DataError: the pack cannot be read, or no picture in it has a face that is large enough.
    """
    largest = {}
    for sample in read_pack(labels, images):
        mine = sample.boxes[sample.labels == LABEL_ID["face"]]
        sides = (mine[:, 2:] - mine[:, :2]).min(1, initial=np.inf)
        if len(mine) and not sample.loose and sides.max() >= FACE_MIN_PX:
            largest[sample.path] = mine[sides.argmax()]
    if not largest:
        raise DataError(f"{labels}: has no face of {FACE_MIN_PX:.0f} px or more with a tight box; give another pack")
    template = np.array(adapter.template, np.float32)
    faces = []
    for path in drawn(largest, count, seed):
        bgr = read_picture(path)
        points = head.points(bgr, largest[path].tolist())
        faces.append(align(bgr, points, template, adapter.input_px))
    return np.stack(faces)


def face_box(bgr: NDArray[np.uint8]) -> tuple[float, float, float, float]:
    """The face on a picture of an identity pack, xyxy in its pixels; see `FACE_BOX`."""
    h, w = bgr.shape[:2]
    x1, y1, x2, y2 = FACE_BOX
    return x1 * w, y1 * h, x2 * w, y2 * h

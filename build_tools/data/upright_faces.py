"""Upright faces to teach an embedder by: kept wider than it sees them, moved, mixed, made as poor as a door camera's.

Label-free: whose face it is does not matter, and two faces laid over each other are a new one to which a teacher has an
answer, too, so that a few thousand faces do for many ("function matching" on mixed pictures: Beyer et al. 2022,
"Knowledge distillation: a good teacher is patient and consistent").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from build_tools.data.face_crops import FacePack
from build_tools.data.key_points import PointTeacher
from build_tools.data.patch_light import relit
from build_tools.data.pictures import read_picture
from build_tools.errors import DataError
from edge_runtime.identity.alignment import align
from edge_runtime.imaging.colour import GREY

Faces = NDArray[np.uint8]
"""uint8 [n, side, side, 3], BGR."""

EDGE_SHARE = 0.09
"""A wide face shows so much more on each side, as a share of what a teacher sees."""
SIDE_MIN_PX = 36.0
"""Smaller faces are none that a teacher could tell apart."""
SHIFT, ZOOM, TURN = 0.015, 0.04, 0.05
"""Points are found this far off: shares of the side, of the size, and radians; deviations."""
MIXED_CHANCE, MIXED_SHARE = 0.4, (0.1, 0.5)
"""Share of the views that are two faces, and how much of the second one they hold."""
SMALL_CHANCE, SMALL_PX = 0.5, (22, 70)
"""Share of the faces that have but so many pixels across the square that an embedder sees: faces of 17 to 54 px."""
GREY_CHANCE = 0.35


@dataclass(frozen=True, slots=True, eq=False)
class UprightFaces:
    """Faces of pictures, their points where a template wants them.

    Attributes:
        wide: uint8 [n, wide_side, wide_side, 3], BGR; its middle, `side` wide, is what a teacher sees.
        side: in pixels.
    """

    wide: Faces
    side: int

    def __len__(self) -> int:
        return len(self.wide)

    def plain(self) -> Faces:
        """As a teacher sees them."""
        edge = (self.wide.shape[1] - self.side) // 2
        return np.ascontiguousarray(self.wide[:, edge : edge + self.side, edge : edge + self.side])

    def view(self, rng: np.random.Generator, index: int) -> NDArray[np.uint8]:
        """One of them [side, side, 3], moved a little, perhaps mirrored, perhaps with another face laid over."""
        face = self._moved(rng, index)
        if rng.random() < MIXED_CHANCE:
            other, share = self._moved(rng, int(rng.integers(len(self)))), rng.uniform(*MIXED_SHARE)
            return np.asarray(cv2.addWeighted(face, 1 - share, other, share, 0), np.uint8)
        return face

    def _moved(self, rng: np.random.Generator, index: int) -> NDArray[np.uint8]:
        wide = self.wide[index]
        if rng.random() < 0.5:
            wide = np.ascontiguousarray(wide[:, ::-1])
        angle, zoom = rng.normal(0, TURN), np.exp(rng.normal(0, ZOOM))
        cos, sin = np.cos(angle) * zoom, np.sin(angle) * zoom
        turn, middle = np.array([[cos, -sin], [sin, cos]]), (self.side - 1) / 2
        to = (wide.shape[0] - 1) / 2 + rng.normal(0, SHIFT * self.side, 2)
        matrix = np.concatenate([turn, (to - turn @ np.full(2, middle))[:, None]], 1)
        size = (self.side, self.side)
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(wide, matrix, size, flags=how, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def read_upright(
    packs: Sequence[FacePack],
    points: PointTeacher,
    template: NDArray[np.float32],
    side: int,
    wanted: Callable[[str], bool],
    progress: Callable[[int], None],
) -> UprightFaces:
    """The faces whose points the teacher is sure of, in the pictures whose name is wanted.

    Args:
        packs: of pictures.
        points: tells where eyes, nose and mouth are.
        template: float32 [5, 2], where an embedder wants them in a square of `side` pixels.
        side: of that square.
        wanted: by the name that decides on which side of a split a picture is.
        progress: told of each picture.

    Raises:
        DataError: a picture or pack cannot be read, or there is no face at all.
    """
    edge = round(EDGE_SHARE * side)
    wide = []
    for path, name in (row for pack in packs for row in pack.pictures()):
        progress(1)
        if not wanted(name):
            continue
        bgr = read_picture(path)
        found = points.sure_faces(bgr, SIDE_MIN_PX)
        wide += [align(bgr, five, template + np.float32(edge), side + 2 * edge) for five in found.points]
    if not wide:
        raise DataError(f"{points.path} finds no face of {SIDE_MIN_PX:.0f} px in these packs; check [[data]]")
    return UprightFaces(np.stack(wide), side)


def poorer(rng: np.random.Generator, faces: Faces, side: int) -> Faces:
    """Faces [n, from_side, from_side, 3] as [n, side, side, 3], as a camera at a door might have given them."""
    made = []
    for face in faces:
        if rng.random() < GREY_CHANCE:
            face = cv2.transform(face, np.repeat(GREY[None], 3, 0))
        if rng.random() < SMALL_CHANCE:
            few = int(rng.integers(*SMALL_PX))
            face = cv2.resize(face, (few, few), interpolation=cv2.INTER_AREA)
        how = cv2.INTER_AREA if face.shape[0] > side else cv2.INTER_LINEAR
        made.append(cv2.resize(face, (side, side), interpolation=how))
    return relit(rng, np.asarray(np.stack(made), np.uint8))

"""Faces as crops to learn five points from: cut as the node cuts them, then moved, turned, mirrored and made small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from build_tools.data.coco import is_held_out, read_pack
from build_tools.data.key_points import PointTeacher, mirror_points
from build_tools.data.persons import read_persons
from build_tools.data.pictures import read_picture
from build_tools.errors import DataError
from edge_runtime.identity.landmarks import face_window
from edge_runtime.imaging.part import square_bgr

F32 = NDArray[np.float32]
SIDE_MIN_PX = 24.0
"""Smaller faces are no lesson: where their points are is not known well enough. Small ones are made from larger."""
CROP_PX = 64
WIDE, WIDE_PX = 1.625, 104
"""A wide crop is this many times as wide as what the node sees, at the same scale, so that it can be moved."""
SHIFT, ZOOM, TURN = 0.06, 0.13, 0.2
"""Boxes are moved by this share of the crop, wrong in size by this share, heads lean by so much (rad): deviations."""
SMALL_CHANCE, SMALL_PX = 0.45, (11, 44)
"""Share of the crops that have but so many pixels across, stretched to the crop's size: faces of 9 to 34 px."""
GREY_CHANCE = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class FaceCrops:
    """Faces of pictures.

    Attributes:
        wide: uint8 [n, WIDE_PX, WIDE_PX, 3], BGR.
        points: float32 [n, 5, 2], in pixels of `wide`.
        px: float32 [n], longer side of the face in its picture.
    """

    wide: NDArray[np.uint8]
    points: F32
    px: F32

    def __len__(self) -> int:
        return len(self.wide)


@dataclass(frozen=True, slots=True)
class FacePack:
    """Where pictures of faces are: a COCO-form JSON and a folder, or an identity pack and a part of it."""

    labels: Path
    images: Path
    part: str = ""

    def pictures(self) -> list[tuple[Path, str]]:
        """Each picture with the name that decides on which side of a split it is; persons stay together."""
        if self.part:
            return [(path, person.name) for person in read_persons(self.images, self.part) for path in person.pictures]
        return [(s.path, f"{s.path.parent.name}/{s.path.name}") for s in read_pack(self.labels, self.images)]


def read_faces(packs: list[FacePack], teacher: PointTeacher, wanted: Callable[[str], bool]) -> FaceCrops:
    """The faces that the teacher is sure of, in the pictures whose name is wanted.

    Raises:
        DataError: a picture or pack cannot be read, or there is no face at all.
    """
    wide, points, sides = [], [], []
    for path in (path for pack in packs for path, name in pack.pictures() if wanted(name)):
        bgr = read_picture(path)
        found = teacher.sure_faces(bgr, SIDE_MIN_PX)
        for box, five in zip(found.boxes, found.points, strict=True):
            window = wide_window(box)
            wide.append(square_bgr(bgr, window, WIDE_PX))
            points.append((five - np.array(window[:2], np.float32)) * np.float32(WIDE_PX / (window[2] - window[0])))
            sides.append(float((box[2:] - box[:2]).max()))
    if not wide:
        raise DataError(f"{teacher.path} finds no face in these packs; check [[data]] in the recipe")
    return FaceCrops(np.stack(wide), np.stack(points).astype(np.float32), np.array(sides, np.float32))


def is_held_back(name: str, share: float) -> bool:
    """Whether a picture of this name is only reported on, for ever."""
    return is_held_out(Path(name.replace("/", "-")), share)


def wide_window(box: F32) -> tuple[int, int, int, int]:
    """The window of a wide crop around a box, as `face_window`."""
    x1, y1, x2, y2 = face_window([float(side) for side in box])
    more = round((x2 - x1) * (WIDE - 1) / 2)
    return x1 - more, y1 - more, x2 + more, y2 + more


def plain(crops: FaceCrops) -> tuple[NDArray[np.uint8], F32]:
    """Crops [n, CROP_PX, CROP_PX, 3] as the node sees them, and their points [n, 5, 2] as fractions."""
    edge = (WIDE_PX - CROP_PX) // 2
    inner = np.ascontiguousarray(crops.wide[:, edge:-edge, edge:-edge])
    return inner, (crops.points - np.float32(edge)) / np.float32(CROP_PX)


def shrunk(crops: NDArray[np.uint8], face_px: int) -> NDArray[np.uint8]:
    """Crops [n, side, side, 3] as they are when the face's longer side has but `face_px` pixels."""
    few = max(2, round(face_px * 1.3))
    return np.stack([_few_pixels(one, (few, few)) for one in crops])


def varied(rng: np.random.Generator, crops: FaceCrops, chosen: NDArray[np.intp]) -> tuple[NDArray[np.uint8], F32]:
    """Some of the crops as other boxes, heads and cameras would have given them, and their points as fractions."""
    made = [_varied_one(rng, crops.wide[i], crops.points[i]) for i in chosen]
    return np.stack([one for one, _ in made]), np.stack([five for _, five in made])


def _varied_one(rng: np.random.Generator, wide: NDArray[np.uint8], points: F32) -> tuple[NDArray[np.uint8], F32]:
    if rng.random() < 0.5:
        wide, points = np.ascontiguousarray(wide[:, ::-1]), mirror_points(points, WIDE_PX)
    angle, zoom = rng.normal(0, TURN), np.exp(rng.normal(0, ZOOM))
    cos, sin = np.cos(angle) * zoom, np.sin(angle) * zoom
    # From the crop's pixels to the wide crop's, about their centres.
    turn = np.array([[cos, -sin], [sin, cos]], np.float32)
    shift = np.full(2, WIDE_PX / 2, np.float32) + rng.normal(0, SHIFT * CROP_PX, 2).astype(np.float32)
    five = (points - shift) @ np.linalg.inv(turn).T / np.float32(CROP_PX) + np.float32(0.5)
    # OpenCV counts from the centres of pixels, points from their corners.
    move = shift - 0.5 + turn @ np.full(2, (1 - CROP_PX) / 2, np.float32)
    matrix = np.concatenate([turn, move[:, None]], 1)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(wide, matrix, (CROP_PX, CROP_PX), flags=how, borderMode=cv2.BORDER_REPLICATE)
    if rng.random() < SMALL_CHANCE:
        few = int(rng.integers(*SMALL_PX))
        crop = _few_pixels(np.asarray(crop, np.uint8), (few, few))
    if rng.random() < GREY_CHANCE:
        crop = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return np.asarray(crop, np.uint8), np.asarray(five, np.float32)


def _few_pixels(crop: NDArray[np.uint8], few_wh: tuple[int, int]) -> NDArray[np.uint8]:
    small = cv2.resize(crop, few_wh, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, crop.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.uint8)

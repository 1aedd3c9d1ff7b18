"""Parking slots as patches to learn from: frames with their slots' quadrilaterals, cut as the node cuts them.

Frames, never slots, are split: slots of one frame share light, camera and cars.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from build_tools.data.coco import is_held_out
from build_tools.data.pictures import read_picture
from build_tools.errors import DataError
from edge_runtime.detection.slot_patch import PATCH_PX, cut, expanded, quad_of

JITTER = 0.05
"""Slots are moved, turned and slanted by about this share of their patch: nobody draws a slot exactly."""
SCALE = 0.15
QUARTER_TURN_CHANCE = 0.1
SMALL_CHANCE = 0.3
SMALL_PX = (7, 24)
"""Pixels that a small slot's patch has across, stretched to the patch's size."""
WIDE_MARGIN, WIDE_PX = 0.6, 44
"""44 pixels for 2.2 sides are the scale of 32 pixels for 1.6."""


@dataclass(frozen=True, slots=True, eq=False)
class SlotFrame:
    """One frame and what stands in its slots.

    Attributes:
        path: of the picture.
        bgr: uint8 [h, w, 3].
        quads: float32 [n, 4, 2], see `slot_patch.quad_of`.
        occupied: bool [n].
    """

    path: Path
    bgr: NDArray[np.uint8]
    quads: NDArray[np.float32]
    occupied: NDArray[np.bool_]

    @property
    def short_px(self) -> NDArray[np.float32]:
        """Shorter side [n] of the box around each slot, in pixels."""
        return np.asarray((self.quads.max(1) - self.quads.min(1)).min(1), np.float32)


def read_frames(labels_json: Path, images: Path, source: str) -> list[SlotFrame]:
    """The frames of one source in the order of the file.

    Raises:
        DataError: unreadable file or picture, a missing field, or no frame of that source.
    """
    try:
        frames = json.loads(labels_json.read_text(encoding="utf-8"))["frames"]
        found = [
            (images / f["file"], [quad_of(s["polygon"]) for s in f["slots"]], [bool(s["occupied"]) for s in f["slots"]])
            for f in frames
            if f["source"] == source
        ]
    except OSError as error:
        raise DataError(f"{labels_json}: cannot be read ({error.strerror}); check the recipe's path") from None
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{labels_json}: not a file of slots: {type(error).__name__} {error}") from None
    if not found:
        raise DataError(f"{labels_json}: holds no frame of source {source}; check data.slots in the recipe")
    return [
        SlotFrame(path, read_picture(path), np.array(quads, np.float32).reshape(-1, 4, 2), np.array(states, np.bool_))
        for path, quads, states in found
    ]


def split(
    frames: list[SlotFrame], held_back: float, held_out: float
) -> tuple[list[SlotFrame], list[SlotFrame], list[SlotFrame]]:
    """(to learn from, to choose by, to report on), by a digest of the file name.

    Args:
        frames: all of them.
        held_back: share that is only reported on.
        held_out: share, of all, that is only chosen by.
    """
    back = [f for f in frames if is_held_out(f.path, held_back)]
    out = [f for f in frames if not is_held_out(f.path, held_back) and is_held_out(f.path, held_back + held_out)]
    return [f for f in frames if not is_held_out(f.path, held_back + held_out)], out, back


def plain_patches(frames: list[SlotFrame]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Patches [n, 32, 32, 3] as the node cuts them, and which are occupied [n]."""
    patches = [cut(f.bgr, expanded(q)) for f in frames for q in f.quads]
    return np.stack(patches), np.concatenate([f.occupied for f in frames])


def wide_patches(frames: list[SlotFrame]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """As `plain_patches`, at the same scale with so much more around each slot that it can be moved: [n, 44, 44, 3]."""
    patches = [cut(f.bgr, expanded(q, WIDE_MARGIN), WIDE_PX) for f in frames for q in f.quads]
    return np.stack(patches), np.concatenate([f.occupied for f in frames])


def varied(rng: np.random.Generator, wide: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Patches [n, 32, 32, 3] out of wide ones as other hands and cameras would have given them.

    Slots are drawn a little larger, smaller, turned, slanted or beside their place, mirrored or a quarter turn wrong,
    and some have but few pixels.
    """
    return np.stack([_varied_one(rng, one) for one in wide])


def _varied_one(rng: np.random.Generator, wide: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if rng.random() < QUARTER_TURN_CHANCE:
        wide = np.ascontiguousarray(np.rot90(wide, int(rng.integers(1, 4))))
    noise = rng.normal(0, JITTER, 6)
    mirrored = -1.0 if rng.random() < 0.5 else 1.0
    zoom = 1 + SCALE * float(rng.uniform(-1, 1))
    # From the patch's pixels to the wide patch's, about their centres.
    to_wide = np.array([[zoom * mirrored, noise[0], 0], [noise[1], zoom * (1 + noise[2]), 0]], np.float32)
    move = np.array((noise[3], noise[4]), np.float32) * PATCH_PX
    to_wide[:, 2] = (WIDE_PX - 1) / 2 + move - to_wide[:, :2] @ np.full(2, (PATCH_PX - 1) / 2, np.float32)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    patch = cv2.warpAffine(wide, to_wide, (PATCH_PX, PATCH_PX), flags=how, borderMode=cv2.BORDER_REPLICATE)
    if rng.random() < SMALL_CHANCE:
        few = rng.integers(*SMALL_PX, 2).tolist()
        patch = cv2.resize(cv2.resize(patch, few, interpolation=cv2.INTER_AREA), (PATCH_PX, PATCH_PX))
    return np.asarray(patch, np.uint8)

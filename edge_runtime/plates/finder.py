"""Where the plate is on a vehicle: our own network, or any detector of a user's with an adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.adapters import adapter_path, read_adapter
from edge_runtime.datatypes import BgrImage, Picture, Yuv420
from edge_runtime.decoding import decode
from edge_runtime.engine import Engine, open_model, padded_wh
from edge_runtime.errors import ConfigError, FormatError
from edge_runtime.geometry import iou
from edge_runtime.imaging.part import part_bgr
from edge_runtime.plates.adapter import WANTS, FinderAdapter
from edge_runtime.plates.session import AdaptedNetwork
from edge_runtime.shipped import model_file

LABEL = "license_plate"
FIELD = "plates.finder"
AROUND = 0.06
"""A tracker's box lags behind the vehicle: so much of its sides is looked at around it."""
SCORE_MIN = 0.15
IOU_MAX = 0.5
SUGGESTED = 3
"""So many places of the first look are looked at again,"""
CLOSER = 3.5
"""in a window of so many times their width: on vehicles of the training pictures the boxes that overlap a plate by half
rise from 0.69 to 0.76, and those somewhere else fall from 0.24 to 0.17."""
SAME_IOU = 0.2
"""It is the same plate where both looks' boxes overlap so much."""

Box = NDArray[np.float32]
"""float32 [4], xyxy in the picture's pixels."""


class Finder(Protocol):
    """Finds plates in a picture; `PlateFinder` and `AdaptedFinder` do."""

    size_wh: tuple[int, int]

    def __call__(self, bgr: BgrImage) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Boxes [n, 4] xyxy in pixels of a picture of at most `size_wh`, and their scores [n], best first."""


class PlateFinder:
    """A network of ours; see `Finder`.

    Args:
        engine: a detector that knows plates.

    Raises:
        FormatError: it knows none.
    """

    def __init__(self, engine: Engine) -> None:
        facts = engine.facts
        if LABEL not in facts.classes:
            raise FormatError(f"{facts.name}: knows {', '.join(facts.classes)} but no {LABEL}; check {FIELD}")
        self._engine, self._plate = engine, facts.classes.index(LABEL)
        self.size_wh = facts.size_wh

    def __call__(self, bgr: BgrImage) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The plates.

        Raises:
            InferenceError: the network failed.
        """
        facts = self._engine.facts
        w, h = padded_wh(self.size_wh, facts.size_multiple)
        blob = np.zeros((1, 3, h, w), np.float32)
        np.copyto(blob[0, :, : bgr.shape[0], : bgr.shape[1]], bgr.transpose(2, 0, 1))
        maps = [m[0] for m in self._engine.run(blob)]
        boxes, scores, labels = decode(facts.decoding, maps, facts.strides, SCORE_MIN, IOU_MAX)
        mine = labels == self._plate
        return boxes[mine], scores[mine]


class AdaptedFinder:
    """A detector of a user's; see `Finder`.

    Args:
        path: the file; its adapter lies beside it.

    Raises:
        ConfigError: the adapter is wrong.
        BundleError: the file cannot be used, or does not answer with boxes.
    """

    def __init__(self, path: Path) -> None:
        self._adapter = read_adapter(FinderAdapter, model_file(path, FIELD), WANTS)
        self._network = AdaptedNetwork(path, self._adapter, FIELD)
        self.size_wh = self._adapter.input_wh
        w, h = self.size_wh
        self(np.full((h, w, 3), 127, np.uint8))

    def __call__(self, bgr: BgrImage) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The plates.

        Raises:
            InferenceError: the network failed.
        """
        w, h = self.size_wh
        canvas = np.zeros((h, w, 3), np.uint8)
        canvas[: bgr.shape[0], : bgr.shape[1]] = bgr
        rows = self._rows(self._network(canvas))
        a = self._adapter
        rows = rows[rows[:, a.score] >= a.score_min]
        rows = rows[np.argsort(-rows[:, a.score], kind="stable")]
        boxes = rows[:, :4]
        if a.boxes == "centres":
            boxes = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
        return np.asarray(boxes, np.float32), np.asarray(rows[:, a.score], np.float32)

    def _rows(self, answer: NDArray[np.float32]) -> NDArray[np.float32]:
        """A box in each row."""
        if answer.ndim == 1:  # a single box, or a side of length 0
            answer = answer[None] if answer.size else np.zeros((0, self._adapter.score + 1), np.float32)
        elif self._adapter.along == "columns":
            answer = answer.T
        if answer.ndim != 2 or answer.shape[1] <= self._adapter.score:
            path = self._network.path
            raise FormatError(
                f"{path}: answers with {answer.shape}, no boxes whose number {self._adapter.score} is a score; check "
                f"`along` and `score` in {adapter_path(path).name}"
            )
        return answer


def plate_in(picture: Picture, vehicle: Sequence[float], finder: Finder) -> tuple[Box, float] | None:
    """The surest plate on a vehicle, in the picture's pixels, and its score; None: none is seen.

    What a look at the whole vehicle suggests is looked at again, closer: boxes are tighter there, and a lamp or a
    sticker that passed for a plate from afar does so no more.

    Args:
        picture: the frame at native pixels.
        vehicle: its box, xyxy.
        finder: the network.

    Returns:
        The box, and the product of both looks' scores.

    Raises:
        InferenceError: the network failed.
    """
    boxes, scores = look(picture, vehicle, AROUND, finder)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = np.flatnonzero(((middle >= vehicle[:2]) & (middle < vehicle[2:])).all(1))[:SUGGESTED]
    best: tuple[Box, float] | None = None
    for box, score in zip(boxes[inside], scores[inside], strict=True):
        near, near_scores = look(picture, [float(edge) for edge in closer(box)], 0.0, finder)
        same = np.flatnonzero(iou(near, box[None])[:, 0] >= SAME_IOU)
        if len(same) and (best is None or score * near_scores[same[0]] > best[1]):
            best = near[same[0]], float(score * near_scores[same[0]])
    return best


def closer(box: Box) -> Box:
    """Where the second look at a box goes: as wide as `CLOSER` plates, and in the shape that vehicles have."""
    middle, width = (box[:2] + box[2:]) / 2, CLOSER * float(box[2] - box[0])
    half = np.array([width / 2, width * 5 / 12], np.float32)
    return np.asarray(np.concatenate([middle - half, middle + half]), np.float32)


def look(
    picture: Picture, window: Sequence[float], share: float, finder: Finder
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One look: boxes in the picture's pixels, and their scores, best first.

    Args:
        picture: the frame at native pixels.
        window: what is looked at, xyxy in its pixels.
        share: of its sides that is looked at around it.
        finder: the network.

    Raises:
        InferenceError: the network failed.
    """
    seen = around(picture, window, share)
    if seen is None:
        return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    part, corner = seen
    scale = min(finder.size_wh[0] / part.shape[1], finder.size_wh[1] / part.shape[0])
    small_wh = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    boxes, scores = finder(np.asarray(cv2.resize(part, small_wh, interpolation=how), np.uint8))
    back = np.array([part.shape[1] / small_wh[0], part.shape[0] / small_wh[1]] * 2, np.float32)
    boxes = np.asarray(boxes * back + np.array(corner * 2, np.float32), np.float32)
    real = (boxes[:, 2:] > boxes[:, :2]).all(1)
    return boxes[real], scores[real]


def around(picture: Picture, box: Sequence[float], share: float = AROUND) -> tuple[BgrImage, tuple[int, int]] | None:
    """What of the picture a box and a little around it shows, as BGR, and its corner; None: it lies outside."""
    plane = picture.y if isinstance(picture, Yuv420) else picture
    height, width = plane.shape[:2]
    more_x, more_y = share * (box[2] - box[0]), share * (box[3] - box[1])
    left, top = max(int(box[0] - more_x), 0) // 2 * 2, max(int(box[1] - more_y), 0) // 2 * 2
    right, bottom = min(int(box[2] + more_x) + 1, width), min(int(box[3] + more_y) + 1, height)
    if right - left < 2 or bottom - top < 2:
        return None
    return part_bgr(picture, (left, top), (right, bottom)), (left, top)


def open_finder(name_or_path: str) -> Finder:
    """The finder called `name_or_path` among the shipped ones, or the file at that path, ours or with an adapter.

    Raises:
        ConfigError: none is named, nothing of that name is shipped, or its adapter is wrong.
        BundleError: the file cannot be used, or finds no plates.
    """
    if not name_or_path:
        raise ConfigError(
            f'{FIELD} is empty: plates cannot be found without one; take "plate_finder", or a path to any detector '
            "with NAME.adapter.toml beside it"
        )
    path = Path(name_or_path).expanduser()
    if ("/" in name_or_path or "." in name_or_path) and adapter_path(path).is_file():
        return AdaptedFinder(path)
    return PlateFinder(open_model(name_or_path, "detector", FIELD))

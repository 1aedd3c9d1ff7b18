"""Reads COCO-form packs into samples that say what is known of each picture, and what is not.

A picture whose pack did not label a class says nothing about that class. Such classes are listed in `unknown`, and
training takes neither objects nor background of them from the picture unless a teacher fills the gap.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from build_tools.errors import DataError

LABELS: tuple[str, ...] = (
    "face", "person", "car", "truck", "bus", "motorcycle", "bicycle", "license_plate"
)  # fmt: skip
"""Every label a pack can have; samples hold indices into this."""

LABEL_ID = {name: i for i, name in enumerate(LABELS)}


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One picture and what is known of it.

    Attributes:
        path: the JPEG.
        size_wh: its pixels.
        source: the data set it came from.
        boxes: float32 [n, 4] xyxy in its pixels.
        labels: int32 [n], indices into LABELS.
        ignore: float32 [m, 4]: places from which nothing is learned or scored.
        ignore_labels: int32 [m]: for which label.
        unknown: labels about which the picture says nothing.
        loose: the boxes are only roughly right.
        clear: float32 [k, 4]: places where there is certainly no object, even inside a place to ignore.
        turns: quarter turns (clockwise) by which the stored picture is turned when it is read.
    """

    path: Path
    size_wh: tuple[int, int]
    source: str
    boxes: NDArray[np.float32]
    labels: NDArray[np.int32]
    ignore: NDArray[np.float32]
    ignore_labels: NDArray[np.int32]
    unknown: frozenset[str]
    loose: bool = False
    clear: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    turns: int = 0


def read_pack(labels_json: Path, images: Path) -> list[Sample]:
    """All pictures of a COCO-form pack.

    An image's `labelled` lists the category ids that were labelled in it; without it, all of the file's categories
    were. Boxes with `iscrowd` 1 become places to ignore.

    Raises:
        DataError: unreadable file, a missing field, or a category the product does not know.
    """
    try:
        pack = json.loads(labels_json.read_text(encoding="utf-8"))
        names = {c["id"]: c["name"] for c in pack["categories"] if c["name"] != "vehicle"}
        rows: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for row in pack["annotations"]:
            rows[row["image_id"]].append(row)
        strange = sorted(set(names.values()) - set(LABELS))
        if strange:
            raise DataError(f"{labels_json}: category {strange[0]} is not one of {', '.join(LABELS)}")
        return [_sample(image, rows[image["id"]], names, images) for image in pack["images"]]
    except OSError as error:
        raise DataError(f"{labels_json}: cannot be read ({error.strerror}); check its path") from None
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{labels_json}: not a COCO file of boxes: {type(error).__name__} {error}") from None


def _sample(image: dict[str, Any], rows: list[dict[str, Any]], names: dict[int, str], images: Path) -> Sample:
    known = [r for r in rows if r["category_id"] in names]
    xywh = np.array([r["bbox"] for r in known], np.float32).reshape(-1, 4)
    xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1)
    labels = np.array([LABEL_ID[names[r["category_id"]]] for r in known], np.int32)
    crowd = np.array([bool(r.get("iscrowd", 0)) for r in known], np.bool_)
    labelled = {names[i] for i in image.get("labelled", names) if i in names}
    return Sample(
        path=images / image["file_name"],
        size_wh=(image["width"], image["height"]),
        source=image.get("source", images.parent.name),
        boxes=xyxy[~crowd],
        labels=labels[~crowd],
        ignore=xyxy[crowd],
        ignore_labels=labels[crowd],
        unknown=frozenset(LABELS) - labelled,
        loose=any(r.get("loose", False) for r in rows),
    )


def turned(sample: Sample) -> Sample:
    """The sample a quarter turn clockwise further: what a camera overhead sees has no upright."""
    height = sample.size_wh[1]

    def turn(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        x1, y1, x2, y2 = boxes.T
        return np.stack([height - y2, x1, height - y1, x2], 1)

    return replace(
        sample,
        size_wh=(height, sample.size_wh[0]),
        boxes=turn(sample.boxes),
        ignore=turn(sample.ignore),
        clear=turn(sample.clear),
        turns=sample.turns + 1,
    )


def split(samples: list[Sample], held_out_share: float) -> tuple[list[Sample], list[Sample]]:
    """(train, validation): see `is_held_out`."""
    train: list[Sample] = []
    validation: list[Sample] = []
    for sample in samples:
        (validation if is_held_out(sample.path, held_out_share) else train).append(sample)
    return train, validation


def is_held_out(picture: Path, share: float) -> bool:
    """Whether a picture is for validation: by a digest of its file name, so that it stays on its side for ever."""
    digest = hashlib.sha256(picture.name.encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 < share


def digest(files: list[Path]) -> str:
    """sha256 over label files, in order: the data's fingerprint on a model card."""
    whole = hashlib.sha256()
    for file in files:
        whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()

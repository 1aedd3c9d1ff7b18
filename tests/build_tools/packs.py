"""Samples, packs of painted pictures and recipes, small enough to train on in seconds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from build_tools.data.coco import LABEL_ID, LABELS, Sample

Box = tuple[float, float, float, float]

PAINT = {"face": (40, 220, 250), "person": (60, 60, 230), "car": (230, 120, 30)}
"""Blue, green, red of each label's rectangles."""


def boxes_of(rows: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    return np.array(rows, np.float32).reshape(-1, 4)


def label_ids(names: Sequence[str]) -> NDArray[np.int32]:
    return np.array([LABEL_ID[n] for n in names], np.int32)


def sample(
    objects: Sequence[tuple[str, Box]] = (),
    ignore: Sequence[tuple[str, Box]] = (),
    unknown: Sequence[str] = (),
    size_wh: tuple[int, int] = (320, 240),
    path: Path = Path("pack/images/one.jpg"),
    loose: bool = False,
    clear: Sequence[Box] = (),
) -> Sample:
    """A sample of which all labels but `unknown` are known."""
    return Sample(
        path=path,
        size_wh=size_wh,
        source="painted",
        boxes=boxes_of([b for _, b in objects]),
        labels=label_ids([n for n, _ in objects]),
        ignore=boxes_of([b for _, b in ignore]),
        ignore_labels=label_ids([n for n, _ in ignore]),
        unknown=frozenset(unknown),
        loose=loose,
        clear=boxes_of(clear),
    )


def painted(size_wh: tuple[int, int], objects: Sequence[tuple[str, Box]]) -> NDArray[np.uint8]:
    """A dark picture with one rectangle in its label's colour for each object; corners must be whole pixels."""
    bgr = np.full((size_wh[1], size_wh[0], 3), 30, np.uint8)
    for name, (x1, y1, x2, y2) in objects:
        bgr[int(y1) : int(y2), int(x1) : int(x2)] = PAINT[name]
    return bgr


def write_pack(folder: Path, pictures: int, size_wh: tuple[int, int] = (96, 96), seed: int = 0) -> Path:
    """A COCO-form pack of painted JPEGs, one to three objects each; the path of its labels."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for i in range(pictures):
        objects: list[tuple[str, Box]] = []
        for _ in range(int(rng.integers(1, 4))):
            w, h = rng.integers(16, 44, 2).tolist()
            x, y = int(rng.integers(0, size_wh[0] - w)), int(rng.integers(0, size_wh[1] - h))
            objects.append((str(rng.choice(list(PAINT))), (x, y, x + w, y + h)))
        name = f"{i:03}.jpg"
        cv2.imwrite(str(folder / "images" / name), painted(size_wh, objects), [cv2.IMWRITE_JPEG_QUALITY, 95])
        images.append({"id": i, "file_name": name, "width": size_wh[0], "height": size_wh[1], "source": f"set{i % 2}"})
        annotations += [
            {"id": len(annotations) + n, "image_id": i, "category_id": LABEL_ID[label],
             "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]], "area": (b[2] - b[0]) * (b[3] - b[1]), "iscrowd": 0}
            for n, (label, b) in enumerate(objects)
        ]  # fmt: skip
    categories = [{"id": i, "name": name} for i, name in enumerate(LABELS) if name != "license_plate"]
    labels = folder / "labels.json"
    labels.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return labels


TINY = """
name = "tiny"
task = "attention"
classes = ["face", "person", "car"]
size_wh = [96, 96]
[[data]]
labels = "pack/labels.json"
images = "pack/images"
[net]
stem = 16
widths = [16, 16, 16, 16]
depths = [0, 0, 0, 0]
neck = 16
[train]
sizes_wh = [[96, 96], [64, 64]]
batch = 4
warmup = 4
held_out = 0.25
validate_every = 2
workers = 0
[[phases]]
epochs = 2
rate = 0.002
[[phases]]
epochs = 2
rate = 0.0005
"""
"""A recipe that trains in seconds on the pack in the folder `pack` beside it."""


def write_recipe(folder: Path, text: str = TINY) -> Path:
    path = folder / "tiny.toml"
    path.write_text(text)
    return path

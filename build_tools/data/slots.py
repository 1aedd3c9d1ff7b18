"""Reads parking frames: an occupied slot is roughly a car, a free one is certainly none, the rest is not known.

Cars seen from above are what eye-level packs lack. The boxes are those of the slots' polygons on the ground, so they
are looser than a box drawn around the car.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from build_tools.data.coco import LABEL_ID, Sample
from build_tools.errors import DataError
from edge_runtime.datatypes import VEHICLES

MIN_SLOT_PX = 12.0
"""Slots with a shorter side below this are too far away for their polygon to fit the car in it."""


def read_slots(labels_json: Path, images: Path, source: str) -> list[Sample]:
    """The frames of one source; vehicles are known only inside slots, persons are not labelled.

    Raises:
        DataError: unreadable file or a missing field.
    """
    try:
        frames = json.loads(labels_json.read_text(encoding="utf-8"))["frames"]
        return [_sample(f, images, source) for f in frames if f["source"] == source]
    except OSError as error:
        raise DataError(f"{labels_json}: cannot be read ({error.strerror}); check its path") from None
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{labels_json}: not a file of slots: {type(error).__name__} {error}") from None


BLOCK_PX = 16
"""Background is told of in blocks of this side, joined along rows."""
REACH = 0.4
"""Cars stand higher than their slot's ground and drive beside it: this share of its sides around it stays unknown."""


def clear_around(sample: Sample, suspicions: NDArray[np.float32]) -> Sample:
    """The sample with everything clear that is neither near a slot nor under the slightest suspicion.

    Args:
        sample: a parking frame, not turned yet.
        suspicions: float32 [n, 4], whatever a teacher took for a vehicle, however unsure.
    """
    w, h = sample.size_wh
    # Free and far slots stand among the places to ignore, beside the whole frame.
    parts = sample.ignore[(sample.ignore != np.array([0, 0, w, h], np.float32)).any(1)]
    slots = np.concatenate([sample.boxes, parts])
    sides = np.tile(slots[:, 2:] - slots[:, :2], 2) * REACH * np.array([-1, -1, 1, 1], np.float32)
    doubtful = np.concatenate([slots + sides, suspicions])
    blocks = np.zeros((-(-h // BLOCK_PX), -(-w // BLOCK_PX)), np.bool_)
    for x1, y1, x2, y2 in np.maximum(doubtful, 0) / BLOCK_PX:
        blocks[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = True
    clear = [sample.clear]
    for row, doubt in enumerate(blocks):
        edges = np.flatnonzero(np.diff(np.concatenate([[True], doubt, [True]]).astype(np.int8)))
        for start, stop in edges.reshape(-1, 2):
            clear.append(np.array([[start, row, stop, row + 1]], np.float32) * BLOCK_PX)
    return replace(sample, clear=np.clip(np.concatenate(clear), 0, np.array((w, h) * 2, np.float32)))


def _sample(frame: dict, images: Path, source: str) -> Sample:  # type: ignore[type-arg]
    corners = [np.array(s["polygon"], np.float32) for s in frame["slots"]]
    boxes = np.array([[*p.min(0), *p.max(0)] for p in corners], np.float32).reshape(-1, 4)
    occupied = np.array([s["occupied"] for s in frame["slots"]], np.bool_)
    near = (boxes[:, 2:] - boxes[:, :2]).min(1, initial=np.inf) >= MIN_SLOT_PX
    cars, free, rest = boxes[occupied & near], boxes[~occupied & near], boxes[~(occupied & near)]
    centre, quarter = (free[:, :2] + free[:, 2:]) / 2, (free[:, 2:] - free[:, :2]) / 4
    size_wh = (frame["width"], frame["height"])
    return Sample(
        path=images / frame["file"],
        size_wh=size_wh,
        source=source,
        boxes=cars,
        labels=np.full(len(cars), LABEL_ID["car"], np.int32),
        ignore=np.concatenate([np.array([[0, 0, *size_wh]], np.float32).repeat(len(VEHICLES), 0), rest]),
        ignore_labels=np.array([LABEL_ID[n] for n in VEHICLES] + [LABEL_ID["car"]] * len(rest), np.int32),
        unknown=frozenset({"person", "license_plate"}),  # a face in such a frame is a few pixels at most
        # Neighbours' boxes reach into a free slot's corners: only its heart is surely empty.
        clear=np.concatenate([centre - quarter, centre + quarter], 1),
    )

"""Reads boxes from the raw outputs of detectors by others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from build_tools.data.coco import LABEL_ID

F32 = NDArray[np.float32]
Found = tuple[F32, F32, NDArray[np.int32]]
"""Boxes [n, 4] xyxy in picture pixels, scores [n], labels [n] (indices into LABELS)."""

COCO80 = {0: "person", 1: "bicycle", 2: "car", 3: "motorcycle", 5: "bus", 7: "truck"}
ULTRAFACE_SIDES_PX = ((8, (10, 16, 24)), (16, (32, 48)), (32, (64, 96)), (64, (128, 192, 256)))
"""Stride and square prior sides of Ultra-Light-Fast-Generic-Face-Detector."""


def _grid(w: int, h: int, stride: int) -> tuple[F32, F32]:
    rows, cols = np.mgrid[0 : -(-h // stride), 0 : -(-w // stride)].astype(np.float32)
    return cols.ravel(), rows.ravel()


def _centred(cx: F32, cy: F32, w: F32, h: F32) -> F32:
    return np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], 1).astype(np.float32)


def yunet(outputs: Sequence[F32], w: int, h: int) -> Found:
    """YuNet (Wu et al. 2023): cls, obj, box maps at strides 8, 16, 32; score: geometric mean of two sigmoids."""
    boxes, scores = [], []
    for level, stride in enumerate((8, 16, 32)):
        d = outputs[6 + level][0]
        cols, rows = _grid(w, h, stride)
        sides = np.exp(np.minimum(d[:, 2:], 10.0)) * stride
        boxes.append(_centred((cols + d[:, 0]) * stride, (rows + d[:, 1]) * stride, sides[:, 0], sides[:, 1]))
        scores.append(np.sqrt(np.clip(outputs[level][0, :, 0], 0, 1) * np.clip(outputs[3 + level][0, :, 0], 0, 1)))
    flat = np.concatenate(scores)
    return np.concatenate(boxes), flat, np.full(len(flat), LABEL_ID["face"], np.int32)


def yolox(outputs: Sequence[F32], w: int, h: int) -> Found:
    """YOLOX (Ge et al. 2021): rows of offsets, log sides, objectness and 80 classes at strides 8, 16, 32."""
    d = outputs[0][0]
    grids = [(*_grid(w, h, s), s) for s in (8, 16, 32)]
    cols, rows = np.concatenate([g[0] for g in grids]), np.concatenate([g[1] for g in grids])
    stride = np.concatenate([np.full(len(g[0]), g[2], np.float32) for g in grids])
    sides = np.exp(d[:, 2:4]) * stride[:, None]
    boxes = _centred((d[:, 0] + cols) * stride, (d[:, 1] + rows) * stride, sides[:, 0], sides[:, 1])
    ours = sorted(COCO80)
    per_class = d[:, 4:5] * d[:, [5 + i for i in ours]]
    labels = np.array([LABEL_ID[COCO80[i]] for i in ours], np.int32)[per_class.argmax(1)]
    return boxes, per_class.max(1), labels


def ultraface(outputs: Sequence[F32], w: int, h: int) -> Found:
    """UltraFace: class scores (column 1: face) and SSD offsets (Liu et al. 2016; variances 0.1, 0.2) from priors.

    Centres are (cell + 0.5) * stride; priors are clipped to the picture, as where the network was trained.
    """
    priors = []
    for stride, sides in ULTRAFACE_SIDES_PX:
        cols, rows = _grid(w, h, stride)
        per_cell = [
            np.stack([(cols + 0.5) * stride / w, (rows + 0.5) * stride / h, 0 * cols + s / w, 0 * rows + s / h], 1)
            for s in sides
        ]
        priors.append(np.stack(per_cell, 1).reshape(-1, 4))
    prior = np.clip(np.concatenate(priors), 0, 1)
    offsets = outputs[1][0]
    centre = prior[:, :2] + 0.1 * offsets[:, :2] * prior[:, 2:]
    side = prior[:, 2:] * np.exp(0.2 * offsets[:, 2:])
    boxes = _centred(centre[:, 0] * w, centre[:, 1] * h, side[:, 0] * w, side[:, 1] * h)
    scores = outputs[0][0, :, 1]
    return boxes, scores, np.full(len(scores), LABEL_ID["face"], np.int32)


Decoder = Callable[[Sequence[F32], int, int], Found]
DECODERS: dict[str, tuple[Decoder, float]] = {
    "yunet": (yunet, 0.45),
    "yolox": (yolox, 0.45),
    "ultraface": (ultraface, 0.3),
}
"""By name: the decoder, and the overlap beyond which the weaker of two boxes goes."""

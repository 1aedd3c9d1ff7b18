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
YOLOFACE_ANCHORS_PX = ((9, 14), (12, 17), (22, 21))
"""Widths and heights of yoloface-50k's anchors, all at stride 8."""
BLAZEFACE_ANCHORS = ((8, 2), (16, 6))
"""Stride and anchors a cell of MediaPipe's short-range BlazeFace, for an input of 128x128."""


def _grid(w: int, h: int, stride: int) -> tuple[F32, F32]:
    rows, cols = np.mgrid[0 : -(-h // stride), 0 : -(-w // stride)].astype(np.float32)
    return cols.ravel(), rows.ravel()


def _centred(cx: F32, cy: F32, w: F32, h: F32) -> F32:
    return np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], 1).astype(np.float32)


def _sigmoid(x: F32) -> F32:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -60, 60))), np.float32)


def _faces(n: int) -> NDArray[np.int32]:
    return np.full(n, LABEL_ID["face"], np.int32)


def _best_of_coco80(per_class: F32) -> tuple[F32, NDArray[np.int32]]:
    """Score and label [n] of the best of those of COCO's 80 classes [n, 80] that we know."""
    ours = sorted(COCO80)
    known = per_class[:, ours]
    return known.max(1), np.array([LABEL_ID[COCO80[i]] for i in ours], np.int32)[known.argmax(1)]


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
    return np.concatenate(boxes), flat, _faces(len(flat))


def yolox(outputs: Sequence[F32], w: int, h: int) -> Found:
    """YOLOX (Ge et al. 2021): rows of offsets, log sides, objectness and 80 classes at strides 8, 16, 32."""
    d = outputs[0][0]
    grids = [(*_grid(w, h, s), s) for s in (8, 16, 32)]
    cols, rows = np.concatenate([g[0] for g in grids]), np.concatenate([g[1] for g in grids])
    stride = np.concatenate([np.full(len(g[0]), g[2], np.float32) for g in grids])
    sides = np.exp(d[:, 2:4]) * stride[:, None]
    boxes = _centred((d[:, 0] + cols) * stride, (d[:, 1] + rows) * stride, sides[:, 0], sides[:, 1])
    return boxes, *_best_of_coco80(d[:, 4:5] * d[:, 5:])


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
    return boxes, scores, _faces(len(scores))


def yoloface(outputs: Sequence[F32], w: int, h: int) -> Found:
    """yoloface-50k, a YOLOv3 head (Redmon and Farhadi 2018): for each anchor x, y, w, h, objectness, face."""
    cols, rows = _grid(w, h, 8)
    boxes, scores = [], []
    anchors = outputs[0][0].reshape(len(YOLOFACE_ANCHORS_PX), 6, -1)
    for (wide, high), a in zip(YOLOFACE_ANCHORS_PX, anchors, strict=True):
        sides = np.exp(np.clip(a[2:4], -8, 8)) * np.array([[wide], [high]], np.float32)
        boxes.append(_centred((cols + _sigmoid(a[0])) * 8, (rows + _sigmoid(a[1])) * 8, sides[0], sides[1]))
        scores.append(_sigmoid(a[4]) * _sigmoid(a[5]))
    flat = np.concatenate(scores)
    return np.concatenate(boxes), flat, _faces(len(flat))


def blazeface(outputs: Sequence[F32], w: int, h: int) -> Found:
    """BlazeFace (Bazarevsky et al. 2019): offsets from anchors' centres and sides, in pixels; logits of scores."""
    centres = []
    for stride, anchors in BLAZEFACE_ANCHORS:
        cols, rows = _grid(w, h, stride)
        centres.append(np.stack([(cols + 0.5) * stride, (rows + 0.5) * stride], 1).repeat(anchors, 0))
    d = outputs[0][0]
    centre = np.concatenate(centres) + d[:, :2]
    scores = _sigmoid(outputs[1][0, :, 0])
    return _centred(centre[:, 0], centre[:, 1], d[:, 2], d[:, 3]), scores, _faces(len(scores))


def fastestdet(outputs: Sequence[F32], w: int, h: int) -> Found:
    """FastestDet: one map of objectness, tanh offsets in cells, sigmoid sides as shares, and 80 class scores."""
    channels, high, wide = outputs[0].shape[1:]
    d = outputs[0][0].reshape(channels, -1)
    rows, cols = np.mgrid[0:high, 0:wide].reshape(2, -1).astype(np.float32)
    cx, cy = (cols + np.tanh(d[1])) * (w / wide), (rows + np.tanh(d[2])) * (h / high)
    per_class = np.maximum(d[0], 0) ** 0.6 * np.maximum(d[5:], 0) ** 0.4
    return _centred(cx, cy, _sigmoid(d[3]) * w, _sigmoid(d[4]) * h), *_best_of_coco80(per_class.T)


def nanodet(outputs: Sequence[F32], w: int, h: int) -> Found:
    """NanoDet-m: distances as distributions over 8 cells (Li et al. 2020, GFL), scores after the sigmoid."""
    by_shape = {o.shape[-2:]: o.reshape(o.shape[-2:]) for o in outputs}
    boxes, scores = [], []
    for stride in (8, 16, 32):
        cols, rows = _grid(w, h, stride)
        logits = by_shape[len(cols), 32].reshape(-1, 4, 8)
        share = np.exp(logits - logits.max(2, keepdims=True))
        share /= share.sum(2, keepdims=True)
        sides = share @ np.arange(8, dtype=np.float32) * stride
        centre = np.stack([cols, rows], 1) * stride + (stride - 1) / 2
        boxes.append(np.concatenate([centre - sides[:, :2], centre + sides[:, 2:]], 1))
        scores.append(by_shape[len(cols), 80])
    return np.concatenate(boxes).astype(np.float32), *_best_of_coco80(np.concatenate(scores))


Decoder = Callable[[Sequence[F32], int, int], Found]
DECODERS: dict[str, tuple[Decoder, float]] = {
    "yunet": (yunet, 0.45),
    "yolox": (yolox, 0.45),
    "ultraface": (ultraface, 0.3),
    "yoloface": (yoloface, 0.45),
    "blazeface": (blazeface, 0.3),
    "fastestdet": (fastestdet, 0.45),
    "nanodet": (nanodet, 0.6),
}
"""By name: the decoder, and the overlap beyond which the weaker of two boxes goes."""

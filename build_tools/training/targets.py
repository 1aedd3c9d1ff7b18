"""What a centre network should have answered: heatmaps, box distances, and where neither counts.

Gaussians follow the box's own aspect and the box is learned over the Gaussian's heart, not at one cell only, which
converges several times faster (Liu et al. 2020, "Training-Time-Friendly Network", sections 3.2-3.3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

SPREAD = 0.54
"""Gaussian standard deviation as a share of a sixth of the box side (TTFNet's alpha)."""


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """For one picture and a map of h x w cells.

    Attributes:
        heat: float32 [classes, h, w], 1 at object centres, falling off as a Gaussian.
        heat_weight: float32 [classes, h, w], 0 where nothing is known.
        box: float32 [4, h, w], distances left, top, right, bottom from the cell's centre, in cells.
        box_weight: float32 [h, w], sums to one per object, 0 where there is none.
    """

    heat: F32
    heat_weight: F32
    box: F32
    box_weight: F32


def make_targets(
    boxes: F32, labels: NDArray[np.int32], ignore: F32, ignore_labels: NDArray[np.int32],
    clear: F32, classes: int, map_wh: tuple[int, int], stride: int,
) -> Targets:  # fmt: skip
    """Targets for boxes [n, 4] xyxy in input pixels with class numbers `labels` [n].

    Where objects overlap the smaller one owns the box map. An object's own Gaussian counts even inside a place to
    ignore: what is known to be there is learned,
    and so is what `clear` [k, 4] says is not there.
    """
    w, h = map_wh
    heat = np.zeros((classes, h, w), np.float32)
    weight = np.ones((classes, h, w), np.float32)
    box = np.zeros((4, h, w), np.float32)
    box_weight = np.zeros((h, w), np.float32)
    for (x1, y1, x2, y2), k in zip(ignore / stride, ignore_labels, strict=True):
        if k >= 0 and x2 > x1 and y2 > y1:  # a mosaic leaves empty ones where it cuts
            weight[k, max(int(y1), 0) : int(np.ceil(y2)), max(int(x1), 0) : int(np.ceil(x2))] = 0
    for x1, y1, x2, y2 in clear / stride:  # only cells wholly inside
        weight[:, max(int(np.ceil(y1)), 0) : int(y2), max(int(np.ceil(x1)), 0) : int(x2)] = 1
    order = np.argsort(-(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), kind="stable")
    for i in order:
        x1, y1, x2, y2 = boxes[i] / stride
        k = labels[i]
        cx, cy = min(int((x1 + x2) / 2), w - 1), min(int((y1 + y2) / 2), h - 1)
        rx, ry = int((x2 - x1) / 2 * SPREAD), int((y2 - y1) / 2 * SPREAD)
        left, right = max(cx - rx, 0), min(cx + rx + 1, w)
        top, bottom = max(cy - ry, 0), min(cy + ry + 1, h)
        dx = np.arange(left, right, dtype=np.float32) - cx
        dy = np.arange(top, bottom, dtype=np.float32) - cy
        sx, sy = (2 * rx + 1) / 6, (2 * ry + 1) / 6
        bump = np.exp(-(dy[:, None] ** 2) / (2 * sy * sy) - dx[None, :] ** 2 / (2 * sx * sx))
        where = np.s_[top:bottom, left:right]
        np.maximum(heat[k][where], bump, out=heat[k][where])
        np.maximum(weight[k][where], bump > 0.1, out=weight[k][where])
        gx = np.broadcast_to(dx[None, :] + cx + 0.5, bump.shape)
        gy = np.broadcast_to(dy[:, None] + cy + 0.5, bump.shape)
        inside = (gx > x1) & (gx < x2) & (gy > y1) & (gy < y2)
        inside[cy - top, cx - left] = True
        sides = np.stack([gx - x1, gy - y1, x2 - gx, y2 - gy])
        for plane, side in zip(box, sides, strict=True):
            plane[where][inside] = np.maximum(side, 0.05)[inside]
        # Large objects count a little more, as in TTFNet, but far less than their area.
        share = bump * inside
        box_weight[where][inside] = (share / share.sum() * np.log2(2.0 + (x2 - x1) * (y2 - y1)))[inside]
    return Targets(heat, weight, box, box_weight)

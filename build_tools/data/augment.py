"""Turns samples into training pictures: random view, mosaic, light, blur, noise; boxes move along.

Randomness is an argument, so a picture is the same whenever the same generator state asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from build_tools.data.coco import Sample
from edge_runtime.imaging.colour import GREY
from edge_runtime.settings import setting

F32 = NDArray[np.float32]
Bgr = NDArray[np.uint8]

MIN_SIDE_PX = 4.0
"""Objects with a shorter side below this, at the network's scale, are ignored: they cover half a cell."""
MIN_VISIBLE = 0.35
"""Objects of which less than this share is left in view are ignored."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A training picture.

    Attributes:
        bgr: uint8 [h, w, 3].
        boxes: float32 [n, 4] xyxy in its pixels; labels int32 [n] are class numbers of the recipe.
        ignore: float32 [m, 4]; ignore_labels int32 [m], class numbers.
        clear: float32 [k, 4], places without any object.
    """

    bgr: Bgr
    boxes: F32
    labels: NDArray[np.int32]
    ignore: F32
    ignore_labels: NDArray[np.int32]
    clear: F32


@dataclass(frozen=True, slots=True)
class Classes:
    """The recipe's classes and the labels each is made of."""

    names: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]

    def number(self, labels: NDArray[np.int32]) -> NDArray[np.int32]:
        """Class number of each label; -1 for labels that no class wants."""
        table = np.full(64, -1, np.int32)
        for k, member in enumerate(self.members):
            table[list(member)] = k
        return table[labels]


@dataclass(frozen=True, slots=True)
class Strength:
    """How hard pictures are changed."""

    mosaic: float = setting(0.3, "share of pictures that are put together from four", low=0, high=1)
    zoom_low: float = setting(0.6, "smallest zoom, around the letterbox fit", low=0.05, high=20)
    zoom_high: float = setting(1.6, "largest zoom", low=0.05, high=20)
    object_low: float = setting(0.15, "view crop: smallest share of a crop that its object fills", low=0.01, high=1)
    object_high: float = setting(0.95, "view crop: largest share", low=0.01, high=2)
    enlarge_high: float = setting(20.0, "view crop: largest enlargement of a picture's own pixels", low=0.1, high=20)
    montage: float = setting(0.0, "view crop: share of crops put together from four half as large", low=0, high=1)
    flip: float = setting(0.5, "share of pictures that are mirrored", low=0, high=1)
    grey: float = setting(0.1, "share without colour", low=0, high=1)
    blur: float = setting(0.15, "share out of focus", low=0, high=1)
    noise: float = setting(0.15, "share with grain", low=0, high=1)
    dark: float = setting(0.15, "share in low light", low=0, high=1)
    jpeg: float = setting(0.15, "share compressed hard", low=0, high=1)


def view(
    bgr: Bgr,
    sample: Sample,
    classes: Classes,
    unknown: list[int],
    matrix: F32,
    size_wh: tuple[int, int],
    fill: int,
) -> Example:
    """The sample through the affine `matrix` [2, 3] onto a canvas of `size_wh`; unknown classes ignore all of it."""
    shrink = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    inner = matrix.copy()
    if shrink < 0.6:  # warpAffine has no area filter: shrink first, or the picture aliases
        from_wh = np.array([bgr.shape[1], bgr.shape[0]])
        small_wh = np.maximum(np.rint(from_wh * shrink), 1).astype(int)
        bgr = np.asarray(cv2.resize(bgr, small_wh.tolist(), interpolation=cv2.INTER_AREA), np.uint8)
        inner[:, :2] *= from_wh / small_wh
    # Boxes lie between pixels, warpAffine counts from pixel centres: uncorrected, a mirrored crop at 4x is 2.5 px off.
    inner[:, 2] += inner[:, :2].sum(1) / 2 - 0.5
    canvas = cv2.warpAffine(bgr, inner, size_wh, flags=cv2.INTER_LINEAR, borderValue=(fill, fill, fill))
    boxes, labels = _moved(sample.boxes, matrix), classes.number(sample.labels)
    ignore, ignore_labels = _moved(sample.ignore, matrix), classes.number(sample.ignore_labels)
    limit = np.array(size_wh * 2, np.float32)
    seen = np.clip(boxes, 0, limit)
    visible = _area(seen) / np.maximum(_area(boxes), 1e-6)
    side = (seen[:, 2:] - seen[:, :2]).min(1, initial=np.inf)
    good = (visible >= MIN_VISIBLE) & (side >= MIN_SIDE_PX) & (labels >= 0)
    poor = ~good & (labels >= 0) & (visible > 0)
    whole = np.array([[0, 0, *size_wh]], np.float32).repeat(len(unknown), 0)
    return Example(
        np.asarray(canvas, np.uint8),
        seen[good],
        labels[good],
        np.concatenate([np.clip(ignore, 0, limit), seen[poor], whole]),
        np.concatenate([ignore_labels, labels[poor], np.array(unknown, np.int32)]),
        np.clip(_moved(sample.clear, matrix), 0, limit),
    )


def fitted(rng: np.random.Generator, from_wh: tuple[int, int], into_wh: tuple[int, int], how: Strength) -> F32:
    """A random zoom, stretch, place and mirror around the letterbox fit."""
    base = min(into_wh[0] / from_wh[0], into_wh[1] / from_wh[1])
    zoom = base * float(np.exp(rng.uniform(np.log(how.zoom_low), np.log(how.zoom_high))))
    stretch = float(np.exp(rng.normal(0, 0.06)))
    sx, sy = zoom * stretch, zoom / stretch
    # Placed so that as much as possible stays in view; a larger picture is cut, a smaller one floats.
    free = np.array([into_wh[0] - from_wh[0] * sx, into_wh[1] - from_wh[1] * sy])
    tx, ty = rng.uniform(np.minimum(free, 0), np.maximum(free, 0))
    return _matrix(sx, sy, float(tx), float(ty), from_wh[0], bool(rng.random() < how.flip))


def around(rng: np.random.Generator, box_xyxy: F32, from_wh: tuple[int, int], side: int, how: Strength) -> F32:
    """A random square window as the planner would cut it around a region, onto a crop of `side` pixels."""
    x1, y1, x2, y2 = (float(v) for v in box_xyxy)
    longest = max(x2 - x1, y2 - y1, 2.0)
    share = float(np.exp(rng.uniform(np.log(how.object_low), np.log(how.object_high))))
    # A crop never shows much beyond the frame.
    zoom = max(min(side * share / longest, how.enlarge_high), 0.75 * side / max(from_wh))
    # The window's centre wanders as far as keeps most of the object inside.
    slack = max(side - longest * zoom, 0.15 * side) * 0.5
    cx, cy = (x1 + x2) / 2 * zoom, (y1 + y2) / 2 * zoom
    tx, ty = side / 2 - cx + rng.uniform(-slack, slack), side / 2 - cy + rng.uniform(-slack, slack)
    return _matrix(zoom, zoom, tx, ty, from_wh[0], bool(rng.random() < how.flip), mirror_in=side)


def near(rng: np.random.Generator, window_xyxy: F32, from_wh: tuple[int, int], side: int, how: Strength) -> F32:
    """A square window about where another is, onto a crop of `side` pixels."""
    x1, y1, x2, _ = (float(v) for v in window_xyxy)
    span = (x2 - x1) * float(np.exp(rng.uniform(-0.15, 0.25)))
    dx, dy = rng.uniform(-0.1, 0.1, 2) * span
    zoom = side / span
    left, top = x1 + (x2 - x1 - span) / 2 + dx, y1 + (x2 - x1 - span) / 2 + dy
    return _matrix(zoom, zoom, -left * zoom, -top * zoom, from_wh[0], bool(rng.random() < how.flip), mirror_in=side)


def mosaic(examples: list[Example], size_wh: tuple[int, int], cut_xy: tuple[int, int]) -> Example:
    """Four examples of the canvas's size, each giving the quarter around `cut_xy` that it owns."""
    w, h = size_wh
    x, y = cut_xy
    quarters = [(0, 0, x, y), (x, 0, w, y), (0, y, x, h), (x, y, w, h)]
    canvas = np.empty((h, w, 3), np.uint8)
    parts: list[Example] = []
    for e, (x1, y1, x2, y2) in zip(examples, quarters, strict=True):
        canvas[y1:y2, x1:x2] = e.bgr[y1:y2, x1:x2]
        low, high = np.array([x1, y1, x1, y1], np.float32), np.array([x2, y2, x2, y2], np.float32)
        seen = np.clip(e.boxes, low, high)
        visible = _area(seen) / np.maximum(_area(e.boxes), 1e-6)
        good = (visible >= MIN_VISIBLE) & ((seen[:, 2:] - seen[:, :2]).min(1, initial=np.inf) >= MIN_SIDE_PX)
        poor = ~good & (visible > 0)
        parts.append(
            Example(
                canvas,
                seen[good],
                e.labels[good],
                np.concatenate([np.clip(e.ignore, low, high), seen[poor]]),
                np.concatenate([e.ignore_labels, e.labels[poor]]),
                np.clip(e.clear, low, high),
            )
        )
    return Example(
        canvas,
        np.concatenate([p.boxes for p in parts]),
        np.concatenate([p.labels for p in parts]),
        np.concatenate([p.ignore for p in parts]),
        np.concatenate([p.ignore_labels for p in parts]),
        np.concatenate([p.clear for p in parts]),
    )


def photometric(rng: np.random.Generator, bgr: Bgr, how: Strength) -> Bgr:
    """Light, colour, focus, noise and compression as cheap cameras give them."""
    gain = rng.uniform(0.6, 1.4) * rng.uniform(0.85, 1.15, 3)
    if rng.random() < how.dark:
        gain *= rng.uniform(0.15, 0.6)
    ramp = np.arange(256.0)[:, None] * gain + rng.uniform(-25, 25)
    out: NDArray[Any] = cv2.LUT(bgr, np.clip(ramp, 0, 255).astype(np.uint8).reshape(1, 256, 3))
    if rng.random() < how.grey:
        out = cv2.transform(out, np.repeat(GREY[None], 3, 0))
    elif rng.random() < 0.5:
        keep = rng.uniform(0.4, 1.6)
        out = cv2.transform(out, np.eye(3) * keep + (1 - keep) * GREY)
    if rng.random() < how.noise:
        grain = rng.normal(0, rng.uniform(3, 18), out.shape)
        out = np.clip(out + grain, 0, 255).astype(np.uint8)
    if rng.random() < how.blur:
        out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.4, 1.6)))
    if rng.random() < how.jpeg:
        _, code = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 80))])
        out = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))
    return np.asarray(out, np.uint8)


def _matrix(sx: float, sy: float, tx: float, ty: float, width: int, mirror: bool, mirror_in: int | None = None) -> F32:
    """Scale and shift [2, 3]; mirrored within the picture, or within a canvas of `mirror_in` pixels."""
    if mirror and mirror_in is not None:
        return np.array([[-sx, 0, mirror_in - tx], [0, sy, ty]], np.float32)
    if mirror:
        return np.array([[-sx, 0, tx + width * sx], [0, sy, ty]], np.float32)
    return np.array([[sx, 0, tx], [0, sy, ty]], np.float32)


def _moved(boxes: F32, matrix: F32) -> F32:
    """Boxes through an axis-aligned affine map, corners in order again after a mirror."""
    x = boxes[:, [0, 2]] * matrix[0, 0] + matrix[0, 2]
    y = boxes[:, [1, 3]] * matrix[1, 1] + matrix[1, 2]
    return np.stack([x.min(1, initial=np.inf), y.min(1, initial=np.inf),
                     x.max(1, initial=-np.inf), y.max(1, initial=-np.inf)], 1).astype(np.float32)  # fmt: skip


def _area(boxes: F32) -> F32:
    return np.asarray(np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(1), np.float32)

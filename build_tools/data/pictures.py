"""Pictures as a network wants them: fitted into its input, in its colour order and range."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray

from build_tools.data.coco import Sample
from build_tools.errors import DataError, ModelError
from edge_runtime.geometry import letterbox_scale
from edge_runtime.settings import setting

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


@dataclass(frozen=True, slots=True)
class InputEntry:
    """How a picture becomes the model's input."""

    size_wh: tuple[int, int] = setting(
        (320, 240), "pictures are fitted into this where the model leaves it free", low=8
    )
    multiple: int = setting(32, "free sides are then padded to a multiple of this", low=1)
    colour: Literal["bgr", "rgb", "grey"] = setting("bgr", "order of the channels")
    mean: tuple[float, ...] = setting((0.0,), "subtracted from 0..255: one number, or one a channel")
    std: tuple[float, ...] = setting((1.0,), "divided by afterwards")
    pad: int = setting(0, "value of the padding", low=0, high=255)


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A picture made ready: `blob` float32 [1, ...] and the factor from picture to network pixels."""

    blob: NDArray[np.float32]
    scale: float


class Preparation:
    """One verb: call it with a BGR picture, and get it ready for the model.

    Args:
        entry: size, colour and range.
        proto: the model; its input's fixed sides and its layout (NCHW, or NHWC when the last side is the channels).

    Raises:
        ModelError: the model's first input is not a picture.
    """

    def __init__(self, entry: InputEntry, proto: onnx.ModelProto) -> None:
        self.entry = entry
        weights = {t.name for t in proto.graph.initializer}
        first = next(i for i in proto.graph.input if i.name not in weights)
        sides = [d.dim_value if d.HasField("dim_value") else 0 for d in first.type.tensor_type.shape.dim]
        self.name = first.name
        if len(sides) != 4:
            raise ModelError(f"input {self.name} has {len(sides)} sides; a picture has 4: give calibration as npz")
        self.channels_last = sides[1] not in (1, 3) and sides[3] in (1, 3)
        h, w = (sides[1], sides[2]) if self.channels_last else (sides[2], sides[3])
        m = entry.multiple
        self.fit_wh = (w or entry.size_wh[0], h or entry.size_wh[1])
        self.canvas_wh = (w or self.fit_wh[0] + -self.fit_wh[0] % m, h or self.fit_wh[1] + -self.fit_wh[1] % m)
        self.batch_is_fixed = sides[0] == 1

    def __call__(self, bgr: NDArray[np.uint8]) -> Prepared:
        """Fit `bgr` uint8 [h, w, 3] into the top left corner at its own aspect."""
        entry, (w, h) = self.entry, self.canvas_wh
        scale = letterbox_scale((bgr.shape[1], bgr.shape[0]), self.fit_wh)
        inner = (max(1, round(bgr.shape[1] * scale)), max(1, round(bgr.shape[0] * scale)))
        inner = (min(inner[0], self.fit_wh[0]), min(inner[1], self.fit_wh[1]))
        canvas = np.full((h, w, 3), entry.pad, np.uint8)
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        canvas[: inner[1], : inner[0]] = cv2.resize(bgr, inner, interpolation=how)
        if entry.colour == "grey":
            pixels = cv2.cvtColor(canvas, cv2.COLOR_BGR2GRAY)[:, :, None]
        else:
            pixels = canvas[:, :, ::-1] if entry.colour == "rgb" else canvas
        ready = (pixels.astype(np.float32) - np.array(entry.mean, np.float32)) / np.array(entry.std, np.float32)
        if not self.channels_last:
            ready = ready.transpose(2, 0, 1)
        return Prepared(np.ascontiguousarray(ready[None], np.float32), scale)


def read_picture(path: Path) -> NDArray[np.uint8]:
    """A picture file as BGR uint8 [h, w, 3].

    Raises:
        DataError: it cannot be read.
    """
    bgr = cv2.imread(str(path))
    if bgr is None:
        raise DataError(f"{path}: cannot be read as a picture; remove it or copy it again")
    return np.asarray(bgr, np.uint8)


def read_bgr(sample: Sample) -> NDArray[np.uint8]:
    """The sample's picture, uint8 [h, w, 3], turned as the sample says.

    Raises:
        DataError: it cannot be read.
    """
    return np.ascontiguousarray(np.rot90(read_picture(sample.path), -sample.turns))


def find_pictures(folder: Path) -> list[Path]:
    """Every picture file below `folder`, in order of name.

    Raises:
        DataError: no such folder, or none in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of pictures; check the path")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not found:
        raise DataError(f"{folder}: holds no picture ({', '.join(SUFFIXES)})")
    return found


def drawn(paths: Iterable[Path], count: int, seed: int) -> list[Path]:
    """At most `count` of them, drawn without bias and for ever the same, in order of name."""
    every = list(paths)
    if len(every) <= count:
        return every
    chosen = np.random.default_rng(seed).choice(len(every), count, replace=False)
    return [every[i] for i in sorted(chosen)]

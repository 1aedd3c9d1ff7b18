"""The small picture attention looks at: all of a frame, at its own aspect."""

from __future__ import annotations

import cv2
import numpy as np

from edge_runtime.datatypes import BgrImage
from edge_runtime.geometry import letterbox_scale


def lores_size(main_wh: tuple[int, int], lores_wh: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the small picture of a frame of `main_wh` pixels.

    It fits into `lores_wh`, keeps the frame's aspect, is never larger than the frame, and both sides are even
    (a YUV 4:2:0 stream needs that) and at least 2.
    """
    scale = min(letterbox_scale(main_wh, lores_wh), 1.0)
    width, height = (
        max(2, min(2 * round(main * scale / 2), limit - limit % 2, main - main % 2))
        for main, limit in zip(main_wh, lores_wh, strict=True)
    )
    return width, height


def make_lores(bgr: BgrImage, lores_wh: tuple[int, int]) -> BgrImage:
    """The whole of `bgr` [h, w, 3] shrunk into `lores_wh`, as a new array [lh, lw, 3].

    Pixels are averaged over their area, so that thin things fade instead of flickering. See `lores_size`.
    """
    size_wh = lores_size((bgr.shape[1], bgr.shape[0]), lores_wh)
    if size_wh == (bgr.shape[1], bgr.shape[0]):
        return np.array(bgr)  # a copy, since the frame's own buffer goes back to the camera
    return np.asarray(cv2.resize(bgr, size_wh, interpolation=cv2.INTER_AREA), np.uint8)

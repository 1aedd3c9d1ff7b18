"""Any picture as BGR, and what of it is grey."""

from __future__ import annotations

import cv2
import numpy as np

from edge_runtime.datatypes import BgrImage, Picture, Yuv420

GREY = np.array([0.114, 0.587, 0.299])
"""Weights of blue, green and red in luminance (BT.601)."""


def to_bgr(picture: Picture) -> BgrImage:
    """The picture as uint8 [h, w, 3]: itself where it is BGR already, else converted."""
    return bgr_from_yuv(picture) if isinstance(picture, Yuv420) else picture


def bgr_from_yuv(yuv: Yuv420) -> BgrImage:
    """The picture [h, w, 3] of full-range BT.601 planes (JFIF's matrix), chroma repeated.

    OpenCV's own 4:2:0 conversions assume the limited range and unpadded planes; these views are neither.
    """
    height, width = yuv.y.shape
    u = cv2.resize(np.ascontiguousarray(yuv.u), (width, height), interpolation=cv2.INTER_NEAREST)
    v = cv2.resize(np.ascontiguousarray(yuv.v), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.cvtColor(cv2.merge((yuv.y, v, u)), cv2.COLOR_YCrCb2BGR), np.uint8)

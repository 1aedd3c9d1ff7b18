"""Cuts windows out of the frame into a network's batch: crop, resize, colour conversion and layout in one pass.

Windows are squares of whole pixels and may reach beyond the frame; what lies outside is black. A window larger than
the crop is reduced by exact area averaging (what OpenCV calls INTER_AREA), one of the crop's own size is copied pixel
by pixel, a smaller one is enlarged bilinearly. Nothing of the frame outside the windows is touched.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.datatypes import Picture, Yuv420

F32 = NDArray[np.float32]


def crop_batch(picture: Picture, windows: NDArray[np.int32], out: F32) -> F32:
    """The crops of `windows`, written into `out` and returned as its first n entries.

    Args:
        picture: BGR [h, w, 3] or YUV 4:2:0 views of the frame.
        windows: int32 [n, 4] xyxy, squares, in frame pixels.
        out: float32 [m, 3, s, s] with m >= n, reused from frame to frame.

    Returns:
        float32 [n, 3, s, s], BGR, 0..255.
    """
    kernels = _kernels()
    if isinstance(picture, Yuv420):
        kernels["yuv"](picture.y, picture.u, picture.v, windows, out)
    else:
        kernels["bgr"](picture, windows, out)
    return out[: len(windows)]


def crop_batch_reference(picture: Picture, windows: NDArray[np.int32], size: int) -> F32:
    """The same by OpenCV, plainly: pad, cut, resize, convert."""
    crops = np.zeros((len(windows), 3, size, size), np.float32)
    for crop, (x1, y1, x2, y2) in zip(crops, windows.tolist(), strict=True):
        if isinstance(picture, Yuv420):
            h, w = picture.y.shape
            chroma = [np.repeat(np.repeat(p, 2, 0), 2, 1)[:h, :w] for p in (picture.u, picture.v)]
            y, u, v = (_window_reference(p[..., None], (x1, y1, x2, y2), size) for p in (picture.y, *chroma))
            inside = _window_reference(np.ones_like(picture.y)[..., None], (x1, y1, x2, y2), size)
            # The grey point of chroma is 128 where there is picture, and counts by how much picture there is.
            u, v = u - 128 * inside, v - 128 * inside
            crop[:] = np.clip([y + 1.772 * u, y - 0.344136 * u - 0.714136 * v, y + 1.402 * v], 0, 255)[..., 0]
        else:
            crop[:] = _window_reference(picture, (x1, y1, x2, y2), size).transpose(2, 0, 1)
    return crops


def _window_reference(plane: NDArray[np.uint8], window: tuple[int, int, int, int], size: int) -> F32:
    x1, y1, x2, y2 = window
    h, w = plane.shape[:2]
    canvas = np.zeros((y2 - y1, x2 - x1, plane.shape[2]), np.float32)
    left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, w), min(y2, h)
    if left < right and top < bottom:
        canvas[top - y1 : bottom - y1, left - x1 : right - x1] = plane[top:bottom, left:right]
    how = cv2.INTER_AREA if x2 - x1 > size else cv2.INTER_LINEAR
    resized = cv2.resize(canvas, (size, size), interpolation=how)
    return np.asarray(resized.reshape(size, size, -1), np.float32)


@cache
def _kernels() -> dict[str, Any]:
    """The compiled kernels; compiled on first use and kept on disk, so importing this file costs nothing."""
    from numba import njit

    @njit(cache=True, nogil=True, fastmath=True)
    def taps(side, size, start, weight):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
        """First source index and weights of each output pixel along one axis; returns the longest row of weights."""
        scale = side / size
        longest = 1
        for i in range(size):
            if side > size:  # area: the source interval [i, i + 1) * scale
                low, high = i * scale, (i + 1) * scale
                first = int(low)
                last = min(int(np.ceil(high - 1e-9)), side)
                start[i] = first
                for k in range(last - first):
                    weight[i, k] = (min(high, first + k + 1.0) - max(low, first + k)) / scale
                n = last - first
            else:  # bilinear between pixel centres; exact copy where sizes agree
                centre = min(max((i + 0.5) * scale - 0.5, 0.0), side - 1.0)
                first = min(int(centre), max(side - 2, 0))
                start[i] = first
                weight[i, 0] = 1.0 - (centre - first)
                n = 1
                if side > 1:
                    weight[i, 1] = centre - first
                    n = 2
            for k in range(n, weight.shape[1]):
                weight[i, k] = 0.0
            longest = max(longest, n)
        return longest

    @njit(cache=True, nogil=True, fastmath=True)
    def bgr(picture, windows, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
        height, width = picture.shape[0], picture.shape[1]
        size = out.shape[2]
        start = np.empty(size, np.int64)
        row = np.empty((size, 3), np.float32)
        for n in range(windows.shape[0]):
            x0, y0, side = windows[n, 0], windows[n, 1], windows[n, 2] - windows[n, 0]
            weight = np.empty((size, side // size + 3), np.float32)
            reach = taps(side, size, start, weight)
            for i in range(size):
                row[:] = 0.0
                for a in range(reach):
                    y = y0 + start[i] + a
                    wy = weight[i, a]
                    if wy == 0.0 or y < 0 or y >= height:
                        continue
                    for j in range(size):
                        b0, b1, b2 = np.float32(0), np.float32(0), np.float32(0)
                        x = x0 + start[j]
                        for k in range(reach):
                            if 0 <= x + k < width:
                                w = weight[j, k]
                                b0 += w * picture[y, x + k, 0]
                                b1 += w * picture[y, x + k, 1]
                                b2 += w * picture[y, x + k, 2]
                        row[j, 0] += wy * b0
                        row[j, 1] += wy * b1
                        row[j, 2] += wy * b2
                for j in range(size):
                    out[n, 0, i, j] = row[j, 0]
                    out[n, 1, i, j] = row[j, 1]
                    out[n, 2, i, j] = row[j, 2]

    @njit(cache=True, nogil=True, fastmath=True)
    def yuv(luma, u, v, windows, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
        height, width = luma.shape[0], luma.shape[1]
        size = out.shape[2]
        start = np.empty(size, np.int64)
        row = np.empty((size, 3), np.float32)
        for n in range(windows.shape[0]):
            x0, y0, side = windows[n, 0], windows[n, 1], windows[n, 2] - windows[n, 0]
            weight = np.empty((size, side // size + 3), np.float32)
            reach = taps(side, size, start, weight)
            for i in range(size):
                row[:] = 0.0
                for a in range(reach):
                    y = y0 + start[i] + a
                    wy = weight[i, a]
                    if wy == 0.0 or y < 0 or y >= height:
                        continue
                    for j in range(size):
                        b0, b1, b2 = np.float32(0), np.float32(0), np.float32(0)
                        x = x0 + start[j]
                        for k in range(reach):
                            if 0 <= x + k < width:
                                w = weight[j, k]
                                b0 += w * luma[y, x + k]
                                b1 += w * (np.float32(u[y // 2, (x + k) // 2]) - np.float32(128))
                                b2 += w * (np.float32(v[y // 2, (x + k) // 2]) - np.float32(128))
                        row[j, 0] += wy * b0
                        row[j, 1] += wy * b1
                        row[j, 2] += wy * b2
                for j in range(size):
                    # Full-range BT.601, the inverse of JPEG's conversion (ITU-T T.871, section 7).
                    y_, u_, v_ = row[j, 0], row[j, 1], row[j, 2]
                    out[n, 0, i, j] = min(max(y_ + 1.772 * u_, 0.0), 255.0)
                    out[n, 1, i, j] = min(max(y_ - 0.344136 * u_ - 0.714136 * v_, 0.0), 255.0)
                    out[n, 2, i, j] = min(max(y_ + 1.402 * v_, 0.0), 255.0)

    return {"bgr": bgr, "yuv": yuv}

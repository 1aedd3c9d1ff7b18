"""A car that drives up with a plate of ours on its front, as a clip.

The car is that of the demo clip (Intel IoT DevKit sample videos, CC BY 4.0), twice as large, as if it came nearer and a
third as fast; the plate is drawn.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from build_tools.data.plate_drawing import STYLES, draw
from edge_runtime.shipped import shipped

FRAMES = range(312, 338)
PLATE_AT = {320: (235, 72), 326: (216, 201), 332: (204, 357)}
"""Where the middle of the car's own plate is in some frames of the clip."""
PLATE_PX = 104
"""A third of the car's width, as plates are."""
SLOWER = 3
STYLE = STYLES[4]
"""Dark on white, of many lands in Europe."""


def our_plate() -> tuple[np.ndarray, str]:
    bgr, text = draw(np.random.default_rng(12), (STYLE,))
    return bgr, text


def write_clip(path: Path, plate: np.ndarray) -> Path:
    """The car, with a plate over its own, without loss where the path ends in mkv."""
    across = [np.polyfit(list(PLATE_AT), [xy[axis] for xy in PLATE_AT.values()], 2) for axis in (0, 1)]
    small = cv2.resize(
        plate, (PLATE_PX, round(PLATE_PX * plate.shape[0] / plate.shape[1])), interpolation=cv2.INTER_AREA
    )
    source = cv2.VideoCapture(str(shipped("demo.mp4")))
    clip = cv2.VideoWriter(
        str(path), cv2.VideoWriter.fourcc(*("FFV1" if path.suffix == ".mkv" else "mp4v")), 12.5, (1536, 864)
    )
    for number in range(FRAMES.stop):
        ok, frame = source.read()
        assert ok
        if number not in FRAMES:
            continue
        large = cv2.resize(frame, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        x, y = (round(2 * float(np.polyval(curve, number))) for curve in across)
        x, y = x - small.shape[1] // 2, y - small.shape[0] // 2
        if 0 <= y < large.shape[0] - small.shape[0]:
            large[y : y + small.shape[0], x : x + small.shape[1]] = small
        for _ in range(SLOWER):
            clip.write(large)
    clip.release()
    return path

"""Turns regions and live tracks into at most `budget` square windows, each worth one crop.

A window is never smaller than the crop, so small objects are seen at native pixels with the surroundings that fit,
and large ones are reduced. Regions that a window shows well enough share it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_runtime.config import CroppingConfig
from edge_runtime.datatypes import CropPlan, Detections, Track

SURE_SCORE = 0.5
"""Regions scored at least this come before the windows that live tracks ask for, weaker ones after."""
SHOWN_SHARE = 1 / 7
"""A region shares a window where its longer side fills at least this share of it: about 23 of 160 pixels."""
MERGE_GROWTH = 1.3
"""Two windows become one if it is at most this much larger than the larger of them, or no larger than a crop."""
COVERED_SHARE = 0.7
"""A track is looked at already when a region covers this share of it."""

CROWDED_GROWTH = 1.5
"""The same where there are more regions than crops: a crowd is looked at from further away rather than in part."""

Box = tuple[float, float, float, float]


class Planner:
    """One verb: `plan` the windows of each frame. It remembers when attention last saw each track.

    Args:
        crop_px: side of a crop.
        config: budget, margin, and how long a track is carried.
    """

    def __init__(self, crop_px: int, config: CroppingConfig) -> None:
        self._crop_px, self._config = crop_px, config
        self._attended_ns: dict[int, int] = {}

    def plan(self, regions: Detections, tracks: Sequence[Track], frame_wh: tuple[int, int], now_ns: int) -> CropPlan:
        """The windows to look at in this frame.

        Args:
            regions: what attention found, full-frame pixels.
            tracks: live tracks. A confirmed one that no region covers is carried over for `carry_s` after attention
                last saw it, so that one blink of attention loses nothing; not for longer, or a detector's mistake
                would keep itself alive by looking at itself.
            frame_wh: size of the frame.
            now_ns: capture time of the frame.

        Returns:
            Square windows of whole pixels, most important first; inside the frame where the frame is large enough.
        """
        attended: dict[int, int] = {}
        carried = []
        for track in tracks:
            covered = any(_covers(_box(b), track.box) for b in regions.boxes)
            attended[track.id] = now_ns if covered else self._attended_ns.get(track.id, track.seen_ns)
            if track.confirmed and not covered and now_ns - attended[track.id] <= self._config.carry_s * 1e9:
                carried.append(track)
        self._attended_ns = attended
        return plan_windows(regions, carried, frame_wh, self._crop_px, self._config)


def plan_windows(
    regions: Detections, carried_tracks: Sequence[Track], frame_wh: tuple[int, int], crop_px: int,
    config: CroppingConfig,
) -> CropPlan:  # fmt: skip
    """The windows of one frame for its regions and for tracks that are carried over; see `Planner.plan`."""
    wishes: list[tuple[float, bool, Box]] = [
        (float(score) + (2.0 if score >= SURE_SCORE else 0.0), False, _box(box))
        for score, box in zip(regions.scores, regions.boxes, strict=True)
    ]
    wishes += [(1.0 + track.score, True, track.box) for track in carried_tracks]
    wishes.sort(key=lambda w: -w[0])
    windows: list[Box] = []
    carried: list[bool] = []
    overflow = 0
    for _, is_carried, box in wishes:
        if any(_shows(w, box) for w in windows):
            continue
        wanted = window_around(box, frame_wh, crop_px, config.margin)
        merged = _merge(windows, wanted, frame_wh, crop_px)
        if merged is not None:
            i, joint = merged
            windows[i] = joint
            carried[i] = carried[i] and is_carried
        elif len(windows) < config.budget:
            windows.append(wanted)
            carried.append(is_carried)
        elif (nearest := _nearest([*windows, wanted], frame_wh, crop_px)) is not None:
            i, j, joint = nearest
            windows[i], carried[i] = joint, carried[i] and (is_carried if j == len(windows) else carried[j])
            if j < len(windows):
                windows[j], carried[j] = wanted, is_carried
        else:
            overflow += 1
    return CropPlan(np.array(windows, np.float32).reshape(-1, 4), np.array(carried, np.bool_), overflow)


def window_around(box: Box, frame_wh: tuple[int, int], crop_px: int, margin: float) -> Box:
    """The square window of whole pixels that shows `box` with its margin, at least `crop_px` wide.

    It is moved into the frame where it fits, and centred over the frame along a side that is shorter than it.
    """
    longest = max(box[2] - box[0], box[3] - box[1])
    side = max(crop_px, int(np.ceil(longest * (1 + 2 * margin))))
    return _placed((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, side, frame_wh)


def _placed(cx: float, cy: float, side: int, frame_wh: tuple[int, int]) -> Box:
    """A square of whole pixels around a centre, moved into the frame."""
    corner = []
    for centre, limit in ((cx, frame_wh[0]), (cy, frame_wh[1])):
        low = round(centre - side / 2)
        corner.append(min(max(low, 0), limit - side) if side <= limit else (limit - side) // 2)
    return float(corner[0]), float(corner[1]), float(corner[0] + side), float(corner[1] + side)


def _merge(windows: list[Box], wanted: Box, frame_wh: tuple[int, int], crop_px: int) -> tuple[int, Box] | None:
    """The window that can take `wanted` in at the least growth, and what the two become; None if none can."""
    best: tuple[int, int, Box] | None = None
    for i, w in enumerate(windows):
        x1, y1 = min(w[0], wanted[0]), min(w[1], wanted[1])
        x2, y2 = max(w[2], wanted[2]), max(w[3], wanted[3])
        side = int(max(x2 - x1, y2 - y1))
        smaller = min(w[2] - w[0], wanted[2] - wanted[0])
        # Judged by the smaller window: its object must not lose much resolution.
        if side <= max(crop_px, smaller * MERGE_GROWTH) and (best is None or side < best[0]):
            best = side, i, _placed((x1 + x2) / 2, (y1 + y2) / 2, side, frame_wh)
    return None if best is None else (best[1], best[2])


def _nearest(windows: list[Box], frame_wh: tuple[int, int], crop_px: int) -> tuple[int, int, Box] | None:
    """The two windows (first, second) that become one at the least growth, and that one; None if none should."""
    all_of = np.array(windows, np.float32)
    low = np.minimum(all_of[:, None, :2], all_of[None, :, :2])
    high = np.maximum(all_of[:, None, 2:], all_of[None, :, 2:])
    sides = (high - low).max(2)
    own = np.maximum(all_of[:, 2] - all_of[:, 0], crop_px)
    growth = np.where(np.tri(len(windows), dtype=np.bool_), np.inf, sides / np.minimum(own[:, None], own[None, :]))
    i, j = divmod(int(growth.argmin()), len(windows))
    if growth[i, j] > CROWDED_GROWTH:
        return None
    cx, cy = ((low[i, j] + high[i, j]) / 2).tolist()
    return i, j, _placed(cx, cy, int(sides[i, j]), frame_wh)


def _shows(window: Box, box: Box) -> bool:
    """Whether `box` lies in the window, large enough to be recognised."""
    inside = window[0] <= box[0] and window[1] <= box[1] and window[2] >= box[2] and window[3] >= box[3]
    return inside and max(box[2] - box[0], box[3] - box[1]) >= SHOWN_SHARE * (window[2] - window[0])


def _covers(region: Box, box: Box) -> bool:
    """Whether the region covers most of `box` and is not much larger than it."""
    w = min(region[2], box[2]) - max(region[0], box[0])
    h = min(region[3], box[3]) - max(region[1], box[1])
    area = max((box[2] - box[0]) * (box[3] - box[1]), 1e-6)
    larger = (region[2] - region[0]) * (region[3] - region[1])
    return w > 0 and h > 0 and w * h >= COVERED_SHARE * area and larger <= 4 * area


def _box(row: NDArray[np.float32]) -> Box:
    x1, y1, x2, y2 = row.tolist()
    return x1, y1, x2, y2

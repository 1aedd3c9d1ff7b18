"""Small builders that several tests share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from edge_runtime.datatypes import Detections


class FakeClock:
    """A clock that stands still until someone sleeps."""

    def __init__(self, now_ns: int = 1_000_000_000) -> None:
        self.ns = now_ns

    def now_ns(self) -> int:
        return self.ns

    def wall(self) -> datetime:
        return datetime(2026, 11, 24, tzinfo=UTC) + timedelta(microseconds=self.ns // 1000)

    def synced(self) -> bool:
        return True

    def sleep(self, seconds: float) -> None:
        self.ns += round(seconds * 1e9)


NAMES = ("face", "person", "car", "truck", "bus", "motorcycle", "bicycle")


def detections(
    boxes: Sequence[Sequence[float]] = (), scores: Sequence[float] = (), labels: Sequence[str] = ()
) -> Detections:
    """Detections of the crop detector's vocabulary; labels beyond the boxes are left out."""
    n = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(n, 4),
        np.array(scores, np.float32),
        np.array([NAMES.index(name) for name in labels[:n]], np.int32),
        NAMES,
    )

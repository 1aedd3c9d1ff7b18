"""Time as an argument: the seam through which the runtime reads clocks, so that tests can hold them still."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where times come from."""

    def now_ns(self) -> int:
        """Monotonic nanoseconds, the same clock as a frame's `captured_ns`."""

    def wall(self) -> datetime:
        """Wall-clock time, aware, UTC."""

    def synced(self) -> bool:
        """Whether the wall clock has been set from the network or a battery-backed clock."""

    def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""


class SystemClock:
    """The machine's clocks."""

    # A Pi without a battery-backed clock starts in the past; nothing of ours ran before this date.
    EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def wall(self) -> datetime:
        return datetime.now(UTC)

    def synced(self) -> bool:
        return self.wall() >= self.EARLIEST

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

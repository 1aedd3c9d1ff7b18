"""Time as an argument: the seam through which the runtime reads clocks, so that tests can hold them still."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from edge_runtime import wall_clock


class Clock(Protocol):
    """Where times come from."""

    def now_ns(self) -> int:
        """Monotonic nanoseconds, the same clock as a frame's `captured_ns`."""

    def wall(self) -> datetime:
        """Wall-clock time, aware, UTC."""

    def synced(self) -> bool:
        """Whether somebody set the wall clock since the machine started; until then it is a guess."""

    def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""


class SystemClock:
    """The machine's clocks.

    Args:
        was_set: whether the wall clock, which says that, was set since the machine started.
    """

    def __init__(self, was_set: Callable[[datetime], bool] = wall_clock.was_set) -> None:
        self._was_set, self._synced = was_set, False

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def wall(self) -> datetime:
        return datetime.now(UTC)

    def synced(self) -> bool:
        # Once set it runs on: hours after the network is lost the kernel says that nobody keeps it, and that is all.
        self._synced = self._synced or self._was_set(self.wall())
        return self._synced

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

"""Tells when the wall clock was set anew: it leaves the monotonic clock, which nobody sets."""

from __future__ import annotations

from datetime import datetime

STEP_S = 5.0
"""Less than this is no step: a busy machine reads one clock late after the other, and a clock that is slewed takes
hours for as much."""


class WallSteps:
    """One verb: `since`."""

    def __init__(self) -> None:
        self._ahead_s: float | None = None

    def since(self, wall: datetime, at_ns: int) -> float:
        """Seconds by which the wall clock was set since the last call that told of a step, or the first; 0: it runs on.

        Args:
            wall: a moment by the wall clock, aware.
            at_ns: the same moment by the monotonic clock.
        """
        ahead_s = wall.timestamp() - at_ns / 1e9
        step_s = 0.0 if self._ahead_s is None else ahead_s - self._ahead_s
        if self._ahead_s is None or abs(step_s) > STEP_S:
            self._ahead_s = ahead_s
            return step_s
        return 0.0
